//! SignalR, the hub protocol of ASP.NET Core, in JSON: records that end with
//! the byte 0x1e, several of which may be in a message, or one in several.
//!
//! What the server says has a target, so what is subscribed to is a target, and
//! nothing of that is on the wire. A channel that is an object
//! (`{"target":"Counter","arguments":[10]}`) is a stream, which is asked for.

mod negotiation;

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use core::mem;
use core::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::{Response, UpgradeRequest};
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

use super::super::protocol::{Attempt, Cx, NO_BYTES, Protocol, Saying};
use super::super::{
    AckTicket, Backoff, ClientConfig, ConfigError, Ending, Incoming, Jitter, LineId, Payload, Ping,
    RequestId, Verdict,
};
use super::shared;
use negotiation::Negotiation;

const END: char = '\u{1e}';
const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
const PING: &str = "{\"type\":6}\u{1e}";

/// Ours goes out this often, and so do the server's.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long the other may say nothing.
const SILENCE: Duration = Duration::from_secs(30);

/// That of `withAutomaticReconnect`.
const BACKOFF: Backoff = Backoff {
    initial: Duration::ZERO,
    factor: 1.0,
    steps: Cow::Borrowed(&[
        Duration::ZERO,
        Duration::from_secs(2),
        Duration::from_secs(10),
        Duration::from_secs(30),
    ]),
    cap: Duration::from_secs(30),
    jitter: Jitter::NONE,
    max_attempts: 4,
    stable_after: Duration::from_secs(10),
};

mod kind {
    pub(super) const INVOCATION: u64 = 1;
    pub(super) const STREAM_ITEM: u64 = 2;
    pub(super) const COMPLETION: u64 = 3;
    pub(super) const STREAM_INVOCATION: u64 = 4;
    pub(super) const CANCEL_INVOCATION: u64 = 5;
    pub(super) const PING: u64 = 6;
    pub(super) const CLOSE: u64 = 7;
}

#[derive(Debug)]
pub(super) struct SignalR {
    /// The server has answered to the handshake.
    agreed: bool,
    /// The beginning of a record.
    rest: String,
    serial: u64,
    /// Streams by the id of their invocation.
    streams: BTreeMap<String, Stream>,
    /// Until when something must come.
    deadline: Tick,
    negotiation: Negotiation,
    /// The line is encrypted.
    secure: bool,
}

#[derive(Debug)]
struct Stream {
    channel: Utf8Bytes,
    /// An item came.
    confirmed: bool,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type")]
    kind: Option<u64>,
    #[serde(rename = "invocationId")]
    invocation: Option<String>,
    target: Option<String>,
    error: Option<String>,
    #[serde(rename = "allowReconnect")]
    allow_reconnect: Option<bool>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl Default for SignalR {
    fn default() -> Self {
        Self {
            agreed: false,
            rest: String::new(),
            serial: 0,
            streams: BTreeMap::new(),
            deadline: Tick::MAX,
            negotiation: Negotiation::default(),
            secure: false,
        }
    }
}

impl SignalR {
    fn record(&mut self, cx: &mut Cx<'_>, record: &str) {
        let parsed = Json::parse(record).ok();
        let fields = parsed
            .as_ref()
            .and_then(|json| serde_json::from_str::<Fields<'_>>(json.as_str()).ok());
        let (Some(json), Some(fields)) = (&parsed, fields) else {
            let data = Payload::Message(Message::text(record));
            return cx.heard(Incoming::new(None, None, data));
        };
        if !self.agreed {
            if let Some(words) = fields.error {
                return cx.end(Verdict::Fatal, words);
            }
            self.agreed = true;
            cx.ready();
            if fields.kind.is_none() {
                return;
            }
        }
        let part = |part: Option<&RawValue>| part.map_or(Json::NULL, |part| json.part(part));
        let id = fields.invocation.unwrap_or_default();
        match fields.kind {
            Some(kind::INVOCATION) => {
                let data = Payload::Json(part(fields.arguments));
                let event = fields.target.map(Utf8Bytes::from);
                let mut incoming = Incoming::new(None, event, data);
                // With an id, the server waits for a result.
                incoming.ack = (!id.is_empty()).then(|| AckTicket {
                    line: LineId(0),
                    namespace: Utf8Bytes::default(),
                    id: id.into(),
                });
                cx.heard(incoming);
            }
            Some(kind::STREAM_ITEM) => {
                // Of a stream that was given back, some may still come.
                if let Some(stream) = self.streams.get_mut(&id) {
                    let channel = stream.channel.clone();
                    if !mem::replace(&mut stream.confirmed, true) {
                        cx.subscribed(channel.clone());
                    }
                    let data = Payload::Json(part(fields.item));
                    cx.heard(Incoming::new(Some(channel), None, data));
                }
            }
            Some(kind::COMPLETION) => match (self.streams.remove(&id), fields.error) {
                (Some(stream), Some(words)) => cx.refused(stream.channel, words),
                (Some(stream), None) => {
                    let event = Some("complete".into());
                    let data = Payload::Json(Json::NULL);
                    cx.heard(Incoming::new(Some(stream.channel), event, data));
                }
                (None, error) => {
                    if let Ok(id) = id.parse() {
                        let answer = error.map_or(Ok(part(fields.result)), |it| Err(it.into()));
                        cx.answered(RequestId(id), answer);
                    }
                }
            },
            Some(kind::PING) => {}
            // What is said here counts, never the code that follows.
            Some(kind::CLOSE) => {
                let verdict = match (fields.allow_reconnect, &fields.error) {
                    (Some(true), _) => Verdict::Backoff,
                    (_, Some(_)) => Verdict::Fatal,
                    (_, None) => Verdict::Stay,
                };
                let words = fields.error.unwrap_or_else(|| "the server closed".into());
                cx.end(verdict, words);
            }
            _ => cx.heard(Incoming::new(None, None, Payload::Json(json.clone()))),
        }
    }
}

impl Protocol for SignalR {
    fn defaults(&self, config: &mut ClientConfig) {
        config.reconnect = Some(BACKOFF);
        config.connect_timeout = Duration::from_secs(15);
        config.ping = Some(Ping {
            interval: INTERVAL,
            timeout: SILENCE,
        });
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        shared::default_query_name(config, "access_token");
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        let request = self.negotiation.upgrade(attempt)?;
        self.secure = request.url().secure();
        Ok(request)
    }

    fn negotiated(&mut self, response: &Response) -> Option<Result<(), Utf8Bytes>> {
        self.negotiation.answered(response, self.secure)
    }

    /// Names of connections are good for one.
    fn ended(&mut self) {
        self.negotiation = Negotiation::default();
    }

    fn opened(&mut self, cx: &mut Cx<'_>, _: Option<&str>) {
        *self = Self {
            serial: self.serial,
            deadline: cx.now + SILENCE,
            ..Self::default()
        };
        cx.send(Message::text(Utf8Bytes::from_static(HANDSHAKE)));
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        self.deadline = cx.now + SILENCE;
        let Message::Text(text) = &message else {
            return cx.heard(Incoming::new(None, None, Payload::Message(message)));
        };
        let mut records = text.split(END);
        // What follows the last end is the beginning of another record.
        let rest = records.next_back().unwrap_or_default();
        for record in records {
            if self.rest.is_empty() {
                self.record(cx, record);
            } else {
                let mut whole = mem::take(&mut self.rest);
                whole.push_str(record);
                self.record(cx, &whole);
            }
        }
        if self.rest.len() + rest.len() > cx.config.websocket.max_message {
            self.rest = String::new();
            return cx.end(Verdict::Backoff, "a record is too long");
        }
        self.rest.push_str(rest);
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        let Some((target, arguments)) = stream(channel) else {
            return;
        };
        self.serial += 1;
        // Requests have plain numbers.
        let id = format!("s{}", self.serial);
        let kind = kind::STREAM_INVOCATION;
        cx.send(Message::text(invocation(
            kind,
            Some(&id),
            &target,
            &arguments,
        )));
        let stream = Stream {
            channel: channel.into(),
            confirmed: false,
        };
        self.streams.insert(id, stream);
    }

    fn unsubscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        let mut streams = self.streams.iter();
        let found = streams.find(|(_, stream)| stream.channel.as_str() == channel);
        if let Some(id) = found.map(|(id, _)| id.clone()) {
            self.streams.remove(&id);
            cx.send(Message::text(format!(
                "{{\"type\":{},\"invocationId\":\"{id}\"}}{END}",
                kind::CANCEL_INVOCATION
            )));
        }
    }

    /// The name is the target; a channel is the first argument, and the data
    /// are the others: an array as it is, anything else as one.
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
        let channel = channel.as_ref().map(|it| Json::string(it).to_string());
        let data = data.as_ref().map(|data| {
            let inner = data.as_str().strip_prefix('[');
            let inner = inner.and_then(|rest| rest.strip_suffix(']'));
            inner.map_or(data.as_str(), str::trim)
        });
        let arguments = match (channel, data.filter(|it| !it.is_empty())) {
            (None, None) => String::new(),
            (None, Some(data)) => data.into(),
            (Some(channel), None) => channel,
            (Some(channel), Some(data)) => format!("{channel},{data}"),
        };
        let id = answer.map(|RequestId(id)| id.to_string());
        let arguments = format!("[{arguments}]");
        cx.send(Message::text(invocation(
            kind::INVOCATION,
            id.as_deref(),
            name,
            &arguments,
        )));
    }

    fn acknowledge(&mut self, cx: &mut Cx<'_>, ticket: AckTicket, data: &Json) {
        cx.send(Message::text(format!(
            "{{\"type\":{},\"invocationId\":{},\"result\":{data}}}{END}",
            kind::COMPLETION,
            Json::string(&ticket.id)
        )));
    }

    fn next_timeout(&self) -> Tick {
        self.deadline
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.deadline <= cx.now {
            self.deadline = Tick::MAX;
            cx.end(Verdict::Backoff, "the server has been silent for too long");
        }
    }

    /// Nobody answers to it.
    fn ping(&mut self, cx: &mut Cx<'_>) {
        cx.send(Message::text(Utf8Bytes::from_static(PING)));
    }

    fn verdict(&self, ending: &Ending) -> Verdict {
        match (ending.status(), u16::from(ending.code())) {
            // Another connection of this one's id was not over yet.
            (Some(409), _) | (None, 1000) => Verdict::Backoff,
            _ => ending.verdict(),
        }
    }
}

/// The target and arguments of a channel that is a stream.
fn stream(channel: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Call {
        target: String,
        arguments: Option<Json>,
    }
    let call: Call = serde_json::from_str(channel).ok()?;
    let arguments = call.arguments.unwrap_or(Json::NULL);
    let arguments = if arguments.as_str().starts_with('[') {
        arguments.to_string()
    } else {
        "[]".into()
    };
    Some((call.target, arguments))
}

fn invocation(kind: u64, id: Option<&str>, target: &str, arguments: &str) -> String {
    let id = id.map_or(String::new(), |id| format!(",\"invocationId\":\"{id}\""));
    let target = Json::string(target);
    format!("{{\"type\":{kind}{id},\"target\":{target},\"arguments\":{arguments}}}{END}")
}
