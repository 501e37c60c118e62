use smartsocket_core::client::{
    Auth, ClientConfig, Event, Payload, Ping, Priority, Provider, Secret, State, Verdict,
};
use smartsocket_core::{CloseCode, Json, Message};

use super::{endure, noise};
use crate::common::client::{World, config, seconds};

const CONNECTED: &str = r#"{"action":4,"connectionId":"I","connectionDetails":{"connectionKey":"I!k","maxIdleInterval":15000,"maxMessageSize":100}}"#;

fn connected(auth: Auth, token: &str) -> World {
    let config = ClientConfig {
        url: "ws://main.realtime.ably.net".to_owned(),
        auth,
        token: Some(Secret::from(token)),
        ..config()
    };
    World::opened(Provider::Ably, config)
}

/// In, with what happened so far forgotten.
fn open() -> World {
    let mut world = connected(Auth::query(), "app.key:secret");
    world.say(CONNECTED);
    assert_eq!(world.client.state(), State::Authenticated);
    world.events.clear();
    world
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

/// wire.md §4.4: nothing is sent to connect; the server greets.
#[test]
fn a_key_or_token_is_in_the_url_and_the_greeting_lets_us_in() {
    let rows = [
        (Auth::query(), "app.key:secret", "&key=app.key%3Asecret"),
        (Auth::query(), "tok.en", "&accessToken=tok.en"),
        (Auth::Query { name: "k".into() }, "a:b", "&k=a%3Ab"),
        (Auth::bearer(), "tok.en", ""),
    ];
    for (auth, token, parameter) in rows {
        let mut world = connected(auth, token);
        let target = format!("/?format=json&heartbeats=true&v=6{parameter}");
        assert_eq!(world.requests, [target]);
        world.play(&format!(
            "
            E state connecting
            E state connected
            E state authenticating
            S {CONNECTED}
            E state authenticated
            S {CONNECTED}
            "
        ));
    }
}

/// What the URL says already is left alone.
#[test]
fn parameters_of_the_url_win() {
    let config = ClientConfig {
        url: "ws://realtime.ably.io/?key=a.b%3Ac&v=3".to_owned(),
        ..config()
    };
    let world = World::opened(Provider::Ably, config);
    let target = "/?key=a.b%3Ac&v=3&format=json&heartbeats=true";
    assert_eq!(world.requests, [target]);
}

#[test]
fn channels_are_attached_and_detached() {
    let mut world = open();
    let id = world.client.subscribe(world.now, "c");
    world.client.subscribe(world.now, "no");
    world.play(
        r#"
        C {"action":10,"channel":"c"}
        C {"action":10,"channel":"no"}
        S {"action":11,"channel":"c","flags":0,"channelSerial":"s0"}
        E subscribed c
        S {"action":9,"channel":"no","error":{"code":40160,"statusCode":401,"message":"denied"}}
        E refused no: denied
        S {"action":15,"channel":"c","id":"x","messages":[{"name":"e","data":"text"},{"name":"e","data":"{\"a\":1}","encoding":"json"},{"data":{"b":2}}],"channelSerial":"s1"}
        E message channel=c event=e "text"
        E message channel=c event=e {"a":1}
        E message channel=c {"b":2}
        S {"action":15,"channel":"c","messages":[{"name":"e","data":"AQI=","encoding":"base64"},{"data":"WzFd","encoding":"json/utf-8/base64"}]}
        E message channel=c event=e binary [1, 2]
        E message channel=c [1]
        S {"action":15,"channel":"c","messages":[{"name":"e","data":"AQI=","encoding":"utf-8/cipher+aes-256-cbc/base64"}]}
        E message channel=c event=e {"name":"e","data":"AQI=","encoding":"utf-8/cipher+aes-256-cbc/base64"}
        S {"action":14,"channel":"c","presence":[{"action":2,"clientId":"m"}]}
        E message channel=c event=presence:enter {"action":2,"clientId":"m"}
        S {"action":16,"channel":"c","channelSerial":"sync:1","presence":[{"action":1,"clientId":"n"}]}
        E message channel=c event=presence:present {"action":1,"clientId":"n"}
        S {"action":13,"channel":"c","error":null}
        C {"action":10,"channel":"c","channelSerial":"s1"}
        S {"action":11,"channel":"c"}
        E subscribed c
        S {"action":13,"channel":"c"}
        C {"action":10,"channel":"c","channelSerial":"s1"}
        S {"action":13,"channel":"c","error":{"message":"gone"}}
        E refused c: gone
        "#,
    );
    world.client.unsubscribe(world.now, id);
    world.client.subscribe(world.now, "d");
    world.client.subscribe(world.now, "d");
    world.play(
        r#"
        C {"action":10,"channel":"d"}
        S {"action":11,"channel":"d"}
        E subscribed d
        "#,
    );
}

#[test]
fn what_is_published_is_acknowledged_by_its_number() {
    let mut world = open();
    let now = world.now;
    let publish = |world: &mut World, data: Option<Json>| {
        let channel = Some("c".into());
        world
            .client
            .publish(now, channel, "e", data, Priority::Normal);
    };
    publish(&mut world, None);
    publish(&mut world, Some(Json::string("text")));
    publish(&mut world, Some(json(r#"{"a":1}"#)));
    publish(&mut world, Some(Json::string(&"x".repeat(100))));
    for name in ["a", "b", "c"] {
        world
            .client
            .request(now, Some("c".into()), name, None, Some(seconds(3)));
    }
    world.client.request(now, None, "e", None, None);
    world.play(
        r#"
        C {"action":15,"channel":"c","msgSerial":0,"messages":[{"name":"e"}]}
        C {"action":15,"channel":"c","msgSerial":1,"messages":[{"name":"e","data":"text"}]}
        C {"action":15,"channel":"c","msgSerial":2,"messages":[{"name":"e","data":"{\"a\":1}","encoding":"json"}]}
        C {"action":15,"channel":"c","msgSerial":3,"messages":[{"name":"a"}]}
        C {"action":15,"channel":"c","msgSerial":4,"messages":[{"name":"b"}]}
        C {"action":15,"channel":"c","msgSerial":5,"messages":[{"name":"c"}]}
        E dropped 1: the message is too long
        E no answer: a message needs a channel
        S {"action":1,"msgSerial":0,"count":4,"res":null}
        E answer null
        S {"action":2,"msgSerial":4,"count":1,"error":{"code":40160,"message":"not permitted"}}
        E no answer: not permitted
        S {"action":1,"msgSerial":900,"count":18446744073709551615}
        T 3000
        E no answer: no answer came in time
        S {"action":1,"msgSerial":5,"count":1}
        "#,
    );
}

/// Silence beyond what was promised, and pings of our own.
#[test]
fn heartbeats_are_watched() {
    let mut world = open();
    world.pass(seconds(24));
    world.say(r#"{"action":0}"#);
    world.pass(seconds(24));
    assert_eq!(world.client.state(), State::Authenticated);
    world.pass(seconds(1));
    assert_eq!(world.verdict(), Some(Verdict::Now));

    let mut config = config();
    config.ping = Some(Ping::default());
    let mut world = World::opened(Provider::Ably, config);
    world.say(r#"{"action":4,"connectionId":"I","connectionDetails":{"connectionKey":"k"}}"#);
    world.events.clear();
    world.play(
        r#"
        T 30000
        C {"action":0,"id":"<id>"}
        T 40
        S {"action":0,"id":"other"}
        S {"action":0,"id":"<id>"}
        "#,
    );
    let latency = world.client.stats(world.now).latency;
    assert_eq!(latency.map(|it| it.as_millis()), Some(40));
}

/// The connection by its key, and channels from where they were.
#[test]
fn a_lost_connection_is_resumed() {
    let mut world = open();
    world.client.subscribe(world.now, "c");
    world.client.subscribe(world.now, "d");
    world.say(r#"{"action":11,"channel":"c","channelSerial":"s1"}"#);
    let publish = |world: &mut World| {
        let channel = Some("c".into());
        world
            .client
            .publish(world.now, channel, "e", None, Priority::Normal);
        world.run();
    };
    publish(&mut world);
    world.say(r#"{"action":1,"msgSerial":0,"count":1}"#);
    world.drop_line();
    assert_eq!(world.verdict(), Some(Verdict::Now));
    world.pass(seconds(0));
    world.received.clear();
    world.answer_dial();
    world.events.clear();
    let resumed = "/?format=json&heartbeats=true&v=6&resume=I!k&key=app.key%3Asecret";
    assert_eq!(world.requests.last().map(String::as_str), Some(resumed));
    world.play(&format!(
        r#"
        S {CONNECTED}
        E state authenticated
        C {{"action":10,"channel":"c","channelSerial":"s1"}}
        C {{"action":10,"channel":"d"}}
        "#
    ));
    // The count goes on. What was not acknowledged is not sent again, so that
    // connection is over.
    publish(&mut world);
    world.play(r#"C {"action":15,"channel":"c","msgSerial":1,"messages":[{"name":"e"}]}"#);
    world.drop_line();
    world.pass(seconds(60));
    world.answer_dial();
    let anew = "/?format=json&heartbeats=true&v=6&key=app.key%3Asecret";
    assert_eq!(world.requests.last().map(String::as_str), Some(anew));
    world.received.clear();
    world.events.clear();
    world.play(
        r#"
        S {"action":4,"connectionId":"J","connectionDetails":{"connectionKey":"J!k"}}
        E state authenticated
        C {"action":10,"channel":"c","channelSerial":"s1"}
        C {"action":10,"channel":"d"}
        "#,
    );
    publish(&mut world);
    world.play(r#"C {"action":15,"channel":"c","msgSerial":0,"messages":[{"name":"e"}]}"#);
    assert!(!format!("{:?}", world.client).contains("J!k"));
}

#[test]
fn a_goodbye_ends_the_connection_there_too() {
    let mut world = open();
    world.client.disconnect(world.now, CloseCode::NORMAL, "");
    world.play(
        r#"
        C {"action":7}
        E state disconnected
        "#,
    );
    world.client.connect(world.now);
    world.answer_dial();
    assert!(!world.requests[1].contains("resume"));
}

/// Row by row: what the server says, and what the line's end means.
#[test]
fn ends_decide() {
    let token = r#""error":{"code":40142,"statusCode":401,"message":"token expired"}"#;
    let other = r#""error":{"code":40101,"statusCode":401,"message":"invalid key"}"#;
    let rows = [
        (
            format!(r#"{{"action":6,{token}}}"#),
            Verdict::Reauthenticate,
        ),
        (format!(r#"{{"action":6,{other}}}"#), Verdict::Now),
        (r#"{"action":6}"#.to_owned(), Verdict::Now),
        (
            format!(r#"{{"action":9,{token}}}"#),
            Verdict::Reauthenticate,
        ),
        (format!(r#"{{"action":9,{other}}}"#), Verdict::Fatal),
        (r#"{"action":8}"#.to_owned(), Verdict::Stay),
    ];
    for (text, verdict) in rows {
        let mut world = open();
        world.say(&text);
        assert_eq!(world.verdict(), Some(verdict), "{text}");
    }
    let rows = [
        (1000, Verdict::Now, Verdict::Backoff),
        (1001, Verdict::Now, Verdict::Backoff),
        (1002, Verdict::Fatal, Verdict::Fatal),
        (1006, Verdict::Now, Verdict::Backoff),
        (1011, Verdict::Now, Verdict::Backoff),
    ];
    for (code, inside, before) in rows {
        let worlds = [(open(), inside), (connected(Auth::query(), "t"), before)];
        for (mut world, verdict) in worlds {
            match code {
                1006 => world.drop_line(),
                _ => world.close(code),
            }
            assert_eq!(world.verdict(), Some(verdict), "{code}");
        }
    }
}

/// RTN22: with a hook for tokens, another one is had and the connection resumed.
#[test]
fn the_server_may_ask_for_another_token() {
    let config = ClientConfig {
        auth: Auth::query(),
        refresh: true,
        ..config()
    };
    let mut world = World::of(Provider::Ably, config);
    for (n, token) in ["one", "two"].into_iter().enumerate() {
        world.client.connect(world.now);
        world.pass(seconds(0));
        assert!(std::mem::take(&mut world.token));
        let now = world.now;
        world.client.handle_token(now, Some(Secret::from(token)));
        world.answer_dial();
        assert!(world.requests[n].contains(&format!("accessToken={token}")));
        world.say(CONNECTED);
        world.say(r#"{"action":17}"#);
    }
    assert!(world.requests[1].contains("resume=I!k"));
    // A key does not end.
    let mut world = open();
    world.say(r#"{"action":17}"#);
    assert_eq!(world.client.state(), State::Authenticated);
}

#[test]
fn bytes_go_in_base64() {
    let mut world = open();
    let (channel, data) = (Some("c".into()), vec![1, 2]);
    let now = world.now;
    world
        .client
        .publish_bytes(now, channel, "e", data, Priority::Normal);
    world.play(
        r#"
        C {"action":15,"channel":"c","msgSerial":0,"messages":[{"name":"e","data":"AQI=","encoding":"base64"}]}
        "#,
    );
}

#[test]
fn binary_is_given_as_it_came() {
    let mut world = open();
    world.say_message(Message::binary(vec![1]));
    assert!(matches!(
        world.events.first(),
        Some(Event::Message(incoming))
            if incoming.data == Payload::Message(Message::binary(vec![1]))
    ));
}

const PIECES: &[&str] = &[
    CONNECTED,
    r#"{"action":0,"id":"x"}"#,
    r#"{"action":1,"msgSerial":1,"count":3}"#,
    r#"{"action":2,"msgSerial":0,"count":99999999999,"error":{"message":"m"}}"#,
    r#"{"action":4,"connectionDetails":{"maxIdleInterval":18446744073709551615}}"#,
    r#"{"action":6,"error":{"code":40142,"statusCode":401}}"#,
    r#"{"action":11,"channel":"c","channelSerial":"s"}"#,
    r#"{"action":13,"channel":"private-c"}"#,
    r#"{"action":15,"channel":"c","messages":[{"data":"AQI=","encoding":"base64"}]}"#,
    r#"{"action":14,"channel":"c","presence":[{"action":7}]}"#,
    r#"{"action":21,"channel":"c"}"#,
];

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(messages in noise(PIECES), greeted: bool) {
        let mut world = connected(Auth::query(), "t");
        if greeted {
            world.say(CONNECTED);
        }
        endure(&mut world, messages);
    }
}
