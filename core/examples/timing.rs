//! Whether the time in which something wrong is refused tells what is wrong.
//!
//! ```text
//! cargo run --release -p smartsocket-core --example timing [MEASUREMENTS]
//! ```
//!
//! In the manner of dudect (Reparaz, Balasch, Verbauwhede: "Dude, is my code
//! constant time?", 2017): two kinds of inputs in random order, and Welch's
//! t-test over their times, of all and of those below the 90th percentile, which
//! leaves out what the machine did meanwhile. An absolute t above 4.5 suggests
//! that the times differ, one above 10 shows it. The last line is of a comparison
//! that stops at the first difference, and has to be found out.
//!
//! What comes out is of one processor and one compiler, so no test depends on it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use smartsocket_core::crypt::{self, Handshake, Key, KeyRing, Offer, Policy, Session, Suite};
use smartsocket_core::{Bytes, Seed, Tick};

fn main() {
    let argument = std::env::args().nth(1);
    let measurements = argument.map_or(Ok(1_000_000), |text| text.parse());
    let measurements: usize = measurements.expect("a number of measurements");
    println!("{measurements} measurements each; |t| below 4.5 is no difference");
    println!("{:44} {:>8} {:>8}", "case", "t, all", "t, 90 %");
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for suite in [Suite::A256CbcHs512, Suite::A256Gcm] {
        let (server, good) = ends(suite);
        let end = good.len();
        let tag = end - tag_length(suite);
        let flipped = |at: usize| {
            let mut record = good.clone();
            record[at] ^= 1;
            record
        };
        let zeros = |place: std::ops::Range<usize>| {
            let mut record = good.clone();
            record[place].fill(0);
            record
        };
        for (what, pair) in [
            (
                "tag wrong in its first or last byte",
                [tag, end - 1].map(flipped),
            ),
            ("tag or ciphertext wrong", [flipped(tag), flipped(tag - 20)]),
            // The last bytes of CBC's ciphertext decide on its padding.
            (
                "ciphertext wrong at its end or begin",
                [tag - 1, tag - 33].map(flipped),
            ),
            (
                "tag or all of the ciphertext zeros",
                [zeros(tag..end), zeros(30..tag)],
            ),
        ] {
            let refuse = |record: Bytes, mut session: Session| {
                assert!(session.open(record).is_err());
            };
            let prepare = |record: &Vec<u8>| (Bytes::copy_from_slice(record), server());
            let name = format!("{suite}: {what}");
            test(&name, measurements, &mut chance, &pair, prepare, refuse);
        }
    }

    let key = [7; 32];
    let other = |at: usize| {
        let mut bytes = key;
        bytes[at] ^= 1;
        Key::new(bytes).unwrap()
    };
    let key = Key::new(key).unwrap();
    let compare = |other: Key, key: Key| assert!(black_box(other != key));
    let prepare = |other: &Key| (other.clone(), key.clone());
    let pair = [other(0), other(31)];
    let name = "keys different in their first or last byte";
    test(name, measurements, &mut chance, &pair, prepare, compare);

    let naive = |a: [u8; 32], b: [u8; 32]| {
        let mut pairs = a.iter().zip(&b);
        assert!(black_box(!pairs.all(|(a, b)| black_box(a) == black_box(b))));
    };
    let pair = [0, 31].map(|at| {
        let mut bytes = [7; 32];
        bytes[at] ^= 1;
        bytes
    });
    let prepare = |bytes: &[u8; 32]| (*bytes, [7; 32]);
    let name = "(control) a comparison that stops early";
    test(name, measurements, &mut chance, &pair, prepare, naive);
}

const fn tag_length(suite: Suite) -> usize {
    match suite {
        Suite::A256CbcHs512 => 32,
        Suite::A256Gcm => 16,
    }
}

/// Servers that have just answered a hello, all alike, and the record that they
/// wait for.
fn ends(suite: Suite) -> (impl Fn() -> Session, Vec<u8>) {
    let key = Key::new([7; 32]).unwrap();
    let offer = Offer {
        suites: vec![suite],
        exchange: None,
    };
    let client = Handshake::new(Some(&key), &offer, "/", Seed::new([1; 32])).unwrap();
    let hello = client.hello().clone();
    let ring = KeyRing::new(key);
    let accept = move || {
        let (policy, seed) = (Policy::default(), Seed::new([2; 32]));
        crypt::accept(Tick::ZERO, Some(&ring), &policy, "/", &hello, &seed).unwrap()
    };
    let (answer, mut server, _) = accept();
    let (_, first) = client.finish(Tick::ZERO, &answer).unwrap();
    assert!(
        server.open(first.clone()).is_ok(),
        "without a change it opens"
    );
    (move || accept().1, first.to_vec())
}

/// Times `act` on one of a pair of inputs after the other, in no order.
fn test<I, A, B>(
    name: &str,
    measurements: usize,
    chance: &mut Chance,
    pair: &[I; 2],
    prepare: impl Fn(&I) -> (A, B),
    act: impl Fn(A, B),
) {
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..measurements {
        let class = chance.next() as usize & 1;
        let (a, b) = prepare(black_box(&pair[class]));
        let start = Instant::now();
        act(black_box(a), black_box(b));
        let time = start.elapsed().as_nanos() as f64;
        // The first warm up.
        if n >= measurements / 100 {
            times[class].push(time);
        }
    }
    let all = welch(&times);
    let mut sorted = times.concat();
    sorted.sort_by(f64::total_cmp);
    let most = sorted[sorted.len() * 9 / 10];
    for times in &mut times {
        times.retain(|time| *time <= most);
    }
    println!("{name:44} {all:>8.2} {:>8.2}", welch(&times));
}

/// Welch's t: by how many standard errors two means differ.
fn welch(times: &[Vec<f64>; 2]) -> f64 {
    let [(mean_a, error_a), (mean_b, error_b)] = [&times[0], &times[1]].map(|times| {
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
        (mean, squares / (count - 1.0) / count)
    });
    (mean_a - mean_b) / (error_a + error_b).sqrt()
}

/// SplitMix64, which is enough to be in no order.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}
