//! One WebSocket endpoint, either role (RFC 6455): the central machine.
//!
//! `endpoint` holds the states, `deadlines` the time, `handshake` the opening,
//! `ending` the end, `secure` the TLS below, `receive` the way in, `send` and
//! `wire` the way out, `codec` one connection's compression, `bounds` what all
//! of it can hold. [`WebSocket`] is an endpoint with what it needs around it.

mod bounds;
mod codec;
mod config;
mod deadlines;
mod ending;
mod endpoint;
mod error;
mod event;
mod handshake;
mod receive;
#[cfg(feature = "tls")]
mod secure;
mod send;
mod wire;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::Bytes;

use crate::code::CloseCode;
use crate::deflate::{InflateLimits, Pool};
use crate::entropy::{Entropy, Seed};
use crate::error::{Fault, Refused, SendError};
use crate::http::UpgradeRequest;
use crate::message::Message;
use crate::proxy::ProxyError;
use crate::time::Tick;

pub(crate) use endpoint::Endpoint;
pub(crate) use send::Packed;

pub use config::Config;
pub use error::Error;
pub use event::{
    Accept, Cause, Closed, Deadline, Decision, Event, Negotiated, Opened, Output, Part, Stats,
    Ticket, Violation,
};
pub use handshake::negotiate;

/// Which end of the connection this is; it decides who masks (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Accepts connections; sends plain frames, takes masked ones.
    Server,
    /// Opens connections; sends masked frames, takes plain ones.
    Client,
}

/// A buffer lent for reading a long payload straight into its message.
///
/// Append at most `room` bytes to `buf` (its capacity suffices) and give it
/// back by [`handle_fill`](WebSocket::handle_fill), also when nothing came.
#[derive(Debug)]
#[must_use]
pub struct Fill {
    /// Where to append. What it holds already must stay.
    pub buf: Vec<u8>,
    /// How many bytes may be appended.
    pub room: usize,
    start: usize,
}

/// One WebSocket connection as a state machine: bytes and ticks in, bytes and
/// events out.
///
/// The methods are of four kinds. *Inputs* (`handle_*`, `transmitted`) tell
/// what happened. *Commands* (`send`, `close`, `decide` ...) say what the
/// application wants. [`poll_output`](Self::poll_output) says what to do about
/// it: after any input or command, call it until `None`. *Getters* change
/// nothing.
///
/// ```
/// use smartsocket_core::http::UpgradeRequest;
/// use smartsocket_core::websocket::{Event, Output};
/// use smartsocket_core::{Config, Message, Seed, Tick, WebSocket};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = Tick::ZERO;
/// let mut server = WebSocket::server(Config::default(), Seed::new([1; 32]), now);
/// let request = UpgradeRequest::new("ws://example.com/chat")?;
/// let mut client = WebSocket::client(request, Config::default(), Seed::new([2; 32]), now)?;
///
/// // The loop of an adapter, with two machines in place of two sockets.
/// let mut heard = Vec::new();
/// loop {
///     let mut idle = true;
///     for turn in 0..2 {
///         let (from, to) = if turn == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
///         while let Some(output) = from.poll_output() {
///             match output {
///                 Output::Event(Event::Open(_)) if turn == 0 => from.send(now, Message::text("hello"))?,
///                 Output::Event(Event::Message(message)) => heard.push(message),
///                 _ => {}
///             }
///         }
///         let mut bytes: Vec<u8> = from.unsent().flat_map(|bytes| bytes.to_vec()).collect();
///         from.transmitted(now, bytes.len());
///         idle &= bytes.is_empty();
///         to.handle_bytes(now, &mut bytes);
///     }
///     if idle {
///         break;
///     }
/// }
/// assert_eq!(heard, [Message::text("hello")]);
/// # Ok(())
/// # }
/// ```
pub struct WebSocket {
    endpoint: Endpoint,
    shared: Shared,
}

impl WebSocket {
    /// A server's end of a new connection; expects the upgrade request.
    pub fn server(config: impl Into<Arc<Config>>, seed: Seed, now: Tick) -> Self {
        let shared = Shared::new(config.into(), seed);
        Self {
            endpoint: Endpoint::server(&shared, now),
            shared,
        }
    }

    /// A client's end of a new connection; puts out the upgrade request. The
    /// stream is one to the server, or to the [`proxy`](Config::proxy) on the
    /// way, which is asked for a way through first.
    ///
    /// # Errors
    ///
    /// `tls::TlsError` when the URL is `wss://` and
    /// `Config::client_tls` is not set, or the host is no name that a
    /// certificate could prove. Without feature `tls`, every `wss://` URL is
    /// an error. So is a proxy that cannot be used.
    pub fn client(
        request: UpgradeRequest,
        config: impl Into<Arc<Config>>,
        seed: Seed,
        now: Tick,
    ) -> Result<Self, ClientError> {
        let mut shared = Shared::new(config.into(), seed);
        Ok(Self {
            endpoint: Endpoint::client(request, &mut shared, now)?,
            shared,
        })
    }

    /// Either end of a connection whose handshake another HTTP implementation
    /// did. Bytes it read beyond the head go to
    /// [`handle_bytes`](Self::handle_bytes) first.
    pub fn upgraded(
        role: Role,
        agreed: Negotiated,
        config: impl Into<Arc<Config>>,
        seed: Seed,
        now: Tick,
    ) -> Self {
        let shared = Shared::new(config.into(), seed);
        Self {
            endpoint: Endpoint::upgraded(role, &agreed, &shared, now),
            shared,
        }
    }

    /// An endpoint that a hub began, on its own from now on.
    pub(crate) const fn detached(endpoint: Endpoint, shared: Shared) -> Self {
        Self { endpoint, shared }
    }

    /// Bytes came from the peer. They are unmasked in place, so `data` holds
    /// nothing of use afterwards. Bytes that break the protocol close the
    /// connection.
    pub fn handle_bytes(&mut self, now: Tick, data: &mut [u8]) {
        self.endpoint.handle_bytes(&mut self.shared, now, data);
    }

    /// A buffer to read into, when a long payload is under way: saves copying
    /// it. Until it is given back, no other bytes may be handed in.
    pub fn take_fill(&mut self) -> Option<Fill> {
        self.endpoint.take_fill(&self.shared)
    }

    /// The lent buffer, with what was read into it.
    pub fn handle_fill(&mut self, now: Tick, fill: Fill) {
        self.endpoint.handle_fill(&mut self.shared, now, fill);
    }

    /// The peer ended its direction of the stream.
    pub fn handle_eof(&mut self, now: Tick) {
        self.endpoint.handle_eof(&self.shared, now);
    }

    /// The network or the system failed; the connection ends at once.
    pub fn handle_fault(&mut self, now: Tick, fault: Fault) {
        self.endpoint.handle_fault(now, fault);
    }

    /// Time has passed. Calling it too early or too often is free.
    pub fn handle_timeout(&mut self, now: Tick) {
        self.endpoint.handle_timeout(&mut self.shared, now);
    }

    /// What to do next; `None` until another input or command.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.endpoint.poll_output(&mut self.shared)
    }

    /// Shows what is queued in [`unsent`](Self::unsent) now, without taking
    /// the events that wait. Otherwise it shows when they have been taken, so
    /// that all answers of a turn go out together.
    pub fn flush(&mut self) {
        self.endpoint.flush(&mut self.shared);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), or the latest
    /// tick seen while [`poll_output`](Self::poll_output) has something.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.endpoint.next_timeout(&self.shared)
    }

    /// Bytes to send, in order, as they were when
    /// [`poll_output`](Self::poll_output) was last called. Clone handles of
    /// them to write without holding the machine.
    pub fn unsent(&self) -> impl Iterator<Item = &Bytes> {
        self.endpoint.unsent()
    }

    /// The kernel took the first `n` bytes of [`unsent`](Self::unsent).
    pub fn transmitted(&mut self, now: Tick, n: usize) {
        self.endpoint.transmitted(&mut self.shared, now, n);
    }

    /// Queues a message.
    ///
    /// # Errors
    ///
    /// Hands the message back when it cannot be queued.
    pub fn send(&mut self, now: Tick, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_part(now, message, true)
    }

    /// Queues a part of a message, whose end is told by `last`. All parts
    /// must be of one kind.
    ///
    /// # Errors
    ///
    /// Hands the part back when it cannot be queued.
    pub fn send_part(
        &mut self,
        now: Tick,
        part: impl Into<Message>,
        last: bool,
    ) -> Result<(), SendError> {
        self.endpoint
            .send(&mut self.shared, now, part.into(), last)
            .map_err(|(message, refused)| SendError { message, refused })
    }

    /// Queues a ping of up to 125 bytes. Of several that wait, the last goes.
    ///
    /// # Errors
    ///
    /// [`Refused::TooLong`], or the connection is not open.
    pub fn ping(&mut self, now: Tick, payload: impl Into<Bytes>) -> Result<(), Refused> {
        self.endpoint.ping(now, payload.into())
    }

    /// Starts the closing handshake: what is queued goes first, then the
    /// close frame. A code that must not be sent goes as none; a reason beyond
    /// 123 bytes is cut. Without effect when the connection is closing.
    pub fn close(&mut self, now: Tick, code: CloseCode, reason: &str) {
        self.endpoint.close(&mut self.shared, now, code, reason);
    }

    /// Answers an [`Event::Request`]. Too late, it is harmless.
    pub fn decide(&mut self, now: Tick, decision: Decision) {
        self.endpoint.decide(&mut self.shared, now, decision);
    }

    /// Whether messages can be sent and received.
    pub fn is_open(&self) -> bool {
        self.endpoint.is_open()
    }

    /// Whether an event waits in [`poll_output`](Self::poll_output).
    pub fn has_event(&self) -> bool {
        self.endpoint.has_event(&self.shared)
    }

    /// Whether the queue takes another message now, whatever its length up to
    /// what is left of [`Config::max_queued_bytes`].
    pub fn has_room(&self) -> bool {
        self.endpoint.buffered() < self.shared.config.max_queued_bytes || !self.endpoint.is_open()
    }

    /// Bytes that wait to be sent, message payloads and frames.
    pub fn buffered(&self) -> usize {
        self.endpoint.buffered()
    }

    /// Figures of the connection so far.
    pub fn stats(&self) -> &Stats {
        self.endpoint.stats()
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

/// Why a client's machine could not be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// `wss://` without `Config::client_tls`, or without feature `tls`.
    NoTls,
    /// The proxy that was chosen cannot be used.
    Proxy(ProxyError),
    /// TLS could not be set up.
    #[cfg(feature = "tls")]
    Tls(crate::tls::TlsError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTls => f.write_str("wss:// needs TLS, which is not configured"),
            Self::Proxy(error) => error.fmt(f),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ClientError {}

impl From<ProxyError> for ClientError {
    fn from(error: ProxyError) -> Self {
        Self::Proxy(error)
    }
}

/// The longest scratch buffer worth keeping.
const KEPT_SCRATCH: usize = 4 * 1024;

/// What endpoints need and can share: a hub owns one for all of them, a lone
/// [`WebSocket`] one for itself.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) entropy: Entropy,
    pub(crate) events: Events,
    /// Compressed messages that may yet be inflated; further ones are passed
    /// over, where the next does not need what they held.
    pub(crate) quota: u32,
    /// Those that were: how many, and their bytes.
    pub(crate) skipped: (usize, usize),
    /// Made when first needed: most connections never are in need of them.
    tools: Option<Box<Tools>>,
}

/// What compression and TLS work with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) pool: Pool,
    /// Inflated or deciphered bytes on their way into a message.
    scratch: Vec<u8>,
}

impl Shared {
    pub(crate) fn new(config: Arc<Config>, seed: Seed) -> Self {
        Self {
            config,
            entropy: Entropy::new(seed),
            events: Events::default(),
            quota: u32::MAX,
            skipped: (0, 0),
            tools: None,
        }
    }

    /// Makes these the options that endpoints see.
    #[inline]
    pub(crate) fn see(&mut self, config: &Arc<Config>) {
        if !Arc::ptr_eq(&self.config, config) {
            self.config = Arc::clone(config);
        }
    }

    /// Whether an endpoint has told something that nobody has taken.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    fn pool(&mut self) -> &mut Pool {
        &mut self.tools().pool
    }

    fn tools(&mut self) -> &mut Tools {
        self.tools.get_or_insert_with(|| {
            Box::new(Tools {
                pool: Pool::new(1),
                scratch: Vec::new(),
            })
        })
    }

    fn take_scratch(&mut self) -> Vec<u8> {
        mem::take(&mut self.tools().scratch)
    }

    /// Keeps a scratch buffer for the next time, unless it has grown: an idle
    /// connection should hold next to nothing.
    fn keep_scratch(&mut self, scratch: Vec<u8>) {
        if scratch.capacity() <= KEPT_SCRATCH {
            self.tools().scratch = scratch;
        }
    }

    /// Messages shorter than this are not compressed.
    fn threshold(&self) -> usize {
        self.config
            .deflate
            .as_ref()
            .map_or(1_024, |deflate| deflate.threshold)
    }

    fn inflate_limits(&self) -> InflateLimits {
        let defaults;
        let deflate = match &self.config.deflate {
            Some(deflate) => deflate,
            None => {
                defaults = crate::deflate::Deflate::default();
                &defaults
            }
        };
        InflateLimits {
            max_output_total: self.config.max_message,
            max_ratio: deflate.max_ratio,
            ratio_floor: deflate.ratio_floor,
        }
    }
}

/// Events on their way out. One lives inline: the usual turn brings one, and
/// an idle connection should hold no queue.
#[derive(Debug, Default)]
pub(crate) struct Events {
    first: Option<Event>,
    rest: VecDeque<Event>,
}

impl Events {
    #[inline]
    fn push(&mut self, event: Event) {
        if self.is_empty() {
            self.first = Some(event);
        } else {
            self.rest.push_back(event);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Event> {
        if let Some(event) = self.first.take() {
            return Some(event);
        }
        let event = self.rest.pop_front();
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        event
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }
}
