//! The client machine against a server's WebSocket machine that follows a
//! script: states, waits, queue, requests, tokens.
#![allow(clippy::wildcard_enum_match_arm)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::client::{UNIX_MS, World, config, seconds};
use smartsocket_core::client::{
    Auth, Backoff, Desk, Ending, Event, Jitter, LineId, Output, Payload, Priority, Provider,
    RequestError, Secret, State, Verdict,
};
use smartsocket_core::{Client, CloseCode, Fault, Json, Message, Seed, Tick, WebSocket};

/// PO-51 to PO-55, PO-18.
#[test]
fn a_client_passes_through_its_states() {
    let mut world = World::new(config());
    assert_eq!(world.client.state(), State::Disconnected);
    world.client.connect(world.now);
    world.run();
    let dial = world.dial.clone().expect("a dial");
    assert_eq!((dial.host.as_str(), dial.port), ("example.com", 80));
    world.answer_dial();
    let states = [State::Connecting, State::Connected, State::Authenticated];
    assert_eq!(world.states(), states);
    world
        .client
        .disconnect(world.now, CloseCode::NORMAL, "User logged out");
    world.run();
    assert_eq!(world.states(), [State::Disconnected]);
    world.pass(seconds(3_600));
    assert!(world.dial.is_none(), "disconnect() ends it for good");
}

/// Servers that have to wake up first take more than the 5 s they have for us.
#[test]
fn an_attempt_has_all_of_its_time() {
    let mut world = World::new(config());
    world.client.connect(world.now);
    world.run();
    let dial = world.dial.take().expect("a dial");
    world.client.handle_dialed(world.now, dial.line);
    world.pass(seconds(29));
    assert_eq!(world.client.state(), State::Connecting);
    world.pass(seconds(1));
    assert!(
        world
            .events
            .iter()
            .any(|event| matches!(event, Event::Ended(Ending::TimedOut, Verdict::Backoff)))
    );
}

/// PO-28 to PO-31.
#[test]
fn a_token_goes_where_it_should() {
    let cases = [
        (Auth::query(), "/live?token=a%20b%2F%26", None),
        (
            Auth::first_message(),
            "/live",
            Some(r#"{"type":"authenticate","token":"a b/&"}"#),
        ),
        (Auth::None, "/live", None),
        (Auth::bearer(), "/live", None),
    ];
    for (auth, target, first) in cases {
        let mut config = config();
        config.auth = auth;
        config.token = Some(Secret::from("a b/&"));
        let mut world = World::new(config);
        world.client.connect(world.now);
        world.answer_dial();
        assert_eq!(world.requests, [target]);
        assert_eq!(world.received.first().map(String::as_str), first);
        assert!(!format!("{:?}", world.client).contains("a b"));
    }
}

#[test]
fn a_token_that_is_missing_is_an_error_at_once() {
    for auth in [
        Auth::query(),
        Auth::first_message(),
        Auth::Subprotocol,
        Auth::bearer(),
    ] {
        let mut config = config();
        config.auth = auth;
        let seed = Seed::new([1; 32]);
        let client = Client::new(Provider::Custom, config, seed, Tick::ZERO, UNIX_MS);
        assert!(client.is_err());
    }
}

/// PO-62: 1, 2, 4 s; the row ends after a stable time only.
#[test]
fn a_lost_connection_is_dialed_again_after_growing_waits() {
    let mut world = World::open(config());
    world.drop_line();
    assert_eq!(world.verdict(), Some(Verdict::Backoff));
    assert_eq!(world.client.state(), State::Reconnecting);
    for wait in [1, 2, 4, 8, 16, 30, 30] {
        world.pass(seconds(wait) - Duration::from_millis(1));
        assert!(world.dial.is_none(), "{wait} s are not over");
        world.pass(Duration::from_millis(1));
        world.fail_dial();
    }
    world.pass(seconds(30));
    world.answer_dial();
    assert_eq!(world.client.state(), State::Authenticated);
    // It does not last: the row goes on.
    world.pass(seconds(1));
    world.drop_line();
    world.pass(seconds(29));
    assert!(world.dial.is_none());
    world.pass(seconds(1));
    world.answer_dial();
    // It lasts: the first wait again.
    world.pass(seconds(10));
    world.drop_line();
    world.pass(seconds(1));
    assert!(world.dial.is_some());
    assert_eq!(world.client.stats(world.now).reconnect_attempts, 10);
}

/// SS-63, SS-85, PO-12.
#[test]
fn after_so_many_failures_it_gives_up() {
    let mut config = config();
    config.reconnect = Some(Backoff {
        max_attempts: 3,
        jitter: Jitter::NONE,
        ..Backoff::default()
    });
    let mut world = World::open(config);
    world.drop_line();
    for _ in 0..3 {
        world.pass(seconds(30));
        world.fail_dial();
    }
    assert_eq!(world.client.state(), State::Error);
    world.pass(seconds(3_600));
    assert!(world.dial.is_none());
    // A new beginning has all attempts again.
    world.client.connect(world.now);
    world.answer_dial();
    assert_eq!(world.client.state(), State::Authenticated);
}

/// PO-58, row by row.
#[test]
fn close_codes_decide() {
    let rows = [
        (1000, Verdict::Stay, State::Disconnected),
        (1001, Verdict::Backoff, State::Reconnecting),
        (1002, Verdict::Fatal, State::Error),
        (1003, Verdict::Fatal, State::Error),
        (1007, Verdict::Fatal, State::Error),
        (1008, Verdict::Reauthenticate, State::Error),
        (1009, Verdict::Backoff, State::Reconnecting),
        (1010, Verdict::Fatal, State::Error),
        (1011, Verdict::Backoff, State::Reconnecting),
        (1012, Verdict::Backoff, State::Reconnecting),
        (1013, Verdict::Backoff, State::Reconnecting),
        (1014, Verdict::Backoff, State::Reconnecting),
        (3000, Verdict::Reauthenticate, State::Error),
        (3003, Verdict::Fatal, State::Error),
        (4000, Verdict::Backoff, State::Reconnecting),
    ];
    for (code, verdict, state) in rows {
        let mut world = World::open(config());
        world.close(code);
        assert_eq!(world.verdict(), Some(verdict), "{code}");
        assert_eq!(world.client.state(), state, "{code}");
    }
}

#[test]
fn http_answers_decide() {
    let rows = [
        (301, Verdict::Fatal),
        (400, Verdict::Fatal),
        (401, Verdict::Reauthenticate),
        (403, Verdict::Fatal),
        (404, Verdict::Fatal),
        (408, Verdict::Backoff),
        (429, Verdict::Backoff),
        (500, Verdict::Backoff),
        (503, Verdict::Backoff),
    ];
    for (status, verdict) in rows {
        let mut world = World::new(config());
        world.refuse = Some(status);
        world.client.connect(world.now);
        world.answer_dial();
        assert_eq!(world.verdict(), Some(verdict), "{status}");
    }
}

/// What the server names counts, but nobody stays away for ever because of it.
#[test]
fn a_hint_of_the_server_is_obeyed_for_a_day_at_most() {
    let day = seconds(24 * 3_600);
    let rows = [
        (None, seconds(1)),
        (Some("120"), seconds(120)),
        (Some("Sun, 06 Nov 1994 08:49:37 GMT"), seconds(1)),
        (Some("Tue, 14 Nov 2023 22:15:20 GMT"), seconds(120)),
        (Some("Fri, 31 Dec 9999 23:59:59 GMT"), day),
        (Some("18446744073709551615"), day),
    ];
    for (hint, wait) in rows {
        let mut world = World::new(config());
        world.refuse = Some(503);
        world.retry_after = hint;
        world.client.connect(world.now);
        world.answer_dial();
        let due = Some(world.now + wait);
        assert_eq!(world.client.next_timeout(), due, "{hint:?}");
    }
    // So does a limit that it tells of.
    let provider = Provider::SmartSocket(Box::default());
    let mut world = World::opened(provider, config());
    let ms = u64::MAX;
    world.say(r#"{"event":"CONNECT_ACK","data":{}}"#);
    world.say(&format!(
        r#"{{"event":"__rate-limited__","data":{{"retryAfter":{ms}}}}}"#
    ));
    assert_eq!(world.client.state(), State::Authenticated);
    world.received.clear();
    let now = world.now;
    world
        .client
        .publish(now, None, "late", None, Priority::Normal);
    world.run();
    assert!(world.received.is_empty());
    world.pass(day);
    assert_eq!(world.received.len(), 1, "{:?}", world.client);
}

/// PO-71, and that a refused token is not tried again.
#[test]
fn each_attempt_asks_the_hook_for_a_token() {
    let mut config = config();
    config.auth = Auth::query();
    config.refresh = true;
    let mut world = World::new(config);
    world.client.connect(world.now);
    world.run();
    assert!(std::mem::take(&mut world.token) && world.dial.is_none());
    world
        .client
        .handle_token(world.now, Some(Secret::from("one")));
    world.answer_dial();
    world.close(1008);
    assert_eq!(world.client.state(), State::Reconnecting);
    world.pass(seconds(1));
    assert!(std::mem::take(&mut world.token) && world.dial.is_none());
    world
        .client
        .handle_token(world.now, Some(Secret::from("two")));
    world.answer_dial();
    assert_eq!(world.requests, ["/live?token=one", "/live?token=two"]);
    // None to be had: as if the attempt had failed.
    world.drop_line();
    world.pass(seconds(2));
    world.client.handle_token(world.now, None);
    world.run();
    assert_eq!(world.client.state(), State::Reconnecting);
    // A hook that never answers does not hold it for ever.
    world.token = false;
    world.pass(seconds(4));
    assert!(world.token);
    world.pass(seconds(30));
    assert!(matches!(
        world.events.iter().rev().find_map(|event| match event {
            Event::Ended(ending, _) => Some(ending),
            _ => None,
        }),
        Some(Ending::TimedOut)
    ));
}

/// PO-75: by priority, then by age; once each.
#[test]
fn what_was_said_while_away_goes_once_it_is_back() {
    let mut world = World::open(config());
    world.drop_line();
    let now = world.now;
    let words = [
        ("a", Priority::Low),
        ("b", Priority::Normal),
        ("c", Priority::High),
        ("d", Priority::Normal),
    ];
    for (word, priority) in words {
        world.client.send(now, Message::text(word), priority);
    }
    assert_eq!(world.client.stats(world.now).queued, 4);
    world.pass(seconds(1));
    world.answer_dial();
    assert_eq!(world.received, ["c", "b", "d", "a"]);
    assert_eq!(world.client.stats(world.now).queued, 0);
    world.received.clear();
    world.drop_line();
    world.pass(seconds(2));
    world.answer_dial();
    assert!(world.received.is_empty());
}

#[test]
fn a_queue_keeps_its_bounds_and_counts_what_it_drops() {
    let mut config = config();
    config.queue.max_messages = 2;
    let mut world = World::new(config);
    for word in ["a", "b", "c"] {
        world
            .client
            .send(world.now, Message::text(word), Priority::Normal);
    }
    let id = world.client.request(world.now, None, "getUser", None, None);
    world
        .client
        .send(world.now, Message::text("d"), Priority::High);
    world
        .client
        .send(world.now, Message::text("e"), Priority::High);
    world.run();
    assert_eq!(world.client.stats(world.now).dropped, 4);
    assert_eq!(world.answers(), [(id, Err(RequestError::Dropped))]);
    world.client.connect(world.now);
    world.answer_dial();
    assert_eq!(world.received, ["d", "e"]);
}

/// The queue's bounds are for what has to wait: where a message can go, it goes.
#[test]
fn nothing_is_dropped_that_can_go_at_once() {
    let texts = |world: &World| world.received.iter().map(String::len).collect::<Vec<_>>();
    let mut config = config();
    config.queue.max_messages = 0;
    let mut world = World::open(config);
    let say = |world: &mut World, len: usize| {
        let text = Message::text("x".repeat(len));
        world.client.send(world.now, text, Priority::Normal);
        world.run();
    };
    say(&mut world, 5);
    assert_eq!(texts(&world), [5]);
    world.drop_line();
    say(&mut world, 5);
    assert_eq!(world.client.stats(world.now).dropped, 1);

    // Nor what is longer than all that may wait, or more than may wait for
    // company.
    let mut config = self::config();
    config.queue.max_messages = 3;
    config.queue.max_bytes = 1_000;
    config.batch = Some(seconds(1));
    let mut world = World::open(config);
    for len in [1, 2, 3, 4, 999, 998, 2_000, 5] {
        say(&mut world, len);
    }
    assert_eq!(texts(&world), [1, 2, 3, 4, 999, 998, 2_000]);
    world.pass(seconds(1));
    assert_eq!(texts(&world).last(), Some(&5));
    assert_eq!(world.client.stats(world.now).dropped, 0);

    // While it is away, what never fits does not cost what does.
    world.drop_line();
    say(&mut world, 10);
    say(&mut world, 1_001);
    let stats = world.client.stats(world.now);
    assert_eq!((stats.dropped, stats.queued), (1, 1));
}

/// A connection that is slow to take what is said loses none of it.
#[test]
fn what_finds_no_room_on_the_connection_waits_for_it() {
    let mut config = config();
    config.websocket = std::sync::Arc::new(smartsocket_core::Config {
        max_queued_bytes: 100,
        ..Default::default()
    });
    let mut world = World::open(config);
    let now = world.now;
    let words = ["a", "b", "c"].map(|word| word.repeat(80));
    for word in &words {
        let text = Message::text(word.clone());
        world.client.send(now, text, Priority::Normal);
    }
    // There is room for no more, and nothing to do about it but to wait.
    let mut transmits = 0;
    while let Some(output) = world.client.poll_output() {
        assert!(matches!(output, Output::Transmit(_)), "{output:?}");
        transmits += 1;
    }
    assert_eq!(transmits, 1);
    assert!(world.client.next_timeout() > Some(now));
    let (line, server) = world.server.as_mut().expect("a server");
    let line = *line;
    while world.client.unsent(line).next().is_some() {
        let unsent = world.client.unsent(line);
        let mut bytes: Vec<u8> = unsent.flat_map(|bytes| bytes.to_vec()).collect();
        world.client.transmitted(now, line, bytes.len());
        server.handle_bytes(now, &mut bytes);
    }
    world.run();
    assert_eq!(world.received, words);
    assert_eq!(world.client.stats(world.now).dropped, 0);
}

/// PO-46, PO-74 and wire.md §4.2.
#[test]
fn requests_are_answered_by_id() {
    let mut world = World::open(config());
    let data = Json::parse(r#"{"id":"123"}"#).expect("JSON");
    let (now, ask) = (world.now, |world: &mut World, data: &Json| {
        let data = Some(data.clone());
        world.client.request(world.now, None, "getUser", data, None)
    });
    let first = ask(&mut world, &data);
    let second = ask(&mut world, &data);
    let third = ask(&mut world, &data);
    world.run();
    let ids: Vec<String> = world
        .received
        .iter()
        .map(|text| {
            let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let id = value["id"].as_str().expect("an id").to_owned();
            let expected = format!(
                r#"{{"type":"getUser","id":"{id}","payload":{{"id":"123"}},"timestamp":{UNIX_MS}}}"#
            );
            assert_eq!(*text, expected);
            id
        })
        .collect();
    world.say(&format!(
        r#"{{"type":"error","id":"{}","payload":{{"message":"no"}}}}"#,
        ids[1]
    ));
    world.say(&format!(r#"{{"id":"{}","payload":[1, 2]}}"#, ids[0]));
    let answer = Json::parse("[1, 2]").expect("JSON");
    assert_eq!(
        world.answers(),
        [
            (second, Err(RequestError::Refused("no".into()))),
            (first, Ok(answer)),
        ]
    );
    world.pass(seconds(30));
    assert_eq!(world.answers(), [(third, Err(RequestError::TimedOut))]);
    // An answer that comes late is a message like others.
    world.say(&format!(r#"{{"id":"{}","payload":1}}"#, ids[2]));
    assert!(world.answers().is_empty());
    // The line is lost: nobody knows what became of it.
    let fourth = ask(&mut world, &data);
    world.run();
    world.drop_line();
    assert_eq!(world.answers(), [(fourth, Err(RequestError::Disconnected))]);
    assert!(world.now > now);
}

/// PO-45, PO-49 and wire.md §4.2: channel, else type; `*` is everything.
#[test]
fn messages_find_their_subscribers() {
    let mut world = World::open(config());
    let chat = world.client.subscribe(world.now, "chat");
    let every = world.client.subscribe(world.now, "*");
    let some = world.client.subscribe(world.now, "ch*");
    let heard = |world: &mut World, text: &str| {
        world.say(text);
        let found = world.events.drain(..).find_map(|event| match event {
            Event::Message(incoming) => Some(incoming),
            _ => None,
        });
        found.expect("a message")
    };
    let text = r#"{"type":"publish","channel":"chat","payload":{"text":"Hello!"}}"#;
    let incoming = heard(&mut world, text);
    assert_eq!(incoming.subscriptions, [chat, every, some]);
    assert_eq!(incoming.channel.as_deref(), Some("chat"));
    assert_eq!(
        incoming.data,
        Payload::Json(Json::parse(text).expect("JSON"))
    );
    let incoming = heard(&mut world, r#"{"type":"chess"}"#);
    assert_eq!(incoming.subscriptions, [every, some]);
    let incoming = heard(&mut world, "plain text");
    assert_eq!(incoming.subscriptions, [every]);
    assert!(world.client.unsubscribe(world.now, chat));
    assert!(!world.client.unsubscribe(world.now, chat));
    let incoming = heard(&mut world, text);
    assert_eq!(incoming.subscriptions, [every, some]);
}

/// PO-59 to PO-61 and wire.md §4.1.
#[test]
fn pings_go_out_and_silence_ends_the_connection() {
    let mut config = config();
    config.ping = Some(smartsocket_core::client::Ping::default());
    let mut world = World::open(config);
    world.pass(seconds(30));
    let ping: serde_json::Value = serde_json::from_str(&world.received[0]).expect("JSON");
    assert_eq!(ping["type"], "ping");
    let sent = UNIX_MS + 30_000;
    assert_eq!(ping["timestamp"], sent);
    world.pass(Duration::from_millis(40));
    world.say(&format!(
        r#"{{"type":"pong","id":{},"timestamp":{sent}}}"#,
        ping["id"]
    ));
    let latency = world.client.stats(world.now).latency;
    assert_eq!(latency, Some(Duration::from_millis(40)));
    assert!(
        !world
            .events
            .iter()
            .any(|event| matches!(event, Event::Message(_)))
    );
    // The server asks too, and gets its fields back.
    world.received.clear();
    world.say(r#"{"type":"ping","id":"x","timestamp":5}"#);
    assert_eq!(
        world.received,
        [r#"{"type":"pong","id":"x","timestamp":5}"#]
    );
    // Silence.
    world.pass(seconds(30));
    assert_eq!(world.client.state(), State::Authenticated);
    world.pass(seconds(5));
    assert_eq!(world.client.state(), State::Reconnecting);
    assert!(matches!(
        world.events.iter().find_map(|event| match event {
            Event::Ended(ending, _) => Some(ending),
            _ => None,
        }),
        Some(Ending::Silent)
    ));
}

/// PO-69.
#[test]
fn a_suspended_client_rests_until_it_is_resumed() {
    let mut world = World::open(config());
    world.client.suspend(world.now);
    world.drop_line();
    world.pass(seconds(3_600));
    assert!(world.dial.is_none());
    world.client.resume(world.now);
    world.answer_dial();
    assert_eq!(world.client.state(), State::Authenticated);

    // Not before the server wants it.
    let mut world = World::new(config());
    world.refuse = Some(503);
    world.retry_after = Some("60");
    world.client.connect(world.now);
    world.answer_dial();
    world.pass(seconds(20));
    world.client.suspend(world.now);
    world.client.resume(world.now);
    world.pass(seconds(39));
    assert!(world.dial.is_none());
    world.pass(seconds(1));
    assert!(world.dial.is_some());

    // A connection that is there has to show that it lives, unless there are no
    // pings.
    for ping in [None, Some(smartsocket_core::client::Ping::default())] {
        let mut config = config();
        config.ping = ping;
        let mut world = World::open(config);
        world.client.suspend(world.now);
        world.client.resume(world.now);
        world.run();
        assert_eq!(world.received.len(), usize::from(ping.is_some()));
    }
}

/// PO-77 and the limits of providers.
#[test]
fn small_messages_wait_for_company_and_a_limit_is_kept() {
    let mut config = config();
    config.batch = Some(Duration::from_millis(20));
    let mut world = World::open(config);
    for n in 0..3 {
        let text = Message::text(format!("{n}"));
        world.client.send(world.now, text, Priority::Normal);
        world.run();
    }
    assert!(world.received.is_empty());
    world.pass(Duration::from_millis(20));
    assert_eq!(world.received, ["0", "1", "2"]);

    let mut config = self::config();
    config.outbound = Some(smartsocket_core::RateLimit::new(5, seconds(1)));
    let mut world = World::open(config);
    for n in 0..12 {
        let text = Message::text(format!("{n}"));
        world.client.send(world.now, text, Priority::Normal);
    }
    world.run();
    assert_eq!(world.received.len(), 5);
    world.pass(seconds(30));
    assert_eq!(world.received.len(), 12);

    // What the protocol says by itself counts too, and goes first.
    world.received.clear();
    world.pass(seconds(2));
    for id in 0..7 {
        world.say(&format!(r#"{{"type":"ping","id":{id}}}"#));
    }
    world
        .client
        .send(world.now, Message::text("last"), Priority::High);
    world.run();
    assert_eq!(world.received.len(), 5);
    world.pass(seconds(2));
    let pongs = (0..7).map(|id| format!(r#"{{"type":"pong","id":{id}}}"#));
    let all: Vec<_> = pongs.chain(["last".to_owned()]).collect();
    assert_eq!(world.received, all);

    // But is not for the next connection.
    for id in 0..7 {
        world.say(&format!(r#"{{"type":"ping","id":{id}}}"#));
    }
    world.drop_line();
    world.received.clear();
    world.pass(seconds(2));
    world.answer_dial();
    world.pass(seconds(2));
    assert!(world.received.is_empty());
}

/// The bytes that an older line's server has to send, in the client.
fn deliver(world: &mut World, old: &mut (LineId, WebSocket), text: &str) {
    old.1.send(world.now, Message::text(text)).expect("open");
    while old.1.poll_output().is_some() {}
    let mut bytes: Vec<u8> = old.1.unsent().flat_map(|bytes| bytes.to_vec()).collect();
    old.1.transmitted(world.now, bytes.len());
    world.client.handle_bytes(world.now, old.0, &mut bytes);
    world.run();
}

fn heard(world: &mut World) -> usize {
    let count = |event: &Event| matches!(event, Event::Message(_));
    let heard = world.events.iter().filter(|event| count(event)).count();
    world.events.clear();
    heard
}

/// Make before break: at no time there is nothing to hear by.
#[test]
fn a_connection_that_grows_old_is_replaced_without_a_gap() {
    let mut config = config();
    config.lifetime = Some(seconds(3_600));
    let mut world = World::open(config);
    world.client.subscribe(world.now, "news");
    let text = r#"{"type":"publish","channel":"news","payload":1}"#;
    for round in 0..3 {
        world.pass(seconds(3_600) - Duration::from_millis(1));
        assert!(world.dial.is_none(), "{round}");
        world.pass(Duration::from_millis(1));
        let mut old = world.server.take().expect("a server");
        // The first attempt fails: what is there goes on.
        world.fail_dial();
        deliver(&mut world, &mut old, text);
        assert_eq!(heard(&mut world), 1);
        world.pass(seconds(30));
        world.answer_dial();
        assert_ne!(world.server.as_ref().expect("a server").0, old.0);
        // Nothing has come by the new one: the old one still counts.
        deliver(&mut world, &mut old, text);
        assert_eq!(heard(&mut world), 1);
        world.say(text);
        assert_eq!(heard(&mut world), 1);
        assert_eq!(world.client.state(), State::Authenticated);
        // The old one is closed, and nothing it says counts.
        deliver(&mut world, &mut old, text);
        assert_eq!(heard(&mut world), 0);
        // What is said goes by the new one.
        world.received.clear();
        world
            .client
            .send(world.now, Message::text("hello"), Priority::Normal);
        world.run();
        assert_eq!(world.received, ["hello"]);
        world.events.clear();
        world.pass(seconds(0));
    }
}

/// What comes by the new one does not show that the old one lives.
#[test]
fn a_silent_connection_ends_whatever_its_replacement_hears() {
    let mut config = config();
    config.lifetime = Some(seconds(28));
    config.ping = Some(smartsocket_core::client::Ping::default());
    let mut world = World::open(config);
    world.client.subscribe(world.now, "news");
    world.pass(seconds(28));
    world.server = None;
    world.answer_dial();
    world.pass(seconds(3));
    world.say(r#"{"type":"weather"}"#);
    assert_eq!(world.client.state(), State::Authenticated);
    world.events.clear();
    world.pass(seconds(4));
    assert_eq!(world.verdict(), Some(Verdict::Backoff));
    // The replacement is there already.
    assert_eq!(world.client.state(), State::Authenticated);
    assert!(world.dial.is_none());
}

/// Where the old one ends too early, the attempt under way is the next.
#[test]
fn an_early_end_finds_the_replacement_on_its_way() {
    let mut config = config();
    config.lifetime = Some(seconds(60));
    let mut world = World::open(config);
    world.client.subscribe(world.now, "news");
    world.pass(seconds(60));
    let dial = world.dial.take();
    world.drop_line();
    assert_eq!(world.client.state(), State::Reconnecting);
    world.dial = dial;
    world.answer_dial();
    assert_eq!(world.client.state(), State::Authenticated);
    world.client.disconnect(world.now, CloseCode::NORMAL, "");
    world.run();
    world.pass(seconds(3_600));
    assert!(world.dial.is_none());
}

/// Whoever waits for a connection learns whether there will be another attempt.
#[test]
fn who_connects_learns_whether_it_goes_on() {
    for (attempts, again) in [(Some(1), true), (Some(0), true), (None, false)] {
        let mut config = config();
        config.reconnect = attempts.map(|max_attempts| Backoff {
            max_attempts,
            ..Backoff::default()
        });
        let now = Tick::ZERO;
        let seed = Seed::new([3; 32]);
        let client = Client::new(Provider::Echo, config, seed, now, UNIX_MS);
        let mut desk = Desk::new(client.expect("a configuration"));
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        desk.connect(now, move |result| {
            *tell.lock().expect("nobody panics") = Some(result);
        });
        let Some(Output::Dial(dial)) = desk.poll_output() else {
            panic!("it dials");
        };
        desk.handle_dial_failed(now, dial.line, Fault::Refused);
        assert!(desk.poll_output().is_none());
        let told = told.lock().expect("nobody panics").take();
        let error = told.expect("told").expect_err("refused");
        assert_eq!(error.will_retry(), again, "{attempts:?}");
        assert_eq!(desk.is_over(), !again);
    }
}
