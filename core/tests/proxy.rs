//! Clients that go through a proxy: the stages of the handshake in order,
//! whatever the cuts, and how each of them fails.
#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use smartsocket_core::client::{ClientConfig, Ending, Event as Told, Output as Wish, Provider};
use smartsocket_core::client::{State, Verdict};
use smartsocket_core::http::UpgradeRequest;
use smartsocket_core::proxy::{Proxies, Proxy, TunnelError};
use smartsocket_core::websocket::{Cause, ClientError, Deadline, Event, Output};
use smartsocket_core::{Client, Config, Fault, Message, Seed, Tick, WebSocket};

const URL: &str = "ws://chat.example:8080/live";
const CONNECT: &str = "CONNECT chat.example:8080 HTTP/1.1\r\nHost: chat.example:8080\r\n";
const SOCKS_HELLO: &[u8] = &[5, 1, 0];
const SOCKS_ASK: &[u8] = b"\x05\x01\x00\x03\x0cchat.example\x1f\x90";
const SOCKS_DONE: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80];

fn through(proxy: &str) -> Config {
    Config {
        proxies: Some(Proxies::from(proxy.parse::<Proxy>().unwrap())),
        ..Config::default()
    }
}

fn client(proxy: &str) -> WebSocket {
    let request = UpgradeRequest::new(URL).unwrap();
    WebSocket::client(request, through(proxy), Seed::new([1; 32]), Tick::ZERO).unwrap()
}

fn server() -> WebSocket {
    WebSocket::server(Config::default(), Seed::new([2; 32]), Tick::ZERO)
}

fn drain(ws: &mut WebSocket) -> Vec<Output> {
    std::iter::from_fn(|| ws.poll_output()).collect()
}

fn sent(ws: &mut WebSocket) -> Vec<u8> {
    drain(ws);
    let bytes: Vec<u8> = ws.unsent().flat_map(|bytes| bytes.to_vec()).collect();
    ws.transmitted(Tick::ZERO, bytes.len());
    bytes
}

/// What the outcome is once these bytes came; the stream can be dropped then.
fn ending(ws: &mut WebSocket) -> Cause {
    let mut outputs = drain(ws);
    assert!(matches!(outputs.pop(), Some(Output::Close)));
    match outputs.pop() {
        Some(Output::Event(Event::Closed(closed))) => closed.cause,
        other => panic!("{other:?}"),
    }
}

fn opens(client: &mut WebSocket, mut request: Vec<u8>, cut: usize) {
    let mut server = server();
    for _ in 0..4 {
        server.handle_bytes(Tick::ZERO, &mut request);
        for piece in sent(&mut server).chunks_mut(cut) {
            client.handle_bytes(Tick::ZERO, piece);
        }
        request = sent(client);
    }
    assert!(client.is_open() && server.is_open());
    client.send(Tick::ZERO, "through").unwrap();
    server.handle_bytes(Tick::ZERO, &mut sent(client));
    let heard = drain(&mut server)
        .into_iter()
        .find_map(|output| match output {
            Output::Event(Event::Message(message)) => Some(message),
            _ => None,
        });
    assert_eq!(heard, Some(Message::text("through")));
}

#[test]
fn the_upgrade_follows_once_the_proxy_gave_a_way() {
    for cut in [1, 7, usize::MAX] {
        let mut ws = client("http://us:pw@proxy");
        let authorization = "Proxy-Authorization: Basic dXM6cHc=\r\n\r\n";
        let said = String::from_utf8(sent(&mut ws)).unwrap();
        assert_eq!(said, format!("{CONNECT}{authorization}"));
        for piece in b"HTTP/1.0 200 Connection established\r\n\r\n"
            .to_vec()
            .chunks_mut(cut)
        {
            assert!(
                sent(&mut ws).is_empty(),
                "nothing before the answer is whole"
            );
            ws.handle_bytes(Tick::ZERO, piece);
        }
        let request = sent(&mut ws);
        let text = String::from_utf8_lossy(&request);
        assert!(text.starts_with("GET /live HTTP/1.1\r\nHost: chat.example:8080\r\n"));
        assert!(!text.contains("Proxy-"), "the server learns nothing of it");
        opens(&mut ws, request, cut);
    }
}

#[test]
fn a_socks_proxy_is_asked_step_by_step() {
    for cut in [1, 3, usize::MAX] {
        let mut ws = client("socks5://proxy");
        assert_eq!(sent(&mut ws), SOCKS_HELLO);
        for piece in [5, 0].chunks_mut(cut) {
            ws.handle_bytes(Tick::ZERO, piece);
        }
        assert_eq!(sent(&mut ws), SOCKS_ASK);
        for piece in SOCKS_DONE.to_vec().chunks_mut(cut) {
            ws.handle_bytes(Tick::ZERO, piece);
        }
        let request = sent(&mut ws);
        assert!(request.starts_with(b"GET /live"));
        opens(&mut ws, request, cut);
    }
}

/// A blocking adapter reads the answer in one thread while another has not yet
/// reported what it wrote.
#[test]
fn bytes_reported_late_do_not_count_for_what_comes_after_them() {
    let mut ws = client("http://proxy");
    drain(&mut ws);
    let first: usize = ws.unsent().map(|bytes| bytes.len()).sum();
    ws.handle_bytes(Tick::ZERO, &mut b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    drain(&mut ws);
    ws.transmitted(Tick::ZERO, first);
    let request = sent(&mut ws);
    assert!(
        request.starts_with(b"GET /live"),
        "{}",
        request.escape_ascii()
    );
    opens(&mut ws, request, usize::MAX);
}

#[test]
fn every_failure_of_the_proxy_has_its_outcome() {
    let mut ws = client("http://proxy");
    ws.handle_bytes(Tick::ZERO, &mut b"HTTP/1.1 407 x\r\n\r\n{}".to_vec());
    let cause = ending(&mut ws);
    assert!(matches!(cause, Cause::Tunnel(TunnelError::NoCredentials)));

    let mut ws = client("socks5://proxy");
    ws.handle_bytes(Tick::ZERO, &mut [5, 0, 5, 5]);
    let cause = ending(&mut ws);
    assert!(matches!(cause, Cause::Tunnel(TunnelError::Reply(5))));

    let mut ws = client("http://proxy");
    ws.handle_eof(Tick::ZERO);
    let cause = ending(&mut ws);
    assert!(matches!(cause, Cause::Tunnel(TunnelError::Ended)));

    let mut ws = client("http://proxy");
    ws.handle_fault(Tick::ZERO, Fault::Reset);
    assert!(matches!(ending(&mut ws), Cause::Fault(Fault::Reset)));

    // The deadline of the handshake holds from the first byte on.
    let mut ws = client("http://proxy");
    sent(&mut ws);
    let due = Config::default().handshake_timeout.unwrap();
    assert_eq!(ws.next_timeout(), Some(Tick::ZERO + due));
    ws.handle_timeout(Tick::ZERO + due);
    assert!(matches!(
        ending(&mut ws),
        Cause::Timeout(Deadline::Handshake)
    ));
}

#[test]
fn a_proxy_that_cannot_be_used_is_never_bypassed() {
    let environment = |name: &str| (name == "http_proxy").then(|| "https://proxy".to_owned());
    let config = Config {
        proxies: Some(Proxies::from_env(environment)),
        ..Config::default()
    };
    let request = UpgradeRequest::new(URL).unwrap();
    let ws = WebSocket::client(request, config.clone(), Seed::new([1; 32]), Tick::ZERO);
    let error = ws.unwrap_err();
    assert!(matches!(error, ClientError::Proxy(_)));
    assert!(error.to_string().ends_with("(in http_proxy)"), "{error}");

    let mut options = ClientConfig::new(URL);
    options.websocket = config.into();
    let client = Client::new(Provider::Custom, options, Seed::new([1; 32]), Tick::ZERO, 0);
    assert!(client.is_err());
}

/// A client that has ended, what it dialed, and its verdict.
fn verdict(answer: &[u8]) -> (String, Verdict) {
    let now = Tick::ZERO;
    let mut options = ClientConfig::new(URL);
    options.websocket = through("http://us:pw@proxy.example:3128").into();
    let seed = Seed::new([1; 32]);
    let mut client = Client::new(Provider::Custom, options, seed, now, 0).unwrap();
    client.connect(now);
    let mut place = String::new();
    let mut found = None;
    for _ in 0..100 {
        match client.poll_output() {
            Some(Wish::Dial(dial)) => {
                place = format!("{}:{}", dial.host, dial.port);
                assert!(client.handle_dialed(now, dial.line));
            }
            Some(Wish::Transmit(line)) => {
                let said: Vec<u8> = client.unsent(line).flat_map(|it| it.to_vec()).collect();
                assert!(said.starts_with(CONNECT.as_bytes()));
                client.transmitted(now, line, said.len());
                client.handle_bytes(now, line, &mut answer.to_vec());
            }
            Some(Wish::Event(Told::Ended(Ending::Closed(closed), verdict))) => {
                assert!(matches!(closed.cause, Cause::Tunnel(_)));
                found = Some(verdict);
            }
            Some(_) => {}
            None => break,
        }
    }
    let state = client.state();
    let verdict = found.expect("an end");
    let expected = match verdict {
        Verdict::Fatal => State::Error,
        _ => State::Reconnecting,
    };
    assert_eq!(state, expected);
    let debug = format!("{client:?}");
    assert!(!debug.contains("pw"), "{debug}");
    (place, verdict)
}

#[test]
fn a_client_dials_the_proxy_and_knows_which_refusals_last() {
    for (answer, expected) in [
        ("407 no", Verdict::Fatal),
        ("403 no", Verdict::Fatal),
        ("404 no", Verdict::Fatal),
        ("429 later", Verdict::Backoff),
        ("502 no", Verdict::Backoff),
        ("503 no", Verdict::Backoff),
        ("504 no", Verdict::Backoff),
    ] {
        let answer = format!("HTTP/1.1 {answer}\r\n\r\n");
        let (place, verdict) = verdict(answer.as_bytes());
        assert_eq!(place, "proxy.example:3128");
        assert_eq!(verdict, expected, "{answer}");
    }
    assert_eq!(verdict(b"SSH-2.0-OpenSSH\r\n").1, Verdict::Fatal);
}
