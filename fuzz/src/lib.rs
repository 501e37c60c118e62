//! What is fuzzed, as plain functions: each takes any bytes and panics when a
//! rule does not hold for them.
//!
//! libFuzzer calls them by the programs in `fuzz_targets`, and the tests replay
//! the corpus through them on stable Rust. `README.md` tells how to use both.
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod crypt_open;
pub mod dialect_header_line;
pub mod dialect_ignis;
pub mod dialect_rnode;
pub mod dialect_smartsocket;
pub mod differential;
pub mod extension_header;
pub mod frame_header;
pub mod inflate;
pub mod provider;
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
pub const TARGETS: [Target; 31] = [
    ("api", api::run),
    ("client", client::run),
    ("crypt_open", crypt_open::run),
    ("dialect_header_line", dialect_header_line::run),
    ("dialect_ignis", dialect_ignis::run),
    ("dialect_rnode", dialect_rnode::run),
    ("dialect_smartsocket", dialect_smartsocket::run),
    ("differential", differential::run),
    ("extension_header", extension_header::run),
    ("frame_header", frame_header::run),
    ("inflate", inflate::run),
    ("provider_ably", provider::ably::run),
    ("provider_action_cable", provider::action_cable::run),
    ("provider_aws_api_gateway", provider::aws_api_gateway::run),
    ("provider_binance", provider::binance::run),
    ("provider_custom", provider::custom::run),
    ("provider_echo", provider::echo::run),
    (
        "provider_graphql_transport_ws",
        provider::graphql_transport_ws::run,
    ),
    ("provider_graphql_ws", provider::graphql_ws::run),
    ("provider_phoenix", provider::phoenix::run),
    ("provider_pusher", provider::pusher::run),
    ("provider_signalr", provider::signalr::run),
    ("provider_smartsocket", provider::smartsocket::run),
    ("provider_socket_io", provider::socket_io::run),
    ("proxy", proxy::run),
    ("request_head", request_head::run),
    ("response_head", response_head::run),
    ("route", route::run),
    ("server", server::run),
    ("text", text::run),
    ("url", url::run),
];
