//! One WebSocket over one stream.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream as FuturesStream;
use futures_io::{AsyncRead, AsyncWrite};
use futures_sink::Sink;
use smartsocket_core::http::{Request, Response, UpgradeRequest};
use smartsocket_core::websocket::{
    Closed, Decision, Event, Negotiated, Opened, Part, Role, Stats, Ticket,
};
use smartsocket_core::{
    Bytes, CloseCode, Config, Message, Refused, SendError, WebSocket as Machine,
};

use crate::clock::{self, Clock};
use crate::driver::Driver;
use crate::live::Leash;
use crate::split::{Receiver, Sender, split};
use crate::stream::Stream;
use smartsocket_core::websocket::Error;

/// A WebSocket connection over a byte stream, of either role.
///
/// `S` is any `AsyncRead + AsyncWrite` of futures-io; [`Stream`] is our own
/// socket and the fastest. The connection is `Send` if the stream is.
///
/// Nothing happens in the background: pings are answered, deadlines kept and
/// queued messages written while [`recv`](Self::recv), [`send`](Self::send) or
/// [`flush`](Self::flush) wait. So keep receiving, also when nothing is
/// expected; [`split`](Self::split) makes that easy beside sending.
///
/// It is also a `Stream` of messages and a `Sink` for them.
pub struct WebSocket<S = Stream> {
    /// Boxed: a future holds room for every move of the connection through
    /// it, so the connection itself is a pointer.
    driver: Box<Driver<S>>,
    opened: Option<Box<Opened>>,
    /// The error of an unclean end has been given.
    reported: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The server's end of a new stream: waits for the upgrade request and
    /// accepts it by the rules of `config`.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] tells why no WebSocket came of it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    pub async fn accept(stream: S, config: impl Into<Arc<Config>>) -> Result<Self, Error> {
        let clock = Clock::start();
        let machine = Machine::server(config, clock::seed(), clock.now());
        Self::opening(Driver::new(stream, clock, machine))
            .run(never)
            .await
    }

    /// The same, where `decide` answers every request, if
    /// [`Config::decide`] is set.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept); also when `decide` refused.
    pub async fn accept_with(
        stream: S,
        config: impl Into<Arc<Config>>,
        decide: impl AsyncFnOnce(Ticket) -> Decision,
    ) -> Result<Self, Error> {
        let clock = Clock::start();
        let machine = Machine::server(config, clock::seed(), clock.now());
        Self::opening(Driver::new(stream, clock, machine))
            .run(decide)
            .await
    }

    /// The client's end of a connected stream: sends the request and waits
    /// for the answer. With a `wss://` URL, TLS runs inside.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] tells why no WebSocket came of it; its cause holds
    /// the server's response if that refused.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    pub async fn handshake(
        stream: S,
        request: UpgradeRequest,
        config: impl Into<Arc<Config>>,
    ) -> Result<Self, Error> {
        let clock = Clock::start();
        let machine = Machine::client(request, config, clock::seed(), clock.now())?;
        Self::opening(Driver::new(stream, clock, machine))
            .run(never)
            .await
    }

    /// Either end of a stream whose handshake another HTTP implementation
    /// did. `leftover` is what that read beyond the head.
    pub fn upgraded(
        stream: S,
        role: Role,
        agreed: Negotiated,
        leftover: &[u8],
        config: impl Into<Arc<Config>>,
    ) -> Self {
        let clock = Clock::start();
        let mut machine = Machine::upgraded(role, agreed, config, clock::seed(), clock.now());
        machine.handle_bytes(clock.now(), &mut leftover.to_vec());
        Self::opening(Driver::new(stream, clock, machine))
    }

    pub(crate) fn opening(driver: Driver<S>) -> Self {
        Self {
            driver: Box::new(driver),
            opened: None,
            reported: false,
        }
    }

    /// Runs the handshake.
    pub(crate) async fn run(
        mut self,
        decide: impl AsyncFnOnce(Ticket) -> Decision,
    ) -> Result<Self, Error> {
        let mut decide = Some(decide);
        loop {
            match poll_fn(|cx| self.driver.poll_event(cx)).await {
                Some(Event::Open(opened)) => {
                    self.opened = Some(opened);
                    // The peer waits for the answer, whatever the application
                    // does first.
                    self.flush().await;
                    return Ok(self);
                }
                Some(Event::Request(ticket)) => {
                    let Some(decide) = decide.take() else {
                        continue;
                    };
                    let decision = decide(ticket).await;
                    self.driver.machine.decide(self.driver.now(), decision);
                }
                Some(Event::Closed(closed)) => self.driver.closed = Some(closed),
                // Nothing else comes before the handshake is over.
                Some(
                    Event::Message(_)
                    | Event::Part(_)
                    | Event::Ping(_)
                    | Event::Pong(_)
                    | Event::Drained,
                ) => {}
                None => {
                    let closed = self.driver.closed.take();
                    return Err(Error::Closed(
                        closed.expect("the end is told before the last output"),
                    ));
                }
            }
        }
    }

    /// The next message; `None` after a clean end, an error once after any
    /// other, then `None`.
    ///
    /// Before it waits for the peer it writes what was sent, so a loop of
    /// `recv` and `send` answers many messages by one write.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was received stays in the connection.
    pub fn recv(&mut self) -> impl Future<Output = Option<Result<Message, Error>>> {
        poll_fn(|cx| self.poll_recv(cx))
    }

    /// The next part of a message, with [`Config::streaming`]; whole messages
    /// count as one part. Otherwise as [`recv`](Self::recv).
    pub async fn recv_part(&mut self) -> Option<Result<Part, Error>> {
        poll_fn(|cx| self.poll_recv_part(cx)).await
    }

    /// The next event of a connection whose pings and pongs are of interest:
    /// those come with [`Config::control_events`], beside messages and parts.
    /// Otherwise as [`recv`](Self::recv).
    pub async fn recv_event(&mut self) -> Option<Result<Event, Error>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    /// Queues a message, and writes at once unless messages that came with
    /// the last read still wait to be received: then the answers to all of
    /// them go out together. Waits while
    /// [`max_queued_bytes`](Config::max_queued_bytes) are queued.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] with the message when the connection is closing.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, the message is not sent at all; it is never
    /// sent in half.
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        self.send_part(message, true)
    }

    /// Sends a part of a message; `last` ends it. All parts of a message must
    /// be of the same kind.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send), for the part.
    // No `async fn`, which would have room for the message three times.
    pub fn send_part(
        &mut self,
        part: impl Into<Message>,
        last: bool,
    ) -> impl Future<Output = Result<(), Error>> {
        let mut part = Some(part.into());
        poll_fn(move |cx| {
            self.driver
                .poll_send(cx, &mut part, last, true)
                .map(|sent| check(sent, part.take()))
        })
    }

    /// Sends a ping of up to 125 bytes. Keepalive pings go out by themselves;
    /// this is for asking now.
    ///
    /// # Errors
    ///
    /// Why it was not sent.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the ping is queued at once, what waits is only its writing.
    pub async fn ping(&mut self, payload: impl Into<Bytes>) -> Result<(), Refused> {
        self.driver.machine.ping(self.driver.now(), payload)?;
        self.flush().await;
        Ok(())
    }

    /// Waits until everything sent so far is with the operating system, or the
    /// connection failed: [`recv`](Self::recv) tells.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn flush(&mut self) {
        poll_fn(|cx| self.driver.poll_flush(cx)).await;
    }

    /// Closes: what was sent goes first, then the close frame; waits for the
    /// peer's, at most [`close_timeout`](Config::close_timeout). Messages that
    /// still come are dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the closing goes on in [`recv`](Self::recv), or by calling
    /// this again.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Option<&Closed> {
        self.driver.machine.close(self.driver.now(), code, reason);
        poll_fn(|cx| self.poll_closed(cx)).await;
        self.reported = true;
        self.driver.closed.as_deref()
    }

    /// Two halves for two tasks. Keep receiving while there is a [`Sender`]:
    /// when nobody receives and nobody waits to send, nobody answers pings.
    /// The connection lives until both halves are dropped.
    pub fn split(self) -> (Sender<S>, Receiver<S>) {
        split(self)
    }

    /// Server: the request that was accepted.
    pub fn request(&self) -> Option<&Request> {
        self.opened.as_ref()?.request.as_ref()
    }

    /// Client: the server's response.
    pub fn response(&self) -> Option<&Response> {
        self.opened.as_ref()?.response.as_deref()
    }

    /// What the handshake agreed on, unless another did it.
    pub fn agreed(&self) -> Option<&Negotiated> {
        self.opened.as_ref().map(|opened| &opened.agreed)
    }

    /// How the connection ended, once it has.
    pub fn closed(&self) -> Option<&Closed> {
        self.driver.closed.as_deref()
    }

    /// Figures of the connection, the round trip of its pings among them.
    pub fn stats(&self) -> &Stats {
        self.driver.machine.stats()
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        self.driver.io()
    }

    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        loop {
            return Poll::Ready(match ready!(self.poll_data(cx)) {
                Some(Ok(Event::Message(message))) => Some(Ok(message)),
                Some(Ok(Event::Part(part))) => Some(Ok(part.data)),
                Some(Ok(_)) => continue,
                Some(Err(error)) => Some(Err(error)),
                None => None,
            });
        }
    }

    pub(crate) fn poll_recv_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Part, Error>>> {
        loop {
            return Poll::Ready(match ready!(self.poll_data(cx)) {
                Some(Ok(Event::Message(data))) => Some(Ok(Part { data, last: true })),
                Some(Ok(Event::Part(part))) => Some(Ok(part)),
                Some(Ok(_)) => continue,
                Some(Err(error)) => Some(Err(error)),
                None => None,
            });
        }
    }

    /// Sends without regard to what waits to be received: another task may
    /// receive it, and be busy.
    pub(crate) fn poll_send_now(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        last: bool,
    ) -> Poll<Result<(), Error>> {
        self.driver
            .poll_send(cx, message, last, false)
            .map(|sent| check(sent, message.take()))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.driver.poll_flush(cx)
    }

    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(event) = ready!(self.driver.poll_event(cx)) {
            if let Event::Closed(closed) = event {
                self.driver.closed = Some(closed);
            }
        }
        Poll::Ready(())
    }

    pub(crate) fn start_close(&mut self, code: CloseCode, reason: &str) {
        self.driver.machine.close(self.driver.now(), code, reason);
    }

    pub(crate) fn set_leash(&mut self, leash: Arc<Leash>) {
        self.driver.leash = Some(leash);
    }

    pub(crate) fn wants_turn(&self) -> bool {
        self.driver.wants_turn()
    }

    pub(crate) fn start_ping(&mut self, payload: Bytes) -> Result<(), Refused> {
        self.driver.machine.ping(self.driver.now(), payload)
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Error>>> {
        loop {
            match ready!(self.driver.poll_event(cx)) {
                Some(Event::Closed(closed)) => self.driver.closed = Some(closed),
                Some(event) => return Poll::Ready(Some(Ok(event))),
                None => {
                    let unclean = self
                        .driver
                        .closed
                        .as_ref()
                        .filter(|closed| !closed.is_clean());
                    return Poll::Ready(match unclean {
                        Some(closed) if !self.reported => {
                            self.reported = true;
                            Some(Err(Error::Closed(closed.clone())))
                        }
                        _ => None,
                    });
                }
            }
        }
    }
}

impl WebSocket<Stream> {
    pub(crate) fn over_socket(stream: Stream, clock: Clock, machine: Machine) -> Self {
        Self::opening(Driver::over_socket(stream, clock, machine))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FuturesStream for WebSocket<S> {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_recv(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for WebSocket<S> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().driver.poll_room(cx).map(Ok)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.get_mut()
            .driver
            .send(message, true)
            .map_err(Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().driver.poll_flush(cx).map(Ok)
    }

    /// Closes with 1000 and runs the closing handshake to its end.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = self.get_mut();
        this.start_close(CloseCode::NORMAL, "");
        this.poll_closed(cx).map(Ok)
    }
}

impl<S> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("machine", &self.driver.machine)
            .finish_non_exhaustive()
    }
}

fn check(sent: Result<(), Refused>, message: Option<Message>) -> Result<(), Error> {
    match (sent, message) {
        (Err(refused), Some(message)) => Err(SendError { message, refused }.into()),
        _ => Ok(()),
    }
}

/// For configurations that ask nothing.
async fn never(ticket: Ticket) -> Decision {
    ticket.accept(smartsocket_core::websocket::Accept::default())
}
