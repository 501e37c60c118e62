//! What a client does about the end of a connection or of an attempt.

use core::fmt;
use core::time::Duration;

use crate::code::CloseCode;
use crate::date;
use crate::error::Fault;
use crate::http::Response;
use crate::message::{Utf8Bytes, printable};
use crate::websocket::{Cause, Closed, Deadline};

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dial again, without a wait.
    Now,
    /// Dial again after the wait of the [`Backoff`](super::Backoff).
    Backoff,
    /// Dial again, not before this has passed, or a day; the peer said so.
    After(Duration),
    /// Ask for a new token first, then as with a backoff; without a hook that
    /// gives tokens it is fatal, since the same one would be refused again.
    Reauthenticate,
    /// It was meant to end: stay disconnected.
    Stay,
    /// It cannot get better by itself: give up.
    Fatal,
}

/// How a connection, or an attempt to get one, ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Ending {
    /// The WebSocket ended, or its handshake failed.
    Closed(Closed),
    /// No stream to the host came about.
    Dial(Fault),
    /// It was not connected, or not authenticated, in time.
    TimedOut,
    /// The peer's protocol refused us or said goodbye, in its words.
    Protocol(Utf8Bytes),
    /// Neither pong nor anything else came in time.
    Silent,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(closed) => closed.fmt(f),
            Self::Dial(fault) => fault.fmt(f),
            Self::TimedOut => f.write_str("the connection was not ready in time"),
            Self::Protocol(words) => printable(words).fmt(f),
            Self::Silent => f.write_str("the peer answered no ping"),
        }
    }
}

impl core::error::Error for Ending {}

impl Ending {
    /// A connection ended. A date to come back at (`Retry-After`) becomes the
    /// seconds until then, because a verdict knows no clock: by that of the
    /// server where it told it, or by ours.
    pub(super) fn closed(mut closed: Closed, unix_ms: u64) -> Self {
        if let Cause::Refused(response) = &mut closed.cause {
            let date = |name| response.headers().get(name).and_then(date::parse_http);
            if let Some(then) = date(RETRY_AFTER) {
                let now = date("date").unwrap_or(unix_ms);
                let seconds = then.saturating_sub(now).div_ceil(1_000);
                response.set_number(RETRY_AFTER, seconds);
            }
        }
        Self::Closed(closed)
    }

    /// The close code: the peer's, or 1006 where none came.
    pub const fn code(&self) -> CloseCode {
        match self {
            Self::Closed(closed) => closed.code,
            Self::Dial(_) | Self::TimedOut | Self::Protocol(_) | Self::Silent => {
                CloseCode::ABNORMAL
            }
        }
    }

    /// Whether both ends exchanged close frames (PO-16).
    pub fn was_clean(&self) -> bool {
        matches!(self, Self::Closed(closed) if closed.is_clean())
    }

    /// The answer to the upgrade, where that was the end.
    pub(super) const fn response(&self) -> Option<&Response> {
        match self {
            Self::Closed(Closed {
                cause: Cause::Refused(response),
                ..
            }) => Some(response),
            Self::Closed(_) | Self::Dial(_) | Self::TimedOut | Self::Protocol(_) | Self::Silent => {
                None
            }
        }
    }

    /// Its HTTP status.
    pub(super) fn status(&self) -> Option<u16> {
        self.response().map(Response::status)
    }

    /// As late as it asks for, or as usual.
    pub(super) fn later(&self) -> Verdict {
        self.response().map_or(Verdict::Backoff, later)
    }

    /// What to do about it where the provider does not know better.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Closed(closed) => of_closed(closed),
            Self::Dial(_) | Self::TimedOut | Self::Protocol(_) | Self::Silent => Verdict::Backoff,
        }
    }
}

fn of_closed(closed: &Closed) -> Verdict {
    match &closed.cause {
        Cause::Peer | Cause::Local => of_code(closed.code),
        Cause::Refused(response) => of_response(response),
        // The server does not speak the protocol, or we do not: it will not
        // learn by being asked again.
        Cause::Violation(_) | Cause::Handshake(_) | Cause::Head(_) | Cause::Answered(_) => {
            Verdict::Fatal
        }
        Cause::Timeout(
            Deadline::Handshake
            | Deadline::Pong
            | Deadline::Idle
            | Deadline::Close
            | Deadline::Write,
        )
        | Cause::Eof
        | Cause::Fault(_) => Verdict::Backoff,
        Cause::Tunnel(error) if error.is_lasting() => Verdict::Fatal,
        Cause::Tunnel(_) => Verdict::Backoff,
        #[cfg(feature = "tls")]
        Cause::Tls(error) if error.is_untrusted() => Verdict::Fatal,
        #[cfg(feature = "tls")]
        Cause::Tls(_) => Verdict::Backoff,
    }
}

/// PO-58, the IANA registry of close codes, and RFC 6455 §7.4.
fn of_code(code: CloseCode) -> Verdict {
    match u16::from(code) {
        1000 => Verdict::Stay,
        // Bugs of one of the two: the next connection would meet them again.
        1002 | 1003 | 1007 | 1010 => Verdict::Fatal,
        // The second is "Unauthorized".
        1008 | 3000 => Verdict::Reauthenticate,
        // "Forbidden".
        3003 => Verdict::Fatal,
        _ => Verdict::Backoff,
    }
}

fn of_response(response: &Response) -> Verdict {
    match response.status() {
        401 => Verdict::Reauthenticate,
        408 | 425 | 429 | 500..=599 => later(response),
        _ => Verdict::Fatal,
    }
}

const RETRY_AFTER: &str = "retry-after";

fn later(response: &Response) -> Verdict {
    let seconds = response.headers().get(RETRY_AFTER);
    let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
    seconds.map_or(Verdict::Backoff, |seconds| {
        Verdict::After(Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;

    /// 2023-11-14T22:13:20Z.
    const UNIX_MS: u64 = 1_700_000_000_000;

    #[test]
    fn a_server_tells_when_to_come_back_in_seconds_or_by_a_date() {
        let seconds = |n| Verdict::After(Duration::from_secs(n));
        for (headers, verdict) in [
            (&[][..], Verdict::Backoff),
            (&[("Retry-After", "120")][..], seconds(120)),
            (&[("Retry-After", " 0 ")], seconds(0)),
            (&[("Retry-After", "-1")], Verdict::Backoff),
            (&[("Retry-After", "soon")], Verdict::Backoff),
            (
                &[("Retry-After", "Tue, 14 Nov 2023 22:15:20 GMT")],
                seconds(120),
            ),
            (
                &[("Retry-After", "Tuesday, 14-Nov-23 22:15:20 GMT")],
                seconds(120),
            ),
            (&[("Retry-After", "Tue Nov 14 22:15:20 2023")], seconds(120)),
            // It is over, or the clocks differ.
            (
                &[("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")],
                seconds(0),
            ),
            // By the server's own clock, which is an hour ahead.
            (
                &[
                    ("Retry-After", "Tue, 14 Nov 2023 23:13:50 GMT"),
                    ("Date", "Tue, 14 Nov 2023 23:13:20 GMT"),
                ],
                seconds(30),
            ),
        ] {
            let mut response = Response::new(503);
            for (name, value) in headers {
                response = response.header(name, value).unwrap();
            }
            let closed = Closed {
                code: CloseCode::ABNORMAL,
                reason: Utf8Bytes::default(),
                cause: Cause::Refused(Box::new(response)),
            };
            let ending = Ending::closed(closed, UNIX_MS + 1);
            assert_eq!(ending.verdict(), verdict, "{headers:?}");
        }
    }
}
