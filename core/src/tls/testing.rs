//! Certificates made on the spot, and two layers with a wire between them.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::{ClientTls, ClientTlsBuilder, Layer, ServerTls, TlsError, provider};

/// The name every server has unless a test says otherwise.
pub(crate) const HOST: &str = "localhost";

/// An authority and what it signs.
pub(crate) struct Pki {
    pub(crate) ca: CertifiedIssuer<'static, KeyPair>,
}

pub(crate) struct Pair {
    pub(crate) der: Vec<u8>,
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::named("authority")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self {
            ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    pub(crate) fn issue(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        Pair {
            der: certificate.der().to_vec(),
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn server(&self) -> ServerTls {
        self.issue(&[HOST], |_| ()).server()
    }

    pub(crate) fn trusting(&self) -> ClientTlsBuilder {
        ClientTls::builder().roots([self.ca.der()])
    }

    pub(crate) fn client(&self) -> ClientTls {
        self.trusting().build().unwrap()
    }

    /// A client of one version that names these protocols.
    pub(crate) fn client_speaking(
        &self,
        version: &'static SupportedProtocolVersion,
        alpn: &[&str],
    ) -> ClientTls {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(self.ca.der())).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        ClientTls::from_config(Arc::new(config))
    }

    /// A link after its handshake.
    pub(crate) fn settled(&self) -> Link {
        let mut link = Link::new(&self.client(), &self.server(), usize::MAX);
        link.settle();
        link
    }
}

impl Pair {
    pub(crate) fn chain(&self) -> &[u8] {
        self.chain.as_bytes()
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    pub(crate) fn server(&self) -> ServerTls {
        ServerTls::from_pem(self.chain(), self.key()).unwrap()
    }
}

/// More than any conversation here takes.
pub(crate) const STEPS: usize = 20;

pub(crate) struct Link {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) cut: usize,
}

pub(crate) struct End {
    pub(crate) layer: Layer,
    pub(crate) plain: Vec<u8>,
    pub(crate) closed: bool,
    pub(crate) error: Option<TlsError>,
}

impl Link {
    pub(crate) fn new(client: &ClientTls, server: &ServerTls, cut: usize) -> Self {
        let client = End::new(Layer::client(client, HOST).unwrap());
        Self {
            client,
            server: End::new(Layer::server(server).unwrap()),
            cut,
        }
    }

    /// Carries bytes until there are none.
    pub(crate) fn settle(&mut self) {
        for _ in 0..STEPS {
            let up = carry(&mut self.client, &mut self.server, self.cut);
            let down = carry(&mut self.server, &mut self.client, self.cut);
            if !up && !down {
                return;
            }
        }
        panic!("the two ends never fall silent");
    }
}

impl End {
    pub(crate) fn new(layer: Layer) -> Self {
        Self {
            layer,
            plain: Vec::new(),
            closed: false,
            error: None,
        }
    }

    pub(crate) fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            match self.layer.open(data, &mut self.plain) {
                Ok(opened) => {
                    assert!(opened.consumed > 0, "no progress");
                    data = &data[opened.consumed..];
                    self.closed |= opened.closed;
                }
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }
}

pub(crate) fn carry(from: &mut End, to: &mut End, cut: usize) -> bool {
    let wire = output(&mut from.layer);
    wire.chunks(cut).for_each(|piece| to.feed(piece));
    !wire.is_empty()
}

pub(crate) fn output(layer: &mut Layer) -> Vec<u8> {
    let mut wire = Vec::new();
    layer.take_output(&mut wire);
    wire
}
