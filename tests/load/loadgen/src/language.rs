//! What realtime servers are told, in their own words.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use clap::ValueEnum;

use crate::message::{digits, push_frame};

/// What is spoken over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Nothing: messages are as they are.
    Raw,
    /// Engine.IO 4, whose binary messages are as they are.
    Engineio,
    /// SmartSocket's events.
    Smartsocket,
    /// Socket.IO 5 on Engine.IO 4.
    Socketio,
}

/// The room that everybody meets in.
const ROOM: &str = r#"{"room":"lobby"}"#;
/// Engine.IO's, which servers may send at any time. It needs no answer as long
/// as they are patient.
const PING: &[u8] = b"\x81\x012";
/// The number that a join before the run has.
const FIRST: u64 = 0;

impl Language {
    /// Where it is spoken, unless the URL says.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Raw | Self::Smartsocket => "/",
            Self::Engineio => "/engine.io/?EIO=4&transport=websocket",
            Self::Socketio => "/socket.io/?EIO=4&transport=websocket",
        }
    }

    /// Where fanout's subscribers and its publisher connect.
    pub(crate) const fn sides(self) -> (&'static str, &'static str) {
        match self {
            Self::Raw => ("/sub", "/pub"),
            Self::Engineio => ("/engine.io/?EIO=4&transport=websocket&sub", self.path()),
            Self::Smartsocket | Self::Socketio => (self.path(), self.path()),
        }
    }

    /// Whether it has events, acknowledgements and rooms.
    pub(crate) const fn has_events(self) -> bool {
        matches!(self, Self::Smartsocket | Self::Socketio)
    }

    /// An event, the same in both directions.
    pub(crate) fn event(self, name: &str, data: &str) -> String {
        match self {
            Self::Socketio => format!(r#"42["{name}",{data}]"#),
            Self::Raw | Self::Engineio | Self::Smartsocket => {
                format!(r#"{{"event":"{name}","data":{data}}}"#)
            }
        }
    }

    /// An event that is to be answered; `data` is an object that is not empty.
    pub(crate) fn question(self, name: &str, data: &str, number: u64) -> String {
        let id = number_of(number);
        match self {
            Self::Socketio => format!(r#"42{id}["{name}",{data}]"#),
            Self::Raw | Self::Engineio | Self::Smartsocket => {
                let fields = data.strip_suffix('}').unwrap_or(data);
                self.event(name, &format!(r#"{fields},"__ackId":"ack_{id}"}}"#))
            }
        }
    }

    /// The answer.
    pub(crate) fn answer(self, number: u64, data: &str) -> String {
        let id = number_of(number);
        match self {
            Self::Socketio => format!("43{id}[{data}]"),
            Self::Raw | Self::Engineio | Self::Smartsocket => {
                let data = format!(r#"{{"ackId":"ack_{id}","response":{data}}}"#);
                self.event("__ack__", &data)
            }
        }
    }

    /// Into the room; answered with [`done`](Self::done).
    pub(crate) fn join(self, number: u64) -> String {
        self.question("join", ROOM, number)
    }

    /// Out of the room, likewise.
    pub(crate) fn leave(self, number: u64) -> String {
        self.question("leave", ROOM, number)
    }

    pub(crate) fn done(self, number: u64) -> String {
        self.answer(number, r#"{"success":true}"#)
    }

    /// Whether text of one byte is a sign of life.
    pub(crate) const fn pings(self) -> bool {
        matches!(self, Self::Engineio | Self::Socketio)
    }

    /// What comes between the upgrade and the first message; `rest` is what
    /// came with the upgrade.
    pub(crate) fn greet(
        self,
        stream: &mut TcpStream,
        mut rest: Vec<u8>,
    ) -> Result<(), Box<dyn Error>> {
        if self.pings() {
            expect(stream, &mut rest, "0{")?;
        }
        if self == Self::Socketio {
            say(stream, "40")?;
            expect(stream, &mut rest, "40{")?;
        }
        if rest.is_empty() || self.pings() && rest == PING {
            Ok(())
        } else {
            // Nobody has asked for anything yet.
            Err("bytes after the handshake".into())
        }
    }

    /// Goes into the room.
    pub(crate) fn enter(self, stream: &mut TcpStream) -> Result<(), Box<dyn Error>> {
        say(stream, &self.join(FIRST))?;
        expect(stream, &mut Vec::new(), &self.done(FIRST))
    }
}

fn number_of(number: u64) -> String {
    digits(number).map(char::from).iter().collect()
}

fn say(stream: &mut TcpStream, text: &str) -> Result<(), Box<dyn Error>> {
    let mut frame = Vec::new();
    push_frame(&mut frame, 1, false, text.as_bytes());
    Ok(stream.write_all(&frame)?)
}

/// Takes a text message that begins so, after any pings. Anything longer than
/// 125 bytes is something else.
fn expect(stream: &mut TcpStream, came: &mut Vec<u8>, begin: &str) -> Result<(), Box<dyn Error>> {
    let mut buffer = [0; 2048];
    let whole = |came: &[u8]| match *came {
        [_, length, ..] => came.len() >= 2 + usize::from(length),
        _ => false,
    };
    while !whole(came) {
        match stream.read(&mut buffer)? {
            0 => return Err("closed during the handshake".into()),
            n => came.extend_from_slice(&buffer[..n]),
        }
    }
    let message: Vec<u8> = came.drain(..2 + usize::from(came[1])).collect();
    if message == PING {
        return expect(stream, came, begin);
    }
    if message[0] == 0x81 && message[1] < 126 && message[2..].starts_with(begin.as_bytes()) {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&message[2..]).into_owned();
    Err(format!("{begin:?} expected, {message:?} came").into())
}
