// A service of MB Server Node.

import { randomUUID } from 'node:crypto';
import { Client } from './client.mjs';

export class Service extends Client {
  initialized = false;
  #pending = new Map();
  #handlers = new Map();

  #write(action, topic, payload, id = '', timeout) {
    const tail = timeout ? `:${id}::${timeout}` : id && `:${id}`;
    this.write(`${action}:${topic}:1.0.0${tail}\n${typeof payload === 'string' ? payload : JSON.stringify(payload)}`);
  }

  /** Resolves with the answer's payload; rejects with `{code,message,…}`. */
  #ask(action, topic, payload, timeout) {
    const id = randomUUID();
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#write(action, topic, payload, id, timeout);
    });
  }

  request(topic, payload, timeout) {
    return this.#ask('request', topic, payload, timeout);
  }

  /** With an id, so the broker says whether anybody heard it. */
  publish(topic, payload) {
    return this.#ask('publish', topic, payload);
  }

  /** Without. */
  tell(topic, payload) {
    this.#write('publish', topic, payload);
  }

  subscribe(topic) {
    return this.request('system.topic.subscribe', { action: 'publish', topic });
  }

  unsubscribe(topic) {
    return this.request('system.topic.unsubscribe', { action: 'publish', topic });
  }

  serve(topic, handler) {
    this.#handlers.set(topic, handler);
    return this.request('system.topic.subscribe', { action: 'request', topic });
  }

  receive(text) {
    const end = text.indexOf('\n');
    const [action, topic, version, id] = text.slice(0, end).split(':');
    if (version !== '1.0.0') throw new Error(`version ${version}`);
    const error = text.startsWith('error:', end + 1);
    const payload = JSON.parse(text.slice(end + 1 + (error ? 6 : 0)));
    if (action === 'response') {
      const waiting = this.#pending.get(id);
      if (!waiting) throw new Error(`an answer to nothing: ${text}`);
      this.#pending.delete(id);
      if (error) waiting.reject(payload);
      else if (payload.error) waiting.reject(payload.error);
      else waiting.resolve(payload);
    } else if (action === 'publish' && topic === 'system.initialize') this.initialized = true;
    else if (action === 'publish') this.received.push({ topic, payload });
    else if (topic === 'system.heartbeat') this.#write('response', topic, {}, id);
    else this.#serve(topic, payload, id);
  }

  #serve(topic, payload, id) {
    try {
      const answer = this.#handlers.get(topic)(payload);
      if (answer !== undefined) this.#write('response', topic, answer, id);
    } catch (error) {
      const failure = { code: 'INTERNAL_ERROR', message: error.message, timestamp: new Date().toISOString() };
      this.#write('response', topic, `error:${JSON.stringify(failure)}`, id);
    }
  }
}
