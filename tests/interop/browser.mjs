// Headless Chromium as a peer, and as the user of the console page.
//
//   node browser.mjs URL NAME [--page] [--screenshot FILE]
//
// URL is the address of an echo endpoint. With --page, the console page at the
// root of the same server is used first: #route, #connect, #status, #body, #send
// and rows of class `in` and `out` in #log.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { Report, option } from './report.mjs';

const [url, name] = process.argv.slice(2);
const report = new Report(name);
const profile = mkdtempSync(join(tmpdir(), 'smartsocket-browser-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: true,
  // The test's authority is not among those that the browser trusts.
  ignoreHTTPSErrors: true,
  viewport: { width: 1280, height: 800 },
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--ignore-certificate-errors',
  ],
});
try {
  if (process.argv.includes('--page')) await console_page();
  await sockets();
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
report.exit();

/** A page whose troubles are collected. */
async function open(address) {
  const page = await context.newPage();
  const troubles = [];
  const { host } = new URL(address);
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      troubles.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => troubles.push(`page: ${error.message}`));
  page.on('request', (request) => {
    const to = new URL(request.url());
    if (to.host !== host && !['data:', 'blob:'].includes(to.protocol)) troubles.push(`external request: ${request.url()}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) troubles.push(`status ${response.status()}: ${response.url()}`);
  });
  page.on('websocket', (socket) => {
    if (new URL(socket.url()).host !== host) troubles.push(`external socket: ${socket.url()}`);
  });
  page.setDefaultTimeout(10_000);
  const response = await page.goto(address);
  assert.equal(response.status(), 200);
  return { page, troubles };
}

async function console_page() {
  const root = new URL('/', url.replace(/^ws/, 'http')).href;
  await report.check('console', async () => {
    const { page, troubles } = await open(root);
    await page.selectOption('#route', new URL(url).pathname);
    await page.click('#connect');
    await page.waitForFunction(() => document.querySelector('#status')?.textContent.trim() === 'open');
    const text = `hello from the browser, κόσμε <b>&amp;`;
    await page.fill('#body', text);
    await page.click('#send');
    // As text, not as markup.
    await page.locator('#log .out', { hasText: text }).first().waitFor();
    await page.locator('#log .in', { hasText: text }).first().waitFor();
    const shot = option('screenshot');
    if (shot) await page.screenshot({ path: shot });
    if (troubles.length > 0) throw new Error(troubles.join('; '));
    await page.close();
  });
}

async function sockets() {
  // A page of another origin when the server has none of its own.
  let page;
  let server;
  if (process.argv.includes('--page')) {
    ({ page } = await open(new URL('/', url.replace(/^ws/, 'http')).href));
  } else {
    server = http.createServer((_, response) => {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>test</title>');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    page = await context.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
  }
  const check = (what, body, argument) =>
    report.check(what, () =>
      page.evaluate(
        async ({ url, source, argument }) => {
          const open = (protocols) =>
            new Promise((resolve, reject) => {
              const ws = new WebSocket(url, protocols);
              ws.binaryType = 'arraybuffer';
              ws.onopen = () => resolve(ws);
              ws.onclose = (event) => reject(new Error(`closed with ${event.code} before it was open`));
            });
          const next = (ws) =>
            new Promise((resolve, reject) => {
              ws.onmessage = (event) => resolve(event.data);
              ws.onclose = (event) => reject(new Error(`closed with ${event.code}`));
            });
          const close = (ws, code, reason) =>
            new Promise((resolve) => {
              ws.onclose = (event) => resolve({ code: event.code, clean: event.wasClean });
              ws.close(code, reason);
            });
          const equal = (got, wanted) => {
            if (got !== wanted) throw new Error(`${got} instead of ${wanted}`);
          };
          const bytes = (ws) => async (size) => {
            // Compresses (the browser does) to less than its size, but not like a bomb.
            const sent = new Uint8Array(size).map((_, i) => (Math.imul(i, 40_503) >>> 9) & 127);
            const got = next(ws);
            ws.send(sent);
            const back = new Uint8Array(await got);
            equal(back.length, size);
            equal(back.every((byte, i) => byte === sent[i]), true);
          };
          const text = (ws) => async (sent) => {
            const got = next(ws);
            ws.send(sent);
            equal(await got, sent);
          };
          const body = new Function(`return ${source}`)();
          const ws = await open();
          await body({ ws, text: text(ws), bytes: bytes(ws), close: (...how) => close(ws, ...how), equal, argument });
          if (ws.readyState === WebSocket.OPEN) equal((await close(ws, 1000)).code, 1000);
        },
        { url, source: body.toString(), argument },
      ),
    );

  await check('text', async ({ text }) => {
    for (const sent of ['hello', '', 'κόσμε 日本語 🦀', 'x'.repeat(50_000)]) await text(sent);
  });
  await check('binary', async ({ bytes }) => {
    for (const size of [0, 1, 126, 65_536]) await bytes(size);
  });
  await check('1MiB', async ({ bytes, text }) => {
    await bytes(1_048_576);
    await text(Array.from({ length: 131_072 }, (_, i) => String(i).padStart(8, '0')).join(''));
  });
  for (const code of [1000, 3000, 4001])
    await check(
      `close-${code}`,
      async ({ close, equal, argument }) => {
        const { code: got, clean } = await close(argument, 'bye');
        equal(got, argument);
        equal(clean, true);
      },
      code,
    );
  server?.close();
}
