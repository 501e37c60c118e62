//! Options of a hub and of its routes.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{BitOr, BitOrAssign};
use core::time::Duration;

use crate::code::CloseCode;
use crate::crypt::{KeyRing, Policy};
use crate::dialect::{Dialect, SmartSocket};
use crate::http::{ApiConfig, PatternError, Taken};
use crate::limit::{EventLimits, RateLimit};
use crate::message::Utf8Bytes;
use crate::offline::OfflineConfig;
use crate::websocket::Config;

/// Options of a [`Hub`](super::Hub).
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// What a request meets before its route is known: head limits, handshake
    /// deadline, TLS. Its origins, subprotocols and compression are not used.
    pub listener: Config,
    /// Who may connect where. The most specific path wins.
    pub routes: Vec<Route>,
    /// Most connections at a time; one more is refused before anything is
    /// read. Default 10,000 (SS-51).
    pub max_connections: usize,
    /// Most connections of one address, loopback exempt. Default 64.
    pub max_connections_per_address: usize,
    /// Most rooms at a time, over all namespaces. Default 100,000.
    pub max_rooms: usize,
    /// Most rooms one client may be in. Default 100.
    pub max_rooms_per_client: usize,
    /// How long a room made by [`create_room`](super::Hub::create_room) is
    /// kept while it is empty. Rooms that came with their first member go
    /// with their last. Default 1 h.
    pub empty_room_timeout: Duration,
    /// How long a handler may take, see [`Turn`](super::Turn). After that its
    /// answer is taken to be a failure. Default 30 s.
    pub handler_timeout: Duration,
    /// Most answers one client may owe, see
    /// [`emit_with_ack`](super::Hub::emit_with_ack). Default 1,000.
    pub max_acks_per_client: usize,
    /// The HTTP API for rooms, clients and figures. Default: on, for loopback.
    pub api: Option<ApiConfig>,
    /// The namespace whose rooms the API shows and makes. Default `/rnode`.
    pub api_namespace: String,
    /// Keep messages for users who are away (SS-50). Default: do not.
    pub offline: Option<OfflineConfig>,
    /// Tell [`Output::Cluster`](super::Output::Cluster) what is published, for
    /// other hubs to hear. Default `false`.
    pub cluster: bool,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            listener: Config::default(),
            routes: Vec::new(),
            max_connections: 10_000,
            max_connections_per_address: 64,
            max_rooms: 100_000,
            max_rooms_per_client: 100,
            empty_room_timeout: Duration::from_secs(3_600),
            handler_timeout: Duration::from_secs(30),
            max_acks_per_client: 1_000,
            api: Some(ApiConfig::default()),
            api_namespace: "/rnode".into(),
            offline: None,
            cluster: false,
        }
    }
}

/// A path, who may connect there, and what is spoken.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where: `/chat`, `/files/*` or `/rooms/{id}`.
    pub path: String,
    /// The language.
    pub dialect: Dialect,
    /// Whose rooms and broadcasts these connections share; routes of one
    /// namespace share them. Default: the path.
    pub namespace: String,
    /// Options of its connections. Where they are encrypted, `max_message` is
    /// of the message inside a record, which may be
    /// [as much](crate::crypt::MAX_OVERHEAD) longer.
    pub websocket: Config,
    /// Give its connections away, for the application to drive each by itself
    /// ([`Event::Bare`](super::Event::Bare)): of this route only `path` and
    /// `websocket` matter. Default `false`.
    pub bare: bool,
    /// What the application wants to be asked or told. Default nothing.
    pub interest: Interest,
    /// Which events the application handles, with [`Interest::EVENT`];
    /// `None` is all. Others cost it nothing. Default all.
    pub events: Option<BTreeSet<Utf8Bytes>>,
    /// How clients prove who they are. Default: they need not.
    pub auth: Auth,
    /// Encrypted sessions, for SmartSocket. Such a route does not compress
    /// frames. Default: none.
    pub encryption: Option<Encryption>,
    /// Most messages of one connection. Default 100 in 60 s (SS-47, SS-48).
    pub rate: Option<RateLimit>,
    /// Most payload bytes of one connection. Default no limit.
    pub byte_rate: Option<RateLimit>,
    /// Most messages of one user over all of its connections. Default no limit.
    pub user_rate: Option<RateLimit>,
    /// Most messages of one address over all of its connections. Default no limit.
    pub address_rate: Option<RateLimit>,
    /// Most messages of one connection, by event (SS-11).
    pub event_rates: EventLimits,
    /// Signs of life on the level of the dialect. Default by dialect.
    pub heartbeat: Heartbeat,
    /// What waits for a slow peer, and what happens when that is too much.
    pub outbox: Outbox,
    /// Rooms every client is in from the start. Default none; Ignis has two.
    pub default_rooms: Vec<Utf8Bytes>,
    /// Rules of rooms.
    pub rooms: RoomPolicy,
    /// Tell a client that the application stopped its message
    /// (RNode's `message_blocked`). Default `true`.
    pub tell_blocked: bool,
}

impl Route {
    /// A route with the defaults of its dialect.
    pub fn new(path: impl Into<String>, dialect: Dialect) -> Self {
        let path = path.into();
        let seconds = Duration::from_secs;
        let (auth, heartbeat, default_rooms, max_message) = match &dialect {
            Dialect::SmartSocket(_) => (
                Auth::None,
                Heartbeat::Ping {
                    interval: seconds(30),
                    timeout: None,
                    only_silent: false,
                },
                Vec::new(),
                1 << 20,
            ),
            Dialect::Ignis => (
                Auth::Message {
                    timeout: seconds(5),
                },
                Heartbeat::Passive {
                    timeout: seconds(90),
                    sweep: seconds(30),
                },
                ["ws-default", "ws-notification"]
                    .map(Utf8Bytes::from_static)
                    .to_vec(),
                131_072,
            ),
            Dialect::RNode => (
                Auth::None,
                Heartbeat::Ping {
                    interval: seconds(30),
                    timeout: None,
                    only_silent: false,
                },
                Vec::new(),
                1 << 20,
            ),
            Dialect::HeaderLine => (
                Auth::None,
                Heartbeat::Ping {
                    interval: seconds(30),
                    timeout: Some(seconds(60)),
                    only_silent: true,
                },
                Vec::new(),
                1 << 20,
            ),
            Dialect::Raw => (Auth::None, Heartbeat::None, Vec::new(), 1 << 20),
        };
        Self {
            namespace: path.clone(),
            path,
            rooms: RoomPolicy {
                must_exist: matches!(dialect, Dialect::RNode),
                ask: matches!(dialect, Dialect::Ignis),
            },
            dialect,
            websocket: Config {
                max_message,
                deflate: Some(crate::deflate::Deflate::default()),
                ..Config::default()
            },
            bare: false,
            interest: Interest::default(),
            events: None,
            auth,
            encryption: None,
            rate: Some(RateLimit::default()),
            byte_rate: None,
            user_rate: None,
            address_rate: None,
            event_rates: EventLimits::new(),
            heartbeat,
            outbox: Outbox::default(),
            default_rooms,
            tell_blocked: true,
        }
    }

    /// SmartSocket at this path, which is the namespace.
    pub fn smartsocket(path: impl Into<String>) -> Self {
        Self::new(path, Dialect::SmartSocket(SmartSocket::default()))
    }

    /// Ignis at this path.
    pub fn ignis(path: impl Into<String>) -> Self {
        Self::new(path, Dialect::Ignis)
    }

    /// RNode at this path.
    pub fn rnode(path: impl Into<String>) -> Self {
        Self::new(path, Dialect::RNode)
    }

    /// MB's broker at this path.
    pub fn header_line(path: impl Into<String>) -> Self {
        Self::new(path, Dialect::HeaderLine)
    }

    /// Connections at this path are given away.
    pub fn bare(path: impl Into<String>) -> Self {
        Self {
            bare: true,
            ..Self::raw(path)
        }
    }

    /// Messages as they are at this path, without a rate limit.
    pub fn raw(path: impl Into<String>) -> Self {
        Self {
            rate: None,
            ..Self::new(path, Dialect::Raw)
        }
    }
}

/// Why routes cannot be served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RouteError {
    /// A path is no pattern.
    Pattern(PatternError),
    /// Two routes match the same paths.
    Taken(Taken),
    /// A route is to be encrypted in a way that its dialect does not know.
    Encryption(String),
}

impl From<PatternError> for RouteError {
    fn from(error: PatternError) -> Self {
        Self::Pattern(error)
    }
}

impl From<Taken> for RouteError {
    fn from(error: Taken) -> Self {
        Self::Taken(error)
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(error) => error.fmt(f),
            Self::Taken(error) => error.fmt(f),
            Self::Encryption(path) => {
                write!(
                    f,
                    "{path}: only SmartSocket can be encrypted, and Ignis without shared keys"
                )
            }
        }
    }
}

impl core::error::Error for RouteError {}

/// Encrypted sessions with the clients of a route ([`crypt`](crate::crypt)).
///
/// With SmartSocket (SS-43..46) keys are agreed on in CONNECT and CONNECT_ACK;
/// all that follows is sealed. A client whose key is not among ours is closed
/// with 4003 (`ERR_CONN_004`), a message that does not open closes with 1008
/// (`ERR_MSG_003`); there is no way back to plain text.
///
/// With Ignis (IG-35, IG-36) it is that system's own, weaker scheme
/// ([`ignis`](crate::crypt::ignis)): keys are exchanged in `authenticate` and
/// `connected`, and what we say after that is sealed. A client that must bring
/// a key and does not is closed with 4004.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// The shared keys; [`Hub::set_keys`](super::Hub::set_keys) replaces them.
    /// `None`: only keys that both sides make up, which keep out listeners, but
    /// nobody who can change what is sent. Ignis knows no others.
    pub keys: Option<KeyRing>,
    /// What is agreed to. Default: both ciphers, with or without key exchange.
    pub policy: Policy,
    /// Refuse clients that do not encrypt. Default `true`.
    pub required: bool,
    /// Seal what goes to a room or to everybody once, with a key that all
    /// clients of the route have, instead of once for each: cheaper by as many
    /// as there are. A client that listens on the network can then read what
    /// goes to rooms it is not in; so can one that has left, for an hour at
    /// most. See [`Group`](crate::crypt::Group). Default `false`.
    pub group: bool,
    /// How long a connection may take to agree, where that is required.
    /// Default 5 s.
    pub timeout: Duration,
}

impl Encryption {
    /// Required, with these keys and the defaults.
    pub fn new(keys: impl Into<KeyRing>) -> Self {
        Self {
            keys: Some(keys.into()),
            ..Self::exchange()
        }
    }

    /// Required, without shared keys, with the defaults.
    pub fn exchange() -> Self {
        Self {
            keys: None,
            policy: Policy::default(),
            required: true,
            group: false,
            timeout: Duration::from_secs(5),
        }
    }
}

/// How the clients of a route prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// They need not.
    #[default]
    None,
    /// By one of these keys, in `?apiKey=`, the header `x-api-key`, or
    /// SmartSocket's CONNECT message (SS-61), which must come in time.
    ApiKeys {
        /// The keys; compared in constant time.
        keys: Vec<String>,
        /// How long a connection may be without a key.
        timeout: Duration,
    },
    /// By a message that the application judges
    /// ([`Step::Authenticate`](super::Step::Authenticate)); three times as
    /// long while it does (IG-27, IG-28).
    Message {
        /// How long a connection may be without authenticating.
        timeout: Duration,
    },
}

impl Auth {
    pub(super) const fn timeout(&self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::ApiKeys { timeout, .. } | Self::Message { timeout } => Some(*timeout),
        }
    }
}

/// Signs of life on the level of a dialect. Pings of the protocol itself
/// ([`Config::ping_interval`]) are another matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heartbeat {
    /// None.
    #[default]
    None,
    /// We send the dialect's ping.
    Ping {
        /// How often.
        interval: Duration,
        /// Close when nothing came for this long.
        timeout: Option<Duration>,
        /// Only to who has been silent for the interval.
        only_silent: bool,
    },
    /// The client sends messages, or is closed with 4002.
    Passive {
        /// After this long without any.
        timeout: Duration,
        /// How often that is looked at.
        sweep: Duration,
    },
}

/// What waits for a peer that does not read, beyond the 64 KiB that are ready
/// to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    /// Most payload bytes. Default 1 MiB.
    pub max_bytes: usize,
    /// Most messages. Default 1,024.
    pub max_messages: usize,
    /// What happens to one more. Default [`Overflow::Close`].
    pub overflow: Overflow,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_messages: 1_024,
            overflow: Overflow::Close,
        }
    }
}

/// What happens when too much waits for a peer. Answers to its own messages
/// are never dropped, and every drop is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection is closed with 1013.
    Close,
    /// The new message is dropped.
    DropNewest,
    /// The oldest that waits is dropped.
    DropOldest,
    /// An older message of the same event is dropped, or the oldest.
    KeepLatest,
}

/// Rules of a route's rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomPolicy {
    /// A client can join only rooms that exist. Default `false`; RNode `true`.
    pub must_exist: bool,
    /// A client can join only rooms that the application allows it
    /// ([`Interest::JOIN`]). Default `false`; Ignis `true` (IG-71).
    pub ask: bool,
}

/// What the application wants to be asked or told, as a set of bits.
///
/// What is not in it happens at once and costs no event (RN-33, RN-34).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interest(u32);

impl Interest {
    /// May this client connect?
    pub const CONNECT: Self = Self(1);
    /// Are these credentials good?
    pub const AUTHENTICATE: Self = Self(1 << 1);
    /// A client is there.
    pub const OPENED: Self = Self(1 << 2);
    /// An event came; see [`Route::events`].
    pub const EVENT: Self = Self(1 << 3);
    /// A binary message came.
    pub const BINARY: Self = Self(1 << 4);
    /// A client wants into rooms.
    pub const JOIN: Self = Self(1 << 5);
    /// A client wants out of rooms.
    pub const LEAVE: Self = Self(1 << 6);
    /// A client speaks to a room.
    pub const ROOM_MESSAGE: Self = Self(1 << 7);
    /// A client speaks to another.
    pub const DIRECT: Self = Self(1 << 8);
    /// A ping of the dialect came.
    pub const PING: Self = Self(1 << 9);
    /// A pong of the dialect came.
    pub const PONG: Self = Self(1 << 10);
    /// A client is about to be greeted.
    pub const WELCOME: Self = Self(1 << 11);
    /// A message is about to be acknowledged.
    pub const MESSAGE_ACK: Self = Self(1 << 12);
    /// A client is about to be told of an error.
    pub const ERROR: Self = Self(1 << 13);
    /// A client exceeded a rate limit.
    pub const RATE_LIMITED: Self = Self(1 << 14);
    /// A client is gone.
    pub const CLOSED: Self = Self(1 << 15);
    /// A message to a client that is marked for it is about to go out.
    pub const OUTBOUND: Self = Self(1 << 16);
    /// A plain HTTP request that nothing else answers.
    pub const REQUEST: Self = Self(1 << 17);

    /// Whether all of `other` are in this set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// Close codes of Ignis (IG-27 to IG-31).
pub(super) mod codes {
    use super::CloseCode;

    pub(crate) fn auth_timeout() -> CloseCode {
        CloseCode::from(4001)
    }

    pub(crate) fn heartbeat_timeout() -> CloseCode {
        CloseCode::from(4002)
    }

    pub(crate) fn auth_failed() -> CloseCode {
        CloseCode::from(4003)
    }

    pub(crate) fn encryption_failed() -> CloseCode {
        CloseCode::from(4004)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interests_are_sets() {
        let both = Interest::EVENT | Interest::JOIN;
        assert!(both.has(Interest::JOIN) && !both.has(Interest::LEAVE));
        assert!(!both.has(Interest::JOIN | Interest::LEAVE));
    }
}
