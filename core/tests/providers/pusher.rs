use std::time::Duration;

use smartsocket_core::Message;
use smartsocket_core::client::{
    Auth, ClientConfig, Event, Ping, Priority, Provider, Secret, State, Verdict, pusher_proof,
};

use super::{endure, json, noise};
use crate::common::client::World;

const HELLO: &str = r#"
    S {"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":120}"}
"#;

fn config() -> ClientConfig {
    Provider::Pusher.config("ws://example.com/app/KEY")
}

fn start(config: ClientConfig) -> World {
    let mut world = World::opened(Provider::Pusher, config);
    assert_eq!(world.client.state(), State::Authenticating);
    world.events.clear();
    world
}

fn open(config: ClientConfig) -> World {
    let mut world = start(config);
    world.play(&format!("{HELLO}\nE state authenticated"));
    world
}

fn publish(world: &mut World, channel: Option<&str>, event: &str) {
    let channel = channel.map(Into::into);
    let data = Some(json(r#"{"a":1}"#));
    world
        .client
        .publish(world.now, channel, event, data, Priority::Normal);
}

/// wire.md §4.4.
#[test]
fn the_transcript_of_a_session() {
    let mut world = start(config());
    let channel = world.client.subscribe(world.now, "my-channel");
    let target = format!(
        "/app/KEY?protocol=7&client=smartsocket&version={}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(world.requests, [target]);
    world.play(&format!(
        r#"{HELLO}
        E state authenticated
        C {{"event":"pusher:subscribe","data":{{"auth":"","channel":"my-channel"}}}}
        S {{"event":"pusher_internal:subscription_succeeded","channel":"my-channel","data":"{{}}"}}
        E subscribed my-channel
        S {{"event":"pusher:ping","data":{{}}}}
        C {{"event":"pusher:pong","data":{{}}}}
        S {{"event":"ev","channel":"my-channel","data":"{{\"a\": [1]}}"}}
        E message channel=my-channel event=ev {{"a": [1]}}
        S {{"event":"ev","channel":"my-channel","data":{{"b": 2}}}}
        E message channel=my-channel event=ev {{"b": 2}}
        S {{"event":"ev","channel":"my-channel","data":"not JSON"}}
        E message channel=my-channel event=ev "not JSON"
        S {{"event":"pusher:cache_miss","channel":"my-channel"}}
        E message channel=my-channel event=pusher:cache_miss null"#
    ));
    world.client.unsubscribe(world.now, channel);
    world.play(
        r#"
        C {"event":"pusher:unsubscribe","data":{"channel":"my-channel"}}
        S {"event":"pusher_internal:subscription_succeeded","channel":"my-channel","data":"{}"}
        "#,
    );
}

#[test]
fn a_url_that_names_its_client_keeps_it() {
    let url = "ws://h/app/KEY?protocol=7&client=js&version=8.6.0&flash=false";
    let world = start(Provider::Pusher.config(url));
    assert_eq!(
        world.requests,
        ["/app/KEY?protocol=7&client=js&version=8.6.0&flash=false"]
    );
}

/// With the application's secret, and without.
#[test]
fn private_channels_need_a_proof() {
    let (key, secret) = ("278d425bdf160c739803", "7ad3773142a6692b25b8");
    let mut config = Provider::Pusher.config(format!("ws://example.com/app/{key}"));
    config.token = Some(Secret::from(secret));
    let mut world = start(config);
    for channel in ["private-foobar", "presence-foobar"] {
        world.client.subscribe(world.now, channel);
    }
    world.play(&format!(
        r#"
        S {{"event":"pusher:connection_established","data":"{{\"socket_id\":\"1234.1234\",\"activity_timeout\":120}}"}}
        E state authenticated
        C {{"event":"pusher:subscribe","data":{{"auth":"{key}:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4","channel":"private-foobar"}}}}"#
    ));
    assert!(!format!("{:?}", world.client).contains(secret));
    let asked = ("presence-foobar".to_owned(), "1234.1234".to_owned());
    assert_eq!(world.authorize, [asked]);
    let data = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
    let proof = pusher_proof(key, secret, "1234.1234", "presence-foobar", Some(data));
    for socket in ["another connection", "1234.1234", "1234.1234"] {
        let now = world.now;
        world
            .client
            .handle_authorized(now, "presence-foobar", socket, Some(&proof));
    }
    world.play(
        r#"
        C {"event":"pusher:subscribe","data":{"auth":"278d425bdf160c739803:31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80","channel_data":"{\"user_id\":10,\"user_info\":{\"name\":\"Mr. Channels\"}}","channel":"presence-foobar"}}
        S {"event":"pusher_internal:subscription_succeeded","channel":"presence-foobar","data":"{\"presence\":{\"ids\":[\"10\"],\"hash\":{},\"count\":1}}"}
        E subscribed presence-foobar
        E message channel=presence-foobar event=pusher_internal:subscription_succeeded {"presence":{"ids":["10"],"hash":{},"count":1}}
        S {"event":"pusher:subscription_error","channel":"private-foobar","data":"{\"type\":\"AuthError\",\"error\":\"bad signature\",\"status\":401}"}
        E refused private-foobar: bad signature
        "#,
    );
}

#[test]
fn an_application_can_refuse_or_come_too_late() {
    let mut world = start(config());
    let now = world.now;
    for channel in ["private-a", "private-b", "private-c"] {
        world.client.subscribe(now, channel);
    }
    let gone = world.client.subscribe(now, "private-d");
    world.play(&format!("{HELLO}\nE state authenticated"));
    world.client.unsubscribe(now, gone);
    let (good, bad) = (json(r#"{"auth":"KEY:s"}"#), json("{}"));
    let answers = [
        ("private-a", Some(&good)),
        ("private-b", None),
        ("private-c", Some(&bad)),
        ("private-d", Some(&good)),
        ("private-e", Some(&good)),
    ];
    for (channel, proof) in answers {
        world.client.handle_authorized(now, channel, "1.1", proof);
    }
    world.play(
        r#"
        C {"event":"pusher:subscribe","data":{"auth":"KEY:s","channel":"private-a"}}
        E refused private-b: there is no proof that we may have it
        E refused private-c: there is no proof that we may have it
        "#,
    );
}

/// A new connection has a new name, and needs new proofs.
#[test]
fn everything_is_subscribed_again_on_a_new_connection() {
    let mut world = open(config());
    let now = world.now;
    world.client.subscribe(now, "c");
    world.client.subscribe(now, "private-c");
    world.run();
    world.drop_line();
    world.received.clear();
    world.authorize.clear();
    world.pass(Duration::from_secs(1));
    world.answer_dial();
    world.events.clear();
    world.play(
        r#"
        S {"event":"pusher:connection_established","data":{"socket_id":"2.2","activity_timeout":30}}
        E state authenticated
        C {"event":"pusher:subscribe","data":{"auth":"","channel":"c"}}
        "#,
    );
    assert_eq!(
        world.authorize,
        [("private-c".to_owned(), "2.2".to_owned())]
    );
}

#[test]
fn events_of_clients_wait_until_they_are_members() {
    let mut world = open(config());
    let channel = "private-c";
    world.client.subscribe(world.now, channel);
    publish(&mut world, Some(channel), "client-x");
    world.run();
    let (_, socket) = world.authorize.remove(0);
    let proof = json(r#"{"auth":"a"}"#);
    let now = world.now;
    world
        .client
        .handle_authorized(now, channel, &socket, Some(&proof));
    world.play(
        r#"
        C {"event":"pusher:subscribe","data":{"auth":"a","channel":"private-c"}}
        S {"event":"pusher_internal:subscription_succeeded","channel":"private-c","data":"{}"}
        E subscribed private-c
        C {"event":"client-x","channel":"private-c","data":{"a":1}}
        "#,
    );
}

/// What the old connection waited for is no matter of the next one.
#[test]
fn an_attempt_is_not_asked_for_a_pong() {
    let mut world = open(config());
    world.pass(Duration::from_secs(117));
    world.drop_line();
    world.pass(Duration::from_secs(1));
    let dial = world.dial.take().expect("a dial");
    world.client.handle_dialed(world.now, dial.line);
    world.run();
    world.events.clear();
    // The server takes its time to answer the upgrade.
    world.pass(Duration::from_secs(4));
    assert!(world.events.is_empty(), "{:?}", world.events);
    assert_eq!(world.client.stats(world.now).dropped, 0);
}

#[test]
fn clients_may_send_few_things() {
    let mut world = open(config());
    publish(&mut world, Some("private-c"), "client-x");
    publish(&mut world, Some("presence-c"), "client-x");
    publish(&mut world, None, "pusher:signin");
    for (channel, event) in [
        (Some("c"), "client-x"),
        (Some("private-c"), "x"),
        (None, "client-x"),
    ] {
        publish(&mut world, channel, event);
    }
    let now = world.now;
    for message in [Message::binary(vec![1]), Message::text("as it is")] {
        world.client.send(now, message, Priority::Normal);
    }
    world.client.request(now, None, "x", None, None);
    world.play(
        r#"
        C {"event":"client-x","channel":"private-c","data":{"a":1}}
        C {"event":"client-x","channel":"presence-c","data":{"a":1}}
        C {"event":"pusher:signin","data":{"a":1}}
        C as it is
        E dropped 1: clients may send events client-... to private and presence channels
        E dropped 1: clients may send events client-... to private and presence channels
        E dropped 1: clients may send events client-... to private and presence channels
        E dropped 1: this provider has no events of bytes
        E no answer: this provider has no requests
        S {"event":"pusher:error","data":{"code":4301,"message":"too fast"}}
        E message event=pusher:error {"code":4301,"message":"too fast"}
        "#,
    );
}

#[test]
fn silence_is_asked_about() {
    let mut world = open(config());
    world.play(
        r#"
        T 119999
        S {"event":"any","channel":"c","data":"{}"}
        E message channel=c event=any {}
        T 119999
        T 1
        C {"event":"pusher:ping","data":{}}
        T 90
        S {"event":"pusher:pong","data":"{}"}
        T 120000
        C {"event":"pusher:ping","data":{}}
        T 29999
        T 1
        E ended Now: no pong came in time
        E state reconnecting
        E attempt 1 in 0ns
        "#,
    );
    assert_eq!(
        world.client.stats(world.now).latency,
        Some(Duration::from_millis(90))
    );
    let own = config().ping;
    let rows = [
        // The server wants it sooner, or says nothing of it; never all the time.
        (own, r#""activity_timeout":30"#, 30),
        (own, r#""activity_timeout":0"#, 1),
        (own, r#""other":0"#, 120),
        (
            Some(Ping {
                interval: Duration::from_secs(10),
                timeout: Duration::from_secs(5),
            }),
            r#""activity_timeout":30"#,
            10,
        ),
        (None, r#""activity_timeout":30"#, 0),
    ];
    for (ping, timeout, seconds) in rows {
        let mut config = config();
        config.ping = ping;
        let mut world = start(config);
        let hello = format!(
            r#"{{"event":"pusher:connection_established","data":{{"socket_id":"1.1",{timeout}}}}}"#
        );
        world.say(&hello);
        if seconds == 0 {
            world.pass(Duration::from_secs(1_000));
            assert_eq!(world.received, [""; 0]);
            continue;
        }
        world.pass(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert_eq!(world.received, [""; 0]);
        world.pass(Duration::from_millis(1));
        assert_eq!(world.received.len(), 1);
    }
}

#[test]
fn codes_decide_what_comes_next() {
    let second = Verdict::After(Duration::from_secs(1));
    let rows = [
        (1000, Verdict::Backoff),
        (1001, Verdict::Backoff),
        (1002, Verdict::Backoff),
        (1008, Verdict::Backoff),
        (3000, Verdict::Backoff),
        (4000, Verdict::Fatal),
        (4001, Verdict::Fatal),
        (4009, Verdict::Fatal),
        (4099, Verdict::Fatal),
        (4100, second),
        (4199, second),
        (4200, Verdict::Now),
        (4201, Verdict::Now),
        (4299, Verdict::Now),
        (4300, Verdict::Fatal),
        (4999, Verdict::Fatal),
    ];
    for (code, verdict) in rows {
        let mut world = open(config());
        world.close(code);
        assert_eq!(world.verdict(), Some(verdict), "{code}");
        // The same by a message in place of the greeting.
        let mut world = start(config());
        let error = format!(r#"{{"code":{code},"message":"m"}}"#);
        world.say(&format!(r#"{{"event":"pusher:error","data":{error}}}"#));
        assert_eq!(world.verdict(), Some(verdict), "{code}");
    }
}

/// Once a second; nothing is left to chance, and there is no end.
#[test]
fn it_comes_back_as_the_official_client_does() {
    let mut world = open(config());
    world.drop_line();
    for _ in 0..20 {
        let found = world.events.drain(..).find_map(|event| match event {
            Event::Reconnecting { wait, .. } => Some(wait),
            _ => None,
        });
        assert_eq!(found, Some(Duration::from_secs(1)));
        world.pass(Duration::from_secs(1));
        world.fail_dial();
    }
}

#[test]
fn a_token_can_go_elsewhere() {
    let mut config = config();
    config.auth = Auth::query();
    config.token = Some(Secret::from("T"));
    let mut world = open(config);
    world.client.subscribe(world.now, "private-c");
    world.run();
    assert!(world.requests[0].ends_with("&token=T"));
    assert_eq!(world.authorize.len(), 1);
}

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(
        messages in noise(&[
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":1}"}"#,
            r#"{"event":"pusher:error","data":{"code":4200,"message":"m"}}"#,
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}"}"#,
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-c","data":"{\"a\":1}"}"#,
            r#"{"event":"pusher:subscription_error","channel":"private-c","data":{"error":"no"}}"#,
            r#"{"event":"pusher:ping"}"#,
            r#"{"event":"pusher:pong"}"#,
            r#"{"event":"e","channel":"c","data":"\"\\\"1\\\"\""}"#,
        ]),
    ) {
        endure(&mut start(config()), messages);
    }
}
