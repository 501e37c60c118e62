// A hub of SignalR (its JSON protocol, negotiation included), as far as its own client needs it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { TOKEN, exactly, fields, first, main, news, query, scripted, tell, wrong } from './support.mjs';

const END = '\u001e';
const PING = 300;

await main({
  async serve() {
    /** Connections that were negotiated, and those that have begun. */
    const tokens = new Map();
    const bearer = (request, params) =>
      params.get('access_token') ?? (request.headers.authorization ?? '').replace(/^Bearer /, '');
    const { server, peers } = scripted({
      request(request, response) {
        const url = new URL(request.url, 'http://x');
        if (request.method !== 'POST' || url.pathname !== '/hub/negotiate') return response.writeHead(404).end();
        if (bearer(request, url.searchParams) !== TOKEN) return response.writeHead(401).end();
        assert.equal(url.searchParams.get('negotiateVersion'), '1');
        const token = randomUUID();
        tokens.set(token, false);
        tell('negotiated');
        const transports = ['WebSockets', 'ServerSentEvents', 'LongPolling'];
        const answer = JSON.stringify({
          negotiateVersion: 1,
          connectionId: randomUUID(),
          connectionToken: token,
          availableTransports: transports.map((transport) => ({ transport, transferFormats: ['Text'] })),
        });
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': answer.length }).end(answer);
      },
      accept(request) {
        const params = query(request, '/hub');
        if (bearer(request, params) !== TOKEN) return { status: 401 };
        assert.ok(!params.has('negotiateVersion'), 'that is for the negotiation');
        const id = params.get('id');
        if (id === null) return {};
        if (!tokens.has(id)) return { status: 404 };
        if (tokens.get(id)) return { status: 409 };
        tokens.set(id, true);
        return {};
      },
      opened(peer) {
        peer.say = (record) => peer.ws.send(JSON.stringify(record) + END);
        const ping = setInterval(() => peer.agreed && peer.say({ type: 6 }), PING);
        peer.ws.on('close', () => (clearInterval(ping), tell('left', 'hub')));
        return { agreed: false, rest: '', streams: new Map(), calls: 0 };
      },
      received(peer, text) {
        const records = (peer.rest + text).split(END);
        peer.rest = records.pop();
        for (const text of records) record(peer, text);
      },
      refuse(peer) {
        peer.say({ type: 7, error: 'Connection closed with an error.' });
        peer.ws.close(1000);
      },
    });

    function record(peer, text) {
      const record = JSON.parse(text);
      exactly(text, record);
      if (!peer.agreed) {
        assert.deepEqual(record, { protocol: 'json', version: 1 });
        peer.agreed = true;
        peer.ws.send(`{}${END}`);
        return tell('in', 'hub');
      }
      const { type, invocationId: id, target, arguments: values } = record;
      switch (type) {
        case 1: {
          // The official client adds an empty list of streams.
          fields(record, 'type', 'target', 'arguments', 'invocationId?', 'streamIds?');
          const done = (more) => id !== undefined && peer.say({ type: 3, invocationId: id, ...more });
          if (target === 'Say') {
            tell('said', values[0].text);
            return done({ result: null });
          }
          if (target === 'Echo') return done({ result: values[0] });
          if (target === 'Fail') return done({ error: 'it failed' });
          return done({ error: `Failed to invoke '${target}' due to an error on the server. HubException: Method does not exist.` });
        }
        case 3:
          return tell('answered', JSON.stringify(record.result), record.error ?? '');
        case 4: {
          fields(record, 'type', 'target', 'arguments', 'invocationId', 'streamIds?');
          if (target === 'Counter') {
            for (let item = 1; item <= values[0]; item++) peer.say({ type: 2, invocationId: id, item });
            return peer.say({ type: 3, invocationId: id });
          }
          assert.equal(target, 'News');
          peer.streams.set(id, target);
          return tell('subscribed', target);
        }
        case 5:
          fields(record, 'type', 'invocationId');
          assert.ok(peer.streams.delete(id), 'a stream that is there');
          tell('completed', id);
          return peer.say({ type: 3, invocationId: id });
        case 6:
          fields(record, 'type');
          return tell('ping');
        case 7:
          return;
        default:
          wrong(`a record of type ${type}`);
      }
    }

    return {
      server,
      commands: {
        push: (text) =>
          peers.forEach((peer) =>
            peer.streams.forEach((_, id) => {
              // One record in two messages, and two in one.
              const item = JSON.stringify({ type: 2, invocationId: id, item: news(text) });
              peer.ws.send(item.slice(0, 9));
              peer.ws.send(item.slice(9) + END + JSON.stringify({ type: 6 }) + END);
            }),
          ),
        call: (text) => peers.forEach((peer) => peer.say({ type: 1, target: 'News', arguments: [news(text), 1] })),
        question: (text) =>
          peers.forEach((peer) => peer.say({ type: 1, invocationId: String(++peer.calls), target: 'Question', arguments: [text] })),
        restart: () =>
          peers.forEach((peer) => {
            peer.say({ type: 7, error: 'the server restarts', allowReconnect: true });
            peer.ws.close(1000);
          }),
        abort: () =>
          peers.forEach((peer) => {
            peer.say({ type: 7, error: 'Connection closed with an error.' });
            peer.ws.close(1000);
          }),
      },
    };
  },

  async check(port) {
    const { HttpTransportType, HubConnectionBuilder, LogLevel } = await import('@microsoft/signalr');
    for (const skipNegotiation of [false, true]) {
      const connection = new HubConnectionBuilder()
        .withUrl(`http://127.0.0.1:${port}/hub`, {
          accessTokenFactory: () => TOKEN,
          transport: HttpTransportType.WebSockets,
          skipNegotiation,
        })
        .configureLogging(LogLevel.None)
        .build();
      connection.keepAliveIntervalInMilliseconds = 100;
      connection.serverTimeoutInMilliseconds = 2 * PING;
      await connection.start();
      assert.deepEqual(await connection.invoke('Echo', { a: [1] }), { a: [1] });
      await assert.rejects(connection.invoke('Fail'), /it failed/);
      await assert.rejects(connection.invoke('None'), /Method does not exist/);
      await connection.send('Say', { text: 'check' });
      const items = [];
      await first((complete, error) =>
        connection.stream('Counter', 3).subscribe({ next: (item) => items.push(item), complete, error }),
      );
      assert.deepEqual(items, [1, 2, 3]);
      await new Promise((resolve) => setTimeout(resolve, 4 * PING));
      assert.equal(connection.state, 'Connected');
      await connection.stop();
    }
  },
});
