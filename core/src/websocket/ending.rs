//! How a connection ends: the outcome, the last bytes, the end of the stream.

use alloc::boxed::Box;
use core::mem;

use crate::code::CloseCode;
use crate::message::Utf8Bytes;

use super::endpoint::{Endpoint, Phase};
use super::event::{Cause, Closed, Deadline, Event, Output, Violation};
use super::{Role, Shared};

/// Bytes discarded while ending before the peer is cut off.
const MAX_DISCARD: u64 = 16 << 20;

impl Endpoint {
    pub(super) fn violate(&mut self, violation: Violation) {
        self.end(Cause::Violation(violation));
    }

    /// Notes how the connection ended, once.
    pub(super) fn end(&mut self, cause: Cause) {
        if self.end.is_some() || self.flags.told {
            return;
        }
        let (code, reason) = match &cause {
            Cause::Violation(violation) => (
                violation.code(),
                Utf8Bytes::from(alloc::format!("{violation}")),
            ),
            Cause::Timeout(Deadline::Idle) => (CloseCode::NORMAL, Utf8Bytes::from_static("idle")),
            #[cfg(feature = "tls")]
            Cause::Tls(_) => (CloseCode::TLS, Utf8Bytes::default()),
            Cause::Local
            | Cause::Peer
            | Cause::Eof
            | Cause::Timeout(_)
            | Cause::Head(_)
            | Cause::Handshake(_)
            | Cause::Answered(_)
            | Cause::Refused(_)
            | Cause::Tunnel(_)
            | Cause::Fault(_) => (CloseCode::ABNORMAL, Utf8Bytes::default()),
        };
        self.end = Some(Box::new(Closed {
            code,
            reason,
            cause,
        }));
    }

    /// Acts on the outcome and tells it.
    pub(super) fn settle(&mut self, shared: &mut Shared, closed: Box<Closed>) -> Output {
        let upgraded = matches!(self.phase, Phase::Open | Phase::Closing);
        let open = matches!(self.phase, Phase::Open);
        self.phase = match &closed.cause {
            _ if self.flags.broken => Phase::Ended,
            Cause::Peer => {
                // The code that came goes back (RFC 6455 §5.5.1).
                self.sender.close(closed.code, "");
                Phase::Ending
            }
            Cause::Local if upgraded => Phase::Ending,
            Cause::Violation(_) | Cause::Timeout(Deadline::Idle) if upgraded => {
                if open {
                    self.sender.abandon();
                    self.sender.close(closed.code, &closed.reason);
                }
                Phase::Ending
            }
            Cause::Answered(_) | Cause::Head(_) | Cause::Timeout(Deadline::Handshake)
                if self.role == Role::Server =>
            {
                Phase::Ending
            }
            #[cfg(feature = "tls")]
            Cause::Tls(_) => Phase::Ending,
            Cause::Eof if self.role == Role::Server && !upgraded => Phase::Ending,
            Cause::Local
            | Cause::Violation(_)
            | Cause::Timeout(_)
            | Cause::Eof
            | Cause::Head(_)
            | Cause::Handshake(_)
            | Cause::Answered(_)
            | Cause::Refused(_)
            | Cause::Tunnel(_)
            | Cause::Fault(_) => Phase::Ended,
        };
        // A client lets the server end the stream first (RFC 6455 §7.1.1);
        // one that failed the connection does not wait for that.
        self.flags.shut =
            self.role == Role::Client && matches!(closed.cause, Cause::Peer | Cause::Local);
        // Who was too slow to ask is not waited for either.
        self.flags.eof |= matches!(closed.cause, Cause::Timeout(Deadline::Handshake));
        self.flags.told = true;
        // What is read from now on is discarded, but its end must be seen.
        self.resume();
        self.deadline = self.clock + shared.config.close_timeout;
        self.receiver.clear();
        if let Some(codec) = &mut self.codec {
            codec.release(shared.pool());
        }
        Output::Event(Event::Closed(closed))
    }

    /// All is sent; what is left is to end the stream.
    pub(super) fn poll_ending(&mut self) -> Option<Output> {
        if !mem::replace(&mut self.flags.shut, true) {
            #[cfg(feature = "tls")]
            if let Some(tls) = &mut self.tls {
                tls.layer.close();
                tls.collect();
                if !tls.wire.is_empty() {
                    self.flags.shut = false;
                    self.flags.announced = true;
                    self.progress = self.clock;
                    return Some(Output::Transmit);
                }
            }
            return Some(Output::Shutdown);
        }
        if self.flags.eof {
            self.phase = Phase::Ended;
            self.flags.dropped = true;
            return Some(Output::Close);
        }
        None
    }

    pub(super) fn discard(&mut self, n: usize) {
        self.discarded += n as u64;
        if self.discarded > MAX_DISCARD && matches!(self.phase, Phase::Ending) {
            self.phase = Phase::Ended;
        }
    }
}
