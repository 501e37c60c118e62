//! SmartSocket's reference on threads: what handlers do, and the options of a
//! production server. The sections of options only are those of the example of
//! this name in `runtime-smol`, word for word.
//!
//! `ENCRYPTION_KEY=... cargo run --release -p smartsocket-std --example smartsocket`

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use smartsocket_std::crypt::Key;
use smartsocket_std::hub::{Encryption, Heartbeat};
use smartsocket_std::realtime::{Io, Routes};
use smartsocket_std::{Json, RateLimit, Server};

const MINUTE: Duration = Duration::from_secs(60);

/// The production server.
fn main() -> Result<(), Box<dyn Error>> {
    let port = env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let key = env::var("ENCRYPTION_KEY").ok();
    let key = key.map(|key| key.parse::<Key>()).transpose()?;
    let server = Server::builder()
        .max_connections(50_000)
        .namespace("/", |server| {
            server.route.encryption = key.map(Encryption::new);
            server.route.rate = Some(RateLimit::new(1_000, MINUTE)); // rateLimitMaxRequests
            server.route.websocket.idle_timeout = Some(MINUTE); // connectionTimeout
            server.route.heartbeat = Heartbeat::None;
            handling_rate_limits(server);
            validate_input(server);
            implement_authentication(server);
        })
        .namespace("/chat", server_api)
        .stop_on_signals()
        .bind(("0.0.0.0", port))?;
    println!("Server running on port {port}");
    let io = server.io();
    thread::spawn(move || monitoring(&io));
    server.run()?;
    Ok(())
}

fn handling_rate_limits(server: &mut Routes) {
    server.set_event_rate_limit("message", RateLimit::new(5, Duration::from_secs(5)));
    server.on_rate_limited(|socket| {
        let info = json!({
            "message": "Too many requests, please slow down",
            "retryAfter": 5_000,
        });
        let _ = socket.emit("__rate-limited__", info);
    });
}

/// Monitoring pool usage, and memory.
fn monitoring(io: &Io) {
    loop {
        thread::sleep(MINUTE);
        let stats = io.stats();
        println!("Connections: {}", stats.connections);
        println!("Memory usage: {}", stats.memory_usage);
        let megabytes = stats.memory_usage.trim_end_matches(" MB");
        if megabytes.parse().is_ok_and(|mb: f64| mb > 1_000.0) {
            eprintln!("High memory usage detected");
        }
    }
}

fn validate_input(server: &mut Routes) {
    server.on("message", |_, data, ack| {
        // Always validate input
        let _ = ack.send(match data.to() {
            Ok(Value::Object(data)) => match data.get("text") {
                // Process safe data
                Some(Value::String(_)) => json!({ "success": true }),
                _ => json!({ "error": "Missing or invalid text field" }),
            },
            _ => json!({ "error": "Invalid data format" }),
        });
    });
}

/// What is remembered of sockets.
struct RequireAuth;
struct UserId(String);

fn implement_authentication(server: &mut Routes) {
    server.on_connected(|socket| {
        socket.data().insert(RequireAuth);
        socket.on("auth", |socket, credentials, ack| {
            if let Some(user) = verify_credentials(&credentials) {
                socket.data().insert(UserId(user));
                let _ = ack.send(json!({ "success": true }));
            } else {
                let _ = ack.send(json!({ "success": false, "error": "Invalid credentials" }));
                socket.disconnect();
            }
        });
    });
    server.use_(|socket, event, _| {
        let required = event != "auth" && socket.data().get::<RequireAuth>().is_some();
        if required && socket.data().get::<UserId>().is_none() {
            Err("Not authenticated".into())
        } else {
            Ok(None)
        }
    });
    server.on("whoami", |socket, _, ack| {
        let user = socket.data().get::<UserId>();
        let _ = ack.send(json!(user.map(|user| user.0.clone())));
    });
}

fn verify_credentials(credentials: &Json) -> Option<String> {
    let credentials: Value = credentials.to().ok()?;
    let user = credentials["userId"].as_str()?;
    (credentials["password"] == "letmein").then(|| user.into())
}

/// `on`, `once`, `off`, `emit`, `to` and `use` of a namespace.
fn server_api(chat: &mut Routes) {
    chat.use_(|_, event, data| {
        println!("{event} {data:?}");
        Ok(None)
    });
    chat.on("message", |socket, data, _| {
        let io = socket.io();
        let _ = io.broadcast("message", &data);
        let _ = io.to(socket.id()).emit("sent", &data);
        let _ = io.namespace("/chat").emit("message", data);
    });
    chat.on_connected(|socket| {
        socket.once("name", |socket, name, _| {
            let _ = socket.emit("welcome", name);
            socket.off("name");
        });
    });
}
