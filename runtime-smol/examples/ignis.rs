//! Ignis's WebSocketServerHelper: authentication, rooms, users, delivery.
//!
//! `cargo run --release -p smartsocket-smol --example ignis`

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use smartsocket_smol::hub::{Auth, Heartbeat, Identity, Route};
use smartsocket_smol::{Json, Server, block_on};

#[derive(Deserialize)]
struct Credentials {
    token: String,
}

fn main() -> std::io::Result<()> {
    let mut route = Route::ignis("/ws");
    // defaultRooms, authTimeout, heartbeatInterval and heartbeatTimeout,
    // serverOptions.maxPayloadLength: these are the defaults.
    route.default_rooms = vec!["ws-default".into(), "ws-notification".into()];
    route.auth = Auth::Message {
        timeout: Duration::from_millis(5_000),
    };
    route.heartbeat = Heartbeat::Passive {
        sweep: Duration::from_millis(30_000),
        timeout: Duration::from_millis(90_000),
    };
    route.websocket.max_message = 131_072;
    let server = Server::builder()
        .route(route, |helper| {
            // authenticateFn
            helper.authenticate(async |_, data| {
                let credentials: Credentials = data.to().ok()?;
                let user = credentials.token.strip_prefix("user:")?;
                Some(Identity {
                    user: Some(user.into()),
                    metadata: Json::from_value(&json!({ "role": "member" })).ok(),
                })
            });
            // validateRoomFn: the allowed subset
            helper.validate_rooms(async |_, mut rooms| {
                rooms.retain(|room| room.starts_with("public-"));
                rooms
            });
            // clientConnectedFn, clientDisconnectedFn
            helper.on_connected(async |client| {
                println!("{} is {:?}", client.id(), client.user());
            });
            helper.on_disconnected(async |client, gone| {
                println!("{} is gone: {}", client.id(), gone.closed);
            });
            // messageHandler
            helper.on_any(async |client, message, _| {
                let data = message.data.unwrap_or(Json::NULL);
                // sendToClient, sendToUser, sendToRoom, broadcast
                let io = client.io();
                let _ = io.to(client.id()).emit("you-said", data.clone());
                if let Some(user) = client.user() {
                    let _ = io.user(user).emit("one-of-you-said", data.clone());
                }
                let others = io.room("/ws", "ws-default").except(client.id());
                let _ = others.emit("somebody-said", data);
            });
        })
        .stop_on_signals()
        .bind("127.0.0.1:3000")?;
    block_on(server.run())
}
