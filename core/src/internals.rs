//! The parsers inside, for the fuzz targets and benches of this repository; no
//! promise of stability.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::broker::{Broker, BrokerConfig, Effect};
use crate::code::CloseCode;
use crate::deflate::{self, Deflate, InflateError, InflateLimits, Parameters};
use crate::dialect::{Context, Dialect, Failure, Incoming, Memory, Outgoing, PeerBinary};
use crate::frame::header::{Header, Opcode};
use crate::frame::{close, mask, utf8};
use crate::http::{
    self, ApiConfig, Extension, HandshakeError, HeadError, HeadKind, HeadLimits, Request, Response,
    UpgradeRequest,
};
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub fin: bool,
    pub rsv1: bool,
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    pub length: u64,
}

/// A part of the protocol that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl FrameHeader {
    pub fn decode(data: &[u8]) -> Result<Option<(Self, usize)>, Broken> {
        let decoded = Header::decode(data).map_err(|_| Broken)?;
        Ok(decoded.map(|(header, size)| {
            let header = Self {
                fin: header.fin,
                rsv1: header.rsv1,
                opcode: header.opcode.bits(),
                mask: header.mask,
                length: header.length,
            };
            (header, size)
        }))
    }

    /// `None` for a reserved opcode.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let header = Header {
            fin: self.fin,
            rsv1: self.rsv1,
            opcode: Opcode::decode(self.opcode)?,
            mask: self.mask,
            length: self.length,
        };
        let (bytes, size) = header.encode();
        Some(bytes[..size].to_vec())
    }
}

pub fn apply_mask(key: [u8; 4], offset: u64, data: &mut [u8]) {
    mask::apply(key, offset, data);
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8(utf8::Utf8);

impl Utf8 {
    pub fn push(&mut self, data: &[u8], text: &mut String) -> Result<(), Broken> {
        self.0.push(data, text).map_err(|_| Broken)
    }

    pub fn finish(self) -> Result<(), Broken> {
        self.0.finish().map_err(|_| Broken)
    }
}

pub fn decode_close(payload: &[u8]) -> Result<(CloseCode, &str), Broken> {
    close::decode(payload).map_err(|_| Broken)
}

pub fn encode_close(code: CloseCode, reason: &str) -> Vec<u8> {
    let (payload, size) = close::encode(code, reason);
    payload[..size].to_vec()
}

#[derive(Debug)]
pub struct HeadReader(http::HeadReader);

impl HeadReader {
    pub fn request(limits: HeadLimits) -> Self {
        Self(http::HeadReader::new(HeadKind::Request, limits))
    }

    pub fn response(limits: HeadLimits) -> Self {
        Self(http::HeadReader::new(HeadKind::Response, limits))
    }

    pub fn read(&mut self, data: &[u8]) -> Result<Option<usize>, HeadError> {
        self.0.read(data)
    }

    pub fn into_request(self) -> Result<Request, HeadError> {
        self.0.into_request()
    }

    pub fn into_response(self) -> Result<Response, HeadError> {
        self.0.into_response()
    }
}

/// The subprotocol that a server's answer to `key` agrees on.
pub fn check_response(
    head: &Response,
    key: &[u8; 24],
    request: &UpgradeRequest,
) -> Result<Option<String>, HandshakeError> {
    http::check_response(head, key, request).map(|agreed| agreed.subprotocol)
}

/// The elements of `Sec-WebSocket-Extensions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extensions(Vec<Extension>);

impl Extensions {
    pub fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Self, HeadError> {
        http::parse_extensions(values).map(Self)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[(String, Option<String>)])> {
        self.0
            .iter()
            .map(|extension| (extension.name.as_str(), &extension.params[..]))
    }

    /// A server's answer to these offers.
    pub fn accept(&self, deflate: &Deflate) -> Option<Parameters> {
        deflate.accept(self.iter().map(|(_, params)| params))
    }

    /// A client's check of this answer.
    pub fn agree(&self, deflate: &Deflate) -> Result<Option<Parameters>, &'static str> {
        let answer: Vec<_> = self.iter().map(|(_, params)| params).collect();
        deflate.agree(&answer)
    }
}

/// A client's offers.
pub fn offer(deflate: &Deflate) -> String {
    deflate.offer()
}

#[derive(Debug)]
pub struct Inflater {
    inner: deflate::Inflater,
    limits: InflateLimits,
}

impl Inflater {
    pub fn new(max_message: usize, deflate: &Deflate) -> Self {
        Self {
            inner: deflate::Inflater::new(),
            limits: InflateLimits {
                max_output_total: max_message,
                max_ratio: deflate.max_ratio,
                ratio_floor: deflate.ratio_floor,
            },
        }
    }

    pub fn inflate(
        &mut self,
        input: &[u8],
        last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        self.inner.inflate(input, last, &self.limits, out)
    }

    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

/// A dialect with what it remembers of one peer.
#[derive(Debug)]
pub struct Dialogue {
    dialect: Dialect,
    memory: Memory,
}

/// What a message means: the name of the variant, and all it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub kind: &'static str,
    pub texts: Vec<Utf8Bytes>,
    pub data: Vec<Json>,
}

impl Dialogue {
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            memory: Memory::default(),
        }
    }

    pub fn decode(&mut self, message: Message) -> Heard {
        let (kind, texts, data) = match self.dialect.decode(&mut self.memory, message) {
            Incoming::Nothing => ("nothing", Vec::new(), Vec::new()),
            Incoming::Heartbeat => ("heartbeat", Vec::new(), Vec::new()),
            Incoming::Connect {
                namespace, api_key, ..
            } => {
                let texts = namespace.into_iter().chain(api_key).collect();
                ("connect", texts, Vec::new())
            }
            Incoming::Authenticate(data) => ("authenticate", Vec::new(), [data].into()),
            Incoming::Event(event) => {
                let texts = core::iter::once(event.name).chain(event.raw).collect();
                ("event", texts, event.data.into_iter().collect())
            }
            Incoming::Binary(_) => ("binary", Vec::new(), Vec::new()),
            Incoming::Ack { data, .. } => ("ack", Vec::new(), [data].into()),
            Incoming::Join(rooms) => ("join", rooms, Vec::new()),
            Incoming::Leave(rooms) => ("leave", rooms, Vec::new()),
            Incoming::ToRoom { room, text } => {
                let texts = room.into_iter().chain([text]).collect();
                ("to_room", texts, Vec::new())
            }
            Incoming::Direct { to, text } => ("direct", [to, text].into(), Vec::new()),
            Incoming::Ping => ("ping", Vec::new(), Vec::new()),
            Incoming::Pong { raw, .. } => ("pong", raw.into_iter().collect(), Vec::new()),
            Incoming::Broker(header, data) => ("broker", [header.topic].into(), [data].into()),
            Incoming::Invalid(_) => ("invalid", Vec::new(), Vec::new()),
        };
        Heard { kind, texts, data }
    }

    /// Notes that a message went to the peer.
    pub fn sent(&mut self, message: &Message) {
        self.dialect.sent(&mut self.memory, message);
    }

    /// A message to MB's broker as one would say it who heard it, or what is
    /// said of one that is none.
    pub fn repeat(&mut self, message: Message) -> Vec<Message> {
        let heard = self.dialect.decode(&mut self.memory, message);
        if let Incoming::Broker(header, payload) = &heard {
            return self.encode(&Outgoing::Broker { header, payload });
        }
        if let Incoming::Invalid(failure) = &heard {
            return self.encode(&Outgoing::Error(failure));
        }
        Vec::new()
    }

    pub fn encode_event(&self, name: &str, data: Option<&Json>) -> Vec<Message> {
        let ack = None;
        self.encode(&Outgoing::Event { name, data, ack })
    }

    /// Everything that can be said with a text of a peer's in it.
    pub fn encode_all(&self, text: &str) -> Vec<Message> {
        [
            Outgoing::RoomJoined { room: text },
            Outgoing::RoomLeft { room: text },
            Outgoing::RoomMessage {
                room: text,
                text,
                from: Some(text),
            },
            Outgoing::Direct { text, from: text },
            Outgoing::MessageAck { raw: text },
            Outgoing::Blocked {
                raw: text,
                reason: text,
            },
            Outgoing::Error(&Failure::ClientNotFound(text.into())),
            Outgoing::Error(&Failure::Refused(text.into())),
        ]
        .iter()
        .flat_map(|what| self.encode(what))
        .collect()
    }

    fn encode(&self, what: &Outgoing<'_>) -> Vec<Message> {
        let context = Context {
            unix_ms: 0,
            timestamp: "1970-01-01T00:00:00.000Z",
            binary: PeerBinary::Compressed,
        };
        self.dialect.encode(context, what)
    }
}

/// What the HTTP API makes of a request: nothing, the call as text, or the
/// answer that refuses it.
pub fn api(
    request: &Request,
    config: &ApiConfig,
    peer: Option<IpAddr>,
    secure: bool,
) -> Option<Result<String, Response>> {
    match http::parse_api(request, config, peer, secure) {
        http::Api::NotOurs => None,
        http::Api::Call(call, _) => Some(Ok(format!("{call:?}"))),
        http::Api::Refused(response) => Some(Err(response)),
    }
}

/// MB's broker, with the dialect in front of it.
#[derive(Debug)]
pub struct Exchange {
    broker: Broker<u8>,
    dialogue: Dialogue,
    drawn: u128,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            broker: Broker::new(BrokerConfig {
                max_outstanding: 8,
                max_subscriptions: 8,
                tolerate_short_version: true,
                allow_patterns: true,
                ..BrokerConfig::default()
            }),
            dialogue: Dialogue::new(Dialect::HeaderLine),
            drawn: 0,
        }
    }
}

impl Exchange {
    /// What who gets to hear of a message.
    pub fn handle(&mut self, now: Tick, from: u8, message: Message) -> Vec<(u8, Message)> {
        let dialogue = &mut self.dialogue;
        let heard = dialogue.dialect.decode(&mut dialogue.memory, message);
        let Incoming::Broker(header, payload) = heard else {
            return Vec::new();
        };
        let drawn = &mut self.drawn;
        let mut random = || {
            *drawn += 1;
            drawn.to_le_bytes()
        };
        let wall = "1970-01-01T00:00:00.000Z";
        self.broker
            .handle(now, wall, &mut random, from, header, payload);
        self.said()
    }

    pub fn handle_timeout(&mut self, now: Tick) -> Vec<(u8, Message)> {
        self.broker.handle_timeout(now);
        self.said()
    }

    pub fn next_timeout(&self) -> Option<Tick> {
        self.broker.next_timeout()
    }

    pub fn leave(&mut self, now: Tick, key: u8) {
        self.broker.leave(now, key);
    }

    fn said(&mut self) -> Vec<(u8, Message)> {
        let mut all = Vec::new();
        while let Some(effect) = self.broker.poll() {
            let broker =
                |header, payload| self.dialogue.encode(&Outgoing::Broker { header, payload });
            let (to, said) = match &effect {
                Effect::Send {
                    to,
                    header,
                    payload,
                } => (core::slice::from_ref(to), broker(header, payload)),
                Effect::Publish {
                    to,
                    header,
                    payload,
                } => (&to[..], broker(header, payload)),
                Effect::Fail { to, failure } => {
                    let failure = Failure::Header(failure.clone());
                    let said = self.dialogue.encode(&Outgoing::Error(&failure));
                    (core::slice::from_ref(to), said)
                }
                Effect::Subscribe { .. } | Effect::Unsubscribe { .. } => continue,
            };
            let each = |&to| said.iter().map(move |said| (to, said.clone()));
            all.extend(to.iter().flat_map(each));
        }
        all
    }
}
