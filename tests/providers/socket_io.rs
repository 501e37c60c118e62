//! Socket.IO, against npm `socket.io`.

use serde_json::json;
use smartsocket_core::Message;
use smartsocket_core::client::{Auth, Payload, Provider, State};

use crate::on_both;
use crate::runtimes::{Runtime, data};
use crate::servers::Server;
use crate::survival::{Ask, Case};

on_both!(survives, acks_and_bytes, recovery, refusals);

fn case() -> Case {
    Case {
        auth: Auth::first_message(),
        channel: "/chat",
        told_as: Some("/chat"),
        confirmed: true,
        say: |client, text| client.publish(Some("/chat"), "say", &json!({ "text": text })),
        ask: Some(Ask {
            channel: Some("/chat"),
            event: "ask",
            data: || json!([1, "two"]),
            answer: || json!({ "of": "/chat", "asked": [1, "two"] }),
        }),
        ..Case::new("socketio.mjs", Provider::SocketIo)
    }
}

fn survives(runtime: Runtime) {
    case().survives(runtime);
}

fn acks_and_bytes(runtime: Runtime) {
    let mut server = Server::start("socketio.mjs");
    let client = case().client(runtime, &server);
    client.connect().unwrap();
    let answer = |event| client.ask(None, event, &json!({ "n": 1 })).unwrap();
    assert_eq!(answer("ask").as_str(), r#"{"asked":{"n":1}}"#);
    assert_eq!(answer("ask two").as_str(), r#"["one",[2]]"#);
    assert_eq!(answer("ask bytes").as_str(), r#""AP8H""#);

    let questions = client.subscribe("question");
    server.tell("question {\"a\":[null,1.5]}");
    let question = questions.next();
    assert_eq!(data(&question), r#"{"a":[null,1.5]}"#);
    client.acknowledge(question.ack.unwrap(), &json!({ "yes": true }));
    assert_eq!(server.hear("answered "), r#"{"yes":true}"#);

    let bytes = client.subscribe("bytes");
    server.tell("bytes 00ff07");
    let expected = Payload::Message(Message::binary(vec![0, 255, 7]));
    assert_eq!(bytes.next().data, expected);
    let mixed = client.subscribe("mixed");
    server.tell("mixed 00ff07");
    assert_eq!(mixed.json(), r#"{"parts":["AP8H","text"]}"#);
    client.send(Message::binary(vec![7, 255, 0]));
    assert_eq!(server.hear("bytes "), "07ff00");

    // Several of the server's pings later it is still there.
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(client.state(), State::Authenticated);
    assert_eq!(client.stats().reconnect_attempts, 0);
    client.disconnect();
    assert_eq!(server.hear("left "), "client namespace disconnect");
}

/// What was sent while the wire was broken comes, and nothing twice.
fn recovery(runtime: Runtime) {
    let mut server = Server::start("socketio.mjs");
    let case = Case {
        channel: "news",
        ..case()
    };
    let client = case.client_with(runtime, &server, |config| {
        // Time to say something meanwhile.
        config.reconnect.as_mut().unwrap().initial = std::time::Duration::from_millis(700);
    });
    client.connect().unwrap();
    assert_eq!(server.hear("in "), "new");
    let news = client.subscribe("news");
    server.tell("main before");
    assert_eq!(news.json(), r#"{"text":"before"}"#);
    server.tell("cut");
    server.hear("left ");
    server.tell("main missed");
    server.tell("main missed too");
    client.becomes(State::Reconnecting);
    client.becomes(State::Authenticated);
    assert_eq!(server.hear("in "), "recovered");
    server.tell("main after");
    for text in ["missed", "missed too", "after"] {
        assert_eq!(news.json(), json!({ "text": text }).to_string());
    }
    client.disconnect();
}

fn refusals(runtime: Runtime) {
    assert_eq!(case().refuses(runtime), "not authorized");

    let mut server = Server::start("socketio.mjs");
    let client = case().client(runtime, &server);
    client.connect().unwrap();
    let _closed = client.subscribe("/closed");
    assert_eq!(client.is_refused("/closed"), "members only");
    let _none = client.subscribe("/none");
    assert_eq!(client.is_refused("/none"), "Invalid namespace");
    // The rest of the connection goes on.
    assert!(client.ask(None, "ask", &json!(1)).is_ok());
    server.tell("kick");
    // Who is sent away does not come back by itself.
    client.becomes(State::Disconnected);
}
