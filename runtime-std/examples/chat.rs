//! The SmartSocket routes of `smartsocket serve`, on threads: `echo`, `message`
//! to everybody, and rooms.
//!
//! `PORT=3000 cargo run --release -p smartsocket-std --example chat`, and with
//! `ENCRYPTION_KEY=...` for clients that have the key.

use std::env;
use std::error::Error;

use serde::Deserialize;
use serde_json::json;
use smartsocket_std::crypt::Key;
use smartsocket_std::hub::Encryption;
use smartsocket_std::realtime::Routes;
use smartsocket_std::{Json, Server};

#[derive(Deserialize)]
struct InRoom {
    room: String,
    #[serde(default = "null")]
    data: Json,
}

const fn null() -> Json {
    Json::NULL
}

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let key = env::var("ENCRYPTION_KEY").ok();
    let key = key.map(|key| key.parse::<Key>()).transpose()?;
    let set_up = |routes: &mut Routes| {
        routes.route.encryption = key.clone().map(Encryption::new);
        chat(routes);
    };
    let server = Server::builder()
        .namespace("/", set_up)
        .namespace("/chat", set_up)
        .stop_on_signals()
        .bind(("127.0.0.1", port))?;
    if let Some(address) = server.local_addr() {
        println!("listening on ws://{address}");
    }
    server.run()?;
    Ok(())
}

fn chat(routes: &mut Routes) {
    routes.on("echo", |_, data, ack| {
        let _ = ack.send(data);
    });
    routes.on("message", |socket, data, ack| {
        let everybody = socket.io().namespace(&socket.namespace());
        let _ = everybody.emit("message", data);
        let _ = ack.send(json!({ "success": true }));
    });
    routes.on("join", |socket, data, ack| {
        let data = data.to::<InRoom>();
        let joined = data.is_ok_and(|data| socket.join(&data.room).is_ok());
        let _ = ack.send(json!({ "success": joined }));
    });
    routes.on("leave", |socket, data, ack| {
        let data = data.to::<InRoom>();
        let left = data.is_ok_and(|data| socket.leave(&data.room));
        let _ = ack.send(json!({ "success": left }));
    });
    routes.on("say", |socket, data, ack| {
        let data = data.to::<InRoom>();
        let data = data.ok().filter(|data| socket.is_in(&data.room));
        let is_member = data.is_some();
        if let Some(InRoom { room, data }) = data {
            let members = socket.io().room(&socket.namespace(), &room);
            let _ = members.emit("say", data);
        }
        let _ = ack.send(json!({ "success": is_member }));
    });
    // Any other event is well as it is.
    routes.on_any(|_, _, ack| {
        let _ = ack.send(json!({ "success": true }));
    });
}
