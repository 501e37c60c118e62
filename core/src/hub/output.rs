//! What a hub puts out, and how it is answered.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::dialect::{AckId, Failure};
use crate::http::Request;
use crate::json::Json;
use crate::message::Utf8Bytes;
use crate::websocket::{Closed, Ticket};

use super::config::Interest;
use super::ids::{ClientId, ConnId, UserId};
use super::publish::Publication;

/// One thing the embedder must do, or learn.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Bytes wait in [`unsent`](super::Hub::unsent). Told once; until they
    /// have all been [`transmitted`](super::Hub::transmitted), what is added
    /// later is not told again.
    Transmit(ConnId),
    /// Stop reading from this peer.
    PauseRead(ConnId),
    /// Read again.
    ResumeRead(ConnId),
    /// Everything is sent: end the stream in this direction (half-close).
    Shutdown(ConnId),
    /// Drop the socket. The last output of this connection but for
    /// [`Step::Closed`].
    Close(ConnId),
    /// Something for the application.
    Event(Event),
    /// Something for the other hubs, with [`HubConfig::cluster`](super::HubConfig::cluster).
    Cluster(Publication),
}

/// Something for the application.
#[derive(Debug)]
pub enum Event {
    /// It is the application's turn.
    Turn(Turn),
    /// The end of an [`emit_with_ack`](super::Hub::emit_with_ack); told
    /// exactly once for each.
    Answered {
        /// Which one.
        token: AckToken,
        /// What came of it.
        answer: Answer,
    },
    /// After [`EmitError::Full`](super::EmitError::Full): there is room again,
    /// or the client is gone. Told once, to be followed by another try.
    Drained(ClientId),
    /// A client asks for a WebSocket on a [bare](super::Route::bare) route:
    /// [`detach`](super::Hub::detach) it, and let the machine
    /// [`decide`](crate::WebSocket::decide) the ticket.
    Bare(ConnId, Ticket),
    /// A plain HTTP request that nothing else answers, with
    /// [`Interest::REQUEST`] on any route; answered by
    /// [`respond`](super::Hub::respond).
    Request(ConnId, Ticket),
}

/// Names one [`emit_with_ack`](super::Hub::emit_with_ack).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckToken(pub(super) u64);

/// What came of a message that asked for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The client's answer.
    Data(Json),
    /// It did not answer in time (`ERR_ACK_001`).
    TimedOut,
    /// It went away first.
    Closed,
}

/// The application's turn with one connection: what happened, to be answered
/// by [`decide`](super::Hub::decide).
///
/// A connection has one turn at a time: what it sends meanwhile waits, up to
/// a bound, and what is no matter of the application (pings, acks,
/// heartbeats) is dealt with at once. A turn that is not answered within
/// [`HubConfig::handler_timeout`](super::HubConfig::handler_timeout) counts as
/// failed; an answer that comes too late is harmless.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    pub(super) id: ConnId,
    pub(super) serial: u32,
    pub(super) route: u16,
    pub(super) client: ClientId,
    /// What it is about.
    pub step: Step,
}

/// What a [`Turn`] is about.
#[derive(Debug)]
pub enum Step {
    /// A client asks for a WebSocket. Unless allowed it gets a 403.
    Connect(Ticket),
    /// Credentials; answered by [`Turn::authenticate`] or [`Turn::cancel`].
    Authenticate(Json),
    /// The client is about to be greeted.
    Welcome,
    /// The client is there (and authenticated, if it has to be).
    Opened,
    /// An event.
    Event(Incoming),
    /// A binary message.
    Binary(Bytes),
    /// Into these rooms; answer with [`Turn::rooms`] for some of them only.
    Join(Vec<Utf8Bytes>),
    /// Out of these rooms.
    Leave(Vec<Utf8Bytes>),
    /// To a room.
    RoomMessage {
        /// Which.
        room: Utf8Bytes,
        /// What.
        text: Utf8Bytes,
    },
    /// To another client.
    Direct {
        /// Its client id.
        to: Utf8Bytes,
        /// What.
        text: Utf8Bytes,
    },
    /// A ping of the dialect.
    Ping,
    /// A pong of the dialect.
    Pong {
        /// The whole message, where it is acknowledged.
        raw: Option<Utf8Bytes>,
    },
    /// The message in these words is about to be acknowledged.
    MessageAck(Utf8Bytes),
    /// The client is about to be told of this error.
    Error(Complaint),
    /// The client exceeded a limit, and is told unless cancelled.
    RateLimited {
        /// The event, if the limit is of one.
        event: Option<Utf8Bytes>,
        /// When to try again, in milliseconds.
        retry_after: u64,
    },
    /// A message to a client that [`transform`](super::Hub::transform) marks.
    Outbound {
        /// Its event.
        event: Utf8Bytes,
        /// Its data.
        data: Option<Json>,
    },
    /// The client is gone. Needs no answer.
    Closed(Box<Gone>),
}

impl Step {
    pub(super) const fn interest(&self) -> Interest {
        match self {
            Self::Connect(_) => Interest::CONNECT,
            Self::Authenticate(_) => Interest::AUTHENTICATE,
            Self::Welcome => Interest::WELCOME,
            Self::Opened => Interest::OPENED,
            Self::Event(_) => Interest::EVENT,
            Self::Binary(_) => Interest::BINARY,
            Self::Join(_) => Interest::JOIN,
            Self::Leave(_) => Interest::LEAVE,
            Self::RoomMessage { .. } => Interest::ROOM_MESSAGE,
            Self::Direct { .. } => Interest::DIRECT,
            Self::Ping => Interest::PING,
            Self::Pong { .. } => Interest::PONG,
            Self::MessageAck(_) => Interest::MESSAGE_ACK,
            Self::Error(_) => Interest::ERROR,
            Self::RateLimited { .. } => Interest::RATE_LIMITED,
            Self::Outbound { .. } => Interest::OUTBOUND,
            Self::Closed(_) => Interest::CLOSED,
        }
    }
}

/// An event a client sent.
#[derive(Debug)]
pub struct Incoming {
    /// Its name.
    pub name: Utf8Bytes,
    /// Its data, as they came.
    pub data: Option<Json>,
    /// How to answer it, if an answer is asked for; take it to answer later
    /// than the turn. Left here, a cancelled event is answered with the error.
    pub ack: Option<AckTicket>,
    /// The whole message, in dialects that acknowledge by it.
    pub raw: Option<Utf8Bytes>,
}

/// What a client is told went wrong.
#[derive(Debug)]
pub struct Complaint {
    pub(super) failure: Failure,
}

impl Complaint {
    /// The kind of error, as RNode names them: `room_join_error`.
    pub fn kind(&self) -> &'static str {
        self.failure.kind()
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

/// A client's right to one answer; see [`acknowledge`](super::Hub::acknowledge).
#[derive(Debug)]
#[must_use]
pub struct AckTicket {
    pub(super) id: ConnId,
    pub(super) ack: AckId,
}

/// Who is gone, and how.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Who it was.
    pub user: Option<UserId>,
    /// The name it chose (RNode).
    pub alias: Option<Utf8Bytes>,
    /// The path it had connected to.
    pub path: String,
    /// How it ended.
    pub closed: Box<Closed>,
}

/// The answer to a [`Turn`].
#[derive(Debug)]
#[must_use]
pub struct Decision {
    pub(super) id: ConnId,
    pub(super) serial: u32,
    pub(super) step: Step,
    pub(super) verdict: Verdict,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Allow,
    Cancel(Option<Utf8Bytes>),
    Authenticated(Identity),
    Failed,
}

/// Who a client turned out to be.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The user, if the application knows users.
    pub user: Option<UserId>,
    /// What else to remember of the client: a JSON object.
    pub metadata: Option<Json>,
}

impl Turn {
    /// The connection.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// The client's id.
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The client's route, as an index into
    /// [`HubConfig::routes`](super::HubConfig::routes).
    pub const fn route(&self) -> usize {
        self.route as usize
    }

    /// The request of a [`Step::Connect`].
    pub fn request(&self) -> Option<&Request> {
        if let Step::Connect(ticket) = &self.step {
            Some(ticket.request())
        } else {
            None
        }
    }

    /// Let it happen, with what the step holds now: a handler that changed
    /// the step changed what happens. Also the answer of who only listened.
    pub fn allow(self) -> Decision {
        self.decision(Verdict::Allow)
    }

    /// Do not let it happen; the client is told in these words, where its
    /// dialect has a way to.
    pub fn cancel(self, error: Option<&str>) -> Decision {
        self.decision(Verdict::Cancel(error.map(Utf8Bytes::from)))
    }

    /// The credentials of a [`Step::Authenticate`] are good; or who connects
    /// is known from the request of a [`Step::Connect`].
    pub fn authenticate(self, identity: Identity) -> Decision {
        self.decision(Verdict::Authenticated(identity))
    }

    /// Of a [`Step::Join`] or [`Step::Leave`]: these rooms only. Names that
    /// were not asked for are ignored.
    pub fn rooms(mut self, allowed: &[Utf8Bytes]) -> Decision {
        if let Step::Join(rooms) | Step::Leave(rooms) = &mut self.step {
            rooms.retain(|room| allowed.contains(room));
        }
        self.allow()
    }

    /// The handler failed: what was asked does not happen, and the client
    /// learns that it was not its fault.
    pub fn fail(self) -> Decision {
        self.decision(Verdict::Failed)
    }

    fn decision(self, verdict: Verdict) -> Decision {
        Decision {
            id: self.id,
            serial: self.serial,
            step: self.step,
            verdict,
        }
    }
}
