//! What `--json` writes with a provider; documented in the help of `connect`.

use serde::Serialize;
use smartsocket_smol::Json;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Entry<'a> {
    State {
        state: &'a str,
    },
    Message {
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<&'a str>,
        kind: &'a str,
        data: &'a Json,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        ack: bool,
    },
    Answer {
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a Json>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        ms: f64,
    },
    Subscribed {
        channel: String,
    },
    Refused {
        channel: String,
        reason: String,
    },
    Ended {
        code: u16,
        clean: bool,
        text: &'a str,
        action: &'a str,
    },
    Reconnecting {
        attempt: u32,
        wait_ms: f64,
    },
    Unreadable {
        reason: String,
    },
    Dropped {
        count: usize,
        reason: String,
    },
    Stats(Figures),
}

/// PO-48.
#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) connected_at: Option<u64>,
    pub(super) disconnected_at: Option<u64>,
    pub(super) uptime_ms: Option<f64>,
    pub(super) reconnect_attempts: u64,
    pub(super) messages_sent: u64,
    pub(super) messages_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) latency_ms: Option<f64>,
    pub(super) dropped: u64,
    pub(super) queued: usize,
}
