//! GraphQL over WebSocket, in two protocols whose names mislead: the
//! subprotocol `graphql-transport-ws` of the library `graphql-ws`, and the
//! older subprotocol `graphql-ws` of `subscriptions-transport-ws`.
//!
//! A channel is a document, or the whole payload (`{"query":…}`) as JSON; so is
//! an event, whose data are the document's variables.

use alloc::borrow::{Cow, ToOwned as _};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

use super::super::protocol::{Attempt, Cx, NO_BYTES, Protocol, Saying};
use super::super::utilities::parse_message;
use super::super::{
    Backoff, ClientConfig, ConfigError, Ending, Incoming, Jitter, Payload, RequestId, Verdict,
};
use super::shared;

/// Where the two differ.
#[derive(Debug)]
struct Dialect {
    subprotocol: &'static str,
    /// The first message, where it has a token.
    init: &'static str,
    start: &'static str,
    data: &'static str,
    stop: &'static str,
    ping: Option<&'static str>,
    goodbye: Option<&'static str>,
    backoff: Backoff,
}

static TRANSPORT: Dialect = Dialect {
    subprotocol: "graphql-transport-ws",
    init: r#"{"type":"connection_init","payload":{"authorization":"Bearer {{token}}"}}"#,
    start: "subscribe",
    data: "next",
    stop: "complete",
    ping: Some(r#"{"type":"ping"}"#),
    goodbye: None,
    backoff: Backoff {
        initial: Duration::from_secs(1),
        factor: 2.0,
        steps: Cow::Borrowed(&[]),
        cap: Duration::from_secs(30),
        jitter: Jitter {
            added: Duration::from_secs(3),
            ..Jitter::NONE
        },
        max_attempts: 5,
        stable_after: Duration::from_secs(10),
    },
};

static LEGACY: Dialect = Dialect {
    subprotocol: "graphql-ws",
    init: r#"{"type":"connection_init","payload":{"authToken":"{{token}}"}}"#,
    start: "start",
    data: "data",
    stop: "stop",
    ping: None,
    goodbye: Some(r#"{"type":"connection_terminate","payload":null}"#),
    backoff: Backoff {
        initial: Duration::from_millis(100),
        factor: 2.0,
        steps: Cow::Borrowed(&[]),
        cap: Duration::from_secs(10),
        jitter: Jitter {
            less: 0.5,
            more: 0.5,
            added: Duration::ZERO,
        },
        max_attempts: 0,
        stable_after: Duration::from_secs(10),
    },
};

/// Once a server has sent a `ka`, something comes in each of these.
const KEEPALIVE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Graphql {
    dialect: &'static Dialect,
    acknowledged: bool,
    serial: u64,
    /// What is subscribed to, by the operation's id.
    channels: BTreeMap<String, Channel>,
    /// Requests without an answer so far.
    running: BTreeSet<RequestId>,
    /// Those that nobody waits for any more, to be stopped.
    stale: Vec<RequestId>,
    pinged: Option<Tick>,
    /// The end of the time in which something must come, and whether it has.
    keepalive: Tick,
    alive: bool,
}

#[derive(Debug)]
struct Channel {
    name: Utf8Bytes,
    /// A first result came.
    confirmed: bool,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl Graphql {
    pub(super) const fn transport() -> Self {
        Self::new(&TRANSPORT)
    }

    pub(super) const fn legacy() -> Self {
        Self::new(&LEGACY)
    }

    const fn new(dialect: &'static Dialect) -> Self {
        Self {
            dialect,
            acknowledged: false,
            serial: 0,
            channels: BTreeMap::new(),
            running: BTreeSet::new(),
            stale: Vec::new(),
            pinged: None,
            keepalive: Tick::MAX,
            alive: false,
        }
    }

    fn start(&self, cx: &mut Cx<'_>, id: &str, payload: &str) {
        cx.send(Message::text(format!(
            "{{\"id\":\"{id}\",\"type\":\"{}\",\"payload\":{payload}}}",
            self.dialect.start
        )));
    }

    fn stop(&self, cx: &mut Cx<'_>, id: &str) {
        cx.send(Message::text(format!(
            "{{\"id\":\"{id}\",\"type\":\"{}\"}}",
            self.dialect.stop
        )));
    }

    /// The request of an operation, which is over for us.
    fn request(&mut self, id: &str) -> Option<RequestId> {
        let id = RequestId(id.parse().ok()?);
        self.running.remove(&id).then_some(id)
    }

    fn data(&mut self, cx: &mut Cx<'_>, id: &str, payload: Json) {
        if let Some(channel) = self.channels.get_mut(id) {
            let name = channel.name.clone();
            if !channel.confirmed {
                if let Some(words) = refusal(&payload) {
                    self.channels.remove(id);
                    return cx.refused(name, words);
                }
                channel.confirmed = true;
                cx.subscribed(name.clone());
            }
            cx.heard(Incoming::new(Some(name), None, Payload::Json(payload)));
        } else if let Some(request) = self.request(id) {
            let answer = refusal(&payload).map_or(Ok(payload), Err);
            cx.answered(request, answer);
        }
    }

    fn error(&mut self, cx: &mut Cx<'_>, id: &str, payload: &Json, whole: &Json) {
        if let Some(channel) = self.channels.remove(id) {
            cx.refused(channel.name, words(payload));
        } else if let Some(request) = self.request(id) {
            cx.answered(request, Err(words(payload)));
        } else {
            let event = Utf8Bytes::from_static("error");
            let data = Payload::Json(whole.clone());
            cx.heard(Incoming::new(None, Some(event), data));
        }
    }

    fn complete(&mut self, cx: &mut Cx<'_>, id: &str) {
        if let Some(channel) = self.channels.remove(id) {
            let event = Utf8Bytes::from_static("complete");
            let data = Payload::Json(Json::NULL);
            cx.heard(Incoming::new(Some(channel.name), Some(event), data));
        } else if let Some(request) = self.request(id) {
            cx.answered(request, Ok(Json::NULL));
        }
    }
}

impl Protocol for Graphql {
    fn defaults(&self, config: &mut ClientConfig) {
        config.reconnect = Some(self.dialect.backoff.clone());
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        shared::default_template(config, self.dialect.init);
        let subprotocol = self.dialect.subprotocol;
        if !config.subprotocols.iter().any(|it| it == subprotocol) {
            config.subprotocols.push(subprotocol.to_owned());
        }
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        shared::upgrade(attempt)
    }

    fn opened(&mut self, cx: &mut Cx<'_>, subprotocol: Option<&str>) {
        *self = Self {
            serial: self.serial,
            ..Self::new(self.dialect)
        };
        if subprotocol != Some(self.dialect.subprotocol) {
            let words = format!("the server does not speak {}", self.dialect.subprotocol);
            return cx.end(Verdict::Fatal, words);
        }
        let plain = || Message::text(r#"{"type":"connection_init"}"#);
        let init = shared::first_message(cx).unwrap_or_else(plain);
        cx.send(init);
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        self.alive = true;
        let parsed = parse_message(&message);
        let fields = parsed
            .as_ref()
            .and_then(|json| serde_json::from_str::<Fields<'_>>(json.as_str()).ok());
        let (Some(json), Some(fields)) = (&parsed, fields) else {
            return cx.heard(Incoming::new(None, None, Payload::Message(message)));
        };
        let text = |part: Option<&RawValue>| part.and_then(|part| json.part(part).to_text());
        let kind = text(fields.kind).unwrap_or_default();
        let id = text(fields.id).unwrap_or_default();
        let payload = fields.payload.map_or(Json::NULL, |part| json.part(part));
        match kind.as_str() {
            "connection_ack" => {
                self.acknowledged = true;
                cx.ready();
            }
            "connection_error" if !self.acknowledged => {
                cx.end(Verdict::Reauthenticate, words(&payload));
            }
            "ping" => {
                let payload = fields.payload.map_or(String::new(), |payload| {
                    format!(",\"payload\":{}", payload.get())
                });
                cx.send(Message::text(format!("{{\"type\":\"pong\"{payload}}}")));
            }
            // One may come without a ping.
            "pong" => {
                if let Some(at) = self.pinged.take() {
                    cx.pong(cx.now.since(at).as_millis() as u64);
                }
            }
            "ka" => self.keepalive = self.keepalive.min(cx.now + KEEPALIVE),
            "complete" => self.complete(cx, &id),
            "error" => self.error(cx, &id, &payload, json),
            kind if kind == self.dialect.data => self.data(cx, &id, payload),
            _ => {
                let data = Payload::Json(json.clone());
                cx.heard(Incoming::new(None, Some(kind.into()), data));
            }
        }
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        self.serial += 1;
        // Requests have plain numbers.
        let id = format!("s{}", self.serial);
        self.start(cx, &id, &operation(channel, None));
        let channel = Channel {
            name: channel.into(),
            confirmed: false,
        };
        self.channels.insert(id, channel);
    }

    fn unsubscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        let mut channels = self.channels.iter();
        let found = channels.find(|(_, other)| other.name.as_str() == channel);
        if let Some(id) = found.map(|(id, _)| id.clone()) {
            self.channels.remove(&id);
            self.stop(cx, &id);
        }
    }

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        match what {
            Saying::Raw(message) => cx.send(message.clone()),
            Saying::Event { name, data, .. } => {
                let id = match answer {
                    Some(request) => {
                        self.running.insert(request);
                        request.0.to_string()
                    }
                    None => {
                        self.serial += 1;
                        format!("p{}", self.serial)
                    }
                };
                self.start(cx, &id, &operation(name, data.as_ref()));
            }
            Saying::Bytes { .. } => cx.refuse(answer, NO_BYTES),
        }
    }

    fn forget(&mut self, id: RequestId) {
        if self.running.remove(&id) {
            self.stale.push(id);
        }
    }

    fn leave(&mut self, cx: &mut Cx<'_>) {
        if let Some(goodbye) = self.dialect.goodbye {
            cx.send(Message::text(Utf8Bytes::from_static(goodbye)));
        }
    }

    fn next_timeout(&self) -> Tick {
        if self.stale.is_empty() {
            self.keepalive
        } else {
            Tick::ZERO
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        for id in core::mem::take(&mut self.stale) {
            self.stop(cx, &id.0.to_string());
        }
        if self.keepalive <= cx.now {
            if core::mem::take(&mut self.alive) {
                self.keepalive = cx.now + KEEPALIVE;
            } else {
                cx.end(Verdict::Backoff, "no keepalive came in time");
            }
        }
    }

    fn ping(&mut self, cx: &mut Cx<'_>) {
        if let Some(ping) = self.dialect.ping {
            cx.send(Message::text(Utf8Bytes::from_static(ping)));
            self.pinged = Some(cx.now);
            cx.expect_pong();
        }
    }

    fn verdict(&self, ending: &Ending) -> Verdict {
        match u16::from(ending.code()) {
            // Who still waits for results was not meant to lose them.
            1000 if !self.channels.is_empty() => Verdict::Backoff,
            // An invalid message (4400, and 4004 where it was the server's), an
            // error of the client (4005) or server (4500), no common
            // subprotocol, an id used twice, two `connection_init`.
            4004 | 4005 | 4400 | 4406 | 4409 | 4429 | 4500 => Verdict::Fatal,
            // "Unauthorized", "Forbidden".
            4401 | 4403 => Verdict::Reauthenticate,
            _ => ending.verdict(),
        }
    }
}

/// The payload that asks for an operation.
fn operation(document: &str, variables: Option<&Json>) -> String {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(rename = "query")]
        _query: IgnoredAny,
    }
    if serde_json::from_str::<Whole>(document).is_ok() {
        return document.to_owned();
    }
    let query = Json::string(document);
    let variables = variables.map_or(String::new(), |it| format!(",\"variables\":{it}"));
    format!("{{\"query\":{query}{variables}}}")
}

/// Why an operation did not begin, where its first result tells that it did
/// not: errors, and no data.
fn refusal(result: &Json) -> Option<Utf8Bytes> {
    #[derive(Deserialize)]
    struct Result {
        data: Option<IgnoredAny>,
        errors: Json,
    }
    let result: Result = result.to().ok()?;
    result.data.is_none().then(|| words(&result.errors))
}

/// The message of an error, or of the first of several.
fn words(errors: &Json) -> Utf8Bytes {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let first = errors.to::<Vec<Error>>().ok();
    let first = first.and_then(|errors| errors.into_iter().next());
    let error = first.or_else(|| errors.to().ok());
    error.map_or_else(
        || Utf8Bytes::from_static("the operation failed"),
        |error| error.message.into(),
    )
}
