//! stub
#![allow(missing_docs, dead_code)]
use crate::time::Tick;
use core::time::Duration;
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub max: u32,
    pub window: Duration,
    pub algorithm: Algorithm,
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    #[default]
    Ring,
    Fixed,
    Gcra,
}
impl Default for RateLimit {
    fn default() -> Self {
        Self {
            max: 100,
            window: Duration::from_secs(60),
            algorithm: Algorithm::Ring,
        }
    }
}
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    n: u32,
}
impl Limiter {
    pub(crate) fn check(
        &mut self,
        limit: &RateLimit,
        _now: Tick,
        cost: u32,
    ) -> Result<(), Duration> {
        if self.n + cost > limit.max {
            Err(limit.window)
        } else {
            self.n += cost;
            Ok(())
        }
    }
}
