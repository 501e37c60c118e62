// Compiled, not run: what programs in TypeScript may say.

import SmartSocketClient, { SmartSocketError, type Options, type State } from 'smartsocket-client';
import logger, { setLevel } from 'smartsocket-client/logger';

const options: Options = {
  namespace: '/chat',
  namespaceBy: 'connect',
  enableEncryption: 'exchange',
  encryptionKey: process.env.ENCRYPTION_KEY,
  apiKey: undefined,
  reconnectDelay: 2000,
  WebSocket,
};
const client = new SmartSocketClient('ws://localhost:3000', options);
client
  .on('connected', () => {})
  .on('disconnected', ({ code, reason, error }) => console.log(code.toFixed(), reason.length, error?.code))
  .on('error', (error) => console.log(error instanceof SmartSocketError, error.message))
  .on('state:changed', (state: State, previous: State) => console.log(state, previous))
  .on('reconnect:attempt', ({ attempt, delay }) => console.log(attempt + delay))
  .on('message:dropped', ({ event, reason }) => console.log(event, reason === 'queue full'))
  .on('__rate-limited__', ({ retryAfter }) => console.log(retryAfter.toFixed()))
  .on('message', (data: { text: string }, reply) => reply?.(data.text))
  .once('question', async () => 42)
  .off('question');
const sent: boolean = client.emit('message', { text: 'Hello' }, (answer, error) => console.log(answer, error?.code), 500);
const answer: Promise<{ id: number }> = client.emitWithAck('save');
client.data.user = 1;
client.onAny = (event, data) => console.log(event.length, data);
logger.setLevel('debug');
setLevel('trace');
SmartSocketClient.logger.level = 'info';
await client.connect();
client.disconnect();
console.log(sent, answer, client.connected, client.state, client.id?.length, client.queued);

// @ts-expect-error: no such option
new SmartSocketClient('ws://h', { reconectDelay: 1 });
// @ts-expect-error: no such way
new SmartSocketClient('ws://h', { namespaceBy: 'query' });
// @ts-expect-error: no such way either
new SmartSocketClient('ws://h', { enableEncryption: 'always' });
// @ts-expect-error: it is told, not set
client.connected = true;
// @ts-expect-error: no such level
setLevel('loud');

declare const process: { env: Record<string, string | undefined> };
