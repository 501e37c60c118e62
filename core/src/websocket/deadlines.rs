//! An endpoint's deadlines: when each is due, and what it does.
//!
//! All are computed from moments that are noted anyway, so pushing one later
//! costs a store, and the next is the least of four.

use core::time::Duration;

use bytes::Bytes;

use crate::http::Response;
use crate::time::Tick;

use super::endpoint::{Endpoint, Phase};
use super::event::{Cause, Deadline};
use super::handshake::Handshake;
use super::{Role, Shared};

impl Endpoint {
    pub(crate) fn handle_timeout(&mut self, shared: &mut Shared, now: Tick) {
        let now = self.tick(now);
        if now < self.due(shared) {
            return;
        }
        if now >= self.deadline {
            self.deadline = Tick::MAX;
            match &self.phase {
                Phase::Handshake(handshake) => {
                    let body = matches!(**handshake, Handshake::Body { .. });
                    match (body, self.role, self.is_secure()) {
                        (true, _, _) => self.refused(),
                        // Whoever sent half a request learns what was wrong,
                        // and who waited in vain that it was us.
                        (false, Role::Server, false) => {
                            let response = if handshake.is_plain() {
                                Response::error(503, "the answer took too long")
                            } else {
                                Response::error(408, "the request took too long")
                            };
                            self.respond(
                                shared,
                                response,
                                false,
                                Some(Cause::Timeout(Deadline::Handshake)),
                            );
                        }
                        (false, _, _) => self.end(Cause::Timeout(Deadline::Handshake)),
                    }
                }
                Phase::Closing => self.end(Cause::Timeout(Deadline::Close)),
                Phase::Ending => self.phase = Phase::Ended,
                Phase::Open | Phase::Ended => {}
            }
        }
        if now >= self.write_deadline(shared) {
            self.progress = Tick::MAX;
            self.end(Cause::Timeout(Deadline::Write));
            if self.flags.told {
                self.phase = Phase::Ended;
            }
        }
        if now >= self.idle_deadline(shared) {
            self.active = Tick::MAX;
            self.end(Cause::Timeout(Deadline::Idle));
        }
        if self.end.is_none() && now >= self.liveness_deadline(shared) {
            match self.ping {
                Some((sent, _)) if sent >= self.heard => {
                    self.ping = None;
                    self.heard = Tick::MAX;
                    self.end(Cause::Timeout(Deadline::Pong));
                }
                _ => {
                    let nonce = shared.entropy.nonce();
                    self.ping = Some((now, nonce));
                    self.sender.ping(Bytes::copy_from_slice(&nonce));
                }
            }
        }
    }

    /// The next of them.
    pub(super) fn due(&self, shared: &Shared) -> Tick {
        let rests = match &self.phase {
            Phase::Handshake(handshake) => handshake.is_deciding() && !self.flags.eof,
            Phase::Ended => true,
            Phase::Open | Phase::Closing | Phase::Ending => false,
        };
        let phase = if rests { Tick::MAX } else { self.deadline };
        phase
            .min(self.write_deadline(shared))
            .min(self.idle_deadline(shared))
            .min(self.liveness_deadline(shared))
    }

    fn write_deadline(&self, shared: &Shared) -> Tick {
        // Until the embedder is told of bytes, nobody fails to take them.
        if !self.flags.announced || self.wire().is_empty() || matches!(self.phase, Phase::Ended) {
            Tick::MAX
        } else {
            after(self.progress, shared.config.write_timeout)
        }
    }

    fn idle_deadline(&self, shared: &Shared) -> Tick {
        if matches!(self.phase, Phase::Open) {
            after(self.active, shared.config.idle_timeout)
        } else {
            Tick::MAX
        }
    }

    fn liveness_deadline(&self, shared: &Shared) -> Tick {
        match (&self.phase, self.ping) {
            (Phase::Open, _) if shared.config.ping_interval.is_none() => Tick::MAX,
            (Phase::Open, Some((sent, _))) if sent >= self.heard => {
                sent + shared.config.pong_timeout
            }
            (Phase::Open, _) => after(self.heard, shared.config.ping_interval),
            _ => Tick::MAX,
        }
    }
}

/// When a deadline comes that starts now; never, if it is turned off.
pub(super) fn after(start: Tick, delay: Option<Duration>) -> Tick {
    delay.map_or(Tick::MAX, |delay| start + delay)
}
