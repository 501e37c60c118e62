//! What core is told of the outside: the time and randomness.

use std::time::{Duration, Instant};

use smartsocket_core::{Seed, Tick};

/// Ticks since the connection's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Tick {
        Tick::from(self.0.elapsed())
    }

    /// The tick `after` from now.
    pub(crate) fn after(self, after: Duration) -> Tick {
        self.now() + after
    }
}

/// A seed from the operating system.
///
/// # Panics
///
/// When the system has no randomness: a connection with guessable masks and
/// keys must not exist.
pub(crate) fn seed() -> Seed {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    Seed::new(bytes)
}
