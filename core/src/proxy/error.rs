//! What is wrong with a proxy, or with our way to speak to it.

use alloc::boxed::Box;
use core::fmt;

use crate::http::{HeadError, UrlError};

/// Why a text names no proxy that a client can use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// It is no URL with a host.
    Url(UrlError),
    /// The scheme is none of `http`, `socks5` and `socks5h`.
    Scheme,
    /// `https`: the way to the proxy itself is not encrypted here. What goes
    /// through it is, with `wss`.
    OverTls,
    /// SOCKS 4.
    Socks4,
    /// Something follows host and port.
    Path,
    /// User or password that the proxy's protocol cannot say: over 255 bytes or
    /// no user (SOCKS), a colon in the user or a control character (HTTP).
    Credentials,
    /// It is in this variable of the environment.
    Variable(&'static str, Box<Self>),
}

impl From<UrlError> for ProxyError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url(error) => return write!(f, "proxy: {error}"),
            Self::Scheme => "proxy: url does not start with http:// or socks5://",
            Self::OverTls => {
                "proxy: one that is spoken to over TLS (https://) is not supported, \
                 use http:// (what goes through it is encrypted all the same, with wss://)"
            }
            Self::Socks4 => "proxy: SOCKS 4 is not supported, use socks5://",
            Self::Path => "proxy: url has more than a host and a port",
            Self::Credentials => "proxy: user or password cannot be sent to this kind of proxy",
            Self::Variable(name, error) => return write!(f, "{error} (in {name})"),
        })
    }
}

impl core::error::Error for ProxyError {}

/// Why a proxy gave no way through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunnelError {
    /// It asks who we are, and no credentials were given.
    NoCredentials,
    /// It does not take the credentials that were given.
    WrongCredentials,
    /// It asks in ways that are not spoken, such as Digest or NTLM.
    Unsupported(Box<str>),
    /// HTTP: it answered with this status, in these words.
    Status(u16, Box<str>),
    /// HTTP: its answer is no head of a response.
    Head(HeadError),
    /// SOCKS: it refused with this code (RFC 1928 §6).
    Reply(u8),
    /// SOCKS: it speaks another version, or something else; its first byte.
    NotSocks(u8),
    /// SOCKS: its answer makes no sense.
    Malformed,
    /// It ended the connection.
    Ended,
}

impl TunnelError {
    /// Whether it will say the same next time, until somebody changes something.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::NoCredentials
            | Self::WrongCredentials
            | Self::Unsupported(_)
            | Self::Head(_)
            | Self::NotSocks(_)
            | Self::Malformed => true,
            Self::Status(status, _) => !matches!(status, 408 | 425 | 429 | 500..=599),
            // Not allowed, or not known to it.
            Self::Reply(code) => matches!(code, 2 | 7 | 8),
            Self::Ended => false,
        }
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCredentials => "the proxy asks for a user and a password",
            Self::WrongCredentials => "the proxy does not take this user and password",
            Self::Unsupported(ways) => {
                return write!(f, "the proxy asks for {ways}, which is not supported");
            }
            Self::Status(status, words) if words.is_empty() => {
                return write!(f, "the proxy answered with HTTP status {status}");
            }
            Self::Status(status, words) => {
                return write!(f, "the proxy answered with HTTP status {status} ({words})");
            }
            Self::Head(error) => return write!(f, "the proxy does not answer in HTTP: {error}"),
            Self::Reply(1) => "the proxy failed",
            Self::Reply(2) => "the proxy does not allow this connection",
            Self::Reply(3) => "the proxy cannot reach the network of the server",
            Self::Reply(4) => "the proxy cannot reach the server",
            Self::Reply(5) => "the server refused the connection of the proxy",
            Self::Reply(6) => "the server did not answer the proxy in time",
            Self::Reply(7) => "the proxy does not know the command to connect",
            Self::Reply(8) => "the proxy does not take this kind of address",
            Self::Reply(code) => return write!(f, "the proxy refused with SOCKS code {code}"),
            Self::NotSocks(b'H') => "the proxy does not speak SOCKS 5, but perhaps HTTP",
            Self::NotSocks(byte) => {
                return write!(
                    f,
                    "the proxy does not speak SOCKS 5: first byte 0x{byte:02x}"
                );
            }
            Self::Malformed => "the proxy's answer is not one of SOCKS 5",
            Self::Ended => "the proxy ended the connection",
        })
    }
}

impl core::error::Error for TunnelError {}
