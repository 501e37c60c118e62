//! Everything that can be enumerated: headers, states, close codes, lengths,
//! cuts, sequences of frames.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::websocket::{Event, Output, Role};
use smartsocket_core::{CloseCode, Config};

/// The code a machine closed with by itself, after these bytes.
fn verdict(machine: &mut Machine, bytes: &[u8]) -> Option<u16> {
    machine.feed(bytes);
    machine.drain();
    machine.outcome.as_ref().map(|end| u16::from(end.code))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Idle,
    Fragmented,
    Closing,
}

fn in_state(role: Role, state: State, deflate: bool) -> Machine {
    let config = Config {
        deflate: deflate.then(Deflate::default),
        ..Config::default()
    };
    let mut machine = Machine::upgraded(role, config);
    match state {
        State::Idle => {}
        State::Fragmented => machine.feed(fragment(role, BINARY, "begun")),
        State::Closing => machine.ws.close(machine.now, CloseCode::NORMAL, ""),
    }
    machine.drain();
    machine
}

#[test]
fn reserved_bits_and_opcodes_in_every_state() {
    for role in ROLES {
        for deflate in [false, true] {
            for state in [State::Idle, State::Fragmented, State::Closing] {
                for rsv in 0..8 {
                    for opcode in 0..16 {
                        let mut machine = in_state(role, state, deflate);
                        let payload = if rsv == 4 && opcode < 3 {
                            &[0][..]
                        } else {
                            &[]
                        };
                        let bytes = Raw::to(role, true, opcode, payload).rsv(rsv).bytes();
                        let code = verdict(&mut machine, &bytes);
                        let inside = state == State::Fragmented;
                        let legal = match (opcode, rsv) {
                            (CONTINUATION, 0) => inside,
                            (TEXT | BINARY, 0) => !inside,
                            (TEXT | BINARY, 4) => deflate && !inside,
                            (CLOSE | PING | PONG, 0) => true,
                            _ => false,
                        };
                        let expected = match (legal, opcode) {
                            (true, CLOSE) => Some(1005),
                            (true, _) => None,
                            (false, _) => Some(1002),
                        };
                        assert_eq!(
                            code, expected,
                            "{role:?} {state:?} deflate={deflate} rsv={rsv} opcode={opcode}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_close_code_through_a_connection() {
    let legal = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for role in ROLES {
        for code in 0..=u16::MAX {
            let mut machine = Machine::upgraded(role, Config::default());
            let lines = machine.on(close_frame(role, code, ""));
            if legal(code) {
                assert_eq!(lines[0], format!("closed {code} \"\" by Peer"));
                assert_eq!(lines[1], format!("-> close {code} \"\""), "echoed");
            } else {
                let why = format!("close code {code} must not be sent");
                assert_eq!(lines[0], format!("closed 1002 {why:?} by Violation"));
                assert_eq!(lines[1], format!("-> close 1002 {why:?}"));
            }

            let mut machine = Machine::upgraded(role, Config::default());
            machine.ws.close(machine.now, CloseCode::from(code), "");
            let expected = if legal(code) {
                format!("-> close {code} \"\"")
            } else {
                "-> close".into()
            };
            assert_eq!(machine.turn(), [expected], "never on the wire");
        }
    }
}

#[test]
fn close_payloads_of_every_shape() {
    for role in ROLES {
        for (payload, expected) in [
            (&b""[..], "closed 1005 \"\" by Peer"),
            (b"\x03", "closed 1002"),
            (b"\x03\xe8", "closed 1000 \"\" by Peer"),
            (b"\x03\xe8bye", "closed 1000 \"bye\" by Peer"),
            (b"\x03\xe8\xce", "closed 1007"),
            (b"\x03\xe8\xed\xa0\x80", "closed 1007"),
            (
                &[b"\x03\xe8".as_slice(), &[b'x'; 123]].concat(),
                "closed 1000 \"xxx",
            ),
            (
                &[b"\x03\xe8".as_slice(), &[b'x'; 124]].concat(),
                "closed 1002",
            ),
        ] {
            let lines = Machine::upgraded(role, Config::default()).on(frame(role, CLOSE, payload));
            assert!(lines[0].starts_with(expected), "{payload:?}: {lines:?}");
        }
    }
}

#[test]
fn lengths_at_every_boundary_in_every_form() {
    let mut lengths = vec![
        0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537,
    ];
    for bits in [20, 31, 32, 53] {
        lengths.extend([(1 << bits) - 1, 1 << bits, (1 << bits) + 1]);
    }
    lengths.extend([(1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX]);
    for role in ROLES {
        for masked in [false, true] {
            for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
                for &length in &lengths {
                    for form in [Form::Short, Form::Medium, Form::Long] {
                        let fits = match form {
                            Form::Short => length < 126,
                            Form::Medium => length <= 0xffff,
                            Form::Long | Form::Shortest => true,
                        };
                        if !fits {
                            continue;
                        }
                        let mut raw = Raw::to(role, true, opcode, "").form(form).claim(length);
                        raw.mask = masked.then_some([0; 4]);
                        let mut machine = Machine::upgraded(role, Config::default());
                        let code = verdict(&mut machine, &raw.bytes());
                        let minimal = match form {
                            Form::Short | Form::Shortest => true,
                            Form::Medium => length >= 126,
                            Form::Long => length >= 65_536,
                        };
                        let broken = masked != (role == Role::Server)
                            || opcode >= CLOSE && form != Form::Short
                            || opcode == CONTINUATION
                            || !minimal
                            || length >= 1 << 63;
                        let expected = if broken {
                            Some(1002)
                        } else if length > 1 << 20 {
                            Some(1009)
                        } else if opcode == CLOSE && length == 0 {
                            Some(1005)
                        } else {
                            None
                        };
                        assert_eq!(
                            code, expected,
                            "{role:?} masked={masked} opcode={opcode} length={length} {form:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_frame_above_the_limit_is_refused_by_its_header_in_the_words_of_the_seed() {
    let config = Config {
        max_message: 1 << 20,
        ..Config::default()
    };
    let mut machine = Machine::upgraded(Role::Server, config);
    let header = Raw::to(Role::Server, true, BINARY, "")
        .claim(2_097_152)
        .bytes();
    assert_eq!(
        machine.on(header)[0],
        "closed 1009 \"frame size of 2097152 exceeds maximum of 1048576\" by Violation"
    );
}

#[test]
fn messages_at_the_limit_pass_and_one_byte_more_does_not() {
    for role in ROLES {
        for (parts, code) in [
            (&[1000][..], None),
            (&[1001], Some(1009)),
            (&[500, 500], None),
            (&[500, 501], Some(1009)),
            (&[1000, 0, 0], None),
            (&[0, 0, 1001], Some(1009)),
        ] {
            let config = Config {
                max_message: 1000,
                ..Config::default()
            };
            let mut machine = Machine::upgraded(role, config);
            let mut bytes = Vec::new();
            for (i, part) in parts.iter().enumerate() {
                let opcode = if i == 0 { BINARY } else { CONTINUATION };
                let fin = i + 1 == parts.len();
                bytes.extend(Raw::to(role, fin, opcode, vec![0; *part]).bytes());
            }
            assert_eq!(verdict(&mut machine, &bytes), code, "{parts:?}");
            assert_eq!(
                machine.messages.len(),
                usize::from(code.is_none()),
                "{parts:?}"
            );
        }
    }
}

// Cuts

/// Conversations worth cutting anywhere, as a peer of `to` sends them.
fn corpus(to: Role) -> Vec<(&'static str, Vec<u8>)> {
    let cat = |frames: &[Vec<u8>]| frames.concat();
    let unmasked = |raw: Raw| Raw {
        mask: if to == Role::Client {
            Some([1; 4])
        } else {
            None
        },
        ..raw
    };
    vec![
        ("hello", frame(to, TEXT, "Hello, wörld €")),
        ("medium", frame(to, BINARY, vec![9; 200])),
        (
            "fragments around a ping",
            cat(&[
                fragment(to, TEXT, &"a\u{20ac}".as_bytes()[..2]),
                frame(to, PING, "p"),
                fragment(to, CONTINUATION, &"\u{20ac}".as_bytes()[1..2]),
                frame(
                    to,
                    CONTINUATION,
                    [&"\u{20ac}".as_bytes()[2..], b"z"].concat(),
                ),
            ]),
        ),
        (
            "empty fragments",
            cat(&[
                fragment(to, BINARY, ""),
                fragment(to, CONTINUATION, ""),
                frame(to, CONTINUATION, ""),
            ]),
        ),
        (
            "many controls",
            cat(&[
                frame(to, PING, ""),
                frame(to, PING, [1; 125]),
                frame(to, PONG, "unasked"),
                frame(to, PING, "last"),
            ]),
        ),
        (
            "close with reason",
            cat(&[
                frame(to, TEXT, "x"),
                close_frame(to, 4000, "töö"),
                frame(to, TEXT, "ignored"),
            ]),
        ),
        (
            "empty close",
            cat(&[fragment(to, TEXT, "unfinished"), frame(to, CLOSE, "")]),
        ),
        (
            "compressed",
            cat(&[
                compressed(to, TEXT, "many many many words".repeat(5).as_bytes()),
                compressed(to, BINARY, b""),
                frame(to, TEXT, "plain"),
            ]),
        ),
        ("compressed fragments", {
            let payload = deflated(&b"abcabcabc".repeat(20));
            let (head, tail) = payload.split_at(5);
            cat(&[
                Raw::to(to, false, BINARY, head).rsv(4).bytes(),
                frame(to, PING, "inside"),
                frame(to, CONTINUATION, tail),
            ])
        }),
        (
            "corrupt deflate",
            Raw::to(to, true, TEXT, [0xff, 0xff, 0xff, 1, 2, 3])
                .rsv(4)
                .bytes(),
        ),
        ("not text, then corrupt", {
            let mut payload = deflated(b"ok \xff no text at all");
            payload.extend([0xff; 9]);
            Raw::to(to, true, TEXT, payload).rsv(4).bytes()
        }),
        ("not text and corrupt in one block", {
            let stored = [
                0, 9, 0, 246, 255, b'o', b'k', 0xff, b'n', b'o', b't', b'e', b'x', b't', 0x07,
            ];
            Raw::to(to, true, TEXT, stored).rsv(4).bytes()
        }),
        ("not text, then too long", {
            let mut data = b"\xff".to_vec();
            data.extend(vec![b'x'; 2_000]);
            Raw::to(to, true, TEXT, deflated(&data)).rsv(4).bytes()
        }),
        ("inflates to too much", compressed(to, BINARY, &[0; 1_001])),
        ("not text", frame(to, TEXT, b"abc\xf4\x90\x80\x80 more")),
        ("text cut in a character", frame(to, TEXT, b"abc\xe2\x82")),
        (
            "wrong mask bit",
            unmasked(Raw::to(to, true, TEXT, "abc")).bytes(),
        ),
        (
            "wrong mask bit and length",
            unmasked(Raw::to(to, true, TEXT, "abc").form(Form::Medium)).bytes(),
        ),
        (
            "wrong mask bit and huge length",
            unmasked(Raw::to(to, true, TEXT, "").claim(u64::MAX)).bytes(),
        ),
        (
            "length not minimal",
            Raw::to(to, true, TEXT, "abc").form(Form::Long).bytes(),
        ),
        (
            "reserved bit",
            Raw::to(to, true, TEXT, "abc").rsv(2).bytes(),
        ),
        ("reserved opcode", Raw::to(to, true, 3, "abc").bytes()),
        ("fragmented ping", fragment(to, PING, "abc")),
        ("long ping", frame(to, PING, [0; 126])),
        ("stray continuation", frame(to, CONTINUATION, "abc")),
        (
            "new message inside another",
            cat(&[fragment(to, TEXT, "a"), frame(to, TEXT, "b")]),
        ),
        (
            "too large",
            Raw::to(to, true, BINARY, "").claim(1 << 40).bytes(),
        ),
        ("bad close code", close_frame(to, 1006, "x")),
        ("half a close code", frame(to, CLOSE, [3])),
        (
            "valid, then invalid",
            cat(&[
                frame(to, TEXT, "good"),
                frame(to, PING, "?"),
                vec![0xff; 20],
            ]),
        ),
    ]
}

#[test]
fn every_cut_in_two_of_every_conversation_gives_the_transcript_of_the_whole() {
    for role in ROLES {
        for handshake in [false, true] {
            for deflate in [false, true] {
                let config = || Config {
                    deflate: deflate.then(Deflate::default),
                    control_events: true,
                    max_message: 1_000,
                    ..Config::default()
                };
                let fresh = || {
                    let mut machine = match (role, handshake) {
                        (role, false) => Machine::upgraded(role, config()),
                        (Role::Server, true) => Machine::server(config()),
                        (Role::Client, true) => Machine::client(config()),
                    };
                    machine.drain();
                    machine.turn();
                    machine
                };
                let extension =
                    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
                let head = match (role, handshake) {
                    (_, false) => String::new(),
                    (Role::Server, true) => {
                        format!("{}{extension}\r\n", REQUEST.strip_suffix("\r\n").unwrap())
                    }
                    (Role::Client, true) => fresh().answer(if deflate { extension } else { "" }),
                };
                for (name, conversation) in corpus(role) {
                    let bytes = [head.as_bytes(), &conversation].concat();
                    let mut whole = fresh();
                    let lines = whole.on(&bytes);
                    for cut in 0..bytes.len() {
                        let mut machine = fresh();
                        machine.feed(&bytes[..cut]);
                        machine.feed(&bytes[cut..]);
                        assert_eq!(
                            machine.turn(),
                            lines,
                            "{role:?} {name} deflate={deflate} cut at {cut}"
                        );
                    }
                    let mut machine = fresh();
                    for byte in &bytes {
                        machine.feed([*byte]);
                    }
                    assert_eq!(
                        machine.turn(),
                        lines,
                        "{role:?} {name} deflate={deflate} byte by byte"
                    );
                }
            }
        }
    }
}

#[test]
fn text_fails_at_the_exact_byte_inside_a_frame() {
    // (text, the position of the first byte that makes it wrong)
    for (text, wrong) in [
        (&b"abc\xff def"[..], 3),
        (b"\x80", 0),
        (b"\xc0\xaf...", 0),
        (b"\xc1\x80", 0),
        (b"\xe0\x80\xaf", 1),
        (b"ab\xed\xa0\x80cd", 3),
        (b"\xf0\x80\x80\xaf", 1),
        (
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80ed",
            12,
        ),
        (b"\xf5\x80\x80\x80", 0),
        (b"a\xe2\x82b", 3),
        (b"\xf0\x9f\x98a", 3),
    ] {
        for role in ROLES {
            for split in [false, true] {
                let bytes = if split {
                    // The first byte in a frame of its own.
                    [
                        fragment(role, TEXT, &text[..1]),
                        frame(role, CONTINUATION, [&text[1..], b"tail"].concat()),
                    ]
                    .concat()
                } else {
                    frame(role, TEXT, [text, b"tail"].concat())
                };
                let header = if role == Role::Server { 6 } else { 2 };
                let at = header + wrong + if split && wrong > 0 { header } else { 0 };
                let mut machine = Machine::upgraded(role, Config::default());
                for byte in &bytes[..at] {
                    machine.feed([*byte]);
                    assert!(
                        machine.ws.poll_output().is_none(),
                        "{text:x?} failed too early"
                    );
                }
                machine.feed([bytes[at]]);
                let output = machine.ws.poll_output();
                let Some(Output::Event(Event::Closed(end))) = output else {
                    panic!("{text:x?} passed byte {wrong}: {output:?}");
                };
                assert_eq!(u16::from(end.code), 1007);
            }
        }
    }
}

// Sequences of frames against a model

/// The symbols of the alphabet: what one frame can be.
#[derive(Clone, Copy, Debug)]
enum Symbol {
    Text,
    TextBegins,
    Binary,
    BinaryBegins,
    Goes,
    Ends,
    Ping,
    Pong,
    Close,
    Reserved,
    CutPing,
    BadText,
}

const SYMBOLS: [Symbol; 12] = [
    Symbol::Text,
    Symbol::TextBegins,
    Symbol::Binary,
    Symbol::BinaryBegins,
    Symbol::Goes,
    Symbol::Ends,
    Symbol::Ping,
    Symbol::Pong,
    Symbol::Close,
    Symbol::Reserved,
    Symbol::CutPing,
    Symbol::BadText,
];

/// RFC 6455 §5.4, §5.5, §7 and §8 in as few words as possible: what an
/// application and a peer see of a sequence of frames.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    messages: Vec<(bool, String)>,
    pongs: usize,
    end: Option<u16>,
}

fn model(sequence: &[Symbol]) -> Seen {
    let mut seen = Seen::default();
    let mut open: Option<(bool, String)> = None;
    for symbol in sequence {
        match (symbol, &mut open) {
            (Symbol::Text, None) => seen.messages.push((true, "t".into())),
            (Symbol::Binary, None) => seen.messages.push((false, "b".into())),
            (Symbol::TextBegins, None) => open = Some((true, "t".into())),
            (Symbol::BinaryBegins, None) => open = Some((false, "b".into())),
            (Symbol::Goes, Some((_, text))) => text.push('g'),
            (Symbol::Ends, Some((_, text))) => {
                text.push('e');
                seen.messages.extend(open.take());
            }
            (Symbol::Ping, _) => seen.pongs += 1,
            (Symbol::Pong, _) => {}
            (Symbol::Close, _) => seen.end = Some(1000),
            (Symbol::BadText, None) => seen.end = Some(1007),
            (Symbol::Reserved | Symbol::CutPing, _)
            | (Symbol::Goes | Symbol::Ends, None)
            | (
                Symbol::Text
                | Symbol::Binary
                | Symbol::TextBegins
                | Symbol::BinaryBegins
                | Symbol::BadText,
                Some(_),
            ) => seen.end = Some(1002),
        }
        if seen.end.is_some() {
            break;
        }
    }
    seen
}

#[test]
fn every_sequence_of_up_to_five_frames_is_read_as_the_rfc_says() {
    for role in ROLES {
        let bytes: Vec<Vec<u8>> = SYMBOLS
            .iter()
            .map(|symbol| match symbol {
                Symbol::Text => frame(role, TEXT, "t"),
                Symbol::TextBegins => fragment(role, TEXT, "t"),
                Symbol::Binary => frame(role, BINARY, "b"),
                Symbol::BinaryBegins => fragment(role, BINARY, "b"),
                Symbol::Goes => fragment(role, CONTINUATION, "g"),
                Symbol::Ends => frame(role, CONTINUATION, "e"),
                Symbol::Ping => frame(role, PING, "?"),
                Symbol::Pong => frame(role, PONG, ""),
                Symbol::Close => close_frame(role, 1000, ""),
                Symbol::Reserved => frame(role, 3, ""),
                Symbol::CutPing => fragment(role, PING, ""),
                Symbol::BadText => frame(role, TEXT, [0xff]),
            })
            .collect();
        for length in 0..=5 {
            for number in 0..SYMBOLS.len().pow(length) {
                let digits = (0..length).map(|at| number / SYMBOLS.len().pow(at) % SYMBOLS.len());
                judge(role, &bytes, &digits.collect::<Vec<_>>());
            }
        }
    }
}

/// Compares machine and model.
fn judge(role: Role, bytes: &[Vec<u8>], sequence: &[usize]) {
    let symbols: Vec<Symbol> = sequence.iter().map(|&index| SYMBOLS[index]).collect();
    let mut machine = Machine::upgraded(role, Config::default());
    let mut input: Vec<u8> = sequence
        .iter()
        .flat_map(|&index| &bytes[index])
        .copied()
        .collect();
    machine.ws.handle_bytes(machine.now, &mut input);
    machine.drain();
    let mut sent = machine.sent;
    let frames: Vec<Sent> = std::iter::from_fn(|| read_frame(&mut sent)).collect();
    let seen = Seen {
        messages: machine
            .messages
            .iter()
            .map(|message| {
                (
                    message.is_text(),
                    String::from_utf8(message.as_bytes().to_vec()).unwrap(),
                )
            })
            .collect(),
        pongs: frames.iter().filter(|frame| frame.opcode == PONG).count(),
        end: machine.outcome.map(|end| u16::from(end.code)),
    };
    assert_eq!(seen, model(&symbols), "{role:?} {symbols:?}");
    let closes = frames.iter().filter(|frame| frame.opcode == CLOSE).count();
    assert_eq!(
        closes,
        usize::from(seen.end.is_some()),
        "{role:?} {symbols:?}"
    );
}
