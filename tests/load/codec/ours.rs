//! This project's two levels.

use std::io::Read as _;

use smartsocket_core::internals::{FrameHeader, apply_mask};
use smartsocket_core::websocket::{Event, Negotiated, Output, Role};
use smartsocket_core::{Config, Seed, Tick, WebSocket};

use crate::stream::Wire;
use crate::{Codec, Failure, Make, Sink};

/// The level that does not look at what a frame holds.
pub(crate) const FRAME: &str = "smartsocket frame";

pub(crate) const CODECS: &[(&str, Make)] = &[
    (FRAME, |wire| Ok(Box::new(Frames::new(wire)))),
    ("smartsocket WebSocket", |wire| {
        Ok(Box::new(Machine::new(wire)))
    }),
];

/// As the adapters': one for all connections of a thread.
const BUFFER: usize = 64 * 1024;

/// Header and masking, in place; the payload is lent.
struct Frames {
    wire: Wire,
    buffer: Vec<u8>,
    /// What of the buffer is not yet handled.
    start: usize,
    end: usize,
    /// The frame under way: its key, how much of it is done, and how long it is.
    frame: Option<([u8; 4], u64, u64)>,
}

impl Frames {
    fn new(wire: Wire) -> Self {
        Self {
            wire,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            frame: None,
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.end += self.wire.read(&mut self.buffer[self.end..])?;
        Ok(())
    }
}

impl Codec for Frames {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        let end = sink.messages + messages;
        while sink.messages < end {
            let Some((key, done, length)) = self.frame else {
                let decoded = FrameHeader::decode(&self.buffer[self.start..self.end])
                    .map_err(|_| "a broken frame")?;
                match decoded {
                    Some((header, size)) => {
                        self.start += size;
                        self.frame = Some((header.mask.ok_or("not masked")?, 0, header.length));
                    }
                    None => self.read()?,
                }
                continue;
            };
            if self.start == self.end {
                self.read()?;
            }
            let left = usize::try_from(length - done)?;
            let part = left.min(self.end - self.start);
            let data = &mut self.buffer[self.start..self.start + part];
            apply_mask(key, done, data);
            sink.part(usize::try_from(done)?, data);
            self.start += part;
            self.frame = if part == left {
                sink.messages += 1;
                None
            } else {
                Some((key, done + part as u64, length))
            };
        }
        Ok(())
    }
}

/// The whole machine; a message is an owned event.
struct Machine {
    wire: Wire,
    machine: WebSocket,
    buffer: Vec<u8>,
}

impl Machine {
    fn new(wire: Wire) -> Self {
        let config = Config {
            max_message: 64 << 20,
            ..Config::default()
        };
        let agreed = Negotiated::default();
        let seed = Seed::new([7; 32]);
        Self {
            wire,
            machine: WebSocket::upgraded(Role::Server, agreed, config, seed, Tick::ZERO),
            buffer: vec![0; BUFFER],
        }
    }
}

impl Codec for Machine {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        let end = sink.messages + messages;
        loop {
            while sink.messages < end {
                match self.machine.poll_output() {
                    Some(Output::Event(Event::Message(message))) => {
                        sink.message(message.as_bytes());
                    }
                    Some(Output::PauseRead | Output::ResumeRead) => {}
                    Some(other) => return Err(format!("unexpected {other:?}").into()),
                    None => break,
                }
            }
            if sink.messages == end {
                return Ok(());
            }
            if let Some(mut fill) = self.machine.take_fill() {
                self.wire
                    .give(fill.room, |piece| fill.buf.extend_from_slice(piece));
                self.machine.handle_fill(Tick::ZERO, fill);
            } else {
                let n = self.wire.read(&mut self.buffer)?;
                self.machine.handle_bytes(Tick::ZERO, &mut self.buffer[..n]);
            }
        }
    }
}
