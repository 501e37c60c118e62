use smartsocket_core::client::{
    Auth, ClientConfig, Event, Priority, Provider, Secret, State, Verdict,
};
use smartsocket_core::{Config, Json, Message};

use super::{endure, noise};
use crate::common::client::{World, config, seconds};

/// In, with what happened so far forgotten.
fn open() -> World {
    agreed(config())
}

fn agreed(config: ClientConfig) -> World {
    let mut world = World::opened(Provider::SignalR, config);
    world.say("{}\u{1e}");
    assert_eq!(world.client.state(), State::Authenticated);
    world.events.clear();
    world.received.clear();
    world
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

/// providers.md §6, without negotiation.
#[test]
fn a_handshake_lets_us_in() {
    let config = ClientConfig {
        url: "ws://example.com/hub".to_owned(),
        auth: Auth::query(),
        token: Some(Secret::from("T/1")),
        ..config()
    };
    let mut world = World::opened(Provider::SignalR, config);
    assert_eq!(world.requests, ["/hub?access_token=T%2F1"]);
    world.play(
        r#"
        E state connecting
        E state connected
        E state authenticating
        C {"protocol":"json","version":1}␞
        S {}␞{"type":6}␞
        E state authenticated
        "#,
    );
    let mut world = World::opened(Provider::SignalR, self::config());
    world.say("{\"error\":\"The protocol 'xml' is not supported.\"}\u{1e}");
    assert_eq!(world.verdict(), Some(Verdict::Fatal));
    assert_eq!(world.client.state(), State::Error);
}

fn negotiating(url: &str, posts: &[Result<&str, u16>]) -> World {
    let config = ClientConfig {
        url: url.to_owned(),
        auth: Auth::query(),
        token: Some(Secret::from("T")),
        ..config()
    };
    let mut world = World::of(Provider::SignalR, config);
    let posts = posts.iter().map(|post| post.map(str::to_owned));
    world.posts = posts.collect();
    world.client.connect(world.now);
    world
}

const NAMED: &str = r#"{"negotiateVersion":1,"connectionId":"I","connectionToken":"C/1","availableTransports":[{"transport":"LongPolling","transferFormats":["Text"]},{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}"#;

/// wire.md §4.4 and the seed's preset URL.
#[test]
fn a_connection_is_negotiated_first() {
    let url = "ws://example.com/hub?negotiateVersion=1";
    let mut world = negotiating(url, &[Ok(NAMED), Ok(NAMED)]);
    for _ in 0..2 {
        world.answer_dial();
        world.answer_dial();
        world.say("{}\u{1e}");
        assert_eq!(world.client.state(), State::Authenticated);
        world.drop_line();
        world.pass(seconds(1));
    }
    let post = "POST /hub/negotiate?negotiateVersion=1&access_token=T";
    let get = "/hub?id=C%2F1&access_token=T";
    assert_eq!(world.requests, [post, get, post, get]);
    assert_eq!(world.client.stats(world.now).reconnect_attempts, 2);
}

/// Another server gets the token that is for it, and ours not.
#[test]
fn a_server_can_send_us_to_another() {
    let to = r#"{"url":"http://other.example:81/client/?hub=a","accessToken":"A"}"#;
    let old = r#"{"connectionId":"I","availableTransports":[{"transport":"WebSockets"}]}"#;
    let url = "ws://example.com/hub/?a=1&negotiateVersion=1";
    let mut world = negotiating(url, &[Ok(to), Ok(old)]);
    world.answer_dial();
    world.run();
    let dial = world.dial.clone().expect("a dial");
    assert_eq!((dial.host.as_str(), dial.port), ("other.example", 81));
    world.answer_dial();
    world.answer_dial();
    assert_eq!(
        world.requests,
        [
            "POST /hub/negotiate?a=1&negotiateVersion=1&access_token=T",
            "POST /client/negotiate?hub=a&negotiateVersion=1&access_token=A",
            "/client/?hub=a&id=I&access_token=A",
        ]
    );
}

#[test]
fn a_negotiation_can_fail() {
    let none = r#"{"connectionId":"I","availableTransports":[{"transport":"LongPolling"}]}"#;
    let rows = [
        (Ok(r#"{"error":"no more"}"#), Verdict::Fatal),
        (Ok(none), Verdict::Fatal),
        (Ok("<html>"), Verdict::Fatal),
        (Ok(r#"{"url":"gopher://x"}"#), Verdict::Fatal),
        (Err(401), Verdict::Reauthenticate),
        (Err(404), Verdict::Fatal),
        (Err(503), Verdict::Backoff),
    ];
    for (post, verdict) in rows {
        let mut world = negotiating("ws://example.com/hub?negotiateVersion=1", &[post]);
        world.answer_dial();
        assert_eq!(world.verdict(), Some(verdict), "{post:?}");
    }
    // Not for ever in circles.
    let to = r#"{"url":"http://example.com/hub"}"#;
    let mut world = negotiating("ws://example.com/hub?negotiateVersion=1", &[Ok(to); 10]);
    while world.verdict().is_none() {
        world.answer_dial();
    }
    assert_eq!(world.requests.len(), 6);
    assert_eq!(world.client.state(), State::Error);
}

/// The transcripts of providers.md §6.
#[test]
fn hub_methods_are_invoked() {
    let mut world = open();
    let now = world.now;
    let ask = |world: &mut World, target: &str, data: &str| {
        let data = Some(json(data));
        world
            .client
            .request(now, None, target.to_owned(), data, Some(seconds(3)));
    };
    ask(&mut world, "Echo", r#"["hi"]"#);
    ask(&mut world, "Fail", "[ ]");
    ask(&mut world, "Void", "1");
    ask(&mut world, "Late", "[1, 2]");
    let publish = |world: &mut World, channel: Option<&str>, data: Option<&str>| {
        let (channel, data) = (channel.map(Into::into), data.map(json));
        world
            .client
            .publish(now, channel, "Say", data, Priority::Normal);
    };
    publish(&mut world, None, None);
    publish(&mut world, Some("room"), None);
    publish(&mut world, Some("room"), Some(r#"{"a":1}"#));
    world.play(
        r#"
        C {"type":1,"invocationId":"<echo>","target":"Echo","arguments":["hi"]}␞
        C {"type":1,"invocationId":"<fail>","target":"Fail","arguments":[]}␞
        C {"type":1,"invocationId":"<void>","target":"Void","arguments":[1]}␞
        C {"type":1,"invocationId":"<late>","target":"Late","arguments":[1, 2]}␞
        C {"type":1,"target":"Say","arguments":[]}␞
        C {"type":1,"target":"Say","arguments":["room"]}␞
        C {"type":1,"target":"Say","arguments":["room",{"a":1}]}␞
        S {"type":3,"invocationId":"<echo>","result":"hi"}␞
        E answer "hi"
        S {"type":3,"invocationId":"<fail>","error":"An unexpected error"}␞
        E no answer: An unexpected error
        S {"type":3,"invocationId":"<void>"}␞
        E answer null
        T 3000
        E no answer: no answer came in time
        S {"type":3,"invocationId":"<late>","result":1}␞
        "#,
    );
}

/// Several in one message, one in several messages, cut anywhere.
#[test]
fn records_are_split_and_joined() {
    let records = "{\"type\":1,\"target\":\"a\",\"arguments\":[1]}\u{1e}\
                   {\"type\":6}\u{1e}\
                   {\"type\":1,\"target\":\"é\",\"arguments\":[2]}\u{1e}";
    let script = "
        E message event=a [1]
        E message event=é [2]
    ";
    let mut world = open();
    world.say(records);
    world.play(script);
    for (at, _) in records.char_indices() {
        let (one, other) = records.split_at(at);
        world.say(one);
        world.say(other);
        world.play(script);
    }
    for char in records.chars() {
        world.say(&char.to_string());
    }
    world.play(script);
}

/// However it comes, no more than a message is kept.
#[test]
fn a_record_without_end_is_no_way_to_fill_memory() {
    let websocket = Config {
        max_message: 1_000,
        ..Config::default()
    };
    let mut world = agreed(ClientConfig {
        websocket: websocket.into(),
        ..config()
    });
    world.say(&"x".repeat(600));
    assert_eq!(world.client.state(), State::Authenticated);
    world.say(&"x".repeat(600));
    assert_eq!(world.verdict(), Some(Verdict::Backoff));
}

#[test]
fn targets_are_heard_and_streams_asked_for() {
    let mut world = open();
    let counter = r#"{"target":"Counter","arguments":[10]}"#;
    let heard = world.client.subscribe(world.now, "msg");
    let stream = world.client.subscribe(world.now, counter);
    world.client.subscribe(world.now, r#"{"target":"No"}"#);
    world.play(
        r#"
        C {"type":4,"invocationId":"<one>","target":"Counter","arguments":[10]}␞
        C {"type":4,"invocationId":"<no>","target":"No","arguments":[]}␞
        S {"type":3,"invocationId":"<no>","error":"Unknown hub method 'No'"}␞
        E refused {"target":"No"}: Unknown hub method 'No'
        S {"type":2,"invocationId":"<one>","item":1}␞{"type":2,"invocationId":"<one>","item":null}␞
        E subscribed {"target":"Counter","arguments":[10]}
        E message channel={"target":"Counter","arguments":[10]} 1
        E message channel={"target":"Counter","arguments":[10]} null
        "#,
    );
    world.say("{\"type\":1,\"target\":\"msg\",\"arguments\":[1]}\u{1e}");
    let wanted = world.events.drain(..).find_map(|event| match event {
        Event::Message(incoming) => Some(incoming.subscriptions),
        _ => None,
    });
    assert_eq!(wanted, Some(vec![heard]));
    // An older server goes on with what was cancelled.
    world.client.unsubscribe(world.now, stream);
    world.client.subscribe(world.now, r#"{"target":"Two"}"#);
    world.play(
        r#"
        C {"type":5,"invocationId":"<one>"}␞
        C {"type":4,"invocationId":"<two>","target":"Two","arguments":[]}␞
        S {"type":2,"invocationId":"<one>","item":2}␞{"type":3,"invocationId":"<one>"}␞
        S {"type":3,"invocationId":"<two>"}␞
        E message channel={"target":"Two"} event=complete null
        "#,
    );
}

/// Results of clients: the server asks with an id.
#[test]
fn the_server_can_ask_too() {
    let mut world = open();
    world.say("{\"type\":1,\"invocationId\":\"x\",\"target\":\"get\",\"arguments\":[]}\u{1e}");
    let ticket = world.events.drain(..).find_map(|event| match event {
        Event::Message(incoming) => incoming.ack,
        _ => None,
    });
    let ticket = ticket.expect("it asks for an answer");
    world
        .client
        .acknowledge(world.now, ticket, &json(r#"{"a":1}"#));
    world.play(r#"C {"type":3,"invocationId":"x","result":{"a":1}}␞"#);
}

#[test]
fn pings_go_both_ways() {
    let mut config = config();
    config.ping = Provider::SignalR.config("").ping;
    let mut world = agreed(config);
    world.play(
        r#"
        T 15000
        C {"type":6}␞
        S {"type":6}␞
        T 15000
        C {"type":6}␞
        "#,
    );
    world.pass(seconds(14));
    assert_eq!(world.client.state(), State::Authenticated);
    world.pass(seconds(1));
    assert_eq!(world.verdict(), Some(Verdict::Backoff));
}

#[test]
fn streams_come_back_with_the_connection() {
    let mut world = open();
    world.client.subscribe(world.now, r#"{"target":"Counter"}"#);
    world.client.subscribe(world.now, "msg");
    world.say("{\"type\":1,\"target\":\"half");
    world.drop_line();
    world.pass(seconds(1));
    world.answer_dial();
    world.events.clear();
    world.received.clear();
    world.play(
        r#"
        S {}␞
        E state authenticated
        C {"type":4,"invocationId":"<id>","target":"Counter","arguments":[]}␞
        "#,
    );
}

/// Row by row: the record decides, since all codes are 1000.
#[test]
fn ends_decide() {
    let rows = [
        (r#"{"type":7}"#, Verdict::Stay),
        (r#"{"type":7,"allowReconnect":false}"#, Verdict::Stay),
        (r#"{"type":7,"error":"no"}"#, Verdict::Fatal),
        (r#"{"type":7,"allowReconnect":true}"#, Verdict::Backoff),
        (
            r#"{"type":7,"error":"bad JSON","allowReconnect":true}"#,
            Verdict::Backoff,
        ),
    ];
    for (record, verdict) in rows {
        let mut world = open();
        world.say(&format!("{record}\u{1e}"));
        assert_eq!(world.verdict(), Some(verdict), "{record}");
    }
    // Nothing is heard after it.
    let mut world = open();
    world.say("{\"type\":7}\u{1e}{\"type\":1,\"target\":\"a\"}\u{1e}");
    world.play(
        "
        E ended Stay: the server closed
        E state disconnected
        ",
    );
    for (code, verdict) in [
        (1000, Verdict::Backoff),
        (1001, Verdict::Backoff),
        (1002, Verdict::Fatal),
        (1008, Verdict::Reauthenticate),
        (1011, Verdict::Backoff),
    ] {
        let mut world = open();
        world.close(code);
        assert_eq!(world.verdict(), Some(verdict), "{code}");
    }
    for (status, verdict) in [
        (401, Verdict::Reauthenticate),
        (404, Verdict::Fatal),
        (409, Verdict::Backoff),
        (503, Verdict::Backoff),
    ] {
        let mut world = World::of(Provider::SignalR, config());
        world.refuse = Some(status);
        world.client.connect(world.now);
        world.answer_dial();
        assert_eq!(world.verdict(), Some(verdict), "{status}");
    }
}

/// 0, 2, 10, 30 s, and no more.
#[test]
fn it_comes_back_as_the_official_client_does() {
    let mut world = agreed(Provider::SignalR.config("ws://example.com/hub"));
    world.drop_line();
    for wait in [0, 2, 10, 30] {
        world.pass(seconds(wait));
        world.fail_dial();
    }
    assert_eq!(world.client.state(), State::Error);
}

#[test]
fn binary_is_given_as_it_came() {
    let mut world = open();
    world.say_message(Message::binary(vec![1]));
    world.play("E message binary [1]");
}

const PIECES: &[&str] = &[
    "{}\u{1e}",
    "{\"error\":\"e\"}\u{1e}",
    "{\"type\":1,\"invocationId\":\"x\",\"target\":\"t\",\"arguments\":[1]}\u{1e}",
    "{\"type\":2,\"invocationId\":\"s1\",\"item\":1}\u{1e}",
    "{\"type\":3,\"invocationId\":\"3\",\"result\":1}\u{1e}{\"type\":3,\"invocationId\":\"4\"}\u{1e}",
    "{\"type\":6}\u{1e}",
    "{\"type\":7,\"allowReconnect\":true}\u{1e}",
    "\u{1e}\u{1e}",
    "{\"type\":9,\"sequenceId\":1}\u{1e}",
];

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(messages in noise(PIECES), in_: bool) {
        let mut world = World::opened(Provider::SignalR, config());
        if in_ {
            world.say(PIECES[0]);
        }
        world.client.subscribe(world.now, r#"{"target":"Counter"}"#);
        endure(&mut world, messages);
    }
}
