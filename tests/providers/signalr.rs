//! SignalR.

use std::time::Duration;

use serde_json::{Value, json};
use smartsocket_core::client::{Auth, Ping, Provider, State};

use crate::on_both;
use crate::runtimes::{Runtime, data};
use crate::servers::Server;
use crate::survival::{Ask, Case};

on_both!(
    survives,
    without_negotiation,
    calls,
    script_survives,
    script_calls,
    goodbyes,
);

const NEWS: &str = r#"{"target":"News","arguments":[]}"#;

/// The library itself.
fn library() -> Case {
    Case {
        path: "/hub?negotiateVersion=1",
        auth: Auth::query(),
        options: |config| {
            config.ping = Some(Ping {
                interval: Duration::from_millis(100),
                ..Ping::default()
            });
        },
        channel: NEWS,
        told_as: Some("News"),
        confirmed: true,
        say: |client, text| client.publish(None, "Say", &json!([{ "text": text }])),
        ask: Some(Ask {
            channel: None,
            event: "Echo",
            data: || json!([{ "a": [1] }]),
            answer: || json!({ "a": [1] }),
        }),
        ..Case::new("signalr/serve.sh", Provider::SignalR)
    }
}

/// What a hub may do besides, and splits records as the library does not.
fn script() -> Case {
    Case {
        script: "signalr.mjs",
        scripted: true,
        ..library()
    }
}

fn survives(runtime: Runtime) {
    library().survives(runtime);
}

fn script_survives(runtime: Runtime) {
    script().survives(runtime);
}

fn without_negotiation(runtime: Runtime) {
    let case = Case {
        path: "/hub",
        auth: Auth::bearer(),
        ..library()
    };
    case.survives(runtime);
}

fn calls(runtime: Runtime) {
    are_answered(runtime, &library());
}

fn script_calls(runtime: Runtime) {
    are_answered(runtime, &script());

    let mut server = Server::start("signalr.mjs");
    let client = script().client(runtime, &server);
    client.connect().unwrap();
    let questions = client.subscribe("Question");
    server.tell("question which?");
    let question = questions.next();
    assert_eq!(data(&question), r#"["which?"]"#);
    client.acknowledge(question.ack.unwrap(), &json!({ "this": "one" }));
    assert_eq!(server.hear("answered ").trim_end(), r#"{"this":"one"}"#);
    client.disconnect();
}

fn are_answered(runtime: Runtime, case: &Case) {
    assert!(case.refuses(runtime).contains("401"));

    let mut server = Server::start(case.script);
    let client = case.client(runtime, &server);
    client.connect().unwrap();
    server.hear("negotiated");
    let failed = client.ask(None, "Fail", &json!([])).unwrap_err();
    assert!(failed.to_string().contains("it failed"), "{failed}");
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

    let news = client.subscribe(NEWS);
    server.hear("subscribed News");
    drop(news);
    server.hear("completed ");
    // Longer than the server would wait for ours.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(client.state(), State::Authenticated);
    client.disconnect();
    server.hear("left ");
}

/// What the server says counts, not the code it closes with.
fn goodbyes(runtime: Runtime) {
    let mut server = Server::start("signalr.mjs");
    let client = script().client(runtime, &server);
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    server.tell("restart");
    client.becomes(State::Reconnecting);
    client.becomes(State::Authenticated);
    server.tell("abort");
    client.becomes(State::Error);
}
