//! Serving: shards, their connections, and an orderly end.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_executor::LocalExecutor;
use async_io::{Timer, block_on};
use async_signal::{Signal, Signals};
use futures_lite::future::yield_now;
use futures_lite::{FutureExt as _, StreamExt as _};
use smartsocket_core::websocket::{Accept, Decision, Ticket};
use smartsocket_core::{Config, WebSocket as Machine};

use crate::accept::{Acceptor, Listener, Place, Socket};
use crate::clock::{self, Clock};
use crate::live::{Leash, Live};
use crate::websocket::WebSocket;

type Decide = Arc<dyn Fn(Ticket) -> Pin<Box<dyn Future<Output = Decision>>> + Send + Sync>;

/// A WebSocket server.
///
/// ```no_run
/// use smartsocket_smol::{Server, WebSocket};
///
/// # fn main() -> std::io::Result<()> {
/// let server = Server::bind("127.0.0.1:3000")?;
/// smartsocket_smol::block_on(server.run(async |mut ws: WebSocket| {
///     while let Some(Ok(message)) = ws.recv().await {
///         if ws.send(message).await.is_err() {
///             break;
///         }
///     }
/// }))
/// # }
/// ```
pub struct Server {
    listener: Listener,
    config: Config,
    decide: Option<Decide>,
    shards: usize,
    max_connections: usize,
    max_connections_per_address: usize,
    drain_timeout: Duration,
    signals: bool,
    stopper: Stopper,
    stopped: Receiver<()>,
}

impl Server {
    /// Listens on the first of the addresses that works; port 0 lets the
    /// system choose, see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    ///
    /// None of the addresses can be listened on; for instance
    /// [`AddrInUse`](io::ErrorKind::AddrInUse).
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::new(Listener::bind(addresses)?))
    }

    /// Listens on a Unix socket, whose file must not exist.
    ///
    /// # Errors
    ///
    /// The path cannot be bound.
    pub fn bind_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::new(Listener::unix(path.as_ref())?))
    }

    /// Serves a socket that listens already.
    ///
    /// # Errors
    ///
    /// The socket's options cannot be set.
    pub fn from_listener(listener: TcpListener) -> io::Result<Self> {
        Ok(Self::new(Listener::tcp(listener)?))
    }

    fn new(listener: Listener) -> Self {
        let (stopper, stopped) = Stopper::new();
        Self {
            listener,
            config: Config::default(),
            decide: None,
            shards: 1,
            max_connections: 10_000,
            max_connections_per_address: 64,
            drain_timeout: Duration::from_secs(5),
            signals: false,
            stopper,
            stopped,
        }
    }

    /// Options of every connection. Default: those of [`Config`].
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Asks `decide` about every request, plain HTTP included: which upgrades
    /// to accept, and what to answer to the rest. Without it every upgrade
    /// that passes [`Config`]'s rules is accepted.
    #[must_use]
    pub fn on_request<D, F>(mut self, decide: D) -> Self
    where
        D: Fn(Ticket) -> F + Send + Sync + 'static,
        F: Future<Output = Decision> + 'static,
    {
        self.config.decide = true;
        self.decide = Some(Arc::new(move |ticket| Box::pin(decide(ticket))));
        self
    }

    /// Threads, each with its own executor and connections. The first is the
    /// one that calls [`run`](Self::run). Default 1.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// Most connections at a time; one more is answered with 503. Default 10,000.
    #[must_use]
    pub const fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max;
        self
    }

    /// Most connections of one address at a time, loopback exempt. Default 64.
    #[must_use]
    pub const fn max_connections_per_address(mut self, max: usize) -> Self {
        self.max_connections_per_address = max;
        self
    }

    /// How long connections may take to close when the server stops. Default 5 s.
    #[must_use]
    pub const fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Stops on SIGINT and SIGTERM.
    #[must_use]
    pub const fn stop_on_signals(mut self) -> Self {
        self.signals = true;
        self
    }

    /// The address it listens on; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// A handle that stops the server from anywhere.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until stopped: `handler` runs once for every connection, on the
    /// thread that has it. When it returns, the connection is closed with
    /// 1000 if it has not been; when it panics, with 1011, and only this
    /// connection suffers.
    ///
    /// A handler that blocks the thread stops every connection of its shard:
    /// hand such work to [`unblock`](blocking::unblock).
    ///
    /// Stopping ends every connection with 1001 and waits for them and their
    /// handlers, at most [`drain_timeout`](Self::drain_timeout). The future
    /// must be run where it may stay on its thread, by [`block_on`] or a local
    /// executor. Dropping it stops the server too, without waiting.
    ///
    /// # Errors
    ///
    /// Signals or threads cannot be set up.
    pub async fn run<H>(self, handler: H) -> io::Result<()>
    where
        H: AsyncFn(WebSocket) + Clone + Send + 'static,
    {
        let shared = Arc::new(Shared {
            config: Arc::new(self.config),
            decide: self.decide,
            stopper: self.stopper.clone(),
            drain_timeout: self.drain_timeout,
        });
        let mut signals = if self.signals {
            Some(Signals::new([Signal::Int, Signal::Term])?)
        } else {
            None
        };

        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for n in 1..self.shards {
            let (queue, sockets) = async_channel::unbounded();
            queues.push(queue);
            let (shared, stopped, handler) =
                (Arc::clone(&shared), self.stopped.clone(), handler.clone());
            threads.push(
                thread::Builder::new()
                    .name(format!("smartsocket-{n}"))
                    .spawn(move || block_on(Shard::new(shared).run(sockets, stopped, handler)))?,
            );
        }
        let (queue, sockets) = async_channel::unbounded();
        queues.push(queue);

        let acceptor = Acceptor::new(
            self.listener,
            self.max_connections,
            self.max_connections_per_address,
        );
        let shard = Shard::new(shared);
        // A task of its own: the future given to an executor's `run` is polled
        // on every wake-up of any task.
        let accepting = shard.executor.spawn(accept(acceptor, queues));
        let stopper = self.stopper;
        let listening = shard.executor.spawn(async move {
            if let Some(signals) = &mut signals {
                signals.next().await;
                log::info!(target: "smartsocket:server", "stopping on a signal");
                stopper.stop();
            }
        });
        let until = self.stopped.clone();
        let ending = shard.executor.spawn(async move {
            let _ = until.recv().await;
            accepting.cancel().await;
            drop(listening);
        });
        shard.run(sockets, self.stopped, handler).await;
        drop(ending);
        for thread in threads {
            // A shard that panicked has said so on stderr.
            let _ = thread.join();
        }
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Stops a [`Server`].
#[derive(Clone, Debug)]
pub struct Stopper {
    pub(crate) flag: Arc<AtomicBool>,
    sender: Sender<()>,
}

impl Stopper {
    /// One that has not been told, and where it is heard.
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (sender, stopped) = async_channel::bounded(1);
        let flag = Arc::default();
        (Self { flag, sender }, stopped)
    }

    /// Tells the server to stop; [`Server::run`] returns when it has. Calling
    /// it again changes nothing.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.sender.close();
    }
}

/// What all shards have in common.
struct Shared {
    config: Arc<Config>,
    decide: Option<Decide>,
    stopper: Stopper,
    drain_timeout: Duration,
}

/// One thread's part of the server.
struct Shard {
    executor: Rc<LocalExecutor<'static>>,
    shared: Arc<Shared>,
}

impl Shard {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            executor: Rc::default(),
            shared,
        }
    }

    async fn run<H>(self, sockets: Receiver<(Socket, Place)>, stopped: Receiver<()>, handler: H)
    where
        H: AsyncFn(WebSocket) + Clone + 'static,
    {
        struct StopAtEnd(Stopper);
        impl Drop for StopAtEnd {
            fn drop(&mut self) {
                self.0.stop();
            }
        }
        let Self { executor, shared } = self;
        // Dropped before the executor and the connections in it, which then
        // know why.
        let _end = StopAtEnd(shared.stopper.clone());
        // Weak: a task that held its executor would keep it, and all its
        // connections, for ever when this future is dropped.
        let spawner = Rc::downgrade(&executor);
        let main = executor.spawn(async move {
            let live = Live::new(Arc::clone(&shared.stopper.flag));
            let next = || async { sockets.recv().await.ok() }.or(async {
                let _ = stopped.recv().await;
                None
            });
            while let Some((socket, place)) = next().await {
                let Some(executor) = spawner.upgrade() else {
                    return;
                };
                let leash = live.add(Some(place));
                let connection = serve(Arc::clone(&shared), socket, leash, handler.clone());
                executor.spawn(guarded(Box::pin(connection))).detach();
            }
            live.wake_all();
            let emptied = async {
                while live.count() > 0 {
                    Timer::after(Duration::from_millis(5)).await;
                }
            };
            let late = async {
                Timer::after(shared.drain_timeout).await;
                log::warn!(target: "smartsocket:server", "{} connections did not close in time", live.count());
            };
            emptied.or(late).await;
        });
        executor.run(main).await;
    }
}

/// A panic ends this connection only; what it left behind is dropped.
///
/// Boxed, because an `async fn` has room for its argument twice: where it came
/// in and where it is awaited.
pub(crate) async fn guarded(connection: Pin<Box<impl Future<Output = ()>>>) {
    if AssertUnwindSafe(connection).catch_unwind().await.is_err() {
        log::error!(target: "smartsocket:server", "a connection's handler panicked");
    }
}

/// One connection from its socket to the end of its handler.
async fn serve<H: AsyncFn(WebSocket)>(
    shared: Arc<Shared>,
    socket: Socket,
    leash: Arc<Leash>,
    handler: H,
) {
    let stream = match socket.into_stream() {
        Ok(stream) => stream,
        Err(error) => {
            return log::warn!(target: "smartsocket:server", "cannot use a socket: {error}");
        }
    };
    let clock = Clock::start();
    let machine = Machine::server(Arc::clone(&shared.config), clock::seed(), clock.now());
    let mut websocket = WebSocket::over_socket(stream, clock, machine);
    websocket.set_leash(Arc::clone(&leash));
    let decide = async |ticket: Ticket| match &shared.decide {
        Some(decide) => decide(ticket).await,
        None => ticket.accept(Accept::default()),
    };
    // Not in a `match` around the handler, which would keep the result's room.
    let websocket = match websocket.run(decide).await {
        Ok(websocket) => websocket,
        Err(error) => {
            return log::debug!(target: "smartsocket:server", "no WebSocket: {error}");
        }
    };
    handler(websocket).await;
}

/// Deals sockets to the shards in turn.
async fn accept(mut acceptor: Acceptor, queues: Vec<Sender<(Socket, Place)>>) {
    loop {
        for queue in &queues {
            let accepted = acceptor.next().await;
            if queue.send(accepted).await.is_err() {
                return;
            }
            // A queue full of connections must not keep those inside waiting.
            yield_now().await;
        }
    }
}
