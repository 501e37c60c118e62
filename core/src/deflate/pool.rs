//! States shared by the connections that keep no context between messages.
use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Deflater, Inflater};

/// Idle inflaters worth keeping.
const SPARE: usize = 4;

/// One of everything for many connections. It costs no heap until it is used; then it holds one
/// compressor per level and window in use, and at most four idle decompressors.
#[derive(Debug)]
pub(crate) struct Pool {
    deflaters: Vec<(u8, u8, Deflater)>,
    #[expect(
        clippy::vec_box,
        reason = "they are taken and given back in their boxes"
    )]
    spare: Vec<Box<Inflater>>,
    /// Inflaters that may still be taken.
    budget: usize,
}

impl Pool {
    /// `budget` bounds the inflaters that are taken at the same time, for messages that arrive in
    /// pieces.
    pub(crate) const fn new(budget: usize) -> Self {
        Self {
            deflaters: Vec::new(),
            spare: Vec::new(),
            budget,
        }
    }

    /// The compressor for one whole message.
    pub(crate) fn deflater(&mut self, level: u8, window_bits: u8) -> &mut Deflater {
        let found = self
            .deflaters
            .iter()
            .position(|(l, w, _)| (*l, *w) == (level, window_bits));
        let index = found.unwrap_or_else(|| {
            self.deflaters
                .push((level, window_bits, Deflater::new(level, window_bits)));
            self.deflaters.len() - 1
        });
        let (_, _, deflater) = &mut self.deflaters[index];
        if found.is_some() {
            deflater.reset();
        }
        deflater
    }

    /// The decompressor for a message that is there as a whole. No budget limits this one.
    pub(crate) fn inflater(&mut self) -> &mut Inflater {
        if self.spare.is_empty() {
            self.spare.push(Box::new(Inflater::new()));
        }
        let inflater = &mut self.spare[0];
        inflater.reset();
        inflater
    }

    /// A decompressor to keep until a message is complete; `None` if the budget is used up.
    pub(crate) fn take_inflater(&mut self) -> Option<Box<Inflater>> {
        self.budget = self.budget.checked_sub(1)?;
        let mut inflater = self
            .spare
            .pop()
            .unwrap_or_else(|| Box::new(Inflater::new()));
        inflater.reset();
        Some(inflater)
    }

    /// Returns what [`Self::take_inflater`] gave. Whoever drops it instead shrinks the budget.
    pub(crate) fn give_back(&mut self, inflater: Box<Inflater>) {
        self.budget += 1;
        if self.spare.len() < SPARE {
            self.spare.push(inflater);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::InflateLimits;
    use super::*;

    const LIMITS: InflateLimits = InflateLimits {
        max_output_total: 1000,
        max_ratio: 200,
        ratio_floor: 1000,
    };

    fn compressed(pool: &mut Pool, message: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        pool.deflater(6, 15).deflate(message, &mut payload, true);
        payload
    }

    #[test]
    fn an_unused_pool_owns_nothing() {
        let pool = Pool::new(8);
        assert_eq!((pool.deflaters.capacity(), pool.spare.capacity()), (0, 0));
    }

    #[test]
    fn nothing_is_remembered_between_messages() {
        let mut pool = Pool::new(1);
        let first = compressed(&mut pool, b"the same");
        assert_eq!(compressed(&mut pool, b"the same"), first);
        assert_eq!(pool.deflaters.len(), 1);
        pool.deflater(1, 15);
        assert_eq!(pool.deflaters.len(), 2);
        for _ in 0..2 {
            let mut out = Vec::new();
            pool.inflater()
                .inflate(&first, true, &LIMITS, &mut out)
                .unwrap();
            assert_eq!(out, b"the same");
        }
    }

    #[test]
    fn an_abandoned_message_leaves_no_trace() {
        let mut pool = Pool::new(1);
        let payload = compressed(&mut pool, b"the same");
        let mut taken = pool.take_inflater().unwrap();
        taken
            .inflate(&payload[..4], false, &LIMITS, &mut Vec::new())
            .unwrap();
        pool.give_back(taken);
        let mut out = Vec::new();
        pool.take_inflater()
            .unwrap()
            .inflate(&payload, true, &LIMITS, &mut out)
            .unwrap();
        assert_eq!(out, b"the same");
    }

    #[test]
    fn the_budget_bounds_what_is_taken() {
        let mut pool = Pool::new(6);
        let taken: Vec<_> = core::iter::from_fn(|| pool.take_inflater()).collect();
        assert_eq!(taken.len(), 6);
        pool.inflater();
        for inflater in taken {
            pool.give_back(inflater);
        }
        assert_eq!((pool.budget, pool.spare.len()), (6, SPARE));
    }

    #[test]
    fn a_pool_can_move_to_another_thread() {
        fn check<T: Send + Sync>() {}
        check::<Pool>();
    }
}
