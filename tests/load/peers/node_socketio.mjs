// Socket.IO on Node: `node node_socketio.mjs PORT`.

import { Server } from 'socket.io'

const room = 'lobby'
const io = new Server({
    transports: ['websocket'],
    // The load generator is asked for no sign of life.
    pingInterval: 3_600_000,
})
io.on('connection', (socket) => {
    socket.on('echo', (data, ack) => ack(data))
    socket.on('event', (data) => socket.emit('event', data))
    socket.on('join', (_, ack) => {
        socket.join(room)
        ack({ success: true })
    })
    socket.on('leave', (_, ack) => {
        socket.leave(room)
        ack({ success: true })
    })
    socket.on('publish', (data) => io.to(room).emit('publish', data))
    socket.on('heard', () => {})
})
io.listen(Number(process.argv[2]), { host: '127.0.0.1' })
