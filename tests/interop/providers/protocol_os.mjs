// A server as the manager of Protocol OS expects it (wire: JSON messages with a type).

import assert from 'node:assert/strict';
import { TOKEN, exactly, fields, main, news, scripted, tell } from './support.mjs';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

await main({
  async serve() {
    const { server, peers } = scripted({
      accept: () => ({}),
      opened: () => ({ authenticated: false }),
      received(peer, text) {
        const message = JSON.parse(text);
        exactly(text, message);
        if (!peer.authenticated) {
          assert.deepEqual(Object.entries(message), [['type', 'authenticate'], ['token', TOKEN]]);
          peer.authenticated = true;
          return tell('in', 'manager');
        }
        assert.ok(Math.abs(message.timestamp - Date.now()) < 60_000, 'a timestamp in milliseconds');
        switch (message.type) {
          case 'ping':
            fields(message, 'type', 'id', 'timestamp');
            assert.match(message.id, UUID);
            tell('ping');
            return peer.send({ type: 'pong', id: message.id, timestamp: message.timestamp });
          case 'pong':
            fields(message, 'type', 'id', 'timestamp');
            return tell('pong', message.id);
          case 'publish':
            fields(message, 'type', 'channel', 'payload', 'timestamp');
            return tell('said', message.payload.text);
          case 'getUser':
          case 'fail': {
            const { type, id, payload } = fields(message, 'type', 'id', 'payload', 'timestamp');
            assert.match(id, UUID);
            if (type === 'fail') return peer.send({ type: 'error', id, payload: { message: 'it failed' } });
            return peer.send({ type: 'user', id, payload: { asked: payload } });
          }
          default:
            throw new Error(`a message of type ${message.type}`);
        }
      },
    });
    return {
      server,
      commands: {
        push: (text) => peers.forEach((peer) => peer.send({ type: 'news', channel: 'chat', payload: news(text) })),
        ping: () => peers.forEach((peer) => peer.send({ type: 'ping', id: 'p1', timestamp: Date.now() })),
      },
    };
  },
});
