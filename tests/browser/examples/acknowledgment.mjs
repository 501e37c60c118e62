// Client waits up to 30 seconds for server to respond
const client = new SmartSocketClient('ws://localhost:3000', {
  ackTimeout: 30000, // 30 seconds in milliseconds
});

client.emit('save-data', { name: 'John' }, (ack) => {
  if (ack) {
    console.log('Server responded:', ack);
  } else {
    console.error('Server did not respond in time');
  }
  client.disconnect();
});

await client.connect();
