// The browser client against servers that do what is hard to get from ours: older ones, slow
// ones, broken ones.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync, deflateSync, inflateSync } from 'node:zlib';
import { client, next, pair, peer } from './support.mjs';

const words = (count) => Array.from({ length: count }, (_, i) => `word${i}`).join(' ');
const json = (event, data) => Buffer.from(JSON.stringify({ event, data }));
const packet = (kind, ...parts) => Buffer.concat([Buffer.of(kind), ...parts]);
const u32 = (...values) => Buffer.concat(values.map((value) => Buffer.of(value >>> 24, value >>> 16, value >>> 8, value)));

test('says CONNECT with what it can and the key, and never the key in the address', async () => {
  const { url, sockets } = await peer();
  const c = client(url, { namespace: '/chat', apiKey: 'secret' });
  const connecting = c.connect();
  const socket = await sockets.take();
  assert.equal(socket.path, '/chat');
  assert.deepEqual(await socket.accept('me'), { version: '1.0.0', apiKey: 'secret', binary: 'compressed' });
  await connecting;
  assert.equal(c.id, 'me');
});

test('an older server does not know CONNECT: it is spoken to all the same, without compression', async () => {
  const { url, sockets } = await peer();
  const c = client(url, { connectAckTimeout: 20 });
  const connecting = c.connect();
  const socket = await sockets.take();
  assert.equal((await socket.next()).event, 'CONNECT');
  await connecting;
  assert.equal(c.id, undefined);
  const answer = c.emitWithAck('save', { text: words(1_000) });
  const bytes = await socket.next();
  assert.equal(bytes[0], 1);
  assert.equal(bytes.readUInt32BE(1), bytes.length - 5);
  const { event, data } = JSON.parse(bytes.subarray(5));
  assert.equal(event, 'save');
  assert.match(data.__ackId, /^ack_1_\d+$/);
  socket.say('__ack__', { ackId: data.__ackId, response: { success: true } });
  assert.deepEqual(await answer, { success: true });
  // One that answers late is no older one.
  socket.say('CONNECT_ACK', { id: 'late' });
  socket.say('x');
  await next(c, 'x');
  assert.equal(c.id, 'late');
  c.emit('save', { text: words(1_000) });
  assert.equal((await socket.next())[0], 3);
});

test('without CONNECT at all', async () => {
  const { url, sockets } = await peer();
  const c = client(url, { connectAckTimeout: 0 });
  await c.connect();
  c.emit('first', 1);
  assert.deepEqual(await (await sockets.take()).next(), { event: 'first', data: 1 });
});

test('acks of the older generation: a number among the data, and all of the data for an answer', async () => {
  const { client: c, socket } = await pair({ ackField: '_ackId' });
  const answer = c.emitWithAck('save', { name: 'J' });
  assert.deepEqual(await socket.next(), { event: 'save', data: { name: 'J', _ackId: 1 } });
  socket.say('save', { _ackId: 1, success: true, id: 7 });
  assert.deepEqual(await answer, { _ackId: 1, success: true, id: 7 });
});

test('what is sent: text to the threshold, then packets, then chunks', async () => {
  const { client: c, socket } = await pair();
  const exact = { event: 'e', data: 'x'.repeat(1_024 - '{"event":"e","data":""}'.length) };
  c.emit('e', exact.data);
  assert.deepEqual(await socket.next(), exact);
  // Bytes count, not characters.
  c.emit('e', 'κ'.repeat(600));
  const deflated = await socket.next();
  assert.deepEqual([deflated[0], deflated[1]], [3, 0x78]);
  assert.deepEqual(JSON.parse(inflateSync(deflated.subarray(1))), { event: 'e', data: 'κ'.repeat(600) });

  // A bomb, if it were compressed.
  const zeros = '0'.repeat(200_000);
  c.emit('e', zeros);
  const parts = [];
  for (let at = 0; at < 4; at++) {
    const chunk = await socket.next();
    const [id, total, index, size] = [1, 5, 9, 13].map((place) => chunk.readUInt32BE(place));
    assert.deepEqual([chunk[0], total, index, size, id < 2 ** 31], [2, 4, at, chunk.length - 17, true]);
    parts.push(chunk.subarray(17));
  }
  assert.equal(JSON.parse(Buffer.concat(parts)).data, zeros);

  const text = Array.from({ length: 40_000 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 0).join(' ');
  c.emit('e', text);
  const first = await socket.next();
  assert.equal(first[0], 2);
  assert.equal(first.readUInt32BE(1) >>> 31, 1);
  const rest = [first.subarray(17)];
  while (rest.length < first.readUInt32BE(5)) rest.push((await socket.next()).subarray(17));
  assert.equal(JSON.parse(inflateSync(Buffer.concat(rest))).data, text);
});

test('what may come: every packet of every server', async () => {
  const { client: c, socket } = await pair();
  const got = [];
  c.on('e', (data) => got.push(data));
  const text = words(5_000);
  const all = json('e', text);
  const deflated = deflateSync(all);
  const chunks = (id, data, size) =>
    Array.from({ length: Math.ceil(data.length / size) }, (_, i) => {
      const part = data.subarray(i * size, (i + 1) * size);
      return packet(2, u32(id, Math.ceil(data.length / size), i, part.length), part);
    });
  for (const message of [
    packet(1, u32(all.length), all),
    packet(3, deflated),
    packet(3, deflateRawSync(all)),
    // The older server's, to rooms.
    all,
    deflated,
    ...chunks(1, all, 9_000),
    ...chunks(2 ** 31 + 1, deflated, 1_000),
    ...chunks(2 ** 31 + 2, deflateRawSync(all), 1_000),
    // Not in order, twice, and two messages at a time.
    ...chunks(5, all, 9_000).reverse(),
    ...chunks(6, all, 9_000).flatMap((chunk, i) => [chunk, chunk, chunks(7, all, 9_000)[i]]).slice(0, -1),
  ])
    socket.send(message);
  socket.send(chunks(7, all, 9_000).at(-1));
  socket.say('done');
  await next(c, 'done');
  assert.deepEqual(c.heard, []);
  assert.equal(got.length, 11);
  for (const data of got) assert.equal(data, text);
});

test('what makes no sense harms only itself', async () => {
  const { client: c, socket } = await pair({ maxMessage: 100_000 });
  const bomb = deflateSync(json('e', 'x'.repeat(1_000_000)));
  for (const [message, code] of [
    ['no JSON', 'ERR_MSG_001'],
    ['null', 'ERR_MSG_001'],
    ['[]', 'ERR_MSG_001'],
    ['{"data":1}', 'ERR_MSG_001'],
    ['{"event":7}', 'ERR_MSG_001'],
    [Buffer.of(), 'ERR_MSG_001'],
    [Buffer.of(1), 'ERR_MSG_001'],
    [Buffer.of(9, 9), 'ERR_MSG_001'],
    [packet(1, u32(3), Buffer.from('{}')), 'ERR_MSG_001'],
    [packet(1, u32(2), Buffer.of(0xff, 0xfe)), 'ERR_MSG_001'],
    [packet(2, u32(1, 2, 2, 1), Buffer.of(1)), 'ERR_MSG_001'],
    [packet(2, u32(1, 2, 0, 9), Buffer.of(1)), 'ERR_MSG_001'],
    [packet(2, u32(1, 2 ** 31, 0, 1), Buffer.of(1)), 'ERR_MSG_004'],
    [packet(3, Buffer.from('not deflate')), 'ERR_MSG_002'],
    [packet(3, deflateSync(json('e', words(9))).subarray(0, 20)), 'ERR_MSG_002'],
    [packet(3, bomb), 'ERR_MSG_004'],
    [bomb, 'ERR_MSG_004'],
    [packet(2, u32(3, 2, 0, 90_000), Buffer.alloc(90_000)), null],
    [packet(2, u32(3, 2, 1, 90_000), Buffer.alloc(90_000)), 'ERR_MSG_004'],
    ['{"event":"connected"}', null],
    ['{"event":"disconnected"}', null],
    ['{"event":"__ack__","data":{"ackId":"ack_9_9","response":1}}', null],
    ['{"event":"__ack__"}', null],
  ]) {
    socket.send(message);
    socket.say('done');
    await next(c, 'done');
    assert.deepEqual(
      c.heard.splice(0).map(([, { code }]) => code),
      code ? [code] : [],
      String(message).slice(0, 40),
    );
  }
  assert.equal(c.connected, true);
});

test('an error of the server is an error, with what it said', async () => {
  const { client: c, socket } = await pair();
  const said = { code: 'ERR_MSG_001', message: 'Invalid message format', cause: 'Malformed', solution: 'Check' };
  const heard = next(c, 'error');
  socket.say('error', said);
  const [error] = await heard;
  assert.ok(error instanceof Error);
  assert.deepEqual([error.code, error.message, error.data], ['ERR_MSG_001', 'ERR_MSG_001: Invalid message format', said]);
});

test('a server that asks is answered', async () => {
  const { client: c, socket } = await pair();
  const ask = async (event, data) => {
    socket.say(event, { ...data, __ackId: 'ack_1' });
    const { event: name, data: answer } = await socket.next();
    assert.deepEqual([name, answer.ackId], ['__ack__', 'ack_1']);
    return answer.response;
  };
  let seen;
  c.on('taken', (data, reply) => {
    seen = data;
    reply('one');
    reply('two');
  });
  assert.equal(await ask('taken', { a: 1 }), 'one');
  assert.deepEqual(seen, { a: 1 });
  c.on('returned', (data) => data.a + 1);
  assert.deepEqual(await ask('returned', { a: 1 }), { success: true, result: 2 });
  c.on('promised', async () => 'later');
  assert.deepEqual(await ask('promised'), { success: true, result: 'later' });
  c.on('silent', () => {});
  assert.deepEqual(await ask('silent'), { success: true });
  c.on('rejected', async () => {
    throw new Error('no');
  });
  assert.deepEqual(await ask('rejected'), { error: 'no' });
  c.on('later', (_, reply) => void setTimeout(reply, 1, 'waited'));
  assert.equal(await ask('later'), 'waited');
  // Nobody listens: nobody claims that somebody did.
  socket.say('unheard', { __ackId: 'ack_2' });
  assert.deepEqual(await ask('silent'), { success: true });
});

test('pings are answered', async () => {
  const { socket } = await pair();
  socket.say('ping', { timestamp: 5 });
  assert.deepEqual(await socket.next(), { event: 'pong', data: { timestamp: 5 } });
});

test('a server that pings no more is gone', async () => {
  const { client: c, socket, sockets } = await pair({ heartbeatTimeout: 50, maxReconnectAttempts: 1 });
  socket.say('ping', { timestamp: 5 });
  const [{ error }] = await next(c, 'disconnected');
  assert.equal(error.code, 'ERR_CONN_006');
  // One that never pings may be as silent as it likes: this is the second connection.
  const again = await sockets.take();
  await again.accept();
  await next(c, 'connected');
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(c.connected, true);
});

test('answers that do not come: late, or never', async () => {
  const { client: c, socket } = await pair({ ackTimeout: 20 });
  await assert.rejects(c.emitWithAck('slow'), { code: 'ERR_ACK_001', message: 'ERR_ACK_001: Acknowledgment timeout' });
  const { data } = await socket.next();
  const [answer, error] = await new Promise((resolve) => c.emit('slow', null, (...all) => resolve(all), 10));
  assert.equal(answer, null);
  assert.equal(error.code, 'ERR_ACK_001');
  socket.say('__ack__', { ackId: data.__ackId, response: 1 });
  const lost = c.emitWithAck('lost', {}, 60_000);
  lost.catch(() => {});
  await socket.next();
  await socket.next();
  socket.terminate();
  await assert.rejects(lost, { code: 'ERR_CONN_006' });
});

test('comes back as the table of the reference says, and says what it does', async () => {
  const { url, sockets } = await peer();
  const c = client(url, { reconnectDelay: 10, reconnectJitter: 0, maxReconnectAttempts: 4 }, ['reconnect:attempt', 'reconnect:failed', 'state:changed']);
  const connecting = c.connect();
  (await sockets.take()).terminate();
  await assert.rejects(connecting, { code: 'ERR_CONN_003' });
  for (let n = 0; n < 4; n++) (await sockets.take()).terminate();
  await next(c, 'reconnect:failed');
  const told = (event) => c.heard.filter(([name]) => name === event).map(([, value]) => value);
  assert.deepEqual(told('reconnect:attempt'), [
    { attempt: 1, delay: 10 },
    { attempt: 2, delay: 15 },
    { attempt: 3, delay: 23 },
    { attempt: 4, delay: 34 },
  ]);
  assert.equal(told('error').length, 5);
  assert.equal(told('reconnect:failed')[0].attempts, 4);
  assert.deepEqual(told('state:changed'), ['connecting', 'reconnecting', 'disconnected']);
  // Asked again, it begins anew.
  const again = c.connect();
  assert.equal(c.state, 'connecting');
  await (await sockets.take()).accept();
  await again;
});

test('no wait is longer than 30 s, and chance makes it shorter only', async () => {
  const seconds = async (options) => {
    const c = client('ws://127.0.0.1:1', { maxReconnectAttempts: 1, ...options }, ['reconnect:attempt']);
    await c.connect().catch(() => {});
    c.disconnect();
    return c.heard.find(([event]) => event === 'reconnect:attempt')[1].delay / 1_000;
  };
  assert.equal(await seconds({ reconnectDelay: 40_000, reconnectJitter: 0 }), 30);
  const all = await Promise.all(Array.from({ length: 50 }, () => seconds({ reconnectDelay: 60_000 })));
  assert.ok(all.every((delay) => delay >= 15 && delay <= 30));
  assert.ok(new Set(all).size > 1);
});

test('what was said in between is sent after what `connected` says', async () => {
  const { client: c, socket, sockets } = await pair({ maxReconnectAttempts: 3 }, ['disconnected']);
  c.on('connected', () => c.emit('join', { room: 'den' }));
  socket.terminate();
  await next(c, 'disconnected');
  assert.equal(c.state, 'reconnecting');
  c.emit('say', 1);
  c.emit('say', 2);
  assert.equal(c.queued, 2);
  const again = await sockets.take();
  await again.accept();
  for (const data of [{ room: 'den' }, 1, 2]) assert.deepEqual((await again.next()).data, data);
});

test('what waits has bounds, and who is dropped hears of it', async () => {
  const c = client('ws://127.0.0.1:1', { maxQueueMessages: 2 }, ['message:dropped']);
  assert.equal(c.emit('a', 1), true);
  const waiting = c.emitWithAck('b', 2);
  assert.equal(c.emit('c', 3), false);
  await assert.rejects(c.emitWithAck('d', 4), { code: 'ERR_CONN_006' });
  assert.equal(c.queued, 2);
  c.disconnect();
  await assert.rejects(waiting, { code: 'ERR_CONN_006' });
  assert.equal(c.queued, 0);
  assert.deepEqual(
    c.heard.map(([, { event, data, reason }]) => [event, data, reason]),
    [
      ['c', 3, 'queue full'],
      ['d', 4, 'queue full'],
      ['a', 1, 'disconnected'],
      ['b', 2, 'disconnected'],
    ],
  );
  const bytes = client('ws://127.0.0.1:1', { maxQueueBytes: 100 });
  assert.equal(bytes.emit('e', 'κ'.repeat(30)), true);
  assert.equal(bytes.emit('e', 'κ'.repeat(30)), false);
});

test('who asked and does not wait any more is not sent', async () => {
  const { url, sockets } = await peer();
  const c = client(url);
  await assert.rejects(c.emitWithAck('stale', 1, 1), { code: 'ERR_ACK_001' });
  assert.equal(c.queued, 0);
  c.emit('fresh');
  c.connect();
  const socket = await sockets.take();
  await socket.accept();
  assert.deepEqual(await socket.next(), { event: 'fresh' });
});

test('disconnect is for good, sends what was said, and says so once', async () => {
  const { client: c, socket, sockets } = await pair({ maxReconnectAttempts: 5 }, ['disconnected', 'reconnect:attempt']);
  c.emit('bye', { text: words(2_000) });
  const pending = c.emitWithAck('asked');
  c.disconnect();
  c.disconnect();
  await assert.rejects(pending, { code: 'ERR_CONN_006' });
  assert.equal((await socket.next())[0], 3);
  assert.equal((await socket.ended).code, 1000);
  assert.deepEqual(c.heard, [['disconnected', { code: 1000, reason: '' }]]);
  const again = c.connect();
  await (await sockets.take()).accept();
  await again;
  assert.equal(c.connected, true);
});

test('who disconnected hears nothing more', async () => {
  const { client: c, socket } = await pair({}, ['e']);
  c.emit('long', words(20_000));
  socket.say('e', 1);
  c.disconnect();
  socket.say('e', 2);
  await socket.ended;
  assert.deepEqual(c.heard, []);
});

test('disconnecting and connecting again at once leaves one connection', async () => {
  const { url, sockets, server } = await peer();
  const c = client(url);
  const first = c.connect();
  c.disconnect();
  const second = c.connect();
  await assert.rejects(first, { code: 'ERR_CONN_006' });
  assert.equal(c.connect().constructor, Promise);
  for (;;) {
    const socket = await sockets.take();
    socket.accept().catch(() => {});
    if (await Promise.race([second.then(() => true), socket.ended.then(() => false)])) break;
  }
  assert.equal(c.connected, true);
  c.emit('x');
  assert.equal([...server.clients].filter((socket) => socket.readyState === 1).length, 1);
});

test('wrong credentials are not tried again', async () => {
  const { url, sockets } = await peer();
  const c = client(url, { apiKey: 'wrong', maxReconnectAttempts: 5 }, ['reconnect:attempt', 'reconnect:failed']);
  const connecting = c.connect();
  const socket = await sockets.take();
  await socket.next();
  socket.close(4003, 'Authentication failed');
  await assert.rejects(connecting, { code: 'ERR_CONN_004' });
  assert.deepEqual(
    c.heard.map(([event]) => event),
    ['error', 'reconnect:failed'],
  );
});

test('a server that does not answer at all is given up', async () => {
  const { url } = await peer({ verifyClient: (_, done) => void done });
  await assert.rejects(client(url, { connectionTimeout: 30 }).connect(), { code: 'ERR_CONN_002' });
});

test('a server that is full says so, where sockets tell', async () => {
  const { url } = await peer({ verifyClient: (_, done) => done(false, 503) });
  await assert.rejects(client(url).connect(), { code: 'ERR_CONN_005' });
});

test('connect may be put another under: it is called for each try (SS-87)', async () => {
  const { client: c, socket, sockets } = await pair({ maxReconnectAttempts: 3 });
  let tries = 0;
  const original = c.connect.bind(c);
  c.connect = async function () {
    tries += 1;
    await original();
  };
  socket.terminate();
  (await sockets.take()).terminate();
  await (await sockets.take()).accept();
  await next(c, 'connected');
  assert.equal(tries, 2);
});

test('listeners: in turn, once, and no more', async () => {
  const { client: c, socket } = await pair();
  const got = [];
  const first = () => got.push('first');
  c.on('e', first).once('e', () => got.push('once')).on('e', () => got.push('last'));
  const say = async (event) => {
    socket.say(event);
    socket.say('done');
    await next(c, 'done');
    return got.splice(0);
  };
  assert.deepEqual(await say('e'), ['first', 'once', 'last']);
  assert.deepEqual(await say('e'), ['first', 'last']);
  c.off('e', first);
  assert.deepEqual(await say('e'), ['last']);
  c.off('e');
  assert.deepEqual(await say('e'), []);
});

test('options that make no sense are refused at once', () => {
  const key = Buffer.alloc(32, 7).toString('base64');
  for (const options of [
    { enableEncryption: true },
    { encryptionKey: 'short' },
    { encryptionKey: 'k3mZ7x9pQ2vL8nR5tY1hJ4bF6wS0dA2eK9mX7cP3vN=' },
    { encryptionKey: key.slice(0, -2) + 'd=' },
    { encryptionKey: key.replace(/^./, '_') },
    { encryptionKey: key, encryptionAlgorithm: 'rot13' },
  ])
    assert.throws(() => client('ws://h', options), TypeError, JSON.stringify(options));
  assert.throws(() => client('not an address'), TypeError);
  assert.doesNotThrow(() => client('ws://h', { enableEncryption: false, encryptionKey: 'unused' }));
});

test('acknowledgments can be turned off, and errors kept out of events', async () => {
  const { client: c, socket } = await pair({ enableAcknowledgments: false, enableErrorHandling: false });
  await assert.rejects(c.emitWithAck('x'), /enableAcknowledgments/);
  const { error: print } = console;
  const printed = [];
  console.error = (...all) => printed.push(all.join(' '));
  socket.say('error', { message: 'oh' });
  socket.say('done');
  await next(c, 'done');
  console.error = print;
  assert.deepEqual(c.heard, []);
  assert.deepEqual(printed, ['[smartsocket] [error] oh']);
});
