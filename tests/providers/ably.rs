//! Ably.

use std::time::Duration;

use serde_json::{Value, json};
use smartsocket_core::client::{Auth, Provider, RequestError, Secret, State};

use crate::on_both;
use crate::runtimes::{Client, Runtime};
use crate::servers::Server;
use crate::survival::Case;

on_both!(survives, resumes, new_tokens, refusals);

fn case() -> Case {
    Case {
        auth: Auth::query(),
        options: |config| config.token = Some(Secret::from("app.key:secret")),
        channel: "chat",
        told_as: Some("chat"),
        confirmed: true,
        say: |client, text| client.publish(Some("chat"), "say", &json!({ "text": text })),
        scripted: true,
        ..Case::new("ably.mjs", Provider::Ably)
    }
}

fn survives(runtime: Runtime) {
    case().survives(runtime);
}

/// What was published while the wire was broken comes, and nothing twice.
fn resumes(runtime: Runtime) {
    let mut server = Server::start("ably.mjs");
    let client = case().client_with(runtime, &server, |config| {
        config.reconnect.as_mut().unwrap().initial = Duration::from_millis(400);
    });
    client.connect().unwrap();
    assert_eq!(server.hear("in "), "new");
    let chat = client.subscribe("chat");
    client.is_subscribed("chat");
    client.ask(Some("chat"), "e", &json!("said")).unwrap();
    assert_eq!(chat.json(), "\"said\"");
    let goodbyes = [("cut", "one"), ("move", "two")];
    for (goodbye, text) in goodbyes {
        server.tell(goodbye);
        server.tell(&format!("push {text}"));
        client.becomes(State::Reconnecting);
        client.becomes(State::Authenticated);
        assert_eq!(server.hear("in "), "resumed");
        let heard: Value = serde_json::from_str(&chat.json()).unwrap();
        assert_eq!(heard, json!({ "text": text }));
    }
    // Its serials went on.
    client.ask(Some("chat"), "e", &json!("last")).unwrap();
    assert_eq!(chat.json(), "\"last\"");
    drop(chat);
    assert_eq!(server.hear("left "), "chat");
    client.disconnect();
    server.hear("closed");
}

/// A token that has expired is not the end where another can be had.
fn new_tokens(runtime: Runtime) {
    let server = Server::start("ably.mjs");
    let config = case().config(&server, |config| config.token = None);
    let token = |attempt| if attempt == 2 { "good" } else { "of-last-week" }.to_owned();
    let client = Client::with_hooks(runtime, Provider::Ably, config, Some(token), None);
    let error = client.connect().unwrap_err();
    assert!(error.will_retry(), "{error}");
    client.becomes(State::Reconnecting);
    client.becomes(State::Authenticated);
    client.ask(Some("chat"), "e", &json!(1)).unwrap();
    client.disconnect();
    client.tells_nothing_of("of-last-week");
}

fn refusals(runtime: Runtime) {
    let error = case().refuses_with(runtime, "app.key:other");
    assert_eq!(error, "Invalid key");
    let error = case().refuses_with(runtime, "of-last-week");
    assert_eq!(error, "Token expired");

    let server = Server::start("ably.mjs");
    let client = case().client_with(runtime, &server, |config| {
        config.token = Some(Secret::from("good"));
    });
    client.connect().unwrap();
    let _closed = client.subscribe("closed");
    assert_eq!(client.is_refused("closed"), "Channel denied access");
    let refused = client.ask(Some("readonly"), "e", &json!(1));
    let words = "no permission to publish".into();
    assert_eq!(refused, Err(RequestError::Refused(words)));
    client.disconnect();
}
