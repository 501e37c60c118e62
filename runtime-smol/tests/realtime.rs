//! The realtime server on smol, met by clients of this crate over sockets.

#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_channel::Receiver;
use async_io::Timer;
use futures_lite::FutureExt as _;
use serde_json::json;
use smartsocket_core::hub::{EventResult, Identity, Route};
use smartsocket_core::{Json, Message};
use smartsocket_smol::realtime::{AckError, Builder, Io, Remote, Socket, WaitError};
use smartsocket_smol::{Server, Stopper, WebSocket, block_on};

/// A server on a thread of its own, stopped when this is dropped.
struct Running {
    address: std::net::SocketAddr,
    remote: Remote,
    stopper: Stopper,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(build: impl FnOnce() -> Builder + Send + 'static) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let server = build().bind("127.0.0.1:0").unwrap();
            sender
                .send((
                    server.local_addr().unwrap(),
                    server.remote(),
                    server.stopper(),
                ))
                .unwrap();
            block_on(server.run()).unwrap();
        });
        let (address, remote, stopper) = receiver.recv().unwrap();
        Self {
            address,
            remote,
            stopper,
            thread: Some(thread),
        }
    }

    async fn connect(&self, path: &str) -> WebSocket {
        WebSocket::connect(&format!("ws://{}{path}", self.address))
            .await
            .unwrap()
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

async fn hear(ws: &mut WebSocket) -> String {
    let late = async {
        Timer::after(Duration::from_secs(10)).await;
        panic!("nothing came");
    };
    let message = async { ws.recv().await }.or(late).await;
    match message {
        Some(Ok(Message::Text(text))) => text.as_str().into(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_are_handled_answered_and_passed_on() {
    let server = Running::start(|| {
        Server::builder().namespace("/chat", |chat| {
            chat.on("echo", async |_, data, ack| ack.send(data).unwrap());
            chat.on("message", async |socket, data, ack| {
                let io = socket.io().clone();
                io.namespace("/chat").emit("message", data).unwrap();
                ack.send(json!({ "success": true })).unwrap();
            });
            chat.on("join", async |socket, data, ack| {
                socket.join(&data.to_text().unwrap()).unwrap();
                ack.send(&socket.rooms()).unwrap();
            });
        })
    });
    block_on(async {
        let mut a = server.connect("/chat").await;
        let mut b = server.connect("/chat").await;
        a.send(r#"{"event":"echo","data":{"n":1,"_ackId":4}}"#)
            .await
            .unwrap();
        assert_eq!(
            hear(&mut a).await,
            r#"{"event":"echo","data":{"_ackId":4,"n":1}}"#
        );
        a.send(r#"{"event":"join","data":"r","ackId":5}"#)
            .await
            .unwrap();
        assert_eq!(
            hear(&mut a).await,
            r#"{"event":"__ack__","data":{"ackId":5,"response":["r"]}}"#
        );
        b.send(r#"{"event":"message","data":"hi","ackId":6}"#)
            .await
            .unwrap();
        assert_eq!(hear(&mut a).await, r#"{"event":"message","data":"hi"}"#);
        assert_eq!(hear(&mut b).await, r#"{"event":"message","data":"hi"}"#);
        assert_eq!(
            hear(&mut b).await,
            r#"{"event":"__ack__","data":{"ackId":6,"response":{"success":true}}}"#
        );
        let told = server
            .remote
            .with(|io| io.room("/chat", "r").emit("news", ()).unwrap())
            .await;
        assert_eq!(told, Some(1));
        assert_eq!(hear(&mut a).await, r#"{"event":"news"}"#);
        let stats = server.remote.with(|io| io.stats()).await.unwrap();
        assert_eq!(stats.connections, 2);
    });
}

#[test]
fn a_handler_that_panics_or_waits_hurts_only_its_own_connection() {
    let server = Running::start(|| {
        Server::builder().namespace("/", |main| {
            main.on("panic", async |_, _, _| panic!("on purpose"));
            main.on("wait", async |_, _, _| {
                futures_lite::future::pending().await
            });
            main.on("echo", async |_, data, ack| ack.send(data).unwrap());
        })
    });
    block_on(async {
        let mut bad = server.connect("/").await;
        let mut stuck = server.connect("/").await;
        let mut good = server.connect("/").await;
        bad.send(r#"{"event":"panic","data":{},"ackId":1}"#)
            .await
            .unwrap();
        stuck.send(r#"{"event":"wait"}"#).await.unwrap();
        good.send(r#"{"event":"echo","data":1,"ackId":1}"#)
            .await
            .unwrap();
        assert_eq!(
            hear(&mut good).await,
            r#"{"event":"__ack__","data":{"ackId":1,"response":1}}"#
        );
        assert_eq!(
            hear(&mut bad).await,
            r#"{"event":"error","data":{"message":"Internal server error"}}"#
        );
        bad.send(r#"{"event":"echo","data":2,"ackId":2}"#)
            .await
            .unwrap();
        assert_eq!(
            hear(&mut bad).await,
            r#"{"event":"__ack__","data":{"ackId":2,"response":2}}"#
        );
    });
}

#[test]
fn middleware_blocks_and_per_socket_handlers_come_and_go() {
    struct Name(String);
    let server = Running::start(|| {
        Server::builder().namespace("/", |main| {
            main.use_(async |socket, event, _| {
                if event == "auth" || socket.data().get::<Name>().is_some() {
                    Ok(None)
                } else {
                    Err("Not authenticated".into())
                }
            });
            main.on("auth", async |socket, data, ack| {
                socket.data().insert(Name(data.to_text().unwrap()));
                let count = Rc::new(Cell::new(0));
                let seen = Rc::clone(&count);
                socket.on("count", async move |_, _, ack| {
                    seen.set(seen.get() + 1);
                    ack.send(seen.get()).unwrap();
                });
                socket.once("once", async |_, _, ack| ack.send(json!("once")).unwrap());
                ack.send(json!({ "success": true })).unwrap();
            });
            main.on("whoami", async |socket, _, ack| {
                ack.send(&socket.data().get::<Name>().unwrap().0).unwrap();
            });
            main.on("uncount", async |socket, _, ack| {
                socket.off("count");
                ack.send(()).unwrap();
            });
        })
    });
    let ack = |id: u32, response: &str| {
        format!(r#"{{"event":"__ack__","data":{{"ackId":{id},"response":{response}}}}}"#)
    };
    block_on(async {
        let mut ws = server.connect("/").await;
        for (said, heard) in [
            (
                r#"{"event":"whoami","ackId":1}"#,
                ack(1, r#"{"error":"Not authenticated"}"#),
            ),
            (
                r#"{"event":"auth","data":"ann","ackId":2}"#,
                ack(2, r#"{"success":true}"#),
            ),
            (r#"{"event":"whoami","ackId":3}"#, ack(3, r#""ann""#)),
            (r#"{"event":"count","ackId":4}"#, ack(4, "1")),
            (r#"{"event":"count","ackId":5}"#, ack(5, "2")),
            (r#"{"event":"once","ackId":6}"#, ack(6, r#""once""#)),
            (r#"{"event":"uncount","ackId":7}"#, ack(7, "null")),
        ] {
            ws.send(said).await.unwrap();
            assert_eq!(hear(&mut ws).await, heard, "{said}");
        }
        // Nobody listens to these any more: the next answer is the next one's.
        ws.send(r#"{"event":"once","ackId":8}"#).await.unwrap();
        ws.send(r#"{"event":"count","ackId":9}"#).await.unwrap();
        ws.send(r#"{"event":"whoami","ackId":10}"#).await.unwrap();
        assert_eq!(hear(&mut ws).await, ack(10, r#""ann""#));
    });
}

#[test]
fn clients_are_asked_and_answer_or_do_not() {
    let server = Running::start(|| Server::builder().namespace("/", |_| {}));
    block_on(async {
        let mut ws = server.connect("/").await;
        // A stats call makes sure that the server knows the client.
        let client = loop {
            let clients = server.remote.with(|io| io.clients()).await.unwrap();
            if let [client] = clients[..] {
                break client;
            }
        };
        let (sender, answers) = async_channel::unbounded();
        server.remote.spawn(move |io| {
            let (asking, io) = (io.clone(), io.clone());
            asking.spawn(async move {
                let second = Duration::from_millis(300);
                let first = io.emit_with_ack(client, "q", json!([1]), second).await;
                let none = io.emit_with_ack(client, "q", (), second).await;
                sender.send((first, none)).await.unwrap();
            });
        });
        let asked = hear(&mut ws).await;
        assert_eq!(asked, r#"{"event":"q","data":{"0":1,"__ackId":"ack_1"}}"#);
        ws.send(r#"{"event":"__ack__","data":{"ackId":"ack_1","response":{"ok":1}}}"#)
            .await
            .unwrap();
        let (first, none) = answers.recv().await.unwrap();
        assert_eq!(first, Ok(Json::parse(r#"{"ok":1}"#).unwrap()));
        assert_eq!(none, Err(AckError::TimedOut));
    });
}

#[test]
fn ignis_and_rnode_clients_are_served_at_once() {
    let server = Running::start(|| {
        Server::builder()
            .route(Route::ignis("/ws"), |ws| {
                ws.authenticate(async |_, data| {
                    let token = data.to::<serde_json::Value>().ok()?["token"].clone();
                    (token == "dev").then(|| Identity {
                        user: Some("u1".into()),
                        ..Identity::default()
                    })
                });
                ws.validate_rooms(async |_, rooms| rooms);
                ws.on("echo", async |socket, data, _| {
                    socket.emit("echo", data).unwrap()
                });
            })
            .route(Route::rnode("/rnode"), |rnode| {
                rnode.on_message(
                    async |event| match event.data.and_then(|data| data.to_text()) {
                        Some(text) if text.contains("spam") => {
                            EventResult::cancel("Spam message blocked")
                        }
                        _ => EventResult::allow(),
                    },
                );
            })
    });
    block_on(async {
        let mut ignis = server.connect("/ws").await;
        ignis
            .send(r#"{"event":"authenticate","data":{"token":"dev"}}"#)
            .await
            .unwrap();
        assert!(
            hear(&mut ignis)
                .await
                .starts_with(r#"{"event":"connected","data":{"id":""#)
        );
        ignis
            .send(r#"{"event":"echo","data":{"x": 1}}"#)
            .await
            .unwrap();
        assert_eq!(
            hear(&mut ignis).await,
            r#"{"event":"echo","data":{"x": 1}}"#
        );

        let mut rnode = server.connect("/rnode?clientId=ann").await;
        assert!(hear(&mut rnode).await.contains("welcome"));
        assert!(hear(&mut rnode).await.contains("ping"));
        rnode
            .send(r#"{"type":"message","data":"spam"}"#)
            .await
            .unwrap();
        assert!(hear(&mut rnode).await.contains("Spam message blocked"));
        rnode
            .send(r#"{"type":"message","data":"ham"}"#)
            .await
            .unwrap();
        assert!(hear(&mut rnode).await.contains("message_ack"));
    });
}

#[test]
fn a_bare_route_gives_its_connections_away_and_counts_them() {
    let server = Running::start(|| {
        Server::builder().max_connections(1).bare(
            Route::bare("/echo"),
            async |mut ws: WebSocket| {
                while let Some(Ok(message)) = ws.recv().await {
                    if ws.send(message).await.is_err() {
                        break;
                    }
                }
            },
        )
    });
    block_on(async {
        for _ in 0..3 {
            let mut ws = server.connect("/echo").await;
            for text in ["one", "two"] {
                ws.send(text).await.unwrap();
                assert_eq!(hear(&mut ws).await, text);
            }
            let url = format!("ws://{}/echo", server.address);
            assert!(WebSocket::connect(&url).await.is_err(), "one is inside");
            ws.close(smartsocket_smol::CloseCode::NORMAL, "")
                .await
                .unwrap();
            // Its place is free once the server has seen the end.
            Timer::after(Duration::from_millis(50)).await;
        }
        let mut ws = server.connect("/echo").await;
        server.stopper.stop();
        while let Some(Ok(_)) = ws.recv().await {}
        assert_eq!(u16::from(ws.closed().unwrap().code), 1001);
    });
}

#[test]
fn requests_are_judged_and_messages_go_out_as_they_are() {
    let server = Running::start(|| {
        Server::builder().route(Route::raw("/ws"), |wss| {
            wss.verify_client(async |info| info.query() == Some("token=good"));
            wss.on_any(async |ws, message, _| {
                if let Some(text) = message.raw {
                    ws.send(Message::Text(text));
                }
            });
            wss.on_binary(async |ws, data| ws.send(Message::Binary(data)));
        })
    });
    block_on(async {
        let mut ws = server.connect("/ws?token=good").await;
        for message in [Message::text("{ as it is"), Message::binary(&[0, 255][..])] {
            ws.send(message.clone()).await.unwrap();
            assert_eq!(ws.recv().await.unwrap().unwrap(), message);
        }
        let url = format!("ws://{}/ws?token=bad", server.address);
        let refused = WebSocket::connect(&url).await.unwrap_err();
        assert!(refused.to_string().contains("403"), "{refused}");
    });
}

const ROWS: usize = 4_000;
const ROW: usize = 10_000;
/// Half of an outbox, which is used, and what is on the wire.
const BOUND: usize = (1 << 19) + (1 << 16) + 2 * ROW;

/// A server that feeds who asks for it, from outside of a handler.
struct Feeder {
    server: Running,
    /// Rows so far, and the most bytes that ever waited.
    fed: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    ended: Receiver<Result<(), WaitError>>,
}

impl Feeder {
    fn start() -> Self {
        let (fed, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (sender, ended) = async_channel::unbounded();
        let (feeding, waiting) = (Arc::clone(&fed), Arc::clone(&most));
        let server = Running::start(|| {
            Server::builder().max_connections(1).namespace("/", |main| {
                // Nobody is gone for want of time.
                main.route.websocket.write_timeout = None;
                main.route.websocket.close_timeout = Duration::from_secs(3_600);
                main.on("feed", async move |socket, _, _| {
                    let (fed, most) = (Arc::clone(&feeding), Arc::clone(&waiting));
                    let sender = sender.clone();
                    let io = socket.io().clone();
                    io.spawn(async move {
                        let end = feed(&socket, &fed, &most).await;
                        sender.send(end).await.unwrap();
                    });
                });
            })
        });
        Self {
            server,
            fed,
            most,
            ended,
        }
    }

    /// A client that has read nothing yet, when so much waits that the feeder
    /// does, too.
    async fn connect(&self) -> WebSocket {
        let mut ws = self.server.connect("/").await;
        ws.send(r#"{"event":"feed"}"#).await.unwrap();
        while self.most.load(Ordering::Relaxed) < 1 << 19 {
            let fed = self.fed.load(Ordering::Relaxed);
            assert!(fed < ROWS, "nobody read, and it did not wait");
            Timer::after(Duration::from_millis(1)).await;
        }
        ws
    }
}

async fn feed(socket: &Socket, fed: &AtomicUsize, most: &AtomicUsize) -> Result<(), WaitError> {
    for n in 0..ROWS {
        let row = format!("{n} {}", "x".repeat(ROW));
        socket.emit_when_ready("row", &row).await?;
        fed.fetch_add(1, Ordering::Relaxed);
        most.fetch_max(socket.buffered(), Ordering::Relaxed);
    }
    Ok(())
}

#[test]
fn a_feed_is_as_fast_as_its_reader_and_loses_nothing() {
    let feeder = Feeder::start();
    block_on(async {
        let mut ws = feeder.connect().await;
        // What is said to it without waiting finds room.
        for n in 0..10_u64 {
            let said = move |io: &Io| io.broadcast("news", n).unwrap();
            assert_eq!(feeder.server.remote.with(said).await, Some(1));
        }
        let (mut rows, mut news) = (0, 0);
        while rows < ROWS || news < 10 {
            let text = hear(&mut ws).await;
            if text.starts_with(r#"{"event":"news""#) {
                assert_eq!(text, format!(r#"{{"event":"news","data":{news}}}"#));
                news += 1;
            } else {
                let row = format!(r#"{{"event":"row","data":"{rows} x"#);
                assert!(text.starts_with(&row), "{rows}: {text:.40}");
                rows += 1;
            }
        }
        assert_eq!(feeder.ended.recv().await, Ok(Ok(())));
        let most = feeder.most.load(Ordering::Relaxed);
        assert!(most <= BOUND, "{most}");
        // Who says goodbye need not be waited for.
        ws.close(smartsocket_smol::CloseCode::NORMAL, "")
            .await
            .unwrap();
    });
}

#[test]
fn who_feeds_a_client_that_goes_learns_of_it() {
    let feeder = Feeder::start();
    block_on(async {
        drop(feeder.connect().await);
        assert_eq!(feeder.ended.recv().await, Ok(Err(WaitError::Gone)));
        // A write that failed before the end was read: its place is free again.
        let url = format!("ws://{}/", feeder.server.address);
        for tried in 0.. {
            if WebSocket::connect(&url).await.is_ok() {
                break;
            }
            assert!(tried < 500, "it is not over");
            Timer::after(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn stopping_tells_everybody() {
    let server = Running::start(|| Server::builder().namespace("/", |_| {}));
    block_on(async {
        let mut ws = server.connect("/").await;
        server.stopper.stop();
        let end = ws.recv().await;
        assert!(end.is_none() || end.unwrap().is_err());
        let closed = ws.closed().unwrap();
        assert_eq!(
            (u16::from(closed.code), closed.reason.as_str()),
            (1001, "Server shutting down")
        );
    });
}
