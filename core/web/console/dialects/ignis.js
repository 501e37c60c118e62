// Ignis: {"event": …, "data": …}, after a token.

import { facts, parse } from '../words.js';
import { Link } from './link.js';

const HEARTBEAT = 30_000;
const INFO = new TextEncoder().encode('ignis-ecdh-p256-aes-256-gcm-v1');
const CURVE = { name: 'ECDH', namedCurve: 'P-256' };
let probes = 0;

const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));
const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

class Ignis extends Link {
  /** Opening takes time; what comes stays in order. */
  #line = Promise.resolve();
  #pair;
  #key;

  constructor(place, { token, encryption }, hooks) {
    super(place.href, hooks);
    this.token = token;
    this.exchanges = encryption === 'exchange';
  }

  async opened() {
    const { token } = this;
    if (!token) return this.begin('not authenticated: give a token');
    this.hooks.renamed('authenticating');
    let publicKey;
    if (this.exchanges) {
      if (!crypto.subtle) return this.problem(undefined, 'Keys cannot be exchanged', { cause: 'Browsers encrypt for secure pages only.', solution: 'Open the console by https, or on localhost.' });
      this.#pair = await crypto.subtle.generateKey(CURVE, false, ['deriveBits']);
      publicKey = toBase64(new Uint8Array(await crypto.subtle.exportKey('raw', this.#pair.publicKey)));
    }
    const said = (token) => JSON.stringify({ event: 'authenticate', data: { token, publicKey } });
    // The list is for everybody to see.
    this.write(said(token), { type: 'control', name: 'authenticate', body: '{"token":"•••"}', wire: said('•••') });
  }

  async #agree({ serverPublicKey, salt }) {
    const theirs = await crypto.subtle.importKey('raw', fromBase64(serverPublicKey), CURVE, false, []);
    const shared = await crypto.subtle.deriveBits({ name: 'ECDH', public: theirs }, this.#pair.privateKey, 256);
    const base = await crypto.subtle.importKey('raw', shared, 'HKDF', false, ['deriveKey']);
    const how = { name: 'HKDF', hash: 'SHA-256', salt: fromBase64(salt), info: INFO };
    this.#key = await crypto.subtle.deriveKey(how, base, { name: 'AES-GCM', length: 256 }, false, ['decrypt']);
  }

  async #open({ iv, ct }) {
    return new TextDecoder().decode(await crypto.subtle.decrypt({ name: 'AES-GCM', iv: fromBase64(iv) }, this.#key, fromBase64(ct)));
  }

  heard(content) {
    this.#line = this.#line.then(() => this.#hear(content)).catch(() => this.problem('ERR_MSG_003'));
  }

  async #hear(content) {
    let text = typeof content === 'string' ? content : new TextDecoder().decode(content);
    const sealed = this.#key && parse(text);
    if (sealed?.event === 'encrypted') text = await this.#open(sealed.data);
    const { event, data } = parse(text) ?? {};
    const body = data === undefined ? '' : JSON.stringify(data);
    const row = { way: 'in', type: 'message', name: event ?? 'message', body, wire: content };
    if (event === 'error') {
      this.hooks.entry({ ...row, type: 'control' });
      return this.problem(undefined, data?.message, undefined, body);
    }
    if (event === 'connected' && !this.ready) {
      this.hooks.entry({ ...row, type: 'control' });
      this.every(HEARTBEAT, () => this.write('{"event":"heartbeat"}', { type: 'control', name: 'heartbeat', body: '' }));
      this.hooks.self(data?.id);
      if (this.#pair) await this.#agree(data);
      return this.begin([data?.userId && `user ${data.userId}`, this.#key && 'sealed by aes-256-gcm'].filter(Boolean).join(', '));
    }
    const answer = event === 'echo' ? this.arrived(body) : undefined;
    this.hooks.entry({ ...row, type: answer?.hidden ? 'control' : 'message', trip: answer?.trip });
  }

  send({ name, body }, type = 'message') {
    const data = body.trim() ? JSON.stringify(JSON.parse(body)) : undefined;
    const text = `{"event":${JSON.stringify(name)}${data === undefined ? '' : `,"data":${data}`}}`;
    if (name === 'echo') this.expect(data ?? '', undefined, type === 'control');
    return this.write(text, { name, type, body: data ?? '' });
  }

  join(room, _, event = 'join') {
    this.send({ name: event, body: JSON.stringify({ rooms: [room] }) });
    // Nobody ever answers; the list of rooms tells.
    this.hooks.room(room, event === 'join');
  }

  leave(room) {
    this.join(room, undefined, 'leave');
  }

  probe() {
    if (this.ready && this.token) this.send({ name: 'echo', body: `{"probe":${++probes}}` }, 'control');
  }
}

export const ignis = {
  label: 'Ignis',
  credentials: [
    { id: 'token', label: 'Token', secret: true },
    { id: 'encryption', label: 'Encryption', options: [['none'], ['exchange', 'by exchange, what comes']], preset: facts.ignisExchange && 'exchange' },
  ],
  name: ['Event', 'echo', ['echo', 'say', 'heartbeat']],
  body: () => ['Data, JSON', 'json', '{"text": "Hello"}'],
  rooms: 'Rooms',
  edit: ({ name, body }) => ({ name, body }),
  connect: (...given) => new Ignis(...given),
};
