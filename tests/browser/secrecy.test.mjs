// Encrypted sessions of the browser client with `smartsocket serve`.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { WebSocket } from 'ws';
import { client, next } from './support.mjs';

const program = process.env.SMARTSOCKET_BIN;
const keygen = () => execFileSync(program, ['keygen'], { stdio: ['ignore', 'pipe', 'ignore'] }).toString().trim();
const key = keygen();

/** A server with these options, and the address it tells. */
const serve = async (...options) => {
  const env = { ...process.env, ENCRYPTION_KEY: options.includes('only') ? '' : key };
  if (!env.ENCRYPTION_KEY) delete env.ENCRYPTION_KEY;
  const server = spawn(program, ['serve', '--port', '0', ...options], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  after(() => server.kill());
  for await (const line of createInterface({ input: server.stderr })) {
    const told = /^listening on (.*)$/.exec(line);
    if (told) return told[1];
  }
  throw new Error('it does not listen');
};

const [url, shared] = [await serve(), await serve('--encryption-group')];

for (const encryptionAlgorithm of [undefined, 'aes-256-cbc', 'aes-256-gcm'])
  test(`events, answers and rooms go sealed: ${encryptionAlgorithm ?? 'either'}`, async () => {
    const options = { namespace: '/chat', encryptionKey: key, encryptionAlgorithm };
    const [a, b] = [client(url, options), client(url, options, ['disconnect'])];
    await Promise.all([a.connect(), b.connect()]);
    const long = randomBytes(120_000).toString('base64');
    for (const data of [{ a: 1 }, 'text', null, [], { long }]) assert.deepEqual(await a.emitWithAck('echo', data), data);
    const said = next(b, 'say');
    for (const c of [a, b]) assert.equal((await c.emitWithAck('join', { room: 'r' })).success, true);
    a.emit('say', { room: 'r', data: { n: 1 } });
    assert.deepEqual(await said, [{ n: 1 }]);
    assert.deepEqual([a.heard, b.heard], [[], []]);
  });

test('what goes to many is sealed once, and read by all', async () => {
  const options = { namespace: '/chat', encryptionKey: key };
  const readers = Array.from({ length: 3 }, () => client(shared, options));
  await Promise.all(readers.map((c) => c.connect()));
  // Only when it answers has the server heard that a client has the key.
  await Promise.all(readers.map((c) => c.emitWithAck('echo', 1)));
  for (const text of ['first', 'second', 'x'.repeat(50_000), 'last']) {
    const heard = readers.map((c) => next(c, 'message'));
    readers[0].emit('message', { text });
    for (const [data] of await Promise.all(heard)) assert.deepEqual(data, { text });
  }
});

test('without the key, or with another, nobody comes in', async () => {
  for (const encryptionKey of [keygen(), undefined]) {
    const c = client(url, { namespace: '/chat', encryptionKey, apiKey: 'x' });
    await assert.rejects(c.connect().then(() => c.emitWithAck('echo', 1)), { code: 'ERR_CONN_004' });
  }
});

/** Runs with a WebCrypto that has P-256 only. */
const withoutX25519 = (t) => {
  const generate = crypto.subtle.generateKey.bind(crypto.subtle);
  t.mock.method(crypto.subtle, 'generateKey', async (algorithm, ...rest) => {
    if (algorithm.name === 'X25519') throw new DOMException('not here', 'NotSupportedError');
    return generate(algorithm, ...rest);
  });
};

for (const curve of ['X25519', 'P-256'])
  test(`${curve}: keys are exchanged where the server insists, with a shared key and without`, async (t) => {
    if (curve === 'P-256') withoutX25519(t);
    const insists = await serve('--encryption-exchange', 'required');
    const keyless = await serve('--encryption-exchange', 'only');
    for (const [url, options] of [
      [insists, { encryptionKey: key }],
      [keyless, { enableEncryption: 'exchange' }],
    ]) {
      const c = client(url, { namespace: '/chat', ...options });
      await c.connect();
      assert.deepEqual(await c.emitWithAck('echo', { a: 'κ🦀' }), { a: 'κ🦀' });
      assert.deepEqual(c.heard, []);
    }
    for (const [url, options] of [
      [insists, { enableEncryption: 'exchange' }],
      [insists, { encryptionKey: keygen() }],
      [keyless, { encryptionKey: key }],
    ])
      await assert.rejects(client(url, options).connect(), { code: 'ERR_CONN_004' });
  });

/** A socket for which a wire tap changes what was said first: `turn` gets the sender and the message. */
const tampered = (turn) =>
  class extends WebSocket {
    send(data, ...rest) {
      super.send(typeof data === 'string' ? turn('client', JSON.parse(data)) : data, ...rest);
    }
    set onmessage(listener) {
      super.onmessage = ({ data }) => listener({ data: typeof data === 'string' ? turn('server', JSON.parse(data)) : data });
    }
  };

test('who leaves out or changes a public key on the way ends the connection', async () => {
  const insists = await serve('--encryption-exchange', 'required');
  const drop = (who, name) => (from, { event, data }) => {
    if (from === who && data?.encryption) data.encryption[name] = undefined;
    return JSON.stringify({ event, data });
  };
  const flip = (who, name) => (from, { event, data }) => {
    if (from === who && data?.encryption) {
      const changed = Buffer.from(data.encryption[name], 'base64');
      changed[5] ^= 1;
      data.encryption[name] = changed.toString('base64');
    }
    return JSON.stringify({ event, data });
  };
  for (const address of [url, insists])
    for (const turn of [drop('client', 'publicKey'), drop('server', 'serverPublicKey'), flip('client', 'publicKey'), flip('server', 'serverPublicKey')]) {
      const c = client(address, { namespace: '/chat', encryptionKey: key, WebSocket: tampered(turn) }, ['connected']);
      await assert.rejects(c.connect(), { code: 'ERR_CONN_004' });
      assert.deepEqual(c.heard.map(([event]) => event), ['error']);
    }
});

test('what a wire tap sees has none of the words', async () => {
  const seen = [];
  class Tapped extends WebSocket {
    constructor(...rest) {
      super(...rest);
      this.on('message', (data) => seen.push(Buffer.from(data)));
    }
    send(data, ...rest) {
      seen.push(Buffer.from(data));
      super.send(data, ...rest);
    }
  }
  const c = client(url, { namespace: '/chat', encryptionKey: key, WebSocket: Tapped });
  await c.connect();
  assert.equal(await c.emitWithAck('echo', 'the plan is to attack at dawn'), 'the plan is to attack at dawn');
  const words = ['echo', 'dawn', '__ack'];
  assert.ok(seen.length >= 6);
  for (const word of words) assert.ok(!seen.some((data) => data.includes(word)), word);
});

test('an api key is asked for as well, and goes sealed', async () => {
  const url = await serve('--api-key', 'open sesame');
  const options = { namespace: '/chat', encryptionKey: key };
  const c = client(url, { ...options, apiKey: 'open sesame' });
  await c.connect();
  assert.equal(await c.emitWithAck('echo', 1), 1);
  const wrong = client(url, { ...options, apiKey: 'wrong' });
  await assert.rejects(wrong.connect(), { code: 'ERR_CONN_004' });
});
