// What the examples take for given, as a page that loaded the client has it: its name, and a
// server at localhost:3000 (which is where HOST says).

import SmartSocketClient from 'smartsocket-client';
import { WebSocket } from 'ws';

globalThis.SmartSocketClient = SmartSocketClient;
globalThis.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url.replace('localhost:3000', process.env.HOST));
  }
};
