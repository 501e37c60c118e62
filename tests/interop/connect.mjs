// Runs `smartsocket connect` against one of the peers' servers.
//
//   node connect.mjs PROGRAM URL NAME [--ca FILE]

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Report, option } from './report.mjs';

const [program, url, name] = process.argv.slice(2);
const report = new Report(name);
const trust = option('ca') ? ['--ca', option('ca')] : [];

class Connect {
  constructor(args, authority = trust) {
    this.child = spawn(program, ['connect', url, ...authority, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stdin.on('error', () => {}); // it may end first
    this.lines = [];
    this.errors = '';
    this.done = once(this.child, 'close');
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      this.lines.push(line);
      this.child.emit('line');
    });
    this.child.stderr.on('data', (data) => (this.errors += data));
  }

  send(line) {
    this.child.stdin.write(`${line}\n`);
  }

  async line() {
    while (this.lines.length === 0) {
      await Promise.race([once(this.child, 'line'), this.done]);
      if (this.lines.length === 0 && this.child.exitCode !== null)
        throw new Error(`it ended with ${this.child.exitCode}: ${this.errors.trim()}`);
    }
    return this.lines.shift();
  }

  async ask(line, answer = line) {
    this.send(line);
    assert.equal(await this.line(), answer);
  }

  async end() {
    this.child.stdin.end();
    return this.exit();
  }

  async exit() {
    return (await this.done)[0];
  }
}

const check = (what, body, ...connecting) =>
  report.check(what, async () => {
    const connect = new Connect(...connecting);
    try {
      await body(connect);
    } finally {
      connect.child.kill();
    }
  });

await check('echo', async (c) => {
  await c.ask('hello');
  await c.ask('κόσμε 日本語 🦀');
  await c.ask(Array.from({ length: 10_000 }, (_, i) => `word ${i}`).join(' '));
  assert.equal(await c.end(), 0);
}, []);
await check('pipe', async (c) => {
  // Everything at once and then the end of input: no answer that was sent may be lost.
  for (let i = 0; i < 100; i++) c.send(`line ${i}`);
  assert.equal(await c.end(), 0);
  c.lines.forEach((line, i) => assert.equal(line, `line ${i}`));
  // Python's websockets answers a close frame before the messages ahead of it.
  if (name.includes('node')) assert.equal(c.lines.length, 100);
}, []);
await check('fragments', async (c) => c.ask('!fragments', 'one two three'), []);
await check('large', async (c) => {
  c.send('!big 1048576');
  assert.equal((await c.line()).length, 1_048_576);
}, []);
await check('ping', async (c) => c.ask('!ping abc', 'pong abc'), []);
await check('header', async (c) => c.ask('!header X-Test', 'header some value'), ['--header', 'X-Test: some value']);
await check('subprotocol', async (c) => c.ask('!protocol', 'protocol chat.v1'), ['--subprotocol', 'chat.v1']);
await check('json', async (c) => {
  c.send('hello');
  JSON.parse(await c.line());
}, ['--json']);
await check('verbose', async (c) => {
  await c.ask('hello'); // what -v adds goes to stderr
  await c.end();
  assert.notEqual(c.errors, '');
}, ['-v']);
await check('closed-by-server', async (c) => {
  c.send('!close 1000 bye');
  await c.exit();
}, []);
if (option('ca'))
  await check('unknown-authority', async (c) => {
    assert.notEqual(await c.exit(), 0);
    assert.match(c.errors, /certificate|issuer|authority/i);
  }, [], []);
report.exit();
