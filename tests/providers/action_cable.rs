//! Action Cable.

use serde_json::json;
use smartsocket_core::client::{Auth, Provider, Secret, State};

use crate::on_both;
use crate::runtimes::Runtime;
use crate::servers::Server;
use crate::survival::Case;

on_both!(survives, goodbyes);

const CHAT: &str = r#"{"channel":"ChatChannel","room":"1"}"#;

fn case() -> Case {
    Case {
        auth: Auth::query(),
        config: |config| {
            let origin = Secret::from("http://127.0.0.1");
            config.headers.push(("Origin".into(), origin));
        },
        channel: CHAT,
        told_as: Some(CHAT),
        confirmed: true,
        say: |client, text| client.publish(Some(CHAT), "say", &json!({ "text": text })),
        scripted: true,
        ..Case::new("actioncable.mjs", Provider::ActionCable)
    }
}

fn survives(runtime: Runtime) {
    case().survives(runtime);
}

fn goodbyes(runtime: Runtime) {
    assert_eq!(case().refuses(runtime), "unauthorized");

    let mut server = Server::start("actioncable.mjs");
    let client = case().client(runtime, &server);
    client.connect().unwrap();
    let chat = client.subscribe(CHAT);
    client.is_subscribed(CHAT);
    let _closed = client.subscribe("ClosedChannel");
    assert_eq!(client.is_refused("ClosedChannel"), "rejected");
    server.tell("restart");
    client.becomes(State::Reconnecting);
    client.is_subscribed(CHAT);
    drop(chat);
    assert_eq!(server.hear("left "), CHAT);
    server.tell("remote");
    client.becomes(State::Error);
}
