// Binance's market streams, by their documentation: five messages in a second, pongs counted, or
// the connection ends; a ping that must be answered; answers by id. Pings come more often than the
// real ones.

import assert from 'node:assert/strict';
import { exactly, fields, main, query, scripted, tell, wrong } from './support.mjs';

const PER_SECOND = 5;
const PING = 1_300;

await main({
  async serve() {
    // A process that did not run for a while sees at once what came one by one: then it does not judge.
    let [tick, stalled] = [performance.now(), -Infinity];
    const late = () => {
      const now = performance.now();
      if (now - tick > 100) stalled = now;
      return now - stalled < 1_000;
    };
    setInterval(() => (late(), (tick = performance.now())), 20).unref();

    const { server, peers } = scripted({
      accept(request) {
        const url = new URL(request.url, 'http://x');
        if (url.pathname === '/stream') return { who: { combined: true, streams: query(request, '/stream').get('streams') } };
        const [, root, stream] = url.pathname.split('/');
        assert.equal(root, 'ws');
        return { who: { combined: false, streams: stream } };
      },
      opened(peer, { combined, streams }) {
        tell('in', 'streams');
        let pings = 0;
        let unanswered = null;
        const recent = [];
        peer.count = () => {
          const now = performance.now();
          while (recent.length && now - recent[0] >= 1_000) recent.shift();
          recent.push(now);
          if (late() || recent.length <= PER_SECOND) return;
          wrong(`${recent.length} messages in a second`);
          peer.ws.close(1008, 'Too many requests');
        };
        const ping = setInterval(() => {
          if (unanswered !== null) wrong('a ping without a pong');
          unanswered = String(++pings);
          peer.ws.ping(unanswered);
        }, PING);
        peer.ws.on('close', () => clearInterval(ping));
        peer.ws.on('ping', () => peer.count());
        peer.ws.on('pong', (data) => {
          peer.count();
          if (data.toString() === unanswered) unanswered = null;
          tell('pong');
        });
        return { combined, streams: new Set(streams ? streams.split('/') : []) };
      },
      received(peer, text) {
        peer.count();
        const message = JSON.parse(text);
        exactly(text, message);
        const { method, params, id } = fields(message, 'method', 'params?', 'id');
        assert.ok(Number.isSafeInteger(id) || typeof id === 'string' || id === null, 'an id');
        const done = (result = null) => peer.send({ result, id });
        const failed = (code, msg) => peer.send({ code, msg, id });
        switch (method) {
          case 'SUBSCRIBE':
            assert.ok(Array.isArray(params) && params.length > 0, 'streams');
            for (const stream of params) assert.match(stream, /^(!?[a-z0-9]+|!)@?\S*$/);
            if (params.some((stream) => !stream.includes('@'))) return failed(2, 'Invalid request: invalid stream');
            for (const stream of params) peer.streams.add(stream);
            assert.ok(peer.streams.size <= 1024, 'too many streams');
            done();
            return params.forEach((stream) => tell('subscribed', stream));
          case 'UNSUBSCRIBE':
            for (const stream of params) assert.ok(peer.streams.delete(stream), `not subscribed to ${stream}`);
            done();
            return params.forEach((stream) => tell('left', stream));
          case 'LIST_SUBSCRIPTIONS':
            return done([...peer.streams]);
          case 'GET_PROPERTY':
            return done(peer.combined);
          case 'SET_PROPERTY':
            assert.equal(params[0], 'combined');
            peer.combined = params[1];
            return done();
          case 'SAY':
            // Nothing of Binance's: what shows that a message came.
            tell('said', params[0]);
            return done();
          default:
            return failed(2, `Invalid request: unknown variant \`${method}\``);
        }
      },
    });
    const event = (stream, more) => ({ e: stream.split('@')[1], E: Date.now(), s: stream.split('@')[0].toUpperCase(), ...more });
    const deliver = (more) =>
      peers.forEach((peer) =>
        peer.streams.forEach((stream) => {
          const data = event(stream, more);
          peer.send(peer.combined ? { stream, data } : data);
        }),
      );
    return {
      server,
      commands: {
        push: (text) => deliver({ text }),
        shutdown: () => peers.forEach((peer) => peer.send({ e: 'serverShutdown', E: Date.now() })),
      },
    };
  },
});
