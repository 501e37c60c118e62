// SmartSocket's published clients, in what can be seen of them on the wire.

import { Client } from './client.mjs';

/** Generation A: `__ackId`, listeners fired here, answers to what asks for one. */
export class GenerationA extends Client {
  #count = 0;
  #pending = new Map();
  #listeners = new Map();

  listen(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
  }

  #fire(event, data) {
    return (this.#listeners.get(event) ?? []).map((listener) => listener(data));
  }

  opened() {
    this.#fire('connected');
  }

  send(event, data) {
    this.write({ event, data });
  }

  ask(event, data) {
    const id = `ack_${++this.#count}_${Date.now()}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('Acknowledgment timeout')), 15_000);
      this.#pending.set(id, (response) => {
        clearTimeout(timer);
        resolve(response);
      });
      this.send(event, { ...data, __ackId: id });
    });
  }

  receive(text) {
    const { event, data } = JSON.parse(text);
    this.received.push({ event, data });
    if (event === '__ack__') {
      this.#pending.get(data.ackId)?.(data.response);
      this.#pending.delete(data.ackId);
      return;
    }
    const results = this.#fire(event, data);
    if (data?.__ackId && !event.includes(':')) {
      const [result] = results;
      const response = result === undefined ? { success: true } : { success: true, result };
      this.send('__ack__', { ackId: data.__ackId, response });
    }
  }
}

/**
 * Generation B: `connected` first, `_ackId`, and every event that answers nothing is
 * sent back, since it hands what it receives to the `emit` that sends.
 */
export class GenerationB extends Client {
  #count = 0;
  #pending = new Map();

  /** The namespace as a path (B2) or as a parameter (B1). */
  static address(url, namespace, dialect) {
    if (namespace === '/') return url;
    if (dialect === 'path') return url.replace(/\/$/, '') + namespace;
    return `${url}${url.includes('?') ? '&' : '?'}namespace=${encodeURIComponent(namespace)}`;
  }

  opened() {
    this.send('connected');
  }

  send(event, data) {
    this.write({ event, data });
  }

  /** Answered by the whole data of whatever carries the id. */
  ask(event, data) {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`Acknowledgment timeout for ${event}`)), 30_000);
      this.#pending.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      this.send(event, { ...data, _ackId: id });
    });
  }

  receive(text) {
    const { event, data } = JSON.parse(text);
    this.received.push({ event, data });
    const waiting = data?._ackId !== undefined && this.#pending.get(data._ackId);
    if (waiting) {
      this.#pending.delete(data._ackId);
      waiting(data);
    } else this.send(event, data);
  }
}
