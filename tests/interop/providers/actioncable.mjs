// Action Cable, as far as its own client needs it: ChatChannel, which takes everybody, and
// ClosedChannel, which takes nobody. Work is done by several threads there, so an answer takes its
// time, and what comes for a channel before it is confirmed finds no subscription.

import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { TOKEN, exactly, fields, first, main, news, offered, query, scripted, tell, wrong } from './support.mjs';

const BEAT = 500;

await main({
  async serve() {
    const { server, peers } = scripted({
      accept(request) {
        const token = query(request, '/cable').get('token');
        assert.deepEqual(offered(request), ['actioncable-v1-json', 'actioncable-unsupported']);
        assert.ok(request.headers.origin, 'requests without an Origin are not let in');
        return { subprotocol: 'actioncable-v1-json', who: token };
      },
      opened(peer, token) {
        if (token !== TOKEN) {
          peer.send({ type: 'disconnect', reason: 'unauthorized', reconnect: false });
          return peer.ws.close();
        }
        peer.send({ type: 'welcome' });
        tell('in', 'connection');
        const beat = setInterval(() => peer.send({ type: 'ping', message: Math.floor(Date.now() / 1000) }), BEAT);
        peer.ws.on('close', () => clearInterval(beat));
        return { channels: new Map() };
      },
      received(peer, text) {
        const message = JSON.parse(text);
        exactly(text, message);
        const { command, identifier } = message;
        const id = JSON.parse(identifier);
        if (command === 'subscribe') {
          fields(message, 'command', 'identifier');
          // A second one is ignored.
          if (peer.channels.has(identifier)) return;
          peer.channels.set(identifier, false);
          setTimeout(() => {
            if (id.channel !== 'ChatChannel') {
              peer.channels.delete(identifier);
              return peer.send({ identifier, type: 'reject_subscription' });
            }
            peer.channels.set(identifier, true);
            tell('subscribed', identifier);
            peer.send({ identifier, type: 'confirm_subscription' });
          }, 100);
          return;
        }
        if (!peer.channels.get(identifier)) return wrong(`unable to find subscription with identifier: ${text}`);
        if (command === 'unsubscribe') {
          fields(message, 'command', 'identifier');
          peer.channels.delete(identifier);
          return tell('left', identifier);
        }
        assert.equal(command, 'message');
        fields(message, 'command', 'identifier', 'data');
        const data = JSON.parse(message.data);
        assert.equal(data.action, 'say', 'the channel has this action only');
        tell('said', data.text);
      },
    });
    const push = (text) =>
      peers.forEach((peer) =>
        peer.channels.forEach((confirmed, identifier) => confirmed && peer.send({ identifier, message: news(text) })),
      );
    const restart = () =>
      peers.forEach((peer) => {
        peer.send({ type: 'disconnect', reason: 'server_restart', reconnect: true });
        peer.ws.close();
      });
    const remote = () =>
      peers.forEach((peer) => {
        peer.send({ type: 'disconnect', reason: 'remote', reconnect: false });
        peer.ws.close();
      });
    return { server, commands: { push, restart, remote } };
  },

  async check(port) {
    // What it expects of a browser.
    globalThis.addEventListener ??= () => {};
    globalThis.removeEventListener ??= () => {};
    globalThis.document ??= { visibilityState: 'visible' };
    const { adapters, createConsumer } = await import('@rails/actioncable');
    adapters.WebSocket = class extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols, { origin: `http://127.0.0.1:${port}` });
      }
    };
    adapters.logger = { log() {} };
    const consumer = createConsumer(`ws://127.0.0.1:${port}/cable?token=${encodeURIComponent(TOKEN)}`);
    const subscribe = (params) =>
      new Promise((resolve, reject) => {
        const subscription = consumer.subscriptions.create(params, {
          connected: () => resolve(subscription),
          rejected: () => reject(new Error('rejected')),
        });
      });
    const chat = await subscribe({ channel: 'ChatChannel', room: '1' });
    chat.perform('say', { text: 'check' });
    await assert.rejects(subscribe({ channel: 'ClosedChannel' }), /rejected/);
    await new Promise((resolve) => setTimeout(resolve, 3 * BEAT));
    assert.ok(consumer.connection.isOpen(), 'it stays');
    chat.unsubscribe();
    consumer.disconnect();
    void first;
  },
});
