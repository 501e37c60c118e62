// A client of Ignis's WebSocketServerHelper, as its examples are.

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
