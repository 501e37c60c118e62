//! Ignis's WebSocketServerHelper: authentication, rooms, users, delivery.
//!
//! `cargo run --release -p smartsocket-std --example ignis`

use serde::Deserialize;
use serde_json::json;
use smartsocket_std::deflate::Deflate;
use smartsocket_std::dialect::ignis::{ClientState, Event, MessageType, channels, defaults};
use smartsocket_std::hub::{Auth, ClientId, Encryption, Heartbeat, Identity, Route, UserId};
use smartsocket_std::realtime::{Io, Routes};
use smartsocket_std::{Json, Server};

fn main() -> std::io::Result<()> {
    constants();
    let helper = Server::builder()
        .route(options(), callbacks)
        // shutdown(), on a signal
        .stop_on_signals()
        .bind("127.0.0.1:3000")?;
    // configure() and start
    helper.run()
}

/// IWebSocketServerOptions, with the defaults.
fn options() -> Route {
    let mut route = Route::ignis(defaults::PATH);
    route.default_rooms = vec![defaults::ROOM.into(), defaults::NOTIFICATION_ROOM.into()];
    route.auth = Auth::Message {
        timeout: defaults::AUTH_TIMEOUT,
    };
    route.heartbeat = Heartbeat::Passive {
        sweep: defaults::HEARTBEAT_INTERVAL,
        timeout: defaults::HEARTBEAT_TIMEOUT,
    };
    // serverOptions: perMessageDeflate, maxPayloadLength, backpressureLimit;
    // idleTimeout is a ping and the time for its pong
    route.websocket.deflate = Some(Deflate::default());
    route.websocket.max_message = defaults::MAX_PAYLOAD_LENGTH;
    route.outbox.max_bytes = defaults::BACKPRESSURE_LIMIT;
    let idle_timeout = defaults::IDLE_TIMEOUT;
    route.websocket.ping_interval = Some(idle_timeout - route.websocket.pong_timeout);
    // handshakeFn is built in; requireEncryption
    route.encryption = Some(Encryption {
        required: false,
        ..Encryption::exchange()
    });
    route
}

#[derive(Deserialize)]
struct Credentials {
    token: String,
}

fn callbacks(helper: &mut Routes) {
    // authenticateFn
    helper.authenticate(|_, data| {
        let credentials: Credentials = data.to().ok()?;
        let user = credentials.token.strip_prefix("user:")?;
        Some(Identity {
            user: Some(user.into()),
            metadata: Json::from_value(&json!({ "role": "member" })).ok(),
        })
    });
    // validateRoomFn: the allowed subset
    helper.validate_rooms(|_, rooms| {
        let allowed = rooms.iter().filter(|room| room.starts_with("public-"));
        allowed.cloned().collect()
    });
    // clientConnectedFn, clientDisconnectedFn
    helper.on_connected(|client| {
        println!("{} is {:?}", client.id(), client.user());
        // joinRoom, leaveRoom
        let _ = client.join("lobby");
        client.leave("lobby");
        // What follows passes the transformer.
        client.transform();
    });
    helper.on_disconnected(|client, gone| {
        println!("{} is gone: {}", client.id(), gone.closed);
    });
    // messageHandler
    helper.on_any(|client, message, _| {
        deliver(
            client.io(),
            client.id(),
            client.user(),
            message.data.unwrap_or(Json::NULL),
        );
    });
    // outboundTransformer: None leaves it as it is
    helper.transform(|client, event, data| {
        let data = json!({ "for": client.id().to_string(), "data": data });
        Some((event.clone(), Json::from_value(&data).ok()))
    });
}

/// `sendToClient` to `broadcast`, which is also what `send` does by its
/// destination; and the accessors.
fn deliver(helper: &Io, client: ClientId, user: Option<UserId>, data: Json) {
    let _ = helper.to(client).emit("you-said", &data);
    if let Some(user) = user {
        println!("on {} devices", helper.clients_of(&user).len()); // getClientsByUser
        let _ = helper.user(user).emit("one-of-you-said", &data);
    }
    let others = helper.room("/ws", defaults::ROOM).except(client);
    let _ = others.emit("somebody-said", &data);
    let _ = helper.broadcast("said", data);
    // getClients, getClientsByRoom
    let in_room = helper.room_info("/ws", defaults::ROOM);
    let in_room = in_room.map_or(0, |room| room.connections_count);
    println!("{in_room} of {} clients", helper.clients().len());
}

/// WebSocketEvents, WebSocketChannels, WebSocketMessageTypes and
/// WebSocketClientStates; WebSocketDefaults are `defaults`.
fn constants() {
    assert!(Event::is_valid("authenticate") && !Event::is_valid("invalid"));
    assert_eq!(Event::Authenticate.as_str(), "authenticate");
    assert_eq!(channels::for_room("lobby"), "ws:room:lobby");
    assert_eq!(channels::for_client("c1"), "ws:client:c1");
    assert_eq!(channels::for_user("u1"), "ws:user:u1");
    assert!(MessageType::is_valid("room"));
    assert!(ClientState::is_valid("authenticated"));
    assert_eq!(ClientState::ALL.len(), 4);
}
