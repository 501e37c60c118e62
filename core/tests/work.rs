//! Rule 4: work is linear in the bytes received. Counted in calls to the
//! allocator and in steps of the driver, not in time.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Mutex;

use common::*;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::{Config, Tick, WebSocket};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// One test at a time, so that each sees only its own calls.
static TURN: Mutex<()> = Mutex::new(());

/// Calls to the allocator while bytes go into the machine, in reads of `size`.
fn calls(ws: &mut WebSocket, bytes: &[u8], size: usize) -> usize {
    let mut read = bytes.to_vec();
    let region = Region::new(HEAP);
    for piece in read.chunks_mut(size) {
        ws.handle_bytes(Tick::ZERO, piece);
    }
    let change = region.change();
    change.allocations + change.reallocations
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
