//! The realtime server on threads, met by clients of this crate over sockets.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::json;
use smartsocket_core::hub::{EventResult, Identity, Route};
use smartsocket_core::{Json, Message};
use smartsocket_std::realtime::{AckError, Builder, Io, WaitError};
use smartsocket_std::{Server, Stopper, WebSocket};

/// A server on a thread of its own, stopped when this is dropped.
struct Running {
    address: std::net::SocketAddr,
    io: Io,
    stopper: Stopper,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(build: impl FnOnce() -> Builder + Send + 'static) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let server = build().bind("127.0.0.1:0").unwrap();
            sender
                .send((server.local_addr().unwrap(), server.io(), server.stopper()))
                .unwrap();
            server.run().unwrap();
        });
        let (address, io, stopper) = receiver.recv().unwrap();
        Self {
            address,
            io,
            stopper,
            thread: Some(thread),
        }
    }

    fn connect(&self, path: &str) -> WebSocket {
        WebSocket::connect(&format!("ws://{}{path}", self.address)).unwrap()
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

fn hear(ws: &mut WebSocket) -> String {
    match ws.recv() {
        Some(Ok(Message::Text(text))) => text.as_str().into(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_are_handled_answered_and_passed_on() {
    let server = Running::start(|| {
        Server::builder().namespace("/chat", |chat| {
            chat.on("echo", |_, data, ack| ack.send(data).unwrap());
            chat.on("message", |socket, data, ack| {
                let io = socket.io().clone();
                io.namespace("/chat").emit("message", data).unwrap();
                ack.send(json!({ "success": true })).unwrap();
            });
            chat.on("join", |socket, data, ack| {
                socket.join(&data.to_text().unwrap()).unwrap();
                ack.send(&socket.rooms()).unwrap();
            });
        })
    });
    {
        let mut a = server.connect("/chat");
        let mut b = server.connect("/chat");
        a.send(r#"{"event":"echo","data":{"n":1,"_ackId":4}}"#)
            .unwrap();
        assert_eq!(
            hear(&mut a),
            r#"{"event":"echo","data":{"_ackId":4,"n":1}}"#
        );
        a.send(r#"{"event":"join","data":"r","ackId":5}"#).unwrap();
        assert_eq!(
            hear(&mut a),
            r#"{"event":"__ack__","data":{"ackId":5,"response":["r"]}}"#
        );
        b.send(r#"{"event":"message","data":"hi","ackId":6}"#)
            .unwrap();
        assert_eq!(hear(&mut a), r#"{"event":"message","data":"hi"}"#);
        assert_eq!(hear(&mut b), r#"{"event":"message","data":"hi"}"#);
        assert_eq!(
            hear(&mut b),
            r#"{"event":"__ack__","data":{"ackId":6,"response":{"success":true}}}"#
        );
        let told = server.io.room("/chat", "r").emit("news", ()).unwrap();
        assert_eq!(told, 1);
        assert_eq!(hear(&mut a), r#"{"event":"news"}"#);
        let stats = server.io.stats();
        assert_eq!(stats.connections, 2);
    }
}

#[test]
fn a_handler_that_panics_or_waits_hurts_only_its_own_connection() {
    let server = Running::start(|| {
        Server::builder().namespace("/", |main| {
            main.on("panic", |_, _, _| panic!("on purpose"));
            main.on("wait", |_, _, _| thread::sleep(Duration::from_secs(3)));
            main.on("echo", |_, data, ack| ack.send(data).unwrap());
        })
    });
    {
        let mut bad = server.connect("/");
        let mut stuck = server.connect("/");
        let mut good = server.connect("/");
        bad.send(r#"{"event":"panic","data":{},"ackId":1}"#)
            .unwrap();
        stuck.send(r#"{"event":"wait"}"#).unwrap();
        good.send(r#"{"event":"echo","data":1,"ackId":1}"#).unwrap();
        assert_eq!(
            hear(&mut good),
            r#"{"event":"__ack__","data":{"ackId":1,"response":1}}"#
        );
        assert_eq!(
            hear(&mut bad),
            r#"{"event":"error","data":{"message":"Internal server error"}}"#
        );
        bad.send(r#"{"event":"echo","data":2,"ackId":2}"#).unwrap();
        assert_eq!(
            hear(&mut bad),
            r#"{"event":"__ack__","data":{"ackId":2,"response":2}}"#
        );
    }
}

#[test]
fn middleware_blocks_and_per_socket_handlers_come_and_go() {
    struct Name(String);
    let server = Running::start(|| {
        Server::builder().namespace("/", |main| {
            main.use_(|socket, event, _| {
                if event == "auth" || socket.data().get::<Name>().is_some() {
                    Ok(None)
                } else {
                    Err("Not authenticated".into())
                }
            });
            main.on("auth", |socket, data, ack| {
                socket.data().insert(Name(data.to_text().unwrap()));
                let count = Arc::new(AtomicU32::new(0));
                let seen = Arc::clone(&count);
                socket.on("count", move |_, _, ack| {
                    seen.fetch_add(1, Ordering::Relaxed);
                    ack.send(seen.load(Ordering::Relaxed)).unwrap();
                });
                socket.once("once", |_, _, ack| ack.send(json!("once")).unwrap());
                ack.send(json!({ "success": true })).unwrap();
            });
            main.on("whoami", |socket, _, ack| {
                ack.send(&socket.data().get::<Name>().unwrap().0).unwrap();
            });
            main.on("uncount", |socket, _, ack| {
                socket.off("count");
                ack.send(()).unwrap();
            });
        })
    });
    let ack = |id: u32, response: &str| {
        format!(r#"{{"event":"__ack__","data":{{"ackId":{id},"response":{response}}}}}"#)
    };
    {
        let mut ws = server.connect("/");
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
            ws.send(said).unwrap();
            assert_eq!(hear(&mut ws), heard, "{said}");
        }
        // Nobody listens to these any more: the next answer is the next one's.
        ws.send(r#"{"event":"once","ackId":8}"#).unwrap();
        ws.send(r#"{"event":"count","ackId":9}"#).unwrap();
        ws.send(r#"{"event":"whoami","ackId":10}"#).unwrap();
        assert_eq!(hear(&mut ws), ack(10, r#""ann""#));
    }
}

#[test]
fn clients_are_asked_and_answer_or_do_not() {
    let server = Running::start(|| Server::builder().namespace("/", |_| {}));
    {
        let mut ws = server.connect("/");
        // A stats call makes sure that the server knows the client.
        let client = loop {
            let clients = server.io.clients();
            if let [client] = clients[..] {
                break client;
            }
        };
        let (sender, answers) = mpsc::channel();
        let io = server.io.clone();
        thread::spawn(move || {
            let second = Duration::from_millis(300);
            let first = io.emit_with_ack(client, "q", json!([1]), second);
            let none = io.emit_with_ack(client, "q", (), second);
            sender.send((first, none)).unwrap();
        });
        let asked = hear(&mut ws);
        assert_eq!(asked, r#"{"event":"q","data":{"0":1,"__ackId":"ack_1"}}"#);
        ws.send(r#"{"event":"__ack__","data":{"ackId":"ack_1","response":{"ok":1}}}"#)
            .unwrap();
        let (first, none) = answers.recv().unwrap();
        assert_eq!(first, Ok(Json::parse(r#"{"ok":1}"#).unwrap()));
        assert_eq!(none, Err(AckError::TimedOut));
    }
}

#[test]
fn ignis_and_rnode_clients_are_served_at_once() {
    let server = Running::start(|| {
        Server::builder()
            .route(Route::ignis("/ws"), |ws| {
                ws.authenticate(|_, data| {
                    let token = data.to::<serde_json::Value>().ok()?["token"].clone();
                    (token == "dev").then(|| Identity {
                        user: Some("u1".into()),
                        ..Identity::default()
                    })
                });
                ws.validate_rooms(|_, rooms| rooms.to_vec());
                ws.on("echo", |socket, data, _| socket.emit("echo", data).unwrap());
            })
            .route(Route::rnode("/rnode"), |rnode| {
                rnode.on_message(|event| match event.data.and_then(|data| data.to_text()) {
                    Some(text) if text.contains("spam") => {
                        EventResult::cancel("Spam message blocked")
                    }
                    _ => EventResult::allow(),
                });
            })
    });
    {
        let mut ignis = server.connect("/ws");
        ignis
            .send(r#"{"event":"authenticate","data":{"token":"dev"}}"#)
            .unwrap();
        assert!(hear(&mut ignis).starts_with(r#"{"event":"connected","data":{"id":""#));
        ignis.send(r#"{"event":"echo","data":{"x": 1}}"#).unwrap();
        assert_eq!(hear(&mut ignis), r#"{"event":"echo","data":{"x": 1}}"#);

        let mut rnode = server.connect("/rnode?clientId=ann");
        assert!(hear(&mut rnode).contains("welcome"));
        assert!(hear(&mut rnode).contains("ping"));
        rnode.send(r#"{"type":"message","data":"spam"}"#).unwrap();
        assert!(hear(&mut rnode).contains("Spam message blocked"));
        rnode.send(r#"{"type":"message","data":"ham"}"#).unwrap();
        assert!(hear(&mut rnode).contains("message_ack"));
    }
}

#[test]
fn a_bare_route_gives_its_connections_away_and_counts_them() {
    let server = Running::start(|| {
        Server::builder()
            .max_connections(1)
            .bare(Route::bare("/echo"), |mut ws: WebSocket| {
                while let Some(Ok(message)) = ws.recv() {
                    if ws.send(message).is_err() {
                        break;
                    }
                }
            })
    });
    {
        for _ in 0..3 {
            let mut ws = server.connect("/echo");
            for text in ["one", "two"] {
                ws.send(text).unwrap();
                assert_eq!(hear(&mut ws), text);
            }
            let url = format!("ws://{}/echo", server.address);
            assert!(WebSocket::connect(&url).is_err(), "one is inside");
            ws.close(smartsocket_std::CloseCode::NORMAL, "").unwrap();
            // Its place is free once the server has seen the end.
            thread::sleep(Duration::from_millis(50));
        }
        let mut ws = server.connect("/echo");
        server.stopper.stop();
        while let Some(Ok(_)) = ws.recv() {}
        assert_eq!(u16::from(ws.closed().unwrap().code), 1001);
    }
}

#[test]
fn requests_are_judged_and_messages_go_out_as_they_are() {
    let server = Running::start(|| {
        Server::builder().route(Route::raw("/ws"), |wss| {
            wss.verify_client(|info| info.query() == Some("token=good"));
            wss.on_any(|ws, message, _| {
                if let Some(text) = message.raw {
                    ws.send(Message::Text(text));
                }
            });
            wss.on_binary(|ws, data| ws.send(Message::Binary(data)));
        })
    });
    let mut ws = server.connect("/ws?token=good");
    for message in [Message::text("{ as it is"), Message::binary(&[0, 255][..])] {
        ws.send(message.clone()).unwrap();
        assert_eq!(ws.recv().unwrap().unwrap(), message);
    }
    let url = format!("ws://{}/ws?token=bad", server.address);
    let refused = WebSocket::connect(&url).unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");
}

const ROWS: usize = 4_000;
const ROW: usize = 10_000;
/// Half of an outbox, which is used, and what is on the wire.
const BOUND: usize = (1 << 19) + (1 << 16) + 2 * ROW;

/// A client that was fed, on a thread, until so much waits that the feeder
/// does, too; and the most that ever waited, and the end.
fn fed(
    server: &Running,
) -> (
    WebSocket,
    Arc<AtomicUsize>,
    thread::JoinHandle<Result<(), WaitError>>,
) {
    let ws = server.connect("/");
    let io = server.io.clone();
    let client = loop {
        if let [client] = io.clients()[..] {
            break client;
        }
    };
    let most = Arc::<AtomicUsize>::default();
    let waiting = Arc::clone(&most);
    let feeder = thread::spawn(move || {
        for n in 0..ROWS {
            let row = format!("{n} {}", "x".repeat(ROW));
            io.emit_when_ready(client, "row", &row, Duration::MAX)?;
            let waits = io.buffered(client);
            waiting.fetch_max(waits, Ordering::Relaxed);
        }
        Ok(())
    });
    while most.load(Ordering::Relaxed) < 1 << 19 {
        assert!(!feeder.is_finished(), "nobody read, and it did not wait");
        thread::sleep(Duration::from_millis(1));
    }
    (ws, most, feeder)
}

#[test]
fn a_feed_is_as_fast_as_its_reader_and_loses_nothing() {
    let server = Running::start(|| Server::builder().namespace("/", |_| {}));
    let (mut ws, most, feeder) = fed(&server);
    // What is said to it without waiting finds room.
    for n in 0..10_u64 {
        assert_eq!(server.io.broadcast("news", n), Ok(1));
    }
    let (mut rows, mut news) = (0, 0);
    while rows < ROWS || news < 10 {
        let text = hear(&mut ws);
        if text.starts_with(r#"{"event":"news""#) {
            assert_eq!(text, format!(r#"{{"event":"news","data":{news}}}"#));
            news += 1;
        } else {
            let row = format!(r#"{{"event":"row","data":"{rows} x"#);
            assert!(text.starts_with(&row), "{rows}: {text:.40}");
            rows += 1;
        }
    }
    assert_eq!(feeder.join().unwrap(), Ok(()));
    let most = most.load(Ordering::Relaxed);
    assert!(most <= BOUND, "{most}");
}

#[test]
fn who_feeds_a_client_that_does_not_read_or_goes_learns_of_it() {
    let server = Running::start(|| Server::builder().namespace("/", |_| {}));
    let (ws, _, feeder) = fed(&server);
    let client = server.io.clients()[0];
    // There is no room while nobody reads, however often one asks.
    let row = "x".repeat(ROW);
    let (mut sent, timeout) = (0, Duration::from_millis(1));
    let late = loop {
        match server.io.emit_when_ready(client, "row", &row, timeout) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < ROWS);
    };
    assert_eq!(late, WaitError::TimedOut);
    drop(ws);
    assert_eq!(feeder.join().unwrap(), Err(WaitError::Gone));
    let after = server.io.send_when_ready(client, "late", Duration::MAX);
    assert_eq!(after, Err(WaitError::Gone));
}

#[test]
fn stopping_tells_everybody() {
    let server = Running::start(|| Server::builder().namespace("/", |_| {}));
    {
        let mut ws = server.connect("/");
        server.stopper.stop();
        let end = ws.recv();
        assert!(end.is_none() || end.unwrap().is_err());
        let closed = ws.closed().unwrap();
        assert_eq!(
            (u16::from(closed.code), closed.reason.as_str()),
            (1001, "Server shutting down")
        );
    }
}

#[test]
fn a_slow_handler_and_a_slow_reader_hold_up_nobody_else() {
    let server = Running::start(|| {
        Server::builder().namespace("/", |main| {
            main.route.rate = None;
            main.on("slow", |_, _, ack| {
                thread::sleep(Duration::from_millis(300));
                ack.send(()).unwrap();
            });
            main.on("echo", |_, data, ack| ack.send(data).unwrap());
        })
    });
    let mut slow: Vec<_> = (0..20).map(|_| server.connect("/")).collect();
    // Nobody reads what comes to this one.
    let _deaf = server.connect("/");
    let mut quick = server.connect("/");
    for ws in &mut slow {
        ws.send(r#"{"event":"slow","ackId":1}"#).unwrap();
    }
    for n in 0..200 {
        quick
            .send(format!(r#"{{"event":"echo","data":{n},"ackId":{n}}}"#))
            .unwrap();
        let answer = format!(r#"{{"event":"__ack__","data":{{"ackId":{n},"response":{n}}}}}"#);
        assert_eq!(hear(&mut quick), answer);
    }
    for mut ws in slow {
        assert!(hear(&mut ws).contains("__ack__"));
    }
    // Far more than waits for one who does not read: it is closed.
    let long = "x".repeat(60_000);
    for _ in 0..100 {
        server.io.broadcast("long", &long).unwrap();
        assert!(hear(&mut quick).len() > 60_000);
    }
}
