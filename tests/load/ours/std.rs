//! Events and fan-out on threads: `realtime-std PORT`.

use ours::ROOM;
use serde_json::json;
use smartsocket_core::Message;
use smartsocket_std::Server;
use smartsocket_std::realtime::Routes;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder()
        .max_connections(ours::CONNECTIONS)
        .route(ours::events(), events)
        .route(ours::subscribers(), |_| {})
        .route(ours::publishers(), |routes| {
            routes.on_binary(|socket, data| {
                socket.io().send_room("/sub", ROOM, Message::Binary(data));
            });
        })
        .bind(ours::address()?)?;
    server.run()?;
    Ok(())
}

fn events(routes: &mut Routes) {
    routes.on("echo", |_, data, ack| {
        let _ = ack.send(data);
    });
    routes.on("event", |socket, data, _| {
        let _ = socket.emit("event", data);
    });
    routes.on("join", |socket, _, ack| {
        let joined = socket.join(ROOM).is_ok();
        let _ = ack.send(json!({ "success": joined }));
    });
    routes.on("leave", |socket, _, ack| {
        let left = socket.leave(ROOM);
        let _ = ack.send(json!({ "success": left }));
    });
    routes.on("publish", |socket, data, _| {
        let _ = socket.io().room("/", ROOM).emit("publish", data);
    });
    routes.on("heard", |_, _, _| {});
}
