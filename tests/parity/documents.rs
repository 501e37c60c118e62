//! What the documents' examples do, under the names the documents have for it,
//! on both runtimes: what clients hear, and what handlers are told.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smartsocket_core::hub::{EventData, EventResult, Identity, Route};
use smartsocket_core::{Bytes, CloseCode, Json, Message, RateLimit};
use smartsocket_std::WebSocket;

use super::{Server, masked};

/// What handlers were told.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    /// A callback of RNode's that lets everything be.
    fn hook(&self, name: &str, data: &EventData) -> EventResult {
        let of = [&data.client_id, &data.message, &data.error_type];
        let of: Vec<_> = of.into_iter().flatten().map(String::as_str).collect();
        self.note(format!("{name} {}", of.join(" ")));
        EventResult::allow()
    }

    /// What was told since this was last asked, once there are so many.
    fn take(&self, lines: usize) -> Vec<String> {
        let since = Instant::now();
        loop {
            let mut told = self.0.lock().unwrap();
            if told.len() >= lines {
                return std::mem::take(&mut told);
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{told:?}");
            drop(told);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// SmartSocket's Validate Input.
fn validate(data: &Json) -> Value {
    match data.to() {
        Ok(Value::Object(data)) => match data.get("text") {
            Some(Value::String(_)) => json!({ "success": true }),
            _ => json!({ "error": "Missing or invalid text field" }),
        },
        _ => json!({ "error": "Invalid data format" }),
    }
}

struct RequireAuth;
struct UserId;

/// The same on either runtime, but for a word.
macro_rules! documents {
    ($runtime:ident, [$($async:tt)*], $trace:expr) => {{
        let trace: Trace = $trace;
        $runtime::Server::builder()
            .namespace("/", |server| {
                server.set_event_rate_limit("message", RateLimit::new(3, MINUTE));
                server.on_rate_limited($($async)* |socket| {
                    let info = json!({
                        "message": "Too many requests, please slow down",
                        "retryAfter": 5_000,
                    });
                    socket.emit("__rate-limited__", info).unwrap();
                });
                server.on_connected($($async)* |socket| {
                    socket.data().insert(RequireAuth);
                    socket.on("auth", $($async)* |socket, credentials, ack| {
                        if credentials.as_str() == r#"{"userId":"u1"}"# {
                            socket.data().insert(UserId);
                            ack.send(json!({ "success": true })).unwrap();
                        } else {
                            let error = "Invalid credentials";
                            ack.send(json!({ "success": false, "error": error })).unwrap();
                            socket.disconnect();
                        }
                    });
                });
                server.use_($($async)* |socket, event, _| {
                    let required = socket.data().get::<RequireAuth>().is_some();
                    let known = socket.data().get::<UserId>().is_some();
                    match event.as_str() {
                        "auth" => Ok(None),
                        _ if required && !known => Err("Not authenticated".into()),
                        _ => Ok(None),
                    }
                });
                server.on("message", $($async)* |_, data, ack| {
                    ack.send(validate(&data)).unwrap();
                });
                server.on("create", $($async)* |socket, _, ack| {
                    let description = Some("General chat room");
                    let io = socket.io();
                    let room = io.create_room("/full", "general", description, Some(1));
                    ack.send(json!(room.unwrap().as_str())).unwrap();
                });
                server.on("api", $($async)* |socket, room, ack| {
                    let (io, room) = (socket.io(), room.to_text().unwrap());
                    let _ = io.to(socket.id()).emit("to", 1);
                    let _ = io.everyone().except(socket.id()).emit("others", 2);
                    let _ = io.namespace("/").emit("namespace", 3);
                    let ann = io.client_info("ann").unwrap();
                    let joined = [io.join_room("ann", &room), io.join_room("ben", &room)];
                    let info = io.room_info("/full", &room).unwrap();
                    let mut namespaces = io.namespace_stats();
                    namespaces.sort();
                    let answer = json!({
                        "joined": joined.map(|joined| joined.map_err(|error| error.to_string())),
                        "sent": io.send_room_message("/full", &room, "Hello everyone!"),
                        "room": [info.name.as_str(), info.description.as_deref().unwrap()],
                        "members": [info.connections_count, info.max_connections.unwrap()],
                        "rooms": io.rooms("/full").len(),
                        "ann": [ann.client_id.as_str(), &ann.path, &ann.handler_id],
                        "annsRooms": io.client_rooms("ann").len(),
                        "annsRoom": io.client_info("ann").unwrap().room_id.as_deref() == Some(&room),
                        "left": [io.leave_room("ann", &room), io.leave_room("ann", &room)],
                        "nobody": io.client_info("nobody").is_none(),
                        "clients": [io.clients().len(), io.stats().connections],
                        "namespaces": namespaces,
                        "connected": socket.connected(),
                        "counted": io.received_messages() > 3,
                    });
                    ack.send(answer).unwrap();
                });
                let seen = trace.clone();
                server.on_disconnected($($async)* move |socket, gone| {
                    let closed = &gone.closed;
                    let there = socket.connected();
                    seen.note(format!("gone {} {} {there}", closed.code, closed.reason));
                });
            })
            .route(Route::ignis("/ws"), |helper| {
                helper.authenticate($($async)* |_, data| {
                    let user = data.to::<Value>().ok()?["token"].as_str()?.strip_prefix("user:")?.to_owned();
                    Some(Identity { user: Some(user.into()), metadata: None })
                });
                helper.validate_rooms($($async)* |_, rooms| {
                    rooms.iter().filter(|room| room.starts_with("public-")).cloned().collect()
                });
                let seen = trace.clone();
                helper.on_connected($($async)* move |client| {
                    client.join("lobby").unwrap();
                    seen.note(format!("{:?} in {:?}", client.user(), client.rooms()));
                    client.transform();
                });
                let seen = trace.clone();
                helper.on_disconnected($($async)* move |_, gone| {
                    seen.note(format!("{:?} gone {}", gone.user, gone.closed.code));
                });
                let seen = trace.clone();
                helper.on_any($($async)* move |client, message, _| {
                    let (io, data) = (client.io(), message.data.unwrap_or(Json::NULL));
                    let user = client.user().unwrap();
                    let devices = io.clients_of(&user).len();
                    seen.note(format!("{} on {devices}, {:?}", message.name, client.rooms()));
                    io.to(client.id()).emit("you-said", &data).unwrap();
                    io.user(user).emit("one-of-you-said", &data).unwrap();
                    io.room("/ws", "public-a").emit("somebody-said", data).unwrap();
                });
                helper.transform($($async)* |_, event, data| {
                    let sealed = Json::from_value(&json!({ "sealed": data })).ok();
                    (event.as_str() != "one-of-you-said").then(|| (event.clone(), sealed))
                });
            })
            .route(Route::rnode("/full"), |app| {
                app.route.rate = Some(RateLimit::new(9, MINUTE));
                let hook = |name: &'static str| {
                    let seen = trace.clone();
                    move |data: EventData| seen.hook(name, &data)
                };
                let (f0, f1, f2) = (hook("onConnect"), hook("onMessage"), hook("onClose"));
                let (f3, f4, f5) = (hook("onError"), hook("onJoinRoom"), hook("onLeaveRoom"));
                let (f6, f7, f8) = (hook("onPing"), hook("onPong"), hook("onBinaryMessage"));
                let (f9, f10, f11) = (hook("onWelcome"), hook("onMessageAck"), hook("onRoomMessage"));
                let (f12, f13) = (hook("onDirectMessage"), hook("onServerError"));
                app.on_connect($($async)* move |data| f0(data));
                app.on_message($($async)* move |data| f1(data));
                app.on_close($($async)* move |data| f2(data));
                app.on_error($($async)* move |data| f3(data));
                app.on_join_room($($async)* move |data| f4(data));
                app.on_leave_room($($async)* move |data| f5(data));
                app.on_ping($($async)* move |data| f6(data));
                app.on_pong($($async)* move |data| f7(data));
                app.on_binary_message($($async)* move |data| f8(data));
                app.on_welcome($($async)* move |data| f9(data));
                app.on_message_ack($($async)* move |data| f10(data));
                app.on_room_message($($async)* move |data| f11(data));
                app.on_direct_message($($async)* move |data| f12(data));
                app.on_server_error($($async)* move |data| f13(data));
            })
    }};
}

fn on_smol(trace: Trace) -> Server {
    let (sender, started) = mpsc::channel();
    let thread = thread::spawn(move || {
        let server = documents!(smartsocket_smol, [async], trace);
        let server = server.bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        sender.send((address, server.stopper())).unwrap();
        smartsocket_smol::block_on(server.run()).unwrap();
    });
    let (address, stopper) = started.recv().unwrap();
    Server {
        address,
        stop: Box::new(move || stopper.stop()),
        thread,
    }
}

fn on_std(trace: Trace) -> Server {
    let server = documents!(smartsocket_std, [], trace);
    let server = server.bind("127.0.0.1:0").unwrap();
    let (address, stopper) = (server.local_addr().unwrap(), server.stopper());
    Server {
        address,
        stop: Box::new(move || stopper.stop()),
        thread: thread::spawn(move || server.run().unwrap()),
    }
}

struct Clients<'a> {
    server: &'a Server,
    trace: &'a Trace,
}

impl Clients<'_> {
    fn connect(&self, path: &str) -> WebSocket {
        WebSocket::connect(&format!("ws://{}{path}", self.server.address)).unwrap()
    }

    /// What a client hears to this; the ack is SmartSocket's.
    fn ask(&self, ws: &mut WebSocket, event: &str, data: &Value) -> String {
        let message = json!({ "event": event, "data": data, "ackId": 1 });
        ws.send(message.to_string()).unwrap();
        hear(ws)
    }

    fn smartsocket(&self, room: &mut String) {
        let ack = |response: Value| {
            let data = json!({ "ackId": 1, "response": response });
            json!({ "event": "__ack__", "data": data }).to_string()
        };
        let same = |heard: String, expected: String| {
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(read(&heard), read(&expected));
        };
        let mut bad = self.connect("/");
        let heard = self.ask(&mut bad, "message", &json!({ "text": "hi" }));
        same(heard, ack(json!({ "error": "Not authenticated" })));
        let heard = self.ask(&mut bad, "auth", &json!({ "userId": "nobody" }));
        let error = json!({ "success": false, "error": "Invalid credentials" });
        same(heard, ack(error));
        assert!(bad.recv().is_none());
        assert_eq!(self.trace.take(1), ["gone 1000 normal  false"]);

        let mut good = self.connect("/");
        let heard = self.ask(&mut good, "auth", &json!({ "userId": "u1" }));
        same(heard, ack(json!({ "success": true })));
        for (data, response) in [
            (json!("hi"), json!({ "error": "Invalid data format" })),
            (
                json!({}),
                json!({ "error": "Missing or invalid text field" }),
            ),
            (json!({ "text": "hi" }), json!({ "success": true })),
        ] {
            same(self.ask(&mut good, "message", &data), ack(response));
        }
        same(
            self.ask(&mut good, "message", &json!({ "text": "hi" })),
            r#"{"event":"__rate-limited__","data":{"message":"Too many requests, please slow down","retryAfter":5000}}"#.into(),
        );
        let made = self.ask(&mut good, "create", &json!(null));
        let made: Value = serde_json::from_str(&made).unwrap();
        *room = made["data"]["response"].as_str().unwrap().into();
        let heard = self.ask(&mut good, "api", &json!(room));
        same(heard, r#"{"event":"to","data":1}"#.into());
        same(hear(&mut good), r#"{"event":"namespace","data":3}"#.into());
        same(
            hear(&mut good),
            ack(json!({
                "joined": [{ "Ok": null }, { "Err": "the room is full" }],
                "sent": true,
                "room": ["general", "General chat room"],
                "members": [1, 1],
                "rooms": 1,
                "ann": ["ann", "/full", "/full"],
                "annsRooms": 1,
                "annsRoom": true,
                "left": [true, false],
                "nobody": true,
                "clients": [3, 3],
                "namespaces": [["/", 1], ["/full", 2], ["/ws", 0]],
                "connected": true,
                "counted": true,
            })),
        );
        good.close(CloseCode::NORMAL, "done").unwrap();
        assert_eq!(self.trace.take(1), ["gone 1000 normal done false"]);
    }

    fn rnode(&self, ann: &mut WebSocket, ben: &mut WebSocket, room: &str) {
        // What the application did while it was there.
        for kind in ["others", "room_joined", "room_message", "room_left"] {
            let heard = hear(ann);
            assert!(heard.contains(&format!(r#""type":"{kind}""#)), "{heard}");
        }
        assert!(hear(ben).contains(r#""type":"others""#));
        let message = |kind: &str, fields: Value| {
            let mut message = fields;
            message["type"] = json!(kind);
            Message::text(message.to_string())
        };
        let binary = Message::Binary(Bytes::from_static(&[1, 2]));
        for (said, hears) in [
            (message("pong", json!({})), "message_ack"),
            (message("ping", json!({})), "pong"),
            (message("message", json!({ "data": "hi" })), "message_ack"),
            (binary, ""),
            (message("join_room", json!({ "room_id": "none" })), "error"),
            (
                message("join_room", json!({ "room_id": room })),
                "room_joined",
            ),
            (
                message("room_message", json!({ "data": "hello" })),
                "room_message",
            ),
            (message("leave_room", json!({})), "room_left"),
            (
                message(
                    "direct_message",
                    json!({ "target_client_id": "ben", "data": "psst" }),
                ),
                "",
            ),
            (message("message", json!({ "data": "too many" })), "error"),
        ] {
            ann.send(said).unwrap();
            if !hears.is_empty() {
                let heard = hear(ann);
                assert!(heard.contains(&format!(r#""type":"{hears}""#)), "{heard}");
            }
        }
        assert!(hear(ben).contains(r#""message":"psst""#));
        ann.close(CloseCode::NORMAL, "").unwrap();
        let said = r#"{"data":"hi","type":"message"}"#;
        assert_eq!(
            self.trace.take(14),
            [
                "onPong ann {\"type\":\"pong\"}",
                "onMessageAck ann {\"type\":\"pong\"}",
                "onPing ann",
                &format!("onMessage ann {said}"),
                &format!("onMessageAck ann {said}"),
                "onBinaryMessage ann",
                "onJoinRoom ann",
                "onServerError ann room_join_error",
                "onJoinRoom ann",
                "onRoomMessage ann hello",
                "onLeaveRoom ann",
                "onDirectMessage ann psst",
                "onError ann rate_limited",
                "onClose ann",
            ]
        );
    }

    fn ignis(&self) {
        let mut ws = self.connect("/ws");
        for text in [
            r#"{"event":"authenticate","data":{"token":"user:u1"}}"#,
            r#"{"event":"join","data":{"rooms":["public-a","secret"]}}"#,
            r#"{"event":"say","data":{"x":1}}"#,
        ] {
            ws.send(text).unwrap();
        }
        let heard = [(); 4].map(|()| masked(&hear(&mut ws)));
        assert_eq!(
            heard,
            [
                r#"{"data":{"id":"<>","time":"<>","userId":"u1"},"event":"connected"}"#,
                r#"{"event":"you-said","data":{"sealed":{"x":1}}}"#,
                r#"{"event":"one-of-you-said","data":{"x":1}}"#,
                r#"{"event":"somebody-said","data":{"sealed":{"x":1}}}"#,
            ]
        );
        let mut bad = self.connect("/ws");
        bad.send(r#"{"event":"authenticate","data":{"token":"bad"}}"#)
            .unwrap();
        assert!(hear(&mut bad).contains("Authentication failed"));
        assert!(bad.recv().is_none_or(|end| end.is_err()));
        assert_eq!(u16::from(bad.closed().unwrap().code), 4003);
        ws.close(CloseCode::NORMAL, "").unwrap();
        let told = self.trace.take(3);
        assert_eq!(
            told[..2],
            [
                r#"Some(UserId("u1")) in ["ws-default", "ws-notification", "lobby"]"#,
                r#"say on 1, ["ws-default", "ws-notification", "lobby", "public-a"]"#,
            ]
        );
        // Who never was somebody is gone, too.
        assert!(
            told[2..].iter().all(|told| told.contains("gone")),
            "{told:?}"
        );
    }
}

fn hear(ws: &mut WebSocket) -> String {
    match ws.recv() {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_documents_examples_do_what_they_say_on_both_runtimes() {
    for start in [on_smol, on_std] {
        let trace = Trace::default();
        let server = start(trace.clone());
        let clients = Clients {
            server: &server,
            trace: &trace,
        };
        let (mut ann, mut ben) = (
            clients.connect("/full?clientId=ann"),
            clients.connect("/full?clientId=ben"),
        );
        for ws in [&mut ann, &mut ben] {
            assert!(hear(ws).contains(r#""type":"welcome""#));
            assert!(hear(ws).contains(r#""type":"ping""#));
        }
        let mut told = trace.take(4);
        told.sort();
        let expected = [
            "onConnect ann",
            "onConnect ben",
            "onWelcome ann",
            "onWelcome ben",
        ];
        assert_eq!(told, expected);
        let mut room = String::new();
        clients.smartsocket(&mut room);
        clients.rnode(&mut ann, &mut ben, &room);
        clients.ignis();
        (server.stop)();
        assert!(ben.recv().is_none_or(|end| end.is_err()));
        server.thread.join().unwrap();
    }
}
