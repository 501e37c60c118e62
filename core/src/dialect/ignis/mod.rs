//! Ignis WebSocketServerHelper: events, authentication and rooms in JSON, and
//! the names its users know.

mod cluster;
mod constants;

use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::TOO_MANY;
use super::object::{self, Object};
use super::{Answered, Context, Failure, Incoming, IncomingEvent, Outgoing};
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};

pub use cluster::{Destination, Envelope};
pub use constants::{ClientState, Event, MessageType, channels, defaults};

/// How many names of one `join` or `leave` are looked at.
const MAX_ROOMS: usize = 1_000;
/// The longest name of a room, in UTF-16 code units.
const MAX_ROOM_NAME: usize = 256;
/// Names that begin so are the server's.
const INTERNAL_PREFIX: &str = "ws:";

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Rooms<'a> {
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
}

pub(super) fn decode(message: Message) -> Incoming {
    let text = match message {
        Message::Text(text) => Ok(text),
        Message::Binary(data) => Utf8Bytes::try_from(data),
    };
    let text = text.ok();
    let Some((json, Fields { event, data })) = text.as_ref().and_then(object::parse) else {
        return Incoming::Invalid(Failure::InvalidMessage);
    };
    let name = event.and_then(|name| object::text(&json, name));
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Incoming::Nothing;
    };
    let data = data.map(|data| json.part(data));
    match Event::parse(&name) {
        Some(Event::Heartbeat) => Incoming::Heartbeat,
        Some(Event::Authenticate) => {
            let given = data.filter(|data| *data != Json::NULL);
            Incoming::Authenticate(given.unwrap_or(Json::EMPTY))
        }
        Some(Event::Join) => Incoming::Join(rooms(data)),
        Some(Event::Leave) => match rooms(data) {
            // To leave no room is not to leave the only one.
            none if none.is_empty() => Incoming::Nothing,
            rooms => Incoming::Leave(rooms),
        },
        Some(Event::Connected | Event::Disconnect | Event::Error | Event::Encrypted) | None => {
            Incoming::Event(IncomingEvent {
                name,
                data,
                ack: None,
                raw: None,
            })
        }
    }
}

/// The names in `data.rooms` that a client may say.
fn rooms(data: Option<Json>) -> Vec<Utf8Bytes> {
    let names = |data: &Json| {
        let Rooms { rooms } = object::read(data.as_str())?;
        let names: Vec<&RawValue> = serde_json::from_str(rooms?.get()).ok()?;
        let names = names.into_iter().take(MAX_ROOMS);
        let names = names.filter_map(|name| object::text(data, name));
        let allowed = names.filter(|name| may_be_named(name));
        // Copied: a room outlives the message, and must not keep it.
        Some(allowed.map(|name| name.as_str().into()).collect())
    };
    data.as_ref().and_then(names).unwrap_or_default()
}

fn may_be_named(room: &str) -> bool {
    let length = room.encode_utf16().count();
    (1..=MAX_ROOM_NAME).contains(&length) && !room.starts_with(INTERNAL_PREFIX)
}

pub(super) fn encode(context: Context<'_>, what: &Outgoing<'_>) -> Option<Message> {
    let message = |text: &str| Object::new().text("message", text);
    let (event, data) = match what {
        Outgoing::Event { name, data, .. } => {
            let data = data.map(Json::as_str);
            let event = Object::new().text("event", name);
            return Some(event.maybe("data", data, Object::json).into());
        }
        Outgoing::Raw(message) => return Some((*message).clone()),
        Outgoing::Welcome {
            connection_id,
            user_id,
            encryption,
            ..
        } => {
            let client = Object::new().text("id", connection_id);
            let client = client.maybe("userId", *user_id, Object::text);
            (
                Event::Connected.as_str(),
                match encryption {
                    Some(Answered::Exchange { public_key, salt }) => client
                        .text("time", context.timestamp)
                        .text("serverPublicKey", public_key)
                        .text("salt", salt),
                    Some(Answered::Hello(_)) | None => client.text("time", context.timestamp),
                },
            )
        }
        Outgoing::RoomMessage { room, text, from } => {
            let data = Object::new().text("room", room).text("message", text);
            ("room_message", data.maybe("from", *from, Object::text))
        }
        Outgoing::Direct { text, from } => ("direct_message", message(text).text("from", from)),
        Outgoing::Blocked { reason, .. } => (Event::Error.as_str(), message(reason)),
        Outgoing::RateLimited { retry_after_ms, .. } => {
            let data = message(TOO_MANY).number("retryAfter", *retry_after_ms);
            (Event::Error.as_str(), data)
        }
        Outgoing::Error(failure) => (Event::Error.as_str(), message(&failure.sentence())),
        // Joins are not confirmed, and pings are the transport's.
        Outgoing::Ack { .. }
        | Outgoing::Ping
        | Outgoing::Pong { .. }
        | Outgoing::RoomJoined { .. }
        | Outgoing::RoomLeft { .. }
        | Outgoing::MessageAck { .. }
        | Outgoing::Broker { .. } => return None,
    };
    Some(
        Object::new()
            .text("event", event)
            .object("data", data)
            .into(),
    )
}

#[cfg(test)]
mod tests;
