const client = new SmartSocketClient('ws://localhost:3000');

client.on('__rate-limited__', (info) => {
  console.log('Rate limited:', info.message);
  client.disconnect();
});

await client.connect();
for (let i = 0; i < 150; i++) client.emit('message', { text: 'Hello' });
