//! Binance's market streams: a channel is a stream, such as `btcusdt@aggTrade`.
//!
//! Nobody has to say who they are. The server is asked to name the stream of
//! each event, and what waits to be subscribed to goes in one message, since
//! every message counts against a low limit, pongs too.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::limit::RateLimit;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

use super::super::protocol::{Attempt, Cx, NO_BYTES, Protocol, Saying};
use super::super::utilities::parse_message;
use super::super::{ClientConfig, ConfigError, Ending, Incoming, Payload, RequestId, Verdict};
use super::shared;

/// Five in a second, one of which may be a pong; and on the way to the server
/// what was further apart may come closer together.
const OUTBOUND: RateLimit = RateLimit::new(4, Duration::from_millis(1_200));
/// Most streams of a connection.
const STREAMS: usize = 1_024;
/// Most streams of a message.
const BATCH: usize = 100;
/// So long more streams wait for the answer about those before them.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most requests that the server may leave without an answer.
const PENDING: usize = 1_000;
/// A connection ends after 24 hours.
const LIFE: Duration = Duration::from_secs(23 * 3_600 + 30 * 60);

#[derive(Debug, Default)]
pub(super) struct Binance {
    serial: u64,
    /// What the answers to our messages are about.
    pending: BTreeMap<u64, Pending>,
    /// What we have or are about to have.
    streams: BTreeSet<Utf8Bytes>,
    /// What waits to be asked for, together; and to be given back.
    join: Vec<Vec<Utf8Bytes>>,
    leave: Vec<Utf8Bytes>,
    /// Until when it waits for answers, so that it becomes few messages.
    patience: Tick,
}

#[derive(Debug)]
enum Pending {
    Combined,
    Subscribe(Vec<Utf8Bytes>),
    Unsubscribe,
    Request(RequestId),
}

#[derive(Deserialize)]
struct Fields<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    e: Option<&'a RawValue>,
}

impl Binance {
    fn ask(&mut self, cx: &mut Cx<'_>, method: &str, params: Option<&str>, about: Option<Pending>) {
        self.serial += 1;
        let (id, method) = (self.serial, Json::string(method));
        if let Some(about) = about {
            self.pending.insert(id, about);
            if self.pending.len() > PENDING {
                self.pending.pop_first();
            }
        }
        let params = params.map_or(String::new(), |params| format!(",\"params\":{params}"));
        cx.send(Message::text(format!(
            "{{\"method\":{method}{params},\"id\":{id}}}"
        )));
    }

    /// Whether answers about streams are to come.
    fn is_asking(&self) -> bool {
        let asks = |it: &Pending| matches!(it, Pending::Subscribe(_) | Pending::Unsubscribe);
        self.pending.values().any(asks)
    }

    fn answered(&mut self, cx: &mut Cx<'_>, about: Pending, answer: Result<Json, Utf8Bytes>) {
        if !self.is_asking() {
            self.patience = Tick::ZERO;
        }
        match (about, answer) {
            // Without the names of streams it works too, but for subscribers.
            (Pending::Combined, _) => cx.ready(),
            (Pending::Unsubscribe, _) => {}
            (Pending::Request(id), answer) => cx.answered(id, answer),
            (Pending::Subscribe(streams), Ok(_)) => {
                for stream in streams {
                    if self.streams.contains(&stream) {
                        cx.subscribed(stream);
                    }
                }
            }
            // One of them is wrong: half as many at a time, until it is found.
            (Pending::Subscribe(mut streams), Err(_)) if streams.len() > 1 => {
                streams.retain(|stream| self.streams.contains(stream));
                let other = streams.split_off(streams.len() / 2);
                self.join.extend([streams, other]);
            }
            (Pending::Subscribe(streams), Err(words)) => {
                for stream in streams {
                    if self.streams.remove(&stream) {
                        cx.refused(stream, words.clone());
                    }
                }
            }
        }
    }
}

impl Protocol for Binance {
    fn defaults(&self, config: &mut ClientConfig) {
        config.lifetime = Some(LIFE);
        config.outbound = Some(OUTBOUND);
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        config.ping = None;
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        shared::upgrade(attempt)
    }

    fn opened(&mut self, cx: &mut Cx<'_>, _: Option<&str>) {
        *self = Self {
            serial: self.serial,
            ..Self::default()
        };
        let path = cx.config.url.split(['?', '#']).next().unwrap_or_default();
        if path.ends_with("/stream") {
            cx.ready();
        } else {
            let params = r#"["combined",true]"#;
            self.ask(cx, "SET_PROPERTY", Some(params), Some(Pending::Combined));
        }
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
        let text = |part: Option<&RawValue>| {
            let text = part.and_then(|part| json.part(part).to_text());
            text.map(Utf8Bytes::from)
        };
        if let Some(about) = fields.id.and_then(|id| self.pending.remove(&id)) {
            let inner = fields.error.map(|part| json.part(part));
            let refusal = text(fields.msg).or_else(|| Some(words(&inner?)));
            let result = fields.result.map_or(Json::NULL, |part| json.part(part));
            return self.answered(cx, about, refusal.map_or(Ok(result), Err));
        }
        let (channel, data) = match (text(fields.stream), fields.data) {
            (Some(stream), Some(data)) => (Some(stream), json.part(data)),
            _ => (None, json.clone()),
        };
        let event = match &channel {
            Some(_) => event(&data),
            None if fields.error.is_some() || fields.msg.is_some() => Some("error".into()),
            None => text(fields.e),
        };
        if event.as_deref() == Some("serverShutdown") {
            cx.renew();
        }
        cx.heard(Incoming::new(channel, event, Payload::Json(data)));
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        let stream = Utf8Bytes::from(channel);
        if self.streams.len() >= STREAMS {
            let words = "a connection has 1,024 streams at most";
            return cx.refused(stream, words);
        }
        self.streams.insert(stream.clone());
        if let Some(at) = self.leave.iter().position(|other| *other == stream) {
            self.leave.remove(at);
            return cx.subscribed(stream);
        }
        match self.join.last_mut() {
            Some(batch) if batch.len() < BATCH => batch.push(stream),
            _ => self.join.push([stream].into()),
        }
    }

    fn unsubscribe(&mut self, _: &mut Cx<'_>, channel: &str) {
        let stream = Utf8Bytes::from(channel);
        if !self.streams.remove(&stream) {
            return;
        }
        for batch in &mut self.join {
            if let Some(at) = batch.iter().position(|other| *other == stream) {
                batch.remove(at);
                return;
            }
        }
        self.leave.push(stream);
    }

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        match what {
            Saying::Raw(message) => cx.send(message.clone()),
            Saying::Event { name, data, .. } => {
                let params = data.as_ref().map(Json::as_str);
                self.ask(cx, name, params, answer.map(Pending::Request));
            }
            Saying::Bytes { .. } => cx.refuse(answer, NO_BYTES),
        }
    }

    fn forget(&mut self, id: RequestId) {
        let is_it = |about: &Pending| matches!(about, Pending::Request(other) if *other == id);
        self.pending.retain(|_, about| !is_it(about));
    }

    /// What was wished in one go goes together: at once, but not before; what
    /// was wished while that is under way goes together after it.
    fn next_timeout(&self) -> Tick {
        if self.join.is_empty() && self.leave.is_empty() {
            Tick::MAX
        } else {
            self.patience
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.next_timeout() > cx.now {
            return;
        }
        for batch in mem::take(&mut self.leave).chunks(BATCH) {
            let params = list(batch);
            self.ask(cx, "UNSUBSCRIBE", Some(&params), Some(Pending::Unsubscribe));
        }
        for batch in mem::take(&mut self.join) {
            if !batch.is_empty() {
                let params = list(&batch);
                let about = Pending::Subscribe(batch);
                self.ask(cx, "SUBSCRIBE", Some(&params), Some(about));
            }
        }
        if self.is_asking() {
            self.patience = cx.now + PATIENCE;
        }
    }

    fn verdict(&self, ending: &Ending) -> Verdict {
        // Who came too often is told to stay away for a while.
        if ending.status() == Some(418) {
            return ending.later();
        }
        match u16::from(ending.code()) {
            // Its time was up, or it was too much; no token makes it better.
            1000 | 1008 => Verdict::Backoff,
            _ => ending.verdict(),
        }
    }
}

fn list(streams: &[Utf8Bytes]) -> String {
    let quoted: Vec<_> = streams.iter().map(|it| Json::string(it)).collect();
    let quoted: Vec<_> = quoted.iter().map(Json::as_str).collect();
    format!("[{}]", quoted.join(","))
}

fn event(data: &Json) -> Option<Utf8Bytes> {
    #[derive(Deserialize)]
    struct Event {
        e: String,
    }
    Some(data.to::<Event>().ok()?.e.into())
}

fn words(error: &Json) -> Utf8Bytes {
    #[derive(Deserialize)]
    struct Error {
        msg: String,
    }
    error.to::<Error>().map_or_else(
        |_| Utf8Bytes::from_static("the request failed"),
        |it| it.msg.into(),
    )
}
