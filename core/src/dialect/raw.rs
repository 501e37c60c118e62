//! Messages as they are: what servers without a dialect speak.

use crate::message::{Message, Utf8Bytes};

use super::{Incoming, IncomingEvent, Outgoing};

pub(super) fn decode(message: Message) -> Incoming {
    match message {
        Message::Text(text) => Incoming::Event(IncomingEvent {
            name: Utf8Bytes::from_static("message"),
            data: None,
            ack: None,
            raw: Some(text),
        }),
        Message::Binary(data) => Incoming::Binary(data),
    }
}

pub(super) fn encode(what: &Outgoing<'_>) -> Option<Message> {
    match what {
        Outgoing::Raw(message) => Some((*message).clone()),
        Outgoing::Event {
            data: Some(data), ..
        } => Some(Message::text((*data).clone().into_text())),
        Outgoing::RoomMessage { text, .. } | Outgoing::Direct { text, .. } => {
            Some(Message::text(*text))
        }
        Outgoing::Event { data: None, .. }
        | Outgoing::Ack { .. }
        | Outgoing::Welcome { .. }
        | Outgoing::Ping
        | Outgoing::Pong { .. }
        | Outgoing::RoomJoined { .. }
        | Outgoing::RoomLeft { .. }
        | Outgoing::MessageAck { .. }
        | Outgoing::Blocked { .. }
        | Outgoing::RateLimited { .. }
        | Outgoing::Error(_)
        | Outgoing::Broker { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    #[test]
    fn messages_pass_as_they_are() {
        for message in [Message::text("a"), Message::binary(&b"\x01{"[..])] {
            assert_eq!(encode(&Outgoing::Raw(&message)), Some(message));
        }
        let Incoming::Event(event) = decode(Message::text("{\"event\":1}")) else {
            panic!();
        };
        assert_eq!(event.raw.as_deref(), Some("{\"event\":1}"));
        let data = Json::parse("[1, 2]").unwrap();
        let event = Outgoing::Event {
            name: "x",
            data: Some(&data),
            ack: None,
        };
        assert_eq!(encode(&event), Some(Message::text("[1, 2]")));
    }
}
