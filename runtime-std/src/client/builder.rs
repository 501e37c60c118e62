//! Options of a client.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smartsocket_core::client::{
    Auth, Backoff, Client as Machine, ClientConfig, ConfigError, Ping, Provider, Secret,
};
use smartsocket_core::dial::Way;
use smartsocket_core::http::Url;
use smartsocket_core::{Config, Json};

use crate::clock::{self, Clock};
use crate::connect::Os;

use super::driver::Driver;
use super::handle::{Client, Shared};

/// Gives the token for the next attempt; `None` where there is none.
pub(super) type TokenHook = Arc<Mutex<dyn FnMut() -> Option<Secret> + Send>>;

/// Gives the proof that the client may have a channel; see
/// [`ClientBuilder::proof_hook`].
pub(super) type ProofHook = Arc<Mutex<dyn FnMut(&str, &str) -> Option<Json> + Send>>;

/// A client to be made.
pub struct ClientBuilder {
    provider: Provider,
    config: ClientConfig,
    hook: Option<TokenHook>,
    proof_hook: Option<ProofHook>,
    buffer: usize,
    way: Way,
}

impl ClientBuilder {
    pub(super) fn new(provider: Provider, url: String) -> Self {
        Self {
            config: provider.config(url),
            provider,
            hook: None,
            proof_hook: None,
            buffer: 1_024,
            way: Way::default(),
        }
    }

    /// Changes any option, but those of the [`way`](Self::way).
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        change(&mut self.config);
        self.config.refresh |= self.hook.is_some();
        self
    }

    /// How to say who we are. Default: not at all.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.config.auth = auth;
        self
    }

    /// What to say it with.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Some(Secret::from(token));
        self
    }

    /// Asks this for a token before each attempt, on a thread of its own
    /// (PO-71).
    #[must_use]
    pub fn token_hook(mut self, mut hook: impl FnMut() -> Option<String> + Send + 'static) -> Self {
        self.config.refresh = true;
        self.hook = Some(Arc::new(Mutex::new(move || hook().map(Secret::from))));
        self
    }

    /// Asks this, on a thread of its own, to show that the client may have a
    /// channel (Pusher's private and presence channels); it is given the channel
    /// and the provider's name for the connection, and gives what the
    /// application's server says to that: `{"auth":…}`,
    /// `{"auth":…,"channel_data":…}`. Without a hook, or where it gives `None`,
    /// such a channel is refused. [`pusher_proof`](super::pusher_proof) makes a
    /// proof, where the secret is at hand.
    #[must_use]
    pub fn proof_hook(
        mut self,
        hook: impl FnMut(&str, &str) -> Option<Json> + Send + 'static,
    ) -> Self {
        self.proof_hook = Some(Arc::new(Mutex::new(hook)));
        self
    }

    /// How to come back; `None` stays away. Default: that of the provider's own
    /// client, or [`Backoff::default`].
    #[must_use]
    pub fn reconnect(mut self, backoff: Option<Backoff>) -> Self {
        self.config.reconnect = backoff;
        self
    }

    /// Pings of the provider's protocol.
    #[must_use]
    pub fn ping(mut self, ping: Option<Ping>) -> Self {
        self.config.ping = ping;
        self
    }

    /// From the start of an attempt to `authenticated`. Default 30 s, or that of
    /// the provider's own client.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long a request waits for its answer. Default 30 s (SS-64).
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// Sends a header with the request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let header = (name.into(), Secret::from(value));
        self.config.headers.push(header);
        self
    }

    /// Offers a subprotocol.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.config.subprotocols.push(name.into());
        self
    }

    /// Options of the WebSocket: limits, compression, TLS.
    #[must_use]
    pub fn websocket(mut self, config: Config) -> Self {
        self.config.websocket = Arc::new(config);
        self
    }

    /// The proxy to go through, and whom TLS trusts. Default: as the system has
    /// it.
    #[must_use]
    pub fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// How many messages wait for a [`Subscription`](super::Subscription) that
    /// does not take them. Default 1,024.
    #[must_use]
    pub fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages.max(1);
        self
    }

    /// The client, whose work a thread does from here on.
    ///
    /// # Errors
    ///
    /// No connection can be made with these options, or the system gives no
    /// thread.
    pub fn start(self) -> Result<Client, StartError> {
        let Self {
            provider,
            mut config,
            hook,
            proof_hook,
            buffer,
            way,
        } = self;
        let url = Url::parse(&config.url).ok();
        way.apply(url.as_ref(), Arc::make_mut(&mut config.websocket), &Os)
            .map_err(ConfigError::from)?;
        let clock = Clock::start();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ms = since.map_or(0, |since| since.as_millis() as u64);
        let timeout = config.connect_timeout;
        let machine = Machine::new(provider, config, clock::seed(), clock.now(), unix_ms)?;
        let (woken, waker) = io::pipe()?;
        let shared = Arc::new(Shared::new(machine, clock, buffer, waker));
        let driver = Driver::new(Arc::clone(&shared), (hook, proof_hook), woken, timeout);
        thread::Builder::new()
            .name("smartsocket-client".into())
            .spawn(move || driver.run())?;
        Ok(Client::new(shared))
    }
}

/// Why a client did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// No connection can be made with these options.
    Config(ConfigError),
    /// The system gives no thread or pipe.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("provider", &self.provider)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
