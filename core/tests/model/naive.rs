//! What a server with rooms is, in the plainest way: maps of who is where, and
//! for everybody a list of what is to be heard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use smartsocket_core::hub::{Answer, ConnId, EmitError, HubConfig, JoinError, Target};
use smartsocket_core::{DropCause, Json};

use super::limit::History;
use super::{Place, routes};

pub(crate) struct Naive {
    config: HubConfig,
    /// In microseconds.
    pub(crate) now: u64,
    pub(crate) peers: BTreeMap<ConnId, Peer>,
    pub(crate) rooms: HashMap<(Place, String), Room>,
    users: HashMap<String, History>,
    /// Until when which answer is owed by whom.
    pub(crate) owed: BTreeMap<u64, (u64, ConnId)>,
    keys: u64,
    pub(crate) answers: Vec<Answer>,
    /// The events the application is told of.
    pub(crate) heard: Vec<(ConnId, String)>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) dropped: HashMap<DropCause, u64>,
}

pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) user: Option<String>,
    /// In the order in which it joined them.
    pub(crate) rooms: Vec<String>,
    /// What it is to hear and has not been held against yet.
    pub(crate) inbox: Vec<Value>,
    messages: History,
    saves: History,
    warned: bool,
    warned_of_event: bool,
}

#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) members: BTreeSet<ConnId>,
    pub(crate) max: Option<usize>,
    /// Made on purpose: since when it is empty, if it is.
    kept: bool,
    empty: Option<u64>,
}

impl Naive {
    pub(crate) fn new(config: HubConfig) -> Self {
        Self {
            config,
            now: 0,
            peers: BTreeMap::new(),
            rooms: HashMap::new(),
            users: HashMap::new(),
            owed: BTreeMap::new(),
            keys: 0,
            answers: Vec::new(),
            heard: Vec::new(),
            received: 0,
            sent: 0,
            dropped: HashMap::new(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.peers.len() >= self.config.max_connections
    }

    pub(crate) fn open(&mut self, id: ConnId, name: &str, place: Place) {
        let peer = Peer {
            name: name.into(),
            place,
            user: None,
            rooms: Vec::new(),
            inbox: Vec::new(),
            messages: History::default(),
            saves: History::default(),
            warned: false,
            warned_of_event: false,
        };
        self.peers.insert(id, peer);
        match place {
            Place::Main | Place::Chat => {}
            Place::Ignis => {
                self.message(id).expect("the first is not too many");
                for room in ["ws-default", "ws-notification"] {
                    let _ = self.join(id, room, false);
                }
                self.tell(id, json!({"event": "connected", "data": {}}));
            }
            Place::RNode => {
                let path = "/rnode";
                self.tell(
                    id,
                    json!({"type": "welcome", "client_id": name, "path": path}),
                );
                self.tell(id, json!({"type": "ping"}));
            }
        }
    }

    pub(crate) fn close(&mut self, id: ConnId) {
        self.take_out_of_all(id);
        self.peers.remove(&id);
        let owed: Vec<_> = self.owed.iter().filter(|(_, owed)| owed.1 == id).collect();
        let keys: Vec<_> = owed.into_iter().map(|(key, _)| *key).collect();
        for key in keys {
            self.owed.remove(&key);
            self.answers.push(Answer::Closed);
        }
    }

    pub(crate) fn pass(&mut self, until: u64) {
        let mut due: Vec<_> = self
            .owed
            .iter()
            .filter(|(_, (deadline, _))| *deadline <= until)
            .map(|(key, (deadline, id))| (*deadline, *id, *key))
            .collect();
        due.sort_unstable();
        for (_, _, key) in due {
            self.owed.remove(&key);
            self.answers.push(Answer::TimedOut);
        }
        let rest = self.config.empty_room_timeout.as_micros() as u64;
        self.rooms
            .retain(|_, room| room.empty.is_none_or(|since| since + rest > until));
        self.now = until;
    }

    // What the application does.

    pub(crate) fn join(
        &mut self,
        id: ConnId,
        room: &str,
        must_exist: bool,
    ) -> Result<(), JoinError> {
        let peer = self.peers.get_mut(&id).ok_or(JoinError::NoClient)?;
        if peer.rooms.len() >= self.config.max_rooms_per_client {
            return Err(JoinError::TooMany);
        }
        let key = (peer.place, room.to_owned());
        if !self.rooms.contains_key(&key) {
            if must_exist {
                return Err(JoinError::NoRoom);
            }
            if room.is_empty() || room.len() > 256 {
                return Err(JoinError::BadName);
            }
            if self.rooms.len() >= self.config.max_rooms {
                return Err(JoinError::TooMany);
            }
            self.rooms.insert(key.clone(), Room::new(None, None));
        }
        let found = self.rooms.get_mut(&key).expect("it is there now");
        if found.members.contains(&id) {
            return Err(JoinError::Member);
        }
        if found.max.is_some_and(|max| found.members.len() >= max) {
            return Err(JoinError::Full);
        }
        found.members.insert(id);
        found.empty = None;
        peer.rooms.push(room.into());
        if peer.place == Place::RNode {
            self.tell(id, json!({"type": "room_joined", "room_id": room}));
        }
        Ok(())
    }

    pub(crate) fn leave(&mut self, id: ConnId, room: &str) -> bool {
        let left = self.take(id, room);
        if left {
            self.tell_left(id, room);
        }
        left
    }

    /// Takes a client out of a room, without a word.
    fn take(&mut self, id: ConnId, room: &str) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else {
            return false;
        };
        let key = (peer.place, room.to_owned());
        peer.rooms.retain(|other| other != room);
        let Some(found) = self.rooms.get_mut(&key) else {
            return false;
        };
        if !found.members.remove(&id) {
            return false;
        }
        if found.members.is_empty() {
            if found.kept {
                found.empty = Some(self.now);
            } else {
                self.rooms.remove(&key);
            }
        }
        true
    }

    fn take_out_of_all(&mut self, id: ConnId) {
        let rooms = self.peers.get(&id).map(|peer| peer.rooms.clone());
        for room in rooms.unwrap_or_default() {
            self.take(id, &room);
        }
    }

    fn tell_left(&mut self, id: ConnId, room: &str) {
        if self.peers[&id].place == Place::RNode {
            self.tell(id, json!({"type": "room_left", "room_id": room}));
        }
    }

    /// Whether there may be one more room.
    pub(crate) fn may_create(&self) -> bool {
        self.rooms.len() < self.config.max_rooms
    }

    pub(crate) fn create(&mut self, place: Place, room: &str, max: Option<usize>) {
        let made = Room::new(max, Some(self.now));
        self.rooms.insert((place, room.into()), made);
    }

    pub(crate) fn remove(&mut self, place: Place, room: &str) -> bool {
        let Some(removed) = self.rooms.remove(&(place, room.to_owned())) else {
            return false;
        };
        for id in removed.members {
            let peer = self.peers.get_mut(&id).expect("members are there");
            peer.rooms.retain(|other| other != room);
            self.tell_left(id, room);
        }
        true
    }

    pub(crate) fn publish(
        &mut self,
        target: &Target,
        except: &[ConnId],
        id: Option<ConnId>,
        n: u64,
    ) -> usize {
        let is_meant = |at: &ConnId, peer: &Peer| match target {
            Target::All => true,
            Target::Namespace(name) => *name == peer.place.path(),
            Target::Room { namespace, room } => {
                *namespace == peer.place.path() && peer.rooms.iter().any(|other| *other == **room)
            }
            Target::User(user) => peer.user.as_deref() == Some(user.as_str()),
            Target::Client(_) => id == Some(*at),
        };
        let peers = self.peers.iter();
        let meant: Vec<_> = peers
            .filter(|(at, peer)| !except.contains(at) && is_meant(at, peer))
            .map(|(at, _)| *at)
            .collect();
        for &id in &meant {
            let event = match self.peers[&id].place {
                Place::RNode => json!({"type": "n", "data": n}),
                Place::Main | Place::Chat | Place::Ignis => json!({"event": "n", "data": n}),
            };
            self.tell(id, event);
        }
        meant.len()
    }

    pub(crate) fn ask(&mut self, id: ConnId, timeout: u64) -> Result<(), EmitError> {
        let peer = self.peers.get(&id).ok_or(EmitError::Gone)?;
        if !peer.place.is_smartsocket() {
            return Err(EmitError::NoAcks);
        }
        let owed = self.owed.values().filter(|(_, other)| *other == id).count();
        if owed >= self.config.max_acks_per_client {
            return Err(EmitError::TooMany);
        }
        self.keys += 1;
        self.owed.insert(self.keys, (self.now + timeout, id));
        let ack = format!("ack_{}", self.keys);
        self.tell(id, json!({"event": "q", "data": {"__ackId": ack}}));
        Ok(())
    }

    // What clients do.

    /// An event for the application, or `message` of RNode.
    pub(crate) fn say(&mut self, id: ConnId, event: &str, raw: &str) {
        if self.message(id).is_err() {
            return;
        }
        let place = self.peers[&id].place;
        if let Some(limit) = routes()[place as usize].event_rates.get(event) {
            let now = self.now;
            let peer = self.peers.get_mut(&id).expect("it speaks");
            if let Err(retry) = peer.saves.check(limit, now) {
                return self.too_fast(id, true, retry);
            }
            peer.warned_of_event = false;
        }
        match place {
            Place::Main | Place::Chat => self.heard.push((id, event.into())),
            Place::Ignis => {}
            Place::RNode => self.tell(id, json!({"type": "message_ack", "message": raw})),
        }
    }

    pub(crate) fn answer(&mut self, id: ConnId, key: u64, data: &Json) {
        if self.message(id).is_err() {
            return;
        }
        if self.owed.get(&key).is_some_and(|owed| owed.1 == id) {
            self.owed.remove(&key);
            self.answers.push(Answer::Data(data.clone()));
        } else {
            self.tell(id, json!({"event": "error", "data": "Message not found"}));
        }
    }

    pub(crate) fn ask_into(&mut self, id: ConnId, rooms: &[&str]) {
        if self.message(id).is_err() {
            return;
        }
        if self.peers[&id].place == Place::Ignis {
            for room in rooms {
                let length = room.encode_utf16().count();
                if (1..=256).contains(&length) && !room.starts_with("ws:") {
                    let _ = self.join(id, room, false);
                }
            }
            return;
        }
        for room in rooms {
            let (kind, error) = match self.join(id, room, true) {
                Ok(()) => continue,
                Err(JoinError::Full) => ("room_full", "Room is full"),
                Err(_) => ("room_join_error", "Failed to join room"),
            };
            self.fail(id, kind, error);
        }
    }

    pub(crate) fn ask_out(&mut self, id: ConnId, rooms: &[&str]) {
        if self.message(id).is_ok() {
            for room in rooms {
                let reserved = self.peers[&id].place == Place::Ignis && room.starts_with("ws:");
                if !reserved {
                    self.leave(id, room);
                }
            }
        }
    }

    pub(crate) fn speak_in(&mut self, id: ConnId, room: &str, text: &str) {
        if self.message(id).is_err() {
            return;
        }
        if !self.peers[&id].rooms.iter().any(|other| other == room) {
            return self.fail(id, "not_a_member", "Not a member of the room");
        }
        let message = json!({
            "type": "room_message",
            "room_id": room,
            "message": text,
            "from_client_id": self.peers[&id].name,
        });
        for member in self.rooms[&(Place::RNode, room.to_owned())].members.clone() {
            self.tell(member, message.clone());
        }
    }

    pub(crate) fn direct(&mut self, id: ConnId, to: &str, text: &str) {
        if self.message(id).is_err() {
            return;
        }
        let mut peers = self.peers.iter();
        let found = peers.find(|(_, peer)| peer.place == Place::RNode && peer.name == to);
        match found.map(|(found, _)| *found) {
            Some(found) => {
                let from = &self.peers[&id].name;
                let message =
                    json!({"type": "direct_message", "message": text, "from_client_id": from});
                self.tell(found, message);
            }
            None => self.fail(id, "client_not_found", &format!("Client {to} not found")),
        }
    }

    /// SmartSocket's CONNECT, to another namespace or its own.
    pub(crate) fn relocate(&mut self, id: ConnId, to: Option<Place>) {
        if self.message(id).is_err() {
            return;
        }
        let Some(to) = to else {
            return self.tell(id, json!({"event": "error", "data": "Invalid namespace"}));
        };
        if self.peers[&id].place != to {
            self.take_out_of_all(id);
            self.peers.get_mut(&id).expect("it speaks").place = to;
        }
        let data = json!({"namespace": to.path()});
        self.tell(id, json!({"event": "CONNECT_ACK", "data": data}));
    }

    /// Counts a message against the limits that are of all messages.
    fn message(&mut self, id: ConnId) -> Result<(), ()> {
        self.received += 1;
        let peer = self.peers.get_mut(&id).expect("it speaks");
        let route = &routes()[peer.place as usize];
        let own = route.rate.as_ref().expect("all are limited");
        let mut checked = peer.messages.check(own, self.now);
        if let (Ok(()), Some(limit), Some(user)) = (checked, &route.user_rate, &peer.user) {
            checked = self
                .users
                .entry(user.clone())
                .or_default()
                .check(limit, self.now);
        }
        match checked {
            Ok(()) => {
                peer.warned = false;
                Ok(())
            }
            Err(retry) => {
                self.too_fast(id, false, retry);
                Err(())
            }
        }
    }

    fn too_fast(&mut self, id: ConnId, event: bool, retry: u64) {
        let (cause, code) = match event {
            true => (DropCause::EventRateLimited, "ERR_RATE_002"),
            false => (DropCause::RateLimited, "ERR_RATE_001"),
        };
        *self.dropped.entry(cause).or_default() += 1;
        let peer = self.peers.get_mut(&id).expect("it speaks");
        let warned = match event {
            true => &mut peer.warned_of_event,
            false => &mut peer.warned,
        };
        if std::mem::replace(warned, true) {
            return;
        }
        let retry = retry.div_ceil(1_000);
        let told = match peer.place {
            Place::Main | Place::Chat => {
                json!({"event": "__rate-limited__", "data": {"retryAfter": retry, "code": code}})
            }
            Place::Ignis => json!({"event": "error", "data": {"retryAfter": retry}}),
            Place::RNode => {
                json!({"type": "error", "error_type": "rate_limited", "retry_after": retry})
            }
        };
        self.tell(id, told);
    }

    fn fail(&mut self, id: ConnId, kind: &str, error: &str) {
        self.tell(
            id,
            json!({"type": "error", "error_type": kind, "error": error}),
        );
    }

    fn tell(&mut self, id: ConnId, what: Value) {
        self.sent += 1;
        let peer = self.peers.get_mut(&id).expect("it is there");
        peer.inbox.push(what);
    }
}

impl Room {
    fn new(max: Option<usize>, since: Option<u64>) -> Self {
        Self {
            members: BTreeSet::new(),
            max,
            kept: since.is_some(),
            empty: since,
        }
    }
}
