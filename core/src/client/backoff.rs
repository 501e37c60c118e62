//! How long a client waits before it dials again.

use alloc::borrow::Cow;
use core::time::Duration;

/// The waits between the attempts of a client to connect.
///
/// A wait is `initial × factor^n` after `n` failures in a row, or the `n`th of
/// `steps`, drawn out by the jitter, and never longer than the cap. Who starts
/// many clients keeps the jitter: without it, all of them come back at once.
///
/// ```
/// use std::time::Duration;
/// use smartsocket_core::client::Backoff;
///
/// let smartsocket = Backoff::smartsocket();
/// let longest: Vec<_> = (0..4).filter_map(|n| smartsocket.wait(n, u64::MAX)).collect();
/// assert_eq!(longest, [1_000, 1_500, 2_250, 3_375].map(Duration::from_millis));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait. Default 1 s.
    pub initial: Duration,
    /// What the next wait is longer by, at least 1. Default 2.
    pub factor: f64,
    /// Waits in place of `initial` and `factor`; the last is repeated. Default
    /// none.
    pub steps: Cow<'static, [Duration]>,
    /// No wait is longer, jitter included. Default 30 s.
    pub cap: Duration,
    /// What chance makes of it. Default: half of the wait to all of it.
    pub jitter: Jitter,
    /// So many attempts in a row may fail; 0 is no limit. Default 10.
    pub max_attempts: u32,
    /// A connection that lasted so long ends the row: only then is the next
    /// wait the first again. Default 10 s.
    pub stable_after: Duration,
}

/// What chance adds to a wait or takes from it, evenly spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// The part of the wait that may be missing, 0 to 1.
    pub less: f64,
    /// The part of the wait that may be added.
    pub more: f64,
    /// A time that may be added, however long the wait is.
    pub added: Duration,
}

impl Jitter {
    /// Nothing is left to chance.
    pub const NONE: Self = Self {
        less: 0.0,
        more: 0.0,
        added: Duration::ZERO,
    };
}

impl Default for Backoff {
    /// That of Protocol OS (PO-62, PO-63): about 1, 2, 4 … s, up to 30 s. Its
    /// own implementation adds up to a second instead of taking up to a half,
    /// which leaves thousands of clients too close together, and at the cap in
    /// one moment.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            factor: 2.0,
            steps: Cow::Borrowed(&[]),
            cap: Duration::from_secs(30),
            jitter: Jitter {
                less: 0.5,
                ..Jitter::NONE
            },
            max_attempts: 10,
            stable_after: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// That of SmartSocket (SS-84): 1, 1.5, 2.25 … s at most.
    pub fn smartsocket() -> Self {
        Self {
            factor: 1.5,
            ..Self::default()
        }
    }

    /// The wait after so many failures in a row, the first being 0. `random`
    /// is any number, all 64 bits of which count. `None`: there were as many as
    /// there may be.
    pub fn wait(&self, failures: u32, random: u64) -> Option<Duration> {
        if self.max_attempts != 0 && failures >= self.max_attempts {
            return None;
        }
        let (first, second) = parts(random);
        let cap = self.cap.as_secs_f64();
        let base = match (self.steps.get(failures as usize), self.steps.last()) {
            (Some(step), _) | (None, Some(step)) => step.as_secs_f64(),
            (None, None) => {
                let mut base = self.initial.as_secs_f64();
                // It stops growing early: the cap is reached after a few steps.
                for _ in 0..failures {
                    if base >= cap || self.factor <= 1.0 {
                        break;
                    }
                    base *= self.factor;
                }
                base
            }
        };
        let base = base.min(cap);
        let Jitter { less, more, added } = self.jitter;
        let spread = base * (1.0 - less + (less + more) * first);
        let wait = (spread + added.as_secs_f64() * second).clamp(0.0, cap);
        Some(Duration::try_from_secs_f64(wait).unwrap_or(self.cap))
    }

    /// The same where the peer has named the least, which no cap shortens. The
    /// jitter comes on top of that: it told all clients the same.
    pub(super) fn wait_at_least(
        &self,
        least: Duration,
        failures: u32,
        random: u64,
    ) -> Option<Duration> {
        let (first, second) = parts(random);
        let Jitter { less, more, added } = self.jitter;
        let spread = least.as_secs_f64() * (less + more) * first + added.as_secs_f64() * second;
        let spread = Duration::try_from_secs_f64(spread).unwrap_or_default();
        let wait = self.wait(failures, random)?;
        Some(wait.max(least.saturating_add(spread)))
    }
}

/// Two independent draws of 32 bits, each in 0 to 1.
fn parts(random: u64) -> (f64, f64) {
    let part = |bits: u32| f64::from(bits) / f64::from(u32::MAX);
    (part(random as u32), part((random >> 32) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn millis(backoff: &Backoff, random: u64) -> Vec<u128> {
        let waits = (0..12).map_while(|n| backoff.wait(n, random));
        waits.map(|wait| wait.as_millis()).collect()
    }

    /// SS-84, SS-85.
    #[test]
    fn smartsocket_waits_half_as_long_again_ten_times() {
        let expected = [
            1_000, 1_500, 2_250, 3_375, 5_062, 7_593, 11_390, 17_085, 25_628, 30_000,
        ];
        assert_eq!(millis(&Backoff::smartsocket(), u64::MAX), expected);
        let least = [
            500, 750, 1_125, 1_687, 2_531, 3_796, 5_695, 8_542, 12_814, 15_000,
        ];
        assert_eq!(millis(&Backoff::smartsocket(), 0), least);
    }

    /// PO-62, PO-63: even at the cap, chance spreads them.
    #[test]
    fn protocol_os_doubles_up_to_half_a_minute() {
        let most = [
            1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000, 30_000,
        ];
        assert_eq!(millis(&Backoff::default(), u64::MAX), most);
        let least = most.map(|ms| ms / 2);
        assert_eq!(millis(&Backoff::default(), 0), least);
    }

    /// The formula of its implementation: the cap is above both.
    #[test]
    fn a_time_can_be_added_however_long_the_wait_is() {
        let backoff = Backoff {
            jitter: Jitter {
                added: Duration::from_secs(1),
                ..Jitter::NONE
            },
            ..Backoff::default()
        };
        assert_eq!(
            millis(&backoff, 0)[..6],
            [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]
        );
        let most = [2_000, 3_000, 5_000, 9_000, 17_000, 30_000];
        assert_eq!(millis(&backoff, u64::MAX)[..6], most);
    }

    /// Whom a server tells to wait for a minute come back one by one, not all
    /// at once when it is over.
    #[test]
    fn what_the_peer_names_is_drawn_out_too() {
        let minute = Duration::from_secs(60);
        let wait = |backoff: &Backoff, failures, random| {
            let wait = backoff.wait_at_least(minute, failures, random);
            wait.map(|wait| wait.as_millis())
        };
        let backoff = Backoff::default();
        assert_eq!(wait(&backoff, 0, 0), Some(60_000));
        assert_eq!(wait(&backoff, 0, u64::MAX), Some(90_000));
        assert_eq!(wait(&backoff, 10, 0), None);
        let none = Backoff {
            jitter: Jitter::NONE,
            ..Backoff::default()
        };
        assert_eq!(wait(&none, 3, u64::MAX), Some(60_000));
        let full = Backoff {
            jitter: Jitter {
                less: 1.0,
                ..Jitter::NONE
            },
            ..Backoff::default()
        };
        assert_eq!(wait(&full, 0, u64::MAX), Some(120_000));
        // One that is longer anyway is left as it is.
        let least = Duration::from_millis(1);
        let usual = backoff.wait(3, 7);
        assert_eq!(backoff.wait_at_least(least, 3, 7), usual);
    }

    #[test]
    fn no_limit_goes_on_at_the_cap() {
        let backoff = Backoff {
            max_attempts: 0,
            ..Backoff::default()
        };
        for failures in [100, 1_000_000, u32::MAX] {
            assert_eq!(backoff.wait(failures, u64::MAX), Some(backoff.cap));
        }
    }

    #[test]
    fn steps_are_taken_one_by_one_and_the_last_again() {
        let steps = [10, 50, 100].map(Duration::from_millis);
        let backoff = Backoff {
            steps: steps.to_vec().into(),
            jitter: Jitter::NONE,
            max_attempts: 5,
            ..Backoff::default()
        };
        assert_eq!(millis(&backoff, 7), [10, 50, 100, 100, 100]);
    }

    proptest::proptest! {
        #[test]
        fn a_wait_is_in_its_bounds(
            initial in 0_u64..100_000,
            factor in -1.0_f64..10.0,
            less in 0.0_f64..1.0,
            more in 0.0_f64..2.0,
            added in 0_u64..5_000,
            cap in 0_u64..100_000,
            failures: u32,
            random: u64,
        ) {
            let backoff = Backoff {
                initial: Duration::from_millis(initial),
                factor,
                cap: Duration::from_millis(cap),
                jitter: Jitter { less, more, added: Duration::from_millis(added) },
                max_attempts: 0,
                ..Backoff::default()
            };
            let wait = backoff.wait(failures, random).expect("no limit");
            proptest::prop_assert!(wait <= backoff.cap);
            let least = backoff.initial.min(backoff.cap).as_secs_f64() * (1.0 - less);
            proptest::prop_assert!(wait.as_secs_f64() >= least.min(cap as f64 / 1e3) - 1e-6);
        }
    }
}
