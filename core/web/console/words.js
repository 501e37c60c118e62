// Words and numbers: what codes mean, and how figures are written.

export const $ = (id) => document.getElementById(id);

/** What the server says of itself. */
export const facts = JSON.parse($('facts').textContent);

/** An element. Texts become text, never markup. */
export const make = (tag, properties, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {}))
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  element.append(...children.filter((child) => child != null && child !== ''));
  return element;
};

/** Touches the page only if there is something new. */
export const put = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export const number = (n) => Math.round(n).toLocaleString('en-US');
export const plural = (n, word) => `${number(n)} ${word}${n === 1 ? '' : 's'}`;
export const bytes = (n) => {
  const units = ['B', 'kB', 'MB', 'GB'];
  let unit = 0;
  for (; n >= 999.5 && unit < 3; unit++) n /= 1_000;
  return `${unit && n < 99.95 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
};
/** Browsers round their clock: zero is what cannot be seen, not an instant. */
export const ms = (t) => {
  if (t == null) return '–';
  if (t < 0.1) return '<0.1 ms';
  return t < 10 ? `${t.toFixed(1)} ms` : t < 10_000 ? `${Math.round(t)} ms` : `${(t / 1_000).toFixed(1)} s`;
};
export const timeOfDay = (t) => {
  const date = new Date(t);
  return `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, '0')}`;
};
export const short = (id) => (id?.length > 13 ? `${id.slice(0, 8)}…` : (id ?? ''));

const encoder = new TextEncoder();
export const toBytes = (text) => encoder.encode(text);
export const sizeOf = (content) => (typeof content === 'string' ? toBytes(content).length : content.byteLength);
export const hex = (data, gap = ' ') => Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join(gap);
export const ascii = (data) => Array.from(data, (byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');

/** Why this cannot be read as hexadecimal, as what is thrown. */
export const fromHex = (text) => {
  const digits = text.replace(/0x/gi, '').replace(/[\s,:;-]/g, '');
  const wrong = /[^0-9a-f]/i.exec(digits);
  if (wrong) throw Error(`“${wrong[0]}” is not a hexadecimal digit`);
  if (digits.length % 2) throw Error('a byte takes two digits');
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
};

/** `undefined` for what is not JSON. */
export const parse = (text) => {
  try {
    return JSON.parse(text);
  } catch {}
};

// ---- Causes and cures. What SmartSocket's codes and RFC 6455's mean, the server says.

const LIMITED = ['More messages came than the rate limit allows.', 'Wait for the time it names, send less often, or raise rateLimitMaxRequests.'];
const WORDS = {
  // RNode's error types
  room_join_error: ['There is no such room, or this connection is in it already.', 'Create the room under Rooms and join it by its id.'],
  room_full: ['The room has as many connections as its maxConnections.', 'Leave from elsewhere, or create it with more.'],
  not_a_member: ['Only members of a room speak in it.', 'Join the room first.'],
  client_not_found: ['Nobody of this client id is connected.', 'Look for the ids of members under Rooms.'],
  invalid_format: ['A direct message needs a client and text.', 'Name the client’s id; the data must be a string.'],
  rate_limited: LIMITED,
  // Ignis
  'Not authenticated': ['The connection spoke before it showed a token.', 'Give a token above and connect again.'],
  'Already authenticated': ['A connection authenticates once.', 'Connect again to be somebody else.'],
  'Authentication failed': ['The token is wrong.', facts.devToken ? `Here the token “${facts.devToken}” will do.` : 'Ask who runs the server for a token.'],
  'Invalid message format': ['It was not {"event": …, "data": …}.', 'Send JSON with the name of an event.'],
  'Too many requests, please slow down': LIMITED,
  // MB
  MALFORMED_MESSAGE: ['The header line cannot be read.', 'It is action:topic:version:requestId, then a newline, then JSON.'],
  NO_ROUTE_FOUND: ['Nobody subscribes to this topic.', 'Subscribe first, here under Topics or in another window.'],
  SERVICE_UNAVAILABLE: ['The service is gone, or too much is sent.', 'Try again after a moment.'],
  TIMEOUT: ['The subscriber did not answer in time.', 'See whether it runs; give the request more time.'],
  TOPIC_NOT_SUPPORTED: ['The broker has no such topic of its own.', 'Topics that begin with system. are the broker’s: see its list.'],
  INVALID_REQUEST: ['Something in the payload is missing or wrong.', 'The message says what; correct it and send again.'],
  VERSION_NOT_SUPPORTED: ['The version is not of the form x.y.z.', 'Use 1.0.0.'],
  INVALID_REQUEST_ID: ['The id of a request is not a UUID.', 'Let the console choose it.'],
};
const CLOSES = {
  4001: ['authentication timeout', 'Nobody authenticated in time.', 'Give the token or the API key above and connect again.'],
  4002: ['heartbeat timeout', 'Nothing was heard from this side for too long.', 'Connect again; keep this page in the foreground.'],
  4003: ['authentication failed', 'The token or key is wrong.', 'Correct it above and connect again.'],
  4004: ['encryption required', 'The server talks only to those who agree on keys.', 'Give the encryption key, or choose to exchange one, and connect again.'],
};
const CAUSES = {
  1000: 'One side was done, and said so.',
  1001: 'The server stops, or the page was left.',
  1002: 'One side sent what breaks the rules of WebSocket.',
  1003: 'This route does not take that kind of message.',
  1005: 'The other side closed without saying why.',
  1006: 'It ended without a word: the process, the network or a proxy cut it.',
  1007: 'Data did not fit the type of their message, such as text that is not UTF-8.',
  1008: 'A rule of the server was broken.',
  1009: 'A message was longer than the receiver takes.',
  1011: 'The server met something it did not expect.',
  1012: 'The server restarts.',
  1013: 'The server is overloaded, or this page read too slowly.',
};

/** A problem: what happened, why, and what cures it. `said` is what the server itself says of it. */
export const problemOf = (code, message, said) => {
  const [title, cause, cure] = facts.errors?.[code] ?? [undefined, ...(WORDS[code] ?? WORDS[message] ?? [])];
  return {
    code: code ?? '',
    title: said?.message ?? message ?? title ?? 'Error',
    cause: said?.cause ?? cause ?? 'The server does not say.',
    cure: said?.solution ?? cure ?? 'The log of the server may tell more.',
  };
};

/** The end of a connection; `undefined` if nothing is wrong with it. */
export const closeOf = (code, reason, opened, path) => {
  const known = facts.closes?.[code] ?? [];
  let [title, cause, cure] = CLOSES[code] ?? [known[0], CAUSES[code], known[1]];
  if (code === 1006 && !opened) {
    title = 'not opened';
    const exists = facts.routes.some((route) => route.path === path);
    cause = 'The server refused, or is not there; browsers hide which.';
    cure = exists || !path ? 'See that it runs, that this origin may connect, and that credentials are right.' : `This server has no route ${path}: choose one of ${facts.routes.map((route) => route.path).join(' ')}.`;
  }
  return {
    code: String(code),
    title: `${title ?? 'private code'}${reason ? `: ${reason}` : ''}`,
    cause: cause ?? 'Only the application knows what this code means.',
    cure: cure || (code === 1000 || code === 1005 ? 'Nothing to cure.' : 'Look for the code in its documentation.'),
  };
};
