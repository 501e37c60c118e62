// SmartSocket, by the client that the server hands out to everybody.

import SmartSocketClient from '../../smartsocket.js';
import { facts, parse, problemOf } from '../words.js';

const SUITES = { 1: 'aes-256-cbc', 2: 'aes-256-gcm', 3: 'aes-256-gcm, sealed once for all' };
const PACKETS = { 1: 'packet', 2: 'chunk', 3: 'compressed packet' };
/** What is said before events go through, and to see whether anybody is there. */
const CONTROL = ['CONNECT', 'CONNECT_ACK', 'ping', 'pong', 'connected'];

const kindOf = (data) => {
  if (data[0] === 0xe1) return `sealed by ${SUITES[data[1]] ?? `suite ${data[1]}`}${data[3] & 4 ? ', control' : ''}`;
  return PACKETS[data[0]] ?? 'binary';
};

export const smartsocket = {
  label: 'SmartSocket',
  credentials: [
    { id: 'apiKey', label: 'API key', secret: true, placeholder: 'none' },
    { id: 'encryptionKey', label: 'Encryption key', secret: true, placeholder: 'none' },
    {
      id: 'cipher',
      label: 'Encryption',
      options: [['either', 'with the key, if any'], ['aes-256-cbc'], ['aes-256-gcm'], ['exchange', 'by exchange, without a key']],
      preset: facts.exchange && 'exchange',
    },
  ],
  name: ['Event', 'message', ['message', 'echo', 'join', 'leave', 'say']],
  body: () => ['Data, JSON', 'json', '{"text": "Hello"}'],
  answers: () => true,
  rooms: 'Rooms',
  edit: ({ name, body, asked }) => ({ name, body, answer: !!asked }),
  connect,
};

function connect(place, { apiKey, encryptionKey, cipher }, hooks) {
  let sealed = '';
  let last, fatal;

  const wire = (way, data) => {
    const text = typeof data === 'string';
    hooks.frame(way);
    if (!text) {
      const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
      return hooks.entry({ way, type: 'wire', name: kindOf(bytes), body: bytes });
    }
    const message = parse(data);
    if (!CONTROL.includes(message?.event)) return;
    // The list is for everybody to see.
    if (message.data?.apiKey) message.data.apiKey = '•••';
    const suite = message.event === 'CONNECT_ACK' && message.data?.encryption?.suite;
    if (suite) sealed = `sealed by ${SUITES[suite]}`;
    hooks.entry({ way, type: 'control', name: message.event, body: JSON.stringify(message.data), wire: JSON.stringify(message) });
  };
  class Tapped extends WebSocket {
    constructor(url) {
      super(url);
      last = undefined;
      this.addEventListener('message', ({ data }) => wire('in', data));
      this.addEventListener('close', (event) => (last = event));
    }

    send(data) {
      wire('out', data);
      super.send(data);
    }
  }

  const client = new SmartSocketClient(place.href, {
    WebSocket: Tapped,
    apiKey: apiKey || undefined,
    encryptionKey: encryptionKey || undefined,
    enableEncryption: cipher === 'exchange' ? cipher : undefined,
    encryptionAlgorithm: cipher.startsWith('aes') ? cipher : undefined,
    ackTimeout: 10_000,
  });
  const text = (data) => (data === undefined ? '' : JSON.stringify(data));
  const failed = ({ code, message, data }, body) => hooks.problem(problemOf(code, code ? undefined : message, data), body);

  client.onAny = (event, data) => {
    const answered = event === '__ack__' || (data && typeof data === 'object' && '_ackId' in data);
    if (answered) return;
    const body = text(data);
    hooks.entry({ way: 'in', type: event === 'error' ? 'control' : 'message', name: event, body });
    if (event === '__rate-limited__') hooks.problem(problemOf(data?.code, data?.message), body);
  };
  client
    .on('connected', () => {
      hooks.self(client.id);
      hooks.opened(sealed);
    })
    .on('error', (error) => {
      // The end says more of itself than this.
      if (!/CONN_00[1236]/.test(error.code) || error.data) failed(error);
      if (/CONN_004|MSG_005/.test(error.code)) fatal = problemOf(error.code, undefined, error.data);
    })
    .on('reconnect:attempt', ({ attempt, delay }) => {
      hooks.ended({ code: last?.code ?? 1006, reason: last?.reason, again: { attempt, delay } });
    })
    .on('reconnect:failed', () => hooks.ended({ code: last?.code ?? 1006, reason: last?.reason, final: true, known: fatal }))
    .on('message:dropped', () => hooks.dropped(1));

  const link = {
    get ready() {
      return client.connected;
    },

    send({ name, body, answer }, type = 'message') {
      const data = body.trim() ? JSON.parse(body) : undefined;
      const row = hooks.entry({ way: 'out', type, name, body: text(data), asked: answer });
      if (!answer) {
        client.emit(name, data);
        return row;
      }
      const began = performance.now();
      row.answer = client.emitWithAck(name, data).then(
        (response) => {
          const trip = performance.now() - began;
          hooks.trip(trip);
          hooks.entry({ way: 'in', type: type === 'control' ? type : 'answer', name: `answer to ${name}`, body: text(response), trip });
          return response;
        },
        // Who closes the connection knows that nobody answers.
        (error) => void (error.message.includes('Disconnected') || failed(error, text(data))),
      );
      return row;
    },

    /** Rooms are the application's matter: the built-in one has these events. */
    async join(room, _, event = 'join') {
      const answer = await link.send({ name: event, body: JSON.stringify({ room }), answer: true }).answer;
      if (answer?.success) hooks.room(room, event === 'join');
      else if (answer) hooks.problem(problemOf(undefined, answer.error ?? `“${event}” was refused`, { cause: 'The application’s answer was not a success.', solution: 'Rooms are up to the application: see what it expects.' }));
    },

    leave: (room) => link.join(room, undefined, 'leave'),

    probe() {
      if (client.connected) link.send({ name: 'echo', body: '{"probe":true}', answer: true }, 'control');
    },

    /** Closes for good, or stops trying. */
    close() {
      client.disconnect();
      hooks.ended({ code: 1000, reason: '', final: true });
    },
  };
  client.connect().catch(() => {});
  return link;
}
