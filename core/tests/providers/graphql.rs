use smartsocket_core::client::{
    Auth, Ending, Event, Ping, Priority, Provider, Secret, State, Verdict,
};
use smartsocket_core::{CloseCode, Json};

use super::{endure, noise};
use crate::common::client::{World, config, seconds};

/// The server speaks the subprotocol of the provider.
fn connected(provider: Provider, auth: Auth) -> World {
    let mut config = config();
    config.auth = auth;
    config.token = Some(Secret::from("T"));
    let subprotocol = match provider {
        Provider::GraphqlWs => "graphql-ws",
        _ => "graphql-transport-ws",
    };
    let mut world = World::of(provider, config);
    world.subprotocol = Some(subprotocol);
    world.client.connect(world.now);
    world.answer_dial();
    world
}

/// In, with what happened so far forgotten.
fn open(provider: Provider) -> World {
    let mut world = connected(provider, Auth::None);
    world.say(r#"{"type":"connection_ack"}"#);
    assert_eq!(world.client.state(), State::Authenticated);
    world.events.clear();
    world.received.clear();
    world
}

fn transport() -> World {
    open(Provider::GraphqlTransportWs)
}

fn legacy() -> World {
    open(Provider::GraphqlWs)
}

/// wire.md §4.4, providers.md §7: in is who was acknowledged.
#[test]
fn the_server_says_when_we_are_in() {
    let mut world = connected(Provider::GraphqlTransportWs, Auth::first_message());
    assert_eq!(world.offered, ["graphql-transport-ws"]);
    world.play(
        r#"
        E state connecting
        E state connected
        E state authenticating
        C {"type":"connection_init","payload":{"authorization":"Bearer T"}}
        S {"type":"ping"}
        C {"type":"pong"}
        S {"type":"connection_ack","payload":{"a":1}}
        E state authenticated
        S {"type":"ping","payload":{"a":[1, 2]}}
        C {"type":"pong","payload":{"a":[1, 2]}}
        S {"type":"pong"}
        "#,
    );
    let mut world = connected(Provider::GraphqlWs, Auth::first_message());
    assert_eq!(world.offered, ["graphql-ws"]);
    world.play(
        r#"
        E state connecting
        E state connected
        E state authenticating
        C {"type":"connection_init","payload":{"authToken":"T"}}
        S {"type":"connection_ack"}
        E state authenticated
        S {"type":"ka"}
        "#,
    );
    world
        .client
        .disconnect(world.now, CloseCode::NORMAL, "Normal Closure");
    world.play(
        r#"
        C {"type":"connection_terminate","payload":null}
        E state disconnected
        "#,
    );
    assert_eq!(world.closes, [(1000, "Normal Closure".to_owned())]);
}

/// The seed's own template stays as it is.
#[test]
fn a_template_and_no_token_are_fine_too() {
    let template = r#"{"type": "connection_init", "payload": {"k": "{{token}}"}}"#;
    let auth = Auth::FirstMessage {
        kind: "authenticate".into(),
        template: template.into(),
    };
    let world = connected(Provider::GraphqlTransportWs, auth);
    assert_eq!(
        world.received,
        [r#"{"type":"connection_init","payload":{"k":"T"}}"#]
    );
    let world = connected(Provider::GraphqlTransportWs, Auth::None);
    assert_eq!(world.received, [r#"{"type":"connection_init"}"#]);
}

/// providers.md §7: such a server upgrades without naming a subprotocol.
#[test]
fn a_server_of_another_subprotocol_is_left() {
    for provider in [Provider::GraphqlTransportWs, Provider::GraphqlWs] {
        let mut world = World::opened(provider, config());
        assert_eq!(world.verdict(), Some(Verdict::Fatal));
        assert!(world.received.is_empty());
        world.pass(seconds(60));
        assert_eq!(world.client.state(), State::Error);
    }
}

#[test]
fn a_subscription_lives_from_its_first_result_to_its_end() {
    let mut world = transport();
    let document = "subscription { greetings }";
    let id = world.client.subscribe(world.now, document);
    world.play(
        r#"
        C {"id":"<id>","type":"subscribe","payload":{"query":"subscription { greetings }"}}
        S {"id":"<id>","type":"next","payload":{"data":{"greetings":"Hi"}}}
        E subscribed subscription { greetings }
        E message channel=subscription { greetings } {"data":{"greetings":"Hi"}}
        S {"id":"<id>","type":"next","payload":{"data":{"greetings":"Bonjour"}}}
        E message channel=subscription { greetings } {"data":{"greetings":"Bonjour"}}
        S {"id":"other","type":"next","payload":{"data":{}}}
        "#,
    );
    world.client.unsubscribe(world.now, id);
    // What was under way is not heard any more.
    world.play(
        r#"
        C {"id":"<id>","type":"complete"}
        S {"id":"<id>","type":"next","payload":{"data":{"greetings":"Hola"}}}
        S {"id":"<id>","type":"complete"}
        "#,
    );
    // The whole payload; the end comes from the server.
    world.client.subscribe(
        world.now,
        r#"{"query":"subscription($n: Int!) { count(n: $n) }","variables":{"n":1}}"#,
    );
    world.play(
        r#"
        C {"id":"<two>","type":"subscribe","payload":{"query":"subscription($n: Int!) { count(n: $n) }","variables":{"n":1}}}
        S {"id":"<two>","type":"complete"}
        E message channel={"query":"subscription($n: Int!) { count(n: $n) }","variables":{"n":1}} event=complete null
        "#,
    );
    world.client.subscribe(world.now, "subscription { no }");
    world.play(
        r#"
        C {"id":"<three>","type":"subscribe","payload":{"query":"subscription { no }"}}
        S {"id":"<three>","type":"error","payload":[{"message":"Cannot query field \"no\""}]}
        E refused subscription { no }: Cannot query field "no"
        S {"id":"<three>","type":"error","payload":[]}
        E message event=error {"id":"<three>","type":"error","payload":[]}
        "#,
    );
}

#[test]
fn queries_and_mutations_are_requests() {
    let mut world = transport();
    let variables = Json::parse(r#"{"n":1}"#).expect("JSON");
    let ask = |world: &mut World, document: &str| {
        let data = Some(variables.clone());
        let wait = Some(seconds(3));
        world
            .client
            .request(world.now, None, document.to_owned(), data, wait);
    };
    ask(&mut world, "query($n: Int) { a(n: $n) }");
    ask(&mut world, "{ b }");
    ask(&mut world, "{ c }");
    ask(&mut world, "{ d }");
    world.play(
        r#"
        C {"id":"<a>","type":"subscribe","payload":{"query":"query($n: Int) { a(n: $n) }","variables":{"n":1}}}
        C {"id":"<b>","type":"subscribe","payload":{"query":"{ b }","variables":{"n":1}}}
        C {"id":"<c>","type":"subscribe","payload":{"query":"{ c }","variables":{"n":1}}}
        C {"id":"<d>","type":"subscribe","payload":{"query":"{ d }","variables":{"n":1}}}
        S {"id":"<b>","type":"next","payload":{"data":{"b":null},"errors":[{"message":"x"}]}}
        E answer {"data":{"b":null},"errors":[{"message":"x"}]}
        S {"id":"<b>","type":"complete"}
        S {"id":"<c>","type":"error","payload":[{"message":"Syntax Error"}]}
        E no answer: Syntax Error
        S {"id":"<a>","type":"next","payload":{"data":{"a":2}}}
        E answer {"data":{"a":2}}
        S {"id":"<a>","type":"complete"}
        T 3000
        C {"id":"<d>","type":"complete"}
        E no answer: no answer came in time
        S {"id":"<d>","type":"next","payload":{"data":{"d":2}}}
        "#,
    );
    // Nobody waits for it, but an error is told.
    let document = "mutation { e }";
    world
        .client
        .publish(world.now, None, document, None, Priority::Normal);
    world.play(
        r#"
        C {"id":"<e>","type":"subscribe","payload":{"query":"mutation { e }"}}
        S {"id":"<e>","type":"next","payload":{"data":{"e":1}}}
        S {"id":"<e>","type":"complete"}
        S {"id":"<e>","type":"error","payload":[{"message":"no"}]}
        E message event=error {"id":"<e>","type":"error","payload":[{"message":"no"}]}
        "#,
    );
}

/// providers.md §8: the older words, and errors as data.
#[test]
fn the_older_protocol_has_other_words() {
    let mut world = legacy();
    let id = world.client.subscribe(world.now, "subscription { a }");
    world.client.subscribe(world.now, "subscription { no }");
    world.client.request(world.now, None, "{ q }", None, None);
    world.client.request(world.now, None, "{ no }", None, None);
    world.play(
        r#"
        C {"id":"<a>","type":"start","payload":{"query":"subscription { a }"}}
        C {"id":"<no>","type":"start","payload":{"query":"subscription { no }"}}
        C {"id":"<q>","type":"start","payload":{"query":"{ q }"}}
        C {"id":"<r>","type":"start","payload":{"query":"{ no }"}}
        S {"type":"data","id":"<a>","payload":{"data":{"a":1}}}
        E subscribed subscription { a }
        E message channel=subscription { a } {"data":{"a":1}}
        S {"type":"data","id":"<no>","payload":{"errors":[{"message":"Cannot query"}]}}
        E refused subscription { no }: Cannot query
        S {"type":"complete","id":"<no>","payload":null}
        S {"type":"data","id":"<q>","payload":{"data":{"q":1}}}
        E answer {"data":{"q":1}}
        S {"type":"complete","id":"<q>","payload":null}
        S {"type":"error","id":"<r>","payload":{"message":"Did not parse"}}
        E no answer: Did not parse
        S {"type":"connection_error","payload":{"message":"odd"}}
        E message event=connection_error {"type":"connection_error","payload":{"message":"odd"}}
        "#,
    );
    world.client.unsubscribe(world.now, id);
    world.play(
        r#"
        C {"id":"<a>","type":"stop"}
        S {"type":"data","id":"<a>","payload":{"data":{"a":2}}}
        S {"type":"complete","id":"<a>","payload":null}
        "#,
    );
}

/// A refusal is told before the close of 1011 that follows.
#[test]
fn the_older_protocol_refuses_by_a_message() {
    let mut world = connected(Provider::GraphqlWs, Auth::first_message());
    world.say(r#"{"type":"connection_error","payload":{"message":"bad token"}}"#);
    assert_eq!(world.verdict(), Some(Verdict::Reauthenticate));
    let words = world.events.iter().find_map(|event| match event {
        Event::Ended(Ending::Protocol(words), _) => Some(words.to_string()),
        _ => None,
    });
    assert_eq!(words.as_deref(), Some("bad token"));
    assert_eq!(world.client.state(), State::Error);
}

/// Only who has sent one `ka` owes another.
#[test]
fn an_older_server_that_falls_silent_is_left() {
    let mut world = legacy();
    world.pass(seconds(20));
    assert_eq!(world.client.state(), State::Authenticated);
    world.say(r#"{"type":"ka"}"#);
    world.pass(seconds(29));
    world.say(r#"{"type":"ka"}"#);
    world.pass(seconds(30));
    assert_eq!(world.client.state(), State::Authenticated);
    world.pass(seconds(2));
    assert_eq!(world.verdict(), Some(Verdict::Backoff));
    assert_eq!(world.client.state(), State::Reconnecting);
}

#[test]
fn pings_are_messages_and_measure_the_way() {
    let mut config = config();
    config.ping = Some(Ping::default());
    let mut world = World::of(Provider::GraphqlTransportWs, config);
    world.subprotocol = Some("graphql-transport-ws");
    world.client.connect(world.now);
    world.answer_dial();
    world.say(r#"{"type":"connection_ack"}"#);
    world.events.clear();
    world.received.clear();
    world.play(
        r#"
        T 30000
        C {"type":"ping"}
        T 40
        S {"type":"pong"}
        "#,
    );
    let latency = world.client.stats(world.now).latency;
    assert_eq!(latency.map(|it| it.as_millis()), Some(40));
    world.pass(seconds(35));
    assert_eq!(world.verdict(), Some(Verdict::Backoff));
}

#[test]
fn subscriptions_come_back_with_the_connection() {
    for (provider, start) in [
        (Provider::GraphqlTransportWs, "subscribe"),
        (Provider::GraphqlWs, "start"),
    ] {
        let mut world = open(provider);
        for document in ["subscription { a }", "subscription { b }"] {
            world.client.subscribe(world.now, document);
        }
        world.run();
        world.drop_line();
        world.pass(seconds(1));
        world.answer_dial();
        world.received.clear();
        world.events.clear();
        world.play(
            &r#"
            S {"type":"connection_ack"}
            E state authenticated
            C {"id":"<a>","type":"start","payload":{"query":"subscription { a }"}}
            C {"id":"<b>","type":"start","payload":{"query":"subscription { b }"}}
            "#
            .replace("start", start),
        );
    }
}

/// Row by row: the codes of the library, and the usual ones.
#[test]
fn close_codes_decide() {
    let rows = [
        (1000, Verdict::Stay),
        (1001, Verdict::Backoff),
        (1002, Verdict::Fatal),
        (1005, Verdict::Backoff),
        (1011, Verdict::Backoff),
        (1012, Verdict::Backoff),
        (4004, Verdict::Fatal),
        (4005, Verdict::Fatal),
        (4400, Verdict::Fatal),
        (4401, Verdict::Reauthenticate),
        (4403, Verdict::Reauthenticate),
        (4406, Verdict::Fatal),
        (4408, Verdict::Backoff),
        (4409, Verdict::Fatal),
        (4429, Verdict::Fatal),
        (4499, Verdict::Backoff),
        (4500, Verdict::Fatal),
        (4504, Verdict::Backoff),
    ];
    for (code, verdict) in rows {
        for provider in [Provider::GraphqlTransportWs, Provider::GraphqlWs] {
            let mut world = open(provider);
            world.close(code);
            assert_eq!(world.verdict(), Some(verdict), "{code}");
        }
    }
    // A good end, but somebody still waits for results.
    let mut world = transport();
    world.client.subscribe(world.now, "subscription { a }");
    world.close(1000);
    assert_eq!(world.verdict(), Some(Verdict::Backoff));
}

/// Also before the acknowledgement, as the real server does.
#[test]
fn a_refusal_by_code_decides_before_the_acknowledgement() {
    let rows = [
        ("4403 Forbidden", Verdict::Reauthenticate),
        ("4408 Connection initialisation timeout", Verdict::Backoff),
        ("4429 Too many initialisation requests", Verdict::Fatal),
    ];
    for (close, verdict) in rows {
        let mut world = connected(Provider::GraphqlTransportWs, Auth::None);
        world.received.clear();
        world.events.clear();
        let (code, reason) = close.split_once(' ').expect("a reason");
        world.close_with(code.parse().expect("a code"), reason);
        assert_eq!(world.verdict(), Some(verdict), "{close}");
    }
}

const PIECES: &[&str] = &[
    r#"{"type":"connection_ack"}"#,
    r#"{"type":"ping","payload":{"a":1}}"#,
    r#"{"type":"pong"}"#,
    r#"{"type":"ka"}"#,
    r#"{"type":"connection_error","payload":{"message":"m"}}"#,
    r#"{"id":"s1","type":"next","payload":{"data":{"a":1}}}"#,
    r#"{"id":"s1","type":"data","payload":{"errors":[{"message":"m"}]}}"#,
    r#"{"id":"3","type":"next","payload":{"data":{"a":1}}}"#,
    r#"{"id":"4","type":"error","payload":[{"message":"m"}]}"#,
    r#"{"id":"s2","type":"complete"}"#,
    r#"{"id":5,"type":[],"payload":"x"}"#,
];

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(messages in noise(PIECES), old: bool, acknowledged: bool) {
        let provider = if old { Provider::GraphqlWs } else { Provider::GraphqlTransportWs };
        let mut world = connected(provider, Auth::None);
        if acknowledged {
            world.say(PIECES[0]);
        }
        endure(&mut world, messages);
    }
}
