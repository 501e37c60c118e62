//! The server's side: its certificate, and whom it lets in.

use alloc::sync::Arc;
use core::fmt;
use std::sync::{PoisonError, RwLock};

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientCertVerifierBuilder, NoClientAuth, ResolvesServerCert, ServerSessionMemoryCache,
    WebPkiClientVerifier,
};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::{Pem, TLS12_AND_TLS13, TLS13_ONLY, TlsError, alpn, pem, provider};

/// TLS of a server: its certificate and key, and what it asks of clients.
///
/// Clones are cheap and share the certificate, so [`reload`](Self::reload) on one of them reaches
/// every listener. The `with_` and `require_` methods configure a value before it is shared: clones
/// made earlier do not change.
#[derive(Clone)]
pub struct ServerTls {
    current: Arc<RwLock<Arc<ServerConfig>>>,
    /// How to make the configuration anew; nothing for one that came ready-made.
    plan: Option<Plan>,
}

impl ServerTls {
    /// Serves with this certificate, its intermediates after it, and its private key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pair = pem::pair(chain, key, &provider())?;
        let plan = Plan {
            versions: TLS12_AND_TLS13,
            clients: Arc::new(NoClientAuth),
        };
        plan.build(Arc::new(SingleCertAndKey::from(pair)))
    }

    /// Serves with a configuration made elsewhere, as it is. Should it name protocols (ALPN),
    /// `http/1.1` must be among them.
    pub fn from_config(config: Arc<ServerConfig>) -> Self {
        Self {
            current: Arc::new(RwLock::new(config)),
            plan: None,
        }
    }

    /// Asks clients for a certificate signed by one of these authorities. Clients without one are
    /// served too, those with a bad one are not.
    pub fn with_client_ca(self, ca: &[u8]) -> Result<Self, TlsError> {
        self.with_clients(ca, ClientCertVerifierBuilder::allow_unauthenticated)
    }

    /// Serves only clients with a certificate signed by one of these authorities.
    pub fn require_client_certificates(self, ca: &[u8]) -> Result<Self, TlsError> {
        self.with_clients(ca, |verifier| verifier)
    }

    /// Refuses clients that speak TLS 1.2 at most.
    pub fn require_tls13(self) -> Result<Self, TlsError> {
        let resolver = self.config().cert_resolver.clone();
        let plan = self.plan.ok_or(TlsError::ForeignConfig)?;
        Plan {
            versions: TLS13_ONLY,
            ..plan
        }
        .build(resolver)
    }

    /// Shows another certificate in every handshake that begins from now on, in all clones.
    /// Established connections live on. After an error the old certificate stays in use.
    pub fn reload(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        if self.plan.is_none() {
            return Err(TlsError::ForeignConfig);
        }
        let mut config = ServerConfig::clone(&self.config());
        let pair = pem::pair(chain, key, config.crypto_provider())?;
        config.cert_resolver = Arc::new(SingleCertAndKey::from(pair));
        // A resumed session shows no certificate: one begun with the old certificate must not
        // outlive it.
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    /// The configuration for a new handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn with_clients(
        self,
        ca: &[u8],
        strictness: impl FnOnce(ClientCertVerifierBuilder) -> ClientCertVerifierBuilder,
    ) -> Result<Self, TlsError> {
        let config = self.config();
        let plan = self.plan.ok_or(TlsError::ForeignConfig)?;
        let mut roots = RootCertStore::empty();
        pem::trust(&mut roots, ca, Pem::ClientCa)?;
        let builder = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            config.crypto_provider().clone(),
        );
        let clients = strictness(builder)
            .build()
            .map_err(|error| TlsError::from_config(&error))?;
        Plan { clients, ..plan }.build(config.cert_resolver.clone())
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// What rustls remembers for resumption, its own default.
const SESSIONS: usize = 256;

/// The parts of a configuration that rustls fixes when it builds one.
#[derive(Clone)]
struct Plan {
    versions: &'static [&'static SupportedProtocolVersion],
    clients: Arc<dyn ClientCertVerifier>,
}

impl Plan {
    fn build(self, certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerTls, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .map_err(|error| TlsError::from_config(&error))?
            .with_client_cert_verifier(self.clients.clone())
            .with_cert_resolver(certificate);
        config.alpn_protocols = alpn();
        Ok(ServerTls {
            current: Arc::new(RwLock::new(Arc::new(config))),
            plan: Some(self),
        })
    }
}
