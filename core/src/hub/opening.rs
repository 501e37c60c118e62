//! From a request to a session: routes, checks, the HTTP API.

use alloc::string::{String, ToString as _};

use subtle::ConstantTimeEq as _;

use crate::code::CloseCode;
use crate::dialect::Dialect;
use crate::http::{self, Api, ApiCall, Reply, Request, Response};
use crate::message::Utf8Bytes;
use crate::websocket::{Accept, Shared, Ticket, WebSocket};

use super::config::Auth;
use super::conn::State;
use super::ids::ConnId;
use super::output::{Event, Identity, Output, Step};
use super::{Hub, Interest};

/// Longest client id that a client may choose, in bytes.
const MAX_ALIAS: usize = 128;

impl Hub {
    /// A request came: a route's upgrade, the API's, or the application's.
    pub(super) fn requested(&mut self, id: ConnId, ticket: Ticket) {
        let request = ticket.request();
        let found = self.router.find(request.path()).map(|(route, _)| *route);
        if !ticket.is_upgrade() {
            return self.plain(id, ticket, found);
        }
        let Some(route) = found else {
            return self.refuse(id, ticket, 404, "no WebSocket here");
        };
        if self.stopping {
            return self.refuse(id, ticket, 503, "server is stopping");
        }
        match self.admit(id, route, ticket.request()) {
            Ok(()) if self.routes[usize::from(route)].route.bare => {
                let event = Event::Bare(id, ticket);
                self.queue.push_back(Output::Event(event));
            }
            Ok(()) => self.propose(id, Step::Connect(ticket)),
            Err((status, why)) => self.refuse(id, ticket, status, why),
        }
    }

    /// Holds a request against its route, and notes who asks.
    fn admit(
        &mut self,
        id: ConnId,
        route: u16,
        request: &Request,
    ) -> Result<(), (u16, &'static str)> {
        let state = &self.routes[usize::from(route)];
        let Some(conn) = self.conns.get_mut(id) else {
            return Err((503, "gone"));
        };
        if !state
            .websocket
            .origins
            .allows(request, conn.endpoint.is_secure())
        {
            return Err((403, "origin not allowed"));
        }
        let mut namespace = state.namespace;
        let mut route = route;
        let mut alias = None;
        match &state.route.dialect {
            Dialect::SmartSocket(_) => {
                if let Some(name) = request.parameter("namespace") {
                    let name = if name.starts_with('/') {
                        name
                    } else {
                        alloc::format!("/{name}")
                    };
                    let at = self.routes.iter().position(|other| {
                        other.route.namespace == name
                            && matches!(other.route.dialect, Dialect::SmartSocket(_))
                    });
                    let Some(at) = at else {
                        return Err((404, "ERR_MSG_005: Invalid namespace"));
                    };
                    route = at as u16;
                    namespace = self.routes[at].namespace;
                }
            }
            Dialect::RNode => {
                let name = match request.parameter("clientId") {
                    Some(name) if name.is_empty() || name.len() > MAX_ALIAS => {
                        return Err((400, "clientId of no or more than 128 bytes"));
                    }
                    Some(name) => name,
                    None => alloc::format!("client_{}", conn.client.short()),
                };
                let name = Utf8Bytes::from(name);
                if self.aliases.contains_key(&name) {
                    return Err((409, "clientId is in use"));
                }
                alias = Some(name);
            }
            Dialect::Ignis | Dialect::HeaderLine | Dialect::Raw => {}
        }
        if let Auth::ApiKeys { keys, .. } = &self.routes[usize::from(route)].route.auth {
            let given = request
                .header("x-api-key")
                .map(String::from)
                .or_else(|| request.parameter("apiKey"));
            match given {
                Some(key) if is_among(keys, &key) => conn.flags.known = true,
                Some(_) => return Err((401, "ERR_CONN_004: Authentication failed")),
                None => {}
            }
        }
        conn.route = Some(route);
        conn.namespace = namespace;
        conn.profile.path = request.path().into();
        if let Some(alias) = alias {
            self.aliases.insert(alias.clone(), id);
            conn.profile.alias = Some(alias);
        }
        Ok(())
    }

    /// Gives a connection of a [bare](super::Route::bare) route away: its
    /// machine, and the index of its route in
    /// [`HubConfig::routes`](super::HubConfig::routes). Nothing more is said
    /// about this id, but the connection counts until
    /// [`release`](Self::release).
    pub fn detach(&mut self, id: ConnId) -> Option<(WebSocket, usize)> {
        let route = self.conns.get(id)?.route?;
        if !self.routes[usize::from(route)].route.bare {
            return None;
        }
        let conn = self.conns.remove(id)?;
        let config = alloc::sync::Arc::clone(&self.routes[usize::from(route)].bare);
        let seed = crate::entropy::Seed::new(self.shared.entropy.bytes());
        let machine = WebSocket::detached(conn.endpoint, Shared::new(config, seed));
        Some((machine, usize::from(route)))
    }

    /// A connection that was given away is over; `address` is the one it was
    /// accepted from.
    pub fn release(&mut self, address: Option<core::net::IpAddr>) {
        self.gate.leave(address);
    }

    /// Lets a client in.
    pub(super) fn accept_upgrade(
        &mut self,
        id: ConnId,
        ticket: Ticket,
        identity: Option<Identity>,
    ) {
        let now = self.clock;
        let Some((shared, conn)) = self.enter(id) else {
            return;
        };
        if let Some(identity) = identity {
            conn.flags.known = true;
            conn.user = identity.user;
            conn.profile.metadata = identity.metadata;
        }
        conn.endpoint
            .decide(shared, now, ticket.accept(Accept::default()));
    }

    /// The WebSocket is open.
    pub(super) fn opened(&mut self, id: ConnId) {
        let now = self.clock;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        let state = &self.routes[usize::from(route)];
        self.clients.insert(conn.client, id);
        self.counters.accepted();
        conn.opened = now;
        conn.heard = now;
        let encryption = state.route.encryption.as_ref();
        let secrecy = encryption.filter(|it| it.required).map(|it| it.timeout);
        let proof = state.route.auth.timeout().filter(|_| !conn.flags.known);
        match proof.max(secrecy) {
            Some(timeout) => {
                conn.state = State::Unauthorized;
                conn.auth_deadline = now + timeout;
            }
            None => {
                let identity = Identity {
                    user: conn.user.take(),
                    metadata: conn.profile.metadata.take(),
                };
                self.authenticated(id, identity);
            }
        }
    }

    /// A request that asks for no WebSocket.
    fn plain(&mut self, id: ConnId, ticket: Ticket, route: Option<u16>) {
        let peer = self.conns.get(id);
        let address = peer.and_then(|conn| conn.address);
        let secure = peer.is_some_and(|conn| conn.endpoint.is_secure());
        if let Some(config) = &self.config.api {
            let answer = match http::parse_api(ticket.request(), config, address, secure) {
                Api::NotOurs => None,
                Api::Refused(response) => Some(response),
                Api::Call(call, reply) => self.call(call, &reply),
            };
            if let Some(response) = answer {
                return self.respond(self.clock, id, ticket, response);
            }
        }
        let wanted = self
            .routes
            .iter()
            .any(|state| state.route.interest.has(Interest::REQUEST));
        if wanted {
            let event = Event::Request(id, ticket);
            return self.queue.push_back(Output::Event(event));
        }
        match route.map(|route| &self.routes[usize::from(route)].route.dialect) {
            Some(Dialect::RNode) => self.refuse(id, ticket, 400, "WebSocket upgrade required"),
            Some(_) => self.refuse(id, ticket, 426, "WebSocket upgrade required"),
            None => self.refuse(id, ticket, 404, "not found"),
        }
    }

    /// Answers a plain request, one of [`Event::Request`].
    pub fn respond(
        &mut self,
        now: crate::time::Tick,
        id: ConnId,
        ticket: Ticket,
        response: Response,
    ) {
        let now = self.tick(now);
        if let Some((shared, conn)) = self.enter(id) {
            conn.endpoint.decide(shared, now, ticket.respond(response));
            self.pump(id);
        }
    }

    pub(super) fn refuse(&mut self, id: ConnId, ticket: Ticket, status: u16, why: &str) {
        if let Some(conn) = self.conns.get_mut(id)
            && let Some(alias) = conn.profile.alias.take()
        {
            self.aliases.remove(&alias);
        }
        let response = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
            .into_iter()
            .filter(|_| status == 426)
            .fold(Response::error(status, why), |response, (name, value)| {
                response.header(name, value).expect("both are valid")
            });
        self.respond(self.clock, id, ticket, response);
    }

    /// Does what the API was asked for. `None`: it is the application's.
    fn call(&mut self, call: ApiCall, reply: &Reply) -> Option<Response> {
        let now = self.clock;
        let namespace = self.config.api_namespace.clone();
        Some(match call {
            ApiCall::ListRooms { namespace: other } => {
                reply.rooms(&self.rooms_in(other.as_ref().unwrap_or(&namespace)))
            }
            ApiCall::Room(room) => reply.room(self.room(&namespace, &room).as_ref()),
            ApiCall::CreateRoom {
                name,
                description,
                max_connections,
            } => {
                let description = description.as_deref();
                match self.create_room(now, &namespace, &name, description, max_connections) {
                    Ok(room) => reply.created(&room),
                    Err(error) => reply.error(503, &error.to_string()),
                }
            }
            ApiCall::RoomMessage { room, message } => {
                reply.success(self.send_room_message(now, &namespace, &room, &message))
            }
            ApiCall::JoinRoom { room, connection } => {
                let exists = self.room(&namespace, &room).is_some();
                let id = self.find_in(&namespace, &connection).filter(|_| exists);
                reply.success(id.is_some_and(|id| self.join(now, id, &room).is_ok()))
            }
            ApiCall::LeaveRoom { room, connection } => {
                let id = self.find_in(&namespace, &connection);
                reply.success(id.is_some_and(|id| self.leave(now, id, &room)))
            }
            ApiCall::Client(connection) => {
                let client = self.find(&connection).and_then(|id| self.info(id));
                reply.client(client.as_ref())
            }
            ApiCall::ClientRooms(connection) => match self.find(&connection) {
                Some(id) => reply.rooms(&self.rooms_of(id)),
                None => reply.client(None),
            },
            ApiCall::Metrics { prometheus: true } => reply.prometheus(self.prometheus()),
            ApiCall::Metrics { prometheus: false } => {
                reply.json(200, &self.counters.to_metrics(&self.gauges()))
            }
            ApiCall::Poll => reply.poll(),
            ApiCall::Stats => reply.json(200, &self.counters.to_json(now, &self.gauges())),
            ApiCall::ClientScript => return None,
        })
    }

    /// A client whose rooms are those of the API.
    fn find_in(&self, namespace: &str, client: &str) -> Option<ConnId> {
        let id = self.find(client)?;
        let client = self.client(id)?;
        (client.namespace() == namespace).then_some(id)
    }

    /// Ends a connection that is not wanted any more; what waits for it goes
    /// first.
    pub(super) fn shut(&mut self, id: ConnId, code: CloseCode, reason: &str) {
        let now = self.clock;
        self.feed(id, usize::MAX);
        if let Some((shared, conn)) = self.enter(id) {
            conn.close(shared, now, code, reason);
            self.touch(id);
        }
    }
}

/// Whether a key is one of several, in a time that does not tell how much of
/// it is right.
pub(super) fn is_among(keys: &[String], key: &str) -> bool {
    keys.iter().fold(false, |found, known| {
        found | bool::from(known.as_bytes().ct_eq(key.as_bytes()))
    })
}
