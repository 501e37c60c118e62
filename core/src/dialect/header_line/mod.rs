//! MB Server Node: a header line, a newline, JSON.

mod header;
#[cfg(test)]
mod tests;
pub(crate) mod topic;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use super::failure::TOO_MANY;
use super::object::Object;
use super::{Context, Failure, HeaderFailure, Incoming, Outgoing};
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};

use header::MAX_LINE;

pub(crate) use header::is_id;

/// What a header line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To all subscribers of a topic.
    Publish,
    /// To one subscriber, who answers.
    Request,
    /// The answer.
    Response,
}

/// A header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it asks for.
    pub action: Action,
    /// The topic, in lower case.
    pub topic: Utf8Bytes,
    /// The version, `x.y.z`.
    pub version: Utf8Bytes,
    /// The message's own id, a UUID.
    pub request_id: Option<Utf8Bytes>,
    /// The id of the message this one follows from.
    pub parent_request_id: Option<Utf8Bytes>,
    /// How long a requester waits, in milliseconds, 1 to 3,600,000.
    pub timeout: Option<u32>,
    /// Whether the payload is what went wrong: behind the newline stands
    /// `error:`.
    pub error: bool,
}

/// What stands before a payload that says what went wrong.
const ERROR: &str = "error:";
/// The longest payload that is told back as what is no JSON.
const MAX_QUOTE: usize = 1_024;

pub(super) fn decode(message: Message) -> Incoming {
    match read(message) {
        Ok((header, payload)) => Incoming::Broker(header, payload),
        Err(failure) => Incoming::Invalid(Failure::Header(failure)),
    }
}

fn read(message: Message) -> Result<(Header, Json), Box<HeaderFailure>> {
    let mut start = message.as_bytes().iter().take(MAX_LINE);
    let Some(end) = start.position(|&byte| byte == b'\n') else {
        return Err(HeaderFailure::new(
            HeaderFailure::MALFORMED_MESSAGE,
            format!(
                "Invalid message format: no newline separator found within the maximum header \
                 length of {MAX_LINE} bytes"
            ),
        ));
    };
    let (line, payload) = match message {
        Message::Text(text) => (text.slice(&text[..end]), Some(text.slice(&text[end + 1..]))),
        Message::Binary(data) => (
            String::from_utf8_lossy(&data[..end]).into(),
            Utf8Bytes::try_from(data.slice(end + 1..)).ok(),
        ),
    };
    let mut header = Header::parse(&line)?;
    let payload = payload.map(|text| match text.strip_prefix(ERROR) {
        Some(error) => {
            header.error = true;
            text.slice(error)
        }
        None => text,
    });
    let json = match &payload {
        // The real server reads no payload it has no use for.
        Some(text) if text.is_empty() => Some(Json::EMPTY),
        Some(text) => Json::parse(text.clone()).ok(),
        None => None,
    };
    match json {
        Some(json) => Ok((header, json)),
        None => {
            let quote = payload.filter(|text| text.len() <= MAX_QUOTE);
            let failure =
                HeaderFailure::new(HeaderFailure::MALFORMED_MESSAGE, "Invalid JSON payload")
                    .details([("payload", quote.map(|text| Json::string(&text)))]);
            let id = header.request_id.clone();
            Err(failure.about(header.answer(id)))
        }
    }
}

pub(super) fn encode(context: Context<'_>, what: &Outgoing<'_>) -> Option<Message> {
    let message = match what {
        Outgoing::Broker { header, payload } => {
            let error = if header.error { ERROR } else { "" };
            format!("{header}\n{error}{payload}")
        }
        Outgoing::Welcome { .. } => "publish:system.initialize:1.0.0\n{}".into(),
        Outgoing::Ping => "request:system.heartbeat:1.0.0\n{}".into(),
        Outgoing::Event { name, data, .. } if topic::is_name(name) => {
            let data = data.map_or("{}", Json::as_str);
            format!("publish:{name}:1.0.0\n{data}")
        }
        Outgoing::RoomMessage { room, text, .. } if topic::is_name(room) => {
            let payload = Object::new().text("message", text).finish();
            format!("publish:{room}:1.0.0\n{payload}")
        }
        Outgoing::RateLimited { retry_after_ms, .. } => {
            let failure = HeaderFailure::new(HeaderFailure::SERVICE_UNAVAILABLE, TOO_MANY)
                .details([("retryAfter", Some((*retry_after_ms).into()))]);
            said(context, &failure)
        }
        Outgoing::Error(Failure::Header(failure)) => said(context, failure),
        Outgoing::Error(failure) => {
            let sentence = String::from(failure.sentence());
            said(context, &HeaderFailure::new(code(failure), sentence))
        }
        Outgoing::Raw(message) => return Some((*message).clone()),
        // What has no topic cannot be said; and acks, rooms and pongs are the
        // broker's own responses.
        Outgoing::Event { .. }
        | Outgoing::RoomMessage { .. }
        | Outgoing::Ack { .. }
        | Outgoing::Pong { .. }
        | Outgoing::RoomJoined { .. }
        | Outgoing::RoomLeft { .. }
        | Outgoing::Direct { .. }
        | Outgoing::MessageAck { .. }
        | Outgoing::Blocked { .. } => return None,
    };
    Some(Message::text(message))
}

/// What went wrong, as a response.
fn said(context: Context<'_>, failure: &HeaderFailure) -> String {
    let error = Object::new()
        .text("code", failure.code)
        .text("message", &failure.message)
        .text("timestamp", context.timestamp)
        .maybe(
            "details",
            failure.details.as_ref().map(Json::as_str),
            Object::json,
        );
    let payload = Object::new().object("error", error).finish();
    match &failure.about {
        Some(header) => format!("{header}\n{payload}"),
        None => format!("response:error:1.0.0\n{payload}"),
    }
}

fn code(failure: &Failure) -> &'static str {
    match failure {
        Failure::InvalidMessage | Failure::Decompress => HeaderFailure::MALFORMED_MESSAGE,
        Failure::InvalidApiKey | Failure::NotAuthenticated | Failure::AuthenticationFailed => {
            "UNAUTHORIZED"
        }
        Failure::TooLong
        | Failure::AlreadyAuthenticated
        | Failure::RoomJoin
        | Failure::InvalidDirect => HeaderFailure::INVALID_REQUEST,
        Failure::UnknownNamespace | Failure::ClientNotFound(_) => HeaderFailure::NO_ROUTE_FOUND,
        Failure::RoomFull => HeaderFailure::SERVICE_UNAVAILABLE,
        Failure::UnknownAck => HeaderFailure::INVALID_REQUEST_ID,
        Failure::Refused(_) | Failure::NotMember => "FORBIDDEN",
        Failure::AuthenticationError | Failure::Handler => "INTERNAL_ERROR",
        Failure::Header(failure) => failure.code,
    }
}

impl HeaderFailure {
    pub(crate) const INVALID_REQUEST: &'static str = "INVALID_REQUEST";
    pub(crate) const INVALID_REQUEST_ID: &'static str = "INVALID_REQUEST_ID";
    pub(crate) const MALFORMED_MESSAGE: &'static str = "MALFORMED_MESSAGE";
    pub(crate) const NO_ROUTE_FOUND: &'static str = "NO_ROUTE_FOUND";
    pub(crate) const SERVICE_UNAVAILABLE: &'static str = "SERVICE_UNAVAILABLE";
    pub(crate) const TIMEOUT: &'static str = "TIMEOUT";
    pub(crate) const TOPIC_NOT_SUPPORTED: &'static str = "TOPIC_NOT_SUPPORTED";

    pub(crate) fn new(code: &'static str, message: impl Into<Utf8Bytes>) -> Box<Self> {
        Box::new(Self {
            code,
            message: message.into(),
            details: None,
            about: None,
        })
    }

    /// The details, without what is not there.
    pub(crate) fn details<const N: usize>(
        mut self: Box<Self>,
        fields: [(&'static str, Option<Json>); N],
    ) -> Box<Self> {
        let details = fields.iter().fold(Object::new(), |details, (key, value)| {
            details.maybe(key, value.as_ref().map(Json::as_str), Object::json)
        });
        // Parts of one message are within the bounds together.
        self.details = Some(Json::trusted(details.finish()));
        self
    }

    /// What to answer under.
    pub(crate) fn about(mut self: Box<Self>, header: Header) -> Box<Self> {
        self.about = Some(header);
        self
    }
}
