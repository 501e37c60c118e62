//! A scripted client: what it says, what it makes of what it gets.

use std::collections::VecDeque;

use super::chance::Chance;
use super::model::Model;
use super::wire::{self, BINARY, CLOSE, PING, PONG, TEXT};
use super::world::{CHAT, IGNIS, KEY, KEYED, MB, RAW, RNODE, RNODE_TOO};
use smartsocket_core::hub::ConnId;

/// Something to note once the hub has got all the bytes up to a place.
#[derive(Debug)]
pub enum Note {
    In(String),
    /// Without a name: out of the one it is in.
    Out(String),
    Namespace(String),
    Key,
    Word(u64, Option<String>),
}

/// Both directions of a connection and the client at the far end.
#[derive(Debug)]
pub struct Peer {
    pub number: usize,
    pub id: ConnId,
    pub route: usize,
    pub alias: Option<String>,
    /// On the way to the hub.
    pub upward: VecDeque<u8>,
    /// How many bytes ever went upward, and what to note when they are there.
    sent: u64,
    arrived: u64,
    notes: VecDeque<(u64, Note)>,
    /// Got and not understood yet.
    got: Vec<u8>,
    pub upgraded: bool,
    pub answered: Option<u16>,
    pub got_close: bool,
    said_close: bool,
    /// It ends its direction when all is there.
    pub ends: bool,
    pub ended: bool,
    /// It takes no bytes for now.
    pub stalled: bool,
    /// It is gone without a word: nothing moves in either direction.
    pub vanished: bool,
    pub paused: bool,
    /// The hub has something to write.
    pub wanted: bool,
    words: u64,
    /// Emits with ack it has yet to answer, if it likes.
    pub owes: Vec<(String, u64)>,
    /// Frames of messages it got.
    pub frames: u64,
}

const ROOMS: [&str; 4] = ["red", "green", "blue", "rooms"];
const TOPICS: [&str; 3] = ["events.one", "events.two", "red"];

impl Peer {
    pub fn new(number: usize, id: ConnId, route: usize, chance: &mut Chance) -> Self {
        let mut peer = Self {
            number,
            id,
            route,
            alias: None,
            upward: VecDeque::new(),
            sent: 0,
            arrived: 0,
            notes: VecDeque::new(),
            got: Vec::new(),
            upgraded: false,
            answered: None,
            got_close: false,
            said_close: false,
            ends: false,
            ended: false,
            stalled: false,
            vanished: false,
            paused: false,
            wanted: false,
            words: 0,
            owes: Vec::new(),
            frames: 0,
        };
        let path = super::world::PATHS[route];
        let mut query = String::new();
        if matches!(route, RNODE | RNODE_TOO) && chance.percent(60) {
            let alias = format!("name{}", chance.below(6));
            query = format!("?clientId={alias}");
            peer.alias = Some(alias);
        }
        if route == KEYED && chance.percent(60) {
            query = format!("?apiKey={KEY}");
            peer.note(Note::Key);
        }
        let request = format!(
            "GET {path}{query} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        peer.push(request.as_bytes());
        peer
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.ends || self.ended {
            return;
        }
        self.upward.extend(bytes);
        self.sent += bytes.len() as u64;
    }

    /// Notes this once what was said before it and the next thing are there:
    /// from the first byte of what is said next the hub may act on it.
    fn note(&mut self, note: Note) {
        self.notes.push_back((self.sent, note));
    }

    /// So many bytes are there.
    pub fn arrive(&mut self, step: u64, n: usize, model: &mut Model) {
        self.arrived += n as u64;
        while let Some((at, _)) = self.notes.front() {
            if *at >= self.arrived {
                break;
            }
            let Some((_, note)) = self.notes.pop_front() else {
                break;
            };
            let member = model.members.get_mut(&self.id).expect("a connection");
            match note {
                Note::In(room) => drop(member.asked_in.insert(room)),
                Note::Out(room) => drop(member.asked_out.insert(room)),
                Note::Namespace(name) => drop(member.asked_namespaces.insert(name)),
                Note::Key => member.proven = true,
                Note::Word(number, place) => {
                    model.words.insert((self.number, number), (step, place));
                }
            }
        }
    }

    fn text(&mut self, chance: &mut Chance, text: &str) {
        let bytes = wire::message(chance, TEXT, text.as_bytes());
        self.push(&bytes);
    }

    fn word(&mut self, place: Option<String>) -> String {
        self.words += 1;
        self.note(Note::Word(self.words, place));
        format!("w{}.{}", self.number, self.words)
    }

    pub fn close(&mut self, chance: &mut Chance) {
        if !self.said_close {
            self.said_close = true;
            let code = *chance.of(&[&b""[..], &[3, 232], &[3, 233, b'b', b'y', b'e']]);
            let bytes = wire::frame(chance, true, CLOSE, code);
            self.push(&bytes);
        }
    }

    /// Says something of what clients of its route say.
    pub fn speak(&mut self, chance: &mut Chance, aliases: &[String]) {
        if self.said_close {
            return;
        }
        match chance.below(20) {
            0 => {
                let ping = wire::frame(chance, true, PING, b"there?");
                return self.push(&ping);
            }
            1 => {
                let bytes: [u8; 8] = chance.bytes();
                if self.route == CHAT || self.route == KEYED || self.route == MB {
                    return;
                }
                let binary = wire::message(chance, BINARY, &bytes);
                return self.push(&binary);
            }
            2 => {
                let junk = *chance.of(&["", "{", "[]", "{\"event\":7}", "null", "a:b\nc"]);
                return self.text(chance, junk);
            }
            _ => {}
        }
        match self.route {
            CHAT | KEYED => self.speak_smartsocket(chance),
            IGNIS => self.speak_ignis(chance),
            RNODE | RNODE_TOO => self.speak_rnode(chance, aliases),
            MB => self.speak_mb(chance),
            RAW => {
                let word = self.word(None);
                self.text(chance, &word);
            }
            _ => unreachable!("no such route"),
        }
    }

    fn speak_smartsocket(&mut self, chance: &mut Chance) {
        if chance.percent(40)
            && let Some((ack, number)) = self.owes.pop()
        {
            return self.text(
                chance,
                &format!("{{\"event\":\"__ack__\",\"data\":{{\"ackId\":\"{ack}\",\"response\":{{\"r\":{number}}}}}}}"),
            );
        }
        let word = self.word(None);
        let number = self.words;
        let text = match chance.below(9) {
            0 => format!(
                "{{\"event\":\"say\",\"data\":{{\"w\":\"{word}\",\"__ackId\":\"mine{number}\"}}}}"
            ),
            1 => format!("{{\"event\":\"say\",\"data\":{{\"w\":\"{word}\",\"_ackId\":{number}}}}}"),
            2 => format!(
                "{{\"event\":\"say\",\"ackId\":\"mine{number}\",\"data\":{{\"w\":\"{word}\"}}}}"
            ),
            3 => {
                let name = *chance.of(&["/chat", "/keyed", "/none"]);
                let key = *chance.of(&["", KEY, "wrong"]);
                self.note(Note::Namespace(name.into()));
                if key == KEY {
                    self.note(Note::Key);
                }
                let key = match key {
                    "" => String::new(),
                    key => format!(",\"apiKey\":\"{key}\""),
                };
                format!("{{\"event\":\"CONNECT\",\"data\":{{\"namespace\":\"{name}\"{key}}}}}")
            }
            4 => "{\"event\":\"pong\",\"data\":{\"timestamp\":1}}".into(),
            // An answer nobody waits for, here at least.
            5 => "{\"event\":\"__ack__\",\"data\":{\"ackId\":1,\"response\":{\"r\":0}}}".into(),
            _ => format!("{{\"event\":\"say\",\"data\":{{\"w\":\"{word}\"}}}}"),
        };
        self.text(chance, &text);
    }

    fn speak_ignis(&mut self, chance: &mut Chance) {
        let room = *chance.of(&ROOMS);
        let text = match chance.below(6) {
            0 => "{\"event\":\"authenticate\",\"data\":{\"token\":\"t\"}}".into(),
            1 => {
                self.note(Note::In(room.into()));
                format!(
                    "{{\"event\":\"join\",\"data\":{{\"rooms\":[\"{room}\",\"ws:secret\",\"\"]}}}}"
                )
            }
            2 => {
                self.note(Note::Out(room.into()));
                format!("{{\"event\":\"leave\",\"data\":{{\"rooms\":[\"{room}\"]}}}}")
            }
            3 => "{\"event\":\"heartbeat\"}".into(),
            _ => {
                let word = self.word(None);
                format!("{{\"event\":\"say\",\"data\":{{\"w\":\"{word}\"}}}}")
            }
        };
        self.text(chance, &text);
    }

    fn speak_rnode(&mut self, chance: &mut Chance, aliases: &[String]) {
        let room = *chance.of(&ROOMS);
        let text = match chance.below(8) {
            0 | 1 => {
                self.note(Note::In(room.into()));
                format!("{{\"type\":\"join_room\",\"room_id\":\"{room}\"}}")
            }
            2 => {
                let named = chance.percent(50);
                self.note(Note::Out(if named { room.into() } else { String::new() }));
                let name = format!(",\"room_id\":\"{room}\"");
                let named = if named { &name[..] } else { "" };
                format!("{{\"type\":\"leave_room\"{named}}}")
            }
            3 | 4 => {
                let word = self.word(Some(room.into()));
                format!("{{\"type\":\"room_message\",\"room_id\":\"{room}\",\"data\":\"{word}\"}}")
            }
            5 if !aliases.is_empty() => {
                let to = chance.of(aliases).clone();
                let word = self.word(None);
                format!(
                    "{{\"type\":\"direct_message\",\"target_client_id\":\"{to}\",\"data\":\"{word}\"}}"
                )
            }
            6 => (*chance.of(&["{\"type\":\"ping\"}", "{\"type\":\"pong\"}"])).into(),
            _ => {
                let word = self.word(None);
                format!("{{\"type\":\"message\",\"data\":\"{word}\"}}")
            }
        };
        self.text(chance, &text);
    }

    fn speak_mb(&mut self, chance: &mut Chance) {
        let topic = *chance.of(&TOPICS);
        let id = uuid(chance);
        let text = match chance.below(6) {
            0 | 1 => {
                self.note(Note::In(topic.into()));
                format!(
                    "request:system.topic.subscribe:1.0.0:{id}\n{{\"action\":\"publish\",\"topic\":\"{topic}\"}}"
                )
            }
            2 => {
                self.note(Note::Out(topic.into()));
                format!(
                    "request:system.topic.unsubscribe:1.0.0:{id}\n{{\"action\":\"publish\",\"topic\":\"{topic}\"}}"
                )
            }
            3 => format!("request:svc.{topic}:1.0.0:{id}::1000\n{{}}"),
            _ => {
                let word = self.word(Some(topic.into()));
                format!("publish:{topic}:1.0.0:{id}\n{{\"w\":\"{word}\"}}")
            }
        };
        self.text(chance, &text);
    }

    /// Takes bytes of the hub's and does what a client does about them.
    pub fn take(&mut self, bytes: &[u8], chance: &mut Chance, model: &mut Model) {
        self.got.extend(bytes);
        if self.answered.is_none() {
            let Some(end) = self.got.windows(4).position(|four| four == b"\r\n\r\n") else {
                return;
            };
            let head: Vec<u8> = self.got.drain(..end + 4).collect();
            let head = String::from_utf8(head).expect("a head is text");
            let status: u16 = head[9..12].parse().expect("a status");
            self.answered = Some(status);
            self.upgraded = status == 101;
        }
        while self.upgraded
            && let Some((opcode, payload)) = wire::read(&mut self.got)
        {
            assert!(!self.got_close, "{:?}: a frame after the close", self.id);
            match opcode {
                TEXT => {
                    self.frames += 1;
                    let text = String::from_utf8(payload).expect("text is UTF-8");
                    self.understand(&text, model);
                }
                BINARY => self.frames += 1,
                PING => {
                    let pong = wire::frame(chance, true, PONG, &payload);
                    if !self.said_close {
                        self.push(&pong);
                    }
                }
                CLOSE => {
                    self.got_close = true;
                    self.close(chance);
                }
                PONG => {}
                other => panic!("{:?}: opcode {other}", self.id),
            }
        }
    }

    fn understand(&mut self, text: &str, model: &mut Model) {
        let kind = |kind: &str| text.starts_with(&format!("{{\"type\":\"{kind}\""));
        // These say our own words back.
        if kind("message_ack") || kind("message_blocked") {
            return;
        }
        if let Some(ack) = after(text, "\"ackId\":\"mine") {
            return model.ack_came(self.id, ack);
        }
        if let Some(ack) = after(text, "\"_ackId\":") {
            return model.ack_came(self.id, ack);
        }
        if let Some(number) = after(text, "\"n\":") {
            model.received(self.id, number);
            if let Some(key) = after(text, "\"__ackId\":\"ack_") {
                self.owes.push((format!("ack_{key}"), number));
            }
            return;
        }
        let Some(at) = text.find("\"w") else {
            return;
        };
        let mut word = text[at + 1..].splitn(2, ['"']);
        let mut word = word.next().unwrap_or_default();
        if word == "w" {
            // In an object of its own: `"w":"w1.2"`.
            word = text[at + 5..].split('"').next().unwrap_or_default();
        }
        let Some((peer, number)) = word[1..].split_once('.') else {
            return;
        };
        let (Ok(peer), Ok(number)) = (peer.parse(), number.parse()) else {
            return;
        };
        let room = if self.route == MB {
            text.split(':').nth(1).map(String::from)
        } else {
            let room = text.split("\"room_id\":\"").nth(1);
            room.and_then(|rest| rest.split('"').next())
                .map(String::from)
        };
        model.overheard(self.id, room.as_deref(), peer, number);
    }
}

/// The number that stands behind this.
fn after(text: &str, what: &str) -> Option<u64> {
    let at = text.find(what)? + what.len();
    let digits = text[at..].split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn uuid(chance: &mut Chance) -> String {
    let n = chance.next();
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        n >> 32,
        n >> 16 & 0xffff,
        n >> 4 & 0xfff,
        n & 0xfff,
        chance.next() >> 16
    )
}
