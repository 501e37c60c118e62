use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::object::tests::any_json;
use super::super::{
    AckId, AckKey, Action, Dialect, Header, HeaderFailure, IncomingEvent, Memory, PeerBinary,
};
use super::*;
use crate::error_code::ErrorCode;
use crate::json::{MAX_DEPTH, MAX_NODES};

const CONTEXT: Context<'_> = Context {
    unix_ms: 1_704_067_200_000,
    timestamp: "2024-01-01T00:00:00.000Z",
    binary: PeerBinary::None,
};

const INVALID: Incoming = Incoming::Invalid(Failure::InvalidMessage);

fn decoded(text: &str) -> Incoming {
    Dialect::RNode.decode(&mut Memory::default(), Message::text(text))
}

fn encoded(what: &Outgoing<'_>) -> Option<String> {
    let mut messages = Dialect::RNode.encode(CONTEXT, what);
    assert!(messages.len() <= 1);
    let message = messages.pop()?;
    Some(message.as_text().expect("text").into())
}

fn event(name: &str, data: Option<&str>, raw: &str) -> Incoming {
    Incoming::Event(IncomingEvent {
        name: name.into(),
        data: data.map(|data| Json::parse(data).unwrap()),
        ack: None,
        raw: Some(raw.into()),
    })
}

fn to_room(room: Option<&str>, text: &str) -> Incoming {
    Incoming::ToRoom {
        room: room.map(Into::into),
        text: text.into(),
    }
}

/// What the published client was heard to send.
#[test]
fn the_real_client_is_understood() {
    let message = r#"{"type":"message","data":"hi","timestamp":"2026-11-21T00:10:09.893Z","room_id":"room_1"}"#;
    let pong = r#"{"type":"pong","data":{"timestamp":"2026-11-21T00:10:09.893Z"},"timestamp":"2026-11-21T00:10:09.893Z"}"#;
    for (text, expected) in [
        (message, event("message", Some("\"hi\""), message)),
        (
            r#"{"type":"room_message","data":"hello","timestamp":"2026-11-21T00:10:09.893Z","room_id":"room_1"}"#,
            to_room(Some("room_1"), "hello"),
        ),
        (
            r#"{"type":"direct_message","data":"dm","timestamp":"2026-11-21T00:10:09.893Z","target_client_id":"other"}"#,
            Incoming::Direct {
                to: "other".into(),
                text: "dm".into(),
            },
        ),
        (
            r#"{"type":"join_room","room_id":"room_1","timestamp":"2026-11-21T00:10:09.893Z"}"#,
            Incoming::Join(vec!["room_1".into()]),
        ),
        (
            r#"{"type":"leave_room","room_id":"room_1","timestamp":"2026-11-21T00:10:09.893Z"}"#,
            Incoming::Leave(vec!["room_1".into()]),
        ),
        (
            pong,
            Incoming::Pong {
                sent_ms: None,
                raw: Some(pong.into()),
            },
        ),
        (r#"{"type":"ping"}"#, Incoming::Ping),
    ] {
        assert_eq!(decoded(text), expected, "{text}");
    }
}

#[test]
fn a_room_message_is_said_in_three_ways() {
    for (rest, expected) in [
        (r#""message":"m","data":"d""#, to_room(None, "m")),
        (r#""message":1,"data":"d""#, to_room(None, "d")),
        (r#""data":{"message":"n"}"#, to_room(None, "n")),
        (
            r#""room_id":"","data":{"x":1,"\u006dessage":"\u00e9"}"#,
            to_room(Some(""), "é"),
        ),
        (r#""room_id":null,"data":"""#, to_room(None, "")),
        (r#""room_id":7,"data":"d""#, to_room(None, "d")),
        (r#""room_id":"r""#, Incoming::Nothing),
        (r#""data":["m"]"#, Incoming::Nothing),
        (r#""data":{"message":{"message":"m"}}"#, Incoming::Nothing),
        (r#""data":{"message":"m","message":"m"}"#, Incoming::Nothing),
        (r#""data":null,"message":null"#, Incoming::Nothing),
    ] {
        let text = format!("{{\"type\":\"room_message\",{rest}}}");
        assert_eq!(decoded(&text), expected, "{text}");
    }
}

#[test]
fn what_lacks_a_part_is_refused_in_the_words_for_it() {
    for (text, expected) in [
        (
            r#"{"type":"direct_message","data":"dm"}"#,
            Incoming::Invalid(Failure::InvalidDirect),
        ),
        (
            r#"{"type":"direct_message","target_client_id":"c"}"#,
            Incoming::Invalid(Failure::InvalidDirect),
        ),
        (
            r#"{"type":"direct_message","target_client_id":"c","data":{"message":"m"}}"#,
            Incoming::Invalid(Failure::InvalidDirect),
        ),
        (
            r#"{"type":"direct_message","target_client_id":"c","message":"m"}"#,
            Incoming::Invalid(Failure::InvalidDirect),
        ),
        (
            r#"{"type":"direct_message","target_client_id":null,"data":"dm"}"#,
            Incoming::Invalid(Failure::InvalidDirect),
        ),
        (
            r#"{"type":"join_room"}"#,
            Incoming::Invalid(Failure::RoomJoin),
        ),
        (
            r#"{"type":"join_room","room_id":["r"]}"#,
            Incoming::Invalid(Failure::RoomJoin),
        ),
        (r#"{"type":"leave_room"}"#, Incoming::Leave(vec![])),
        (
            r#"{"type":"leave_room","room_id":null}"#,
            Incoming::Leave(vec![]),
        ),
    ] {
        assert_eq!(decoded(text), expected, "{text}");
    }
}

#[test]
fn every_other_type_is_an_event_that_can_be_acknowledged() {
    for (text, name, data) in [
        ("{}", "", None),
        (" {\"data\" : [1 ,2]}\n", "", Some("[1 ,2]")),
        (r#"{"type":7,"data":null}"#, "", Some("null")),
        (r#"{"type":null}"#, "", None),
        (r#"{"type":"\ud800"}"#, "", None),
        (r#"{"type":"message"}"#, "message", None),
        (r#"{"type":"\u0070\u006Fke"}"#, "poke", None),
        (r#"{"type":"Ping"}"#, "Ping", None),
        (r#"{"type":"welcome","data":{}}"#, "welcome", Some("{}")),
        (r#"{"type":"message_ack"}"#, "message_ack", None),
    ] {
        assert_eq!(decoded(text), event(name, data, text), "{text}");
    }
}

#[test]
fn what_is_no_message_is_met_with_silence() {
    let deep = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    for text in [
        "",
        "hello",
        "null",
        "\"ping\"",
        "[\"ping\"]",
        "{\"type\":\"ping\"",
        "{\"type\":\"ping\"},",
        r#"{"type":"ping","type":"pong"}"#,
        &format!("{{\"type\":\"x\",\"data\":{deep}}}"),
        &format!("{{\"type\":\"x\",\"data\":[{}1]}}", "1,".repeat(MAX_NODES)),
    ] {
        assert_eq!(decoded(text), INVALID, "{text:.80}");
    }
    let said = encoded(&Outgoing::Error(&Failure::InvalidMessage));
    assert_eq!(said, None);
}

#[test]
fn binary_messages_are_the_applications() {
    for bytes in [&b""[..], b"\xff\x00", br#"{"type":"ping"}"#] {
        let incoming = Dialect::RNode.decode(&mut Memory::default(), Message::from(bytes));
        assert_eq!(incoming, Incoming::Binary(bytes.to_vec().into()));
    }
}

#[test]
fn the_server_speaks_as_rnode_does() {
    let data = Json::parse(r#"{"y":2}"#).unwrap();
    for (what, expected) in [
        (
            Outgoing::Welcome {
                connection_id: "9c8",
                client_id: "my id",
                user_id: None,
                path: "/chat",
                encryption: None,
            },
            r#"{"type":"welcome","connection_id":"9c8","client_id":"my id","path":"/chat","timestamp":T}"#,
        ),
        (Outgoing::Ping, r#"{"type":"ping","timestamp":T}"#),
        (
            Outgoing::Pong { latency_ms: None },
            r#"{"type":"pong","timestamp":T}"#,
        ),
        (
            Outgoing::Pong {
                latency_ms: Some(15),
            },
            r#"{"type":"pong","latency":15,"timestamp":T}"#,
        ),
        (
            Outgoing::RoomJoined { room: "room_1" },
            r#"{"type":"room_joined","room_id":"room_1","timestamp":T}"#,
        ),
        (
            Outgoing::RoomLeft { room: "room_1" },
            r#"{"type":"room_left","room_id":"room_1","timestamp":T}"#,
        ),
        (
            Outgoing::RoomMessage {
                room: "room_1",
                text: "hello",
                from: Some("c"),
            },
            r#"{"type":"room_message","room_id":"room_1","message":"hello","from_client_id":"c","timestamp":T}"#,
        ),
        (
            Outgoing::RoomMessage {
                room: "room_1",
                text: "a\nb",
                from: None,
            },
            r#"{"type":"room_message","room_id":"room_1","message":"a\nb","timestamp":T}"#,
        ),
        (
            Outgoing::Direct {
                text: "dm",
                from: "c",
            },
            r#"{"type":"direct_message","message":"dm","from_client_id":"c","timestamp":T}"#,
        ),
        (
            Outgoing::MessageAck {
                raw: r#"{"type":"pong"}"#,
            },
            r#"{"type":"message_ack","message":"{\"type\":\"pong\"}","timestamp":T}"#,
        ),
        (
            Outgoing::Blocked {
                raw: r#"{"data":"x"}"#,
                reason: "Spam detected",
            },
            r#"{"type":"message_blocked","originalMessage":"{\"data\":\"x\"}","reason":"Spam detected","timestamp":T}"#,
        ),
        (
            Outgoing::RateLimited {
                code: ErrorCode::EventRateLimit,
                retry_after_ms: 5_000,
            },
            r#"{"type":"error","error_type":"rate_limited","error":"Too many requests, please slow down","retry_after":5000,"timestamp":T}"#,
        ),
        (
            Outgoing::Event {
                name: "news",
                data: Some(&data),
                ack: Some(AckKey(1)),
            },
            r#"{"type":"news","data":{"y":2},"timestamp":T}"#,
        ),
        (
            Outgoing::Event {
                name: "news",
                data: None,
                ack: None,
            },
            r#"{"type":"news","timestamp":T}"#,
        ),
    ] {
        let expected = expected.replace(":T}", ":\"2024-01-01T00:00:00.000Z\"}");
        assert_eq!(encoded(&what), Some(expected), "{what:?}");
    }
}

#[test]
fn failures_have_a_type_and_a_sentence() {
    let header = HeaderFailure {
        code: "MALFORMED_MESSAGE",
        message: "Invalid action: foo".into(),
        details: None,
        about: None,
    };
    let validation = "validation_error";
    for (failure, kind, text) in [
        (Failure::RoomJoin, "room_join_error", "Failed to join room"),
        (Failure::RoomFull, "room_full", "Room is full"),
        (
            Failure::ClientNotFound("a\"b".into()),
            "client_not_found",
            "Client a\\\"b not found",
        ),
        (
            Failure::InvalidDirect,
            "invalid_format",
            "Invalid direct message format",
        ),
        (Failure::Refused("no spam".into()), validation, "no spam"),
        (
            Failure::AuthenticationFailed,
            "unauthorized",
            "Unauthorized client",
        ),
        (
            Failure::NotAuthenticated,
            "unauthorized",
            "Not authenticated",
        ),
        (Failure::InvalidApiKey, "unauthorized", "Invalid API key"),
        (
            Failure::AuthenticationError,
            "server_error",
            "Authentication error",
        ),
        (Failure::Handler, "server_error", "Internal server error"),
        (Failure::TooLong, validation, "Message too large"),
        (Failure::Decompress, validation, "Decompression failed"),
        (Failure::UnknownNamespace, validation, "Invalid namespace"),
        (
            Failure::AlreadyAuthenticated,
            validation,
            "Already authenticated",
        ),
        (Failure::UnknownAck, validation, "Message not found"),
        (
            Failure::Header(header.into()),
            validation,
            "Invalid action: foo",
        ),
    ] {
        assert_eq!(
            encoded(&Outgoing::Error(&failure)).unwrap(),
            format!(
                "{{\"type\":\"error\",\"error_type\":\"{kind}\",\"error\":\"{text}\",\
                 \"timestamp\":\"2024-01-01T00:00:00.000Z\"}}"
            )
        );
    }
}

#[test]
fn messages_go_as_they_are_and_acks_and_brokers_not_at_all() {
    let header = Header {
        action: Action::Publish,
        topic: "t".into(),
        version: "1.0.0".into(),
        request_id: None,
        parent_request_id: None,
        timeout: None,
        error: false,
    };
    let raw = Message::binary(vec![1, 2]);
    let sent = Dialect::RNode.encode(CONTEXT, &Outgoing::Raw(&raw));
    assert_eq!(sent, [raw]);
    let ack = Outgoing::Ack {
        id: &AckId::TopLevel(Json::NULL),
        data: &Json::NULL,
    };
    assert_eq!(encoded(&ack), None);
    let broker = Outgoing::Broker {
        header: &header,
        payload: &Json::NULL,
    };
    assert_eq!(encoded(&broker), None);
}

const TYPES: &str = "message|room_message|direct_message|join_room|leave_room|ping|pong|news||type";

proptest! {
    #[test]
    fn an_acknowledgement_has_the_message_verbatim(raw: String) {
        let text = encoded(&Outgoing::MessageAck { raw: &raw }).unwrap();
        let ack: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&ack["type"], "message_ack");
        prop_assert_eq!(&ack["message"], &raw);
    }

    #[test]
    fn an_event_comes_back_as_it_went(name in "[^_]{0,20}", data in proptest::option::of(any_json())) {
        prop_assume!(!["ping", "pong"].contains(&&*name));
        let what = Outgoing::Event { name: &name, data: data.as_ref(), ack: None };
        let text = encoded(&what).unwrap();
        prop_assert_eq!(decoded(&text), event(&name, data.as_ref().map(Json::as_str), &text));
    }

    #[test]
    fn words_arrive_as_a_client_sends_them(room: String, to: String, said: String) {
        let text = format!("{}", serde_json::json!({ "type": "room_message", "room_id": &room, "data": &said }));
        prop_assert_eq!(decoded(&text), to_room(Some(&room), &said));
        let text = format!("{}", serde_json::json!({ "type": "direct_message", "target_client_id": &to, "data": &said }));
        prop_assert_eq!(decoded(&text), Incoming::Direct { to: to.into(), text: said.into() });
        let text = format!("{}", serde_json::json!({ "room_id": &room, "type": "join_room" }));
        prop_assert_eq!(decoded(&text), Incoming::Join(vec![room.into()]));
    }

    #[test]
    fn no_text_panics(text: String, bytes: Vec<u8>) {
        prop_assert!(matches!(decoded(&text), INVALID | Incoming::Event(_)));
        let binary = Incoming::Binary(bytes.clone().into());
        prop_assert_eq!(super::decode(Message::from(bytes)), binary);
    }

    #[test]
    fn fields_of_any_kind_mean_something(
        kind in TYPES,
        fields in proptest::collection::vec(("data|message|room_id|target_client_id|x", any_json()), 0..4),
    ) {
        let field = |(key, value): &(String, Json)| format!(",\"{key}\":{value}");
        let rest: String = fields.iter().map(field).collect();
        let text = format!("{{\"type\":\"{kind}\"{rest}}}");
        let known = fields.iter().map(|(key, _)| key).filter(|key| *key != "x");
        let mut known: Vec<_> = known.collect();
        known.sort();
        let twice = known.windows(2).any(|pair| pair[0] == pair[1]);
        prop_assert_eq!(decoded(&text) == INVALID, twice);
    }
}
