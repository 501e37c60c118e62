//! RNode server: typed messages with rooms, direct messages and
//! acknowledgements.

use alloc::vec;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::TOO_MANY;
use super::object::{self, Object};
use super::{Context, Failure, Incoming, IncomingEvent, Outgoing};
use crate::json::Json;
use crate::message::Message;

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    room_id: Option<&'a RawValue>,
    #[serde(borrow)]
    target_client_id: Option<&'a RawValue>,
}

/// `data` of a room message in its longest form.
#[derive(Deserialize)]
struct RoomData<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

pub(super) fn decode(message: Message) -> Incoming {
    let raw = match message {
        Message::Text(text) => text,
        Message::Binary(data) => return Incoming::Binary(data),
    };
    let Ok(json) = Json::parse(raw.clone()) else {
        return Incoming::Invalid(Failure::InvalidMessage);
    };
    let Some(fields) = object::read::<Fields<'_>>(json.as_str()) else {
        return Incoming::Invalid(Failure::InvalidMessage);
    };
    let text = |field: Option<&RawValue>| object::text(&json, field?);
    let kind = text(fields.kind).unwrap_or_default();
    match kind.as_str() {
        "room_message" => {
            let said = text(fields.message)
                .or_else(|| text(fields.data))
                .or_else(|| text(object::read::<RoomData<'_>>(fields.data?.get())?.message));
            said.map_or(Incoming::Nothing, |text_said| Incoming::ToRoom {
                room: text(fields.room_id),
                text: text_said,
            })
        }
        "direct_message" => match (text(fields.target_client_id), text(fields.data)) {
            (Some(to), Some(text)) => Incoming::Direct { to, text },
            _ => Incoming::Invalid(Failure::InvalidDirect),
        },
        // Copied: a room outlives the message, and must not keep it.
        "join_room" => match text(fields.room_id) {
            Some(room) => Incoming::Join(vec![room.as_str().into()]),
            None => Incoming::Invalid(Failure::RoomJoin),
        },
        "leave_room" => Incoming::Leave(text(fields.room_id).into_iter().collect()),
        "ping" => Incoming::Ping,
        // Its `data.timestamp` is the client's clock, not our ping's.
        "pong" => Incoming::Pong {
            sent_ms: None,
            raw: Some(raw),
        },
        _ => Incoming::Event(IncomingEvent {
            name: kind,
            data: fields.data.map(|data| json.part(data)),
            ack: None,
            raw: Some(raw),
        }),
    }
}

pub(super) fn encode(context: Context<'_>, what: &Outgoing<'_>) -> Option<Message> {
    let kind = |kind: &str| Object::new().text("type", kind);
    let error = |kind_of: &str, text: &str| {
        kind("error")
            .text("error_type", kind_of)
            .text("error", text)
    };
    let message = match what {
        Outgoing::Event { name, data, .. } => {
            kind(name).maybe("data", data.map(Json::as_str), Object::json)
        }
        Outgoing::Welcome {
            connection_id,
            client_id,
            path,
            ..
        } => kind("welcome")
            .text("connection_id", connection_id)
            .text("client_id", client_id)
            .text("path", path),
        Outgoing::Ping => kind("ping"),
        Outgoing::Pong { latency_ms } => kind("pong").maybe("latency", *latency_ms, Object::number),
        Outgoing::RoomJoined { room } => kind("room_joined").text("room_id", room),
        Outgoing::RoomLeft { room } => kind("room_left").text("room_id", room),
        Outgoing::RoomMessage { room, text, from } => kind("room_message")
            .text("room_id", room)
            .text("message", text)
            .maybe("from_client_id", *from, Object::text),
        Outgoing::Direct { text, from } => kind("direct_message")
            .text("message", text)
            .text("from_client_id", from),
        Outgoing::MessageAck { raw } => kind("message_ack").text("message", raw),
        Outgoing::Blocked { raw, reason } => kind("message_blocked")
            .text("originalMessage", raw)
            .text("reason", reason),
        Outgoing::RateLimited { retry_after_ms, .. } => {
            error("rate_limited", TOO_MANY).number("retry_after", *retry_after_ms)
        }
        // What is no message is passed over in silence.
        Outgoing::Error(Failure::InvalidMessage)
        | Outgoing::Ack { .. }
        | Outgoing::Broker { .. } => return None,
        Outgoing::Error(failure @ Failure::AuthenticationFailed) => {
            error(failure.kind(), "Unauthorized client")
        }
        Outgoing::Error(failure) => error(failure.kind(), &failure.sentence()),
        Outgoing::Raw(message) => return Some((*message).clone()),
    };
    Some(message.text("timestamp", context.timestamp).into())
}

#[cfg(test)]
mod tests;
