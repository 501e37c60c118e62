//! What a [`WebSocket`](crate::WebSocket) puts out.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::code::CloseCode;
use crate::deflate::Parameters;
use crate::error::Fault;
use crate::http::{HandshakeError, HeadError, Headers, Request, Response};
use crate::message::{Message, Utf8Bytes, printable};
use crate::proxy::TunnelError;

/// One thing the embedder must do, or learn.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Bytes wait in [`unsent`](crate::WebSocket::unsent). Told once; until
    /// they have all been [`transmitted`](crate::WebSocket::transmitted),
    /// what is added later is not told again.
    Transmit,
    /// Stop reading from the peer: the application has to catch up first.
    PauseRead,
    /// Read again.
    ResumeRead,
    /// Everything is sent: end the stream in this direction (half-close).
    Shutdown,
    /// Nothing more will happen: drop the socket. The last output.
    Close,
    /// Something for the application.
    Event(Event),
}

/// Something for the application.
#[derive(Debug)]
pub enum Event {
    /// Server, with [`Config::decide`](crate::Config::decide): may this
    /// request pass? Answer by [`decide`](crate::WebSocket::decide).
    Request(Ticket),
    /// The handshake is over; messages may be sent from now on.
    Open(Box<Opened>),
    /// A whole message.
    Message(Message),
    /// A part of a message, with [`Config::streaming`](crate::Config::streaming).
    Part(Part),
    /// A ping came (and is answered), with
    /// [`Config::control_events`](crate::Config::control_events).
    Ping(Bytes),
    /// A pong came, with [`Config::control_events`](crate::Config::control_events).
    Pong(Bytes),
    /// After a refusal with [`Refused::Full`](crate::Refused::Full): half of
    /// the queue is free again.
    Drained,
    /// The connection is over; told exactly once.
    Closed(Box<Closed>),
}

/// A piece of a message, in the order of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The bytes that came; text is cut between characters. May be empty when
    /// it is the last.
    pub data: Message,
    /// Whether the message ends here.
    pub last: bool,
}

/// What the handshake agreed on.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Server: the client's request.
    pub request: Option<Request>,
    /// Client: the server's answer.
    pub response: Option<Box<Response>>,
    /// What was agreed.
    pub agreed: Negotiated,
}

/// What two endpoints agreed on in their opening handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// The subprotocol, if one was chosen (RFC 6455 §1.9).
    pub subprotocol: Option<String>,
    /// permessage-deflate, if it was agreed (RFC 7692).
    pub deflate: Option<Parameters>,
}

/// A request that waits for the application's answer.
///
/// Dropping it leaves the connection undecided for ever: its handshake
/// deadline rests meanwhile.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    /// Boxed: a rare event should not make the frequent ones larger.
    pub(crate) request: Box<Request>,
    pub(crate) upgrade: bool,
}

impl Ticket {
    /// The request: path, headers, cookies, authorization.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether it asks for a WebSocket (and may have one); otherwise it is
    /// plain HTTP and can only be answered by [`respond`](Self::respond).
    pub const fn is_upgrade(&self) -> bool {
        self.upgrade
    }

    /// Accepts the upgrade. Of a request that is none, it makes a 426.
    pub fn accept(self, accept: Accept) -> Decision {
        let answer = if self.upgrade {
            Answer::Accept(accept)
        } else {
            Answer::Respond(Response::new(426))
        };
        Decision {
            request: self.request,
            answer,
        }
    }

    /// Answers with this response and ends the connection: a refusal, or
    /// the content of a plain HTTP request.
    pub fn respond(self, response: Response) -> Decision {
        Decision {
            request: self.request,
            answer: Answer::Respond(response),
        }
    }
}

/// How an upgrade is accepted.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    /// The subprotocol, which must be among those the client offered;
    /// `None` chooses by [`Config::subprotocols`](crate::Config::subprotocols).
    pub subprotocol: Option<String>,
    /// Headers added to the response.
    pub headers: Headers,
}

/// The answer to a [`Ticket`].
#[derive(Debug)]
#[must_use]
pub struct Decision {
    pub(crate) request: Box<Request>,
    pub(crate) answer: Answer,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Accept(Accept),
    Respond(Response),
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The code of the peer's close frame; our own when we failed the
    /// connection; [`CloseCode::ABNORMAL`] when the stream just ended.
    pub code: CloseCode,
    /// The reason that came, or went, with it.
    pub reason: Utf8Bytes,
    /// Who or what ended it.
    pub cause: Cause,
}

impl Closed {
    /// Whether both ends exchanged close frames, as they should, and neither
    /// reported a failure.
    pub fn is_clean(&self) -> bool {
        matches!(self.cause, Cause::Local | Cause::Peer)
            && matches!(
                self.code,
                CloseCode::NORMAL | CloseCode::GOING_AWAY | CloseCode::NO_STATUS
            )
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Local => write!(f, "closed by us: {}", self.code)?,
            Cause::Peer => write!(f, "closed by the peer: {}", self.code)?,
            Cause::Eof => f.write_str("the peer ended the connection without a close frame")?,
            Cause::Timeout(deadline) => write!(f, "{deadline}")?,
            Cause::Violation(violation) => {
                return write!(f, "the peer broke the protocol: {violation}");
            }
            Cause::Head(error) => return write!(f, "bad request: {error}"),
            Cause::Handshake(error) => return write!(f, "handshake failed: {error}"),
            Cause::Answered(status) => return write!(f, "answered with HTTP status {status}"),
            Cause::Refused(response) => {
                return write!(
                    f,
                    "the server answered with HTTP status {}",
                    response.status()
                );
            }
            Cause::Tunnel(error) => return write!(f, "{error}"),
            Cause::Fault(fault) => return write!(f, "{fault}"),
            #[cfg(feature = "tls")]
            Cause::Tls(error) => return write!(f, "{error}"),
        }
        if !self.reason.is_empty() {
            write!(f, " ({})", printable(&self.reason))?;
        }
        Ok(())
    }
}

impl core::error::Error for Closed {}

/// Who or what ended a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// We closed, and the peer's close frame came.
    Local,
    /// The peer's close frame came first.
    Peer,
    /// The stream ended without a close frame.
    Eof,
    /// A deadline of ours passed.
    Timeout(Deadline),
    /// The peer broke a rule of the protocol or one of our limits.
    Violation(Violation),
    /// Server: the request's head was not HTTP, or too large.
    Head(HeadError),
    /// Client: the server's answer was not a valid handshake.
    Handshake(HandshakeError),
    /// Server: the request was answered with this HTTP status, not upgraded.
    Answered(u16),
    /// Client: the server answered with something else than 101.
    Refused(Box<Response>),
    /// Client: the proxy gave no way through.
    Tunnel(TunnelError),
    /// The network or the system.
    Fault(Fault),
    /// TLS failed.
    #[cfg(feature = "tls")]
    Tls(crate::tls::TlsError),
}

/// A deadline that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deadline {
    /// The opening handshake took too long.
    Handshake,
    /// Nothing came after a keepalive ping.
    Pong,
    /// No message for too long.
    Idle,
    /// The peer did not answer our close frame.
    Close,
    /// The peer took none of the bytes that waited for it.
    Write,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "the handshake took too long",
            Self::Pong => "the peer does not answer pings",
            Self::Idle => "no message for too long",
            Self::Close => "the peer did not answer the close frame in time",
            Self::Write => "the peer takes no data",
        })
    }
}

/// A rule the peer broke: its close code, and the words the close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// RFC 6455 §5.2: RSV bits nobody negotiated.
    ReservedBits,
    /// RFC 6455 §5.2: an opcode without a meaning.
    ReservedOpcode(u8),
    /// RFC 6455 §5.5: a control frame in fragments.
    FragmentedControl,
    /// RFC 6455 §5.5: a control frame longer than 125 bytes.
    ControlTooLong,
    /// RFC 6455 §5.2: a length in more bytes than it needs, or above 2^63.
    Length,
    /// RFC 6455 §5.1: a client's frame without a mask.
    NotMasked,
    /// RFC 6455 §5.1: a server's frame with a mask.
    Masked,
    /// RFC 6455 §5.4: a continuation of nothing.
    NothingToContinue,
    /// RFC 6455 §5.4: a new message inside another.
    NotContinued,
    /// RFC 6455 §8.1: text that is not UTF-8.
    NotUtf8,
    /// RFC 6455 §5.5.1: a close frame of one byte, half a code.
    CloseLength,
    /// RFC 6455 §7.4: a close code nobody may send.
    CloseCode(u16),
    /// A frame above [`Config::max_frame`](crate::Config::max_frame).
    FrameTooBig {
        /// What the frame announced.
        size: u64,
        /// What is allowed.
        max: usize,
    },
    /// A message above [`Config::max_message`](crate::Config::max_message).
    MessageTooBig {
        /// What is allowed.
        max: usize,
    },
    /// More than [`Config::max_fragments`](crate::Config::max_fragments).
    TooManyFragments {
        /// What is allowed.
        max: u32,
    },
    /// Compressed data that do not inflate (RFC 7692 §7.2.2).
    Inflate,
    /// Compressed data that inflate to suspiciously much.
    InflateRatio,
    /// Frames sent before the handshake was answered, more than are kept.
    TooEarly,
}

impl Violation {
    /// The close code that tells the peer.
    pub const fn code(&self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::Length
            | Self::NotMasked
            | Self::Masked
            | Self::NothingToContinue
            | Self::NotContinued
            | Self::CloseLength
            | Self::CloseCode(_) => CloseCode::PROTOCOL,
            Self::NotUtf8 | Self::Inflate => CloseCode::INVALID_DATA,
            Self::FrameTooBig { .. } | Self::MessageTooBig { .. } | Self::InflateRatio => {
                CloseCode::TOO_BIG
            }
            Self::TooManyFragments { .. } | Self::TooEarly => CloseCode::POLICY,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits => f.write_str("reserved bits set"),
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode:#x}"),
            Self::FragmentedControl => f.write_str("fragmented control frame"),
            Self::ControlTooLong => f.write_str("control frame longer than 125 bytes"),
            Self::Length => f.write_str("frame length not in its shortest form"),
            Self::NotMasked => f.write_str("client frame without a mask"),
            Self::Masked => f.write_str("server frame with a mask"),
            Self::NothingToContinue => f.write_str("continuation without a message"),
            Self::NotContinued => f.write_str("new message inside a fragmented one"),
            Self::NotUtf8 => f.write_str("text is not UTF-8"),
            Self::CloseLength => f.write_str("close frame with half a code"),
            Self::CloseCode(code) => write!(f, "close code {code} must not be sent"),
            Self::FrameTooBig { size, max } => {
                write!(f, "frame size of {size} exceeds maximum of {max}")
            }
            Self::MessageTooBig { max } => write!(f, "message exceeds maximum of {max}"),
            Self::TooManyFragments { max } => write!(f, "message of more than {max} fragments"),
            Self::Inflate => f.write_str("compressed data are corrupt"),
            Self::InflateRatio => f.write_str("compressed data inflate too much"),
            Self::TooEarly => f.write_str("data before the handshake was answered"),
        }
    }
}

/// Figures of one connection since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes received, of all layers.
    pub received_bytes: u64,
    /// Bytes sent, of all layers.
    pub sent_bytes: u64,
    /// Messages received.
    pub received_messages: u64,
    /// Messages queued for sending.
    pub sent_messages: u64,
    /// Messages received while closing, which nobody gets any more.
    pub dropped_messages: u64,
    /// Round trip of the last keepalive ping.
    pub round_trip: Option<Duration>,
}
