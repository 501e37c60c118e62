//! Opening connections.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::FutureExt as _;
use smartsocket_core::dial::{NEXT_ADDRESS, System, Way, in_turn};
use smartsocket_core::http::UpgradeRequest;
#[cfg(feature = "tls")]
use smartsocket_core::tls::{ClientTls, TlsError};
use smartsocket_core::websocket::{Accept, ClientError};
use smartsocket_core::{Config, Fault, WebSocket as Machine};

use crate::clock::{self, Clock};
use crate::stream::Stream;
use crate::websocket::WebSocket;
use smartsocket_core::websocket::Error;

/// A connection to be opened.
///
/// ```no_run
/// # async fn connect() -> Result<(), smartsocket_smol::Error> {
/// use smartsocket_smol::Connect;
///
/// let mut ws = Connect::new("wss://example.com/chat")?
///     .header("Authorization", "Bearer 0000")?
///     .subprotocol("chat.v2")?
///     .open()
///     .await?;
/// ws.send("hello").await?;
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
        let request = UpgradeRequest::new(url)?;
        Ok(Self {
            request,
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
    /// The name is not a token.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, Error> {
        self.request = self.request.subprotocol(name)?;
        Ok(self)
    }

    /// Options of the connection. Default: those of [`Config`].
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// From here to the open connection: name lookup, TCP, TLS and upgrade
    /// together. Default 10 s.
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

    /// Opens the connection.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when no address of the host answers,
    /// [`Error::Closed`] when the other side is no WebSocket server or
    /// refuses; [`Error::Client`] when TLS cannot be set up.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn open(mut self) -> Result<WebSocket, Error> {
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
        let place = format!("{before}{host}:{port}");
        let failed = |fault| Error::Connect {
            host: place.clone(),
            fault,
        };
        let timeout = self.timeout;
        let open = async {
            let dialed = match &self.unix {
                Some(path) => Async::<UnixStream>::connect(path).await.map(Stream::from),
                None => dial(host, port).await,
            };
            let stream = dialed.map_err(|error| failed(fault(&error)))?;
            let clock = Clock::start();
            let machine = Machine::client(
                self.request,
                Arc::new(self.config),
                clock::seed(),
                clock.now(),
            )?;
            let decide = async |ticket: smartsocket_core::websocket::Ticket| {
                ticket.accept(Accept::default())
            };
            WebSocket::over_socket(stream, clock, machine)
                .run(decide)
                .await
        };
        open.or(async {
            Timer::after(timeout).await;
            Err(failed(Fault::TimedOut))
        })
        .await
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
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Connect::new(url)?.open().await
    }
}

/// Tries the host's addresses, each a little after the one before, and keeps
/// the first that answers.
pub(crate) async fn dial(host: String, port: u16) -> io::Result<Stream> {
    let name = host.clone();
    let addresses: Vec<SocketAddr> = blocking::unblock(move || {
        (name.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect)
    })
    .await
    .map_err(|error| io::Error::new(io::ErrorKind::NotFound, format!("{host}: {error}")))?;
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, host));
    }
    happy(in_turn(addresses), NEXT_ADDRESS, connect).await
}

/// Tries the next as soon as one fails, or `step` after one was started; the
/// earlier attempts stay in the race.
async fn happy<A, T, F>(
    addresses: Vec<A>,
    step: Duration,
    connect: impl Fn(A) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>> + Send,
    T: Send,
{
    type Attempt<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;
    let mut addresses = addresses.into_iter();
    let Some(first) = addresses.next() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut attempt: Attempt<'_, T> = Box::pin(connect(first));
    for address in addresses {
        let patience = async {
            Timer::after(step).await;
            None
        };
        let earlier = async { Some(attempt.as_mut().await) }.or(patience).await;
        attempt = match earlier {
            Some(Ok(won)) => return Ok(won),
            Some(Err(_)) => Box::pin(connect(address)),
            None => Box::pin(race(attempt, connect(address))),
        };
    }
    attempt.await
}

async fn connect(address: SocketAddr) -> io::Result<Stream> {
    Async::<TcpStream>::connect(address).await.map(Stream::from)
}

/// The first success of two; the last failure when both fail.
async fn race<T>(
    a: impl Future<Output = io::Result<T>>,
    b: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    enum First<T> {
        A(io::Result<T>),
        B(io::Result<T>),
    }
    let first = async { First::A(a.as_mut().await) }
        .or(async { First::B(b.as_mut().await) })
        .await;
    match first {
        First::A(Ok(won)) | First::B(Ok(won)) => Ok(won),
        First::A(Err(_)) => b.await,
        First::B(Err(_)) => a.await,
    }
}

pub(crate) fn fault(error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::NotFound {
        Fault::NotFound(error.to_string())
    } else {
        Fault::from(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_address_makes_way_at_once_and_a_silent_one_after_a_step() {
        use std::cell::RefCell;
        const HOUR: Duration = Duration::from_secs(3_600);
        let tried = RefCell::new(Vec::new());
        let connect = |name: &'static str| {
            tried.borrow_mut().push(name);
            async move {
                match name {
                    "refused" => Err(io::ErrorKind::ConnectionRefused.into()),
                    "silent" => std::future::pending().await,
                    open => Ok(open),
                }
            }
        };
        let dial =
            |names: &[&'static str], step| async_io::block_on(happy(names.to_vec(), step, connect));
        // With an hour between steps this ends only if a refusal needs none.
        assert_eq!(dial(&["refused", "refused", "a"], HOUR).unwrap(), "a");
        assert_eq!(dial(&["a", "b"], HOUR).unwrap(), "a");
        assert_eq!(dial(&["silent", "a"], Duration::ZERO).unwrap(), "a");
        assert_eq!(
            dial(&["silent", "refused", "a"], Duration::ZERO).unwrap(),
            "a"
        );
        assert!(dial(&["refused", "refused"], HOUR).is_err());
        assert!(dial(&[], HOUR).is_err());
        tried.borrow_mut().clear();
        let _ = dial(&["a", "b"], HOUR);
        assert_eq!(*tried.borrow(), ["a"], "nobody else is bothered");
    }

    #[test]
    fn a_race_is_won_by_the_first_success_and_lost_by_the_last_failure() {
        let ok = |n| async move { Ok::<_, io::Error>(n) };
        let fail = || async { Err::<i32, _>(io::ErrorKind::ConnectionRefused.into()) };
        async_io::block_on(async {
            assert_eq!(race(fail(), ok(2)).await.unwrap(), 2);
            assert_eq!(race(ok(1), fail()).await.unwrap(), 1);
            assert!(race(fail(), fail()).await.is_err());
        });
    }
}
