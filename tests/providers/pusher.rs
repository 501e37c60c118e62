//! Pusher Channels.

use serde_json::{Value, json};
use smartsocket_core::client::{Ping, Provider, Secret, State, pusher_proof};

use crate::on_both;
use crate::runtimes::{Client, Runtime, data};
use crate::servers::Server;
use crate::survival::Case;

on_both!(survives, proofs, members, codes);

const KEY: &str = "278d425bdf160c739803";
const SECRET: &str = "7ad3773142a6692b25b8";

fn case() -> Case {
    Case {
        path: "/app/278d425bdf160c739803",
        options: |config| config.token = Some(Secret::from(SECRET)),
        channel: "private-chat",
        told_as: Some("private-chat"),
        confirmed: true,
        say: |client, text| {
            client.publish(Some("private-chat"), "client-say", &json!({ "text": text }));
        },
        scripted: true,
        ..Case::new("pusher.mjs", Provider::Pusher)
    }
}

fn survives(runtime: Runtime) {
    case().survives(runtime);
}

/// The application shows who is there, anew for each connection.
fn proofs(runtime: Runtime) {
    const WHO: &str = r#"{"user_id":"u1","user_info":{"name":"Ann"}}"#;
    let server = Server::start("pusher.mjs");
    let config = case().config(&server, |config| config.token = None);
    let prove = |channel: &str, socket: &str| {
        let proof = pusher_proof(KEY, SECRET, socket, channel, Some(WHO));
        (channel != "presence-closed").then_some(proof)
    };
    let client = Client::with_hooks(runtime, Provider::Pusher, config, None, Some(prove));
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    let room = client.subscribe("presence-room");
    let is_there = || {
        client.is_subscribed("presence-room");
        let members: Value = serde_json::from_str(&room.json()).unwrap();
        let ann = json!({ "ids": ["u1"], "hash": { "u1": { "name": "Ann" } }, "count": 1 });
        assert_eq!(members, json!({ "presence": ann }));
    };
    is_there();
    let closed = client.subscribe("presence-closed");
    let words = client.is_refused("presence-closed");
    assert_eq!(words, "there is no proof that we may have it");
    drop(closed);
    let grave = server.kill();
    client.becomes(State::Reconnecting);
    let _server = grave.revive();
    client.becomes(State::Authenticated);
    is_there();
    client.disconnect();
}

/// What one says, the other hears; both stay while they are silent.
fn members(runtime: Runtime) {
    let mut server = Server::start("pusher.mjs");
    let [one, other] = [(); 2].map(|()| {
        let client = case().client(runtime, &server);
        client.connect().unwrap();
        client
    });
    let subscriptions = [&one, &other].map(|client| {
        let subscription = client.subscribe("private-chat");
        client.is_subscribed("private-chat");
        subscription
    });
    one.publish(Some("private-chat"), "client-hello", &json!({ "a": 1 }));
    let heard = subscriptions[1].next();
    assert_eq!(heard.event.as_deref(), Some("client-hello"));
    let heard: Value = serde_json::from_str(&data(&heard)).unwrap();
    assert_eq!(heard, json!({ "a": 1 }));

    // After a second without a word the server wants to be asked.
    server.hear("ping");
    server.tell("ping");
    server.hear("pong");
    assert_eq!(other.state(), State::Authenticated);
    drop(subscriptions);
    assert_eq!(server.hear("left "), "private-chat");
    one.disconnect();
    other.disconnect();
}

/// 4000 and above are fatal, 4200 and above are not.
fn codes(runtime: Runtime) {
    let mut server = Server::start("pusher.mjs");
    let client = case().client_with(runtime, &server, |config| {
        config.url = config.url.replace(KEY, "other");
        config.ping = Some(Ping::default());
    });
    let error = client.connect().unwrap_err();
    assert!(!error.will_retry(), "{error}");
    assert_eq!(error.to_string(), "App key other not in this cluster");

    let client = case().client(runtime, &server);
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    server.tell("close 4201");
    client.becomes(State::Reconnecting);
    client.becomes(State::Authenticated);
    server.tell("close 4004");
    client.becomes(State::Error);
}
