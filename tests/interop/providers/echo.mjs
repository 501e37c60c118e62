// An echo server, of npm `ws`; with TLS where TLS_CHAIN and TLS_KEY are set (PEM).

import { WebSocketServer } from 'ws';
import http from 'node:http';
import https from 'node:https';
import { main, news, tell } from './support.mjs';

await main({
  async serve() {
    const { TLS_CHAIN: cert, TLS_KEY: key } = process.env;
    const server = cert ? https.createServer({ cert, key }) : http.createServer();
    const sockets = new WebSocketServer({ server, perMessageDeflate: true });
    sockets.on('connection', (ws) => {
      tell('in', 'anybody');
      ws.on('message', (data, binary) => {
        if (!binary) tell('said', JSON.parse(data).text);
        ws.send(data, { binary });
      });
    });
    const push = (text) => sockets.clients.forEach((ws) => ws.send(JSON.stringify(news(text))));
    return { server, commands: { push } };
  },
});
