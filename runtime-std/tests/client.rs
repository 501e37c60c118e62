//! The client that stays connected, on threads, against a server of this crate
//! that dies and comes back.

#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use smartsocket_core::client::SmartSocket;
use smartsocket_std::client::{
    Auth, Backoff, Client, Event, Incoming, Jitter, Payload, Priority, Provider, State,
    parse_message,
};
use smartsocket_std::{Server, Stopper};

/// A server on a thread of its own, stopped when this is dropped.
struct Running {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(address: &str) -> Self {
        let address = address.to_owned();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let server = Server::builder()
                .namespace("/chat", |chat| {
                    chat.on("echo", |_, data, ack| ack.send(data).unwrap());
                    chat.on("silent", |_, _, _| {});
                    chat.on("message", |socket, data, _| {
                        let io = socket.io().clone();
                        io.namespace("/chat").emit("message", data).unwrap();
                    });
                })
                .bind(&*address)
                .unwrap();
            let address = server.local_addr().unwrap();
            sender.send((address, server.stopper())).unwrap();
            server.run().unwrap();
        });
        let (address, stopper) = receiver.recv().unwrap();
        Self {
            address,
            stopper,
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

fn backoff() -> Backoff {
    Backoff {
        initial: Duration::from_millis(20),
        cap: Duration::from_millis(100),
        jitter: Jitter::NONE,
        max_attempts: 0,
        ..Backoff::default()
    }
}

/// A client that has begun.
fn client(address: SocketAddr) -> Client {
    let options = SmartSocket {
        namespace: "/chat".into(),
        ..SmartSocket::default()
    };
    let provider = Provider::SmartSocket(Box::new(options));
    Client::builder(provider, format!("ws://{address}"))
        .reconnect(Some(backoff()))
        .start()
        .unwrap()
}

const LATE: Duration = Duration::from_secs(20);

fn state(client: &Client, state: State) {
    let begin = Instant::now();
    while client.state() != state {
        assert!(begin.elapsed() < LATE, "{state} is not reached");
        thread::sleep(Duration::from_millis(2));
    }
}

fn text(message: &Incoming) -> String {
    let Payload::Json(data) = &message.data else {
        panic!("{message:?}");
    };
    data.to_text().unwrap()
}

#[test]
fn events_answers_and_messages_pass() {
    let server = Running::start("127.0.0.1:0");
    let client = client(server.address);
    client.connect().unwrap();
    assert_eq!(client.state(), State::Authenticated);
    let answer = client.request(None, "echo", json!({ "n": 1 }), None);
    assert_eq!(answer.unwrap().as_str(), r#"{"n":1}"#);
    let messages = client.subscribe("message");
    client.emit("message", json!("hello")).unwrap();
    assert_eq!(text(&messages.recv_timeout(LATE).unwrap()), "hello");
    let stats = client.stats();
    assert!(stats.messages_received >= 2 && stats.bytes_sent > 0);
    client.disconnect();
    assert_eq!(client.state(), State::Disconnected);
    drop(client);
    // The last handle ends the thread, and what was told by it.
    assert!(messages.recv().is_none());
}

#[test]
fn a_client_survives_its_server() {
    let first = Running::start("127.0.0.1:0");
    let address = first.address;
    let client = client(address);
    let events = client.events();
    client.connect().unwrap();
    let messages = client.subscribe("message");
    drop(first);
    state(&client, State::Reconnecting);
    // Said while it is away, the urgent first.
    for (text, priority) in [("late", Priority::Low), ("soon", Priority::High)] {
        client
            .publish(None, "message", json!(text), priority)
            .unwrap();
    }
    assert_eq!(client.stats().queued, 2);
    let _second = Running::start(&address.to_string());
    for expected in ["soon", "late"] {
        assert_eq!(text(&messages.recv_timeout(LATE).unwrap()), expected);
    }
    assert!(client.stats().reconnect_attempts > 0);
    client.disconnect();
    drop(client);
    drop(messages);
    let states: Vec<_> = events
        .filter_map(|event| match event {
            Event::State(state) => Some(state),
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        [
            State::Connecting,
            State::Connected,
            State::Authenticating,
            State::Authenticated,
            State::Reconnecting,
            State::Connected,
            State::Authenticating,
            State::Authenticated,
            State::Disconnected,
        ]
    );
}

#[test]
fn a_refused_connection_is_told_and_tried_again() {
    // Nobody listens on a port that was just given back.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = client(address);
    let error = client.connect().unwrap_err();
    assert!(error.will_retry(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    let _server = Running::start(&address.to_string());
    state(&client, State::Authenticated);
}

#[test]
fn each_attempt_has_a_token_of_its_own() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Running::start("127.0.0.1:0");
    let url = format!("ws://{}/chat", server.address);
    let client = Client::builder(Provider::Echo, url)
        .auth(Auth::query())
        .token_hook(move || Some(format!("token {}", count.fetch_add(1, Ordering::Relaxed))))
        .reconnect(Some(backoff()))
        .start()
        .unwrap();
    client.connect().unwrap();
    drop(server);
    let begin = Instant::now();
    while asked.load(Ordering::Relaxed) < 3 {
        assert!(begin.elapsed() < LATE);
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn handlers_are_called_by_name_and_may_use_the_client() {
    let server = Running::start("127.0.0.1:0");
    let client = client(server.address);
    let (sender, heard) = std::sync::mpsc::channel();
    let (own, said) = (client.clone(), sender.clone());
    client.on("message", move |message| {
        let n: u32 = text(message).parse().unwrap();
        if n < 3 {
            own.emit("message", json!((n + 1).to_string())).unwrap();
        }
        said.send(format!("on {n}")).unwrap();
    });
    let said = sender.clone();
    client.once("message", move |message| {
        said.send(format!("once {}", text(message))).unwrap();
    });
    client.on("message", |_| panic!("a bug of the application's"));
    client.on_event(move |event| {
        if let Event::State(state) = event {
            sender.send(state.to_string()).unwrap();
        }
    });
    client.connect().unwrap();
    client.emit("message", json!("1")).unwrap();
    let mut all = Vec::new();
    while all.last().is_none_or(|last| last != "on 3") {
        all.push(heard.recv_timeout(Duration::from_secs(20)).unwrap());
    }
    let expected = ["connecting", "connected", "authenticating", "authenticated"];
    assert_eq!(all[..4], expected);
    assert_eq!(all[4..], ["on 1", "once 1", "on 2", "on 3"]);
    client.off("message");
    let messages = client.subscribe_where("message", |it| text(it) != "7");
    client.emit("message", json!("7")).unwrap();
    client.emit("message", json!("8")).unwrap();
    let message = messages.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(text(&message), "8");
    assert!(heard.try_recv().is_err());
    let made = client.create_message("chat", json!({ "text": "Hi!" }), Some("msg-123"));
    let made = parse_message(&made.unwrap()).unwrap();
    let start = r#"{"type":"chat","payload":{"text":"Hi!"},"id":"msg-123","timestamp":1"#;
    assert!(made.as_str().starts_with(start), "{made}");
}
