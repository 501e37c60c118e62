const client = new SmartSocketClient('ws://localhost:3000', {
  reconnectDelay: 5000, // Longer initial delay
  maxReconnectAttempts: 20, // More attempts
  ackTimeout: 60000, // Longer timeout
});

if (typeof WebSocket !== 'undefined') {
  await client.connect();
  console.log(client.connected, client.maxReconnectAttempts);
  client.data.user = 'John';
  client.disconnect();
  console.log(client.connected, client.data);
} else {
  console.error('Please upgrade your browser');
}
