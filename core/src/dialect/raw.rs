//! Messages as they are.

use crate::message::Message;

use super::{Incoming, Outgoing};

pub(super) fn decode(_message: Message) -> Incoming {
    Incoming::Nothing
}

pub(super) fn encode(_what: &Outgoing<'_>) -> Option<Message> {
    None
}
