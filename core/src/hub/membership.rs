//! Who is in which room, and what members do there.

use alloc::vec::Vec;

use crate::dialect::{Dialect, Failure, Outgoing};
use crate::message::Utf8Bytes;

use super::Hub;
use super::ids::ConnId;
use super::output::Step;
use super::publish::Audience;
use super::rooms::{JoinError, RoomKey};

impl Hub {
    /// A client asks into rooms.
    pub(super) fn join_asked(&mut self, id: ConnId, rooms: &[Utf8Bytes]) {
        let Some(route) = self.conns.get(id).and_then(|conn| conn.route) else {
            return;
        };
        let policy = self.routes[usize::from(route)].route.rooms;
        // Where joins need leave and nobody is there to give it, they do not
        // happen.
        if policy.ask && !self.is_wanted(id, &Step::Join(Vec::new())) {
            return;
        }
        let silent = matches!(self.dialect(id), Some(Dialect::Ignis));
        for room in rooms {
            match self.join_room(id, room, policy.must_exist) {
                Ok(()) => self.say(id, Outgoing::RoomJoined { room }),
                // Its clients are never told.
                Err(_) if silent => {}
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

    pub(super) fn leave_all(&mut self, id: ConnId) {
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
    pub(super) fn speak_in(&mut self, id: ConnId, room: &Utf8Bytes, text: &Utf8Bytes) {
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
    pub(super) fn only_room(&self, id: ConnId) -> Option<Utf8Bytes> {
        let key = *self.conns.get(id)?.rooms.last()?;
        Some(self.rooms.get(key)?.id.clone())
    }

    pub(super) fn name_of(&self, id: ConnId) -> Utf8Bytes {
        let Some(conn) = self.conns.get(id) else {
            return Utf8Bytes::default();
        };
        match &conn.profile.alias {
            Some(alias) => alias.clone(),
            None => alloc::format!("{}", conn.client).into(),
        }
    }

    pub(super) fn shares_namespace(&self, a: ConnId, b: ConnId) -> bool {
        match (self.conns.get(a), self.conns.get(b)) {
            (Some(a), Some(b)) => a.namespace == b.namespace,
            _ => false,
        }
    }

    pub(super) fn dialect(&self, id: ConnId) -> Option<&Dialect> {
        let route = self.conns.get(id)?.route?;
        Some(&self.routes[usize::from(route)].route.dialect)
    }
}
