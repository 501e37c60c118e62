//! socketioxide: `socketioxide PORT`.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use peers::{Failure, Options, serve};
use serde_json::{Value, json};
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::{SocketIo, TransportType};

/// The room that everybody meets in.
const ROOM: &str = "lobby";

fn main() -> Result<(), Failure> {
    let (service, io) = SocketIo::builder()
        .transports([TransportType::Websocket])
        // The load generator gives no sign of life.
        .ping_interval(Duration::from_secs(3_600))
        .ping_timeout(Duration::from_secs(3_600))
        .build_svc();
    io.ns("/", connected);
    serve(Options::read()?, move |stream| {
        let service = service.clone();
        async move {
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await?;
            Ok(())
        }
    })
}

async fn connected(socket: SocketRef) {
    socket.on("echo", async |Data(data): Data<Value>, ack: AckSender| {
        let _ = ack.send(&data);
    });
    socket.on(
        "event",
        async |socket: SocketRef, Data(data): Data<Value>| {
            let _ = socket.emit("event", &data);
        },
    );
    socket.on("join", async |socket: SocketRef, ack: AckSender| {
        socket.join(ROOM);
        let _ = ack.send(&json!({ "success": true }));
    });
    socket.on("leave", async |socket: SocketRef, ack: AckSender| {
        socket.leave(ROOM);
        let _ = ack.send(&json!({ "success": true }));
    });
    socket.on(
        "publish",
        async |socket: SocketRef, Data(data): Data<Value>| {
            let _ = socket.within(ROOM).emit("publish", &data).await;
        },
    );
    socket.on("heard", async || {});
}
