const client = new SmartSocketClient('ws://localhost:3000', {
  ackTimeout: 50,
});

await client.connect();

client.emit('save-data', { name: 'John' }, (ack) => {
  if (ack) {
    console.log('Server responded:', ack);
  } else {
    console.error('Server did not respond in time');
  }
  client.disconnect();
});
