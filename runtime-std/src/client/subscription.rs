//! Messages of a channel and events, as iterators.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use smartsocket_core::client::{Event, Incoming, SubscriptionId};

use super::handle::Shared;

/// What comes by a channel, until it is dropped, which unsubscribes.
///
/// Up to [`ClientBuilder::buffer`](super::ClientBuilder::buffer) messages wait
/// for who does not take them; then each that comes drops the oldest, which
/// [`missed`](Self::missed) counts.
#[derive(Debug)]
pub struct Subscription {
    pub(super) id: SubscriptionId,
    pub(super) mailbox: Arc<Mailbox<Incoming>>,
    pub(super) shared: Weak<Shared>,
}

impl Subscription {
    /// The next message; `None` when the client is gone.
    pub fn recv(&self) -> Option<Incoming> {
        self.mailbox.take(None)
    }

    /// The next message; `None` also when none comes in time.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Incoming> {
        self.mailbox.take(Some(timeout))
    }

    /// How many messages were dropped since nobody took them.
    pub fn missed(&self) -> u64 {
        self.mailbox.lock().missed
    }
}

impl Iterator for Subscription {
    type Item = Incoming;

    fn next(&mut self) -> Option<Incoming> {
        self.recv()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.command(|desk, now| desk.unsubscribe(now, self.id));
        }
    }
}

/// What happens to a client, from [`Client::events`](super::Client::events) on.
#[derive(Debug)]
pub struct Events(pub(super) Arc<Mailbox<Event>>);

impl Events {
    /// The next event; `None` when the client is gone, or none comes in time.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Event> {
        self.0.take(Some(timeout))
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.0.take(None)
    }
}

/// Where what is told waits to be taken.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
    room: usize,
}

#[derive(Debug)]
struct Inner<T> {
    letters: VecDeque<T>,
    missed: u64,
    closed: bool,
}

/// The end that letters come by; with it the mailbox is closed.
#[derive(Debug)]
pub(super) struct Posting<T>(pub(super) Arc<Mailbox<T>>);

impl<T> Drop for Posting<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl<T> Mailbox<T> {
    pub(super) const fn new(room: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                letters: VecDeque::new(),
                missed: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            room,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, letter: T) {
        let mut inner = self.lock();
        if inner.letters.len() >= self.room {
            inner.letters.pop_front();
            inner.missed += 1;
        }
        inner.letters.push_back(letter);
        drop(inner);
        self.changed.notify_one();
    }

    fn take(&self, timeout: Option<Duration>) -> Option<T> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut inner = self.lock();
        loop {
            if let Some(letter) = inner.letters.pop_front() {
                return Some(letter);
            }
            if inner.closed {
                return None;
            }
            inner = match until {
                None => self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.changed.wait_timeout(inner, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
