//! One session from the moment somebody is there to the moment nobody is.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::crypt::ServerHello;
use crate::dialect::{Answered, Dialect, Failure, Outgoing};
use crate::message::Utf8Bytes;
use crate::stats::{CloseCause, DropCause};
use crate::time::Tick;
use crate::websocket::Closed;

use super::Hub;
use super::config::{Auth, Heartbeat, Interest, codes};
use super::conn::State;
use super::ids::{ConnId, UserId};
use super::output::{Answer, Event, Gone, Identity, Output, Step, Turn};
use super::secrecy::Secret;
use super::table::{Members, Plain};

impl Hub {
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
    pub(super) fn rejected(&mut self, id: ConnId, failure: Failure) {
        self.fail(id, failure);
        self.shut(id, codes::auth_failed(), "Authentication failed");
    }

    pub(super) fn greet(&mut self, id: ConnId, encryption: Option<&ServerHello>) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let client = alloc::format!("{}", conn.client);
        let alias = conn.profile.alias.clone();
        let user = conn.user.clone();
        let exchanged = match conn.secret.as_deref() {
            Some(Secret::Exchanged {
                public_key, salt, ..
            }) => Some((public_key.clone(), salt.clone())),
            Some(Secret::Session { .. }) | None => None,
        };
        let exchanged = exchanged.as_ref();
        let encryption = encryption.map(Answered::Hello).or_else(|| {
            exchanged.map(|(public_key, salt)| Answered::Exchange { public_key, salt })
        });
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
                encryption,
            },
        );
    }

    /// Greeted, or not in need of it.
    pub(super) fn welcomed(&mut self, id: ConnId) {
        if self.dialect(id).is_some_and(Dialect::pings_at_once) {
            self.ping(id);
        }
        self.deliver_offline(id);
        self.propose(id, Step::Opened);
    }

    /// SmartSocket's CONNECT: perhaps another namespace.
    pub(super) fn reconnect(&mut self, id: ConnId, namespace: Option<Utf8Bytes>) {
        match namespace {
            Some(name) if !self.relocate(id, &name, false) => {
                self.fail(id, Failure::UnknownNamespace)
            }
            Some(_) | None => self.greet(id, None),
        }
    }

    /// Moves a client to another SmartSocket namespace; whether it may be there,
    /// saying `hello` to begin a session.
    pub(super) fn relocate(&mut self, id: ConnId, name: &str, hello: bool) -> bool {
        if let Some(conn) = self.conns.get(id) {
            let (somebody, encrypted) = (conn.is_somebody(), conn.secret.is_some());
            let old = conn.namespace;
            let at = self.routes.iter().position(|other| {
                other.route.namespace == name
                    && matches!(other.route.dialect, Dialect::SmartSocket(_))
            });
            // Another namespace may have other rules for who comes in, and
            // other keys: a session is for one.
            let Some(at) = at.filter(|&at| {
                let route = &self.routes[at].route;
                self.routes[at].namespace == old
                    || (route.auth == Auth::None
                        && !route.interest.has(Interest::CONNECT)
                        && !encrypted
                        && (hello || !route.encryption.as_ref().is_some_and(|it| it.required)))
            }) else {
                return false;
            };
            let new = self.routes[at].namespace;
            if new != old {
                if somebody {
                    self.leave_all(id);
                    self.rooms.exit(old, id);
                    self.rooms.enter(new, id);
                }
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.namespace = new;
                    conn.route = Some(at as u16);
                }
            }
        }
        true
    }

    pub(super) fn ping(&mut self, id: ConnId) {
        let now = self.clock;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.pinged = Some(now);
            self.say(id, Outgoing::Ping);
        }
    }

    pub(super) fn note_user(&mut self, id: ConnId, user: UserId) {
        let now = self.clock;
        self.users
            .entry(user.clone())
            .or_insert_with(|| Members::with_hasher(Plain))
            .insert(id);
        if let Some(offline) = &mut self.offline {
            let losses = offline.know(now, user.text());
            self.counters.lost(losses);
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
            ids.swap_remove(&id);
            if ids.is_empty() {
                self.users.remove(&user);
            }
        }
    }

    /// What came for a user while it was away.
    pub(super) fn deliver_offline(&mut self, id: ConnId) {
        let now = self.clock;
        let (Some(offline), Some(user)) = (
            &mut self.offline,
            self.conns.get(id).and_then(|conn| conn.user.clone()),
        ) else {
            return;
        };
        let (waiting, losses) = offline.take(now, user.text());
        self.counters.lost(losses);
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
        if let Some(changing) = &mut conn.changing
            && changing.turn.as_ref().is_some_and(|turn| turn.until <= now)
        {
            // What nobody has seen to the end does not go out.
            changing.turn = None;
            self.counters.dropped(DropCause::HandlerFailed, 1);
            self.change_next(id);
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
            Heartbeat::Ping {
                interval,
                timeout,
                only_silent,
            } => {
                let silent = now.since(conn.heard);
                if only_silent && silent < interval {
                    conn.heartbeat = conn.heard + interval;
                    return;
                }
                conn.heartbeat = now + interval;
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

    /// The connection is over: nobody speaks to it any more.
    pub(super) fn closed(&mut self, id: ConnId, closed: Box<Closed>) {
        let now = self.clock;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let opened = !matches!(conn.state, State::Handshake);
        let lasted = now.since(conn.opened);
        let was_somebody = conn.is_somebody();
        let namespace = conn.namespace;
        conn.auth_deadline = Tick::MAX;
        conn.heartbeat = Tick::MAX;
        let unsent = conn.outbox.take().map_or(0, |waiting| waiting.len());
        let unseen = conn.changing.take().map_or(0, |changing| {
            usize::from(changing.turn.is_some()) + changing.queue.len()
        });
        let lost = core::mem::take(&mut conn.inbox).len();
        conn.inbox_bytes = 0;
        let client = conn.client;
        if let (Some(Secret::Session { group: Some(_), .. }), Some(route)) =
            (conn.secret.as_deref(), conn.route)
            && let Some(circle) = &mut self.groups[usize::from(route)]
        {
            circle.left = true;
        }
        // Kept: the last turn tells it.
        let alias = conn.profile.alias.clone();
        let user = conn.user.clone();
        self.counters
            .dropped(DropCause::Closed, lost + unseen + unsent);
        if opened && let Some(cause) = CloseCause::of(&closed.cause) {
            self.counters.closed(cause, lasted);
        }
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
        let owed: Vec<u64> = self
            .acks
            .range((id, 0)..=(id, u64::MAX))
            .map(|(&(_, key), _)| key)
            .collect();
        for key in owed {
            self.answer(id, key, Answer::Closed);
        }
        self.tell_of_room(id);
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
    pub(super) fn wind_up(&mut self, id: ConnId) {
        self.touch(id);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(closed) = conn.closed.take() else {
            return;
        };
        let user = conn.user.take();
        let alias = conn.profile.alias.take();
        let path = core::mem::take(&mut conn.profile.path);
        let (client, route) = (conn.client, conn.route.unwrap_or_default());
        let step = Step::Closed(Box::new(Gone {
            user,
            alias,
            path,
            closed,
        }));
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
}
