use smartsocket_core::client::{Auth, Priority, Provider, Secret, Verdict};
use smartsocket_core::{Json, Message};

use super::{endure, noise};
use crate::common::client::{World, config, seconds};

const URL: &str = "wss://id.execute-api.eu-west-1.amazonaws.com/prod";

fn open() -> World {
    let mut world = World::opened(Provider::AwsApiGateway, config());
    world.events.clear();
    world
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

/// The seed's preset: the authorizer reads the query.
#[test]
fn the_authorizer_finds_the_token_in_the_query() {
    for (auth, target) in [
        (Auth::query(), "/prod?Authorization=a%2Fb"),
        (Auth::Query { name: "t".into() }, "/prod?t=a%2Fb"),
    ] {
        let mut config = Provider::AwsApiGateway.config(URL.replace("wss", "ws"));
        config.auth = auth;
        config.token = Some(Secret::from("a/b"));
        let mut world = World::opened(Provider::AwsApiGateway, config);
        assert_eq!(world.requests, [target]);
        world.play(
            "
            E state connecting
            E state connected
            E state authenticated
            ",
        );
    }
}

#[test]
fn events_are_routes() {
    let mut world = open();
    for (channel, data) in [
        (None, None),
        (None, Some("{}")),
        (None, Some(r#"{"message":"hello"}"#)),
        (None, Some("[1]")),
        (None, Some(r#"{"action":"other"}"#)),
        (Some("room".into()), Some(r#"{"message":"hello"}"#)),
    ] {
        let data = data.map(json);
        world
            .client
            .publish(world.now, channel, "sendmessage", data, Priority::Normal);
    }
    let now = world.now;
    world.client.subscribe(now, "notice");
    world
        .client
        .request(now, None, "sum", Some(json(r#"{"of":[1, 2]}"#)), None);
    world.play(
        r#"
        C {"action":"sendmessage"}
        C {"action":"sendmessage"}
        C {"action":"sendmessage","message":"hello"}
        C {"action":"sendmessage","data":[1]}
        C {"action":"sendmessage","data":{"action":"other"}}
        C {"action":"sendmessage","channel":"room","message":"hello"}
        C {"action":"sum","id":"<id>","of":[1, 2]}
        S {"message":"Internal server error","connectionId":"c","requestId":"r"}
        E message event=error {"message":"Internal server error","connectionId":"c","requestId":"r"}
        S {"id":"<id>","sum":3}
        E answer {"id":"<id>","sum":3}
        S {"id":"<id>","sum":4}
        E message {"id":"<id>","sum":4}
        S {"action":"notice","a":1}
        E message event=notice {"action":"notice","a":1}
        S {"channel":"room","type":"said","a":1}
        E message channel=room event=said {"channel":"room","type":"said","a":1}
        S plain
        E message plain
        "#,
    );
}

/// No frame beyond 32 KiB, and no message beyond 128 KiB.
#[test]
fn long_messages_go_in_frames_that_the_gateway_takes() {
    let mut world = World::of(Provider::AwsApiGateway, config());
    world.max_frame = 32 * 1024;
    world.client.connect(world.now);
    world.answer_dial();
    world.events.clear();
    let long = "x".repeat(128 * 1024);
    for text in [long.clone(), format!("{long}x")] {
        let text = Message::text(text);
        world.client.send(world.now, text, Priority::Normal);
    }
    let data = Some(Json::string(&long));
    world.client.request(world.now, None, "r", data, None);
    world.run();
    assert_eq!(world.closes, []);
    assert!(world.received == [long], "{}", world.received.len());
    world.received.clear();
    world.play(
        "
        E dropped 1: a message has 128 KiB at most
        E no answer: a message has 128 KiB at most
        ",
    );
}

/// Ten minutes without a message, two hours in any case.
#[test]
fn a_connection_is_kept_and_replaced_before_its_end() {
    let config = Provider::AwsApiGateway.config(URL.replace("wss", "ws"));
    let mut world = World::opened(Provider::AwsApiGateway, config);
    world.events.clear();
    world.play(
        r#"
        T 540000
        C {"action":"ping"}
        T 10000
        "#,
    );
    world.pass(seconds(115 * 60 - 551));
    assert!(world.dial.is_none() && world.events.is_empty());
    world.pass(seconds(1));
    assert!(world.dial.is_some(), "another one is dialed in time");
    world.answer_dial();
    assert!(world.events.is_empty(), "nobody notices");
    assert_eq!(world.requests.len(), 2);
}

#[test]
fn ends_decide() {
    for (code, verdict) in [
        (1000, Verdict::Stay),
        (1001, Verdict::Now),
        (1006, Verdict::Backoff),
        (1009, Verdict::Backoff),
        (1011, Verdict::Backoff),
    ] {
        let mut world = open();
        match code {
            1006 => world.drop_line(),
            _ => world.close(code),
        }
        assert_eq!(world.verdict(), Some(verdict), "{code}");
    }
    for (status, verdict) in [
        (401, Verdict::Reauthenticate),
        (403, Verdict::Reauthenticate),
        (404, Verdict::Fatal),
        (429, Verdict::Backoff),
        (500, Verdict::Backoff),
    ] {
        let mut world = World::of(Provider::AwsApiGateway, config());
        world.refuse = Some(status);
        world.client.connect(world.now);
        world.answer_dial();
        assert_eq!(world.verdict(), Some(verdict), "{status}");
    }
}

const PIECES: &[&str] = &[
    r#"{"message":"Forbidden","connectionId":"c","requestId":"r"}"#,
    r#"{"id":"3","a":1}"#,
    r#"{"action":"a","channel":"c","id":4}"#,
    r#"[1]"#,
];

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(messages in noise(PIECES)) {
        endure(&mut open(), messages);
    }
}
