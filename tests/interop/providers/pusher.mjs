// Pusher Channels (protocol 7), as far as its own client needs them: one application, whose key and
// secret are below.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { exactly, fields, first, main, news, query, scripted, tell, wrong } from './support.mjs';

export const KEY = '278d425bdf160c739803';
/** For the checks of proofs. */
const SECRET = '7ad3773142a6692b25b8';

const sign = (text) => `${KEY}:${createHmac('sha256', SECRET).update(text).digest('hex')}`;
const is_private = (channel) => /^(private|presence)-/.test(channel);

await main({
  async serve() {
    let serial = 0;
    const { server, peers } = scripted({
      accept(request) {
        const url = new URL(request.url, 'http://x');
        const params = query(request, url.pathname);
        assert.match(url.pathname, /^\/app\/\w+$/);
        assert.equal(params.get('protocol'), '7');
        for (const name of ['client', 'version']) assert.ok(params.get(name), name);
        return { who: url.pathname.slice(5) };
      },
      opened(peer, key) {
        if (key !== KEY) {
          peer.send({ event: 'pusher:error', data: { code: 4001, message: `App key ${key} not in this cluster` } });
          return peer.ws.close(4001);
        }
        const socket_id = `${++serial}.${process.pid}`;
        const data = JSON.stringify({ socket_id, activity_timeout: 1 });
        peer.send({ event: 'pusher:connection_established', data });
        tell('in', 'application');
        return { socket_id, channels: new Map() };
      },
      received(peer, text) {
        assert.equal(typeof text, 'string', 'frames are texts');
        const message = JSON.parse(text);
        exactly(text, message);
        const { event, data } = message;
        if (event === 'pusher:ping') {
          fields(message, 'event', 'data');
          assert.deepEqual(data, {});
          tell('ping');
          return peer.send({ event: 'pusher:pong', data: {} });
        }
        if (event === 'pusher:pong') return tell('pong');
        if (event === 'pusher:subscribe') {
          fields(message, 'event', 'data');
          const { channel, auth, channel_data } = fields(data, 'channel', 'auth?', 'channel_data?');
          if (peer.channels.has(channel)) return wrong(`subscribed twice: ${channel}`);
          if (is_private(channel)) {
            const signed = [peer.socket_id, channel, ...(channel_data === undefined ? [] : [channel_data])].join(':');
            if (auth !== sign(signed)) {
              wrong('a proof');
              const refusal = { type: 'AuthError', error: `Auth value for subscription to ${channel} is invalid`, status: 401 };
              return peer.send({ event: 'pusher:subscription_error', channel, data: JSON.stringify(refusal) });
            }
          }
          peer.channels.set(channel, false);
          // The answer takes its time.
          setTimeout(() => {
            let answer = {};
            if (channel.startsWith('presence-')) {
              const { user_id, user_info } = JSON.parse(channel_data);
              answer = { presence: { ids: [user_id], hash: { [user_id]: user_info }, count: 1 } };
            }
            peer.channels.set(channel, true);
            tell('subscribed', channel);
            peer.send({ event: 'pusher_internal:subscription_succeeded', channel, data: JSON.stringify(answer) });
          }, 100);
          return;
        }
        if (event === 'pusher:unsubscribe') {
          fields(message, 'event', 'data');
          fields(data, 'channel');
          assert.ok(peer.channels.delete(data.channel), 'it was subscribed to');
          return tell('left', data.channel);
        }
        fields(message, 'event', 'channel', 'data');
        assert.match(event, /^client-/);
        assert.ok(is_private(message.channel), 'client events are for private channels');
        assert.ok(peer.channels.get(message.channel), 'not a member of the channel');
        // All the others hear it as it came.
        for (const other of peers) {
          if (other !== peer && other.channels.get(message.channel)) other.send(text);
        }
        if (event === 'client-say') tell('said', data.text);
      },
    });
    const push = (text) =>
      peers.forEach((peer) =>
        peer.channels.forEach(
          (confirmed, channel) => confirmed && peer.send({ event: 'news', channel, data: JSON.stringify(news(text)) }),
        ),
      );
    return {
      server,
      commands: {
        push,
        ping: () => peers.forEach((peer) => peer.send({ event: 'pusher:ping', data: {} })),
        close: (code) => peers.forEach((peer) => peer.ws.close(Number(code))),
      },
    };
  },

  async check(port) {
    const { default: Pusher } = await import('pusher-js');
    const pusher = new Pusher(KEY, {
      cluster: '',
      wsHost: '127.0.0.1',
      wsPort: Number(port),
      forceTLS: false,
      enabledTransports: ['ws'],
      disableStats: true,
      channelAuthorization: {
        customHandler: ({ socketId, channelName }, callback) => {
          const user = JSON.stringify({ user_id: 'u1', user_info: {} });
          const presence = channelName.startsWith('presence-');
          const signed = presence ? `${socketId}:${channelName}:${user}` : `${socketId}:${channelName}`;
          callback(null, { auth: sign(signed), ...(presence && { channel_data: user }) });
        },
      },
    });
    await first((resolve) => pusher.connection.bind('connected', resolve));
    for (const name of ['public', 'private-check', 'presence-check']) {
      const channel = pusher.subscribe(name);
      await first((resolve, reject) => {
        channel.bind('pusher:subscription_succeeded', resolve);
        channel.bind('pusher:subscription_error', reject);
      });
      if (name !== 'public') assert.ok(channel.trigger('client-say', { text: 'check' }));
      if (name === 'presence-check') assert.equal(channel.members.count, 1);
    }
    // More than one activity timeout.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    assert.equal(pusher.connection.state, 'connected');
    pusher.unsubscribe('public');
    pusher.disconnect();
  },
});
