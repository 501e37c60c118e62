//! What is said over a WebSocket, and how: five dialects, one vocabulary.
//!
//! A route speaks one [`Dialect`]. `decode` says what a message of a peer
//! means (`Incoming`), `encode` puts what a server says (`Outgoing`) into
//! the dialect's words. Rooms, users, limits and handlers know the vocabulary
//! only. The exact bytes are those of five real systems:
//!
//! | dialect | of | a message |
//! |---|---|---|
//! | `smartsocket` | SmartSocket | `{"event":…,"data":…}`, or a binary packet of it |
//! | `ignis` | Ignis WebSocketServerHelper | `{"event":…,"data":…,"id":…}` |
//! | `rnode` | RNode server | `{"type":…,…}` |
//! | `header_line` | MB Server Node | `action:topic:version:id`, a newline, JSON |
//! | `raw` | nobody | anything |
//!
//! Decoding is total: whatever a peer sends means something, if only
//! `Incoming::Invalid`. `data` stays the very slice of JSON that came.

mod failure;
mod header_line;
pub mod ignis;
mod object;
mod raw;
mod rnode;
mod smartsocket;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use crate::crypt::{ClientHello, ServerHello};
use crate::error_code::ErrorCode;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};

pub use header_line::{Action, Header};
pub(crate) use header_line::{is_id, topic};
pub use smartsocket::{Format, PeerBinary, SmartSocket};

/// The language of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// SmartSocket's JSON events, acks and binary packets.
    SmartSocket(SmartSocket),
    /// Ignis's events, with authentication and rooms in the protocol.
    Ignis,
    /// RNode's typed messages with rooms and acknowledgements.
    RNode,
    /// MB's header line and JSON payload, with a broker of topics.
    HeaderLine,
    /// Messages as they are.
    Raw,
}

/// What one connection's dialect remembers between messages.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    smartsocket: Option<Box<smartsocket::Memory>>,
    /// The peer has said something.
    spoken: bool,
}

/// What a message of a peer means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Incoming {
    /// Nothing to do: a part of a packet, or what the real server ignores.
    Nothing,
    /// Only a sign of life.
    Heartbeat,
    /// SmartSocket's CONNECT: what the client says about itself.
    Connect {
        namespace: Option<Utf8Bytes>,
        api_key: Option<Utf8Bytes>,
        /// Which binary packets it understands.
        binary: PeerBinary,
        /// It wants an encrypted session.
        hello: Option<Box<ClientHello>>,
    },
    /// Ignis's `authenticate`.
    Authenticate(Json),
    /// Something for the application.
    Event(IncomingEvent),
    /// Bytes for the application, in dialects whose protocol is text.
    Binary(Bytes),
    /// The answer to an emit with ack.
    Ack { id: AckKey, data: Json },
    /// Into these rooms.
    Join(Vec<Utf8Bytes>),
    /// Out of these rooms; of none named, the only one the client is in.
    Leave(Vec<Utf8Bytes>),
    /// To everybody in a room; without one, to the room the client is in.
    ToRoom {
        room: Option<Utf8Bytes>,
        text: Utf8Bytes,
    },
    /// To one other client.
    Direct { to: Utf8Bytes, text: Utf8Bytes },
    /// Asks for a pong.
    Ping,
    /// Answers a ping of ours, after so many milliseconds of wall time ago
    /// where the message says when that was.
    Pong {
        sent_ms: Option<u64>,
        /// The message as it came, where the dialect acknowledges even this.
        raw: Option<Utf8Bytes>,
    },
    /// A message to the broker.
    Broker(Header, Json),
    /// Nothing the dialect knows.
    Invalid(Failure),
}

/// An event for the application.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IncomingEvent {
    pub(crate) name: Utf8Bytes,
    pub(crate) data: Option<Json>,
    /// How to answer, if an answer is asked for.
    pub(crate) ack: Option<AckId>,
    /// The message as it came, where the dialect acknowledges or blocks it by
    /// its text.
    pub(crate) raw: Option<Utf8Bytes>,
}

/// The name a peer gave a message it wants answered, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AckId {
    /// SmartSocket generation A: `data.__ackId`, answered by event `__ack__`.
    Underscored(Json),
    /// SmartSocket generation B: `data._ackId`, answered by the same event.
    Merged { event: Utf8Bytes, id: Json },
    /// SmartSocket: a top-level `ackId`, answered by event `__ack__`.
    TopLevel(Json),
}

/// The number we gave a message we want answered, as it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AckKey(pub(crate) u64);

/// What a peer needs to open what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answered<'a> {
    /// SmartSocket's.
    Hello(&'a ServerHello),
    /// Ignis's.
    Exchange { public_key: &'a str, salt: &'a str },
}

/// What a server says to a peer.
///
/// One value may be encoded for many peers: it borrows, and names no peer.
#[derive(Clone, Debug)]
pub(crate) enum Outgoing<'a> {
    /// An event of the application.
    Event {
        name: &'a str,
        data: Option<&'a Json>,
        /// Asks for an answer under this number.
        ack: Option<AckKey>,
    },
    /// The answer to a peer's message.
    Ack { id: &'a AckId, data: &'a Json },
    /// The first words, when the connection stands (or, where the dialect has
    /// authentication, when the client is authenticated).
    Welcome {
        connection_id: &'a str,
        client_id: &'a str,
        user_id: Option<&'a str>,
        path: &'a str,
        /// The answer to its hello.
        encryption: Option<Answered<'a>>,
    },
    /// Asks for a sign of life.
    Ping,
    /// The answer to a ping.
    Pong { latency_ms: Option<u64> },
    /// The client is in the room now.
    RoomJoined { room: &'a str },
    /// The client has left the room.
    RoomLeft { room: &'a str },
    /// A message of a room, of a client or (without `from`) of the application.
    RoomMessage {
        room: &'a str,
        text: &'a str,
        from: Option<&'a str>,
    },
    /// A message of one client to another.
    Direct { text: &'a str, from: &'a str },
    /// The message was taken, in its own words.
    MessageAck { raw: &'a str },
    /// The application stopped the message.
    Blocked { raw: &'a str, reason: &'a str },
    /// Too many messages; when to try again.
    RateLimited {
        code: ErrorCode,
        retry_after_ms: u64,
    },
    /// Something went wrong, and whose fault it was.
    Error(&'a Failure),
    /// A message of the broker.
    Broker {
        header: &'a Header,
        payload: &'a Json,
    },
    /// A message as it is.
    Raw(&'a Message),
}

/// What a peer is told went wrong. Dialects have words of their own for most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The message is not in the dialect's form.
    InvalidMessage,
    /// A packet does not inflate.
    Decompress,
    /// A message, or its parts together, are too long.
    TooLong,
    /// The namespace does not exist.
    UnknownNamespace,
    /// The API key is not the server's.
    InvalidApiKey,
    /// A message before authentication.
    NotAuthenticated,
    /// A second authentication.
    AlreadyAuthenticated,
    /// The credentials were refused.
    AuthenticationFailed,
    /// The authenticator failed.
    AuthenticationError,
    /// No such room, no room named, or a member already.
    RoomJoin,
    /// As many members as there may be.
    RoomFull,
    /// The client is not in the room it speaks to.
    NotMember,
    /// No such client.
    ClientNotFound(Utf8Bytes),
    /// A direct message without text or target.
    InvalidDirect,
    /// An ack nobody waits for.
    UnknownAck,
    /// The application refused it, in its words.
    Refused(Utf8Bytes),
    /// The application's handler failed or took too long.
    Handler,
    /// The header line is wrong; what about it, and what would be right.
    Header(Box<HeaderFailure>),
}

/// What is wrong with a header line (MB), in the broker's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderFailure {
    /// Such as `MALFORMED_MESSAGE`.
    pub(crate) code: &'static str,
    pub(crate) message: Utf8Bytes,
    /// A JSON object.
    pub(crate) details: Option<Json>,
    /// The header to answer under, where one could be read.
    pub(crate) about: Option<Header>,
}

/// What encoding needs beyond the words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// The wall clock in milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// The same as RFC 3339 text in UTC with milliseconds, as in
    /// `2026-11-21T00:10:09.893Z`.
    pub(crate) timestamp: &'a str,
    /// SmartSocket: which binary packets the peers understand.
    pub(crate) binary: PeerBinary,
}

impl Dialect {
    /// What a message means.
    pub(crate) fn decode(&self, memory: &mut Memory, message: Message) -> Incoming {
        match self {
            Self::SmartSocket(options) => {
                let first = !mem::replace(&mut memory.spoken, true);
                smartsocket::decode(options, &mut memory.smartsocket, message, first)
            }
            Self::Ignis => ignis::decode(message),
            Self::RNode => rnode::decode(message),
            Self::HeaderLine => header_line::decode(message),
            Self::Raw => raw::decode(message),
        }
    }

    /// The messages that say `what` in this dialect, in order; none where it
    /// has no words for it. One encoding serves all peers of one context.
    pub(crate) fn encode(&self, context: Context<'_>, what: &Outgoing<'_>) -> Vec<Message> {
        match self {
            Self::SmartSocket(options) => smartsocket::encode(options, context, what),
            Self::Ignis => ignis::encode(context, what).into_iter().collect(),
            Self::RNode => rnode::encode(context, what).into_iter().collect(),
            Self::HeaderLine => header_line::encode(context, what).into_iter().collect(),
            Self::Raw => raw::encode(what).into_iter().collect(),
        }
    }

    /// Notes that a message went to this peer: some SmartSocket clients send
    /// everything they receive straight back, but for answers.
    pub(crate) fn sent(&self, memory: &mut Memory, message: &Message) {
        if matches!(self, Self::SmartSocket(_)) {
            smartsocket::sent(&mut memory.smartsocket, message, !memory.spoken);
        }
    }

    /// Whether a message is one that went to this peer and comes back: it says
    /// nothing, and counts for nothing.
    pub(crate) fn is_echo(&self, memory: &mut Memory, message: &Message) -> bool {
        match (&mut memory.smartsocket, message) {
            (Some(known), Message::Text(text)) => memory.spoken && known.is_echo(text),
            _ => false,
        }
    }

    /// Whether a message can ask a client for an answer.
    pub(crate) const fn has_acks(&self) -> bool {
        matches!(self, Self::SmartSocket(_))
    }

    /// Whether a client is greeted when it is there.
    pub(crate) const fn greets(&self) -> bool {
        matches!(self, Self::Ignis | Self::RNode | Self::HeaderLine)
    }

    /// Whether the first ping comes with the greeting.
    pub(crate) const fn pings_at_once(&self) -> bool {
        matches!(self, Self::RNode)
    }

    /// Whether messages are acknowledged in their own words.
    pub(crate) const fn acknowledges(&self) -> bool {
        matches!(self, Self::RNode)
    }
}
