//! Connections that end at any stage leave no byte behind. Counted by the
//! allocator: 10,000 connections of two machines at a time, again and again.
//!
//! `SMARTSOCKET_LEAK_ROUNDS` says how often; 100 are a million connections.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use peak_alloc::PeakAlloc;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::http::UpgradeRequest;
use smartsocket_core::websocket::{Event, Fill, Output, Role};
use smartsocket_core::{CloseCode, Config, Fault, Message, Seed, Tick, WebSocket};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const CONNECTIONS: usize = 10_000;
/// Rounds that take a few seconds without optimisation.
const ROUNDS: usize = 5;

/// The only thread there is (`harness = false`), so that nothing else counts.
fn main() {
    let rounds = std::env::var("SMARTSOCKET_LEAK_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let plain = Arc::new(Config::default());
    let deflate = Arc::new(Config {
        deflate: Some(Deflate::default()),
        ..Config::default()
    });
    let mut numbers = Numbers(7);
    let mut pairs = Vec::with_capacity(CONNECTIONS);
    let mut stages = [0_usize; STAGES];
    let before = HEAP.current_usage();
    let mut held = 0;
    for _ in 0..rounds {
        while pairs.len() < CONNECTIONS {
            // A compressor is a third of a megabyte, so few have one.
            let config = if numbers.below(100) == 0 {
                &deflate
            } else {
                &plain
            };
            let stage = numbers.below(STAGES);
            stages[stage] += 1;
            pairs.push(Pair::at(stage, config, &mut numbers));
        }
        held = held.max(HEAP.current_usage() - before);
        pairs.clear();
        assert_eq!(HEAP.current_usage(), before);
    }
    assert!(stages.iter().all(|count| *count > CONNECTIONS / 20));
    println!(
        "  {} machines in {rounds} rounds, {held} bytes held at most, 0 after each",
        2 * CONNECTIONS * rounds
    );
    println!("test connections_leave_nothing_whenever_they_end ... ok");
    println!("test result: ok. 1 passed; 0 failed; 0 ignored");
}

const STAGES: usize = 12;

/// Two machines and what their embedders hold.
struct Pair {
    client: WebSocket,
    server: WebSocket,
    _fill: Option<Fill>,
}

impl Pair {
    /// A connection brought to one of its stages.
    fn at(stage: usize, config: &Arc<Config>, numbers: &mut Numbers) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&numbers.next().to_le_bytes());
        let request = UpgradeRequest::new("ws://example.com/chat").unwrap();
        let client = WebSocket::client(request, config.clone(), Seed::new(seed), Tick::ZERO);
        let mut pair = Self {
            client: client.unwrap(),
            server: WebSocket::server(config.clone(), Seed::new(seed), Tick::ZERO),
            _fill: None,
        };
        pair.run(stage, numbers);
        pair
    }

    fn run(&mut self, stage: usize, numbers: &mut Numbers) {
        let now = Tick::ZERO;
        match stage {
            0 => return,
            // In the middle of the head, and with one that is refused.
            1 => {
                return self
                    .server
                    .handle_bytes(now, &mut REQUEST.as_bytes().to_vec()[..40]);
            }
            2 => return self.server.handle_bytes(now, &mut [0; 40]),
            // The answer is on its way.
            3 => {
                pass(&mut self.client, &mut self.server, usize::MAX);
                return;
            }
            _ => {}
        }
        self.settle();
        assert!(self.client.is_open() && self.server.is_open());
        let size = numbers.below(3_000);
        match stage {
            // Open, and after an echo.
            4 => {}
            5 => {
                self.client.send(now, vec![7; size]).unwrap();
                assert_eq!(self.settle(), 1);
                self.server.send(now, "x".repeat(size)).unwrap();
                assert_eq!(self.settle(), 1);
            }
            // In the middle of a frame, of a message, of a lent buffer.
            6 => {
                self.client.send(now, vec![7; size + 200]).unwrap();
                pass(&mut self.client, &mut self.server, size + 100);
            }
            7 => {
                self.client.send_part(now, "first", false).unwrap();
                self.client.ping(now, vec![1; 100]).unwrap();
                pass(&mut self.client, &mut self.server, usize::MAX);
            }
            8 => {
                let mut half = Raw::to(Role::Server, true, BINARY, vec![1; 40_000]);
                half = half.claim(100_000);
                self.server.handle_bytes(now, &mut half.bytes());
                self._fill = Some(self.server.take_fill().unwrap());
            }
            // With much to send, and events that nobody took.
            9 => {
                for _ in 0..20 {
                    self.server.send(now, vec![7; size]).unwrap();
                    self.client.send(now, Message::text("y")).unwrap();
                }
                let mut bytes = Vec::new();
                let _ = self.client.poll_output();
                bytes.extend(self.client.unsent().flat_map(|bytes| bytes.to_vec()));
                self.server.handle_bytes(now, &mut bytes);
            }
            // Closing from one side, or both, or with a fault.
            10 => {
                self.client.close(now, CloseCode::from(4000), "enough");
                if size.is_multiple_of(2) {
                    self.server.close(now, CloseCode::NORMAL, "of this");
                }
                match size % 3 {
                    0 => {
                        pass(&mut self.client, &mut self.server, usize::MAX);
                    }
                    1 => {
                        self.settle();
                    }
                    _ => {}
                }
            }
            _ => {
                self.client.send(now, vec![7; size]).unwrap();
                pass(&mut self.client, &mut self.server, size);
                self.server.handle_fault(now, Fault::Reset);
                self.client.handle_eof(now);
                if size.is_multiple_of(2) {
                    self.settle();
                }
            }
        }
    }

    /// Passes bytes both ways until there are none; how many messages came.
    fn settle(&mut self) -> usize {
        let mut messages = 0;
        loop {
            let (there, came) = pass(&mut self.client, &mut self.server, usize::MAX);
            let (back, went) = pass(&mut self.server, &mut self.client, usize::MAX);
            messages += came + went;
            if there + back == 0 {
                return messages;
            }
        }
    }
}

/// Passes up to `most` bytes on; how many there were, and messages in them.
fn pass(from: &mut WebSocket, to: &mut WebSocket, most: usize) -> (usize, usize) {
    let mut messages = take(from);
    let mut bytes: Vec<u8> = from.unsent().flat_map(|bytes| bytes.to_vec()).collect();
    bytes.truncate(most);
    from.transmitted(Tick::ZERO, bytes.len());
    to.handle_bytes(Tick::ZERO, &mut bytes);
    messages += take(to);
    (bytes.len(), messages)
}

fn take(ws: &mut WebSocket) -> usize {
    std::iter::from_fn(|| ws.poll_output())
        .filter(|output| matches!(output, Output::Event(Event::Message(_))))
        .count()
}
