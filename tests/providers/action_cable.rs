//! Action Cable.

use serde_json::json;
use smartsocket_core::client::{Auth, Provider, Secret, State};

use crate::on_both;
use crate::runtimes::Runtime;
use crate::servers::Server;
use crate::survival::Case;

on_both!(survives, goodbyes, script_survives, script_goodbyes);

const CHAT: &str = r#"{"channel":"ChatChannel","room":"1"}"#;

/// The library itself.
fn library() -> Case {
    Case {
        auth: Auth::query(),
        options: |config| {
            let origin = Secret::from("http://127.0.0.1");
            config.headers.push(("Origin".into(), origin));
        },
        channel: CHAT,
        told_as: Some(CHAT),
        confirmed: true,
        say: |client, text| client.publish(Some(CHAT), "say", &json!({ "text": text })),
        ..Case::new("actioncable.rb", Provider::ActionCable)
    }
}

/// A newer one, as its client knows it.
fn script() -> Case {
    Case {
        script: "actioncable.mjs",
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

fn goodbyes(runtime: Runtime) {
    // Rails 6 ends the connection without a word, so its client comes back.
    says_goodbye(runtime, &library(), State::Reconnecting);
}

fn script_goodbyes(runtime: Runtime) {
    says_goodbye(runtime, &script(), State::Error);
}

fn says_goodbye(runtime: Runtime, case: &Case, disconnected: State) {
    assert_eq!(case.refuses(runtime), "unauthorized");

    let mut server = Server::start(case.script);
    let client = case.client(runtime, &server);
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
    client.becomes(disconnected);
}
