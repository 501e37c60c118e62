//! The server: its limits, its end, and what a handler can do to it.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use smartsocket_std::http::Response;
use smartsocket_std::{
    Accept, Cause, CloseCode, Config, Connect, Error, Message, Server, Stopper, WebSocket,
};

/// A server in a thread; stopped and joined when dropped.
struct Running {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(
        configure: impl FnOnce(Server) -> Server,
        handler: impl Fn(WebSocket) + Send + Sync + 'static,
    ) -> Self {
        let server = configure(Server::bind("127.0.0.1:0").unwrap());
        Self {
            address: server.local_addr().unwrap(),
            stopper: server.stopper(),
            thread: Some(thread::spawn(move || server.run(handler).unwrap())),
        }
    }

    fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    fn connect(&self) -> Result<WebSocket, Error> {
        WebSocket::connect(&self.url())
    }

    fn stop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn echo(mut ws: WebSocket) {
    while let Some(Ok(message)) = ws.recv() {
        if ws.send(message).is_err() {
            break;
        }
    }
}

fn echoes(ws: &mut WebSocket) {
    ws.send("hello").unwrap();
    assert_eq!(ws.recv().unwrap().unwrap(), Message::text("hello"));
}

fn status(error: &Error) -> u16 {
    let Cause::Refused(response) = &error.closed().unwrap().cause else {
        panic!("{error}")
    };
    response.status()
}

#[test]
fn stopping_closes_every_connection_with_1001() {
    let mut server = Running::start(|server| server, echo);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect().unwrap()).collect();
    clients.iter_mut().for_each(echoes);
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                assert!(client.recv().is_none());
                client.closed().unwrap().clone()
            })
        })
        .collect();
    let asked = Instant::now();
    server.stop();
    assert!(asked.elapsed() < Duration::from_secs(4), "no need to drain");
    for reader in readers {
        let closed = reader.join().unwrap();
        assert_eq!(closed.code, CloseCode::GOING_AWAY);
        assert_eq!(&*closed.reason, "server is stopping");
    }
    assert!(server.connect().is_err());
}

#[test]
fn a_peer_that_does_not_answer_cannot_hold_up_the_stop() {
    let mut server = Running::start(
        |server| server.drain_timeout(Duration::from_millis(100)),
        echo,
    );
    let mut client = server.connect().unwrap();
    echoes(&mut client);
    let asked = Instant::now();
    server.stop();
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert!(client.recv().is_none());
}

#[test]
fn a_handler_that_does_not_return_is_left_behind() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let mut server = Running::start(
        |server| server.drain_timeout(Duration::from_millis(50)),
        move |_ws| {
            let _ = wait.lock().unwrap().recv();
        },
    );
    let _client = server.connect().unwrap();
    let asked = Instant::now();
    server.stop();
    assert!(asked.elapsed() < Duration::from_secs(3));
    drop(release);
}

#[test]
fn a_stop_before_the_start_is_kept() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    server.stopper().stop();
    server.run(echo).unwrap();
}

#[test]
fn a_panic_hurts_only_its_connection() {
    let server = Running::start(
        |server| server,
        |mut ws| {
            while let Some(Ok(message)) = ws.recv() {
                assert_ne!(message.as_text(), Some("boom"), "as told");
                ws.send(message).unwrap();
            }
        },
    );
    let mut good = server.connect().unwrap();
    let mut bad = server.connect().unwrap();
    echoes(&mut good);
    bad.send("boom").unwrap();
    let error = bad.recv().unwrap().unwrap_err();
    assert_eq!(error.closed().unwrap().code, CloseCode::INTERNAL);
    echoes(&mut good);
    echoes(&mut server.connect().unwrap());
}

#[test]
fn a_handler_that_returns_closes_in_order() {
    let server = Running::start(|server| server, |mut ws| ws.send("bye").unwrap());
    let mut client = server.connect().unwrap();
    assert_eq!(client.recv().unwrap().unwrap(), Message::text("bye"));
    assert!(client.recv().is_none());
    assert_eq!(client.closed().unwrap().code, CloseCode::NORMAL);
}

#[test]
fn one_connection_too_many_is_refused_politely() {
    let server = Running::start(|server| server.max_connections(2), echo);
    let mut first = server.connect().unwrap();
    let mut second = server.connect().unwrap();
    // The request may be cut off by the refusal, which came first.
    let mut third = TcpStream::connect(server.address).unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
    echoes(&mut first);
    echoes(&mut second);

    second.close(CloseCode::NORMAL, "").unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while server.connect().is_err() {
        assert!(Instant::now() < until, "the place was not given back");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn requests_are_decided_by_the_application() {
    let server = Running::start(
        |server| {
            server
                .on_request(|ticket| match ticket.request().path() {
                    "/chat" => ticket.accept(Accept::default()),
                    "/health" => ticket.respond(Response::text(200, "fine\n")),
                    _ => ticket.respond(Response::new(404)),
                })
                .config(Config::default())
        },
        echo,
    );
    echoes(&mut WebSocket::connect(&format!("{}chat", server.url())).unwrap());
    assert_eq!(status(&server.connect().unwrap_err()), 404);
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("fine\n"), "{answer}");
}

#[test]
fn headers_and_subprotocols_of_the_client_arrive() {
    let config = Config {
        subprotocols: vec!["chat.v2".into(), "chat.v1".into()],
        ..Config::default()
    };
    let server = Running::start(
        |server| server.config(config),
        |mut ws| {
            let token = ws.request().unwrap().header("authorization").unwrap();
            let token = token.to_owned();
            ws.send(token).unwrap();
        },
    );
    let mut client = Connect::new(&server.url())
        .unwrap()
        .header("Authorization", "Bearer 0000")
        .unwrap()
        .subprotocol("chat.v1")
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(
        client.agreed().unwrap().subprotocol.as_deref(),
        Some("chat.v1")
    );
    assert_eq!(
        client.recv().unwrap().unwrap(),
        Message::text("Bearer 0000")
    );
}

#[test]
fn a_unix_socket_serves_as_well() {
    let path = std::env::temp_dir().join(format!("smartsocket-{}.sock", std::process::id()));
    let server = Server::bind_unix(&path).unwrap();
    assert_eq!(server.local_addr(), None);
    let stopper = server.stopper();
    let thread = thread::spawn(move || server.run(echo).unwrap());
    let mut client = Connect::new("ws://localhost/")
        .unwrap()
        .unix(&path)
        .open()
        .unwrap();
    assert_eq!(client.get_ref().peer_addr(), None);
    echoes(&mut client);
    let reading = thread::spawn(move || client.recv().is_none());
    stopper.stop();
    thread.join().unwrap();
    assert!(reading.join().unwrap());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn ipv6_is_served() {
    let Ok(server) = Server::bind("[::1]:0") else {
        return; // A machine without it.
    };
    let url = format!("ws://{}/", server.local_addr().unwrap());
    let stopper = server.stopper();
    let thread = thread::spawn(move || server.run(echo).unwrap());
    let mut client = WebSocket::connect(&url).unwrap();
    echoes(&mut client);
    client.close(CloseCode::NORMAL, "").unwrap();
    stopper.stop();
    thread.join().unwrap();
}

#[cfg(feature = "tls")]
#[test]
fn tls_is_inside_and_a_stranger_is_not_trusted() {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use smartsocket_std::tls::{ClientTls, ServerTls};

    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (cert.pem(), signing_key.serialize_pem());
    let config = Config {
        server_tls: Some(ServerTls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap()),
        ..Config::default()
    };
    let server = Running::start(|server| server.config(config), echo);
    let url = format!("wss://localhost:{}/", server.address.port());
    let trusting = Config {
        client_tls: Some(
            ClientTls::builder()
                .root_pem(cert.as_bytes())
                .unwrap()
                .build()
                .unwrap(),
        ),
        ..Config::default()
    };
    let mut client = Connect::new(&url).unwrap().config(trusting).open().unwrap();
    echoes(&mut client);
    let big = vec![3; 1 << 20];
    client.send(big.clone()).unwrap();
    assert!(client.recv().unwrap().unwrap().as_bytes() == big);
    client.close(CloseCode::NORMAL, "").unwrap();

    // The system's roots do not know our certificate, if there are any.
    assert!(WebSocket::connect(&url).is_err());
}
