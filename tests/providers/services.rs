//! Services without a client library of their own: what their documentation
//! says is all there is to hold against.

use std::time::Duration;

use serde_json::{Value, json};
use smartsocket_core::client::{Auth, Ping, Provider, RequestError, State};

use crate::on_both;
use crate::runtimes::{Runtime, data};
use crate::servers::Server;
use crate::survival::{Ask, Case};

on_both!(aws, aws_limits, binance, binance_limits, protocol_os);

fn api() -> Case {
    Case {
        path: "/production",
        auth: Auth::query(),
        ask: Some(Ask {
            channel: None,
            event: "ask",
            data: || json!({ "n": 7 }),
            answer: || json!({ "asked": 7 }),
        }),
        answer: |mut answer| json!({ "asked": answer["asked"].take() }),
        ..Case::new("aws.mjs", Provider::AwsApiGateway)
    }
}

fn aws(runtime: Runtime) {
    api().survives(runtime);
}

fn aws_limits(runtime: Runtime) {
    assert!(api().refuses(runtime).contains("403"));

    let mut server = Server::start("aws.mjs");
    let client = api().client_with(runtime, &server, |config| {
        config.ping = Some(Ping {
            interval: Duration::from_millis(100),
            ..Ping::default()
        });
    });
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    // In frames of 32 KiB at most, which the server counts.
    let long = "x".repeat(120_000);
    let answer = client.ask(None, "ask", &json!({ "n": 1, "pad": long }));
    let answer: Value = serde_json::from_str(answer.unwrap().as_str()).unwrap();
    assert!(answer["length"].as_u64().unwrap() > 120_000);
    let longer = client.ask(None, "ask", &json!({ "pad": long.repeat(2) }));
    assert!(
        matches!(longer, Err(RequestError::Refused(_))),
        "{longer:?}"
    );

    let all = client.subscribe("error");
    client.publish(None, "nothing", &json!({}));
    assert!(all.json().contains("Forbidden"));
    for _ in 0..2 {
        server.hear("ping");
    }
    server.tell("tired");
    client.becomes(State::Reconnecting);
    client.becomes(State::Authenticated);
    client.disconnect();
}

fn streams() -> Case {
    Case {
        path: "/ws",
        channel: "btcusdt@aggTrade",
        told_as: Some("btcusdt@aggTrade"),
        confirmed: true,
        say: |client, text| client.publish(None, "SAY", &json!([text])),
        news: |mut data| json!({ "text": data["text"].take() }),
        ask: Some(Ask {
            channel: None,
            event: "LIST_SUBSCRIPTIONS",
            data: || Value::Null,
            answer: || json!(["btcusdt@aggTrade"]),
        }),
        ..Case::new("binance.mjs", Provider::Binance)
    }
}

fn binance(runtime: Runtime) {
    streams().survives(runtime);
}

/// Never more than five messages in a second, and a new connection before the
/// old one ends.
fn binance_limits(runtime: Runtime) {
    let mut server = Server::start("binance.mjs");
    let client = streams().client(runtime, &server);
    client.connect().unwrap();
    client.becomes(State::Authenticated);
    let names: Vec<_> = (0..300).map(|n| format!("coin{n}@trade")).collect();
    let subscriptions: Vec<_> = names.iter().map(|name| client.subscribe(name)).collect();
    for _ in &names {
        server.hear("subscribed ");
    }
    let _wrong = client.subscribe("nothing");
    assert!(client.is_refused("nothing").contains("invalid stream"));
    for n in 0..8 {
        client.publish(None, "SAY", &json!([n.to_string()]));
    }
    for n in 0..8 {
        assert_eq!(server.hear("said "), n.to_string());
    }
    server.tell("push all");
    for (name, subscription) in names.iter().zip(&subscriptions) {
        let heard = subscription.next();
        assert_eq!(heard.channel.as_deref(), Some(&**name));
        assert!(data(&heard).contains("all"));
    }
    server.tell("shutdown");
    for _ in &names {
        server.hear("subscribed ");
    }
    assert_eq!(client.state(), State::Authenticated);
    assert_eq!(client.stats().reconnect_attempts, 0);
    client.disconnect();
}

fn protocol_os(runtime: Runtime) {
    let case = Case {
        auth: Auth::first_message(),
        channel: "chat",
        say: |client, text| client.publish(Some("chat"), "publish", &json!({ "text": text })),
        news: |mut data| data["payload"].take(),
        ask: Some(Ask {
            channel: None,
            event: "getUser",
            data: || json!({ "id": "123" }),
            answer: || json!({ "asked": { "id": "123" } }),
        }),
        options: |config| {
            config.ping = Some(Ping {
                interval: Duration::from_millis(100),
                ..Ping::default()
            });
        },
        ..Case::new("protocol_os.mjs", Provider::Custom)
    };
    case.survives(runtime);

    let mut server = Server::start("protocol_os.mjs");
    let client = case.client(runtime, &server);
    client.connect().unwrap();
    let failed = client.ask(None, "fail", &json!({}));
    assert_eq!(failed, Err(RequestError::Refused("it failed".into())));
    server.tell("ping");
    assert_eq!(server.hear("pong "), "p1");
    server.hear("ping");
    client.ask(None, "getUser", &json!({})).unwrap();
    assert!(client.stats().latency.is_some());
    client.disconnect();
}
