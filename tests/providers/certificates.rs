//! What clients think of the certificates of a Node.js server (MB-27, MB-41).

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use smartsocket_core::Config;
use smartsocket_core::client::{ClientConfig, Event, Provider, State, Verdict};
use smartsocket_core::tls::ClientTls;

use std::sync::Arc;

use crate::on_both;
use crate::runtimes::{Client, Runtime};
use crate::servers::Server;
use crate::survival::backoff;

on_both!(certificates);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate that is good for so long, and its key.
    fn issue(&self, host: &str, years: (i32, i32)) -> (String, String) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A client that trusts this authority alone.
    fn client(&self, runtime: Runtime, server: &Server) -> Client {
        let tls = ClientTls::builder().root_pem(self.0.pem().as_bytes());
        let websocket = Config {
            client_tls: Some(tls.unwrap().build().unwrap()),
            ..Config::default()
        };
        let mut config = ClientConfig::new(format!("wss://localhost:{}/", server.port));
        config.reconnect = Some(backoff());
        config.websocket = Arc::new(websocket);
        Client::new(runtime, Provider::Echo, config)
    }
}

fn certificates(runtime: Runtime) {
    let (ours, other) = (Authority::new(), Authority::new());
    let now = (2020, 2200);
    for (issuer, host, years, words) in [
        (
            &ours,
            "localhost",
            (2001, 2002),
            "the peer's certificate has expired",
        ),
        (
            &ours,
            "localhost",
            (2199, 2200),
            "the peer's certificate is not valid yet",
        ),
        (
            &ours,
            "other.example",
            now,
            "certificate not valid for name \"localhost\"",
        ),
        (
            &other,
            "localhost",
            now,
            "the peer's certificate is signed by nobody we trust",
        ),
    ] {
        let server = Server::secure("echo.mjs", issuer.issue(host, years));
        let client = ours.client(runtime, &server);
        let error = client.connect().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        // It would be refused again and again.
        assert!(!error.will_retry(), "{error}");
        let verdict = client.hear("ending", |event| match event {
            Event::Ended(_, verdict) => Some(*verdict),
            _ => None,
        });
        assert_eq!(verdict, Verdict::Fatal);
        client.becomes(State::Error);
    }

    let server = Server::secure("echo.mjs", ours.issue("localhost", now));
    let client = ours.client(runtime, &server);
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    let all = client.subscribe("*");
    client.send("\"over TLS\"");
    assert_eq!(all.json(), "\"over TLS\"");
    let grave = server.kill();
    client.becomes(State::Reconnecting);
    let _server = grave.revive();
    client.becomes(State::Authenticated);
    client.send("\"again\"");
    assert_eq!(all.json(), "\"again\"");
    client.disconnect();
}
