use alloc::vec;
use alloc::vec::Vec;

use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::dialect::PeerBinary;
use crate::dialect::object::tests::any_json;
use crate::error_code::ErrorCode;

const ID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
/// The one of MB's documents, which is not random.
const OTHER: &str = "123e4567-e89b-12d3-a456-426614174000";
const CONTEXT: Context<'_> = Context {
    unix_ms: 1_795_219_809_893,
    timestamp: "2026-11-21T00:10:09.893Z",
    binary: PeerBinary::None,
};

fn said_by(message: impl Into<Message>) -> (Header, Json) {
    let heard = decode(message.into());
    let Incoming::Broker(header, payload) = heard else {
        panic!("{heard:?}");
    };
    (header, payload)
}

/// What the broker answers to what is no message.
fn answer(message: impl Into<Message>) -> String {
    let heard = decode(message.into());
    let Incoming::Invalid(failure) = heard else {
        panic!("{heard:?}");
    };
    text(&Outgoing::Error(&failure))
}

fn text(what: &Outgoing<'_>) -> String {
    let message = encode(CONTEXT, what).unwrap();
    message.as_text().unwrap().into()
}

fn error(header: &str, code: &str, message: &str, details: &str) -> String {
    format!(
        "{header}\n{{\"error\":{{\"code\":\"{code}\",\"message\":\"{message}\",\
         \"timestamp\":\"2026-11-21T00:10:09.893Z\"{details}}}}}"
    )
}

#[test]
fn a_line_has_up_to_six_parts() {
    let full = Header {
        action: Action::Request,
        topic: "svc.do".into(),
        version: "1.0.0".into(),
        request_id: None,
        parent_request_id: None,
        timeout: None,
        error: false,
    };
    let with = |change: fn(&mut Header)| {
        let mut header = full.clone();
        change(&mut header);
        header
    };
    let (id, other) = (|| Some(ID.into()), || Some(OTHER.into()));
    for (line, expected) in [
        ("request:svc.do:1.0.0", full.clone()),
        ("REQUEST:Svc.DO:1.0.0", full.clone()),
        ("Request:svc.do:1.0.0:", full.clone()),
        ("request:svc.do:1.0.0:::", full.clone()),
        (
            "request:svc.do:1.0.0:::5000",
            with(|h| h.timeout = Some(5_000)),
        ),
        ("request:svc.do:1.0.0:::1", with(|h| h.timeout = Some(1))),
        (
            "request:svc.do:1.0.0:::3600000",
            with(|h| h.timeout = Some(3_600_000)),
        ),
        ("publish:svc.do:1.0.0", with(|h| h.action = Action::Publish)),
        ("request:svc.do:1.0", with(|h| h.version = "1.0".into())),
        (
            "request:svc.do:1.0.0-rc.1+b",
            with(|h| h.version = "1.0.0-rc.1+b".into()),
        ),
        (
            &format!("request:svc.do:1.0.0:{ID}"),
            Header {
                request_id: id(),
                ..full.clone()
            },
        ),
        (
            &format!("request:svc.do:1.0.0:{ID}::1000"),
            Header {
                request_id: id(),
                timeout: Some(1_000),
                ..full.clone()
            },
        ),
        (
            &format!("request:svc.do:1.0.0:{OTHER}:{ID}:7:8:9"),
            Header {
                request_id: other(),
                parent_request_id: id(),
                timeout: Some(7),
                ..full.clone()
            },
        ),
    ] {
        let line: &str = line;
        let expected = (expected, Json::parse("{\"q\": 1}").unwrap());
        let message = format!("{line}\n{{\"q\": 1}}");
        assert_eq!(said_by(message.as_str()), expected, "{line}");
        assert_eq!(said_by(message.into_bytes()), expected, "{line}");
    }
}

#[test]
fn what_is_no_message_is_answered_with_what_is_wrong_about_it() {
    let no_end = error(
        "response:error:1.0.0",
        "MALFORMED_MESSAGE",
        "Invalid message format: no newline separator found within the maximum header length \
         of 367 bytes",
        "",
    );
    for message in ["garbage", "", "publish:a:1.0.0", &" ".repeat(5_000)] {
        assert_eq!(answer(message), no_end);
    }
    assert_eq!(answer(format!("{}\n{{}}", "a".repeat(367))), no_end);
    assert_ne!(answer(format!("{}\n{{}}", "a".repeat(366))), no_end);

    for (line, message, details) in [
        (
            "foo:bar:1.0.0",
            "Invalid action: foo",
            r#"{"validActions":["publish","request","response"]}"#,
        ),
        (
            ":a:1.0.0",
            "Invalid action: ",
            r#"{"validActions":["publish","request","response"]}"#,
        ),
        (
            "FOO:bar:1",
            "Invalid action: foo",
            r#"{"validActions":["publish","request","response"]}"#,
        ),
        (
            "publish:a..b:1.0.0",
            "Invalid topic name: a..b",
            r#"{"topic":"a..b"}"#,
        ),
        (
            "publish:a.+:1.0.0",
            "Invalid topic name: a.+",
            r#"{"topic":"a.+"}"#,
        ),
        (
            "publish:a:1",
            "Invalid message version format: 1",
            r#"{"version":"1"}"#,
        ),
        (
            "publish:a:1.0.0.0",
            "Invalid message version format: 1.0.0.0",
            r#"{"version":"1.0.0.0"}"#,
        ),
        (
            "publish:a:01.0",
            "Invalid message version format: 01.0",
            r#"{"version":"01.0"}"#,
        ),
        (
            "publish:a:1.0.0:7",
            "Invalid request ID format: 7",
            r#"{"requestId":"7"}"#,
        ),
        (
            "publish:a:1.0.0:A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "Invalid request ID format: A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            r#"{"requestId":"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}"#,
        ),
        (
            "publish:a:1.0.0:{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a}",
            "Invalid request ID format: {a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a}",
            r#"{"requestId":"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a}"}"#,
        ),
        (
            "publish:a:1.0.0::7",
            "Invalid parent request ID format: 7",
            r#"{"parentRequestId":"7"}"#,
        ),
        (
            "publish:a:1.0.0:::5",
            "Timeout is only allowed for request actions",
            r#"{"action":"publish"}"#,
        ),
        (
            "request:a:1.0.0:::0",
            "Invalid timeout value",
            r#"{"timeout":0}"#,
        ),
        (
            "request:a:1.0.0:::3600001",
            "Invalid timeout value",
            r#"{"timeout":3600001}"#,
        ),
        (
            "request:a:1.0.0:::-1",
            "Invalid timeout value",
            r#"{"timeout":-1}"#,
        ),
        (
            "request:a:1.0.0:::1e3",
            "Invalid timeout value",
            r#"{"timeout":null}"#,
        ),
    ] {
        let expected = error(
            "response:error:1.0.0",
            "MALFORMED_MESSAGE",
            message,
            &format!(",\"details\":{details}"),
        );
        assert_eq!(answer(format!("{line}\n{{}}")), expected);
    }
    for line in ["", "publish", "publish:a"] {
        let expected = error(
            "response:error:1.0.0",
            "MALFORMED_MESSAGE",
            "Invalid header format: missing action, topic, or version",
            "",
        );
        assert_eq!(answer(format!("{line}\n{{}}")), expected);
    }
}

#[test]
fn a_bad_payload_is_answered_under_its_header() {
    let line = format!("publish:A.b:1.0.0:{ID}");
    let about = format!("response:a.b:1.0.0:{ID}");
    let expected =
        |details: &str| error(&about, "MALFORMED_MESSAGE", "Invalid JSON payload", details);
    for (payload, quoted) in [
        ("{", r#""{""#),
        (" ", r#"" ""#),
        ("\"\n", r#""\"\n""#),
        ("error:nope", r#""nope""#),
    ] {
        let details = format!(",\"details\":{{\"payload\":{quoted}}}");
        assert_eq!(answer(format!("{line}\n{payload}")), expected(&details));
    }
    let deep = "[".repeat(33) + &"]".repeat(33);
    let quoted = format!(",\"details\":{{\"payload\":\"{deep}\"}}");
    assert_eq!(answer(format!("{line}\n{deep}")), expected(&quoted));
    // Too long to say again, and no text.
    let long = format!("{line}\n{}", "[".repeat(1_025));
    assert_eq!(answer(long), expected(",\"details\":{}"));
    let bytes = [line.as_bytes(), b"\n\"\xff\""].concat();
    assert_eq!(answer(bytes), expected(",\"details\":{}"));
    let bytes = b"publish:\xff:1.0.0\n{}".to_vec();
    assert!(answer(bytes).contains("Invalid topic name: \u{fffd}"));
}

#[test]
fn the_payload_is_kept_as_it_came() {
    let message: Message = "publish:a:1.0.0\n {\"m\" : 1.50} ".into();
    let range = message.as_bytes().as_ptr_range();
    let (header, payload) = said_by(message.clone());
    assert_eq!(payload.as_str(), "{\"m\" : 1.50}");
    for part in [header.topic.as_str(), &header.version, payload.as_str()] {
        assert!(range.contains(&part.as_ptr()), "copied: {part}");
    }
    assert_eq!(said_by("publish:a:1.0.0\n").1, Json::EMPTY);
    let (header, payload) = said_by("response:a:1.0.0\nerror:{\"code\":\"X\"}");
    assert!(header.error);
    assert_eq!(payload.as_str(), "{\"code\":\"X\"}");
    let (header, payload) = (&header, &payload);
    assert_eq!(
        text(&Outgoing::Broker { header, payload }),
        "response:a:1.0.0\nerror:{\"code\":\"X\"}"
    );
}

#[test]
fn the_server_has_words_for_what_it_says() {
    let data = Json::parse("{\"m\": 1}").unwrap();
    let event = |name: &'static str| Outgoing::Event {
        name,
        data: Some(&data),
        ack: None,
    };
    let nothing = Outgoing::Event {
        name: "a",
        data: None,
        ack: None,
    };
    let room = |room: &'static str| Outgoing::RoomMessage {
        room,
        text: "h\"i",
        from: Some("x"),
    };
    let welcome = Outgoing::Welcome {
        connection_id: "c",
        client_id: "c",
        user_id: None,
        path: "/ws",
        encryption: None,
    };
    for (what, expected) in [
        (welcome, "publish:system.initialize:1.0.0\n{}"),
        (Outgoing::Ping, "request:system.heartbeat:1.0.0\n{}"),
        (
            event("events.user"),
            "publish:events.user:1.0.0\n{\"m\": 1}",
        ),
        (nothing, "publish:a:1.0.0\n{}"),
        (room("a.b"), "publish:a.b:1.0.0\n{\"message\":\"h\\\"i\"}"),
        (Outgoing::Raw(&"x".into()), "x"),
    ] {
        assert_eq!(text(&what), expected);
    }
    let limited = Outgoing::RateLimited {
        code: ErrorCode::RateLimit,
        retry_after_ms: 1_500,
    };
    assert_eq!(
        text(&limited),
        error(
            "response:error:1.0.0",
            "SERVICE_UNAVAILABLE",
            "Too many requests, please slow down",
            ",\"details\":{\"retryAfter\":1500}",
        )
    );
    for what in [
        event("not a topic"),
        event("a.+"),
        room(""),
        Outgoing::Pong { latency_ms: None },
        Outgoing::RoomJoined { room: "a" },
        Outgoing::RoomLeft { room: "a" },
        Outgoing::MessageAck { raw: "a" },
        Outgoing::Blocked {
            raw: "a",
            reason: "b",
        },
        Outgoing::Direct {
            text: "a",
            from: "b",
        },
    ] {
        assert_eq!(encode(CONTEXT, &what), None, "{what:?}");
    }
}

#[test]
fn failures_of_the_server_have_mb_s_codes() {
    for (failure, code, message) in [
        (
            Failure::InvalidMessage,
            "MALFORMED_MESSAGE",
            "Invalid message format",
        ),
        (
            Failure::NotAuthenticated,
            "UNAUTHORIZED",
            "Not authenticated",
        ),
        (
            Failure::AuthenticationFailed,
            "UNAUTHORIZED",
            "Authentication failed",
        ),
        (Failure::TooLong, "INVALID_REQUEST", "Message too large"),
        (Failure::RoomFull, "SERVICE_UNAVAILABLE", "Room is full"),
        (Failure::Refused("no".into()), "FORBIDDEN", "no"),
        (Failure::Handler, "INTERNAL_ERROR", "Internal server error"),
    ] {
        let expected = error("response:error:1.0.0", code, message, "");
        assert_eq!(text(&Outgoing::Error(&failure)), expected);
    }
}

fn any_header() -> impl Strategy<Value = Header> {
    let action = prop_oneof![
        Just(Action::Publish),
        Just(Action::Request),
        Just(Action::Response)
    ];
    let id = || {
        let id = any::<u128>().prop_map(uuid::Uuid::from_u128);
        option::of(id.prop_map(|id| Utf8Bytes::from(format!("{id}"))))
    };
    let version = "[0-9]{1,3}\\.(0|[1-9][0-9]?)\\.(0|[1-9])(-[a-z]{1,4})?"
        .prop_filter("no zeros before", |version| is_full(version));
    let topic = "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{0,8}){0,4}";
    let rest = (id(), id(), option::of(1..=3_600_000_u32), any::<bool>());
    (action, topic, version, rest).prop_map(|(action, topic, version, rest)| {
        let (request_id, parent_request_id, timeout, error) = rest;
        Header {
            action,
            topic: topic.into(),
            version: version.into(),
            request_id,
            parent_request_id,
            timeout: timeout.filter(|_| action == Action::Request),
            error,
        }
    })
}

fn is_full(version: &str) -> bool {
    semver::Version::parse(version).is_ok()
}

proptest! {
    #[test]
    fn what_is_said_is_heard(header in any_header(), payload in any_json()) {
        let said = encode(CONTEXT, &Outgoing::Broker { header: &header, payload: &payload });
        let said = said.unwrap();
        let heard = Incoming::Broker(header, payload);
        prop_assert_eq!(&decode(said.clone()), &heard);
        prop_assert_eq!(decode(Message::Binary(said.into_bytes())), heard);
    }

    #[test]
    fn bytes_never_panic_and_are_answered(
        line in "[a-zA-Z:.0-9+\\-é]{0,60}",
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        end in any::<bool>(),
    ) {
        let line = if end { line + "\n" } else { line };
        let message = [line.as_bytes(), &bytes[..]].concat();
        let all: Vec<Message> = vec![
            Message::text(String::from_utf8_lossy(&message).into_owned()),
            Message::binary(message),
        ];
        for message in all {
            if let Incoming::Invalid(failure) = decode(message) {
                let text = text(&Outgoing::Error(&failure));
                let (line, payload) = text.split_once('\n').unwrap();
                prop_assert!(line.starts_with("response:"));
                prop_assert!(Json::parse(payload).is_ok());
            }
        }
    }
}
