//! SmartSocket (SS-33 to SS-40, SS-55 to SS-64): the client of the seed, and
//! what this project adds: CONNECT with an answer, binary packets, encryption.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use serde::Deserialize;

use crate::crypt::{Handshake, Key, Offer, Opened, ServerHello, Session};
use crate::dialect::{
    self, AckId, AckKey, Context, Dialect, IncomingEvent, Memory, Outgoing, PeerBinary,
};
use crate::entropy::Seed;
use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

use super::super::config::{ClientConfig, Secret};
use super::super::protocol::{Attempt, Cx, NO_BYTES, Protocol, Saying};
use super::super::verdict::Verdict;
use super::super::{AckTicket, Backoff, ConfigError, Incoming, LineId, Payload, RequestId};
use super::shared;

/// Options of a SmartSocket client.
#[derive(Clone, Debug)]
pub struct SmartSocket {
    /// Default `/` (SS-55).
    pub namespace: String,
    /// Sent in CONNECT, sealed where the session is encrypted (SS-61).
    pub api_key: Option<Secret>,
    /// The shared key, with which everything is encrypted (SS-59, SS-60).
    pub encryption: Option<Key>,
    /// Encrypt by the key exchange alone, where there is no shared key: that
    /// keeps out who listens, but not who can change what is sent. Default
    /// false.
    pub exchange_alone: bool,
    /// The suites and the key exchange to propose; a server that does not
    /// exchange keys is refused, unless none is proposed. Default X25519.
    pub offer: Offer,
    /// Packets that this client understands. Default compressed.
    pub binary: PeerBinary,
    /// How packets are made.
    pub dialect: dialect::SmartSocket,
    /// How long CONNECT_ACK is waited for, which older servers do not send.
    /// With encryption it is waited for in any case. Default 2 s.
    pub connect_ack_timeout: Duration,
    /// A server that has pinged once and then is silent for so long is gone.
    /// Default 90 s.
    pub heartbeat_timeout: Duration,
}

impl Default for SmartSocket {
    fn default() -> Self {
        Self {
            namespace: "/".into(),
            api_key: None,
            encryption: None,
            exchange_alone: false,
            offer: Offer::default(),
            binary: PeerBinary::Compressed,
            dialect: dialect::SmartSocket::default(),
            connect_ack_timeout: Duration::from_secs(2),
            heartbeat_timeout: Duration::from_secs(90),
        }
    }
}

/// The protocol of one client.
#[derive(Debug)]
pub(super) struct Peer {
    options: SmartSocket,
    dialect: Dialect,
    memory: Memory,
    /// Requests, by the number they went out with.
    pending: BTreeMap<u64, RequestId>,
    number: u64,
    secrecy: Secrecy,
    /// It has answered CONNECT in a way that older servers do not.
    speaks_packets: bool,
    ready: bool,
    /// Until when it must have answered, to be one of ours.
    answer: Tick,
    /// Until when it must say something, once it has pinged.
    heartbeat: Tick,
}

#[derive(Debug)]
enum Secrecy {
    Open,
    /// Our hello is out.
    Hello(Box<Handshake>),
    /// The keys are made; the server has not shown that it has them.
    Agreed(Box<Session>),
    Sealed(Box<Session>),
}

#[derive(Deserialize)]
struct ConnectAck {
    encryption: Option<ServerHello>,
}

#[derive(Deserialize)]
struct RateLimited {
    #[serde(rename = "retryAfter")]
    retry_after: u64,
}

#[derive(Deserialize)]
struct Complaint {
    code: Option<String>,
    message: Option<String>,
}

impl Peer {
    pub(super) fn new(options: SmartSocket) -> Self {
        Self {
            dialect: Dialect::SmartSocket(options.dialect.clone()),
            options,
            memory: Memory::default(),
            pending: BTreeMap::new(),
            number: 0,
            secrecy: Secrecy::Open,
            speaks_packets: false,
            ready: false,
            answer: Tick::MAX,
            heartbeat: Tick::MAX,
        }
    }

    fn namespace(&self) -> &str {
        &self.options.namespace
    }

    fn ready(&mut self, cx: &mut Cx<'_>) {
        self.answer = Tick::MAX;
        if !core::mem::replace(&mut self.ready, true) {
            cx.ready();
        }
    }

    /// Says something, sealed where that is agreed on. Until the server has
    /// shown its key, nothing is said.
    fn out(&mut self, cx: &mut Cx<'_>, what: &Outgoing<'_>) {
        let plain = matches!(self.secrecy, Secrecy::Open);
        let binary = match self.options.binary {
            binary if plain && self.speaks_packets => binary,
            // Any server reads the plain ones.
            PeerBinary::Compressed | PeerBinary::Plain if plain => PeerBinary::Plain,
            PeerBinary::Compressed | PeerBinary::Plain | PeerBinary::None => PeerBinary::None,
        };
        let context = Context {
            unix_ms: cx.unix_ms,
            timestamp: "",
            binary,
        };
        for message in self.dialect.encode(context, what) {
            match &mut self.secrecy {
                Secrecy::Open => cx.send(message),
                Secrecy::Sealed(session) => match session.seal(cx.now, &message) {
                    Ok(record) => cx.send(Message::Binary(record)),
                    Err(_) => cx.end(Verdict::Backoff, "the encrypted session is over"),
                },
                Secrecy::Hello(_) | Secrecy::Agreed(_) => {}
            }
        }
    }

    fn connect(&mut self, cx: &mut Cx<'_>, data: &str) {
        let data = Json::trusted(data);
        let what = Outgoing::Event {
            name: "CONNECT",
            data: Some(&data),
            ack: None,
        };
        self.out(cx, &what);
    }

    /// The rest of what we say of ourselves, where not everybody may read it.
    /// Whether we are in, its answer tells: keys alone may not be enough.
    fn credentials(&mut self, cx: &mut Cx<'_>) {
        let key = self.options.api_key.as_ref();
        let key = key.map_or(String::new(), |key| {
            format!("\"apiKey\":{}", Json::string(key.reveal()))
        });
        self.connect(cx, &format!("{{{key}}}"));
    }

    fn accepted(&mut self, cx: &mut Cx<'_>, data: Option<&Json>) {
        match core::mem::replace(&mut self.secrecy, Secrecy::Open) {
            Secrecy::Open => {
                self.speaks_packets = true;
                self.ready(cx);
            }
            Secrecy::Hello(handshake) => {
                let ack = data.and_then(|data| data.to::<ConnectAck>().ok());
                let agreed = ack
                    .and_then(|ack| ack.encryption)
                    .and_then(|hello| handshake.finish(cx.now, &hello).ok());
                match agreed {
                    Some((session, first)) => {
                        cx.send(Message::Binary(first));
                        self.secrecy = Secrecy::Agreed(Box::new(session));
                    }
                    None => wrong_key(cx),
                }
            }
            Secrecy::Agreed(session) => {
                // Only in a record it counts.
                self.secrecy = Secrecy::Agreed(session);
            }
            Secrecy::Sealed(session) => {
                self.secrecy = Secrecy::Sealed(session);
                self.ready(cx);
            }
        }
    }

    fn open(&mut self, cx: &mut Cx<'_>, mut session: Box<Session>, message: Message) {
        let ready = session.is_ready();
        let record = match message {
            Message::Binary(record) => record,
            Message::Text(_) => bytes::Bytes::new(),
        };
        let opened = session.open(record);
        self.secrecy = if session.is_ready() {
            Secrecy::Sealed(session)
        } else {
            Secrecy::Agreed(session)
        };
        match opened {
            Ok(Opened::Ready) => self.credentials(cx),
            Ok(Opened::Message(message)) => self.understand(cx, message),
            Ok(Opened::Invited | Opened::Bye) => {}
            Err(_) if ready => cx.end(Verdict::Backoff, "ERR_MSG_003: Decryption failed"),
            Err(_) => wrong_key(cx),
        }
    }

    fn understand(&mut self, cx: &mut Cx<'_>, message: Message) {
        use crate::dialect::Incoming as Said;
        match self.dialect.decode(&mut self.memory, message) {
            Said::Event(event) => self.event(cx, event),
            Said::Ack { id, data } => {
                if let Some(id) = self.pending.remove(&id.0) {
                    cx.answered(id, Ok(data));
                }
            }
            Said::Heartbeat => {
                self.out(cx, &Outgoing::Pong { latency_ms: None });
                self.heartbeat = cx.now + self.options.heartbeat_timeout;
            }
            Said::Invalid(_) => cx.unreadable("ERR_MSG_001: Invalid message format"),
            // Parts of packets, and what only clients say.
            Said::Nothing
            | Said::Connect { .. }
            | Said::Authenticate(_)
            | Said::Binary(_)
            | Said::Join(_)
            | Said::Leave(_)
            | Said::ToRoom { .. }
            | Said::Direct { .. }
            | Said::Ping
            | Said::Pong { .. }
            | Said::Broker(..) => {}
        }
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: IncomingEvent) {
        let IncomingEvent {
            name, data, ack, ..
        } = event;
        match name.as_str() {
            "CONNECT_ACK" => return self.accepted(cx, data.as_ref()),
            "error" if !self.ready => {
                let said = data.as_ref().and_then(|data| data.to::<Complaint>().ok());
                let code = said.as_ref().and_then(|said| said.code.as_deref());
                if matches!(code, Some("ERR_CONN_004" | "ERR_MSG_005")) {
                    let words = said.as_ref().and_then(|said| said.message.as_deref());
                    let code = code.unwrap_or_default();
                    let words = format!("{code}: {}", words.unwrap_or_default());
                    return cx.end(Verdict::Reauthenticate, words);
                }
            }
            "__rate-limited__" => {
                let said = data.as_ref().and_then(|data| data.to::<RateLimited>().ok());
                if let Some(said) = said {
                    cx.hold(Duration::from_millis(said.retry_after));
                }
            }
            _ => {}
        }
        // What nobody sealed nobody need have said.
        if matches!(self.secrecy, Secrecy::Hello(_) | Secrecy::Agreed(_)) {
            return;
        }
        let data = data.unwrap_or(Json::NULL);
        let mut incoming = Incoming::new(None, Some(name), Payload::Json(data));
        incoming.ack = ack.map(|ack| {
            let (namespace, id) = match ack {
                AckId::Underscored(id) | AckId::TopLevel(id) => (Utf8Bytes::from_static(""), id),
                AckId::Merged { event, id } => (event, id),
            };
            AckTicket {
                line: LineId::NONE,
                namespace,
                id: id.into_text(),
            }
        });
        cx.heard(incoming);
    }
}

/// The same words whatever is wrong.
fn wrong_key(cx: &mut Cx<'_>) {
    cx.end(Verdict::Fatal, "ERR_CONN_004: Authentication failed");
}

impl Protocol for Peer {
    fn defaults(&self, config: &mut ClientConfig) {
        config.reconnect = Some(Backoff::smartsocket());
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        // The server pings.
        config.ping = None;
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        let namespace = self.namespace();
        let mut config = attempt.config.clone();
        if namespace != "/" {
            let (before, query) = match config.url.split_once('?') {
                Some((before, query)) => (before, format!("?{query}")),
                None => (config.url.as_str(), String::new()),
            };
            let before = before.strip_suffix('/').unwrap_or(before);
            let joint = if namespace.starts_with('/') { "" } else { "/" };
            config.url = format!("{before}{joint}{namespace}{query}");
        }
        shared::upgrade(&Attempt {
            config: &config,
            token: attempt.token,
        })
    }

    fn opened(&mut self, cx: &mut Cx<'_>, _: Option<&str>) {
        self.memory = Memory::default();
        self.pending.clear();
        self.speaks_packets = false;
        self.ready = false;
        self.heartbeat = Tick::MAX;
        self.secrecy = Secrecy::Open;
        if let Some(message) = shared::first_message(cx) {
            cx.send(message);
        }
        let text = |text: &str| Json::string(text).into_text();
        let key = self.options.encryption.as_ref();
        if key.is_some() || self.options.exchange_alone {
            let seed = Seed::new(cx.entropy.bytes());
            let namespace = self.namespace();
            let made = Handshake::new(key, &self.options.offer, namespace, seed);
            let Ok(handshake) = made else {
                return wrong_key(cx);
            };
            // Anybody may read this: the rest is said when it is sealed.
            let hello = serde_json::to_string(handshake.hello()).unwrap_or_default();
            let namespace = text(namespace);
            self.connect(
                cx,
                &format!(
                    "{{\"version\":\"1.0.0\",\"namespace\":{namespace},\"encryption\":{hello}}}"
                ),
            );
            self.secrecy = Secrecy::Hello(Box::new(handshake));
        } else {
            let key = self.options.api_key.as_ref();
            let key = key.map_or(String::new(), |key| {
                format!(",\"apiKey\":{}", text(key.reveal()))
            });
            let binary = match self.options.binary {
                PeerBinary::None => "none",
                PeerBinary::Plain => "plain",
                PeerBinary::Compressed => "compressed",
            };
            self.connect(
                cx,
                &format!("{{\"version\":\"1.0.0\"{key},\"binary\":\"{binary}\"}}"),
            );
            self.answer = cx.now + self.options.connect_ack_timeout;
        }
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        if self.heartbeat < Tick::MAX {
            self.heartbeat = cx.now + self.options.heartbeat_timeout;
        }
        match core::mem::replace(&mut self.secrecy, Secrecy::Open) {
            Secrecy::Agreed(session) | Secrecy::Sealed(session) => self.open(cx, session, message),
            open @ (Secrecy::Open | Secrecy::Hello(_)) => {
                self.secrecy = open;
                self.understand(cx, message);
            }
        }
    }

    /// Rooms are a matter of the application's events; nothing is asked for.
    fn subscribe(&mut self, _: &mut Cx<'_>, _: &str) {}

    fn unsubscribe(&mut self, _: &mut Cx<'_>, _: &str) {}

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        match what {
            Saying::Raw(message) => self.out(cx, &Outgoing::Raw(message)),
            Saying::Event { name, data, .. } => {
                let ack = answer.map(|id| {
                    self.number += 1;
                    self.pending.insert(self.number, id);
                    AckKey(self.number)
                });
                if let (Some(AckKey(key)), Some(data)) = (ack, data)
                    && !data.as_str().starts_with('{')
                {
                    // Within it there is no place for the id; servers look
                    // beside it too.
                    let name = Json::string(name);
                    let text =
                        format!("{{\"event\":{name},\"data\":{data},\"ackId\":\"ack_{key}\"}}");
                    return self.out(cx, &Outgoing::Raw(&Message::text(text)));
                }
                let what = Outgoing::Event {
                    name,
                    data: data.as_ref(),
                    ack,
                };
                self.out(cx, &what);
            }
            Saying::Bytes { .. } => cx.refuse(answer, NO_BYTES),
        }
    }

    fn forget(&mut self, request: RequestId) {
        self.pending.retain(|_, id| *id != request);
    }

    fn acknowledge(&mut self, cx: &mut Cx<'_>, ticket: AckTicket, data: &Json) {
        let id = Json::trusted(ticket.id);
        let id = if ticket.namespace.is_empty() {
            AckId::Underscored(id)
        } else {
            AckId::Merged {
                event: ticket.namespace,
                id,
            }
        };
        self.out(cx, &Outgoing::Ack { id: &id, data });
    }

    fn next_timeout(&self) -> Tick {
        self.answer.min(self.heartbeat)
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.answer <= cx.now {
            self.ready(cx);
        }
        if self.heartbeat <= cx.now {
            self.heartbeat = Tick::MAX;
            cx.end(Verdict::Backoff, "ERR_CONN_006: Connection lost");
        }
    }

    fn leave(&mut self, cx: &mut Cx<'_>) {
        if let Secrecy::Sealed(session) = &mut self.secrecy
            && let Ok(bye) = session.bye(cx.now)
        {
            cx.send(Message::Binary(bye));
        }
    }
}
