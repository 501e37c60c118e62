// Encryption of the browser client: the published vector, and whole sessions with a server's
// side written with another library (vault.mjs).

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { agree } from 'smartsocket-client';
import { client, next, peer } from './support.mjs';
import { keyId, secret, secure, transcript, Way } from './vault.mjs';

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const count = (from, length) => Buffer.from(Array.from({ length }, (_, i) => from + i));

const VECTOR = {
  key: count(0, 32),
  kid: '6e3f07e2',
  hash: '9c64a23e1344b7814a9426222299cc05911f8fe70b4f0c55951052b10b419026',
  c2s: '1b11c4ad24f28017c29842f7e342a599affec19c0125cafc1c5b66f538cb0bd3c892baff83538cc8348671562b2d26ee336323348cdbe38e6290b4c5faadd8ac',
  s2c: '7f40911418544efd3e9d7e02af04d0018084ea07862d4aa8c2493295742e5391d4186be173886c608fbba970a4ff9e69816a2ca94b0031c702a1c7ef04f2da29',
  plain: '{"event":"message","data":{"text":"Hello"},"id":"1"}',
  record:
    'e10100000000000000000000000102030405060708090a0b0c0d0e0f38cdace79b1f994401ed0c05e43ff6ea414ec4c97f30ceea7aca8f81e2a4c7745153bf58d14545d25ac5d95956ee17de316c36242785ba9036375bba0de1168a2f98fe7231e2a6b231e1f0b59aa71aa17c2c903371457566392b2261eaa9ebef',
};
const hello = () => ({ key: VECTOR.key, suites: [1], kid: Buffer.from(VECTOR.kid, 'hex'), nonce: Buffer.alloc(32, 0xc0) });

/** Both sides' directions of one session. */
async function both(suite) {
  const key = randomBytes(32);
  const said = { suite, key, suites: [1, 2], namespace: '/chat', client: randomBytes(32), server: randomBytes(32) };
  const ours = await agree({ key, suites: [1, 2], kid: keyId(key), nonce: said.client }, suite, said.server, '/chat');
  const prk = secret(transcript(said), key);
  return { ours, theirs: { c2s: new Way('c2s', suite, prk), s2c: new Way('s2c', suite, prk) } };
}

test('the vector: key id, transcript, keys, record', async () => {
  assert.equal(hex(keyId(VECTOR.key)), VECTOR.kid);
  const hash = transcript({ suite: 1, key: VECTOR.key, suites: [1], namespace: '/chat', client: Buffer.alloc(32, 0xc0), server: Buffer.alloc(32, 0x50) });
  assert.equal(hex(hash), VECTOR.hash);
  for (const name of ['c2s', 's2c']) assert.equal(hex(new Way(name, 1, secret(hash, VECTOR.key)).keys), VECTOR[name]);

  const ours = await agree(hello(), 1, Buffer.alloc(32, 0x50), '/chat');
  assert.equal(hex(ours.transcript), VECTOR.hash);
  const draw = crypto.getRandomValues;
  crypto.getRandomValues = (bytes) => (bytes.set(count(0, 16)), bytes);
  try {
    assert.equal(hex(await ours.c2s.seal(0, Buffer.from(VECTOR.plain))), VECTOR.record);
  } finally {
    crypto.getRandomValues = draw;
  }
  const fresh = await agree(hello(), 1, Buffer.alloc(32, 0x50), '/chat');
  const [flags, plain] = await fresh.c2s.open(new Uint8Array(Buffer.from(VECTOR.record, 'hex')));
  assert.deepEqual([flags, String(Buffer.from(plain))], [0, VECTOR.plain]);
});

test('whatever is not the next record does not open', async () => {
  const record = new Uint8Array(Buffer.from(VECTOR.record, 'hex'));
  const refused = async (bytes) => {
    const { c2s } = await agree(hello(), 1, Buffer.alloc(32, 0x50), '/chat');
    await assert.rejects(c2s.open(bytes), { code: 'ERR_MSG_003' });
  };
  for (let bit = 0; bit < record.length * 8; bit++) {
    const flipped = record.slice();
    flipped[bit >> 3] ^= 1 << (bit & 7);
    await refused(flipped);
  }
  for (const length of [0, 1, 11, 12, 44, 60, 76, record.length - 16, record.length - 1]) await refused(record.subarray(0, length));
  // The other way, another namespace, another nonce; twice.
  const other = await agree(hello(), 1, Buffer.alloc(32, 0x50), '/chat');
  await assert.rejects(other.s2c.open(record), { code: 'ERR_MSG_003' });
  await assert.rejects((await agree(hello(), 1, Buffer.alloc(32, 0x50), '/other')).c2s.open(record));
  await assert.rejects((await agree(hello(), 1, Buffer.alloc(32, 0x51), '/chat')).c2s.open(record));
  await other.c2s.open(record);
  await assert.rejects(other.c2s.open(record), { code: 'ERR_MSG_003' });
});

for (const suite of [1, 2]) {
  test(`suite ${suite}: each side opens what the other seals, of every length`, async () => {
    const { ours, theirs } = await both(suite);
    for (let length = 0; length < 70; length++) {
      const plain = randomBytes(length);
      assert.deepEqual(theirs.c2s.open(Buffer.from(await ours.c2s.seal(1, plain))), { flags: 1, plain });
      const [flags, opened] = await ours.s2c.open(new Uint8Array(theirs.s2c.seal(0, plain)));
      assert.deepEqual([flags, hex(opened)], [0, hex(plain)]);
    }
  });

  test(`suite ${suite}: keys change on either side, and one flipped bit is enough`, async (t) => {
    const { ours, theirs } = await both(suite);
    const exchange = async () => {
      assert.equal(String(theirs.c2s.open(Buffer.from(await ours.c2s.seal(1, Buffer.from('c')))).plain), 'c');
      const [, plain] = await ours.s2c.open(new Uint8Array(theirs.s2c.seal(1, Buffer.from('s'))));
      assert.equal(String(Buffer.from(plain)), 's');
    };
    await exchange();
    // The server's choice; and the client's, after a day.
    for (let n = 0; n < 300; n++) {
      theirs.s2c.rekey();
      const [, plain] = await ours.s2c.open(new Uint8Array(theirs.s2c.seal(1, Buffer.from('s'))));
      assert.equal(plain.length, 1);
    }
    const now = Date.now();
    t.mock.method(Date, 'now', () => now + 86_400_001);
    await exchange();
    assert.equal(theirs.c2s.epoch, 1);
    await exchange();
    assert.equal(theirs.c2s.epoch, 1);
    const record = new Uint8Array(theirs.s2c.seal(1, Buffer.from('text')));
    record[record.length - 1] ^= 1;
    await assert.rejects(ours.s2c.open(record), { code: 'ERR_MSG_003' });
  });
}

const key = randomBytes(32);

/** A client and the server's side of its session, both ready. */
async function sealed(suite, options = {}, events = []) {
  const { url, sockets } = await peer();
  const c = client(url, { encryptionKey: key.toString('base64'), ...options }, events);
  const connecting = c.connect();
  const socket = await sockets.take();
  const session = await secure(socket, { key, suite });
  if (!options.apiKey) await connecting;
  return { c, socket, session, sockets, connecting };
}

for (const [algorithm, suite] of [
  ['aes-256-cbc', 1],
  ['aes-256-gcm', 2],
])
  test(`${algorithm}: a whole session, in which nothing is said in the open`, async () => {
    const { c, socket, session } = await sealed(suite, { encryptionAlgorithm: algorithm, namespace: '/chat' }, ['disconnected']);
    assert.deepEqual(Object.keys(session.hello), ['version', 'namespace', 'encryption']);
    assert.deepEqual(session.hello.encryption.suites, [suite]);
    assert.equal(session.hello.namespace, '/chat');
    assert.equal(c.id, 'sealed');
    assert.deepEqual(await session.next(), { flags: 4, plain: Buffer.concat([Buffer.of(0), session.hash]) });

    const answers = Array.from({ length: 20 }, (_, n) => c.emitWithAck('ask', { n, text: 'κ🦀'.repeat(n * 200) }));
    for (let n = 0; n < 20; n++) {
      const { event, data } = await session.next();
      assert.deepEqual([event, data.n, data.text], ['ask', n, 'κ🦀'.repeat(n * 200)]);
      session.say('__ack__', { ackId: data.__ackId, response: n });
    }
    assert.deepEqual(await Promise.all(answers), Array.from({ length: 20 }, (_, n) => n));

    session.say('ping', { timestamp: 1 });
    assert.deepEqual(await session.next(), { event: 'pong', data: { timestamp: 1 } });

    c.emit('last', 1);
    c.disconnect();
    assert.deepEqual(await session.next(), { event: 'last', data: 1 });
    assert.deepEqual(await session.next(), { flags: 4, plain: Buffer.of(1) });
    assert.equal((await socket.ended).code, 1000);
  });

test('the key may be in hex, and the API key is sealed', async () => {
  const { c, session, connecting } = await sealed(2, { encryptionKey: key.toString('hex'), apiKey: 'secret' });
  assert.ok(!JSON.stringify(session.hello).includes('secret'));
  assert.equal((await session.next()).flags, 4);
  assert.deepEqual(await session.next(), { event: 'CONNECT', data: { apiKey: 'secret' } });
  assert.equal(c.connected, false);
  session.say('CONNECT_ACK', { id: 'known' });
  await connecting;
  assert.equal(c.id, 'known');
});

test('a group: who is invited opens what is sealed once for many, each record once', async () => {
  const { c, socket, session } = await sealed(1, {}, ['disconnected']);
  const group = new Way('group', 3, randomBytes(32));
  const record = (n) => group.seal(1, Buffer.from(JSON.stringify({ event: 'g', data: n })));
  for (let n = 0; n < 300; n++) record(n);
  group.rekey();
  const [epoch, number] = [Buffer.of(group.epoch), Buffer.alloc(8)];
  number.writeBigUInt64BE(group.sequence);
  socket.send(session.s2c.seal(4, Buffer.concat([Buffer.of(2), epoch, number, group.prk])));
  const got = [];
  c.on('g', (n) => got.push(n));
  const say = async (record) => {
    socket.send(record);
    session.say('done');
    await next(c, 'done');
  };
  await say(record(1));
  // Some go to others only, and keys change meanwhile.
  record(2);
  for (let n = 0; n < 3; n++) group.rekey();
  const third = record(3);
  await say(third);
  assert.deepEqual(got, [1, 3]);
  const ended = next(c, 'disconnected');
  socket.send(third);
  assert.equal((await ended)[0].error.code, 'ERR_MSG_003');
  assert.deepEqual(got, [1, 3]);
});

test('who is not invited opens nothing of a group', async () => {
  const { c, socket } = await sealed(2, {}, ['disconnected']);
  const ended = next(c, 'disconnected');
  socket.send(new Way('group', 3, randomBytes(32)).seal(1, Buffer.from('{"event":"g"}')));
  assert.equal((await ended)[0].error.code, 'ERR_MSG_003');
});

test('an end is one only if it is sealed', async () => {
  for (const honest of [true, false]) {
    const { c, socket, session } = await sealed(1);
    const ended = next(c, 'disconnected');
    if (honest) session.bye();
    socket.close(1000);
    const [{ error }] = await ended;
    assert.equal(error?.code, honest ? undefined : 'ERR_CONN_006');
  }
});

test('a record that does not open ends the connection, and another takes its place', async () => {
  for (const spoil of [
    (session, record) => ((record[record.length - 1] ^= 1), record),
    (session, record) => (session.seal('skipped'), session.seal('later')),
    () => JSON.stringify({ event: 'forged' }),
    () => Buffer.of(0xe1),
  ]) {
    const { c, socket, session, sockets } = await sealed(1, { maxReconnectAttempts: 3 }, ['x', 'later', 'forged', 'disconnected']);
    const ended = next(c, 'disconnected');
    socket.send(spoil(session, session.seal('x')));
    const [{ error }] = await ended;
    assert.equal(error.code, 'ERR_MSG_003');
    const again = await sockets.take();
    const connected = next(c, 'connected');
    await secure(again, { key, suite: 1 });
    await connected;
    assert.deepEqual(
      c.heard.map(([event]) => event).sort(),
      ['disconnected', 'error'],
    );
  }
});

test('another key, another suite, or no encryption: nobody is let in, and no second try is made', async () => {
  for (const [what, act] of [
    ['another key', (socket) => secure(socket, { key: randomBytes(32), suite: 1 })],
    ['a suite nobody offered', (socket) => secure(socket, { key, suite: 1, change: (said) => ({ ...said, suite: 3 }) })],
    ['another suite than the keys', (socket) => secure(socket, { key, suite: 1, change: (said) => ({ ...said, suite: 2 }) })],
    ['another key id', (socket) => secure(socket, { key, suite: 1, change: (said) => ({ ...said, kid: '00000000' }) })],
    ['no encryption', (socket) => socket.accept()],
    ['no encryption, before it was asked for', (socket) => socket.say('CONNECT_ACK', { id: 'x' })],
    [
      'a refusal',
      async (socket) => {
        await socket.next();
        socket.say('error', { code: 'ERR_CONN_004', message: 'Authentication failed' });
      },
    ],
  ]) {
    const { url, sockets } = await peer();
    const c = client(url, { encryptionKey: key.toString('base64'), maxReconnectAttempts: 5 }, ['connected', 'reconnect:attempt', 'said']);
    c.emit('said', 'in the open?');
    const connecting = c.connect();
    const socket = await sockets.take();
    await Promise.all([assert.rejects(connecting, { code: 'ERR_CONN_004' }, what), act(socket)]);
    assert.deepEqual(
      c.heard.map(([event]) => event),
      ['error'],
      what,
    );
    assert.equal(c.state, 'disconnected');
  }
});

test('what comes before there are keys is not believed', async () => {
  const { url, sockets } = await peer();
  const c = client(url, { encryptionKey: key.toString('base64') }, ['x', 'y']);
  const connecting = c.connect();
  const socket = await sockets.take();
  socket.say('x', 1);
  const session = await secure(socket, { key, suite: 2 });
  await connecting;
  session.say('y', 2);
  await next(c, 'y');
  assert.deepEqual(c.heard, [['y', 2]]);
});
