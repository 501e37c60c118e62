//! `smartsocket serve`: SmartSocket, encrypted too, and the dialects of the
//! other systems, whose messages go as they are.

use serde_json::{Value, json};
use smartsocket_core::client::{Auth, Event, Ping, Provider, Secret, SmartSocket, State, Verdict};
use smartsocket_core::crypt::{Exchange, Offer};

use crate::on_both;
use crate::runtimes::{Client, Runtime};
use crate::servers::Server;
use crate::survival::backoff;

on_both!(plain, with_a_key, sealed, wrong_keys, ignis, mb, rnode);

/// As `smartsocket keygen` makes them.
const KEY: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
const OTHER: &str = "EjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8=";

fn client(runtime: Runtime, provider: Provider, server: &Server, path: &str) -> Client {
    let mut config = provider.config(server.url(path));
    config.reconnect = Some(backoff());
    Client::new(runtime, provider, config)
}

fn smartsocket(runtime: Runtime, server: &Server, options: SmartSocket) -> Client {
    let options = SmartSocket {
        namespace: "/chat".into(),
        ..options
    };
    client(
        runtime,
        Provider::SmartSocket(Box::new(options)),
        server,
        "",
    )
}

/// Messages, answers, and all of it again after the server was killed.
fn survives(runtime: Runtime, arguments: &[&str], options: SmartSocket) {
    let server = Server::ours(arguments);
    let client = smartsocket(runtime, &server, options);
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    let messages = client.subscribe("message");
    let say = |text: &str| client.publish(None, "message", &json!({ "text": text }));
    let hears = |text: &str| assert_eq!(messages.json(), json!({ "text": text }).to_string());
    let asks = || {
        let answer = client.ask(None, "echo", &json!({ "a": ["κόσμε", null] }));
        assert_eq!(answer.unwrap().as_str(), r#"{"a":["κόσμε",null]}"#);
    };
    say("one");
    hears("one");
    asks();
    // In packets, compressed.
    let long = "κόσμε 🦀".repeat(20_000);
    say(&long);
    hears(&long);

    let grave = server.kill();
    client.becomes(State::Reconnecting);
    say("two");
    assert_eq!(client.stats().queued, 1);
    let _server = grave.revive();
    client.becomes(State::Authenticated);
    hears("two");
    say("three");
    // Nothing came twice.
    hears("three");
    asks();
    let stats = client.stats();
    assert_eq!((stats.queued, stats.dropped), (0, 0));
    client.disconnect();
}

fn plain(runtime: Runtime) {
    survives(runtime, &[], SmartSocket::default());
}

fn with_a_key(runtime: Runtime) {
    let options = SmartSocket {
        api_key: Some(Secret::from("k1")),
        ..SmartSocket::default()
    };
    survives(runtime, &["--api-key", "k1"], options);
}

fn sealed(runtime: Runtime) {
    for exchange in [None, Some(Exchange::X25519), Some(Exchange::P256)] {
        let options = SmartSocket {
            encryption: Some(KEY.parse().unwrap()),
            api_key: Some(Secret::from("k1")),
            offer: Offer {
                exchange,
                ..Offer::default()
            },
            ..SmartSocket::default()
        };
        let arguments = ["--encryption-key", KEY, "--api-key", "k1"];
        survives(runtime, &arguments, options);
    }
}

/// Who has the wrong keys stays out, and does not try again.
fn wrong_keys(runtime: Runtime) {
    let server = Server::ours(&["--encryption-key", KEY, "--api-key", "k1"]);
    let with = |encryption: Option<&str>, api_key: Option<&str>| SmartSocket {
        encryption: encryption.map(|key| key.parse().unwrap()),
        api_key: api_key.map(Secret::from),
        ..SmartSocket::default()
    };
    for options in [
        with(Some(OTHER), Some("k1")),
        with(Some(KEY), Some("wrong")),
        with(Some(KEY), None),
        with(None, Some("k1")),
    ] {
        let client = smartsocket(runtime, &server, options);
        let error = client.connect().unwrap_err();
        assert!(!error.will_retry(), "{error}");
        assert!(error.to_string().contains("ERR_CONN_004"), "{error}");
        client.becomes(State::Error);
        client.tells_nothing_of("wrong");
    }
}

/// The server of Ignis that the program is: who says the token is in.
fn ignis(runtime: Runtime) {
    let server = Server::ours(&[]);
    let mut config = Provider::Echo.config(server.url("/ws"));
    config.reconnect = Some(backoff());
    config.token = Some(Secret::from("dev"));
    config.auth = Auth::FirstMessage {
        kind: "authenticate".into(),
        template: r#"{"event":"{{type}}","data":{"token":"{{token}}"}}"#.into(),
    };
    let client = Client::new(runtime, Provider::Echo, config);
    let all = client.subscribe("*");
    let next = || -> Value { serde_json::from_str(&all.json()).unwrap() };
    let echoes = |n: u32| {
        assert_eq!(next()["event"], "connected");
        client.send(json!({ "event": "echo", "data": n }).to_string());
        assert_eq!(next(), json!({ "event": "echo", "data": n }));
    };
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    echoes(1);
    let grave = server.kill();
    client.becomes(State::Reconnecting);
    let _server = grave.revive();
    client.becomes(State::Authenticated);
    echoes(2);
    client.disconnect();
}

/// MB-04, MB-43, MB-44, MB-46: a service comes back by itself.
fn mb(runtime: Runtime) {
    const ID: &str = "0b2f1bd4-3bd6-4d2b-9c7e-000000000001";
    let server = Server::ours(&[]);
    let client = client(runtime, Provider::Echo, &server, "/mb");
    let all = client.subscribe("*");
    let subscribes = |payload: &str| {
        assert_eq!(all.json(), "publish:system.initialize:1.0.0\n{}");
        client.send(format!(
            "request:system.topic.subscribe:1.0.0:{ID}\n{{\"action\":\"publish\",\"topic\":\"events.user\"}}"
        ));
        let done =
            format!("response:system.topic.subscribe:1.0.0:{ID}\n{{\"status\":\"success\"}}");
        assert_eq!(all.json(), done);
        client.send(format!("publish:events.user:1.0.0\n{payload}"));
        let heard = all.json();
        let (header, rest) = heard.split_once('\n').unwrap();
        assert!(header.starts_with("publish:events.user:1.0.0"), "{heard}");
        assert_eq!(rest, payload);
    };
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    subscribes(r#"{"m":1}"#);
    let grave = server.kill();
    let ended = client.hear("ending", |event| match event {
        Event::Ended(ending, verdict) => Some((u16::from(ending.code()), *verdict)),
        _ => None,
    });
    assert_eq!(ended, (1006, Verdict::Backoff));
    client.becomes(State::Reconnecting);
    let _server = grave.revive();
    client.becomes(State::Authenticated);
    subscribes(r#"{"m":2}"#);
    client.disconnect();
}

/// Its messages have types, as those of Protocol OS.
fn rnode(runtime: Runtime) {
    let server = Server::ours(&[]);
    let mut config = Provider::Custom.config(server.url("/rnode?clientId=ann"));
    config.reconnect = Some(backoff());
    config.ping = Some(Ping {
        interval: std::time::Duration::from_millis(100),
        ..Ping::default()
    });
    let client = Client::new(runtime, Provider::Custom, config);
    let welcomes = client.subscribe("welcome");
    let direct = client.subscribe("direct_message");
    let talks = |text: &str| {
        assert!(welcomes.json().contains("ann"));
        let message = json!({ "type": "direct_message", "target_client_id": "ann", "data": text });
        client.send(message.to_string());
        assert!(direct.json().contains(text));
    };
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    talks("to myself");
    let grave = server.kill();
    client.becomes(State::Reconnecting);
    let _server = grave.revive();
    client.becomes(State::Authenticated);
    talks("again");
    client.disconnect();
}
