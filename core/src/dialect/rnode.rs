//! RNode server.

use crate::message::Message;

use super::{Context, Incoming, Outgoing};

pub(super) fn decode(_message: Message) -> Incoming {
    Incoming::Nothing
}

pub(super) fn encode(_context: Context<'_>, _what: &Outgoing<'_>) -> Option<Message> {
    None
}
