// The console: connects, and tells what happens.

import * as charts from './charts.js';
import * as composer from './composer.js';
import { ignis } from './dialects/ignis.js';
import { mb } from './dialects/mb.js';
import { raw } from './dialects/raw.js';
import { rnode } from './dialects/rnode.js';
import { smartsocket } from './dialects/smartsocket.js';
import * as log from './log.js';
import { $, closeOf, facts, make, ms, number, plural, problemOf, put, short, timeOfDay } from './words.js';

const DIALECTS = { smartsocket, ignis, rnode, mb, raw };
const OTHER = 'other';
const announce = (text) => put($('say'), text);

// ---- Problems: the list of them, and a row among the messages

const MAX_PROBLEMS = 50;
let troubles = 0;

const report = (problem, body = '') => {
  const { code, title, cause, cure } = problem;
  log.add({ way: '', type: 'problem', name: code || 'problem', body, size: 0, problem, wire: `${title} ${cause} ${cure}` });
  const list = $('problems');
  const key = `${code} ${title}`;
  const newest = list.firstElementChild;
  const times = newest?.dataset.key === key ? +newest.dataset.times + 1 : 1;
  const item = make(
    'li',
    {},
    make('p', {}, make('b', {}, code || title), make('time', {}, `${times > 1 ? `${times}×, ` : ''}${timeOfDay(Date.now()).slice(0, 8)}`)),
    code ? make('p', {}, make('b', {}, title)) : '',
    make('p', {}, make('span', { className: 'soft' }, 'Cause '), cause),
    make('p', {}, make('span', { className: 'soft' }, 'Cure '), cure),
  );
  Object.assign(item.dataset, { key, times });
  if (times > 1) newest.replaceWith(item);
  else list.prepend(item);
  if (list.children.length > MAX_PROBLEMS) list.lastElementChild.remove();
  troubles++;
  showTroubles();
  announce(`${key}. Cause: ${cause} Cure: ${cure}`);
};
const showTroubles = () => {
  put($('problems-about'), troubles ? number(troubles) : '');
  $('forget').hidden = $('problems-empty').hidden = true;
  $(troubles ? 'forget' : 'problems-empty').hidden = false;
  badge('figures', troubles);
};
$('forget').onclick = () => {
  $('problems').replaceChildren();
  troubles = 0;
  showTroubles();
};

// ---- The connection

/** What connects, the link it is by, and where it stands. */
let link;
let state = 'closed';
let self;
let since;
let place;
let dialect = smartsocket;
/** The rooms this connection is in, as far as it knows; and those that are told of. */
const mine = new Map();
let told = [];

const secure = location.protocol === 'https:' ? 'wss:' : 'ws:';
const here = `${secure}//${location.host}`;

const address = () => {
  const route = $('route').value;
  if (route !== OTHER) return new URL(here + route);
  const text = $('url').value.trim();
  const url = new URL(text.startsWith('/') ? here + text : /^\w+:\/\//.test(text) ? text : `${secure}//${text}`);
  url.protocol = url.protocol.replace('http', 'ws');
  return url;
};

const show = (next, text = next) => {
  state = next;
  $('state').dataset.state = next;
  put($('status'), text);
  put($('connect'), { closed: 'Connect', open: 'Disconnect', trying: 'Cancel' }[next]);
  $('connect').classList.toggle('main', next === 'closed');
  for (const field of ['route', 'url', 'dialect']) $(field).disabled = next !== 'closed';
  for (const field of $('credentials').querySelectorAll('input, select')) field.disabled = next !== 'closed';
  composer.useLink(next === 'open' ? link : undefined);
  document.title = `${next === 'open' ? `${place.pathname} – ` : ''}smartsocket console`;
  showRooms();
};
const tell = (about) => {
  put($('about'), about);
  $('about').title = about;
};

const connect = () => {
  try {
    place = address();
  } catch {
    report({ code: '', title: 'This is no address', cause: `“${$('url').value}” cannot be read as a URL.`, cure: 'Write ws://host:port/path, or a path of this server.' });
    return $('url').focus();
  }
  const given = {};
  for (const field of $('credentials').querySelectorAll('[name]')) given[field.name] = field.value.trim();
  self = undefined;
  let opened = false;
  let over = false;
  // What is said after the end is not of the connection that follows.
  const of = (act) => (...rest) => (over ? undefined : act(...rest));
  const hooks = {
    frame: of((way) => counted[way]++),
    entry: (row) => log.add(row),
    renamed: of((text) => show('trying', text)),
    self: of((id) => (self = id)),
    opened: of((about) => {
      since = Date.now();
      opened = true;
      show('open');
      tell([place.pathname, dialect.label, self && `id ${short(self)}`, about].filter(Boolean).join(' · '));
      note('opened', `${place.origin}${place.pathname}${about ? `, ${about}` : ''}`);
      pollRooms();
    }),
    ended: of(({ code, reason, again, final, known }) => {
      mine.clear();
      const problem = known ?? closeOf(code, reason, opened, place.host === location.host ? place.pathname : undefined);
      const lasted = opened ? ` after ${lastedFor(Date.now() - since)}` : '';
      if (known) note('closed', `${known.title}${lasted}`);
      else if (code === 1000 || link?.left) note('closed', link?.left && !opened ? 'given up' : `${code} ${problem.title}${lasted}`);
      else report(problem);
      opened = false;
      if (again) return show('trying', `again in ${ms(again.delay)}, try ${again.attempt}`), tell(`${problem.code} ${problem.title}`);
      if (final) {
        over = true;
        link = undefined;
        show('closed');
        tell(`${problem.code} ${problem.title}${lasted}`);
        told = [];
        showRooms();
      }
    }),
    trip: (time) => second.length < MOST_TRIPS && second.push(time),
    problem: (problem, body) => report(problem, body),
    dropped: (count) => (counted.dropped += count),
    room: of((name, isIn, kind = '') => {
      const key = `${kind} ${name}`;
      if (isIn) mine.set(key, { id: name, kind });
      else mine.delete(key);
      showRooms();
      setTimeout(pollRooms, 100);
    }),
    topics: of((topics) => {
      told = topics.map((topic) => ({ ...topic, name: topic.id, count: topic.members.length }));
      showRooms();
    }),
  };
  try {
    show('trying', 'connecting');
    tell(place.origin + place.pathname);
    link = dialect.connect(place, given, hooks);
  } catch (error) {
    show('closed');
    tell('');
    report({ code: '', title: 'Not tried', cause: error.message, cure: 'Correct it above: the address, the key (32 bytes as `smartsocket keygen` makes them), or the names of subprotocols.' });
  }
};
const lastedFor = (time) => (time < 60_000 ? ms(time) : time < 3_600_000 ? `${Math.floor(time / 60_000)} min` : `${(time / 3_600_000).toFixed(1)} h`);
const note = (name, text) => {
  log.add({ way: '', type: 'note', name, body: text, size: 0 });
  announce(`${name}: ${text}`);
};

const toggle = () => {
  if (!link) return connect();
  link.left = true;
  link.close();
};
$('connection').addEventListener('submit', (event) => {
  event.preventDefault();
  toggle();
});

// ---- The form, which the address of the page remembers, but for what is secret

/** Credentials, data and what is looked for in them are in neither the address nor the storage. */
const remember = () => {
  const { kind, name } = composer.composed();
  const said = { route: $('route').value, dialect: $('dialect').value, kind, name, type: $('type').value };
  // A query may hold a token.
  if (said.route === OTHER) said.url = $('url').value.replace(/[?#].*/, '').replace(/\/\/[^/]*@/, '//');
  const fields = Object.entries(said).filter(([, value]) => value);
  history.replaceState(null, '', `#${new URLSearchParams(fields)}`);
};

const chooseRoute = () => {
  const route = $('route').value;
  const known = facts.routes.find(({ path }) => path === route);
  $('url-field').hidden = route !== OTHER;
  if (known) $('dialect').value = known.dialect;
  chooseDialect();
};
const chooseDialect = () => {
  dialect = DIALECTS[$('dialect').value];
  const isHere = $('route').value !== OTHER;
  const kept = Object.fromEntries(Array.from($('credentials').querySelectorAll('[name]'), ({ name, value }) => [name, value]));
  const hints = { apiKey: facts.apiKey && 'needed here', encryptionKey: facts.encrypted && 'needed here', token: facts.devToken && `“${facts.devToken}” will do here` };
  const fields = dialect.credentials.map(({ id, label, secret, placeholder = '', options, preset }) => {
    const field = options
      ? make('select', { name: id }, ...options.map(([value, text = value]) => make('option', { value, textContent: text, selected: isHere && value === preset })))
      : make('input', { name: id, type: secret ? 'password' : 'text', placeholder: (isHere && hints[id]) || placeholder, autocomplete: 'off', spellcheck: false });
    if (kept[id]) field.value = kept[id];
    return make('label', {}, make('span', {}, label), field);
  });
  $('credentials').replaceChildren(...fields);
  composer.useDialect(dialect);
  put($('h-rooms'), dialect.rooms ?? 'Rooms');
  put(document.querySelector('nav [data-tab=rooms]'), dialect.rooms ?? 'Rooms');
  $('joining').hidden = !dialect.rooms;
  $('create').hidden = !dialect.creates;
  $('join-kind').hidden = !dialect.joinKinds;
  $('join-kind').replaceChildren(...(dialect.joinKinds ?? []).map(([value, text]) => make('option', { value, textContent: text })));
  put($('join'), dialect.joinWords?.[0] ?? 'Join');
  $('room').placeholder = dialect.joinKinds ? 'events.user' : dialect.creates ? 'Id, or a name to create' : 'Name of a room';
  told = [];
  showRooms();
};

$('route').append(...facts.routes.map(({ path, dialect }) => make('option', { value: path, textContent: `${path} · ${DIALECTS[dialect].label}` })), make('option', { value: OTHER, textContent: 'Another address…' }));
$('dialect').append(...Object.entries(DIALECTS).map(([value, { label }]) => make('option', { value, textContent: label })));
$('route').onchange = () => {
  chooseRoute();
  if ($('route').value === OTHER) $('url').focus();
};
$('dialect').onchange = chooseDialect;

const restore = () => {
  const said = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const set = (id, value) => {
    if (value === undefined) return;
    const before = $(id).value;
    $(id).value = value;
    // A select has no choice that it does not know.
    if ($(id).selectedIndex === -1) $(id).value = before;
  };
  set('route', said.route ?? (facts.routes.some(({ path }) => path === '/chat') ? '/chat' : undefined));
  if (said.url) $('url').value = said.url;
  chooseRoute();
  if (said.dialect !== $('dialect').value) {
    set('dialect', said.dialect);
    chooseDialect();
  }
  composer.fill({ kind: dialect.kinds?.some(([kind]) => kind === said.kind) ? said.kind : undefined, name: said.name });
  set('type', said.type);
  log.refilter();
};
addEventListener('input', () => remember());
addEventListener('change', () => remember());

// ---- The HTTP API: figures and rooms

const api = { open: facts.api, why: facts.api ? '' : 'This server has no HTTP API: only this page’s own figures are shown.' };
if (facts.apiToken) Object.assign(api, { open: false, why: 'The API asks for a token; until then this page’s own figures are shown.', asks: true });

const ask = async (path, options) => {
  const token = $('token').value;
  const headers = { ...(options?.body && { 'Content-Type': 'application/json' }), ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(path, { ...options, headers, cache: 'no-store', signal: AbortSignal.timeout(5_000) });
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  // Asking again would be refused again.
  if ([401, 403].includes(response.status) || path === '/metrics/prometheus') {
    api.open = false;
    api.asks = true;
    api.why = `The HTTP API refused (${response.status} ${said.error ?? ''}): only this page’s own figures are shown.`;
    showApi();
  }
  throw Object.assign(Error(said.error ?? `status ${response.status}`), { status: response.status });
};
const showApi = () => {
  put($('figures-about'), (api.open && api.why) || 'the last two minutes');
  $('api').hidden = !api.asks || api.open;
  put($('api-why'), api.open ? '' : api.why);
  $('api-why').hidden = api.open;
};
$('api').addEventListener('submit', (event) => {
  event.preventDefault();
  api.open = true;
  api.why = '';
  showApi();
  tick();
});

/** { name: value } and { name: { cause: value } } of a text in Prometheus's format. */
const read = (text) => {
  const figures = {};
  for (const line of text.split('\n')) {
    const [, name, cause, value] = /^(\w+)(?:\{cause="(\w+)"\})? ([\d.]+)$/.exec(line) ?? [];
    if (cause) (figures[name] ??= {})[cause] = +value;
    else if (name) figures[name] = +value;
  }
  return figures;
};

const counted = { in: 0, out: 0, dropped: 0 };
let before;
/** Round trips of this second, and those of each of the last minute. */
const MOST_TRIPS = 1_000;
let second = [];
let minute = [];

const sample = async () => {
  const own = { ...counted };
  const at = performance.now();
  let server;
  if (api.open) {
    try {
      server = read(await (await ask('/metrics/prometheus')).text());
      if (api.why) api.why = '';
    } catch (error) {
      if (!error.status) api.why = 'The server does not answer.';
    }
  }
  return { at, own, server };
};

const causes = (dropped) =>
  Object.entries(dropped ?? {})
    .filter(([, n]) => n)
    .map(([cause, n]) => `${cause.replaceAll('_', ' ')} ${number(n)}`);

const take = (now) => {
  const { at, own, server } = now;
  minute = [...minute, { at, times: second }].filter((part) => part.at > at - 60_000);
  const sorted = (times) => Float64Array.from(times).sort();
  const [fresh, recent] = [sorted(second), sorted(minute.flatMap(({ times }) => times))];
  const p = (times) => [charts.percentile(times, 0.5), charts.percentile(times, 0.99)];
  second = [];
  const keepalive = server?.smartsocket_latency_seconds;
  charts.trips.push(fresh.length ? p(fresh) : undefined, recent.length ? charts.trips.words(p(recent)) : [['', 'not measured yet']]);
  $('f-trips').title = keepalive ? `The server’s own pings take ${ms(keepalive * 1_000)} in the mean.` : '';

  const was = before;
  before = now;
  const usable = was && at > was.at && (!server || was.server);
  const seconds = usable ? (at - was.at) / 1_000 : 1;
  // A server that began anew counts from zero.
  const grew = (name) => Math.max(0, server[name] - was.server[name]) / seconds;
  if (server) {
    const active = server.rnode_server_websocket_connections_active;
    charts.connections.push([active], [['accent', `${number(active)} open`], ['', `${number(server.rnode_server_websocket_connections_total)} ever`]]);
  } else charts.connections.push([state === 'open' ? 1 : 0], [['', state === 'open' ? 'this page’s' : 'none of this page']]);
  const rates = !usable ? undefined : server ? [grew('rnode_server_websocket_messages_received_total'), grew('rnode_server_websocket_messages_sent_total')] : [own.in - was.own.in, own.out - was.own.out].map((n) => n / seconds);
  charts.messages.push(rates, rates && [...charts.messages.words(rates), ...(server ? [] : [['', 'this page']])]);

  const dropped = server?.smartsocket_messages_dropped_total ?? {};
  const all = (drops) => Object.values(drops ?? {}).reduce((a, b) => a + b, 0);
  const ours = own.dropped - (was?.own.dropped ?? 0);
  const theirs = usable && server ? Math.max(0, all(dropped) - all(was.server.smartsocket_messages_dropped_total)) : 0;
  const named = [...causes(dropped), own.dropped && `not sent by this page ${number(own.dropped)}`].filter(Boolean);
  charts.drops.push(usable ? [(theirs + ours) / seconds] : undefined, (named.length ? named : ['none']).map((text) => ['', text]));
  showApi();
};

let ticking;
const tick = async () => {
  if (ticking || document.hidden) return;
  ticking = true;
  take(await sample());
  ticking = false;
};
setInterval(tick, 1_000);
setInterval(() => {
  if (!document.hidden) pollRooms();
}, 2_000);
setInterval(() => {
  if ($('probe').checked && link && state === 'open' && !document.hidden) link.probe();
}, 5_000);
document.addEventListener('visibilitychange', () => {
  // What happened meanwhile is not of one second.
  before = undefined;
  tick();
});

// ---- Rooms

const namespace = () => (place && place.host === location.host && link ? place.pathname : $('route').value);

const pollRooms = async () => {
  if (!dialect.rooms && !link) return;
  if (dialect === mb || !api.open || namespace() === OTHER) return showRooms();
  const asked = namespace();
  try {
    const { rooms } = await (await ask(`/websocket/rooms?namespace=${encodeURIComponent(asked)}`)).json();
    if (asked !== namespace()) return;
    told = rooms.map(({ id, name, description, maxConnections, connections }) => ({ id, name, description, most: maxConnections, members: connections, count: connections.length, kind: '' }));
    // Whoever is a member is in it, whatever it knows itself.
    if (self) {
      mine.clear();
      for (const room of told) if (room.members.includes(self)) mine.set(` ${room.id}`, room);
    }
    showRooms();
  } catch {}
};

const MOST_ROOMS = 200;
const MOST_MEMBERS = 50;
const MOST_KNOWN = 1_000;
const unfolded = new Set();
let drawn = '';

const showRooms = () => {
  const others = [...mine].filter(([key]) => !told.some(({ kind, id }) => `${kind} ${id}` === key)).map(([, room]) => ({ ...room, name: room.id }));
  const rooms = [...others, ...told].slice(0, MOST_ROOMS);
  const open = state === 'open';
  $('join').disabled = !open;
  put($('rooms-about'), rooms.length ? `${plural(rooms.length, dialect === mb ? 'topic' : 'room')}, in ${number(mine.size)}` : '');
  const asks = api.open || !api.asks ? '' : ' The API would list them, but asks for a token (see Figures).';
  const none = dialect === raw ? ($('route').value === '/pub' ? 'No rooms here: whatever is sent goes to all of /sub.' : 'No rooms here: messages go as they are.') : dialect === rnode ? 'No rooms yet. Create one, then join it by its id.' : dialect === mb ? 'Subscribe to a topic, then publish to it.' : 'No rooms yet. Join one, and it is there.';
  put($('rooms-empty'), rooms.length ? '' : none + asks);
  // Rows stay as they are as long as nothing changed: the focus is among them.
  const next = JSON.stringify([rooms, [...mine.keys()], open, self, [...unfolded]]);
  if (next === drawn) return;
  drawn = next;
  const focused = document.activeElement?.dataset?.key;
  $('rooms').replaceChildren(...rooms.map(roomItem));
  if (focused) [...$('rooms').querySelectorAll('[data-key]')].find(({ dataset }) => dataset.key === focused)?.focus();
};

const roomItem = (room) => {
  const { id, name, kind, count, most, members, description } = room;
  const key = `${kind ?? ''} ${id}`;
  const isIn = mine.has(key);
  const words = dialect.joinWords ?? ['Join', 'Leave'];
  const button = make('button', { type: 'button', disabled: state !== 'open', ariaLabel: `${words[+isIn]} ${name}` }, words[+isIn]);
  button.dataset.key = `act ${key}`;
  button.onclick = () => (isIn ? link.leave(id, kind) : link.join(id, kind));
  const about = [kind, id !== name && short(id), description, count !== undefined && `${number(count)}${most ? ` of ${number(most)}` : ''} here`].filter(Boolean).join(' · ');
  const summary = make('summary', { title: id }, make('b', {}, name), isIn ? make('span', { className: 'in' }, 'joined') : '', make('span', { className: 'soft small' }, about));
  summary.dataset.key = `see ${key}`;
  const people = make('ul', {}, ...(members ?? []).slice(0, MOST_MEMBERS).map((member) => memberItem(member)));
  if (id !== name) people.prepend(make('li', { className: 'soft' }, `id ${id}`));
  if (!members?.length) people.append(make('li', { className: 'soft' }, members ? 'Nobody is in it.' : 'The server does not tell who is in it.'));
  if (members?.length > MOST_MEMBERS) people.append(make('li', { className: 'soft' }, `and ${number(members.length - MOST_MEMBERS)} more`));
  const details = make('details', { open: unfolded.has(key) }, summary, people);
  details.ontoggle = () => unfolded[details.open ? 'add' : 'delete'](key);
  return make('li', {}, details, button);
};

/** Who members are, as far as somebody asked. */
const known = new Map();
const memberItem = (id) => {
  const about = known.get(id);
  const text = make('span', { title: id }, about ? id : short(id), id === self ? make('b', {}, ' you') : '');
  if (about || dialect === mb) return make('li', {}, text, about && make('span', { className: 'soft' }, ` ${about}`));
  const who = make('button', { type: 'button', className: 'link', ariaLabel: `Who is ${id}?` }, 'who?');
  who.dataset.key = `who ${id}`;
  who.onclick = async () => {
    const told = await ask(`/websocket/clients/${encodeURIComponent(id)}`).then((answer) => answer.json(), ({ message }) => message);
    const { clientId, path, createdAt } = told.client ?? {};
    known.set(id, path ? `${clientId === id ? '' : `${clientId}, `}on ${path} since ${timeOfDay(Date.parse(createdAt)).slice(0, 8)}` : told);
    if (known.size > MOST_KNOWN) known.delete(known.keys().next().value);
    drawn = '';
    showRooms();
  };
  return make('li', {}, text, who);
};

$('joining').addEventListener('submit', (event) => {
  event.preventDefault();
  const room = $('room').value.trim();
  if (room && state === 'open') link.join(room, $('join-kind').value || undefined);
});
$('create').onclick = async () => {
  const name = $('room').value.trim();
  if (!name) return $('room').focus();
  try {
    const { roomId } = await (await ask('/websocket/rooms', { method: 'POST', body: JSON.stringify({ name }) })).json();
    note('created', `room ${name}, ${roomId}`);
    $('room').value = roomId;
    pollRooms();
  } catch (error) {
    report({ ...problemOf(undefined, `Room not created: ${error.message}`), cause: 'The HTTP API makes rooms, and refused.', cure: 'Give its token under Figures, or look at api in the configuration.' });
  }
};

// ---- Messages that are sent again

log.use({
  canSend: () => state === 'open',
  edit(row) {
    if (row.answerTo) composer.fill({ kind: 'response', name: row.answerTo, body: '{}' });
    else composer.fill(dialect.edit(row));
    go('send');
    $($('body-field').hidden ? 'name' : 'body').focus();
  },
  again(row) {
    if (state === 'open') link.send({ answer: false, ...dialect.edit(row) });
  },
});

// ---- Tabs of a narrow page

const badge = (tab, n) => put(document.querySelector(`nav [data-tab=${tab}] b`), n ? (n > 99 ? '99+' : String(n)) : '');
const go = (tab) => {
  document.body.dataset.tab = tab;
  for (const button of document.querySelectorAll('nav button')) button.setAttribute('aria-pressed', button.dataset.tab === tab);
  scrollTo(0, 0);
  charts.redraw();
};
document.querySelector('nav').addEventListener('click', ({ target }) => target.closest('button') && go(target.closest('button').dataset.tab));

// ---- Colours

const dark = matchMedia('(prefers-color-scheme: dark)');
const root = document.documentElement;
const isDark = () => (root.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark';
const themed = () => {
  const text = isDark() ? 'Use light colours' : 'Use dark colours';
  $('theme').title = `${text} (t)`;
  $('theme').ariaLabel = text;
  charts.redraw();
};
// The storage may be blocked; then the choice lasts as long as the page.
try {
  if (localStorage.theme) root.dataset.theme = localStorage.theme;
} catch {}
const turn = () => {
  root.dataset.theme = isDark() ? 'light' : 'dark';
  try {
    localStorage.theme = root.dataset.theme;
  } catch {}
  themed();
};
$('theme').onclick = turn;
dark.addEventListener('change', themed);

// ---- Keys

const focus = (id, tab) => () => {
  go(tab);
  $(id).focus();
};
const help = () => ($('shortcuts').open ? $('shortcuts').close() : $('shortcuts').showModal());
const KEYS = [
  ['c', 'Connect or disconnect', toggle],
  ['e', 'Write a message', () => focus($('body-field').hidden ? 'name' : 'body', 'send')()],
  ['Ctrl Enter', 'Send it, from any of its fields'],
  ['j', 'Join a room', focus('room', 'rooms')],
  ['l', 'Go to the list of messages', focus('log', 'log')],
  ['↑ ↓', 'Choose a message there'],
  ['y', 'Copy the chosen message', () => $('detail').hidden || $('copy').click()],
  ['s', 'Send the chosen message again', () => $('detail').hidden || $('again').click()],
  ['/', 'Filter', focus('filter', 'log')],
  ['p', 'Pause the list, or go on', () => log.pause()],
  ['x', 'Clear the list', log.clear],
  ['t', 'Light or dark', turn],
  ['?', 'These keys', help],
  ['Esc', 'Close what is open, leave a field'],
];
$('keys').append(...KEYS.map(([key, text]) => make('div', {}, make('dt', {}, ...key.split(' ').map((part) => make('kbd', {}, part))), make('dd', {}, text))));
$('help').onclick = help;
addEventListener('keydown', (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const writes = target.matches?.('input:not([type=checkbox]), textarea, select');
  if (key === 'Escape' && !$('shortcuts').open) {
    if (!log.close() && writes) target.blur();
    return;
  }
  if (writes || ($('shortcuts').open && key !== '?')) return;
  const [, , act] = KEYS.find(([known]) => known === key) ?? [];
  if (!act) return;
  event.preventDefault();
  act();
});

restore();
themed();
showTroubles();
showApi();
show('closed');
tell(`version ${facts.version ?? '?'}`);
tick();
pollRooms();
