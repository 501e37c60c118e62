const logger = require('smartsocket-client/logger');
logger.setLevel('debug');

const client = new SmartSocketClient('ws://localhost:3000');
client.connect().then(() => {
  client.emit('message', { text: 'Hello' });
  client.once('message', () => client.disconnect());
});
