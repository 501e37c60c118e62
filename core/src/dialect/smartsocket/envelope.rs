//! `{"event":…,"data":…}`: what a message says.

use alloc::string::String;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::failure::TOO_MANY;
use crate::dialect::object::{self, Object};
use crate::dialect::{
    AckId, AckKey, Answered, Context, Failure, Incoming, IncomingEvent, Outgoing, PeerBinary,
};
use crate::error_code::ErrorCode;
use crate::json::Json;
use crate::message::Utf8Bytes;

/// Longest ack id of a peer, in bytes of JSON.
const MAX_ACK_ID: usize = 128;

/// Not an object with an event's name.
#[derive(Debug)]
pub(super) struct NotAnEnvelope;

pub(super) enum Said {
    /// `connected`, the first word of a client of generation B.
    Hello,
    Message(Incoming),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, rename = "ackId")]
    ack_id: Option<&'a RawValue>,
}

/// What may be asked for inside of `data`.
#[derive(Default, Deserialize)]
struct Asked<'a> {
    #[serde(borrow, rename = "__ackId")]
    underscored: Option<&'a RawValue>,
    #[serde(borrow, rename = "_ackId")]
    merged: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Acked<'a> {
    #[serde(borrow, rename = "ackId")]
    ack_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    response: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Connect<'a> {
    #[serde(borrow)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow, rename = "apiKey")]
    api_key: Option<&'a RawValue>,
    #[serde(borrow)]
    binary: Option<&'a RawValue>,
    #[serde(borrow)]
    encryption: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Beat {
    timestamp: Option<u64>,
}

pub(super) fn decode(text: Utf8Bytes) -> Result<Said, NotAnEnvelope> {
    let (json, envelope): (_, Envelope<'_>) = object::parse(&text).ok_or(NotAnEnvelope)?;
    let name = envelope
        .event
        .and_then(|event| object::text(&json, event))
        .filter(|name| !name.is_empty())
        .ok_or(NotAnEnvelope)?;
    let data = envelope.data.map(|data| json.part(data));
    Ok(Said::Message(match name.as_str() {
        "connected" => return Ok(Said::Hello),
        "disconnect" | "disconnected" => Incoming::Nothing,
        // Ours, sent back: answering it would never end.
        "ping" => Incoming::Heartbeat,
        "pong" => Incoming::Pong {
            sent_ms: data
                .and_then(|data| data.to::<Beat>().ok())
                .and_then(|beat| beat.timestamp),
            raw: None,
        },
        "CONNECT" => connect(data.as_ref()),
        "__ack__" => ack(data.as_ref()),
        _ => {
            let (ack, data) = asked(&name, data, envelope.ack_id);
            Incoming::Event(IncomingEvent {
                name,
                data,
                ack,
                raw: None,
            })
        }
    }))
}

fn connect(data: Option<&Json>) -> Incoming {
    let fields = data
        .and_then(|data| object::read::<Connect<'_>>(data.as_str()))
        .unwrap_or_default();
    // What is not a string counts as not there.
    let text = |raw: Option<&RawValue>| serde_json::from_str::<String>(raw?.get()).ok();
    let hello = fields.encryption.map(|raw| serde_json::from_str(raw.get()));
    let Ok(hello) = hello.transpose() else {
        return Incoming::Invalid(Failure::AuthenticationFailed);
    };
    Incoming::Connect {
        namespace: text(fields.namespace).map(Into::into),
        api_key: text(fields.api_key).map(Into::into),
        binary: match text(fields.binary).as_deref() {
            Some("plain") => PeerBinary::Plain,
            Some("compressed") => PeerBinary::Compressed,
            Some(_) | None => PeerBinary::None,
        },
        hello,
    }
}

/// The answer to a message of ours.
fn ack(data: Option<&Json>) -> Incoming {
    let acked = data.and_then(|data| Some((data, object::read::<Acked<'_>>(data.as_str())?)));
    let Some((data, acked)) = acked else {
        return Incoming::Invalid(Failure::InvalidMessage);
    };
    let id = acked.ack_id.and_then(|id| {
        let id = id.get();
        let id = id
            .strip_prefix("\"ack_")
            .and_then(|id| id.strip_suffix('"'))
            .unwrap_or(id);
        id.parse().ok()
    });
    match id {
        Some(id) => Incoming::Ack {
            id: AckKey(id),
            data: acked
                .response
                .map_or(Json::NULL, |response| data.part(response)),
        },
        None => Incoming::Invalid(Failure::UnknownAck),
    }
}

/// How an event wants to be answered, and its data without that wish: whoever
/// is sent them next must neither answer it nor take it for an answer.
fn asked(
    name: &str,
    data: Option<Json>,
    top_level: Option<&RawValue>,
) -> (Option<AckId>, Option<Json>) {
    // An id outlives its message, and must not keep it.
    let id = |raw: &RawValue| {
        let text = raw.get();
        let scalar = !text.starts_with(['{', '[', 'n', 't', 'f']);
        (scalar && text.len() <= MAX_ACK_ID).then(|| Json::trusted(text))
    };
    let inside = data
        .as_ref()
        .filter(|data| data.as_str().starts_with('{') && may_ask(data.as_str()))
        .and_then(|data| Some((data, object::read::<Asked<'_>>(data.as_str())?)));
    if let Some((data, asked)) = inside {
        if let Some((raw, id)) = asked.underscored.and_then(|raw| Some((raw, id(raw)?))) {
            let ack = AckId::Underscored(id);
            return (Some(ack), Some(without(data, raw)));
        }
        if let Some((raw, id)) = asked.merged.and_then(|raw| Some((raw, id(raw)?))) {
            let event = name.into();
            return (Some(AckId::Merged { event, id }), Some(without(data, raw)));
        }
    }
    (top_level.and_then(id).map(AckId::TopLevel), data)
}

/// Whether one of the names that ask for an answer may be in a text; in most
/// there is none, and nothing to read.
fn may_ask(text: &str) -> bool {
    text.contains("_ackId\"") || text.contains('\\')
}

/// An object without the field whose value is this part of it. The others stay
/// as they are.
fn without(object: &Json, value: &RawValue) -> Json {
    let text = object.as_str();
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    let end = start + value.get().len();
    let name = text[..start].trim_end_matches(|c| c != '"');
    // The names looked for hold no quotes.
    let name = name[..name.len() - 1].rfind('"').unwrap_or_default();
    let (before, after) = (text[..name].trim_end(), text[end..].trim_start());
    let (before, after) = match after.strip_prefix(',') {
        Some(after) => (before, after.trim_start()),
        None => (before.strip_suffix(',').unwrap_or(before), after),
    };
    Json::trusted(alloc::format!("{before}{after}"))
}

pub(super) fn encode(context: Context<'_>, what: &Outgoing<'_>) -> Option<String> {
    let event = |name: &str| Object::new().text("event", name);
    let with = |name: &str, data: Object| Some(event(name).object("data", data).finish());
    match what {
        Outgoing::Event {
            name,
            data: None,
            ack: None,
        } => Some(event(name).finish()),
        Outgoing::Event {
            name,
            data: Some(data),
            ack: None,
        } => Some(event(name).json("data", data.as_str()).finish()),
        Outgoing::Event {
            name,
            data,
            ack: Some(AckKey(key)),
        } => {
            let id = alloc::format!("\"__ackId\":\"ack_{key}\"");
            let data = spread(data.unwrap_or(&Json::NULL), Place::After(&id));
            Some(event(name).json("data", &data).finish())
        }
        Outgoing::Ack {
            id: AckId::Underscored(id) | AckId::TopLevel(id),
            data,
        } => with(
            "__ack__",
            Object::new()
                .json("ackId", id.as_str())
                .json("response", data.as_str()),
        ),
        Outgoing::Ack {
            id: AckId::Merged { event: name, id },
            data,
        } => {
            // Data that came with the id go back with it.
            let has_it = object::read::<Asked<'_>>(data.as_str())
                .and_then(|asked| asked.merged)
                .is_some_and(|merged| merged.get() == id.as_str());
            let data = if has_it {
                data.as_str().into()
            } else {
                let id = alloc::format!("\"_ackId\":{id}");
                spread(data, Place::Before(&id))
            };
            Some(event(name).json("data", &data).finish())
        }
        Outgoing::Welcome {
            connection_id,
            path,
            encryption,
            ..
        } => {
            let hello = match encryption {
                Some(Answered::Hello(hello)) => serde_json::to_string(hello).ok(),
                Some(Answered::Exchange { .. }) | None => None,
            };
            with(
                "CONNECT_ACK",
                Object::new()
                    .text("id", connection_id)
                    .text("namespace", path)
                    .maybe("encryption", hello.as_deref(), Object::json),
            )
        }
        Outgoing::Ping => with("ping", Object::new().number("timestamp", context.unix_ms)),
        Outgoing::Pong { .. } => with("pong", Object::new().number("timestamp", context.unix_ms)),
        Outgoing::RoomMessage { room, text, from } => with(
            "room_message",
            Object::new()
                .text("room", room)
                .text("message", text)
                .maybe("from", *from, Object::text),
        ),
        Outgoing::Direct { text, from } => with(
            "direct_message",
            Object::new().text("message", text).text("from", from),
        ),
        Outgoing::Blocked { reason, .. } => with(
            "error",
            Object::new()
                .text("code", ErrorCode::InvalidMessage.as_str())
                .text("message", reason),
        ),
        Outgoing::RateLimited {
            code,
            retry_after_ms,
        } => with(
            "__rate-limited__",
            Object::new()
                .text("message", TOO_MANY)
                .number("retryAfter", *retry_after_ms)
                .text("code", code.as_str()),
        ),
        Outgoing::Error(failure) => with("error", complaint(failure)),
        // A client learns that it is in a room from the application, if at all.
        Outgoing::RoomJoined { .. }
        | Outgoing::RoomLeft { .. }
        | Outgoing::MessageAck { .. }
        | Outgoing::Broker { .. }
        | Outgoing::Raw(_) => None,
    }
}

/// A failure with its code, cause and cure, where it has them.
fn complaint(failure: &Failure) -> Object {
    let code = match failure {
        Failure::InvalidMessage | Failure::Header(_) | Failure::InvalidDirect => {
            Some(ErrorCode::InvalidMessage)
        }
        Failure::Decompress => Some(ErrorCode::DecompressionFailed),
        Failure::TooLong => Some(ErrorCode::MessageTooLarge),
        Failure::UnknownNamespace => Some(ErrorCode::InvalidNamespace),
        Failure::InvalidApiKey
        | Failure::NotAuthenticated
        | Failure::AuthenticationFailed
        | Failure::AuthenticationError => Some(ErrorCode::AuthenticationFailed),
        Failure::UnknownAck => Some(ErrorCode::UnknownAck),
        Failure::AlreadyAuthenticated
        | Failure::RoomJoin
        | Failure::RoomFull
        | Failure::NotMember
        | Failure::ClientNotFound(_)
        | Failure::Refused(_)
        | Failure::Handler => None,
    };
    match code {
        Some(code) => Object::new()
            .text("code", code.as_str())
            .text("message", code.message())
            .text("cause", code.cause())
            .text("solution", code.solution()),
        None => Object::new().text("message", &failure.sentence()),
    }
}

/// Where a field goes among those of an object.
enum Place<'a> {
    Before(&'a str),
    After(&'a str),
}

/// An object of a field and of what `data` has when JavaScript spreads it:
/// an object's fields, a list's or a string's items by number, else nothing.
fn spread(data: &Json, place: Place<'_>) -> String {
    let text = data.as_str();
    let fields = match text.as_bytes()[0] {
        b'{' => String::from(text[1..text.len() - 1].trim()),
        b'[' => {
            let items: alloc::vec::Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            numbered(items.iter().map(|item| item.get()))
        }
        b'"' => {
            // By UTF-16 code units, as JavaScript counts.
            let text: String = serde_json::from_str(text).unwrap_or_default();
            let units: alloc::vec::Vec<String> = text
                .encode_utf16()
                .map(|unit| match char::from_u32(u32::from(unit)) {
                    Some(char) => Json::string(char.encode_utf8(&mut [0; 4])).as_str().into(),
                    None => alloc::format!("\"\\u{unit:04x}\""),
                })
                .collect();
            numbered(units.iter().map(String::as_str))
        }
        _ => String::new(),
    };
    let comma = if fields.is_empty() { "" } else { "," };
    match place {
        Place::Before(field) => alloc::format!("{{{field}{comma}{fields}}}"),
        Place::After(field) => alloc::format!("{{{fields}{comma}{field}}}"),
    }
}

fn numbered<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let mut fields = String::new();
    for (n, item) in items.enumerate() {
        if n > 0 {
            fields.push(',');
        }
        fields.push('"');
        fields.push_str(itoa::Buffer::new().format(n));
        fields.push_str("\":");
        fields.push_str(item);
    }
    fields
}
