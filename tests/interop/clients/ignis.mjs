// A client of Ignis's WebSocketServerHelper, as its examples are.

import { createDecipheriv, createECDH, hkdfSync } from 'node:crypto';
import { Client } from './client.mjs';

export class Ignis extends Client {
  id = null;
  errors = [];

  constructor(url, token, { heartbeat = 30_000, ...options } = {}) {
    super(url, options);
    Object.assign(this, { token, heartbeat });
  }

  opened() {
    if (this.token !== undefined) this.send('authenticate', { token: this.token });
  }

  left() {
    clearInterval(this.beating);
  }

  send(event, data) {
    this.write({ event, data });
  }

  receive(text) {
    const { event, data } = JSON.parse(text);
    if (event === 'connected') {
      this.id = data.id;
      this.beating = setInterval(() => this.send('heartbeat'), this.heartbeat);
    } else if (event === 'error') this.errors.push(data.message);
    else this.received.push({ event, data });
  }

  authenticated() {
    return this.until('it was authenticated', () => this.id);
  }

  join(...rooms) {
    this.send('join', { rooms });
  }

  leave(...rooms) {
    this.send('leave', { rooms });
  }
}

/** One that has keys: what the server says after `connected` is sealed for it alone. */
export class SealedIgnis extends Ignis {
  /** What came, as it stood on the wire. */
  raw = [];

  constructor(url, token, { publicKey, ...options } = {}) {
    super(url, token, options);
    this.pair = createECDH('prime256v1');
    this.publicKey = publicKey ?? this.pair.generateKeys('base64');
  }

  opened() {
    this.send('authenticate', { token: this.token, publicKey: this.publicKey });
  }

  receive(text) {
    this.raw.push(text);
    const { event, data } = JSON.parse(text);
    if (event === 'connected') {
      this.welcome = data;
      const shared = this.pair.computeSecret(data.serverPublicKey, 'base64');
      const salt = Buffer.from(data.salt, 'base64');
      this.key = Buffer.from(hkdfSync('sha256', shared, salt, 'ignis-ecdh-p256-aes-256-gcm-v1', 32));
    }
    super.receive(event === 'encrypted' ? this.unseal(data) : text);
  }

  /** What is inside `{ iv, ct }`; throws if anybody changed it. */
  unseal({ iv, ct }) {
    const sealed = Buffer.from(ct, 'base64');
    const cipher = createDecipheriv('aes-256-gcm', this.key, Buffer.from(iv, 'base64'));
    cipher.setAuthTag(sealed.subarray(-16));
    return cipher.update(sealed.subarray(0, -16), undefined, 'utf8') + cipher.final('utf8');
  }
}
