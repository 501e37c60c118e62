//! Messages of a channel, as a stream.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use async_channel::Receiver;
use futures_core::Stream;
use smartsocket_core::client::{Incoming, SubscriptionId};

use super::handle::Shared;

/// What comes by a channel, until it is dropped, which unsubscribes.
///
/// Up to [`ClientBuilder::buffer`](super::ClientBuilder::buffer) messages wait
/// for who does not take them; then each that comes drops the oldest, which
/// [`ClientStats::dropped`](super::ClientStats) does not count:
/// [`missed`](Self::missed) does.
#[derive(Debug)]
pub struct Subscription {
    pub(super) id: SubscriptionId,
    pub(super) messages: Pin<Box<Receiver<Incoming>>>,
    pub(super) missed: Arc<AtomicU64>,
    pub(super) shared: Weak<Shared>,
}

impl Subscription {
    /// The next message; `None` when the client is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.messages.recv().await.ok()
    }

    /// A message that is there already.
    pub fn try_next(&mut self) -> Option<Incoming> {
        self.messages.try_recv().ok()
    }

    /// How many messages were dropped since nobody took them.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Stream for Subscription {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.as_mut().poll_next(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.command(|desk, now| desk.unsubscribe(now, self.id));
        }
    }
}
