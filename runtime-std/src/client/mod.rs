//! A client that stays connected, with a thread of its own.
//!
//! ```no_run
//! use smartsocket_std::client::{Client, Provider};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder(Provider::SocketIo, "ws://127.0.0.1:3000").start()?;
//! client.connect()?;
//! let chat = client.subscribe("chat");
//! client.emit("hello", serde_json::json!({ "text": "Hi!" }))?;
//! for message in chat {
//!     println!("{:?}", message.data);
//! }
//! # Ok(())
//! # }
//! ```

mod builder;
mod driver;
mod handle;
mod subscription;

pub use builder::{ClientBuilder, StartError};
pub use handle::Client;
pub use smartsocket_core::client::{
    AckTicket, Auth, Backoff, ClientConfig, ClientStats, ConfigError, ConnectError, Ending, Event,
    Incoming, Jitter, Loss, Payload, Ping, Priority, Provider, QueueConfig, RequestError, Secret,
    SmartSocket, State, Verdict, close_reason, form, parse_message, pusher_proof,
};
pub use subscription::{Events, Subscription};
