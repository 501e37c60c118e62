//! Rate limits by their definitions: everything that passed is remembered, and
//! every question is answered from that alone.

use smartsocket_core::{Algorithm, RateLimit};

/// What one subject was allowed, and when, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct History {
    passed: Vec<u64>,
    /// What it was last held against.
    algorithm: Option<Algorithm>,
}

impl History {
    /// Lets one pass, or tells how many microseconds to wait.
    pub(crate) fn check(&mut self, limit: &RateLimit, now: u64) -> Result<(), u64> {
        if self.algorithm != Some(limit.algorithm) {
            self.passed.clear();
            self.algorithm = Some(limit.algorithm);
        }
        if self.allows(limit, now) {
            self.passed.push(now);
            return Ok(());
        }
        // Nothing passes before one of these moments.
        let window = limit.window.as_micros() as u64;
        let later = match limit.algorithm {
            Algorithm::Ring => {
                let part = now * 15 / window;
                let starts = (part + 1..=part + 16).map(|part| (part * window).div_ceil(15));
                starts.collect()
            }
            Algorithm::Fixed => vec![(now / window + 1) * window],
            Algorithm::Gcra => {
                let over = self.level(limit, now) + window - window * u64::from(limit.max);
                vec![now + over.div_ceil(u64::from(limit.max))]
            }
            _ => unreachable!("there are three"),
        };
        let first = later.into_iter().find(|&then| self.allows(limit, then));
        Err(first.expect("it opens again") - now)
    }

    fn allows(&self, limit: &RateLimit, now: u64) -> bool {
        let window = limit.window.as_micros() as u64;
        let used = match limit.algorithm {
            // In 16 parts of a fifteenth of the window each.
            Algorithm::Ring => {
                let part = |at: u64| at * 15 / window;
                let recent = |at: &&u64| part(**at) + 15 >= part(now);
                self.passed.iter().filter(recent).count()
            }
            Algorithm::Fixed => {
                let same = |at: &&u64| **at / window == now / window;
                self.passed.iter().filter(same).count()
            }
            Algorithm::Gcra => {
                return self.level(limit, now) + window <= window * u64::from(limit.max);
            }
            _ => unreachable!("there are three"),
        };
        used < limit.max as usize
    }

    /// A bucket into which each pours `window`, and that leaks `max` in a
    /// microsecond.
    fn level(&self, limit: &RateLimit, now: u64) -> u64 {
        let window = limit.window.as_micros() as u64;
        let (mut level, mut last) = (0_u64, 0);
        for &at in self.passed.iter().chain([&now]) {
            level = level.saturating_sub((at - last) * u64::from(limit.max)) + window;
            last = at;
        }
        level - window
    }
}
