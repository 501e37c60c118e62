//! A client that stays connected: [`Client`] is the handle, [`Driver`] the
//! future that moves its bytes.
//!
//! ```no_run
//! use smartsocket_smol::client::{Client, Provider};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, driver) = Client::builder(Provider::SocketIo, "ws://127.0.0.1:3000").build()?;
//! std::thread::spawn(|| smartsocket_smol::block_on(driver));
//! smartsocket_smol::block_on(async {
//!     client.connect().await?;
//!     let mut chat = client.subscribe("chat");
//!     client.emit("hello", &serde_json::json!({ "text": "Hi!" }))?;
//!     while let Some(message) = chat.next().await {
//!         println!("{:?}", message.data);
//!     }
//!     Ok(())
//! })
//! # }
//! ```

mod builder;
mod driver;
mod handle;
mod subscription;

pub use builder::ClientBuilder;
pub use driver::Driver;
pub use handle::Client;
pub use smartsocket_core::client::{
    AckTicket, Auth, Backoff, ClientConfig, ClientStats, ConfigError, ConnectError, Ending, Event,
    Incoming, Jitter, Loss, Payload, Ping, Priority, Provider, QueueConfig, RequestError, Secret,
    SmartSocket, State, Verdict, close_reason, form, parse_message, pusher_proof,
};
pub use subscription::Subscription;
