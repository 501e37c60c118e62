//! Rule 4: work is linear in the bytes received. Counted in calls to the
//! allocator and in steps of the driver, not in time.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Mutex;

use common::*;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::{Config, Tick, WebSocket};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// One test at a time, so that each sees only its own calls.
static TURN: Mutex<()> = Mutex::new(());

/// Calls to the allocator while bytes go into the machine, in reads of `size`.
fn calls(ws: &mut WebSocket, bytes: &[u8], size: usize) -> usize {
    let change = change(ws, bytes, size);
    change.allocations + change.reallocations
}

/// What the allocator is asked for meanwhile.
fn change(ws: &mut WebSocket, bytes: &[u8], size: usize) -> Stats {
    let mut read = bytes.to_vec();
    let region = Region::new(HEAP);
    for piece in read.chunks_mut(size) {
        ws.handle_bytes(Tick::ZERO, piece);
    }
    region.change()
}

/// Bytes allocated in all for each byte received, in whatever form it comes.
#[test]
fn a_byte_received_costs_a_constant_of_memory() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for role in ROLES {
        let claim = |claim| Raw::to(role, true, BINARY, "").claim(claim).bytes();
        let fragments = |data: &str| {
            let mut bytes = fragment(role, BINARY, data);
            bytes.extend(fragment(role, CONTINUATION, data).repeat(4_000));
            bytes
        };
        // What comes, and for each byte of it and for all of it what may be
        // allocated: a message grows by doubling, and ends at its own size.
        let cases = [
            ("a claimed MiB", claim(1 << 20), 0, 512),
            (
                "half a claimed MiB",
                Raw::to(role, true, BINARY, vec![7; 1 << 19])
                    .claim(1 << 20)
                    .bytes(),
                2,
                8_192,
            ),
            ("1-byte fragments", fragments("x"), 2, 8_192),
            ("empty fragments", fragments(""), 0, 512),
            (
                "a long message",
                frame(role, BINARY, vec![7; 1 << 20]),
                2,
                8_192,
            ),
            (
                "1-byte messages",
                frame(role, BINARY, "x").repeat(4_000),
                48,
                512,
            ),
            (
                "empty messages",
                frame(role, BINARY, "").repeat(4_000),
                48,
                512,
            ),
            (
                "1-byte pings",
                frame(role, PING, "x").repeat(1_000),
                100,
                16_384,
            ),
        ];
        for (what, bytes, each, once) in cases {
            for streaming in [false, true] {
                for read in [1, 1_000, 64 * 1024] {
                    let config = Config {
                        streaming,
                        ..Config::default()
                    };
                    let mut ws = Machine::upgraded(role, config).ws;
                    let allocated = change(&mut ws, &bytes, read).bytes_allocated;
                    // In parts, a byte may come as an event of its own.
                    let each = if streaming { each + 140 } else { each };
                    assert!(ws.is_open());
                    assert!(
                        allocated <= each * bytes.len() + once,
                        "{role:?}, {what}, reads of {read}, streaming: {streaming}: {allocated} bytes for {}",
                        bytes.len()
                    );
                }
            }
        }
    }
}

#[test]
fn a_message_of_small_fragments_is_not_moved_for_each_of_them() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for role in ROLES {
        for opcode in [TEXT, BINARY] {
            let mut bytes = fragment(role, opcode, "");
            for _ in 0..4_000 {
                bytes.extend(fragment(role, CONTINUATION, [b'x'; 250]));
            }
            for size in [1, 256, 64 * 1024] {
                let mut ws = Machine::upgraded(role, Config::default()).ws;
                let calls = calls(&mut ws, &bytes, size);
                assert!(ws.is_open());
                assert!(
                    calls < 40,
                    "{calls} calls for one message of 4,001 fragments"
                );
            }
        }
    }
}

#[test]
fn a_message_in_one_byte_reads_is_not_moved_for_each_of_them() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for role in ROLES {
        for opcode in [TEXT, BINARY] {
            let bytes = frame(role, opcode, vec![b'x'; 300_000]);
            let mut ws = Machine::upgraded(role, Config::default()).ws;
            let calls = calls(&mut ws, &bytes, 1);
            assert!(calls < 40, "{calls} calls for one message");
        }
    }
}

#[test]
fn a_compressed_message_in_one_byte_reads_needs_few_calls() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut numbers = Numbers(3);
    let data: Vec<u8> = (0..100_000)
        .map(|_| b'a' + (numbers.next() % 16) as u8)
        .collect();
    for role in ROLES {
        let bytes = compressed(role, TEXT, &data);
        let config = Config {
            deflate: Some(Deflate::default()),
            ..Config::default()
        };
        let mut ws = Machine::upgraded(role, config).ws;
        let calls = calls(&mut ws, &bytes, 1);
        assert!(ws.has_event());
        assert!(calls < 60, "{calls} calls for {} bytes", bytes.len());
    }
}

#[test]
fn a_trickling_head_needs_one_call_a_read() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let head = REQUEST.replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(7_000)));
    let mut ws = WebSocket::server(Config::default(), seed(), Tick::ZERO);
    let calls = calls(&mut ws, head.as_bytes(), 1);
    assert!(ws.is_open());
    assert!(
        calls < head.len() + 100,
        "{calls} calls for {} bytes",
        head.len()
    );
}

#[test]
fn control_frames_cost_a_constant_each() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for role in ROLES {
        let pings: Vec<u8> = (0..1_000).flat_map(|_| frame(role, PING, "x")).collect();
        let mut ws = Machine::upgraded(role, Config::default()).ws;
        let first = calls(&mut ws, &pings, 64 * 1024);
        let second = calls(&mut ws, &pings, 64 * 1024);
        assert!(
            second <= first + 10 && first < 3_000,
            "{first}, then {second}"
        );
    }
}

#[test]
fn a_long_message_goes_out_in_as_many_steps_as_it_has_fragments() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for role in ROLES {
        let config = Config {
            fragment_size: 100_000,
            ..Config::default()
        };
        let mut machine = Machine::upgraded(role, config);
        machine.ws.send(machine.now, vec![0; 10 << 20]).unwrap();
        let mut steps = 0;
        let mut outputs = 0;
        loop {
            while machine.ws.poll_output().is_some() {
                outputs += 1;
            }
            let n: usize = machine.ws.unsent().map(|bytes| bytes.len()).sum();
            if n == 0 {
                break;
            }
            machine.ws.transmitted(machine.now, n);
            steps += 1;
        }
        assert!(
            steps <= 110 && outputs <= steps + 1,
            "{steps} steps, {outputs} outputs"
        );
    }
}
