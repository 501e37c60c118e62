//! Options of a client.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use zeroize::Zeroize as _;

use crate::limit::RateLimit;
use crate::websocket::Config;

use super::backoff::Backoff;

/// A token, password or key: it is not shown, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a client says who it is (PO-02, PO-28 to PO-31).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// By a parameter of the URL, percent-encoded. Servers and proxies write
    /// URLs to their logs: prefer another way where there is one (PO-70).
    Query {
        /// Its name. Protocol OS: `token`.
        name: String,
    },
    /// By a first message.
    FirstMessage {
        /// What `{{type}}` in the template stands for.
        kind: String,
        /// The message; see [`DEFAULT_TEMPLATE`].
        template: String,
    },
    /// By a subprotocol, the last of those offered.
    Subprotocol,
    /// By a header of the request.
    Header {
        /// Its name, such as `Authorization`.
        name: String,
        /// What stands before the token, such as `Bearer `.
        prefix: String,
    },
}

/// The first message where none is given (PO-07).
pub const DEFAULT_TEMPLATE: &str = r#"{"type":"{{type}}","token":"{{token}}"}"#;

impl Auth {
    /// By the parameter `token`.
    pub fn query() -> Self {
        Self::Query {
            name: "token".to_owned(),
        }
    }

    /// By the message of [`DEFAULT_TEMPLATE`], of type `authenticate`.
    pub fn first_message() -> Self {
        Self::FirstMessage {
            kind: "authenticate".to_owned(),
            template: DEFAULT_TEMPLATE.to_owned(),
        }
    }

    /// By the header `Authorization: Bearer …`.
    pub fn bearer() -> Self {
        Self::Header {
            name: "Authorization".to_owned(),
            prefix: "Bearer ".to_owned(),
        }
    }
}

/// Pings as messages of the provider's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// One goes out this long after the last. Default 30 s.
    pub interval: Duration,
    /// So long anything that comes is an answer. Default 5 s.
    pub timeout: Duration,
}

impl Default for Ping {
    /// PO-09, PO-10.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
        }
    }
}

/// What waits while there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Messages. Default 1,000.
    pub max_messages: usize,
    /// Their bytes. Default 1 MiB.
    pub max_bytes: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_messages: 1_000,
            max_bytes: 1024 * 1024,
        }
    }
}

/// Options of a [`Client`](super::Client).
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where to connect: `ws://` or `wss://`.
    pub url: String,
    /// How to say who we are.
    pub auth: Auth,
    /// What to say it with. Where there is a hook, the token of the first
    /// attempt.
    pub token: Option<Secret>,
    /// Ask for a token before each attempt: [`Output::Token`](super::Output).
    pub refresh: bool,
    /// Offered in this order, before the provider's own.
    pub subprotocols: Vec<String>,
    /// Sent with the request.
    pub headers: Vec<(String, Secret)>,
    /// From the start of an attempt to `authenticated`, token hook included.
    /// Default 30 s. It takes the place of [`Config::handshake_timeout`].
    pub connect_timeout: Duration,
    /// How to come back; `None` stays away (PO-11).
    pub reconnect: Option<Backoff>,
    /// Pings of the provider's protocol; those of WebSocket are in
    /// `websocket`.
    pub ping: Option<Ping>,
    /// How long a request waits for its answer. Default 30 s.
    pub request_timeout: Duration,
    /// What waits while there is no connection.
    pub queue: QueueConfig,
    /// How long a message may wait for others, to go out together with them in
    /// one packet; it waits no longer once `batch_bytes` are there. Default
    /// none.
    pub batch: Option<Duration>,
    /// Enough for a packet. Default 1,200.
    pub batch_bytes: usize,
    /// How fast the peer lets us send, everything counted.
    pub outbound: Option<RateLimit>,
    /// After so long, a connection is made to take the place of the one there
    /// is, which stays until messages come by the new one; some may come by
    /// both. For providers that end connections of a certain age. Default none,
    /// or somewhat less than the provider's.
    pub lifetime: Option<Duration>,
    /// Options of the WebSocket below.
    pub websocket: Arc<Config>,
}

impl ClientConfig {
    /// Defaults, for a URL. [`Provider::config`](super::Provider::config) has
    /// those of a provider.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: Auth::None,
            token: None,
            refresh: false,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            reconnect: Some(Backoff::default()),
            ping: Some(Ping::default()),
            request_timeout: Duration::from_secs(30),
            queue: QueueConfig::default(),
            batch: None,
            batch_bytes: 1_200,
            outbound: None,
            lifetime: None,
            websocket: Arc::new(Config::default()),
        }
    }
}
