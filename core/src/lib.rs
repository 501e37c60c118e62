//! The WebSocket protocol as one pure state machine.
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::alloc_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::std_instead_of_core
)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod deflate;
pub mod http;
#[cfg(feature = "tls")]
pub mod tls;
pub mod websocket;

mod code;
mod entropy;
mod error;
mod frame;
mod message;
mod time;

pub use bytes::Bytes;
pub use code::CloseCode;
pub use entropy::Seed;
pub use error::{Fault, Refused, SendError};
pub use message::{Message, Utf8Bytes};
pub use time::Tick;
pub use websocket::{Config, WebSocket};
