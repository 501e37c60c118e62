//! Phoenix channels.

use serde_json::json;
use smartsocket_core::Message;
use smartsocket_core::client::{Auth, Payload, Ping, Provider, RequestError, State};

use std::time::Duration;

use crate::on_both;
use crate::runtimes::Runtime;
use crate::servers::Server;
use crate::survival::{Ask, Case};

on_both!(survives, refusals_and_heartbeats);

fn case() -> Case {
    Case {
        path: "/socket",
        auth: Auth::query(),
        channel: "room:lobby",
        told_as: Some("room:lobby"),
        confirmed: true,
        say: |client, text| client.publish(Some("room:lobby"), "say", &json!({ "text": text })),
        ask: Some(Ask {
            channel: Some("room:lobby"),
            event: "ask",
            data: || json!({ "n": 1 }),
            answer: || json!({ "asked": { "n": 1 } }),
        }),
        scripted: true,
        ..Case::new("phoenix.mjs", Provider::Phoenix)
    }
}

fn survives(runtime: Runtime) {
    case().survives(runtime);
}

fn refusals_and_heartbeats(runtime: Runtime) {
    assert!(case().refuses(runtime).contains("403"));

    let mut server = Server::start("phoenix.mjs");
    let client = case().client_with(runtime, &server, |config| {
        // As `authToken` it is in no URL.
        config.auth = Auth::Subprotocol;
        config.ping = Some(Ping {
            interval: Duration::from_millis(100),
            ..Ping::default()
        });
    });
    client.connect().unwrap();
    for (topic, words) in [("room:closed", "unauthorized"), ("hall", "unmatched topic")] {
        let _refused = client.subscribe(topic);
        assert_eq!(client.is_refused(topic), words);
    }
    let lobby = client.subscribe("room:lobby");
    client.is_subscribed("room:lobby");
    let failed = client.ask(Some("room:lobby"), "fail", &json!({}));
    assert_eq!(failed, Err(RequestError::Refused("it failed".into())));
    server.tell("bytes 00ff07");
    let bytes = Payload::Message(Message::binary(vec![0, 255, 7]));
    assert_eq!(lobby.next().data, bytes);
    for _ in 0..2 {
        server.hear("heartbeat");
    }
    // A channel that breaks is joined again; the socket is well.
    client.publish(Some("room:lobby"), "crash", &json!({}));
    server.hear("crashed");
    client.publish(Some("room:lobby"), "say", &json!({ "text": "later" }));
    client.is_subscribed("room:lobby");
    assert_eq!(server.hear("said "), "later");
    assert_eq!(client.stats().reconnect_attempts, 0);
    assert!(client.stats().latency.is_some());
    drop(lobby);
    assert_eq!(server.hear("left "), "room:lobby");
    client.disconnect();
    assert_eq!(client.state(), State::Disconnected);
}
