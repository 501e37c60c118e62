//! What must come of storms: bounds that follow from the waits of the clients,
//! and the figures themselves.

use std::time::Duration;

use smartsocket_core::client::{Backoff, Jitter};

use super::clients::storm::{CLIENTS, Door, Figures, Storm, backoff};

const SECOND: Jitter = Jitter {
    added: Duration::from_secs(1),
    ..Jitter::NONE
};

/// That of clients who choose none.
fn usual() -> Jitter {
    Backoff::default().jitter
}

/// The attempts of clients without jitter begin 1, 3, 7, 15 and 31 s after the
/// end.
const BEGIN: [f64; 5] = [1.0, 3.0, 7.0, 15.0, 31.0];

/// More than this many of the clients cannot be in one place where each is with
/// this probability, but for once in a thousand million times (six times the
/// standard deviation).
fn most(probability: f64) -> usize {
    let mean = CLIENTS as f64 * probability;
    (mean + 6.0 * mean.sqrt()).ceil() as usize
}

/// The hub is down for 20 s: the fifth attempt of each succeeds.
#[test]
fn a_hub_that_dies_gets_all_its_clients_back() {
    let down = Duration::from_secs(20);
    let storm = |jitter| Storm::new(backoff(jitter), true).without_a_hub_for(down);

    // Without jitter all of them come in the same moment, five times.
    let none = storm(Jitter::NONE);
    none.show("no jitter");
    assert_eq!(none.total(), 5 * CLIENTS);
    let herds: Vec<_> = (0..).zip(&none.attempts).filter(|(_, n)| **n > 0).collect();
    let expected = BEGIN.map(|begin| (begin as usize * 10, &CLIENTS));
    assert_eq!(herds, expected);
    assert_eq!(none.all_in, Duration::from_secs(31));

    // Up to a second more for each wait: the nth attempts are spread over n
    // seconds, at most as densely as the sum of n draws is, which is least for
    // one or two.
    let second = storm(SECOND);
    second.show("up to 1 s more");
    assert_eq!(second.total(), 5 * CLIENTS);
    let density = [1.0, 1.0, 0.75, 0.667, 0.599];
    for (tenth, count) in second.attempts.iter().enumerate() {
        let time = tenth as f64 / 10.0;
        let in_time = |n: &usize| (BEGIN[*n] - 0.1..BEGIN[*n] + *n as f64 + 1.0).contains(&time);
        let bound = (0..5).filter(in_time).map(|n| most(0.1 * density[n])).sum();
        assert!(*count <= bound, "{count} at {time} s, at most {bound}");
    }
    assert!(second.all_in >= Duration::from_secs(31));
    assert!(second.all_in <= Duration::from_secs(36));

    // Half of each wait to all of it: the longer it lasts, the thinner the
    // crowd, which is spread over half of the last wait at least.
    let half = storm(usual());
    half.show("half of the wait to all of it");
    for (tenth, count) in half.attempts.iter().enumerate() {
        let time = tenth as f64 / 10.0;
        let in_time = |n: &usize| (BEGIN[*n] * 0.5 - 0.1..BEGIN[*n]).contains(&time);
        let last = |n: usize| f64::from(1 << n) / 2.0;
        let bound: usize = (0..5).filter(in_time).map(|n| most(0.1 / last(n))).sum();
        // Few need a sixth one, spread as the fifth is.
        let bound = bound + if time > 30.0 { most(0.1 / last(4)) } else { 0 };
        assert!(*count <= bound, "{count} at {time} s, at most {bound}");
    }
    // A last failure while it is down, and the longest wait.
    assert!(half.all_in <= down + Duration::from_secs(30));
    assert!(half.peak() <= most(0.2));
}

/// 500 a second are let in, the others are told to come again in 5 s.
#[test]
fn a_server_that_lets_in_a_few_is_not_run_over() {
    let door = Door {
        per_second: 500,
        retry_after: Some(5),
    };
    let storm = |jitter| Storm::new(backoff(jitter), false).through(door);
    let in_bounds = |figures: &Figures| {
        let admitted = Figures::seconds(&figures.admitted);
        assert!(admitted.iter().all(|n| *n <= door.per_second));
        assert_eq!(admitted.iter().sum::<usize>(), CLIENTS);
        assert_eq!(figures.total(), CLIENTS + figures.refused);
        assert!(figures.all_in >= Duration::from_secs(19));
    };

    // Without jitter they come in herds, of which each loses 500.
    let none = storm(Jitter::NONE);
    none.show("door, no jitter");
    in_bounds(&none);
    assert_eq!(none.total(), (1..=20).map(|n| n * 500).sum::<usize>());
    // 1 s, twice what the server says, 8, 16 and then 30 s.
    let herds: u64 = 1 + 5 + 5 + 8 + 16 + 15 * 30;
    assert_eq!(none.all_in, Duration::from_secs(herds));

    // The jitter is on top of what the server says: nobody comes too early, and
    // fewer come in vain.
    let second = storm(SECOND);
    second.show("door, up to 1 s more");
    in_bounds(&second);
    let half = storm(usual());
    half.show("door, half of the wait to all of it");
    in_bounds(&half);
    for (spread, densest) in [(&second, 0.1), (&half, 0.2)] {
        assert!(spread.peak() <= most(densest), "{}", spread.peak());
        let quiet = spread.attempts.iter().skip(20).take(35).sum::<usize>();
        assert_eq!(quiet, 0, "nobody comes before it may");
        assert!(spread.refused < none.refused);
        assert!(spread.all_in < none.all_in);
    }
}
