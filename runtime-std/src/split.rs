//! Two halves of a connection, for two threads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smartsocket_core::websocket::{Cause, Closed, Event, Part, Stats};
use smartsocket_core::{Bytes, CloseCode, Message, Refused, Tick};

use crate::link::{Link, Next, When};
use crate::stream::Stream;
use crate::transport::Transport;
use smartsocket_core::websocket::Error;

/// The half that sends. Clones send on the same connection, from any thread.
pub struct Sender<T: Transport = Stream> {
    link: Arc<Link<T>>,
}

/// The half that receives. While it is received from, pings are answered and
/// deadlines kept for both.
pub struct Receiver<T: Transport = Stream> {
    link: Arc<Link<T>>,
    /// The error of an unclean end has been given.
    reported: bool,
}

impl<T: Transport> Sender<T> {
    pub(crate) const fn new(link: Arc<Link<T>>) -> Self {
        Self { link }
    }

    /// Sends a message, at once. Messages of several threads that meet go out
    /// together.
    ///
    /// While the [`Receiver`] waits for the peer, this waits until the
    /// operating system has the message; otherwise only for room in the queue.
    /// Neither takes longer than [`write_timeout`](crate::Config::write_timeout)
    /// when the peer takes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] with the message when the connection is closing.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.send_part(message, true)
    }

    /// As [`WebSocket::send_part`](crate::WebSocket::send_part), at once.
    /// Parts of two clones must not mix.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_part(&self, part: impl Into<Message>, last: bool) -> Result<(), Error> {
        self.link.send(part.into(), last, When::Now)
    }

    /// As [`WebSocket::ping`](crate::WebSocket::ping).
    ///
    /// # Errors
    ///
    /// Why it was not sent.
    pub fn ping(&self, payload: impl Into<Bytes>) -> Result<(), Refused> {
        self.link.ping(payload.into())
    }

    /// As [`WebSocket::flush`](crate::WebSocket::flush).
    pub fn flush(&self) {
        self.link.flush();
    }

    /// As [`WebSocket::close`](crate::WebSocket::close). The [`Receiver`]
    /// gives what came before the end, then ends; it need not run for this.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::close`](crate::WebSocket::close).
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        close(&self.link, code, reason)
    }

    /// How the connection ended, once it has.
    pub fn closed(&self) -> Option<&Closed> {
        self.link.closed()
    }

    /// Figures of the connection.
    pub fn stats(&self) -> Stats {
        self.link.stats()
    }
}

impl<T: Transport> Receiver<T> {
    pub(crate) const fn new(link: Arc<Link<T>>) -> Self {
        Self {
            link,
            reported: false,
        }
    }

    /// As [`WebSocket::recv`](crate::WebSocket::recv).
    pub fn recv(&mut self) -> Option<Result<Message, Error>> {
        Some(self.part(None)?.map(|part| part.data))
    }

    /// As [`WebSocket::recv_timeout`](crate::WebSocket::recv_timeout).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Result<Message, Error>> {
        let until = self.link.after(timeout);
        Some(self.part(Some(until))?.map(|part| part.data))
    }

    /// As [`WebSocket::recv_part`](crate::WebSocket::recv_part).
    pub fn recv_part(&mut self) -> Option<Result<Part, Error>> {
        self.part(None)
    }

    /// As [`WebSocket::recv_event`](crate::WebSocket::recv_event).
    pub fn recv_event(&mut self) -> Option<Result<Event, Error>> {
        self.event(None)
    }

    /// How the connection ended, once it has.
    pub fn closed(&self) -> Option<&Closed> {
        self.link.closed()
    }

    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        self.reported = true;
        close(&self.link, code, reason)
    }

    pub(crate) const fn link(&self) -> &Arc<Link<T>> {
        &self.link
    }

    fn event(&mut self, until: Option<Tick>) -> Option<Result<Event, Error>> {
        match self.link.next(until) {
            Next::Event(event) => Some(Ok(event)),
            Next::TimedOut => Some(Err(Error::TimedOut)),
            Next::Over => {
                let clean = self.link.closed().is_some_and(Closed::is_clean);
                let first = !std::mem::replace(&mut self.reported, true);
                (first && !clean).then(|| Err(self.link.end()))
            }
        }
    }

    fn part(&mut self, until: Option<Tick>) -> Option<Result<Part, Error>> {
        loop {
            return match self.event(until)? {
                Ok(Event::Message(data)) => Some(Ok(Part { data, last: true })),
                Ok(Event::Part(part)) => Some(Ok(part)),
                Ok(_) => continue,
                Err(error) => Some(Err(error)),
            };
        }
    }
}

impl<T: Transport> Iterator for Receiver<T> {
    type Item = Result<Message, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl<T: Transport> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.link))
    }
}

impl<T: Transport> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.link).finish()
    }
}

impl<T: Transport> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.link).finish()
    }
}

fn close<T: Transport>(link: &Link<T>, code: CloseCode, reason: &str) -> Result<Closed, Error> {
    link.close(code, reason);
    match link.closed() {
        Some(closed) if matches!(closed.cause, Cause::Local | Cause::Peer) => Ok(closed.clone()),
        _ => Err(link.end()),
    }
}
