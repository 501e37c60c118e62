//! The client's side: whom it trusts, and who it says it is.

use alloc::sync::Arc;
use core::fmt;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::dangerous::AcceptAny;
use super::{Pem, TLS12_AND_TLS13, TLS13_ONLY, TlsError, alpn, pem, provider};

/// TLS of a client. Clones are cheap; connections that share one resume each other's sessions.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Trusts nobody yet; TLS 1.2 and 1.3; certificates are checked.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder {
            roots: RootCertStore::empty(),
            identity: None,
            versions: TLS12_AND_TLS13,
            accept_any: false,
        }
    }

    /// Connects with a configuration made elsewhere, as it is. Should it name protocols (ALPN),
    /// `http/1.1` must be the only one.
    pub fn from_config(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

/// Makes a [`ClientTls`].
#[derive(Clone)]
#[must_use]
pub struct ClientTlsBuilder {
    roots: RootCertStore,
    identity: Option<Arc<dyn ResolvesClientCert>>,
    versions: &'static [&'static SupportedProtocolVersion],
    accept_any: bool,
}

impl ClientTlsBuilder {
    /// Trusts these DER certificates, usually all of the system's. Those rustls cannot read are
    /// passed over: a system's store may hold ancient ones, and nobody else can be blamed for them.
    pub fn roots(mut self, certificates: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        for certificate in certificates {
            self.roots
                .add_parsable_certificates([CertificateDer::from(certificate.as_ref())]);
        }
        self
    }

    /// Trusts the authorities in this PEM text too. Here every certificate must be good.
    pub fn root_pem(mut self, ca: &[u8]) -> Result<Self, TlsError> {
        pem::trust(&mut self.roots, ca, Pem::Root)?;
        Ok(self)
    }

    /// Shows this certificate, its intermediates after it, to servers that ask for one.
    pub fn client_certificate_pem(mut self, chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pair = pem::pair(chain, key, &provider())?;
        self.identity = Some(Arc::new(SingleCertAndKey::from(pair)));
        Ok(self)
    }

    /// Refuses servers that speak TLS 1.2 at most.
    pub fn require_tls13(mut self) -> Self {
        self.versions = TLS13_ONLY;
        self
    }

    /// Accepts **any** certificate: whoever can reach the connection can pose as the server, read
    /// everything and change it. Only for tests; for a private server give its authority to
    /// [`root_pem`](Self::root_pem) instead.
    pub fn dangerous_accept_any(mut self) -> Self {
        self.accept_any = true;
        self
    }

    /// Whether it trusts somebody so far.
    pub fn trusts(&self) -> bool {
        !self.roots.is_empty() || self.accept_any
    }

    /// Fails without a root certificate, unless any certificate is accepted.
    pub fn build(self) -> Result<ClientTls, TlsError> {
        if !self.trusts() {
            return Err(TlsError::NoRoots);
        }
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|error| TlsError::from_config(&error))?;
        let builder = if self.accept_any {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        } else {
            builder.with_root_certificates(self.roots)
        };
        let mut config = match self.identity {
            Some(identity) => builder.with_client_cert_resolver(identity),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn();
        Ok(ClientTls {
            config: Arc::new(config),
        })
    }
}

impl fmt::Debug for ClientTlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTlsBuilder").finish_non_exhaustive()
    }
}
