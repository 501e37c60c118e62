//! Requests that wait for their answers.

use alloc::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::dialect::Header;
use crate::time::Tick;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Pending<K> {
    /// The id that the responder knows it by.
    pub(super) id: Uuid,
    pub(super) requester: K,
    pub(super) responder: K,
    /// The id of the responder, who may be gone by the time it matters.
    pub(super) service: Uuid,
    /// What it is answered under.
    pub(super) answer: Header,
    pub(super) deadline: Tick,
}

/// All of them. Keys are numbers in the order of their coming.
#[derive(Debug)]
pub(super) struct Requests<K> {
    pending: BTreeMap<u64, Pending<K>>,
    by_id: BTreeMap<Uuid, u64>,
    by_requester: BTreeSet<(K, u64)>,
    deadlines: BTreeSet<(Tick, u64)>,
    next: u64,
}

impl<K: Copy + Ord> Requests<K> {
    pub(super) fn new() -> Self {
        Self {
            pending: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_requester: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            next: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn insert(&mut self, request: Pending<K>) {
        let number = self.next;
        self.next += 1;
        self.by_id.insert(request.id, number);
        self.by_requester.insert((request.requester, number));
        self.deadlines.insert((request.deadline, number));
        self.pending.insert(number, request);
    }

    pub(super) fn take_oldest(&mut self) -> Option<Pending<K>> {
        let (&number, _) = self.pending.first_key_value()?;
        self.take(number)
    }

    /// The request that `responder` has under this id, and nobody else.
    pub(super) fn take_answered(&mut self, responder: K, id: Uuid) -> Option<Pending<K>> {
        let number = *self.by_id.get(&id)?;
        let request = self.pending.get(&number)?;
        (request.responder == responder)
            .then(|| self.take(number))
            .flatten()
    }

    /// A request that nobody answered in time.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<Pending<K>> {
        let &(deadline, number) = self.deadlines.first()?;
        (deadline <= now).then(|| self.take(number)).flatten()
    }

    /// Nobody waits for the answers to these any longer.
    pub(super) fn forget(&mut self, requester: K) {
        loop {
            let mut theirs = self.by_requester.range((requester, 0)..);
            match theirs.next() {
                Some(&(key, number)) if key == requester => self.take(number),
                _ => return,
            };
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Tick> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
            && self.by_id.is_empty()
            && self.by_requester.is_empty()
            && self.deadlines.is_empty()
    }

    fn take(&mut self, number: u64) -> Option<Pending<K>> {
        let request = self.pending.remove(&number)?;
        self.by_id.remove(&request.id);
        self.by_requester.remove(&(request.requester, number));
        self.deadlines.remove(&(request.deadline, number));
        Some(request)
    }
}
