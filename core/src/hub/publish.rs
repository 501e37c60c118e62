//! What is said to many: publications and their targets.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::dialect::{Context, Dialect, Outgoing, PeerBinary};
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::websocket::Packed;

use super::ids::{ClientId, ConnId, UserId};

/// Whom a publication is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Everybody.
    All,
    /// Everybody in a namespace.
    Namespace(Utf8Bytes),
    /// The members of a room of a namespace.
    Room {
        /// The namespace.
        namespace: Utf8Bytes,
        /// The room's id.
        room: Utf8Bytes,
    },
    /// All clients of a user, now or, with
    /// [`HubConfig::offline`](super::HubConfig::offline), when it comes back.
    User(UserId),
    /// One client.
    Client(ClientId),
}

/// An event for a target: a command, the same for this hub and for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Whom it is for.
    pub target: Target,
    /// The event's name.
    pub event: Utf8Bytes,
    /// Its data.
    pub data: Option<Json>,
    /// Clients that do not get it.
    pub except: Vec<ClientId>,
}

impl Publication {
    /// An event for a target.
    pub fn new(target: Target, event: impl Into<Utf8Bytes>, data: Option<Json>) -> Self {
        Self {
            target,
            event: event.into(),
            data,
            except: Vec::new(),
        }
    }
}

/// A dialect by its index, and which packets its peers understand.
type Way = (u8, PeerBinary, Option<u16>);
/// Messages, and how they were compressed so far.
type Made = Vec<(Message, Packed)>;

/// One thing to say, encoded once for each way of saying it.
pub(super) struct Saying<'a> {
    what: Outgoing<'a>,
    unix_ms: u64,
    timestamp: &'a str,
    made: Vec<(Way, Made)>,
    /// The application has seen it.
    pub(super) changed: bool,
    /// It is for all of a room or namespace.
    pub(super) to_many: bool,
}

impl<'a> Saying<'a> {
    pub(super) fn new(what: Outgoing<'a>, unix_ms: u64, timestamp: &'a str) -> Self {
        Self {
            what,
            unix_ms,
            timestamp,
            made: Vec::new(),
            changed: false,
            to_many: false,
        }
    }

    /// The name and data of an event that asks for no answer.
    pub(super) const fn event(&self) -> Option<(&str, Option<&Json>)> {
        if let Outgoing::Event {
            name,
            data,
            ack: None,
        } = self.what
        {
            Some((name, data))
        } else {
            None
        }
    }

    /// Whether these are the first words.
    pub(super) const fn is_welcome(&self) -> bool {
        matches!(self.what, Outgoing::Welcome { .. })
    }

    /// Whether a client that sends everything back sends this back: all but
    /// answers.
    pub(super) const fn echoes(&self) -> bool {
        !matches!(self.what, Outgoing::Ack { .. })
    }

    /// The messages of it in a dialect, which is named by its index.
    pub(super) fn messages(
        &mut self,
        index: u8,
        dialect: &Dialect,
        binary: PeerBinary,
    ) -> &mut [(Message, Packed)] {
        let at = self.encoded(index, dialect, binary);
        &mut self.made[at].1
    }

    /// The same, sealed once for the clients of a route.
    pub(super) fn sealed(
        &mut self,
        route: u16,
        index: u8,
        dialect: &Dialect,
        binary: PeerBinary,
        mut seal: impl FnMut(&Message) -> Option<Bytes>,
    ) -> &mut [(Message, Packed)] {
        let key = (index, binary, Some(route));
        let at = match self.made.iter().position(|(made, _)| *made == key) {
            Some(at) => at,
            None => {
                let open = self.encoded(index, dialect, binary);
                let records = self.made[open].1.iter();
                let records = records.filter_map(|(message, _)| seal(message));
                let records = records.map(|record| (Message::Binary(record), Packed::default()));
                let records = records.collect();
                self.made.push((key, records));
                self.made.len() - 1
            }
        };
        &mut self.made[at].1
    }

    /// Whether it was sealed for the clients of a route before.
    pub(super) fn is_sealed(&self, route: u16) -> bool {
        self.made
            .iter()
            .any(|((_, _, made), _)| *made == Some(route))
    }

    fn encoded(&mut self, index: u8, dialect: &Dialect, binary: PeerBinary) -> usize {
        let key = (index, binary, None);
        match self.made.iter().position(|(made, _)| *made == key) {
            Some(at) => at,
            None => {
                let context = Context {
                    unix_ms: self.unix_ms,
                    timestamp: self.timestamp,
                    binary,
                };
                let messages = dialect.encode(context, &self.what);
                let messages = messages
                    .into_iter()
                    .map(|message| (message, Packed::default()));
                self.made.push((key, messages.collect()));
                self.made.len() - 1
            }
        }
    }
}

/// Whom a publication reaches here.
#[derive(Debug)]
pub(super) enum Audience {
    Nobody,
    One(ConnId),
    Some(Vec<ConnId>),
    Namespace(super::rooms::NamespaceKey),
    Room(super::rooms::RoomKey),
    All,
}
