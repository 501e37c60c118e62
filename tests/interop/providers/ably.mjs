// Ably (its protocol 6, in JSON), as far as its own client needs it: the key is the token, channels
// but `closed` are for everybody, and a lost connection is resumed.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { exactly, fields, first, main, news, query, scripted, tell } from './support.mjs';

const KEY = 'app.key:secret';
const IDLE = 400;
const ACTION = { HEARTBEAT: 0, ACK: 1, NACK: 2, CONNECTED: 4, DISCONNECTED: 6, CLOSE: 7, CLOSED: 8, ERROR: 9 };
Object.assign(ACTION, { ATTACH: 10, ATTACHED: 11, DETACH: 12, DETACHED: 13, PRESENCE: 14, MESSAGE: 15, AUTH: 17 });

await main({
  async serve() {
    /** By the keys with which connections are resumed. */
    const connections = new Map();
    /** What was published, by channel; a serial is a place in it. */
    const history = new Map();
    const of = (channel) => history.get(channel) ?? history.set(channel, []).get(channel);
    const serial_of = (channel) => `s${of(channel).length}`;

    const { server, peers } = scripted({
      accept(request) {
        const params = query(request, '/');
        assert.equal(params.get('format'), 'json');
        assert.equal(params.get('v'), '6');
        return { who: params };
      },
      opened(peer, params) {
        const token = params.get('accessToken');
        if (params.get('key') !== KEY && token !== 'good') {
          const error = token
            ? { code: 40142, statusCode: 401, message: 'Token expired' }
            : { code: 40005, statusCode: 400, message: 'Invalid key' };
          peer.send({ action: ACTION.ERROR, error });
          return peer.ws.close();
        }
        const resumed = connections.get(params.get('resume'));
        const connection = resumed ?? { id: randomUUID().slice(0, 10), key: randomUUID(), channels: new Map(), next: 0 };
        connections.set(connection.key, connection);
        const error = params.has('resume') && !resumed && { code: 80008, statusCode: 400, message: 'Unable to recover connection' };
        peer.send({
          action: ACTION.CONNECTED,
          connectionId: connection.id,
          connectionDetails: {
            connectionKey: connection.key,
            maxMessageSize: 65536,
            maxIdleInterval: IDLE,
            connectionStateTtl: 120000,
            serverId: 'script',
          },
          ...(error && { error }),
        });
        tell('in', resumed ? 'resumed' : 'new');
        if (params.get('heartbeats') === 'true') {
          const beat = setInterval(() => peer.send({ action: ACTION.HEARTBEAT }), IDLE);
          peer.ws.on('close', () => clearInterval(beat));
        } else {
          const beat = setInterval(() => peer.ws.ping(), IDLE);
          peer.ws.on('close', () => clearInterval(beat));
        }
        // Attachments are of a transport: they are asked for again.
        return { connection, attached: new Set() };
      },
      received(peer, text) {
        const message = JSON.parse(text);
        exactly(text, message);
        const { action, channel, msgSerial } = message;
        switch (action) {
          case ACTION.HEARTBEAT:
            return peer.send(fields(message, 'action', 'id'));
          case ACTION.ATTACH: {
            fields(message, 'action', 'channel', 'channelSerial?', 'flags?', 'params?');
            if (channel === 'closed') {
              const error = { code: 40160, statusCode: 401, message: 'Channel denied access' };
              return peer.send({ action: ACTION.ERROR, channel, error });
            }
            const since = message.channelSerial && Number(message.channelSerial.slice(1));
            const known = since !== undefined && since <= of(channel).length;
            peer.attached.add(channel);
            tell('subscribed', channel);
            const missed = known ? of(channel).slice(since) : [];
            peer.send({ action: ACTION.ATTACHED, channel, flags: known ? 4 : 0, channelSerial: serial_of(channel) });
            missed.forEach((messages, n) => deliver(peer, channel, messages, `s${since + n + 1}`));
            return;
          }
          case ACTION.DETACH:
            fields(message, 'action', 'channel');
            assert.ok(peer.attached.delete(channel), 'it was attached');
            tell('left', channel);
            return peer.send({ action: ACTION.DETACHED, channel });
          case ACTION.MESSAGE: {
            fields(message, 'action', 'channel', 'msgSerial', 'messages');
            assert.equal(msgSerial, peer.connection.next, 'serials count from 0, and go on after a resume');
            peer.connection.next += 1;
            if (channel === 'readonly') {
              const error = { code: 40160, statusCode: 401, message: 'no permission to publish' };
              return peer.send({ action: ACTION.NACK, msgSerial, count: 1, error });
            }
            for (const one of message.messages) {
              fields(one, 'name?', 'data?', 'encoding?', 'id?', 'clientId?', 'extras?', 'action?', 'size?');
              assert.ok(['string', 'undefined'].includes(typeof one.data), 'data are a string');
              if (one.encoding) assert.equal(one.encoding, 'json');
              if (one.name === 'say') tell('said', JSON.parse(one.data).text);
            }
            peer.send({ action: ACTION.ACK, msgSerial, count: 1, res: [{ serials: message.messages.map(() => 'x') }] });
            return publish(channel, message.messages);
          }
          case ACTION.CLOSE:
            connections.delete(peer.connection.key);
            peer.send({ action: ACTION.CLOSED });
            tell('closed');
            return peer.ws.close();
          default:
            throw new Error(`action ${action}`);
        }
      },
    });

    function deliver(peer, channel, messages, channelSerial) {
      peer.send({ action: ACTION.MESSAGE, id: randomUUID(), channel, channelSerial, timestamp: Date.now(), messages });
    }

    function publish(channel, messages) {
      of(channel).push(messages);
      peers.forEach((peer) => peer.attached?.has(channel) && deliver(peer, channel, messages, serial_of(channel)));
    }

    const end = (error) => () =>
      peers.forEach((peer) => {
        peer.send({ action: ACTION.DISCONNECTED, error });
        peer.ws.close();
      });
    return {
      server,
      commands: {
        push: (text) => publish('chat', [{ name: 'news', data: JSON.stringify(news(text)), encoding: 'json' }]),
        cut: () => peers.forEach((peer) => peer.ws.terminate()),
        move: end({ code: 80003, statusCode: 503, message: 'Server is moving' }),
      },
    };
  },

  async check(port) {
    const { Realtime } = await import('ably');
    const client = new Realtime({
      key: KEY,
      endpoint: '127.0.0.1',
      port: Number(port),
      tls: false,
      useBinaryProtocol: false,
      disableConnectivityCheck: true,
      logLevel: 0,
    });
    await first((resolve, reject) => (client.connection.once('connected', resolve), client.connection.once('failed', reject)));
    const chat = client.channels.get('check');
    const heard = first((resolve) => void chat.subscribe('say', ({ data }) => resolve(data)));
    await chat.attach();
    await chat.publish('say', { text: 'check' });
    assert.deepEqual(await heard, { text: 'check' });
    await assert.rejects(client.channels.get('readonly').publish('say', { text: 'no' }), /no permission/);
    await assert.rejects(client.channels.get('closed').attach(), /denied/);
    assert.ok((await client.connection.ping()) >= 0);
    await new Promise((resolve) => setTimeout(resolve, 3 * IDLE));
    assert.equal(client.connection.state, 'connected');
    await chat.detach();
    client.close();
    await first((resolve) => client.connection.once('closed', resolve));
  },
});
