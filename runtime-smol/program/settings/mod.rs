//! What `serve` is told by flags, the environment, a file and a preset.
//!
//! `table` has every option; `value` what may be said of one; `flags`, `file`
//! and `preset` are where that is said; `layers` puts it together; `effect` is
//! what it means for routes.

mod check;
mod effect;
mod encryption;
mod file;
mod flags;
mod layers;
mod preset;
mod schema;
mod table;
mod value;

use std::time::Duration;

pub(crate) use check::Check;
pub(crate) use flags::Flags;
pub(crate) use layers::Loaded;
pub(crate) use schema::Schema;
use value::{Rates, Secret};

/// What is in force. The defaults are here.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) preset: Option<String>,
    pub(crate) host: String,
    pub(crate) port: u64,
    pub(crate) shards: u64,
    pub(crate) tls_cert: Option<String>,
    pub(crate) tls_key: Option<String>,
    pub(crate) max_message: u64,
    pub(crate) max_connections: u64,
    pub(crate) max_connections_per_address: u64,
    connection_timeout: Option<Duration>,
    compression_threshold: u64,
    compression_level: u64,
    enable_rate_limiting: bool,
    rate_limit_window: Duration,
    rate_limit_max_requests: u64,
    event_rate_limits: Rates,
    enable_message_cache: bool,
    enable_connection_pooling: bool,
    api_key: Option<Secret>,
    api_keys: Vec<Secret>,
    enable_encryption: Option<bool>,
    encryption_key: Option<Secret>,
    encryption_keys: Vec<Secret>,
    encryption_algorithm: String,
    encryption_exchange: String,
    encryption_group: bool,
    pub(crate) ignis: Ignis,
    pub(crate) mb: Mb,
    pub(crate) rnode: RNode,
    api: Api,
}

/// The table `[ignis]`.
#[derive(Clone, Debug)]
pub(crate) struct Ignis {
    pub(crate) path: String,
    auth_timeout: Duration,
    heartbeat_interval: Duration,
    heartbeat_timeout: Duration,
    default_rooms: Vec<String>,
    per_message_deflate: bool,
    max_payload_length: Option<u64>,
    idle_timeout: Option<Duration>,
    backpressure_limit: u64,
    close_on_backpressure_limit: bool,
    send_pings: bool,
    require_encryption: bool,
}

/// The table `[mb]`.
#[derive(Clone, Debug)]
pub(crate) struct Mb {
    path: String,
    max_payload: Option<u64>,
    per_message_deflate: bool,
    pub(crate) backlog: u64,
}

/// The table `[rnode]`.
#[derive(Clone, Debug)]
pub(crate) struct RNode {
    pub(crate) path: String,
}

/// The table `[api]`.
#[derive(Clone, Debug)]
struct Api {
    enable: bool,
    token: Option<Secret>,
    cors: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            preset: None,
            host: "127.0.0.1".into(),
            port: 3_000,
            shards: 1,
            tls_cert: None,
            tls_key: None,
            max_message: 1 << 20,
            max_connections: 10_000,
            max_connections_per_address: 64,
            connection_timeout: None,
            compression_threshold: 1_024,
            compression_level: 6,
            enable_rate_limiting: true,
            rate_limit_window: Duration::from_secs(60),
            rate_limit_max_requests: 100,
            event_rate_limits: Rates::new(),
            enable_message_cache: false,
            enable_connection_pooling: true,
            api_key: None,
            api_keys: Vec::new(),
            enable_encryption: None,
            encryption_key: None,
            encryption_keys: Vec::new(),
            encryption_algorithm: "aes-256-cbc".into(),
            encryption_exchange: "optional".into(),
            encryption_group: false,
            ignis: Ignis {
                path: "/ws".into(),
                auth_timeout: Duration::from_secs(5),
                heartbeat_interval: Duration::from_secs(30),
                heartbeat_timeout: Duration::from_secs(90),
                default_rooms: ["ws-default", "ws-notification"].map(String::from).into(),
                per_message_deflate: true,
                max_payload_length: None,
                idle_timeout: None,
                backpressure_limit: 1 << 20,
                close_on_backpressure_limit: true,
                send_pings: true,
                require_encryption: false,
            },
            mb: Mb {
                path: "/mb".into(),
                max_payload: None,
                per_message_deflate: true,
                backlog: 1_024,
            },
            rnode: RNode {
                path: "/rnode".into(),
            },
            api: Api {
                enable: true,
                token: None,
                cors: Vec::new(),
            },
        }
    }
}
