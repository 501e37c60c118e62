//! AWS API Gateway, whose routes are chosen by a message's `action`.
//!
//! Who may connect is decided on the upgrade, so who is connected is in. There
//! are no channels: subscriptions are ours alone.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use core::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};

use super::super::protocol::{Attempt, Cx, NO_BYTES, Protocol, Saying};
use super::super::utilities::parse_message;
use super::super::{
    ClientConfig, ConfigError, Ending, Incoming, Payload, Ping, RequestId, Verdict,
};
use super::shared;

/// The longest frame, less its header.
const FRAME: usize = 32 * 1024 - 8;
const MESSAGE: usize = 128 * 1024;
/// A connection ends after ten minutes without a message.
const IDLE: Duration = Duration::from_secs(9 * 60);
/// And after two hours in any case.
const LIFE: Duration = Duration::from_secs(115 * 60);

#[derive(Debug, Default)]
pub(super) struct Aws {
    /// Requests without an answer so far.
    running: BTreeSet<RequestId>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    /// The gateway's own errors have these three.
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(rename = "connectionId")]
    connection_id: Option<IgnoredAny>,
    #[serde(rename = "requestId")]
    request_id: Option<IgnoredAny>,
}

impl Protocol for Aws {
    fn defaults(&self, config: &mut ClientConfig) {
        config.ping = Some(Ping {
            interval: IDLE,
            ..Ping::default()
        });
        config.lifetime = Some(LIFE);
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        shared::default_query_name(config, "Authorization");
        if config.websocket.fragment_size > FRAME {
            Arc::make_mut(&mut config.websocket).fragment_size = FRAME;
        }
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        shared::upgrade(attempt)
    }

    fn opened(&mut self, cx: &mut Cx<'_>, _: Option<&str>) {
        self.running.clear();
        if let Some(message) = shared::first_message(cx) {
            cx.send(message);
        }
        cx.ready();
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        let parsed = parse_message(&message);
        let fields = parsed
            .as_ref()
            .and_then(|json| serde_json::from_str::<Fields<'_>>(json.as_str()).ok());
        let (Some(json), Some(fields)) = (&parsed, fields) else {
            let data = parsed.map_or(Payload::Message(message), Payload::Json);
            return cx.heard(Incoming::new(None, None, data));
        };
        let text = |part: Option<&RawValue>| part.and_then(|part| json.part(part).to_text());
        let request = text(fields.id).and_then(|id| id.parse().ok());
        let request = request.map(RequestId).filter(|id| self.running.remove(id));
        let failed = fields.connection_id.is_some() && fields.request_id.is_some();
        if let Some(request) = request {
            return cx.answered(request, Ok(json.clone()));
        }
        let event = if failed && fields.message.is_some() {
            Some("error".to_string())
        } else {
            text(fields.action)
                .or_else(|| text(fields.kind))
                .or_else(|| text(fields.event))
        };
        let channel = text(fields.channel).map(Utf8Bytes::from);
        let event = event.map(Utf8Bytes::from);
        cx.heard(Incoming::new(channel, event, Payload::Json(json.clone())));
    }

    fn subscribe(&mut self, _: &mut Cx<'_>, _: &str) {}

    fn unsubscribe(&mut self, _: &mut Cx<'_>, _: &str) {}

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        let message = match what {
            Saying::Raw(message) => message.clone(),
            Saying::Event {
                channel,
                name,
                data,
            } => Message::text(body(channel.as_deref(), name, data.as_ref(), answer)),
            Saying::Bytes { .. } => return cx.refuse(answer, NO_BYTES),
        };
        if message.len() <= MESSAGE {
            self.running.extend(answer);
            return cx.send(message);
        }
        cx.refuse(answer, "a message has 128 KiB at most");
    }

    fn forget(&mut self, id: RequestId) {
        self.running.remove(&id);
    }

    /// A route need not answer, so nothing is expected.
    fn ping(&mut self, cx: &mut Cx<'_>) {
        cx.send(Message::text(Utf8Bytes::from_static(
            r#"{"action":"ping"}"#,
        )));
    }

    fn verdict(&self, ending: &Ending) -> Verdict {
        match (ending.status(), u16::from(ending.code())) {
            // The authorizer knows us and says no.
            (Some(403), _) => Verdict::Reauthenticate,
            // Idle for too long, or its time was up.
            (None, 1001) => Verdict::Now,
            _ => ending.verdict(),
        }
    }
}

/// The fields of an object stand beside the action, as in the gateway's own
/// examples, unless one of them has a name that is taken.
fn body(channel: Option<&str>, name: &str, data: Option<&Json>, id: Option<RequestId>) -> String {
    #[derive(Deserialize)]
    struct Taken {
        action: Option<IgnoredAny>,
        channel: Option<IgnoredAny>,
        id: Option<IgnoredAny>,
    }
    let mut out = format!("{{\"action\":{}", Json::string(name));
    if let Some(RequestId(id)) = id {
        out.push_str(&format!(",\"id\":\"{id}\""));
    }
    if let Some(channel) = channel {
        out.push_str(&format!(",\"channel\":{}", Json::string(channel)));
    }
    if let Some(data) = data {
        let inner = data
            .as_str()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let free = data
            .to::<Taken>()
            .is_ok_and(|it| it.action.is_none() && it.channel.is_none() && it.id.is_none());
        match inner {
            Some(inner) if inner.trim().is_empty() => {}
            Some(inner) if free => out.push_str(&format!(",{inner}")),
            Some(_) | None => out.push_str(&format!(",\"data\":{data}")),
        }
    }
    out.push('}');
    out
}
