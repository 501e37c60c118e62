// An API of AWS API Gateway with WebSockets, by its documentation: `$connect` with an authorizer
// that looks at the query, routes chosen by `action`, and the gateway's limits, in part scaled down.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { TOKEN, main, news, query, scripted, tell, wrong } from './support.mjs';

const FRAME = 32 * 1024;
const MESSAGE = 128 * 1024;

/** Calls back with the length of each frame's payload: the library shows whole messages only. */
function frames(socket, each) {
  let rest = Buffer.alloc(0);
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    for (;;) {
      if (rest.length < 2) return;
      const short = rest[1] & 0x7f;
      const at = { 126: 4, 127: 10 }[short] ?? 2;
      if (rest.length < at) return;
      const length = { 126: () => rest.readUInt16BE(2), 127: () => Number(rest.readBigUInt64BE(2)) }[short]?.() ?? short;
      const end = at + 4 + length;
      if (rest.length < end) return;
      rest = rest.subarray(end);
      each(length);
    }
  });
}

await main({
  async serve() {
    const { server, peers } = scripted({
      accept(request) {
        const params = query(request, '/production');
        assert.ok(request.url.length <= 4096, 'URLs have 4096 characters');
        // The authorizer: nothing there to look at, or nobody it knows.
        if (!params.has('Authorization')) return { status: 401 };
        return params.get('Authorization') === TOKEN ? {} : { status: 403 };
      },
      opened(peer, _, socket) {
        tell('in', 'stage');
        frames(socket, (length) => {
          if (length <= FRAME) return;
          wrong(`a frame of ${length} bytes`);
          peer.ws.close(1009);
        });
        return { connectionId: randomUUID() };
      },
      received(peer, text) {
        assert.ok(text.length <= MESSAGE, 'messages have 128 KiB');
        const failed = (message) =>
          peer.send({ message, connectionId: peer.connectionId, requestId: randomUUID() });
        let body;
        try {
          body = JSON.parse(text);
        } catch {
          tell('default');
          return;
        }
        switch (body.action) {
          case 'say':
            return tell('said', body.text);
          case 'ask':
            return peer.send({ id: body.id, asked: body.n, length: text.length });
          case 'ping':
            return tell('ping');
          case 'broken':
            return failed('Internal server error');
          default:
            return failed('Forbidden');
        }
      },
    });
    return {
      server,
      commands: {
        push: (text) => peers.forEach((peer) => peer.send(news(text))),
        // Idle for ten minutes, or two hours old.
        tired: () => peers.forEach((peer) => peer.ws.close(1001, 'Going away')),
      },
    };
  },
});
