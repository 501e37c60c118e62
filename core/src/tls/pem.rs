//! PEM to certificates and keys.

use alloc::vec::Vec;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Pem, TlsError};

/// A certificate chain with the key that belongs to it.
pub(super) fn pair(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(chain, Pem::Chain)?;
    // `ENCRYPTED PRIVATE KEY`, or the older `Proc-Type: 4,ENCRYPTED` within the section.
    let encrypted = key.windows(9).any(|word| word == b"ENCRYPTED");
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        if encrypted {
            TlsError::EncryptedKey
        } else {
            blame(&error, Pem::Key)
        }
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::from_pair(&error))
}

/// Adds the certificates of `pem` to those to trust, all or none of them.
pub(super) fn trust(roots: &mut RootCertStore, pem: &[u8], which: Pem) -> Result<(), TlsError> {
    let mut added = RootCertStore::empty();
    for certificate in certificates(pem, which)? {
        added
            .add(certificate)
            .map_err(|_| TlsError::Unusable(which))?;
    }
    roots.extend(added.roots);
    Ok(())
}

/// At least one certificate.
fn certificates(pem: &[u8], which: Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| blame(&error, which))?;
    if found.is_empty() {
        Err(TlsError::Missing(which))
    } else {
        Ok(found)
    }
}

/// The error's own text can quote the input, which may be a key: it stays here.
fn blame(error: &Error, which: Pem) -> TlsError {
    if matches!(error, Error::NoItemsFound) {
        TlsError::Missing(which)
    } else {
        TlsError::Malformed(which)
    }
}
