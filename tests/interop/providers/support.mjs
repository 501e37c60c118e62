// What the servers that our client meets have in common.
//
//   node NAME.mjs serve PORT     serves; prints `listening PORT`, then a line for what it is told:
//                                  in WHO, subscribed CHANNEL, said TEXT, ...
//                                  wrong WORDS    a client did what the provider does not take
//                                and does what it reads, a line each: `push TEXT` and its own
//   node NAME.mjs check PORT     the provider's own client against that server

import assert from 'node:assert/strict';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { WebSocketServer } from 'ws';

export const TOKEN = 'T&k/1';
/** What all of them send and take. */
export const news = (text) => ({ text });

export const tell = (...words) => console.log(words.join(' '));
export const wrong = (...words) => tell('wrong', ...words);

const [what, port] = process.argv.slice(2);

/** Runs one of the two. `serve` gives the commands it takes and the server to listen with. */
export async function main({ serve, check }) {
  if (what === 'check') {
    const late = setTimeout(() => fail(new Error('no result in time')), 20_000);
    await check(port).catch(fail);
    clearTimeout(late);
    process.exit(0);
  }
  assert.equal(what, 'serve');
  const { server, commands } = await serve();
  server.on('error', fail);
  server.listen(Number(port), '127.0.0.1', () => tell('listening', server.address().port));
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...rest] = line.split(' ');
    await commands[name](rest.join(' '));
  }
  // Whoever started us is gone.
  process.exit(0);
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

/**
 * A scripted server: `accept(request)` gives the subprotocol and who comes, or the status of a
 * refusal; `opened(ws, who)` makes of a socket what `received` is called with. What `received`
 * throws was wrong of the client.
 */
export function scripted({ accept, opened, received, ...rest }) {
  const server = http.createServer(rest.request ?? ((_, response) => response.writeHead(404).end()));
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    handleProtocols: (_, request) => request.accepted.subprotocol ?? false,
  });
  const all = new Set();
  server.on('upgrade', (request, socket, head) => {
    try {
      request.accepted = accept(request);
    } catch (error) {
      wrong(error.message);
      return socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    }
    if (request.accepted.status) {
      return socket.end(`HTTP/1.1 ${request.accepted.status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    }
    sockets.handleUpgrade(request, socket, head, (ws) => {
      const peer = { ws, send: (value) => ws.send(typeof value === 'string' ? value : JSON.stringify(value)) };
      all.add(peer);
      ws.on('close', () => all.delete(peer));
      ws.on('error', (error) => wrong(error.message));
      Object.assign(peer, opened?.(peer, request.accepted.who, socket));
      ws.on('message', (data, binary) => {
        try {
          received(peer, binary ? data : data.toString());
        } catch (error) {
          wrong(error.message.replaceAll('\n', ' '), data.toString());
          rest.refuse?.(peer, error);
        }
      });
    });
  });
  return { server, peers: all };
}

/** What came must be this text: the bytes count. */
export function exactly(text, expected) {
  assert.equal(text, typeof expected === 'string' ? expected : JSON.stringify(expected));
}

/** An object with these fields and no others. */
export function fields(value, ...names) {
  assert.ok(value !== null && typeof value === 'object', 'an object');
  const optional = names.filter((name) => name.endsWith('?')).map((name) => name.slice(0, -1));
  const known = new Set([...names.filter((name) => !name.endsWith('?')), ...optional]);
  for (const name of names) if (!name.endsWith('?')) assert.ok(name in value, `no field ${name}`);
  for (const name of Object.keys(value)) assert.ok(known.has(name), `a field ${name}`);
  return value;
}

/** The parameters of a request's URL, whose path must be this. */
export function query(request, path) {
  const url = new URL(request.url, 'http://127.0.0.1');
  assert.equal(url.pathname, path);
  return url.searchParams;
}

export const offered = (request) =>
  (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim()).filter(Boolean);

/** For `check`: the first value that the callback is given. */
export const first = (begin) => new Promise((resolve, reject) => begin(resolve, reject));
