//! RNode's WebSocket API, example by example: callbacks that cancel and modify,
//! rooms, clients, HTTP, metrics.
//!
//! `cargo run --release -p smartsocket-smol --example rnode`, then
//! `curl http://127.0.0.1:3000/websocket/rooms`

use serde_json::{Value, json};
use smartsocket_smol::http::{ApiConfig, Request, Response};
use smartsocket_smol::hub::{EventResult, Route};
use smartsocket_smol::realtime::{Io, Routes};
use smartsocket_smol::{Json, Server, block_on};

fn main() -> std::io::Result<()> {
    // app.setLogLevel('debug'), of whatever logger there is
    log::set_max_level(log::LevelFilter::Debug);
    let app = Server::builder()
        // The HTTP API serves the rooms and clients of this route, and GET
        // /metrics: createApp({ metrics: true }).
        .config(|app| app.api_namespace = "/chat".into())
        .api(Some(ApiConfig::default()))
        .route(Route::rnode("/chat"), chat)
        .route(Route::rnode("/full-chat"), full_chat)
        .route(Route::rnode("/simple-chat"), simple_chat)
        .route(Route::rnode("/minimal"), minimal)
        .route(Route::rnode("/json-chat"), error_prevention)
        .route(Route::rnode("/secure-chat"), secure_chat)
        .on_request(http)
        .stop_on_signals()
        .bind("127.0.0.1:3000")?;
    app.remote().spawn(rooms_and_clients);
    block_on(app.run())
}

/// `createRoom` to `getUserRooms`: what the API over HTTP does, too.
fn rooms_and_clients(app: &Io) {
    let description = Some("General chat room");
    let Ok(room) = app.create_room("/chat", "general", description, Some(50)) else {
        return;
    };
    let success = app.send_room_message("/chat", &room, "Hello everyone!");
    if let Some(info) = app.room_info("/chat", &room) {
        let connections = info.connections.len();
        println!("{success} Room: {} Connections: {connections}", info.name);
    }
    println!("Total rooms: {}", app.rooms("/chat").len());
    // Clients by the name they chose, or by their id.
    let joined = app.join_room("client_123", &room);
    if let Some(client) = app.client_info("client_123") {
        println!("Client: {} Path: {}", client.client_id, client.path);
    }
    let user_rooms = app.client_rooms("client_123");
    println!("{joined:?} User rooms: {}", user_rooms.len());
    app.leave_room("client_123", &room);
}

/// Event control: cancel, modify, or let it be.
fn chat(chat: &mut Routes) {
    chat.on_message(async |mut data| {
        let Some(said) = data.data.as_ref() else {
            return EventResult::allow();
        };
        // Cancel event processing
        if said.as_str().contains("spam") {
            return EventResult::cancel("Spam message blocked");
        }
        // Modify event data
        if let Ok(Value::Object(mut said)) = said.to::<Value>()
            && said.get("type") == Some(&json!("chat"))
        {
            said.insert("timestamp".into(), data.timestamp.as_str().into());
            data.data = Json::from_value(&said).ok();
            return EventResult::modify(data);
        }
        // Allow event processing (default)
        EventResult::allow()
    });
    chat.on_error(async |data| {
        eprintln!("WebSocket error: {data:?}");
        EventResult::allow()
    });
    chat.on_server_error(async |data| {
        eprintln!("Server error: {:?}", data.error);
        EventResult::allow()
    });
}

/// Every callback there is.
fn full_chat(chat: &mut Routes) {
    chat.on_connect(async |_| EventResult::allow())
        .on_message(async |_| EventResult::allow())
        .on_close(async |_| EventResult::allow())
        .on_error(async |_| EventResult::allow())
        .on_join_room(async |_| EventResult::allow())
        .on_leave_room(async |_| EventResult::allow())
        .on_ping(async |_| EventResult::allow())
        .on_pong(async |_| EventResult::allow())
        .on_binary_message(async |_| EventResult::allow())
        .on_welcome(async |_| EventResult::allow())
        .on_message_ack(async |_| EventResult::allow())
        .on_room_message(async |_| EventResult::allow())
        .on_direct_message(async |_| EventResult::allow())
        .on_server_error(async |_| EventResult::allow());
}

/// Only the essential events; the others cost nothing.
fn simple_chat(chat: &mut Routes) {
    chat.on_connect(async |_| EventResult::allow())
        .on_message(async |_| EventResult::allow())
        .on_close(async |_| EventResult::allow());
}

/// Only messages.
fn minimal(chat: &mut Routes) {
    chat.on_message(async |_| EventResult::allow());
}

fn error_prevention(chat: &mut Routes) {
    chat.on_message(async |data| {
        let text = data.data.as_ref().and_then(Json::to_text);
        match text.map(Json::parse) {
            // Process message
            Some(Ok(_message)) => EventResult::allow(),
            _ => EventResult::cancel("Invalid message format"),
        }
    });
}

/// Client validation.
fn secure_chat(chat: &mut Routes) {
    chat.on_connect(async |data| match data.client_id.as_deref() {
        Some(id) if id.starts_with("client_") => EventResult::allow(),
        _ => EventResult::cancel("Unauthorized client"),
    });
    chat.on_message(async |data| match data.data {
        Some(said) if said.as_str().contains("spam") => EventResult::cancel("Spam detected"),
        _ => EventResult::allow(),
    });
}

/// `app.get` and `app.post` of what is not there already.
async fn http(req: Request, app: Io) -> Response {
    let body = match (req.method(), req.path()) {
        ("GET", "/figures") => json!({
            "websocket": {
                "connections": app.stats().connections,
                "rooms": app.rooms("/chat").len(),
                "messages": app.received_messages(),
            }
        }),
        ("POST", "/announce") => match serde_json::from_slice::<Value>(req.body()) {
            Ok(body) => json!({ "success": app.broadcast("announcement", body).is_ok() }),
            Err(_) => return Response::error(400, "Invalid message format"),
        },
        _ => return Response::error(404, "not found"),
    };
    Response::new(200).body(body.to_string())
}
