//! What an application registered, and what of it is called when.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use smartsocket_core::CloseCode;
use smartsocket_core::http::{Request, Response};
use smartsocket_core::hub::{
    ConnId, Decision, EventData, EventResult, Gone, Identity, Incoming, Interest, Step, Turn,
};
use smartsocket_core::websocket::Ticket;
use smartsocket_core::{Bytes, Json, Utf8Bytes};

use super::io::Io;
use super::shard::{Shard, lock};
use super::socket::{Ack, Socket};
use crate::link::Link as Bare;
use crate::stream::Stream;
use crate::websocket::WebSocket;

pub(super) type EventHandler = Arc<dyn Fn(&Socket, Json, Ack) + Send + Sync>;
type AnyHandler = Arc<dyn Fn(&Socket, Incoming, Ack) + Send + Sync>;
type Middleware =
    Arc<dyn Fn(&Socket, &Utf8Bytes, Option<&Json>) -> Result<Option<Json>, String> + Send + Sync>;
type Verifier = Arc<dyn Fn(&Request) -> bool + Send + Sync>;
type SocketHandler = Arc<dyn Fn(&Socket) + Send + Sync>;
type GoneHandler = Arc<dyn Fn(&Socket, &Gone) + Send + Sync>;
type BinaryHandler = Arc<dyn Fn(&Socket, Bytes) + Send + Sync>;
type Authenticator = Arc<dyn Fn(&Socket, &Json) -> Option<Identity> + Send + Sync>;
type RoomsHandler = Arc<dyn Fn(&Socket, &[Utf8Bytes]) -> Vec<Utf8Bytes> + Send + Sync>;
type Changed = Option<(Utf8Bytes, Option<Json>)>;
type Transformer = Arc<dyn Fn(&Socket, &Utf8Bytes, Option<&Json>) -> Changed + Send + Sync>;
type Hook = Arc<dyn Fn(EventData) -> EventResult + Send + Sync>;
type BareHandler = Arc<dyn Fn(WebSocket) + Send + Sync>;
pub(super) type RequestHandler = Arc<dyn Fn(&Request, &Io) -> Response + Send + Sync>;

/// What is registered for one route.
#[derive(Default)]
pub(super) struct Handlers {
    pub(super) events: HashMap<String, Vec<EventHandler>>,
    pub(super) any: Vec<AnyHandler>,
    pub(super) uses: Vec<Middleware>,
    pub(super) verify: Option<Verifier>,
    pub(super) connected: Vec<SocketHandler>,
    pub(super) disconnected: Vec<GoneHandler>,
    pub(super) rate_limited: Vec<SocketHandler>,
    pub(super) binary: Vec<BinaryHandler>,
    pub(super) authenticate: Option<Authenticator>,
    pub(super) rooms: Option<RoomsHandler>,
    pub(super) transform: Option<Transformer>,
    pub(super) hooks: HashMap<Interest, Hook>,
    pub(super) bare: Option<BareHandler>,
}

impl Handlers {
    /// What of a route's turns somebody wants.
    pub(super) fn interest(&self) -> Interest {
        let mut interest = self
            .hooks
            .keys()
            .fold(Interest::default(), |all, &one| all | one);
        for (wanted, one) in [
            (
                !self.events.is_empty() || !self.any.is_empty() || !self.uses.is_empty(),
                Interest::EVENT,
            ),
            (self.verify.is_some(), Interest::CONNECT),
            (!self.connected.is_empty(), Interest::OPENED),
            (!self.disconnected.is_empty(), Interest::CLOSED),
            (!self.rate_limited.is_empty(), Interest::RATE_LIMITED),
            (!self.binary.is_empty(), Interest::BINARY),
            (self.authenticate.is_some(), Interest::AUTHENTICATE),
            (self.rooms.is_some(), Interest::JOIN),
            (self.transform.is_some(), Interest::OUTBOUND),
        ] {
            if wanted {
                interest |= one;
            }
        }
        interest
    }

    /// Which events somebody wants; `None` is all.
    pub(super) fn wanted_events(&self) -> Option<Vec<Utf8Bytes>> {
        let all = !self.any.is_empty()
            || !self.uses.is_empty()
            || self.hooks.contains_key(&Interest::EVENT);
        (!all).then(|| {
            self.events
                .keys()
                .map(|event| event.as_str().into())
                .collect()
        })
    }
}

/// Everything an application registered.
pub(super) struct App {
    routes: Vec<Arc<Handlers>>,
    request: Option<RequestHandler>,
    shard: OnceLock<Weak<Shard>>,
    /// Connections of bare routes, to be ended when the server stops.
    bare: Mutex<Vec<Weak<Bare<Stream>>>>,
}

impl App {
    pub(super) fn new(routes: Vec<Handlers>, request: Option<RequestHandler>) -> Self {
        Self {
            routes: routes.into_iter().map(Arc::new).collect(),
            request,
            shard: OnceLock::new(),
            bare: Mutex::default(),
        }
    }

    pub(super) fn bind(&self, shard: &Arc<Shard>) {
        let _ = self.shard.set(Arc::downgrade(shard));
    }

    fn shard(&self) -> Option<Arc<Shard>> {
        self.shard.get()?.upgrade()
    }

    /// It is the application's turn: a worker takes it.
    pub(super) fn turn(&self, turn: Turn) {
        let Some(shard) = self.shard() else { return };
        let Some(handlers) = self.routes.get(turn.route()).cloned() else {
            return;
        };
        // Looked up now: the last turn comes when the socket is being dropped.
        let data = shard.data(turn.id()).unwrap_or_default();
        let worked = Arc::clone(&shard);
        let job = Box::new(move || {
            let socket = Socket {
                io: worked.io(),
                id: turn.id(),
                client: turn.client(),
                data,
            };
            if let Some(decision) = handle(&handlers, &socket, turn) {
                let now = worked.now();
                worked.hub().decide(now, decision);
                worked.drain();
            }
        });
        let runner = Arc::clone(&shard);
        shard.workers.submit(job, move || runner.workers.work());
    }

    /// A plain HTTP request.
    pub(super) fn request(&self, id: ConnId, ticket: Ticket) {
        let Some(shard) = self.shard() else { return };
        let handler = self.request.clone();
        let worked = Arc::clone(&shard);
        let job = Box::new(move || {
            let answer = || match &handler {
                Some(handler) => handler(ticket.request(), &worked.io()),
                None => Response::error(404, "not found"),
            };
            let response = catch_unwind(AssertUnwindSafe(answer))
                .unwrap_or_else(|_| Response::error(500, "the server failed"));
            let now = worked.now();
            worked.hub().respond(now, id, ticket, response);
            worked.drain();
        });
        let runner = Arc::clone(&shard);
        shard.workers.submit(job, move || runner.workers.work());
    }

    pub(super) fn begin_bare(&self, link: &Arc<Bare<Stream>>) {
        let mut bare = lock(&self.bare);
        bare.retain(|link| link.strong_count() > 0);
        bare.push(Arc::downgrade(link));
    }

    /// Ends the connections of bare routes; how politely, depends on their
    /// peers.
    pub(super) fn close_bare(&self) {
        for link in lock(&self.bare).iter().filter_map(Weak::upgrade) {
            link.start_close(CloseCode::GOING_AWAY, "server is stopping");
        }
    }

    /// Cuts those that are left.
    pub(super) fn cut_bare(&self) {
        for link in lock(&self.bare).iter().filter_map(Weak::upgrade) {
            link.cut();
        }
    }

    /// Calls the handler of a bare route, on the thread of its connection.
    pub(super) fn bare(&self, route: usize, websocket: WebSocket) {
        let handler = self.routes.get(route).and_then(|route| route.bare.clone());
        if let Some(handler) = handler
            && catch_unwind(AssertUnwindSafe(|| handler(websocket))).is_err()
        {
            log::error!(target: "smartsocket:std", "a connection's handler panicked");
        }
    }
}

/// Calls who is to be called, one after the other. A panic fails the turn, and
/// nothing else.
fn handle(handlers: &Handlers, socket: &Socket, turn: Turn) -> Option<Decision> {
    let mut turn = Some(turn);
    let called = catch_unwind(AssertUnwindSafe(|| call(handlers, socket, &mut turn)));
    match (called, turn) {
        (Ok(decision), None) => decision,
        (Ok(_), Some(turn)) => Some(turn.allow()),
        (Err(_), Some(turn)) => {
            log::error!(target: "smartsocket:std", "a handler of {} panicked", turn.client());
            Some(turn.fail())
        }
        (Err(_), None) => None,
    }
}

/// Gives a decision, or leaves the turn to be allowed.
fn call(handlers: &Handlers, socket: &Socket, slot: &mut Option<Turn>) -> Option<Decision> {
    let turn = slot.as_mut()?;
    if let (Step::Connect(ticket), Some(verify)) = (&turn.step, &handlers.verify)
        && !verify(ticket.request())
    {
        return Some(slot.take()?.cancel(None));
    }
    if let Some(hook) = handlers.hooks.get(&turn.interest()) {
        let data = socket.io.hub(|hub, _| hub.event_data(turn));
        let result = hook(data);
        if result.should_cancel || result.modified_event.is_some() {
            return Some(slot.take()?.answer(result));
        }
    }
    match &mut turn.step {
        Step::Event(event) => {
            for middleware in &handlers.uses {
                match middleware(socket, &event.name, event.data.as_ref()) {
                    Ok(Some(data)) => event.data = Some(data),
                    Ok(None) => {}
                    Err(error) => return Some(slot.take()?.cancel(Some(&error))),
                }
            }
            let of_event = handlers.events.get(event.name.as_str());
            let of_socket = socket.data.listeners(&event.name);
            let data = event.data.clone().unwrap_or(Json::NULL);
            for handler in of_event.into_iter().flatten().chain(&of_socket) {
                let ack = Ack {
                    io: socket.io.clone(),
                    ticket: event.ack.take(),
                };
                handler(socket, data.clone(), ack);
            }
            for handler in &handlers.any {
                let ack = Ack {
                    io: socket.io.clone(),
                    ticket: event.ack.take(),
                };
                let incoming = Incoming {
                    name: event.name.clone(),
                    data: event.data.clone(),
                    ack: None,
                    raw: event.raw.clone(),
                };
                handler(socket, incoming, ack);
            }
        }
        Step::Binary(data) => {
            for handler in &handlers.binary {
                handler(socket, data.clone());
            }
        }
        Step::Opened => handlers
            .connected
            .iter()
            .for_each(|handler| handler(socket)),
        Step::RateLimited { .. } => {
            handlers
                .rate_limited
                .iter()
                .for_each(|handler| handler(socket));
            // Who handles it says what is said.
            if !handlers.rate_limited.is_empty() {
                return Some(slot.take()?.cancel(None));
            }
        }
        Step::Authenticate(data) => {
            let identity = handlers.authenticate.as_ref()?(socket, data);
            let turn = slot.take()?;
            return Some(match identity {
                Some(identity) => turn.authenticate(identity),
                None => turn.cancel(None),
            });
        }
        Step::Join(rooms) => {
            let allowed = handlers.rooms.as_ref()?(socket, rooms);
            return Some(slot.take()?.rooms(&allowed));
        }
        Step::Outbound { event, data } => {
            let transform = handlers.transform.as_ref()?;
            if let Some((name, new)) = transform(socket, event, data.as_ref()) {
                (*event, *data) = (name, new);
            }
        }
        Step::Closed(gone) => {
            for handler in &handlers.disconnected {
                handler(socket, gone);
            }
        }
        // Hooks only.
        Step::Connect(_)
        | Step::Welcome
        | Step::Leave(_)
        | Step::RoomMessage { .. }
        | Step::Direct { .. }
        | Step::Ping
        | Step::Pong { .. }
        | Step::MessageAck(_)
        | Step::Error(_) => {}
    }
    None
}
