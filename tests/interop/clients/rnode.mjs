// RNode's published client.

import { Client } from './client.mjs';

const now = () => new Date().toISOString();

export class RNode extends Client {
  room = null;
  reconnections = 0;
  /** Pings that the server sent, and pongs it acknowledged. */
  pings = 0;
  acknowledged = 0;

  constructor(url, clientId, { pongTimeout = 10_000, reconnectDelay = 1_000, ...options } = {}) {
    super(`${url}?clientId=${encodeURIComponent(clientId)}`, options);
    Object.assign(this, { clientId, pongTimeout, reconnectDelay, returns: true });
  }

  opened() {
    // Where it was before.
    if (this.room !== null) this.joinRoom(this.room);
  }

  left() {
    clearTimeout(this.deadline);
    if (this.returns) this.#reconnect(1);
  }

  #reconnect(attempt) {
    if (attempt > 5) return;
    setTimeout(
      () =>
        this.open().then(
          () => {
            this.reconnections += 1;
            this.emit('change');
          },
          () => this.#reconnect(attempt + 1),
        ),
      this.reconnectDelay * 2 ** (attempt - 1),
    );
  }

  say(type, fields) {
    this.write({ type, ...fields });
  }

  send(data, room = this.room) {
    this.say('message', { data, timestamp: now(), room_id: room });
  }

  sendToRoom(room, data) {
    this.say('room_message', { data, timestamp: now(), room_id: room });
  }

  sendDirect(to, data) {
    this.say('direct_message', { data, timestamp: now(), target_client_id: to });
  }

  joinRoom(room) {
    this.room = room;
    this.say('join_room', { room_id: room, timestamp: now() });
  }

  leaveRoom(room = this.room) {
    this.room = null;
    this.say('leave_room', { room_id: room, timestamp: now() });
  }

  disconnect() {
    return this.end(1000, 'Client disconnect');
  }

  receive(text) {
    const message = JSON.parse(text);
    if (message.type === 'ping') {
      this.pings += 1;
      this.say('pong', { data: { timestamp: message.timestamp }, timestamp: now() });
      clearTimeout(this.deadline);
      this.deadline = setTimeout(() => this.socket.close(1000, 'No ping from server'), this.pongTimeout);
      return;
    }
    // Either of these is a sign of life.
    const of = message.type === 'message_ack' ? JSON.parse(message.message).type : message.type;
    if (of === 'pong') {
      this.acknowledged += 1;
      clearTimeout(this.deadline);
      return;
    }
    this.received.push(message);
  }

  of(type) {
    return this.received.filter((message) => message.type === type);
  }
}
