//! When to look at which connection.
//!
//! A connection has at most one time that counts, the least of its deadlines.
//! Moving it later stores nothing: the old one comes, and the new one is
//! found then. So a busy connection touches this heap a few times a minute.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::time::Tick;

use super::ids::ConnId;

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Tick, ConnId)>>,
}

impl Timers {
    /// Looks at `id` at `due`, unless `armed` is soon enough. Gives what is
    /// armed then.
    pub(super) fn arm(&mut self, id: ConnId, armed: Tick, due: Tick) -> Tick {
        if due >= armed {
            return armed;
        }
        self.heap.push(Reverse((due, id)));
        due
    }

    pub(super) fn next(&self) -> Option<Tick> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// The next whose time has come, and that time.
    pub(super) fn pop(&mut self, now: Tick) -> Option<(Tick, ConnId)> {
        let Reverse((due, _)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
