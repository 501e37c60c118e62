use alloc::format;
use alloc::string::String;
use alloc::vec;

use proptest::prelude::*;

use super::super::object::tests::any_json;
use super::super::{
    AckId, AckKey, Action, Dialect, Header, HeaderFailure, IncomingEvent, Memory, PeerBinary,
};
use super::*;
use crate::error_code::ErrorCode;
use crate::json::{MAX_DEPTH, MAX_NODES};

const CONTEXT: Context<'_> = Context {
    unix_ms: 1_795_219_809_893,
    timestamp: "2026-11-21T00:10:09.893Z",
    binary: PeerBinary::None,
};

const INVALID: Incoming = Incoming::Invalid(Failure::InvalidMessage);

fn decoded(text: &str) -> Incoming {
    let mut memory = Memory::default();
    let incoming = Dialect::Ignis.decode(&mut memory, Message::text(text));
    let binary = Message::binary(text.as_bytes().to_vec());
    assert_eq!(Dialect::Ignis.decode(&mut memory, binary), incoming);
    incoming
}

fn encoded(what: &Outgoing<'_>) -> Option<String> {
    let mut messages = Dialect::Ignis.encode(CONTEXT, what);
    assert!(messages.len() <= 1);
    let message = messages.pop()?;
    Some(message.as_text().expect("text").into())
}

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn event(name: &str, data: Option<&str>) -> Incoming {
    Incoming::Event(IncomingEvent {
        name: name.into(),
        data: data.map(json),
        ack: None,
        raw: None,
    })
}

fn names(names: &[&str]) -> Vec<Utf8Bytes> {
    names.iter().map(|name| Utf8Bytes::from(*name)).collect()
}

#[test]
fn a_client_speaks_as_ignis_expects_it() {
    for (text, expected) in [
        (r#"{"event":"heartbeat"}"#, Incoming::Heartbeat),
        (r#"{"event":"heartbeat","data":1}"#, Incoming::Heartbeat),
        (
            r#"{"event":"authenticate","data":{"token":"ok"}}"#,
            Incoming::Authenticate(json(r#"{"token":"ok"}"#)),
        ),
        (
            r#"{"event":"authenticate"}"#,
            Incoming::Authenticate(Json::EMPTY),
        ),
        (
            r#"{"event":"authenticate","data":null}"#,
            Incoming::Authenticate(Json::EMPTY),
        ),
        (
            r#"{"event":"authenticate","data":"t"}"#,
            Incoming::Authenticate(json("\"t\"")),
        ),
        (
            r#"{"event":"join","data":{"rooms":["r1","deny","ws:x"]}}"#,
            Incoming::Join(names(&["r1", "deny"])),
        ),
        (
            r#"{"event":"leave","data":{"rooms":["r1"]}}"#,
            Incoming::Leave(names(&["r1"])),
        ),
        (r#"{"event":"foo"}"#, event("foo", None)),
        (r#"{"event":"foo","data":null}"#, event("foo", Some("null"))),
        (
            r#"{"id":"7","data":{"y" : 2.50},"event":"room-ev"}"#,
            event("room-ev", Some(r#"{"y" : 2.50}"#)),
        ),
        (
            " {\"\\u0065vent\" : \"f\\u00f6\\n\", \"data\":[]}\n",
            event("fö\n", Some("[]")),
        ),
        // Names of the server's are no more than names here.
        (r#"{"event":"connected"}"#, event("connected", None)),
        (r#"{"event":"disconnect"}"#, event("disconnect", None)),
        (r#"{"event":"error"}"#, event("error", None)),
        (
            r#"{"event":"encrypted","data":{"iv":"","ct":""}}"#,
            event("encrypted", Some(r#"{"iv":"","ct":""}"#)),
        ),
        (r#"{"event":"Heartbeat"}"#, event("Heartbeat", None)),
    ] {
        assert_eq!(decoded(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_message_is_answered_and_what_names_no_event_is_not() {
    for text in [
        "",
        "notjson",
        "null",
        "5",
        "\"heartbeat\"",
        "[\"heartbeat\"]",
        "[]",
        "{",
        "{\"event\":\"heartbeat\"} {}",
        "{'event':'heartbeat'}",
        // Said twice: of two readers each could take another.
        r#"{"event":"heartbeat","event":"join"}"#,
        r#"{"event":"a","data":1,"\u0064ata":2}"#,
    ] {
        assert_eq!(decoded(text), INVALID, "{text}");
    }
    for text in [
        "{}",
        r#"{"noevent":1}"#,
        r#"{"event":""}"#,
        r#"{"event":null}"#,
        r#"{"event":0}"#,
        r#"{"event":true}"#,
        r#"{"event":{"toString":1}}"#,
        r#"{"event":["join"]}"#,
        // Half a pair of surrogates is no text.
        r#"{"event":"\ud800"}"#,
        r#"{"Event":"heartbeat"}"#,
        r#"{"__proto__":{"event":"join"}}"#,
    ] {
        assert_eq!(decoded(text), Incoming::Nothing, "{text}");
    }
    let mut memory = Memory::default();
    for bytes in [&b"\xff"[..], b"{\"event\":\"\xed\xa0\x80\"}", b"\xe2\x82"] {
        let message = Message::from(bytes);
        assert_eq!(Dialect::Ignis.decode(&mut memory, message), INVALID);
    }
}

#[test]
fn json_beyond_the_bounds_is_no_message() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        decoded(&format!("{{\"event\":\"e\",\"data\":{open}{close}}}"))
    };
    assert!(matches!(nested(MAX_DEPTH - 1), Incoming::Event(_)));
    assert_eq!(nested(MAX_DEPTH), INVALID);
    assert_eq!(nested(100_000), INVALID);
    let wide = format!("{{\"event\":\"e\",\"data\":[{}1]}}", "1,".repeat(MAX_NODES));
    assert_eq!(decoded(&wide), INVALID);
}

#[test]
fn names_of_rooms_are_filtered() {
    let joins = |rooms: &str| decoded(&format!(r#"{{"event":"join","data":{{"rooms":{rooms}}}}}"#));
    let long = "é".repeat(MAX_ROOM_NAME);
    let emoji = "😀".repeat(MAX_ROOM_NAME / 2);
    for (rooms, expected) in [
        ("[]", vec![]),
        (
            r#"["a","","ws:","ws:room:a","WS:a"," ws:a","a"]"#,
            vec!["a", "WS:a", " ws:a", "a"],
        ),
        (
            r#"[1,null,["a"],{"length":3},true,"\ud800","\u0062"]"#,
            vec!["b"],
        ),
        (r#"["\u0077s:x","w\u0073:y"]"#, vec![]),
        (&format!("[\"{long}\",\"{long}a\"]"), vec![&*long]),
        (&format!("[\"{emoji}\",\"{emoji}a\"]"), vec![&*emoji]),
        (r#""a""#, vec![]),
        (r#"{"0":"a","length":1}"#, vec![]),
        ("null", vec![]),
        ("1", vec![]),
    ] {
        assert_eq!(joins(rooms), Incoming::Join(names(&expected)), "{rooms}");
    }
    for data in [
        "",
        r#","data":null"#,
        r#","data":["r"]"#,
        r#","data":[["r"]]"#,
        r#","data":"r""#,
        r#","data":{"room":"r"}"#,
        r#","data":{"rooms":["r"],"rooms":["r"]}"#,
    ] {
        let message = |event| format!("{{\"event\":\"{event}\"{data}}}");
        assert_eq!(decoded(&message("join")), Incoming::Join(vec![]), "{data}");
        // Not `Leave` of none, which is to leave the only room there is.
        assert_eq!(decoded(&message("leave")), Incoming::Nothing, "{data}");
    }
}

#[test]
fn of_very_many_rooms_the_first_are_looked_at() {
    let rooms: Vec<String> = (0..MAX_ROOMS + 1).map(|n| format!("\"{n}\"")).collect();
    let text = format!(
        "{{\"event\":\"join\",\"data\":{{\"rooms\":[{}]}}}}",
        rooms.join(",")
    );
    let Incoming::Join(rooms) = decoded(&text) else {
        panic!("no join");
    };
    assert_eq!(rooms.len(), MAX_ROOMS);
    assert_eq!(rooms.last().unwrap(), "999");
    let late = "0,".repeat(MAX_ROOMS) + "\"r\"";
    let text = format!("{{\"event\":\"join\",\"data\":{{\"rooms\":[{late}]}}}}");
    assert_eq!(decoded(&text), Incoming::Join(vec![]));
}

#[test]
fn data_and_event_are_parts_of_the_message_and_rooms_are_not() {
    let within = |message: &Message, part: &str| {
        let range = message.as_bytes().as_ptr_range();
        range.contains(&part.as_ptr())
    };
    let message = Message::text(String::from(r#"{"event":"e","data":{"rooms":["r"]}}"#));
    let Incoming::Event(event) = super::decode(message.clone()) else {
        panic!("no event");
    };
    assert!(within(&message, &event.name));
    assert!(within(&message, event.data.unwrap().as_str()));
    let message = Message::text(String::from(r#"{"event":"join","data":{"rooms":["r"]}}"#));
    let Incoming::Join(rooms) = super::decode(message.clone()) else {
        panic!("no join");
    };
    assert!(!within(&message, &rooms[0]));
}

#[test]
fn the_server_speaks_as_ignis_does() {
    let data = json(r#"{"y":2}"#);
    let raw = Message::text("as it is");
    for (what, expected) in [
        (
            Outgoing::Event {
                name: "room-ev",
                data: Some(&data),
                ack: None,
            },
            r#"{"event":"room-ev","data":{"y":2}}"#,
        ),
        (
            Outgoing::Event {
                name: "n",
                data: Some(&Json::NULL),
                ack: Some(AckKey(1)),
            },
            r#"{"event":"n","data":null}"#,
        ),
        (
            Outgoing::Event {
                name: "a\"b",
                data: None,
                ack: None,
            },
            r#"{"event":"a\"b"}"#,
        ),
        (
            Outgoing::Welcome {
                connection_id: "9c8",
                client_id: "c",
                user_id: Some("u1"),
                path: "/ws",
                encryption: None,
            },
            r#"{"event":"connected","data":{"id":"9c8","userId":"u1","time":"2026-11-21T00:10:09.893Z"}}"#,
        ),
        (
            Outgoing::Welcome {
                connection_id: "9c8",
                client_id: "c",
                user_id: None,
                path: "/ws",
                encryption: None,
            },
            r#"{"event":"connected","data":{"id":"9c8","time":"2026-11-21T00:10:09.893Z"}}"#,
        ),
        (
            Outgoing::RoomMessage {
                room: "r",
                text: "hi",
                from: Some("c"),
            },
            r#"{"event":"room_message","data":{"room":"r","message":"hi","from":"c"}}"#,
        ),
        (
            Outgoing::RoomMessage {
                room: "r",
                text: "hi",
                from: None,
            },
            r#"{"event":"room_message","data":{"room":"r","message":"hi"}}"#,
        ),
        (
            Outgoing::Direct {
                text: "psst",
                from: "c",
            },
            r#"{"event":"direct_message","data":{"message":"psst","from":"c"}}"#,
        ),
        (
            Outgoing::Blocked {
                raw: "{}",
                reason: "Spam detected",
            },
            r#"{"event":"error","data":{"message":"Spam detected"}}"#,
        ),
        (
            Outgoing::RateLimited {
                code: ErrorCode::RateLimit,
                retry_after_ms: 5_000,
            },
            r#"{"event":"error","data":{"message":"Too many requests, please slow down","retryAfter":5000}}"#,
        ),
        (Outgoing::Raw(&raw), "as it is"),
    ] {
        assert_eq!(encoded(&what).as_deref(), Some(expected), "{what:?}");
    }
}

#[test]
fn failures_are_errors_with_a_message() {
    let header = HeaderFailure {
        code: "MALFORMED_MESSAGE",
        message: "Invalid action: foo".into(),
        details: None,
        about: None,
    };
    for (failure, expected) in [
        (Failure::InvalidMessage, "Invalid message format"),
        (Failure::NotAuthenticated, "Not authenticated"),
        (Failure::AlreadyAuthenticated, "Already authenticated"),
        (Failure::AuthenticationFailed, "Authentication failed"),
        (Failure::AuthenticationError, "Authentication error"),
        (Failure::Decompress, "Decompression failed"),
        (Failure::TooLong, "Message too large"),
        (Failure::UnknownNamespace, "Invalid namespace"),
        (Failure::InvalidApiKey, "Invalid API key"),
        (Failure::RoomJoin, "Failed to join room"),
        (Failure::RoomFull, "Room is full"),
        (Failure::ClientNotFound("x".into()), "Client x not found"),
        (Failure::InvalidDirect, "Invalid direct message format"),
        (Failure::UnknownAck, "Message not found"),
        (Failure::Refused("no spam".into()), "no spam"),
        (Failure::Handler, "Internal server error"),
        (Failure::Header(header.into()), "Invalid action: foo"),
    ] {
        assert_eq!(
            encoded(&Outgoing::Error(&failure)).unwrap(),
            format!("{{\"event\":\"error\",\"data\":{{\"message\":\"{expected}\"}}}}")
        );
    }
}

#[test]
fn what_ignis_has_no_words_for_is_not_said() {
    let header = Header {
        action: Action::Publish,
        topic: "t".into(),
        version: "1.0.0".into(),
        request_id: None,
        parent_request_id: None,
        timeout: None,
        error: false,
    };
    for what in [
        Outgoing::Ack {
            id: &AckId::TopLevel(Json::NULL),
            data: &Json::NULL,
        },
        Outgoing::Ping,
        Outgoing::Pong { latency_ms: None },
        Outgoing::RoomJoined { room: "r" },
        Outgoing::RoomLeft { room: "r" },
        Outgoing::MessageAck { raw: "{}" },
        Outgoing::Broker {
            header: &header,
            payload: &Json::NULL,
        },
    ] {
        assert_eq!(encoded(&what), None, "{what:?}");
    }
}

proptest! {
    #[test]
    fn an_event_comes_back_as_it_went(name in ".{1,20}", data in proptest::option::of(any_json())) {
        prop_assume!(!Event::is_valid(&name));
        let what = Outgoing::Event { name: &name, data: data.as_ref(), ack: None };
        let text = encoded(&what).unwrap();
        prop_assert_eq!(decoded(&text), event(&name, data.as_ref().map(Json::as_str)));
    }

    #[test]
    fn rooms_arrive_as_a_client_sends_them(rooms: Vec<String>) {
        let data = serde_json::json!({ "event": "join", "data": { "rooms": &rooms } });
        let expected = rooms.iter().filter(|room| !room.is_empty() && !room.starts_with("ws:"));
        let expected = expected.filter(|room| room.encode_utf16().count() <= 256);
        let expected = expected.map(|room| room.as_str().into()).collect();
        prop_assert_eq!(decoded(&format!("{data}")), Incoming::Join(expected));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let message = Message::from(bytes);
        prop_assert!(matches!(super::decode(message), INVALID | Incoming::Nothing));
    }

    #[test]
    fn no_field_of_any_kind_panics(
        event in any_json(),
        data in any_json(),
        key in "event|data|id|rooms|x",
    ) {
        let text = format!("{{\"event\":{event},\"{key}\":{data}}}");
        let twice = key == "event";
        let named = event.to_text().is_some_and(|name| !name.is_empty());
        prop_assert_eq!(decoded(&text) == INVALID, twice);
        prop_assert_eq!(decoded(&text) == Incoming::Nothing, !twice && !named);
    }
}
