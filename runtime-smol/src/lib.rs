//! WebSocket server and client on the smol family of async crates.
//!
//! The protocol is [`smartsocket_core`]; this crate moves its bytes and tells
//! it the time. It needs no runtime of its own: futures run on any executor,
//! since sockets and timers are [`async_io`]'s.
//!
//! | to | use |
//! |---|---|
//! | open a connection | [`WebSocket::connect`], with options [`Connect`] |
//! | serve bare connections | [`Server::bind`] |
//! | serve events, acks and rooms | [`Server::builder`], [`realtime`] |
//! | speak WebSocket over a stream of your own | [`WebSocket::accept`], [`WebSocket::handshake`], [`WebSocket::upgraded`] |
//! | send and receive in two tasks | [`WebSocket::split`] |
//!
//! ```no_run
//! use smartsocket_smol::{Message, WebSocket};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! smartsocket_smol::block_on(async {
//!     let mut ws = WebSocket::connect("ws://127.0.0.1:3000/echo").await?;
//!     ws.send("hello").await?;
//!     let answer = ws.recv().await.transpose()?;
//!     assert_eq!(answer, Some(Message::text("hello")));
//!     Ok(())
//! })
//! # }
//! ```
#![forbid(unsafe_code)]

mod accept;
pub mod client;
mod clock;
mod connect;
mod driver;
mod live;
pub mod realtime;
#[cfg(feature = "tls")]
pub mod roots;
mod server;
mod split;
mod stream;
mod websocket;

pub use async_io::block_on;
pub use connect::Connect;
pub use server::{Server, Stopper};
pub use smartsocket_core::dial::Way;
#[cfg(feature = "tls")]
pub use smartsocket_core::tls;
pub use smartsocket_core::websocket::{
    Accept, Cause, ClientError, Closed, Deadline, Decision, Error, Event, Negotiated, Part, Role,
    Stats, Ticket, Violation,
};
pub use smartsocket_core::{
    Bytes, CloseCode, Config, ErrorCode, Fault, IntoJson, Json, Message, RateLimit, Refused,
    SendError, Utf8Bytes, crypt, deflate, dialect, http, hub, proxy,
};
pub use split::{Receiver, Sender};
pub use stream::Stream;
pub use websocket::WebSocket;
