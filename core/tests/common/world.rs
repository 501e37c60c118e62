//! A hub and the sockets of scripted clients.

use std::collections::BTreeMap;
use std::net::IpAddr;

use smartsocket_core::Tick;
use smartsocket_core::hub::{
    Answer, ClientId, ConnId, Decision, Event, Hub, HubConfig, Output, Route, Turn,
};
use smartsocket_core::websocket::Role;

use super::{Sent, frame, read_frame, seed};

/// A hub, its clock, and what its sockets got.
pub struct World {
    pub hub: Hub,
    pub now: Tick,
    pub sockets: BTreeMap<ConnId, Socket>,
    pub turns: Vec<Turn>,
    pub answers: Vec<Answer>,
    pub drained: Vec<ClientId>,
    /// Answer every turn at once with yes.
    pub yes: bool,
}

#[derive(Default)]
pub struct Socket {
    pub bytes: Vec<u8>,
    pub upgraded: bool,
    /// Bytes the peer still takes.
    pub takes: Option<usize>,
    pub paused: bool,
    pub dropped: bool,
}

pub const WALL: u64 = 1_700_000_000_000;

impl World {
    pub fn new(routes: Vec<Route>) -> Self {
        Self::with(HubConfig {
            routes,
            ..HubConfig::default()
        })
    }

    pub fn with(config: HubConfig) -> Self {
        Self {
            hub: Hub::new(config, seed(), Tick::ZERO, WALL).unwrap(),
            now: Tick::ZERO,
            sockets: BTreeMap::new(),
            turns: Vec::new(),
            answers: Vec::new(),
            drained: Vec::new(),
            yes: false,
        }
    }

    pub fn connect(&mut self, target: &str) -> ConnId {
        let id = self
            .hub
            .accept(self.now, Some(IpAddr::from([127, 0, 0, 1])))
            .unwrap();
        self.sockets.insert(id, Socket::default());
        self.request(id, target, "");
        id
    }

    pub fn request(&mut self, id: ConnId, target: &str, headers: &str) {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        self.feed(id, head.into_bytes());
    }

    pub fn feed(&mut self, id: ConnId, mut bytes: Vec<u8>) {
        self.hub.handle_bytes(self.now, id, &mut bytes);
        self.drain();
    }

    pub fn say(&mut self, id: ConnId, text: &str) {
        self.feed(id, frame(Role::Server, 1, text));
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Transmit(id) => self.write(id),
                Output::PauseRead(id) => self.sockets.get_mut(&id).unwrap().paused = true,
                Output::ResumeRead(id) => self.sockets.get_mut(&id).unwrap().paused = false,
                Output::Shutdown(id) => {
                    // A client that is well ends its side too.
                    self.hub.handle_eof(self.now, id);
                }
                Output::Close(id) => self.sockets.get_mut(&id).unwrap().dropped = true,
                Output::Event(Event::Turn(turn)) if self.yes => {
                    self.hub.decide(self.now, turn.allow())
                }
                Output::Event(Event::Turn(turn)) => self.turns.push(turn),
                Output::Event(Event::Answered { answer, .. }) => self.answers.push(answer),
                Output::Event(Event::Drained(client)) => self.drained.push(client),
                Output::Event(Event::Request(..) | Event::Bare(..)) | Output::Cluster(_) => {}
            }
        }
    }

    pub fn write(&mut self, id: ConnId) {
        let socket = self.sockets.get_mut(&id).unwrap();
        loop {
            let bytes: Vec<u8> = self
                .hub
                .unsent(id)
                .flat_map(|bytes| bytes.to_vec())
                .collect();
            let n = bytes.len().min(socket.takes.unwrap_or(usize::MAX));
            if n == 0 {
                break;
            }
            if let Some(takes) = &mut socket.takes {
                *takes -= n;
            }
            socket.bytes.extend(&bytes[..n]);
            self.hub.transmitted(self.now, id, n);
        }
    }

    /// Opcodes and payloads that came to a client since it was last looked at.
    pub fn frames(&mut self, id: ConnId) -> Vec<(u8, Vec<u8>)> {
        let socket = self.sockets.get_mut(&id).unwrap();
        let mut frames = Vec::new();
        if !socket.upgraded {
            let Some(end) = socket.bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                return frames;
            };
            let head: Vec<u8> = socket.bytes.drain(..end + 4).collect();
            let head = String::from_utf8(head).unwrap();
            socket.upgraded = head.starts_with("HTTP/1.1 101 ");
            if !socket.upgraded {
                let body = std::mem::take(&mut socket.bytes);
                let body = String::from_utf8(body).unwrap();
                frames.push((1, format!("{} {body}", &head[9..12]).into()));
                return frames;
            }
        }
        while let Some(Sent {
            opcode, payload, ..
        }) = read_frame(&mut socket.bytes)
        {
            frames.push((opcode, payload));
        }
        frames
    }

    /// What came to a client since it was last looked at: texts as they are,
    /// other frames in short.
    pub fn got(&mut self, id: ConnId) -> Vec<String> {
        let frames = self.frames(id).into_iter();
        let shown = frames.map(|(opcode, payload)| match opcode {
            1 => String::from_utf8(payload).unwrap(),
            8 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                format!("close {code} {}", String::from_utf8_lossy(&payload[2..]))
            }
            opcode => format!("{opcode} {} bytes", payload.len()),
        });
        shown.collect()
    }

    /// The next turn.
    pub fn turn(&mut self) -> Turn {
        assert!(!self.turns.is_empty(), "no turn");
        self.turns.remove(0)
    }

    pub fn decide(&mut self, decision: Decision) {
        self.hub.decide(self.now, decision);
        self.drain();
    }

    /// Time passes, deadline by deadline.
    pub fn pass(&mut self, until: Tick) {
        loop {
            match self.hub.next_timeout() {
                Some(due) if due <= until => {
                    self.now = self.now.max(due);
                    self.hub.handle_timeout(self.now);
                    self.drain();
                }
                _ => break,
            }
        }
        self.now = until;
    }

    pub fn client(&self, id: ConnId) -> ClientId {
        self.hub.client(id).expect("a client").id()
    }
}
