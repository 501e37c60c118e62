// A server of npm `socket.io`.

import http from 'node:http';
import { Server } from 'socket.io';
import { TOKEN, main, news, tell } from './support.mjs';

await main({
  async serve() {
    const server = http.createServer();
    const io = new Server(server, {
      pingInterval: 400,
      pingTimeout: 5_000,
      connectTimeout: 5_000,
      connectionStateRecovery: { maxDisconnectionDuration: 60_000 },
    });
    const sockets = new Set();
    io.use((socket, next) => {
      if (socket.handshake.auth.token === TOKEN) return next();
      next(Object.assign(new Error('not authorized'), { data: { code: 'E_TOKEN' } }));
    });
    io.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('disconnect', (reason) => {
        sockets.delete(socket);
        tell('left', reason);
      });
      tell('in', socket.recovered ? 'recovered' : 'new');
      socket.on('say', ({ text }) => tell('said', text));
      socket.on('ask', (data, ack) => ack({ asked: data }));
      socket.on('ask two', (_, ack) => ack('one', [2]));
      socket.on('ask bytes', (_, ack) => ack(Buffer.from([0, 255, 7])));
      socket.on('message', (data) => tell('bytes', Buffer.from(data).toString('hex')));
    });
    io.of('/chat').on('connection', (socket) => {
      tell('subscribed', '/chat');
      socket.on('say', ({ text }) => tell('said', text));
      socket.on('ask', (data, ack) => ack({ of: '/chat', asked: data }));
    });
    io.of('/closed').use((_, next) => next(new Error('members only')));
    return {
      server,
      commands: {
        push: (text) => io.of('/chat').emit('news', news(text)),
        main: (text) => io.emit('news', news(text)),
        bytes: (hex) => io.emit('bytes', Buffer.from(hex, 'hex')),
        mixed: (hex) => io.emit('mixed', { parts: [Buffer.from(hex, 'hex'), 'text'] }),
        question: (data) =>
          sockets.forEach((socket) =>
            socket.timeout(5_000).emit('question', JSON.parse(data), (error, answer) =>
              tell('answered', error ? error.message : JSON.stringify(answer)),
            ),
          ),
        // The wire breaks; the session stays.
        cut: () => sockets.forEach((socket) => socket.conn.transport.socket._socket.destroy()),
        kick: () => sockets.forEach((socket) => socket.disconnect()),
      },
    };
  },
});
