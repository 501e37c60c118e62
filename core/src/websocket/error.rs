//! What the users of an adapter can meet, in words a human can act on.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::error::{Fault, SendError};
use crate::http::{InvalidHeader, UrlError};

use super::ClientError;
use super::event::Closed;

/// An error of a connection, or of opening one. The machine itself returns
/// none of these; adapters make them of what it tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The URL is not one of a WebSocket.
    Url(UrlError),
    /// A header or subprotocol cannot be sent.
    Header(InvalidHeader),
    /// The machine of the client could not be made; most often TLS.
    Client(ClientError),
    /// No connection to the host.
    Connect {
        /// Host and port that were tried; `the proxy` before them, if it is
        /// one on the way.
        host: String,
        /// What the network said last.
        fault: Fault,
    },
    /// The connection ended, or never opened.
    Closed(Box<Closed>),
    /// A message was not sent, and is in here.
    Send(Box<SendError>),
    /// Nothing came within the time the caller gave; the connection lives on.
    TimedOut,
}

impl Error {
    /// How the connection ended, if that is what happened.
    pub fn closed(&self) -> Option<&Closed> {
        match self {
            Self::Closed(closed) => Some(closed),
            Self::Url(_)
            | Self::Header(_)
            | Self::Client(_)
            | Self::Connect { .. }
            | Self::Send(_)
            | Self::TimedOut => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
            Self::Connect { host, fault } => write!(f, "cannot connect to {host}: {fault}"),
            Self::Closed(closed) => closed.fmt(f),
            Self::Send(error) => error.fmt(f),
            Self::TimedOut => f.write_str("no message within the given time"),
        }
    }
}

impl core::error::Error for Error {}

impl From<UrlError> for Error {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<InvalidHeader> for Error {
    fn from(error: InvalidHeader) -> Self {
        Self::Header(error)
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::Send(Box::new(error))
    }
}
