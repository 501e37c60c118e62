//! Namespaces and their rooms.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use slab::Slab;

use crate::json::Json;
use crate::message::Utf8Bytes;
use crate::time::Tick;

use super::ids::ConnId;
use super::table::{Keyed, Map, Members, Plain};

/// A namespace: an index into the hub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NamespaceKey(pub(super) u16);

/// A room: an index into the hub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RoomKey(u32);

#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) name: String,
    /// Everybody in it who may be spoken to.
    pub(super) members: Members,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) namespace: NamespaceKey,
    /// What clients name it by.
    pub(super) id: Utf8Bytes,
    pub(super) name: Utf8Bytes,
    pub(super) description: Option<Utf8Bytes>,
    pub(super) max_connections: Option<usize>,
    /// A JSON object.
    pub(super) metadata: Json,
    /// Wall clock in milliseconds.
    pub(super) created: u64,
    pub(super) members: Members,
    /// Made on purpose: stays for a while when it is empty.
    kept: bool,
    /// Since when it is empty, if it is.
    empty_since: Option<Tick>,
}

/// Why a client did not get into a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// No such client.
    NoClient,
    /// No such room, and clients may not make rooms here.
    NoRoom,
    /// It is in the room already.
    Member,
    /// The room has as many members as it may have.
    Full,
    /// The client is in as many rooms as it may be, or there are as many
    /// rooms as there may be.
    TooMany,
    /// A name of no or more than 256 bytes, or a reserved one.
    BadName,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoClient => "no such client",
            Self::NoRoom => "no such room",
            Self::Member => "in the room already",
            Self::Full => "the room is full",
            Self::TooMany => "too many rooms",
            Self::BadName => "not a name of a room",
        })
    }
}

impl core::error::Error for JoinError {}

/// All namespaces and rooms.
pub(super) struct Rooms {
    pub(super) namespaces: Vec<Namespace>,
    rooms: Slab<Room>,
    by_name: Map<(NamespaceKey, Utf8Bytes), RoomKey>,
    /// Kept rooms that were empty at that time, earliest first.
    empty: VecDeque<(Tick, RoomKey, Utf8Bytes)>,
}

/// Longest name of a room, in bytes.
const MAX_NAME: usize = 256;

impl Rooms {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self {
            namespaces: Vec::new(),
            rooms: Slab::new(),
            by_name: Map::with_hasher(keyed),
            empty: VecDeque::new(),
        }
    }

    pub(super) fn namespace(&self, name: &str) -> Option<NamespaceKey> {
        let index = self
            .namespaces
            .iter()
            .position(|namespace| namespace.name == name)?;
        Some(NamespaceKey(index as u16))
    }

    /// The namespace of this name, new if need be. Only for names the
    /// application chooses: they are never removed.
    pub(super) fn add_namespace(&mut self, name: &str) -> NamespaceKey {
        self.namespace(name).unwrap_or_else(|| {
            self.namespaces.push(Namespace {
                name: name.into(),
                members: Members::with_hasher(Plain),
            });
            NamespaceKey((self.namespaces.len() - 1) as u16)
        })
    }

    pub(super) fn members(&self, namespace: NamespaceKey) -> &Members {
        &self.namespaces[usize::from(namespace.0)].members
    }

    pub(super) fn enter(&mut self, namespace: NamespaceKey, id: ConnId) {
        self.namespaces[usize::from(namespace.0)].members.insert(id);
    }

    pub(super) fn exit(&mut self, namespace: NamespaceKey, id: ConnId) {
        let members = &mut self.namespaces[usize::from(namespace.0)].members;
        members.swap_remove(&id);
        shrink(members);
    }

    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    pub(super) fn find(&self, namespace: NamespaceKey, name: &Utf8Bytes) -> Option<RoomKey> {
        self.by_name.get(&(namespace, name.clone())).copied()
    }

    pub(super) fn get(&self, key: RoomKey) -> Option<&Room> {
        self.rooms.get(key.0 as usize)
    }

    pub(super) fn get_mut(&mut self, key: RoomKey) -> Option<&mut Room> {
        self.rooms.get_mut(key.0 as usize)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().map(|(_, room)| room)
    }

    /// Rooms of a namespace, in the order in which places were taken.
    pub(super) fn of(&self, namespace: NamespaceKey) -> impl Iterator<Item = &Room> {
        self.all().filter(move |room| room.namespace == namespace)
    }

    /// A new room; `kept` when it is to stay while it is empty.
    pub(super) fn create(
        &mut self,
        now: Tick,
        namespace: NamespaceKey,
        id: Utf8Bytes,
        created: u64,
        kept: bool,
        max_rooms: usize,
    ) -> Result<RoomKey, JoinError> {
        if id.is_empty() || id.len() > MAX_NAME {
            return Err(JoinError::BadName);
        }
        if self.rooms.len() >= max_rooms {
            return Err(JoinError::TooMany);
        }
        let key = RoomKey(self.rooms.insert(Room {
            namespace,
            name: id.clone(),
            id: id.clone(),
            description: None,
            max_connections: None,
            metadata: Json::EMPTY,
            created,
            members: Members::with_hasher(Plain),
            kept,
            empty_since: kept.then_some(now),
        }) as u32);
        if kept {
            self.empty.push_back((now, key, id.clone()));
        }
        self.by_name.insert((namespace, id), key);
        Ok(key)
    }

    pub(super) fn add(&mut self, key: RoomKey, id: ConnId) -> Result<(), JoinError> {
        let room = self.get_mut(key).ok_or(JoinError::NoRoom)?;
        if room.members.contains(&id) {
            return Err(JoinError::Member);
        }
        if room
            .max_connections
            .is_some_and(|max| room.members.len() >= max)
        {
            return Err(JoinError::Full);
        }
        room.members.insert(id);
        room.empty_since = None;
        Ok(())
    }

    /// Takes a member out; an empty room goes, or its time begins.
    pub(super) fn take(&mut self, now: Tick, key: RoomKey, id: ConnId) -> bool {
        let Some(room) = self.get_mut(key) else {
            return false;
        };
        if !room.members.swap_remove(&id) {
            return false;
        }
        shrink(&mut room.members);
        if room.members.is_empty() {
            if room.kept {
                room.empty_since = Some(now);
                let name = room.id.clone();
                self.empty.push_back((now, key, name));
            } else {
                self.remove(key);
            }
        }
        true
    }

    pub(super) fn remove(&mut self, key: RoomKey) -> Option<Room> {
        let room = self.rooms.try_remove(key.0 as usize)?;
        self.by_name.remove(&(room.namespace, room.id.clone()));
        if self.by_name.len() * 4 < self.by_name.capacity() {
            self.by_name.shrink_to_fit();
        }
        Some(room)
    }

    /// When the first empty room's time is over.
    pub(super) fn next_timeout(&self, after: core::time::Duration) -> Option<Tick> {
        self.empty.front().map(|(since, _, _)| *since + after)
    }

    /// Frees rooms that have been empty for `after`.
    pub(super) fn handle_timeout(&mut self, now: Tick, after: core::time::Duration) {
        while let Some((since, _, _)) = self.empty.front() {
            if *since + after > now {
                break;
            }
            let Some((since, key, name)) = self.empty.pop_front() else {
                break;
            };
            // It may have had members since, or be another room in its place.
            if self
                .get(key)
                .is_some_and(|room| room.empty_since == Some(since) && room.id == name)
            {
                self.remove(key);
            }
        }
    }
}

/// Gives memory back once a set has shrunk to a quarter.
fn shrink(members: &mut Members) {
    if members.capacity() > 16 && members.len() * 4 < members.capacity() {
        members.shrink_to(members.len() * 2);
    }
}
