//! What can be seen of clients, rooms and the whole.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::date::Timestamp;
use crate::http::{ClientInfo, RoomInfo};
use crate::json::Json;
use crate::message::Utf8Bytes;
use crate::stats::{DropCause, Gauges, OfflineGauges, ServerStats};

use super::Hub;
use super::conn::Conn;
use super::ids::{ClientId, ConnId, UserId};
use super::rooms::Room;

/// A client, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    conn: &'a Conn,
    namespace: &'a str,
}

impl Client<'_> {
    /// Its id.
    pub const fn id(&self) -> ClientId {
        self.conn.client
    }

    /// The name it chose itself (RNode).
    pub fn alias(&self) -> Option<&str> {
        self.conn.profile.alias.as_deref()
    }

    /// The user it belongs to.
    pub const fn user(&self) -> Option<&UserId> {
        self.conn.user.as_ref()
    }

    /// Its namespace.
    pub const fn namespace(&self) -> &str {
        self.namespace
    }

    /// The path it connected to.
    pub fn path(&self) -> &str {
        &self.conn.profile.path
    }

    /// What the application remembers of it.
    pub const fn metadata(&self) -> Option<&Json> {
        self.conn.profile.metadata.as_ref()
    }

    /// Its address.
    pub const fn address(&self) -> Option<core::net::IpAddr> {
        self.conn.address
    }

    /// Whether what is sent to it is encrypted, beside TLS.
    pub const fn is_encrypted(&self) -> bool {
        self.conn.secret.is_some()
    }

    /// Bytes that wait to be sent to it.
    pub fn buffered(&self) -> usize {
        self.conn.endpoint.buffered()
            + self
                .conn
                .outbox
                .as_ref()
                .map_or(0, |waiting| waiting.bytes())
    }

    /// Round trip of the last keepalive ping of the protocol.
    pub const fn round_trip(&self) -> Option<core::time::Duration> {
        self.conn.endpoint.stats().round_trip
    }
}

/// The clients of a hub, as they are now.
#[derive(Clone, Copy, Debug)]
pub struct Clients<'a>(&'a Hub);

impl<'a> Clients<'a> {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Client<'a>> {
        let hub = self.0;
        hub.rooms
            .namespaces
            .iter()
            .flat_map(|namespace| namespace.members.iter())
            .filter_map(|&id| hub.client(id))
    }

    /// Those of a user.
    pub fn of(&self, user: &UserId) -> impl Iterator<Item = Client<'a>> {
        let hub = self.0;
        hub.users
            .get(user)
            .into_iter()
            .flatten()
            .filter_map(|&id| hub.client(id))
    }
}

impl Hub {
    /// How many connections there are, open or not.
    pub const fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.conns.len() == 0
    }

    /// A client, while it may be spoken to.
    pub fn client(&self, id: ConnId) -> Option<Client<'_>> {
        let conn = self.conns.get(id).filter(|conn| conn.is_somebody())?;
        Some(Client {
            conn,
            namespace: &self.rooms.namespaces[usize::from(conn.namespace.0)].name,
        })
    }

    /// All clients.
    pub const fn clients(&self) -> Clients<'_> {
        Clients(self)
    }

    /// Bytes that wait to be sent to a client; 0 when it is gone.
    pub fn buffered(&self, client: ClientId) -> usize {
        let id = self.clients.get(&client);
        id.and_then(|&id| self.client(id))
            .map_or(0, |client| client.buffered())
    }

    /// The connection of a client, by the text of its id or the name it chose.
    pub fn find(&self, client: &str) -> Option<ConnId> {
        match client.parse::<ClientId>() {
            Ok(id) => self.clients.get(&id).copied(),
            Err(_) => self.aliases.get(&Utf8Bytes::from(client)).copied(),
        }
        .filter(|&id| self.conns.get(id).is_some_and(Conn::is_somebody))
    }

    /// A room, by its id.
    pub fn room(&self, namespace: &str, room: &str) -> Option<RoomInfo> {
        let namespace = self.rooms.namespace(namespace)?;
        let key = self.rooms.find(namespace, &Utf8Bytes::from(room))?;
        Some(self.view(self.rooms.get(key)?))
    }

    /// All rooms of a namespace.
    pub fn rooms_in(&self, namespace: &str) -> Vec<RoomInfo> {
        self.rooms
            .namespace(namespace)
            .map_or_else(Vec::new, |key| {
                self.rooms.of(key).map(|room| self.view(room)).collect()
            })
    }

    /// The rooms a client is in.
    pub fn rooms_of(&self, id: ConnId) -> Vec<RoomInfo> {
        let rooms = self.conns.get(id).map_or(&[][..], |conn| &conn.rooms);
        rooms
            .iter()
            .filter_map(|&key| Some(self.view(self.rooms.get(key)?)))
            .collect()
    }

    /// What the HTTP API tells of a client.
    pub fn info(&self, id: ConnId) -> Option<ClientInfo> {
        let conn = self.conns.get(id).filter(|conn| conn.is_somebody())?;
        let room = conn.rooms.last();
        let room = room.and_then(|&key| Some(self.rooms.get(key)?.id.clone()));
        let client = Utf8Bytes::from(conn.client.to_string());
        let profile = &conn.profile;
        let route = &self.routes[usize::from(conn.route?)].route;
        Some(ClientInfo {
            client_id: profile.alias.clone().unwrap_or_else(|| client.clone()),
            id: client,
            path: profile.path.as_str().into(),
            room_id: room,
            handler_id: route.path.as_str().into(),
            metadata: profile.metadata.clone().unwrap_or(Json::EMPTY),
            created_at: Timestamp::new(profile.created).as_str().into(),
            last_ping: Timestamp::new(profile.last_ping.max(profile.created))
                .as_str()
                .into(),
        })
    }

    /// Figures of the server (SS-22 to SS-26).
    pub fn stats(&self) -> ServerStats {
        self.counters.stats(self.clock, &self.gauges())
    }

    /// Messages that were lost to a cause, of all connections so far.
    pub const fn dropped(&self, cause: DropCause) -> u64 {
        self.counters.dropped_by(cause)
    }

    /// Messages received so far (RN-11).
    pub const fn received_messages(&self) -> u64 {
        self.counters.received_messages()
    }

    /// Messages sent so far.
    pub const fn sent_messages(&self) -> u64 {
        self.counters.sent_messages()
    }

    /// Connections by namespace (SS-09).
    pub fn namespace_stats(&self) -> Vec<(&str, usize)> {
        self.rooms
            .namespaces
            .iter()
            .map(|namespace| (namespace.name.as_str(), namespace.members.len()))
            .collect()
    }

    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.clients.len(),
            rooms: self.rooms.len(),
            resident: self.memory,
            offline: self.offline.as_ref().map(|offline| OfflineGauges {
                users: offline.users(),
                messages: offline.messages(),
                bytes: offline.bytes(),
            }),
        }
    }

    pub(super) fn prometheus(&self) -> String {
        let rooms = self
            .rooms
            .all()
            .map(|room| (room.id.as_str(), room.name.as_str(), room.members.len()));
        self.counters
            .to_prometheus(self.clock, &self.gauges(), rooms)
    }

    fn view(&self, room: &Room) -> RoomInfo {
        RoomInfo {
            id: room.id.clone(),
            name: room.name.clone(),
            description: room.description.clone(),
            max_connections: room.max_connections,
            connections: room
                .members
                .iter()
                .filter_map(|&id| Some(self.conns.get(id)?.client.to_string().into()))
                .collect(),
            connections_count: room.members.len(),
            metadata: room.metadata.clone(),
            created_at: Timestamp::new(room.created).as_str().into(),
        }
    }
}
