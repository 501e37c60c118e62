const client = new SmartSocketClient('ws://localhost:3000', {
  namespace: '/chat',
  enableEncryption: true,
  encryptionKey: process.env.ENCRYPTION_KEY,
  apiKey: 'your-api-key',
  reconnectDelay: 2000,
  maxReconnectAttempts: 15,
  ackTimeout: 60000,
});

await client.connect();
console.log('Connected');

client.emit('message', { text: 'Hello' }, (ack) => {
  console.log('Server responded:', ack);
  client.off('event-name');
  client.disconnect();
});
