//! What comes in: counted, understood, held against the session's state.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use core::time::Duration;

use crate::broker::Effect;
use crate::code::CloseCode;
use crate::dialect::{Dialect, Failure, Incoming, IncomingEvent, Outgoing};
use crate::limit::RateLimit;
use crate::message::{Message, Utf8Bytes};
use crate::stats::DropCause;
use crate::websocket::Violation;

use super::config::Auth;
use super::conn::State;
use super::ids::ConnId;
use super::opening::is_among;
use super::output::{AckTicket, Answer, Identity, Incoming as IncomingStep, Step};
use super::publish::Audience;
use super::{Hub, SUBJECTS, Subject};

/// Bytes a peer may send before it is authenticated.
const EARLY: usize = 16 * 1024;

impl Hub {
    /// A message came.
    pub(super) fn message(&mut self, id: ConnId, message: Message) {
        let now = self.clock;
        let len = message.len();
        self.counters.received(now, len);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        conn.heard = now;
        let dialect = &self.routes[usize::from(route)].route.dialect;
        if conn.secret.is_none() && dialect.is_echo(&mut conn.memory, &message) {
            return;
        }
        if !conn.is_somebody() {
            conn.early += len;
            if conn.early > EARLY {
                return self.shut(id, CloseCode::POLICY, "too much before authentication");
            }
        }
        let limited = self.limited(id, len);
        // Records are numbered: even one too many is opened.
        let Some(message) = self.open(id, message) else {
            return;
        };
        let max = self.routes[usize::from(route)].route.websocket.max_message;
        if message.len() > max {
            let why = Violation::MessageTooBig { max };
            return self.shut(id, why.code(), &why.to_string());
        }
        if let Some(retry) = limited {
            return self.too_fast(id, None, retry);
        }
        let dialect = &self.routes[usize::from(route)].route.dialect;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let incoming = dialect.decode(&mut conn.memory, message);
        let outbox = &self.routes[usize::from(route)].route.outbox;
        let busy = conn.is_busy() || conn.owes_reading(outbox);
        let somebody = conn.is_somebody();
        if matches!(incoming, Incoming::Nothing | Incoming::Heartbeat) {
            return;
        }
        if let Incoming::Ack { id: key, data } = incoming {
            if somebody && !self.answer(id, key.0, Answer::Data(data)) {
                self.fail(id, Failure::UnknownAck);
            }
        } else if busy && !self.is_instant(id, &incoming) {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.inbox_bytes += len;
                conn.inbox.push_back((len, incoming));
            }
        } else {
            self.act(id, incoming);
        }
    }

    /// Whether a message is dealt with although others wait: the application
    /// has nothing to say about it.
    pub(super) fn is_instant(&self, id: ConnId, incoming: &Incoming) -> bool {
        match incoming {
            Incoming::Ping => !self.is_wanted(id, &Step::Ping),
            Incoming::Pong { .. } => {
                !self.is_wanted(id, &Step::Pong { raw: None })
                    && !self.is_wanted(id, &Step::MessageAck(Utf8Bytes::default()))
            }
            Incoming::Nothing
            | Incoming::Heartbeat
            | Incoming::Connect { .. }
            | Incoming::Authenticate(_)
            | Incoming::Event(_)
            | Incoming::Binary(_)
            | Incoming::Ack { .. }
            | Incoming::Join(_)
            | Incoming::Leave(_)
            | Incoming::ToRoom { .. }
            | Incoming::Direct { .. }
            | Incoming::Broker(..)
            | Incoming::Invalid(_) => false,
        }
    }

    /// Holds a message against the state of its session.
    pub(super) fn act(&mut self, id: ConnId, incoming: Incoming) {
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
                namespace,
                binary,
                hello: Some(hello),
                ..
            } => self.agree(id, namespace.as_ref(), binary, &hello),
            Incoming::Connect {
                namespace, binary, ..
            } => {
                conn.binary = binary;
                self.reconnect(id, namespace);
            }
            Incoming::Authenticate(_) => self.fail(id, Failure::AlreadyAuthenticated),
            Incoming::Event(event) => {
                if let Some(retry) = self.event_limited(id, route, &event.name) {
                    return self.too_fast(id, Some(event.name), retry);
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
                    self.counters.round_trip(trip);
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
                self.counters.dropped(DropCause::Invalid, 1);
                self.fail(id, failure);
            }
        }
    }

    /// A message of somebody who has yet to say who it is.
    pub(super) fn act_unknown(&mut self, id: ConnId, incoming: Incoming) {
        let now = self.clock;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        let route = &self.routes[usize::from(route)].route;
        let required = route.encryption.as_ref().is_some_and(|it| it.required)
            && matches!(route.dialect, Dialect::SmartSocket(_));
        match (incoming, &route.auth) {
            (
                Incoming::Connect {
                    hello: Some(hello),
                    namespace,
                    binary,
                    ..
                },
                _,
            ) => self.agree(id, namespace.as_ref(), binary, &hello),
            // There is no way around it.
            _ if required && !conn.session().is_some_and(|it| it.is_ready()) => {
                self.rejected(id, Failure::AuthenticationFailed);
            }
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
                    hello: None,
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
                self.counters.dropped(DropCause::Invalid, 1);
                self.fail(id, failure);
            }
            _ => self.fail(id, Failure::NotAuthenticated),
        }
    }

    pub(super) fn too_fast(&mut self, id: ConnId, event: Option<Utf8Bytes>, retry: Duration) {
        self.counters.dropped(
            match event {
                Some(_) => DropCause::EventRateLimited,
                None => DropCause::RateLimited,
            },
            1,
        );
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        // Who does not listen is told once, not once a message.
        let route = &self.routes[usize::from(conn.route.unwrap_or_default())].route;
        let tells = match &event {
            Some(event) => conn.limits.events.tells(&route.event_rates, event),
            None => !core::mem::replace(&mut conn.flags.warned, true),
        };
        if !tells {
            return;
        }
        let busy = conn.turn.is_some();
        let step = Step::RateLimited {
            event,
            retry_after: retry.as_micros().div_ceil(1_000) as u64,
        };
        if !busy {
            self.propose(id, step);
        } else if !self.is_wanted(id, &step) {
            self.perform(id, step);
        } else if let Some(conn) = self.conns.get_mut(id) {
            conn.notice.get_or_insert_with(|| Box::new(step));
        }
    }

    /// How many messages of a peer are worth inflating now: beyond its limit,
    /// none.
    pub(super) fn quota(&self, id: ConnId) -> u32 {
        let conn = self.conns.get(id);
        let limited = conn.filter(|conn| conn.secret.is_none()).and_then(|conn| {
            let route = &self.routes[usize::from(conn.route?)].route;
            let limit = route.rate.as_ref()?;
            Some(conn.limits.messages.remaining(limit, self.clock))
        });
        limited.unwrap_or(u32::MAX)
    }

    /// So many messages came beyond the limit, and were not inflated.
    pub(super) fn skipped(&mut self, id: ConnId, messages: usize, bytes: usize) {
        let now = self.clock;
        for n in 0..messages {
            self.counters.received(now, if n == 0 { bytes } else { 0 });
        }
        self.counters
            .dropped(DropCause::RateLimited, messages.saturating_sub(1));
        // Asked again for when the next may come; it may be at once, if time
        // has passed since.
        let retry = self.limited(id, 0).unwrap_or_default();
        self.too_fast(id, None, retry);
    }

    /// Whether a message is one too many, and when the next is not.
    pub(super) fn limited(&mut self, id: ConnId, len: usize) -> Option<Duration> {
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
            (conn.user.clone().map(Subject::User), route.user_rate),
            (conn.address.map(Subject::Address), route.address_rate),
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

    /// Whether a subject may send, by a limit over its connections.
    fn subject_limited(&mut self, subject: Subject, limit: &RateLimit) -> Option<Duration> {
        let now = self.clock;
        if self.subjects.len() >= self.sweep_at && !self.subjects.contains_key(&subject) {
            // Those that have rested are forgotten: a walk for as many new.
            let window = limit.window;
            self.subjects
                .retain(|_, state| state.asked + window + window > now);
            self.sweep_at = (2 * self.subjects.len()).max(SUBJECTS);
        }
        let state = self.subjects.entry(subject).or_default();
        state.asked = now;
        state.limiter.check(limit, now, 1).err()
    }

    pub(super) fn event_limited(
        &mut self,
        id: ConnId,
        route: u16,
        name: &Utf8Bytes,
    ) -> Option<Duration> {
        let now = self.clock;
        let limits = &self.routes[usize::from(route)].route.event_rates;
        let limiters = &mut self.conns.get_mut(id)?.limits.events;
        limiters.check(limits, now, name).err()
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
