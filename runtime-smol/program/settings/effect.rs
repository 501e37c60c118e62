//! What the options mean for the server and for its routes.

use std::time::Duration;

use smartsocket_smol::RateLimit;
use smartsocket_smol::crypt::KeyRing;
use smartsocket_smol::deflate::Deflate;
use smartsocket_smol::dialect::{Dialect, SmartSocket};
use smartsocket_smol::http::{ApiConfig, Origins};
use smartsocket_smol::hub::{Auth, Encryption, Heartbeat, HubConfig, Overflow, Route};

use super::value::{Rate, Secret};
use super::{Settings, encryption};

/// How long a client may take to name its key in a message.
const KEY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a pong may take at most.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

impl Settings {
    /// The options that are not of a route.
    pub(crate) fn hub(&self, config: &mut HubConfig) {
        config.max_connections = size(self.max_connections);
        config.max_connections_per_address = size(self.max_connections_per_address);
        config.offline = self.enable_message_cache.then(Default::default);
        config.api_namespace.clone_from(&self.rnode.path);
        config.api = self.api.enable.then(|| ApiConfig {
            token: self.api.token.as_ref().map(|token| token.0.clone()),
            cors: match &self.api.cors[..] {
                [] => Origins::SameHost,
                list if list.iter().any(|origin| origin == "*") => Origins::Any,
                list => Origins::List(list.to_vec()),
            },
            ..ApiConfig::default()
        });
    }

    /// The keys of encrypted sessions, if there are to be any.
    pub(crate) fn keys(&self) -> Option<KeyRing> {
        let encryption = encryption::read(self).ok()??;
        encryption.keys
    }

    /// Whether SmartSocket clients have to know a key to be let in.
    pub(crate) const fn asks_for_api_key(&self) -> bool {
        self.api_key.is_some() || !self.api_keys.is_empty()
    }

    /// Whether SmartSocket's routes encrypt without a shared key; and whether Ignis's does.
    pub(crate) fn exchanges(&self) -> [bool; 2] {
        let only = self.encryption_exchange == "only" && self.enable_encryption != Some(false);
        [only, self.ignis.require_encryption]
    }

    /// Whether there is an HTTP API.
    pub(crate) const fn has_api(&self) -> bool {
        self.api.enable
    }

    /// Whether that has a token.
    pub(crate) const fn asks_for_api_token(&self) -> bool {
        self.api.token.is_some()
    }

    /// SmartSocket at this path.
    pub(crate) fn smartsocket(&self, path: &str) -> Route {
        let dialect = Dialect::SmartSocket(SmartSocket {
            max_message: size(self.max_message),
            threshold: size(self.compression_threshold),
            level: self.level(),
            ..SmartSocket::default()
        });
        let mut route = self.limited(Route::new(path, dialect));
        let keys = self.api_key.iter().chain(&self.api_keys);
        let keys: Vec<_> = keys.map(|Secret(key)| key.clone()).collect();
        if !keys.is_empty() {
            route.auth = Auth::ApiKeys {
                keys,
                timeout: KEY_TIMEOUT,
            };
        }
        // What it is refused for was told before.
        route.encryption = encryption::read(self).expect("judged when it was read");
        self.limit_events(&mut route);
        let timeout = self.connection_timeout.filter(|timeout| !timeout.is_zero());
        if timeout.is_some() {
            route.websocket.idle_timeout = timeout;
            // Its pings are messages, so nobody would ever be idle.
            route.heartbeat = Heartbeat::None;
        }
        route
    }

    /// Ignis.
    pub(crate) fn ignis(&self) -> Route {
        let ignis = &self.ignis;
        let mut route = self.limited(Route::ignis(&ignis.path));
        route.auth = Auth::Message {
            timeout: ignis.auth_timeout,
        };
        route.heartbeat = Heartbeat::Passive {
            timeout: ignis.heartbeat_timeout,
            sweep: ignis.heartbeat_interval,
        };
        let rooms = ignis.default_rooms.iter();
        route.default_rooms = rooms.map(|room| room.as_str().into()).collect();
        route.outbox.max_bytes = size(ignis.backpressure_limit);
        route.outbox.overflow = if ignis.close_on_backpressure_limit {
            Overflow::Close
        } else {
            Overflow::DropNewest
        };
        self.limit_events(&mut route);
        route.encryption = ignis.require_encryption.then(Encryption::exchange);
        let websocket = &mut route.websocket;
        websocket.max_message = match ignis.max_payload_length {
            Some(most) => size(most),
            None => (128 << 10).min(size(self.max_message)),
        };
        if !ignis.per_message_deflate {
            websocket.deflate = None;
        }
        if let Some(timeout) = ignis.idle_timeout {
            // A ping early enough that its pong can come in time.
            websocket.pong_timeout = PONG_TIMEOUT.min(timeout / 2);
            websocket.ping_interval =
                (!timeout.is_zero()).then(|| timeout - websocket.pong_timeout);
        }
        if !ignis.send_pings {
            // Who is not asked can only be judged by what it says by itself.
            websocket.ping_interval = None;
            websocket.idle_timeout = ignis.idle_timeout.filter(|timeout| !timeout.is_zero());
        }
        route
    }

    /// RNode.
    pub(crate) fn rnode(&self) -> Route {
        self.limited(Route::rnode(&self.rnode.path))
    }

    /// MB.
    pub(crate) fn mb(&self) -> Route {
        let mut route = self.limited(Route::header_line(&self.mb.path));
        if let Some(most) = self.mb.max_payload {
            route.websocket.max_message = size(most);
        }
        if !self.mb.per_message_deflate {
            route.websocket.deflate = None;
        }
        route
    }

    /// A route without a rate limit, with the options of all connections.
    pub(crate) fn open(&self, mut route: Route) -> Route {
        route.websocket.max_message = size(self.max_message);
        route.websocket.deflate = Some(self.deflate());
        route
    }

    /// How connections compress.
    pub(crate) fn deflate(&self) -> Deflate {
        Deflate {
            level: self.level(),
            threshold: size(self.compression_threshold),
            ..Deflate::default()
        }
    }

    /// The paths of its WebSockets that can be moved.
    pub(crate) fn paths(&self) -> [&str; 3] {
        [&self.ignis.path, &self.rnode.path, &self.mb.path]
    }

    fn limited(&self, route: Route) -> Route {
        let limit = RateLimit::new(
            u32::try_from(self.rate_limit_max_requests).unwrap_or(u32::MAX),
            self.rate_limit_window,
        );
        let mut route = self.open(route);
        route.rate = self.enable_rate_limiting.then_some(limit);
        route
    }

    fn limit_events(&self, route: &mut Route) {
        if !self.enable_rate_limiting {
            return;
        }
        for (event, rate) in &self.event_rate_limits {
            route.event_rates.set(event, rate.limit());
        }
    }

    fn level(&self) -> u8 {
        u8::try_from(self.compression_level).unwrap_or(9)
    }
}

impl Rate {
    const fn limit(self) -> RateLimit {
        RateLimit::new(self.max_requests, Duration::from_millis(self.window))
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the routes of the hub itself have, so that no option nobody set
    /// changes anything.
    #[test]
    fn without_options_routes_are_those_of_the_library() {
        let settings = Settings::default();
        for (ours, theirs) in [
            (settings.smartsocket("/chat"), Route::smartsocket("/chat")),
            (settings.ignis(), Route::ignis("/ws")),
            (settings.rnode(), Route::rnode("/rnode")),
            (settings.mb(), Route::header_line("/mb")),
        ] {
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        }
        let mut config = HubConfig::default();
        settings.hub(&mut config);
        assert_eq!(format!("{config:?}"), format!("{:?}", HubConfig::default()));
    }

    #[test]
    fn an_idle_timeout_is_a_ping_and_a_pong() {
        let mut settings = Settings::default();
        let mut times = |seconds, pings| {
            settings.ignis.idle_timeout = Some(Duration::from_secs(seconds));
            settings.ignis.send_pings = pings;
            let websocket = settings.ignis().websocket;
            (
                websocket.ping_interval.map(|time| time.as_secs()),
                websocket.pong_timeout.as_secs(),
                websocket.idle_timeout.map(|time| time.as_secs()),
            )
        };
        assert_eq!(times(60, true), (Some(50), 10, None));
        assert_eq!(times(4, true), (Some(2), 2, None));
        assert_eq!(times(0, true), (None, 0, None));
        assert_eq!(times(60, false), (None, 10, Some(60)));
    }

    #[test]
    fn a_connection_timeout_leaves_nothing_that_keeps_connections_busy() {
        let timeout = |milliseconds| {
            let settings = Settings {
                connection_timeout: Some(Duration::from_millis(milliseconds)),
                ..Settings::default()
            };
            let route = settings.smartsocket("/");
            (route.websocket.idle_timeout, route.heartbeat)
        };
        let five = Duration::from_secs(5);
        assert_eq!(timeout(5_000), (Some(five), Heartbeat::None));
        assert_eq!(timeout(0).0, None);
        assert_ne!(timeout(0).1, Heartbeat::None);
    }

    #[test]
    fn limits_of_events_go_with_the_rest() {
        let mut settings = Settings::default();
        let rate = Rate::new(5_000, 5).unwrap();
        settings.event_rate_limits.insert("message".into(), rate);
        let limit = |settings: &Settings| {
            let route = settings.smartsocket("/");
            (route.rate, route.event_rates.get("message").copied())
        };
        let five = RateLimit::new(5, Duration::from_secs(5));
        assert_eq!(limit(&settings), (Some(RateLimit::default()), Some(five)));
        settings.enable_rate_limiting = false;
        assert_eq!(limit(&settings), (None, None));
    }
}
