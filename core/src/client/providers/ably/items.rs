//! What a message of Ably's holds several of: messages of a channel, and news of
//! its members.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::json::Json;
use crate::message::{Message, Utf8Bytes};

use super::super::super::{Incoming, Payload};

pub(super) fn message_of(channel: &str, item: Json) -> Incoming {
    #[derive(Deserialize)]
    struct Item {
        name: Option<String>,
        data: Option<Json>,
        encoding: Option<String>,
    }
    let channel = Some(Utf8Bytes::from(channel));
    let Ok(Item {
        name,
        data,
        encoding,
    }) = item.to()
    else {
        return Incoming::new(channel, None, Payload::Json(item));
    };
    let data = data.unwrap_or(Json::NULL);
    let data = match encoding {
        None => Payload::Json(data),
        Some(encoding) => decode(data, &encoding).unwrap_or(Payload::Json(item)),
    };
    Incoming::new(channel, name.map(Utf8Bytes::from), data)
}

/// Fields of a message: what is no string goes as the JSON it is.
pub(super) fn data_of(data: &Json) -> String {
    if data.as_str().starts_with('"') {
        format!(",\"data\":{data}")
    } else {
        let text = Json::string(data.as_str());
        format!(",\"data\":{text},\"encoding\":\"json\"")
    }
}

/// The same of bytes.
pub(super) fn bytes_of(data: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(data);
    format!(",\"data\":\"{text}\",\"encoding\":\"base64\"")
}

/// Undoes what was done to the data, the last of it first; `None` where that
/// cannot be done here, as with an encryption.
fn decode(data: Json, encoding: &str) -> Option<Payload> {
    let mut data = Payload::Json(data);
    for step in encoding.rsplit('/') {
        data = match (step, &data) {
            ("json", Payload::Json(json)) => Payload::Json(Json::parse(json.to_text()?).ok()?),
            ("base64", Payload::Json(json)) => {
                let bytes = BASE64_STANDARD.decode(json.to_text()?).ok()?;
                Payload::Message(Message::binary(bytes))
            }
            ("utf-8", Payload::Message(message)) => {
                let text = core::str::from_utf8(message.as_bytes()).ok()?;
                Payload::Json(Json::string(text))
            }
            _ => return None,
        };
    }
    Some(data)
}

pub(super) fn presence_of(channel: &str, item: Json) -> Incoming {
    #[derive(Deserialize)]
    struct Item {
        action: usize,
    }
    let names = ["absent", "present", "enter", "leave", "update"];
    let action = item.to::<Item>().map_or(0, |item| item.action);
    let event = names.get(action).map(|name| format!("presence:{name}"));
    let event = event.unwrap_or_else(|| "presence".to_owned());
    Incoming::new(
        Some(channel.into()),
        Some(event.into()),
        Payload::Json(item),
    )
}
