/**
 * SmartSocket in browsers and Node: events with acks over one WebSocket that comes back
 * when it breaks. No dependency; options and events are described in smartsocket.d.ts.
 *
 *     import SmartSocketClient from './smartsocket.js';
 *     const client = new SmartSocketClient('ws://localhost:3000', { namespace: '/chat' });
 *     client.on('message', (data) => console.log(data));
 *     await client.connect();
 *     client.emit('message', { text: 'Hello' }, (answer) => console.log(answer));
 *
 * This file is an ES module. Its only `export` is its last statement, without which it is
 * the body of the classic script that the server makes of it (`/client.js`).
 */

// ---- Errors and log lines

const MESSAGES = {
  CONN: ['Connection refused', 'Connection timeout', 'Handshake failed', 'Authentication failed', 'Max connections exceeded', 'Connection lost'],
  MSG: ['Invalid message format', 'Decompression failed', 'Decryption failed', 'Message too large'],
  ACK: ['Acknowledgment timeout'],
};

class SmartSocketError extends Error {
  name = 'SmartSocketError';

  /** `data`: what the server said of it, if it did. */
  constructor(code, message, data) {
    super(code ? `${code}: ${message}` : message);
    this.code = code;
    this.data = data;
  }
}

const fault = (kind, number, message = MESSAGES[kind][number - 1]) => new SmartSocketError(`ERR_${kind}_00${number}`, message);
/** What we say of an error: as much as we know. */
const known = (error, number) => (error instanceof SmartSocketError ? error : fault('MSG', number));
const misuse = (text) => {
  throw new TypeError(text);
};
/** Whoever tries again with the same options fails again. */
const isFatal = (error) => /CONN_004|MSG_005/.test(error?.code);

const LEVELS = ['error', 'warn', 'info', 'debug', 'trace'];

const logger = {
  level: 'warn',
  /** Shows this level and those before it: error, warn, info, debug, trace. */
  setLevel(level) {
    this.level = level;
  },
};

/** `data` is given to the console as it is, to be looked into there. */
const log = (level, text, ...data) => {
  // `console.trace` would print where it was called.
  if (LEVELS.indexOf(level) <= LEVELS.indexOf(logger.level)) console[level === 'trace' ? 'debug' : level](`[smartsocket] [${level}] ${text}`, ...data);
};
const json = JSON.stringify;
const debug = (text, ...data) => log('debug', text, ...data);

try {
  // As the npm package `debug` is asked. Pages may be forbidden to look into the storage.
  const names = globalThis.process ? process.env.DEBUG : localStorage.debug;
  if (/(^|[\s,])(\*|smartsocket)/.test(names)) logger.level = 'debug';
} catch {}

// ---- Bytes

const toBytes = (text) => new TextEncoder().encode(text);
const toText = (bytes) => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);

const concat = (...parts) => {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
};

/** Without a copy. */
const cut = (bytes, ...range) => bytes.subarray(...range);

/** Big endian. */
const number = (bytes, at, length = 4) => cut(bytes, at, at + length).reduce((sum, byte) => sum * 256 + byte, 0);
/** Numbers of 32 bits. */
const numbers = (...values) => concat(...values.map((value) => [value >>> 24, value >>> 16, value >>> 8, value]));

/** All that comes out of a stream, but no more than `max` bytes. */
const through = async (stream, data, max) => {
  const reader = new Blob([data]).stream().pipeThrough(stream).getReader();
  const parts = [];
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return concat(...parts);
    size += value.length;
    if (size > max) {
      reader.cancel();
      throw fault('MSG', 4);
    }
    parts.push(value);
  }
};

// ---- Packets: 01 length(4) JSON; 02 id(4) total(4) index(4) size(4) bytes; 03 compressed

const CHUNK = 65_536;
/** In a chunk's id: what the chunks make is compressed. */
const COMPRESSED = 2 ** 31;
let chunkId = 0;

/** Raw DEFLATE, or zlib if the first two bytes are a header of it (RFC 1950). */
const inflate = async (data, max) => {
  const zlib = (data[0] & 15) === 8 && ((data[0] << 8) | data[1]) % 31 === 0;
  return through(new DecompressionStream(zlib ? 'deflate' : 'deflate-raw'), data, max).catch((error) => {
    throw known(error, 2);
  });
};

/** The messages that an envelope is sent as. */
const pack = async (text, binary, threshold) => {
  const plain = toBytes(text);
  if (binary === 'none' || plain.length <= threshold) return [text];
  let data = plain;
  let flag = 0;
  if (binary === 'compressed') {
    const packed = await through(new CompressionStream('deflate'), plain, Infinity);
    // Receivers take what inflates to very much for a bomb.
    if (packed.length < plain.length * 0.85 && (plain.length <= CHUNK || plain.length <= packed.length * 200)) {
      data = packed;
      flag = COMPRESSED;
    }
  }
  if (data.length <= CHUNK) return [flag ? concat([3], data) : concat([1], numbers(data.length), data)];
  chunkId = (chunkId + 1) % COMPRESSED;
  const total = Math.ceil(data.length / CHUNK);
  return Array.from({ length: total }, (_, i) => {
    const part = cut(data, i * CHUNK, (i + 1) * CHUNK);
    return concat([2], numbers(chunkId + flag, total, i, part.length), part);
  });
};

/** Makes an envelope of what comes; of all chunks but the last, `undefined`. */
const unpacker = (max) => {
  const sets = new Map();
  return async (data) => {
    const [kind] = data;
    const inflated = async (bytes) => toText(await inflate(bytes, max));
    if (kind === 3) return inflated(cut(data, 1));
    // What the older server sends to rooms has no mark of ours: zlib, or JSON.
    if (kind === 0x78) return inflated(data);
    if (kind === 0x7b) return toText(data);
    const [id, total, index, size] = [1, 5, 9, 13].map((at) => number(data, at));
    if (kind === 1 && id === data.length - 5) return toText(cut(data, 5));
    const part = cut(data, 17);
    if (kind !== 2 || !size || size !== part.length || index >= total) throw fault('MSG', 1);
    let set = sets.get(id);
    // The same id with another total is another message.
    if (set?.total !== total) set = { total, parts: [], got: 0, size: 0 };
    sets.delete(id);
    if (!set.parts[index]) {
      set.parts[index] = part;
      set.got += 1;
      set.size += size;
    }
    if (set.size > max || total * 64 > max) throw fault('MSG', 4);
    if (set.got === total) {
      const whole = concat(...set.parts);
      return id < COMPRESSED ? toText(whole) : inflated(whole);
    }
    sets.set(id, set);
    // What never gets whole must not stay for ever.
    if (sets.size > 8) sets.delete(sets.keys().next().value);
  };
};

// ---- Encryption: of a key that both sides have, of what each drew, and of a key exchange

const SUITES = { 'aes-256-cbc': 1, 'aes-256-gcm': 2 };
/** What flags say is inside a record. */
const TEXT = 1;
const CONTROL = 4;
/** The suite of records that a server seals once for many. */
const GROUP = 3;

const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));
const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const random = (length) => crypto.getRandomValues(new Uint8Array(length));
const differ = (a, b) => a.length !== b.length || a.reduce((sum, byte, i) => sum | (byte ^ b[i]), 0);
const subtle = async (method, ...rest) => new Uint8Array(await crypto.subtle[method](...rest));

const readKey = (text) => {
  if (/^[0-9a-f]{64}$/i.test(text)) return Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
  const key = /^[A-Za-z0-9+/]{43}=$/.test(text) && fromBase64(text);
  // Only one text stands for each key.
  if (!key || toBase64(key) !== text) misuse('encryptionKey is not 32 bytes in base64 or hex');
  return key;
};

const importKey = (name, key, ...uses) => crypto.subtle.importKey('raw', key, name, false, uses);
const hmac = async (hash, key, data) => subtle('sign', 'HMAC', await importKey({ name: 'HMAC', hash }, key, 'sign'), data);

/** RFC 5869, up to two blocks. */
const expand = async (prk, info, length) => {
  const block = (last, n) => hmac('SHA-256', prk, concat(last, toBytes(info), [n]));
  const first = await block([], 1);
  return cut(concat(first, await block(first, 2)), 0, length);
};

/** What one side sends: the sequence goes on when the keys change, which `epoch` counts. */
const direction = async (way, suite, prk, epoch = 0, sequence = 0) => {
  const cbc = suite === 1;
  const name = cbc ? 'AES-CBC' : 'AES-GCM';
  let aes, extra, records, bytes, until;

  const derive = async () => {
    const keys = await expand(prk, `smartsocket/e1 ${way} ${cbc ? 'a256cbc-hs512' : 'a256gcm'}`, cbc ? 64 : 44);
    const [first, rest] = [cut(keys, 0, 32), cut(keys, 32)];
    aes = await importKey(name, cbc ? rest : first, 'encrypt', 'decrypt');
    extra = cbc ? first : rest;
    records = bytes = 0;
    until = Date.now() + 86_400_000;
  };
  const rekey = async () => {
    prk = await expand(prk, 'smartsocket/e1 rekey', 32);
    epoch = (epoch + 1) & 255;
    await derive();
  };
  const next = (flags) => concat([0xe1, suite, epoch, flags], numbers(sequence / 2 ** 32, sequence++));
  const cipher = (method, head, iv, data) => {
    const gcm = () => ({ iv: extra.map((byte, i) => byte ^ (i < 4 ? 0 : head[i])), additionalData: head });
    return subtle(method, { name, ...(cbc ? { iv } : gcm()) }, aes, data);
  };
  // The last number is that of the head's bits.
  const tag = async (...parts) => cut(await hmac('SHA-512', extra, concat(...parts, numbers(0, 96))), 0, 32);

  await derive();
  return {
    async seal(flags, plain) {
      bytes += plain.length;
      // Well before the receiver must refuse, which counts all of a record.
      if (++records > 2 ** 23 || bytes > 2 ** 35 || Date.now() > until) await rekey();
      const head = next(flags);
      const iv = random(cbc ? 16 : 0);
      const sealed = concat(iv, await cipher('encrypt', head, iv, plain));
      return concat(head, sealed, cbc ? await tag(head, sealed) : []);
    },
    /** Throws the same whatever is wrong, and is not to be used any more after it. */
    async open(record) {
      try {
        // Not all of a group's records come here, but none twice.
        if (suite === GROUP) sequence = Math.max(sequence, number(record, 4, 8));
        for (let ahead = (record[2] - epoch) & 255; ahead--; ) await rekey();
        const head = next(record[3]);
        const sealed = cut(record, 12, cbc ? -32 : undefined);
        if (differ(head, cut(record, 0, 12)) || (cbc && differ(await tag(head, sealed), cut(record, -32)))) throw 0;
        return [record[3], await cipher('decrypt', head, cut(sealed, 0, 16), cut(sealed, cbc ? 16 : 0))];
      } catch {
        throw fault('MSG', 3);
      }
    },
  };
};

/** What the client says first, and what it makes of the answer. Its private key is for one connection. */
const greet = async (key, suites, namespace) => {
  if (!globalThis.crypto?.subtle) misuse('encryption needs https or localhost');
  const draw = (curve) => crypto.subtle.generateKey(curve, false, ['deriveBits']);
  // Not all have X25519.
  const { publicKey, privateKey } = await draw({ name: 'X25519' }).catch(() => draw({ name: 'ECDH', namedCurve: 'P-256' }));
  const curve = publicKey.algorithm;
  const ours = await subtle('exportKey', 'raw', publicKey);
  const id = key ? await expand(await hmac('SHA-256', toBytes('smartsocket/e1 key id'), key), '', 4) : [];
  const name = key && number(id, 0).toString(16).padStart(8, 0);
  const nonce = random(32);
  return {
    encryption: { suites, kid: name, nonce: toBase64(nonce), publicKey: toBase64(ours) },
    /** Both directions, of what each side said in the open: throws when that does not fit. */
    async agree({ suite, kid, salt, serverPublicKey }) {
      if (!suites.includes(suite) || kid !== name) throw 0;
      const theirs = fromBase64(serverPublicKey);
      const said = [toBytes('smartsocket/e1'), [suite], id, suites, toBytes(namespace), nonce, fromBase64(salt), ours, theirs];
      const transcript = await subtle('digest', 'SHA-256', concat(...said.map((part) => concat([part.length >> 8, part.length], part))));
      const exchanged = await subtle('deriveBits', { ...curve, public: await importKey(curve, theirs) }, privateKey, 256);
      const prk = await hmac('SHA-256', transcript, concat(key ?? new Uint8Array(32), exchanged));
      return { transcript, c2s: await direction('c2s', suite, prk), s2c: await direction('s2c', suite, prk) };
    },
  };
};

// ---- One connection

/** Does jobs one after another; what one throws is told to `failed`. */
const line = (failed) => {
  let last = Promise.resolve();
  return (job) => (last = last.then(job).catch(failed));
};

/** From the first byte of a socket to the last. `hooks` hears of envelopes and of the end. */
const connectTo = (url, options, secret, hooks) => {
  const { binary, apiKey, namespace, maxMessage, heartbeatTimeout, compressionThreshold } = options;
  const socket = new options.WebSocket(url);
  const unpack = unpacker(maxMessage);
  const timers = [];
  // Until the server answers in a way that older ones do not.
  let sends = binary === 'none' ? binary : 'plain';
  let over, deaf, said, ready, hello, session, secure, group, bye, heard, watching;

  const after = (delay, job) => timers.push(setTimeout(job, delay));
  const stop = () => {
    over = true;
    timers.forEach(clearTimeout);
  };
  const end = (code, reason, error) => {
    if (over) return;
    stop();
    hooks.end(code, reason, error);
  };
  const fail = (error) => {
    end(1006, '', error);
    socket.close();
  };
  const out = line(fail);
  // A message that cannot be read harms only itself, a record all that come after it.
  const incoming = line((error) => {
    const why = known(error, 1);
    if (!secret) hooks.error(why);
    // Before there are keys it is the agreement that failed.
    else fail(secure ? why : fault('CONN', 4));
  });
  const write = (message) => {
    if (over) return;
    socket.send(message);
    debug(`Sent message (${message.length} bytes)`);
  };
  const seal = (flags, plain) => out(async () => write(await session.c2s.seal(flags, plain)));
  const send = (text) => {
    if (session) seal(TEXT, toBytes(text));
    else out(async () => (await pack(text, sends, compressionThreshold)).forEach(write));
  };
  const sendEvent = (event, data) => send(json({ event, data }));

  /** The application may speak. */
  const start = () => {
    if (ready || over) return;
    ready = true;
    hooks.open();
  };

  const opened = async () => {
    debug('WebSocket connection opened');
    heard = Date.now();
    if (secret) hello = await greet(...secret, namespace);
    else if (!options.connectAckTimeout) return start();
    debug('Sending CONNECT message');
    // Anybody may read this: the rest is said when it is sealed.
    const more = hello ? { namespace, encryption: hello.encryption } : { namespace: options.moveTo, apiKey, binary };
    socket.send(json({ event: 'CONNECT', data: { version: '1.0.0', ...more } }));
    // Older servers do not know the message, and speak of nothing secret.
    if (!hello) after(options.connectAckTimeout, start);
  };

  /** The answer to CONNECT. */
  const accepted = async ({ id, encryption }) => {
    debug('Received CONNECT_ACK');
    if (id) hooks.named(id);
    if (!secret || secure) {
      sends = binary;
      return start();
    }
    session = await hello.agree(encryption);
    // With its private key: nobody finds that later.
    hello = undefined;
  };

  /** A record. The first says that the other side has the key, as ours does then. */
  const open = async (record) => {
    const [flags, plain] = await ((record[1] === GROUP && group) || session.s2c).open(record);
    if (secure) {
      if (flags !== CONTROL) return flags ? toText(plain) : unpack(plain);
      bye = plain[0] === 1;
      if (plain[0] === 2) group = await direction('group', GROUP, cut(plain, 10), plain[1], number(plain, 2, 8));
      return;
    }
    const first = concat([0], session.transcript);
    if (flags !== CONTROL || differ(plain, first)) throw 0;
    secure = true;
    seal(CONTROL, first);
    if (apiKey) sendEvent('CONNECT', { apiKey });
    else start();
  };

  const receive = async (data) => {
    if (over || deaf) return;
    const isText = typeof data === 'string';
    const text = await (session ? open(new Uint8Array(isText ? 0 : data)) : isText ? data : unpack(new Uint8Array(data)));
    if (text === undefined) return;
    const { event, data: inner } = JSON.parse(text);
    if (typeof event !== 'string') throw 0;
    if (event === 'CONNECT_ACK') return accepted(inner ?? {});
    if (event === 'error' && !ready && isFatal(inner)) return fail(new SmartSocketError(inner.code, inner.message, inner));
    // What nobody sealed nobody need have said.
    if (secret && !session) return;
    if (event !== 'ping') return hooks.receive(event, inner);
    sendEvent('pong', inner);
    // A server that pings once does so again, or is gone.
    const look = () => {
      const left = heard + heartbeatTimeout - Date.now();
      if (left > 0) after(left, look);
      else fail(fault('CONN', 6));
    };
    if (!watching && heartbeatTimeout) look();
    watching = true;
  };

  const closed = (code, reason) => {
    // Encrypted, the end is one only if it is sealed.
    let number = code === 1000 && (!session || bye) ? 0 : 6;
    // Some sockets tell the status of the answer; browsers do not.
    const status = /response: (\d+)/.exec(said)?.[1];
    if (!ready) number = { 401: 4, 503: 5 }[status] ?? (status || heard ? 3 : 1);
    if (code === 4001 || code === 4003) number = 4;
    end(code, reason, number ? fault('CONN', number) : undefined);
  };

  socket.binaryType = 'arraybuffer';
  socket.onopen = () => out(opened);
  socket.onmessage = ({ data }) => {
    heard = Date.now();
    incoming(() => receive(data));
  };
  socket.onerror = ({ message }) => {
    said = message;
  };
  socket.onclose = ({ code, reason }) => incoming(() => closed(code, reason));
  after(options.connectionTimeout, () => ready || fail(fault('CONN', 2)));
  return {
    send,
    /** Ends it when all is sent; what comes until then is not heard. */
    close() {
      deaf = true;
      if (secure) seal(CONTROL, Uint8Array.of(1));
      out(() => {
        stop();
        socket.close(1000);
      });
    },
  };
};

// ---- The client

const DEFAULTS = {
  namespace: '/',
  namespaceBy: 'path',
  enableNamespaces: true,
  enableAcknowledgments: true,
  enableErrorHandling: true,
  reconnectDelay: 1_000,
  reconnectJitter: 0.5,
  maxReconnectAttempts: 10,
  ackTimeout: 30_000,
  ackField: '__ackId',
  connectionTimeout: 30_000,
  connectAckTimeout: 2_000,
  heartbeatTimeout: 90_000,
  maxQueueMessages: 1_000,
  maxQueueBytes: 2 ** 20,
  maxMessage: 2 ** 24,
  compressionThreshold: 1_024,
  binary: globalThis.CompressionStream ? 'compressed' : 'plain',
};

const LONGEST_DELAY = 30_000;
/** A connection that held for so long is no sign of a server in trouble. */
const STABLE = 5_000;
/** What only the client itself says, never a server. */
const LOCAL = /^((dis)?connected|state:changed|reconnect:(attempt|failed)|message:dropped)$/;

class SmartSocketClient {
  static logger = logger;
  /** Storage for the application. */
  data = {};
  state = 'disconnected';
  connected = false;
  /** Messages that wait for a connection. */
  queued = 0;

  constructor(url = '/', given) {
    const client = this;
    const options = { ...DEFAULTS, WebSocket: globalThis.WebSocket };
    for (const name in given) options[name] = given[name] ?? options[name];
    const { maxQueueMessages, maxQueueBytes, enableEncryption, encryptionKey, encryptionAlgorithm, ackField } = options;
    if (!options.WebSocket) misuse('no WebSocket: give one as an option');
    const place = new URL(url, globalThis.location?.href);
    place.protocol = place.protocol.replace('http', 'ws');
    place.hash = '';
    const namespace = options.enableNamespaces ? options.namespace.replace(/^\/*/, '/') : '/';
    if (options.namespaceBy === 'connect') options.moveTo = namespace;
    else if (namespace !== '/') place.pathname = place.pathname.replace(/\/$/, '') + namespace;
    else options.namespace = place.pathname;
    let secret;
    if (enableEncryption ?? encryptionKey) {
      const suites = encryptionAlgorithm ? [SUITES[encryptionAlgorithm]] : [1, 2];
      if (!suites[0]) misuse('encryptionAlgorithm is unknown');
      // Nobody goes without a key who did not say so.
      secret = [encryptionKey || enableEncryption !== 'exchange' ? readKey(encryptionKey) : undefined, suites];
    }

    const listeners = new Map();
    const acks = new Map();
    let queue = [];
    let bytes = 0;
    let attempt = 0;
    let lastAck = 0;
    let link, opening, abandon, timer, since;

    const heard = (event) => listeners.get(event) ?? [];
    const listen = (event, listener, once) => {
      listeners.set(event, [...heard(event), { listener, once }]);
      return client;
    };
    /** What each listener gave back; what one throws does not keep others from hearing. */
    const fire = (event, ...args) =>
      heard(event).map(({ listener, once }) => {
        if (once) client.off(event, listener);
        try {
          return listener.apply(client, args);
        } catch (error) {
          setTimeout(() => {
            throw error;
          });
          return { error: error.message };
        }
      });
    const enter = (state) => {
      const previous = client.state;
      client.state = state;
      client.connected = state === 'connected';
      if (state !== previous) fire('state:changed', state, previous);
    };
    const report = (error) => {
      if (options.enableErrorHandling && heard('error')[0]) fire('error', error);
      else log('error', error.message);
    };

    const drop = ({ event, data, settle }, reason) => {
      log('warn', `Dropped message: ${event} (${reason})`);
      settle?.(fault('CONN', 6, `Dropped: ${reason}`));
      fire('message:dropped', { event, data, reason });
    };
    const unqueue = (entry) => {
      queue = queue.filter((other) => other !== entry);
      client.queued = queue.length;
      bytes -= entry.size;
    };
    const send = (entry) => {
      debug(`Emitting event: ${entry.event}`, entry.data ?? '');
      if (client.connected) {
        link.send(entry.text);
        return true;
      }
      entry.size = toBytes(entry.text).length;
      if (queue.length >= maxQueueMessages || bytes + entry.size > maxQueueBytes) {
        drop(entry, 'queue full');
        return false;
      }
      client.queued = queue.push(entry);
      bytes += entry.size;
      return true;
    };

    const opened = () => {
      since = Date.now();
      log('info', 'Connected to server');
      enter('connected');
      fire('connected');
      // What listeners sent is before what waited: a room is joined before it is spoken to.
      for (const entry of queue)
        if (client.connected) {
          unqueue(entry);
          link.send(entry.text);
        }
    };
    const ended = (code, reason, error) => {
      const was = client.connected;
      link = opening = undefined;
      // Nobody knows whether those that were sent have come.
      for (const entry of acks.values()) if (!queue.includes(entry)) entry.settle(fault('CONN', 6));
      if (was && Date.now() - since >= STABLE) attempt = 0;
      const rests = isFatal(error) || attempt >= client.maxReconnectAttempts;
      const longest = Math.min(options.reconnectDelay * 1.5 ** attempt, LONGEST_DELAY);
      const delay = Math.round(longest - longest * options.reconnectJitter * Math.random());
      // By the method's name, which the application may have put another under.
      if (!rests) timer = setTimeout(() => client.connect().catch(() => {}), delay);
      enter(rests ? 'disconnected' : 'reconnecting');
      if (was) fire('disconnected', { code, reason, error });
      if (error) report(error);
      if (rests) {
        if (!isFatal(error)) log('error', 'Max reconnection attempts reached');
        fire('reconnect:failed', { attempts: attempt, error });
      } else fire('reconnect:attempt', { attempt: ++attempt, delay });
    };

    const receive = (event, data) => {
      log('trace', `Received event: ${event}`, data);
      client.onAny?.(event, data);
      if (LOCAL.test(event)) return;
      if (event === 'error') return report(new SmartSocketError(data?.code, data?.message, data));
      // The answer has the id of what was asked: in a message of its own, or among the data.
      const answer = event === '__ack__';
      const entry = acks.get(answer ? data?.ackId : data?._ackId);
      if (entry) return entry.settle(undefined, answer ? data.response : data);
      if (answer || !data?.__ackId) return fire(event, data);
      const { __ackId: ackId, ...rest } = data;
      let asked = link;
      const reply = (response = null) => {
        if (asked && asked === link) link.send(json({ event: '__ack__', data: { ackId, response } }));
        asked = undefined;
      };
      // Who takes a way to answer does so by itself; where nobody listens, nobody does.
      const all = heard(event);
      const silent = !all[0] || all.some(({ listener }) => listener.length > 1);
      Promise.resolve(fire(event, rest, reply)[0])
        .catch(({ message }) => ({ error: message }))
        .then((result) => {
          if (result?.error) reply(result);
          else if (!silent) reply({ success: true, result });
        });
    };

    const connect = async () => {
      clearTimeout(timer);
      enter(attempt ? 'reconnecting' : 'connecting');
      log('info', `Connecting to ${place.origin}${place.pathname.replace(/\/$/, '')}`);
      await new Promise((resolve, reject) => {
        abandon = reject;
        const own = connectTo(place.href, options, secret, {
          receive,
          error: report,
          named(id) {
            client.id = id;
          },
          open() {
            opening = undefined;
            opened();
            resolve();
          },
          end(code, reason, error) {
            reject(error);
            if (link === own) ended(code, reason, error);
          },
        });
        link = own;
      });
    };

    Object.assign(client, {
      maxReconnectAttempts: options.maxReconnectAttempts,

      /** Resolves when events go through; what fails is tried again, unless that is pointless. */
      async connect() {
        if (client.connected) return;
        if (client.state === 'disconnected') attempt = 0;
        return (opening ??= connect());
      },

      /** Ends the connection for good; what waits to be sent is dropped. */
      disconnect() {
        const was = client.connected;
        const gone = fault('CONN', 6, 'Disconnected');
        clearTimeout(timer);
        link?.close();
        link = opening = undefined;
        enter('disconnected');
        abandon?.(gone);
        for (const entry of queue) {
          unqueue(entry);
          drop(entry, 'disconnected');
        }
        for (const { settle } of acks.values()) settle(gone);
        if (was) fire('disconnected', { code: 1000, reason: '' });
      },

      /** Many per event, called in turn with the data and, if asked for, a way to answer. */
      on: (event, listener) => listen(event, listener),
      once: (event, listener) => listen(event, listener, true),
      /** Without a listener, all of the event. */
      off(event, listener) {
        listeners.set(event, heard(event).filter((entry) => listener && entry.listener !== listener));
        return client;
      },

      /**
       * Sends an event, or keeps it until there is a connection. `ack` gets the answer, or
       * `null` and an error. `false` if too many wait already.
       */
      emit(event, data, ack, timeout) {
        if (ack) client.emitWithAck(event, data, timeout).then(ack, (error) => ack(null, error));
        else return send({ event, data, text: json({ event, data }) });
        return true;
      },

      /** Sends an event; the promise is of the answer to it. */
      emitWithAck: (event, data, timeout = options.ackTimeout) =>
        new Promise((resolve, reject) => {
          if (!options.enableAcknowledgments) misuse('enableAcknowledgments is false');
          const plain = json(data) ?? '{}';
          const id = ackField === '__ackId' ? `ack_${++lastAck}_${Date.now()}` : ++lastAck;
          const entry = {
            event,
            data,
            // What has no fields has the id beside it.
            text: json(plain[0] === '{' ? { event, data: { ...JSON.parse(plain), [ackField]: id } } : { event, data, ackId: id }),
            settle(error, answer) {
              clearTimeout(late);
              acks.delete(id);
              if (error) reject(error);
              else resolve(answer);
            },
          };
          const late = setTimeout(() => {
            entry.settle(fault('ACK', 1));
            // Whoever asked does not wait any more.
            if (queue.includes(entry)) unqueue(entry);
          }, timeout);
          acks.set(id, entry);
          send(entry);
        }),
    });
  }
}

export { SmartSocketClient, SmartSocketClient as default, SmartSocketError, greet };
