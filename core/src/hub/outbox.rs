//! What waits for a peer that does not read, and what gives way to what.

use alloc::collections::VecDeque;

use crate::message::{Message, Utf8Bytes};
use crate::stats::{Counters, DropCause};

use super::config::{Outbox, Overflow};

/// Answers may exceed the bound so many times, since they are never dropped.
const CERTAIN: usize = 4;

/// What waits for a peer that does not read.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<Parcel>,
    bytes: usize,
    /// How many of them are answers.
    answers: usize,
    answer_bytes: usize,
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) message: Message,
    /// The event, where a newer one may replace it.
    pub(super) key: Option<Utf8Bytes>,
    pub(super) keep: Keep,
    /// The client may send it straight back.
    pub(super) echoes: bool,
    /// It is sealed, or goes in the open.
    pub(super) sealed: bool,
}

/// Whether a message may be dropped for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// As the route's policy has it.
    ByPolicy,
    /// No: there was room when it was sent.
    Paced,
    /// No: it is an answer to the peer.
    Certain,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether as many answers wait as anything may.
    pub(super) const fn is_full_of_answers(&self, limits: &Outbox) -> bool {
        self.answers >= limits.max_messages || self.answer_bytes >= limits.max_bytes
    }

    /// Whether so many more would fill at most half of the room; one message
    /// always fits where there is none.
    pub(super) fn fits_half(&self, limits: &Outbox, messages: usize, bytes: usize) -> bool {
        self.fits(
            limits.max_messages / 2,
            limits.max_bytes / 2,
            messages,
            bytes,
        )
    }

    /// Whether half of that half is free again.
    pub(super) fn is_low(&self, limits: &Outbox) -> bool {
        self.queue.len() <= limits.max_messages / 4 && self.bytes <= limits.max_bytes / 4
    }

    /// Puts a message behind the others, or drops one of them; `false` when it
    /// is too much and the connection has to go.
    pub(super) fn stow(
        &mut self,
        limits: &Outbox,
        parcel: Parcel,
        counters: &mut Counters,
    ) -> bool {
        let len = parcel.message.len();
        let fits = |waiting: &Self, times: usize| {
            let messages = limits.max_messages.saturating_mul(times);
            waiting.fits(messages, limits.max_bytes.saturating_mul(times), 1, len)
        };
        match parcel.keep {
            Keep::Paced => {}
            Keep::Certain => {
                if !fits(self, CERTAIN) {
                    return false;
                }
                self.answers += 1;
                self.answer_bytes += len;
            }
            Keep::ByPolicy if fits(self, 1) && parcel.key.is_none() => {}
            Keep::ByPolicy => match limits.overflow {
                Overflow::Close => return false,
                Overflow::DropNewest => {
                    counters.dropped(DropCause::Outbox, 1);
                    return true;
                }
                Overflow::DropOldest | Overflow::KeepLatest => {
                    let same = |other: &Parcel| parcel.key.is_some() && other.key == parcel.key;
                    self.drop_first(same, counters);
                    while !fits(self, 1)
                        && self.drop_first(|other| other.keep == Keep::ByPolicy, counters)
                    {
                    }
                }
            },
        }
        self.bytes += len;
        self.queue.push_back(parcel);
        true
    }

    /// The next to go.
    pub(super) fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.queue.pop_front()?;
        let len = parcel.message.len();
        self.bytes -= len;
        if parcel.keep == Keep::Certain {
            self.answers -= 1;
            self.answer_bytes -= len;
        }
        Some(parcel)
    }

    fn fits(&self, max: usize, max_bytes: usize, messages: usize, bytes: usize) -> bool {
        self.queue.is_empty()
            || self.queue.len() + messages <= max && self.bytes + bytes <= max_bytes
    }

    /// Drops the oldest of a kind; whether there was one.
    fn drop_first(&mut self, kind: impl Fn(&Parcel) -> bool, counters: &mut Counters) -> bool {
        let Some(at) = self.queue.iter().position(kind) else {
            return false;
        };
        if let Some(dropped) = self.queue.remove(at) {
            self.bytes -= dropped.message.len();
            counters.dropped(DropCause::Outbox, 1);
        }
        true
    }
}
