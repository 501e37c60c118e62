// The server's side of encryption, by Node's crypto module alone: what the browser client is
// held against.

import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

const hmac = (hash, key, ...data) => data.reduce((mac, part) => mac.update(part), createHmac(hash, key)).digest();
const extract = (salt, secret) => hmac('sha256', salt, secret);
const expand = (prk, info, length) => {
  let out = Buffer.of();
  for (let last = out, n = 1; out.length < length; n++) {
    last = hmac('sha256', prk, last, info, Buffer.of(n));
    out = Buffer.concat([out, last]);
  }
  return out.subarray(0, length);
};
const prefixed = (part) => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(part.length);
  return Buffer.concat([length, part]);
};

export const keyId = (key) => expand(extract('smartsocket/e1 key id', key), '', 4);

export function transcript({ suite, key, suites, namespace, client, server }) {
  const said = [Buffer.from('smartsocket/e1'), Buffer.of(suite), keyId(key), Buffer.from(suites), Buffer.from(namespace), client, server, Buffer.of(), Buffer.of()];
  return createHash('sha256').update(Buffer.concat(said.map(prefixed))).digest();
}

export const secret = (hash, key) => extract(hash, key);

/** One direction's keys, and its records in order. */
export class Way {
  epoch = 0;
  sequence = 0n;

  constructor(name, suite, prk) {
    Object.assign(this, { name, suite, prk });
    this.#derive();
  }

  #derive() {
    const [label, length] = this.suite === 1 ? ['a256cbc-hs512', 64] : ['a256gcm', 44];
    this.keys = expand(this.prk, `smartsocket/e1 ${this.name} ${label}`, length);
  }

  rekey() {
    this.prk = expand(this.prk, 'smartsocket/e1 rekey', 32);
    this.epoch = (this.epoch + 1) % 256;
    this.#derive();
  }

  #head(flags) {
    const head = Buffer.alloc(12);
    head.set([0xe1, this.suite, this.epoch, flags]);
    head.writeBigUInt64BE(this.sequence++, 4);
    return head;
  }

  #nonce(head) {
    return Buffer.from(this.keys.subarray(32)).map((byte, i) => byte ^ (i < 4 ? 0 : head[i]));
  }

  #tag(...parts) {
    const bits = Buffer.alloc(8);
    bits.writeUInt32BE(96, 4);
    return hmac('sha512', this.keys.subarray(0, 32), ...parts, bits).subarray(0, 32);
  }

  seal(flags, plain, iv = randomBytes(16)) {
    const head = this.#head(flags);
    if (this.suite === 1) {
      const cipher = createCipheriv('aes-256-cbc', this.keys.subarray(32), iv);
      const sealed = Buffer.concat([iv, cipher.update(plain), cipher.final()]);
      return Buffer.concat([head, sealed, this.#tag(head, sealed)]);
    }
    const cipher = createCipheriv('aes-256-gcm', this.keys.subarray(0, 32), this.#nonce(head)).setAAD(head);
    return Buffer.concat([head, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  open(record) {
    if (record[2] !== this.epoch) this.rekey();
    const head = this.#head(record[3]);
    if (!record.subarray(0, 12).equals(head)) throw new Error('not the next record');
    const rest = record.subarray(12);
    if (this.suite === 1) {
      const [sealed, tag] = [rest.subarray(0, -32), rest.subarray(-32)];
      if (!timingSafeEqual(tag, this.#tag(head, sealed))) throw new Error('another tag');
      const cipher = createDecipheriv('aes-256-cbc', this.keys.subarray(32), sealed.subarray(0, 16));
      return { flags: record[3], plain: Buffer.concat([cipher.update(sealed.subarray(16)), cipher.final()]) };
    }
    const cipher = createDecipheriv('aes-256-gcm', this.keys.subarray(0, 32), this.#nonce(head)).setAAD(head);
    cipher.setAuthTag(rest.subarray(-16));
    return { flags: record[3], plain: Buffer.concat([cipher.update(rest.subarray(0, -16)), cipher.final()]) };
  }
}

const TEXT = 1;
const CONTROL = 4;

/** The server's side of one connection: `socket` is one of `support.mjs`. */
export async function secure(socket, { key, suite, change = (hello) => hello }) {
  const { event, data } = await socket.next();
  if (event !== 'CONNECT') throw new Error(`${event} instead of CONNECT`);
  const { suites, kid, nonce } = data.encryption;
  const server = randomBytes(32);
  const said = { suite, kid, salt: server.toString('base64') };
  socket.say('CONNECT_ACK', { id: 'sealed', namespace: data.namespace, encryption: change(said) });
  const hash = transcript({ suite, key, suites, namespace: data.namespace, client: Buffer.from(nonce, 'base64'), server });
  const prk = secret(hash, key);
  const session = {
    hello: data,
    hash,
    c2s: new Way('c2s', suite, prk),
    s2c: new Way('s2c', suite, prk),
    /** The record of an event. */
    seal: (event, data) => session.s2c.seal(TEXT, Buffer.from(JSON.stringify({ event, data }))),
    say: (event, data) => socket.send(session.seal(event, data)),
    async next() {
      const { flags, plain } = session.c2s.open(await socket.next());
      return flags === TEXT ? JSON.parse(plain) : { flags, plain };
    },
    bye: () => socket.send(session.s2c.seal(CONTROL, Buffer.of(1))),
  };
  socket.send(session.s2c.seal(CONTROL, Buffer.concat([Buffer.of(0), hash])));
  return session;
}
