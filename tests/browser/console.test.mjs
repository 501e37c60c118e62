// The console, as its users see it: every part of it in headless Chromium, against the program.
//
// Screenshots of it, light and dark, wide and narrow, are put into tests/.cache/browser.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, describe, it } from 'node:test';
import { chromium } from 'playwright-core';
import { peer, server } from './support.mjs';

const program = process.env.SMARTSOCKET_BIN;
const root = server.replace('ws', 'http');
const shots = new URL('../.cache/browser/', import.meta.url).pathname;
mkdirSync(shots, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const servers = [];
after(async () => {
  for (const server of servers) server.kill();
  await browser.close();
});

/** They wait more than they work, so that several run at a time. */
const tests = [];
const test = (...one) => tests.push(one);

/** A server with these options, and its root. */
const serve = async (env, ...options) => {
  const server = spawn(program, ['serve', '--port', '0', ...options], { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  servers.push(server);
  for await (const line of createInterface({ input: server.stderr })) {
    const told = /^listening on ws(.*)$/.exec(line);
    if (told) return { root: `http${told[1]}` };
  }
  throw new Error('it does not listen');
};

/** The console, in a browser of its own; `troubles` is what went wrong there and nobody expected. */
async function open({ at = root, hash = '', width = 1280, height = 800, colorScheme = 'light', expected = [], ...rest } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, ...rest });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const troubles = [];
  const requests = [];
  const known = (text) => expected.some((part) => text.includes(part));
  const trouble = (text) => known(text) || troubles.push(text);
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && trouble(`${message.text()} ${message.location().url}`));
  page.on('pageerror', (error) => trouble(error.message));
  const { host } = new URL(at);
  const own = (url) => ['data:', 'blob:'].includes(new URL(url).protocol) || new URL(url).host === host || trouble(`of elsewhere: ${url}`);
  page.on('request', (request) => {
    own(request.url());
    requests.push(new URL(request.url()).pathname);
  });
  page.on('websocket', (socket) => own(socket.url()));
  await page.goto(`${at}/${hash}`);
  const text = (id) => page.locator(`#${id}`).innerText();
  return Object.assign(page, {
    troubles,
    requests,
    text,
    /** Waits until the text of an element is like this. */
    says: (id, like) => page.locator(`#${id}`).filter({ hasText: like }).waitFor(),
    /** The last row of this class and with this text: the list follows what comes. */
    row: (kind, like = '') => page.locator(`#log .${kind}:not([hidden])`, { hasText: like }).last(),
    async connect(route, given = {}) {
      if (route) await page.selectOption('#route', route);
      for (const [name, value] of Object.entries(given)) await page.fill(`#credentials [name=${name}]`, value);
      await page.click('#connect');
      await page.locator('#state[data-state=open]').waitFor();
    },
    async send(name, body, kind) {
      if (kind) await page.selectOption('#kind', kind);
      if (name !== undefined) await page.fill('#name', name);
      if (body !== undefined) await page.fill('#body', body);
      await page.click('#send');
    },
    async end() {
      assert.deepEqual(troubles, []);
      await context.close();
    },
  });
}

/** Whether anything of this colour is in a drawing. */
const isDrawn = (page, id, name) =>
  page.waitForFunction(
    ([id, name]) => {
      const canvas = document.getElementById(id);
      const wanted = getComputedStyle(canvas).getPropertyValue(`--${name}`).match(/\d+/g).map(Number);
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200 && wanted.every((part, j) => Math.abs(data[i + j] - part) < 12)) return true;
      return false;
    },
    [id, name],
  );

test('SmartSocket: events, answers, rooms and who is in them', async () => {
  const [a, b] = await Promise.all([open(), open()]);
  await a.connect('/chat');
  await b.connect('/chat');
  assert.match(await a.text('about'), /^\/chat · SmartSocket · id \w+/);
  await a.send('echo', '{"n": 1}');
  await a.row('answer', '{"n":1}').waitFor();
  assert.match(await a.row('answer').locator('.trip').innerText(), /ms$/);
  await a.send('message', '{"text": "to all"}');
  await b.row('in', 'to all').waitFor();

  await a.fill('#room', 'den');
  await a.press('#room', 'Enter');
  await a.locator('#rooms .in').waitFor();
  await b.locator('#rooms', { hasText: 'den' }).locator('button', { hasText: 'Join' }).click();
  await b.says('rooms', '2 here');
  await a.says('rooms', '2 here');
  await a.locator('#rooms summary').click();
  assert.equal(await a.locator('#rooms details li').count(), 2);
  assert.equal(await a.locator('#rooms details li', { hasText: 'you' }).count(), 1);
  await a.locator('#rooms button.link').first().click();
  await a.says('rooms', 'on /chat since');
  // Its rows are made anew with every answer, but stay unfolded.
  await a.waitForTimeout(2_100);
  assert.equal(await a.locator('#rooms details[open]').count(), 1);
  await a.send('say', '{"room": "den", "data": "in the den"}');
  await b.row('in', 'in the den').waitFor();
  await b.locator('#rooms button', { hasText: 'Leave' }).click();
  await a.says('rooms', '1 here');
  assert.equal(await a.title(), '/chat – smartsocket console');
  await a.click('#connect');
  await a.says('status', 'closed');
  assert.match(await a.text('about'), /1000 normal after/);
  for (const page of [a, b]) await page.end();
});

test('RNode: rooms are made, joined and spoken in', async () => {
  const [a, b] = await Promise.all([open(), open()]);
  await a.connect('/rnode', { clientId: 'ann' });
  assert.match(await a.text('about'), /client ann/);
  await b.connect('/rnode', { clientId: 'bob' });
  await a.fill('#room', 'the lobby');
  await a.click('#create');
  await a.says('rooms', 'the lobby');
  const id = await a.inputValue('#room');
  assert.match(id, /^room_\w{32}$/);
  for (const page of [a, b]) {
    await page.locator('#rooms', { hasText: 'the lobby' }).locator('button', { hasText: 'Join' }).click();
    await page.locator('#rooms .in').waitFor();
  }
  await a.send(id, 'hello room', 'room_message');
  await b.row('in', 'hello room').waitFor();
  await a.send('bob', 'only you', 'direct_message');
  await b.row('in', 'only you').waitFor();
  await a.send('message', 'plain', 'message');
  await a.row('answer', 'plain').waitFor();
  await a.send('nobody', 'hi', 'direct_message');
  await a.says('problems', 'client_not_found');
  await a.says('problems', 'Nobody of this client id is connected.');
  for (const page of [a, b]) await page.end();
});

test('Ignis: a token, rooms, and what is wrong with a wrong token', async () => {
  const page = await open({ hash: '#route=/ws' });
  assert.equal(await page.inputValue('#dialect'), 'ignis');
  assert.match(await page.locator('[name=token]').getAttribute('placeholder'), /“dev” will do/);
  await page.fill('[name=token]', 'wrong-token');
  await page.click('#connect');
  await page.says('problems', '4003');
  await page.says('problems', 'The token is wrong.');
  await page.says('problems', 'Correct it above and connect again.');
  await page.connect(undefined, { token: 'dev' });
  await page.send('echo', '{"a": [1]}');
  await page.row('in', '{"a":[1]}').waitFor();
  await page.fill('#room', 'den');
  await page.click('#join');
  await page.says('rooms', '1 here');
  await page.send('say', '{"room": "den", "data": "hear"}');
  await page.row('in', 'hear').waitFor();
  // The token is in no list.
  await page.selectOption('#type', 'all');
  await page.row('control', 'authenticate').click();
  await page.selectOption('#view', 'raw');
  assert.equal(await page.text('content'), '{"event":"authenticate","data":{"token":"•••"}}');
  await page.end();
});

test('MB: topics, and a request that is answered by hand', async () => {
  const [a, b] = await Promise.all([open(), open()]);
  await a.connect('/mb');
  await b.connect('/mb');
  await a.send('events.user', '{"m": 0}');
  await a.says('problems', 'NO_ROUTE_FOUND');
  await b.fill('#room', 'events.user');
  await b.click('#join');
  await b.locator('#rooms .in').waitFor();
  await a.send('events.user', '{"m": 1}');
  await b.row('in', '{"m": 1}').waitFor();
  await a.row('answer', 'success').waitFor();
  await b.selectOption('#join-kind', 'request');
  await b.fill('#room', 'svc.add');
  await b.click('#join');
  await b.says('rooms', 'svc.add');
  await a.send('svc.add', '{"q": 2}', 'request');
  await b.row('in', '{"q": 2}').click();
  assert.equal(await b.text('edit'), 'Answer');
  await b.click('#edit');
  assert.match(await b.inputValue('#name'), /^svc\.add:1\.0\.0:[\da-f-]{36}$/);
  await b.send(undefined, '{"sum": 3}');
  await a.row('answer', '{"sum": 3}').waitFor();
  await b.locator('#rooms li', { hasText: 'events.user' }).locator('button', { hasText: 'Unsubscribe' }).click();
  await b.says('rooms-about', '1 topic, in 1');
  for (const page of [a, b]) await page.end();
});

test('raw: text, bytes and files; what is published comes to who subscribes', async () => {
  const [page, sub] = await Promise.all([open(), open()]);
  await sub.connect('/sub');
  await page.connect('/echo');
  await page.send(undefined, 'κόσμε');
  await page.row('in', 'κόσμε').waitFor();
  await page.send(undefined, '00 ff 10 41', 'hex');
  await page.row('in', '00 ff 10 41').click();
  assert.match(await page.text('content'), /^00000000 {2}00 ff 10 41 +\.\.\.A$/);
  await page.selectOption('#kind', 'file');
  await page.setInputFiles('#file', { name: 'f', mimeType: 'x/y', buffer: Buffer.from('a file') });
  await page.says('hint', 'Binary, 6 B.');
  await page.click('#send');
  await page.row('in', '61 20 66 69 6c 65').waitFor();
  await page.selectOption('#kind', 'hex');
  await page.fill('#body', '0g');
  await page.says('hint', '“g” is not a hexadecimal digit');
  assert.equal(await page.isDisabled('#send'), true);
  await page.click('#connect');
  await page.says('status', 'closed');
  await page.connect('/pub');
  await page.send(undefined, 'news', 'text');
  await sub.row('in', 'news').waitFor();
  for (const each of [page, sub]) await each.end();
});

test('encrypted: with the key; without it, or with another, the cause and the cure', async () => {
  const [key, other] = [0, 1].map(() => execFileSync(program, ['keygen'], { stdio: ['ignore', 'pipe', 'ignore'] }).toString().trim());
  const { root } = await serve({ ENCRYPTION_KEY: key }, '--api-key', 'open sesame');
  const page = await open({ at: root });
  const credentials = { apiKey: 'open sesame', encryptionKey: other };
  assert.equal(await page.locator('[name=encryptionKey]').getAttribute('placeholder'), 'needed here');
  for (const [name, value] of Object.entries(credentials)) await page.fill(`[name=${name}]`, value);
  await page.click('#connect');
  for (const part of ['ERR_CONN_004', 'Encryption key mismatch or invalid API key', 'Verify encryptionKey matches on client and server']) await page.says('problems', part);
  await page.fill('[name=encryptionKey]', 'short');
  await page.click('#connect');
  await page.says('problems', 'encryptionKey is not 32 bytes');
  for (const cipher of ['aes-256-cbc', 'aes-256-gcm']) {
    await page.selectOption('[name=cipher]', cipher);
    await page.connect('/chat', { encryptionKey: key });
    assert.match(await page.text('about'), new RegExp(`sealed by ${cipher}`));
    await page.send('echo', `"sealed ${cipher}"`);
    await page.row('answer', `sealed ${cipher}`).waitFor();
    await page.click('#connect');
    await page.says('status', 'closed');
  }
  // Records are among what crossed the wire.
  await page.selectOption('#type', 'wire');
  await page.row('out', 'sealed by aes-256').click();
  assert.match(await page.text('content'), /^00000000 {2}e1 0[12] /);
  // Neither key is where it would stay.
  const kept = await page.evaluate(() => [location.href, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, document.body.innerText].join(' '));
  for (const secret of [key, other, 'sesame']) assert.ok(!kept.includes(secret), secret);
  await page.end();
});

test('encrypted by an exchange of keys, without a shared one', async () => {
  const { root } = await serve({}, '--encryption-exchange', 'only', '--ignis-require-encryption');
  const page = await open({ at: root });
  await page.connect('/chat');
  assert.match(await page.text('about'), /sealed by aes-256-/);
  await page.send('echo', '"exchanged"');
  await page.row('answer', 'exchanged').waitFor();
  await page.click('#connect');
  await page.says('status', 'closed');
  await page.connect('/ws', { token: 'dev' });
  assert.match(await page.text('about'), /sealed by aes-256-gcm/);
  await page.send('echo', '{"sealed":"on its way here"}');
  await page.row('in', 'on its way here').click();
  await page.selectOption('#view', 'raw');
  assert.match(await page.text('content'), /^\{"event":"encrypted","data":\{"iv":"/);
  await page.click('#connect');
  await page.says('status', 'closed');
  await page.selectOption('[name=encryption]', 'none');
  await page.click('#connect');
  await page.says('problems', '4004');
  await page.says('problems', 'choose to exchange one');
  await page.end();
});

test('an API key in the clear is shown to nobody', async () => {
  const { root } = await serve({}, '--api-key', 'open-sesame');
  const page = await open({ at: root, hash: '#route=/chat&type=all' });
  await page.connect(undefined, { apiKey: 'open-sesame' });
  await page.row('control', 'apiKey').click();
  assert.match(await page.text('content'), /"apiKey": "•••"/);
  assert.ok(!(await page.evaluate(() => document.body.innerText + location.href)).includes('sesame'));
  await page.click('#connect');
  await page.says('status', 'closed');
  await page.fill('[name=apiKey]', 'wrong');
  await page.click('#connect');
  await page.says('problems', 'ERR_CONN_004');
  await page.end();
});

test('the list is bounded, filtered, and held still while counting goes on', async () => {
  const page = await open({ hash: '#route=/echo' });
  await page.uncheck('#probe');
  await page.connect();
  await page.fill('#times', '1500');
  await page.fill('#every', '0');
  await page.fill('#body', 'needle');
  await page.click('#send');
  await page.says('count', '3,001 rows, the oldest 1,001 dropped');
  await page.fill('#times', '1');
  assert.ok((await page.locator('#log [role=option]').count()) < 60, 'only what can be seen is there');

  await page.fill('#body', 'hay {"x": 1}');
  await page.click('#pause');
  const before = await page.locator('#log [role=option]:not([hidden])').allInnerTexts();
  await page.click('#send');
  await page.says('newer', '2 newer rows');
  assert.deepEqual(await page.locator('#log [role=option]:not([hidden])').allInnerTexts(), before);
  await page.says('count', '3,003 rows');
  await page.click('#newer');
  await page.row('in', 'hay').waitFor();

  const shown = async () => [...new Set(await page.locator('#log [role=option]:not([hidden])').evaluateAll((rows) => rows.map((row) => row.className)))].sort();
  await page.fill('#filter', 'HAY');
  await page.says('count', '2 shown');
  await page.selectOption('#direction', 'out');
  await page.says('count', '1 shown');
  assert.deepEqual(await shown(), ['out message']);
  await page.fill('#filter', 'nothing like it');
  await page.says('log-empty', 'Nothing passes the filter.');
  await page.fill('#filter', '');
  await page.selectOption('#direction', '');

  // Whoever reads back is left in peace.
  await page.locator('#log').hover();
  await page.mouse.wheel(0, -3_000);
  await page.says('count', 'held where you read');
  const top = await page.locator('#log').evaluate((log) => log.scrollTop);
  await page.click('#send');
  await page.says('newer', 'newer row');
  const now = await page.locator('#log').evaluate((log) => log.scrollTop);
  // What was dropped at the other end has moved the rest up by as many rows.
  assert.equal((top - now) % 28, 0);
  await page.click('#clear');
  await page.says('count', '0 rows');
  await page.end();
});

test('a message: pretty, as sent, in hex; copied, edited, sent again', async () => {
  const page = await open({ hash: '#route=/chat', permissions: ['clipboard-read', 'clipboard-write'] });
  await page.connect();
  await page.send('echo', '{"b":[1,{"c":null}]}');
  await page.row('answer').waitFor();
  await page.row('out').click();
  assert.equal(await page.text('content'), '{\n  "b": [\n    1,\n    {\n      "c": null\n    }\n  ]\n}');
  await page.selectOption('#view', 'hex');
  assert.match(await page.text('content'), /^00000000 {2}7b 22 62 22/);
  await page.selectOption('#view', 'raw');
  await page.click('#copy');
  await page.says('copy', 'Copied');
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), '{"b":[1,{"c":null}]}');
  await page.fill('#body', 'not json');
  await page.says('hint', 'Not JSON');
  await page.click('#edit');
  assert.equal(await page.inputValue('#body'), '{"b":[1,{"c":null}]}');
  await page.click('#again');
  await page.waitForFunction(() => document.querySelectorAll('#log .answer:not([hidden])').length === 2);
  await page.press('#content', 'Escape');
  assert.equal(await page.isHidden('#detail'), true);
  await page.end();
});

test('figures are drawn as they happen, drops by their cause', async () => {
  const { root } = await serve({}, '--rate-limit-max-requests', '20');
  const page = await open({ at: root, hash: '#route=/chat' });
  await page.connect();
  await page.uncheck('#answer');
  await page.fill('#times', '60');
  await page.fill('#every', '0');
  await page.click('#send');
  await page.says('f-drops', /rate limited \d\d/);
  await page.says('problems', 'ERR_RATE_001');
  await page.says('problems', 'Wait for window to reset or adjust rate limit settings');
  await page.says('f-connections', '1 open');
  await page.says('f-messages', /in .* · out /);
  await isDrawn(page, 'g-connections', 'accent');
  await isDrawn(page, 'g-messages', 'accent');
  await isDrawn(page, 'g-drops', 'bad');
  const other = await open({ at: root, hash: '#route=/rnode' });
  await other.connect();
  await other.says('f-connections', '2 open');
  await other.click('#send');
  await other.says('f-trips', /p50 .* ms · p99 .* ms/);
  await isDrawn(other, 'g-trips', 'soft');
  assert.match(await other.locator('#g-trips').getAttribute('aria-label'), /^Round trip, the last two minutes: p50/);

  // A page that nobody looks at asks nobody.
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await page.waitForTimeout(1_000);
  const asked = page.requests.length;
  await page.waitForTimeout(2_200);
  assert.equal(page.requests.length, asked);
  const again = page.waitForRequest(/metrics/);
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await again;
  for (const each of [page, other]) await each.end();
});

test('the HTTP API wants a token, refuses, or is not there: it says so and works on', async () => {
  const [guarded, none, several] = await Promise.all([serve({}, '--api-token', 'figs'), serve({}, '--api-enable=false'), serve({}, '--shards', '2')]);
  const page = await open({ at: guarded.root, hash: '#route=/chat', expected: ['status of 401'] });
  await page.says('api-why', 'asks for a token');
  await page.connect();
  await page.says('f-connections', 'this page');
  await page.send('echo', '"works on"');
  await page.row('answer', 'works on').waitFor();
  await page.says('f-messages', 'this page');
  await page.fill('#room', 'den');
  await page.click('#join');
  await page.locator('#rooms .in').waitFor();
  assert.equal(page.requests.some((path) => path.startsWith('/metrics')), false);
  await page.fill('#token', 'wrong');
  await page.press('#token', 'Enter');
  await page.says('api-why', 'refused (401 Unauthorized)');
  await page.fill('#token', 'figs');
  await page.press('#token', 'Enter');
  await page.says('f-connections', '1 open');
  await page.says('rooms', '1 here');
  const kept = await page.evaluate(() => location.href + JSON.stringify(localStorage));
  assert.ok(!kept.includes('figs'));
  await page.end();

  for (const [{ root }, route] of [
    [none, '/chat'],
    [several, '/echo'],
  ]) {
    const page = await open({ at: root });
    await page.says('api-why', 'no HTTP API');
    await page.connect(route);
    await page.send(undefined, '"still"');
    await page.row('in', 'still').waitFor();
    assert.equal(page.requests.some((path) => /metrics|websocket/.test(path)), false);
    await page.end();
  }
});

test('how a connection ended is explained; SmartSocket comes back', async () => {
  const away = await peer();
  const page = await open({ expected: [new URL(away.url).host, 'WebSocket connection to'] });
  for (const [code, reason, ...parts] of [
    [1013, 'full', 'overloaded', 'wait and reconnect'],
    [4002, '', 'heartbeat timeout', 'Connect again'],
    [4711, 'odd', 'private code: odd', 'Look for the code in its documentation.'],
  ]) {
    await page.selectOption('#route', 'other');
    await page.selectOption('#dialect', 'raw');
    await page.fill('#url', `${away.url}/path?token=hidden`);
    await page.click('#connect');
    const socket = await away.sockets.take();
    assert.equal(socket.path, '/path?token=hidden');
    await page.says('status', 'open');
    socket.close(code, reason);
    for (const part of [String(code), ...parts]) await page.says('problems', part);
    await page.says('status', 'closed');
  }
  // What may be a token is not remembered.
  assert.ok(!(await page.evaluate(() => location.href)).includes('hidden'));
  await page.fill('#url', 'http://[');
  await page.click('#connect');
  await page.says('problems', 'This is no address');
  await page.fill('#url', '/nowhere');
  await page.click('#connect');
  await page.says('problems', 'This server has no route /nowhere');

  await page.selectOption('#route', 'other');
  await page.fill('#url', away.url);
  await page.selectOption('#dialect', 'smartsocket');
  await page.click('#connect');
  const first = await away.sockets.take();
  await first.accept();
  await page.says('status', 'open');
  first.terminate();
  await page.says('status', /again in .*try 1/);
  await page.says('problems', '1006');
  await (await away.sockets.take()).accept();
  await page.says('status', 'open');
  await page.click('#connect');
  await page.says('status', 'closed');
  await page.end();
});

test('no message becomes markup, wherever it is shown', async () => {
  const hostile = ['<img src=x onerror=window.pwned=1>', '"><svg onload=window.pwned=1>', '</script><script id=evil>window.pwned=1</script>'];
  const [page, chat, rnode] = await Promise.all([open({ hash: '#route=/echo' }), open({ hash: '#route=/chat' }), open({ hash: '#route=/rnode' })]);
  await page.connect();
  await chat.connect();
  await rnode.connect();
  for (const text of hostile) {
    await page.send(undefined, text);
    await page.row('in', text).click();
    assert.equal(await page.text('content'), text);
    await chat.send(text, JSON.stringify({ [text]: text }));
    await chat.row('out', text).click();
    await chat.fill('#room', text);
    await chat.click('#join');
    await chat.says('rooms', text);
    await rnode.fill('#room', text);
    await rnode.click('#create');
    await rnode.says('rooms', text);
  }
  await page.fill('#filter', hostile[0]);
  for (const each of [page, chat, rnode]) {
    assert.equal(await each.locator('main :is(img, script, #evil), main svg').count(), 0);
    assert.equal(await each.evaluate(() => window.pwned), undefined);
    // Whoever would try is stopped by the policy.
    assert.equal(
      await each.evaluate(() => {
        try {
          document.body.insertAdjacentHTML('beforeend', '<i id=evil></i>');
        } catch {}
        return document.querySelector('#evil');
      }),
      null,
    );
    await each.context().close();
  }
  const address = `#${new URLSearchParams({ route: '"><img src=x onerror=window.pwned=1>', dialect: '<b>', name: hostile[0], kind: hostile[1], type: hostile[2] })}`;
  const linked = await open({ hash: address });
  assert.equal(await linked.inputValue('#name'), hostile[0]);
  assert.equal(await linked.evaluate(() => window.pwned), undefined);
  await linked.end();
});

test('by the keyboard alone', async () => {
  const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
  const { keyboard } = page;
  await keyboard.press('c');
  await page.says('status', 'open');
  await keyboard.press('e');
  await keyboard.press('Control+a');
  await keyboard.type('{"typed": true}');
  await keyboard.press('Control+Enter');
  await page.row('answer').waitFor();
  await keyboard.press('Escape');
  await keyboard.press('l');
  await keyboard.press('Home');
  await keyboard.press('ArrowDown');
  assert.equal(await page.text('detail-title'), 'message');
  assert.equal(await page.locator('#log [aria-selected=true]').count(), 1);
  assert.equal(await page.locator('#log').getAttribute('aria-activedescendant'), await page.locator('#log [aria-selected=true]').getAttribute('id'));
  await keyboard.press('y');
  await page.says('copy', 'Copied');
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), '{\n  "typed": true\n}');
  const rows = await page.text('count');
  await keyboard.press('s');
  await page.waitForFunction((rows) => document.querySelector('#count').innerText !== rows, rows);
  await keyboard.press('Escape');
  assert.equal(await page.isHidden('#detail'), true);
  await keyboard.press('j');
  await keyboard.type('keys');
  await keyboard.press('Enter');
  await page.locator('#rooms .in').waitFor();
  await keyboard.press('Escape');
  await keyboard.press('/');
  await keyboard.type('typed');
  assert.equal(await page.inputValue('#filter'), 'typed');
  await keyboard.press('Escape');
  await keyboard.press('p');
  await page.says('pause', 'Resume');
  await keyboard.press('p');
  await keyboard.press('?');
  assert.equal(await page.locator('#shortcuts').isVisible(), true);
  assert.equal(await page.locator('#keys div').count(), 14);
  await keyboard.press('Escape');
  assert.equal(await page.locator('#shortcuts').isVisible(), false);
  await keyboard.press('c');
  await page.says('status', 'closed');

  // Every control that can be used has a name, a place in the order, and shows that it has the focus.
  await page.evaluate(() => document.activeElement.blur());
  const seen = new Set();
  for (let n = 0; n < 80; n++) {
    await keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const { activeElement: element } = document;
      if (element === document.body) return;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      return { id: element.id || element.name || element.textContent, outline: `${outlineStyle} ${outlineWidth}`, named: Boolean(element.ariaLabel || element.labels?.length || element.textContent.trim()) };
    });
    if (!at || seen.has(at.id)) break;
    assert.equal(at.outline, 'solid 2px', at.id);
    assert.ok(at.named, at.id);
    seen.add(at.id);
  }
  for (const id of ['route', 'dialect', 'connect', 'name', 'body', 'answer', 'times', 'room', 'filter', 'log', 'probe']) assert.ok(seen.has(id), id);
  await page.end();
});

test('the form is remembered by the address; secrets and data are not', async () => {
  const page = await open();
  await page.selectOption('#route', '/ws');
  await page.fill('[name=token]', 'very-secret-token');
  await page.fill('#name', 'say');
  await page.fill('#body', '{"private": "words"}');
  await page.fill('#filter', 'a secret, looked for');
  await page.selectOption('#type', 'all');
  const kept = () => page.evaluate(() => [location.href, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie].join(' '));
  for (const secret of ['secret', 'words']) assert.ok(!(await kept()).includes(secret));
  await page.reload();
  const values = await Promise.all(['route', 'dialect', 'name', 'type'].map((id) => page.inputValue(`#${id}`)));
  assert.deepEqual(values, ['/ws', 'ignis', 'say', 'all']);
  assert.equal(await page.inputValue('[name=token]'), '');
  await page.click('#theme');
  assert.deepEqual(await page.evaluate(() => ({ ...localStorage })), { theme: 'dark' });
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await page.end();
});

/** How well text is told from what is behind it (WCAG 2.2, 1.4.3), of all text that can be seen. */
const faintest = (page) =>
  page.evaluate(() => {
    const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = (colour) =>
      parts(colour)
        .slice(0, 3)
        .map((part) => ((part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
    let least = [21, ''];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
      const element = node.parentElement;
      if (!node.data.trim() || !element.checkVisibility() || element.closest(':disabled, option, datalist, script')) continue;
      let behind = element;
      while (behind && parts(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
      const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind ?? document.body).backgroundColor].map(light).sort();
      const contrast = (b + 0.05) / (a + 0.05);
      if (contrast < least[0]) least = [contrast, node.data];
    }
    return least;
  });

for (const colorScheme of ['light', 'dark'])
  for (const width of colorScheme === 'light' ? [360, 820, 1280] : [360, 1280])
    test(`${colorScheme}, ${width} pixels wide`, async () => {
      const page = await open({ colorScheme, width, height: width === 360 ? 740 : 800, hash: '#route=/chat', hasTouch: width === 360 });
      const part = async (tab) => width === 360 && (await page.click(`nav [data-tab=${tab}]`));
      const look = async (name) => {
        const [inside, all] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
        assert.ok(all <= inside, `${name} is ${all} wide`);
        const [contrast, text] = await faintest(page);
        assert.ok(contrast >= 4.5, `${contrast}: ${text}`);
        await page.screenshot({ path: `${shots}console-${colorScheme}-${width}-${name}.png` });
      };
      const isDark = await page.evaluate(() => Number(getComputedStyle(document.body).backgroundColor.match(/\d+/)[0]) < 128);
      assert.equal(isDark, colorScheme === 'dark');
      await look('closed');
      const place = async () => [(await page.locator('#send').boundingBox()).y, await page.evaluate(() => scrollY)].reduce((y, top) => y + top);
      const before = await place();
      await page.connect();
      await page.send('message', '{"text": "Hello", "list": [1, 2, 3]}');
      await page.fill('#times', '12');
      await page.fill('#every', '20');
      await page.click('#send');
      await page.says('hint', '36 B.');
      // Nothing has jumped.
      assert.deepEqual(await place(), before);
      await part('rooms');
      for (const room of ['den', 'a room with a long name that goes on and on and on']) {
        await page.fill('#room', room);
        await page.press('#room', 'Enter');
        await page.says('rooms', room);
      }
      await page.locator('#rooms summary').first().click();
      await look('rooms');
      await part('send');
      await page.fill('#times', '1');
      await page.send('leave', '{"wrong": 1}');
      await part('log');
      // Others speak meanwhile.
      await page.click('#pause');
      await page.row('in', 'Hello').click();
      assert.equal(await page.text('detail-title'), 'message');
      await look('detail');
      await page.click('#close');
      await page.click('#pause');
      await look('log');
      await part('figures');
      await page.waitForTimeout(1_200);
      await look('figures');
      if (width === 360) {
        // Fingers are not small.
        const small = await page.evaluate(() => [...document.querySelectorAll('button, input, select')].filter((element) => element.checkVisibility() && element.type !== 'checkbox' && element.getBoundingClientRect().height < 32).map(({ id, textContent }) => id || textContent));
        assert.deepEqual(small, []);
      }
      await page.end();
    });

describe('the console', { concurrency: 4 }, () => {
  for (const one of tests) it(...one);
});
