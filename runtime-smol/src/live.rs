//! The connections of a shard: how many there are, and how to end them all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::accept::Place;

/// The connections of a shard that live.
#[derive(Debug)]
pub(crate) struct Live {
    stop: Arc<AtomicBool>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Who waits for each connection.
    wakers: Vec<Option<Waker>>,
    /// Free places in `wakers`.
    free: Vec<usize>,
}

/// A server's hold on a connection, shared by its handler and its socket: the
/// connection counts until both are gone, wherever the handler moved it.
#[derive(Debug)]
pub(crate) struct Leash {
    live: Arc<Live>,
    slot: usize,
    _place: Option<Place>,
}

impl Live {
    pub(crate) fn new(stop: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self {
            stop,
            slots: Mutex::default(),
        })
    }

    /// `place` is given back at the end, where this counts it.
    pub(crate) fn add(self: &Arc<Self>, place: Option<Place>) -> Arc<Leash> {
        let mut slots = self.lock();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.wakers.push(None);
            slots.wakers.len() - 1
        });
        drop(slots);
        Arc::new(Leash {
            live: Arc::clone(self),
            slot,
            _place: place,
        })
    }

    pub(crate) fn count(&self) -> usize {
        let slots = self.lock();
        slots.wakers.len() - slots.free.len()
    }

    pub(crate) fn wake_all(&self) {
        let wakers: Vec<_> = self.lock().wakers.iter_mut().map(Option::take).collect();
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leash {
    pub(crate) fn is_stopping(&self) -> bool {
        self.live.stop.load(Ordering::Relaxed)
    }

    /// Ready when the server stops.
    pub(crate) fn poll_stop(&self, cx: &Context<'_>) -> Poll<()> {
        let mut slots = self.live.lock();
        match &mut slots.wakers[self.slot] {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        drop(slots);
        // The flag is set before the wakers are taken: whoever comes too late
        // for the one sees the other.
        if self.is_stopping() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let mut slots = self.live.lock();
        let waker = slots.wakers[self.slot].take();
        slots.free.push(self.slot);
        drop(slots);
        drop(waker);
    }
}
