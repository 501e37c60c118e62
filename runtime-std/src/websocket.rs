//! One WebSocket over one stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smartsocket_core::http::{Request, Response, UpgradeRequest};
use smartsocket_core::websocket::{
    Accept, Closed, Decision, Event, Negotiated, Part, Role, Stats, Ticket,
};
use smartsocket_core::{Bytes, CloseCode, Config, Message, Refused, WebSocket as Machine};

use crate::clock::{self, Clock};
use crate::link::{Link, When};
use crate::split::{Receiver, Sender};
use crate::stream::Stream;
use crate::transport::Transport;
use smartsocket_core::websocket::Error;

/// A WebSocket connection over a byte stream, of either role.
///
/// `T` is any [`Transport`]; [`Stream`] is a socket.
///
/// Nothing happens in the background: pings are answered, deadlines kept and
/// what did not fit into the socket written while a method runs. So keep
/// receiving, also when nothing is expected; [`split`](Self::split) does that
/// in one thread while others send.
///
/// Dropping an open connection sends a close frame with 1000 (1011 when the
/// thread panics) if that can be done at once; [`close`](Self::close) is the
/// orderly way.
///
/// It is also an iterator over the messages received.
pub struct WebSocket<T: Transport = Stream> {
    receiver: Receiver<T>,
}

impl<T: Transport> WebSocket<T> {
    /// The server's end of a new stream: waits for the upgrade request, at
    /// most [`handshake_timeout`](Config::handshake_timeout), and accepts it
    /// by the rules of `config`.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] tells why no WebSocket came of it.
    pub fn accept(stream: T, config: impl Into<Arc<Config>>) -> Result<Self, Error> {
        Self::accept_with(stream, config, |ticket| ticket.accept(Accept::default()))
    }

    /// The same, where `decide` answers the request, if [`Config::decide`] is
    /// set. Deadlines rest while it runs.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept); also when `decide` refused.
    pub fn accept_with(
        stream: T,
        config: impl Into<Arc<Config>>,
        decide: impl FnOnce(Ticket) -> Decision,
    ) -> Result<Self, Error> {
        let link = Link::server(stream, config.into());
        link.open(decide, None)?;
        Ok(Self::over(Arc::new(link)))
    }

    /// The client's end of a connected stream: sends the request and waits
    /// for the answer, at most [`handshake_timeout`](Config::handshake_timeout).
    /// With a `wss://` URL, TLS runs inside, by [`Config::client_tls`].
    ///
    /// # Errors
    ///
    /// [`Error::Client`] when TLS cannot be set up. [`Error::Closed`] tells
    /// why no WebSocket came of it; its cause holds the server's response if
    /// that refused.
    pub fn handshake(
        stream: T,
        request: UpgradeRequest,
        config: impl Into<Arc<Config>>,
    ) -> Result<Self, Error> {
        let clock = Clock::start();
        let machine = Machine::client(request, config, clock::seed(), clock.now())?;
        let link = Link::new(stream, clock, machine);
        link.open(|ticket| ticket.accept(Accept::default()), None)?;
        Ok(Self::over(Arc::new(link)))
    }

    /// Either end of a stream whose handshake another HTTP implementation
    /// did. `leftover` is what that read beyond the head.
    pub fn upgraded(
        stream: T,
        role: Role,
        agreed: Negotiated,
        leftover: &[u8],
        config: impl Into<Arc<Config>>,
    ) -> Self {
        let clock = Clock::start();
        let mut machine = Machine::upgraded(role, agreed, config, clock::seed(), clock.now());
        machine.handle_bytes(clock.now(), &mut leftover.to_vec());
        Self::over(Arc::new(Link::new(stream, clock, machine)))
    }

    /// A connection that is open.
    pub(crate) fn over(link: Arc<Link<T>>) -> Self {
        Self {
            receiver: Receiver::new(link),
        }
    }

    /// The next message, as long as it takes; `None` after a clean end, an
    /// error once after any other, then `None`.
    ///
    /// Before it waits for the peer it writes what was sent, so a loop of
    /// `recv` and `send` answers many messages by one write.
    pub fn recv(&mut self) -> Option<Result<Message, Error>> {
        self.receiver.recv()
    }

    /// As [`recv`](Self::recv), but gives up with [`Error::TimedOut`] when no
    /// whole message came within `timeout`. Nothing is lost by that: call it
    /// again. A `timeout` of zero takes what is there.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Result<Message, Error>> {
        self.receiver.recv_timeout(timeout)
    }

    /// The next part of a message, with [`Config::streaming`]; a whole message
    /// counts as one part. Otherwise as [`recv`](Self::recv).
    pub fn recv_part(&mut self) -> Option<Result<Part, Error>> {
        self.receiver.recv_part()
    }

    /// The next event of a connection whose pings and pongs are of interest:
    /// those come with [`Config::control_events`], beside messages and parts.
    /// Otherwise as [`recv`](Self::recv).
    pub fn recv_event(&mut self) -> Option<Result<Event, Error>> {
        self.receiver.recv_event()
    }

    /// Queues a message, and writes at once unless messages that came with
    /// the last read still wait to be received: then the answers to all of
    /// them go out together.
    ///
    /// What the socket does not take at once is written by the calls that
    /// follow. Waits only while [`max_queued_bytes`](Config::max_queued_bytes)
    /// are queued, and no longer than [`write_timeout`](Config::write_timeout)
    /// allows the peer to take nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] with the message when the connection is closing.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.send_part(message, true)
    }

    /// Sends a part of a message; `last` ends it. All parts of a message must
    /// be of the same kind.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_part(&mut self, part: impl Into<Message>, last: bool) -> Result<(), Error> {
        self.link().send(part.into(), last, When::Batched)
    }

    /// Sends a ping of up to 125 bytes. Keepalive pings go out by themselves;
    /// this is for asking now.
    ///
    /// # Errors
    ///
    /// Why it was not sent.
    pub fn ping(&mut self, payload: impl Into<Bytes>) -> Result<(), Refused> {
        self.link().ping(payload.into())
    }

    /// Waits until everything sent so far is with the operating system, as
    /// long as the peer takes some of it within every
    /// [`write_timeout`](Config::write_timeout). If the connection fails
    /// meanwhile, [`recv`](Self::recv) tells.
    pub fn flush(&mut self) {
        self.link().flush();
    }

    /// Closes: what was sent goes first, then the close frame; waits for the
    /// peer's, at most [`close_timeout`](Config::close_timeout), and for the
    /// end of the stream, at most that time again. Messages that still come
    /// are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the connection ended in another way than by
    /// both ends' close frames.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        self.receiver.close(code, reason)
    }

    /// Two halves for two threads, and more if the [`Sender`] is cloned.
    pub fn split(self) -> (Sender<T>, Receiver<T>) {
        (Sender::new(Arc::clone(self.link())), self.receiver)
    }

    /// Whether messages can be sent.
    pub fn is_open(&self) -> bool {
        self.link().is_open()
    }

    /// Server: the request that was accepted.
    pub fn request(&self) -> Option<&Request> {
        self.link().opened()?.request.as_ref()
    }

    /// Client: the server's response.
    pub fn response(&self) -> Option<&Response> {
        self.link().opened()?.response.as_deref()
    }

    /// What the handshake agreed on, unless another did it.
    pub fn agreed(&self) -> Option<&Negotiated> {
        self.link().opened().map(|opened| &opened.agreed)
    }

    /// How the connection ended, once it has.
    pub fn closed(&self) -> Option<&Closed> {
        self.link().closed()
    }

    /// Figures of the connection, the round trip of its pings among them.
    pub fn stats(&self) -> Stats {
        self.link().stats()
    }

    /// The stream below.
    pub fn get_ref(&self) -> &T {
        self.link().transport()
    }

    fn link(&self) -> &Arc<Link<T>> {
        self.receiver.link()
    }
}

impl<T: Transport> Iterator for WebSocket<T> {
    type Item = Result<Message, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl<T: Transport> fmt::Debug for WebSocket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocket").field(self.link()).finish()
    }
}
