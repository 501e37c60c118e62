// Messages as they are: /echo, /pub, /sub, and whatever else speaks WebSocket.

import { bytes, fromHex, hex } from '../words.js';
import { Link } from './link.js';

const PROBE = 'console probe ';
let probes = 0;

/** What two equal messages have in common; a long one is known by its ends. */
const mark = (content) => {
  const part = (...range) => (typeof content === 'string' ? content.slice(...range) : hex(content.subarray(...range), ''));
  return `${typeof content} ${content.length} ${content.length > 400 ? part(0, 200) + part(-200) : part()}`;
};

class Raw extends Link {
  constructor(place, { protocols }, hooks) {
    const names = protocols?.split(',').map((name) => name.trim());
    super(place.href, hooks, names?.filter(Boolean));
    this.echoes = place.pathname.endsWith('/echo');
    this.marks = new Map();
  }

  opened() {
    const { protocol, extensions } = this.socket;
    this.begin([protocol && `subprotocol ${protocol}`, extensions && 'compressed'].filter(Boolean).join(', '));
  }

  heard(content) {
    const text = typeof content === 'string';
    const key = mark(content);
    // Equal messages come back in the order they went.
    const ids = this.marks.get(key);
    const answer = ids && this.arrived(ids.shift());
    if (ids && !ids.length) this.marks.delete(key);
    this.hooks.entry({ way: 'in', type: answer?.hidden ? 'control' : 'message', name: text ? 'text' : 'binary', body: content, trip: answer?.trip });
  }

  #expect(content, hidden) {
    const key = mark(content);
    if (this.marks.size > 5_000) this.marks.clear();
    const id = Symbol();
    this.marks.set(key, [...(this.marks.get(key) ?? []), id].slice(-1_000));
    this.expect(id, undefined, hidden);
  }

  send({ kind, body, file }) {
    const content = kind === 'hex' ? fromHex(body) : kind === 'file' ? file : body;
    if (this.echoes) this.#expect(content);
    return this.write(content, { name: typeof content === 'string' ? 'text' : 'binary' });
  }

  probe() {
    if (!this.echoes) return;
    const text = PROBE + ++probes;
    this.#expect(text, true);
    this.write(text, { name: 'text', type: 'control' });
  }
}

export const raw = {
  label: 'Raw',
  credentials: [{ id: 'protocols', label: 'Subprotocols', placeholder: 'none' }],
  kinds: [
    ['text', 'Text'],
    ['hex', 'Hexadecimal'],
    ['file', 'File'],
  ],
  body: ({ kind }) => (kind === 'hex' ? ['Bytes', 'hex', '00 ff 10'] : ['Text', 'text', 'Hello']),
  check({ kind, body, file }) {
    if (kind === 'file' && !file) throw Error('Choose a file first.');
    const size = kind === 'file' ? file.length : kind === 'hex' ? fromHex(body).length : undefined;
    return size === undefined ? '' : `Binary, ${bytes(size)}.`;
  },
  edit: ({ body }) => (typeof body === 'string' ? { kind: 'text', body } : { kind: 'hex', body: hex(body) }),
  connect: (...given) => new Raw(...given),
};
