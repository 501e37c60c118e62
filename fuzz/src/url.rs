//! URLs of clients, and which origins a server takes.

use smartsocket_core::http::{HeadLimits, Headers, Origins, Request, UpgradeRequest, Url};
use smartsocket_core::internals::HeadReader;
use smartsocket_core::{Config, Seed, Tick, WebSocket};

use crate::input::{Input, bit};

/// `whether TLS is below, a URL, an origin, a host`, as lines.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let secure = bit(input.byte(), 0);
    let text = String::from_utf8_lossy(input.0);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    check_url(line());
    check_origin(line(), line(), secure);
}

fn check_url(text: &str) {
    let Ok(url) = Url::parse(text) else {
        return;
    };
    let resource = url.path_and_query();
    assert!(resource.starts_with('/'));
    let authority = url.authority();
    let mut plain = resource.bytes().chain(authority.bytes());
    assert!(plain.all(|byte| byte.is_ascii_graphic()));
    let scheme = if url.secure() { "wss" } else { "ws" };
    let again = format!("{scheme}://{authority}{resource}");
    let again = Url::parse(&again).expect("a part of a URL is one");
    let parts = |url: &Url| {
        let host = url.host().to_owned();
        (
            url.secure(),
            host,
            url.port(),
            url.path_and_query().to_owned(),
        )
    };
    assert_eq!(parts(&again), parts(&url));
    // Neither secrets nor the query are shown.
    if let Some((user, password)) = url.credentials() {
        assert!(text.contains('@'), "{user}:{password} from nowhere");
    } else {
        assert_eq!(again, url);
    }
    assert_eq!(url.to_string(), again.to_string());
    assert!(!url.to_string().contains('@') || resource.contains('@'));

    // What goes on the wire asks for this and nothing else.
    let Ok(ws) = WebSocket::client(
        UpgradeRequest::from(url.clone()),
        Config::default(),
        Seed::new([7; 32]),
        Tick::ZERO,
    ) else {
        assert!(url.secure(), "TLS is not set up");
        return;
    };
    let mut ws = ws;
    ws.flush();
    let head: Vec<u8> = ws.unsent().flat_map(|bytes| bytes.to_vec()).collect();
    let mut reader = HeadReader::request(HeadLimits {
        head_bytes: usize::MAX,
        target: usize::MAX,
        ..HeadLimits::default()
    });
    let used = reader.read(&head).expect("our own head");
    assert_eq!(used, Some(head.len()));
    let request = reader.into_request().expect("our own request");
    assert_eq!(request.target(), resource);
    assert_eq!(request.host(), Some(&authority[..]));
    let authorized = url.credentials().is_some();
    assert_eq!(request.headers().contains("authorization"), authorized);
    assert_eq!(request.headers().len(), 5 + usize::from(authorized));
}

fn check_origin(origin: &str, host: &str, secure: bool) {
    let mut headers = Headers::new();
    if headers.push("Origin", origin).is_err() || headers.push("Host", host).is_err() {
        return;
    }
    // As they are after whitespace around them is gone.
    let (origin, host) = (
        origin.trim_matches([' ', '\t']),
        host.trim_matches([' ', '\t']),
    );
    let request = Request::new("GET", "/", headers);
    let allows = |origins: &Origins| origins.allows(&request, secure);
    assert!(allows(&Origins::Any));
    assert!(!allows(&Origins::List(Vec::new())));
    if allows(&Origins::SameHost) {
        let (scheme, authority) = origin.split_once("://").expect("an origin has a scheme");
        assert!(["http", "https"].contains(&&scheme.to_ascii_lowercase()[..]));
        if !host.starts_with('[') {
            let name = |authority: &str| {
                let name = authority.split(':').next().unwrap_or_default();
                name.to_ascii_lowercase()
            };
            assert_eq!(name(authority), name(host), "another host");
        }
    }
    for listed in ["https://example.com", "http://localhost:8080", origin] {
        if allows(&Origins::List(vec![listed.to_owned()])) {
            let plain = |text: &str| {
                let text = text.to_ascii_lowercase();
                let port = if text.starts_with("https") {
                    ":443"
                } else {
                    ":80"
                };
                text.strip_suffix('/').unwrap_or(&text).replace(port, "")
            };
            // Addresses and port numbers have several forms.
            if !listed.contains('[') && !origin.contains(":0") {
                assert_eq!(plain(listed), plain(origin));
            }
        }
    }
    let own = Origins::List(vec![origin.to_owned()]);
    assert!(allows(&own) || !allows(&Origins::SameHost), "not its own");
}
