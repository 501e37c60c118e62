//! The WebSocket protocol as one pure state machine.
//!
//! [`WebSocket`] takes bytes and ticks and gives bytes and events, in either
//! role: handshake, frames, compression, keepalive, every deadline and limit,
//! and with feature `tls` the encryption below it all. It opens no socket,
//! reads no clock, draws no randomness, starts no thread and calls no code of
//! yours, so it runs in any event loop, on any runtime, in a simulator or a
//! fuzzer, and does the same thing there every time.
//!
//! # The loop
//!
//! 1. Make a machine with a [`Seed`] from your system's randomness.
//! 2. Bytes came: [`handle_bytes`](WebSocket::handle_bytes) (or
//!    [`take_fill`](WebSocket::take_fill) and
//!    [`handle_fill`](WebSocket::handle_fill) for long payloads). The stream
//!    ended or failed: [`handle_eof`](WebSocket::handle_eof),
//!    [`handle_fault`](WebSocket::handle_fault).
//! 3. [`poll_output`](WebSocket::poll_output) until `None`, and do what it
//!    says; answer messages by [`send`](WebSocket::send) right there.
//! 4. Write [`unsent`](WebSocket::unsent), report
//!    [`transmitted`](WebSocket::transmitted).
//! 5. Wait for bytes, for room to write, or for
//!    [`next_timeout`](WebSocket::next_timeout).
//! 6. Time has come: [`handle_timeout`](WebSocket::handle_timeout); go on at 3.
//!
//! ```
//! use smartsocket_core::websocket::{Event, Output};
//! use smartsocket_core::{Config, Seed, Tick, WebSocket};
//!
//! let mut server = WebSocket::server(Config::default(), Seed::new([0; 32]), Tick::ZERO);
//! let mut bytes = *b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
//!     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
//!     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
//!     \x81\x82\x00\x00\x00\x00hi";
//! server.handle_bytes(Tick::from_millis(1), &mut bytes);
//! while let Some(output) = server.poll_output() {
//!     match output {
//!         Output::Event(Event::Open(opened)) => {
//!             assert_eq!(opened.request.map(|request| request.path().to_owned()).as_deref(), Some("/chat"));
//!         }
//!         Output::Event(Event::Message(message)) => {
//!             assert_eq!(message.as_text(), Some("hi"));
//!             server.send(Tick::from_millis(1), message).unwrap();
//!         }
//!         Output::Transmit => {} // the socket's turn
//!         other => panic!("{other:?}"),
//!     }
//! }
//! let written: Vec<u8> = server.unsent().flat_map(|bytes| bytes.to_vec()).collect();
//! assert!(written.starts_with(b"HTTP/1.1 101 ") && written.ends_with(b"\x81\x02hi"));
//! ```
//!
//! Ready-made loops: the crates `smartsocket-smol` and `smartsocket-std`, and
//! this crate's examples for bare epoll and for tokio with axum.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | none (default) | everything but the below; `no_std` with `alloc` |
//! | `std` | the standard library: SIMD chosen at run time, faults from `io::Error` |
//! | `zlib-rs` | compression by zlib-rs instead of miniz_oxide: faster, honours windows of 9 to 15 bits (implies `std`) |
//! | `tls` | TLS 1.2 and 1.3 inside the machine, by rustls (implies `std`) |
//!
//! `internals` is for this repository's own fuzz targets and benches.
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::alloc_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::std_instead_of_core
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod client;
pub mod crypt;
pub mod deflate;
pub mod dial;
pub mod dialect;
pub mod http;
pub mod hub;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
pub mod proxy;
#[cfg(feature = "tls")]
pub mod tls;
pub mod websocket;

mod broker;
mod code;
mod date;
mod entropy;
mod error;
mod error_code;
mod frame;
mod gate;
mod json;
mod limit;
mod message;
mod offline;
mod stats;
mod time;

pub use bytes::Bytes;
pub use client::Client;
pub use code::CloseCode;
pub use entropy::Seed;
pub use error::{Fault, Refused, SendError};
pub use error_code::ErrorCode;
pub use gate::{Crowded, Gate};
pub use hub::Hub;
pub use json::{IntoJson, Json, JsonError, MAX_DEPTH, MAX_NODES};
pub use limit::{Algorithm, EventLimits, RateLimit};
pub use message::{Message, Utf8Bytes};
pub use offline::OfflineConfig;
pub use stats::{CloseCause, DropCause, RefuseCause, ServerStats};
pub use time::Tick;
pub use websocket::{Config, WebSocket};
