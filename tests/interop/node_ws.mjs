// npm `ws` as a peer.
//
//   node node_ws.mjs client URL NAME [--ca FILE] [--http] [--limit BYTES]
//     checks an echo server; --http: it serves /healthz too; --limit: its largest message
//   node node_ws.mjs server [--cert FILE --key FILE] [--deflate]
//     a server on a free port (printed) for our client; see `command` below

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { WebSocket, WebSocketServer } from 'ws';
import { Report, option } from './report.mjs';

const MIB = 1024 * 1024;

if (process.argv[2] === 'client') await client(process.argv[3], process.argv[4]);
else if (process.argv[2] === 'server') server();
else throw new Error('client or server');

async function client(url, name) {
  const report = new Report(name);
  const ca = option('ca') ? readFileSync(option('ca')) : undefined;

  const connect = async (options = {}, protocols = []) => {
    const ws = new WebSocket(url, protocols, { ca, perMessageDeflate: false, maxPayload: 64 * MIB, ...options });
    ws.received = [];
    ws.on('message', (data, binary) => ws.received.push({ data: Buffer.from(data), binary }));
    ws.on('upgrade', (response) => (ws.agreed = response.headers['sec-websocket-extensions'] ?? ''));
    await once(ws, 'open'); // rejects on 'error'
    return ws;
  };
  const message = async (ws) => {
    while (ws.received.length === 0) {
      assert.equal(ws.readyState, WebSocket.OPEN, 'closed before the echo');
      await Promise.race([once(ws, 'message'), once(ws, 'close')]);
    }
    return ws.received.shift();
  };
  const close = async (ws, code = 1000, reason = '') => {
    const closed = once(ws, 'close');
    ws.close(code, reason);
    const [got, text] = await closed;
    return { code: got, reason: text.toString() };
  };
  const echo = async (ws, sent) => {
    ws.send(sent);
    await expect(ws, sent);
  };
  const expect = async (ws, sent) => {
    const got = await message(ws);
    assert.equal(got.binary, typeof sent !== 'string', 'the type changed');
    assert.ok(got.data.equals(Buffer.from(sent)), `echo differs: ${got.data.length} bytes for ${sent.length}`);
  };
  const check = (what, body, ...connecting) =>
    report.check(what, async () => {
      const ws = await connect(...connecting);
      try {
        await body(ws);
        if (ws.readyState === WebSocket.OPEN) assert.equal((await close(ws)).code, 1000, 'close code');
      } finally {
        ws.terminate();
      }
    });

  await check('text', async (ws) => {
    for (const text of ['hello', '', 'κόσμε 日本語 🦀', 'x'.repeat(125), 'x'.repeat(126), 'x'.repeat(65_535), 'x'.repeat(65_536)])
      await echo(ws, text);
  });
  await check('binary', async (ws) => {
    for (const size of [0, 1, 125, 126, 65_535, 65_536]) await echo(ws, bytes(size));
  });
  await check('1MiB', async (ws) => {
    await echo(ws, bytes(MIB));
    await echo(ws, 'x'.repeat(MIB));
  });
  await check('fragments', async (ws) => {
    // A character is cut by a frame's end, and a ping comes between the frames.
    const euro = Buffer.from('a € b');
    ws.send(euro.subarray(0, 3), { binary: false, fin: false });
    ws.ping('between');
    ws.send(euro.subarray(3, 4), { fin: false });
    ws.send(Buffer.alloc(0), { fin: false });
    ws.send(euro.subarray(4), { fin: true });
    await expect(ws, 'a € b');
    const large = bytes(MIB);
    for (let at = 0; at < MIB; at += 65_536)
      ws.send(large.subarray(at, at + 65_536), { binary: true, fin: at + 65_536 === MIB });
    await expect(ws, large);
  });
  await check('pipelined', async (ws) => {
    for (let i = 0; i < 1000; i++) ws.send(`message ${i}`);
    for (let i = 0; i < 1000; i++) await expect(ws, `message ${i}`);
  });
  await check('ping', async (ws) => {
    for (const payload of ['', 'ping', 'p'.repeat(125)]) {
      const pong = once(ws, 'pong');
      ws.ping(payload);
      assert.equal((await pong)[0].toString(), payload);
    }
    ws.pong('unsolicited');
    await echo(ws, 'still here');
  });
  for (const code of [1000, 1001, 3000, 4001, 4999])
    await check(`close-${code}`, async (ws) => {
      const got = await close(ws, code, 'bye');
      assert.equal(got.code, code);
      assert.ok(['', 'bye'].includes(got.reason), `reason ${got.reason}`);
    });
  await check('close-empty', async (ws) => {
    const closed = once(ws, 'close');
    ws.close();
    // 1005: the answer carries no code, as the question did not.
    assert.ok([1005, 1000].includes((await closed)[0]));
  });
  await check('close-after-messages', async (ws) => {
    for (let i = 0; i < 100; i++) ws.send(`message ${i}`);
    assert.equal((await close(ws)).code, 1000);
    assert.equal(ws.received.length, 100, 'messages before the close frame were not echoed');
  });
  await check('invalid-utf8', async (ws) => {
    const closed = once(ws, 'close');
    ws.send(Buffer.from([0x61, 0xff]), { binary: false });
    assert.equal((await closed)[0], 1007);
  });
  await check('unmasked', async (ws) => {
    const closed = once(ws, 'close');
    ws.send('hello', { mask: false });
    assert.equal((await closed)[0], 1002);
  });

  const noContext = { clientNoContextTakeover: true, serverNoContextTakeover: true };
  for (const [what, deflate] of [
    ['deflate', { threshold: 0 }],
    ['deflate-no-context', { threshold: 0, ...noContext }],
    ['deflate-context-server', { threshold: 0, clientNoContextTakeover: true }],
    ['deflate-threshold', { threshold: 1024, ...noContext }],
  ])
    await check(
      what,
      async (ws) => {
        assert.match(ws.agreed, /^permessage-deflate/);
        if (deflate.serverNoContextTakeover) assert.match(ws.agreed, /server_no_context_takeover/);
        for (let i = 0; i < 10; i++) await echo(ws, `a short message that repeats itself, number ${i}`);
        await echo(ws, '');
        await echo(ws, Buffer.from('κόσμε '.repeat(5000)));
        await echo(ws, bytes(MIB / 2));
        await echo(ws, lines(MIB));
        const before = ws._socket.bytesRead;
        await echo(ws, lines(100_000));
        const wire = ws._socket.bytesRead - before;
        assert.ok(wire < 50_000, `the answer was not compressed: ${wire} bytes for 100000`);
      },
      { perMessageDeflate: deflate },
    );
  await check(
    'deflate-small-window',
    // The server may decline (a window it cannot honour) or agree; the echo must be right.
    async (ws) => {
      for (let i = 0; i < 5; i++) await echo(ws, lines(100_000) + i);
    },
    { perMessageDeflate: { threshold: 0, serverMaxWindowBits: 9, clientMaxWindowBits: 10 } },
  );
  await check('deflate-off', async (ws) => {
    assert.equal(ws.agreed, '');
    await echo(ws, 'x'.repeat(10_000));
  });

  await report.check('subprotocol', async () => {
    // An endpoint with no subprotocols declines by silence, which `ws` reports as an error.
    const ws = await connect({}, ['chat.v1', 'echo']).catch((error) => {
      assert.equal(error.message, 'Server sent no subprotocol');
    });
    if (!ws) return;
    assert.ok(['chat.v1', 'echo'].includes(ws.protocol));
    await close(ws);
  });
  await report.check('parallel', async () => {
    const all = await Promise.all(Array.from({ length: 50 }, () => connect()));
    await Promise.all(all.map((ws, i) => echo(ws, `connection ${i}`)));
    await Promise.all(all.map((ws) => close(ws)));
  });

  const limit = Number(option('limit'));
  if (limit)
    await check('limit', async (ws) => {
      await echo(ws, bytes(limit));
      const closed = once(ws, 'close');
      ws.on('error', () => {}); // the rest may meet a closed socket
      ws.send(bytes(limit + 1));
      assert.equal((await closed)[0], 1009);
    });
  const get = (path) =>
    new Promise((resolve, reject) => {
      const to = new URL(path, url.replace(/^ws/, 'http'));
      (to.protocol === 'https:' ? https : http)
        .get(to, { ca }, (response) => {
          let body = '';
          response.on('data', (part) => (body += part));
          response.on('end', () => resolve({ response, body }));
        })
        .on('error', reject);
    });
  if (process.argv.includes('--http')) {
    await report.check('healthz', async () => {
      const { response, body } = await get('/healthz');
      assert.equal(response.statusCode, 200);
      assert.match(response.headers['content-type'], /^application\/json/);
      JSON.parse(body);
    });
    await report.check('not-found', async () => {
      assert.equal((await get('/no/such/page')).response.statusCode, 404);
    });
  }
  if (url.startsWith('wss:'))
    await report.check('unknown-authority', async () => {
      await assert.rejects(connect({ ca: undefined }), /certificate|issuer|self.signed/i);
    });
  report.exit();
}

function server() {
  const cert = option('cert');
  const listener = cert
    ? https.createServer({ cert: readFileSync(cert), key: readFileSync(option('key')) })
    : http.createServer();
  const wss = new WebSocketServer({
    server: listener,
    perMessageDeflate: process.argv.includes('--deflate') ? { threshold: 0 } : false,
    handleProtocols: (offered) => (offered.has('chat.v1') ? 'chat.v1' : false),
  });
  wss.on('connection', (ws, request) => {
    ws.on('error', () => {});
    ws.on('message', (data, binary) => {
      if (binary) ws.send(data, { binary });
      else command(ws, request, data.toString());
    });
  });
  listener.listen(0, '127.0.0.1', () => console.log(`${cert ? 'wss' : 'ws'}://127.0.0.1:${listener.address().port}/`));
}

/** What connect.mjs asks for; py_websockets.py knows the same words. Other text is echoed. */
function command(ws, request, text) {
  const [word, ...rest] = text.split(' ');
  switch (word) {
    case '!fragments':
      ws.send('one ', { fin: false });
      ws.ping();
      ws.send('two ', { fin: false });
      return ws.send('three', { fin: true });
    case '!ping':
      ws.once('pong', (payload) => ws.send(`pong ${payload}`));
      return ws.ping(rest[0]);
    case '!protocol':
      return ws.send(`protocol ${ws.protocol}`);
    case '!header':
      return ws.send(`header ${request.headers[rest[0].toLowerCase()]}`);
    case '!extensions':
      return ws.send(`extensions ${ws.extensions}`);
    case '!big':
      return ws.send(lines(Number(rest[0])));
    case '!close':
      return ws.close(Number(rest[0]), rest[1]);
    default:
      return ws.send(text);
  }
}

/** Text that compresses well, but not like a decompression bomb. */
function lines(size) {
  return Array.from({ length: Math.ceil(size / 8) }, (_, i) => String(i).padStart(8, '0'))
    .join('')
    .slice(0, size);
}

function bytes(size) {
  // Hardly compressible, and the same in every run.
  const out = Buffer.alloc(size);
  for (let i = 0, x = size + 1; i < size; i++) {
    x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
    out[i] = x >>> 16;
  }
  return out;
}
