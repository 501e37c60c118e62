use smartsocket_core::Json;
use smartsocket_core::client::{ClientConfig, Provider, State, Verdict};

use super::{endure, noise};
use crate::common::client::{World, config, seconds};

fn connected(path: &str) -> World {
    let config = ClientConfig {
        reconnect: config().reconnect,
        ..Provider::Binance.config(format!("ws://stream.binance.com:9443{path}"))
    };
    World::opened(Provider::Binance, config)
}

/// In, with combined streams.
fn open() -> World {
    let mut world = connected("/stream");
    assert_eq!(world.client.state(), State::Authenticated);
    world.events.clear();
    world
}

#[test]
fn the_streams_of_events_are_asked_for() {
    let mut world = connected("/ws");
    assert_eq!(world.requests, ["/ws"]);
    world.play(
        r#"
        E state connecting
        E state connected
        E state authenticating
        C {"method":"SET_PROPERTY","params":["combined",true],"id":<id>}
        S {"result":null,"id":<id>}
        E state authenticated
        "#,
    );
    connected("/stream?streams=btcusdt@trade/bnbusdt@trade").play(
        "
        E state connecting
        E state connected
        E state authenticated
        ",
    );
}

/// providers.md §10.
#[test]
fn streams_are_subscribed_to_together() {
    let mut world = open();
    let first = world.client.subscribe(world.now, "btcusdt@aggTrade");
    let second = world.client.subscribe(world.now, "btcusdt@depth");
    world.client.subscribe(world.now, "*");
    world.play(
        r#"
        T 0
        C {"method":"SUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@depth"],"id":<id>}
        S {"result":null,"id":<id>}
        E subscribed btcusdt@aggTrade
        E subscribed btcusdt@depth
        S {"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT","p":"0.001"}}
        E message channel=btcusdt@aggTrade event=aggTrade {"e":"aggTrade","s":"BTCUSDT","p":"0.001"}
        S {"e":"aggTrade","s":"BTCUSDT"}
        E message event=aggTrade {"e":"aggTrade","s":"BTCUSDT"}
        S {"code":3,"msg":"Invalid JSON"}
        E message event=error {"code":3,"msg":"Invalid JSON"}
        S [{"e":"24hrMiniTicker"}]
        E message [{"e":"24hrMiniTicker"}]
        "#,
    );
    world.client.unsubscribe(world.now, first);
    world.client.unsubscribe(world.now, second);
    // Changed their mind: nothing need be said of this one.
    world.client.subscribe(world.now, "btcusdt@depth");
    world.play(
        r#"
        E subscribed btcusdt@depth
        T 0
        C {"method":"UNSUBSCRIBE","params":["btcusdt@aggTrade"],"id":<un>}
        S {"result":null,"id":<un>}
        "#,
    );
    let id = world.client.subscribe(world.now, "a");
    world.client.unsubscribe(world.now, id);
    world.play("T 1000");
}

/// The server refuses all of a message for one of its streams.
#[test]
fn a_wrong_stream_does_not_take_others_with_it() {
    let mut world = open();
    for stream in ["a", "b", "wrong"] {
        world.client.subscribe(world.now, stream);
    }
    world.play(
        r#"
        T 0
        C {"method":"SUBSCRIBE","params":["a","b","wrong"],"id":<1>}
        S {"code":2,"msg":"Invalid request","id":<1>}
        T 0
        C {"method":"SUBSCRIBE","params":["a"],"id":<2>}
        C {"method":"SUBSCRIBE","params":["b","wrong"],"id":<3>}
        S {"result":null,"id":<2>}
        E subscribed a
        S {"error":{"code":2,"msg":"Invalid request"},"id":<3>}
        T 2000
        C {"method":"SUBSCRIBE","params":["b"],"id":<4>}
        C {"method":"SUBSCRIBE","params":["wrong"],"id":<5>}
        S {"result":null,"id":<4>}
        E subscribed b
        S {"code":2,"msg":"Invalid request: unknown","id":<5>}
        E refused wrong: Invalid request: unknown
        "#,
    );
}

#[test]
fn methods_are_requests() {
    let mut world = open();
    let params = Json::parse(r#"["combined"]"#).expect("JSON");
    let now = world.now;
    world
        .client
        .request(now, None, "LIST_SUBSCRIPTIONS", None, None);
    world
        .client
        .request(now, None, "GET_PROPERTY", Some(params), None);
    world
        .client
        .request(now, None, "BAD", None, Some(seconds(1)));
    world.play(
        r#"
        C {"method":"LIST_SUBSCRIPTIONS","id":<list>}
        C {"method":"GET_PROPERTY","params":["combined"],"id":<get>}
        C {"method":"BAD","id":<bad>}
        S {"result":["a"],"id":<list>}
        E answer ["a"]
        S {"code":0,"msg":"Unknown property","id":<get>}
        E no answer: Unknown property
        T 1000
        E no answer: no answer came in time
        "#,
    );
}

/// After 24 hours a connection ends, and before it when the server says so: the
/// old one goes on until the new one gives what is wanted.
#[test]
fn a_connection_is_replaced_before_its_end() {
    let mut world = open();
    world.client.subscribe(world.now, "a");
    world.play(
        r#"
        T 0
        C {"method":"SUBSCRIBE","params":["a"],"id":<id>}
        S {"result":null,"id":<id>}
        E subscribed a
        "#,
    );
    // The server goes on to ping, which the harness does by saying something.
    for _ in 0..23 {
        world.pass(seconds(3_600));
        world.say(r#"{"stream":"a","data":{"e":"x"}}"#);
    }
    assert!(world.dial.is_none());
    world.pass(seconds(30 * 60));
    let mut replaced = 0;
    while world.dial.is_some() {
        world.received.clear();
        world.events.clear();
        world.answer_dial();
        world.play(
            r#"
            T 0
            C {"method":"SUBSCRIBE","params":["a"],"id":1}
            S {"result":null,"id":1}
            E subscribed a
            S {"stream":"a","data":{"e":"x"}}
            E message channel=a event=x {"e":"x"}
            "#,
        );
        assert_eq!(world.client.state(), State::Authenticated);
        replaced += 1;
        if replaced == 1 {
            world.say(r#"{"e":"serverShutdown","E":1}"#);
            world.pass(seconds(0));
        }
    }
    assert_eq!(replaced, 2);
}

/// Not at the first message, but once all that was wanted is there; and what is
/// wanted meanwhile is asked for by both.
#[test]
fn the_new_connection_takes_over_when_it_gives_everything() {
    let mut world = open();
    for n in 0..150 {
        world.client.subscribe(world.now, format!("s{n}"));
    }
    world.pass(seconds(1));
    world.say(r#"{"result":null,"id":1}"#);
    world.say(r#"{"result":null,"id":2}"#);
    world.say(r#"{"e":"serverShutdown","E":1}"#);
    world.pass(seconds(0));
    let old = world.server.take();
    world.answer_dial();
    world.pass(seconds(1));
    world.events.clear();
    world.received.clear();
    world.say(r#"{"result":null,"id":1}"#);
    world.say(r#"{"stream":"s0","data":{"e":"x"}}"#);
    let new = std::mem::replace(&mut world.server, old);
    // The old one is the client's still.
    world.client.subscribe(world.now, "more");
    world.pass(seconds(0));
    world.run();
    assert_eq!(
        world.received,
        [r#"{"method":"SUBSCRIBE","params":["more"],"id":3}"#]
    );
    assert!(world.closes.is_empty());
    world.received.clear();
    world.server = new;
    world.say(r#"{"result":null,"id":2}"#);
    // What was wanted meanwhile goes now.
    world.pass(seconds(0));
    world.events.clear();
    world.play(
        r#"
        C {"method":"SUBSCRIBE","params":["more"],"id":3}
        S {"result":null,"id":3}
        E subscribed more
        S {"stream":"more","data":{"e":"x"}}
        E message channel=more event=x {"e":"x"}
        "#,
    );
    world
        .client
        .request(world.now, None, "LIST_SUBSCRIPTIONS", None, None);
    world.pass(seconds(2));
    world.play(r#"C {"method":"LIST_SUBSCRIPTIONS","id":4}"#);
}

/// The application wishes them one by one, as it likes.
#[test]
fn what_is_wished_meanwhile_goes_together() {
    let mut world = open();
    for stream in ["a", "b", "c"] {
        world.client.subscribe(world.now, stream);
        world.pass(seconds(1) / 1_000);
    }
    let gone = world.client.subscribe(world.now, "gone");
    world.client.unsubscribe(world.now, gone);
    world.play(
        r#"
        C {"method":"SUBSCRIBE","params":["a"],"id":<1>}
        T 1000
        S {"result":null,"id":<1>}
        E subscribed a
        T 0
        C {"method":"SUBSCRIBE","params":["b","c"],"id":<2>}
        "#,
    );
    // One that does not answer is not waited for for ever.
    world.client.subscribe(world.now, "d");
    world.play(
        r#"
        T 4000
        T 1000
        C {"method":"SUBSCRIBE","params":["d"],"id":<3>}
        "#,
    );
}

/// Five in a second, pongs counted, or the server cuts the line.
#[test]
fn no_more_goes_than_the_server_takes() {
    let mut world = open();
    let mut times = Vec::new();
    for n in 0..1_500 {
        world.client.subscribe(world.now, format!("s{n}"));
    }
    for _ in 0..10 {
        world
            .client
            .request(world.now, None, "GET_PROPERTY", None, None);
    }
    for _ in 0..200 {
        world.pass(seconds(1) / 20);
        let received = std::mem::take(&mut world.received);
        times.extend(received.iter().map(|_| world.now));
    }
    // 1,024 streams of 100 a message; the rest is refused.
    assert_eq!(times.len(), 11 + 10);
    let most = times.iter().map(|&start| {
        let inside = times
            .iter()
            .filter(|&&at| at >= start && at < start + seconds(1));
        inside.count()
    });
    assert!(most.max() <= Some(4));
    let refused = world.events.iter();
    let refused = refused.filter(|event| format!("{event:?}").starts_with("SubscriptionRefused"));
    assert_eq!(refused.count(), 1_500 - 1_024);
}

#[test]
fn streams_come_back_with_the_connection() {
    let mut world = open();
    world.client.subscribe(world.now, "a");
    world.client.subscribe(world.now, "b");
    world.pass(seconds(1));
    world.drop_line();
    world.pass(seconds(1));
    world.received.clear();
    world.answer_dial();
    world.events.clear();
    world.play(
        r#"
        T 0
        C {"method":"SUBSCRIBE","params":["a","b"],"id":<id>}
        S {"result":null,"id":<id>}
        E subscribed a
        E subscribed b
        "#,
    );
}

#[test]
fn ends_decide() {
    for (code, verdict) in [
        (1000, Verdict::Backoff),
        (1001, Verdict::Backoff),
        (1002, Verdict::Fatal),
        (1008, Verdict::Backoff),
        (1011, Verdict::Backoff),
    ] {
        let mut world = open();
        world.close(code);
        assert_eq!(world.verdict(), Some(verdict), "{code}");
    }
    for (status, verdict) in [
        (400, Verdict::Fatal),
        (418, Verdict::Backoff),
        (429, Verdict::Backoff),
        (503, Verdict::Backoff),
    ] {
        let mut world = World::of(Provider::Binance, config());
        world.refuse = Some(status);
        world.client.connect(world.now);
        world.answer_dial();
        assert_eq!(world.verdict(), Some(verdict), "{status}");
    }
}

const PIECES: &[&str] = &[
    r#"{"result":null,"id":1}"#,
    r#"{"result":[],"id":2}"#,
    r#"{"code":2,"msg":"m","id":3}"#,
    r#"{"error":{"code":2,"msg":"m"},"id":4}"#,
    r#"{"stream":"c","data":{"e":"x"}}"#,
    r#"{"e":"serverShutdown","E":1}"#,
    r#"{"code":2,"msg":"m"}"#,
];

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(messages in noise(PIECES), combined: bool) {
        endure(&mut connected(if combined { "/stream" } else { "/ws" }), messages);
    }
}
