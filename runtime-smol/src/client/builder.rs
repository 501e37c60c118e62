//! Options of a client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
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
pub(super) type TokenHook =
    Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Option<Secret>> + Send>> + Send>;

/// Gives the proof that the client may have a channel; see
/// [`ClientBuilder::proof_hook`].
pub(super) type ProofHook = Box<dyn FnMut(&str, &str) -> Proof + Send>;
pub(super) type Proof = Pin<Box<dyn Future<Output = Option<Json>> + Send>>;

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

    /// Asks this for a token before each attempt (PO-71).
    #[must_use]
    pub fn token_hook<F>(mut self, mut hook: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<String>> + Send + 'static,
    {
        self.config.refresh = true;
        self.hook = Some(Box::new(move || {
            let token = hook();
            Box::pin(async move { token.await.map(Secret::from) })
        }));
        self
    }

    /// Asks this to show that the client may have a channel (Pusher's private
    /// and presence channels); it is given the channel and the provider's name
    /// for the connection, and gives what the application's server says to
    /// that: `{"auth":…}`, `{"auth":…,"channel_data":…}`. Without a hook, or
    /// where it gives `None`, such a channel is refused.
    /// [`pusher_proof`](super::pusher_proof) makes a proof, where the secret is
    /// at hand.
    #[must_use]
    pub fn proof_hook<F>(mut self, mut hook: impl FnMut(&str, &str) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<Json>> + Send + 'static,
    {
        self.proof_hook = Some(Box::new(move |channel, socket| {
            Box::pin(hook(channel, socket))
        }));
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

    /// The client, and the future that does its work: run it on any executor, a
    /// task or thread of its own.
    ///
    /// # Errors
    ///
    /// No connection can be made with these options.
    pub fn build(self) -> Result<(Client, Driver), ConfigError> {
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
        let machine = Machine::new(provider, config, clock::seed(), clock.now(), unix_ms)?;
        let shared = Arc::new(Shared::new(machine, clock, buffer));
        let client = Client::new(Arc::clone(&shared));
        Ok((client, Driver::new(shared, hook, proof_hook)))
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("provider", &self.provider)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
