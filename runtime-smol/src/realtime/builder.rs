//! What an application says before it serves.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_executor::LocalExecutor;
use async_io::Timer;
use async_signal::{Signal, Signals};
use futures_lite::{FutureExt as _, StreamExt as _};
use smartsocket_core::http::{ApiConfig, Request, Response};
use smartsocket_core::hub::{Gone, Hub, HubConfig, Identity, Incoming, Interest, Route};
use smartsocket_core::{Bytes, Json, OfflineConfig, RateLimit, Utf8Bytes};

use super::handlers::{App, Handlers, RequestHandler, boxed_event};
use super::io::{Io, Job, Remote};
use super::shard::Shard;
use super::socket::{Ack, Socket};
use crate::accept::{Acceptor, Listener};
use crate::clock;
use crate::live::Live;
use crate::server::{Server, Stopper};
use crate::websocket::WebSocket;

impl Server {
    /// A realtime server: dialects, rooms and handlers. [`Server::bind`] is for
    /// bare connections.
    ///
    /// ```no_run
    /// use smartsocket_smol::{Server, block_on};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let server = Server::builder()
    ///     .namespace("/chat", |chat| {
    ///         chat.on("message", async |socket, data, ack| {
    ///             let namespace = socket.namespace();
    ///             let _ = socket.io().namespace(&namespace).emit("message", data);
    ///             let _ = ack.send(&serde_json::json!({ "success": true }));
    ///         });
    ///     })
    ///     .bind("127.0.0.1:3000")?;
    /// block_on(server.run())
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
    signals: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: HubConfig::default(),
            handlers: Vec::new(),
            request: None,
            drain_timeout: Duration::from_secs(5),
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
        H: AsyncFn(WebSocket) + 'static,
    {
        route.bare = true;
        self.config.routes.push(route);
        let handler = Rc::new(handler);
        self.handlers.push(Handlers {
            bare: Some(Rc::new(move |websocket| {
                let handler = Rc::clone(&handler);
                Box::pin(async move { handler(websocket).await })
            })),
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
    pub fn on_request<H, F>(mut self, handler: H) -> Self
    where
        H: Fn(Request, Io) -> F + 'static,
        F: Future<Output = Response> + 'static,
    {
        self.request = Some(Rc::new(move |request, io| Box::pin(handler(request, io))));
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
        let (jobs, todo) = async_channel::unbounded();
        let (stop, stopped) = Stopper::new();
        Ok(Realtime {
            builder: self,
            listener,
            remote: Remote { jobs },
            todo,
            stopper: stop,
            stopped,
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
/// other; a handler that waits holds up only its own connection.
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
        H: AsyncFn(Socket, Json, Ack) + 'static,
    {
        self.handlers
            .events
            .entry(event.into())
            .or_default()
            .push(boxed_event(handler));
        self
    }

    /// Calls `handler` for every event, after those of its name (IG-74).
    pub fn on_any<H>(&mut self, handler: H) -> &mut Self
    where
        H: AsyncFn(Socket, Incoming, Ack) + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers.any.push(Rc::new(move |socket, event, ack| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler(socket, event, ack).await })
        }));
        self
    }

    /// Calls `handler` for every client that is there, and authenticated if it
    /// has to be: SmartSocket's `connected` (SS-123), Ignis's
    /// `clientConnectedFn` (IG-72).
    pub fn on_connected<H>(&mut self, handler: H) -> &mut Self
    where
        H: AsyncFn(Socket) + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers.connected.push(Rc::new(move |socket| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler(socket).await })
        }));
        self
    }

    /// Calls `handler` for every client that is gone (IG-73).
    pub fn on_disconnected<H>(&mut self, handler: H) -> &mut Self
    where
        H: AsyncFn(Socket, Gone) + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers
            .disconnected
            .push(Rc::new(move |socket, gone| {
                let handler = Rc::clone(&handler);
                Box::pin(async move { handler(socket, gone).await })
            }));
        self
    }

    /// Calls `handler` for every client that sends too much, instead of
    /// telling it `__rate-limited__` (SS-101).
    pub fn on_rate_limited<H>(&mut self, handler: H) -> &mut Self
    where
        H: AsyncFn(Socket) + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers.rate_limited.push(Rc::new(move |socket| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler(socket).await })
        }));
        self
    }

    /// Calls `handler` for every binary message.
    pub fn on_binary<H>(&mut self, handler: H) -> &mut Self
    where
        H: AsyncFn(Socket, Bytes) + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers.binary.push(Rc::new(move |socket, data| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler(socket, data).await })
        }));
        self
    }

    /// Passes every event through `middleware` first, in the order in which
    /// they were added: `Ok(None)` lets it through, `Ok(Some(data))` with other
    /// data, `Err` blocks it and tells the client why (SS-10, SS-32).
    #[doc(alias = "use")]
    pub fn use_<M>(&mut self, middleware: M) -> &mut Self
    where
        M: AsyncFn(Socket, Utf8Bytes, Option<Json>) -> Result<Option<Json>, String> + 'static,
    {
        let middleware = Rc::new(middleware);
        self.handlers.uses.push(Rc::new(move |socket, event, data| {
            let middleware = Rc::clone(&middleware);
            Box::pin(async move { middleware(socket, event, data).await })
        }));
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
        H: AsyncFn(Request) -> bool + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers.verify = Some(Rc::new(move |request| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler(request).await })
        }));
        self
    }

    /// Judges credentials: who the client is, or `None` to turn it away (IG-69).
    pub fn authenticate<H>(&mut self, handler: H) -> &mut Self
    where
        H: AsyncFn(Socket, Json) -> Option<Identity> + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers.authenticate = Some(Rc::new(move |socket, data| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler(socket, data).await })
        }));
        self
    }

    /// Judges which of the rooms it asks for a client may join (IG-71).
    pub fn validate_rooms<H>(&mut self, handler: H) -> &mut Self
    where
        H: AsyncFn(Socket, Vec<Utf8Bytes>) -> Vec<Utf8Bytes> + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers.rooms = Some(Rc::new(move |socket, rooms| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler(socket, rooms).await })
        }));
        self
    }

    /// Changes events on their way to clients that are marked for it; `None`
    /// leaves one as it is (IG-75).
    pub fn transform<H>(&mut self, handler: H) -> &mut Self
    where
        H: AsyncFn(Socket, Utf8Bytes, Option<Json>) -> Option<(Utf8Bytes, Option<Json>)> + 'static,
    {
        let handler = Rc::new(handler);
        self.handlers.transform = Some(Rc::new(move |socket, event, data| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler(socket, event, data).await })
        }));
        self
    }
}

/// A realtime server that listens.
#[must_use]
pub struct Realtime {
    builder: Builder,
    listener: Listener,
    remote: Remote,
    todo: async_channel::Receiver<Job>,
    stopper: Stopper,
    stopped: async_channel::Receiver<()>,
}

impl Realtime {
    /// The address it listens on; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// A handle that stops the server from anywhere.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until stopped: SS-01 and SS-02.
    ///
    /// Everything runs on the thread this is polled on; a handler that blocks
    /// it stops the server. Stopping ends every connection with 1001 and waits
    /// for them, at most [`Builder::drain_timeout`].
    ///
    /// # Errors
    ///
    /// Signals cannot be listened to.
    pub async fn run(self) -> io::Result<()> {
        let Self {
            builder,
            listener,
            todo,
            stopper,
            stopped,
            remote: _remote,
        } = self;
        let mut signals = if builder.signals {
            Some(Signals::new([Signal::Int, Signal::Term])?)
        } else {
            None
        };
        let executor = Rc::new(LocalExecutor::new());
        let app = App::new(builder.handlers, builder.request);
        let shard = {
            let config = builder.config;
            let make = |now, unix_ms| match Hub::new(config, clock::seed(), now, unix_ms) {
                Ok(made) => made,
                Err(error) => unreachable!("checked when it was bound: {error}"),
            };
            let live = Live::new(Arc::clone(&stopper.flag));
            Rc::new(Shard::new(make, app, Rc::clone(&executor), live))
        };
        shard.app.bind(&shard);

        let tasks = [
            executor.spawn(Rc::clone(&shard).flush()),
            executor.spawn(Rc::clone(&shard).keep_time()),
            executor.spawn(Rc::clone(&shard).keep_gauges()),
            executor.spawn({
                let shard = Rc::clone(&shard);
                async move {
                    let io = Io::new(&shard);
                    while let Ok(job) = todo.recv().await {
                        job(&io);
                    }
                }
            }),
        ];
        let accepting = executor.spawn({
            let shard = Rc::clone(&shard);
            async move {
                // The hub counts.
                let mut acceptor = Acceptor::new(listener, usize::MAX, usize::MAX);
                loop {
                    let (socket, place) = acceptor.next().await;
                    shard.open(socket, place.address());
                    futures_lite::future::yield_now().await;
                }
            }
        });
        let main = async {
            let signal = async {
                match &mut signals {
                    Some(signals) => {
                        signals.next().await;
                        log::info!(target: "smartsocket:server", "stopping on a signal");
                    }
                    None => futures_lite::future::pending().await,
                }
            };
            let told = async {
                let _ = stopped.recv().await;
            };
            signal.or(told).await;
            stopper.stop();
            accepting.cancel().await;
            shard.hub.borrow_mut().stop(shard.now());
            shard.drain();
            shard.live.wake_all();
            let left = || shard.hub.borrow().len() + shard.live.count();
            let emptied = async {
                while left() > 0 {
                    Timer::after(Duration::from_millis(5)).await;
                }
            };
            let late = async {
                Timer::after(builder.drain_timeout).await;
                log::warn!(target: "smartsocket:server", "{} connections did not close in time", left());
            };
            emptied.or(late).await;
        };
        executor.run(main).await;
        drop(tasks);
        Ok(())
    }
}

impl fmt::Debug for Realtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Realtime")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}
