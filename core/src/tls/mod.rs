//! TLS 1.2 and 1.3 between bytes and frames, by rustls.
//!
//! rustls is a state machine without I/O, like everything here, so TLS is one more layer inside a
//! connection: an adapter hands over whatever the socket gave and writes whatever the machine wants
//! written, for `wss` as for `ws`.
//!
//! [`ServerTls`] and [`ClientTls`] are what an application configures once and shares among
//! connections. Certificates and keys come in as PEM or DER bytes: reading files and the system's
//! root store is the adapter's work.
//!
//! ```no_run
//! use smartsocket_core::tls::ServerTls;
//! use std::fs::read;
//!
//! let tls = ServerTls::from_pem(&read("fullchain.pem")?, &read("privkey.pem")?)?;
//! // Later, when the certificate was renewed:
//! tls.reload(&read("fullchain.pem")?, &read("privkey.pem")?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This is the one room that is not deterministic: rustls draws its own randomness and reads the
//! system's clock to judge certificates. Cryptography is ring's, unless the process installed
//! another [`CryptoProvider`].

mod client;
mod dangerous;
mod error;
mod layer;
mod pem;
mod server;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

pub use rustls;

pub use client::{ClientTls, ClientTlsBuilder};
pub use error::{Pem, TlsError};
pub(crate) use layer::Layer;
pub use server::ServerTls;

/// What a configuration accepts unless told otherwise.
const TLS12_AND_TLS13: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A way to leave out TLS 1.2.
const TLS13_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A WebSocket starts as an HTTP/1.1 upgrade, and a peer that also speaks h2 must not choose that
/// (RFC 7301 §3.2). A peer that offers no protocol at all is served all the same.
fn alpn() -> Vec<Vec<u8>> {
    [b"http/1.1".to_vec()].into()
}

/// Named outright instead of through rustls's default: that one panics when the features of a whole
/// dependency tree leave it a choice.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}
