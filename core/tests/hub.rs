//! The hub, met by scripted clients: every dialect's conversation as it is on
//! the wire, in time and out of it.

#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::world::{Socket, WALL, World};
use common::{Raw, close_frame, compressed, frame, ms, read_frame};
use smartsocket_core::hub::{
    Answer, Auth, ConnId, Heartbeat, Identity, Interest, Overflow, Publication, Route, Step, Target,
};
use smartsocket_core::websocket::Role;
use smartsocket_core::{CloseCode, DropCause, Fault, Json, Message, Utf8Bytes};

fn mask(text: &str) -> String {
    // Ids are random; what is said about them is not.
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest
        .find("\"connection_id\":\"")
        .or_else(|| rest.find("\"id\":\""))
    {
        let start = at + rest[at..].find(":\"").unwrap() + 2;
        out.push_str(&rest[..start]);
        out.push_str("<id>");
        rest = &rest[start + 36..];
    }
    out + rest
}

#[test]
fn smartsocket_events_are_answered_in_both_dialects_of_acks() {
    let mut route = Route::smartsocket("/chat");
    route.interest = Interest::EVENT;
    let mut world = World::new(vec![route]);
    let id = world.connect("/chat");
    world.say(id, r#"{"event":"connected"}"#);
    assert_eq!(world.got(id), [""; 0]);

    world.say(
        id,
        r#"{"event":"save-data","data":{"name":"J","_ackId":1}}"#,
    );
    let mut turn = world.turn();
    let Step::Event(event) = &mut turn.step else {
        panic!()
    };
    assert_eq!(event.name, "save-data");
    assert_eq!(event.data.as_ref().unwrap().as_str(), r#"{"name":"J"}"#);
    let ack = event.ack.take().unwrap();
    let now = world.now;
    world.hub.acknowledge(
        now,
        ack,
        &Json::parse(r#"{"success":true,"id":7}"#).unwrap(),
    );
    world.decide(turn.allow());
    assert_eq!(
        world.got(id),
        [r#"{"event":"save-data","data":{"_ackId":1,"success":true,"id":7}}"#]
    );

    world.say(id, r#"{"event":"x","data":{"a":1,"__ackId":"ack_1_17"}}"#);
    let turn = world.turn();
    world.decide(turn.cancel(Some("Not authenticated")));
    assert_eq!(
        world.got(id),
        [
            r#"{"event":"__ack__","data":{"ackId":"ack_1_17","response":{"error":"Not authenticated"}}}"#
        ]
    );
}

#[test]
fn an_event_nobody_listens_to_costs_no_turn() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::EVENT;
    route.events = Some(["wanted".into()].into());
    let mut world = World::new(vec![route]);
    let id = world.connect("/");
    world.say(id, r#"{"event":"other","data":1}"#);
    assert!(world.turns.is_empty());
    world.say(id, r#"{"event":"wanted","data":1}"#);
    assert_eq!(world.turns.len(), 1);
}

#[test]
fn one_turn_at_a_time_and_in_order() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::EVENT;
    let mut world = World::new(vec![route]);
    let id = world.connect("/");
    let mut bytes = frame(Role::Server, 1, r#"{"event":"a"}"#);
    bytes.extend(frame(Role::Server, 1, r#"{"event":"b"}"#));
    bytes.extend(frame(Role::Server, 9, "ping"));
    bytes.extend(close_frame(Role::Server, 1000, ""));
    world.feed(id, bytes);
    assert_eq!(world.got(id), ["10 4 bytes"], "control frames do not wait");
    for name in ["a", "b"] {
        assert_eq!(world.turns.len(), 1);
        let turn = world.turn();
        assert!(matches!(&turn.step, Step::Event(event) if event.name == name));
        let client = turn.client();
        world
            .hub
            .emit(world.now, client, format!("re:{name}"), None);
        world.decide(turn.allow());
    }
    assert_eq!(
        world.got(id),
        [r#"{"event":"re:a"}"#, r#"{"event":"re:b"}"#, "close 1000 "],
        "who says something and goodbye still gets the answer"
    );
    assert!(world.sockets[&id].dropped && world.hub.is_empty());
}

#[test]
fn a_handler_that_stalls_hurts_its_own_connection_only() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::EVENT;
    let mut world = World::new(vec![route]);
    let (slow, other) = (world.connect("/"), world.connect("/"));
    world.say(slow, r#"{"event":"a"}"#);
    world.say(slow, r#"{"event":"b"}"#);
    let stale = world.turn();
    world.say(other, r#"{"event":"c"}"#);
    let turn = world.turn();
    world.decide(turn.allow());
    world.got(slow);
    world.pass(ms(30_000));
    let got = world.got(slow);
    let got: Vec<_> = got.iter().filter(|got| got.starts_with('{')).collect();
    assert_eq!(
        got[0],
        r#"{"event":"error","data":{"message":"Internal server error"}}"#
    );
    let next = world.turn();
    assert!(matches!(&next.step, Step::Event(event) if event.name == "b"));
    world.decide(stale.cancel(Some("too late")));
    assert!(!world.got(slow).iter().any(|got| got.contains("too late")));
    world.decide(next.allow());
}

#[test]
fn ignis_authenticates_joins_and_speaks() {
    let mut route = Route::ignis("/ws");
    route.interest = Interest::AUTHENTICATE | Interest::JOIN | Interest::OPENED | Interest::EVENT;
    let mut world = World::new(vec![route]);
    let id = world.connect("/ws");
    assert_eq!(world.got(id), [""; 0], "nothing is said on open");
    world.say(id, "notjson");
    world.say(id, r#"{"event":"foo"}"#);
    world.say(id, r#"{"noevent":1}"#);
    world.say(id, r#"{"event":"heartbeat"}"#);
    assert_eq!(
        world.got(id),
        [
            r#"{"event":"error","data":{"message":"Invalid message format"}}"#,
            r#"{"event":"error","data":{"message":"Not authenticated"}}"#,
        ]
    );
    world.say(id, r#"{"event":"authenticate","data":{"token":"ok"}}"#);
    world.say(id, r#"{"event":"authenticate","data":{"token":"ok"}}"#);
    let turn = world.turn();
    assert!(matches!(&turn.step, Step::Authenticate(data) if data.as_str() == r#"{"token":"ok"}"#));
    world.decide(turn.authenticate(Identity {
        user: Some("u1".into()),
        metadata: None,
    }));
    let got = world.got(id);
    assert!(
        mask(&got[0])
            .starts_with(r#"{"event":"connected","data":{"id":"<id>","userId":"u1","time":""#),
        "{got:?}"
    );
    let opened = world.turn();
    assert!(matches!(opened.step, Step::Opened));
    world.decide(opened.allow());
    assert_eq!(
        world.got(id),
        [r#"{"event":"error","data":{"message":"Already authenticated"}}"#]
    );

    world.say(
        id,
        r#"{"event":"join","data":{"rooms":["r1","deny","ws:x"]}}"#,
    );
    let turn = world.turn();
    assert!(matches!(&turn.step, Step::Join(rooms) if *rooms == ["r1", "deny"]));
    world.decide(turn.rooms(&["r1".into(), "else".into()]));
    assert_eq!(world.got(id), [""; 0], "never an answer to join");
    let rooms: Vec<_> = world
        .hub
        .rooms_of(id)
        .into_iter()
        .map(|room| room.id)
        .collect();
    assert_eq!(rooms, ["ws-default", "ws-notification", "r1"]);
    let room = Target::Room {
        namespace: "/ws".into(),
        room: "r1".into(),
    };
    let publication = Publication::new(room, "room-ev", Some(Json::parse(r#"{"y":2}"#).unwrap()));
    assert_eq!(world.hub.publish(world.now, publication), 1);
    world.drain();
    assert_eq!(world.got(id), [r#"{"event":"room-ev","data":{"y":2}}"#]);
}

#[test]
fn ignis_closes_with_its_codes() {
    let mut route = Route::ignis("/ws");
    route.interest = Interest::AUTHENTICATE;
    let mut world = World::new(vec![route]);
    let late = world.connect("/ws");
    world.pass(ms(5_000));
    assert_eq!(world.got(late), ["close 4001 Authentication timeout"]);

    let bad = world.connect("/ws");
    world.say(bad, r#"{"event":"authenticate","data":{}}"#);
    let turn = world.turn();
    world.decide(turn.cancel(None));
    assert_eq!(
        world.got(bad),
        [
            r#"{"event":"error","data":{"message":"Authentication failed"}}"#,
            "close 4003 Authentication failed"
        ]
    );

    let broken = world.connect("/ws");
    world.say(broken, r#"{"event":"authenticate","data":{}}"#);
    let turn = world.turn();
    world.decide(turn.fail());
    assert_eq!(
        world.got(broken),
        [
            r#"{"event":"error","data":{"message":"Authentication error"}}"#,
            "close 4003 Authentication failed"
        ]
    );

    let deciding = world.connect("/ws");
    world.say(deciding, r#"{"event":"authenticate","data":{}}"#);
    let start = world.now;
    world.pass(start + Duration::from_millis(14_999));
    assert_eq!(
        world.got(deciding),
        [""; 0],
        "three times as long while the application decides"
    );
    world.pass(start + Duration::from_millis(15_000));
    assert_eq!(world.got(deciding), ["close 4001 Authentication timeout"]);
    world.turns.clear();

    let silent = world.connect("/ws");
    world.say(silent, r#"{"event":"authenticate","data":{}}"#);
    let turn = world.turn();
    world.decide(turn.authenticate(Identity::default()));
    let start = world.now;
    // Its pongs keep the connection alive, but are no messages.
    for _ in 0..60 {
        let now = world.now + Duration::from_secs(2);
        world.pass(now);
        world.feed(silent, frame(Role::Server, 10, ""));
    }
    let got = world.got(silent);
    assert_eq!(got.last().unwrap(), "close 4002 Heartbeat timeout");
    assert!(world.now.since(start) <= Duration::from_secs(121));
}

#[test]
fn rnode_greets_pings_and_acknowledges_pongs() {
    let mut world = World::new(vec![Route::rnode("/chat")]);
    let id = world.connect("/chat?clientId=my%20id");
    let got = world.got(id);
    assert!(
        mask(&got[0]).starts_with(r#"{"type":"welcome","connection_id":"<id>","client_id":"my id","path":"/chat","timestamp":""#),
        "{got:?}"
    );
    assert!(
        got[1].starts_with(r#"{"type":"ping","timestamp":""#),
        "{got:?}"
    );
    let pong = r#"{"type":"pong","data":{"timestamp":"t"},"timestamp":"t"}"#;
    world.say(id, pong);
    let got = world.got(id);
    assert!(
        got[0].starts_with(&format!(
            r#"{{"type":"message_ack","message":{},"#,
            Json::string(pong)
        )),
        "{got:?}"
    );

    let second = world.connect("/chat?clientId=my%20id");
    assert!(
        world.got(second)[0].starts_with("409 "),
        "an id is an address"
    );
    world.say(id, "not json");
    assert_eq!(world.got(id), [""; 0]);
    world.say(id, r#"{"type":"join_room","room_id":"none"}"#);
    assert!(world.got(id)[0].contains("room_join_error"));

    let room = world
        .hub
        .create_room(world.now, "/chat", "general", None, Some(1))
        .unwrap();
    world.say(id, &format!(r#"{{"type":"join_room","room_id":"{room}"}}"#));
    assert!(world.got(id)[0].contains("room_joined"));
    let other = world.connect("/chat");
    world.got(other);
    world.say(
        other,
        &format!(r#"{{"type":"join_room","room_id":"{room}"}}"#),
    );
    assert!(world.got(other)[0].contains("room_full"));
    world.say(
        other,
        &format!(r#"{{"type":"room_message","room_id":"{room}","data":"x"}}"#),
    );
    assert!(
        world.got(other)[0].contains("not_a_member"),
        "nobody speaks to a room it is not in"
    );
    assert_eq!(world.got(id), [""; 0]);
    world.say(id, r#"{"type":"room_message","data":"hello"}"#);
    let got = world.got(id);
    assert!(got[0].starts_with(&format!(r#"{{"type":"room_message","room_id":"{room}","message":"hello","from_client_id":"my id""#)), "{got:?}");
    world.say(
        other,
        r#"{"type":"direct_message","target_client_id":"my id","data":"dm"}"#,
    );
    assert!(
        world.got(id)[0]
            .starts_with(r#"{"type":"direct_message","message":"dm","from_client_id":"client_"#)
    );
    world.say(
        other,
        r#"{"type":"direct_message","target_client_id":"nobody","data":"dm"}"#,
    );
    assert!(world.got(other)[0].contains("Client nobody not found"));
    world.say(id, r#"{"type":"leave_room"}"#);
    assert!(world.got(id)[0].contains("room_left"));
    assert!(
        world.hub.room("/chat", &room).is_some(),
        "a made room stays for a while"
    );
    world.pass(ms(3_700_000));
    assert!(world.hub.room("/chat", &room).is_none());
}

#[test]
fn the_api_puts_clients_into_rooms_that_are_there_and_theirs() {
    let mut world = World::new(vec![Route::rnode("/rnode"), Route::header_line("/mb")]);
    let room = world
        .hub
        .create_room(world.now, "/rnode", "general", None, None)
        .unwrap();
    let (ours, other) = (world.connect("/rnode"), world.connect("/mb"));
    let post = |world: &mut World, action: &str, room: &str, id: ConnId| {
        let client = world.client(id);
        let body = format!("{{\"connectionId\":\"{client}\"}}");
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let request = world.hub.accept(world.now, address).unwrap();
        world.sockets.insert(request, Socket::default());
        let head = format!(
            "POST /websocket/rooms/{room}/{action} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        world.feed(request, head.into_bytes());
        world.got(request).remove(0).contains("true")
    };
    assert!(!post(&mut world, "join", "unmade", ours));
    assert!(!post(&mut world, "join", &room, other));
    assert!(post(&mut world, "join", &room, ours));
    assert!(!post(&mut world, "join", &room, ours));
    assert_eq!(
        world.hub.room("/rnode", &room).unwrap().connections_count,
        1
    );
    assert!(world.hub.room("/rnode", "unmade").is_none());

    let now = world.now;
    world.hub.join(now, other, "events").unwrap();
    assert!(!post(&mut world, "leave", "events", other));
    assert!(post(&mut world, "leave", &room, ours));
}

#[test]
fn the_api_lists_the_rooms_of_the_namespace_it_is_asked_for() {
    let mut world = World::new(vec![Route::rnode("/rnode"), Route::smartsocket("/chat")]);
    let (now, member) = (world.now, world.connect("/chat"));
    world.hub.join(now, member, "den").unwrap();
    let (room, id) = ("den", world.client(member));
    let list = |world: &mut World, query: &str| {
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let request = world.hub.accept(world.now, address).unwrap();
        world.sockets.insert(request, Socket::default());
        let head = format!("GET /websocket/rooms{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        world.feed(request, head.into_bytes());
        world.got(request).remove(0)
    };
    let chat = list(&mut world, "?namespace=%2Fchat");
    assert!(chat.contains(&format!("\"name\":\"{room}\"")), "{chat}");
    assert!(
        chat.contains(&format!("\"connections\":[\"{id}\"]")),
        "{chat}"
    );
    for other in ["", "?namespace=/rnode", "?namespace=/nope", "?namespace="] {
        let none = list(&mut world, other);
        assert!(none.contains("\"rooms\":[],\"count\":0"), "{other}: {none}");
    }
}

#[test]
fn mb_publishes_requests_and_times_out() {
    const ID: &str = "11111111-2222-4333-8444-555555555555";
    let mut world = World::new(vec![Route::header_line("/mb")]);
    let (a, b) = (world.connect("/mb"), world.connect("/mb"));
    assert_eq!(world.got(a), ["publish:system.initialize:1.0.0\n{}"]);
    world.got(b);
    let subscribe = |action: &str, topic: &str| {
        format!(
            "request:system.topic.subscribe:1.0.0:{ID}\n{{\"action\":\"{action}\",\"topic\":\"{topic}\"}}"
        )
    };
    let success = format!("response:system.topic.subscribe:1.0.0:{ID}\n{{\"status\":\"success\"}}");
    world.say(a, &subscribe("publish", "events.user"));
    assert_eq!(world.got(a), [success]);
    world.say(b, &format!("publish:events.user:1.0.0:{ID}\n{{\"m\":1}}"));
    let got = world.got(a);
    assert!(
        got[0].starts_with("publish:events.user:1.0.0:") && got[0].ends_with("\n{\"m\":1}"),
        "{got:?}"
    );
    assert_eq!(
        world.got(b),
        [format!(
            "response:events.user:1.0.0:{ID}\n{{\"status\":\"success\"}}"
        )]
    );
    // The application speaks to subscribers too.
    let room = Target::Room {
        namespace: "/mb".into(),
        room: "events.user".into(),
    };
    world.hub.publish(
        world.now,
        Publication::new(room, "events.user", Some(Json::EMPTY)),
    );
    world.drain();
    assert_eq!(world.got(a), ["publish:events.user:1.0.0\n{}"]);

    world.say(a, &subscribe("request", "svc.do"));
    world.got(a);
    world.say(b, &format!("request:svc.do:1.0.0:{ID}::1000\n{{\"q\":1}}"));
    let asked = world.got(a).remove(0);
    let id = asked.split(['\n', ':']).nth(3).unwrap();
    assert_ne!(id, ID);
    world.say(a, &format!("response:svc.do:1.0.0:{id}\n{{\"r\":2}}"));
    assert_eq!(
        world.got(b),
        [format!("response:svc.do:1.0.0:{ID}\n{{\"r\":2}}")]
    );
    world.say(b, &format!("request:svc.do:1.0.0:{ID}::1000\n{{\"q\":1}}"));
    world.got(a);
    let late = world.now + Duration::from_secs(1);
    world.pass(late);
    let got = world.got(b);
    assert!(
        got[0].contains("\"code\":\"TIMEOUT\",\"message\":\"Request timed out\""),
        "{got:?}"
    );
    world.say(b, "garbage");
    let got = world.got(b);
    assert!(got[0].starts_with("response:error:1.0.0\n{\"error\":{\"code\":\"MALFORMED_MESSAGE\",\"message\":\"Invalid message format: no newline separator found within the maximum header length of 367 bytes\""), "{got:?}");
    world.feed(a, close_frame(Role::Server, 1000, ""));
    world.say(b, &format!("publish:events.user:1.0.0:{ID}\n{{}}"));
    assert!(world.got(b)[0].contains("NO_ROUTE_FOUND"));
}

#[test]
fn hooks_cancel_and_change_what_happens() {
    let mut route = Route::rnode("/chat");
    route.interest =
        Interest::CONNECT | Interest::EVENT | Interest::ROOM_MESSAGE | Interest::MESSAGE_ACK;
    let mut world = World::new(vec![route]);
    let refused = world.connect("/chat?clientId=evil");
    let turn = world.turn();
    assert_eq!(turn.request().unwrap().query(), Some("clientId=evil"));
    world.decide(turn.cancel(Some("Unauthorized client")));
    assert!(world.got(refused)[0].starts_with("403 "));

    let id = world.connect("/chat?clientId=evil");
    let turn = world.turn();
    world.decide(turn.allow());
    world.got(id);
    world.say(id, r#"{"type":"message","data":"spam"}"#);
    let turn = world.turn();
    world.decide(turn.cancel(Some("Spam message blocked")));
    let got = world.got(id);
    assert!(
        got[0].contains("message_blocked") && got[0].contains("Spam message blocked"),
        "{got:?}"
    );

    let room = world
        .hub
        .create_room(world.now, "/chat", "general", None, None)
        .unwrap();
    world.hub.join(world.now, id, &room).unwrap();
    world.drain();
    world.got(id);
    world.say(id, r#"{"type":"room_message","data":"hello"}"#);
    let mut turn = world.turn();
    if let Step::RoomMessage { text, .. } = &mut turn.step {
        *text = "HELLO".into();
    }
    world.decide(turn.allow());
    assert!(world.got(id)[0].contains(r#""message":"HELLO""#));
}

#[test]
fn too_many_messages_are_dropped_and_told_once() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::EVENT;
    route.rate = Some(smartsocket_core::RateLimit {
        max: 3,
        window: Duration::from_secs(5),
        ..Default::default()
    });
    let mut world = World::new(vec![route]);
    world.yes = true;
    let id = world.connect("/");
    for _ in 0..10 {
        world.say(id, r#"{"event":"a"}"#);
    }
    let got = world.got(id);
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].starts_with(r#"{"event":"__rate-limited__","data":{"message":"Too many requests, please slow down","retryAfter":"#));
}

/// Each limited event by itself, and again only after it has passed.
#[test]
fn events_that_come_too_often_are_told_once_each() {
    let mut route = Route::smartsocket("/");
    route.rate = None;
    for event in ["a", "b"] {
        let limit = smartsocket_core::RateLimit::new(1, Duration::from_secs(5));
        route.event_rates.set(event, limit);
    }
    let mut world = World::new(vec![route]);
    world.yes = true;
    let id = world.connect("/");
    for round in 0..2 {
        for _ in 0..5 {
            for event in ["a", "b", "free"] {
                world.say(id, &format!(r#"{{"event":"{event}"}}"#));
            }
        }
        let got = world.got(id);
        assert_eq!(got.len(), 2, "{round}: {got:?}");
        assert!(got.iter().all(|got| got.contains("ERR_RATE_002")));
        world.pass(world.now + Duration::from_secs(11));
        world.got(id);
    }
}

#[test]
fn the_application_is_told_who_is_too_fast_while_it_is_busy_afterwards() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::EVENT | Interest::RATE_LIMITED;
    route.rate = Some(smartsocket_core::RateLimit::new(2, Duration::from_secs(5)));
    let mut world = World::new(vec![route]);
    let id = world.connect("/");
    world.got(id);
    // As a flood comes: in one piece.
    let flood = ["a", "b", "c", "d"].map(|name| format!(r#"{{"event":"{name}"}}"#));
    let flood = flood.iter().flat_map(|text| frame(Role::Server, 1, text));
    world.feed(id, flood.collect());
    let busy = world.turn();
    assert!(matches!(&busy.step, Step::Event(event) if event.name == "a"));
    assert_eq!(world.got(id), [""; 0]);
    world.decide(busy.allow());
    let notice = world.turn();
    let told = Step::RateLimited {
        event: None,
        retry_after: 5_334,
    };
    assert_eq!(format!("{:?}", notice.step), format!("{told:?}"));
    world.decide(notice.cancel(None));
    let next = world.turn();
    assert!(matches!(&next.step, Step::Event(event) if event.name == "b"));
    world.decide(next.allow());
    assert!(world.turns.is_empty(), "once");
    assert_eq!(world.got(id), [""; 0], "the application says it, or nobody");
    assert_eq!(world.hub.dropped(DropCause::RateLimited), 2);
}

#[test]
fn a_slow_reader_is_bounded_by_the_policy_of_its_route() {
    for overflow in [
        Overflow::Close,
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::KeepLatest,
    ] {
        let mut route = Route::smartsocket("/");
        route.outbox.overflow = overflow;
        route.outbox.max_messages = 10;
        let mut world = World::new(vec![route]);
        let id = world.connect("/");
        world.got(id);
        world.sockets.get_mut(&id).unwrap().takes = Some(0);
        let client = world.client(id);
        let big = Json::string(&"x".repeat(70_000));
        for n in 0..30_u64 {
            let name = format!("e{}", n % 3);
            let data = if n == 0 { big.clone() } else { Json::from(n) };
            world.hub.emit(world.now, client, name, Some(data));
            world.drain();
        }
        world.sockets.get_mut(&id).unwrap().takes = None;
        world.write(id);
        world.drain();
        world.write(id);
        let got = world.got(id);
        let tail: Vec<_> = got[1..].iter().map(String::as_str).collect();
        match overflow {
            Overflow::Close => {
                assert_eq!(tail, ["close 1013 too slow"]);
                assert_eq!(world.hub.sent_messages(), 30);
                let lost = [DropCause::Outbox, DropCause::Closed].map(|c| world.hub.dropped(c));
                assert_eq!(
                    lost.iter().sum::<u64>(),
                    29,
                    "all that waited, and all since"
                );
            }
            Overflow::DropNewest => {
                assert_eq!(tail.len(), 10);
                assert_eq!(tail[0], r#"{"event":"e1","data":1}"#);
            }
            Overflow::DropOldest => {
                assert_eq!(tail.len(), 10);
                assert_eq!(tail[9], r#"{"event":"e2","data":29}"#);
                assert_eq!(tail[0], r#"{"event":"e2","data":20}"#);
            }
            Overflow::KeepLatest => {
                assert_eq!(
                    tail,
                    [
                        r#"{"event":"e0","data":27}"#,
                        r#"{"event":"e1","data":28}"#,
                        r#"{"event":"e2","data":29}"#
                    ]
                );
            }
            _ => panic!("{overflow:?}"),
        }
    }
}

#[test]
fn an_emit_with_ack_ends_exactly_once() {
    let mut world = World::new(vec![Route::smartsocket("/")]);
    let id = world.connect("/");
    let client = world.client(id);
    world.got(id);
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        world
            .hub
            .emit_with_ack(world.now, client, "q", None, second)
            .unwrap();
    }
    world.drain();
    assert_eq!(
        world.got(id)[0],
        r#"{"event":"q","data":{"__ackId":"ack_1"}}"#
    );
    world.say(
        id,
        r#"{"event":"__ack__","data":{"ackId":"ack_2","response":5}}"#,
    );
    assert_eq!(world.answers, [Answer::Data(Json::from(5_u64))]);
    world.say(
        id,
        r#"{"event":"__ack__","data":{"ackId":"ack_2","response":5}}"#,
    );
    assert_eq!(world.answers.len(), 1);
    assert!(world.got(id)[0].contains("ERR_ACK_003"));
    world.pass(ms(1_000));
    assert_eq!(world.answers[1..], [Answer::TimedOut, Answer::TimedOut]);
    world
        .hub
        .emit_with_ack(world.now, client, "q", None, second)
        .unwrap();
    world.drain();
    world.feed(id, close_frame(Role::Server, 1000, ""));
    assert_eq!(world.answers[3..], [Answer::Closed]);
    assert!(
        world
            .hub
            .emit_with_ack(world.now, client, "q", None, second)
            .is_err()
    );
}

#[test]
fn namespaces_are_apart_and_exclusions_hold() {
    let mut world = World::new(vec![Route::smartsocket("/"), Route::smartsocket("/chat")]);
    let a = world.connect("/");
    let b = world.connect("/chat");
    let c = world.connect("/?namespace=%2Fchat");
    let none = world.connect("/?namespace=other");
    assert!(world.got(none)[0].contains("ERR_MSG_005"));
    for id in [a, b, c] {
        world.got(id);
    }
    let mut publication = Publication::new(Target::Namespace("/chat".into()), "n", None);
    publication.except.push(world.client(b));
    assert_eq!(world.hub.publish(world.now, publication), 1);
    world.drain();
    assert_eq!(
        (world.got(a).len(), world.got(b).len(), world.got(c).len()),
        (0, 0, 1)
    );
    world
        .hub
        .publish(world.now, Publication::new(Target::All, "all", None));
    world.drain();
    for id in [a, b, c] {
        assert_eq!(world.got(id), [r#"{"event":"all"}"#]);
    }
    world.say(a, r#"{"event":"CONNECT","data":{"namespace":"/chat"}}"#);
    assert_eq!(
        mask(&world.got(a)[0]),
        r#"{"event":"CONNECT_ACK","data":{"id":"<id>","namespace":"/chat"}}"#
    );
    assert_eq!(
        world.hub.publish(
            world.now,
            Publication::new(Target::Namespace("/chat".into()), "n", None)
        ),
        3
    );
}

#[test]
fn an_api_key_is_asked_for_and_compared() {
    let mut route = Route::smartsocket("/");
    route.auth = Auth::ApiKeys {
        keys: vec!["sk-1".into()],
        timeout: Duration::from_secs(5),
    };
    let mut world = World::new(vec![route]);
    let good = world.connect("/?apiKey=sk-1");
    assert!(world.hub.client(good).is_some());
    let bad = world.connect("/?apiKey=sk-2");
    assert!(world.got(bad)[0].starts_with("401"));
    let later = world.connect("/");
    world.say(later, r#"{"event":"CONNECT","data":{"apiKey":"sk-1"}}"#);
    assert!(world.hub.client(later).is_some());
    let wrong = world.connect("/");
    world.say(wrong, r#"{"event":"CONNECT","data":{"apiKey":"sk-2"}}"#);
    let got = world.got(wrong);
    assert_eq!(got.last().unwrap(), "close 4003 Authentication failed");
    let never = world.connect("/");
    world.say(never, r#"{"event":"x"}"#);
    let now = world.now + Duration::from_secs(5);
    world.pass(now);
    assert_eq!(
        world.got(never).last().unwrap(),
        "close 4001 Authentication timeout"
    );
}

#[test]
fn everybody_hears_of_the_end_once_and_nothing_is_left() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::CLOSED | Interest::OPENED;
    route.default_rooms = vec!["lobby".into()];
    let mut world = World::new(vec![route]);
    world.yes = false;
    let ids: Vec<_> = (0..50).map(|_| world.connect("/")).collect();
    assert_eq!(world.turns.len(), 50);
    let turns = std::mem::take(&mut world.turns);
    for turn in turns {
        world.decide(turn.allow());
    }
    world.hub.stop(world.now);
    world.drain();
    for &id in &ids {
        assert_eq!(world.got(id), ["close 1001 Server shutting down"]);
        world.feed(id, close_frame(Role::Server, 1001, ""));
    }
    assert_eq!(
        world
            .turns
            .iter()
            .filter(|turn| matches!(turn.step, Step::Closed(_)))
            .count(),
        50
    );
    assert!(world.hub.is_empty());
    assert_eq!(world.hub.rooms_in("/").len(), 0);
    assert!(world.hub.next_timeout().is_none() || world.hub.next_timeout() > Some(world.now));
}

#[test]
fn a_raw_route_fans_out_messages_as_they_are() {
    let mut sub = Route::raw("/sub");
    sub.default_rooms = vec!["all".into()];
    let mut pubs = Route::raw("/pub");
    pubs.interest = Interest::BINARY | Interest::EVENT;
    let mut world = World::new(vec![sub, pubs]);
    let (a, b) = (world.connect("/sub"), world.connect("/sub"));
    let publisher = world.connect("/pub");
    for id in [a, b] {
        world.got(id);
    }
    world.feed(publisher, frame(Role::Server, 2, [1, 2, 3]));
    let turn = world.turn();
    let Step::Binary(data) = &turn.step else {
        panic!()
    };
    let reached = world
        .hub
        .send_room(world.now, "/sub", "all", Message::binary(data.clone()));
    assert_eq!(reached, 2);
    world.decide(turn.allow());
    assert_eq!(
        (world.got(a), world.got(b)),
        (vec!["2 3 bytes".into()], vec!["2 3 bytes".into()])
    );
}

#[test]
fn heartbeats_of_smartsocket_are_events() {
    let mut route = Route::smartsocket("/");
    assert!(matches!(route.heartbeat, Heartbeat::Ping { .. }));
    route.websocket.ping_interval = None;
    let mut world = World::new(vec![route]);
    let id = world.connect("/");
    world.got(id);
    world.pass(ms(30_000));
    assert_eq!(
        world.got(id),
        [format!(
            r#"{{"event":"ping","data":{{"timestamp":{}}}}}"#,
            WALL + 30_000
        )]
    );
    world.say(
        id,
        &format!(
            r#"{{"event":"ping","data":{{"timestamp":{}}}}}"#,
            WALL + 30_000
        ),
    );
    assert_eq!(
        world.got(id),
        [""; 0],
        "a ping of ours that comes back is not answered"
    );
}

#[test]
fn what_a_client_sends_straight_back_is_no_event_and_costs_it_nothing() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::EVENT;
    route.rate = Some(smartsocket_core::RateLimit {
        max: 3,
        window: Duration::from_secs(5),
        ..Default::default()
    });
    let mut world = World::new(vec![route]);
    let id = world.connect("/");
    let client = world.client(id);
    // Even before it has said that it is one of those.
    for n in 0..200_u64 {
        let data = Some(Json::from(n));
        world.hub.emit(world.now, client, "early", data);
        world.drain();
    }
    world.say(id, r#"{"event":"connected"}"#);
    // So many may be on their way to a client of much to read.
    for n in 0..1_000_u64 {
        let data = Some(Json::from(n));
        world.hub.emit(world.now, client, "news", data);
        world.drain();
    }
    for text in world.got(id) {
        world.say(id, &text);
    }
    assert!(world.turns.is_empty() && world.got(id).is_empty());
    world.say(id, r#"{"event":"early","data":0}"#);
    assert_eq!(world.turns.len(), 1, "now it is its own");
}

#[test]
fn what_is_beyond_the_limit_is_not_even_inflated() {
    let mut route = Route::smartsocket("/");
    route.rate = Some(smartsocket_core::RateLimit {
        max: 2,
        window: Duration::from_secs(5),
        ..Default::default()
    });
    let mut world = World::new(vec![route]);
    let id = world.hub.accept(world.now, None).unwrap();
    world.sockets.insert(id, Socket::default());
    world.request(id, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    world.got(id);
    // Bytes that inflate to nothing but an error close a connection that is
    // within its limit, and are passed over on one that is beyond it.
    let good = compressed(Role::Server, 1, br#"{"event":"a"}"#);
    let bad = Raw::to(Role::Server, true, 1, [0xff; 20]).rsv(4).bytes();
    let mut bytes = [&good[..], &good].concat();
    for _ in 0..5 {
        bytes.extend(&bad);
    }
    bytes.extend(frame(Role::Server, 9, "still there"));
    world.feed(id, bytes);
    let got = world.got(id);
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(
        got.contains(&"10 11 bytes".into())
            && got.iter().any(|got| got.contains("__rate-limited__")),
        "{got:?}"
    );
    assert_eq!(
        world.hub.dropped(smartsocket_core::DropCause::RateLimited),
        5
    );
    assert_eq!(world.hub.received_messages(), 7);
    let later = world.now + Duration::from_secs(6);
    world.pass(later);
    world.feed(id, bad);
    assert!(
        world
            .got(id)
            .iter()
            .any(|got| got.starts_with("close 1007")),
        "within the limit it counts"
    );
}

#[test]
fn a_long_message_to_many_is_compressed_for_those_who_can_take_it() {
    let mut world = World::new(vec![Route::smartsocket("/")]);
    let plain = world.connect("/");
    let ids: Vec<_> = (0..3)
        .map(|_| {
            let id = world.hub.accept(world.now, None).unwrap();
            world.sockets.insert(id, Socket::default());
            world.request(id, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
            world.got(id);
            id
        })
        .collect();
    world.got(plain);
    let data = Json::string(&"long ".repeat(1_000));
    let publication = Publication::new(Target::All, "n", Some(data.clone()));
    world.hub.publish(world.now, publication);
    world.drain();
    let text = format!(r#"{{"event":"n","data":{data}}}"#);
    assert_eq!(world.got(plain), std::slice::from_ref(&text));
    let bytes: Vec<_> = ids
        .iter()
        .map(|id| world.sockets[id].bytes.clone())
        .collect();
    assert!(bytes[0].len() < 100 && bytes.iter().all(|other| *other == bytes[0]));
    let mut deflated = read_frame(&mut bytes[0].clone()).unwrap().payload;
    deflated.extend([0, 0, 0xff, 0xff]);
    let inflated = miniz_oxide::inflate::decompress_to_vec_with_limit(&deflated, 1 << 20);
    let inflated = inflated.unwrap_or_else(|end| end.output);
    // The stream does not end, so the buffer comes back whole.
    let inflated = String::from_utf8(inflated).unwrap();
    assert!(inflated.trim_end_matches('\0') == text);
}

#[test]
fn events_to_marked_clients_pass_the_application_in_order() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::OUTBOUND;
    let mut world = World::new(vec![route]);
    let (marked, other) = (world.connect("/"), world.connect("/"));
    world.hub.transform(marked);
    for n in 0..3_u64 {
        let publication = Publication::new(Target::All, "n", Some(Json::from(n)));
        assert_eq!(world.hub.publish(world.now, publication), 2);
    }
    world.drain();
    assert_eq!(world.got(other).len(), 3);
    assert_eq!(world.got(marked), [""; 0]);
    let mut turn = world.turn();
    if let Step::Outbound { event, data } = &mut turn.step {
        (*event, *data) = ("secret".into(), Some(Json::string("x")));
    }
    world.decide(turn.allow());
    let turn = world.turn();
    world.decide(turn.cancel(None));
    assert_eq!(world.got(marked), [r#"{"event":"secret","data":"x"}"#]);
    let turn = world.turn();
    world.pass(ms(30_000));
    world.decide(turn.allow());
    let got = world.got(marked);
    assert!(
        !got.iter().any(|got| got.contains("\"n\"")),
        "too late: {got:?}"
    );
    // What is no event of the application's stays readable.
    world.say(marked, r#"{"event":"CONNECT"}"#);
    assert!(
        world
            .got(marked)
            .iter()
            .any(|got| got.contains("CONNECT_ACK"))
    );
}

#[test]
fn a_disconnect_says_what_is_queued_first() {
    let mut world = World::new(vec![Route::smartsocket("/")]);
    let id = world.connect("/");
    world.got(id);
    let client = world.client(id);
    world
        .hub
        .emit(world.now, client, Utf8Bytes::from_static("bye"), None);
    world
        .hub
        .disconnect(world.now, client, CloseCode::NORMAL, "");
    world.drain();
    assert_eq!(world.got(id), [r#"{"event":"bye"}"#, "close 1000 "]);
}

#[test]
fn what_waits_when_a_connection_ends_is_counted() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::OUTBOUND;
    let mut world = World::new(vec![route]);
    let (slow, changed) = (world.connect("/"), world.connect("/"));
    world.sockets.get_mut(&slow).unwrap().takes = Some(0);
    world.hub.transform(changed);
    for id in [slow, changed] {
        let client = world.client(id);
        for n in 0..5 {
            let long = if n == 0 { 70_000 } else { 1 };
            let data = Json::string(&"x".repeat(long));
            world.hub.emit(world.now, client, "e", Some(data));
            world.drain();
        }
    }
    assert_eq!(
        world.turns.len(),
        1,
        "the first of five passes the application"
    );
    world.hub.handle_fault(world.now, slow, Fault::Reset);
    world.drain();
    assert_eq!(world.hub.dropped(DropCause::Closed), 4);
    world.hub.handle_fault(world.now, changed, Fault::Reset);
    world.drain();
    assert_eq!(world.hub.dropped(DropCause::Closed), 4 + 5);
}

#[test]
fn who_does_not_read_its_answers_is_not_served_on_and_loses_nothing() {
    /// Answers all that is asked, with much.
    fn answer(world: &mut World, answered: &mut usize) {
        let long = Json::string(&"x".repeat(20_000));
        while let Some(mut turn) = world.turns.pop() {
            if let Step::Event(event) = &mut turn.step {
                let ticket = event.ack.take().unwrap();
                world.hub.acknowledge(world.now, ticket, &long);
                *answered += 1;
            }
            world.hub.decide(world.now, turn.allow());
            world.drain();
        }
    }
    let mut route = Route::smartsocket("/");
    route.rate = None;
    route.interest = Interest::EVENT;
    route.outbox.max_messages = 10;
    for ends in [false, true] {
        let mut world = World::new(vec![route.clone()]);
        let id = world.connect("/");
        world.got(id);
        world.sockets.get_mut(&id).unwrap().takes = Some(0);
        let (mut asked, mut answered) = (0, 0);
        while !world.sockets[&id].paused {
            world.say(
                id,
                &format!(r#"{{"event":"e","data":1,"ackId":"{asked}"}}"#),
            );
            answer(&mut world, &mut answered);
            asked += 1;
            assert!(asked < 200, "it goes on asking, and is not stopped");
        }
        // What is on the wire, and ten that wait.
        assert_eq!(answered, 4 + 10);
        if ends {
            world.hub.handle_eof(world.now, id);
            world.drain();
        }
        world.sockets.get_mut(&id).unwrap().takes = None;
        world.write(id);
        world.drain();
        while !world.turns.is_empty() {
            answer(&mut world, &mut answered);
        }
        assert_eq!(answered, asked);
        let got = world.got(id);
        for (n, got) in got.iter().enumerate() {
            assert!(got.contains(&format!(r#""{n}""#)), "{n}: {got:.60}");
        }
        assert_eq!(got.len(), asked);
        assert!(!world.sockets[&id].paused || ends);
    }
}
