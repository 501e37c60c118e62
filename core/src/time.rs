//! Time as the machines see it: a number the embedder hands in.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment, in microseconds since an origin the embedder picks.
///
/// The origin has no meaning inside; only differences count. A machine that is
/// given a tick earlier than one it has seen keeps the later one, so a clock
/// that steps back never makes a deadline run twice.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The origin itself.
    pub const ZERO: Self = Self(0);
    /// Later than every moment a machine will see.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl From<Duration> for Tick {
    /// The moment `since_origin` after the origin.
    fn from(since_origin: Duration) -> Self {
        Self(micros(since_origin))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    /// Saturates at [`Tick::MAX`], which reads as "never".
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(micros(after)))
    }
}

impl Sub for Tick {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_saturates_and_differences_never_go_below_zero() {
        let second = Duration::from_secs(1);
        assert_eq!(
            Tick::from_millis(500) + second,
            Tick::from_micros(1_500_000)
        );
        assert_eq!(Tick::MAX + second, Tick::MAX);
        assert_eq!(Tick::ZERO + Duration::MAX, Tick::MAX);
        assert_eq!(Tick::ZERO - Tick::from_millis(1), Duration::ZERO);
        assert_eq!(
            alloc::format!("{:?}", Tick::from_millis(1_500)),
            "1.500000s"
        );
    }
}
