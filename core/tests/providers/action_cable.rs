use std::time::Duration;

use smartsocket_core::Message;
use smartsocket_core::client::{
    Auth, ClientConfig, Event, Priority, Provider, Secret, State, Verdict,
};

use super::{endure, json, noise};
use crate::common::client::World;

const ROOM: &str = r#"{"channel":"ChatChannel","room":"1"}"#;

fn config() -> ClientConfig {
    Provider::ActionCable.config("ws://example.com")
}

fn start(config: ClientConfig) -> World {
    let mut world = World::of(Provider::ActionCable, config);
    world.subprotocol = Some("actioncable-v1-json");
    world.client.connect(world.now);
    world.answer_dial();
    assert_eq!(world.client.state(), State::Authenticating);
    world.events.clear();
    world
}

fn open() -> World {
    let mut world = start(config());
    world.play(
        r#"
        S {"type":"welcome"}
        E state authenticated
        "#,
    );
    world
}

fn publish(world: &mut World, channel: Option<&str>, event: &str, data: Option<&str>) {
    let channel = channel.map(Into::into);
    let data = data.map(json);
    world
        .client
        .publish(world.now, channel, event, data, Priority::Normal);
}

/// wire.md §4.4.
#[test]
fn the_transcript_of_a_session() {
    let mut world = start(config());
    assert_eq!(world.requests, ["/cable"]);
    assert_eq!(
        world.offered,
        ["actioncable-v1-json, actioncable-unsupported"]
    );
    let room = world.client.subscribe(world.now, ROOM);
    world.play(
        r#"
        S {"type":"welcome"}
        E state authenticated
        C {"command":"subscribe","identifier":"{\"channel\":\"ChatChannel\",\"room\":\"1\"}"}
        S {"type":"ping","message":1700000000}
        S {"identifier":"{\"channel\":\"ChatChannel\",\"room\":\"1\"}","type":"confirm_subscription"}
        E subscribed {"channel":"ChatChannel","room":"1"}
        S {"identifier":"{\"channel\":\"ChatChannel\",\"room\":\"1\"}","type":"confirm_subscription"}
        S {"identifier":"{\"channel\":\"ChatChannel\",\"room\":\"1\"}","message":{"text": "hi"}}
        E message channel={"channel":"ChatChannel","room":"1"} {"text": "hi"}
        S {"identifier":"{\"channel\":\"ChatChannel\",\"room\":\"2\"}","message":"of another room"}
        "#,
    );
    publish(&mut world, Some(ROOM), "speak", Some(r#"{"text":"hi"}"#));
    world.run();
    world.client.unsubscribe(world.now, room);
    world.play(
        r#"
        C {"command":"message","identifier":"{\"channel\":\"ChatChannel\",\"room\":\"1\"}","data":"{\"text\":\"hi\",\"action\":\"speak\"}"}
        C {"command":"unsubscribe","identifier":"{\"channel\":\"ChatChannel\",\"room\":\"1\"}"}
        S {"identifier":"{\"channel\":\"ChatChannel\",\"room\":\"1\"}","message":"late"}
        "#,
    );
}

#[test]
fn a_class_names_its_channel_and_a_rejection_is_told() {
    let mut world = open();
    for class in ["ChatChannel", "NoChannel"] {
        world.client.subscribe(world.now, class);
    }
    world.play(
        r#"
        C {"command":"subscribe","identifier":"{\"channel\":\"ChatChannel\"}"}
        C {"command":"subscribe","identifier":"{\"channel\":\"NoChannel\"}"}
        S {"identifier":"{\"channel\":\"ChatChannel\"}","type":"confirm_subscription"}
        E subscribed ChatChannel
        S {"identifier":"{\"channel\":\"NoChannel\"}","type":"reject_subscription"}
        E refused NoChannel: rejected
        S {"identifier":"{\"channel\":\"ChatChannel\"}","message":1}
        E message channel=ChatChannel 1
        "#,
    );
}

#[test]
fn actions_are_objects() {
    let rows = [
        (None, r#"{"action":"a"}"#),
        (Some("{}"), r#"{"action":"a"}"#),
        (Some("{ }"), r#"{"action":"a"}"#),
        (Some(r#"{"b":{}}"#), r#"{"b":{},"action":"a"}"#),
        (Some(r#"{"action":1 }"#), r#"{"action":1,"action":"a"}"#),
        (Some("[1]"), r#"{"data":[1],"action":"a"}"#),
        (Some(r#""}""#), r#"{"data":"}","action":"a"}"#),
    ];
    let mut world = open();
    for (data, expected) in rows {
        publish(&mut world, Some("C"), "a", data);
        world.run();
        let said: serde_json::Value =
            serde_json::from_str(&world.received.remove(0)).expect("JSON");
        assert_eq!(said["data"], expected);
        assert_eq!(said["identifier"], r#"{"channel":"C"}"#);
    }
    publish(&mut world, None, "a", None);
    let now = world.now;
    world.client.request(now, None, "a", None, None);
    for message in [Message::text("as it is"), Message::binary(vec![1])] {
        world.client.send(now, message, Priority::Normal);
    }
    world.play(
        "
        E dropped 1: an action needs a channel
        E no answer: this provider has no requests
        E dropped 1: this provider has no events of bytes
        C as it is
        ",
    );
}

/// Nobody says that a command made no sense.
#[test]
fn a_channel_is_asked_for_again_for_a_while() {
    let mut world = open();
    let now = world.now;
    world.client.subscribe(now, "Lost");
    let first = r#"C {"command":"subscribe","identifier":"{\"channel\":\"Lost\"}"}"#;
    world.play(&format!("{first}\nT 499\nT 1\n{first}"));
    for _ in 0..18 {
        world.play(&format!("S {{\"type\":\"ping\"}}\nT 500\n{first}"));
    }
    world.play("T 500\nE refused Lost: there was no answer\nT 2000");
    // An answer ends it.
    let now = world.now;
    world.client.subscribe(now, "Found");
    world.play(
        r#"
        C {"command":"subscribe","identifier":"{\"channel\":\"Found\"}"}
        T 500
        C {"command":"subscribe","identifier":"{\"channel\":\"Found\"}"}
        S {"identifier":"{\"channel\":\"Found\"}","type":"confirm_subscription"}
        E subscribed Found
        T 5000
        "#,
    );
}

#[test]
fn a_server_without_the_subprotocol_is_not_spoken_to() {
    for subprotocol in [None, Some("actioncable-unsupported")] {
        let mut world = World::of(Provider::ActionCable, config());
        world.subprotocol = subprotocol;
        world.client.connect(world.now);
        world.answer_dial();
        assert_eq!(world.verdict(), Some(Verdict::Fatal));
        assert_eq!(world.client.state(), State::Error);
    }
}

#[test]
fn two_missed_pings_end_it() {
    let mut world = start(config());
    // The greeting has no more time.
    world.pass(Duration::from_millis(5_999));
    assert_eq!(world.client.state(), State::Authenticating);
    world.play(
        r#"
        S {"type":"welcome"}
        E state authenticated
        T 3000
        S {"type":"ping","message":1700000000}
        T 5999
        S {"type":"ping","message":1700000006}
        T 5999
        T 1
        E ended Backoff: no ping came in time
        E state reconnecting
        E attempt 1 in <wait>
        "#,
    );
}

#[test]
fn channels_are_asked_for_on_a_new_connection() {
    let mut world = open();
    world.client.subscribe(world.now, "ChatChannel");
    world.run();
    world.drop_line();
    world.received.clear();
    world.pass(Duration::from_secs(12));
    world.answer_dial();
    world.events.clear();
    world.play(
        r#"
        S {"type":"welcome"}
        E state authenticated
        C {"command":"subscribe","identifier":"{\"channel\":\"ChatChannel\"}"}
        S {"identifier":"{\"channel\":\"ChatChannel\"}","type":"confirm_subscription"}
        E subscribed ChatChannel
        "#,
    );
}

/// The server's threads take commands in any order.
#[test]
fn actions_wait_until_their_channel_is_there() {
    let mut world = open();
    world.client.subscribe(world.now, "ChatChannel");
    world.run();
    world.drop_line();
    publish(&mut world, Some("ChatChannel"), "a", None);
    publish(&mut world, Some("Other"), "b", None);
    world.received.clear();
    world.pass(Duration::from_secs(12));
    world.answer_dial();
    world.events.clear();
    world.play(
        r#"
        S {"type":"welcome"}
        E state authenticated
        C {"command":"subscribe","identifier":"{\"channel\":\"ChatChannel\"}"}
        C {"command":"message","identifier":"{\"channel\":\"Other\"}","data":"{\"action\":\"b\"}"}
        S {"identifier":"{\"channel\":\"ChatChannel\"}","type":"confirm_subscription"}
        E subscribed ChatChannel
        C {"command":"message","identifier":"{\"channel\":\"ChatChannel\"}","data":"{\"action\":\"a\"}"}
        "#,
    );
    assert_eq!(world.client.stats(world.now).queued, 0);
}

#[test]
fn messages_decide_what_comes_next() {
    let rows = [
        (
            r#""unauthorized","reconnect":false"#,
            Verdict::Reauthenticate,
        ),
        (r#""invalid_request","reconnect":false"#, Verdict::Fatal),
        (r#""remote","reconnect":false"#, Verdict::Fatal),
        (r#""remote","reconnect":true"#, Verdict::Backoff),
        (r#""server_restart","reconnect":true"#, Verdict::Backoff),
        (r#""server_restart""#, Verdict::Backoff),
    ];
    for (fields, verdict) in rows {
        let mut world = start(config());
        world.say(&format!(r#"{{"type":"disconnect","reason":{fields}}}"#));
        assert_eq!(world.verdict(), Some(verdict), "{fields}");
    }
    // Its close codes say nothing.
    for code in [1000, 1001, 1002, 1011, 3000] {
        let mut world = open();
        world.close(code);
        assert_eq!(world.verdict(), Some(Verdict::Backoff), "{code}");
    }
    let mut world = World::of(Provider::ActionCable, config());
    world.refuse = Some(404);
    world.client.connect(world.now);
    world.answer_dial();
    assert_eq!(world.verdict(), Some(Verdict::Fatal));
}

#[test]
fn a_token_goes_into_the_url() {
    let mut config = Provider::ActionCable.config("ws://example.com/my/cable");
    config.auth = Auth::query();
    config.token = Some(Secret::from("T"));
    let world = start(config);
    assert_eq!(world.requests, ["/my/cable?token=T"]);
}

/// 6 s, and 15 % more each time; as much again by chance; no end.
#[test]
fn it_comes_back_about_as_the_official_client_does() {
    let mut world = open();
    world.drop_line();
    let mut least = 6.0;
    for _ in 0..20 {
        let found = world.events.drain(..).find_map(|event| match event {
            Event::Reconnecting { wait, .. } => Some(wait.as_secs_f64()),
            _ => None,
        });
        let found = found.expect("another attempt");
        let most = f64::min(least * 2.0, 30.0);
        assert!((least - 0.001..=most).contains(&found), "{found} s");
        least = f64::min(least * 1.15, 30.0);
        world.pass(Duration::from_secs(30));
        world.fail_dial();
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(
        messages in noise(&[
            r#"{"type":"welcome"}"#,
            r#"{"type":"ping","message":1}"#,
            r#"{"type":"disconnect","reason":"server_restart","reconnect":true}"#,
            r#"{"identifier":"{\"channel\":\"c\"}","type":"confirm_subscription"}"#,
            r#"{"identifier":"{\"channel\":\"private-c\"}","type":"reject_subscription"}"#,
            r#"{"identifier":"{\"channel\":\"c\"}","message":{"a":[1]}}"#,
        ]),
    ) {
        endure(&mut start(config()), messages);
    }
}
