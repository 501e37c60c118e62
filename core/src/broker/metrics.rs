//! What the broker counts, under MB's names.

use alloc::collections::BTreeMap;

use crate::dialect::Action;

#[derive(Debug, Default)]
pub(super) struct Metrics {
    messages: u64,
    errors: u64,
    actions: [ByAction; 3],
    pub(super) publishes_dropped: u64,
    pub(super) requests_dropped: u64,
    pub(super) requests_timed_out: u64,
    pub(super) connected: u64,
    pub(super) disconnected: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct ByAction {
    count: u64,
    errors: u64,
}

impl Metrics {
    pub(super) fn message(&mut self, action: Action) {
        self.messages += 1;
        self.actions[action as usize].count += 1;
    }

    pub(super) fn error(&mut self, action: Action) {
        self.errors += 1;
        self.actions[action as usize].errors += 1;
    }

    pub(super) fn all(&self) -> BTreeMap<&'static str, u64> {
        let of = |action: Action| self.actions[action as usize];
        BTreeMap::from([
            ("connection.active", self.connected - self.disconnected),
            ("connection.connected.total", self.connected),
            ("connection.disconnected.total", self.disconnected),
            ("registry.count", self.connected - self.disconnected),
            ("router.message.count", self.messages),
            ("router.message.count.error", self.errors),
            ("router.publish.count", of(Action::Publish).count),
            ("router.publish.count.dropped", self.publishes_dropped),
            ("router.publish.count.error", of(Action::Publish).errors),
            ("router.request.count", of(Action::Request).count),
            ("router.request.count.dropped", self.requests_dropped),
            ("router.request.count.error", of(Action::Request).errors),
            ("router.request.count.timeout", self.requests_timed_out),
            ("router.response.count", of(Action::Response).count),
            ("router.response.count.error", of(Action::Response).errors),
        ])
    }
}
