//! What the tests of the machine share: frames made and read without any code
//! of the crate, and a driver that turns what a machine does into lines.
//!
//! Lines that start with `->` are bytes on the wire, the others are outputs:
//!
//! ```text
//! open                          the handshake is over
//! text "hi", binary [1, 2]      a message
//! part text "hi", last          a piece of one
//! closed 1000 "bye" by Peer     the outcome
//! -> pong "x"                   a frame; `..` when more of its message follows
//! -> HTTP/1.1 101 ...           a head
//! ```
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod client;
pub mod world;

use std::fmt::Write as _;
use std::time::Duration;

use smartsocket_core::websocket::{Cause, Closed, Event, Fill, Negotiated, Output, Role, Ticket};
use smartsocket_core::{Config, Message, Seed, Tick, WebSocket};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CONTINUATION: u8 = 0;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The sample handshake of RFC 6455 §1.3.
pub const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub fn ms(millis: u64) -> Tick {
    Tick::from_millis(millis)
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn other(role: Role) -> Role {
    match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    }
}

pub const ROLES: [Role; 2] = [Role::Server, Role::Client];

// Frames, made here

/// How a length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Shortest,
    Short,
    Medium,
    Long,
}

/// A frame as raw as it gets: every field can be wrong.
#[derive(Clone, Debug)]
pub struct Raw {
    pub fin: bool,
    pub rsv: u8,
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    pub form: Form,
    /// The length the header tells, where it is not the payload's.
    pub claim: Option<u64>,
    pub payload: Vec<u8>,
}

impl Raw {
    /// A correct frame for an endpoint of this role.
    pub fn to(role: Role, fin: bool, opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self {
            fin,
            rsv: 0,
            opcode,
            mask: (role == Role::Server).then_some([0x37, 0xfa, 0x21, 0x3d]),
            form: Form::Shortest,
            claim: None,
            payload: payload.as_ref().to_vec(),
        }
    }

    pub fn rsv(mut self, rsv: u8) -> Self {
        self.rsv = rsv;
        self
    }

    pub fn claim(mut self, length: u64) -> Self {
        self.claim = Some(length);
        self
    }

    pub fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = self.claim.unwrap_or(self.payload.len() as u64);
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        let form = match self.form {
            Form::Shortest if length < 126 => Form::Short,
            Form::Shortest if length < 65_536 => Form::Medium,
            Form::Shortest => Form::Long,
            form @ (Form::Short | Form::Medium | Form::Long) => form,
        };
        match form {
            Form::Shortest | Form::Short => out.push(masked | length as u8),
            Form::Medium => {
                out.push(masked | 126);
                out.extend((length as u16).to_be_bytes());
            }
            Form::Long => {
                out.push(masked | 127);
                out.extend(length.to_be_bytes());
            }
        }
        out.extend(self.mask.iter().flatten());
        let key = self.mask.unwrap_or_default();
        out.extend(
            self.payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(a, b)| a ^ b),
        );
        out
    }
}

/// A whole correct frame for an endpoint of this role.
pub fn frame(to: Role, opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    Raw::to(to, true, opcode, payload).bytes()
}

/// A correct frame whose message goes on.
pub fn fragment(to: Role, opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    Raw::to(to, false, opcode, payload).bytes()
}

pub fn close_frame(to: Role, code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    frame(to, CLOSE, payload)
}

/// Raw DEFLATE data, ended as RFC 7692 §7.2.3.4 shows for a final block.
pub fn deflated(data: &[u8]) -> Vec<u8> {
    let mut out = miniz_oxide::deflate::compress_to_vec(data, 6);
    out.push(0);
    out
}

/// A whole compressed message for an endpoint of this role.
pub fn compressed(to: Role, opcode: u8, data: &[u8]) -> Vec<u8> {
    Raw::to(to, true, opcode, deflated(data)).rsv(4).bytes()
}

// Frames, read here

/// A frame that a machine sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub fin: bool,
    pub rsv: u8,
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    pub payload: Vec<u8>,
}

/// Takes the first whole frame off `bytes`.
pub fn read_frame(bytes: &mut Vec<u8>) -> Option<Sent> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let mut at = 2;
    let length = match second & 0x7f {
        126 => {
            at += 2;
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))
        }
        127 => {
            at += 8;
            u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap())
        }
        short => u64::from(short),
    };
    let mask = if second & 0x80 == 0 {
        None
    } else {
        at += 4;
        Some(<[u8; 4]>::try_from(bytes.get(at - 4..at)?).unwrap())
    };
    let end = at + length as usize;
    let mut payload = bytes.get(at..end)?.to_vec();
    for (byte, key) in payload
        .iter_mut()
        .zip(mask.unwrap_or_default().iter().cycle())
    {
        *byte ^= key;
    }
    bytes.drain(..end);
    Some(Sent {
        fin: first & 0x80 != 0,
        rsv: first >> 4 & 7,
        opcode: first & 15,
        mask,
        payload,
    })
}

impl Sent {
    fn line(&self) -> String {
        let mut line = String::from("-> ");
        line += match self.opcode {
            CONTINUATION => "more",
            TEXT => "text",
            BINARY => "binary",
            CLOSE => "close",
            PING => "ping",
            PONG => "pong",
            _ => "unknown",
        };
        if self.rsv == 4 {
            line += "*";
        } else if self.rsv != 0 {
            write!(line, " rsv={}", self.rsv).unwrap();
        }
        if !self.fin {
            line += "..";
        }
        match (self.opcode, &self.payload[..]) {
            (CLOSE, []) => {}
            (CLOSE, [high, low, reason @ ..]) => {
                let code = u16::from_be_bytes([*high, *low]);
                write!(line, " {code} {:?}", String::from_utf8_lossy(reason)).unwrap();
            }
            (_, payload) => write!(line, " {}", short(payload)).unwrap(),
        }
        line
    }
}

pub fn short(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        _ if payload.len() > 60 => format!("{} bytes", payload.len()),
        Ok(text) if payload.iter().all(|byte| *byte >= b' ') => format!("{text:?}"),
        _ => format!("{payload:?}"),
    }
}

pub fn shown(message: &Message) -> String {
    let kind = if message.is_text() { "text" } else { "binary" };
    format!("{kind} {}", short(message.as_bytes()))
}

/// The word for a cause, without the payloads that are long or not comparable.
// Variants come and go with features, and the enum is open.
#[allow(clippy::wildcard_enum_match_arm)]
pub fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Local => "Local".into(),
        Cause::Peer => "Peer".into(),
        Cause::Eof => "Eof".into(),
        Cause::Timeout(deadline) => format!("{deadline:?} timeout"),
        Cause::Violation(_) => "Violation".into(),
        Cause::Head(error) => format!("Head: {error}"),
        Cause::Handshake(error) => format!("Handshake: {error:?}"),
        Cause::Answered(status) => format!("Answered {status}"),
        Cause::Refused(response) => format!(
            "Refused {} {}",
            response.status(),
            short(response.content())
        ),
        Cause::Fault(fault) => format!("Fault: {fault}"),
        _ => "other".into(),
    }
}

fn closed(end: &Closed) -> String {
    format!(
        "closed {} {:?} by {}",
        u16::from(end.code),
        end.reason,
        cause(&end.cause)
    )
}

// The driver

/// A machine, the socket it thinks it has, and what came out.
#[derive(Debug)]
pub struct Machine {
    pub ws: WebSocket,
    pub role: Role,
    pub now: Tick,
    /// The socket takes no bytes.
    pub blocked: bool,
    /// All bytes the socket took.
    pub sent: Vec<u8>,
    /// Bytes the socket took that no line tells of yet.
    unread: Vec<u8>,
    upgraded: bool,
    pub messages: Vec<Message>,
    pub tickets: Vec<Ticket>,
    pub outcome: Option<Box<Closed>>,
    pub closes: u32,
    pub paused: bool,
    pub dropped: bool,
    pub shut: bool,
    lines: Vec<String>,
    /// The part under way, so that parts come out joined.
    part: Option<Message>,
    /// Joins parts of a message into one line.
    pub join_parts: bool,
    pub fills: u32,
}

pub fn seed() -> Seed {
    Seed::new([7; 32])
}

impl Machine {
    pub fn new(role: Role, ws: WebSocket, upgraded: bool) -> Self {
        Self {
            ws,
            role,
            now: Tick::ZERO,
            blocked: false,
            sent: Vec::new(),
            unread: Vec::new(),
            upgraded,
            messages: Vec::new(),
            tickets: Vec::new(),
            outcome: None,
            closes: 0,
            paused: false,
            dropped: false,
            shut: false,
            lines: Vec::new(),
            part: None,
            join_parts: false,
            fills: 0,
        }
    }

    /// A server that has seen nothing.
    pub fn server(config: Config) -> Self {
        Self::new(
            Role::Server,
            WebSocket::server(config, seed(), Tick::ZERO),
            false,
        )
    }

    /// A client whose request waits to be sent.
    pub fn client(config: Config) -> Self {
        let request = "ws://server.example.com/chat";
        let request = smartsocket_core::http::UpgradeRequest::new(request).unwrap();
        let ws = WebSocket::client(request, config, seed(), Tick::ZERO).unwrap();
        Self::new(Role::Client, ws, false)
    }

    /// Either end after a handshake somebody else did.
    pub fn upgraded(role: Role, config: Config) -> Self {
        let deflate = config.deflate.is_some().then(Default::default);
        let agreed = Negotiated {
            deflate,
            ..Negotiated::default()
        };
        Self::new(
            role,
            WebSocket::upgraded(role, agreed, config, seed(), Tick::ZERO),
            true,
        )
    }

    /// Either end after a handshake of its own, with nothing left to tell.
    pub fn open(role: Role, config: Config) -> Self {
        let mut machine = match role {
            Role::Server => {
                let mut server = Self::server(config);
                server.feed(REQUEST);
                server
            }
            Role::Client => {
                let mut client = Self::client(config);
                client.drain();
                let answer = client.answer("");
                client.feed(answer);
                client
            }
        };
        machine.drain();
        assert!(machine.ws.is_open(), "{:?}", machine.lines);
        machine.lines.clear();
        machine.sent.clear();
        machine
    }

    /// A client: the 101 that answers the request it sent.
    pub fn answer(&self, headers: &str) -> String {
        let head = String::from_utf8_lossy(&self.sent);
        let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let key = key.split("\r\n").next().unwrap();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{headers}\r\n",
            accept(key)
        )
    }

    /// Hands in bytes at once, without draining.
    pub fn feed(&mut self, bytes: impl AsRef<[u8]>) {
        let mut bytes = bytes.as_ref().to_vec();
        self.ws.handle_bytes(self.now, &mut bytes);
    }

    /// Hands in bytes in pieces of these sizes (the last one repeats).
    pub fn feed_cut(&mut self, bytes: &[u8], sizes: &[usize], how: How) {
        let mut sizes = sizes.iter().copied();
        let mut size = usize::MAX;
        let mut at = 0;
        while at < bytes.len() {
            size = sizes.next().unwrap_or(size).max(1);
            let mut piece = &bytes[at..at + size.min(bytes.len() - at)];
            match how.fills.then(|| self.ws.take_fill()).flatten() {
                Some(fill) => {
                    piece = &piece[..piece.len().min(fill.room)];
                    self.fill(fill, piece);
                }
                None => self.feed(piece),
            }
            at += piece.len();
            if how.drains {
                self.drain();
            }
        }
    }

    pub fn fill(&mut self, mut fill: Fill, bytes: &[u8]) {
        assert!(
            fill.buf.capacity() >= fill.buf.len() + fill.room,
            "room was promised"
        );
        fill.buf.extend_from_slice(bytes);
        self.fills += 1;
        self.ws.handle_fill(self.now, fill);
    }

    /// The time is now.
    pub fn at(&mut self, now: Tick) -> &mut Self {
        self.now = now;
        self
    }

    /// Time passes: every deadline up to `until` fires when it is due.
    /// Lines tell at which millisecond.
    pub fn run_until(&mut self, until: Tick) -> Vec<String> {
        let mut out = self.timed();
        let mut steps = 0;
        while let Some(due) = self.ws.next_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.ws.handle_timeout(self.now);
            out.extend(self.timed());
            steps += 1;
            assert!(
                steps < 10_000,
                "no end of timeouts at {:?}: {out:?} {:?}",
                self.now,
                self.ws
            );
        }
        self.now = until;
        self.ws.handle_timeout(until);
        out.extend(self.timed());
        out
    }

    fn timed(&mut self) -> Vec<String> {
        let now = self.now.as_micros() as f64 / 1e6;
        let lines = self.turn().into_iter();
        lines.map(|line| format!("{now:.3} {line}")).collect()
    }

    /// Takes all outputs, writes what the socket takes, and gives the lines
    /// since the last call.
    pub fn turn(&mut self) -> Vec<String> {
        self.drain();
        std::mem::take(&mut self.lines)
    }

    /// Feeds bytes and takes the turn.
    pub fn on(&mut self, bytes: impl AsRef<[u8]>) -> Vec<String> {
        self.feed(bytes);
        self.turn()
    }

    /// Takes all outputs; the socket takes all bytes unless it is blocked.
    pub fn drain(&mut self) {
        loop {
            while let Some(output) = self.ws.poll_output() {
                assert!(!self.dropped, "{output:?} after the last output");
                self.output(output);
            }
            if self.blocked || !self.write(usize::MAX) {
                break;
            }
        }
    }

    /// The socket takes up to `n` bytes; whether there were any.
    pub fn write(&mut self, n: usize) -> bool {
        let mut bytes: Vec<u8> = self.ws.unsent().flat_map(|bytes| bytes.to_vec()).collect();
        bytes.truncate(n);
        if bytes.is_empty() {
            return false;
        }
        if !self.dropped {
            self.ws.transmitted(self.now, bytes.len());
            self.sent.extend(&bytes);
            self.unread.extend(bytes);
            self.read_sent();
        }
        !self.dropped
    }

    fn read_sent(&mut self) {
        while !self.unread.is_empty() {
            if !self.upgraded || self.unread.starts_with(b"HTTP/") {
                let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return;
                };
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                self.lines
                    .push(format!("-> {}", head.lines().next().unwrap()));
                self.upgraded |= head.starts_with("HTTP/1.1 101") || self.role == Role::Client;
                if !self.upgraded && !self.unread.is_empty() {
                    let body = String::from_utf8(std::mem::take(&mut self.unread)).unwrap();
                    self.lines.push(format!("-> {body:?}"));
                }
                continue;
            }
            let Some(frame) = read_frame(&mut self.unread) else {
                return;
            };
            assert_eq!(
                frame.mask.is_some(),
                self.role == Role::Client,
                "RFC 6455 §5.1"
            );
            self.lines.push(frame.line());
        }
    }

    fn output(&mut self, output: Output) {
        let line = match output {
            Output::Transmit => return,
            Output::PauseRead => {
                self.paused = true;
                "pause".into()
            }
            Output::ResumeRead => {
                self.paused = false;
                "resume".into()
            }
            Output::Shutdown => {
                self.shut = true;
                "shutdown".into()
            }
            Output::Close => {
                self.dropped = true;
                "drop".into()
            }
            Output::Event(event) => match self.event(event) {
                Some(line) => line,
                None => return,
            },
        };
        self.lines.push(line);
    }

    fn event(&mut self, event: Event) -> Option<String> {
        assert!(self.outcome.is_none(), "{event:?} after Closed");
        Some(match event {
            Event::Request(ticket) => {
                let request = ticket.request();
                let line = format!("request {} {}", request.method(), request.target());
                self.tickets.push(ticket);
                line
            }
            Event::Open(_) => "open".into(),
            Event::Message(message) => {
                let line = shown(&message);
                self.messages.push(message);
                line
            }
            Event::Part(part) if self.join_parts => {
                let joined = match self.part.take() {
                    None => part.data,
                    Some(Message::Text(text)) => {
                        assert!(part.data.is_text());
                        Message::text(text.to_string() + part.data.as_text().unwrap())
                    }
                    Some(Message::Binary(data)) => {
                        assert!(!part.data.is_text());
                        Message::binary([&data, part.data.as_bytes()].concat())
                    }
                };
                if !part.last {
                    self.part = Some(joined);
                    return None;
                }
                let line = shown(&joined);
                self.messages.push(joined);
                line
            }
            Event::Part(part) => {
                let last = if part.last { ", last" } else { "" };
                format!("part {}{last}", shown(&part.data))
            }
            Event::Ping(payload) => format!("ping {}", short(&payload)),
            Event::Pong(payload) => format!("pong {}", short(&payload)),
            Event::Drained => "drained".into(),
            Event::Closed(end) => {
                let line = closed(&end);
                self.outcome = Some(end);
                self.closes += 1;
                line
            }
        })
    }
}

/// How bytes are handed in.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Outputs are taken after every piece.
    pub drains: bool,
    /// Buffers are lent where the machine offers them.
    pub fills: bool,
}

/// `Sec-WebSocket-Accept` by RFC 6455 §4.2.2.
pub fn accept(key: &str) -> String {
    use base64::Engine as _;
    use sha1::Digest as _;
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(sha1::Sha1::digest(text))
}

/// A reproducible stream of numbers for what need not be random, only varied.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
