//! Many connections, their rooms, users and namespaces: the server machine.
//!
//! A [`Hub`] is to a server what [`WebSocket`](crate::WebSocket) is to one
//! connection: bytes and ticks in, bytes and events out. `opening` answers
//! requests, `session` is one client's coming and going, `incoming` what it
//! says, `turns` what the application says to that, `membership` what happens
//! in rooms, `deliver` what goes out to one or many, `pace` no faster than it
//! is read. `rooms`, `table` and
//! `timers` are what all of it is kept in.

mod config;
mod conn;
mod deliver;
mod hooks;
mod ids;
mod incoming;
mod membership;
mod opening;
mod outbox;
mod output;
mod pace;
mod publish;
mod rooms;
mod secrecy;
mod session;
mod table;
mod timers;
mod turns;
mod views;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use bytes::Bytes;

use crate::broker::{Broker, BrokerConfig};
use crate::code::CloseCode;
use crate::crypt;
use crate::date::Timestamp;
use crate::dialect::{Dialect, Memory, PeerBinary};
use crate::entropy::Seed;
use crate::error::Fault;
use crate::gate::{Crowded, Gate};
use crate::http::{Pattern, Router};
use crate::limit::Limiter;
use crate::message::Utf8Bytes;
use crate::offline::OfflineCache;
use crate::stats::Counters;
use crate::time::Tick;
use crate::websocket::{Config, Endpoint, Event as Inner, Fill, Output as InnerOutput, Shared};

use conn::{Conn, Flags, Limits, Profile, State};
use publish::Publication as Published;
use rooms::{NamespaceKey, Rooms};
use table::{Keyed, Map, Members, Table};
use timers::Timers;

pub use config::{
    Auth, Encryption, Heartbeat, HubConfig, Interest, Outbox, Overflow, RoomPolicy, Route,
    RouteError,
};
pub use deliver::EmitError;
pub use hooks::{EventData, EventResult};
pub use ids::{ClientId, ConnId, NoClientId, UserId};
pub use output::{
    AckTicket, AckToken, Answer, Complaint, Decision, Event, Gone, Identity, Incoming, Output,
    Step, Turn,
};
pub use publish::{Publication, Target};
pub use rooms::JoinError;
pub use views::{Client, Clients};

/// Bytes ready to be written before the rest waits in the outbox.
const WIRE: usize = 64 * 1024;
/// Longest content of a request for the API, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// Users and addresses whose limits are remembered without looking for old ones.
const SUBJECTS: usize = 4_096;

/// A server's state machine: connections, sessions, rooms.
///
/// The methods are of the four kinds of [`WebSocket`](crate::WebSocket):
/// *inputs* (`accept`, `handle_*`, `transmitted`) tell what happened,
/// *commands* (`emit`, `join`, `decide` ...) say what the application wants,
/// [`poll_output`](Self::poll_output) says what to do about it, *getters*
/// change nothing. After any input or command, call `poll_output` until
/// `None`; ten inputs and then one drain is fine, and cheaper.
///
/// ```
/// use smartsocket_core::hub::{Event, Hub, HubConfig, Interest, Output, Route, Step};
/// use smartsocket_core::{Json, Seed, Tick};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = Tick::ZERO;
/// let mut chat = Route::smartsocket("/");
/// chat.interest = Interest::EVENT;
/// let config = HubConfig { routes: vec![chat], ..HubConfig::default() };
/// let mut hub = Hub::new(config, Seed::new([0; 32]), now, 1_700_000_000_000)?;
///
/// // An adapter accepted a socket and read from it.
/// let id = hub.accept(now, None)?;
/// let mut bytes = *b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
///     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
///     \x81\x94\x00\x00\x00\x00{\"event\":\"greeting\"}";
/// hub.handle_bytes(now, id, &mut bytes);
/// while let Some(output) = hub.poll_output() {
///     match output {
///         Output::Event(Event::Turn(turn)) => {
///             assert!(matches!(&turn.step, Step::Event(event) if event.name == "greeting"));
///             hub.emit(now, turn.client(), "welcome", Some(Json::string("you")));
///             hub.decide(now, turn.allow());
///         }
///         Output::Transmit(id) => {
///             let bytes = hub.unsent(id).map(|bytes| bytes.len()).sum();
///             hub.transmitted(now, id, bytes); // the kernel took them all
///         }
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Hub {
    config: HubConfig,
    shared: Shared,
    listener: Arc<Config>,
    routes: Vec<RouteState>,
    /// By route.
    groups: Vec<Option<secrecy::Circle>>,
    router: Router<u16>,
    dialects: Vec<Dialect>,
    conns: Table<Conn>,
    gate: Gate,
    clients: Map<ClientId, ConnId>,
    aliases: Map<Utf8Bytes, ConnId>,
    users: Map<UserId, Members>,
    /// Limits of users and addresses.
    subjects: Map<Subject, SubjectState>,
    /// How many of those there may be before the old ones go.
    sweep_at: usize,
    rooms: Rooms,
    broker: Broker<ConnId>,
    offline: Option<OfflineCache<Published>>,
    /// Answers that are owed, and until when.
    acks: BTreeMap<(ConnId, u64), Tick>,
    ack_deadlines: BTreeSet<(Tick, ConnId, u64)>,
    timers: Timers,
    queue: VecDeque<Output>,
    /// Connections that were touched since outputs were last collected.
    dirty: VecDeque<ConnId>,
    clock: Tick,
    /// The wall clock in milliseconds at [`Tick::ZERO`].
    origin_ms: i64,
    serial: u32,
    ack_key: u64,
    memory: Option<u64>,
    counters: Counters,
    stopping: bool,
}

/// A route, ready for use.
struct RouteState {
    route: Route,
    websocket: Arc<Config>,
    /// The options of a connection that is given away.
    bare: Arc<Config>,
    namespace: NamespaceKey,
    dialect: u8,
}

/// Whom a limit over several connections is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(UserId),
    Address(IpAddr),
}

#[derive(Debug, Default)]
struct SubjectState {
    limiter: Limiter,
    /// When it was last asked; an old one can go.
    asked: Tick,
}

impl Hub {
    /// A hub without connections. `unix_ms` is the wall clock now, in
    /// milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// A route's path is not one, or two routes have the same.
    pub fn new(config: HubConfig, seed: Seed, now: Tick, unix_ms: u64) -> Result<Self, RouteError> {
        let listener = Arc::new(Config {
            decide: true,
            streaming: false,
            origins: crate::http::Origins::Any,
            max_body: config.api.as_ref().map_or(0, |_| MAX_BODY),
            ..config.listener.clone()
        });
        let mut shared = Shared::new(Arc::clone(&listener), seed);
        let keyed = Keyed::new(shared.entropy.bytes());
        let mut rooms = Rooms::new(keyed);
        let mut router = Router::new();
        let mut dialects = Vec::new();
        let mut routes = Vec::new();
        for route in &config.routes {
            let pattern = Pattern::parse(&route.path)?;
            router.add(pattern, routes.len() as u16)?;
            let dialect = match dialects.iter().position(|known| *known == route.dialect) {
                Some(at) => at,
                None => {
                    dialects.push(route.dialect.clone());
                    dialects.len() - 1
                }
            };
            let possible = |encryption: &Encryption| match route.dialect {
                Dialect::SmartSocket(_) => true,
                Dialect::Ignis => encryption.keys.is_none(),
                Dialect::RNode | Dialect::HeaderLine | Dialect::Raw => false,
            };
            if !route.encryption.as_ref().is_none_or(possible) {
                return Err(RouteError::Encryption(route.path.clone()));
            }
            // A record may be longer than the message inside, which is held
            // against the limit when it is opened.
            let sealed = route.encryption.is_some() && route.dialect != Dialect::Ignis;
            let overhead = if sealed { crypt::MAX_OVERHEAD } else { 0 };
            let Config {
                max_message,
                max_frame,
                ..
            } = route.websocket;
            routes.push(RouteState {
                websocket: Arc::new(Config {
                    decide: true,
                    streaming: false,
                    max_message: max_message.saturating_add(overhead),
                    max_frame: max_frame.saturating_add(overhead),
                    deflate: route
                        .websocket
                        .deflate
                        .clone()
                        .filter(|_| route.encryption.is_none()),
                    // The outbox is the bound.
                    max_queued_bytes: usize::MAX,
                    ..route.websocket.clone()
                }),
                bare: Arc::new(Config {
                    decide: true,
                    ..route.websocket.clone()
                }),
                namespace: rooms.add_namespace(&route.namespace),
                dialect: dialect as u8,
                route: route.clone(),
            });
        }
        Ok(Self {
            gate: Gate::new(config.max_connections, config.max_connections_per_address),
            offline: config.offline.clone().map(OfflineCache::new),
            listener,
            groups: routes.iter().map(|_| None).collect(),
            routes,
            router,
            dialects,
            conns: Table::new(),
            clients: Map::with_hasher(keyed),
            aliases: Map::with_hasher(keyed),
            users: Map::with_hasher(keyed),
            subjects: Map::with_hasher(keyed),
            sweep_at: SUBJECTS,
            rooms,
            broker: Broker::new(BrokerConfig::default()),
            acks: BTreeMap::new(),
            ack_deadlines: BTreeSet::new(),
            timers: Timers::default(),
            queue: VecDeque::new(),
            dirty: VecDeque::new(),
            clock: now,
            origin_ms: unix_ms as i64 - (now.as_micros() / 1_000) as i64,
            serial: 0,
            ack_key: 0,
            memory: None,
            counters: Counters::new(now),
            stopping: false,
            shared,
            config,
        })
    }

    // Inputs

    /// A socket was accepted from `address` (`None`: one without, as a Unix
    /// socket). It counts until [`Output::Close`].
    ///
    /// # Errors
    ///
    /// There are as many as there may be: drop the socket (`ERR_CONN_005`).
    pub fn accept(&mut self, now: Tick, address: Option<IpAddr>) -> Result<ConnId, Crowded> {
        let now = self.tick(now);
        if let Err(crowded) = self.gate.enter(address) {
            self.counters.refused(crowded.into());
            return Err(crowded);
        }
        self.use_config(None);
        let client = ClientId::new(self.shared.entropy.bytes());
        let id = self.conns.insert(Conn {
            endpoint: Endpoint::server(&self.shared, now),
            route: None,
            namespace: NamespaceKey(0),
            state: State::Handshake,
            client,
            address,
            user: None,
            rooms: Vec::new(),
            memory: Memory::default(),
            binary: PeerBinary::None,
            turn: None,
            notice: None,
            changing: None,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            secret: None,
            outbox: None,
            limits: Limits::default(),
            auth_deadline: Tick::MAX,
            heartbeat: Tick::MAX,
            opened: now,
            heard: now,
            pinged: None,
            early: 0,
            owed: 0,
            armed: Tick::MAX,
            flags: Flags::default(),
            profile: Box::new(Profile {
                created: self.unix_ms(),
                ..Profile::default()
            }),
            closed: None,
        });
        self.touch(id);
        Ok(id)
    }

    /// Bytes came from a peer; see [`WebSocket::handle_bytes`](crate::WebSocket::handle_bytes).
    pub fn handle_bytes(&mut self, now: Tick, id: ConnId, data: &mut [u8]) {
        let now = self.tick(now);
        let quota = self.quota(id);
        if let Some((shared, conn)) = self.enter(id) {
            shared.quota = quota;
            conn.endpoint.handle_bytes(shared, now, data);
            shared.quota = u32::MAX;
            let (messages, bytes) = core::mem::take(&mut shared.skipped);
            self.pump(id);
            if messages > 0 {
                self.skipped(id, messages, bytes);
            }
        }
    }

    /// A buffer to read into, when a long payload is under way; see
    /// [`WebSocket::take_fill`](crate::WebSocket::take_fill).
    pub fn take_fill(&mut self, id: ConnId) -> Option<Fill> {
        let (shared, conn) = self.enter(id)?;
        conn.endpoint.take_fill(shared)
    }

    /// The lent buffer, with what was read into it.
    pub fn handle_fill(&mut self, now: Tick, id: ConnId, fill: Fill) {
        let now = self.tick(now);
        if let Some((shared, conn)) = self.enter(id) {
            conn.endpoint.handle_fill(shared, now, fill);
            self.pump(id);
        }
    }

    /// The peer ended its direction of the stream.
    pub fn handle_eof(&mut self, now: Tick, id: ConnId) {
        let now = self.tick(now);
        if let Some((shared, conn)) = self.enter(id) {
            conn.endpoint.handle_eof(shared, now);
            self.pump(id);
        }
    }

    /// The network or the system failed; the connection ends at once.
    pub fn handle_fault(&mut self, now: Tick, id: ConnId, fault: Fault) {
        let now = self.tick(now);
        if let Some((_, conn)) = self.enter(id) {
            conn.endpoint.handle_fault(now, fault);
            self.pump(id);
        }
    }

    /// The kernel took the first `n` bytes of [`unsent`](Self::unsent).
    pub fn transmitted(&mut self, now: Tick, id: ConnId, n: usize) {
        let now = self.tick(now);
        let Some((shared, conn)) = self.enter(id) else {
            return;
        };
        conn.endpoint.transmitted(shared, now, n);
        if conn.outbox.is_some() {
            self.feed(id, WIRE);
        } else if conn.inbox.is_empty() && conn.endpoint.rests(shared) {
            // As after most messages. Its next deadline is no earlier than it was.
            return;
        }
        self.pump(id);
    }

    /// Time has passed. Calling it too early or too often is free.
    pub fn handle_timeout(&mut self, now: Tick) {
        let now = self.tick(now);
        while let Some((due, id)) = self.timers.pop(now) {
            let Some((shared, conn)) = self.enter(id) else {
                continue;
            };
            if conn.armed != due {
                continue;
            }
            conn.armed = Tick::MAX;
            conn.endpoint.handle_timeout(shared, now);
            self.session_timeout(id);
            self.pump(id);
        }
        while let Some(&(deadline, id, key)) = self.ack_deadlines.first() {
            if deadline > now {
                break;
            }
            self.answer(id, key, Answer::TimedOut);
        }
        self.rooms
            .handle_timeout(now, self.config.empty_room_timeout);
        self.broker.handle_timeout(now);
        self.broker_effects();
        if let Some(offline) = &mut self.offline {
            let losses = offline.expire(now);
            self.counters.lost(losses);
        }
    }

    /// The wall clock now, in milliseconds since 1970: it was set, or a day
    /// has passed.
    pub fn handle_clock(&mut self, now: Tick, unix_ms: u64) {
        let now = self.tick(now);
        self.origin_ms = unix_ms as i64 - (now.as_micros() / 1_000) as i64;
    }

    /// What only the process can know: its resident memory in bytes.
    pub fn handle_gauges(&mut self, resident: u64) {
        self.memory = Some(resident);
    }

    // Outputs

    /// What to do next; `None` until another input or command.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.queue.pop_front() {
                if self.queue.is_empty() && self.queue.capacity() > 64 {
                    self.queue = VecDeque::new();
                }
                return Some(output);
            }
            let id = self.dirty.pop_front()?;
            self.collect(id);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), or the latest
    /// tick seen while [`poll_output`](Self::poll_output) has something.
    pub fn next_timeout(&self) -> Option<Tick> {
        if !self.queue.is_empty() || !self.dirty.is_empty() {
            return Some(self.clock);
        }
        [
            self.timers.next(),
            self.ack_deadlines.first().map(|(deadline, ..)| *deadline),
            self.rooms.next_timeout(self.config.empty_room_timeout),
            self.broker.next_timeout(),
            self.offline.as_ref().and_then(OfflineCache::next_expiry),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Bytes to send to a peer, in order.
    pub fn unsent(&self, id: ConnId) -> impl Iterator<Item = &Bytes> {
        self.conns
            .get(id)
            .into_iter()
            .flat_map(|conn| conn.endpoint.unsent())
    }

    /// Closes all connections with 1001 and refuses new ones (IG-43). Over
    /// when [`len`](Self::len) is 0.
    pub fn stop(&mut self, now: Tick) {
        self.tick(now);
        self.stopping = true;
        let ids: Vec<_> = self.conns.ids().collect();
        for id in ids {
            self.shut(id, CloseCode::GOING_AWAY, "Server shutting down");
        }
    }

    /// Lets events of this name from this client's route reach the application
    /// from now on; see [`Route::events`].
    pub fn listen(&mut self, id: ConnId, event: &str) {
        if let Some(route) = self.conns.get(id).and_then(|conn| conn.route)
            && let Some(events) = &mut self.routes[usize::from(route)].route.events
            && !events.contains(event)
        {
            events.insert(event.into());
        }
    }

    // Helpers

    /// Notes the time; it never runs backwards.
    fn tick(&mut self, now: Tick) -> Tick {
        self.clock = self.clock.max(now);
        self.clock
    }

    fn unix_ms(&self) -> u64 {
        let ms = self.origin_ms + (self.clock.as_micros() / 1_000) as i64;
        u64::try_from(ms).unwrap_or(0)
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::new(self.unix_ms())
    }

    /// Makes the options of a route, or of none, those that endpoints see.
    fn use_config(&mut self, route: Option<u16>) {
        let config = match route {
            Some(route) => &self.routes[usize::from(route)].websocket,
            None => &self.listener,
        };
        self.shared.see(config);
    }

    /// A connection and what its endpoint needs.
    #[inline]
    fn enter(&mut self, id: ConnId) -> Option<(&mut Shared, &mut Conn)> {
        let route = self.conns.get(id)?.route;
        self.use_config(route);
        Some((&mut self.shared, self.conns.get_mut(id)?))
    }

    /// Its outputs are to be collected, and its deadline looked at.
    fn touch(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && !conn.flags.dirty
        {
            conn.flags.dirty = true;
            self.dirty.push_back(id);
        }
    }

    /// Takes what an endpoint has to tell.
    fn pump(&mut self, id: ConnId) {
        while let Some((shared, conn)) = self.enter(id) {
            if !conn.endpoint.has_event(shared) || holds(conn, shared) {
                break;
            }
            if answers_first(conn, shared) {
                self.queue.push_back(Output::Transmit(id));
                break;
            }
            match conn.endpoint.poll_output(shared) {
                Some(InnerOutput::Event(event)) => self.told(id, event),
                Some(_) | None => break,
            }
        }
        self.touch(id);
    }

    fn told(&mut self, id: ConnId, event: Inner) {
        match event {
            Inner::Request(ticket) => self.requested(id, ticket),
            Inner::Open(_) => self.opened(id),
            Inner::Message(message) => self.message(id, message),
            Inner::Closed(closed) => self.closed(id, closed),
            // Neither asked for nor possible with the options of `new`.
            Inner::Part(_) | Inner::Ping(_) | Inner::Pong(_) | Inner::Drained => {}
        }
    }

    /// Collects a connection's outputs and sets its timer.
    fn collect(&mut self, id: ConnId) {
        let clock = self.clock;
        let Some((_, conn)) = self.enter(id) else {
            return;
        };
        conn.flags.dirty = false;
        if !conn.inbox.is_empty() {
            // It may have read by now what these waited for.
            self.proceed(id);
        }
        loop {
            let Some((shared, conn)) = self.enter(id) else {
                return;
            };
            let output = if answers_first(conn, shared) {
                self.queue.push_back(Output::Transmit(id));
                // Its end comes when that is done.
                self.touch(id);
                break;
            } else if holds(conn, shared) {
                None
            } else {
                conn.endpoint.poll_output(shared)
            };
            match output {
                None => break,
                Some(InnerOutput::Event(event)) => self.told(id, event),
                Some(InnerOutput::Transmit) => self.queue.push_back(Output::Transmit(id)),
                Some(InnerOutput::PauseRead) => conn.flags.endpoint_paused = true,
                Some(InnerOutput::ResumeRead) => conn.flags.endpoint_paused = false,
                Some(InnerOutput::Shutdown) => self.queue.push_back(Output::Shutdown(id)),
                Some(InnerOutput::Close) => {
                    conn.flags.dropped = true;
                    self.queue.push_back(Output::Close(id));
                }
            }
        }
        let Some((shared, conn)) = self.enter(id) else {
            return;
        };
        let paused = conn.flags.endpoint_paused || conn.is_full();
        let told = core::mem::replace(&mut conn.flags.paused, paused);
        let due = if holds(conn, shared) {
            conn.due()
        } else {
            let endpoint = conn.endpoint.next_timeout(shared).unwrap_or(Tick::MAX);
            conn.due().min(endpoint)
        };
        let dropped = conn.flags.dropped;
        let done = dropped && conn.turn.is_none() && conn.state == State::Disconnected;
        if !done && due < conn.armed {
            conn.armed = due;
            let armed = self.timers.arm(id, Tick::MAX, due.max(clock));
            if let Some(conn) = self.conns.get_mut(id) {
                conn.armed = armed;
            }
        }
        if paused != told && !dropped {
            self.queue.push_back(if paused {
                Output::PauseRead(id)
            } else {
                Output::ResumeRead(id)
            });
        }
        if done && let Some(conn) = self.conns.remove(id) {
            self.gate.leave(conn.address);
        }
    }
}

/// Makes answers to what came before the end of a connection visible; whether
/// there are any, which go out before the end is dealt with.
fn answers_first(conn: &mut Conn, shared: &mut Shared) -> bool {
    !shared.has_events() && conn.endpoint.ends_softly() && conn.endpoint.flush(shared)
}

/// Whether the end of a connection waits for answers to what came before it.
fn holds(conn: &Conn, shared: &Shared) -> bool {
    conn.is_busy() && !shared.has_events() && conn.endpoint.ends_softly()
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("connections", &self.conns.len())
            .field("rooms", &self.rooms.len())
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Tells who waited for an answer of a client; whether anybody did.
    fn answer(&mut self, id: ConnId, key: u64, answer: Answer) -> bool {
        let Some(deadline) = self.acks.remove(&(id, key)) else {
            return false;
        };
        self.ack_deadlines.remove(&(deadline, id, key));
        if let Some(conn) = self.conns.get_mut(id) {
            conn.owed -= 1;
        }
        self.queue.push_back(Output::Event(Event::Answered {
            token: AckToken(key),
            answer,
        }));
        true
    }
}
