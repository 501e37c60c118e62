//! Clients of both runtimes through proxies, and what their options of TLS let
//! pass. The proxies are a few lines of our own; with `REAL_PROXIES` in the
//! environment, tinyproxy and microsocks take their place.

#![allow(missing_docs, clippy::unwrap_used)]

mod stage;
mod talk;

use std::process::Command;

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use smartsocket_std::tls::ServerTls;

use stage::{Authority, Echo, Kind, Proxy};
use talk::{ALL, Options, STAYING};

const KNOWN: &str = "us%2Der:pa.ss@";

fn through(proxy: &Proxy, userinfo: &str, authority: &Authority) -> Options {
    Options {
        proxy: Some(proxy.url(userinfo)),
        ca: Some(authority.pem()),
        ..Options::default()
    }
}

#[test]
fn every_client_gets_through_every_proxy() {
    let authority = Authority::new();
    let plain = Echo::start(None);
    let secure = Echo::start(Some(authority.server("localhost")));
    for kind in [Kind::Http, Kind::Socks] {
        for (closed, userinfo) in [(false, ""), (false, KNOWN), (true, KNOWN)] {
            let proxy = Proxy::start(kind, closed);
            let options = through(&proxy, userinfo, &authority);
            for (name, talk) in ALL {
                let urls = [
                    format!("ws://{}/", plain.address),
                    format!("wss://localhost:{}/", secure.address.port()),
                ];
                for url in urls {
                    let result = talk(&url, &options);
                    assert_eq!(result, Ok(()), "{name} to {url} by {options:?}");
                }
            }
            assert_eq!(proxy.ways(), if proxy.is_real() { 0 } else { 8 });
        }
    }
}

#[test]
fn a_client_that_lost_its_way_comes_back_through_the_proxy() {
    let authority = Authority::new();
    let server = Echo::start(Some(authority.server("localhost")));
    let url = format!("wss://localhost:{}/", server.address.port());
    for kind in [Kind::Http, Kind::Socks] {
        for (name, stays) in STAYING {
            let proxy = Proxy::ours(kind, true, None);
            let options = through(&proxy, KNOWN, &authority);
            stays(&url, &options, &|| proxy.cut());
            assert_eq!(proxy.ways(), 4, "{name} by {kind:?}");
        }
    }
}

#[test]
fn a_proxy_that_refuses_is_told_in_words_without_the_password() {
    let authority = Authority::new();
    let server = Echo::start(None);
    let url = format!("ws://{}/", server.address);
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("ws://{}/", listener.local_addr().unwrap())
    };
    for kind in [Kind::Http, Kind::Socks] {
        let closed = Proxy::start(kind, true);
        let open = Proxy::start(kind, false);
        let asks = "the proxy asks for a user and a password";
        // tinyproxy says 401 to a wrong password, where RFC 9110 has 407.
        let wrong = match (kind, closed.is_real()) {
            (Kind::Http, true) => "the proxy answered with HTTP status 401 (Unauthorized)",
            (Kind::Http | Kind::Socks, _) => "the proxy does not take this user and password",
        };
        let gone = match (kind, closed.is_real()) {
            (Kind::Http, true) => "the proxy answered with HTTP status 500 (Unable to connect)",
            (Kind::Http, false) => "the proxy answered with HTTP status 502 (Bad Gateway)",
            (Kind::Socks, _) => "the server refused the connection of the proxy",
        };
        for (proxy, userinfo, url, error) in [
            (&closed, "", &url, asks),
            (&closed, "us%2Der:wrong@", &url, wrong),
            (&open, "", &dead, gone),
        ] {
            let options = through(proxy, userinfo, &authority);
            for (name, talk) in ALL {
                let told = talk(url, &options).unwrap_err();
                assert_eq!(told, error, "{name} by {kind:?}");
            }
        }
    }
}

#[test]
fn a_proxy_that_is_not_there_or_cannot_be_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for (proxy, error) in [
        (format!("http://us:hunter2@{address}"), "connection refused"),
        ("https://us:hunter2@h".into(), "not supported"),
        ("socks4://us:hunter2@h".into(), "use socks5://"),
        ("http://us:hunter2@h:x".into(), "port of the url"),
    ] {
        let options = Options {
            proxy: Some(proxy),
            ..Options::default()
        };
        for (name, talk) in ALL {
            let told = talk("ws://127.0.0.1:1/", &options).unwrap_err();
            assert!(told.contains(error), "{name}: {told}");
            assert!(!told.contains("hunter2"), "{name}: {told}");
            assert!(!format!("{told:?}").contains("hunter2"));
        }
    }
}

/// What the variables of the environment lead to, each in a process that has
/// them: this test again.
#[test]
fn the_environment_is_heeded_but_for_what_is_near_or_told_otherwise() {
    const URL: &str = "SMARTSOCKET_TEST_URL";
    const DIRECT: &str = "SMARTSOCKET_TEST_DIRECT";
    if let Ok(url) = std::env::var(URL) {
        let options = Options {
            no_proxy: std::env::var_os(DIRECT).is_some(),
            any_certificate: true,
            ..Options::default()
        };
        for (name, talk) in ALL {
            println!("{name}: {:?}", talk(&url, &options));
        }
        return;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let run = |url: &str, variables: &[(&str, &str)]| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", &name, "--nocapture"]);
        for variable in ["all_proxy", "http_proxy", "https_proxy", "no_proxy"] {
            child.env_remove(variable);
            child.env_remove(variable.to_uppercase());
        }
        child.env(URL, url).envs(variables.iter().copied());
        let output = child.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = Echo::start(None);
    let authority = Authority::new();
    let secure = Echo::start(Some(authority.server("chat.invalid")));
    let to_plain = Proxy::ours(Kind::Http, true, Some(plain.address));
    let to_secure = Proxy::ours(Kind::Socks, true, Some(secure.address));
    let (to_plain_url, to_secure_url) = (to_plain.url(KNOWN), to_secure.url(KNOWN));
    let both = [
        ("http_proxy", to_plain_url.as_str()),
        ("HTTPS_PROXY", to_secure_url.as_str()),
    ];
    // Nobody but these proxies knows such a host.
    let out = run("ws://chat.invalid/", &both);
    assert_eq!(out.matches(": Ok(())").count(), 4, "{out}");
    let out = run("wss://chat.invalid/", &both);
    assert_eq!(out.matches(": Ok(())").count(), 4, "{out}");
    assert_eq!((to_plain.ways(), to_secure.ways()), (4, 4));

    for more in [("NO_PROXY", "invalid"), (DIRECT, "1"), ("no_proxy", "*")] {
        let out = run("ws://chat.invalid/", &[both[0], both[1], more]);
        assert_eq!(out.matches("Err(").count(), 4, "{out}");
    }
    let near = format!("ws://localhost:{}/", plain.address.port());
    let out = run(&near, &[("http_proxy", "http://127.0.0.1:1")]);
    assert_eq!(out.matches(": Ok(())").count(), 4, "{out}");
    let out = run(
        "ws://chat.invalid/",
        &[("http_proxy", "https://us:hunter2@h")],
    );
    assert_eq!(out.matches("(in http_proxy)").count(), 4, "{out}");
    assert!(!out.contains("hunter2"), "{out}");
    assert_eq!(
        (to_plain.ways(), to_secure.ways()),
        (4, 4),
        "nobody else came"
    );
}

/// MB-27, MB-38, MB-39, MB-41.
#[test]
fn certificates_are_checked_and_what_is_wrong_is_told() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.server("localhost");
    let of = |(chain, key): (String, String)| {
        ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    };
    let expired = of(authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    }));
    let early = of(authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2999, 1, 1);
        params.not_after = date_time_ymd(3000, 1, 1);
    }));
    let wrong = authority.server("other.example");
    let trusting = Options {
        ca: Some(authority.pem()),
        ..Options::default()
    };
    let system = Options::default();
    let anything = Options {
        any_certificate: true,
        ..Options::default()
    };
    let foreign = Options {
        ca: Some(other.pem()),
        ..Options::default()
    };
    let unknown =
        "the peer's certificate is signed by nobody we trust (UNABLE_TO_VERIFY_LEAF_SIGNATURE)";
    for (server, options, error) in [
        (&good, &trusting, ""),
        (&good, &foreign, unknown),
        (
            &expired,
            &trusting,
            "the peer's certificate has expired, or our clock is ahead (CERT_HAS_EXPIRED)",
        ),
        (
            &early,
            &trusting,
            "the peer's certificate is not valid yet, or our clock is behind (CERT_NOT_YET_VALID)",
        ),
        (
            &wrong,
            &trusting,
            "certificate not valid for name \"localhost\"",
        ),
        (&expired, &anything, ""),
        (&wrong, &anything, ""),
    ] {
        let server = Echo::start(Some(server.clone()));
        let url = format!("wss://localhost:{}/", server.address.port());
        for (name, talk) in ALL {
            match talk(&url, options) {
                Ok(()) => assert_eq!(error, "", "{name}"),
                Err(told) => {
                    assert!(
                        !error.is_empty() && told.starts_with(error),
                        "{name}: {told}"
                    );
                    let named = !error.starts_with("certificate not valid for")
                        || told.ends_with("(ERR_TLS_CERT_ALTNAME_INVALID)");
                    assert!(named, "{told}");
                }
            }
        }
    }
    // The system trusts no authority of ours, or has none to trust.
    let server = Echo::start(Some(good));
    let url = format!("wss://localhost:{}/", server.address.port());
    for (name, talk) in ALL {
        let told = talk(&url, &system).unwrap_err();
        let known = [unknown, "no root certificate to trust was given"];
        assert!(known.contains(&told.as_str()), "{name}: {told}");
    }
    // A plain server.
    let server = Echo::start(None);
    let url = format!("wss://{}/", server.address);
    for (name, talk) in ALL {
        let told = talk(&url, &trusting).unwrap_err();
        assert!(told.contains("does not speak TLS"), "{name}: {told}");
    }
}

/// MB-36, MB-37.
#[test]
fn a_client_shows_its_certificate_where_one_is_asked_for() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("localhost", |_| ());
    let ca = authority.pem();
    let asking = ServerTls::from_pem(chain.as_bytes(), key.as_bytes())
        .and_then(|tls| tls.require_client_certificates(ca.as_bytes()))
        .unwrap();
    let server = Echo::start(Some(asking));
    let url = format!("wss://localhost:{}/", server.address.port());
    let known = authority.issue("client", |params| {
        let usages = &mut params.extended_key_usages;
        usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    });
    let with = |identity: Option<(String, String)>| Options {
        ca: Some(ca.clone()),
        identity,
        ..Options::default()
    };
    for (name, talk) in ALL {
        assert_eq!(talk(&url, &with(Some(known.clone()))), Ok(()), "{name}");
        // With TLS 1.3 it learns so after the handshake.
        assert!(talk(&url, &with(None)).is_err(), "{name}");
        let swapped = (known.1.clone(), known.0.clone());
        let told = talk(&url, &with(Some(swapped))).unwrap_err();
        assert!(
            told.starts_with("no certificate found in the certificate chain"),
            "{told}"
        );
        let bad = Options {
            ca: Some("nothing".into()),
            ..Options::default()
        };
        let told = talk(&url, &bad).unwrap_err();
        assert!(
            told.starts_with("no certificate found in the root CA"),
            "{told}"
        );
    }
}
