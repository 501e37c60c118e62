// Engine.IO on Node, without Socket.IO: `node node_engineio.mjs PORT`. Who
// connects with `sub` in the query gets what the others send.

import { createServer } from 'node:http'
import { Server } from 'engine.io'

const engine = new Server({
    transports: ['websocket'],
    // The load generator is asked for no sign of life.
    pingInterval: 3_600_000,
})
const http = createServer()
engine.attach(http)
const subscribers = new Set()
engine.on('connection', (socket) => {
    if (socket.request._query.sub !== undefined) {
        subscribers.add(socket)
        socket.on('close', () => subscribers.delete(socket))
        return
    }
    socket.on('message', (data) => {
        for (const subscriber of subscribers) subscriber.send(data)
    })
})
http.listen(Number(process.argv[2]), '127.0.0.1')
