// A SmartSocket server as it was before CONNECT had an answer: it says nothing when somebody
// comes, and takes the whole path for a namespace.

import { deflateSync } from 'node:zlib';
import assert from 'node:assert/strict';
import { exactly, main, news, scripted, tell, wrong } from './support.mjs';

await main({
  async serve() {
    const { server, peers } = scripted({
      accept(request) {
        return { who: request.url };
      },
      opened(peer, namespace) {
        tell('in', namespace);
        return { namespace };
      },
      received(peer, text) {
        // It cannot undo what clients compress.
        if (typeof text !== 'string') {
          assert.equal(text[0], 1, 'a plain packet');
          assert.equal(text.readUInt32BE(1), text.length - 5);
          text = text.subarray(5).toString();
        }
        const message = JSON.parse(text);
        exactly(text, message);
        const { event, data } = message;
        if (event === 'pong') return tell('pong');
        if (['CONNECT', 'connected'].includes(event)) return;
        const { __ackId, _ackId, ...rest } = data;
        if (event === 'say') tell('said', rest.text);
        else if (event !== 'ask') return wrong(`an event ${event}`);
        // Both generations of acks.
        if (__ackId !== undefined) peer.send({ event: '__ack__', data: { ackId: __ackId, response: { asked: rest } } });
        else if (_ackId !== undefined) peer.send({ event, data: { _ackId, asked: rest } });
      },
    });
    const envelope = (text) => Buffer.from(JSON.stringify({ event: 'news', data: news(text) }));
    return {
      server,
      commands: {
        push: (text) => peers.forEach((peer) => peer.send({ event: 'news', data: news(text) })),
        // A packet that is compressed, and what rooms are sent: the same without its first byte.
        packed: (text) => peers.forEach((peer) => peer.ws.send(Buffer.concat([Buffer.from([3]), deflateSync(envelope(text))]))),
        room: (text) => peers.forEach((peer) => peer.ws.send(deflateSync(envelope(text)))),
        ping: () => peers.forEach((peer) => peer.send({ event: 'ping', data: { timestamp: Date.now() } })),
      },
    };
  },
});
