// The browser client where it is meant to be: in pages, as a module and as a classic script.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { chromium } from 'playwright-core';
import { peer, server } from './support.mjs';
import { secure } from './vault.mjs';

const root = server.replace('ws', 'http');
const profile = mkdtempSync(join(tmpdir(), 'smartsocket-browser-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
after(async () => {
  await context.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

/** A page at the server's address, and what went wrong in it. */
async function open(body) {
  const page = await context.newPage();
  const troubles = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && troubles.push(message.text()));
  page.on('pageerror', (error) => troubles.push(error.message));
  page.setDefaultTimeout(10_000);
  await page.route('**/favicon.ico', (route) => route.fulfill({ status: 204 }));
  // A page that is not from here may not connect to here, so it begins as one that is.
  await page.goto(`${root}/healthz`);
  await page.setContent(body);
  return { page, troubles };
}

test('the example page: a script, no address, an answer', async () => {
  const { page, troubles } = await open(readFileSync(new URL('examples/page.html', import.meta.url), 'utf8'));
  await page.waitForFunction(() => document.querySelector('#out').textContent === 'Hello, true');
  assert.deepEqual(troubles, []);
  await page.close();
});

test('a module: events, long messages, namespaces, binary packets', async () => {
  const { page, troubles } = await open('<!doctype html><title>module</title>');
  const told = await page.evaluate(async () => {
    const { SmartSocketClient, SmartSocketError } = await import('/smartsocket.js');
    const words = Array.from({ length: 30_000 }, (_, i) => `word${i} κόσμε`).join(' ');
    const noise = Array.from({ length: 40 }, () => crypto.getRandomValues(new Uint32Array(500)).join()).join();
    const told = [];
    for (const options of [{}, { namespace: '/chat' }, { namespace: '/chat', namespaceBy: 'connect' }, { binary: 'plain' }, { binary: 'none' }]) {
      const client = new SmartSocketClient(location.origin, options);
      const early = client.emitWithAck('echo', 'early');
      await client.connect();
      const heard = new Promise((resolve) => client.once('message', resolve));
      client.emit('message', { text: words });
      const right = [
        (await early) === 'early',
        (await heard).text === words,
        (await client.emitWithAck('echo', { noise })).noise === noise,
        (await client.emitWithAck('echo', { words: words.slice(0, 5_000) })).words === words.slice(0, 5_000),
      ];
      client.disconnect();
      told.push(right.every(Boolean));
    }
    const nobody = new SmartSocketClient('ws://127.0.0.1:1', { maxReconnectAttempts: 0 });
    nobody.on('error', () => {});
    const error = await nobody.connect().catch((error) => error);
    return [...told, error instanceof SmartSocketError && error.code];
  });
  assert.deepEqual(told, [true, true, true, true, true, 'ERR_CONN_001']);
  // That nobody listens is told by the browser, too.
  assert.ok(troubles.every((trouble) => trouble.includes('127.0.0.1:1/') || trouble.includes('Max reconnection')), troubles.join());
  await page.close();
});

for (const [algorithm, suite] of [
  ['aes-256-cbc', 1],
  ['aes-256-gcm', 2],
])
  test(`encrypted with ${algorithm}, and again after the connection broke`, async () => {
    const key = randomBytes(32);
    const { url, sockets } = await peer();
    const serve = async () => {
      const socket = await sockets.take();
      const session = await secure(socket, { key, suite });
      assert.equal((await session.next()).flags, 4);
      return { socket, session };
    };
    const { page, troubles } = await open('<!doctype html><script src="/client.js"></script>');
    const done = page.evaluate(
      async ({ url, key, algorithm }) => {
        const client = new SmartSocket(url, { encryptionKey: key, encryptionAlgorithm: algorithm, reconnectDelay: 10 });
        client.on('error', () => {});
        const text = 'κόσμε 🦀'.repeat(5_000);
        await client.connect();
        const first = (await client.emitWithAck('echo', { text })).text === text;
        client.emit('break');
        await new Promise((resolve) => client.once('connected', resolve));
        const second = await client.emitWithAck('echo', { n: 2 });
        client.disconnect();
        return [first, second.n];
      },
      { url, key: key.toString('base64'), algorithm },
    );
    for (let broken = false; ; ) {
      const { socket, session } = await serve();
      for (;;) {
        const said = await session.next();
        if (said.flags === 4 || said.event === 'break') {
          if (said.event) socket.terminate();
          broken = said.event === 'break';
          break;
        }
        const { __ackId, ...data } = said.data;
        session.say('__ack__', { ackId: __ackId, response: data });
      }
      if (!broken) break;
    }
    assert.deepEqual(await done, [true, 2]);
    assert.deepEqual(troubles, []);
    await page.close();
  });
