// The client against the server on threads, which the program is not: in Node and in Chromium,
// open and encrypted.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { chromium } from 'playwright-core';
import { client, next, server } from './support.mjs';

const started = [];
after(() => started.forEach((child) => child.kill()));

/** The example `chat` of the runtime on threads, with or without a key. */
async function chat(key) {
  const env = { ...process.env, PORT: '0', ...(key && { ENCRYPTION_KEY: key }) };
  const child = spawn(process.env.SMARTSOCKET_STD, [], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child);
  for await (const line of createInterface({ input: child.stdout })) return line.replace('listening on ', '');
  throw Error('the server on threads does not start');
}

const key = randomBytes(32).toString('base64');
for (const encryptionKey of [undefined, key]) {
  const how = encryptionKey ? 'encrypted' : 'open';
  const url = await chat(encryptionKey);
  const options = { namespace: '/chat', ...(encryptionKey && { encryptionKey }) };

  test(`Node, ${how}: answers, long messages, rooms, everybody`, async () => {
    const [a, b, c] = [0, 1, 2].map(() => client(url, options, ['say']));
    await Promise.all([a, b, c].map((each) => each.connect()));
    for (const data of [{ a: 1 }, 'text', 7, null, [1, [2]], { text: randomBytes(100_000).toString('base64') }])
      assert.deepEqual(await a.emitWithAck('echo', data), data);
    for (const each of [a, b]) assert.deepEqual(await each.emitWithAck('join', { room: 'den' }), { success: true });
    const heard = next(b, 'say');
    assert.deepEqual(await a.emitWithAck('say', { room: 'den', data: { text: 'hi' } }), { success: true });
    assert.deepEqual(await heard, [{ text: 'hi' }]);
    await c.emitWithAck('echo', 1);
    assert.deepEqual(c.heard, []);
    const everybody = [a, b, c].map((each) => next(each, 'message'));
    c.emit('message', { n: 1 });
    assert.deepEqual(await Promise.all(everybody), [[{ n: 1 }], [{ n: 1 }], [{ n: 1 }]]);
  });

  test(`Chromium, ${how}: answers and long messages`, { timeout: 30_000 }, async () => {
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
    try {
      const page = await browser.newPage();
      // It may connect to where it comes from.
      await page.goto(`${url.replace('ws', 'http')}/`);
      const script = await (await fetch(`${server.replace('ws', 'http')}/client.js`)).text();
      await page.evaluate(script);
      const told = await page.evaluate(
        async ([url, options]) => {
          const client = new SmartSocket(url, options);
          await client.connect();
          const text = Array.from({ length: 20_000 }, (_, i) => `word${i} κόσμε`).join(' ');
          const heard = new Promise((resolve, reject) => (client.once('message', resolve), client.once('disconnected', reject)));
          client.emit('message', { text });
          const told = [(await heard).text === text, (await client.emitWithAck('echo', { text })).text === text];
          client.disconnect();
          return told;
        },
        [url, options],
      );
      assert.deepEqual(told, [true, true]);
    } finally {
      await browser.close();
    }
  });
}

test('threads: who has no key, or another one, does not come in', async () => {
  const url = await chat(key);
  for (const encryptionKey of [undefined, randomBytes(32).toString('base64')]) {
    const c = client(url, encryptionKey ? { encryptionKey } : {});
    await assert.rejects(c.connect(), { code: 'ERR_CONN_004' });
  }
});
