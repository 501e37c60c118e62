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
  const env = { ...process.env, ENCRYPTION_KEY: key };
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
