//! How the clients of a run are set up.

use std::sync::Arc;
use std::time::Duration;

use smartsocket_core::client::{
    Auth, Backoff, ClientConfig, Jitter, Ping, Provider, QueueConfig, Secret, SmartSocket,
};
use smartsocket_core::{Config, RateLimit};

use super::super::chance::Chance;
use super::host::KEY;
use super::{Kind, key};

/// A token that no server refuses.
const GOOD: &str = "T999999999";

pub fn provider(kind: Kind, wrong: bool) -> Provider {
    let mut options = SmartSocket {
        // Who is not answered is not in.
        connect_ack_timeout: Duration::from_secs(3_600),
        ..SmartSocket::default()
    };
    match kind {
        Kind::Open => options.namespace = "/open".into(),
        Kind::Keyed => {
            options.namespace = "/keyed".into();
            options.api_key = Some(if wrong { "wrong" } else { KEY }.into());
        }
        Kind::Sealed => {
            options.namespace = "/sealed".into();
            options.encryption = Some(key(if wrong { 2 } else { 1 }));
        }
        Kind::Echo => return Provider::Echo,
        Kind::Custom => return Provider::Custom,
        Kind::Pusher => return Provider::Pusher,
    }
    Provider::SmartSocket(Box::new(options))
}

/// What the options are in the end, the provider's own among them.
pub fn config(chance: &mut Chance, kind: Kind) -> ClientConfig {
    let seconds = Duration::from_secs;
    let path = if kind == Kind::Pusher { "/app/key" } else { "" };
    let mut config = ClientConfig::new(format!("ws://h{path}"));
    config.refresh = chance.percent(30);
    if config.refresh || chance.percent(30) {
        config.auth = Auth::query();
        config.token = (!config.refresh).then(|| Secret::from(GOOD));
    }
    config.connect_timeout = *chance.of(&[seconds(5), seconds(30)]);
    let added = *chance.of(&[0, 1, 1_000]);
    config.reconnect = chance.percent(90).then(|| Backoff {
        initial: *chance.of(&[seconds(2), Duration::from_millis(50)]),
        factor: *chance.of(&[1.0, 1.5, 2.0]),
        cap: *chance.of(&[seconds(3), seconds(30)]),
        jitter: Jitter {
            less: *chance.of(&[0.0, 0.5]),
            more: *chance.of(&[0.0, 0.5]),
            added: Duration::from_millis(added),
        },
        max_attempts: *chance.of(&[0, 0, 0, 3]),
        stable_after: *chance.of(&[Duration::ZERO, seconds(10)]),
        ..Backoff::default()
    });
    let ping = Ping {
        interval: seconds(4),
        timeout: seconds(2),
    };
    config.ping = (kind == Kind::Custom && chance.percent(50)).then_some(ping);
    config.request_timeout = *chance.of(&[Duration::from_millis(300), seconds(30)]);
    config.queue = QueueConfig {
        max_messages: *chance.of(&[0, 1, 4, 1_000]),
        max_bytes: *chance.of(&[150, 3_000, 1 << 20]),
    };
    config.batch = chance
        .percent(30)
        .then(|| *chance.of(&[Duration::from_millis(20), seconds(2)]));
    config.batch_bytes = *chance.of(&[100, 1_200]);
    config.outbound = chance.percent(15).then(|| RateLimit::new(5, seconds(1)));
    config.lifetime = chance.percent(25).then(|| seconds(15));
    config.websocket = Arc::new(Config {
        ping_interval: Some(*chance.of(&[seconds(5), seconds(25)])),
        max_queued_bytes: *chance.of(&[50, 1_000, 1 << 20]),
        close_timeout: seconds(2),
        ..Config::default()
    });
    config
}
