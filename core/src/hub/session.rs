//! One session, from its first message to its last: what a message means,
//! who is asked about it, what happens then.
//!
//! Everything goes through three steps. `act` holds a message against the
//! session's state. `propose` asks the application, where it wants to be
//! asked. `perform` does it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::broker::Effect;
use crate::code::CloseCode;
use crate::dialect::{Dialect, Failure, Incoming, IncomingEvent, Outgoing};
use crate::error_code::ErrorCode;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::stats::DropCause;
use crate::time::Tick;
use crate::websocket::Closed;

use super::config::{Auth, Heartbeat, Interest, codes};
use super::conn::{Conn, State, Turning};
use super::ids::{ConnId, UserId};
use super::opening::is_among;
use super::output::{
    AckTicket, Answer, Complaint, Decision, Event, Gone, Identity, Incoming as IncomingStep,
    Output, Step, Turn, Verdict,
};
use super::publish::Audience;
use super::rooms::{JoinError, RoomKey};
use super::{Hub, Subject};

/// Bytes a peer may send before it is authenticated.
const EARLY: usize = 16 * 1024;

impl Hub {
    /// A message came.
    pub(super) fn message(&mut self, id: ConnId, message: Message) {
        let now = self.clock;
        let len = message.len();
        self.counters.received_messages += 1;
        self.counters.received_bytes += len as u64;
        self.rate.add(now, 1);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        conn.heard = now;
        let dialect = &self.routes[usize::from(route)].route.dialect;
        if dialect.is_echo(&mut conn.memory, &message) {
            return;
        }
        if !conn.is_somebody() {
            conn.early += len;
            if conn.early > EARLY {
                return self.shut(id, CloseCode::POLICY, "too much before authentication");
            }
        }
        if let Some(retry) = self.limited(id, len) {
            return self.too_fast(id, ErrorCode::RateLimit, None, retry);
        }
        let dialect = &self.routes[usize::from(route)].route.dialect;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let incoming = dialect.decode(&mut conn.memory, message);
        match incoming {
            Incoming::Nothing | Incoming::Heartbeat => {}
            Incoming::Ack { id: key, data } => {
                if conn.is_somebody() && !self.answer(key.0, Some(id), Answer::Data(data)) {
                    self.fail(id, Failure::UnknownAck);
                }
            }
            incoming if conn.is_busy() && !self.is_instant(id, &incoming) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.inbox_bytes += len;
                    conn.inbox.push_back((len, incoming));
                }
            }
            incoming => self.act(id, incoming),
        }
    }

    /// Whether a message is dealt with although others wait: the application
    /// has nothing to say about it.
    fn is_instant(&self, id: ConnId, incoming: &Incoming) -> bool {
        match incoming {
            Incoming::Ping => !self.is_wanted(id, &Step::Ping),
            Incoming::Pong { .. } => {
                !self.is_wanted(id, &Step::Pong { raw: None })
                    && !self.is_wanted(id, &Step::MessageAck(Utf8Bytes::default()))
            }
            _ => false,
        }
    }

    /// Holds a message against the state of its session.
    fn act(&mut self, id: ConnId, incoming: Incoming) {
        let now = self.clock;
        let wall = self.unix_ms();
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        if !conn.is_somebody() {
            return self.act_unknown(id, incoming);
        }
        match incoming {
            Incoming::Nothing | Incoming::Heartbeat | Incoming::Ack { .. } => {}
            Incoming::Connect {
                namespace, binary, ..
            } => {
                conn.binary = binary;
                self.reconnect(id, namespace);
            }
            Incoming::Authenticate(_) => self.fail(id, Failure::AlreadyAuthenticated),
            Incoming::Event(event) => {
                if let Some(retry) = self.event_limited(id, route, &event.name) {
                    let code = ErrorCode::EventRateLimit;
                    return self.too_fast(id, code, Some(event.name), retry);
                }
                let IncomingEvent {
                    name,
                    data,
                    ack,
                    raw,
                } = event;
                self.propose(
                    id,
                    Step::Event(IncomingStep {
                        name,
                        data,
                        ack: ack.map(|ack| AckTicket { id, ack }),
                        raw,
                    }),
                );
            }
            Incoming::Binary(data) => self.propose(id, Step::Binary(data)),
            Incoming::Join(rooms) => self.propose(id, Step::Join(rooms)),
            Incoming::Leave(rooms) => {
                let rooms = if rooms.is_empty() {
                    self.only_room(id).into_iter().collect()
                } else {
                    rooms
                };
                self.propose(id, Step::Leave(rooms));
            }
            Incoming::ToRoom { room, text } => {
                let Some(room) = room.or_else(|| self.only_room(id)) else {
                    return self.fail(id, Failure::RoomJoin);
                };
                self.propose(id, Step::RoomMessage { room, text });
            }
            Incoming::Direct { to, text } => self.propose(id, Step::Direct { to, text }),
            Incoming::Ping => {
                conn.profile.last_ping = wall;
                self.propose(id, Step::Ping);
            }
            Incoming::Pong { raw, .. } => {
                conn.profile.last_ping = wall;
                if let Some(pinged) = conn.pinged.take() {
                    let trip = now.since(pinged);
                    self.latency.0 += trip.as_micros() as u64;
                    self.latency.1 += 1;
                }
                self.propose(id, Step::Pong { raw });
            }
            Incoming::Broker(header, payload) => {
                let wall = self.timestamp();
                let entropy = &mut self.shared.entropy;
                let random = &mut || entropy.bytes();
                self.broker
                    .handle(now, wall.as_str(), random, id, header, payload);
                self.broker_effects();
            }
            Incoming::Invalid(failure) => {
                self.counters.drop(DropCause::Invalid, 1);
                self.fail(id, failure);
            }
        }
    }

    /// A message of somebody who has yet to say who it is.
    fn act_unknown(&mut self, id: ConnId, incoming: Incoming) {
        let now = self.clock;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        let auth = &self.routes[usize::from(route)].route.auth;
        match (incoming, auth) {
            (Incoming::Authenticate(data), Auth::Message { timeout }) => {
                if conn.state != State::Unauthorized {
                    return self.fail(id, Failure::AlreadyAuthenticated);
                }
                conn.state = State::Authenticating;
                conn.auth_deadline = now + *timeout * 3;
                let step = Step::Authenticate(data);
                if self.is_wanted(id, &step) {
                    self.propose(id, step);
                } else {
                    // Nobody knows good credentials from bad ones.
                    self.rejected(id, Failure::AuthenticationFailed);
                }
            }
            (
                Incoming::Connect {
                    api_key: Some(key),
                    namespace,
                    binary,
                },
                Auth::ApiKeys { keys, .. },
            ) => {
                if !is_among(keys, &key) {
                    return self.rejected(id, Failure::InvalidApiKey);
                }
                conn.binary = binary;
                self.authenticated(id, Identity::default());
                self.reconnect(id, namespace);
            }
            (Incoming::Invalid(failure), _) => {
                self.counters.drop(DropCause::Invalid, 1);
                self.fail(id, failure);
            }
            _ => self.fail(id, Failure::NotAuthenticated),
        }
    }

    /// Asks the application about a step, if it wants to be asked.
    pub(super) fn propose(&mut self, id: ConnId, step: Step) {
        if !self.is_wanted(id, &step) {
            return self.perform(id, step);
        }
        let until = self.clock + self.config.handler_timeout;
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.turn = Some(Turning {
            serial,
            until,
            about: step.interest(),
        });
        let (client, route) = (conn.client, conn.route.unwrap_or_default());
        self.queue.push_back(Output::Event(Event::Turn(Turn {
            id,
            serial,
            route,
            client,
            step,
        })));
    }

    /// Answers a [`Turn`]. Too late, it is harmless.
    pub fn decide(&mut self, now: Tick, decision: Decision) {
        self.tick(now);
        let Decision {
            id,
            serial,
            step,
            verdict,
        } = decision;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.turn.as_ref().is_none_or(|turn| turn.serial != serial) {
            return;
        }
        conn.turn = None;
        if conn.state == State::Disconnected {
            return self.wind_up(id);
        }
        match (verdict, step) {
            (Verdict::Authenticated(identity), Step::Authenticate(_)) => {
                self.authenticated(id, identity);
            }
            (Verdict::Authenticated(identity), Step::Connect(ticket)) => {
                self.accept_upgrade(id, ticket, Some(identity));
            }
            (Verdict::Allow | Verdict::Authenticated(_), step) => self.perform(id, step),
            (Verdict::Cancel(error), step) => self.cancelled(id, step, error),
            (Verdict::Failed, step) => self.failed(id, step),
        }
        self.proceed(id);
        self.pump(id);
    }

    /// Goes on with what waited for a turn.
    fn proceed(&mut self, id: ConnId) {
        while let Some(conn) = self.conns.get_mut(id) {
            if conn.turn.is_some() {
                return;
            }
            let Some((len, incoming)) = conn.inbox.pop_front() else {
                if conn.inbox.capacity() > 64 {
                    conn.inbox = VecDeque::new();
                }
                return;
            };
            conn.inbox_bytes -= len;
            self.act(id, incoming);
        }
    }

    /// Does what a step is about.
    pub(super) fn perform(&mut self, id: ConnId, step: Step) {
        match step {
            Step::Connect(ticket) => self.accept_upgrade(id, ticket, None),
            Step::Authenticate(_) => self.authenticated(id, Identity::default()),
            Step::Welcome => {
                self.greet(id);
                self.welcomed(id);
            }
            Step::Event(event) => {
                if let Some(raw) = event.raw
                    && self.dialect(id).is_some_and(Dialect::acknowledges)
                {
                    self.propose(id, Step::MessageAck(raw));
                }
            }
            Step::Join(rooms) => self.join_asked(id, &rooms),
            Step::Leave(rooms) => {
                for room in rooms {
                    if self.leave_room(id, &room) {
                        self.say(id, Outgoing::RoomLeft { room: &room });
                    }
                }
            }
            Step::RoomMessage { room, text } => self.speak_in(id, &room, &text),
            Step::Direct { to, text } => {
                let from = self.name_of(id);
                match self.aliases.get(&to) {
                    Some(&target) if self.shares_namespace(id, target) => self.say(
                        target,
                        Outgoing::Direct {
                            text: &text,
                            from: &from,
                        },
                    ),
                    Some(_) | None => self.fail(id, Failure::ClientNotFound(to)),
                }
            }
            Step::Ping => self.say(id, Outgoing::Pong { latency_ms: None }),
            Step::Pong { raw: Some(raw) } => self.propose(id, Step::MessageAck(raw)),
            Step::MessageAck(raw) => self.say(id, Outgoing::MessageAck { raw: &raw }),
            Step::Error(complaint) => self.say(id, Outgoing::Error(&complaint.failure)),
            Step::RateLimited { event, retry_after } => {
                let code = match event {
                    Some(_) => ErrorCode::EventRateLimit,
                    None => ErrorCode::RateLimit,
                };
                self.say(
                    id,
                    Outgoing::RateLimited {
                        code,
                        retry_after_ms: retry_after,
                    },
                );
            }
            Step::Outbound { event, data } => self.say(
                id,
                Outgoing::Event {
                    name: &event,
                    data: data.as_ref(),
                    ack: None,
                },
            ),
            Step::Opened | Step::Binary(_) | Step::Pong { raw: None } | Step::Closed(_) => {}
        }
    }

    /// The application does not want a step to happen.
    fn cancelled(&mut self, id: ConnId, step: Step, error: Option<Utf8Bytes>) {
        match step {
            Step::Connect(ticket) => {
                let why = error.as_deref().unwrap_or("Unauthorized client");
                self.refuse(id, ticket, 403, why);
            }
            Step::Authenticate(_) => self.rejected(id, Failure::AuthenticationFailed),
            Step::Welcome => self.welcomed(id),
            Step::Event(event) => {
                self.counters.drop(DropCause::Blocked, 1);
                self.blocked(id, event, error);
            }
            Step::Binary(_) | Step::RoomMessage { .. } | Step::Direct { .. } => {
                self.counters.drop(DropCause::Blocked, 1);
                if let Some(error) = error {
                    self.say_blocked(id, "", &error);
                }
            }
            Step::Join(_) | Step::Leave(_) => {
                if let Some(error) = error {
                    self.fail(id, Failure::Refused(error));
                }
            }
            Step::Opened => {
                let why = error.as_deref().unwrap_or_default();
                self.shut(id, CloseCode::POLICY, why);
            }
            Step::Outbound { .. } => self.counters.drop(DropCause::Blocked, 1),
            Step::Ping
            | Step::Pong { .. }
            | Step::MessageAck(_)
            | Step::Error(_)
            | Step::RateLimited { .. }
            | Step::Closed(_) => {}
        }
    }

    fn blocked(&mut self, id: ConnId, event: IncomingStep, error: Option<Utf8Bytes>) {
        let why = error.unwrap_or_else(|| Utf8Bytes::from_static("Middleware blocked message"));
        match (event.ack, event.raw) {
            (Some(ticket), _) => {
                let data = Json::from_value(&serde_json::json!({ "error": why.as_str() }))
                    .unwrap_or(Json::NULL);
                self.say(
                    id,
                    Outgoing::Ack {
                        id: &ticket.ack,
                        data: &data,
                    },
                );
            }
            (None, Some(raw)) => self.say_blocked(id, &raw, &why),
            (None, None) => self.say_blocked(id, "", &why),
        }
    }

    fn say_blocked(&mut self, id: ConnId, raw: &str, reason: &str) {
        let tell = self
            .conns
            .get(id)
            .and_then(|conn| conn.route)
            .is_some_and(|route| self.routes[usize::from(route)].route.tell_blocked);
        if tell {
            self.say(id, Outgoing::Blocked { raw, reason });
        }
    }

    /// The application's handler failed.
    fn failed(&mut self, id: ConnId, step: Step) {
        self.counters.drop(DropCause::HandlerFailed, 1);
        match step {
            Step::Connect(ticket) => self.refuse(id, ticket, 500, "the server failed"),
            Step::Authenticate(_) => self.rejected(id, Failure::AuthenticationError),
            Step::Welcome => self.welcomed(id),
            Step::Event(IncomingStep {
                ack: Some(ticket), ..
            }) => {
                let data =
                    Json::from_value(&serde_json::json!({ "error": "Internal server error" }))
                        .unwrap_or(Json::NULL);
                self.say(
                    id,
                    Outgoing::Ack {
                        id: &ticket.ack,
                        data: &data,
                    },
                );
            }
            Step::Error(_) | Step::Closed(_) => {}
            Step::Opened
            | Step::Event(_)
            | Step::Binary(_)
            | Step::Join(_)
            | Step::Leave(_)
            | Step::RoomMessage { .. }
            | Step::Direct { .. }
            | Step::Ping
            | Step::Pong { .. }
            | Step::MessageAck(_)
            | Step::RateLimited { .. }
            | Step::Outbound { .. } => self.say(id, Outgoing::Error(&Failure::Handler)),
        }
    }

    /// Tells a client what went wrong.
    pub(super) fn fail(&mut self, id: ConnId, failure: Failure) {
        let step = Step::Error(Complaint { failure });
        let busy = self.conns.get(id).is_some_and(|conn| conn.turn.is_some());
        if busy {
            self.perform(id, step);
        } else {
            self.propose(id, step);
        }
    }

    fn too_fast(&mut self, id: ConnId, code: ErrorCode, event: Option<Utf8Bytes>, retry: Duration) {
        self.counters.drop(
            match code {
                ErrorCode::EventRateLimit => DropCause::EventRateLimited,
                _ => DropCause::RateLimited,
            },
            1,
        );
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        // Who does not listen is told once, not once a message.
        if core::mem::replace(&mut conn.flags.warned, true) {
            return;
        }
        let busy = conn.turn.is_some();
        let step = Step::RateLimited {
            event,
            retry_after: retry.as_micros().div_ceil(1_000) as u64,
        };
        if busy {
            self.perform(id, step);
        } else {
            self.propose(id, step);
        }
    }

    /// Whether a message is one too many, and when the next is not.
    fn limited(&mut self, id: ConnId, len: usize) -> Option<Duration> {
        let now = self.clock;
        let conn = self.conns.get_mut(id)?;
        let route = &self.routes[usize::from(conn.route?)].route;
        let cost = u32::try_from(len).unwrap_or(u32::MAX);
        let own = route
            .rate
            .as_ref()
            .and_then(|limit| conn.limits.messages.check(limit, now, 1).err())
            .or_else(|| {
                let limit = route.byte_rate.as_ref()?;
                conn.limits.bytes.check(limit, now, cost).err()
            });
        let subjects = [
            (
                conn.user.clone().map(Subject::User),
                route.user_rate.clone(),
            ),
            (
                conn.address.map(Subject::Address),
                route.address_rate.clone(),
            ),
        ];
        let limited = own.or_else(|| {
            subjects
                .into_iter()
                .find_map(|(subject, limit)| self.subject_limited(subject?, limit.as_ref()?))
        });
        if limited.is_none()
            && let Some(conn) = self.conns.get_mut(id)
        {
            conn.flags.warned = false;
        }
        limited
    }

    fn event_limited(&mut self, id: ConnId, route: u16, name: &Utf8Bytes) -> Option<Duration> {
        let now = self.clock;
        let limits = &self.routes[usize::from(route)].route.event_rates;
        let limiters = &mut self.conns.get_mut(id)?.limits.events;
        limiters.check(limits, now, name).err()
    }

    /// The client is somebody: it may speak and be spoken to.
    pub(super) fn authenticated(&mut self, id: ConnId, identity: Identity) {
        let now = self.clock;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        conn.state = State::Authenticated;
        conn.auth_deadline = Tick::MAX;
        conn.profile.metadata = identity.metadata;
        let namespace = conn.namespace;
        let route = &self.routes[usize::from(route)].route;
        conn.heartbeat = match route.heartbeat {
            Heartbeat::None => Tick::MAX,
            Heartbeat::Ping { interval, .. } => now + interval,
            Heartbeat::Passive { sweep, .. } => now + sweep,
        };
        let rooms = route.default_rooms.clone();
        let greets = route.dialect.greets();
        if let Some(user) = identity.user {
            self.note_user(id, user);
        }
        self.rooms.enter(namespace, id);
        if matches!(self.dialect(id), Some(Dialect::HeaderLine)) {
            let random = self.shared.entropy.bytes();
            let wall = self.timestamp();
            self.broker.enter(wall.as_str(), random, id);
        }
        for room in rooms {
            // A full house of rooms is no reason to turn a client away.
            let _ = self.join_room(id, &room, false);
        }
        if greets {
            self.propose(id, Step::Welcome);
        } else {
            self.welcomed(id);
        }
    }

    /// The credentials were not good.
    fn rejected(&mut self, id: ConnId, failure: Failure) {
        self.fail(id, failure);
        self.shut(id, codes::auth_failed(), "Authentication failed");
    }

    fn greet(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let client = alloc::format!("{}", conn.client);
        let alias = conn.profile.alias.clone();
        let user = conn.user.clone();
        let path = self.rooms.namespaces[usize::from(conn.namespace.0)]
            .name
            .clone();
        let path = if alias.is_some() {
            conn.profile.path.clone()
        } else {
            path
        };
        self.say(
            id,
            Outgoing::Welcome {
                connection_id: &client,
                client_id: alias.as_deref().unwrap_or(&client),
                user_id: user.as_ref().map(UserId::as_str),
                path: &path,
            },
        );
    }

    /// Greeted, or not in need of it.
    fn welcomed(&mut self, id: ConnId) {
        if self.dialect(id).is_some_and(Dialect::pings_at_once) {
            self.ping(id);
        }
        self.deliver_offline(id);
        self.propose(id, Step::Opened);
    }

    fn ping(&mut self, id: ConnId) {
        let now = self.clock;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.pinged = Some(now);
            self.say(id, Outgoing::Ping);
        }
    }

    /// SmartSocket's CONNECT: perhaps another namespace.
    fn reconnect(&mut self, id: ConnId, namespace: Option<Utf8Bytes>) {
        if let Some(name) = namespace
            && let Some(conn) = self.conns.get(id)
        {
            let old = conn.namespace;
            let at = self.routes.iter().position(|other| {
                other.route.namespace == name.as_str()
                    && matches!(other.route.dialect, Dialect::SmartSocket(_))
            });
            // Another namespace may have other rules for who comes in.
            let Some(at) = at.filter(|&at| {
                self.routes[at].namespace == old
                    || (self.routes[at].route.auth == Auth::None
                        && !self.routes[at].route.interest.has(Interest::CONNECT))
            }) else {
                return self.fail(id, Failure::UnknownNamespace);
            };
            let new = self.routes[at].namespace;
            if new != old {
                self.leave_all(id);
                self.rooms.exit(old, id);
                self.rooms.enter(new, id);
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.namespace = new;
                    conn.route = Some(at as u16);
                }
            }
        }
        self.greet(id);
    }

    /// A client asks into rooms.
    fn join_asked(&mut self, id: ConnId, rooms: &[Utf8Bytes]) {
        let Some(route) = self.conns.get(id).and_then(|conn| conn.route) else {
            return;
        };
        let policy = self.routes[usize::from(route)].route.rooms;
        // Where joins need leave and nobody is there to give it, they do not
        // happen.
        if policy.ask && !self.is_wanted(id, &Step::Join(Vec::new())) {
            return;
        }
        for room in rooms {
            match self.join_room(id, room, policy.must_exist) {
                Ok(()) => self.say(id, Outgoing::RoomJoined { room }),
                Err(JoinError::Full) => self.fail(id, Failure::RoomFull),
                Err(_) => self.fail(id, Failure::RoomJoin),
            }
        }
    }

    pub(super) fn join_room(
        &mut self,
        id: ConnId,
        room: &Utf8Bytes,
        must_exist: bool,
    ) -> Result<(), JoinError> {
        let now = self.clock;
        let max = self.config.max_rooms_per_client;
        let conn = self
            .conns
            .get(id)
            .filter(|conn| conn.is_somebody())
            .ok_or(JoinError::NoClient)?;
        if conn.rooms.len() >= max {
            return Err(JoinError::TooMany);
        }
        let namespace = conn.namespace;
        let key = match self.rooms.find(namespace, room) {
            Some(key) => key,
            None if must_exist => return Err(JoinError::NoRoom),
            None => {
                let created = self.unix_ms();
                let max = self.config.max_rooms;
                self.rooms
                    .create(now, namespace, room.clone(), created, false, max)?
            }
        };
        self.rooms.add(key, id)?;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.rooms.push(key);
        }
        Ok(())
    }

    pub(super) fn leave_room(&mut self, id: ConnId, room: &Utf8Bytes) -> bool {
        let now = self.clock;
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        let Some(key) = self.rooms.find(conn.namespace, room) else {
            return false;
        };
        conn.rooms.retain(|&other| other != key);
        self.rooms.take(now, key, id)
    }

    fn leave_all(&mut self, id: ConnId) {
        let now = self.clock;
        let keys: Vec<RoomKey> = match self.conns.get_mut(id) {
            Some(conn) => core::mem::take(&mut conn.rooms),
            None => return,
        };
        for key in keys {
            self.rooms.take(now, key, id);
        }
    }

    /// A client speaks in a room it is in.
    fn speak_in(&mut self, id: ConnId, room: &Utf8Bytes, text: &Utf8Bytes) {
        let member = self.conns.get(id).and_then(|conn| {
            let key = self.rooms.find(conn.namespace, room)?;
            conn.rooms.contains(&key).then_some(key)
        });
        let Some(key) = member else {
            return self.fail(id, Failure::NotMember);
        };
        let from = self.name_of(id);
        let what = Outgoing::RoomMessage {
            room,
            text,
            from: Some(&from),
        };
        let audience = Audience::Room(key);
        self.say_all(&audience, &[], what, "room_message");
    }

    /// The room a client is in, if it is in one.
    fn only_room(&self, id: ConnId) -> Option<Utf8Bytes> {
        let key = *self.conns.get(id)?.rooms.last()?;
        Some(self.rooms.get(key)?.id.clone())
    }

    fn name_of(&self, id: ConnId) -> Utf8Bytes {
        let Some(conn) = self.conns.get(id) else {
            return Utf8Bytes::default();
        };
        match &conn.profile.alias {
            Some(alias) => alias.clone(),
            None => alloc::format!("{}", conn.client).into(),
        }
    }

    fn shares_namespace(&self, a: ConnId, b: ConnId) -> bool {
        match (self.conns.get(a), self.conns.get(b)) {
            (Some(a), Some(b)) => a.namespace == b.namespace,
            _ => false,
        }
    }

    fn dialect(&self, id: ConnId) -> Option<&Dialect> {
        let route = self.conns.get(id)?.route?;
        Some(&self.routes[usize::from(route)].route.dialect)
    }

    pub(super) fn note_user(&mut self, id: ConnId, user: UserId) {
        let now = self.clock;
        self.users.entry(user.clone()).or_default().push(id);
        if let Some(offline) = &mut self.offline {
            let losses = offline.know(now, user.text());
            self.counters.lost(&losses);
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.user = Some(user);
        }
    }

    pub(super) fn forget_user(&mut self, id: ConnId) {
        let Some(user) = self.conns.get_mut(id).and_then(|conn| conn.user.take()) else {
            return;
        };
        if let Some(ids) = self.users.get_mut(&user) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.users.remove(&user);
            }
        }
    }

    /// What came for a user while it was away.
    fn deliver_offline(&mut self, id: ConnId) {
        let now = self.clock;
        let (Some(offline), Some(user)) = (
            &mut self.offline,
            self.conns.get(id).and_then(|conn| conn.user.clone()),
        ) else {
            return;
        };
        let (waiting, losses) = offline.take(now, user.text());
        self.counters.lost(&losses);
        for publication in waiting {
            self.say(
                id,
                Outgoing::Event {
                    name: &publication.event,
                    data: publication.data.as_ref(),
                    ack: None,
                },
            );
        }
    }

    /// Deadlines of a session.
    pub(super) fn session_timeout(&mut self, id: ConnId) {
        let now = self.clock;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if let Some(turn) = &conn.turn
            && turn.until <= now
        {
            let about = turn.about;
            conn.turn = None;
            self.stalled(id, about);
        }
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.auth_deadline <= now {
            conn.auth_deadline = Tick::MAX;
            self.shut(id, codes::auth_timeout(), "Authentication timeout");
        }
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        if conn.heartbeat > now {
            return;
        }
        match self.routes[usize::from(route)].route.heartbeat {
            Heartbeat::None => conn.heartbeat = Tick::MAX,
            Heartbeat::Ping { interval, timeout } => {
                conn.heartbeat = now + interval;
                let silent = now.since(conn.heard);
                if timeout.is_some_and(|timeout| silent >= timeout) {
                    conn.heartbeat = Tick::MAX;
                    self.shut(id, codes::heartbeat_timeout(), "Heartbeat timeout");
                } else if conn.endpoint.buffered() == 0 {
                    self.ping(id);
                }
            }
            Heartbeat::Passive { timeout, sweep } => {
                conn.heartbeat = now + sweep;
                if now.since(conn.heard) > timeout {
                    conn.heartbeat = Tick::MAX;
                    self.shut(id, codes::heartbeat_timeout(), "Heartbeat timeout");
                }
            }
        }
    }

    /// A handler did not answer in time.
    fn stalled(&mut self, id: ConnId, about: Interest) {
        self.counters.drop(DropCause::HandlerFailed, 1);
        if self
            .conns
            .get(id)
            .is_none_or(|conn| conn.state == State::Disconnected)
        {
            return self.wind_up(id);
        }
        match about {
            // The handshake answers for itself when it is closed.
            Interest::CONNECT => self.shut(id, CloseCode::TRY_AGAIN, ""),
            Interest::AUTHENTICATE => self.rejected(id, Failure::AuthenticationError),
            Interest::WELCOME => self.welcomed(id),
            _ => self.say(id, Outgoing::Error(&Failure::Handler)),
        }
        self.proceed(id);
    }

    /// The connection is over: nobody speaks to it any more.
    pub(super) fn closed(&mut self, id: ConnId, closed: Box<Closed>) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let opened = !matches!(conn.state, State::Handshake);
        let was_somebody = conn.is_somebody();
        let namespace = conn.namespace;
        conn.auth_deadline = Tick::MAX;
        conn.heartbeat = Tick::MAX;
        conn.outbox = None;
        let lost = core::mem::take(&mut conn.inbox).len() as u64;
        conn.inbox_bytes = 0;
        let client = conn.client;
        let alias = conn.profile.alias.take();
        let owed = conn.owed;
        let user = conn.user.clone();
        self.counters.drop(DropCause::Closed, lost);
        self.counters.closed += u64::from(opened);
        self.leave_all(id);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.state = State::Disconnected;
        }
        if was_somebody {
            self.rooms.exit(namespace, id);
        }
        self.forget_user(id);
        if let Some(alias) = alias {
            self.aliases.remove(&alias);
        }
        if self.clients.get(&client) == Some(&id) {
            self.clients.remove(&client);
        }
        if owed > 0 {
            let keys: Vec<u64> = self
                .acks
                .iter()
                .filter(|(_, pending)| pending.id == id)
                .map(|(&key, _)| key)
                .collect();
            for key in keys {
                self.answer(key, None, Answer::Closed);
            }
        }
        self.broker.leave(self.clock, id);
        self.broker_effects();
        if let Some(conn) = self.conns.get_mut(id) {
            // Who was there, for the last turn.
            conn.user = user;
            conn.closed = opened.then_some(closed);
            if conn.turn.is_none() {
                self.wind_up(id);
            }
        }
    }

    /// Tells the application that a client is gone, after its last turn.
    fn wind_up(&mut self, id: ConnId) {
        self.touch(id);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(closed) = conn.closed.take() else {
            return;
        };
        let user = conn.user.take();
        let (client, route) = (conn.client, conn.route.unwrap_or_default());
        let step = Step::Closed(Box::new(Gone { user, closed }));
        if self.is_wanted(id, &step) {
            // Nothing is decided by the answer, and nothing waits for it.
            self.serial = self.serial.wrapping_add(1);
            let serial = self.serial;
            self.queue.push_back(Output::Event(Event::Turn(Turn {
                id,
                serial,
                route,
                client,
                step,
            })));
        }
    }

    /// Does what the broker decided.
    pub(super) fn broker_effects(&mut self) {
        while let Some(effect) = self.broker.poll() {
            match effect {
                Effect::Send {
                    to,
                    header,
                    payload,
                } => self.say(
                    to,
                    Outgoing::Broker {
                        header: &header,
                        payload: &payload,
                    },
                ),
                Effect::Publish {
                    to,
                    header,
                    payload,
                } => {
                    let what = Outgoing::Broker {
                        header: &header,
                        payload: &payload,
                    };
                    self.say_all(&Audience::Some(to), &[], what, &header.topic);
                }
                Effect::Fail { to, failure } => self.fail(to, Failure::Header(failure)),
                Effect::Subscribe { key, topic } => {
                    // The broker has bounds of its own.
                    let _ = self.join_room(key, &topic, false);
                }
                Effect::Unsubscribe { key, topic } => {
                    self.leave_room(key, &topic);
                }
            }
        }
    }
}

impl Conn {
    /// Whether so much waits for the application that the peer has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.inbox.len() > 64 || self.inbox_bytes > 256 * 1024
    }
}
