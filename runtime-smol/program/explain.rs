//! What went wrong, and what to do about it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "errors that need no words of our own keep theirs"
)]

use std::time::Duration;

use smartsocket_smol::client::{Ending, Verdict};
use smartsocket_smol::http::{HeadError, Response, Url};
use smartsocket_smol::proxy::{Proxy, TunnelError};
use smartsocket_smol::tls::TlsError;
use smartsocket_smol::{
    Cause, ClientError, CloseCode, Closed, Deadline, Error, ErrorCode, Fault, Violation,
};

use crate::output::printable;

/// Lines of a refusal's body that are shown, and characters of a line.
const BODY_LINES: usize = 5;
const BODY_LINE: usize = 200;

/// How one says who one is.
const BY_HEADER: &str = "-H 'Authorization: ...'";
const BY_TOKEN: &str = "--token-file FILE, in the way of --auth";

/// Why the program ends early.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What a human needs to know.
    pub(crate) text: String,
    /// The exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// Something did not work.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: 1,
        }
    }

    /// The command line asks for something that does not exist.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: 2,
        }
    }
}

/// Why a connection did not open.
pub(crate) fn opening(error: &Error, way: &Way) -> Failure {
    let place = way.url.authority_with_port();
    let text = match error {
        Error::Url(error) => return Failure::usage(format!("bad URL: {error}")),
        Error::Header(error) => return Failure::usage(format!("bad option: {error}")),
        Error::Client(ClientError::Tls(error)) => tls(error, &place),
        Error::Client(error @ ClientError::NoTls) => error.to_string(),
        Error::Connect { fault, .. } => way.blocked(fault),
        Error::Closed(closed) => return closed_early(closed, way, BY_HEADER),
        // Nothing is sent before the connection is open.
        _ => error.to_string(),
    };
    Failure::new(printable(&text))
}

/// Why a connection of a client that stays connected ended, or did not come
/// about; `open` says which.
pub(crate) fn lost(ending: &Ending, verdict: Verdict, way: &Way, open: bool) -> Failure {
    let place = way.url.authority_with_port();
    let mut text = match ending {
        // Coming back is what is done in any case.
        Ending::Closed(closed) if open => match verdict {
            Verdict::Now | Verdict::Backoff | Verdict::After(_) => closed.to_string(),
            Verdict::Reauthenticate | Verdict::Stay | Verdict::Fatal => self::ending(closed),
        },
        Ending::Closed(closed) => return closed_early(closed, way, BY_TOKEN),
        Ending::Dial(fault) => way.blocked(fault),
        Ending::TimedOut if open => format!(
            "{place} did not let us in within {} s: check --provider and the path of the URL, or \
             wait longer with --timeout",
            way.timeout.as_secs_f64()
        ),
        Ending::TimedOut => late(&place, way.timeout),
        Ending::Protocol(words) => {
            let known = ErrorCode::ALL.into_iter();
            let mut known = known.filter(|code| words.starts_with(code.as_str()));
            match known.next() {
                Some(code) => format!("{words} ({})", code.solution()),
                None => words.to_string(),
            }
        }
        _ => ending.to_string(),
    };
    if verdict == Verdict::Reauthenticate {
        text.push_str(": give other credentials with ");
        text.push_str(BY_TOKEN);
    }
    Failure::new(printable(&text))
}

/// Where a client connects to.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// The server.
    pub(crate) url: Url,
    /// What stands before it.
    pub(crate) proxy: Option<Proxy>,
    /// How long to try.
    pub(crate) timeout: Duration,
}

impl Way {
    /// Why there is no stream to the host.
    fn blocked(&self, fault: &Fault) -> String {
        let (place, host) = match &self.proxy {
            Some(proxy) => (format!("the proxy {proxy}"), proxy.host()),
            None => (self.url.authority_with_port(), self.url.host()),
        };
        match fault {
            Fault::Refused => format!("nothing listens at {place} (connection refused)"),
            Fault::TimedOut => late(&place, self.timeout),
            Fault::NotFound(why) => format!(
                "the host {host} has no address: check its spelling and the network ({})",
                last_part(why)
            ),
            _ => format!("cannot connect to {place}: {fault}"),
        }
    }
}

fn closed_early(closed: &Closed, way: &Way, credentials: &str) -> Failure {
    let Way { url, timeout, .. } = way;
    let place = &url.authority_with_port();
    let text = match &closed.cause {
        Cause::Refused(response) => {
            return Failure {
                text: refusal(response, credentials),
                code: 3,
            };
        }
        Cause::Tls(error) => tls(error, place),
        // A TLS record of kind alert or handshake.
        Cause::Head(HeadError::Byte {
            found: 0x15 | 0x16, ..
        }) => format!("{place} speaks TLS: use wss:// instead of ws://"),
        Cause::Tunnel(error @ (TunnelError::NoCredentials | TunnelError::WrongCredentials)) => {
            format!("{error}: give them with --proxy http://USER:PASSWORD@HOST:PORT")
        }
        Cause::Tunnel(error) => format!("no way to {place}: {error}"),
        Cause::Head(error) => format!("{place} does not answer in HTTP: {error}"),
        Cause::Handshake(error) => format!("{place} is no WebSocket server: {error}"),
        Cause::Timeout(Deadline::Handshake) => late(place, *timeout),
        Cause::Eof | Cause::Fault(Fault::Reset) if url.secure() => format!(
            "{place} ended the connection during the handshake: if it does not speak TLS, use ws://"
        ),
        Cause::Eof | Cause::Fault(Fault::Reset) => format!(
            "{place} ended the connection during the handshake: if it speaks TLS, use wss://"
        ),
        _ => format!("no connection to {place}: {closed}"),
    };
    Failure::new(printable(&text))
}

/// The innermost of the causes, which are joined by colons.
pub(crate) fn last_part(causes: &str) -> &str {
    causes.rsplit(": ").next().unwrap_or(causes)
}

fn late(place: &str, timeout: Duration) -> String {
    format!(
        "{place} did not answer within {} s: check host and port, or wait longer with --timeout",
        timeout.as_secs_f64()
    )
}

fn tls(error: &TlsError, place: &str) -> String {
    match error {
        TlsError::PlainText => {
            format!("{place} does not speak TLS: use ws:// instead of wss://, or another port")
        }
        TlsError::UnknownIssuer => format!(
            "the certificate of {place} is signed by nobody we trust: give its authority with --ca FILE"
        ),
        TlsError::WrongName(_) => format!(
            "the certificate of {place} is for another host: connect by a name it is for ({error})"
        ),
        TlsError::NoRoots => "this system has no trusted certificates: install its package \
             ca-certificates, or give an authority with --ca FILE"
            .into(),
        // What `openssl req -x509` makes unless told otherwise.
        TlsError::BadCertificate(why) if why.contains("CaUsedAsEndEntity") => format!(
            "the certificate of {place} is one of an authority, not of a server: make it anew, \
             with openssl by adding -addext basicConstraints=critical,CA:FALSE"
        ),
        TlsError::BadCertificate(why) if why.contains("UnsupportedCertVersion") => format!(
            "the certificate of {place} is of an outdated version: make it anew, \
             with openssl by adding -addext subjectAltName=DNS:HOST"
        ),
        // 116 is certificate_required (RFC 8446 §6.2).
        TlsError::Alert(116) => {
            format!("{place} {error}: give one with --cert and --key").replacen("the peer ", "", 1)
        }
        _ => format!("TLS with {place} failed: {error}"),
    }
}

/// The answer of a server that does not want to speak WebSocket.
fn refusal(response: &Response, credentials: &str) -> String {
    let status = response.status();
    let mut text = format!("the server refused with HTTP status {status}");
    let wanted = format!("it wants credentials, give them with {credentials}");
    if let Some(advice) = match status {
        200..=299 => Some("it is a web server, but no WebSocket is at the path of the URL"),
        300..=399 => Some("redirects are not followed, connect to the new place"),
        401 => Some(&*wanted),
        403 => Some("check credentials, and --origin if it is meant for browsers"),
        404 => Some("check the path of the URL"),
        426 => Some("check the path of the URL, and what the server speaks"),
        429 | 503 => Some("try again later"),
        _ => None,
    } {
        text.push_str(": ");
        text.push_str(advice);
    }
    if let Some(place) = response.headers().get("location") {
        text.push_str("\n  Location: ");
        text.push_str(&printable(place));
    }
    let body = String::from_utf8_lossy(response.content());
    let lines = body.lines().filter(|line| !line.trim().is_empty());
    for line in lines.take(BODY_LINES) {
        let line: String = line.chars().take(BODY_LINE).collect();
        text.push_str("\n  ");
        text.push_str(&printable(&line));
    }
    text
}

/// How an open connection ended, and what to do if it was not as it should be.
pub(crate) fn ending(closed: &Closed) -> String {
    let mut text = closed.to_string();
    let cure = match &closed.cause {
        Cause::Violation(Violation::MessageTooBig { .. } | Violation::FrameTooBig { .. }) => {
            Some("allow longer ones with --max-message")
        }
        Cause::Eof | Cause::Fault(_) => CloseCode::ABNORMAL.cure(),
        Cause::Peer if !closed.is_clean() => closed.code.cure(),
        _ => None,
    };
    if let Some(cure) = cure {
        text.push_str(": ");
        text.push_str(cure);
    }
    printable(&text)
}

/// What `Url` does not tell: host and port as one would type them.
pub(crate) trait Place {
    /// Host and port, the default one too.
    fn authority_with_port(&self) -> String;
}

impl Place for Url {
    fn authority_with_port(&self) -> String {
        if self.host().contains(':') {
            format!("[{}]:{}", self.host(), self.port())
        } else {
            format!("{}:{}", self.host(), self.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_the_beginning_of_its_body_made_harmless() {
        let body = format!(
            "first\x1b[2J\n\n{}\n{}",
            "x".repeat(1_000),
            "line\n".repeat(50)
        );
        let text = refusal(&Response::text(404, body), BY_HEADER);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..2],
            [
                "the server refused with HTTP status 404: check the path of the URL",
                "  first\\u{1b}[2J"
            ]
        );
        assert_eq!(lines[2].len(), BODY_LINE + 2);
        assert_eq!(lines.len(), BODY_LINES + 1);
    }

    #[test]
    fn places_have_brackets_and_a_port() {
        let place = |url| Url::parse(url).unwrap().authority_with_port();
        assert_eq!(place("ws://[::1]/"), "[::1]:80");
        assert_eq!(place("wss://h"), "h:443");
    }
}
