//! WebSocket server and client on blocking threads.
//!
//! The protocol is [`smartsocket_core`]; this crate moves its bytes and tells
//! it the time. There is no runtime and no background thread: a method that
//! needs the network blocks its caller, within the deadlines of [`Config`].
//!
//! | to | use |
//! |---|---|
//! | open a connection | [`WebSocket::connect`], with options [`Connect`] |
//! | serve bare connections | [`Server::bind`] |
//! | serve events, acks and rooms | [`Server::builder`], [`realtime`] |
//! | speak WebSocket over a stream of your own | [`WebSocket::accept`], [`WebSocket::handshake`], [`WebSocket::upgraded`] |
//! | send and receive in two threads | [`WebSocket::split`] |
//!
//! A thread per connection suits up to some thousands of them. With more, or
//! with many small messages on many connections, `smartsocket-smol` does the
//! same with less.
//!
//! ```no_run
//! use smartsocket_std::{Message, WebSocket};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut ws = WebSocket::connect("ws://127.0.0.1:3000/echo")?;
//! ws.send("hello")?;
//! assert_eq!(ws.recv().transpose()?, Some(Message::text("hello")));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod accept;
pub mod client;
mod clock;
mod connect;
mod link;
pub mod realtime;
#[cfg(feature = "tls")]
pub mod roots;
mod server;
mod split;
mod stream;
mod transport;
mod websocket;

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
pub use transport::{HalfDuplex, Readiness, Transport};
pub use websocket::WebSocket;
