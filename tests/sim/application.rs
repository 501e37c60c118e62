//! What the application answers, and what it says by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use smartsocket_core::hub::{AckTicket, ConnId, Identity, Publication, Step, Target, Turn};
use smartsocket_core::{CloseCode, Json, Message, Tick};

use super::model::{Asked, Said};
use super::world::{HANDLER, MAX_MEMBERS, NAMESPACES, ROOMS, USERS, World};

impl World {
    pub fn turn(&mut self, turn: Turn) {
        let id = turn.id();
        self.note(7);
        let interest = self.config.routes[turn.route()].interest;
        assert!(interest.has(turn.interest()), "{turn:?} is nobody's");
        let member = self.model.members.get_mut(&id).expect("a connection");
        assert!(!member.told_closed, "{turn:?} after the end");
        if let Step::Closed(gone) = &turn.step {
            member.told_closed = true;
            assert!(self.hub.client(id).is_none(), "{id:?} is gone and there");
            if member.somebody || member.client.is_some() {
                let user = gone.user.as_ref().map(|user| user.as_str());
                assert_eq!(user, member.user.as_deref(), "{id:?}");
            }
            self.open_turns.remove(&id);
            return;
        }
        if !matches!(turn.step, Step::Outbound { .. }) {
            let until = self.open_turns.insert(id, self.now + HANDLER);
            assert!(
                until.is_none_or(|until| until <= self.now),
                "{turn:?} while another is open"
            );
        } else {
            assert!(member.transformed, "{turn:?} is not marked");
        }
        if let Step::Join(rooms) = &turn.step {
            for room in rooms {
                assert!(
                    member.asked_in.contains(room.as_str()),
                    "{room} was not asked for"
                );
            }
        }
        if self.chance.percent(self.weather.prompt) {
            self.decide(turn, self.now);
        } else if !self.chance.percent(self.weather.never) {
            self.turns.push((turn, self.now));
        }
    }

    pub fn decide_some(&mut self) {
        if !self.turns.is_empty() {
            let at = self.chance.below(self.turns.len());
            let (turn, told) = self.turns.swap_remove(at);
            self.decide(turn, told);
        } else if !self.tickets.is_empty() {
            let at = self.chance.below(self.tickets.len());
            let (id, number, ticket) = self.tickets.swap_remove(at);
            self.acknowledge(id, number, ticket);
        }
    }

    pub fn acknowledge(&mut self, id: ConnId, number: u64, ticket: AckTicket) {
        if self.hub.client(id).is_some()
            && let Some(member) = self.model.members.get_mut(&id)
        {
            member.owed_by_app.insert(number);
        }
        self.hub.acknowledge(self.now, ticket, &Json::EMPTY);
    }

    /// Answers a turn that was told at this time.
    pub fn decide(&mut self, mut turn: Turn, told: Tick) {
        let id = turn.id();
        let fresh = told + HANDLER > self.now;
        if fresh && !matches!(turn.step, Step::Outbound { .. }) {
            self.open_turns.remove(&id);
        }
        if let Step::Event(event) = &mut turn.step
            && let Some(ticket) = event.ack.take()
        {
            let number = event.data.as_ref().and_then(|data| {
                let word = data.as_str().split(".").nth(1)?;
                word.split('"').next()?.parse().ok()
            });
            match (number, self.chance.below(3)) {
                (Some(number), 0) => self.acknowledge(id, number, ticket),
                (Some(number), 1) => self.tickets.push((id, number, ticket)),
                _ => event.ack = Some(ticket),
            }
        }
        let credentials = matches!(turn.step, Step::Authenticate(_) | Step::Connect(_));
        let verdict = self.chance.below(10);
        let decision = match (&turn.step, verdict) {
            (_, 0) => turn.cancel(None),
            (_, 1) => turn.cancel(Some("no")),
            (_, 2) => turn.fail(),
            (Step::Authenticate(_) | Step::Connect(_), 3..7) => {
                let user = *self.chance.of(&USERS);
                let member = self.model.members.get_mut(&id).expect("a connection");
                if fresh {
                    member.proven = true;
                    if !member.dropped && !self.hub.is_empty() {
                        member.is_now(Some(user));
                    }
                }
                turn.authenticate(Identity {
                    user: Some(user.into()),
                    metadata: None,
                })
            }
            (Step::Join(rooms), 3) => {
                let allowed: Vec<_> = rooms.iter().take(1).cloned().collect();
                turn.rooms(&allowed)
            }
            _ => {
                if matches!(turn.step, Step::Authenticate(_)) && fresh {
                    let member = self.model.members.get_mut(&id).expect("a connection");
                    member.proven = true;
                    member.is_now(None);
                }
                turn.allow()
            }
        };
        self.note(u64::from(credentials) + 10);
        self.hub.decide(self.now, decision);
    }

    pub fn command(&mut self) {
        // Other inputs may have come since the last drain.
        self.look();
        let now = self.now;
        let id = self.pick().or_else(|| self.gone.last().copied());
        let room = *self.chance.of(&ROOMS);
        let Some(id) = id else {
            return;
        };
        let namespace = self.model.members[&id].namespace.clone();
        match self.chance.below(20) {
            0..9 => self.publish(id),
            9 | 10 => self.ask(id),
            11 | 12 => {
                let joined = self.hub.join(now, id, room).is_ok();
                let member = self.model.members.get_mut(&id).expect("a connection");
                if joined {
                    assert!(!member.is_in(room) && member.proven, "{id:?} joined {room}");
                    member.enter(self.step, room);
                    let rooms = member.now_in().len();
                    assert!(rooms <= self.config.max_rooms_per_client);
                }
            }
            13 => {
                let left = self.hub.leave(now, id, room);
                let member = self.model.members.get_mut(&id).expect("a connection");
                member.exit(self.step, room);
                let _ = left;
            }
            14 => {
                self.hub.remove_room(now, &namespace, room);
                for member in self.model.members.values_mut() {
                    if member.namespace == namespace {
                        member.exit(self.step, room);
                    }
                }
                assert!(self.hub.room(&namespace, room).is_none());
            }
            15 => {
                let full = Some(MAX_MEMBERS);
                if let Ok(room) = self.hub.create_room(now, &namespace, "made", None, full) {
                    for id in self.peers.keys().copied().collect::<Vec<_>>() {
                        let joins = self.chance.percent(30);
                        if joins && self.hub.join(now, id, &room).is_ok() {
                            let member = self.model.members.get_mut(&id).expect("a connection");
                            if member.namespace == namespace {
                                member.enter(self.step, &room);
                                let made = self.hub.room(&namespace, &room).expect("just made");
                                assert!(made.connections_count <= MAX_MEMBERS);
                            } else {
                                member.enter(self.step, &room);
                            }
                        }
                    }
                }
            }
            16 if self.hub.client(id).is_some() => {
                let user = self.chance.percent(80).then(|| *self.chance.of(&USERS));
                self.hub.set_user(now, id, user.map(Into::into));
                let member = self.model.members.get_mut(&id).expect("a connection");
                member.is_now(user);
            }
            17 if self.chance.percent(20) => {
                self.hub.transform(id);
                let member = self.model.members.get_mut(&id).expect("a connection");
                member.transformed = true;
            }
            18 if self.chance.percent(30) => {
                if let Some(client) = self.model.members[&id].client {
                    self.hub
                        .disconnect(now, client, CloseCode::NORMAL, "enough");
                }
            }
            _ => {
                if let Some(client) = self.hub.client(id).map(|client| client.id()) {
                    let number = self.number(BTreeSet::from([id]), None, true);
                    let text = format!("{{\"event\":\"raw\",\"data\":{{\"n\":{number}}}}}");
                    self.hub.send(now, client, Message::text(text));
                }
            }
        }
    }

    pub fn number(&mut self, to: BTreeSet<ConnId>, kept_for: Option<String>, direct: bool) -> u64 {
        self.next_number += 1;
        let said = Said {
            to,
            kept_for,
            direct,
            delivered: 0,
        };
        self.model.said.insert(self.next_number, said);
        self.next_number
    }

    pub fn publish(&mut self, id: ConnId) {
        let member = &self.model.members[&id];
        let namespace = *self.chance.of(&NAMESPACES);
        let room = *self.chance.of(&ROOMS);
        let user = *self.chance.of(&USERS);
        let client = member.client;
        let target = match self.chance.below(6) {
            0 => Target::All,
            1 => Target::Namespace(namespace.into()),
            2 | 3 => Target::Room {
                namespace: namespace.into(),
                room: room.into(),
            },
            4 => Target::User(user.into()),
            _ => match client {
                Some(client) => Target::Client(client),
                None => Target::All,
            },
        };
        let except = match client {
            Some(client) if self.chance.percent(20) => vec![client],
            _ => Vec::new(),
        };
        let to: BTreeSet<ConnId> = self
            .model
            .members
            .iter()
            .filter(|(_, member)| member.somebody)
            .filter(|(_, member)| match &target {
                Target::All => true,
                Target::Namespace(name) => member.namespace == name.as_str(),
                Target::Room { namespace, room } => {
                    member.namespace == namespace.as_str() && member.is_in(room)
                }
                Target::User(user) => member.user.as_deref() == Some(user.as_str()),
                Target::Client(client) => member.client == Some(*client),
            })
            .filter(|(_, member)| !member.client.is_some_and(|client| except.contains(&client)))
            .map(|(id, _)| *id)
            .collect();
        let expected = to.len();
        let mut there = self.model.members.values().filter(|member| member.somebody);
        let kept = match &target {
            Target::User(user) if !there.any(|m| m.user.as_deref() == Some(user.as_str())) => {
                Some(user.as_str().into())
            }
            Target::All
            | Target::Namespace(_)
            | Target::Room { .. }
            | Target::User(_)
            | Target::Client(_) => None,
        };
        let number = self.number(to, kept, false);
        let pad = match self.chance.below(20) {
            0 => 70_000,
            1..4 => 900,
            _ => 0,
        };
        let data = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(pad));
        let data = Json::parse(data).expect("JSON");
        let name = *self.chance.of(&["a", "b"]);
        let publication = Publication {
            except,
            ..Publication::new(target, name, Some(data))
        };
        let reached = self.hub.publish(self.now, publication.clone());
        assert_eq!(
            reached, expected,
            "{publication:?} in {:?}",
            self.model.members
        );
    }

    pub fn ask(&mut self, id: ConnId) {
        self.settle();
        let Some(client) = self.hub.client(id).map(|client| client.id()) else {
            return;
        };
        let number = self.number(BTreeSet::from([id]), None, true);
        let data = Json::parse(format!("{{\"n\":{number}}}")).expect("JSON");
        let timeout = Duration::from_millis(*self.chance.of(&[0, 100, 5_000, 60_000]));
        let asked = self
            .hub
            .emit_with_ack(self.now, client, "ask", Some(&data), timeout);
        if let Ok(token) = asked {
            let deadline = self.now + timeout;
            let asked = Asked {
                id,
                deadline,
                number,
            };
            assert!(self.model.acks.insert(token, asked).is_none());
            let owed = self.model.acks.values().filter(|asked| asked.id == id);
            assert!(owed.count() <= self.config.max_acks_per_client);
        }
    }
}
