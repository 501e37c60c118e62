//! What encryption costs: sealing and opening, per suite and length, and the
//! handshake.
//!
//! ```text
//! cargo bench -p smartsocket-core --bench crypt
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use smartsocket_core::crypt::{
    self, Exchange, Group, Handshake, Key, KeyRing, Offer, Policy, Session, Suite,
};
use smartsocket_core::{Bytes, Message, Seed, Tick};

const LENGTHS: [usize; 5] = [64, 512, 4_096, 16_384, 65_536];
const NOW: Tick = Tick::ZERO;

fn main() {
    println!(
        "{:24} {:>8} {:>12} {:>10}",
        "case", "bytes", "ns each", "MB/s"
    );
    for suite in [Suite::A256CbcHs512, Suite::A256Gcm] {
        for length in LENGTHS {
            let message = message(length);
            let (mut client, _) = open(suite, None);
            show(&format!("seal {suite}"), length, || {
                black_box(client.seal(NOW, &message).unwrap());
            });
            show_open(&format!("open {suite}"), suite, &message);
        }
    }
    // To compare with: a message to N members, sealed once or N times.
    let mut group = Group::new(&Seed::new([3; 32]), NOW);
    for length in LENGTHS {
        let message = message(length);
        show("seal group", length, || {
            black_box(group.seal(NOW, &message).unwrap());
        });
    }
    for (name, exchange) in [
        ("handshake, both ends", None),
        ("  with X25519", Some(Exchange::X25519)),
        ("  with P-256", Some(Exchange::P256)),
    ] {
        let each = nanoseconds(|| {
            black_box(open(Suite::A256Gcm, exchange));
        });
        println!("{name:24} {:>8} {each:>12.0}", "");
    }
}

fn message(length: usize) -> Message {
    vec![7; length].into()
}

fn open(suite: Suite, exchange: Option<Exchange>) -> (Session, Session) {
    let key = Key::new([7; 32]).unwrap();
    let offer = Offer {
        suites: vec![suite],
        exchange,
    };
    let (policy, ring) = (Policy::default(), KeyRing::new(key.clone()));
    let client = Handshake::new(Some(&key), &offer, "/", Seed::new([1; 32])).unwrap();
    let seed = Seed::new([2; 32]);
    let (answer, mut server, first) =
        crypt::accept(NOW, Some(&ring), &policy, "/", client.hello(), &seed).unwrap();
    let (mut client, first_of_client) = client.finish(NOW, &answer).unwrap();
    client.open(first).unwrap();
    server.open(first_of_client).unwrap();
    (client, server)
}

fn show(name: &str, length: usize, turn: impl FnMut()) {
    print(name, length, nanoseconds(turn));
}

fn print(name: &str, length: usize, each: f64) {
    let rate = length as f64 * 1e3 / each;
    println!("{name:24} {length:>8} {each:>12.0} {rate:>10.0}");
}

/// Every record opens once, so rounds of them are sealed beforehand.
fn show_open(name: &str, suite: Suite, message: &Message) {
    let (mut client, mut server) = open(suite, None);
    let count = (4 << 20) / message.len().max(1_024);
    let mut rounds: Vec<f64> = (0..9)
        .map(|_| {
            let seal = || client.seal(NOW, message).unwrap();
            let records: Vec<Bytes> = std::iter::repeat_with(seal).take(count).collect();
            let start = Instant::now();
            for record in records {
                black_box(server.open(record).unwrap());
            }
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    print(name, message.len(), median(&mut rounds));
}

/// The median of nine rounds of about 20 ms.
fn nanoseconds(mut turn: impl FnMut()) -> f64 {
    let mut time = |turns: u64| {
        let start = Instant::now();
        for _ in 0..turns {
            turn();
        }
        start.elapsed().as_nanos() as f64 / turns as f64
    };
    let turns = (20e6 / time(50)) as u64 + 1;
    let mut rounds: Vec<f64> = (0..9).map(|_| time(turns)).collect();
    median(&mut rounds)
}

fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
