//! SmartSocket's wire, as its published programs put it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dialect::object::tests::any_json;
use crate::dialect::{AckId, AckKey, IncomingEvent};
use crate::error_code::ErrorCode;
use crate::json::Json;

struct Peer {
    options: SmartSocket,
    memory: Option<Box<Memory>>,
    spoken: bool,
}

impl Peer {
    fn new() -> Self {
        Self {
            options: SmartSocket::default(),
            memory: None,
            spoken: false,
        }
    }

    fn says(&mut self, message: impl Into<Message>) -> Incoming {
        {
            let first = !core::mem::replace(&mut self.spoken, true);
            decode(&self.options, &mut self.memory, message.into(), first)
        }
    }
}

fn event(name: &str, data: Option<&str>, ack: Option<AckId>) -> Incoming {
    Incoming::Event(IncomingEvent {
        name: name.into(),
        data: data.map(|data| Json::parse(data).unwrap()),
        ack,
        raw: None,
    })
}

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn context(binary: PeerBinary) -> Context<'static> {
    Context {
        unix_ms: 1_700_000_000_000,
        timestamp: "2023-11-14T22:13:20.000Z",
        binary,
    }
}

fn say(what: &Outgoing<'_>) -> String {
    let messages = encode(&SmartSocket::default(), context(PeerBinary::None), what);
    assert!(messages.len() <= 1);
    messages
        .first()
        .and_then(Message::as_text)
        .unwrap_or_default()
        .into()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn the_wish_for_an_answer_is_no_part_of_what_is_said() {
    let mut checked = 0;
    for (said, meant) in [
        (r#"{"_ackId":1}"#, "{}"),
        (r#" { "_ackId" : 1 } "#, "{}"),
        (r#"{"_ackId":1,"a":{"_ackId":1}}"#, r#"{"a":{"_ackId":1}}"#),
        (
            r#"{"a":1.50 , "_ackId":1 , "b":[2]}"#,
            r#"{"a":1.50 ,"b":[2]}"#,
        ),
        (r#"{"a":"x","_ackId":1}"#, r#"{"a":"x"}"#),
        (
            r#"{"a":"\\\",","\u005fackId": "é,\"" }"#,
            r#"{"a":"\\\","}"#,
        ),
        (
            r#"{"0":"h","1":"i","__ackId":"ack_1_17"}"#,
            r#"{"0":"h","1":"i"}"#,
        ),
        (r#"{"_ackId":null}"#, r#"{"_ackId":null}"#),
        (r#"["_ackId",1]"#, r#"["_ackId",1]"#),
        (r#""_ackId""#, r#""_ackId""#),
    ] {
        let text = format!("{{\"event\":\"a\",\"data\":{said}}}");
        let Incoming::Event(event) = Peer::new().says(text.as_str()) else {
            panic!("{said}");
        };
        assert_eq!(event.data.unwrap().as_str(), meant, "{said}");
        checked += usize::from(event.ack.is_some());
    }
    assert_eq!(checked, 7);
}

#[test]
fn what_clients_say_is_understood() {
    let id = |text: &str| json(text);
    for (said, meant) in [
        (
            r#"{"event":"a","data":{"x":1}}"#,
            event("a", Some(r#"{"x":1}"#), None),
        ),
        (
            r#" { "data" : [ 1 ] , "event" : "\u0061" } "#,
            event("a", Some("[ 1 ]"), None),
        ),
        (r#"{"event":"a"}"#, event("a", None, None)),
        (
            r#"{"event":"a","data":null}"#,
            event("a", Some("null"), None),
        ),
        (
            r#"{"event":"save","data":{"name":"J","__ackId":"ack_1_1700000000000"}}"#,
            event(
                "save",
                Some(r#"{"name":"J"}"#),
                Some(AckId::Underscored(id("\"ack_1_1700000000000\""))),
            ),
        ),
        (
            r#"{"event":"save","data":{"name":"J","_ackId":1}}"#,
            event(
                "save",
                Some(r#"{"name":"J"}"#),
                Some(AckId::Merged {
                    event: "save".into(),
                    id: id("1"),
                }),
            ),
        ),
        (
            r#"{"event":"save","data":"x","ackId":7}"#,
            event("save", Some("\"x\""), Some(AckId::TopLevel(id("7")))),
        ),
        (
            r#"{"event":"a","data":{"deep":{"_ackId":1}}}"#,
            event("a", Some(r#"{"deep":{"_ackId":1}}"#), None),
        ),
        (
            r#"{"event":"a","data":{"_ackId":{}}}"#,
            event("a", Some(r#"{"_ackId":{}}"#), None),
        ),
        (
            r#"{"event":"ping","data":{"timestamp":5}}"#,
            Incoming::Heartbeat,
        ),
        (
            r#"{"event":"pong","data":{"timestamp":5}}"#,
            Incoming::Pong {
                sent_ms: Some(5),
                raw: None,
            },
        ),
        (
            r#"{"event":"pong"}"#,
            Incoming::Pong {
                sent_ms: None,
                raw: None,
            },
        ),
        (r#"{"event":"disconnect"}"#, Incoming::Nothing),
        (
            r#"{"event":"__ack__","data":{"ackId":"ack_12","response":{"ok":1}}}"#,
            Incoming::Ack {
                id: AckKey(12),
                data: json(r#"{"ok":1}"#),
            },
        ),
        (
            r#"{"event":"__ack__","data":{"ackId":12}}"#,
            Incoming::Ack {
                id: AckKey(12),
                data: Json::NULL,
            },
        ),
        (
            r#"{"event":"__ack__","data":{"ackId":"ack_1_17"}}"#,
            Incoming::Invalid(Failure::UnknownAck),
        ),
        (
            r#"{"event":"__ack__"}"#,
            Incoming::Invalid(Failure::InvalidMessage),
        ),
        (
            r#"{"event":"CONNECT","data":{"namespace":"/chat","apiKey":"k","version":"1.0.0","binary":"compressed"}}"#,
            Incoming::Connect {
                namespace: Some("/chat".into()),
                api_key: Some("k".into()),
                binary: PeerBinary::Compressed,
                hello: None,
            },
        ),
        (
            r#"{"event":"CONNECT"}"#,
            Incoming::Connect {
                namespace: None,
                api_key: None,
                binary: PeerBinary::None,
                hello: None,
            },
        ),
    ] {
        assert_eq!(Peer::new().says(said), meant, "{said}");
        // The same as a plain packet, and as the real server sends it to rooms.
        let mut packet = vec![1];
        packet.extend((said.len() as u32).to_be_bytes());
        packet.extend(said.bytes());
        assert_eq!(Peer::new().says(packet), meant, "{said}");
        if said.starts_with('{') {
            assert_eq!(Peer::new().says(said.as_bytes()), meant, "{said}");
        }
    }
}

#[test]
fn what_is_no_message_is_refused() {
    for bad in [
        "",
        "x",
        "null",
        "[]",
        "[1]",
        "{}",
        "{\"event\":1}",
        "{\"event\":\"\"}",
        "{\"event\":null}",
        "{\"event\":\"a\"",
        "{\"event\":\"a\",\"event\":\"b\"}",
        "{\"data\":1}",
    ] {
        let invalid = Incoming::Invalid(Failure::InvalidMessage);
        assert_eq!(Peer::new().says(bad), invalid, "{bad}");
    }
    for (bad, failure) in [
        ("", Failure::InvalidMessage),
        ("00", Failure::InvalidMessage),
        ("01", Failure::InvalidMessage),
        ("01 00000003 7b7d", Failure::InvalidMessage),
        ("01 00000001 7b7d", Failure::InvalidMessage),
        ("01 00000002 ffff", Failure::InvalidMessage),
        ("01 ffffffff 7b7d", Failure::InvalidMessage),
        ("02 00000001", Failure::InvalidMessage),
        // No chunk of none, none beyond the last, none of another size, none
        // that is empty.
        (
            "02 00000001 00000000 00000000 00000001 7b",
            Failure::InvalidMessage,
        ),
        (
            "02 00000001 00000001 00000001 00000001 7b",
            Failure::InvalidMessage,
        ),
        (
            "02 00000001 00000001 00000000 00000002 7b",
            Failure::InvalidMessage,
        ),
        (
            "02 00000001 00000002 00000000 00000000",
            Failure::InvalidMessage,
        ),
        (
            "02 00000001 ffffffff 00000000 00000001 7b",
            Failure::TooLong,
        ),
        ("03", Failure::Decompress),
        ("03 789c", Failure::Decompress),
        // Its checksum is wrong.
        (
            "03 789cab564a2d4bcd2b51b2524a54d2514a492c4954b2aa56aa50b232acad05007e7a08a2",
            Failure::Decompress,
        ),
        ("78 00", Failure::Decompress),
        ("04", Failure::InvalidMessage),
    ] {
        assert_eq!(
            Peer::new().says(hex(bad)),
            Incoming::Invalid(failure),
            "{bad}"
        );
    }
}

#[test]
fn either_compression_is_read() {
    let said = event("a", Some(r#"{"x":1}"#), None);
    let zlib = "789cab564a2d4bcd2b51b2524a54d2514a492c4954b2aa56aa50b232acad05007e7a08a1";
    assert_eq!(Peer::new().says(hex(&format!("03{zlib}"))), said);
    assert_eq!(
        Peer::new().says(hex(zlib)),
        said,
        "a room's message has no 03"
    );
    let raw = &zlib[4..zlib.len() - 8];
    assert_eq!(Peer::new().says(hex(&format!("03{raw}"))), said);
}

#[test]
fn a_bomb_is_refused_before_it_is_inflated() {
    let mut peer = Peer::new();
    // Beyond the size; and within it, beyond the ratio.
    for length in [2 << 20, 500_000] {
        let text = format!("{{\"event\":\"a\",\"data\":\"{}\"}}", "y".repeat(length));
        let mut packet = vec![3];
        packet.extend(miniz_oxide::deflate::compress_to_vec_zlib(
            text.as_bytes(),
            6,
        ));
        assert_eq!(peer.says(packet), Incoming::Invalid(Failure::TooLong));
    }
}

#[test]
fn what_inflates_to_just_the_limit_is_read() {
    let mut peer = Peer::new();
    for length in [100, 3_000, 40_000, 65_536, 300_000] {
        // Hard enough to compress for its ratio to be no matter.
        let noise = (0_u32..).map(|n| char::from(b'a' + (n.wrapping_mul(n) >> 7) as u8 % 26));
        let frame = r#"{"event":"a","data":""}"#.len();
        let noise: String = noise.take(length - frame).collect();
        let text = format!(r#"{{"event":"a","data":"{noise}"}}"#);
        let zlib = miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 6);
        let raw = miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 6);
        // Stored, and the end in a block of its own.
        let mut stored = Vec::new();
        for block in text.as_bytes().chunks(0xffff) {
            let size = block.len() as u16;
            stored.push(0);
            stored.extend(size.to_le_bytes());
            stored.extend((!size).to_le_bytes());
            stored.extend(block);
        }
        stored.extend([3, 0]);
        for packet in [zlib, raw, stored] {
            let packet = [&[3], &packet[..]].concat();
            peer.options.max_message = length;
            let heard = peer.says(packet.clone());
            assert!(matches!(heard, Incoming::Event(_)), "{length}: {heard:?}");
            peer.options.max_message = length - 1;
            assert_eq!(peer.says(packet), Incoming::Invalid(Failure::TooLong));
        }
    }
}

fn chunk(id: u32, total: u32, index: u32, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![2];
    for number in [id, total, index, data.len() as u32] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend(data);
    packet
}

#[test]
fn chunks_come_in_any_order_and_twice() {
    let text = br#"{"event":"a","data":[1,2,3]}"#;
    let parts: Vec<_> = text.chunks(10).collect();
    let mut peer = Peer::new();
    for index in [2, 0, 2, 0] {
        let chunk = chunk(9, 3, index, parts[index as usize]);
        assert_eq!(peer.says(chunk), Incoming::Nothing);
    }
    assert_eq!(
        peer.says(chunk(9, 3, 1, parts[1])),
        event("a", Some("[1,2,3]"), None)
    );
    assert_eq!(
        peer.says(chunk(9, 1, 0, b"{\"event\":\"b\"}")),
        event("b", None, None),
        "the id is free again"
    );
}

#[test]
fn a_chunk_that_comes_twice_counts_once() {
    let mut peer = Peer::new();
    peer.options.max_message = 12;
    for _ in 0..3 {
        let first = chunk(1, 2, 0, b"{\"event\":");
        assert_eq!(peer.says(first), Incoming::Nothing);
    }
    let last = chunk(1, 2, 1, b"1}");
    assert_eq!(
        peer.says(last),
        Incoming::Invalid(Failure::InvalidMessage),
        "whole, but no name"
    );
}

#[test]
fn a_chunk_of_another_message_of_that_id_begins_anew() {
    let mut peer = Peer::new();
    let parts = [&b"{\"event\":"[..], b"\"a\"}"];
    assert_eq!(peer.says(chunk(1, 3, 1, b"old")), Incoming::Nothing);
    assert_eq!(peer.says(chunk(1, 2, 0, parts[0])), Incoming::Nothing);
    assert_eq!(
        peer.says(chunk(1 | 1 << 31, 2, 1, b"packed")),
        Incoming::Nothing,
        "compressed, and so another"
    );
    assert_eq!(peer.says(chunk(1, 2, 1, parts[1])), event("a", None, None));
}

#[test]
fn what_is_whole_leaves_nothing_behind() {
    let mut peer = Peer::new();
    assert_eq!(peer.says(chunk(1, 2, 0, b"{\"event\":")), Incoming::Nothing);
    assert!(peer.memory.is_some());
    assert_eq!(peer.says(chunk(1, 2, 1, b"\"a\"}")), event("a", None, None));
    assert!(peer.memory.is_none());
    peer.options.max_message = 1;
    assert_eq!(
        peer.says(chunk(1, 2, 1, b"\"a\"}")),
        Incoming::Invalid(Failure::TooLong)
    );
    assert!(peer.memory.is_none());

    let hello = r#"{"event":"connected"}"#;
    assert_eq!(peer.says(hello), Incoming::Nothing);
    assert_eq!(
        peer.says(chunk(1, 1, 0, b"{")),
        Incoming::Invalid(Failure::InvalidMessage)
    );
    assert!(peer.memory.is_some());
}

/// The rest of a message that was too long is never whole, and must not take
/// the room of those after it.
#[test]
fn after_a_message_that_is_too_long_others_fit_again() {
    let mut peer = Peer::new();
    peer.options.max_message = 1_000;
    let heard: Vec<_> = (0..15)
        .map(|index| peer.says(chunk(1, 15, index, &[b'x'; 100])))
        .collect();
    let refused = heard.iter().filter(|heard| **heard != Incoming::Nothing);
    assert_eq!(
        refused.collect::<Vec<_>>(),
        [&Incoming::Invalid(Failure::TooLong)]
    );
    let text = format!(r#"{{"event":"a","data":"{}"}}"#, "y".repeat(900));
    let (begin, end) = text.split_at(500);
    assert_eq!(
        peer.says(chunk(2, 2, 0, begin.as_bytes())),
        Incoming::Nothing
    );
    let heard = peer.says(chunk(2, 2, 1, end.as_bytes()));
    assert!(matches!(heard, Incoming::Event(_)), "{heard:?}");
}

#[test]
fn chunks_are_bounded_in_bytes_and_in_messages() {
    let mut peer = Peer::new();
    peer.options.max_message = 1_000;
    assert_eq!(peer.says(chunk(1, 3, 0, &[b'x'; 600])), Incoming::Nothing);
    assert_eq!(peer.says(chunk(2, 3, 0, &[b'x'; 300])), Incoming::Nothing);
    assert_eq!(peer.says(chunk(3, 3, 0, &[b'x'; 101])), Incoming::Nothing);
    // All that wait count together, so the first had to go.
    let assembly = &peer.memory.as_ref().unwrap().assembly;
    assert_eq!(assembly.bytes(), 401);
    assert_eq!(
        peer.says(chunk(2, 3, 1, &[b'x'; 701])),
        Incoming::Invalid(Failure::TooLong),
        "too long by itself"
    );
    assert_eq!(peer.memory.as_ref().unwrap().assembly.bytes(), 101);

    let mut peer = Peer::new();
    for id in 0..9 {
        assert_eq!(
            peer.says(chunk(id, 2, 0, b"{\"event\":")),
            Incoming::Nothing
        );
    }
    assert_eq!(
        peer.says(chunk(0, 2, 1, b"\"a\"}")),
        Incoming::Nothing,
        "the ninth made the first go, and this is the first of a new one"
    );
    assert_eq!(peer.says(chunk(8, 2, 1, b"\"a\"}")), event("a", None, None));
}

#[test]
fn what_a_generation_b_client_sends_back_is_not_taken_for_an_event() {
    let dialect = crate::dialect::Dialect::SmartSocket(SmartSocket::default());
    let mut memory = crate::dialect::Memory::default();
    let said = Message::text(r#"{"event":"news","data":1}"#);
    let meant = event("news", Some("1"), None);

    dialect.sent(&mut memory, &said);
    assert_eq!(
        dialect.decode(&mut memory, said.clone()),
        meant,
        "generation A sends nothing back"
    );

    let hello = Message::text(r#"{"event":"connected"}"#);
    assert_eq!(dialect.decode(&mut memory, hello), Incoming::Nothing);
    dialect.sent(&mut memory, &said);
    dialect.sent(&mut memory, &said);
    for _ in 0..2 {
        assert_eq!(dialect.decode(&mut memory, said.clone()), Incoming::Nothing);
    }
    assert_eq!(
        dialect.decode(&mut memory, said),
        meant,
        "each comes back once"
    );
}

/// It parses what it hears and writes it again, and packs what gets long.
#[test]
fn an_echo_in_other_words_is_one() {
    let dialect = crate::dialect::Dialect::SmartSocket(SmartSocket::default());
    let mut memory = crate::dialect::Memory::default();
    let hello = Message::text(r#"{"event":"connected"}"#);
    assert_eq!(dialect.decode(&mut memory, hello), Incoming::Nothing);

    let said = Message::text(r#"{"event":"news","data":{"a": 1.0, "b": "\u00e9"}}"#);
    let back = Message::text(r#"{"event":"news","data":{"a":1,"b":"é"}}"#);
    dialect.sent(&mut memory, &said);
    assert_eq!(dialect.decode(&mut memory, back), Incoming::Nothing);

    let long = format!(r#"{{"event":"news","data":"{}"}}"#, "y".repeat(2_000));
    let said = Message::text(long.as_str());
    dialect.sent(&mut memory, &said);
    let mut back = vec![1];
    back.extend((long.len() as u32).to_be_bytes());
    back.extend(long.bytes());
    assert_eq!(dialect.decode(&mut memory, back.into()), Incoming::Nothing);
    assert!(matches!(
        dialect.decode(&mut memory, said),
        Incoming::Event(_)
    ));
}

#[test]
fn what_we_say_is_exact() {
    let data = json(r#"{"y": [2]}"#);
    let ack = |key| Some(AckKey(key));
    fn of(data: Option<&Json>, ack: Option<AckKey>) -> String {
        say(&Outgoing::Event {
            name: "a\"",
            data,
            ack,
        })
    }
    assert_eq!(of(None, None), r#"{"event":"a\""}"#);
    assert_eq!(
        of(Some(&data), None),
        r#"{"event":"a\"","data":{"y": [2]}}"#
    );
    assert_eq!(
        of(Some(&data), ack(3)),
        r#"{"event":"a\"","data":{"y": [2],"__ackId":"ack_3"}}"#
    );
    assert_eq!(
        of(None, ack(3)),
        r#"{"event":"a\"","data":{"__ackId":"ack_3"}}"#
    );
    assert_eq!(
        of(Some(&json(" { } ")), ack(3)),
        r#"{"event":"a\"","data":{"__ackId":"ack_3"}}"#
    );
    assert_eq!(
        of(Some(&json("[7,\"x\"]")), ack(3)),
        r#"{"event":"a\"","data":{"0":7,"1":"x","__ackId":"ack_3"}}"#
    );
    assert_eq!(
        of(Some(&json("\"hé\"")), ack(3)),
        r#"{"event":"a\"","data":{"0":"h","1":"é","__ackId":"ack_3"}}"#
    );
    assert_eq!(
        of(Some(&json("\"😀\"")), ack(3)),
        r#"{"event":"a\"","data":{"0":"\ud83d","1":"\ude00","__ackId":"ack_3"}}"#
    );
    assert_eq!(
        of(Some(&json("5")), ack(3)),
        r#"{"event":"a\"","data":{"__ackId":"ack_3"}}"#
    );

    let merged = AckId::Merged {
        event: "save".into(),
        id: json("1"),
    };
    let answer = |id: &AckId, data: &str| {
        say(&Outgoing::Ack {
            id,
            data: &json(data),
        })
    };
    assert_eq!(
        answer(&merged, r#"{"success":true}"#),
        r#"{"event":"save","data":{"_ackId":1,"success":true}}"#
    );
    assert_eq!(
        answer(&merged, r#"{"n":2,"_ackId":1}"#),
        r#"{"event":"save","data":{"n":2,"_ackId":1}}"#
    );
    assert_eq!(
        answer(&merged, "null"),
        r#"{"event":"save","data":{"_ackId":1}}"#
    );
    assert_eq!(
        answer(
            &AckId::Underscored(json("\"ack_1_17\"")),
            r#"{"success":true}"#
        ),
        r#"{"event":"__ack__","data":{"ackId":"ack_1_17","response":{"success":true}}}"#
    );
    assert_eq!(
        say(&Outgoing::Ping),
        r#"{"event":"ping","data":{"timestamp":1700000000000}}"#
    );
    assert_eq!(
        say(&Outgoing::Welcome {
            connection_id: "i",
            client_id: "i",
            user_id: None,
            path: "/chat",
            encryption: None,
        }),
        r#"{"event":"CONNECT_ACK","data":{"id":"i","namespace":"/chat"}}"#
    );
    assert_eq!(
        say(&Outgoing::RateLimited {
            code: ErrorCode::RateLimit,
            retry_after_ms: 5_000
        }),
        r#"{"event":"__rate-limited__","data":{"message":"Too many requests, please slow down","retryAfter":5000,"code":"ERR_RATE_001"}}"#
    );
    assert_eq!(
        say(&Outgoing::Error(&Failure::UnknownNamespace)),
        r#"{"event":"error","data":{"code":"ERR_MSG_005","message":"Invalid namespace","cause":"Namespace doesn't exist on server","solution":"Verify namespace path, create namespace on server"}}"#
    );
    assert_eq!(
        say(&Outgoing::Error(&Failure::RoomFull)),
        r#"{"event":"error","data":{"message":"Room is full"}}"#
    );
    assert_eq!(say(&Outgoing::MessageAck { raw: "x" }), "");
}

#[test]
fn long_messages_become_packets_for_those_who_understand_them() {
    let options = SmartSocket::default();
    let heads = |binary, data: &str| -> Vec<(Vec<u8>, usize)> {
        let data = Json::string(data);
        let what = Outgoing::Event {
            name: "a",
            data: Some(&data),
            ack: None,
        };
        encode(&options, context(binary), &what)
            .into_iter()
            .map(|message| {
                let bytes = message.as_bytes();
                (bytes[..bytes.len().min(17)].to_vec(), bytes.len())
            })
            .collect()
    };
    let long = "y".repeat(2_000);
    assert_eq!(heads(PeerBinary::None, &long)[0].0[0], b'{');
    // `{"event":"a","data":""}` and 1,001 make 1,024: not longer than the threshold.
    assert_eq!(
        heads(PeerBinary::Compressed, &"y".repeat(1_001))[0].0[0],
        b'{'
    );
    assert_eq!(
        heads(PeerBinary::Compressed, &"y".repeat(1_002))[0].0[..3],
        [3, 0x78, 0x9c]
    );
    assert_eq!(
        heads(PeerBinary::Plain, &long)[0].0[..5],
        [1, 0, 0, 7, 0xe7]
    );
    let noise: String = (0_u32..200_000)
        .map(|n| char::from(b'0' + (n.wrapping_mul(2_654_435_761) >> 13) as u8 % 64))
        .collect();
    let plain = heads(PeerBinary::Plain, &noise);
    assert_eq!(
        plain.iter().map(|(_, len)| *len).collect::<Vec<_>>()[..2],
        [65_553, 65_553]
    );
    for (n, (head, _)) in plain.iter().enumerate() {
        assert_eq!(head[0], 2);
        assert_eq!(head[1] & 0x80, 0);
        assert_eq!(head[5..9], (plain.len() as u32).to_be_bytes());
        assert_eq!(head[9..13], (n as u32).to_be_bytes());
    }
}

proptest! {
    #[test]
    fn what_is_packed_is_unpacked(data in any_json(), times in 1_usize..3_000, raw: bool, plain: bool) {
        let list = vec![data.to_string(); times.min(60_000 / data.as_str().len().max(1)).max(1)];
        let text = format!("[{}]", list.join(","));
        prop_assume!(text.len() < 1 << 20);
        let Ok(data) = Json::parse(text) else { return Ok(()) };
        // The envelope around it counts too.
        prop_assume!(Json::parse(format!("[[{data}]]")).is_ok());
        let options = SmartSocket {
            format: if raw { Format::Raw } else { Format::Zlib },
            threshold: 64,
            ..SmartSocket::default()
        };
        let binary = if plain { PeerBinary::Plain } else { PeerBinary::Compressed };
        let what = Outgoing::Event { name: "a", data: Some(&data), ack: None };
        let mut peer = Peer::new();
        let heard: Vec<_> = encode(&options, context(binary), &what)
            .into_iter()
            .map(|message| peer.says(message))
            .filter(|heard| *heard != Incoming::Nothing)
            .collect();
        prop_assert_eq!(heard, [event("a", Some(data.as_str()), None)]);
    }

    #[test]
    fn nothing_a_peer_sends_panics(messages: Vec<(bool, Vec<u8>)>, kind in 0_u8..5) {
        let mut peer = Peer::new();
        for (text, mut bytes) in messages {
            let heard = if text {
                peer.says(String::from_utf8_lossy(&bytes).into_owned())
            } else {
                if let Some(first) = bytes.first_mut() {
                    *first = kind;
                }
                peer.says(Bytes::from(bytes))
            };
            prop_assert!(!matches!(heard, Incoming::Broker(..)));
        }
    }
}
