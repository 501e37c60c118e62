//! Two halves of a connection, for two tasks.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream as FuturesStream;
use futures_io::{AsyncRead, AsyncWrite};
use smartsocket_core::websocket::{Closed, Event, Part, Stats};
use smartsocket_core::{Bytes, CloseCode, Message, Refused};

use crate::error::Error;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// The half that sends. Clones send on the same connection.
pub struct Sender<S = Stream> {
    shared: Arc<Shared<S>>,
}

/// The half that receives. While it is received from, pings are answered and
/// deadlines kept for both.
pub struct Receiver<S = Stream> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    /// Locked for one poll at a time, never across an `.await`.
    websocket: Mutex<WebSocket<S>>,
    wakers: Arc<Wakers>,
}

/// A stream remembers one waker per direction, whichever half polled last;
/// so the waker it is given wakes both halves.
#[derive(Default)]
struct Wakers {
    sleeping: Mutex<Vec<Waker>>,
}

impl Wakers {
    fn add(&self, waker: &Waker) {
        let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        if !sleeping.iter().any(|other| other.will_wake(waker)) {
            sleeping.push(waker.clone());
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let sleeping =
            std::mem::take(&mut *self.sleeping.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in sleeping {
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
        cx: &Context<'_>,
        poll: impl FnOnce(&mut WebSocket<S>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.wakers.add(cx.waker());
        let both = Waker::from(Arc::clone(&self.wakers));
        poll(&mut self.lock(), &mut Context::from_waker(&both))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// As [`WebSocket::send`].
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
        let sent = poll_fn(|cx| {
            self.shared
                .poll(cx, |ws, cx| ws.poll_send(cx, &mut part, last))
        })
        .await;
        // The receiver may have a shorter deadline to wait for now, or the
        // end of the connection to tell.
        self.shared.wakers.wake_by_ref();
        sent
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
        poll_fn(|cx| self.shared.poll(cx, WebSocket::poll_flush)).await;
    }

    /// Starts the closing handshake; the [`Receiver`] sees it through.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        self.shared.lock().start_close(code, reason);
        self.flush().await;
        self.shared.wakers.wake_by_ref();
    }

    /// As [`WebSocket::stats`].
    pub fn stats(&self) -> Stats {
        *self.shared.lock().stats()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// As [`WebSocket::recv`].
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.shared.poll(cx, WebSocket::poll_recv)).await
    }

    /// As [`WebSocket::recv_part`].
    pub async fn recv_part(&mut self) -> Option<Result<Part, Error>> {
        poll_fn(|cx| self.shared.poll(cx, WebSocket::poll_recv_part)).await
    }

    /// As [`WebSocket::recv_event`].
    pub async fn recv_event(&mut self) -> Option<Result<Event, Error>> {
        poll_fn(|cx| self.shared.poll(cx, WebSocket::poll_data)).await
    }

    /// As [`WebSocket::closed`].
    pub fn closed(&self) -> Option<Closed> {
        self.shared.lock().closed().cloned()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FuturesStream for Receiver<S> {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.poll(cx, WebSocket::poll_recv)
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
