//! Phoenix channels, by the second version of their messages:
//! `[join_ref, ref, topic, event, payload]`.
//!
//! A channel is a topic that is joined. Refs that count tell which join a
//! message belongs to; requests go out by their own ids.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;
use crate::websocket::Cause;

use super::super::backoff::{Backoff, Jitter};
use super::super::config::{Auth, ClientConfig, DEFAULT_TEMPLATE, Ping, Secret};
use super::super::protocol::{Attempt, Cx, Protocol, Saying};
use super::super::template;
use super::super::verdict::{Ending, Verdict};
use super::super::{ConfigError, Incoming, Payload, RequestId};
use super::shared;

const SUBPROTOCOL: &str = "phoenix";

/// Before a token among the subprotocols; what follows is plain base64.
const TOKEN: &str = "base64url.bearer.phx.";

/// How long a join may take.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

const HEARTBEAT: Ping = Ping {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(30),
};

/// How long a channel that broke is left alone, the last again and again.
const REJOIN: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

static RECONNECT: [Duration; 10] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(150),
    Duration::from_millis(200),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(2_000),
    Duration::from_millis(5_000),
];

#[derive(Debug, Default)]
pub(super) struct Phoenix {
    refs: u64,
    channels: BTreeMap<Utf8Bytes, Channel>,
    /// When to look after which channel.
    due: BTreeSet<(Tick, Utf8Bytes)>,
    /// The last heartbeat: its ref, and when it went out.
    heartbeat: Option<(String, u64)>,
}

#[derive(Debug)]
struct Channel {
    /// The ref of its last join.
    join: String,
    phase: Phase,
    /// In a row.
    failures: usize,
    due: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Joining,
    Joined,
    /// It broke; it is joined again when that is due.
    Broken,
}

/// A message that came.
struct Heard<'a> {
    join: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    topic: Cow<'a, str>,
    event: Cow<'a, str>,
    data: Payload,
}

impl Protocol for Phoenix {
    fn defaults(&self, config: &mut ClientConfig) {
        config.ping = Some(HEARTBEAT);
        config.reconnect = Some(Backoff {
            steps: Cow::Borrowed(&RECONNECT),
            jitter: Jitter::NONE,
            max_attempts: 0,
            ..Backoff::default()
        });
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        let path = shared::path(&config.url);
        match config.url[path.clone()].trim_end_matches('/') {
            "" => config.url.replace_range(path, "/socket/websocket"),
            it if it.ends_with("/websocket") => {}
            it => {
                let whole = format!("{it}/websocket");
                config.url.replace_range(path, &whole);
            }
        }
        let offered = config.subprotocols.iter().any(|it| it == SUBPROTOCOL);
        if config.auth == Auth::Subprotocol && !offered {
            config.subprotocols.push(SUBPROTOCOL.into());
        }
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        let version = [("vsn", "2.0.0")];
        if attempt.config.auth != Auth::Subprotocol {
            return shared::upgrade_with(attempt, &version);
        }
        let encode = |token: &Secret| {
            let encoded = STANDARD_NO_PAD.encode(token.reveal());
            Secret::from(format!("{TOKEN}{encoded}"))
        };
        let token = attempt.token.map(encode);
        let attempt = Attempt {
            config: attempt.config,
            token: token.as_ref(),
        };
        shared::upgrade_with(&attempt, &version)
    }

    /// Who was let in by the HTTP request is in.
    fn opened(&mut self, cx: &mut Cx<'_>, _: Option<&str>) {
        self.channels.clear();
        self.due.clear();
        self.heartbeat = None;
        cx.ready();
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        match message {
            Message::Text(text) => {
                if let Ok(whole) = Json::parse(text)
                    && let Ok(heard) = Heard::parse(&whole)
                {
                    self.heard(cx, heard);
                }
            }
            Message::Binary(bytes) => {
                if let Some(heard) = Heard::decode(&bytes) {
                    self.heard(cx, heard);
                }
            }
        }
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        self.join(cx, channel.into(), 0);
    }

    fn unsubscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        if let Some(it) = self.remove(channel) {
            self.leave_channel(cx, channel, &it.join);
        }
    }

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        match what {
            Saying::Raw(message) => cx.send(message.clone()),
            Saying::Event {
                channel: Some(topic),
                name,
                data,
            } => {
                let (join, id) = self.refs(topic, answer);
                let data = data.as_ref().map_or("{}", Json::as_str);
                cx.send(encode(join.as_deref(), &id, topic, name, data));
            }
            Saying::Bytes {
                channel: Some(topic),
                name,
                data,
            } => {
                let (join, id) = self.refs(topic, answer);
                match push(join.as_deref(), &id, topic, name, data) {
                    Some(message) => cx.send(message),
                    None => cx.refuse(answer, "a name has 255 bytes at most"),
                }
            }
            Saying::Event { channel: None, .. } | Saying::Bytes { channel: None, .. } => {
                cx.refuse(answer, "an event needs a topic");
            }
        }
    }

    fn next_timeout(&self) -> Tick {
        self.due.first().map_or(Tick::MAX, |(due, _)| *due)
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while self.next_timeout() <= cx.now
            && let Some((_, topic)) = self.due.pop_first()
            && let Some(channel) = self.channels.get(&topic)
        {
            let failures = channel.failures;
            match channel.phase {
                Phase::Broken => self.join(cx, topic, failures),
                Phase::Joining | Phase::Joined => {
                    // It may have joined unheard.
                    let join = channel.join.clone();
                    self.leave_channel(cx, &topic, &join);
                    self.broken(cx, &topic);
                }
            }
        }
    }

    fn ping(&mut self, cx: &mut Cx<'_>) {
        let id = self.next();
        cx.send(encode(None, &id, "phoenix", "heartbeat", "{}"));
        cx.expect_pong();
        self.heartbeat = Some((id, cx.unix_ms));
    }

    /// What `connect/3` refuses is answered with 403, tokens that have expired
    /// too.
    fn verdict(&self, ending: &Ending) -> Verdict {
        if let Ending::Closed(closed) = ending
            && let Cause::Refused(response) = &closed.cause
            && response.status() == 403
        {
            return Verdict::Reauthenticate;
        }
        ending.verdict()
    }
}

impl Phoenix {
    fn next(&mut self) -> String {
        self.refs += 1;
        self.refs.to_string()
    }

    /// Those of the topic's join and of a message for it.
    fn refs(&mut self, topic: &str, answer: Option<RequestId>) -> (Option<String>, String) {
        let id = match answer {
            Some(RequestId(id)) => format!("r{id}"),
            None => self.next(),
        };
        let channel = self.channels.get(topic);
        (channel.map(|channel| channel.join.clone()), id)
    }

    fn join(&mut self, cx: &mut Cx<'_>, topic: Utf8Bytes, failures: usize) {
        self.remove(&topic);
        let join = self.next();
        let payload = join_payload(cx);
        cx.send(encode(Some(&join), &join, &topic, "phx_join", &payload));
        let channel = Channel {
            join,
            phase: Phase::Joining,
            failures,
            due: cx.now + JOIN_TIMEOUT,
        };
        self.due.insert((channel.due, topic.clone()));
        self.channels.insert(topic, channel);
    }

    fn leave_channel(&mut self, cx: &mut Cx<'_>, topic: &str, join: &str) {
        let id = self.next();
        cx.send(encode(Some(join), &id, topic, "phx_leave", "{}"));
    }

    fn remove(&mut self, topic: &str) -> Option<Channel> {
        let (topic, channel) = self.channels.remove_entry(topic)?;
        self.due.remove(&(channel.due, topic));
        Some(channel)
    }

    /// When to look after a channel again.
    fn set(&mut self, topic: &str, phase: Phase, due: Tick) {
        if let Some(mut channel) = self.remove(topic) {
            channel.phase = phase;
            channel.due = due;
            let topic = Utf8Bytes::from(topic);
            if due < Tick::MAX {
                self.due.insert((due, topic.clone()));
            }
            self.channels.insert(topic, channel);
        }
    }

    fn broken(&mut self, cx: &Cx<'_>, topic: &str) {
        if let Some(channel) = self.channels.get_mut(topic) {
            let wait = REJOIN[channel.failures.min(REJOIN.len() - 1)];
            channel.failures += 1;
            self.set(topic, Phase::Broken, cx.now + wait);
        }
    }

    fn heard(&mut self, cx: &mut Cx<'_>, heard: Heard<'_>) {
        let Heard {
            join,
            id,
            topic,
            event,
            data,
        } = heard;
        if event == "phx_reply" {
            if let Some(id) = id {
                self.reply(cx, &topic, &id, data);
            }
            return;
        }
        let Some(channel) = self.channels.get(&*topic) else {
            return;
        };
        // What belongs to an earlier join is not for us any more.
        if join.is_some_and(|join| join != channel.join) {
            return;
        }
        match &*event {
            "phx_error" => self.broken(cx, &topic),
            "phx_close" => {
                self.remove(&topic);
                cx.refused(topic, "the server closed the channel");
            }
            _ => cx.heard(Incoming::new(Some(topic.into()), Some(event.into()), data)),
        }
    }

    fn reply(&mut self, cx: &mut Cx<'_>, topic: &str, id: &str, data: Payload) {
        if let Some((_, sent)) = self.heartbeat.take_if(|(heartbeat, _)| heartbeat == id) {
            return cx.pong(cx.unix_ms.saturating_sub(sent));
        }
        let answer = answer(data);
        if let Some(request) = id.strip_prefix('r') {
            if let Ok(request) = request.parse() {
                cx.answered(RequestId(request), answer);
            }
            return;
        }
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        if channel.join != id || channel.phase != Phase::Joining {
            return;
        }
        match answer {
            Ok(_) => {
                channel.failures = 0;
                self.set(topic, Phase::Joined, Tick::MAX);
                cx.subscribed(topic);
            }
            Err(words) => {
                self.remove(topic);
                cx.refused(topic, words);
            }
        }
    }
}

impl<'a> Heard<'a> {
    fn parse(whole: &'a Json) -> Result<Self, serde_json::Error> {
        type Fields<'a> = (
            Option<Cow<'a, str>>,
            Option<Cow<'a, str>>,
            Cow<'a, str>,
            Cow<'a, str>,
            &'a RawValue,
        );
        let (join, id, topic, event, data): Fields<'_> = serde_json::from_str(whole.as_str())?;
        Ok(Self {
            join,
            id,
            topic,
            event,
            data: Payload::Json(whole.part(data)),
        })
    }

    /// One with a binary payload: a kind, the lengths of the texts, the texts,
    /// the payload. A reply has its status in place of the event.
    fn decode(bytes: &'a Bytes) -> Option<Self> {
        let (kind, texts) = match bytes.first()? {
            0 => (0, 3),
            1 => (1, 4),
            2 => (2, 2),
            _ => return None,
        };
        let lengths = bytes.get(1..=texts)?;
        let mut at = 1 + texts;
        let mut next = |n: usize| {
            let end = at + usize::from(*lengths.get(n)?);
            let text = core::str::from_utf8(bytes.get(at..end)?).ok()?;
            at = end;
            Some(Cow::Borrowed(text))
        };
        let (join, id, topic, event) = match kind {
            0 => (Some(next(0)?), None, next(1)?, next(2)?),
            1 => (Some(next(0)?), Some(next(1)?), next(2)?, next(3)?),
            _ => (None, None, next(0)?, next(1)?),
        };
        let data = bytes.slice(at..);
        if kind != 1 {
            let data = Payload::Message(Message::Binary(data));
            return Some(Self {
                join,
                id,
                topic,
                event,
                data,
            });
        }
        let response = Json::string(&STANDARD.encode(data));
        let status = Json::string(&event);
        let data = format!("{{\"status\":{status},\"response\":{response}}}");
        Some(Self {
            join,
            id,
            topic,
            event: "phx_reply".into(),
            data: Payload::Json(Json::trusted(data)),
        })
    }
}

fn encode(join: Option<&str>, id: &str, topic: &str, event: &str, data: &str) -> Message {
    let join = join.map_or(Json::NULL, Json::string);
    let (id, topic, event) = (Json::string(id), Json::string(topic), Json::string(event));
    Message::text(format!("[{join},{id},{topic},{event},{data}]"))
}

/// The same with bytes; each of the texts has 255 of them at most.
fn push(join: Option<&str>, id: &str, topic: &str, event: &str, data: &[u8]) -> Option<Message> {
    let texts = [join.unwrap_or_default(), id, topic, event];
    let mut out = Vec::from([0]);
    for text in texts {
        out.push(u8::try_from(text.len()).ok()?);
    }
    texts.iter().for_each(|text| out.extend(text.as_bytes()));
    out.extend(data);
    Some(Message::binary(out))
}

/// What goes with a join: a first message is that here.
fn join_payload(cx: &Cx<'_>) -> String {
    let Auth::FirstMessage { kind, template } = &cx.config.auth else {
        return "{}".into();
    };
    let token = cx.token.map_or("", |token| token.reveal());
    if template == DEFAULT_TEMPLATE {
        return format!("{{\"token\":{}}}", Json::string(token));
    }
    let filled = template::fill(template, kind, token);
    let payload = filled.as_text().and_then(|it| Json::parse(it).ok());
    payload.map_or("{}".into(), |it| it.to_string())
}

/// The response, or why there is none.
fn answer(data: Payload) -> Result<Json, Utf8Bytes> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        status: Cow<'a, str>,
        #[serde(borrow)]
        response: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        reason: String,
    }
    let Payload::Json(data) = data else {
        return Err("refused".into());
    };
    let Ok(reply) = serde_json::from_str::<Reply<'_>>(data.as_str()) else {
        return Err("refused".into());
    };
    let response = reply.response.map_or(Json::NULL, |it| data.part(it));
    if reply.status == "ok" {
        return Ok(response);
    }
    let words = response.to().map(|it: Refusal| it.reason.into());
    Err(words.unwrap_or_else(|_| response.into_text()))
}
