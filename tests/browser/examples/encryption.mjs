const client = new SmartSocketClient('ws://localhost:3000', {
  enableEncryption: true,
  encryptionKey: process.env.ENCRYPTION_KEY, // MUST match server
});

client.on('error', (error) => {
  console.error('Connection error:', error.message);
});

try {
  await client.connect();
  console.log('Connected');
  client.disconnect();
} catch {
  console.log(client.state);
}
