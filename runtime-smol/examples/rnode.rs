//! RNode's WebSocket API, example by example: callbacks that cancel and modify,
//! rooms, clients, metrics.
//!
//! `cargo run --release -p smartsocket-smol --example rnode`, then
//! `curl http://127.0.0.1:3000/websocket/rooms`

use smartsocket_smol::hub::{EventResult, Route};
use smartsocket_smol::realtime::Routes;
use smartsocket_smol::{Json, Server, block_on};

fn main() -> std::io::Result<()> {
    let app = Server::builder()
        // The rooms of this route are those of the HTTP API.
        .config(|config| config.api_namespace = "/chat".into())
        .route(Route::rnode("/chat"), chat)
        // Only the events that have callbacks cost anything.
        .route(Route::rnode("/minimal"), |minimal| {
            minimal.on_message(async |_| EventResult::allow());
        })
        .stop_on_signals()
        .bind("127.0.0.1:3000")?;
    let remote = app.remote();
    remote.spawn(|app| {
        let description = Some("General chat room");
        let Ok(room) = app.create_room("/chat", "general", description, Some(50)) else {
            return;
        };
        app.send_room_message("/chat", &room, "Hello everyone!");
        if let Some(info) = app.room_info("/chat", &room) {
            println!(
                "Room: {} Connections: {}",
                info.name,
                info.connections.len()
            );
        }
        println!("Total rooms: {}", app.rooms("/chat").len());
        // Clients by the name they chose, or by their id.
        if let Some(client) = app.client_info("client_123") {
            println!("Client: {} Path: {}", client.client_id, client.path);
        }
        let joined = app.join_room("client_123", &room).is_ok();
        let rooms = app.client_rooms("client_123").len();
        let left = app.leave_room("client_123", &room);
        println!("joined {joined}, in {rooms}, left {left}");
    });
    block_on(app.run())
}

fn chat(chat: &mut Routes) {
    chat.on_connect(async |event| match event.client_id.as_deref() {
        Some("intruder") => EventResult::cancel("Unauthorized client"),
        _ => EventResult::allow(),
    });
    chat.on_message(async |mut event| {
        let text = event
            .data
            .as_ref()
            .and_then(Json::to_text)
            .unwrap_or_default();
        if text.contains("spam") {
            return EventResult::cancel("Spam message blocked");
        }
        event.data = Some(Json::string(&text.to_uppercase()));
        EventResult::modify(event)
    });
    chat.on_join_room(async |event| {
        println!("{:?} joins {:?}", event.client_id, event.room_id);
        EventResult::allow()
    });
    chat.on_server_error(async |event| {
        eprintln!("Server error: {:?}", event.error);
        EventResult::allow()
    });
    chat.on_close(async |event| {
        println!("{} is gone", event.connection_id);
        EventResult::allow()
    });
}
