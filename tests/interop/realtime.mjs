// The clients of five systems, all at the same time, against one `smartsocket serve`.
//
//   node realtime.mjs URL NAME [--ca FILE]
//
// URL is the server's root. The clients behave as the published ones do (see clients/).

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { Ignis } from './clients/ignis.mjs';
import { Service } from './clients/mb.mjs';
import { RNode } from './clients/rnode.mjs';
import { GenerationA, GenerationB } from './clients/smartsocket.mjs';
import { Report, option } from './report.mjs';

const [url, name] = process.argv.slice(2);
const report = new Report(name);
const ca = option('ca') ? readFileSync(option('ca')) : undefined;
const place = (path) => new URL(path, url).href;
/** Clients of each kind, and messages that each sends. */
const CLIENTS = 6;
const MESSAGES = 10;
const each = (make) => Array.from({ length: CLIENTS }, (_, i) => make(i));
/** Half of them compress. */
const options = (i) => ({ ca, perMessageDeflate: i % 2 === 0 });
const ask = (method, path, body, headers = {}) =>
  new Promise((resolve, reject) => {
    const to = new URL(path, url.replace(/^ws/, 'http'));
    const content = body === undefined ? '' : JSON.stringify(body);
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(content) };
    (to.protocol === 'https:' ? https : http)
      .request(to, { method, ca, headers: { ...length, ...headers } }, (response) => {
        let text = '';
        response.on('data', (part) => (text += part));
        response.on('end', () => {
          const json = response.headers['content-type']?.startsWith('application/json');
          resolve({ status: response.statusCode, headers: response.headers, body: json ? JSON.parse(text) : text });
        });
      })
      .on('error', reject)
      .end(content);
  });
/** All answers to everything that was said, and what comes of these in turn. */
const settled = async (clients) => {
  for (let round = 0; round < 3; round++) await Promise.all(clients.map((client) => client.settle()));
};
const finish = async (clients) => {
  for (const closed of await Promise.all(clients.map((client) => client.end()))) assert.equal(closed.code, 1000);
};
/** What `from` sent, in order. */
const sent = (from) => Array.from({ length: MESSAGES }, (_, n) => ({ from, n, text: 'κόσμε 🦀' }));
/** Everybody hears each of these, in the order of each sender. */
const heard_all = (got, senders) => {
  assert.equal(got.length, senders.length * MESSAGES);
  for (const from of senders) assert.deepEqual(got.filter((data) => data.from === from), sent(from));
};

await Promise.all([
  report.check('smartsocket-a', smartsocket_a),
  report.check('smartsocket-b', smartsocket_b),
  report.check('smartsocket-b-ack-of-everybodys', smartsocket_b_asks_everybody),
  report.check('rnode', rnode),
  report.check('rnode-reconnect', rnode_reconnect),
  report.check('ignis', ignis),
  report.check('ignis-late', ignis_late),
  report.check('mb', mb),
  report.check('http', requests),
]);
await report.check('figures', figures);
report.exit();

async function smartsocket_a() {
  const fired = [];
  const clients = each((i) => {
    const client = new GenerationA(place('/'), options(i));
    client.listen('connected', () => fired.push(i));
    return client;
  });
  await Promise.all(clients.map((client) => client.open()));
  assert.equal(fired.length, CLIENTS);
  const names = clients.map((_, i) => `a${i}`);
  const heard = clients.map((client) => {
    const said = [];
    client.listen('say', (data) => said.push(data));
    return said;
  });
  for (const client of clients) assert.deepEqual(await client.ask('join', { room: 'a' }), { success: true });
  await Promise.all(
    clients.map(async (client, i) => {
      const answers = sent(names[i]).map((data) => client.ask('say', { room: 'a', data }));
      for (const answer of await Promise.all(answers)) assert.deepEqual(answer, { success: true });
    }),
  );
  await settled(clients);
  for (const said of heard) heard_all(said, names);

  // What one asks, all hear: the id is none of their business.
  const everybody = clients.map((client) => {
    const all = [];
    client.listen('message', (data) => all.push(data));
    return all;
  });
  const answers = clients.map((client, i) => client.ask('message', { hello: names[i] }));
  for (const answer of await Promise.all(answers)) assert.deepEqual(answer, { success: true });
  await settled(clients);
  for (const all of everybody) {
    assert.equal(all.length, CLIENTS);
    assert.deepEqual(
      all.map((data) => JSON.stringify(data)).sort(),
      names.map((hello) => JSON.stringify({ hello })),
    );
  }

  assert.deepEqual(await clients[0].ask('leave', { room: 'a' }), { success: true });
  assert.deepEqual(await clients[0].ask('say', { room: 'a', data: 1 }), { success: false });
  // A text is spread into an object.
  assert.deepEqual(await clients[1].ask('echo', 'hi'), { 0: 'h', 1: 'i' });
  for (const client of clients) assert.deepEqual(client.received.filter(({ event }) => event === 'error'), []);
  await finish(clients);
}

async function smartsocket_b() {
  const clients = each((i) => {
    const dialect = i % 2 === 0 ? 'path' : 'query';
    return new GenerationB(GenerationB.address(place('/'), '/chat', dialect), options(i));
  });
  await Promise.all(clients.map((client) => client.open()));
  const names = clients.map((_, i) => `b${i}`);
  const mine = (client) =>
    client.received.filter(({ event, data }) => event === 'message' && data.from).map(({ data }) => data);
  // All in all more than one may send in a minute: what is sent back does not count.
  clients.forEach((client, i) => sent(names[i]).forEach((data) => client.send('message', data)));
  await Promise.all(
    clients.map((client) => client.until('all was heard', () => mine(client).length >= CLIENTS * MESSAGES)),
  );
  const answers = clients.map((client) => client.ask('save-data', { name: 'J' }));
  for (const answer of await Promise.all(answers)) {
    const { _ackId: id, ...rest } = answer;
    assert.equal(id, 1);
    assert.deepEqual(rest, { success: true });
  }
  await settled(clients);
  for (const client of clients) {
    heard_all(mine(client), names);
    assert.deepEqual(client.received.filter(({ event }) => event !== 'message' && event !== 'save-data'), []);
  }
  const elsewhere = new GenerationB(GenerationB.address(place('/'), '/nowhere', 'query'), { ca });
  await assert.rejects(elsewhere.open(), /404/);
  await finish(clients);
}

/** Clients that send back what they hear, and ask what all hear. */
async function smartsocket_b_asks_everybody() {
  const clients = each((i) => new GenerationB(place('/chat'), options(i)));
  await Promise.all(clients.map((client) => client.open()));
  const answers = clients.map((client, i) => client.ask('message', { asks: i }));
  const expected = { _ackId: 1, success: true };
  for (const answer of await Promise.all(answers)) assert.deepEqual(answer, expected);
  await settled(clients);
  for (const client of clients) {
    const heard = client.received.filter(({ data }) => data?.asks !== undefined).map(({ data }) => data);
    assert.equal(heard.length, CLIENTS);
    assert.deepEqual(heard.map(({ asks }) => asks).sort(), Object.keys(answers).map(Number));
    for (const data of heard) assert.deepEqual(Object.keys(data), ['asks']);
  }
  await finish(clients);
}

async function made_room(fields) {
  const { status, body } = await ask('POST', '/websocket/rooms', fields);
  assert.equal(status, 200);
  assert.match(body.roomId, /^room_[0-9a-f]{32}$/);
  return body.roomId;
}

async function rnode() {
  const clients = each((i) => new RNode(place('/rnode'), `client ${i} ü/&=?`, { pongTimeout: 5_000, ...options(i) }));
  await Promise.all(clients.map((client) => client.open()));
  for (const client of clients) {
    const [welcome] = await client.until('it was welcome', () => client.of('welcome').length && client.of('welcome'));
    assert.equal(welcome.client_id, client.clientId);
    assert.equal(welcome.path, '/rnode');
    client.id = welcome.connection_id;
    // Without it, it would leave: "No ping from server".
    await client.until('its pong was acknowledged', () => client.pings === 1 && client.acknowledged === 1);
  }
  const twin = new RNode(place('/rnode'), clients[0].clientId, { ca });
  twin.returns = false;
  await assert.rejects(twin.open(), /409/);

  const room = await made_room({ name: 'live', maxConnections: CLIENTS });
  for (const client of clients) {
    client.joinRoom(room);
    await client.until('it joined', () => client.of('room_joined').length === 1);
  }
  const extra = await new RNode(place('/rnode'), 'one too many', { ca }).open();
  extra.joinRoom(room);
  const full = await extra.until('it was refused', () => extra.of('error')[0]);
  assert.equal(full.error_type, 'room_full');

  clients.forEach((client) => sent(client.clientId).forEach(({ n }) => client.sendToRoom(room, `message ${n}`)));
  const message = (await ask('POST', `/websocket/rooms/${room}/message`, { message: 'of the server' })).body;
  assert.deepEqual(message, { success: true });
  await Promise.all(
    clients.map((client) =>
      client.until('all was heard', () => client.of('room_message').length === CLIENTS * MESSAGES + 1),
    ),
  );
  clients.forEach((client, i) => client.sendDirect(clients[(i + 1) % CLIENTS].clientId, `from ${i}`));
  clients.forEach((client) => client.send({ text: 'anything' }));
  await settled([...clients, extra]);
  for (const [i, client] of clients.entries()) {
    for (const from of clients.map((client) => client.clientId)) {
      const of = client.of('room_message').filter((message) => message.from_client_id === from);
      assert.deepEqual(of.map((message) => message.message), sent(from).map(({ n }) => `message ${n}`));
    }
    const before = (i + CLIENTS - 1) % CLIENTS;
    const [direct, ...more] = client.of('direct_message');
    assert.deepEqual(more, []);
    assert.equal(direct.message, `from ${before}`);
    assert.equal(direct.from_client_id, clients[before].clientId);
    const [ack] = client.of('message_ack');
    assert.deepEqual(JSON.parse(ack.message).data, { text: 'anything' });
    assert.equal(JSON.parse(ack.message).room_id, room);
    assert.equal(client.of('error').length, 0);
  }
  assert.equal(extra.of('room_message').length, 0);

  const [first] = clients;
  first.leaveRoom();
  await first.until('it left', () => first.of('room_left').length === 1);
  extra.joinRoom(room);
  await extra.until('there was a place', () => extra.of('room_joined').length === 1);
  for (const client of [...clients, extra]) assert.deepEqual((await client.disconnect()).code, 1000);
}

async function rnode_reconnect() {
  const room = await made_room({ name: 'again' });
  const client = new RNode(place('/rnode'), 'comes back', { reconnectDelay: 50, ca });
  await client.open();
  client.joinRoom(room);
  await client.until('it joined', () => client.of('room_joined').length === 1);
  client.socket.terminate();
  await client.until('it was back', () => client.reconnections === 1 && client.of('room_joined').length === 2);
  const [before, after] = client.of('welcome');
  assert.equal(after.client_id, 'comes back');
  assert.notEqual(after.connection_id, before.connection_id);
  client.sendToRoom(room, 'here');
  await client.until('it was heard', () => client.of('room_message').length === 1);
  const { body } = await ask('GET', `/websocket/rooms/${room}`);
  assert.deepEqual(body.room.connections, [after.connection_id]);
  await client.disconnect();
}

async function ignis() {
  const clients = each((i) => new Ignis(place('/ws'), 'dev', { heartbeat: 1_000, ...options(i) }));
  await Promise.all(clients.map((client) => client.open()));
  await Promise.all(clients.map((client) => client.authenticated()));
  assert.equal(new Set(clients.map((client) => client.id)).size, CLIENTS);
  clients.forEach((client) => client.join('all', 'ws:internal', client.id));
  await settled(clients);
  const names = clients.map((_, i) => `i${i}`);
  clients.forEach((client, i) => sent(names[i]).forEach((data) => client.send('say', { room: 'all', data })));
  await Promise.all(
    clients.map((client) => client.until('all was heard', () => client.received.length >= CLIENTS * MESSAGES)),
  );
  clients.forEach((client) => client.send('say', { room: 'ws:internal', data: 'no' }));
  clients[0].leave('all');
  clients[0].send('say', { room: 'all', data: 'no' });
  clients[1].send('heartbeat');
  await settled(clients);
  for (const client of clients) {
    heard_all(client.received.map(({ event, data }) => event === 'say' && data), names);
    assert.deepEqual(client.errors, []);
  }
  clients[2].send('authenticate', { token: 'dev' });
  clients[2].write('no json');
  await settled(clients);
  assert.deepEqual(clients[2].errors, ['Already authenticated', 'Invalid message format']);
  await finish(clients);

  const wrong = new Ignis(place('/ws'), 'wrong', { ca });
  await wrong.open();
  while (!wrong.closed) await once(wrong, 'change');
  assert.deepEqual(wrong.closed, { code: 4003, reason: 'Authentication failed' });
  assert.deepEqual(wrong.errors, ['Authentication failed']);
}

async function ignis_late() {
  const silent = new Ignis(place('/ws'), undefined, { ca });
  await silent.open();
  silent.send('say', { room: 'all', data: 'no' });
  while (!silent.closed) await once(silent, 'change');
  assert.deepEqual(silent.closed, { code: 4001, reason: 'Authentication timeout' });
  assert.deepEqual(silent.errors, ['Not authenticated']);
}

async function mb() {
  const services = each((i) => new Service(place('/mb'), options(i)));
  await Promise.all(services.map((service) => service.open()));
  for (const service of services) await service.until('it was greeted', () => service.initialized);
  const success = { status: 'success' };
  for (const service of services) assert.deepEqual(await service.subscribe('events.live'), success);
  const [adder, failing, silent, ...rest] = services;
  await adder.serve('math.add', ({ a, b }) => ({ sum: a + b }));
  await failing.serve('math.fail', () => {
    throw new Error('no');
  });
  await silent.serve('math.think', () => undefined);

  const names = services.map((_, i) => `m${i}`);
  await Promise.all(
    services.map(async (service, i) => {
      const published = sent(names[i]).map((data) => service.publish('events.live', data));
      for (const answer of await Promise.all(published)) assert.deepEqual(answer, success);
    }),
  );
  await Promise.all(
    rest.map(async (service, i) => {
      const asked = Array.from({ length: MESSAGES }, (_, n) => service.request('Math.Add', { a: i, b: n }, 10_000));
      (await Promise.all(asked)).forEach(({ sum }, n) => assert.equal(sum, i + n));
      await assert.rejects(service.request('math.fail', {}), { code: 'INTERNAL_ERROR', message: 'no' });
      await assert.rejects(service.request('math.think', {}, 200), { code: 'TIMEOUT', message: 'Request timed out' });
      await assert.rejects(service.request('math.none', {}), { code: 'NO_ROUTE_FOUND' });
      await assert.rejects(service.publish('events.none', {}), { code: 'NO_ROUTE_FOUND' });
    }),
  );
  assert.deepEqual(await adder.unsubscribe('events.live'), success);
  rest[0].tell('events.live', { from: 'late' });
  await settled(services);
  for (const service of services) {
    const late = service === adder ? [] : [{ from: 'late' }];
    const got = service.received.map(({ payload }) => payload);
    assert.deepEqual(got.filter(({ from }) => from === 'late'), late);
    heard_all(got.filter(({ from }) => from !== 'late'), names);
    assert.deepEqual(await service.request('system.heartbeat', {}), success);
  }
  await finish(services);
}

async function requests() {
  const client = await new RNode(place('/rnode'), 'of the API', { ca }).open();
  const { connection_id: id } = await client.until('it was welcome', () => client.of('welcome')[0]);
  const room = await made_room({ name: 'of the API', description: 'a test', maxConnections: 3 });
  const get = async (path) => {
    const answer = await ask('GET', path);
    assert.match(answer.headers['content-type'], /^application\/json/);
    return answer;
  };
  const post = async (action, body) => (await ask('POST', `/websocket/rooms/${room}/${action}`, body)).body;
  assert.deepEqual(await post('join', { connectionId: id }), { success: true });
  await client.until('it was let in', () => client.of('room_joined')[0]?.room_id === room);
  assert.deepEqual(await post('message', { message: 'hi' }), { success: true });
  assert.equal((await client.until('it was told', () => client.of('room_message')[0])).message, 'hi');

  const { body: one } = await get(`/websocket/rooms/${room}`);
  const { createdAt, ...facts } = one.room;
  assert.ok(Math.abs(Date.now() - Date.parse(createdAt)) < 60_000, createdAt);
  assert.deepEqual(facts, {
    id: room,
    name: 'of the API',
    description: 'a test',
    maxConnections: 3,
    connections: [id],
    connectionsCount: 1,
    metadata: {},
  });
  const { body: all } = await get('/websocket/rooms');
  assert.equal(all.count, all.rooms.length);
  assert.deepEqual(all.rooms.find((other) => other.id === room), one.room);
  const { body: of } = await get(`/websocket/clients/${id}`);
  assert.equal(of.client.clientId, 'of the API');
  assert.equal(of.client.roomId, room);
  const { body: rooms } = await get(`/websocket/clients/${id}/rooms`);
  assert.deepEqual(rooms, { success: true, rooms: [one.room], count: 1 });

  assert.deepEqual(await post('leave', { connectionId: id }), { success: true });
  await client.until('it was let out', () => client.of('room_left')[0]);
  for (const path of ['/websocket/rooms/room_0', '/websocket/clients/nobody', '/websocket/clients/nobody/rooms'])
    assert.equal((await get(path)).status, 404, path);
  for (const action of ['join', 'leave', 'message']) assert.equal((await post(action, {})).success, false, action);
  const { status, headers } = await ask('DELETE', '/websocket/rooms');
  assert.equal(status, 405);
  assert.match(headers.allow, /POST/);
  // A page of elsewhere gets nothing.
  const foreign = await ask('GET', '/websocket/rooms', undefined, { origin: 'http://evil.example' });
  assert.equal(foreign.status, 403);
  await client.disconnect();
}

/** After all that, what the server says of it. */
async function figures() {
  const poll = await ask('GET', '/smartsocket/poll?t=1');
  assert.equal(poll.status, 200);
  assert.deepEqual(poll.body, {
    status: 'ok',
    message: 'SmartSocket HTTP Fallback Active',
    upgrade: 'Use WebSocket for better performance',
  });
  let stats;
  // The last of them may still be on its way out.
  do ({ body: stats } = await ask('GET', '/smartsocket/stats'));
  while (stats.connections !== 0);
  assert.match(stats.uptime, /^\d+\.\d\ds$/);
  assert.ok(stats.stats.messagesProcessed > CLIENTS * MESSAGES * 4, JSON.stringify(stats.stats));
  assert.equal(stats.stats.rateLimitedRequests, 0);
  const { body: json } = await ask('GET', '/metrics');
  assert.equal(typeof json.websocket.rooms, 'number');
  assert.ok(json.websocket.messages > CLIENTS * MESSAGES * 4);
  const text = await ask('GET', '/metrics', undefined, { accept: 'text/plain' });
  assert.match(text.headers['content-type'], /^text\/plain; version=0\.0\.4/);
  const figures = text.body.trimEnd().split('\n');
  const same = (await ask('GET', '/metrics/prometheus')).body.trimEnd().split('\n');
  const names = (lines) => lines.map((line) => line.replace(/ [^ ]+$/, ''));
  assert.deepEqual(names(same), names(figures));
  for (const line of figures)
    assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[^}]*\})? -?[\d.e+]+|[a-z_]+(\{[^}]*\})? \+Inf)$/);
  const { body: health } = await ask('GET', '/healthz');
  assert.equal(health.status, 'ok');
}
