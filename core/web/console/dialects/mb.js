// MB Server Node: a header line, a newline, JSON; topics and requests.

import { parse } from '../words.js';
import { Link } from './link.js';

const VERSION = '1.0.0';
/** crypto.randomUUID is for secure pages only. */
const uuid = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  return Array.from(bytes, (byte, i) => ([4, 6, 8, 10].includes(i) ? '-' : '') + byte.toString(16).padStart(2, '0')).join('');
};

class Mb extends Link {
  constructor(place, _, hooks) {
    super(place.href, hooks);
  }

  /** The broker speaks first. */
  opened() {
    this.hooks.renamed('waiting for the broker');
  }

  heard(content) {
    const text = typeof content === 'string' ? content : new TextDecoder().decode(content);
    const [, head, body] = /^([^\n]*)\n?([^]*)$/.exec(text);
    const [action, topic, , id] = head.split(':');
    const said = parse(body);
    const row = { way: 'in', type: 'message', name: `${action} ${topic}`, body, wire: text };
    if (topic === 'system.initialize' && !this.ready) {
      this.hooks.entry({ ...row, type: 'control' });
      this.begin('');
      return this.#list();
    }
    if (topic === 'system.heartbeat' && action === 'request') {
      this.hooks.entry({ ...row, type: 'control' });
      return this.#say(`response:${topic}:${VERSION}${id ? `:${id}` : ''}`, '{}', 'control');
    }
    if (action === 'request') return this.hooks.entry({ ...row, answerTo: `${topic}:${VERSION}:${id}` });
    if (action !== 'response') return this.hooks.entry(row);
    const answer = this.arrived(id);
    const { error } = said ?? {};
    this.hooks.entry({ ...row, type: answer?.hidden || error ? 'control' : 'answer', trip: answer?.trip });
    if (error) return this.problem(error.code, error.message, undefined, body);
    if (topic === 'system.topic.list') this.#topics(said?.topics ?? []);
    answer?.of?.(said);
  }

  #topics(list) {
    this.hooks.topics(list.map(({ action, topic, subscribers }) => ({ id: topic, kind: action, members: subscribers.map(({ serviceId }) => serviceId) })));
  }

  #say(head, body, type = 'message') {
    const [action, topic] = head.split(':');
    return this.write(`${head}\n${body}`, { name: `${action} ${topic}`, body, type });
  }

  #ask(topic, payload, then, type = 'control') {
    const id = uuid();
    this.expect(id, then, type === 'control');
    return this.#say(`request:${topic}:${VERSION}:${id}`, JSON.stringify(payload), type);
  }

  #list() {
    this.#ask('system.topic.list', {});
  }

  send({ kind, name, body, answer }) {
    const [topic, version = VERSION, given] = name.split(':');
    const id = given ?? (answer || kind === 'request' ? uuid() : undefined);
    if (id && kind !== 'response') this.expect(id);
    return this.#say([kind, topic, version, id].filter(Boolean).join(':'), body.trim() || '{}');
  }

  join(topic, action = 'publish', verb = 'subscribe') {
    this.#ask(`system.topic.${verb}`, { action, topic }, ({ status }) => {
      if (status === 'success') this.hooks.room(topic, verb === 'subscribe', action);
      this.#list();
    }, 'message');
  }

  leave(topic, action) {
    this.join(topic, action, 'unsubscribe');
  }

  probe() {
    if (this.ready) this.#ask('system.heartbeat', {});
  }
}

export const mb = {
  label: 'MB',
  credentials: [],
  kinds: [
    ['publish', 'Publish'],
    ['request', 'Request'],
    ['response', 'Response'],
  ],
  name: ({ kind }) => [kind === 'response' ? 'Topic:version:request id' : 'Topic', 'events.user', ['events.user', 'system.topic.list', 'system.service.list', 'system.metrics']],
  body: () => ['Payload, JSON', 'json', '{"text": "Hello"}'],
  answers: ({ kind }) => kind === 'publish',
  rooms: 'Topics',
  joinKinds: [
    ['publish', 'Published'],
    ['request', 'Requests'],
  ],
  joinWords: ['Subscribe', 'Unsubscribe'],
  edit({ wire }) {
    const [head, ...rest] = (typeof wire === 'string' ? wire : '').split('\n');
    const [kind, topic] = head.split(':');
    return { kind, name: topic, body: rest.join('\n') };
  },
  connect: (...given) => new Mb(...given),
};
