//! SignalR.

use std::time::Duration;

use serde_json::{Value, json};
use smartsocket_core::client::{Auth, Ping, Provider, RequestError, State};

use crate::on_both;
use crate::runtimes::{Runtime, data};
use crate::servers::Server;
use crate::survival::{Ask, Case};

on_both!(survives, without_negotiation, calls, goodbyes);

const NEWS: &str = r#"{"target":"News","arguments":[]}"#;

fn case() -> Case {
    Case {
        path: "/hub?negotiateVersion=1",
        auth: Auth::query(),
        channel: NEWS,
        told_as: Some("News"),
        confirmed: true,
        say: |client, text| client.publish(None, "Say", &json!({ "text": text })),
        ask: Some(Ask {
            channel: None,
            event: "Echo",
            data: || json!([{ "a": [1] }]),
            answer: || json!({ "a": [1] }),
        }),
        scripted: true,
        ..Case::new("signalr.mjs", Provider::SignalR)
    }
}

fn survives(runtime: Runtime) {
    case().survives(runtime);
}

fn without_negotiation(runtime: Runtime) {
    let case = Case {
        path: "/hub",
        auth: Auth::bearer(),
        scripted: false,
        ..case()
    };
    case.survives(runtime);
}

fn calls(runtime: Runtime) {
    let mut server = Server::start("signalr.mjs");
    let client = case().client_with(runtime, &server, |config| {
        config.ping = Some(Ping {
            interval: Duration::from_millis(100),
            ..Ping::default()
        });
    });
    client.connect().unwrap();
    server.hear("negotiated");
    let failed = client.ask(None, "Fail", &json!([]));
    assert_eq!(failed, Err(RequestError::Refused("it failed".into())));
    let unknown = client.ask(None, "None", &json!([])).unwrap_err();
    assert!(unknown.to_string().contains("Method does not exist"));

    let counter = client.subscribe(r#"{"target":"Counter","arguments":[3]}"#);
    for n in 1..=3 {
        assert_eq!(counter.json(), n.to_string());
    }
    assert_eq!(counter.next().event.as_deref(), Some("complete"));

    let calls = client.subscribe("News");
    server.tell("call hello");
    let arguments: Value = serde_json::from_str(&calls.json()).unwrap();
    assert_eq!(arguments, json!([{ "text": "hello" }, 1]));
    let questions = client.subscribe("Question");
    server.tell("question which?");
    let question = questions.next();
    assert_eq!(data(&question), r#"["which?"]"#);
    client.acknowledge(question.ack.unwrap(), &json!({ "this": "one" }));
    assert_eq!(server.hear("answered ").trim_end(), r#"{"this":"one"}"#);

    let news = client.subscribe(NEWS);
    server.hear("subscribed News");
    drop(news);
    server.hear("completed ");
    for _ in 0..2 {
        server.hear("ping");
    }
    client.disconnect();
}

/// What the server says counts, not the code it closes with.
fn goodbyes(runtime: Runtime) {
    assert!(case().refuses(runtime).contains("401"));

    let mut server = Server::start("signalr.mjs");
    let client = case().client(runtime, &server);
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    server.tell("restart");
    client.becomes(State::Reconnecting);
    client.becomes(State::Authenticated);
    server.tell("abort");
    client.becomes(State::Error);
}
