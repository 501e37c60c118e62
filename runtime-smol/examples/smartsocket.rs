//! SmartSocket's reference, example by example: a function for each section,
//! by its name. The ones at the end are what handlers do.
//!
//! `cargo run --release -p smartsocket-smol --example smartsocket [SECTION]`,
//! with the SECTION `basic` unless told otherwise.

use std::env;
use std::error::Error;
use std::time::Duration;

use serde_json::{Value, json};
use smartsocket_smol::crypt::{Key, Suite};
use smartsocket_smol::dialect::{Dialect, SmartSocket};
use smartsocket_smol::hub::{Encryption, Heartbeat};
use smartsocket_smol::realtime::{Builder, Realtime, Routes, Socket};
use smartsocket_smol::{Json, RateLimit, Server, block_on};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

type Example = Result<Builder, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let section = env::args().nth(1);
    let builder = match section.as_deref().unwrap_or("basic") {
        "basic" => basic_server(),
        "production" => production_server()?,
        "timeout" => connection_timeout(),
        "compression" => compression_settings(),
        "using-compression" => using_compression(),
        "encryption" => server_with_encryption()?,
        "rate-limit" => basic_rate_limiting(),
        "event-rate-limit" => per_event_rate_limiting(),
        "rate-limited" => handling_rate_limits(),
        "pool" => pool_settings(),
        "low-latency" => low_latency(),
        "high-throughput" => high_throughput(),
        #[cfg(feature = "tls")]
        "https" => use_https()?,
        "validate" => validate_input(),
        "authenticate" => implement_authentication(),
        "memory" => reducing_memory(),
        "api" => server_api(),
        other => return Err(format!("no section {other}").into()),
    };
    let server = builder.stop_on_signals().bind(("0.0.0.0", port()?))?;
    println!("Server running on port {}", port()?);
    monitoring(&server);
    block_on(server.run())?;
    Ok(())
}

/// `process.env.PORT || 3000`
fn port() -> Result<u16, Box<dyn Error>> {
    Ok(env::var("PORT").map_or(Ok(3000), |port| port.parse())?)
}

fn basic_server() -> Builder {
    Server::builder().namespace("/", |_| {})
}

fn production_server() -> Example {
    let encryption = encryption()?;
    Ok(Server::builder()
        .max_connections(50_000)
        .namespace("/", |server| {
            server.route.encryption = Some(encryption);
            server.route.rate = Some(RateLimit::new(1_000, MINUTE)); // rateLimitMaxRequests
            idle(server, MINUTE);
            compress(server, 9, 1_024);
        }))
}

fn connection_timeout() -> Builder {
    Server::builder().namespace("/", |server| idle(server, 30 * SECOND))
}

/// `connectionTimeout`
fn idle(server: &mut Routes, timeout: Duration) {
    server.route.websocket.idle_timeout = Some(timeout);
    // Its pings are messages, so nobody would ever be idle.
    server.route.heartbeat = Heartbeat::None;
}

fn compression_settings() -> Builder {
    Server::builder().namespace("/", |server| compress(server, 6, 1_024))
}

fn using_compression() -> Builder {
    Server::builder().namespace("/", |server| compress(server, 9, 512))
}

/// `compressionLevel` and `compressionThreshold`: of frames, for browsers, and
/// of packets, for SmartSocket's own clients.
fn compress(server: &mut Routes, level: u8, threshold: usize) {
    if let Some(deflate) = &mut server.route.websocket.deflate {
        deflate.level = level;
        deflate.threshold = threshold;
    }
    server.route.dialect = Dialect::SmartSocket(SmartSocket {
        level,
        threshold,
        ..SmartSocket::default()
    });
}

/// `smartsocket keygen`, or `openssl rand -base64 32`, makes the key.
fn server_with_encryption() -> Example {
    let encryption = encryption()?; // enableEncryption
    Ok(Server::builder().namespace("/", |server| {
        server.route.encryption = Some(encryption);
    }))
}

fn encryption() -> Result<Encryption, Box<dyn Error>> {
    let key: Key = env::var("ENCRYPTION_KEY")?.parse()?; // encryptionKey
    let mut encryption = Encryption::new(key);
    encryption.policy.suites = vec![Suite::A256CbcHs512]; // encryptionAlgorithm
    Ok(encryption)
}

fn basic_rate_limiting() -> Builder {
    Server::builder().namespace("/", |server| {
        // rateLimitMaxRequests, rateLimitWindow; None for no limit
        server.route.rate = Some(RateLimit::new(100, MINUTE));
    })
}

fn per_event_rate_limiting() -> Builder {
    Server::builder().namespace("/", |server| {
        server.set_event_rate_limit("message", RateLimit::new(5, 5 * SECOND));
        server.set_event_rate_limit("delete", RateLimit::new(1, MINUTE));
    })
}

fn handling_rate_limits() -> Builder {
    Server::builder().namespace("/", |server| {
        server.on_rate_limited(async |socket| {
            let info = json!({
                "message": "Too many requests, please slow down",
                "retryAfter": 5_000,
            });
            let _ = socket.emit("__rate-limited__", info);
        });
    })
}

/// Memory is pooled by itself.
fn pool_settings() -> Builder {
    Server::builder()
        .max_connections(10_000)
        .namespace("/", |_| {})
}

/// Monitoring pool usage, and memory.
fn monitoring(server: &Realtime) {
    server.remote().spawn(|server| {
        let io = server.clone();
        server.spawn(async move {
            loop {
                async_io::Timer::after(MINUTE).await;
                let stats = io.stats();
                println!("Connections: {}", stats.connections);
                println!("Memory usage: {}", stats.memory_usage);
                let megabytes = stats.memory_usage.trim_end_matches(" MB");
                if megabytes.parse().is_ok_and(|mb: f64| mb > 1_000.0) {
                    eprintln!("High memory usage detected");
                }
            }
        });
    });
}

fn low_latency() -> Builder {
    Server::builder().namespace("/", |server| {
        compress(server, 1, 1_024);
        server.route.rate = Some(RateLimit::new(10_000, MINUTE));
        idle(server, 5 * SECOND);
    })
}

fn high_throughput() -> Builder {
    Server::builder()
        .max_connections(50_000)
        .namespace("/", |server| compress(server, 9, 1_024))
}

#[cfg(feature = "tls")]
fn use_https() -> Example {
    use smartsocket_smol::tls::ServerTls;
    use std::fs;

    let options = ServerTls::from_pem(&fs::read("server.crt")?, &fs::read("server.key")?)?;
    Ok(Server::builder()
        .config(|config| config.listener.server_tls = Some(options))
        .namespace("/", |_| {}))
}

fn validate_input() -> Builder {
    Server::builder().namespace("/", |server| {
        server.on("message", async |_, data, ack| {
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
    })
}

/// What is remembered of sockets.
struct RequireAuth;
struct UserId(String);

fn implement_authentication() -> Builder {
    Server::builder().namespace("/", |server| {
        server.on_connected(async |socket| {
            socket.data().insert(RequireAuth);
            socket.on("auth", async |socket, credentials, ack| {
                if let Some(user) = verify_credentials(&credentials) {
                    socket.data().insert(UserId(user));
                    let _ = ack.send(json!({ "success": true }));
                } else {
                    let _ = ack.send(json!({ "success": false, "error": "Invalid credentials" }));
                    socket.disconnect();
                }
            });
        });
        server.use_(async |socket: Socket, event, _| {
            let required = event != "auth" && socket.data().get::<RequireAuth>().is_some();
            if required && socket.data().get::<UserId>().is_none() {
                Err("Not authenticated".into())
            } else {
                Ok(None)
            }
        });
        server.on("whoami", async |socket, _, ack| {
            let user = socket.data().get::<UserId>();
            let _ = ack.send(json!(user.map(|user| user.0.clone())));
        });
    })
}

fn verify_credentials(credentials: &Json) -> Option<String> {
    let credentials: Value = credentials.to().ok()?;
    let user = credentials["userId"].as_str()?;
    (credentials["password"] == "letmein").then(|| user.into())
}

fn reducing_memory() -> Builder {
    Server::builder()
        .max_connections(5_000) // Don't accept more
        .namespace("/", |server| {
            server.on("done", async |socket, _, _| {
                socket.off("event-name"); // Clean up event listeners
                socket.disconnect(); // Disconnect unused clients
            });
        })
}

/// What the interfaces of the reference say: `namespace`, `on`, `once`, `off`,
/// `emit`, `to`, `use`, `getStats` and the like.
fn server_api() -> Builder {
    Server::builder()
        .namespace("/", |server| {
            server.on("message", async |socket, data, _| {
                let io = socket.io();
                let _ = io.broadcast("message", &data);
                let _ = io.to(socket.id()).emit("sent", &data);
                let _ = io.namespace("/chat").emit("message", data);
            });
            server.on("stats", async |socket, _, ack| {
                let io = socket.io();
                let (all, of_namespaces) = (io.stats(), io.namespace_stats());
                let _ = ack.send(json!({
                    "connections": all.connections,
                    "uptime": all.uptime,
                    "messagesPerSecond": all.messages_per_second,
                    "averageLatency": all.average_latency,
                    "namespaces": of_namespaces,
                }));
            });
        })
        .namespace("/chat", |chat| {
            chat.use_(async |_, event, data| {
                println!("{event} {data:?}");
                Ok(None)
            });
            chat.on_connected(async |socket| {
                socket.once("name", async |socket, name, _| {
                    socket.data().insert(name.to_text().unwrap_or_default());
                    let _ = socket.emit("welcome", name);
                });
            });
        })
}
