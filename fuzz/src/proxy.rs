//! Proxies: their URLs, the rules of the environment, and what they answer.

use smartsocket_core::http::{UpgradeRequest, Url};
use smartsocket_core::proxy::{Proxies, Proxy};
use smartsocket_core::websocket::{Cause, Event, Output};
use smartsocket_core::{Config, Fault, Seed, Tick, WebSocket};

use crate::input::{Input, bit, choice, pieces};

/// What no error and no log may hold.
const SECRET: &str = "hunter2";

/// `options, n, n sizes of pieces`, then the proxy's bytes; or, if the options
/// say so, `a proxy, exceptions, a URL` as lines.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte();
    if bit(options, 7) {
        let text = String::from_utf8_lossy(input.0);
        let mut lines = text.split('\n');
        let mut line = || lines.next().unwrap_or_default();
        return rules(line(), line(), line());
    }
    let sizes = input.counted(15);
    let proxy = [
        "http://proxy",
        "http://us:hunter2@proxy",
        "socks5://proxy",
        "socks5://us:hunter2@proxy",
    ][choice(options, 0)];
    let url = ["ws://h.example", "ws://1.2.3.4:5", "ws://[::1]:5"][choice(options, 1).min(2)];
    let whole = talk(proxy, url, input.0, &[]);
    for sizes in [sizes, &[1]] {
        let cut = talk(proxy, url, input.0, sizes);
        assert_eq!(cut, whole, "cut by {sizes:?}");
    }
}

/// What was said before the server was reached, and how it ended.
type Outcome = (Vec<u8>, Option<String>);

fn talk(proxy: &str, url: &str, answer: &[u8], sizes: &[u8]) -> Outcome {
    // Who was never told may say what it likes; so may the server.
    let told = proxy.contains(SECRET);
    let proxy: Proxy = proxy.parse().expect("a proxy");
    let config = Config {
        proxies: Some(Proxies::from(proxy)),
        ..Config::default()
    };
    let request = UpgradeRequest::new(url).expect("a URL");
    let mut ws = WebSocket::client(request, config, Seed::new([3; 32]), Tick::ZERO)
        .expect("a way without TLS");
    let mut said = Vec::new();
    let mut outcome = None;
    let mut take = |ws: &mut WebSocket| {
        while let Some(output) = ws.poll_output() {
            if let Output::Event(Event::Closed(closed)) = output {
                assert!(outcome.is_none(), "two outcomes");
                if let Cause::Tunnel(error) = &closed.cause {
                    let words = error.to_string();
                    assert!(words.len() < 1_024 && !words.chars().any(char::is_control));
                    assert!(!told || !format!("{words} {closed:?}").contains(SECRET));
                }
                outcome = Some(format!("{:?}", closed.cause));
            }
        }
        for bytes in ws.unsent() {
            said.extend_from_slice(bytes);
        }
        let n = ws.unsent().map(|bytes| bytes.len()).sum();
        ws.transmitted(Tick::ZERO, n);
    };
    take(&mut ws);
    for piece in pieces(answer, sizes) {
        ws.handle_bytes(Tick::ZERO, &mut piece.to_vec());
        let shown = format!("{ws:?}");
        assert!(!told || !shown.contains("Tunnel") || !shown.contains(SECRET));
        take(&mut ws);
    }
    ws.handle_fault(Tick::ZERO, Fault::Reset);
    take(&mut ws);
    assert!(outcome.is_some(), "it never ends");
    // The server is asked once, and only when the proxy gave a way.
    let asks = said.windows(6).filter(|it| it == b"GET / ").count();
    assert!(asks <= 1);
    (said, outcome)
}

fn rules(proxy: &str, except: &str, url: &str) {
    let parsed = Proxy::parse(proxy);
    if let Ok(proxy) = &parsed {
        let shown = proxy.to_string();
        assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()) && !shown.contains('@'));
        let again = Proxy::parse(&shown).expect("what is shown is a proxy");
        assert_eq!(again.to_string(), shown);
        assert_eq!((again.host(), again.port()), (proxy.host(), proxy.port()));
    }
    let Ok(url) = Url::parse(url) else {
        return;
    };
    let from = |except: &str| {
        let value = |name: &str| match name {
            "all_proxy" => Some(proxy.to_owned()),
            "no_proxy" => Some(except.to_owned()),
            _ => None,
        };
        let proxies = Proxies::from_env(value);
        let found = proxies.of(&url);
        found.map(|found| found.cloned()).map_err(drop)
    };
    let found = from(except);
    // An exception takes away, and never adds.
    let without = from("");
    assert!(found == Ok(None) || found == without);
    assert_eq!(from("*"), Ok(None));
    if let Ok(Some(found)) = &found {
        assert_eq!(Ok(found), parsed.as_ref());
    }
    // A host of dots alone has no name to except it by.
    if url.host().bytes().any(|byte| byte != b'.') {
        for separator in [',', ' '] {
            let named = format!("{except}{separator}{}", bracketed(url.host()));
            assert_eq!(from(&named), Ok(None));
        }
    }
}

fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}
