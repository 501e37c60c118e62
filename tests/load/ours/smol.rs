//! Events and fan-out on smol: `realtime-smol PORT`.

use ours::ROOM;
use serde_json::json;
use smartsocket_smol::realtime::Routes;
use smartsocket_smol::{Message, Server, block_on};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder()
        .max_connections(ours::CONNECTIONS)
        .route(ours::events(), events)
        .route(ours::subscribers(), |_| {})
        .route(ours::publishers(), |routes| {
            routes.on_binary(async |socket, data| {
                socket.io().send_room("/sub", ROOM, Message::Binary(data));
            });
        })
        .bind(ours::address()?)?;
    block_on(server.run())?;
    Ok(())
}

fn events(routes: &mut Routes) {
    routes.on("echo", async |_, data, ack| {
        let _ = ack.send(data);
    });
    routes.on("event", async |socket, data, _| {
        let _ = socket.emit("event", data);
    });
    routes.on("join", async |socket, _, ack| {
        let joined = socket.join(ROOM).is_ok();
        let _ = ack.send(json!({ "success": joined }));
    });
    routes.on("leave", async |socket, _, ack| {
        let left = socket.leave(ROOM);
        let _ = ack.send(json!({ "success": left }));
    });
    routes.on("publish", async |socket, data, _| {
        let _ = socket.io().room("/", ROOM).emit("publish", data);
    });
    routes.on("heard", async |_, _, _| {});
}
