// One connection of any dialect. Those beside this file say what it carries.
//
// A dialect is { label, credentials, kinds, name, body, answers, rooms, connect }; its
// `connect(place, given, hooks)` gives a link, which can send(composed), join(room, kind),
// leave(room, kind), probe() and close(). `hooks` hears of all that happens:
//
//   frame(way)            a message crossed the wire
//   entry({ way, type, name, body, ... })   a row of the list; gives it back
//   opened(about), renamed(state), self(id), ended({ code, reason, again, final, known })
//   trip(milliseconds), problem(problem), room(name, isIn), topics(list), dropped(count)

import { problemOf } from '../words.js';

export class Link {
  /** Whether messages go through. */
  ready = false;
  #timers = [];
  #waiting = new Map();

  constructor(url, hooks, protocols) {
    this.hooks = hooks;
    const socket = new WebSocket(url, protocols);
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.opened();
    socket.onmessage = ({ data }) => {
      const content = typeof data === 'string' ? data : new Uint8Array(data);
      hooks.frame('in');
      this.heard(content);
    };
    socket.onclose = ({ code, reason }) => {
      this.ready = false;
      this.#timers.forEach(clearInterval);
      hooks.ended({ code, reason, final: true });
    };
  }

  /** The dialect's: the socket is open. */
  opened() {
    this.begin('');
  }

  /** Messages go through from now on. */
  begin(about) {
    this.ready = true;
    this.hooks.opened(about);
  }

  every(milliseconds, job) {
    this.#timers.push(setInterval(job, milliseconds));
  }

  /** Sends; `row` is what the list shows of it, if anything. */
  write(content, row) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    // The browser keeps what the network does not take, without a bound.
    if (this.socket.bufferedAmount > 16e6) return this.hooks.dropped(1);
    this.socket.send(content);
    this.hooks.frame('out');
    return row && this.hooks.entry({ way: 'out', type: 'message', body: content, wire: content, ...row });
  }

  /** Something comes back for this key; `of` is what is answered. */
  expect(key, of, hidden) {
    this.#waiting.set(key, { at: performance.now(), of, hidden });
    if (this.#waiting.size > 10_000) this.#waiting.delete(this.#waiting.keys().next().value);
  }

  /** It came: what was waited for, with the time it took. */
  arrived(key) {
    const found = this.#waiting.get(key);
    if (!found) return;
    this.#waiting.delete(key);
    const trip = performance.now() - found.at;
    this.hooks.trip(trip);
    return { ...found, trip };
  }

  problem(code, message, said, body) {
    this.hooks.problem(problemOf(code, message, said), body);
  }

  probe() {}

  close() {
    this.socket.close(1000);
  }
}
