//! MB Server Node: a header line, a newline, JSON.

use crate::message::{Message, Utf8Bytes};

use super::{Context, Incoming, Outgoing};

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
}

pub(super) fn decode(_message: Message) -> Incoming {
    Incoming::Nothing
}

pub(super) fn encode(_context: Context<'_>, _what: &Outgoing<'_>) -> Option<Message> {
    None
}
