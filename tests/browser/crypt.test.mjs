// Encryption of the browser client: the published vectors, and whole sessions with a server's
// side written with another library (vault.mjs).

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { greet } from 'smartsocket-client';
import { client, next, peer } from './support.mjs';
import { exchange, expand, keyId, pairOf, secret, secure, transcript, Way } from './vault.mjs';

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const count = (from, length) => Buffer.from(Array.from({ length }, (_, i) => from + i));

const bytes = (text) => new Uint8Array(Buffer.from(text, 'hex'));

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

test('the vector, of which the other side is made', () => {
  assert.equal(hex(keyId(VECTOR.key)), VECTOR.kid);
  const hash = transcript({ suite: 1, key: VECTOR.key, suites: [1], namespace: '/chat', client: Buffer.alloc(32, 0xc0), server: Buffer.alloc(32, 0x50) });
  assert.equal(hex(hash), VECTOR.hash);
  for (const name of ['c2s', 's2c']) assert.equal(hex(new Way(name, 1, secret(hash, VECTOR.key)).keys), VECTOR[name]);
  const record = new Way('c2s', 1, secret(hash, VECTOR.key)).seal(0, Buffer.from(VECTOR.plain), count(0, 16));
  assert.equal(hex(record), VECTOR.record);
});

// Whole conversations, as core/src/crypt/tests/vectors.rs has them.
const HELLO = { suites: [2, 1], kid: 'd829eabb', nonce: 'agNICsdF5tZUejF4rgpspD25sFHBsSs912XP1Vq5YOM=' };
const ANSWER = { suite: 2, kid: 'd829eabb', salt: 'aIQKaKRpXlS1szJKmGPCJcMOm79inY8cRaKqNc331mk=' };
const CONVERSATIONS = {
  X25519: {
    ours: '2qNzjB79TQjfNhCnUHfQP0BtlSn7kAC6dRdjjX1aBG4=',
    theirs: 'l+Xtk6vU0+WFrrgQq+K4u0QGXFZOlq4Fmmr5meEhp1A=',
    first: 'e10200040000000000000000da26c8e2a45c26988150e105ce5d4996216de267ea8d11eb3b8e53bc3c6bf7ca5d43363992234c82f1f1ae82186353f65a',
    firstOfServer: 'e102000400000000000000004ad276c70212bccfd5ed7a87bce7da394594428c782bfeb2e5965482e323dac12e0f1ac109acbd7a00650d0a63d0115394',
    text: 'e102000100000000000000019c5780899909d3e398e83fb8291c884a777689561cc0ee737d',
    afterADay: 'e10201000000000000000001bb2be89a6df0943b8f9abaf882efa58412a5b3',
    invitation: 'e102010400000000000000024c6c90a47f5f1345e148dafba01cecb7d7b8534daa010e3bb3ef406b00df28bc10a0339b579390cd264d538fbdb8c6805ee9e91a8887f447c195',
    bye: 'e10200040000000000000002846bbbac2e3dd489625f22b7388e7880d7',
  },
  'P-256': {
    ours: 'BIK6TDj+azXLZNkqW2J4UPRaKyhVkVO3JkmI/qGdknFXw6if5IpW8UoBBbWkLB/p2a9/lNaWicaMULhC0ogzxfI=',
    theirs: 'BIgVapsy2xQhqhLuaCVnkPvCGjWIdqXuTZe3wSrSmtPmet9kl6LH/94rQTb5IGhDCjVJB05NOnY1wO5TMDxBEDw=',
    first: 'e10200040000000000000000713df14668f165efb4cc1334a844572a406288762125f84c69be5310df90f55df49877de61ca036283a86a397850001a8b',
    firstOfServer: 'e10200040000000000000000cfb0d3bba3c02e09d445f67b7bcb11fb6dfc415641ff3e9cb2bfe3889e2dc1a0318e0d994aa7e185fd9e6cc28b62aac918',
    text: 'e10200010000000000000001e33cafc1a3cb7775e80c94c7bdd1b2f70dc1234ed697ce2ac5',
    afterADay: 'e10201000000000000000001d847525b871c74e041baf3bb3781ce8f6fcd02',
    invitation: 'e1020104000000000000000247830efeff9734a8082748a25decb484af1a4dfa4ef853b335f262013775e641638dee23a3f56706a6ce6c5010ef5d33f8219072b454a3a55f51',
    bye: 'e102000400000000000000027447bf22ee2971a6c2b243e8e77b155702',
  },
};

/** The client's first words in a conversation, its nonce and its private key being given. */
async function greeting(t, curve) {
  const key = Buffer.alloc(32, 7);
  const pair = pairOf(expand(Buffer.alloc(32, 1), Buffer.from('ephemeral\0'), 32), curve === 'X25519' ? 32 : 65);
  const algorithm = curve === 'X25519' ? { name: curve } : { name: 'ECDH', namedCurve: curve };
  const privateKey = await crypto.subtle.importKey('jwk', pair.key.export({ format: 'jwk' }), algorithm, false, ['deriveBits']);
  const publicKey = await crypto.subtle.importKey('raw', pair.bytes, algorithm, true, []);
  const generated = t.mock.method(crypto.subtle, 'generateKey', async ({ name }) => {
    if (name !== algorithm.name) throw new DOMException('not here', 'NotSupportedError');
    return { publicKey, privateKey };
  });
  const drawn = t.mock.method(crypto, 'getRandomValues', (bytes) => (bytes.set(Buffer.from(HELLO.nonce, 'base64')), bytes));
  const hello = await greet(key, [2, 1], '/chat');
  generated.mock.restore();
  drawn.mock.restore();
  return hello;
}

for (const [curve, said] of Object.entries(CONVERSATIONS))
  test(`${curve}: a whole conversation is that of the vector`, async (t) => {
    const hello = await greeting(t, curve);
    assert.deepEqual(hello.encryption, { ...HELLO, publicKey: said.ours });
    const { transcript, c2s, s2c } = await hello.agree({ ...ANSWER, serverPublicKey: said.theirs });
    const first = new Uint8Array([0, ...transcript]);
    assert.equal(hex(await c2s.seal(4, first)), said.first);
    assert.deepEqual(await s2c.open(bytes(said.firstOfServer)), [4, first]);
    assert.equal(hex(await c2s.seal(1, Buffer.from('smörgås'))), said.text);
    assert.deepEqual(await s2c.open(bytes(said.afterADay)), [0, Uint8Array.of(1, 2, 3)]);
    const [flags, invitation] = await s2c.open(bytes(said.invitation));
    assert.deepEqual([flags, invitation[0], invitation.length], [4, 2, 42]);
    assert.equal(hex(await c2s.seal(4, Uint8Array.of(1))), said.bye);
  });

test('whatever is not the next record does not open', async (t) => {
  const { firstOfServer, theirs } = CONVERSATIONS.X25519;
  const hello = await greeting(t, 'X25519');
  const fresh = async () => hello.agree({ ...ANSWER, serverPublicKey: theirs });
  const record = bytes(firstOfServer);
  const refused = async (bytes) => assert.rejects((await fresh()).s2c.open(bytes), { code: 'ERR_MSG_003' });
  for (let bit = 0; bit < record.length * 8; bit++) {
    const flipped = record.slice();
    flipped[bit >> 3] ^= 1 << (bit & 7);
    await refused(flipped);
  }
  for (let length = 0; length < record.length; length++) await refused(record.subarray(0, length));
  // The other way; twice.
  const other = await fresh();
  await assert.rejects(other.c2s.open(record), { code: 'ERR_MSG_003' });
  await other.s2c.open(record);
  await assert.rejects(other.s2c.open(record), { code: 'ERR_MSG_003' });
});

test('an answer that does not fit makes no session', async (t) => {
  const { theirs } = CONVERSATIONS.X25519;
  const hello = await greeting(t, 'X25519');
  const good = { ...ANSWER, serverPublicKey: theirs };
  await hello.agree(good);
  for (const wrong of [
    undefined,
    { ...good, suite: 3 },
    { ...good, kid: undefined },
    { ...good, kid: '00000000' },
    { ...good, salt: undefined },
    { ...good, salt: '!' },
    { ...good, serverPublicKey: undefined },
    { ...good, serverPublicKey: '' },
    { ...good, serverPublicKey: CONVERSATIONS['P-256'].theirs },
    // The same for whoever it is agreed on with.
    { ...good, serverPublicKey: Buffer.alloc(32).toString('base64') },
    { ...good, serverPublicKey: Buffer.from([1, ...Buffer.alloc(31)]).toString('base64') },
  ])
    await assert.rejects(hello.agree(wrong), JSON.stringify(wrong));
});

/** Both sides' directions of one session. */
async function both(suite) {
  const key = randomBytes(32);
  const hello = await greet(key, [1, 2], '/chat');
  const [client, theirs] = [hello.encryption.nonce, hello.encryption.publicKey].map((text) => Buffer.from(text, 'base64'));
  const server = randomBytes(32);
  const { ours, exchanged } = exchange(theirs);
  const hash = transcript({ suite, key, suites: [1, 2], namespace: '/chat', client, server, theirs, ours });
  const prk = secret(hash, key, exchanged);
  const [salt, serverPublicKey] = [server, ours].map((bytes) => bytes.toString('base64'));
  return {
    ours: await hello.agree({ suite, kid: hex(keyId(key)), salt, serverPublicKey }),
    theirs: { c2s: new Way('c2s', suite, prk), s2c: new Way('s2c', suite, prk) },
  };
}

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
    ['no key exchange', (socket) => secure(socket, { key, suite: 1, change: ({ serverPublicKey, ...said }) => said })],
    ['another public key', (socket) => secure(socket, { key, suite: 2, change: (said) => ({ ...said, serverPublicKey: exchange(Buffer.alloc(32, 9)).ours.toString('base64') }) })],
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

for (const curve of ['X25519', 'P-256'])
  test(`${curve}: without a shared key nobody else reads it, and nobody goes without who did not say so`, async (t) => {
    if (curve === 'P-256') {
      const generate = crypto.subtle.generateKey.bind(crypto.subtle);
      t.mock.method(crypto.subtle, 'generateKey', async (algorithm, ...rest) => {
        if (algorithm.name === 'X25519') throw new DOMException('not here', 'NotSupportedError');
        return generate(algorithm, ...rest);
      });
    }
    const { url, sockets } = await peer();
    const c = client(url, { enableEncryption: 'exchange' });
    const connecting = c.connect();
    const session = await secure(await sockets.take(), { suite: 2 });
    await connecting;
    assert.deepEqual(Object.keys(session.hello.encryption), ['suites', 'nonce', 'publicKey']);
    assert.equal(Buffer.from(session.hello.encryption.publicKey, 'base64').length, curve === 'X25519' ? 32 : 65);
    assert.equal((await session.next()).flags, 4);
    c.emit('x', 1);
    assert.deepEqual(await session.next(), { event: 'x', data: 1 });
    for (const enableEncryption of [true, 'yes']) assert.throws(() => client(url, { enableEncryption }), TypeError);
    assert.throws(() => client(url, { enableEncryption: 'exchange', encryptionKey: 'short' }), TypeError);
  });

test('with a key, who has none is not talked to', async () => {
  for (const options of [{ encryptionKey: key.toString('base64') }, { encryptionKey: key.toString('base64'), enableEncryption: 'exchange' }]) {
    const { url, sockets } = await peer();
    const c = client(url, options);
    const connecting = c.connect();
    const act = secure(await sockets.take(), { suite: 1, change: ({ kid, ...said }) => said });
    await Promise.all([assert.rejects(connecting, { code: 'ERR_CONN_004' }), act]);
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
