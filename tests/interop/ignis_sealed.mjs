// Ignis's clients that exchange keys, against `smartsocket serve --ignis-require-encryption`.
//
//   node ignis_sealed.mjs URL NAME [--ca FILE]

import assert from 'node:assert/strict';
import { createECDH, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Ignis, SealedIgnis } from './clients/ignis.mjs';
import { Report, option } from './report.mjs';

const [url, name] = process.argv.slice(2);
const report = new Report(name);
const ca = option('ca') ? readFileSync(option('ca')) : undefined;
const place = new URL('/ws', url).href;
const CLIENTS = 4;
const MESSAGES = 10;

const connect = async (options) => {
  const client = new SealedIgnis(place, 'dev', { ca, ...options });
  await client.open();
  await client.authenticated();
  return client;
};
/** What a client says of room `all` that it heard, in the order of each sender. */
const said = (from) => Array.from({ length: MESSAGES }, (_, n) => ({ from, n, text: 'κόσμε 🦀' }));

await report.check('welcome', async () => {
  const client = await connect();
  // Readable, or nobody could ever open what follows.
  assert.equal(client.raw.length, 1);
  const { event, data } = JSON.parse(client.raw[0]);
  assert.equal(event, 'connected');
  assert.deepEqual(Object.keys(data), ['id', 'time', 'serverPublicKey', 'salt']);
  const [key, salt] = [data.serverPublicKey, data.salt].map((text) => Buffer.from(text, 'base64'));
  assert.deepEqual([key.length, key[0], data.serverPublicKey.length], [65, 4, 88]);
  assert.equal(salt.length, 32);
  const other = await connect();
  assert.notEqual(other.welcome.serverPublicKey, data.serverPublicKey);
  assert.notEqual(other.welcome.salt, data.salt);
  for (const it of [client, other]) await it.end();
});

await report.check('rooms', async () => {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, (_, i) => connect({ perMessageDeflate: i % 2 === 0 })));
  for (const client of clients) client.join('all');
  for (const client of clients) await client.settle();
  clients.forEach((client, i) => said(i).forEach((data) => client.send('say', { room: 'all', data })));
  for (const client of clients) await client.until('all was heard', () => client.received.length >= CLIENTS * MESSAGES);
  const ivs = new Set();
  const texts = new Set();
  for (const client of clients) {
    assert.equal(client.received.length, CLIENTS * MESSAGES);
    for (let i = 0; i < CLIENTS; i++) {
      const heard = client.received.filter(({ data }) => data.from === i);
      assert.deepEqual(heard.map(({ data }) => data), said(i));
    }
    for (const text of client.raw.slice(1)) {
      assert.match(text, /^\{"event":"encrypted","data":\{"iv":"[A-Za-z0-9+/]{16}","ct":"[A-Za-z0-9+/]+={0,2}"\}\}$/);
      const { data } = JSON.parse(text);
      const plain = client.unseal(data);
      assert.match(plain, /^\{"event":"say","data":\{/);
      assert.equal(Buffer.from(data.ct, 'base64').length, Buffer.byteLength(plain) + 16);
      ivs.add(client.welcome.id + data.iv);
      texts.add(data.ct);
    }
  }
  // No IV twice under a key, and nobody's text is another's.
  assert.deepEqual([ivs.size, texts.size], [CLIENTS * CLIENTS * MESSAGES, CLIENTS * CLIENTS * MESSAGES]);
  // One client's key opens nothing of another's.
  assert.throws(() => clients[0].unseal(JSON.parse(clients[1].raw[1]).data));
  for (const client of clients) await client.end();
});

await report.check('answers-and-errors', async () => {
  const client = await connect();
  const long = randomBytes(30_000).toString('base64');
  client.send('echo', { long });
  await client.until('the echo came', () => client.received.length === 1);
  assert.deepEqual(client.received, [{ event: 'echo', data: { long } }]);
  client.send('authenticate', { token: 'dev', publicKey: client.publicKey });
  await client.until('an error came', () => client.errors.length === 1);
  assert.deepEqual(client.errors, ['Already authenticated']);
  assert.ok(client.raw.slice(1).every((text) => text.startsWith('{"event":"encrypted"')));
  await client.end();
});

await report.check('bad-public-keys', async () => {
  const good = createECDH('prime256v1').generateKeys();
  const off = Buffer.from(good);
  off[64] ^= 1;
  const compressed = createECDH('prime256v1').generateKeys('base64', 'compressed');
  const base64 = (bytes) => bytes.toString('base64');
  for (const publicKey of [
    '',
    'no base64',
    base64(off),
    base64(good.subarray(1)),
    base64(Buffer.concat([good, Buffer.of(0)])),
    base64(Buffer.alloc(65)),
    base64(Buffer.concat([Buffer.of(4), Buffer.alloc(64)])),
    base64(randomBytes(32)),
    compressed,
    base64(good).replaceAll('=', ''),
    good.toString('hex'),
    7,
    null,
  ]) {
    const client = new SealedIgnis(place, 'dev', { ca, publicKey });
    client.publicKey = publicKey;
    await client.open();
    while (!client.closed) await once(client, 'change');
    assert.deepEqual(client.closed, { code: 4004, reason: 'Encryption required' }, String(publicKey));
    assert.deepEqual(client.errors, ['Encryption handshake failed']);
    assert.equal(client.id, null);
  }
  // One that has no keys at all.
  const plain = new Ignis(place, 'dev', { ca });
  await plain.open();
  while (!plain.closed) await once(plain, 'change');
  assert.deepEqual(plain.closed, { code: 4004, reason: 'Encryption required' });
  assert.equal(plain.id, null);
});

await report.check('wrong-token', async () => {
  const client = new SealedIgnis(place, 'wrong', { ca });
  await client.open();
  while (!client.closed) await once(client, 'change');
  assert.deepEqual(client.closed, { code: 4003, reason: 'Authentication failed' });
});

report.exit();
