//! stub
#![allow(missing_docs, dead_code)]
use crate::time::Tick;
use alloc::string::String;
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ServerStats {
    pub connections: usize,
    pub memory_usage: String,
    pub uptime: f64,
    pub messages_per_second: f64,
    pub average_latency: f64,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    RateLimited,
    EventRateLimited,
    Outbox,
    Offline,
    Blocked,
    NotOpen,
    HandlerFailed,
    Closed,
    Invalid,
}
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub accepted: u64,
    pub refused: u64,
    pub closed: u64,
    pub received_messages: u64,
    pub received_bytes: u64,
    pub sent_messages: u64,
    pub sent_bytes: u64,
    pub drops: [u64; 9],
}
impl Counters {
    pub(crate) fn drop(&mut self, c: DropCause, n: u64) {
        self.drops[c as usize] += n;
    }
    pub(crate) fn lost(&mut self, _losses: &crate::offline::Losses) {}
}
#[derive(Debug, Default)]
pub(crate) struct Rate {}
impl Rate {
    pub(crate) fn add(&mut self, _now: Tick, _n: u64) {}
    pub(crate) fn per_second(&self, _now: Tick) -> f64 {
        0.0
    }
}
pub(crate) fn metrics_json(_s: &ServerStats, _c: &Counters, _rooms: usize) -> serde_json::Value {
    serde_json::Value::Null
}
pub(crate) fn prometheus(
    _s: &ServerStats,
    _c: &Counters,
    _rooms: &[(&str, &str, usize)],
) -> crate::http::Response {
    crate::http::Response::new(200)
}
