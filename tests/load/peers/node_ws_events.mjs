// Events and fan-out by hand on ws: `node node_ws_events.mjs PORT`. What is
// sent to /pub goes to all of /sub; elsewhere, JSON as SmartSocket has it.

import { WebSocketServer } from 'ws'

const server = new WebSocketServer({
    host: '127.0.0.1',
    port: Number(process.argv[2]),
    perMessageDeflate: false,
})
const subscribers = new Set()
const lobby = new Set()

function toAll(members, message, binary) {
    for (const member of members) member.send(message, { binary })
}

function emit(ws, event, data) {
    ws.send(JSON.stringify({ event, data }))
}

const handlers = {
    echo: (ws, data, ack) => ack(data),
    event: (ws, data) => emit(ws, 'event', data),
    join: (ws, data, ack) => {
        lobby.add(ws)
        ack({ success: true })
    },
    leave: (ws, data, ack) => {
        lobby.delete(ws)
        ack({ success: true })
    },
    publish: (ws, data) => toAll(lobby, JSON.stringify({ event: 'publish', data }), false),
    heard: () => {},
}

function onEvent(ws, message) {
    let { event, data } = JSON.parse(message)
    let ack = () => {}
    if (data?.__ackId !== undefined) {
        const { __ackId: ackId, ...rest } = data
        data = rest
        ack = (response) => emit(ws, '__ack__', { ackId, response })
    }
    handlers[event]?.(ws, data, ack)
}

server.on('connection', (ws, request) => {
    // The load generator ends its connections without a word.
    ws.on('error', () => {})
    const room = request.url === '/sub' ? subscribers : lobby
    ws.on('close', () => room.delete(ws))
    if (request.url === '/sub') room.add(ws)
    else if (request.url === '/pub') ws.on('message', (data) => toAll(subscribers, data, true))
    else ws.on('message', (data) => onEvent(ws, data))
})
