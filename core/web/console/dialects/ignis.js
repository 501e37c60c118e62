// Ignis: {"event": …, "data": …}, after a token.

import { parse } from '../words.js';
import { Link } from './link.js';

const HEARTBEAT = 30_000;
let probes = 0;

class Ignis extends Link {
  constructor(place, { token }, hooks) {
    super(place.href, hooks);
    this.token = token;
  }

  opened() {
    const { token } = this;
    if (!token) return this.begin('not authenticated: give a token');
    this.hooks.renamed('authenticating');
    const said = (token) => JSON.stringify({ event: 'authenticate', data: { token } });
    // The list is for everybody to see.
    this.write(said(token), { type: 'control', name: 'authenticate', body: '{"token":"•••"}', wire: said('•••') });
  }

  heard(content) {
    const { event, data } = parse(typeof content === 'string' ? content : new TextDecoder().decode(content)) ?? {};
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
      return this.begin(data?.userId ? `user ${data.userId}` : '');
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
  credentials: [{ id: 'token', label: 'Token', secret: true }],
  name: ['Event', 'echo', ['echo', 'say', 'heartbeat']],
  body: () => ['Data, JSON', 'json', '{"text": "Hello"}'],
  rooms: 'Rooms',
  edit: ({ name, body }) => ({ name, body }),
  connect: (...given) => new Ignis(...given),
};
