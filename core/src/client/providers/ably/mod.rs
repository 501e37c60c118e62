//! Ably: messages with an `action`, a number that says what they are.
//!
//! The server greets who is in. A connection that was lost is resumed by its
//! key, and each channel from its last serial; what was published and not
//! acknowledged is not said again, and rules the first out.

mod items;

use alloc::borrow::{Cow, ToOwned as _};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

use super::super::protocol::{Attempt, Cx, Protocol, Saying};
use super::super::utilities::parse_message;
use super::super::{
    Auth, Backoff, ClientConfig, ConfigError, Ending, Incoming, Jitter, Payload, RequestId, Secret,
    Verdict,
};
use super::shared;
use items::{bytes_of, data_of, message_of, presence_of};

const PARAMETERS: [(&str, &str); 3] = [("format", "json"), ("heartbeats", "true"), ("v", "6")];

const BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(15),
    factor: 1.0,
    steps: Cow::Borrowed(&[
        Duration::from_secs(15),
        Duration::from_secs(20),
        Duration::from_secs(25),
        Duration::from_secs(30),
    ]),
    cap: Duration::from_secs(30),
    jitter: Jitter {
        less: 0.2,
        ..Jitter::NONE
    },
    max_attempts: 0,
    stable_after: Duration::from_secs(10),
};

/// What is added to the longest time in which the server says nothing.
const SLACK: Duration = Duration::from_secs(10);

mod action {
    pub(super) const HEARTBEAT: u64 = 0;
    pub(super) const ACK: u64 = 1;
    pub(super) const NACK: u64 = 2;
    pub(super) const CONNECTED: u64 = 4;
    pub(super) const DISCONNECTED: u64 = 6;
    pub(super) const CLOSE: u64 = 7;
    pub(super) const CLOSED: u64 = 8;
    pub(super) const ERROR: u64 = 9;
    pub(super) const ATTACH: u64 = 10;
    pub(super) const ATTACHED: u64 = 11;
    pub(super) const DETACH: u64 = 12;
    pub(super) const DETACHED: u64 = 13;
    pub(super) const PRESENCE: u64 = 14;
    pub(super) const MESSAGE: u64 = 15;
    pub(super) const SYNC: u64 = 16;
    pub(super) const AUTH: u64 = 17;
}

#[derive(Debug)]
pub(super) struct Ably {
    /// The connection's key, to resume it, and its name.
    key: Option<Secret>,
    id: Option<String>,
    connected: bool,
    /// Until when something must come, and how long that is.
    deadline: Tick,
    silence: Duration,
    max_message: usize,
    /// What the next message published is numbered, and up to which all were
    /// acknowledged.
    serial: u64,
    settled: u64,
    pending: BTreeMap<u64, RequestId>,
    channels: BTreeMap<Utf8Bytes, Channel>,
    /// Those of the last connection.
    before: BTreeMap<Utf8Bytes, Channel>,
    pinged: Option<(String, Tick)>,
}

#[derive(Debug, Default)]
struct Channel {
    attached: bool,
    /// Up to where it was heard.
    serial: Option<String>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    action: u64,
    id: Option<String>,
    channel: Option<String>,
    #[serde(rename = "channelSerial")]
    channel_serial: Option<String>,
    #[serde(rename = "connectionId")]
    connection_id: Option<String>,
    #[serde(rename = "connectionDetails")]
    details: Option<Details>,
    error: Option<Error>,
    #[serde(rename = "msgSerial")]
    serial: Option<u64>,
    count: Option<u64>,
    #[serde(borrow)]
    res: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    presence: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(rename = "connectionKey")]
    key: Option<String>,
    /// In milliseconds; 0 is no limit.
    #[serde(rename = "maxIdleInterval")]
    max_idle: Option<u64>,
    #[serde(rename = "maxMessageSize")]
    max_message: Option<usize>,
}

#[derive(Deserialize)]
struct Error {
    code: Option<u64>,
    #[serde(rename = "statusCode")]
    status: Option<u64>,
    message: Option<String>,
}

impl Error {
    /// A new token makes it good.
    fn is_of_token(&self) -> bool {
        let code = self.code.unwrap_or(0);
        self.status == Some(401) && (40_140..40_150).contains(&code)
    }
}

impl Default for Ably {
    fn default() -> Self {
        Self {
            key: None,
            id: None,
            connected: false,
            deadline: Tick::MAX,
            silence: Duration::MAX,
            max_message: usize::MAX,
            serial: 0,
            settled: 0,
            pending: BTreeMap::new(),
            channels: BTreeMap::new(),
            before: BTreeMap::new(),
            pinged: None,
        }
    }
}

impl Ably {
    fn connected(&mut self, cx: &mut Cx<'_>, fields: Fields<'_>) {
        let details = fields.details.unwrap_or(Details {
            key: None,
            max_idle: None,
            max_message: None,
        });
        self.key = details.key.map(Secret::from);
        self.silence = match details.max_idle {
            None | Some(0) => Duration::MAX,
            Some(ms) => Duration::from_millis(ms) + SLACK,
        };
        self.deadline = cx.now + self.silence;
        self.max_message = details.max_message.unwrap_or(usize::MAX);
        let resumed = fields.connection_id.is_some() && fields.connection_id == self.id;
        self.id = fields.connection_id;
        if mem::replace(&mut self.connected, true) {
            // Only its details are new.
            return;
        }
        if !resumed || fields.error.is_some() {
            (self.serial, self.settled) = (0, 0);
        }
        self.before = mem::take(&mut self.channels);
        cx.ready();
    }

    fn attach(cx: &mut Cx<'_>, name: &str, channel: &Channel) {
        let serial = channel.serial.as_ref();
        let serial = serial.map_or(String::new(), |serial| {
            format!(",\"channelSerial\":{}", Json::string(serial))
        });
        cx.send(Message::text(format!(
            "{{\"action\":{},\"channel\":{}{serial}}}",
            action::ATTACH,
            Json::string(name)
        )));
    }

    fn attached(&mut self, cx: &mut Cx<'_>, name: &str) {
        if let Some(channel) = self.channels.get_mut(name)
            && !mem::replace(&mut channel.attached, true)
        {
            cx.subscribed(name);
        }
    }

    fn detached(&mut self, cx: &mut Cx<'_>, name: &str, words: Utf8Bytes) {
        let Some(channel) = self.channels.get_mut(name) else {
            return;
        };
        // What was had is asked for again, once.
        if mem::replace(&mut channel.attached, false) {
            Self::attach(cx, name, channel);
        } else {
            self.channels.remove(name);
            cx.refused(name, words);
        }
    }

    /// Whether what was published, `count` of it, was taken.
    fn settle(&mut self, cx: &mut Cx<'_>, first: u64, count: u64, answer: Result<Json, Utf8Bytes>) {
        let end = first.saturating_add(count).min(self.serial);
        while let Some((&serial, &request)) = self.pending.range(first..end.max(first)).next() {
            self.pending.remove(&serial);
            cx.answered(request, answer.clone());
        }
        self.settled = self.settled.max(end);
    }
}

impl Protocol for Ably {
    fn defaults(&self, config: &mut ClientConfig) {
        config.reconnect = Some(BACKOFF);
        config.connect_timeout = Duration::from_secs(10);
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        self.connected = false;
        let mut config = attempt.config.clone();
        if config.auth == Auth::query() {
            // Keys have a colon, tokens have none.
            let is_key = |token: &Secret| token.reveal().contains(':');
            let key = attempt.token.is_some_and(is_key);
            let name = if key { "key" } else { "accessToken" };
            config.auth = Auth::Query { name: name.into() };
        }
        let attempt = Attempt {
            config: &config,
            token: attempt.token,
        };
        let mut parameters = PARAMETERS.to_vec();
        if let Some(key) = &self.key
            && self.serial == self.settled
        {
            parameters.push(("resume", key.reveal()));
        }
        shared::upgrade_with(&attempt, &parameters)
    }

    fn opened(&mut self, _: &mut Cx<'_>, _: Option<&str>) {
        self.deadline = Tick::MAX;
        self.silence = Duration::MAX;
        self.pending.clear();
        self.pinged = None;
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        self.deadline = cx.now + self.silence;
        let parsed = parse_message(&message);
        let fields = parsed
            .as_ref()
            .and_then(|json| serde_json::from_str::<Fields<'_>>(json.as_str()).ok());
        let (Some(json), Some(fields)) = (&parsed, fields) else {
            return cx.heard(Incoming::new(None, None, Payload::Message(message)));
        };
        let words = fields.error.as_ref().and_then(|it| it.message.clone());
        let words = Utf8Bytes::from(words.unwrap_or_else(|| "no reason given".to_owned()));
        let of_token = fields.error.as_ref().is_some_and(Error::is_of_token);
        let known = fields.channel.as_deref();
        let known = known.and_then(|name| self.channels.get_mut(name));
        if let (Some(channel), Some(serial)) = (known, &fields.channel_serial)
            // There it tells how far the list of members got.
            && fields.action != action::SYNC
        {
            channel.serial = Some(serial.clone());
        }
        match (fields.action, fields.channel.as_deref()) {
            (action::CONNECTED, _) => self.connected(cx, fields),
            (action::HEARTBEAT, _) => {
                if let Some((_, at)) = self
                    .pinged
                    .take_if(|(id, _)| fields.id.as_ref() == Some(id))
                {
                    cx.pong(cx.now.since(at).as_millis() as u64);
                }
            }
            (action::ACK, _) => {
                let result = fields.res.map_or(Json::NULL, |part| json.part(part));
                let (first, count) = (fields.serial.unwrap_or(0), fields.count.unwrap_or(1));
                self.settle(cx, first, count, Ok(result));
            }
            (action::NACK, _) => {
                let (first, count) = (fields.serial.unwrap_or(0), fields.count.unwrap_or(1));
                self.settle(cx, first, count, Err(words));
            }
            (action::ATTACHED, Some(name)) => self.attached(cx, name),
            (action::DETACHED, Some(name)) => self.detached(cx, name, words),
            (action::ERROR, Some(name)) => {
                if self.channels.remove(name).is_some() {
                    cx.refused(name, words);
                }
            }
            (action::ERROR, None) => {
                self.key = None;
                let verdict = if of_token {
                    Verdict::Reauthenticate
                } else {
                    Verdict::Fatal
                };
                cx.end(verdict, words);
            }
            (action::DISCONNECTED, _) => {
                let verdict = if of_token {
                    Verdict::Reauthenticate
                } else {
                    Verdict::Now
                };
                cx.end(verdict, words);
            }
            (action::CLOSED, _) => cx.end(Verdict::Stay, words),
            // The token will end: with another one, the connection goes on.
            (action::AUTH, _) if cx.config.refresh => {
                cx.end(Verdict::Now, "the server asks for a new token");
            }
            (action::MESSAGE, Some(name)) => {
                for item in fields.messages.unwrap_or_default() {
                    cx.heard(message_of(name, json.part(item)));
                }
            }
            (action::PRESENCE | action::SYNC, Some(name)) => {
                for item in fields.presence.unwrap_or_default() {
                    cx.heard(presence_of(name, json.part(item)));
                }
            }
            (_, name) => {
                let data = Payload::Json(json.clone());
                cx.heard(Incoming::new(name.map(Utf8Bytes::from), None, data));
            }
        }
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        let serial = self.before.remove(channel).and_then(|it| it.serial);
        let attaching = Channel {
            attached: false,
            serial,
        };
        Self::attach(cx, channel, &attaching);
        self.channels.insert(channel.into(), attaching);
    }

    fn unsubscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        if self.channels.remove(channel).is_some() {
            cx.send(Message::text(format!(
                "{{\"action\":{},\"channel\":{}}}",
                action::DETACH,
                Json::string(channel)
            )));
        }
    }

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        let (channel, name, size, data) = match what {
            Saying::Raw(message) => return cx.send(message.clone()),
            Saying::Event {
                channel,
                name,
                data: None,
            } => (channel, name, 0, String::new()),
            Saying::Event {
                channel,
                name,
                data: Some(data),
            } => (channel, name, data.as_str().len(), data_of(data)),
            Saying::Bytes {
                channel,
                name,
                data,
            } => (channel, name, data.len(), bytes_of(data)),
        };
        let size = name.len() + size;
        let refusal = match channel {
            None => Some("a message needs a channel"),
            Some(_) if size > self.max_message => Some("the message is too long"),
            Some(_) => None,
        };
        let (None, Some(channel)) = (refusal, channel) else {
            return cx.refuse(answer, refusal.unwrap_or_default());
        };
        let serial = self.serial;
        self.serial += 1;
        if let Some(id) = answer {
            self.pending.insert(serial, id);
        }
        cx.send(Message::text(format!(
            "{{\"action\":{},\"channel\":{},\"msgSerial\":{serial},\"messages\":[{{\"name\":{}{data}}}]}}",
            action::MESSAGE,
            Json::string(channel),
            Json::string(name),
        )));
    }

    fn forget(&mut self, id: RequestId) {
        self.pending.retain(|_, request| *request != id);
    }

    /// Otherwise the server keeps the connection, and us among the present.
    fn leave(&mut self, cx: &mut Cx<'_>) {
        self.key = None;
        cx.send(Message::text(format!("{{\"action\":{}}}", action::CLOSE)));
    }

    fn next_timeout(&self) -> Tick {
        self.deadline
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.deadline <= cx.now {
            self.deadline = Tick::MAX;
            cx.end(Verdict::Now, "the server has been silent for too long");
        }
    }

    fn ping(&mut self, cx: &mut Cx<'_>) {
        let id = cx.uuid();
        cx.send(Message::text(format!(
            "{{\"action\":{},\"id\":\"{id}\"}}",
            action::HEARTBEAT
        )));
        self.pinged = Some((id, cx.now));
        cx.expect_pong();
    }

    /// Goodbyes are messages: a line that ends without one is lost, and the
    /// connection is resumed.
    fn verdict(&self, ending: &Ending) -> Verdict {
        let usual = ending.verdict();
        match (usual, self.connected) {
            (Verdict::Backoff | Verdict::Stay, true) => Verdict::Now,
            (Verdict::Stay, false) => Verdict::Backoff,
            _ => usual,
        }
    }
}
