//! Frames that break RFC 6455 §5, and good ones at the edges.

use std::time::Duration;

use super::case::{Case, Outcome};
use super::frame::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, Width, claim, frame, text, unmasked,
    zero_masked,
};
use super::judge::{Frames, MARKER};
use super::peer::{End, Peer};
use super::reply::Message;
use Frames::{Drop, Echo, Fail, FailOrNote};

const LAYOUT: &str = "RFC 6455 §5.2";
const MASKING: &str = "RFC 6455 §5.1";
const FRAGMENTS: &str = "RFC 6455 §5.4";
const CONTROL: &str = "RFC 6455 §5.5";
/// Broken rules of framing.
const PROTOCOL: &[u16] = &[1002];
/// Payload that never comes is waited for; this long is enough to see that a
/// server does not mind.
const SOON: Duration = Duration::from_millis(300);
/// What many claims may make a server grow, in bytes: less than was claimed.
const CLAIMS_ROOM: u64 = 48 << 20;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = reserved();
    cases.extend(masking());
    cases.extend(control());
    cases.extend(fragments());
    cases.extend(lengths());
    cases.extend(claims());
    cases
}

/// A case of some bytes on an open connection, with a good message after them
/// if they are bad.
pub(crate) fn row(name: &str, source: &'static str, rule: Frames, mut bytes: Vec<u8>) -> Case {
    if !matches!(rule, Echo(_)) {
        bytes.extend(text(MARKER));
    }
    Case::new(name, source, rule.expected(), |server| async move {
        let mut peer = Peer::open(&server).await?;
        let seen = peer.exchange(&bytes, |replies| rule.enough(replies)).await;
        Ok(rule.judge(&seen))
    })
}

/// Bits and opcodes without a meaning.
fn reserved() -> Vec<Case> {
    let mut cases = Vec::new();
    for (bits, bit) in [
        ("rsv1", RSV1),
        ("rsv2", 0x20),
        ("rsv3", 0x10),
        ("rsv123", 0x70),
    ] {
        for (kind, opcode) in [
            ("text", TEXT),
            ("binary", BINARY),
            ("ping", PING),
            ("close", CLOSE),
        ] {
            let payload: &[u8] = if opcode == CLOSE { &[3, 232] } else { b"odd" };
            let bytes = frame(FIN | bit | opcode, payload);
            let name = format!("frames/{bits}-on-{kind}");
            cases.push(row(&name, LAYOUT, Fail(PROTOCOL), bytes));
        }
        let bytes = [frame(TEXT, b"a"), frame(FIN | bit | CONTINUATION, b"b")].concat();
        let name = format!("frames/{bits}-on-continuation");
        cases.push(row(&name, LAYOUT, Fail(PROTOCOL), bytes));
    }
    for opcode in (3..=7).chain(11..=15) {
        let bytes = frame(FIN | opcode, b"odd");
        let name = format!("frames/opcode-{opcode}");
        cases.push(row(&name, LAYOUT, Fail(PROTOCOL), bytes));
    }
    let bytes = frame(FIN | 3, b"");
    cases.push(row("frames/opcode-3-empty", LAYOUT, Fail(PROTOCOL), bytes));
    cases
}

fn masking() -> Vec<Case> {
    let mut cases: Vec<_> = [
        ("text", TEXT, &b"odd"[..]),
        ("binary", BINARY, b"odd"),
        ("empty-text", TEXT, b""),
        ("ping", PING, b"odd"),
        ("close", CLOSE, b"\x03\xe8"),
    ]
    .map(|(kind, opcode, payload)| {
        let bytes = unmasked(FIN | opcode, payload);
        row(&format!("frames/unmasked-{kind}"), MASKING, Drop, bytes)
    })
    .into();
    cases.push(row(
        "frames/unmasked-continuation",
        MASKING,
        Drop,
        [frame(TEXT, b"a"), unmasked(FIN | CONTINUATION, b"b")].concat(),
    ));
    cases.push(row(
        "frames/mask-of-zeros",
        "RFC 6455 §5.3",
        Echo(vec![Message::text("plain to see")]),
        zero_masked(FIN | TEXT, b"plain to see"),
    ));
    cases
}

fn control() -> Vec<Case> {
    let long = [3, 232].into_iter().chain([b'a'; 124]).collect::<Vec<_>>();
    let mut cases = Vec::new();
    for (kind, opcode) in [("ping", PING), ("pong", PONG), ("close", CLOSE)] {
        let name = format!("frames/{kind}-of-126-bytes");
        let bytes = frame(FIN | opcode, &long);
        cases.push(row(&name, CONTROL, Fail(PROTOCOL), bytes));
        let name = format!("frames/fragmented-{kind}");
        let bytes = [frame(opcode, &long[..2]), frame(FIN | CONTINUATION, b"")].concat();
        cases.push(row(&name, CONTROL, Fail(PROTOCOL), bytes));
    }
    cases.push(row(
        "frames/ping-of-64-kib",
        CONTROL,
        Fail(PROTOCOL),
        frame(FIN | PING, &[b'a'; 65_536]),
    ));
    cases.push(Case::new(
        "frames/ping-of-125-bytes",
        CONTROL,
        "a pong with the same 125 bytes",
        |server| async move {
            let payload = [0xff; 125];
            let mut peer = Peer::open(&server).await?;
            let ping = frame(FIN | PING, &payload);
            let seen = peer.exchange(&ping, |r| r.over() || !r.pongs.is_empty());
            let seen = seen.await;
            Ok(if seen.replies.pongs == [payload] {
                Outcome::pass(seen.words())
            } else {
                Outcome::fail(seen.words())
            })
        },
    ));
    cases.push(row(
        "frames/pong-unasked",
        "RFC 6455 §5.5.3",
        Echo(vec![Message::text("after a pong")]),
        [frame(FIN | PONG, b"unasked"), text("after a pong")].concat(),
    ));
    cases
}

fn fragments() -> Vec<Case> {
    let text_in = |first: u8| frame(first, b"odd");
    let mut cases = vec![
        row(
            "frames/continuation-of-nothing",
            FRAGMENTS,
            Fail(PROTOCOL),
            text_in(FIN | CONTINUATION),
        ),
        row(
            "frames/open-continuation-of-nothing",
            FRAGMENTS,
            Fail(PROTOCOL),
            text_in(CONTINUATION),
        ),
        Case::new(
            "frames/continuation-of-a-finished-message",
            FRAGMENTS,
            "closed, with 1002, after one echo",
            |server| async move {
                let mut peer = Peer::open(&server).await?;
                let bytes = [
                    text("whole"),
                    frame(FIN | CONTINUATION, b"odd"),
                    text(MARKER),
                ];
                let bytes = bytes.concat();
                let seen = peer.exchange(&bytes, |r| r.over() || r.has(MARKER)).await;
                let (words, replies) = (seen.words(), seen.replies);
                Ok(if replies.broken.is_some() || replies.messages.len() > 1 {
                    Outcome::fail(words)
                } else if replies.code() == Some(1002) {
                    Outcome::pass(words)
                } else if seen.end == End::Open && replies.closes.is_empty() {
                    Outcome::fail(words)
                } else {
                    Outcome::note(words)
                })
            },
        ),
    ];
    for (name, first) in [
        ("text-inside-a-message", FIN | TEXT),
        ("binary-inside-a-message", FIN | BINARY),
        ("open-text-inside-a-message", TEXT),
    ] {
        cases.push(row(
            &format!("frames/{name}"),
            FRAGMENTS,
            Fail(PROTOCOL),
            [text_in(TEXT), text_in(first)].concat(),
        ));
    }
    cases.push(row(
        "frames/empty-fragments",
        FRAGMENTS,
        Echo(vec![Message::text("ab")]),
        [
            frame(TEXT, b""),
            frame(CONTINUATION, b"").repeat(10),
            frame(CONTINUATION, b"ab"),
            frame(FIN | CONTINUATION, b""),
        ]
        .concat(),
    ));
    cases.push(Case::new(
        "frames/ping-inside-a-message",
        FRAGMENTS,
        "a pong, and the message echoed",
        |server| async move {
            let mut peer = Peer::open(&server).await?;
            let begin = [frame(TEXT, b"a"), frame(FIN | PING, b"now")].concat();
            let seen = peer.exchange(&begin, |r| r.over() || !r.pongs.is_empty());
            let seen = seen.await;
            if seen.replies.pongs != [b"now"] {
                return Ok(Outcome::fail(format!("no pong: {}", seen.words())));
            }
            let rule = Echo(vec![Message::text("ab")]);
            let end = frame(FIN | CONTINUATION, b"b");
            Ok(rule.judge(&peer.exchange(&end, |r| rule.enough(r)).await))
        },
    ));
    cases
}

/// Lengths and how they are written.
fn lengths() -> Vec<Case> {
    const SENDER: &str = "taking it is allowed: the rule binds the sender";
    let mut cases = Vec::new();
    for (name, first, width, length) in [
        ("five-bytes-in-16-bits", FIN | TEXT, Width::Two, 5),
        ("five-bytes-in-64-bits", FIN | TEXT, Width::Eight, 5),
        ("200-bytes-in-64-bits", FIN | TEXT, Width::Eight, 200),
        ("five-bytes-of-ping-in-16-bits", FIN | PING, Width::Two, 5),
    ] {
        let payload = vec![b'a'; length];
        let bytes = claim(first, width, length as u64, &payload);
        let name = format!("frames/non-minimal-length/{name}");
        cases.push(row(&name, LAYOUT, FailOrNote(SENDER), bytes));
    }
    for size in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload = vec![0xfe; size];
        let bytes = frame(FIN | BINARY, &payload);
        let rule = Echo(vec![Message::binary(payload)]);
        cases.push(row(
            &format!("frames/binary-of-{size}"),
            LAYOUT,
            rule,
            bytes,
        ));
    }
    cases.push(row(
        "frames/empty-text",
        LAYOUT,
        Echo(vec![Message::text("")]),
        text(""),
    ));
    cases.push(row(
        "frames/hundred-in-one-write",
        FRAGMENTS,
        Echo((0..100).map(|n| Message::text(&n.to_string())).collect()),
        (0..100).flat_map(|n| text(&n.to_string())).collect(),
    ));
    cases.push(Case::new(
        "frames/one-byte-at-a-time",
        LAYOUT,
        "echoed the message",
        |server| async move {
            let payload: Vec<u8> = (0..=255).cycle().take(300).collect();
            let mut peer = Peer::open(&server).await?;
            peer.write_in(&frame(FIN | BINARY, &payload), 1).await;
            let rule = Echo(vec![Message::binary(payload)]);
            Ok(rule.judge(&peer.exchange(b"", |r| rule.enough(r)).await))
        },
    ));
    cases
}

/// Lengths that are claimed, and never sent.
fn claims() -> Vec<Case> {
    const TRUST: &str = "RUSTSEC-2022-0035, CVE-2020-27813";
    let mut cases = Vec::new();
    for (name, length) in [
        ("2^31-1", (1 << 31) - 1),
        ("2^31", 1 << 31),
        ("2^31+5", (1 << 31) + 5),
        ("2^32-1", (1 << 32) - 1),
        ("2^32", 1 << 32),
        ("2^32+5", (1_u64 << 32) + 5),
        ("2^53", 1 << 53),
        ("2^63-1", u64::MAX >> 1),
        ("2^63", 1 << 63),
        ("2^64-1", u64::MAX),
    ] {
        cases.push(Case::new(
            format!("frames/claimed-length/{name}"),
            if length >> 63 == 0 { TRUST } else { LAYOUT },
            if length >> 63 == 0 {
                "refused, or waited for, without memory for it"
            } else {
                "closed: the first bit of a length is 0"
            },
            move |server| async move {
                let mut peer = Peer::open(&server).await?;
                let mut bytes = claim(FIN | BINARY, Width::Eight, length, b"five!");
                bytes.extend(text(MARKER));
                let seen = peer.exchange_for(SOON, &bytes, |r| r.over() || r.has(MARKER));
                let seen = seen.await;
                let words = seen.words();
                let replies = seen.replies;
                Ok(
                    if replies.broken.is_some() || !replies.messages.is_empty() {
                        Outcome::fail(format!("took the length for another: {words}"))
                    } else if length >> 63 == 1 && seen.end == End::Open && !replies.over() {
                        Outcome::note(words)
                    } else {
                        Outcome::pass(words)
                    },
                )
            },
        ));
    }
    let many = Case::new(
        "frames/claimed-length/1-mib-on-200-connections",
        TRUST,
        "waited for, without memory for it",
        |server| async move {
            let header = claim(FIN | BINARY, Width::Eight, 1 << 20, b"five!");
            let mut peers = Vec::new();
            for _ in 0..200 {
                let mut peer = Peer::open(&server).await?;
                peer.write(&header).await;
                peers.push(peer);
            }
            async_io::Timer::after(SOON).await;
            Ok(Outcome::pass("200 claims sent"))
        },
    );
    cases.push(many.room(CLAIMS_ROOM));
    cases
}
