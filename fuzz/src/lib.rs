//! What is fuzzed, as plain functions: each takes any bytes and panics when a
//! rule does not hold for them.
//!
//! libFuzzer calls them by the programs in `fuzz_targets`, and the tests replay
//! the corpus through them on stable Rust. `README.md` tells how to use both.
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod client_provider;
pub mod crypt_open;
pub mod dialect_header_line;
pub mod dialect_ignis;
pub mod dialect_rnode;
pub mod dialect_smartsocket;
pub mod differential;
pub mod extension_header;
pub mod frame_header;
pub mod inflate;
pub mod proxy;
pub mod replay;
pub mod request_head;
pub mod response_head;
pub mod route;
pub mod server;
pub mod text;
pub mod url;

mod connection;
mod dialect;
mod driver;
mod input;
mod seeds;

pub use seeds::seeds;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts what the machines hold.
#[global_allocator]
static HEAP: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// A name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target. Each has a program in `fuzz_targets` and a folder in `corpus`.
pub const TARGETS: [Target; 19] = [
    ("api", api::run),
    ("client", client::run),
    ("client_provider", client_provider::run),
    ("crypt_open", crypt_open::run),
    ("dialect_header_line", dialect_header_line::run),
    ("dialect_ignis", dialect_ignis::run),
    ("dialect_rnode", dialect_rnode::run),
    ("dialect_smartsocket", dialect_smartsocket::run),
    ("differential", differential::run),
    ("extension_header", extension_header::run),
    ("frame_header", frame_header::run),
    ("inflate", inflate::run),
    ("proxy", proxy::run),
    ("request_head", request_head::run),
    ("response_head", response_head::run),
    ("route", route::run),
    ("server", server::run),
    ("text", text::run),
    ("url", url::run),
];
