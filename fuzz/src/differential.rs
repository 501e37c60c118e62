//! The same frames to us and to tungstenite: the same messages, and the same
//! kind of end, but for the [`INTENDED`] differences.

use std::io::{self, Read, Write};

use smartsocket_core::websocket::{Cause, Event, Negotiated, Output, Role, Violation};
use smartsocket_core::{CloseCode, Config, Message, Seed, Tick, WebSocket};
use tungstenite::Error;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};

use crate::input::{Input, bit};

/// A way in which we mean to differ.
#[derive(Debug)]
pub struct Difference {
    /// What it is about, in a few words.
    pub name: &'static str,
    /// Why we do it our way.
    pub why: &'static str,
    explains: fn(&Ours, &End) -> bool,
}

/// Every intended difference to tungstenite 0.30. Any other is a find.
pub static INTENDED: [Difference; 7] = [
    Difference {
        name: "lengths in their shortest form",
        why: "RFC 6455 §5.2 demands it, so an extended length in a control frame is a wrong one \
              too; tungstenite takes any form, and calls a length above 2^63 too big",
        explains: |ours, _| {
            ours.broke(|violation| {
                matches!(violation, Violation::Length | Violation::ControlTooLong)
            })
        },
    },
    Difference {
        name: "rules of the header judged by the header",
        why: "a frame nobody may send is refused at once; tungstenite waits for its payload, and \
              judges the length first",
        explains: |ours, theirs| {
            ours.broke(|violation| {
                violation.code() == CloseCode::PROTOCOL
                    && !matches!(violation, Violation::CloseCode(_) | Violation::CloseLength)
            }) && matches!(theirs, End::Incomplete | End::TooBig)
        },
    },
    Difference {
        name: "text judged as it arrives",
        why: "RFC 6455 §8.1 wants text that is none to fail the connection; tungstenite waits for \
              the end of the frame",
        explains: |ours, theirs| {
            ours.broke(|violation| matches!(violation, Violation::NotUtf8))
                && *theirs == End::Incomplete
        },
    },
    Difference {
        name: "the length of a message judged by its headers",
        why: "nothing of a message too long need be read; tungstenite waits for the end of the \
              fragment that makes it so",
        explains: |ours, theirs| {
            ours.broke(|violation| matches!(violation, Violation::MessageTooBig { .. }))
                && *theirs == End::Incomplete
        },
    },
    Difference {
        name: "close codes nobody may send",
        why: "they break the protocol (RFC 6455 §7.4); tungstenite tells the application that the \
              peer closed with 1002",
        explains: |ours, theirs| {
            ours.broke(|violation| matches!(violation, Violation::CloseCode(_)))
                && *theirs == End::Close(1002)
        },
    },
    Difference {
        name: "the code judged before the reason",
        why: "both are wrong, so either error will do",
        explains: |ours, theirs| {
            ours.broke(|violation| matches!(violation, Violation::CloseCode(_)))
                && *theirs == End::NotUtf8
        },
    },
    Difference {
        name: "close code 1014",
        why: "IANA registered it (bad gateway) after the RFC; tungstenite does not know it",
        explains: |ours, theirs| ours.end == End::Close(1014) && matches!(theirs, End::Close(1002)),
    },
];

/// What came out of the stream, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

/// The kind of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Close(u16),
    Protocol,
    NotUtf8,
    TooBig,
    /// The stream ended without a close frame.
    Incomplete,
}

#[derive(Debug)]
struct Ours {
    said: Vec<Said>,
    end: End,
    violation: Option<Violation>,
}

impl Ours {
    fn broke(&self, rule: impl Fn(&Violation) -> bool) -> bool {
        self.violation.as_ref().is_some_and(rule)
    }
}

/// The first byte chooses role and limit, the rest is the peer's stream.
pub fn run(data: &[u8]) {
    difference(data);
}

/// The difference that a stream shows; panics when it is not an intended one.
pub fn difference(data: &[u8]) -> Option<&'static Difference> {
    let mut input = Input(data);
    let flags = input.byte();
    let role = if bit(flags, 0) {
        Role::Client
    } else {
        Role::Server
    };
    let max = if bit(flags, 1) { 200 } else { 64 << 10 };
    let ours = ours(role, max, input.0);
    let (said, end) = theirs(role, max, input.0);
    if ours.end == end && ours.said == said {
        return None;
    }
    let mut intended = INTENDED.iter();
    let explained =
        intended.find(|one| said.starts_with(&ours.said) && (one.explains)(&ours, &end));
    assert!(
        explained.is_some(),
        "{ours:?}, but tungstenite {said:?} {end:?}"
    );
    explained
}

fn ours(role: Role, max: usize, stream: &[u8]) -> Ours {
    let config = Config {
        max_message: max,
        max_fragments: u32::MAX,
        control_events: true,
        ..Config::default()
    };
    let now = Tick::ZERO;
    let agreed = Negotiated::default();
    let mut ws = WebSocket::upgraded(role, agreed, config, Seed::new([7; 32]), now);
    ws.handle_bytes(now, &mut stream.to_vec());
    ws.handle_eof(now);
    let (mut said, mut end, mut broken) = (Vec::new(), None, None);
    while let Some(output) = ws.poll_output() {
        let Output::Event(event) = output else {
            continue;
        };
        match event {
            Event::Message(message) => said.push(Said::Message(message)),
            Event::Ping(payload) => said.push(Said::Ping(payload.to_vec())),
            Event::Pong(payload) => said.push(Said::Pong(payload.to_vec())),
            Event::Closed(closed) => {
                let code = closed.code;
                end = Some(if let Cause::Violation(violation) = closed.cause {
                    broken = Some(violation);
                    match code {
                        CloseCode::PROTOCOL => End::Protocol,
                        CloseCode::INVALID_DATA => End::NotUtf8,
                        CloseCode::TOO_BIG => End::TooBig,
                        code => panic!("unexpected {code}"),
                    }
                } else if let Cause::Peer = closed.cause {
                    End::Close(code.into())
                } else {
                    assert!(matches!(closed.cause, Cause::Eof), "{closed:?}");
                    End::Incomplete
                });
            }
            Event::Request(_) | Event::Open(_) | Event::Part(_) | Event::Drained => {
                panic!("unexpected {event:?}")
            }
        }
    }
    Ours {
        said,
        end: end.expect("the stream has ended"),
        violation: broken,
    }
}

fn theirs(role: Role, max: usize, stream: &[u8]) -> (Vec<Said>, End) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4_096)
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    let role = match role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    let mut ws = tungstenite::WebSocket::from_raw_socket(Stream(stream), role, Some(config));
    let mut said = Vec::new();
    let end = loop {
        said.push(match ws.read() {
            Ok(tungstenite::Message::Text(text)) => Said::Message(Message::text(text.as_str())),
            Ok(tungstenite::Message::Binary(data)) => Said::Message(Message::binary(data)),
            Ok(tungstenite::Message::Ping(payload)) => Said::Ping(payload.to_vec()),
            Ok(tungstenite::Message::Pong(payload)) => Said::Pong(payload.to_vec()),
            Ok(tungstenite::Message::Close(None)) => break End::Close(1005),
            Ok(tungstenite::Message::Close(Some(frame))) => break End::Close(frame.code.into()),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                break End::Incomplete;
            }
            Err(Error::Protocol(_)) => break End::Protocol,
            Err(Error::Capacity(_)) => break End::TooBig,
            Err(Error::Utf8(_)) => break End::NotUtf8,
            other => panic!("unexpected {other:?}"),
        });
    };
    (said, end)
}

/// A stream that is there from the start, and swallows what is written.
struct Stream<'a>(&'a [u8]);

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
