//! The opening: who is let in, and what the others are told.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use common::{UPGRADE, echo, raw, read_all, read_head, serve, serve_echo, sleep_ms};
use smartsocket_smol::http::{Headers, Origins, Response};
use smartsocket_smol::{
    Accept, Cause, Config, Connect, Deadline, Decision, Error, Fault, Message, Server, Ticket,
    WebSocket,
};

fn cause(error: &Error) -> &Cause {
    &error.closed().unwrap().cause
}

async fn decide(ticket: Ticket) -> Decision {
    let path = ticket.request().path().to_owned();
    match &*path {
        "/chat" => {
            let mut headers = Headers::new();
            headers.push("X-Room", "7").unwrap();
            ticket.accept(Accept {
                subprotocol: Some("chat.v2".into()),
                headers,
            })
        }
        "/slow" => {
            sleep_ms(300).await;
            ticket.accept(Accept::default())
        }
        "/never" => std::future::pending().await,
        "/page" if !ticket.is_upgrade() => {
            ticket.respond(Response::text(200, "hello").header("X-Page", "1").unwrap())
        }
        "/panic" => panic!("on purpose"),
        _ => ticket.respond(Response::text(403, "not you")),
    }
}

#[test]
fn every_request_is_decided() {
    let server = serve(|server| server.on_request(decide), echo);
    let url = |path: &str| format!("ws://{}{path}", server.address);
    common::run(async {
        let connect = Connect::new(&url("/chat")).unwrap();
        let connect = connect.subprotocol("chat.v1").unwrap();
        let mut ws = connect
            .subprotocol("chat.v2")
            .unwrap()
            .open()
            .await
            .unwrap();
        assert_eq!(ws.agreed().unwrap().subprotocol.as_deref(), Some("chat.v2"));
        assert_eq!(ws.response().unwrap().headers().get("x-room"), Some("7"));
        ws.send("hi").await.unwrap();
        assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("hi"));

        let error = WebSocket::connect(&url("/other")).await.unwrap_err();
        let Cause::Refused(response) = cause(&error) else {
            panic!("{error}")
        };
        assert_eq!(response.status(), 403);
        assert_eq!(&response.content()[..], b"not you");

        let page = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer =
            String::from_utf8(read_all(&mut raw(server.address, page.as_bytes()))).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.to_ascii_lowercase().contains("x-page: 1"),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    });
}

#[test]
fn a_decision_may_take_longer_than_the_handshake_deadline() {
    let config = Config {
        handshake_timeout: Some(Duration::from_millis(100)),
        ..Config::default()
    };
    let server = serve(move |server| server.config(config).on_request(decide), echo);
    common::run(async {
        let url = format!("ws://{}/slow", server.address);
        let mut ws = WebSocket::connect(&url).await.unwrap();
        ws.send("hi").await.unwrap();
        assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("hi"));
    });
}

#[test]
fn a_decision_that_never_comes_or_panics_hurts_only_its_connection() {
    let server = serve(
        |server| {
            server
                .on_request(decide)
                .drain_timeout(Duration::from_millis(100))
        },
        echo,
    );
    common::run(async {
        let never = format!("ws://{}/never", server.address);
        let never = Connect::new(&never)
            .unwrap()
            .timeout(Duration::from_millis(100));
        let error = never.open().await.unwrap_err();
        let Error::Connect { fault, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*fault, Fault::TimedOut);

        let panics = format!("ws://{}/panic", server.address);
        let error = WebSocket::connect(&panics).await.unwrap_err();
        let Cause::Refused(response) = cause(&error) else {
            panic!("{error}")
        };
        assert_eq!(response.status(), 503);

        let chat = format!("ws://{}/slow", server.address);
        WebSocket::connect(&chat).await.unwrap();
    });
}

#[test]
fn the_answer_is_out_before_the_handler_does_anything() {
    let server = serve(
        |server| server.drain_timeout(Duration::ZERO),
        async |_ws: WebSocket| std::future::pending().await,
    );
    common::run(async { server.open().await });
}

#[test]
fn frames_sent_before_the_decision_wait_for_it() {
    let server = serve(|server| server.on_request(decide), echo);
    let request = UPGRADE.replace("GET / ", "GET /slow ");
    let early = [request.as_bytes(), &common::masked(1, b"early")].concat();
    let mut socket = raw(server.address, &early);
    let head = read_head(&mut socket);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket.write_all(&common::masked(8, &[3, 232])).unwrap();
    let expected = [
        common::unmasked(1, b"early"),
        common::unmasked(8, &[3, 232]),
    ];
    assert_eq!(read_all(&mut socket), expected.concat());
}

#[test]
fn pages_of_other_hosts_are_refused() {
    let server = serve_echo();
    let from = |origin: &str| {
        let connect = server.connect().header("Origin", origin).unwrap();
        common::run(connect.open())
    };
    assert!(from(&format!("http://{}", server.address)).is_ok());
    let error = from("https://evil.example").unwrap_err();
    let Cause::Refused(response) = cause(&error) else {
        panic!("{error}")
    };
    assert_eq!(response.status(), 403);

    let config = Config {
        origins: Origins::List(vec!["https://app.example".into()]),
        ..Config::default()
    };
    let server = serve(move |server| server.config(config), echo);
    let from = |origin: &str| {
        let connect = server.connect().header("Origin", origin).unwrap();
        common::run(connect.open())
    };
    assert!(from("https://app.example").is_ok());
    assert!(from(&format!("http://{}", server.address)).is_err());
}

#[test]
fn what_is_no_websocket_is_answered_in_http() {
    let server = serve_echo();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426"),
        (UPGRADE.replace("Version: 13", "Version: 8"), "426"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9_000)),
            "414",
        ),
    ] {
        let answer = read_all(&mut raw(server.address, request.as_bytes()));
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
}

#[test]
fn a_server_that_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        for answer in ["HTTP/1.1 101 x\r\n\r\n", "ICY 200\r\n\r\n", ""] {
            let (mut socket, _) = listener.accept().unwrap();
            read_head(&mut socket);
            socket.write_all(answer.as_bytes()).unwrap();
        }
    });
    for _ in 0..3 {
        let url = format!("ws://{address}");
        let error = common::run(WebSocket::connect(&url)).unwrap_err();
        assert!(matches!(error, Error::Closed(_)), "{error:?}");
    }
    thread.join().unwrap();
}

#[test]
fn nobody_there() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = common::run(WebSocket::connect(&format!("ws://{unused}"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot connect to {unused}: connection refused (ECONNREFUSED)")
    );
    let error = common::run(WebSocket::connect("ws://no-such-host.invalid/")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot connect to no-such-host.invalid:80: host not found: "),
        "{text}"
    );
    for url in ["ftp://x", "ws://", "ws://x:y/", "x"] {
        let error = common::run(WebSocket::connect(url)).unwrap_err();
        assert!(matches!(error, Error::Url(_)), "{url}: {error}");
    }
}

#[test]
fn a_listener_that_never_answers() {
    // The kernel completes the connection; nobody accepts it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let connect = || Connect::new(&url).unwrap();
    let error = common::run(connect().timeout(Duration::from_millis(100)).open()).unwrap_err();
    let Error::Connect { fault, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*fault, Fault::TimedOut);

    let config = Config {
        handshake_timeout: Some(Duration::from_millis(100)),
        ..Config::default()
    };
    let error = common::run(connect().config(config).open()).unwrap_err();
    assert!(
        matches!(cause(&error), Cause::Timeout(Deadline::Handshake)),
        "{error}"
    );
}

#[test]
fn a_port_in_use_is_an_error() {
    let server = serve_echo();
    let error = Server::bind(server.address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let address = server.address;
    server.stop();
    Server::bind(address).unwrap();
    let list = [address, "127.0.0.1:0".parse().unwrap()];
    let taken = TcpListener::bind(address).unwrap();
    assert_ne!(Server::bind(&list[..]).unwrap().local_addr(), Some(address));
    drop(taken);
    assert!(Server::bind(&[][..] as &[std::net::SocketAddr]).is_err());
}
