//! One connection in a hub: its endpoint, and who is at its other end.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::code::CloseCode;
use crate::crypt::Session;
use crate::dialect::{Incoming, Memory, PeerBinary};
use crate::json::Json;
use crate::limit::{EventLimiters, Limiter};
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;
use crate::websocket::{Closed, Endpoint, Shared};

use super::config::{Interest, Outbox};
use super::ids::{ClientId, UserId};
use super::outbox::Waiting;
use super::output::Step;
use super::rooms::{NamespaceKey, RoomKey};
use super::secrecy::Secret;

/// Where a session stands (IG-81).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The WebSocket is not open.
    Handshake,
    /// Open, and nobody yet.
    Unauthorized,
    /// The application looks at its credentials.
    Authenticating,
    /// Somebody: may speak and be spoken to.
    Authenticated,
    /// Over.
    Disconnected,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) endpoint: Endpoint,
    /// Where it goes; `None` until its request has come.
    pub(super) route: Option<u16>,
    pub(super) namespace: NamespaceKey,
    pub(super) state: State,
    pub(super) client: ClientId,
    pub(super) address: Option<IpAddr>,
    pub(super) user: Option<UserId>,
    pub(super) rooms: Vec<RoomKey>,
    pub(super) memory: Memory,
    pub(super) binary: PeerBinary,
    /// How its messages are encrypted, if they are.
    pub(super) secret: Option<Box<Secret>>,
    /// The open turn.
    pub(super) turn: Option<Turning>,
    /// Events on their way out that the application changes first.
    pub(super) changing: Option<Box<Changing>>,
    /// That it is too fast, which the application is told after its turn.
    pub(super) notice: Option<Box<Step>>,
    /// Messages that wait for it, with their lengths.
    pub(super) inbox: VecDeque<(usize, Incoming)>,
    pub(super) inbox_bytes: usize,
    pub(super) outbox: Option<Box<Waiting>>,
    pub(super) limits: Limits,
    /// Until when it must have authenticated.
    pub(super) auth_deadline: Tick,
    /// When the dialect's next ping, or look at silence, is due.
    pub(super) heartbeat: Tick,
    /// When the WebSocket opened.
    pub(super) opened: Tick,
    /// When the last message came.
    pub(super) heard: Tick,
    /// When the dialect's last ping went.
    pub(super) pinged: Option<Tick>,
    /// Bytes received before authentication.
    pub(super) early: usize,
    /// How many answers it owes.
    pub(super) owed: u32,
    /// The time in the hub's timers that counts.
    pub(super) armed: Tick,
    pub(super) flags: Flags,
    /// What is rarely looked at.
    pub(super) profile: Box<Profile>,
    /// How it ended, while a turn is open.
    pub(super) closed: Option<Box<Closed>>,
}

/// A turn that the application has.
#[derive(Debug)]
pub(super) struct Turning {
    pub(super) serial: u32,
    /// When its answer is given up.
    pub(super) until: Tick,
    pub(super) about: Interest,
}

/// Events that pass the application on their way out, one after the other.
#[derive(Debug, Default)]
pub(super) struct Changing {
    /// The open turn about the first of them.
    pub(super) turn: Option<Turning>,
    pub(super) queue: VecDeque<(Utf8Bytes, Option<Json>)>,
}

impl Changing {
    /// Whether what comes now would overtake something.
    pub(super) fn is_busy(&self) -> bool {
        self.turn.is_some() || !self.queue.is_empty()
    }
}

#[derive(Debug, Default)]
pub(super) struct Flags {
    /// In the list of those whose outputs are to be collected.
    pub(super) dirty: bool,
    /// What the embedder was told about reading, and what the endpoint wants.
    pub(super) paused: bool,
    pub(super) endpoint_paused: bool,
    /// The socket is told to be dropped.
    pub(super) dropped: bool,
    /// Its request said who it is.
    pub(super) known: bool,
    /// The client was told that it is too fast, and has not been slower since.
    pub(super) warned: bool,
    /// Somebody was refused for want of room and waits to hear of some.
    pub(super) awaited: bool,
}

/// What a client is asked about, not worked with.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// The client's own name, unique on its hub (RNode).
    pub(super) alias: Option<Utf8Bytes>,
    /// The request's path.
    pub(super) path: String,
    /// A JSON object.
    pub(super) metadata: Option<Json>,
    /// Wall clock in milliseconds.
    pub(super) created: u64,
    /// Wall clock in milliseconds of the last sign of life.
    pub(super) last_ping: u64,
}

#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) messages: Limiter,
    pub(super) bytes: Limiter,
    pub(super) events: EventLimiters,
}

impl Conn {
    /// Whether messages of the peer have to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.turn.is_some() || !self.inbox.is_empty()
    }

    /// Whether a peer has to read what it asked for before it is served on:
    /// answers are never dropped. One that will ask no more is served to its
    /// end.
    pub(super) fn owes_reading(&self, limits: &Outbox) -> bool {
        let waiting = self.outbox.as_ref();
        waiting.is_some_and(|waiting| waiting.is_full_of_answers(limits))
            && !self.endpoint.ends_softly()
    }

    /// Seals a message and puts it on the wire; whether that could be done.
    #[inline(never)]
    pub(super) fn send_sealed(
        &mut self,
        shared: &mut Shared,
        now: Tick,
        message: &Message,
    ) -> bool {
        let secret = self.secret.as_deref_mut();
        let sealed = secret.and_then(|secret| secret.seal(now, message));
        sealed.is_some_and(|sealed| self.endpoint.send(shared, now, sealed, true).is_ok())
    }

    /// The session, of SmartSocket.
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match self.secret.as_deref_mut() {
            Some(Secret::Session { session, .. }) => Some(session),
            Some(Secret::Exchanged { .. }) | None => None,
        }
    }

    /// Whether messages wait for the client to show that it has the key.
    pub(super) fn is_agreeing(&self) -> bool {
        let secret = self.secret.as_deref();
        secret.is_some_and(Secret::is_agreeing)
    }

    /// Begins the closing handshake; a session says goodbye before.
    pub(super) fn close(&mut self, shared: &mut Shared, now: Tick, code: CloseCode, reason: &str) {
        if let Some(bye) = self.session().and_then(|session| session.bye(now).ok()) {
            // If it is over, there is nobody to say it to.
            let _ = self.endpoint.send(shared, now, Message::Binary(bye), true);
        }
        self.endpoint.close(shared, now, code, reason);
    }

    pub(super) fn is_somebody(&self) -> bool {
        matches!(self.state, State::Authenticated)
    }

    /// The least of its deadlines, but for those of its endpoint.
    pub(super) fn due(&self) -> Tick {
        let turn = self.turn.as_ref().map_or(Tick::MAX, |turn| turn.until);
        let changing = self.changing.as_ref();
        let changing = changing.and_then(|changing| changing.turn.as_ref());
        let changing = changing.map_or(Tick::MAX, |turn| turn.until);
        turn.min(changing)
            .min(self.auth_deadline)
            .min(self.heartbeat)
    }

    /// Whether so much waits for the application that the peer has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.inbox.len() > 64 || self.inbox_bytes > 256 * 1024
    }
}
