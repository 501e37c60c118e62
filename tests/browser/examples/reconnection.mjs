const client = new SmartSocketClient('ws://localhost:3000', {
  reconnectDelay: 10,
  maxReconnectAttempts: 2,
});

client.on('connected', () => {
  console.log('Connected!');
});

client.on('disconnected', () => {
  console.log('Disconnected, will reconnect...');
});

client.on('error', (error) => {
  console.log('Connection error:', error.message);
});

// Custom: track reconnection attempts
let attempts = 0;
const originalConnect = client.connect.bind(client);
client.connect = async function () {
  try {
    await originalConnect();
    attempts = 0;
  } catch (err) {
    attempts++;
    if (attempts >= this.maxReconnectAttempts) {
      console.log('Max reconnection attempts reached');
    }
    throw err;
  }
};

await client.connect();
