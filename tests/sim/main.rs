//! Whole systems on a virtual clock: a hub, its clients on a network that
//! means harm, and an application that answers when it likes. A seed decides
//! everything, and a model beside it says what may and must happen. In `clients`
//! it is the other way round: our clients, and a host that means harm; `storms`
//! has ten thousand of them.
//!
//! `SIM_SEEDS=N` runs that many seeds instead of a few, `SIM_SEED=S` one again.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub)]

mod application;
mod chance;
mod clients;
mod ending;
mod model;
mod oracles;
mod peer;
mod storms;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use world::World;

/// What a run came to.
struct Outcome {
    trace: u64,
    /// Microseconds of connections.
    lived: u128,
}

fn run(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let steps = 50 + world.chance.below(800);
    for _ in 0..steps {
        world.take_step();
    }
    world.calm_down();
    world.account();
    world.account_acks();
    world.idle(Duration::from_secs(600));
    world.empty();
    world.account();
    Outcome {
        trace: world.trace,
        lived: world.lived,
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// Runs a seed that is asked for, or all from zero on, and gives what they came
/// to.
fn every<T: Send>(test: &str, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    if let Some(seed) = number("SIM_SEED") {
        return vec![run(seed)];
    }
    let seeds = number("SIM_SEEDS").unwrap_or(100);
    let next = AtomicU64::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return outcomes;
            }
            let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| run(seed))) else {
                next.store(seeds, Ordering::Relaxed);
                panic!(
                    "seed {seed} fails; again: \
                     SIM_SEED={seed} cargo test -p smartsocket-tests --test sim {test}"
                );
            };
            outcomes.push(outcome);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        let ended = ended.into_iter();
        ended.flat_map(|all| all.expect("a seed failed")).collect()
    })
}

#[test]
fn every_seed_holds() {
    let begin = Instant::now();
    let outcomes = every("every_seed_holds", run);
    let lived: u128 = outcomes.iter().map(|outcome| outcome.lived).sum();
    println!(
        "{} seeds, {} hours of connections in {:.1} s",
        outcomes.len(),
        lived / 3_600_000_000,
        begin.elapsed().as_secs_f64()
    );
}

/// Clients that stay connected, against a host that does not.
#[test]
fn every_client_holds() {
    let begin = Instant::now();
    let outcomes = every("every_client_holds", clients::run);
    let sum = |of: fn(&clients::Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    println!(
        "{} seeds: {} connections, {} messages out, {} seen, {} dropped, in {:.1} s",
        outcomes.len(),
        sum(|outcome| outcome.arrivals),
        sum(|outcome| outcome.said),
        sum(|outcome| outcome.seen),
        sum(|outcome| outcome.dropped),
        begin.elapsed().as_secs_f64()
    );
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        assert_eq!(run(seed).trace, run(seed).trace, "seed {seed}");
        let client = || clients::run(seed).trace;
        assert_eq!(client(), client(), "seed {seed} of the clients");
    }
}
