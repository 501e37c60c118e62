//! The client that stays connected, on smol, against a server of this crate
//! that dies and comes back.

#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_io::Timer;
use futures_lite::FutureExt as _;
use serde_json::json;
use smartsocket_core::client::SmartSocket;
use smartsocket_smol::client::{
    Auth, Backoff, Client, Event, Incoming, Jitter, Payload, Priority, Provider, RequestError,
    State, parse_message,
};
use smartsocket_smol::{Server, Stopper, block_on};

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
                    chat.on("echo", async |_, data, ack| ack.send(data).unwrap());
                    chat.on("silent", async |_, _, _| {});
                    chat.on("message", async |socket, data, _| {
                        let io = socket.io().clone();
                        io.namespace("/chat").emit("message", data).unwrap();
                    });
                })
                .bind(&*address)
                .unwrap();
            let address = server.local_addr().unwrap();
            sender.send((address, server.stopper())).unwrap();
            block_on(server.run()).unwrap();
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

/// A client, whose driver runs on a thread of its own.
fn client(address: SocketAddr) -> (Client, thread::JoinHandle<()>) {
    let options = SmartSocket {
        namespace: "/chat".into(),
        ..SmartSocket::default()
    };
    let provider = Provider::SmartSocket(Box::new(options));
    let (client, driver) = Client::builder(provider, format!("ws://{address}"))
        .reconnect(Some(backoff()))
        .build()
        .unwrap();
    (client, thread::spawn(|| block_on(driver)))
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    work.or(async {
        Timer::after(Duration::from_secs(20)).await;
        panic!("it takes too long");
    })
    .await
}

async fn state(client: &Client, state: State) {
    soon(async {
        while client.state() != state {
            Timer::after(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn text(message: &Incoming) -> String {
    match &message.data {
        Payload::Json(data) => data.as_str().to_owned(),
        Payload::Message(message) => panic!("{message:?}"),
    }
}

#[test]
fn events_answers_and_messages_pass() {
    let server = Running::start("127.0.0.1:0");
    let (client, driver) = client(server.address);
    block_on(soon(async {
        client.connect().await.unwrap();
        assert_eq!(client.state(), State::Authenticated);
        let answer = client.request(None, "echo", json!({ "n": 1 }), None).await;
        assert_eq!(answer.unwrap().as_str(), r#"{"n":1}"#);
        let mut messages = client.subscribe("message");
        client.emit("message", json!("hello")).unwrap();
        let message = messages.next().await.unwrap();
        let Payload::Json(data) = &message.data else {
            panic!("{message:?}");
        };
        assert_eq!(data.to_text().as_deref(), Some("hello"));
        let timeout = Some(Duration::from_millis(30));
        let answer = client.request(None, "silent", json!(1), timeout).await;
        // The server says by itself that the handler gave none.
        assert!(matches!(answer, Ok(_) | Err(RequestError::TimedOut)));
        let stats = client.stats();
        assert!(stats.messages_received >= 2 && stats.bytes_sent > 0);
        client.disconnect().await;
        assert_eq!(client.state(), State::Disconnected);
    }));
    // The last handle ends the driver.
    drop(client);
    driver.join().unwrap();
}

#[test]
fn a_client_survives_its_server() {
    let first = Running::start("127.0.0.1:0");
    let address = first.address;
    let (client, driver) = client(address);
    let events = client.events();
    block_on(soon(async {
        client.connect().await.unwrap();
        let mut messages = client.subscribe("message");
        drop(first);
        state(&client, State::Reconnecting).await;
        // Said while it is away, the urgent first.
        for (text, priority) in [("late", Priority::Low), ("soon", Priority::High)] {
            client
                .publish(None, "message", json!(text), priority)
                .unwrap();
        }
        assert_eq!(client.stats().queued, 2);
        let _second = Running::start(&address.to_string());
        for text in ["soon", "late"] {
            let message = messages.next().await.unwrap();
            let Payload::Json(data) = &message.data else {
                panic!("{message:?}");
            };
            assert_eq!(data.to_text().as_deref(), Some(text));
        }
        assert_eq!(client.state(), State::Authenticated);
        assert!(client.stats().reconnect_attempts > 0);
        client.disconnect().await;
    }));
    let mut states = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::State(state) = event {
            states.push(state);
        }
    }
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
    drop(client);
    driver.join().unwrap();
}

#[test]
fn a_refused_connection_is_told_and_tried_again() {
    // Nobody listens on a port that was just given back.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (client, driver) = client(address);
    block_on(soon(async {
        let error = client.connect().await.unwrap_err();
        assert!(error.will_retry(), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
        let _server = Running::start(&address.to_string());
        state(&client, State::Authenticated).await;
    }));
    drop(client);
    driver.join().unwrap();
}

#[test]
fn each_attempt_has_a_token_of_its_own() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Running::start("127.0.0.1:0");
    let url = format!("ws://{}/chat", server.address);
    let (client, driver) = Client::builder(Provider::Echo, url)
        .auth(Auth::query())
        .token_hook(move || {
            let n = count.fetch_add(1, Ordering::Relaxed);
            async move { Some(format!("token {n}")) }
        })
        .reconnect(Some(backoff()))
        .build()
        .unwrap();
    let driver = thread::spawn(|| block_on(driver));
    block_on(soon(async {
        client.connect().await.unwrap();
        drop(server);
        state(&client, State::Reconnecting).await;
        while asked.load(Ordering::Relaxed) < 3 {
            Timer::after(Duration::from_millis(2)).await;
        }
    }));
    drop(client);
    driver.join().unwrap();
}

#[test]
fn handlers_are_called_by_name_and_may_use_the_client() {
    let server = Running::start("127.0.0.1:0");
    let (client, driver) = client(server.address);
    let (sender, heard) = async_channel::unbounded();
    let (own, said) = (client.clone(), sender.clone());
    client.on("message", move |message| {
        let n: u32 = text(message).parse().unwrap();
        if n < 3 {
            own.emit("message", json!(n + 1)).unwrap();
        }
        said.try_send(format!("on {n}")).unwrap();
    });
    let said = sender.clone();
    client.once("message", move |message| {
        said.try_send(format!("once {}", text(message))).unwrap();
    });
    client.on("message", |_| panic!("a bug of the application's"));
    let said = sender.clone();
    client.on_event(move |event| {
        if let Event::State(state) = event {
            said.try_send(state.to_string()).unwrap();
        }
    });
    block_on(soon(async {
        client.connect().await.unwrap();
        client.emit("message", json!(1)).unwrap();
        let mut all = Vec::new();
        while all.last().is_none_or(|last| last != "on 3") {
            all.push(heard.recv().await.unwrap());
        }
        let expected = ["connecting", "connected", "authenticating", "authenticated"];
        assert_eq!(all[..4], expected);
        assert_eq!(all[4..], ["on 1", "once 1", "on 2", "on 3"]);
        client.off("message");
        let mut messages = client.subscribe_where("message", |it| text(it) != "7");
        client.emit("message", json!(7)).unwrap();
        client.emit("message", json!(8)).unwrap();
        assert_eq!(text(&messages.next().await.unwrap()), "8");
        assert!(heard.is_empty());
        let made = client.create_message("chat", json!({ "text": "Hi!" }), Some("msg-123"));
        let made = parse_message(&made.unwrap()).unwrap();
        let start = r#"{"type":"chat","payload":{"text":"Hi!"},"id":"msg-123","timestamp":1"#;
        assert!(made.as_str().starts_with(start), "{made}");
    }));
    // A handler holds a handle of its own: only this ends the client.
    client.off("message");
    drop(client);
    driver.join().unwrap();
}

#[test]
fn nobody_waits_for_a_client_whose_driver_is_gone() {
    let provider = Provider::Echo;
    let (client, driver) = Client::builder(provider, "ws://127.0.0.1:1/")
        .build()
        .unwrap();
    let mut messages = client.subscribe("*");
    block_on(soon(async {
        let connecting = client.connect();
        drop(driver);
        assert!(!connecting.await.unwrap_err().will_retry());
        assert!(client.connect().await.is_err());
        let answer = client.request(None, "x", (), None).await;
        assert_eq!(answer, Err(RequestError::Disconnected));
        client.disconnect().await;
        assert!(messages.next().await.is_none());
    }));
}
