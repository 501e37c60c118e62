//! One script of clients against the same application on both runtimes: what
//! each client hears must be the same, word for word.

#![allow(missing_docs, clippy::unwrap_used)]

mod documents;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use serde_json::json;
use smartsocket_core::Message;
use smartsocket_core::hub::{EventResult, Identity, Route};
use smartsocket_std::WebSocket;

/// A running server and how to end it.
struct Server {
    address: SocketAddr,
    stop: Box<dyn Fn()>,
    thread: JoinHandle<()>,
}

fn on_smol() -> Server {
    let (sender, started) = mpsc::channel();
    let thread = thread::spawn(move || {
        let server = smartsocket_smol::Server::builder()
            .namespace("/", |main| {
                main.use_(async |_, event, _| match event.as_str() {
                    "blocked" => Err("Not allowed".into()),
                    _ => Ok(None),
                });
                main.on("echo", async |_, data, ack| ack.send(data).unwrap());
                main.on("join", async |socket, data, ack| {
                    let joined = socket.join(&data.to_text().unwrap_or_default());
                    ack.send(joined.is_ok()).unwrap();
                });
                main.on("say", async |socket, data, _| {
                    let members = socket.io().room("/", "room").except(socket.id());
                    members.emit("said", data).unwrap();
                });
                main.on("panic", async |_, _, _| panic!("on purpose"));
            })
            .route(Route::ignis("/ws"), |ws| {
                ws.authenticate(async |_, data| {
                    (data.as_str() == "{\"token\":\"good\"}").then(Identity::default)
                });
                ws.validate_rooms(async |_, rooms| rooms);
                ws.on("echo", async |socket, data, _| {
                    socket.emit("echo", data).unwrap()
                });
            })
            .route(Route::rnode("/rnode"), |rnode| {
                rnode.on_message(async |event| match event.kind.as_deref() {
                    Some("spam") => EventResult::cancel("Spam detected"),
                    _ => EventResult::allow(),
                });
            })
            .bind("127.0.0.1:0")
            .unwrap();
        sender
            .send((server.local_addr().unwrap(), server.stopper()))
            .unwrap();
        smartsocket_smol::block_on(server.run()).unwrap();
    });
    let (address, stopper) = started.recv().unwrap();
    Server {
        address,
        stop: Box::new(move || stopper.stop()),
        thread,
    }
}

fn on_std() -> Server {
    let server = smartsocket_std::Server::builder()
        .namespace("/", |main| {
            main.use_(|_, event, _| match event.as_str() {
                "blocked" => Err("Not allowed".into()),
                _ => Ok(None),
            });
            main.on("echo", |_, data, ack| ack.send(data).unwrap());
            main.on("join", |socket, data, ack| {
                let joined = socket.join(&data.to_text().unwrap_or_default());
                ack.send(joined.is_ok()).unwrap();
            });
            main.on("say", |socket, data, _| {
                let members = socket.io().room("/", "room").except(socket.id());
                members.emit("said", data).unwrap();
            });
            main.on("panic", |_, _, _| panic!("on purpose"));
        })
        .route(Route::ignis("/ws"), |ws| {
            ws.authenticate(|_, data| {
                (data.as_str() == "{\"token\":\"good\"}").then(Identity::default)
            });
            ws.validate_rooms(|_, rooms| rooms.to_vec());
            ws.on("echo", |socket, data, _| socket.emit("echo", data).unwrap());
        })
        .route(Route::rnode("/rnode"), |rnode| {
            rnode.on_message(|event| match event.kind.as_deref() {
                Some("spam") => EventResult::cancel("Spam detected"),
                _ => EventResult::allow(),
            });
        })
        .bind("127.0.0.1:0")
        .unwrap();
    let (address, stopper) = (server.local_addr().unwrap(), server.stopper());
    Server {
        address,
        stop: Box::new(move || stopper.stop()),
        thread: thread::spawn(move || server.run().unwrap()),
    }
}

/// What the clients of the script hear, in the order in which it makes them
/// listen.
fn script(server: &Server) -> Vec<String> {
    let mut log = Vec::new();
    let connect =
        |path: &str| WebSocket::connect(&format!("ws://{}{path}", server.address)).unwrap();
    let mut hear = |name: &str, ws: &mut WebSocket| match ws.recv() {
        Some(Ok(Message::Text(text))) => log.push(format!("{name} {}", masked(&text))),
        Some(Ok(Message::Binary(data))) => log.push(format!("{name} {data:?}")),
        Some(Err(error)) => log.push(format!("{name} {error}")),
        None => log.push(format!(
            "{name} closed {:?}",
            ws.closed().map(ToString::to_string)
        )),
    };
    let say = |ws: &mut WebSocket, text: &str| ws.send(text).unwrap();

    let (mut a, mut b) = (connect("/"), connect("/"));
    say(&mut a, r#"{"event":"connected"}"#);
    for (text, answers) in [
        (r#"{"event":"echo","data":{"n":1,"_ackId":1}}"#, 1),
        (r#"{"event":"echo","data":[1,"two"],"ackId":"x"}"#, 1),
        (
            r#"{"event":"echo","data":{"__ackId":"ack_1_2","deep":{"er":null}}}"#,
            1,
        ),
        (r#"{"event":"blocked","data":1,"ackId":2}"#, 1),
        (r#"{"event":"panic"}"#, 1),
        ("not json", 1),
        (r#"{"event":"join","data":"room","ackId":3}"#, 1),
        (r#"{"event":"join","data":"room","ackId":4}"#, 1),
    ] {
        say(&mut a, text);
        (0..answers).for_each(|_| hear("a", &mut a));
    }
    say(&mut b, r#"{"event":"join","data":"room","ackId":1}"#);
    hear("b", &mut b);
    say(&mut b, r#"{"event":"say","data":{"text" : "hi"}}"#);
    hear("a", &mut a);

    let mut ignis = connect("/ws");
    for text in [
        r#"{"event":"echo"}"#,
        r#"{"event":"authenticate","data":{"token":"good"}}"#,
        r#"{"event":"echo","data":{"x":1}}"#,
        r#"{"event":"authenticate","data":{"token":"good"}}"#,
    ] {
        say(&mut ignis, text);
        hear("ignis", &mut ignis);
    }
    let mut bad = connect("/ws");
    say(
        &mut bad,
        r#"{"event":"authenticate","data":{"token":"bad"}}"#,
    );
    (0..2).for_each(|_| hear("bad", &mut bad));

    let mut rnode = connect("/rnode?clientId=ann");
    (0..2).for_each(|_| hear("rnode", &mut rnode));
    for text in [
        r#"{"type":"pong","data":{"timestamp":"t"}}"#,
        r#"{"type":"spam","data":"x"}"#,
        r#"{"type":"message","data":"x"}"#,
        r#"{"type":"join_room","room_id":"none"}"#,
        r#"{"type":"direct_message","target_client_id":"nobody","data":"x"}"#,
    ] {
        say(&mut rnode, text);
        hear("rnode", &mut rnode);
    }

    (server.stop)();
    for (name, ws) in [
        ("a", &mut a),
        ("b", &mut b),
        ("ignis", &mut ignis),
        ("rnode", &mut rnode),
    ] {
        hear(name, ws);
    }
    log
}

/// Without what differs from run to run: ids and times.
fn masked(text: &str) -> String {
    let mut value: serde_json::Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => return text.into(),
    };
    mask(&mut value);
    // The keys' order is what came, since the text is compared too where
    // nothing had to be masked.
    if value == serde_json::from_str::<serde_json::Value>(text).unwrap() {
        text.into()
    } else {
        value.to_string()
    }
}

fn mask(value: &mut serde_json::Value) {
    if let serde_json::Value::Object(fields) = value {
        for (key, value) in fields {
            match key.as_str() {
                "id" | "connection_id" | "time" | "timestamp" => *value = json!("<>"),
                _ => mask(value),
            }
        }
    }
}

#[test]
fn both_runtimes_say_the_same() {
    let logs = [on_smol(), on_std()].map(|server| {
        let log = script(&server);
        server.thread.join().unwrap();
        log
    });
    assert!(logs[0].len() > 25, "{logs:#?}");
    assert_eq!(logs[0], logs[1]);
}
