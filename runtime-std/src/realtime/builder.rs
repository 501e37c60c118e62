//! What an application says before it serves.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use smartsocket_core::http::{ApiConfig, Request, Response};
use smartsocket_core::hub::{Gone, Hub, HubConfig, Identity, Incoming, Interest, Route};
use smartsocket_core::{Bytes, Json, OfflineConfig, RateLimit, Utf8Bytes};

use super::handlers::{App, Handlers, RequestHandler};
use super::io::Io;
use super::shard::Shard;
use super::socket::{Ack, Socket};
use crate::accept::{Acceptor, Listener, Stop};
use crate::clock;
use crate::server::{Server, Signals, Stopper};
use crate::websocket::WebSocket;

impl Server {
    /// A realtime server: dialects, rooms and handlers. [`Server::bind`] is for
    /// bare connections.
    ///
    /// ```no_run
    /// use smartsocket_std::Server;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let server = Server::builder()
    ///     .namespace("/chat", |chat| {
    ///         chat.on("message", |socket, data, ack| {
    ///             let namespace = socket.namespace();
    ///             let _ = socket.io().namespace(&namespace).emit("message", data);
    ///             let _ = ack.send(&serde_json::json!({ "success": true }));
    ///         });
    ///     })
    ///     .bind("127.0.0.1:3000")?;
    /// server.run()
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// Routes, handlers and options of a realtime server.
#[must_use]
pub struct Builder {
    config: HubConfig,
    handlers: Vec<Handlers>,
    request: Option<RequestHandler>,
    drain_timeout: Duration,
    workers: usize,
    stack_size: usize,
    signals: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: HubConfig::default(),
            handlers: Vec::new(),
            request: None,
            drain_timeout: Duration::from_secs(5),
            workers: 64,
            stack_size: 256 * 1024,
            signals: false,
        }
    }
}

impl Builder {
    /// A SmartSocket namespace at this path, and what happens in it.
    pub fn namespace(self, path: &str, set_up: impl FnOnce(&mut Routes)) -> Self {
        self.route(Route::smartsocket(path), set_up)
    }

    /// A route of any dialect, and what happens on it.
    pub fn route(mut self, route: Route, set_up: impl FnOnce(&mut Routes)) -> Self {
        let mut routes = Routes {
            route,
            handlers: Handlers::default(),
        };
        set_up(&mut routes);
        let Routes {
            mut route,
            handlers,
        } = routes;
        route.interest |= handlers.interest();
        if let Some(events) = handlers.wanted_events() {
            route.events = Some(events.into_iter().collect());
        }
        self.config.routes.push(route);
        self.handlers.push(handlers);
        self
    }

    /// Connections at this path, each driven by `handler` itself, as
    /// [`Server::run`] would. `route` is made by [`Route::bare`].
    pub fn bare<H>(mut self, mut route: Route, handler: H) -> Self
    where
        H: Fn(WebSocket) + Send + Sync + 'static,
    {
        route.bare = true;
        self.config.routes.push(route);
        self.handlers.push(Handlers {
            bare: Some(Arc::new(handler)),
            ..Handlers::default()
        });
        self
    }

    /// Changes any option of the hub; routes are added by
    /// [`route`](Self::route).
    pub fn config(mut self, change: impl FnOnce(&mut HubConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Most connections at a time. Default 10,000 (SS-51).
    pub fn max_connections(self, max: usize) -> Self {
        self.config(|config| config.max_connections = max)
    }

    /// The HTTP API for rooms, clients and figures. Default: for callers from
    /// this machine only.
    pub fn api(self, api: Option<ApiConfig>) -> Self {
        self.config(|config| config.api = api)
    }

    /// Keeps messages for users who are away (SS-50). Default: does not.
    pub fn offline(self, offline: OfflineConfig) -> Self {
        self.config(|config| config.offline = Some(offline))
    }

    /// Answers plain HTTP requests that nothing else answers.
    pub fn on_request<H>(mut self, handler: H) -> Self
    where
        H: Fn(&Request, &Io) -> Response + Send + Sync + 'static,
    {
        self.request = Some(Arc::new(handler));
        self
    }

    /// Most threads that call handlers. They come when there is work and go
    /// when there is none; when all are busy, turns wait. Default 64.
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The stack of a connection's thread, in bytes; on bare routes the handler
    /// runs on it. Default 256 KiB, of which only what is used takes memory.
    pub const fn stack_size(mut self, size: usize) -> Self {
        self.stack_size = size;
        self
    }

    /// How long connections may take to close when the server stops. Default 5 s.
    pub const fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Stops on SIGINT and SIGTERM.
    pub const fn stop_on_signals(mut self) -> Self {
        self.signals = true;
        self
    }

    /// Listens on the first of the addresses that works.
    ///
    /// # Errors
    ///
    /// None of them can be listened on, or two routes have one path.
    pub fn bind(self, addresses: impl ToSocketAddrs) -> io::Result<Realtime> {
        self.over(Listener::bind(addresses)?)
    }

    /// Listens on a Unix socket, whose file must not exist.
    ///
    /// # Errors
    ///
    /// The path cannot be bound, or two routes have one path.
    pub fn bind_unix(self, path: impl AsRef<Path>) -> io::Result<Realtime> {
        self.over(Listener::unix(path.as_ref())?)
    }

    /// Serves a socket that listens already.
    ///
    /// # Errors
    ///
    /// The socket's options cannot be set, or two routes have one path.
    pub fn from_listener(self, listener: TcpListener) -> io::Result<Realtime> {
        self.over(Listener::tcp(listener)?)
    }

    fn over(mut self, listener: Listener) -> io::Result<Realtime> {
        if self.request.is_some()
            && let Some(route) = self.config.routes.first_mut()
        {
            route.interest |= Interest::REQUEST;
        }
        let clock = clock::Clock::start();
        // Told now, not when the server runs.
        Hub::new(self.config.clone(), clock::seed(), clock.now(), 0)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let app = App::new(self.handlers, self.request);
        let config = self.config;
        let make = |now, unix_ms| match Hub::new(config, clock::seed(), now, unix_ms) {
            Ok(made) => made,
            Err(error) => unreachable!("checked above: {error}"),
        };
        let (shard, bell) = Shard::new(make, app, self.workers, self.stack_size)?;
        shard.app.bind(&shard);
        Ok(Realtime {
            listener,
            shard,
            bell,
            stop: Arc::new(Stop::new()?),
            drain_timeout: self.drain_timeout,
            signals: self.signals,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What happens on a route. Handlers of one connection run one after the
/// other; a handler that blocks holds up only its own connection.
pub struct Routes {
    /// Its options; see [`Route`].
    pub route: Route,
    pub(super) handlers: Handlers,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.route.fmt(f)
    }
}

impl Routes {
    /// Calls `handler` for every event of this name (SS-04, SS-29).
    pub fn on<H>(&mut self, event: &str, handler: H) -> &mut Self
    where
        H: Fn(&Socket, Json, Ack) + Send + Sync + 'static,
    {
        self.handlers
            .events
            .entry(event.into())
            .or_default()
            .push(Arc::new(handler));
        self
    }

    /// Calls `handler` for every event, after those of its name (IG-74).
    pub fn on_any<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Socket, Incoming, Ack) + Send + Sync + 'static,
    {
        self.handlers.any.push(Arc::new(handler));
        self
    }

    /// Calls `handler` for every client that is there, and authenticated if it
    /// has to be: SmartSocket's `connected` (SS-123), Ignis's
    /// `clientConnectedFn` (IG-72).
    pub fn on_connected<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Socket) + Send + Sync + 'static,
    {
        self.handlers.connected.push(Arc::new(handler));
        self
    }

    /// Calls `handler` for every client that is gone (IG-73).
    pub fn on_disconnected<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Socket, &Gone) + Send + Sync + 'static,
    {
        self.handlers.disconnected.push(Arc::new(handler));
        self
    }

    /// Calls `handler` for every client that sends too much, instead of
    /// telling it `__rate-limited__` (SS-101).
    pub fn on_rate_limited<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Socket) + Send + Sync + 'static,
    {
        self.handlers.rate_limited.push(Arc::new(handler));
        self
    }

    /// Calls `handler` for every binary message.
    pub fn on_binary<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Socket, Bytes) + Send + Sync + 'static,
    {
        self.handlers.binary.push(Arc::new(handler));
        self
    }

    /// Passes every event through `middleware` first, in the order in which
    /// they were added: `Ok(None)` lets it through, `Ok(Some(data))` with other
    /// data, `Err` blocks it and tells the client why (SS-10, SS-32).
    #[doc(alias = "use")]
    pub fn use_<M>(&mut self, middleware: M) -> &mut Self
    where
        M: Fn(&Socket, &Utf8Bytes, Option<&Json>) -> Result<Option<Json>, String>
            + Send
            + Sync
            + 'static,
    {
        self.handlers.uses.push(Arc::new(middleware));
        self
    }

    /// Most messages of one event from one client (SS-11).
    pub fn set_event_rate_limit(&mut self, event: &str, limit: RateLimit) -> &mut Self {
        self.route.event_rates.set(event, limit);
        self
    }

    /// Judges requests before anything else does: those of whom it does not
    /// want get a 403 (MB-35). Pages of other origins are refused already
    /// ([`Config::origins`](smartsocket_core::Config::origins)).
    pub fn verify_client<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Request) -> bool + Send + Sync + 'static,
    {
        self.handlers.verify = Some(Arc::new(handler));
        self
    }

    /// Judges credentials: who the client is, or `None` to turn it away (IG-69).
    pub fn authenticate<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Socket, &Json) -> Option<Identity> + Send + Sync + 'static,
    {
        self.handlers.authenticate = Some(Arc::new(handler));
        self
    }

    /// Judges which of the rooms it asks for a client may join (IG-71).
    pub fn validate_rooms<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Socket, &[Utf8Bytes]) -> Vec<Utf8Bytes> + Send + Sync + 'static,
    {
        self.handlers.rooms = Some(Arc::new(handler));
        self
    }

    /// Changes events on their way to clients that are marked for it; `None`
    /// leaves one as it is (IG-75).
    pub fn transform<H>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(&Socket, &Utf8Bytes, Option<&Json>) -> Option<(Utf8Bytes, Option<Json>)>
            + Send
            + Sync
            + 'static,
    {
        self.handlers.transform = Some(Arc::new(handler));
        self
    }
}

/// A realtime server that listens.
#[must_use]
pub struct Realtime {
    listener: Listener,
    shard: Arc<Shard>,
    bell: io::PipeReader,
    stop: Arc<Stop>,
    drain_timeout: Duration,
    signals: bool,
}

impl Realtime {
    /// The address it listens on; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// The server, for any thread.
    pub fn io(&self) -> Io {
        self.shard.io()
    }

    /// A handle that stops the server from anywhere.
    pub fn stopper(&self) -> Stopper {
        Stopper::of(&self.stop)
    }

    /// Serves until stopped: SS-01 and SS-02.
    ///
    /// A handler that blocks holds up only its own connection, as long as
    /// [`Builder::workers`] are free. Stopping ends every connection with 1001
    /// and waits for them, at most [`Builder::drain_timeout`].
    ///
    /// # Errors
    ///
    /// Signals or threads cannot be set up, or the system cannot wait for
    /// connections.
    pub fn run(self) -> io::Result<()> {
        let Self {
            listener,
            shard,
            bell,
            stop,
            drain_timeout,
            signals,
        } = self;
        let _signals = match signals {
            true => Some(Signals::register(&stop)?),
            false => None,
        };
        let (timing, flushing) = (Arc::clone(&shard), Arc::clone(&shard));
        let named = |name: &str| thread::Builder::new().name(name.into());
        let timer = named("smartsocket-timer").spawn(move || timing.keep_time())?;
        let flusher = named("smartsocket-flush").spawn(move || flushing.flush(bell))?;

        // The hub counts.
        let mut acceptor = Acceptor::new(listener, usize::MAX, usize::MAX);
        let accepted = loop {
            match acceptor.next(&stop) {
                Ok(Some((stream, place))) => shard.open(stream, place.address()),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(acceptor);
        let now = shard.now();
        shard.hub().stop(now);
        shard.drain();
        shard.app.close_bare();
        let end = Instant::now() + drain_timeout;
        let left = || shard.threads.load(Ordering::Relaxed);
        while left() > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        if left() > 0 {
            log::warn!(target: "smartsocket:std", "{} connections did not close in time", left());
            shard.app.cut_bare();
        }
        shard.end();
        let _ = (timer.join(), flusher.join());
        accepted
    }
}

impl fmt::Debug for Realtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Realtime")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}
