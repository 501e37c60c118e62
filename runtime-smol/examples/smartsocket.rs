//! SmartSocket's reference, example by example: options, rate limits, input
//! validation, authentication, statistics.
//!
//! `cargo run --release -p smartsocket-smol --example smartsocket`

use std::time::Duration;

use serde_json::json;
use smartsocket_smol::realtime::{Routes, Socket};
use smartsocket_smol::{RateLimit, Server, block_on};

/// What the application remembers of who has authenticated.
struct User {
    id: String,
}

fn main() -> std::io::Result<()> {
    // PORT and the like are the program's to read; see `smartsocket serve`.
    let server = Server::builder()
        .max_connections(50_000)
        .namespace("/", |server| {
            // Options of connections: rateLimitWindow and rateLimitMaxRequests,
            // compressionLevel, connectionTimeout.
            server.route.rate = Some(RateLimit::new(1_000, Duration::from_secs(60)));
            server.route.websocket.idle_timeout = Some(Duration::from_secs(60));
            if let Some(deflate) = &mut server.route.websocket.deflate {
                deflate.level = 9;
            }
            // Stricter limits of single events.
            server.set_event_rate_limit("message", RateLimit::new(5, Duration::from_secs(5)));
            server.set_event_rate_limit("delete", RateLimit::new(1, Duration::from_secs(60)));
            server.on_rate_limited(async |socket| {
                let told = json!({
                    "message": "Too many requests, please slow down",
                    "retryAfter": 5_000,
                });
                let _ = socket.emit("__rate-limited__", told);
            });
            authenticate(server);
            validate(server);
        })
        .stop_on_signals()
        .bind("127.0.0.1:3000")?;

    // Statistics, every minute, from a thread of their own.
    let remote = server.remote();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(60));
            let Some(stats) = block_on(remote.with(|io| io.stats())) else {
                return;
            };
            println!("Connections: {}", stats.connections);
            println!("Memory usage: {}", stats.memory_usage);
        }
    });
    println!("Server running on port 3000");
    block_on(server.run())
}

/// `auth` first, anything else only after it.
fn authenticate(server: &mut Routes) {
    server.on("auth", async |socket, credentials, ack| {
        match verify(&credentials) {
            Some(user) => {
                socket.data().insert(user);
                let _ = ack.send(json!({ "success": true }));
            }
            None => {
                let _ = ack.send(json!({ "success": false, "error": "Invalid credentials" }));
                socket.disconnect();
            }
        }
    });
    server.use_(async |socket: Socket, event, _| {
        if event == "auth" || socket.data().get::<User>().is_some() {
            Ok(None)
        } else {
            Err("Not authenticated".into())
        }
    });
}

fn verify(credentials: &smartsocket_smol::Json) -> Option<User> {
    let credentials = credentials.to::<serde_json::Value>().ok()?;
    let id = credentials["userId"].as_str()?.to_owned();
    (credentials["password"] == "letmein").then_some(User { id })
}

/// Whatever comes is judged before it is used.
fn validate(server: &mut Routes) {
    server.on("message", async |socket, data, ack| {
        let Ok(serde_json::Value::Object(data)) = data.to() else {
            let _ = ack.send(json!({ "error": "Invalid data format" }));
            return;
        };
        let Some(text) = data.get("text").and_then(|text| text.as_str()) else {
            let _ = ack.send(json!({ "error": "Missing or invalid text field" }));
            return;
        };
        let from = socket.data().get::<User>();
        let from = from.as_ref().map(|user| user.id.as_str());
        let everybody = socket.io().namespace("/");
        let _ = everybody.emit("message", json!({ "from": from, "text": text }));
        let _ = ack.send(json!({ "success": true }));
    });
}
