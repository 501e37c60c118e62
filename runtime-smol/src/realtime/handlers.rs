//! What an application registered, and what of it is called when.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};

use futures_lite::FutureExt as _;
use smartsocket_core::http::{Request, Response};
use smartsocket_core::hub::{ConnId, Decision, Gone, Identity, Incoming, Interest, Step, Turn};
pub use smartsocket_core::hub::{EventData, EventResult};
use smartsocket_core::websocket::{Accept, Ticket};
use smartsocket_core::{Bytes, Json, Utf8Bytes};

use super::io::Io;
use super::shard::Shard;
use super::socket::{Ack, Socket};
use crate::live::Leash;
use crate::server::guarded;
use crate::websocket::WebSocket;

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;
pub(super) type EventHandler = Rc<dyn Fn(Socket, Json, Ack) -> Boxed<()>>;
type AnyHandler = Rc<dyn Fn(Socket, Incoming, Ack) -> Boxed<()>>;
type Middleware =
    Rc<dyn Fn(Socket, Utf8Bytes, Option<Json>) -> Boxed<Result<Option<Json>, String>>>;
type Verifier = Rc<dyn Fn(Request) -> Boxed<bool>>;
type SocketHandler = Rc<dyn Fn(Socket) -> Boxed<()>>;
type GoneHandler = Rc<dyn Fn(Socket, Gone) -> Boxed<()>>;
type BinaryHandler = Rc<dyn Fn(Socket, Bytes) -> Boxed<()>>;
type Authenticator = Rc<dyn Fn(Socket, Json) -> Boxed<Option<Identity>>>;
type RoomsHandler = Rc<dyn Fn(Socket, Vec<Utf8Bytes>) -> Boxed<Vec<Utf8Bytes>>>;
type Transformer =
    Rc<dyn Fn(Socket, Utf8Bytes, Option<Json>) -> Boxed<Option<(Utf8Bytes, Option<Json>)>>>;
type Hook = Rc<dyn Fn(EventData) -> Boxed<EventResult>>;
type BareHandler = Rc<dyn Fn(WebSocket) -> Boxed<()>>;
pub(super) type RequestHandler = Rc<dyn Fn(Request, Io) -> Boxed<Response>>;

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
    pub(super) routes: Vec<Rc<Handlers>>,
    pub(super) request: Option<RequestHandler>,
    shard: std::cell::OnceCell<Weak<Shard>>,
}

impl App {
    pub(super) fn new(routes: Vec<Handlers>, request: Option<RequestHandler>) -> Self {
        Self {
            routes: routes.into_iter().map(Rc::new).collect(),
            request,
            shard: std::cell::OnceCell::new(),
        }
    }

    pub(super) fn bind(&self, shard: &Rc<Shard>) {
        let _ = self.shard.set(Rc::downgrade(shard));
    }

    fn shard(&self) -> Option<Rc<Shard>> {
        self.shard.get()?.upgrade()
    }

    /// It is the application's turn. A handler that needs not wait has done by
    /// the end of this; the others go on as tasks of their own.
    pub(super) fn turn(&self, turn: Turn) {
        let Some(shard) = self.shard() else { return };
        let Some(handlers) = self.routes.get(turn.route()).cloned() else {
            return;
        };
        let socket = Socket {
            io: Io::new(&shard),
            id: turn.id(),
            client: turn.client(),
            data: shard.data(turn.id()).unwrap_or_default(),
        };
        let weak = Rc::downgrade(&shard);
        let work = async move {
            let decision = handle(&handlers, socket, turn).await;
            if let (Some(shard), Some(decision)) = (weak.upgrade(), decision) {
                let now = shard.now();
                shard.hub.borrow_mut().decide(now, decision);
                shard.kick();
            }
        };
        start(&shard, work);
    }

    /// A connection of a bare route.
    pub(super) fn bare(
        &self,
        route: usize,
        websocket: WebSocket,
        leash: Arc<Leash>,
        address: Option<IpAddr>,
    ) {
        let Some(shard) = self.shard() else { return };
        let handler = self
            .routes
            .get(route)
            .and_then(|handlers| handlers.bare.clone());
        let weak = Rc::downgrade(&shard);
        let work = async move {
            match (
                websocket
                    .run(async |ticket| ticket.accept(Accept::default()))
                    .await,
                handler,
            ) {
                (Ok(websocket), Some(handler)) => handler(websocket).await,
                (Ok(_), None) => {}
                (Err(error), _) => {
                    log::debug!(target: "smartsocket:server", "no WebSocket: {error}");
                }
            }
        };
        let counted = async move {
            guarded(Box::pin(work)).await;
            drop(leash);
            if let Some(shard) = weak.upgrade() {
                shard.hub.borrow_mut().release(address);
            }
        };
        shard.executor.spawn(counted).detach();
    }

    /// A plain HTTP request.
    pub(super) fn request(&self, id: ConnId, ticket: Ticket) {
        let Some(shard) = self.shard() else { return };
        let handler = self.request.clone();
        let io = Io::new(&shard);
        let weak = Rc::downgrade(&shard);
        let work = async move {
            let response = match handler {
                Some(handler) => {
                    let answer = AssertUnwindSafe(handler(ticket.request().clone(), io));
                    answer
                        .catch_unwind()
                        .await
                        .unwrap_or_else(|_| Response::text(500, "the server failed\n"))
                }
                None => Response::text(404, "not found\n"),
            };
            if let Some(shard) = weak.upgrade() {
                let now = shard.now();
                shard.hub.borrow_mut().respond(now, id, ticket, response);
                shard.kick();
            }
        };
        start(&shard, work);
    }
}

/// Polls once, here; what is not done becomes a task.
fn start(shard: &Shard, work: impl Future<Output = ()> + 'static) {
    let mut work = Box::pin(work);
    // A task is polled at once, by a waker of its own.
    let mut cx = Context::from_waker(Waker::noop());
    if work.as_mut().poll(&mut cx).is_pending() {
        shard.executor.spawn(work).detach();
    }
}

/// Calls who is to be called, one after the other. A panic fails the turn, and
/// nothing else.
async fn handle(handlers: &Handlers, socket: Socket, turn: Turn) -> Option<Decision> {
    let mut turn = Some(turn);
    let called = AssertUnwindSafe(call(handlers, socket, &mut turn))
        .catch_unwind()
        .await;
    match (called, turn) {
        (Ok(decision), None) => decision,
        (Ok(_), Some(turn)) => Some(turn.allow()),
        (Err(_), Some(turn)) => {
            log::error!(target: "smartsocket:server", "a handler of {} panicked", turn.client());
            Some(turn.fail())
        }
        (Err(_), None) => None,
    }
}

/// Gives a decision, or leaves the turn to be allowed.
async fn call(handlers: &Handlers, socket: Socket, slot: &mut Option<Turn>) -> Option<Decision> {
    let turn = slot.as_mut()?;
    if let (Step::Connect(ticket), Some(verify)) = (&turn.step, &handlers.verify)
        && !verify(ticket.request().clone()).await
    {
        return Some(slot.take()?.cancel(None));
    }
    if let Some(hook) = handlers.hooks.get(&turn.interest()) {
        let data = socket.io.hub(|hub, _| hub.event_data(turn));
        let result = hook(data).await;
        if result.should_cancel || result.modified_event.is_some() {
            return Some(slot.take()?.answer(result));
        }
    }
    match &mut turn.step {
        Step::Event(event) => {
            for middleware in &handlers.uses {
                let passed = middleware(socket.clone(), event.name.clone(), event.data.clone());
                match passed.await {
                    Ok(Some(data)) => event.data = Some(data),
                    Ok(None) => {}
                    Err(error) => return Some(slot.take()?.cancel(Some(&error))),
                }
            }
            let mut of_event: Vec<EventHandler> = handlers
                .events
                .get(event.name.as_str())
                .cloned()
                .unwrap_or_default();
            of_event.extend(socket.data.listeners(&event.name));
            let data = event.data.clone().unwrap_or(Json::NULL);
            for handler in of_event {
                let ack = Ack {
                    io: socket.io.clone(),
                    ticket: event.ack.take(),
                };
                handler(socket.clone(), data.clone(), ack).await;
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
                handler(socket.clone(), incoming, ack).await;
            }
        }
        Step::Binary(data) => {
            for handler in &handlers.binary {
                handler(socket.clone(), data.clone()).await;
            }
        }
        Step::Opened => {
            for handler in &handlers.connected {
                handler(socket.clone()).await;
            }
        }
        Step::RateLimited { .. } => {
            for handler in &handlers.rate_limited {
                handler(socket.clone()).await;
            }
            // Who handles it says what is said.
            if !handlers.rate_limited.is_empty() {
                return Some(slot.take()?.cancel(None));
            }
        }
        Step::Authenticate(data) => {
            let authenticate = handlers.authenticate.as_ref()?;
            let identity = authenticate(socket, data.clone()).await;
            let turn = slot.take()?;
            return Some(match identity {
                Some(identity) => turn.authenticate(identity),
                None => turn.cancel(None),
            });
        }
        Step::Join(rooms) => {
            let validate = handlers.rooms.as_ref()?;
            let allowed = validate(socket, rooms.clone()).await;
            return Some(slot.take()?.rooms(&allowed));
        }
        Step::Outbound { event, data } => {
            let transform = handlers.transform.as_ref()?;
            if let Some((name, new)) = transform(socket, event.clone(), data.clone()).await {
                (*event, *data) = (name, new);
            }
        }
        Step::Closed(gone) => {
            for handler in &handlers.disconnected {
                handler(socket.clone(), Gone::clone(gone)).await;
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

pub(super) fn boxed_event<F>(handler: F) -> EventHandler
where
    F: AsyncFn(Socket, Json, Ack) + 'static,
{
    let handler = Rc::new(handler);
    Rc::new(move |socket, data, ack| {
        let handler = Rc::clone(&handler);
        Box::pin(async move { handler(socket, data, ack).await })
    })
}
