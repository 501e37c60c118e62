use std::time::Duration;

use smartsocket_core::client::{
    AckTicket, Auth, ClientConfig, Event, Priority, Provider, Secret, State, Verdict,
};
use smartsocket_core::{CloseCode, Json, Message};

use super::{endure, json, noise};
use crate::common::client::World;

const OPEN: &str = r#"
    S 0{"sid":"S1","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}
"#;

fn config() -> ClientConfig {
    Provider::SocketIo.config("ws://example.com")
}

/// Open, as far as the WebSocket goes.
fn start(config: ClientConfig) -> World {
    let mut world = World::opened(Provider::SocketIo, config);
    assert_eq!(world.client.state(), State::Authenticating);
    world.events.clear();
    world
}

/// In.
fn entered() -> World {
    let mut world = start(config());
    world.play(&format!(
        r#"{OPEN}
        C 40
        S 40{{"sid":"abc"}}
        E state authenticated"#
    ));
    world
}

fn publish(world: &mut World, channel: Option<&str>, event: &str, data: Option<&str>) {
    let channel = channel.map(Into::into);
    let data = data.map(json);
    world
        .client
        .publish(world.now, channel, event, data, Priority::Normal);
}

fn ticket(world: &mut World) -> AckTicket {
    let ticket = world.events.iter().rev().find_map(|event| match event {
        Event::Message(incoming) => incoming.ack.clone(),
        _ => None,
    });
    ticket.expect("a message that wants an answer")
}

/// wire.md §4.4.
#[test]
fn the_transcript_of_a_session() {
    let mut config = config();
    config.token = Some(Secret::from("T"));
    let mut world = start(config);
    world.play(&format!(
        r#"{OPEN}
        C 40{{"token":"T"}}
        S 40{{"sid":"abc"}}
        E state authenticated
        S 2
        C 3"#
    ));
    assert_eq!(world.requests, ["/socket.io/?EIO=4&transport=websocket"]);
    let (now, data) = (world.now, json(r#"{"a":1}"#));
    world.client.request(now, None, "hello", Some(data), None);
    world.play(
        r#"
        C 42<id>["hello",{"a":1}]
        S 43<id>["ok"]
        E answer "ok"
        S 43<id>["again"]
        S 42["several",1,[2],{"a": 3}]
        E message event=several [1,[2],{"a": 3}]
        S 42["none"]
        E message event=none null
        "#,
    );
    publish(&mut world, None, "plain", None);
    world.client.disconnect(world.now, CloseCode::NORMAL, "");
    world.play(
        r#"
        C 42["plain"]
        C 41
        E state disconnected
        "#,
    );
    assert_eq!(world.closes, [(1000, String::new())]);
}

#[test]
fn a_url_keeps_what_it_says() {
    let rows = [
        ("ws://h", "/socket.io/?EIO=4&transport=websocket"),
        ("ws://h/?a=b", "/socket.io/?a=b&EIO=4&transport=websocket"),
        ("ws://h/my/?EIO=4", "/my/?EIO=4&transport=websocket"),
        (
            "ws://h/socket.io/?EIO=4&transport=websocket",
            "/socket.io/?EIO=4&transport=websocket",
        ),
    ];
    for (url, target) in rows {
        let world = World::opened(Provider::SocketIo, Provider::SocketIo.config(url));
        assert_eq!(world.requests, [target]);
    }
}

/// Where servers look for it; an event of the application only after that.
#[test]
fn a_token_goes_with_the_connect_packet_or_after_it() {
    let own = |template: &str| Auth::FirstMessage {
        kind: "auth".into(),
        template: template.into(),
    };
    let rows = [
        (Auth::None, r#"40{"token":"a\"b"}"#, None),
        (Auth::first_message(), r#"40{"token":"a\"b"}"#, None),
        (own(r#"{"jwt": "{{token}}"}"#), r#"40{"jwt":"a\"b"}"#, None),
        (
            own(r#"42["{{type}}",{"token":"{{token}}"}]"#),
            "40",
            Some(r#"42["auth",{"token":"a\"b"}]"#),
        ),
        (Auth::query(), "40", None),
        (Auth::bearer(), "40", None),
    ];
    for (auth, connect, event) in rows {
        let mut config = config();
        config.auth = auth;
        config.token = Some(Secret::from("a\"b"));
        let mut world = start(config);
        let event = event.map_or(String::new(), |event| format!("C {event}"));
        world.play(&format!(
            "{OPEN}
            C {connect}
            S 40{{\"sid\":\"abc\"}}
            {event}
            E state authenticated"
        ));
        assert!(!format!("{:?}", world.client).contains("a\"b"));
    }
}

#[test]
fn the_server_can_ask_for_answers() {
    let mut world = entered();
    world.say(r#"420["needack","x"]"#);
    let ticket = ticket(&mut world);
    world
        .client
        .acknowledge(world.now, ticket.clone(), &json("1"));
    world.play(
        r#"
        E message event=needack ack "x"
        C 430[1]
        "#,
    );
    // Too late, on another connection.
    world.drop_line();
    world.pass(Duration::from_secs(2));
    world.answer_dial();
    world.client.acknowledge(world.now, ticket, &json("1"));
    world.run();
    assert_eq!(world.received, [""; 0]);
}

#[test]
fn binary_data_comes_and_goes_in_attachments() {
    let mut world = entered();
    world
        .client
        .send(world.now, Message::binary(vec![7, 8]), Priority::Normal);
    world
        .client
        .send(world.now, Message::text("hi"), Priority::Normal);
    let now = world.now;
    for name in ["upload", "disconnect"] {
        let (data, priority) = (vec![9], Priority::Normal);
        world.client.publish_bytes(now, None, name, data, priority);
    }
    world.client.request(now, None, "get", None, None);
    world.play(
        r#"
        C 451-["message",{"_placeholder":true,"num":0}]
        C binary [7, 8]
        C 42["message","hi"]
        C 451-["upload",{"_placeholder":true,"num":0}]
        C binary [9]
        C 42<id>["get"]
        E dropped 1: this name is reserved
        S 451-["bin",{"_placeholder":true,"num":0}]
        S binary [1, 2]
        E message event=bin binary [1, 2]
        S 452-["two",{"b":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]
        S binary [1]
        S binary [2]
        E message event=two [{"b":"Ag=="},"AQ=="]
        S 451-["one",{"b":{"_placeholder":true,"num":0},"c":{"_placeholder":true,"num":0}}]
        S binary [1]
        E message event=one {"b":"AQ==","c":""}
        S 461-<id>[{"_placeholder":true,"num":0}]
        S binary [1, 2, 3]
        E answer "AQID"
        "#,
    );
}

#[test]
fn attachments_are_bounded() {
    let broken = "ended Backoff: what came was no packet of Socket.IO";
    let rows = [
        "S 45101-[\"e\"]",
        "S 4599999999999999999999-[\"e\"]",
        "S 451-[\"e\",{\"_placeholder\":true,\"num\":0}]\nS 2",
        "S binary [1]",
    ];
    for row in rows {
        let mut world = entered();
        world.play(&format!(
            "{row}
            E {broken}
            E state reconnecting
            E attempt 1 in <wait>"
        ));
    }
    let mut world = entered();
    world.say(r#"453-["e"]"#);
    for _ in 0..2 {
        assert_eq!(world.client.state(), State::Authenticated);
        world.say_message(Message::binary(vec![0; 600_000]));
    }
    assert_eq!(world.client.state(), State::Reconnecting);
}

#[test]
fn namespaces_are_channels() {
    let mut config = config();
    config.token = Some(Secret::from("T"));
    let mut world = start(config);
    let now = world.now;
    let admin = world.client.subscribe(now, "/admin");
    world.client.subscribe(now, "/none");
    world.client.subscribe(now, "hello");
    publish(&mut world, Some("/admin"), "early", Some("1"));
    publish(&mut world, Some("/none"), "early", Some("1"));
    publish(&mut world, Some("/other"), "early", Some("1"));
    world.play(&format!(
        r#"{OPEN}
        C 40{{"token":"T"}}
        S 40{{"sid":"abc"}}
        E state authenticated
        E dropped 1: this namespace is not subscribed to
        C 40/admin,{{"token":"T"}}
        C 40/none,{{"token":"T"}}
        S 44/none,{{"message":"Invalid namespace"}}
        E dropped 1: Invalid namespace
        E refused /none: Invalid namespace
        S 40/admin,{{"sid":"def"}}
        C 42/admin,["early",1]
        E subscribed /admin
        S 42/admin,7["ev",1]
        E message channel=/admin event=ev ack 1
        S 42/none,["ev",1]"#
    ));
    let heard = |world: &mut World, text: &str| {
        world.say(text);
        let found = world.events.drain(..).find_map(|event| match event {
            Event::Message(incoming) => Some(incoming),
            _ => None,
        });
        found.expect("a message")
    };
    let incoming = heard(&mut world, r#"42/admin,7["ev",1]"#);
    assert_eq!(incoming.subscriptions, [admin]);
    let now = world.now;
    let ticket = incoming.ack.expect("a ticket");
    world.client.acknowledge(now, ticket, &Json::NULL);
    world
        .client
        .request(now, Some("/admin".into()), "ask", None, None);
    world.play(
        r#"
        C 43/admin,7[null]
        C 42/admin,<id>["ask"]
        S 43/admin,<id>[]
        E answer null
        S 41/admin,
        E refused /admin: the server ended the session
        "#,
    );
    world
        .client
        .request(now, Some("/admin".into()), "ask", None, None);
    world.play("E no answer: this namespace is not subscribed to");
    // After a new beginning it is asked for again; then nobody wants it more.
    world.drop_line();
    world.pass(Duration::from_secs(2));
    world.answer_dial();
    world.events.clear();
    world.play(&format!(
        r#"{OPEN}
        C 40{{"token":"T"}}
        S 40{{"sid":"xyz"}}
        E state authenticated
        C 40/admin,{{"token":"T"}}
        C 40/none,{{"token":"T"}}"#
    ));
    world.client.unsubscribe(world.now, admin);
    world.play(
        r#"
        C 41/admin,
        S 40/admin,{"sid":"uvw"}
        "#,
    );
}

/// `connectionStateRecovery`: the last argument is where we are.
#[test]
fn a_server_that_can_brings_us_up_to_date() {
    let mut world = start(config());
    world.play(&format!(
        r#"{OPEN}
        C 40
        S 40{{"sid":"abc","pid":"P1"}}
        E state authenticated
        S 42["hi",1,{{"a":2}},"Q7xVFLm"]
        E message event=hi [1,{{"a":2}}]
        S 42["text","not one"]
        E message event=text "not one"
        S 421["asks","Q7xVFLn"]
        E message event=asks ack "Q7xVFLn""#
    ));
    world.drop_line();
    world.pass(Duration::from_secs(2));
    world.answer_dial();
    world.events.clear();
    world.play(&format!(
        r#"{OPEN}
        C 40{{"pid":"P1","offset":"Q7xVFLm"}}
        S 40{{"sid":"abc","pid":"P1"}}
        E state authenticated
        S 42["missed","Q7xVFLo"]
        E message event=missed null"#
    ));
    world.drop_line();
    world.pass(Duration::from_secs(5));
    world.answer_dial();
    world.events.clear();
    // Too long ago: another session, and nothing to ask for.
    world.play(&format!(
        r#"{OPEN}
        C 40{{"pid":"P1","offset":"Q7xVFLo"}}
        S 40{{"sid":"def","pid":"P2"}}
        E state authenticated"#
    ));
    world.drop_line();
    world.pass(Duration::from_secs(5));
    world.answer_dial();
    world.events.clear();
    world.play(&format!("{OPEN}\nC 40"));
}

#[test]
fn silence_ends_it_and_each_ping_puts_that_off() {
    let mut world = entered();
    world.play(
        "
        T 44999
        S 2
        C 3
        T 44999
        S 2
        C 3
        T 44999
        T 1
        E ended Backoff: no ping came in time
        E state reconnecting
        E attempt 1 in <wait>
        ",
    );
}

#[test]
fn packets_decide_what_comes_next() {
    let rows = [
        ("41", Verdict::Stay),
        ("1", Verdict::Backoff),
        (r#"44{"message":"no"}"#, Verdict::Reauthenticate),
        ("40", Verdict::Fatal),
        (r#"42{"a":1}"#, Verdict::Backoff),
        ("42[]", Verdict::Backoff),
        ("49", Verdict::Backoff),
        ("x", Verdict::Backoff),
        ("", Verdict::Backoff),
    ];
    for (packet, verdict) in rows {
        let mut world = start(config());
        world.play(&format!("{OPEN}\nC 40"));
        world.say(packet);
        assert_eq!(world.verdict(), Some(verdict), "{packet}");
    }
    // Its close codes say nothing.
    for code in [1000, 1002, 1008, 3000, 4000] {
        let mut world = entered();
        world.close(code);
        assert_eq!(world.verdict(), Some(Verdict::Backoff), "{code}");
    }
}

#[test]
fn a_reserved_name_would_end_the_session() {
    let mut world = entered();
    publish(&mut world, None, "disconnect", None);
    let now = world.now;
    world.client.request(now, None, "connect", None, None);
    world.play(
        "
        E dropped 1: this name is reserved
        E no answer: this name is reserved
        ",
    );
}

/// 1, 2, 4, 5, 5 … s, half of it more or less, and no end.
#[test]
fn it_comes_back_as_the_official_client_does() {
    let mut world = entered();
    world.drop_line();
    for wait in [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0] {
        let found = world.events.drain(..).find_map(|event| match event {
            Event::Reconnecting { wait, .. } => Some(wait.as_secs_f64()),
            _ => None,
        });
        let found = found.expect("another attempt");
        let most = f64::min(wait * 1.5, 5.0);
        assert!((wait * 0.5..=most).contains(&found), "{found} s for {wait}");
        world.pass(Duration::from_secs(5));
        world.fail_dial();
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(
        messages in noise(&[
            r#"0{"sid":"S1","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#,
            r#"40{"sid":"abc","pid":"P1"}"#,
            r#"40/c,{"sid":"abc"}"#,
            r#"44/c,{"message":"no"}"#,
            "41/c,",
            "2",
            r#"42["e",1,"Q7xVFLm"]"#,
            r#"42/c,7["e",{"a":1}]"#,
            r#"430["ok"]"#,
            r#"451-["e",{"_placeholder":true,"num":0}]"#,
            r#"452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":7}]"#,
            r#"461-3[{"a":{"_placeholder":true,"num":0}}]"#,
        ]),
    ) {
        let mut world = start(config());
        endure(&mut world, messages);
    }
}
