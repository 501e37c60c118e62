//! Opening connections.

use std::io::{self, PipeReader};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use smartsocket_core::dial::{NEXT_ADDRESS, System, Way, in_turn};
use smartsocket_core::http::UpgradeRequest;
#[cfg(feature = "tls")]
use smartsocket_core::tls::{ClientTls, TlsError};
use smartsocket_core::websocket::{Accept, ClientError};
use smartsocket_core::{Config, Fault, WebSocket as Machine};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::{self, Clock};
use crate::link::Link;
use crate::stream::Stream;
use crate::websocket::WebSocket;
use smartsocket_core::websocket::Error;

/// A connection to be opened.
///
/// ```no_run
/// # fn main() -> Result<(), smartsocket_std::Error> {
/// use smartsocket_std::Connect;
///
/// let mut ws = Connect::new("wss://example.com/chat")?
///     .header("Authorization", "Bearer 0000")?
///     .subprotocol("chat.v2")?
///     .open()?;
/// ws.send("hello")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connect {
    request: UpgradeRequest,
    config: Config,
    timeout: Duration,
    unix: Option<PathBuf>,
    way: Way,
}

impl Connect {
    /// A connection to a `ws://` or `wss://` URL. Credentials in the URL go
    /// as basic authorization.
    ///
    /// # Errors
    ///
    /// The URL is not one of a WebSocket.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            request: UpgradeRequest::new(url)?,
            config: Config::default(),
            timeout: Duration::from_secs(10),
            unix: None,
            way: Way::default(),
        })
    }

    /// Adds a header to the request.
    ///
    /// # Errors
    ///
    /// The header cannot be sent, or is the handshake's own.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        self.request = self.request.header(name, value)?;
        Ok(self)
    }

    /// Offers a subprotocol; the first offered is the one liked best.
    ///
    /// # Errors
    ///
    /// The name is not a token, or offered already.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, Error> {
        self.request = self.request.subprotocol(name)?;
        Ok(self)
    }

    /// Options of the connection. Default: those of [`Config`]. For `wss://`
    /// the system's authorities are trusted unless
    /// [`client_tls`](Config::client_tls) is set.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// From [`open`](Self::open) to the open connection: name lookup, TCP, TLS
    /// and upgrade together. The latter two are also bound by
    /// [`handshake_timeout`](Config::handshake_timeout). Default 10 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects to a Unix socket, without a proxy; the URL then only names host
    /// and path of the request.
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix = Some(path.into());
        self
    }

    /// The proxy to go through, and whom TLS trusts. Default: as the system has
    /// it.
    #[must_use]
    pub fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// Opens the connection. Of the host's addresses, each is tried a little
    /// after the one before, and the first that answers is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when no address of the host answers in time,
    /// [`Error::Closed`] when the other side is no WebSocket server or
    /// refuses, [`Error::Client`] when TLS cannot be set up.
    pub fn open(mut self) -> Result<WebSocket, Error> {
        let until = Instant::now() + self.timeout.min(FAR);
        let url = self.request.url().clone();
        if self.unix.is_some() {
            self.way = self.way.no_proxy();
        }
        self.way.apply(Some(&url), &mut self.config, &Os)?;
        let proxy = self.config.proxy(&url).map_err(ClientError::from)?;
        let (host, port) = match proxy {
            Some(proxy) => (proxy.host().to_owned(), proxy.port()),
            None => (url.host().to_owned(), url.port()),
        };
        let before = if proxy.is_some() { "the proxy " } else { "" };
        let failed = |fault| Error::Connect {
            host: format!("{before}{host}:{port}"),
            fault,
        };
        let dialed = match &self.unix {
            Some(path) => UnixStream::connect(path)
                .map(Stream::from)
                .map_err(|error| Fault::from(&error)),
            None => dial(&host, port, until, None),
        };
        let stream = dialed.map_err(failed)?;
        let clock = Clock::start();
        let config = Arc::new(self.config);
        let machine = Machine::client(self.request, config, clock::seed(), clock.now())?;
        let link = Link::new(stream, clock, machine);
        let deadline = clock.after(left(until));
        match link.open(|ticket| ticket.accept(Accept::default()), Some(deadline)) {
            Ok(()) => Ok(WebSocket::over(Arc::new(link))),
            Err(Error::TimedOut) => Err(failed(Fault::TimedOut)),
            Err(error) => Err(error),
        }
    }
}

/// What this system says where nobody chose.
pub(crate) struct Os;

impl System for Os {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    #[cfg(feature = "tls")]
    fn authorities(&self) -> Vec<Vec<u8>> {
        crate::roots::certificates()
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<ClientTls, TlsError> {
        crate::roots::system()
    }
}

impl WebSocket {
    /// Opens a connection to a `ws://` or `wss://` URL with default options;
    /// [`Connect`] has more of them.
    ///
    /// # Errors
    ///
    /// As [`Connect::open`], or the URL is not one of a WebSocket.
    pub fn connect(url: &str) -> Result<Self, Error> {
        Connect::new(url)?.open()
    }
}

/// Longer than anybody waits, and short enough to be added to any clock.
const FAR: Duration = Duration::from_secs(86_400 * 365);

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Tries the host's addresses, each a little after the one before, and keeps
/// the first that answers. It ends when the other end of `stop` is closed.
pub(crate) fn dial(
    host: &str,
    port: u16,
    until: Instant,
    stop: Option<&PipeReader>,
) -> Result<Stream, Fault> {
    let addresses = in_turn(resolve(host, port, until, stop)?);
    let none = || Fault::NotFound(host.to_owned());
    race(addresses, NEXT_ADDRESS, until, stop).map_err(|fault| fault.unwrap_or_else(none))
}

/// Waits for one of these, at most until then; which of them has something.
fn wait<'a>(
    mut fds: Vec<PollFd<'a>>,
    until: Instant,
    stop: Option<&'a PipeReader>,
) -> Result<Vec<bool>, Fault> {
    fds.extend(stop.map(|stop| PollFd::new(stop, PollFlags::IN)));
    let patience = Timespec::try_from(left(until));
    // An interruption is a wake-up like others.
    let _ = rustix::event::poll(&mut fds, patience.ok().as_ref());
    let mut found: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
    if stop.is_some() && found.pop() == Some(true) {
        return Err(Fault::other("given up"));
    }
    Ok(found)
}

/// Tries the next as soon as one fails, or `step` after one was started; the
/// earlier attempts stay in the race. What the last one failed of, if all did.
fn race(
    addresses: Vec<SocketAddr>,
    step: Duration,
    until: Instant,
    stop: Option<&PipeReader>,
) -> Result<Stream, Option<Fault>> {
    let mut addresses = addresses.into_iter();
    let mut race: Vec<(SocketAddr, Socket)> = Vec::new();
    let mut last = None;
    let fails = |address, error: io::Error| {
        log::debug!(target: "smartsocket:std", "cannot connect to {address}: {error}");
        Some(Fault::from(error))
    };
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        if now >= until {
            return Err(Some(Fault::TimedOut));
        }
        if now >= next || race.is_empty() {
            match addresses.next() {
                Some(address) => match begin(address) {
                    Ok(socket) => {
                        race.push((address, socket));
                        next = now + step;
                    }
                    Err(error) => {
                        last = fails(address, error);
                        continue;
                    }
                },
                None if race.is_empty() => return Err(last),
                None => next = until,
            }
        }
        let sockets = race.iter().map(|(_, socket)| socket);
        let fds = sockets.map(|socket| PollFd::new(socket, PollFlags::OUT));
        let answered = wait(fds.collect(), next.min(until), stop)?;
        for at in (0..race.len()).rev().filter(|&at| answered[at]) {
            let (address, socket) = race.remove(at);
            match finish(socket) {
                Ok(tcp) => return Ok(tcp.into()),
                Err(error) => {
                    last = fails(address, error);
                    next = now;
                }
            }
        }
    }
}

/// Starts to connect, and does not wait.
fn begin(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        Ok(()) | Err(_) => Ok(socket),
    }
}

/// What came of it, once the socket can be written to.
fn finish(socket: Socket) -> io::Result<TcpStream> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

/// The addresses of a host. The system's lookup knows no time limit, so it
/// runs in a thread that is left behind if it takes too long.
fn resolve(
    host: &str,
    port: u16,
    until: Instant,
    stop: Option<&PipeReader>,
) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = mpsc::channel();
    // It is closed when there is an answer.
    let (waits, looks) = io::pipe()?;
    let name = host.to_owned();
    thread::Builder::new()
        .name("smartsocket-dns".into())
        .spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs();
            // Nobody listens when it took too long.
            let _ = sender.send(found.map(Iterator::collect));
            drop(looks);
        })
        .map_err(Fault::from)?;
    let found: io::Result<Vec<_>> = loop {
        match receiver.try_recv() {
            Ok(found) => break found,
            Err(TryRecvError::Disconnected) => return Err(Fault::NotFound(host.to_owned())),
            Err(TryRecvError::Empty) if Instant::now() >= until => return Err(Fault::TimedOut),
            Err(TryRecvError::Empty) => {
                wait(vec![PollFd::new(&waits, PollFlags::IN)], until, stop)?;
            }
        }
    };
    found.map_err(|error| Fault::NotFound(format!("{host} ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Transport as _;
    use std::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// A listener that takes connections.
    fn open() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Nobody listens there.
    fn refused() -> SocketAddr {
        open().1
    }

    /// An address that does not answer: all who may wait to be accepted do.
    fn silent() -> (Socket, Vec<Socket>, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let crowd = (0..4).map(|_| begin(address).unwrap()).collect();
        (socket, crowd, address)
    }

    #[test]
    fn a_refused_address_makes_way_at_once_and_a_silent_one_after_a_step() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let (_open, a) = open();
        let (_other, b) = open();
        let (_listener, _crowd, s) = silent();
        let won = |addresses: &[SocketAddr], step| {
            let stream = race(addresses.to_vec(), step, soon(), None).unwrap();
            stream.peer_addr().unwrap()
        };
        // With an hour between steps this ends only if a refusal needs none.
        assert_eq!(won(&[refused(), refused(), a], HOUR), a);
        assert_eq!(won(&[a, b], HOUR), a);
        assert_eq!(won(&[s, a], Duration::ZERO), a);
        assert_eq!(won(&[s, refused(), a], Duration::ZERO), a);
    }

    #[test]
    fn when_all_fail_the_last_failure_counts_and_the_deadline_holds() {
        let now = Instant::now();
        let fault = race(vec![refused(), refused()], NEXT_ADDRESS, soon(), None).unwrap_err();
        assert_eq!(fault, Some(Fault::Refused));
        assert_eq!(
            race(Vec::new(), NEXT_ADDRESS, soon(), None).unwrap_err(),
            None
        );
        let (_listener, _crowd, s) = silent();
        let until = now + Duration::from_millis(50);
        let fault = race(vec![s], NEXT_ADDRESS, until, None).unwrap_err();
        assert_eq!(fault, Some(Fault::TimedOut));
        assert!(Instant::now() >= until);
    }

    #[test]
    fn an_attempt_that_nobody_wants_ends() {
        let (_listener, _crowd, s) = silent();
        let (stop, wanted) = io::pipe().unwrap();
        let attempt = thread::spawn(move || race(vec![s], NEXT_ADDRESS, soon(), Some(&stop)));
        drop(wanted);
        let fault = attempt.join().unwrap().unwrap_err();
        assert_eq!(fault, Some(Fault::other("given up")));
    }

    #[test]
    fn a_stream_that_won_blocks_as_others_do() {
        let (listener, address) = open();
        let stream = race(vec![address], NEXT_ADDRESS, soon(), None).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let reader = thread::spawn(move || {
            let mut got = [0; 5];
            let read = stream.read(&mut got, Some(Duration::from_secs(20)));
            (read.unwrap(), got)
        });
        io::Write::write_all(&mut peer, b"hello").unwrap();
        assert_eq!(reader.join().unwrap(), (5, *b"hello"));
    }

    #[test]
    fn a_literal_address_needs_no_lookup() {
        let now = Instant::now();
        assert_eq!(
            resolve("::1", 80, now, None).unwrap(),
            ["[::1]:80".parse().unwrap()]
        );
        assert_eq!(
            resolve("127.0.0.1", 80, now, None).unwrap(),
            ["127.0.0.1:80".parse().unwrap()]
        );
    }
}
