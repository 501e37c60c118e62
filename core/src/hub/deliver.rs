//! What goes out: to one client, to many, to those who are away.

use alloc::vec::Vec;
use core::time::Duration;
use core::{fmt, mem};

use crate::code::CloseCode;
use crate::dialect::{AckKey, Outgoing};
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::stats::DropCause;
use crate::time::Tick;

use super::config::Interest;
use super::config::Overflow;
use super::conn::{State, Turning};
use super::ids::{ClientId, ConnId, UserId};
use super::outbox::{Keep, Parcel};
use super::output::{AckTicket, AckToken, Event, Output, Step, Turn};
use super::publish::{Audience, Publication, Saying, Target};
use super::rooms::JoinError;
use super::secrecy::{self, Secret};
use super::{Hub, WIRE};

/// Why a message did not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// The client is not there.
    Gone,
    /// It owes [`HubConfig::max_acks_per_client`](super::HubConfig::max_acks_per_client)
    /// answers already.
    TooMany,
    /// Its dialect knows no answers.
    NoAcks,
    /// Too much waits for the client already; see [`Hub::try_emit`].
    Full,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the client is not connected",
            Self::TooMany => "the client owes too many answers",
            Self::NoAcks => "the client's dialect knows no acknowledgements",
            Self::Full => "too much waits for the client already",
        })
    }
}

impl core::error::Error for EmitError {}

/// How a message fares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class<'a> {
    /// An answer to the peer.
    Certain,
    /// An event, by its name.
    Event(&'a str),
    /// Something there is room for.
    Paced,
}

impl Hub {
    // Commands

    /// Sends an event to one client.
    pub fn emit(
        &mut self,
        now: Tick,
        client: ClientId,
        event: impl Into<Utf8Bytes>,
        data: Option<Json>,
    ) {
        self.publish(now, Publication::new(Target::Client(client), event, data));
    }

    /// Sends an event to whom it is for, here and, with
    /// [`HubConfig::cluster`](super::HubConfig::cluster), elsewhere. Gives how
    /// many clients here it was for.
    pub fn publish(&mut self, now: Tick, publication: Publication) -> usize {
        let reached = self.apply(now, &publication);
        if self.config.cluster {
            self.queue.push_back(Output::Cluster(publication));
        }
        reached
    }

    /// Another hub published this: delivers it here.
    pub fn handle_cluster(&mut self, now: Tick, publication: &Publication) -> usize {
        self.apply(now, publication)
    }

    /// Sends an event that asks for an answer within `timeout`;
    /// [`Event::Answered`] tells what came of it.
    ///
    /// # Errors
    ///
    /// It did not go out, and nothing will be told.
    pub fn emit_with_ack(
        &mut self,
        now: Tick,
        client: ClientId,
        event: &str,
        data: Option<&Json>,
        timeout: Duration,
    ) -> Result<AckToken, EmitError> {
        let now = self.tick(now);
        let id = *self.clients.get(&client).ok_or(EmitError::Gone)?;
        let max = self.config.max_acks_per_client;
        let conn = self
            .conns
            .get_mut(id)
            .filter(|conn| conn.is_somebody())
            .ok_or(EmitError::Gone)?;
        let route = conn.route.ok_or(EmitError::Gone)?;
        if !self.routes[usize::from(route)].route.dialect.has_acks() {
            return Err(EmitError::NoAcks);
        }
        if conn.owed as usize >= max {
            return Err(EmitError::TooMany);
        }
        conn.owed += 1;
        self.ack_key += 1;
        let key = self.ack_key;
        let deadline = now + timeout;
        self.acks.insert((id, key), deadline);
        self.ack_deadlines.insert((deadline, id, key));
        self.say(
            id,
            Outgoing::Event {
                name: event,
                data,
                ack: Some(AckKey(key)),
            },
        );
        Ok(AckToken(key))
    }

    /// Answers a client's message. Harmless when the client is gone.
    pub fn acknowledge(&mut self, now: Tick, ticket: AckTicket, data: &Json) {
        self.tick(now);
        self.say(
            ticket.id,
            Outgoing::Ack {
                id: &ticket.ack,
                data,
            },
        );
    }

    /// Sends a message as it is to one client, whatever its dialect.
    pub fn send(&mut self, now: Tick, client: ClientId, message: impl Into<Message>) {
        self.tick(now);
        if let Some(&id) = self.clients.get(&client) {
            self.say(id, Outgoing::Raw(&message.into()));
        }
    }

    /// Sends a message as it is to the members of a room. Gives how many.
    pub fn send_room(
        &mut self,
        now: Tick,
        namespace: &str,
        room: &str,
        message: impl Into<Message>,
    ) -> usize {
        self.tick(now);
        let Some(audience) = self.room_audience(namespace, room) else {
            return 0;
        };
        self.say_all(&audience, &[], Outgoing::Raw(&message.into()), "")
    }

    /// Sends a message of the application's to a room (RN-03). Whether the
    /// room exists.
    pub fn send_room_message(
        &mut self,
        now: Tick,
        namespace: &str,
        room: &str,
        message: &str,
    ) -> bool {
        self.tick(now);
        let Some(audience) = self.room_audience(namespace, room) else {
            return false;
        };
        let what = Outgoing::RoomMessage {
            room,
            text: message,
            from: None,
        };
        self.say_all(&audience, &[], what, "room_message");
        true
    }

    /// Closes a client's connection: what is queued goes first.
    pub fn disconnect(&mut self, now: Tick, client: ClientId, code: CloseCode, reason: &str) {
        self.tick(now);
        if let Some(&id) = self.clients.get(&client) {
            self.shut(id, code, reason);
        }
    }

    /// Puts a client into a room of its namespace, which is made if need be.
    ///
    /// # Errors
    ///
    /// It is not in the room by this; see [`JoinError`].
    pub fn join(&mut self, now: Tick, id: ConnId, room: &str) -> Result<(), JoinError> {
        self.tick(now);
        self.join_room(id, &Utf8Bytes::from(room), false)?;
        self.say(id, Outgoing::RoomJoined { room });
        Ok(())
    }

    /// Takes a client out of a room. Whether it was in.
    pub fn leave(&mut self, now: Tick, id: ConnId, room: &str) -> bool {
        self.tick(now);
        let left = self.leave_room(id, &Utf8Bytes::from(room));
        if left {
            self.say(id, Outgoing::RoomLeft { room });
        }
        left
    }

    /// Makes a room, which stays while it is empty for
    /// [`HubConfig::empty_room_timeout`](super::HubConfig::empty_room_timeout).
    /// Gives its id, `room_` and 32 hexadecimal digits (RN-02).
    ///
    /// # Errors
    ///
    /// [`JoinError::TooMany`]: there are as many rooms as there may be.
    pub fn create_room(
        &mut self,
        now: Tick,
        namespace: &str,
        name: &str,
        description: Option<&str>,
        max_connections: Option<usize>,
    ) -> Result<Utf8Bytes, JoinError> {
        let now = self.tick(now);
        let random: [u8; 16] = self.shared.entropy.bytes();
        let id = Utf8Bytes::from(alloc::format!("room_{:032x}", u128::from_be_bytes(random)));
        let namespace = self.rooms.add_namespace(namespace);
        let created = self.unix_ms();
        let max_rooms = self.config.max_rooms;
        let key = self
            .rooms
            .create(now, namespace, id.clone(), created, true, max_rooms)?;
        if let Some(room) = self.rooms.get_mut(key) {
            room.name = name.into();
            room.description = description.map(Utf8Bytes::from);
            room.max_connections = max_connections;
        }
        Ok(id)
    }

    /// Removes a room and, from it, its members. Whether there was one.
    pub fn remove_room(&mut self, now: Tick, namespace: &str, room: &str) -> bool {
        self.tick(now);
        let Some(key) = self
            .rooms
            .namespace(namespace)
            .and_then(|namespace| self.rooms.find(namespace, &Utf8Bytes::from(room)))
        else {
            return false;
        };
        let Some(removed) = self.rooms.remove(key) else {
            return false;
        };
        for id in removed.members {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.rooms.retain(|&other| other != key);
            }
            self.say(id, Outgoing::RoomLeft { room });
        }
        true
    }

    /// Remembers who a client is. Without a user, it is nobody's again.
    pub fn set_user(&mut self, now: Tick, id: ConnId, user: Option<UserId>) {
        self.tick(now);
        self.forget_user(id);
        if let Some(user) = user {
            self.note_user(id, user);
        }
    }

    /// Lets messages to a client pass the application from now on, for good
    /// ([`Step::Outbound`]; IG-35, IG-75).
    pub fn transform(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.changing.get_or_insert_default();
        }
    }

    // Helpers

    fn apply(&mut self, now: Tick, publication: &Publication) -> usize {
        let now = self.tick(now);
        let audience = self.audience(&publication.target);
        let except: Vec<_> = publication
            .except
            .iter()
            .filter_map(|client| self.clients.get(client).copied())
            .collect();
        let what = Outgoing::Event {
            name: &publication.event,
            data: publication.data.as_ref(),
            ack: None,
        };
        let reached = self.say_all(&audience, &except, what, &publication.event);
        if reached == 0
            && let (Target::User(user), Some(offline)) = (&publication.target, &mut self.offline)
            && !self.users.contains_key(user)
        {
            let bytes = publication.event.len()
                + publication
                    .data
                    .as_ref()
                    .map_or(0, |data| data.as_str().len());
            // Nobody of this name was ever here: it is not kept.
            if let Ok(losses) = offline.push(now, user.text(), bytes, publication.clone()) {
                self.counters.lost(losses);
            }
        }
        reached
    }

    fn audience(&self, target: &Target) -> Audience {
        match target {
            Target::All => Audience::All,
            Target::Namespace(name) => self
                .rooms
                .namespace(name)
                .map_or(Audience::Nobody, Audience::Namespace),
            Target::Room { namespace, room } => self
                .room_audience(namespace, room)
                .unwrap_or(Audience::Nobody),
            Target::User(user) => self.users.get(user).map_or(Audience::Nobody, |ids| {
                Audience::Some(ids.iter().copied().collect())
            }),
            Target::Client(client) => self
                .clients
                .get(client)
                .map_or(Audience::Nobody, |&id| Audience::One(id)),
        }
    }

    fn room_audience(&self, namespace: &str, room: &str) -> Option<Audience> {
        let namespace = self.rooms.namespace(namespace)?;
        let key = self.rooms.find(namespace, &Utf8Bytes::from(room))?;
        Some(Audience::Room(key))
    }

    /// Shows the application the next event on its way to a client.
    pub(super) fn change_next(&mut self, id: ConnId) {
        let until = self.clock + self.config.handler_timeout;
        while let Some(conn) = self.conns.get_mut(id) {
            let (client, route) = (conn.client, conn.route.unwrap_or_default());
            let Some(changing) = &mut conn.changing else {
                return;
            };
            if changing.turn.is_some() {
                return;
            }
            let Some((event, data)) = changing.queue.pop_front() else {
                return self.tell_of_room(id);
            };
            let interest = self.routes[usize::from(route)].route.interest;
            if !interest.has(Interest::OUTBOUND) {
                // It is in a namespace now where nobody looks at what goes out.
                self.say_changed(id, &event, data.as_ref());
                continue;
            }
            self.serial = self.serial.wrapping_add(1);
            let serial = self.serial;
            changing.turn = Some(Turning {
                serial,
                until,
                about: Interest::OUTBOUND,
            });
            self.queue.push_back(Output::Event(Event::Turn(Turn {
                id,
                serial,
                route,
                client,
                step: Step::Outbound { event, data },
            })));
            self.touch(id);
        }
    }

    /// Says an event that the application has seen.
    pub(super) fn say_changed(&mut self, id: ConnId, name: &str, data: Option<&Json>) {
        let timestamp = self.timestamp();
        let what = Outgoing::Event {
            name,
            data,
            ack: None,
        };
        let mut saying = Saying::new(what, self.unix_ms(), timestamp.as_str());
        saying.changed = true;
        self.deliver(id, &mut saying, Class::Event(name));
    }

    /// Says something to one client.
    pub(super) fn say(&mut self, id: ConnId, what: Outgoing<'_>) {
        let timestamp = self.timestamp();
        let mut saying = Saying::new(what.clone(), self.unix_ms(), timestamp.as_str());
        let class = match &what {
            Outgoing::Event { name, .. } => Class::Event(name),
            Outgoing::RoomMessage { .. } | Outgoing::Direct { .. } | Outgoing::Raw(_) => {
                Class::Event("")
            }
            Outgoing::Ack { .. }
            | Outgoing::Welcome { .. }
            | Outgoing::Ping
            | Outgoing::Pong { .. }
            | Outgoing::RoomJoined { .. }
            | Outgoing::RoomLeft { .. }
            | Outgoing::MessageAck { .. }
            | Outgoing::Blocked { .. }
            | Outgoing::RateLimited { .. }
            | Outgoing::Error(_)
            | Outgoing::Broker { .. } => Class::Certain,
        };
        self.deliver(id, &mut saying, class);
    }

    /// Says something to many. Gives how many it was for.
    pub(super) fn say_all(
        &mut self,
        audience: &Audience,
        except: &[ConnId],
        what: Outgoing<'_>,
        event: &str,
    ) -> usize {
        let timestamp = self.timestamp();
        let mut saying = Saying::new(what, self.unix_ms(), timestamp.as_str());
        saying.to_many = !matches!(audience, Audience::One(_) | Audience::Some(_));
        let mut reached = 0;
        let mut one = |hub: &mut Self, id: ConnId| {
            if !except.contains(&id) && hub.deliver(id, &mut saying, Class::Event(event)) {
                reached += 1;
            }
        };
        // Delivering ends nobody's membership, so these do not change on the way.
        match audience {
            Audience::Nobody => {}
            Audience::One(id) => one(self, *id),
            Audience::Some(ids) => ids.iter().for_each(|&id| one(self, id)),
            Audience::Namespace(key) => {
                for n in 0..self.rooms.members(*key).len() {
                    let id = self.rooms.members(*key)[n];
                    one(self, id);
                }
            }
            Audience::Room(key) => {
                let len = self.rooms.get(*key).map_or(0, |room| room.members.len());
                for n in 0..len {
                    if let Some(id) = self.rooms.get(*key).map(|room| room.members[n]) {
                        one(self, id);
                    }
                }
            }
            Audience::All => {
                for namespace in 0..self.rooms.namespaces.len() {
                    for n in 0..self.rooms.namespaces[namespace].members.len() {
                        let id = self.rooms.namespaces[namespace].members[n];
                        one(self, id);
                    }
                }
            }
        }
        reached
    }

    /// Puts something on its way to one client. Whether it is one who may be
    /// spoken to.
    pub(super) fn deliver(
        &mut self,
        id: ConnId,
        saying: &mut Saying<'_>,
        class: Class<'_>,
    ) -> bool {
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        let Some(route) = conn.route else {
            return false;
        };
        if matches!(conn.state, State::Handshake | State::Disconnected) {
            return false;
        }
        let event = class != Class::Certain;
        if event && !conn.is_somebody() {
            self.counters.dropped(DropCause::NotOpen, 1);
            return false;
        }
        let state = &self.routes[usize::from(route)];
        if let Some(changing) = &mut conn.changing
            && let (Some((name, data)), false) = (saying.event(), saying.changed)
            && (state.route.interest.has(Interest::OUTBOUND) || changing.is_busy())
        {
            if changing.queue.len() >= state.route.outbox.max_messages {
                self.counters.dropped(DropCause::Outbox, 1);
                return true;
            }
            changing.queue.push_back((name.into(), data.cloned()));
            self.change_next(id);
            return true;
        }
        self.shared.see(&state.websocket);
        let dialect = &self.dialects[usize::from(state.dialect)];
        let echoes = saying.echoes();
        let secret = conn.secret.is_some();
        let shared = secret
            && saying.to_many
            && secrecy::may_share(
                conn,
                &mut self.shared,
                self.clock,
                &mut self.groups[usize::from(route)],
                state.route.encryption.as_ref(),
                saying.is_sealed(route),
            );
        // Ignis's `connected` has the key that opens what follows.
        let sealed = !secret
            || shared
            || saying.is_welcome()
                && matches!(conn.secret.as_deref(), Some(Secret::Exchanged { .. }));
        let messages = match &mut self.groups[usize::from(route)] {
            Some(group) if shared => {
                let seal = |message: &_| group.seal(self.clock, message);
                saying.sealed(route, state.dialect, dialect, conn.binary, seal)
            }
            Some(_) | None => saying.messages(state.dialect, dialect, conn.binary),
        };
        if messages.is_empty() {
            return false;
        }
        let mut refused = 0;
        for (message, packed) in messages {
            let queued = conn
                .outbox
                .as_ref()
                .is_some_and(|waiting| !waiting.is_empty());
            self.counters.sent(1, message.len());
            if !queued && conn.endpoint.buffered() < WIRE && !conn.is_agreeing() {
                let sent = if sealed {
                    let (shared, endpoint) = (&mut self.shared, &mut conn.endpoint);
                    endpoint
                        .send_packed(shared, self.clock, message, packed)
                        .is_ok()
                } else {
                    conn.send_sealed(&mut self.shared, self.clock, message)
                };
                if !sent {
                    self.counters.dropped(DropCause::Closed, 1);
                } else if echoes && !secret {
                    dialect.sent(&mut conn.memory, message);
                }
                continue;
            }
            let parcel = Parcel {
                message: message.clone(),
                key: match class {
                    Class::Event(name) if state.route.outbox.overflow == Overflow::KeepLatest => {
                        Some(name.into())
                    }
                    Class::Event(_) | Class::Certain | Class::Paced => None,
                },
                keep: match class {
                    Class::Certain => Keep::Certain,
                    Class::Event(_) => Keep::ByPolicy,
                    Class::Paced => Keep::Paced,
                },
                echoes,
                sealed,
            };
            let waiting = conn.outbox.get_or_insert_default();
            let stowed = waiting.stow(&state.route.outbox, parcel, &mut self.counters);
            refused += usize::from(!stowed);
        }
        if refused > 0 {
            let now = self.clock;
            let waiting = conn.outbox.take().map_or(0, |waiting| waiting.len());
            self.counters.dropped(DropCause::Outbox, waiting + refused);
            conn.close(&mut self.shared, now, CloseCode::TRY_AGAIN, "too slow");
        }
        if !mem::replace(&mut conn.flags.dirty, true) {
            self.dirty.push_back(id);
        }
        true
    }

    /// Moves what waits onto the wire, until so much is there.
    pub(super) fn feed(&mut self, id: ConnId, room: usize) {
        let now = self.clock;
        let mut lost = 0;
        let Some(route) = self.conns.get(id).and_then(|conn| conn.route) else {
            return;
        };
        self.use_config(Some(route));
        let dialect = &self.routes[usize::from(route)].route.dialect;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.is_agreeing() {
            return;
        }
        let Some(mut waiting) = conn.outbox.take() else {
            return;
        };
        while conn.endpoint.buffered() < room
            && let Some(parcel) = waiting.pop()
        {
            let sent = if parcel.sealed {
                let message = parcel.message.clone();
                let (shared, endpoint) = (&mut self.shared, &mut conn.endpoint);
                endpoint.send(shared, now, message, true).is_ok()
            } else {
                conn.send_sealed(&mut self.shared, now, &parcel.message)
            };
            if !sent {
                lost += 1;
            } else if parcel.echoes && conn.secret.is_none() {
                dialect.sent(&mut conn.memory, &parcel.message);
            }
        }
        if !waiting.is_empty() {
            conn.outbox = Some(waiting);
        }
        self.counters.dropped(DropCause::Closed, lost);
        self.tell_of_room(id);
    }

    /// Whether a step is asked about before it happens.
    pub(super) fn is_wanted(&self, id: ConnId, step: &Step) -> bool {
        let Some(route) = self.conns.get(id).and_then(|conn| conn.route) else {
            return false;
        };
        let route = &self.routes[usize::from(route)].route;
        route.interest.has(step.interest())
            && match (step, &route.events) {
                (Step::Event(event), Some(events)) => {
                    events.contains(&event.name) || event.name.is_empty()
                }
                _ => true,
            }
    }
}
