// RNode: {"type": …}, rooms that exist before they are joined, acknowledged messages.

import { parse } from '../words.js';
import { Link } from './link.js';

class RNode extends Link {
  constructor(place, { clientId }, hooks) {
    const url = new URL(place);
    if (clientId) url.searchParams.set('clientId', clientId);
    super(url.href, hooks);
  }

  /** The welcome comes first. */
  opened() {
    this.hooks.renamed('waiting for the welcome');
  }

  heard(content) {
    const said = typeof content === 'string' ? parse(content) : undefined;
    const type = said?.type ?? (typeof content === 'string' ? 'text' : 'binary');
    const row = { way: 'in', type: 'message', name: type, body: content };
    const control = { ...row, type: 'control' };
    switch (type) {
      case 'welcome':
        this.hooks.entry(control);
        this.hooks.self(said.connection_id);
        return this.begin(`client ${said.client_id}`);
      case 'ping':
        this.hooks.entry(control);
        return this.#say({ type: 'pong', data: { timestamp: said.timestamp } }, 'control');
      case 'pong':
        this.arrived('ping');
        return this.hooks.entry(control);
      case 'message_ack': {
        const answer = this.arrived(said.message);
        const known = parse(said.message)?.type === 'pong';
        return this.hooks.entry({ ...row, type: known ? 'control' : 'answer', trip: answer?.trip });
      }
      case 'room_joined':
      case 'room_left':
        this.hooks.entry(control);
        return this.hooks.room(said.room_id, type === 'room_joined');
      case 'error':
        this.hooks.entry(control);
        return this.problem(said.error_type, said.error, undefined, content);
      case 'message_blocked':
        this.hooks.entry(control);
        return this.problem('message_blocked', said.reason, { cause: 'A rule of the application blocked the message.', solution: 'Its reason tells what to change.' }, content);
      default:
        return this.hooks.entry(row);
    }
  }

  #say(message, type = 'message', asks = false) {
    const text = JSON.stringify({ ...message, timestamp: new Date().toISOString() });
    if (asks) this.expect(text);
    return this.write(text, { name: message.type, type });
  }

  send({ kind, name, body }) {
    const data = parse(body) ?? body;
    if (kind === 'room_message') return this.#say({ type: kind, data: body, room_id: name });
    if (kind === 'direct_message') return this.#say({ type: kind, data: body, target_client_id: name });
    if (kind === 'ping') return this.probe('message');
    return this.#say({ type: name || 'message', data, room_id: null }, 'message', true);
  }

  join(room) {
    this.#say({ type: 'join_room', room_id: room });
  }

  leave(room) {
    this.#say({ type: 'leave_room', room_id: room });
  }

  probe(type = 'control') {
    this.expect('ping');
    return this.#say({ type: 'ping' }, type);
  }
}

export const rnode = {
  label: 'RNode',
  credentials: [{ id: 'clientId', label: 'Client id', placeholder: 'chosen by the server' }],
  kinds: [
    ['message', 'Message'],
    ['room_message', 'To a room'],
    ['direct_message', 'To a client'],
    ['ping', 'Ping'],
  ],
  name: ({ kind }) => ({ message: ['Type', 'message', ['message']], room_message: ['Room id', '', []], direct_message: ['Client id', '', []] })[kind],
  body: ({ kind }) => kind !== 'ping' && ['Data', kind === 'message' ? 'loose' : 'text', 'Hello'],
  rooms: 'Rooms',
  creates: true,
  edit({ body }) {
    const { type, data, message, room_id: room, target_client_id: client } = parse(body) ?? {};
    const text = data ?? message ?? '';
    const kind = ['room_message', 'direct_message', 'ping'].includes(type) ? type : 'message';
    const name = { room_message: room, direct_message: client }[type] ?? type;
    return { kind, name: name ?? 'message', body: typeof text === 'string' ? text : JSON.stringify(text) };
  },
  connect: (...given) => new RNode(...given),
};
