// The browser client as files: how long they are, and what each kind of program makes of them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import vm from 'node:vm';
import * as module from 'smartsocket-client';
import { minify } from 'terser';
import { WebSocket } from 'ws';
import { server } from './support.mjs';

const root = server.replace('ws', 'http');
const source = readFileSync(new URL('../../core/web/smartsocket.js', import.meta.url), 'utf8');

test('is less than 12 KiB when it is minified', async () => {
  const { code } = await minify(source, { module: true, ecma: 2022, compress: { passes: 3, unsafe_arrows: true } });
  console.log(`minified: ${code.length} bytes`);
  assert.ok(code.length < 12 * 1_024, `${code.length} bytes`);
});

test('the server has the very file', async () => {
  const served = await (await fetch(`${root}/smartsocket.js`)).text();
  assert.ok(served === source, 'the program was built with another core/web/smartsocket.js');
});

test('a classic script makes window.SmartSocket of it, and nothing else', async () => {
  const script = await (await fetch(`${root}/client.js`)).text();
  const window = vm.createContext({ console, setTimeout, clearTimeout, URL, TextEncoder, TextDecoder, Uint8Array, WebSocket });
  const before = Object.keys(window);
  vm.runInContext(script, window);
  assert.deepEqual(
    Object.keys(window).filter((name) => !before.includes(name)),
    ['SmartSocketClient', 'SmartSocket'],
  );
  assert.equal(window.SmartSocket, window.SmartSocketClient);
  const client = new window.SmartSocket(server);
  const answer = client.emitWithAck('echo', { a: 1 });
  await client.connect();
  assert.equal((await answer).a, 1);
  client.disconnect();
});

test('can be imported, and required', (t) => {
  assert.equal(module.default, module.SmartSocketClient);
  assert.deepEqual(Object.keys(module).sort(), ['SmartSocketClient', 'SmartSocketError', 'default', 'greet']);
  if (!process.features.require_module) return t.skip('this Node.js does not require modules');
  const required = createRequire(import.meta.url)('smartsocket-client');
  assert.equal(required.SmartSocketClient, module.SmartSocketClient);
});

test('its types are right, and what is wrong they refuse', async () => {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [tsc, '--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext', 'types.ts'], {
    cwd: import.meta.dirname,
  }).catch(({ stdout }) => assert.fail(stdout));
});
