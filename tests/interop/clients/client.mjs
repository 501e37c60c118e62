// What the clients have in common: a socket, a memory, and a way to wait.

import { EventEmitter, once } from 'node:events';
import { WebSocket } from 'ws';

export class Client extends EventEmitter {
  /** What came, in order: whatever `receive` makes of it. */
  received = [];
  /** `{ code, reason }` once the connection is over. */
  closed = null;

  constructor(url, options = {}) {
    super();
    this.url = url;
    this.options = options;
  }

  /** Connects; rejects with the server's answer when it refuses. */
  async open() {
    this.closed = null;
    const socket = new WebSocket(this.url, this.options);
    this.socket = socket;
    socket.on('message', (data, binary) => {
      try {
        this.receive(binary ? data : data.toString());
      } catch (error) {
        this.failed ??= error;
      }
      this.emit('change');
    });
    socket.on('close', (code, reason) => {
      if (socket !== this.socket) return;
      this.closed = { code, reason: reason.toString() };
      this.left?.();
      this.emit('change');
    });
    // Before the first message: some clients speak first, some are spoken to.
    socket.on('open', () => this.opened?.());
    await once(socket, 'open');
    return this;
  }

  write(value) {
    this.socket.send(typeof value === 'string' ? value : JSON.stringify(value));
  }

  /** Waits until something holds; fails when it no longer can. */
  async until(what, holds) {
    for (;;) {
      if (this.failed) throw this.failed;
      const value = holds();
      if (value) return value;
      if (this.closed && !this.returns) throw new Error(`closed with ${this.closed.code} before ${what}`);
      await once(this, 'change');
    }
  }

  /** Waits until all that was sent is dealt with, and all answers to it are here. */
  async settle() {
    const pong = once(this.socket, 'pong');
    this.socket.ping();
    await pong;
  }

  async end(code = 1000, reason = '') {
    this.returns = false;
    this.socket.close(code, reason);
    while (!this.closed) await once(this, 'change');
    return this.closed;
  }
}
