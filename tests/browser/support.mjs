// What the tests of the browser client share: clients, and servers that say what they are told.

import { once } from 'node:events';
import { after } from 'node:test';
import SmartSocketClient from 'smartsocket-client';
import { WebSocket, WebSocketServer } from 'ws';

/** The root of a running `smartsocket serve`, as `ws://…`. */
export const server = process.env.SMARTSOCKET_URL;

const clients = [];
const servers = [];
after(async () => {
  for (const client of clients) client.disconnect();
  for (const server of servers) {
    for (const socket of server.clients) socket.terminate();
    server.close();
  }
});

/** A client that keeps what it hears of these events, as `[event, ...arguments]`. */
export function client(url, options = {}, events = []) {
  const made = new SmartSocketClient(url, { WebSocket, reconnectDelay: 5, maxReconnectAttempts: 0, ...options });
  made.heard = [];
  for (const event of ['error', ...events]) made.on(event, (...given) => void made.heard.push([event, ...given]));
  clients.push(made);
  return made;
}

/** The arguments of the next time an event is heard. */
export const next = (client, event) => new Promise((resolve) => client.once(event, (...given) => resolve(given)));

/** A queue of what comes, and somebody who waits for it. */
class Inbox {
  #here = [];
  #waiting = [];

  put(value) {
    if (this.#waiting.length) this.#waiting.shift()(value);
    else this.#here.push(value);
  }

  take() {
    if (this.#here.length) return Promise.resolve(this.#here.shift());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** A server; `sockets.take()` is the next that connects. */
export async function peer(options = {}) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', ...options });
  servers.push(server);
  await once(server, 'listening');
  const sockets = new Inbox();
  server.on('connection', (socket, request) => {
    const inbox = new Inbox();
    socket.on('message', (data, binary) => inbox.put(binary ? data : JSON.parse(data)));
    socket.on('error', () => {});
    sockets.put(
      Object.assign(socket, {
        path: request.url,
        /** The next message: bytes, or what its JSON says. */
        next: () => inbox.take(),
        say: (event, data) => socket.send(JSON.stringify({ event, data })),
        /** Answers CONNECT as our server does; gives what it said. */
        async accept(id = 'id') {
          const { event, data } = await inbox.take();
          if (event !== 'CONNECT') throw new Error(`${event} instead of CONNECT`);
          socket.say('CONNECT_ACK', { id, namespace: data.namespace ?? '/' });
          return data;
        },
        ended: once(socket, 'close').then(([code, reason]) => ({ code, reason: String(reason) })),
      }),
    );
  });
  return { url: `ws://127.0.0.1:${server.address().port}`, sockets, server };
}

/** A client and the socket of its server, both ready. */
export async function pair(options, events) {
  const { url, sockets, server } = await peer();
  const made = client(url, options, events);
  const [socket] = await Promise.all([
    sockets.take().then(async (socket) => {
      await socket.accept();
      return socket;
    }),
    made.connect(),
  ]);
  return { client: made, socket, sockets, server, url };
}
