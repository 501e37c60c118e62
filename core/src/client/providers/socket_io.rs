//! Socket.IO 5 over Engine.IO 4, by WebSocket from the start.
//!
//! A channel is a namespace, whose name begins with `/`. An event with one
//! argument has that as its data, one with several an array of them. Close
//! codes mean nothing here: the packets tell why a connection ends.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;
use crate::websocket::Cause;

use super::super::backoff::{Backoff, Jitter};
use super::super::config::{Auth, ClientConfig, DEFAULT_TEMPLATE};
use super::super::protocol::{Attempt, Cx, Protocol, Saying};
use super::super::template;
use super::super::verdict::{Ending, Verdict};
use super::super::{AckTicket, ConfigError, Incoming, LineId, Payload, RequestId};
use super::shared;

/// The namespace that everybody is in.
const MAIN: Utf8Bytes = Utf8Bytes::from_static("/");

/// One packet brings no more.
const MAX_ATTACHMENTS: usize = 100;

/// What a server takes for a broken packet (socket.io-parser).
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

#[derive(Debug)]
pub(super) struct SocketIo {
    /// How long the server may be without a ping, once it has said so.
    silence: Option<Duration>,
    due: Tick,
    /// Those asked for.
    namespaces: BTreeMap<Utf8Bytes, Namespace>,
    /// What the server needs to know to send what was missed.
    sessions: BTreeMap<Utf8Bytes, Session>,
    /// A packet that waits for its attachments.
    partial: Option<Packet>,
}

#[derive(Debug, Default)]
struct Namespace {
    connected: bool,
    /// What goes once it is connected.
    waiting: Vec<(Message, Option<RequestId>)>,
}

#[derive(Debug)]
struct Session {
    pid: Json,
    /// That of the last event.
    offset: Option<Json>,
}

#[derive(Debug)]
struct Packet {
    kind: u8,
    namespace: Utf8Bytes,
    id: Option<Utf8Bytes>,
    data: Option<Json>,
    /// How many attachments there will be.
    expected: usize,
    attachments: Vec<Bytes>,
}

impl Default for SocketIo {
    fn default() -> Self {
        Self {
            silence: None,
            due: Tick::MAX,
            namespaces: BTreeMap::new(),
            sessions: BTreeMap::new(),
            partial: None,
        }
    }
}

impl Protocol for SocketIo {
    fn defaults(&self, config: &mut ClientConfig) {
        config.connect_timeout = Duration::from_secs(20);
        config.reconnect = Some(Backoff {
            cap: Duration::from_secs(5),
            jitter: Jitter {
                less: 0.5,
                more: 0.5,
                ..Jitter::NONE
            },
            max_attempts: 0,
            ..Backoff::default()
        });
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        shared::default_path(config, "/socket.io/");
        // A ping of the client ends the session.
        config.ping = None;
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        shared::upgrade_with(attempt, &[("EIO", "4"), ("transport", "websocket")])
    }

    fn opened(&mut self, cx: &mut Cx<'_>, _: Option<&str>) {
        self.silence = None;
        self.due = Tick::MAX;
        self.partial = None;
        for namespace in core::mem::take(&mut self.namespaces).into_values() {
            lose(cx, namespace.waiting, "the connection was lost");
        }
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        let understood = match message {
            Message::Text(text) => self.text(cx, &text),
            Message::Binary(bytes) => self.attachment(cx, bytes),
        };
        if understood.is_none() {
            cx.end(Verdict::Backoff, "what came was no packet of Socket.IO");
        }
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        // Events of the main namespace are sorted out on our side.
        if channel.starts_with('/') && channel != "/" {
            self.connect(cx, channel.into());
        }
    }

    fn unsubscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        if channel == "/" {
            return;
        }
        if let Some(namespace) = self.namespaces.remove(channel) {
            self.sessions.remove(channel);
            cx.send(Message::text(format!("41{channel},")));
            lose(cx, namespace.waiting, "the namespace was left");
        }
    }

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        let id = answer.map_or(String::new(), |RequestId(id)| id.to_string());
        let (namespace, messages) = match what {
            // What the official client's `send` makes of it.
            Saying::Raw(Message::Text(text)) => {
                let text = Json::string(text);
                (MAIN, Vec::from([event(&MAIN, &id, "message", Some(&text))]))
            }
            Saying::Raw(Message::Binary(bytes)) => (MAIN, attached(&MAIN, "message", bytes)),
            Saying::Bytes {
                channel,
                name,
                data,
            } => {
                let namespace = channel.clone().unwrap_or(MAIN);
                let messages = attached(&namespace, name, data);
                (namespace, messages)
            }
            Saying::Event {
                channel,
                name,
                data,
            } => {
                let namespace = channel.clone().unwrap_or(MAIN);
                let event = event(&namespace, &id, name, data.as_ref());
                (namespace, Vec::from([event]))
            }
        };
        let messages = messages.into_iter().map(|message| (message, answer));
        if let Saying::Event { name, .. } | Saying::Bytes { name, .. } = what
            && RESERVED.contains(&name.as_str())
        {
            return lose(cx, messages.take(1).collect(), "this name is reserved");
        }
        let Some(state) = self.namespaces.get_mut(&namespace) else {
            let words = "this namespace is not subscribed to";
            return lose(cx, messages.take(1).collect(), words);
        };
        if state.connected {
            messages.for_each(|(message, _)| cx.send(message));
        } else if state.waiting.len() < cx.config.queue.max_messages
            && state.bytes() < cx.config.queue.max_bytes
        {
            state.waiting.extend(messages);
        } else {
            let words = "too much waits for this namespace";
            lose(cx, messages.take(1).collect(), words);
        }
    }

    fn acknowledge(&mut self, cx: &mut Cx<'_>, ticket: AckTicket, data: &Json) {
        let AckTicket { namespace, id, .. } = ticket;
        if self
            .namespaces
            .get(&namespace)
            .is_some_and(|it| it.connected)
        {
            let prefix = prefix(&namespace);
            cx.send(Message::text(format!("43{prefix}{id}[{data}]")));
        }
    }

    fn next_timeout(&self) -> Tick {
        self.due
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.due <= cx.now {
            self.due = Tick::MAX;
            cx.end(Verdict::Backoff, "no ping came in time");
        }
    }

    fn leave(&mut self, cx: &mut Cx<'_>) {
        cx.send(Message::text("41"));
    }

    fn verdict(&self, ending: &Ending) -> Verdict {
        if let Ending::Closed(closed) = ending
            && matches!(closed.cause, Cause::Peer)
        {
            return Verdict::Backoff;
        }
        ending.verdict()
    }
}

impl Namespace {
    fn bytes(&self) -> usize {
        self.waiting.iter().map(|(message, _)| message.len()).sum()
    }
}

impl SocketIo {
    /// A packet of Engine.IO.
    fn text(&mut self, cx: &mut Cx<'_>, text: &Utf8Bytes) -> Option<()> {
        if self.partial.is_some() {
            return None;
        }
        match text.as_bytes().first()? {
            b'0' => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Open {
                    ping_interval: u32,
                    ping_timeout: u32,
                }
                let open: Open = serde_json::from_str(&text[1..]).ok()?;
                let ms = u64::from(open.ping_interval) + u64::from(open.ping_timeout);
                if self.silence.replace(Duration::from_millis(ms)).is_none() {
                    self.connect(cx, MAIN);
                }
                self.wait(cx);
            }
            b'1' => cx.end(Verdict::Backoff, "the server closed the session"),
            b'2' => {
                cx.send(Message::text(format!("3{}", &text[1..])));
                self.wait(cx);
            }
            b'3' | b'5' | b'6' => {}
            b'4' => {
                let packet = Packet::parse(text, &text[1..])?;
                if packet.expected > 0 {
                    self.partial = Some(packet);
                } else {
                    self.packet(cx, packet)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn wait(&mut self, cx: &Cx<'_>) {
        self.due = self.silence.map_or(Tick::MAX, |silence| cx.now + silence);
    }

    fn attachment(&mut self, cx: &mut Cx<'_>, bytes: Bytes) -> Option<()> {
        let mut packet = self.partial.take()?;
        let held: usize = packet.attachments.iter().map(Bytes::len).sum();
        if held + bytes.len() > cx.config.websocket.max_message {
            return None;
        }
        packet.attachments.push(bytes);
        if packet.attachments.len() < packet.expected {
            self.partial = Some(packet);
            return Some(());
        }
        self.packet(cx, packet)
    }

    /// A whole packet of Socket.IO.
    fn packet(&mut self, cx: &mut Cx<'_>, packet: Packet) -> Option<()> {
        let Some(state) = self.namespaces.get_mut(&packet.namespace) else {
            // It was left meanwhile.
            return Some(());
        };
        let main = packet.namespace == MAIN;
        match packet.kind {
            b'0' => {
                let Some(Connected { pid, .. }) = packet.data.and_then(|data| data.to().ok())
                else {
                    let words = "the server speaks an older Socket.IO";
                    cx.end(Verdict::Fatal, words);
                    return Some(());
                };
                let session = self.sessions.remove(&packet.namespace);
                if let Some(pid) = pid {
                    let session = session.filter(|it| it.pid == pid);
                    let session = session.unwrap_or(Session { pid, offset: None });
                    self.sessions.insert(packet.namespace.clone(), session);
                }
                state.connected = true;
                let waiting = core::mem::take(&mut state.waiting);
                waiting
                    .into_iter()
                    .for_each(|(message, _)| cx.send(message));
                if main {
                    if let Some(message) = auth_event(cx) {
                        cx.send(message);
                    }
                    cx.ready();
                } else {
                    cx.subscribed(packet.namespace);
                }
            }
            b'1' | b'4' => {
                let (verdict, words) = if packet.kind == b'1' {
                    (Verdict::Stay, "the server ended the session".into())
                } else {
                    (Verdict::Reauthenticate, refusal(packet.data.as_ref()))
                };
                let waiting = core::mem::take(&mut state.waiting);
                lose(cx, waiting, &words);
                self.sessions.remove(&packet.namespace);
                self.namespaces.remove(&packet.namespace);
                if main {
                    cx.end(verdict, words);
                } else {
                    cx.refused(packet.namespace, words);
                }
            }
            b'2' | b'5' => {
                let data = packet.data?;
                let mut parts: Vec<&RawValue> = serde_json::from_str(data.as_str()).ok()?;
                if parts.is_empty() {
                    return None;
                }
                let name = parts.remove(0).get();
                let name = Json::trusted(name).to_text().unwrap_or(name.into());
                if let Some(session) = self.sessions.get_mut(&packet.namespace)
                    && let Some(last) = parts.last().filter(|last| is_offset(last.get()))
                    && packet.id.is_none()
                {
                    session.offset = Some(data.part(last));
                    parts.pop();
                }
                let values = values(&data, &parts, packet.attachments)?;
                let channel = (!main).then(|| packet.namespace.clone());
                let mut incoming = Incoming::new(channel, Some(name.into()), values);
                incoming.ack = packet.id.map(|id| AckTicket {
                    line: LineId(0),
                    namespace: packet.namespace,
                    id,
                });
                cx.heard(incoming);
            }
            b'3' | b'6' => {
                let data = packet.data?;
                let parts: Vec<&RawValue> = serde_json::from_str(data.as_str()).ok()?;
                let answer = match values(&data, &parts, packet.attachments)? {
                    Payload::Json(json) => json,
                    Payload::Message(Message::Text(text)) => Json::string(&text),
                    Payload::Message(Message::Binary(bytes)) => {
                        Json::string(&STANDARD.encode(bytes))
                    }
                };
                let id = packet.id?.parse().ok()?;
                cx.answered(RequestId(id), Ok(answer));
            }
            _ => return None,
        }
        Some(())
    }

    /// Asks for a namespace, and for what was missed since it was lost.
    fn connect(&mut self, cx: &mut Cx<'_>, name: Utf8Bytes) {
        let prefix = prefix(&name);
        let mut fields = Vec::new();
        if let Some(Session { pid, offset }) = self.sessions.get(&name)
            && let Some(offset) = offset
        {
            fields.push(format!("\"pid\":{pid},\"offset\":{offset}"));
        }
        if let Some(auth) = auth_payload(cx) {
            fields.push(auth[1..auth.len() - 1].into());
        }
        fields.retain(|field| !field.is_empty());
        let payload = if fields.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", fields.join(","))
        };
        cx.send(Message::text(format!("40{prefix}{payload}")));
        self.namespaces.insert(name, Namespace::default());
    }
}

#[derive(Deserialize)]
struct Connected {
    #[serde(rename = "sid")]
    _sid: Json,
    pid: Option<Json>,
}

impl Packet {
    /// `<type>[<attachments>-][<namespace>,][<id>][<data>]`
    fn parse(whole: &Utf8Bytes, text: &str) -> Option<Self> {
        let kind = *text.as_bytes().first()?;
        let mut rest = text.get(1..)?;
        let mut expected = 0;
        if matches!(kind, b'5' | b'6') {
            let (count, after) = rest.split_once('-')?;
            expected = count.parse().ok().filter(|&n| n <= MAX_ATTACHMENTS)?;
            rest = after;
        }
        let mut namespace = MAIN;
        if rest.starts_with('/') {
            let (name, after) = rest.split_once(',').unwrap_or((rest, ""));
            namespace = whole.slice(name.split_once('?').map_or(name, |(name, _)| name));
            rest = after;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, data) = rest.split_at(digits);
        Some(Self {
            kind,
            namespace,
            id: (!id.is_empty()).then(|| whole.slice(id)),
            data: match data {
                "" => None,
                data => Some(Json::parse(whole.slice(data)).ok()?),
            },
            expected,
            attachments: Vec::new(),
        })
    }
}

fn prefix(namespace: &Utf8Bytes) -> String {
    match namespace.as_str() {
        "/" => String::new(),
        name => format!("{name},"),
    }
}

fn event(namespace: &Utf8Bytes, id: &str, name: &str, data: Option<&Json>) -> Message {
    let (prefix, name) = (prefix(namespace), Json::string(name));
    Message::text(match data {
        Some(data) => format!("42{prefix}{id}[{name},{data}]"),
        None => format!("42{prefix}{id}[{name}]"),
    })
}

/// An event with one argument, which follows it.
fn attached(namespace: &Utf8Bytes, name: &str, data: &Bytes) -> Vec<Message> {
    let (prefix, name) = (prefix(namespace), Json::string(name));
    let head = format!(r#"451-{prefix}[{name},{{"_placeholder":true,"num":0}}]"#);
    Vec::from([Message::text(head), Message::Binary(data.clone())])
}

fn lose(cx: &mut Cx<'_>, messages: Vec<(Message, Option<RequestId>)>, words: &str) {
    for (_, answer) in messages {
        cx.refuse(answer, words);
    }
}

/// What goes with the request for a namespace: an object.
fn auth_payload(cx: &Cx<'_>) -> Option<String> {
    let by_token = || cx.token.map(|token| Json::string(token.reveal()));
    match &cx.config.auth {
        Auth::None => {}
        Auth::FirstMessage { template, .. } if template == DEFAULT_TEMPLATE => {}
        Auth::FirstMessage { kind, template } => {
            let token = cx.token.map_or("", |token| token.reveal());
            let filled = template::fill(template, kind, token);
            let object = filled.as_text()?.trim();
            let is_object = object.starts_with('{') && object.ends_with('}');
            return is_object.then(|| object.into());
        }
        Auth::Query { .. } | Auth::Subprotocol | Auth::Header { .. } => return None,
    }
    by_token().map(|token| format!("{{\"token\":{token}}}"))
}

/// An event that says who we are, for servers that want it so.
fn auth_event(cx: &Cx<'_>) -> Option<Message> {
    let Auth::FirstMessage { kind, template } = &cx.config.auth else {
        return None;
    };
    let digits = template.bytes().take_while(u8::is_ascii_digit).count();
    let (packet, template) = template.split_at(digits);
    let token = cx.token.map_or("", |token| token.reveal());
    let filled = template::fill(template, kind, token);
    (digits > 0).then(|| Message::text(format!("{packet}{}", filled.as_text().unwrap_or(""))))
}

fn refusal(data: Option<&Json>) -> Utf8Bytes {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let refusal = data.and_then(|data| data.to::<Refusal>().ok());
    refusal.map_or("refused".into(), |it| it.message.into())
}

/// Whether a last argument is what a server that can bring us up to date adds
/// to each event: nothing else tells it from an argument of the application.
fn is_offset(text: &str) -> bool {
    let text = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    text.is_some_and(|text| {
        let mut bytes = text.bytes();
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (7..=64).contains(&text.len()) && bytes.all(known)
    })
}

/// The arguments, with the attachments in their places: alone as bytes, among
/// others as texts in base64.
fn values(data: &Json, parts: &[&RawValue], mut attachments: Vec<Bytes>) -> Option<Payload> {
    let whole = || {
        let parts: Vec<&str> = parts.iter().map(|part| part.get()).collect();
        format!("[{}]", parts.join(","))
    };
    if attachments.is_empty() {
        return Some(Payload::Json(match parts {
            [] => Json::NULL,
            [one] => data.part(one),
            _ => Json::trusted(whole()),
        }));
    }
    if let [one] = parts
        && let Some(bytes) = serde_json::from_str(one.get())
            .ok()
            .and_then(|value| take(&value, &mut attachments))
    {
        return Some(Payload::Message(Message::Binary(bytes)));
    }
    let mut value: Value = serde_json::from_str(&whole()).ok()?;
    fill(&mut value, &mut attachments);
    if let Value::Array(parts) = &mut value
        && parts.len() == 1
    {
        value = parts.remove(0);
    }
    Json::from_value(&value).ok().map(Payload::Json)
}

/// The attachment it stands for. Each is there once: a small packet cannot
/// become a large value by naming one again and again.
fn take(value: &Value, attachments: &mut [Bytes]) -> Option<Bytes> {
    let is_place = value.get("_placeholder") == Some(&Value::Bool(true));
    let at = value.get("num").filter(|_| is_place)?.as_u64()?;
    let attachment = attachments.get_mut(usize::try_from(at).ok()?)?;
    Some(core::mem::take(attachment))
}

fn fill(value: &mut Value, attachments: &mut [Bytes]) {
    if let Some(bytes) = take(value, attachments) {
        *value = Value::String(STANDARD.encode(bytes));
        return;
    }
    match value {
        Value::Array(values) => values.iter_mut().for_each(|it| fill(it, attachments)),
        Value::Object(fields) => fields.values_mut().for_each(|it| fill(it, attachments)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
