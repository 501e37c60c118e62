// ws on Node: `node node_ws.mjs PORT [--deflate]`. ws itself uses bufferutil
// where that is there.

import { WebSocketServer } from 'ws'

const [port, ...options] = process.argv.slice(2)
const server = new WebSocketServer({
    host: '127.0.0.1',
    port: Number(port),
    maxPayload: 64 << 20,
    perMessageDeflate: options.includes('--deflate'),
})
server.on('connection', (ws) => {
    ws.on('message', (data, binary) => ws.send(data, { binary }))
    // The load generator ends its connections without a word.
    ws.on('error', () => {})
})
