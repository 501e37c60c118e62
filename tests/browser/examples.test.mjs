// The examples of SmartSocket's reference that concern clients, each run as it stands there, but
// for what ends it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { peer, server } from './support.mjs';
import { secure } from './vault.mjs';

const key = randomBytes(32);
const host = (url) => new URL(url).host;

/** What an example writes, in lines. */
async function run(name, at = server, env = {}) {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--import', './examples/names.mjs', `./examples/${name}`], {
    cwd: import.meta.dirname,
    env: { PATH: process.env.PATH, HOST: host(at), ENCRYPTION_KEY: key.toString('base64'), ...env },
    timeout: 20_000,
  });
  const lines = (text) => text.split('\n').filter((line) => line);
  return { out: lines(stdout), err: lines(stderr) };
}

test('acknowledgment', async () => {
  assert.deepEqual(await run('acknowledgment.mjs'), { out: ['Server responded: { success: true }'], err: [] });
});

test('no answer in time', async () => {
  const { url, sockets } = await peer();
  sockets.take().then((socket) => socket.accept());
  assert.deepEqual(await run('no-answer.mjs', url), { out: [], err: ['Server did not respond in time'] });
});

test('configuration, with a server that has the key', async () => {
  const { url, sockets } = await peer();
  const served = sockets.take().then(async (socket) => {
    assert.equal(socket.path, '/chat');
    const session = await secure(socket, { key, suite: 1 });
    assert.equal((await session.next()).flags, 4);
    assert.deepEqual(await session.next(), { event: 'CONNECT', data: { apiKey: 'your-api-key' } });
    session.say('CONNECT_ACK', { id: 'known' });
    const { event, data } = await session.next();
    assert.deepEqual([event, data.text], ['message', 'Hello']);
    session.say('__ack__', { ackId: data.__ackId, response: { success: true } });
  });
  assert.deepEqual(await run('configuration.mjs', url), { out: ['Connected', 'Server responded: { success: true }'], err: [] });
  await served;
});

test('encryption: the same key on both sides, or nothing', async () => {
  for (const [theirs, out, err] of [
    [key, ['Connected'], []],
    [randomBytes(32), ['disconnected'], ['Connection error: ERR_CONN_004: Authentication failed']],
  ]) {
    const { url, sockets } = await peer();
    sockets.take().then((socket) => secure(socket, { key: theirs, suite: 2 }));
    assert.deepEqual(await run('encryption.mjs', url), { out, err });
  }
});

test('reconnection', async () => {
  const { url, sockets, server } = await peer();
  sockets.take().then(async (socket) => {
    await socket.accept();
    // Nobody is there any more.
    server.close();
    socket.terminate();
  });
  const { out } = await run('reconnection.mjs', url);
  assert.deepEqual(out, [
    'Connected!',
    'Disconnected, will reconnect...',
    'Connection error: ERR_CONN_006: Connection lost',
    'Connection error: ERR_CONN_001: Connection refused',
    'Connection error: ERR_CONN_001: Connection refused',
    'Max reconnection attempts reached',
  ]);
});

test('rate limit', async () => {
  assert.deepEqual(await run('rate-limit.mjs'), { out: ['Rate limited: Too many requests, please slow down'], err: [] });
});

test('mobile', async () => {
  assert.deepEqual(await run('mobile.mjs'), { out: ['true 20', "false { user: 'John' }"], err: [] });
});

test('log lines, as the reference prints them', async () => {
  const lines = [
    '[smartsocket] [info] Connecting to ws://localhost:3000',
    '[smartsocket] [debug] WebSocket connection opened',
    '[smartsocket] [debug] Sending CONNECT message',
    '[smartsocket] [debug] Received CONNECT_ACK',
    '[smartsocket] [info] Connected to server',
    "[smartsocket] [debug] Emitting event: message { text: 'Hello' }",
    '[smartsocket] [debug] Sent message (43 bytes)',
  ];
  assert.deepEqual(await run('logging.cjs'), { out: lines, err: [] });
  for (const [DEBUG, shown] of [
    ['smartsocket:*', 1],
    ['express:*,smartsocket:*', 1],
    ['*', 1],
    ['express:*', 0],
    ['', 0],
  ])
    assert.equal((await run('acknowledgment.mjs', server, { DEBUG })).out[0].includes('[debug]'), Boolean(shown), DEBUG);
});
