//! Errors by blame: what the caller did, and what the environment did.
//!
//! What a peer does wrong is never an `Err`: it closes the connection and is
//! told by [`Closed`](crate::websocket::Closed).

use alloc::string::{String, ToString as _};
use core::fmt;

use crate::message::Message;

/// A message that was not queued, handed back unharmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    /// The message.
    pub message: Message,
    /// Why it was not queued.
    pub refused: Refused,
}

/// Why a machine did not take what the caller wanted to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// `max_queued_bytes` are waiting already. An event tells when there is
    /// room again.
    Full,
    /// The handshake is not over.
    NotOpen,
    /// The connection is closing or closed.
    Closed,
    /// A message sent in parts is not finished; its next part must have the
    /// same kind, and nothing else may come between.
    Unfinished,
    /// A ping payload longer than 125 bytes (RFC 6455 §5.5).
    TooLong,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the outbound queue is full",
            Self::NotOpen => "the handshake is not over",
            Self::Closed => "the connection is closing or closed",
            Self::Unfinished => "a message sent in parts is not finished",
            Self::TooLong => "a control frame holds at most 125 bytes",
        })
    }
}

impl core::error::Error for Refused {}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "message of {} bytes not sent: {}",
            self.message.len(),
            self.refused
        )
    }
}

impl core::error::Error for SendError {}

/// Something the network or the operating system did, told by the adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing listens at the address.
    Refused,
    /// The connection was reset or aborted.
    Reset,
    /// The network did not answer in time.
    TimedOut,
    /// The host name has no address.
    NotFound(String),
    /// Anything else, in the system's words.
    Other(String),
}

impl Fault {
    /// A fault in words of the system.
    pub fn other(error: impl fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // With the names that Node has for them: what people search for,
            // and what MB's documents tell of (MB-40, MB-44).
            Self::Refused => f.write_str("connection refused (ECONNREFUSED)"),
            Self::Reset => f.write_str("connection reset by peer (ECONNRESET)"),
            Self::TimedOut => f.write_str("the network timed out (ETIMEDOUT)"),
            Self::NotFound(host) => write!(f, "host not found: {host} (ENOTFOUND)"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for Fault {}

#[cfg(feature = "std")]
impl From<&std::io::Error> for Fault {
    fn from(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        // An open set of kinds that grows with Rust: the rest keeps its words.
        #[expect(clippy::wildcard_enum_match_arm)]
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Self::Reset,
            Kind::TimedOut => Self::TimedOut,
            _ => Self::other(error),
        }
    }
}

#[cfg(feature = "std")]
impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::from(&error)
    }
}
