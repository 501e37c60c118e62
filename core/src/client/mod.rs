//! The client that stays connected: states, dialing, backoff, queue,
//! subscriptions and requests, over any provider's protocol.
//!
//! `config` holds the options, `backoff` the waits, `verdict` what to do about
//! an end, `queue` what waits to be said, `protocol` what a provider is, and
//! `providers` one file for each of them. The machine itself is `machine`.

mod backoff;
mod config;
mod desk;
pub mod form;
mod machine;
mod protocol;
mod providers;
mod queue;
mod template;
mod utilities;
mod verdict;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::http::{InvalidHeader, UrlError};
use crate::json::Json;
use crate::message::{Message, Utf8Bytes, printable};
use crate::websocket::ClientError;

pub use backoff::{Backoff, Jitter};
pub use config::{Auth, ClientConfig, DEFAULT_TEMPLATE, Ping, QueueConfig, Secret};
pub use desk::{Call, ConnectError, Desk};
pub use machine::Client;
pub use providers::{Provider, SmartSocket, pusher_proof};
pub use queue::Priority;
pub use utilities::{close_reason, parse_message};
pub use verdict::{Ending, Verdict};

/// Where a client stands (PO-51 to PO-57).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Neither connected nor about to be.
    #[default]
    Disconnected,
    /// The first attempt is under way.
    Connecting,
    /// The WebSocket is open.
    Connected,
    /// The provider looks at who we are.
    Authenticating,
    /// In: messages go both ways.
    Authenticated,
    /// The connection is lost; another attempt waits or is under way.
    Reconnecting,
    /// Given up; [`Event::Ended`] told why.
    Error,
}

impl State {
    /// As the seed writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Authenticating => "authenticating",
            Self::Authenticated => "authenticated",
            Self::Reconnecting => "reconnecting",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One stream to the host; each attempt has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineId(u32);

impl LineId {
    pub(super) const NONE: Self = Self(0);
}

/// A wish to hear of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u64);

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// What answers a message that asked for it: [`Client::acknowledge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckTicket {
    pub(super) line: LineId,
    pub(super) namespace: Utf8Bytes,
    pub(super) id: Utf8Bytes,
}

/// Where to open a stream: at the server, or at the proxy on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// What to say it is in [`Client::handle_dialed`].
    pub line: LineId,
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS will be spoken on it; the machine does that itself.
    pub secure: bool,
}

/// One thing the embedder must do, or learn.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Open a stream; then [`Client::handle_dialed`] or [`Client::handle_dial_failed`].
    Dial(Dial),
    /// With [`ClientConfig::refresh`]: get a token; then
    /// [`Client::handle_token`].
    Token,
    /// Show that this client may have a channel (Pusher's private channels);
    /// then [`Client::handle_authorized`].
    Authorize {
        /// The channel.
        channel: Utf8Bytes,
        /// The provider's name for the connection.
        socket: Utf8Bytes,
    },
    /// Bytes wait in [`Client::unsent`]; told once until all are transmitted.
    Transmit(LineId),
    /// Stop reading.
    PauseRead(LineId),
    /// Read again.
    ResumeRead(LineId),
    /// Everything is sent: end the stream in this direction.
    Shutdown(LineId),
    /// Drop the stream, or the attempt to open it.
    Close(LineId),
    /// Something for the application.
    Event(Event),
}

/// Something for the application.
#[derive(Clone, Debug)]
pub enum Event {
    /// The state is another one (PO-18).
    State(State),
    /// The next attempt, the first being 1, begins after this time (PO-19).
    Reconnecting {
        /// How many there will have been in a row.
        attempt: u32,
        /// How long until then.
        wait: Duration,
    },
    /// A message (PO-17).
    Message(Incoming),
    /// The provider gives us a channel that was asked for.
    Subscribed(Utf8Bytes),
    /// It does not, in its words.
    SubscriptionRefused(Utf8Bytes, Utf8Bytes),
    /// A request's answer, or why there is none.
    Answered(RequestId, Result<Json, RequestError>),
    /// A connection or an attempt ended, and what will be done about it
    /// (PO-16, PO-20).
    Ended(Ending, Verdict),
    /// A message that could not be read, and why.
    Unreadable(Utf8Bytes),
    /// So many messages were never sent, and why.
    Dropped(usize, Loss),
}

/// Why a message was never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It had to make room in the queue, or found none.
    Crowded,
    /// The client was disconnected, or gave up, while it waited.
    Closed,
    /// The provider has no such messages, for this reason.
    Refused(Utf8Bytes),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crowded => f.write_str("too much was waiting to be sent"),
            Self::Closed => f.write_str("there is no connection, and will be none"),
            Self::Refused(words) => printable(words).fmt(f),
        }
    }
}

/// For a log, in the words of SmartSocket where it has some (SS-109); without
/// what messages and answers hold.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(State::Connected) => f.write_str("WebSocket connection opened"),
            Self::State(State::Authenticated) => f.write_str("Connected to server"),
            Self::State(State::Error) => f.write_str("Gave up"),
            Self::State(state) => write!(f, "State: {state}"),
            Self::Reconnecting { attempt, wait } => {
                let seconds = wait.as_secs_f32();
                write!(f, "Reconnecting in {seconds:.1} s, attempt {attempt}")
            }
            Self::Message(message) => {
                let event = message.event.as_deref().unwrap_or("message");
                write!(f, "Received event: {}", printable(event))
            }
            Self::Subscribed(channel) => write!(f, "Subscribed to {}", printable(channel)),
            Self::SubscriptionRefused(channel, words) => {
                let (channel, words) = (printable(channel), printable(words));
                write!(f, "Subscription to {channel} refused: {words}")
            }
            Self::Answered(_, Ok(_)) => f.write_str("Received an answer"),
            Self::Answered(_, Err(error)) => write!(f, "No answer: {error}"),
            Self::Ended(ending, _) => write!(f, "Connection ended: {ending}"),
            Self::Unreadable(words) => {
                write!(f, "A message could not be read: {}", printable(words))
            }
            Self::Dropped(1, why) => write!(f, "A message was dropped: {why}"),
            Self::Dropped(messages, why) => write!(f, "{messages} messages were dropped: {why}"),
        }
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The channel it came by, where the provider has such.
    pub channel: Option<Utf8Bytes>,
    /// The event, where it has one.
    pub event: Option<Utf8Bytes>,
    /// Its data; the whole message, where the provider says no more of it.
    pub data: Payload,
    /// Who wanted to hear of it.
    pub subscriptions: Vec<SubscriptionId>,
    /// It asks for an answer.
    pub ack: Option<AckTicket>,
}

impl Incoming {
    pub(super) const fn new(
        channel: Option<Utf8Bytes>,
        event: Option<Utf8Bytes>,
        data: Payload,
    ) -> Self {
        Self {
            channel,
            event,
            data,
            subscriptions: Vec::new(),
            ack: None,
        }
    }
}

/// What a message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A value.
    Json(Json),
    /// A message as it came.
    Message(Message),
}

impl Payload {
    /// The value, where it is one.
    pub const fn as_json(&self) -> Option<&Json> {
        match self {
            Self::Json(json) => Some(json),
            Self::Message(_) => None,
        }
    }

    /// The message as it came, where nothing more was made of it.
    pub const fn as_message(&self) -> Option<&Message> {
        match self {
            Self::Json(_) => None,
            Self::Message(message) => Some(message),
        }
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// None came in time.
    TimedOut,
    /// The connection it went out by was lost: whether the peer has acted on it
    /// is not known.
    Disconnected,
    /// It had to make room in the queue.
    Dropped,
    /// The peer refused, in its words.
    Refused(Utf8Bytes),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer came in time"),
            Self::Disconnected => f.write_str("the connection was lost before the answer"),
            Self::Dropped => f.write_str("too much was waiting to be sent"),
            Self::Refused(words) => printable(words).fmt(f),
        }
    }
}

impl core::error::Error for RequestError {}

/// A configuration that no connection can be made with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL is none of a WebSocket.
    Url(UrlError),
    /// A header or subprotocol cannot be sent.
    Header(InvalidHeader),
    /// A way to authenticate that needs a token, and no token.
    NoToken,
    /// TLS cannot be set up.
    Client(ClientError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::NoToken => f.write_str("this way to authenticate needs a token"),
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}

impl From<UrlError> for ConfigError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<InvalidHeader> for ConfigError {
    fn from(error: InvalidHeader) -> Self {
        Self::Header(error)
    }
}

impl From<ClientError> for ConfigError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Figures of a client (PO-48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Wall clock of the last `authenticated`, in milliseconds since 1970.
    pub connected_at: Option<u64>,
    /// Wall clock of the last end.
    pub disconnected_at: Option<u64>,
    /// Attempts after a connection was lost or failed, since the beginning.
    pub reconnect_attempts: u64,
    /// Messages that came.
    pub messages_received: u64,
    /// Messages that went out.
    pub messages_sent: u64,
    /// Their payloads' bytes.
    pub bytes_received: u64,
    /// Their payloads' bytes.
    pub bytes_sent: u64,
    /// The last round trip of a ping.
    pub latency: Option<Duration>,
    /// Messages that were never sent.
    pub dropped: u64,
    /// Those of them for which there was no room.
    pub crowded: u64,
    /// Those that waited when the client was disconnected or gave up.
    pub closed: u64,
    /// Those that the provider has no way to say.
    pub refused: u64,
    /// Messages that wait.
    pub queued: usize,
    /// How long it has been `authenticated`.
    pub uptime: Option<Duration>,
}
