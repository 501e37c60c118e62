use std::time::Duration;

use smartsocket_core::Message;
use smartsocket_core::client::{
    Auth, ClientConfig, Event, Priority, Provider, RequestId, Secret, State, Verdict,
};

use super::{endure, json, noise};
use crate::common::client::World;

fn config() -> ClientConfig {
    Provider::Phoenix.config("ws://example.com/socket")
}

fn open(config: ClientConfig) -> World {
    let mut world = World::opened(Provider::Phoenix, config);
    assert_eq!(world.client.state(), State::Authenticated);
    world.events.clear();
    world
}

/// Member of a topic, by the ref 1.
fn joined() -> World {
    let mut world = open(config());
    world.client.subscribe(world.now, "room:lobby");
    world.play(
        r#"
        C ["1","1","room:lobby","phx_join",{}]
        S ["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]
        E subscribed room:lobby
        "#,
    );
    world
}

fn ask(world: &mut World, topic: &str) -> RequestId {
    let data = Some(json(r#"{"a":1}"#));
    world
        .client
        .request(world.now, Some(topic.into()), "ev", data, None)
}

/// wire.md §4.4.
#[test]
fn the_transcript_of_a_session() {
    let mut config = config();
    config.auth = Auth::query();
    config.token = Some(Secret::from("T"));
    let mut world = open(config);
    assert_eq!(world.requests, ["/socket/websocket?vsn=2.0.0&token=T"]);
    let now = world.now;
    let room = world.client.subscribe(now, "room:lobby");
    ask(&mut world, "room:lobby");
    world.play(
        r#"
        C [<join>,<join>,"room:lobby","phx_join",{}]
        C [<join>,"<id>","room:lobby","ev",{"a":1}]
        S [<join>,<join>,"room:lobby","phx_reply",{"status":"ok","response":{}}]
        E subscribed room:lobby
        S [<join>,"<id>","room:lobby","phx_reply",{"status":"ok","response":{"b": 2}}]
        E answer {"b": 2}
        S [null,null,"room:lobby","new_msg",{"body": "hi"}]
        E message channel=room:lobby event=new_msg {"body": "hi"}
        S [<join>,null,"room:lobby","new_msg",1]
        E message channel=room:lobby event=new_msg 1
        S ["99",null,"room:lobby","new_msg","of an earlier join"]
        S [null,null,"room:other","new_msg","of another topic"]
        "#,
    );
    let now = world.now;
    let data = Some(json("{}"));
    let topic = Some("room:lobby".into());
    world
        .client
        .publish(now, topic, "shout", data, Priority::Normal);
    world.client.unsubscribe(now, room);
    world.play(
        r#"
        C [<join>,<shout>,"room:lobby","shout",{}]
        C [<join>,<leave>,"room:lobby","phx_leave",{}]
        S [<join>,<leave>,"room:lobby","phx_reply",{"status":"ok","response":{}}]
        S [<join>,<join>,"room:lobby","phx_close",{}]
        "#,
    );
}

#[test]
fn the_url_leads_to_the_socket() {
    let rows = [
        ("ws://h", "/socket/websocket?vsn=2.0.0"),
        ("ws://h/live/?a=b", "/live/websocket?a=b&vsn=2.0.0"),
        (
            "ws://h/live/websocket?vsn=2.0.0",
            "/live/websocket?vsn=2.0.0",
        ),
    ];
    for (url, target) in rows {
        let world = open(Provider::Phoenix.config(url));
        assert_eq!(world.requests, [target]);
    }
}

/// Phoenix decodes it as plain base64, whatever the prefix says.
#[test]
fn a_token_can_be_a_subprotocol() {
    let mut config = config();
    config.auth = Auth::Subprotocol;
    config.token = Some(Secret::from("1234~"));
    let mut world = World::of(Provider::Phoenix, config);
    world.subprotocol = Some("phoenix");
    world.client.connect(world.now);
    world.answer_dial();
    assert_eq!(world.client.state(), State::Authenticated);
    assert_eq!(world.offered, ["phoenix, base64url.bearer.phx.MTIzNH4"]);
}

#[test]
fn a_first_message_goes_with_each_join() {
    let own = Auth::FirstMessage {
        kind: "x".into(),
        template: r#"{"jwt": "{{token}}"}"#.into(),
    };
    let rows = [
        (Auth::first_message(), r#"{"token":"a\"b"}"#),
        (own, r#"{"jwt":"a\"b"}"#),
    ];
    for (auth, payload) in rows {
        let mut config = config();
        config.auth = auth;
        config.token = Some(Secret::from("a\"b"));
        let mut world = open(config);
        world.client.subscribe(world.now, "t");
        world.play(&format!(r#"C ["1","1","t","phx_join",{payload}]"#));
    }
}

#[test]
fn refusals_are_told() {
    let mut world = open(config());
    let now = world.now;
    for topic in ["a", "b", "c"] {
        world.client.subscribe(now, topic);
    }
    ask(&mut world, "none");
    world.client.request(now, None, "ev", None, None);
    world
        .client
        .publish(now, None, "ev", None, Priority::Normal);
    world.play(
        r#"
        C ["1","1","a","phx_join",{}]
        C ["2","2","b","phx_join",{}]
        C ["3","3","c","phx_join",{}]
        C [null,"<id>","none","ev",{"a":1}]
        E no answer: an event needs a topic
        E dropped 1: an event needs a topic
        S ["1","1","a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]
        E refused a: unmatched topic
        S ["2","2","b","phx_reply",{"status":"error","response":{"code":7}}]
        E refused b: {"code":7}
        S ["3","3","c","phx_close",{}]
        E refused c: the server closed the channel
        S [null,"<id>","none","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]
        E no answer: unmatched topic
        S [null,"r999","none","phx_reply",{"status":"ok","response":{}}]
        "#,
    );
}

/// After 1, 2, 5, 10, 10 … s, until a join is granted.
#[test]
fn a_channel_that_broke_is_joined_again() {
    let mut world = joined();
    let mut join = 1;
    let mut breaks = |world: &mut World, wait: u64| {
        let (old, less) = (join, wait - 1);
        join += 1;
        world.play(&format!(
            r#"
            S ["{old}","{old}","room:lobby","phx_error",{{"reason":"channel_crash"}}]
            T {less}
            T 1
            C ["{join}","{join}","room:lobby","phx_join",{{}}]"#
        ));
        join
    };
    for wait in [1_000, 2_000, 5_000] {
        breaks(&mut world, wait);
    }
    let join = breaks(&mut world, 10_000);
    world.play(&format!(
        r#"
        S ["{join}","{join}","room:lobby","phx_reply",{{"status":"ok","response":{{}}}}]
        E subscribed room:lobby"#
    ));
    breaks(&mut world, 1_000);
}

/// One that is not answered is taken back, since it may have been granted.
#[test]
fn a_join_has_its_time() {
    let mut world = open(config());
    world.client.subscribe(world.now, "a");
    world.play(
        r#"
        C ["1","1","a","phx_join",{}]
        T 9999
        T 1
        C ["1","2","a","phx_leave",{}]
        S ["1","1","a","phx_reply",{"status":"ok","response":{}}]
        T 999
        T 1
        C ["3","3","a","phx_join",{}]
        S ["3","3","a","phx_reply",{"status":"ok","response":{}}]
        E subscribed a
        T 10000
        "#,
    );
}

#[test]
fn heartbeats_go_out_and_need_an_answer() {
    let mut world = joined();
    world.play(
        r#"
        T 30000
        C [null,"2","phoenix","heartbeat",{}]
        T 70
        S [null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]
        T 29930
        C [null,"3","phoenix","heartbeat",{}]
        T 29999
        T 1
        E ended Backoff: the peer answered no ping
        E state reconnecting
        E attempt 1 in 10ms
        "#,
    );
    let latency = world.client.stats(world.now).latency;
    assert_eq!(latency, Some(Duration::from_millis(70)));
}

#[test]
fn topics_are_joined_again_on_a_new_connection() {
    let mut world = joined();
    world.drop_line();
    world.pass(Duration::from_millis(10));
    world.answer_dial();
    world.events.clear();
    world.play(
        r#"
        C ["2","2","room:lobby","phx_join",{}]
        S ["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]
        S ["2","2","room:lobby","phx_reply",{"status":"ok","response":{}}]
        E subscribed room:lobby
        "#,
    );
}

#[test]
fn payloads_can_be_binary() {
    let mut world = joined();
    ask(&mut world, "room:lobby");
    world.run();
    let said = world.received.remove(0);
    let (_, id, ..): (String, String, String, String, serde_json::Value) =
        serde_json::from_str(&said).expect("a message");
    let frame = |head: &[u8], texts: &[&str]| {
        let mut frame = head.to_vec();
        frame.extend(texts.iter().map(|text| text.len() as u8));
        texts.iter().for_each(|text| frame.extend(text.bytes()));
        frame.extend([1, 2, 3]);
        Message::binary(frame)
    };
    world.say_message(frame(&[0], &["1", "room:lobby", "push"]));
    world.say_message(frame(&[0], &["7", "room:lobby", "an earlier join"]));
    world.say_message(frame(&[2], &["room:lobby", "broadcast"]));
    world.say_message(frame(&[1], &["1", &id, "room:lobby", "ok"]));
    world.play(
        r#"
        E message channel=room:lobby event=push binary [1, 2, 3]
        E message channel=room:lobby event=broadcast binary [1, 2, 3]
        E answer "AQID"
        S binary [0, 200, 1, 1]
        S binary [3]
        S binary []
        "#,
    );
    for name in ["push", &"e".repeat(256)] {
        let (topic, data) = (Some("lobby".into()), vec![7]);
        let now = world.now;
        world
            .client
            .publish_bytes(now, topic, name, data, Priority::Normal);
    }
    world.play(
        "
        C binary [0, 0, 1, 5, 4, 50, 108, 111, 98, 98, 121, 112, 117, 115, 104, 7]
        E dropped 1: a name has 255 bytes at most
        ",
    );
}

#[test]
fn endings_decide_what_comes_next() {
    let rows = [
        (1000, Verdict::Stay),
        (1001, Verdict::Backoff),
        (1011, Verdict::Backoff),
        (1012, Verdict::Backoff),
    ];
    for (code, verdict) in rows {
        let mut world = joined();
        world.close(code);
        assert_eq!(world.verdict(), Some(verdict), "{code}");
    }
    let rows = [
        (403, Verdict::Reauthenticate),
        (404, Verdict::Fatal),
        (503, Verdict::Backoff),
    ];
    for (status, verdict) in rows {
        let mut world = World::of(Provider::Phoenix, config());
        world.refuse = Some(status);
        world.client.connect(world.now);
        world.answer_dial();
        assert_eq!(world.verdict(), Some(verdict), "{status}");
    }
}

#[test]
fn it_comes_back_as_the_official_client_does() {
    let mut world = joined();
    world.drop_line();
    for wait in [
        10, 50, 100, 150, 200, 250, 500, 1_000, 2_000, 5_000, 5_000, 5_000,
    ] {
        let found = world.events.drain(..).find_map(|event| match event {
            Event::Reconnecting { wait, .. } => Some(wait),
            _ => None,
        });
        assert_eq!(found, Some(Duration::from_millis(wait)));
        world.pass(Duration::from_millis(wait));
        world.fail_dial();
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(
        messages in noise(&[
            r#"["1","1","c","phx_reply",{"status":"ok","response":{}}]"#,
            r#"["2","2","private-c","phx_reply",{"status":"error","response":{"reason":"no"}}]"#,
            r#"["3","r3","private-c","phx_reply",{"status":"ok","response":[]}]"#,
            r#"["1","1","c","phx_error",{"reason":"channel_crash"}]"#,
            r#"["1","1","c","phx_close",{}]"#,
            r#"[null,null,"c","e",{}]"#,
            "\u{0}\u{1}\u{1}\u{1}1cexyz",
        ]),
    ) {
        endure(&mut open(config()), messages);
    }
}
