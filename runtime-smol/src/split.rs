//! Two halves of a connection, for two tasks.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream as FuturesStream;
use futures_io::{AsyncRead, AsyncWrite};
use smartsocket_core::websocket::{Closed, Event, Part, Stats};
use smartsocket_core::{Bytes, CloseCode, Message, Refused};

use crate::stream::Stream;
use crate::websocket::WebSocket;
use smartsocket_core::websocket::Error;

/// The half that sends. Clones send on the same connection.
pub struct Sender<S = Stream> {
    shared: Arc<Shared<S>>,
}

/// The half that receives. While it is received from, pings are answered,
/// deadlines kept and queued messages written for both.
pub struct Receiver<S = Stream> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    /// Locked for one poll at a time, never across an `.await`.
    websocket: Mutex<WebSocket<S>>,
    wakers: Arc<Wakers>,
}

/// A stream remembers one waker per direction, whichever half polled last; so
/// the waker it is given wakes all that wait.
#[derive(Default)]
struct Wakers {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    receiver: Option<Waker>,
    senders: Vec<Waker>,
    /// How often all were woken.
    wakes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Sender,
    Receiver,
}

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wakes(&self) -> u64 {
        self.lock().wakes
    }

    /// Notes who waits since the count of wakes was `since`; wakes it if there
    /// has been one, which it may have been meant for.
    fn wait(&self, half: Half, waker: &Waker, since: u64) {
        let mut waiting = self.lock();
        if waiting.wakes != since {
            drop(waiting);
            return waker.wake_by_ref();
        }
        match half {
            Half::Receiver => waiting.receiver = Some(waker.clone()),
            Half::Sender if waiting.senders.iter().any(|other| other.will_wake(waker)) => {}
            Half::Sender => waiting.senders.push(waker.clone()),
        }
    }

    fn wake_receiver(&self) {
        let receiver = self.lock().receiver.take();
        if let Some(waker) = receiver {
            waker.wake();
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut waiting = self.lock();
        waiting.wakes += 1;
        let (receiver, senders) = (waiting.receiver.take(), mem::take(&mut waiting.senders));
        drop(waiting);
        for waker in receiver.into_iter().chain(senders) {
            waker.wake();
        }
    }
}

pub(crate) fn split<S>(websocket: WebSocket<S>) -> (Sender<S>, Receiver<S>) {
    let shared = Arc::new(Shared {
        websocket: Mutex::new(websocket),
        wakers: Arc::default(),
    });
    (
        Sender {
            shared: Arc::clone(&shared),
        },
        Receiver { shared },
    )
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, WebSocket<S>> {
        // A panic in the middle of a poll leaves a machine that may be wrong,
        // but never unsafe; it will say so by closing.
        self.websocket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn poll<T>(
        &self,
        half: Half,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut WebSocket<S>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let since = self.wakers.wakes();
        let all = Waker::from(Arc::clone(&self.wakers));
        let mut websocket = self.lock();
        let result = poll(&mut websocket, &mut Context::from_waker(&all));
        // The receiver may have a message to take now, the end of the
        // connection to tell, or an earlier deadline to wait for.
        let turn = half == Half::Sender && websocket.wants_turn();
        drop(websocket);
        if result.is_pending() {
            self.wakers.wait(half, cx.waker(), since);
        }
        if turn {
            self.wakers.wake_receiver();
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// As [`WebSocket::send`], but always writes at once: the task that
    /// receives may be busy with something else.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::send`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.send_part(message, true).await
    }

    /// As [`WebSocket::send_part`]. Parts of two clones must not mix.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::send`].
    pub async fn send_part(&self, part: impl Into<Message>, last: bool) -> Result<(), Error> {
        let mut part = Some(part.into());
        poll_fn(|cx| {
            self.shared.poll(Half::Sender, cx, |ws, cx| {
                ws.poll_send_now(cx, &mut part, last)
            })
        })
        .await
    }

    /// As [`WebSocket::ping`].
    ///
    /// # Errors
    ///
    /// As [`WebSocket::ping`].
    pub async fn ping(&self, payload: impl Into<Bytes>) -> Result<(), Refused> {
        self.shared.lock().start_ping(payload.into())?;
        self.flush().await;
        Ok(())
    }

    /// As [`WebSocket::flush`].
    pub async fn flush(&self) {
        poll_fn(|cx| self.shared.poll(Half::Sender, cx, WebSocket::poll_flush)).await;
    }

    /// Starts the closing handshake; the [`Receiver`] sees it through.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        self.shared.lock().start_close(code, reason);
        self.shared.wakers.wake_by_ref();
        self.flush().await;
    }

    /// As [`WebSocket::stats`].
    pub fn stats(&self) -> Stats {
        *self.shared.lock().stats()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// As [`WebSocket::recv`].
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.shared.poll(Half::Receiver, cx, WebSocket::poll_recv)).await
    }

    /// As [`WebSocket::recv_part`].
    pub async fn recv_part(&mut self) -> Option<Result<Part, Error>> {
        poll_fn(|cx| {
            self.shared
                .poll(Half::Receiver, cx, WebSocket::poll_recv_part)
        })
        .await
    }

    /// As [`WebSocket::recv_event`].
    pub async fn recv_event(&mut self) -> Option<Result<Event, Error>> {
        poll_fn(|cx| self.shared.poll(Half::Receiver, cx, WebSocket::poll_data)).await
    }

    /// As [`WebSocket::closed`].
    pub fn closed(&self) -> Option<Closed> {
        self.shared.lock().closed().cloned()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FuturesStream for Receiver<S> {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.poll(Half::Receiver, cx, WebSocket::poll_recv)
    }
}

impl<S> Clone for Sender<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S> fmt::Debug for Sender<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Receiver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
