//! The authorities the operating system trusts.

use std::sync::OnceLock;

use smartsocket_core::tls::{ClientTls, TlsError};

/// TLS as clients usually want it: verified against the system's authorities,
/// which are read once per process.
///
/// # Errors
///
/// [`TlsError::NoRoots`] when the system has none.
pub fn system() -> Result<ClientTls, TlsError> {
    static SYSTEM: OnceLock<Result<ClientTls, TlsError>> = OnceLock::new();
    SYSTEM
        .get_or_init(|| ClientTls::builder().roots(certificates()).build())
        .clone()
}

/// The system's authorities in DER, to be used beside others.
pub fn certificates() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!(target: "smartsocket:std", "cannot read a system certificate: {error}");
    }
    found
        .certs
        .into_iter()
        .map(|certificate| certificate.to_vec())
        .collect()
}
