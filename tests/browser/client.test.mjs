// The browser client against `smartsocket serve`.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { client, next, server } from './support.mjs';

test('connects, and says so', async () => {
  const c = client(server, {}, ['state:changed', 'connected']);
  assert.deepEqual([c.state, c.connected, c.id], ['disconnected', false, undefined]);
  const connecting = c.connect();
  assert.equal(c.state, 'connecting');
  assert.equal(await connecting, undefined);
  assert.deepEqual([c.state, c.connected], ['connected', true]);
  assert.match(c.id, /^[0-9a-f-]{36}$/);
  await c.connect();
  c.disconnect();
  assert.deepEqual(c.heard, [
    ['state:changed', 'connecting', 'disconnected'],
    ['state:changed', 'connected', 'connecting'],
    ['connected'],
    ['state:changed', 'disconnected', 'connected'],
  ]);
  assert.equal(c.connected, false);
});

test('gets answers, whatever the data are', async () => {
  const c = client(server);
  await c.connect();
  const dated = { at: new Date(0), missing: undefined, nested: { list: [1, 'κόσμε 🦀', null] } };
  for (const data of [{ a: 1 }, {}, 'text', '', 7, 0, true, false, null, [], [1, [2]], dated, new Date(1)])
    assert.deepEqual(await c.emitWithAck('echo', data), JSON.parse(JSON.stringify(data)));
  assert.deepEqual(await new Promise((resolve) => c.emit('echo', { b: 2 }, (...all) => resolve(all))), [{ b: 2 }]);
  assert.deepEqual(await c.emitWithAck('anything'), { success: true });
});

test('long messages arrive as they are: packets, chunks, compressed or not', async () => {
  const words = Array.from({ length: 30_000 }, (_, i) => `word${i} κόσμε`).join(' ');
  const noise = randomBytes(150_000).toString('base64');
  for (const binary of ['none', 'plain', 'compressed']) {
    const c = client(server, { binary });
    await c.connect();
    for (const text of [words.slice(0, 1_000), words.slice(0, 1_100), words.slice(0, 60_000), words, noise, noise.slice(0, 5_000)])
      assert.equal((await c.emitWithAck('echo', { text })).text, text, `${binary} ${text.length}`);
    assert.deepEqual(c.heard, []);
  }
});

test('stays in order, though some of it takes longer', async () => {
  const c = client(server);
  const got = [];
  c.on('message', ({ n }) => got.push(n));
  await c.connect();
  const last = [];
  for (let n = 0; n < 40; n++) last.push(c.emitWithAck('message', { n, text: n % 3 ? '' : randomBytes(3_000).toString('hex') }));
  await Promise.all(last);
  assert.deepEqual(got, Array.from({ length: 40 }, (_, n) => n));
});

for (const namespaceBy of ['path', 'connect'])
  test(`is in a namespace by ${namespaceBy}, and hears nothing of others`, async () => {
    const here = client(server, { namespace: '/chat', namespaceBy }, ['message']);
    const there = client(server, {}, ['message']);
    await Promise.all([here.connect(), there.connect()]);
    const heard = next(here, 'message');
    await here.emitWithAck('message', { n: 1 });
    assert.deepEqual(await heard, [{ n: 1 }]);
    await there.emitWithAck('echo');
    assert.deepEqual(there.heard, []);
  });

test('the path of the address is a namespace too', async () => {
  const path = client(`${server}/chat`, {}, ['message']);
  const option = client(server, { namespace: 'chat' });
  await Promise.all([path.connect(), option.connect()]);
  await option.emitWithAck('message', 1);
  await path.emitWithAck('echo');
  assert.deepEqual(path.heard, [['message', 1]]);
});

test('a namespace that does not exist is an error that ends it', async () => {
  const c = client(server, { namespace: '/nope', namespaceBy: 'connect', maxReconnectAttempts: 5 }, ['reconnect:attempt', 'reconnect:failed']);
  await assert.rejects(c.connect(), { code: 'ERR_MSG_005', name: 'SmartSocketError' });
  assert.equal(c.heard[0][1].data.code, 'ERR_MSG_005');
  assert.deepEqual(
    c.heard.map(([event]) => event),
    ['error', 'reconnect:failed'],
  );
  // As a path it is none at all.
  await assert.rejects(client(server, { namespace: '/nope' }).connect(), { code: 'ERR_CONN_003' });
});

test('rooms: who joined hears it', async () => {
  const [a, b, c] = [0, 1, 2].map(() => client(server, { namespace: '/chat' }, ['say']));
  await Promise.all([a, b, c].map((each) => each.connect()));
  for (const each of [a, b]) assert.deepEqual(await each.emitWithAck('join', { room: 'den' }), { success: true });
  const heard = next(b, 'say');
  assert.deepEqual(await a.emitWithAck('say', { room: 'den', data: { text: 'hi' } }), { success: true });
  assert.deepEqual(await heard, [{ text: 'hi' }]);
  await c.emitWithAck('echo');
  assert.deepEqual(c.heard, []);
});

test('hears all that the server says, whether anybody listens or not', async () => {
  const c = client(server);
  const heard = [];
  c.onAny = (event, data) => heard.push([event, data]);
  await c.connect();
  c.emit('message', 1);
  await c.emitWithAck('echo', { n: 2 });
  assert.deepEqual(heard[0], ['message', 1]);
  assert.deepEqual(heard[1][1].response, { n: 2 });
  assert.deepEqual(heard.map(([event]) => event), ['message', '__ack__']);
});

test('too many messages: a notice, and answers that do not come', async () => {
  const c = client(server, { ackTimeout: 100 });
  const notice = next(c, '__rate-limited__');
  await c.connect();
  for (let n = 0; n < 120; n++) c.emit('noise', n);
  const [{ message, retryAfter, code }] = await notice;
  assert.match(message, /Too many requests/);
  // The window's end, which the server knows to a sixteenth.
  assert.ok(retryAfter > 0 && retryAfter <= 64_000, retryAfter);
  assert.equal(code, 'ERR_RATE_001');
  await assert.rejects(c.emitWithAck('echo', 1), { code: 'ERR_ACK_001' });
  assert.equal(c.connected, true);
});

test('what is said before there is a connection is sent when there is one, in order', async () => {
  const c = client(server, {}, ['message']);
  const answers = Array.from({ length: 20 }, (_, n) => c.emitWithAck('message', { n }));
  assert.equal(c.queued, 20);
  await c.connect();
  assert.equal(c.queued, 0);
  await Promise.all(answers);
  assert.deepEqual(
    c.heard,
    Array.from({ length: 20 }, (_, n) => ['message', { n }]),
  );
});

test('nobody there: refused', async () => {
  await assert.rejects(client('ws://127.0.0.1:1').connect(), { code: 'ERR_CONN_001', message: 'ERR_CONN_001: Connection refused' });
});
