//! Rule 4: what a peer can make a machine hold. Counted by the allocator.
//!
//! "Held" is what stays after an input; "peak" includes what an input needed
//! in passing, with both blocks of a reallocation counted.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use peak_alloc::PeakAlloc;
use smartsocket_core::crypt::{self, Handshake, Key, KeyRing, Offer, Policy, Session, Suite};
use smartsocket_core::deflate::{Deflate, Parameters};
use smartsocket_core::websocket::{Event, Negotiated, Output, Role};
use smartsocket_core::{Config, Seed, Tick, WebSocket};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Tests run one after the other on the only thread there is (`harness =
/// false`), so that each sees its own allocations and no others.
fn main() {
    let tests: [(&str, fn()); 15] = [
        (
            "an_idle_connection_holds_almost_nothing",
            an_idle_connection_holds_almost_nothing,
        ),
        (
            "a_header_that_claims_a_mebibyte_gets_less_than_8_kib",
            a_header_that_claims_a_mebibyte_gets_less_than_8_kib,
        ),
        (
            "a_message_never_holds_more_than_twice_what_came",
            a_message_never_holds_more_than_twice_what_came,
        ),
        (
            "a_part_holds_no_more_than_its_bytes",
            a_part_holds_no_more_than_its_bytes,
        ),
        (
            "a_hundred_thousand_empty_fragments_hold_nothing",
            a_hundred_thousand_empty_fragments_hold_nothing,
        ),
        (
            "an_inflated_bomb_holds_the_message_limit_at_most",
            an_inflated_bomb_holds_the_message_limit_at_most,
        ),
        (
            "a_ping_flood_against_a_blocked_writer_holds_a_constant",
            a_ping_flood_against_a_blocked_writer_holds_a_constant,
        ),
        (
            "an_echo_of_empty_messages_nobody_reads_is_bounded",
            an_echo_of_empty_messages_nobody_reads_is_bounded,
        ),
        (
            "early_bytes_of_an_undecided_connection_are_bounded",
            early_bytes_of_an_undecided_connection_are_bounded,
        ),
        (
            "a_refusal_with_an_endless_body_is_bounded",
            a_refusal_with_an_endless_body_is_bounded,
        ),
        ("discarded_bytes_are_not_kept", discarded_bytes_are_not_kept),
        (
            "a_closed_connection_gives_back_its_message",
            a_closed_connection_gives_back_its_message,
        ),
        (
            "connections_that_come_and_go_leave_nothing",
            connections_that_come_and_go_leave_nothing,
        ),
        (
            "nothing_is_kept_after_a_message",
            nothing_is_kept_after_a_message,
        ),
        (
            "an_encrypted_session_holds_a_few_kib",
            an_encrypted_session_holds_a_few_kib,
        ),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    println!(
        "test result: ok. {} passed; 0 failed; 0 ignored",
        tests.len()
    );
}

struct Meter {
    start: usize,
}

impl Meter {
    fn new() -> Self {
        let mut meter = Self { start: 0 };
        meter.reset();
        meter
    }

    /// Counts from here.
    fn reset(&mut self) {
        HEAP.reset_peak_usage();
        self.start = HEAP.current_usage();
    }

    fn held(&self) -> usize {
        HEAP.current_usage().saturating_sub(self.start)
    }

    fn peak(&self) -> usize {
        HEAP.peak_usage().saturating_sub(self.start)
    }
}

const KIB: usize = 1024;
const MIB: usize = 1 << 20;

fn upgraded(role: Role, config: Config) -> WebSocket {
    let deflate = config.deflate.is_some().then(Default::default);
    let agreed = Negotiated {
        deflate,
        subprotocol: None,
    };
    WebSocket::upgraded(role, agreed, config, seed(), Tick::ZERO)
}

/// Takes all outputs and drops them; whether the connection is over.
fn discard_outputs(ws: &mut WebSocket) -> Option<u16> {
    let mut end = None;
    while let Some(output) = ws.poll_output() {
        if let Output::Event(Event::Closed(closed)) = output {
            end = Some(closed.code.into());
        }
    }
    end
}

fn an_idle_connection_holds_almost_nothing() {
    let mut meter = Meter::new();
    for role in ROLES {
        let config = std::sync::Arc::new(Config {
            deflate: Some(Deflate::default()),
            ..Config::default()
        });
        let agreed = Negotiated {
            deflate: Some(Parameters {
                server_no_context_takeover: true,
                client_no_context_takeover: true,
                ..Default::default()
            }),
            subprotocol: None,
        };
        meter.reset();
        let mut ws = Box::new(WebSocket::upgraded(
            role,
            agreed,
            config.clone(),
            seed(),
            Tick::ZERO,
        ));
        // It has spoken, and been spoken to.
        ws.handle_bytes(ms(1), &mut frame(role, TEXT, vec![b'x'; 1_000]));
        ws.handle_bytes(ms(1), &mut frame(role, PING, "x"));
        ws.send(ms(1), "answer").unwrap();
        discard_outputs(&mut ws);
        let n = ws.unsent().map(|bytes| bytes.len()).sum();
        ws.transmitted(ms(1), n);
        discard_outputs(&mut ws);
        assert!(meter.held() < 2 * KIB, "{role:?}: {} bytes", meter.held());
    }
}

/// RUSTSEC-2022-0035 (`websocket`): the declared length was allocated.
fn a_header_that_claims_a_mebibyte_gets_less_than_8_kib() {
    let mut meter = Meter::new();
    for role in ROLES {
        for (fin, opcode) in [(true, TEXT), (true, BINARY), (false, BINARY)] {
            for sent in [0, 1, 100] {
                let mut ws = upgraded(role, Config::default());
                let claim = Raw::to(role, fin, opcode, vec![b'x'; sent]).claim(1 << 20);
                let mut bytes = claim.bytes();
                meter.reset();
                ws.handle_bytes(ms(0), &mut bytes);
                let fill = ws.take_fill();
                assert!(
                    meter.peak() < 8 * KIB,
                    "{} bytes for {sent} sent",
                    meter.peak()
                );
                assert!(fill.is_none(), "nothing is lent to who has sent nothing");
            }
        }
    }
}

fn a_message_never_holds_more_than_twice_what_came() {
    let mut meter = Meter::new();
    for role in ROLES {
        for opcode in [TEXT, BINARY] {
            for (size, read, fills) in [
                (1 << 20, 1_000, false),
                (1 << 20, 16 * KIB, false),
                (1 << 20, 64 * KIB, true),
                (1_000, 1_000, false),
                (1, 1, false),
                (40 * KIB, 64 * KIB, true),
            ] {
                // One frame, or fragments of this size.
                let total = if size == 1 { 4_000 } else { 1 << 20 };
                let config = Config {
                    max_message: 2 << 20,
                    ..Config::default()
                };
                let mut ws = upgraded(role, config);
                let mut bytes = Vec::new();
                let mut at = 0;
                while at < total {
                    let n = size.min(total - at);
                    let kind = if at == 0 { opcode } else { CONTINUATION };
                    bytes.extend(fragment(role, kind, vec![b'x'; n]));
                    at += n;
                }
                meter.reset();
                let mut received = 0;
                let mut piece = vec![0; read];
                let own = meter.held();
                while received < bytes.len() {
                    let mut n = read.min(bytes.len() - received);
                    match fills.then(|| ws.take_fill()).flatten() {
                        Some(mut fill) => {
                            n = n.min(fill.room);
                            fill.buf.extend_from_slice(&bytes[received..received + n]);
                            assert!(fill.buf.capacity() <= (2 * received).max(4 * KIB));
                            ws.handle_fill(ms(0), fill);
                        }
                        None => {
                            piece[..n].copy_from_slice(&bytes[received..received + n]);
                            ws.handle_bytes(ms(0), &mut piece[..n]);
                        }
                    }
                    received += n;
                    let held = meter.held() - own;
                    assert!(
                        held <= (2 * received).max(4 * KIB) + KIB,
                        "{held} bytes held for {received} received, {size}-byte frames"
                    );
                }
                assert!(ws.is_open() && !ws.has_event());
            }
        }
    }
}

/// Found by fuzzing: every part had the first block of a long message, so that
/// fragments of one byte, read at once, held 4 KiB each.
fn a_part_holds_no_more_than_its_bytes() {
    let mut meter = Meter::new();
    for role in ROLES {
        for (opcode, rsv) in [(TEXT, 0), (BINARY, 0), (TEXT, 4), (BINARY, 4)] {
            let config = Config {
                streaming: true,
                deflate: Some(Deflate::default()),
                ..Config::default()
            };
            let mut ws = upgraded(role, config);
            // Compressed, a stored block of one byte.
            let piece: &[u8] = if rsv == 0 {
                b"x"
            } else {
                &[0, 1, 0, 0xfe, 0xff, b'x']
            };
            let begin = Raw::to(role, false, opcode, piece).rsv(rsv);
            ws.handle_bytes(ms(0), &mut begin.bytes());
            let mut bytes = fragment(role, CONTINUATION, piece).repeat(1_000);
            meter.reset();
            ws.handle_bytes(ms(0), &mut bytes);
            assert!(meter.held() < 256 * KIB, "{role:?}: {} bytes", meter.held());
            let mut parts = 0;
            while let Some(output) = ws.poll_output() {
                parts += usize::from(matches!(output, Output::Event(Event::Part(_))));
            }
            assert_eq!(parts, 1_001);
        }
    }
}

fn a_hundred_thousand_empty_fragments_hold_nothing() {
    let mut meter = Meter::new();
    for role in ROLES {
        let config = Config {
            max_fragments: u32::MAX,
            ..Config::default()
        };
        let mut ws = upgraded(role, config);
        let mut begin = fragment(role, TEXT, "");
        let more = fragment(role, CONTINUATION, "");
        let mut piece = more.clone();
        meter.reset();
        ws.handle_bytes(ms(0), &mut begin);
        for _ in 0..100_000 {
            piece.copy_from_slice(&more);
            ws.handle_bytes(ms(0), &mut piece);
        }
        assert!(meter.peak() < KIB, "{}", meter.peak());
    }
}

fn an_inflated_bomb_holds_the_message_limit_at_most() {
    let mut meter = Meter::new();
    let limit = 256 * KIB;
    for role in ROLES {
        for opcode in [TEXT, BINARY] {
            for pieces in [usize::MAX, 1_000, 1] {
                let deflate = Deflate {
                    max_ratio: u32::MAX,
                    ..Deflate::default()
                };
                let config = Config {
                    deflate: Some(deflate),
                    max_message: limit,
                    ..Config::default()
                };
                let mut ws = upgraded(role, config);
                // One inflater and one message have been in use before.
                ws.handle_bytes(ms(0), &mut compressed(role, BINARY, b"warm up"));
                discard_outputs(&mut ws);
                let bytes = compressed(role, opcode, &vec![b'0'; 8 << 20]);
                let mut piece = vec![0; bytes.len().min(pieces)];
                meter.reset();
                for part in bytes.chunks(pieces) {
                    piece[..part.len()].copy_from_slice(part);
                    ws.handle_bytes(ms(0), &mut piece[..part.len()]);
                }
                assert_eq!(discard_outputs(&mut ws), Some(1009));
                // The output of this read, and the message it goes to: each
                // may be moved once to a block of twice its size.
                let peak = meter.peak();
                assert!(
                    peak <= 4 * limit + 64 * KIB,
                    "{peak} bytes, pieces of {pieces}"
                );
                assert!(meter.held() < 80 * KIB, "{}", meter.held());
            }
        }
    }
}

fn a_ping_flood_against_a_blocked_writer_holds_a_constant() {
    let mut meter = Meter::new();
    for role in ROLES {
        for drains in [false, true] {
            let config = Config {
                write_timeout: None,
                ..Config::default()
            };
            let mut ws = upgraded(role, config);
            let pings: Vec<u8> = (0..100)
                .flat_map(|_| frame(role, PING, [b'p'; 125]))
                .collect();
            let mut read = pings.clone();
            meter.reset();
            for _ in 0..1_000 {
                read.copy_from_slice(&pings);
                ws.handle_bytes(ms(0), &mut read);
                if drains {
                    discard_outputs(&mut ws);
                }
            }
            assert!(meter.peak() < 200 * KIB, "{}", meter.peak());
            let constant = meter.held();
            for _ in 0..1_000 {
                read.copy_from_slice(&pings);
                ws.handle_bytes(ms(0), &mut read);
                discard_outputs(&mut ws);
            }
            assert!(meter.held() <= constant.max(130 * KIB), "{}", meter.held());
        }
    }
}

fn an_echo_of_empty_messages_nobody_reads_is_bounded() {
    let mut meter = Meter::new();
    for role in ROLES {
        let config = Config {
            write_timeout: None,
            ..Config::default()
        };
        let mut ws = upgraded(role, config);
        meter.reset();
        let mut refused = 0;
        for _ in 0..500_000 {
            refused += u32::from(ws.send(ms(0), "").is_err());
        }
        assert!(refused > 0);
        assert!(meter.held() < 3 << 20, "{}", meter.held());
    }
}

fn early_bytes_of_an_undecided_connection_are_bounded() {
    let mut meter = Meter::new();
    let config = Config {
        decide: true,
        ..Config::default()
    };
    let mut ws = WebSocket::server(config, seed(), Tick::ZERO);
    ws.handle_bytes(ms(0), &mut REQUEST.as_bytes().to_vec());
    let ticket = ws.poll_output();
    let mut flood = vec![0; 10 << 20];
    meter.reset();
    for read in flood.chunks_mut(10_000) {
        ws.handle_bytes(ms(0), read);
    }
    assert!(meter.peak() < 512 * KIB, "{}", meter.peak());
    assert_eq!(discard_outputs(&mut ws), Some(1008));
    assert!(meter.held() < KIB, "all is given back: {}", meter.held());
    drop(ticket);

    let config = Config {
        decide: true,
        ..Config::default()
    };
    let mut ws = WebSocket::server(config, seed(), Tick::ZERO);
    ws.handle_bytes(ms(0), &mut REQUEST.as_bytes().to_vec());
    let _ticket = ws.poll_output();
    meter.reset();
    ws.handle_bytes(ms(0), &mut flood);
    assert!(meter.peak() < 4 * KIB, "one huge read: {}", meter.peak());
}

fn a_refusal_with_an_endless_body_is_bounded() {
    let mut meter = Meter::new();
    let mut client = Machine::client(Config::default());
    client.drain();
    client.feed("HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n");
    let mut flood = vec![b'x'; 10 << 20];
    meter.reset();
    for read in flood.chunks_mut(1_000) {
        client.ws.handle_bytes(ms(0), read);
    }
    assert!(meter.peak() < 128 * KIB, "{}", meter.peak());
}

fn discarded_bytes_are_not_kept() {
    let mut meter = Meter::new();
    for role in ROLES {
        for mut end in [close_frame(role, 1000, ""), vec![0xff]] {
            let mut ws = upgraded(role, Config::default());
            ws.handle_bytes(ms(0), &mut end);
            discard_outputs(&mut ws);
            let mut flood = vec![0; 1 << 20];
            meter.reset();
            for _ in 0..20 {
                ws.handle_bytes(ms(0), &mut flood);
            }
            assert!(meter.peak() < KIB, "{}", meter.peak());
        }
    }
}

fn a_closed_connection_gives_back_its_message() {
    let mut meter = Meter::new();
    for role in ROLES {
        let mut ws = upgraded(role, Config::default());
        let mut half = fragment(role, BINARY, vec![0; 500 * KIB]);
        meter.reset();
        ws.handle_bytes(ms(0), &mut half);
        assert!(meter.held() > 400 * KIB);
        ws.handle_bytes(ms(0), &mut [0xff]);
        discard_outputs(&mut ws);
        assert!(meter.held() < 2 * KIB, "{}", meter.held());
    }
}

/// jetty #293 and #300, ws #497: what a compressed connection used was never
/// given back.
fn connections_that_come_and_go_leave_nothing() {
    let mut meter = Meter::new();
    let mut first = None;
    for round in 0..300 {
        for role in ROLES {
            let config = Config {
                deflate: Some(Deflate::default()),
                ..Config::default()
            };
            let mut ws = upgraded(role, config);
            if round % 10 == 0 {
                ws.handle_bytes(ms(0), &mut compressed(role, TEXT, &[b'x'; 2_000]));
                ws.send(ms(0), "y".repeat(2_000)).unwrap();
            }
            ws.handle_bytes(ms(0), &mut fragment(role, TEXT, "half"));
            ws.handle_bytes(ms(0), &mut close_frame(role, 1000, ""));
            discard_outputs(&mut ws);
        }
        if first.is_none() {
            meter.reset();
            first = Some(());
        }
    }
    assert!(meter.held() < 8 * KIB, "{}", meter.held());
}

/// What stays when a message has come or gone: nothing.
fn nothing_is_kept_after_a_message() {
    for role in ROLES {
        for takeover in [None, Some(false), Some(true)] {
            let config = Arc::new(Config {
                max_queued_bytes: 2 * MIB,
                fragment_size: 100_000,
                deflate: takeover.map(|_| Deflate::default()),
                ..Config::default()
            });
            let agreed = Negotiated {
                subprotocol: None,
                deflate: takeover.map(|takeover| Parameters {
                    server_no_context_takeover: !takeover,
                    client_no_context_takeover: !takeover,
                    ..Parameters::default()
                }),
            };
            let data: Vec<u8> = (0..MIB).map(|n| (n / 7) as u8).collect();
            let inputs: Vec<Vec<u8>> = [16 * KIB, MIB]
                .iter()
                .map(|n| match takeover {
                    None => frame(role, BINARY, &data[..*n]),
                    Some(_) => compressed(role, BINARY, &data[..*n]),
                })
                .collect();
            let mut buffer = vec![0; 2 * MIB];
            let before = HEAP.current_usage();
            let mut ws = WebSocket::upgraded(role, agreed, config.clone(), seed(), Tick::ZERO);
            let mut idle = 0;
            for round in 0..4 {
                for (input, read) in inputs
                    .iter()
                    .flat_map(|i| [(i, 1_000), (i, 64 * KIB), (i, MIB * 2)])
                {
                    for fills in [false, true] {
                        for read in input.chunks(read) {
                            feed(&mut ws, read, fills, &mut buffer);
                        }
                        assert_eq!(take(&mut ws), 1);
                        ws.send(ms(0), data[..16 * KIB].to_vec()).unwrap();
                        ws.send(ms(0), data.clone()).unwrap();
                        send_all(&mut ws);
                        // The states of the compression stay; nothing else.
                        let held = HEAP.current_usage() - before;
                        match round {
                            0 => idle = held,
                            _ => assert_eq!(held, idle, "{role:?}, {takeover:?}"),
                        }
                        assert!(takeover.is_some() || held < KIB, "{held}");
                    }
                }
            }
            // Half a message, ended by a close frame or the end of the stream.
            let half = &inputs[1][..inputs[1].len() / 2];
            feed(&mut ws, half, false, &mut buffer);
            assert!(HEAP.current_usage() - before > idle);
            ws.handle_eof(ms(0));
            discard_outputs(&mut ws);
            let held = HEAP.current_usage() - before;
            assert!(held <= idle, "{held}, idle {idle}");
            drop(ws);
            assert_eq!(HEAP.current_usage(), before);
        }
    }
}

fn feed(ws: &mut WebSocket, mut bytes: &[u8], fills: bool, buffer: &mut [u8]) {
    while !bytes.is_empty() {
        match fills.then(|| ws.take_fill()).flatten() {
            Some(mut fill) => {
                let n = fill.room.min(bytes.len());
                fill.buf.extend_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                ws.handle_fill(ms(0), fill);
            }
            None => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                ws.handle_bytes(ms(0), &mut buffer[..bytes.len()]);
                break;
            }
        }
    }
}

/// Takes all outputs; how many messages there were.
fn take(ws: &mut WebSocket) -> usize {
    std::iter::from_fn(|| ws.poll_output())
        .filter(|output| matches!(output, Output::Event(Event::Message(_))))
        .count()
}

fn send_all(ws: &mut WebSocket) {
    loop {
        discard_outputs(ws);
        match ws.unsent().map(|bytes| bytes.len()).sum() {
            0 => break,
            n => ws.transmitted(ms(0), n),
        }
    }
}

/// Its ciphers, mostly; and a record is made in one piece.
fn an_encrypted_session_holds_a_few_kib() {
    let key = Key::new([7; 32]).unwrap();
    let (policy, ring) = (Policy::default(), KeyRing::new(key.clone()));
    for suite in [Suite::A256CbcHs512, Suite::A256Gcm] {
        let offer = Offer {
            suites: vec![suite],
            ..Offer::default()
        };
        let client = Handshake::new(Some(&key), &offer, "/", Seed::new([1; 32])).unwrap();
        let server_seed = Seed::new([2; 32]);
        let mut meter = Meter::new();
        let (answer, mut server, first) = crypt::accept(
            Tick::ZERO,
            Some(&ring),
            &policy,
            "/",
            client.hello(),
            &server_seed,
        )
        .unwrap();
        let (mut client, record) = client.finish(Tick::ZERO, &answer).unwrap();
        client.open(first).unwrap();
        server.open(record).unwrap();
        // Two sessions, less what the client's handshake held.
        let held = meter.held() / 2 + size_of::<Session>();
        assert!(held < 5 * KIB, "{held} for {suite}");

        meter.reset();
        let message = vec![0; MIB].into();
        meter.reset();
        let record = server.seal(Tick::ZERO, &message).unwrap();
        let peak = meter.peak();
        assert!(peak < MIB + KIB, "{peak} for {suite}");
        client.open(record).unwrap();
        assert!(meter.peak() < MIB + KIB, "opened in place");
        assert!(meter.held() < KIB);
    }
}
