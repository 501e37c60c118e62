// The browser client where it is meant to be: in pages, as a module and as a classic script.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { chromium } from 'playwright-core';
import { peer, server } from './support.mjs';
import { secure } from './vault.mjs';

const home = server.replace('ws', 'http');
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

/** A page at a server's address, and what went wrong in it. */
async function open(body, root = home) {
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

const program = process.env.SMARTSOCKET_BIN;

/** A server with these options, and the address it tells. */
async function serve(env, ...options) {
  const child = spawn(program, ['serve', '--port', '0', ...options], { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  after(() => child.kill());
  for await (const line of createInterface({ input: child.stderr })) {
    const told = /^listening on (.*)$/.exec(line);
    if (told) return told[1].replace('ws', 'http');
  }
  throw new Error('it does not listen');
}

test('keys are exchanged on either curve, with a shared key and without', async () => {
  const key = randomBytes(32).toString('base64');
  for (const [address, options] of [
    [await serve({ ENCRYPTION_KEY: key }, '--encryption-exchange', 'required'), { encryptionKey: key }],
    [await serve({}, '--encryption-exchange', 'only'), { enableEncryption: 'exchange' }],
  ])
    for (const curve of ['X25519', 'P-256']) {
      const { page, troubles } = await open('<!doctype html><script src="/client.js"></script>', address);
      const told = await page.evaluate(
        async ({ curve, options }) => {
          const generate = crypto.subtle.generateKey.bind(crypto.subtle);
          const drawn = [];
          crypto.subtle.generateKey = async (algorithm, ...rest) => {
            if (curve === 'P-256' && algorithm.name === 'X25519') throw new DOMException('not here', 'NotSupportedError');
            const pair = await generate(algorithm, ...rest);
            drawn.push(algorithm.namedCurve ?? algorithm.name);
            return pair;
          };
          const client = new SmartSocket(location.origin, { namespace: '/chat', ...options });
          await client.connect();
          const heard = new Promise((resolve) => client.once('message', resolve));
          client.emit('message', { text: 'κόσμε 🦀' });
          const told = [(await heard).text, (await client.emitWithAck('echo', { n: 1 })).n, ...drawn];
          client.disconnect();
          return told;
        },
        { curve, options },
      );
      assert.deepEqual(told, ['κόσμε 🦀', 1, curve]);
      assert.deepEqual(troubles, []);
      await page.close();
    }
});

test('a server whose half of the exchange is the same for everybody is refused', async () => {
  const { page } = await open('<!doctype html><title>module</title>');
  const told = await page.evaluate(async () => {
    const { greet } = await import('/smartsocket.js');
    const hello = await greet(new Uint8Array(32).fill(7), [1, 2], '/');
    const salt = btoa('x'.repeat(32));
    const answer = (theirs) => hello.agree({ suite: 1, kid: hello.encryption.kid, salt, serverPublicKey: btoa(String.fromCharCode(...theirs)) });
    const zero = new Uint8Array(32);
    const one = Uint8Array.from(zero, (_, i) => Number(i === 0));
    const all = await Promise.allSettled([answer(zero), answer(one), answer(zero.fill(9, 1))]);
    return all.map(({ status }) => status);
  });
  assert.deepEqual(told, ['rejected', 'rejected', 'fulfilled']);
  await page.close();
});
