//! Serving: a thread for every connection, and an orderly end.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use smartsocket_core::websocket::{Accept, Decision, Ticket};
use smartsocket_core::{CloseCode, Config};

use crate::accept::{Acceptor, Listener, Place, Stop, refuse};
use crate::link::Link;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// After their sockets are shut down, how long handlers get to see it.
const GRACE: Duration = Duration::from_millis(500);

type Decide = Box<dyn Fn(Ticket) -> Decision + Send + Sync>;
type Handler = Box<dyn Fn(WebSocket) + Send + Sync>;

/// A WebSocket server with a thread for every connection.
///
/// ```no_run
/// use smartsocket_std::Server;
///
/// # fn main() -> std::io::Result<()> {
/// Server::bind("127.0.0.1:3000")?.run(|mut ws| {
///     while let Some(Ok(message)) = ws.recv() {
///         if ws.send(message).is_err() {
///             break;
///         }
///     }
/// })
/// # }
/// ```
pub struct Server {
    listener: Listener,
    config: Config,
    decide: Option<Decide>,
    max_connections: usize,
    max_connections_per_address: usize,
    drain_timeout: Duration,
    stack_size: usize,
    signals: bool,
    stop: Arc<Stop>,
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
        Self::new(Listener::bind(addresses)?)
    }

    /// Listens on a Unix socket, whose file must not exist. It is left behind
    /// when the server stops.
    ///
    /// # Errors
    ///
    /// The path cannot be bound.
    pub fn bind_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(Listener::unix(path.as_ref())?)
    }

    /// Serves a socket that listens already.
    ///
    /// # Errors
    ///
    /// The socket's options cannot be set.
    pub fn from_listener(listener: TcpListener) -> io::Result<Self> {
        Self::new(Listener::tcp(listener)?)
    }

    fn new(listener: Listener) -> io::Result<Self> {
        Ok(Self {
            listener,
            config: Config::default(),
            decide: None,
            max_connections: 10_000,
            max_connections_per_address: 64,
            drain_timeout: Duration::from_secs(5),
            stack_size: 256 * 1024,
            signals: false,
            stop: Arc::new(Stop::new()?),
        })
    }

    /// Options of every connection. Default: those of [`Config`].
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Config {
            decide: config.decide || self.decide.is_some(),
            ..config
        };
        self
    }

    /// Asks `decide` about every request, plain HTTP included: which upgrades
    /// to accept, and what to answer to the rest. Without it every upgrade
    /// that passes [`Config`]'s rules is accepted. It runs on the thread of
    /// its connection, and no deadline runs meanwhile.
    #[must_use]
    pub fn on_request(
        mut self,
        decide: impl Fn(Ticket) -> Decision + Send + Sync + 'static,
    ) -> Self {
        self.config.decide = true;
        self.decide = Some(Box::new(decide));
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

    /// The stack of a connection's thread, in bytes: room for the handler and
    /// what it calls. Default 256 KiB, of which only what is used takes memory.
    #[must_use]
    pub const fn stack_size(mut self, size: usize) -> Self {
        self.stack_size = size;
        self
    }

    /// Stops on SIGINT and SIGTERM. These no longer end the process by
    /// themselves once [`run`](Self::run) was called, also after it returned.
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
        Stopper {
            stop: Arc::clone(&self.stop),
        }
    }

    /// Serves until stopped: `handler` runs once for every connection, on a
    /// thread of its own. When it returns, the connection is closed with 1000
    /// if it has not been; when it panics, with 1011, and only this connection
    /// suffers.
    ///
    /// Stopping closes every connection with 1001, waits for the handlers, at
    /// most [`drain_timeout`](Self::drain_timeout), and then shuts the sockets
    /// down. A handler that still does not return is left behind.
    ///
    /// # Errors
    ///
    /// Signals cannot be set up, or the system cannot wait for connections.
    pub fn run(self, handler: impl Fn(WebSocket) + Send + Sync + 'static) -> io::Result<()> {
        let _signals = match self.signals {
            true => Some(Signals::register(&self.stop)?),
            false => None,
        };
        let shared = Arc::new(Shared {
            decide: self.decide,
            handler: Box::new(handler),
            live: Live::default(),
        });
        let config = Arc::new(self.config);
        let mut acceptor = Acceptor::new(
            self.listener,
            self.max_connections,
            self.max_connections_per_address,
        );
        while let Some((stream, place)) = acceptor.next(&self.stop)? {
            let link = Arc::new(Link::server(stream, Arc::clone(&config)));
            let connection = Connection::new(&shared, &link, place);
            let spawned = thread::Builder::new()
                .name("smartsocket-ws".into())
                .stack_size(self.stack_size)
                .spawn(move || connection.serve());
            if let Err(error) = spawned {
                log::warn!(target: "smartsocket:std", "refused a connection: no thread: {error}");
                refuse(link.transport());
            }
        }
        // Nobody else comes in.
        drop(acceptor);
        shared.live.stop(self.drain_timeout);
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
    stop: Arc<Stop>,
}

impl Stopper {
    pub(crate) fn of(stop: &Arc<Stop>) -> Self {
        Self {
            stop: Arc::clone(stop),
        }
    }

    /// Tells the server to stop and returns at once; [`Server::run`] returns
    /// when it has. Calling it again changes nothing.
    pub fn stop(&self) {
        self.stop.stop();
    }
}

/// Signals that stop the server, until dropped.
pub(crate) struct Signals([SigId; 2]);

impl Signals {
    pub(crate) fn register(stop: &Stop) -> io::Result<Self> {
        let interrupt = pipe::register(SIGINT, stop.writer()?)?;
        match stop.writer().and_then(|end| pipe::register(SIGTERM, end)) {
            Ok(terminate) => Ok(Self([interrupt, terminate])),
            Err(error) => {
                unregister(interrupt);
                Err(error)
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.0 {
            unregister(id);
        }
    }
}

/// What all connections have in common.
struct Shared {
    decide: Option<Decide>,
    handler: Handler,
    live: Live,
}

/// The connections that have a thread.
#[derive(Default)]
struct Live {
    links: Mutex<Links>,
    empty: Condvar,
}

#[derive(Default)]
struct Links {
    next: u64,
    by_id: HashMap<u64, Arc<Link<Stream>>>,
}

impl Live {
    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Link<Stream>>> {
        self.lock().by_id.values().cloned().collect()
    }

    /// Ends all connections; how politely, depends on their peers.
    fn stop(&self, drain_timeout: Duration) {
        for link in self.all() {
            link.start_close(CloseCode::GOING_AWAY, "server is stopping");
        }
        let left = self.wait(drain_timeout);
        if left > 0 {
            log::warn!(target: "smartsocket:std", "{left} connections did not close in time");
            for link in self.all() {
                link.cut();
            }
            self.wait(GRACE);
        }
    }

    /// Waits for the threads to end; how many did not.
    fn wait(&self, timeout: Duration) -> usize {
        let busy = |links: &mut Links| !links.by_id.is_empty();
        let waited = self.empty.wait_timeout_while(self.lock(), timeout, busy);
        let (links, _) = waited.unwrap_or_else(PoisonError::into_inner);
        links.by_id.len()
    }
}

/// One connection, on its way to its thread and there.
struct Connection {
    shared: Arc<Shared>,
    link: Arc<Link<Stream>>,
    id: u64,
    _place: Place,
}

impl Connection {
    fn new(shared: &Arc<Shared>, link: &Arc<Link<Stream>>, place: Place) -> Self {
        let mut links = shared.live.lock();
        let id = links.next;
        links.next += 1;
        links.by_id.insert(id, Arc::clone(link));
        Self {
            shared: Arc::clone(shared),
            link: Arc::clone(link),
            id,
            _place: place,
        }
    }

    /// From the upgrade to the end of the handler, and of the connection.
    fn serve(self) {
        let decide = |ticket: Ticket| match &self.shared.decide {
            Some(decide) => decide(ticket),
            None => ticket.accept(Accept::default()),
        };
        // What a panic leaves behind is closed below.
        let served = catch_unwind(AssertUnwindSafe(|| match self.link.open(decide, None) {
            Ok(()) => (self.shared.handler)(WebSocket::over(Arc::clone(&self.link))),
            Err(error) => log::debug!(target: "smartsocket:std", "no WebSocket: {error}"),
        }));
        let code = match served {
            Ok(()) => CloseCode::NORMAL,
            Err(_) => {
                log::error!(target: "smartsocket:std", "a connection's handler panicked");
                CloseCode::INTERNAL
            }
        };
        self.link.close(code, "");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut links = self.shared.live.lock();
        links.by_id.remove(&self.id);
        if links.by_id.is_empty() {
            self.shared.live.empty.notify_all();
        }
    }
}
