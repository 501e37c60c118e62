//! `wss://`: certificates of servers and clients.

#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(feature = "tls")]

mod common;

use std::sync::Arc;

use common::stream::{Whims, pair};
use common::talk::{Drops, Impatience, converse};
use common::{Running, echo, roomy, serve};
use futures_lite::future::zip;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::CertificateDer;
use smartsocket_smol::http::UpgradeRequest;
use smartsocket_smol::tls::{ClientTls, ClientTlsBuilder, ServerTls};
use smartsocket_smol::{Cause, Config, Connect, Error, Message, WebSocket};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key in PEM.
    fn issue(&self, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages.push(purpose);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn server(&self) -> ServerTls {
        let (chain, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    fn trusting(&self) -> ClientTlsBuilder {
        ClientTls::builder()
            .root_pem(self.0.pem().as_bytes())
            .unwrap()
    }

    fn trusted(&self) -> ClientTls {
        self.trusting().build().unwrap()
    }

    /// A client with a certificate of its own.
    fn known(&self, issuer: &Self) -> ClientTls {
        let (chain, key) = issuer.issue(ExtendedKeyUsagePurpose::ClientAuth);
        self.trusting()
            .client_certificate_pem(chain.as_bytes(), key.as_bytes())
            .unwrap()
            .build()
            .unwrap()
    }
}

fn serve_tls(tls: ServerTls) -> Running {
    let config = Config {
        server_tls: Some(tls),
        ..roomy()
    };
    serve(move |server| server.config(config), echo)
}

async fn open(server: &Running, tls: ClientTls) -> Result<WebSocket, Error> {
    let config = Config {
        client_tls: Some(tls),
        ..roomy()
    };
    let url = format!("wss://{}/", server.address);
    Connect::new(&url)?.config(config).open().await
}

async fn works(ws: &mut WebSocket) -> Result<(), Error> {
    let text = "secret ".repeat(30);
    ws.send(text.clone()).await?;
    match ws.recv().await {
        Some(answer) => assert_eq!(answer?, Message::text(text)),
        None => panic!("ended"),
    }
    Ok(())
}

/// With TLS 1.3 a client learns only from its first read that its certificate
/// was refused.
async fn refused(server: &Running, tls: ClientTls) {
    let error = match open(server, tls).await {
        Err(error) => error,
        Ok(mut ws) => works(&mut ws).await.unwrap_err(),
    };
    let cause = error.closed().map(|closed| &closed.cause);
    assert!(
        matches!(cause, Some(Cause::Tls(_) | Cause::Fault(_) | Cause::Eof))
            || matches!(error, Error::Send(_)),
        "{error:?}"
    );
}

#[test]
fn a_server_and_a_client_that_trusts_it() {
    let authority = Authority::new("a");
    let server = serve_tls(authority.server());
    common::run(async {
        let mut ws = open(&server, authority.trusted()).await.unwrap();
        works(&mut ws).await.unwrap();
        let large: Vec<u8> = (0..16_u32 << 20).map(|n| (n >> 7) as u8).collect();
        ws.send(large.clone()).await.unwrap();
        assert!(ws.recv().await.unwrap().unwrap().as_bytes() == large);
        let closed = ws.close(smartsocket_smol::CloseCode::NORMAL, "").await;
        assert!(closed.unwrap().is_clean());
    });
}

#[test]
fn a_conversation_through_tls_survives_dropped_futures_and_every_whim() {
    let authority = Authority::new("a");
    let config = Arc::new(Config {
        server_tls: Some(authority.server()),
        client_tls: Some(authority.trusted()),
        max_queued_bytes: 2_000,
        ..Config::default()
    });
    for (seed, most) in (0..40).zip((1..6).cycle()) {
        let (client, server) = pair(1_500, Whims::seed(seed));
        common::run(async {
            let request = UpgradeRequest::new("wss://localhost/").unwrap();
            let (client, server) = zip(
                WebSocket::handshake(client, request, Arc::clone(&config)),
                WebSocket::accept(server, Arc::clone(&config)),
            )
            .await;
            let impatience = Impatience::new(Drops::Each(most));
            converse((client.unwrap(), server.unwrap()), &impatience).await;
        });
    }
}

#[test]
fn messages_pipelined_through_tls_are_answered_in_order() {
    let authority = Authority::new("a");
    let server = serve_tls(authority.server());
    common::run(async {
        let (sender, mut receiver) = open(&server, authority.trusted()).await.unwrap().split();
        let speaking = async {
            for n in 0..3_000 {
                sender.send(n.to_string()).await.unwrap();
            }
        };
        let hearing = async {
            for n in 0..3_000 {
                let heard = receiver.recv().await.unwrap().unwrap();
                assert_eq!(heard.as_text().unwrap(), n.to_string());
            }
        };
        zip(speaking, hearing).await;
    });
}

#[test]
fn an_unknown_authority_and_a_wrong_name_are_refused() {
    let (authority, other) = (Authority::new("a"), Authority::new("b"));
    let server = serve_tls(authority.server());
    common::run(async {
        let error = open(&server, other.trusted()).await.unwrap_err();
        let Cause::Tls(tls) = &error.closed().unwrap().cause else {
            panic!("{error:?}")
        };
        assert!(tls.is_untrusted(), "{tls}");

        let config = Config {
            client_tls: Some(authority.trusted()),
            ..Config::default()
        };
        let url = format!("wss://[::ffff:127.0.0.1]:{}/", server.address.port());
        let wrong_name = Connect::new(&url).unwrap().config(config);
        assert!(wrong_name.open().await.is_err());
        // Without roots of its own a client trusts the system, not us.
        let url = format!("wss://{}/", server.address);
        assert!(WebSocket::connect(&url).await.is_err());

        works(&mut open(&server, authority.trusted()).await.unwrap())
            .await
            .unwrap();
    });
}

#[test]
fn a_client_certificate_that_is_required() {
    let (authority, clients, other) = (
        Authority::new("a"),
        Authority::new("b"),
        Authority::new("c"),
    );
    let tls = authority.server();
    let tls = tls
        .require_client_certificates(clients.0.pem().as_bytes())
        .unwrap();
    let server = serve_tls(tls);
    common::run(async {
        let mut ws = open(&server, authority.known(&clients)).await.unwrap();
        works(&mut ws).await.unwrap();
        refused(&server, authority.trusted()).await;
        refused(&server, authority.known(&other)).await;
    });
}

#[test]
fn a_client_certificate_that_is_welcome() {
    let (authority, clients, other) = (
        Authority::new("a"),
        Authority::new("b"),
        Authority::new("c"),
    );
    let tls = authority.server();
    let server = serve_tls(tls.with_client_ca(clients.0.pem().as_bytes()).unwrap());
    common::run(async {
        for tls in [authority.known(&clients), authority.trusted()] {
            works(&mut open(&server, tls).await.unwrap()).await.unwrap();
        }
        refused(&server, authority.known(&other)).await;
    });
}

#[test]
fn a_reloaded_certificate_is_shown_to_new_connections_and_old_ones_live_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let tls = old.server();
    let server = serve_tls(tls.clone());
    common::run(async {
        let mut first = open(&server, old.trusted()).await.unwrap();
        assert!(tls.reload(b"nonsense", b"nonsense").is_err());
        works(&mut open(&server, old.trusted()).await.unwrap())
            .await
            .unwrap();
        let (chain, key) = new.issue(ExtendedKeyUsagePurpose::ServerAuth);
        tls.reload(chain.as_bytes(), key.as_bytes()).unwrap();
        works(&mut open(&server, new.trusted()).await.unwrap())
            .await
            .unwrap();
        assert!(open(&server, old.trusted()).await.is_err());
        works(&mut first).await.unwrap();
    });
}

#[test]
fn a_peer_of_version_1_2() {
    let authority = Authority::new("a");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::clone(authority.0.der())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let old = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let old = ClientTls::from_config(Arc::new(old));
    let server = serve_tls(authority.server());
    common::run(async {
        works(&mut open(&server, old.clone()).await.unwrap())
            .await
            .unwrap();
    });
    let server = serve_tls(authority.server().require_tls13().unwrap());
    common::run(async {
        assert!(open(&server, old).await.is_err());
        works(&mut open(&server, authority.trusted()).await.unwrap())
            .await
            .unwrap();
    });
}

#[test]
fn plain_text_to_a_tls_server_and_the_other_way_round() {
    let authority = Authority::new("a");
    let server = serve_tls(authority.server());
    let plain = serve(|server| server, echo);
    common::run(async {
        let error = server.connect().open().await.unwrap_err();
        assert!(error.closed().is_some(), "{error}");
        let error = open(&plain, authority.trusted()).await.unwrap_err();
        assert!(error.closed().is_some(), "{error}");
        works(&mut open(&server, authority.trusted()).await.unwrap())
            .await
            .unwrap();
        works(&mut plain.open().await).await.unwrap();
    });
}
