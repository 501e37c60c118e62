//! The realtime server that is treated badly, on each runtime.

use std::time::Duration;

use smartsocket_core::hub::{HubConfig, Route};

use crate::child::answer;

/// How long a request may take to arrive.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(2);
/// What may wait for one who does not read.
pub(crate) const OUTBOX: usize = 256 * 1024;

fn options(config: &mut HubConfig) {
    config.listener.handshake_timeout = Some(HANDSHAKE);
    config.max_connections = 20_000;
}

/// A route without limits of rate, and with less in the outbox than usual.
fn route() -> Route {
    let mut route = Route::smartsocket("/");
    route.rate = None;
    route.outbox.max_bytes = OUTBOX;
    route.websocket.deflate = None;
    route
}

/// Serves until it is killed.
pub(crate) fn serve(runtime: &str) {
    match runtime {
        "smol" => {
            let server = smartsocket_smol::Server::builder()
                .config(options)
                .route(route(), |routes| {
                    routes.on("echo", async |_, data, ack| ack.send(data).unwrap());
                    routes.on("join", async |socket, data, ack| {
                        let joined = socket.join(&data.to_text().unwrap());
                        ack.send(joined.is_ok()).unwrap();
                    });
                    routes.on("say", async |socket, data, _| {
                        socket.io().room("/", "room").emit("say", data).unwrap();
                    });
                })
                .bind("0.0.0.0:0")
                .unwrap();
            answer(server.local_addr().unwrap());
            smartsocket_smol::block_on(server.run()).unwrap();
        }
        _ => {
            let server = smartsocket_std::Server::builder()
                .config(options)
                .route(route(), |routes| {
                    routes.on("echo", |_, data, ack| ack.send(data).unwrap());
                    routes.on("join", |socket, data, ack| {
                        let joined = socket.join(&data.to_text().unwrap());
                        ack.send(joined.is_ok()).unwrap();
                    });
                    routes.on("say", |socket, data, _| {
                        socket.io().room("/", "room").emit("say", data).unwrap();
                    });
                })
                .bind("0.0.0.0:0")
                .unwrap();
            answer(server.local_addr().unwrap());
            server.run().unwrap();
        }
    }
}
