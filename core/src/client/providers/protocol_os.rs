//! The manager of Protocol OS (wire.md §4.1, §4.2): JSON with a `type`.
//!
//! Subscriptions are ours alone; nothing about them is on the wire. Nobody
//! answers to the first message, so who sent it is in.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};

use super::super::protocol::{Attempt, Cx, NO_BYTES, Protocol, Saying};
use super::super::{ConfigError, Incoming, Payload, RequestId};
use super::shared;

#[derive(Debug, Default)]
pub(super) struct ProtocolOs {
    /// Requests by the id they went out with.
    pending: BTreeMap<String, RequestId>,
    ids: BTreeMap<RequestId, String>,
}

/// What is looked at in a message that came.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

impl Protocol for ProtocolOs {
    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        shared::upgrade(attempt)
    }

    fn opened(&mut self, cx: &mut Cx<'_>, _: Option<&str>) {
        self.pending.clear();
        self.ids.clear();
        if let Some(message) = shared::first_message(cx) {
            cx.send(message);
        }
        cx.ready();
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        let parsed = match &message {
            Message::Text(text) => Json::parse(text.clone()).ok(),
            Message::Binary(_) => None,
        };
        let fields = parsed
            .as_ref()
            .and_then(|json| serde_json::from_str::<Fields<'_>>(json.as_str()).ok());
        let (Some(json), Some(fields)) = (&parsed, fields) else {
            let data = parsed
                .clone()
                .map_or(Payload::Message(message), Payload::Json);
            return cx.heard(Incoming::new(None, None, data));
        };
        let text = |part: Option<&RawValue>| {
            let text = part.and_then(|part| json.part(part).to_text());
            text.map(Utf8Bytes::from)
        };
        let kind = text(fields.kind);
        let id = text(fields.id);
        match kind.as_deref() {
            Some("pong") => {
                let sent = fields.timestamp.and_then(|ms| ms.get().parse::<u64>().ok());
                if let Some(sent) = sent.filter(|&sent| sent <= cx.unix_ms) {
                    cx.pong(cx.unix_ms - sent);
                }
                return;
            }
            Some("ping") => {
                let field = |name: &str, value: Option<&RawValue>| {
                    value.map_or(String::new(), |value| {
                        format!(",\"{name}\":{}", value.get())
                    })
                };
                let (id, timestamp) =
                    (field("id", fields.id), field("timestamp", fields.timestamp));
                return cx.send(Message::text(format!(
                    "{{\"type\":\"pong\"{id}{timestamp}}}"
                )));
            }
            _ => {}
        }
        if let Some(request) = id.as_deref().and_then(|id| self.pending.remove(id)) {
            let payload = fields.payload.map_or(Json::NULL, |part| json.part(part));
            let answer = if kind.as_deref() == Some("error") {
                Err(refusal(&payload))
            } else {
                Ok(payload)
            };
            return cx.answered(request, answer);
        }
        let channel = text(fields.channel).or_else(|| kind.clone());
        let event = kind.or_else(|| text(fields.event));
        cx.heard(Incoming::new(channel, event, Payload::Json(json.clone())));
    }

    fn subscribe(&mut self, _: &mut Cx<'_>, _: &str) {}

    fn unsubscribe(&mut self, _: &mut Cx<'_>, _: &str) {}

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        let (channel, name, data) = match what {
            Saying::Raw(message) => return cx.send(message.clone()),
            Saying::Bytes { .. } => return cx.refuse(answer, NO_BYTES),
            Saying::Event {
                channel,
                name,
                data,
            } => (channel, name, data),
        };
        let quoted = |text: &str| Json::string(text).into_text();
        let mut out = format!("{{\"type\":{}", quoted(name));
        if let Some(answer) = answer {
            let id = cx.uuid();
            out.push_str(&format!(",\"id\":\"{id}\""));
            self.ids.insert(answer, id.clone());
            self.pending.insert(id, answer);
        }
        if let Some(channel) = channel {
            out.push_str(&format!(",\"channel\":{}", quoted(channel)));
        }
        let data = data.as_ref().map_or("null", Json::as_str);
        out.push_str(&format!(
            ",\"payload\":{data},\"timestamp\":{}}}",
            cx.unix_ms
        ));
        cx.send(Message::text(out));
    }

    fn forget(&mut self, request: RequestId) {
        if let Some(id) = self.ids.remove(&request) {
            self.pending.remove(&id);
        }
    }

    fn ping(&mut self, cx: &mut Cx<'_>) {
        let id = cx.uuid();
        let now = cx.unix_ms.to_string();
        cx.send(Message::text(format!(
            "{{\"type\":\"ping\",\"id\":\"{id}\",\"timestamp\":{now}}}"
        )));
        cx.expect_pong();
    }
}

fn refusal(payload: &Json) -> Utf8Bytes {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    payload.to::<Refusal>().map_or_else(
        |_| Utf8Bytes::from("Request failed"),
        |it| it.message.into(),
    )
}
