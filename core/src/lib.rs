//! The WebSocket protocol as one pure state machine.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod deflate;
pub mod http;
#[cfg(feature = "tls")]
pub mod tls;
