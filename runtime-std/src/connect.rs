//! Opening connections.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use smartsocket_core::http::UpgradeRequest;
use smartsocket_core::websocket::{Accept, ClientError};
use smartsocket_core::{Config, Fault, WebSocket as Machine};

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

    /// Connects to a Unix socket; the URL then only names host and path of
    /// the request.
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix = Some(path.into());
        self
    }

    /// Opens the connection. The host's addresses are tried one after the
    /// other, each with its share of the time that is left.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when no address of the host answers in time,
    /// [`Error::Closed`] when the other side is no WebSocket server or
    /// refuses, [`Error::Client`] when TLS cannot be set up.
    pub fn open(mut self) -> Result<WebSocket, Error> {
        let until = Instant::now() + self.timeout.min(FAR);
        let url = self.request.url().clone();
        if url.secure() {
            self.trust_system()?;
        }
        let failed = |fault| Error::Connect {
            host: format!("{}:{}", url.host(), url.port()),
            fault,
        };
        let dialed = match &self.unix {
            Some(path) => UnixStream::connect(path)
                .map(Stream::from)
                .map_err(|error| Fault::from(&error)),
            None => dial(url.host(), url.port(), until),
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

    /// Uses the system's authorities unless the configuration has its own.
    #[cfg(feature = "tls")]
    fn trust_system(&mut self) -> Result<(), Error> {
        if self.config.client_tls.is_none() {
            let tls = crate::roots::system().map_err(ClientError::Tls)?;
            self.config.client_tls = Some(tls);
        }
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    fn trust_system(&mut self) -> Result<(), Error> {
        Err(ClientError::NoTls.into())
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

/// Tries the host's addresses in turn.
pub(crate) fn dial(host: &str, port: u16, until: Instant) -> Result<Stream, Fault> {
    let addresses = interleave(resolve(host, port, until)?);
    let mut last = Fault::NotFound(host.to_owned());
    let count = addresses.len();
    for (index, address) in addresses.into_iter().enumerate() {
        let share = left(until) / u32::try_from(count - index).unwrap_or(u32::MAX);
        if share.is_zero() {
            return Err(Fault::TimedOut);
        }
        match TcpStream::connect_timeout(&address, share) {
            Ok(tcp) => return Ok(tcp.into()),
            Err(error) => {
                log::debug!(target: "smartsocket:std", "cannot connect to {address}: {error}");
                last = Fault::from(error);
            }
        }
    }
    Err(last)
}

/// The addresses of a host. The system's lookup knows no time limit, so it
/// runs in a thread that is left behind if it takes too long.
fn resolve(host: &str, port: u16, until: Instant) -> Result<Vec<SocketAddr>, Fault> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    thread::Builder::new()
        .name("smartsocket-dns".into())
        .spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs();
            // Nobody listens when it took too long.
            let _ = sender.send(found.map(Iterator::collect));
        })
        .map_err(Fault::from)?;
    let found: io::Result<Vec<_>> = receiver
        .recv_timeout(left(until))
        .map_err(|_| Fault::TimedOut)?;
    found.map_err(|error| Fault::NotFound(format!("{host} ({error})")))
}

/// Families in turn, so that a broken one costs one step (RFC 8305 §4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (a, b): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut all = Vec::new();
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    loop {
        let before = all.len();
        all.extend(a.next());
        all.extend(b.next());
        if all.len() == before {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mixed = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"]
            .map(address)
            .to_vec();
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(address);
        assert_eq!(interleave(mixed), expected);
    }

    #[test]
    fn a_literal_address_needs_no_lookup() {
        let now = Instant::now();
        assert_eq!(
            resolve("::1", 80, now).unwrap(),
            ["[::1]:80".parse().unwrap()]
        );
        assert_eq!(
            resolve("127.0.0.1", 80, now).unwrap(),
            ["127.0.0.1:80".parse().unwrap()]
        );
    }
}
