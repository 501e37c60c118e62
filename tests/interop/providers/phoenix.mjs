// Phoenix channels (V2, JSON), as far as its own client needs them: a socket at /socket, whose
// `connect/3` looks at the token, and channels `room:…`.

import assert from 'node:assert/strict';
import * as phoenix from 'phoenix';
import { WebSocket } from 'ws';
import { TOKEN, exactly, first, main, news, offered, query, scripted, tell } from './support.mjs';

await main({
  async serve() {
    const { server, peers } = scripted({
      accept(request) {
        const params = query(request, '/socket/websocket');
        assert.equal(params.get('vsn'), '2.0.0');
        let token = params.get('token');
        let subprotocol;
        if (offered(request).includes('phoenix')) {
          const prefix = 'base64url.bearer.phx.';
          const auth = offered(request).find((name) => name.startsWith(prefix));
          assert.ok(auth, 'authToken');
          token = Buffer.from(auth.slice(prefix.length), 'base64url').toString();
          subprotocol = 'phoenix';
        }
        return token === TOKEN ? { subprotocol } : { status: 403 };
      },
      opened(peer) {
        tell('in', 'socket');
        return { joined: new Map(), last: 0 };
      },
      received(peer, text) {
        const message = JSON.parse(text);
        // The encoding of the clients: no blank, in this order.
        exactly(text, message);
        assert.equal(message.length, 5);
        const [join, ref, topic, event, payload] = message;
        const reply = (status, response) => peer.send([join, ref, topic, 'phx_reply', { status, response }]);
        for (const it of [join, ref]) assert.ok(it === null || typeof it === 'string', 'refs are texts');
        assert.equal(typeof payload, 'object');
        if (topic === 'phoenix') {
          assert.deepEqual([join, event, payload], [null, 'heartbeat', {}]);
          tell('heartbeat');
          return reply('ok', {});
        }
        if (event === 'phx_join') {
          assert.equal(join, ref, "a join's ref is its own");
          // One that is joined twice leaves its first process.
          if (peer.joined.has(topic)) peer.send([peer.joined.get(topic), ref, topic, 'phx_close', {}]);
          if (!topic.startsWith('room:')) return reply('error', { reason: 'unmatched topic' });
          if (topic === 'room:closed') return reply('error', { reason: 'unauthorized' });
          peer.joined.set(topic, join);
          tell('subscribed', topic);
          return reply('ok', {});
        }
        if (peer.joined.get(topic) !== join) return reply('error', { reason: 'unmatched topic' });
        if (event === 'phx_leave') {
          peer.joined.delete(topic);
          tell('left', topic);
          reply('ok', {});
          return peer.send([join, ref, topic, 'phx_close', {}]);
        }
        if (event === 'say') return tell('said', payload.text);
        if (event === 'ask') return reply('ok', { asked: payload });
        if (event === 'fail') return reply('error', { reason: 'it failed' });
        if (event === 'crash') {
          peer.joined.delete(topic);
          peer.send([join, ref, topic, 'phx_error', { reason: 'channel_crash' }]);
          // Once it is on its way.
          return setTimeout(() => tell('crashed'), 100);
        }
        throw new Error(`no clause for ${event}`);
      },
    });
    const push = (text) =>
      peers.forEach((peer) =>
        peer.joined.forEach((_, topic) => peer.send([null, null, topic, 'news', news(text)])),
      );
    // As the serializer puts a broadcast with a binary payload.
    const bytes = (hex) =>
      peers.forEach((peer) =>
        peer.joined.forEach((_, topic) => {
          const [name, event] = [Buffer.from(topic), Buffer.from('bytes')];
          peer.ws.send(Buffer.concat([Buffer.from([2, name.length, event.length]), name, event, Buffer.from(hex, 'hex')]));
        }),
      );
    return { server, commands: { push, bytes } };
  },

  async check(port) {
    for (const options of [{ params: { token: TOKEN } }, { authToken: TOKEN }]) {
      const socket = new phoenix.Socket(`ws://127.0.0.1:${port}/socket`, {
        ...options,
        transport: WebSocket,
        heartbeatIntervalMs: 50,
      });
      socket.connect();
      await first((resolve, reject) => (socket.onOpen(resolve), socket.onError(reject)));
      const channel = socket.channel('room:check', {});
      const pushed = (push) =>
        first((resolve, reject) => push.receive('ok', resolve).receive('error', reject).receive('timeout', reject));
      await pushed(channel.join());
      const heard = first((resolve) => channel.on('news', resolve));
      const { asked } = await pushed(channel.push('ask', { n: 1 }));
      assert.deepEqual(asked, { n: 1 });
      await assert.rejects(pushed(channel.push('fail', {})).catch(({ reason }) => { throw new Error(reason); }), /it failed/);
      await assert.rejects(pushed(socket.channel('none').join()).catch(({ reason }) => { throw new Error(reason); }), /unmatched topic/);
      await new Promise((resolve) => setTimeout(resolve, 200));
      assert.ok(socket.isConnected(), 'heartbeats are answered');
      await pushed(channel.leave());
      void heard;
      socket.disconnect();
    }
  },
});
