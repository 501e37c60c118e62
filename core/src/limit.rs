//! How much of something one subject may do in a time.
//!
//! A [`RateLimit`] is configuration, shared by all it applies to; a `Limiter`
//! is what one of them (a connection, an address, an event of a connection)
//! has done lately. Limits are computed from the time of the next attempt, so
//! they need no timer.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::time::Tick;

/// So much in so long.
///
/// ```
/// use core::time::Duration;
/// use smartsocket_core::{Algorithm, RateLimit};
///
/// let limit = RateLimit::new(5, Duration::from_secs(5));
/// assert_eq!(limit.algorithm, Algorithm::Ring);
/// assert_eq!(RateLimit::default(), RateLimit::new(100, Duration::from_secs(60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// How much may be done in a window. 0 forbids everything. Default 100.
    pub max: u32,
    /// How long the window is. At least 16 µs; a shorter one counts as that.
    /// Default 60 s.
    pub window: Duration,
    /// What "in a window" means. Default [`Algorithm::Ring`].
    pub algorithm: Algorithm,
}

/// What counts as too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Never more than `max` in any window, wherever it begins. Counts in 16
    /// parts of the time, so something may be refused up to 1/15 of a window
    /// longer than it had to be: evenly spread, 15/16 of `max` pass at least.
    /// Some 80 bytes for who has done anything.
    #[default]
    Ring,
    /// Never more than `max` from one multiple of the window to the next. Up
    /// to twice `max` can pass within one window that begins in between.
    Fixed,
    /// `max` at once, and from then on one more every `window / max` (the
    /// generic cell rate algorithm, or a bucket that leaks). Over long times
    /// `max` per window, but a window that begins with a burst sees twice that.
    Gcra,
}

impl RateLimit {
    /// At most `max` in any `window`.
    pub const fn new(max: u32, window: Duration) -> Self {
        Self {
            max,
            window,
            algorithm: Algorithm::Ring,
        }
    }

    /// In microseconds.
    fn window(&self) -> u64 {
        u64::try_from(self.window.as_micros())
            .unwrap_or(u64::MAX)
            .clamp(PARTS, FOREVER)
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new(100, Duration::from_secs(60))
    }
}

/// The parts of a ring. A window that begins anywhere touches all of them, so
/// it is one part shorter than they are together.
const PARTS: u64 = 16;

/// A window so long that it does not end; sums with it stay in 64 bits.
const FOREVER: u64 = 1 << 62;

/// What one subject has done lately; to be held against the same limit always.
/// Held against another kind of limit, it forgets.
#[derive(Debug, Default)]
pub(crate) struct Limiter(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Fresh,
    Ring(Box<Ring>),
    /// The number of the window, and what passed in it.
    Fixed(u64, u32),
    /// When all that passed has leaked: a tick, and 1/`max` microseconds.
    Gcra(u64, u32),
}

#[derive(Debug)]
struct Ring {
    /// The number of the last part in which something passed.
    last: u64,
    /// What passed in it and the 15 before it, each at its number modulo 16.
    passed: [u32; PARTS as usize],
}

impl Limiter {
    /// Lets `cost` pass, or tells how long to wait until it could.
    ///
    /// What is refused counts nothing. [`Duration::MAX`] is for a cost above
    /// the limit's `max`, which never passes; a cost of 0 always does.
    pub(crate) fn check(
        &mut self,
        limit: &RateLimit,
        now: Tick,
        cost: u32,
    ) -> Result<(), Duration> {
        if cost == 0 {
            return Ok(());
        }
        if cost > limit.max {
            return Err(Duration::MAX);
        }
        let now = now.as_micros();
        let wait = match limit.algorithm {
            Algorithm::Ring => self.check_ring(limit, now, cost),
            Algorithm::Fixed => self.check_fixed(limit, now, cost),
            Algorithm::Gcra => self.check_gcra(limit, now, cost),
        };
        wait.map_or(Ok(()), |micros| Err(Duration::from_micros(micros)))
    }

    /// How much may pass at once now.
    pub(crate) fn remaining(&self, limit: &RateLimit, now: Tick) -> u32 {
        let now = now.as_micros();
        let window = limit.window();
        let used = match (&self.0, limit.algorithm) {
            (State::Ring(ring), Algorithm::Ring) => ring.used(ring.last.max(part(now, window))),
            (&State::Fixed(number, used), Algorithm::Fixed) if number >= now / window => used,
            (&State::Gcra(empty, fraction), Algorithm::Gcra) => {
                let max = u128::from(limit.max);
                let left = fine(empty, fraction, max).saturating_sub(u128::from(now) * max);
                // What has leaked in part still counts whole.
                u32::try_from(left.div_ceil(u128::from(window))).unwrap_or(u32::MAX)
            }
            _ => 0,
        };
        limit.max.saturating_sub(used)
    }

    fn check_ring(&mut self, limit: &RateLimit, now: u64, cost: u32) -> Option<u64> {
        if !matches!(self.0, State::Ring(_)) {
            self.0 = State::Ring(Box::new(Ring {
                last: 0,
                passed: [0; PARTS as usize],
            }));
        }
        let State::Ring(ring) = &mut self.0 else {
            unreachable!("just made")
        };
        let window = limit.window();
        let current = ring.last.max(part(now, window));
        let used = ring.used(current);
        if used <= limit.max - cost {
            ring.advance(current);
            ring.passed[slot(current)] += cost;
            return None;
        }
        // The oldest parts go first, each with its whole content.
        let mut excess = used - (limit.max - cost);
        let mut oldest = current.saturating_sub(PARTS - 1);
        while oldest < ring.last {
            excess = excess.saturating_sub(ring.passed[slot(oldest)]);
            if excess == 0 {
                break;
            }
            oldest += 1;
        }
        let due = u128::from(oldest + PARTS) * u128::from(window);
        let due = u64::try_from(due.div_ceil(u128::from(PARTS - 1))).unwrap_or(u64::MAX);
        Some(due.saturating_sub(now))
    }

    fn check_fixed(&mut self, limit: &RateLimit, now: u64, cost: u32) -> Option<u64> {
        let window = limit.window();
        let (number, used) = match self.0 {
            State::Fixed(number, used) if number >= now / window => (number, used),
            State::Fresh | State::Ring(_) | State::Fixed(..) | State::Gcra(..) => (now / window, 0),
        };
        if used <= limit.max - cost {
            self.0 = State::Fixed(number, used + cost);
            return None;
        }
        let due = (number + 1).saturating_mul(window);
        Some(due.saturating_sub(now))
    }

    fn check_gcra(&mut self, limit: &RateLimit, now: u64, cost: u32) -> Option<u64> {
        // In parts of a microsecond so small that one costs `window` of them.
        let max = u128::from(limit.max);
        let window = u128::from(limit.window());
        let empty = match self.0 {
            State::Gcra(empty, fraction) => fine(empty, fraction, max),
            State::Fresh | State::Ring(_) | State::Fixed(..) => 0,
        };
        let then = empty.max(u128::from(now) * max) + u128::from(cost) * window;
        let latest = (u128::from(now) + window) * max;
        if then <= latest {
            self.0 = match u64::try_from(then / max) {
                // The rest is less than `max`, which is 32 bits.
                Ok(empty) => State::Gcra(empty, (then % max) as u32),
                Err(_) => State::Gcra(u64::MAX, 0),
            };
            return None;
        }
        Some(u64::try_from((then - latest).div_ceil(max)).unwrap_or(u64::MAX))
    }
}

impl Ring {
    /// What passed in the 16 parts up to `current`.
    fn used(&self, current: u64) -> u32 {
        let gone = (current - self.last).min(PARTS);
        // The parts that `current` pushed out are those at the next numbers.
        (gone + 1..=PARTS)
            .map(|part| self.passed[slot(self.last.wrapping_add(part))])
            .sum()
    }

    fn advance(&mut self, current: u64) {
        for part in 1..=(current - self.last).min(PARTS) {
            self.passed[slot(self.last.wrapping_add(part))] = 0;
        }
        self.last = current;
    }
}

/// The number of the part of a ring that a moment is in.
fn part(now: u64, window: u64) -> u64 {
    let part = u128::from(now) * u128::from(PARTS - 1) / u128::from(window);
    // A window has more microseconds than parts.
    u64::try_from(part).unwrap_or(u64::MAX)
}

const fn slot(part: u64) -> usize {
    (part % PARTS) as usize
}

fn fine(micros: u64, fraction: u32, max: u128) -> u128 {
    u128::from(micros) * max + u128::from(fraction)
}

/// Limits of events by name, beside that of all messages of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLimits(BTreeMap<String, (usize, RateLimit)>);

impl EventLimits {
    /// No limits.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Limits an event, or replaces its limit.
    pub fn set(&mut self, event: impl Into<String>, limit: RateLimit) {
        let next = self.0.len();
        let entry = self.0.entry(event.into());
        entry.or_insert((next, limit)).1 = limit;
    }

    /// The limit of an event.
    pub fn get(&self, event: &str) -> Option<&RateLimit> {
        self.0.get(event).map(|(_, limit)| limit)
    }

    /// How many events are limited.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no event is limited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Into<String>> FromIterator<(S, RateLimit)> for EventLimits {
    fn from_iter<I: IntoIterator<Item = (S, RateLimit)>>(limits: I) -> Self {
        let mut all = Self::new();
        for (event, limit) in limits {
            all.set(event, limit);
        }
        all
    }
}

/// What one connection has done lately of the events that are limited: no more
/// states than there are limits, and none until it does one of them.
#[derive(Debug, Default)]
pub(crate) struct EventLimiters(Vec<EventLimiter>);

#[derive(Debug, Default)]
struct EventLimiter {
    limiter: Limiter,
    /// The last was refused, and that is told.
    told: bool,
}

impl EventLimiters {
    /// Lets an event pass, or tells how long to wait until it could.
    pub(crate) fn check(
        &mut self,
        limits: &EventLimits,
        now: Tick,
        event: &str,
    ) -> Result<(), Duration> {
        let Some((index, limit)) = limits.0.get(event) else {
            return Ok(());
        };
        if self.0.len() <= *index {
            self.0.reserve_exact(index + 1 - self.0.len());
            self.0.resize_with(index + 1, EventLimiter::default);
        }
        let of = &mut self.0[*index];
        of.limiter.check(limit, now, 1)?;
        of.told = false;
        Ok(())
    }

    /// Whether to tell that an event was refused: once, until it passes again.
    pub(crate) fn tells(&mut self, limits: &EventLimits, event: &str) -> bool {
        let index = limits.0.get(event).map(|(index, _)| *index);
        let of = index.and_then(|index| self.0.get_mut(index));
        of.is_some_and(|of| !core::mem::replace(&mut of.told, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ring, Algorithm::Fixed, Algorithm::Gcra];
    const SECOND: u64 = 1_000_000;

    fn limit(algorithm: Algorithm, max: u32, window: u64) -> RateLimit {
        RateLimit {
            algorithm,
            ..RateLimit::new(max, Duration::from_micros(window))
        }
    }

    /// What passes of attempts at these moments, with their costs.
    fn play(limit: &RateLimit, attempts: &[(u64, u32)]) -> Vec<(u64, u32)> {
        let mut limiter = Limiter::default();
        let mut passed = Vec::new();
        for &(at, cost) in attempts {
            if limiter.check(limit, Tick::from_micros(at), cost).is_ok() {
                passed.push((at, cost));
            }
        }
        passed
    }

    #[test]
    fn the_seeds_limit_of_an_event() {
        // SmartSocket's `message`: 5 in 5 s.
        let limit = RateLimit::new(5, Duration::from_secs(5));
        let mut limiter = Limiter::default();
        let mut at = |seconds: f64| {
            let now = Tick::from_micros((seconds * 1e6) as u64);
            limiter.check(&limit, now, 1)
        };
        for seconds in [100.0, 100.1, 101.0, 102.0, 104.9] {
            assert_eq!(at(seconds), Ok(()));
        }
        // A third of a second is a part; the first two passed in that up to
        // 100.333 s, and 16 parts after its start at 100 s are over at 105.333 s.
        assert_eq!(at(105.0), Err(Duration::from_micros(333_334)));
        assert_eq!(at(105.333_333), Err(Duration::from_micros(1)));
        assert_eq!(at(105.333_334), Ok(()));
        assert_eq!(at(105.4), Ok(()));
        assert_eq!(at(105.5), Err(Duration::from_micros(833_334)));
    }

    #[test]
    fn a_fixed_window_forgets_at_its_end_and_gcra_bit_by_bit() {
        let fixed = limit(Algorithm::Fixed, 2, SECOND);
        let passed = play(
            &fixed,
            &[
                (1_900_000, 2),
                (1_999_999, 1),
                (2_000_000, 2),
                (2_500_000, 1),
            ],
        );
        assert_eq!(passed, [(1_900_000, 2), (2_000_000, 2)]);
        let gcra = limit(Algorithm::Gcra, 3, SECOND);
        let attempts = [
            (0, 3),
            (333_333, 1),
            (333_334, 1),
            (666_666, 1),
            (666_667, 1),
            (1_000_000, 1),
            (5_000_000, 3),
            (5_000_000, 1),
        ];
        let passed = play(&gcra, &attempts);
        assert_eq!(
            passed,
            [
                (0, 3),
                (333_334, 1),
                (666_667, 1),
                (1_000_000, 1),
                (5_000_000, 3)
            ]
        );
    }

    #[test]
    fn the_edges_of_cost_limit_and_time() {
        for algorithm in ALGORITHMS {
            for (max, window) in [
                (0, SECOND),
                (1, 0),
                (1, u64::MAX),
                (u32::MAX, 1),
                (u32::MAX, u64::MAX),
            ] {
                let limit = limit(algorithm, max, window);
                for now in [0, 1 << 40, 1 << 63].map(Tick::from_micros) {
                    let mut limiter = Limiter::default();
                    // The end of time is no good moment, but no panic either.
                    for now in [Tick::MAX, Tick::MAX, Tick::ZERO] {
                        let _ = limiter.check(&limit, now, 1);
                        limiter.remaining(&limit, now);
                    }
                    let mut limiter = Limiter::default();
                    assert_eq!(limiter.remaining(&limit, now), max);
                    assert_eq!(limiter.check(&limit, now, 0), Ok(()));
                    if let Some(more) = max.checked_add(1) {
                        assert_eq!(limiter.check(&limit, now, more), Err(Duration::MAX));
                    }
                    if max > 0 {
                        assert_eq!(limiter.check(&limit, now, max), Ok(()), "{limit:?} {now:?}");
                        assert_eq!(limiter.remaining(&limit, now), 0);
                        assert!(limiter.check(&limit, now, 1).is_err());
                        // An earlier time changes nothing.
                        assert!(limiter.check(&limit, Tick::ZERO, 1).is_err());
                        assert!(limiter.check(&limit, now, 1).is_err());
                    }
                }
            }
        }
    }

    #[test]
    fn another_kind_of_limit_begins_anew() {
        let mut limiter = Limiter::default();
        for _ in 0..2 {
            for algorithm in ALGORITHMS {
                let limit = limit(algorithm, 1, SECOND);
                assert_eq!(limiter.check(&limit, Tick::ZERO, 1), Ok(()));
                assert_eq!(limiter.remaining(&limit, Tick::ZERO), 0);
            }
        }
    }

    #[test]
    fn a_limiter_is_small() {
        assert_eq!(size_of::<Limiter>(), 16);
        assert_eq!(size_of::<Ring>(), 72);
    }

    #[test]
    fn events_have_limits_of_their_own() {
        let slow = |max| limit(Algorithm::Fixed, max, 60 * SECOND);
        let mut limits: EventLimits = [("message", slow(2)), ("delete", slow(9))]
            .into_iter()
            .collect();
        limits.set("delete", slow(1));
        assert_eq!(
            (limits.len(), limits.get("delete"), limits.get("x")),
            (2, Some(&slow(1)), None)
        );
        let mut limiters = EventLimiters::default();
        let mut check =
            |limits: &EventLimits, event| limiters.check(limits, Tick::ZERO, event).is_ok();
        for event in ["other", "delete", "message", "message"] {
            assert!(check(&limits, event), "{event}");
        }
        assert!(!check(&limits, "message") && !check(&limits, "delete"));
        assert!(check(&limits, "other"));
        // A limit set while the server runs disturbs no other.
        limits.set("aaa", slow(1));
        assert!(check(&limits, "aaa"));
        assert!(!check(&limits, "aaa") && !check(&limits, "delete"));
        assert_eq!(limiters.0.len(), 3);
    }

    fn limits(algorithm: Algorithm) -> impl Strategy<Value = RateLimit> {
        let window = prop_oneof![16..200_u64, Just(SECOND), 1_000..100_000_u64];
        (1..40_u32, window).prop_map(move |(max, window)| limit(algorithm, max, window))
    }

    /// Attempts at growing moments, from dense to sparse.
    fn schedule() -> impl Strategy<Value = Vec<(u64, u32)>> {
        let pause = prop_oneof![4 => 0..30_u64, 2 => 0..20_000_u64, 1 => 0..2 * SECOND];
        let attempt = (pause, prop_oneof![4 => Just(1_u32), 1 => 0..45_u32]);
        (any::<u32>(), vec(attempt, 0..300)).prop_map(|(start, attempts)| {
            let mut at = u64::from(start);
            let then = attempts.into_iter().map(|(pause, cost)| {
                at += pause;
                (at, cost)
            });
            then.collect()
        })
    }

    proptest! {
        #[test]
        fn a_ring_never_lets_more_pass_in_any_window(
            limit in limits(Algorithm::Ring), attempts in schedule(),
        ) {
            let passed = play(&limit, &attempts);
            // The fullest windows begin with something that passed.
            for (i, &(start, _)) in passed.iter().enumerate() {
                let inside = passed[i..].iter().take_while(|(at, _)| at - start <= limit.window());
                let sum: u32 = inside.map(|(_, cost)| cost).sum();
                prop_assert!(sum <= limit.max, "{sum} from {start}");
            }
        }

        #[test]
        fn a_ring_lets_15_of_16_pass_that_come_evenly(
            max in 16..1_000_u32, window in 20_000..10 * SECOND, start in any::<u32>(),
        ) {
            let limit = limit(Algorithm::Ring, max, window);
            // Twice as much as allowed, for 20 windows.
            let attempts: Vec<_> = (0..u64::from(max) * 40)
                .map(|i| (u64::from(start) + i * window / (2 * u64::from(max)), 1))
                .collect();
            let passed = play(&limit, &attempts).len() as u64;
            prop_assert!(passed * 16 >= u64::from(max) * 20 * 15, "{passed} of {}", max * 20);
            // Of exactly as much as is promised, none is refused but for rounding.
            let attempts: Vec<_> = (0..u64::from(max) * 10)
                .map(|i| (u64::from(start) + (i * window * 16).div_ceil(15 * u64::from(max)), 1))
                .collect();
            let passed = play(&limit, &attempts).len();
            prop_assert!(passed + 10 >= attempts.len(), "{passed} of {}", attempts.len());
        }

        #[test]
        fn a_fixed_window_lets_no_more_pass(
            limit in limits(Algorithm::Fixed), attempts in schedule(),
        ) {
            let passed = play(&limit, &attempts);
            let mut windows = BTreeMap::new();
            for (at, cost) in &passed {
                *windows.entry(at / limit.window()).or_insert(0) += cost;
            }
            prop_assert!(windows.values().all(|&sum| sum <= limit.max));
            // And refuses nothing it could have let pass.
            let asked = attempts.iter().filter(|attempt| !passed.contains(attempt));
            for (at, cost) in asked {
                let sum = windows.get(&(at / limit.window())).copied().unwrap_or(0);
                prop_assert!(sum + cost > limit.max);
            }
        }

        /// In any time `t`, no more than a burst and what leaks meanwhile.
        #[test]
        fn gcra_keeps_burst_and_rate(limit in limits(Algorithm::Gcra), attempts in schedule()) {
            let passed = play(&limit, &attempts);
            let (max, window) = (u128::from(limit.max), u128::from(limit.window()));
            for (i, &(start, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for &(at, cost) in &passed[i..] {
                    sum += u128::from(cost);
                    prop_assert!((sum - max.min(sum)) * window <= u128::from(at - start) * max);
                }
            }
        }

        #[test]
        fn gcra_lets_the_rate_pass_in_the_long_run(
            max in 1..1_000_u32, window in 20_000..10 * SECOND,
        ) {
            let limit = limit(Algorithm::Gcra, max, window);
            let attempts: Vec<_> = (0..u64::from(max) * 20)
                .map(|i| (i * window / (2 * u64::from(max)), 1))
                .collect();
            let passed = play(&limit, &attempts).len() as u64;
            // A burst, and 10 windows.
            let wanted = u64::from(max) * 11;
            prop_assert!((wanted - 1..=wanted).contains(&passed), "{passed} of {wanted}");
        }

        #[test]
        fn the_time_to_wait_is_exact_and_what_remains_can_be_had(
            algorithm in proptest::sample::select(&ALGORITHMS[..]),
            max in 1..40_u32, window in 16..100_000_u64, attempts in schedule(),
        ) {
            let limit = limit(algorithm, max, window);
            // The same, played as far as wanted, since a limiter is not cloned.
            for n in (0..attempts.len()).step_by(1 + attempts.len() / 8) {
                let at = |micros: u64, cost: u32| {
                    let mut limiter = Limiter::default();
                    for &(at, cost) in &attempts[..n] {
                        let _ = limiter.check(&limit, Tick::from_micros(at), cost);
                    }
                    let remaining = limiter.remaining(&limit, Tick::from_micros(micros));
                    (limiter.check(&limit, Tick::from_micros(micros), cost), remaining)
                };
                let (now, cost) = attempts[n];
                let (outcome, remaining) = at(now, cost);
                prop_assert_eq!(outcome.is_ok(), cost <= remaining);
                if let Err(wait) = outcome && wait != Duration::MAX {
                    let wait = wait.as_micros() as u64;
                    prop_assert!(wait > 0);
                    prop_assert_eq!(at(now + wait, cost).0, Ok(()));
                    prop_assert_eq!(at(now + wait - 1, cost).0, Err(Duration::from_micros(1)));
                    // Rings are late by a part at most.
                    prop_assert!(wait <= window + window / 15 + 1);
                }
            }
        }
    }
}
