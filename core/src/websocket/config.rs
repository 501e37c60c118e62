//! Options of one WebSocket endpoint.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::deflate::Deflate;
use crate::http::{HeadLimits, Headers, Origins, Url};
use crate::proxy::{Proxies, Proxy, ProxyError};

/// Options of a [`WebSocket`](crate::WebSocket), of either role.
///
/// The defaults are meant to be safe on an open network. All sizes are in
/// bytes of payload unless said otherwise; a duration of `None` turns the
/// deadline off.
///
/// ```
/// use smartsocket_core::Config;
///
/// let config = Config { max_message: 64 << 20, ..Config::default() };
/// assert_eq!(config.max_queued_bytes, 1 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest message taken, after decompression. A longer one closes
    /// the connection with 1009 before it is buffered. Default 1 MiB.
    pub max_message: usize,
    /// The longest frame taken, where that is less than `max_message`.
    /// Default: no limit of its own.
    pub max_frame: usize,
    /// Most fragments of one message, empty ones counted. One more closes
    /// with 1008. Default 4,096.
    pub max_fragments: u32,
    /// Messages longer than this go out in fragments of this size, so that a
    /// ping or a close frame never waits behind a whole long message. At
    /// least 1. Default 1 MiB.
    pub fragment_size: usize,
    /// Most bytes that wait to be sent, frame headers included. A message
    /// beyond is handed back; an empty queue always takes one message,
    /// however long. Default 1 MiB.
    pub max_queued_bytes: usize,
    /// Deliver messages in parts as their bytes arrive
    /// ([`Event::Part`](crate::websocket::Event::Part)) instead of whole.
    /// Default `false`.
    pub streaming: bool,
    /// Tell of pings and pongs by events. They are answered and matched
    /// either way. Default `false`.
    pub control_events: bool,

    /// From construction to the end of the upgrade, TLS included; rests while
    /// the application decides. Default 5 s.
    pub handshake_timeout: Option<Duration>,
    /// A ping goes out after this time without a byte from the peer. Default 25 s.
    pub ping_interval: Option<Duration>,
    /// The connection is dead when nothing at all arrives for this time after
    /// a keepalive ping; any byte counts, not only the pong. Default 10 s.
    pub pong_timeout: Duration,
    /// Close with 1000 after this time without a message in either direction;
    /// pings do not count. Default off.
    pub idle_timeout: Option<Duration>,
    /// From our close frame (as long as bytes before it move, from the last of
    /// them) to the peer's, and again to the end of the stream. Default 5 s.
    pub close_timeout: Duration,
    /// The connection is dropped when bytes wait to be sent and the peer
    /// takes none of them for this time. Default 10 s.
    pub write_timeout: Option<Duration>,

    /// Offer (client) or accept (server) permessage-deflate. Default off.
    pub deflate: Option<Deflate>,
    /// Subprotocols a server speaks, the one it likes best first. A client
    /// names its own in its request. Default none.
    pub subprotocols: Vec<String>,
    /// From which web pages a server accepts connections. Default: pages of
    /// the same host, and everything that is not a browser.
    pub origins: Origins,
    /// Bounds of the request or response head. Default 8 KiB, 64 headers.
    pub head: HeadLimits,
    /// Headers a server adds to its 101 response. Default none.
    pub headers: Headers,
    /// Ask the application about every request
    /// ([`Event::Request`](crate::websocket::Event::Request)): plain HTTP
    /// requests too, and upgrades that passed all checks. Without it, upgrades
    /// that pass are accepted and the rest is answered with an error.
    /// Default `false`.
    pub decide: bool,
    /// Server, with `decide`: the longest content of a plain HTTP request, in
    /// bytes. The application is asked when all of it is there
    /// ([`Request::body`](crate::http::Request::body)), within
    /// `handshake_timeout`, or the client is answered with 408; with 413 to
    /// longer content, and with 411 to content (or a `POST`, `PUT` or `PATCH`)
    /// without a `Content-Length`. At 0, content is thrown away unread.
    /// Default 0.
    pub max_body: usize,
    /// Client: the proxies on the way, for which the stream goes to the
    /// proxy's host and port and not to the server's. Default: no choice is
    /// made. The machine then uses none; an adapter may take those of the
    /// environment. [`Proxies::none`] is the choice of none.
    pub proxies: Option<Proxies>,

    /// Server: speak TLS with this certificate. Default: plain text.
    #[cfg(feature = "tls")]
    pub server_tls: Option<crate::tls::ServerTls>,
    /// Client: what `wss://` trusts. Default: nothing, so that `wss://` fails
    /// until the embedder (or its adapter) chooses roots.
    #[cfg(feature = "tls")]
    pub client_tls: Option<crate::tls::ClientTls>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_message: 1 << 20,
            max_frame: usize::MAX,
            max_fragments: 4_096,
            fragment_size: 1 << 20,
            max_queued_bytes: 1 << 20,
            streaming: false,
            control_events: false,
            handshake_timeout: Some(Duration::from_secs(5)),
            ping_interval: Some(Duration::from_secs(25)),
            pong_timeout: Duration::from_secs(10),
            idle_timeout: None,
            close_timeout: Duration::from_secs(5),
            write_timeout: Some(Duration::from_secs(10)),
            deflate: None,
            subprotocols: Vec::new(),
            origins: Origins::default(),
            head: HeadLimits::default(),
            headers: Headers::default(),
            decide: false,
            max_body: 0,
            proxies: None,
            #[cfg(feature = "tls")]
            server_tls: None,
            #[cfg(feature = "tls")]
            client_tls: None,
        }
    }
}

impl Config {
    /// The proxy to open the stream to, if the way to this URL has one.
    ///
    /// # Errors
    ///
    /// The proxy that was chosen cannot be used.
    pub fn proxy(&self, url: &Url) -> Result<Option<&Proxy>, ProxyError> {
        let proxies = self.proxies.as_ref();
        proxies.map_or(Ok(None), |proxies| proxies.of(url))
    }
}
