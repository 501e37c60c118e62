// The server's side of encryption, by Node's crypto module alone: what the browser client is
// held against.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';

const hmac = (hash, key, ...data) => data.reduce((mac, part) => mac.update(part), createHmac(hash, key)).digest();
const extract = (salt, secret) => hmac('sha256', salt, secret);
export const expand = (prk, info, length) => {
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

export const keyId = (key) => (key ? expand(extract('smartsocket/e1 key id', key), '', 4) : Buffer.of());

/** Of all that was said in the open: `ours` and `theirs` are the public keys, if there are any. */
export function transcript({ suite, key, suites, namespace, client, server, theirs = Buffer.of(), ours = Buffer.of() }) {
  const said = [Buffer.from('smartsocket/e1'), Buffer.of(suite), keyId(key), Buffer.from(suites), Buffer.from(namespace), client, server, theirs, ours];
  return createHash('sha256').update(Buffer.concat(said.map(prefixed))).digest();
}

export const secret = (hash, key = Buffer.alloc(32), exchanged = Buffer.of()) => extract(hash, Buffer.concat([key, exchanged]));

/** The length of a public key tells its curve: X25519, or P-256 uncompressed. */
const jwk = (bytes) =>
  bytes.length === 32
    ? { kty: 'OKP', crv: 'X25519', x: bytes.toString('base64url') }
    : { kty: 'EC', crv: 'P-256', x: bytes.subarray(1, 33).toString('base64url'), y: bytes.subarray(33).toString('base64url') };
export const raw = (key) => {
  const { x, y } = key.export({ format: 'jwk' });
  const part = (text) => Buffer.from(text, 'base64url');
  return y ? Buffer.concat([Buffer.of(4), part(x), part(y)]) : part(x);
};
/** Our half of a key exchange with who has this public key, and what comes of it. */
export function exchange(theirs) {
  const type = theirs.length === 32 ? ['x25519'] : ['ec', { namedCurve: 'P-256' }];
  const { publicKey, privateKey } = generateKeyPairSync(...type);
  const exchanged = diffieHellman({ privateKey, publicKey: createPublicKey({ key: jwk(theirs), format: 'jwk' }) });
  return { ours: raw(publicKey), exchanged };
}
/** A private key of 32 bytes, with its public one. */
export function pairOf(secret, length) {
  const prefix = length === 32 ? '302e020100300506032b656e04220420' : '303102010104200000000000000000000000000000000000000000000000000000000000000000a00a06082a8648ce3d030107';
  const der = Buffer.from(prefix, 'hex');
  const key =
    length === 32
      ? createPrivateKey({ key: Buffer.concat([der, secret]), format: 'der', type: 'pkcs8' })
      : createPrivateKey({ key: (secret.copy(der, 7), der), format: 'der', type: 'sec1' });
  return { key, bytes: raw(createPublicKey(key)) };
}

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

/** The server's side of one connection: `socket` is one of `support.mjs`. `change` is what it lies. */
export async function secure(socket, { key, suite, change = (hello) => hello }) {
  const { event, data } = await socket.next();
  if (event !== 'CONNECT') throw new Error(`${event} instead of CONNECT`);
  const { suites, kid, nonce, publicKey } = data.encryption;
  const [client, theirs] = [nonce, publicKey].map((text) => Buffer.from(text, 'base64'));
  const server = randomBytes(32);
  const { ours, exchanged } = exchange(theirs);
  const said = { suite, kid, salt: server.toString('base64'), serverPublicKey: ours.toString('base64') };
  socket.say('CONNECT_ACK', { id: 'sealed', namespace: data.namespace, encryption: change(said) });
  const hash = transcript({ suite, key, suites, namespace: data.namespace, client, server, theirs, ours });
  const prk = secret(hash, key, exchanged);
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
