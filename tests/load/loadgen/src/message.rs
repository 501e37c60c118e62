//! What is sent, made into frames once, and what comes back.

use std::error::Error;
use std::fmt::Write as _;

use clap::ValueEnum;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::script::Script;
use crate::{Args, Mode, Proto};

pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// What a message's compressed form ends with, and what is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// A batch of messages that are written together stays below this.
const BATCH: usize = 256 * 1024;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payload {
    /// Pseudo-random ASCII.
    Pattern,
    /// Trades as JSON, which compress to a quarter or less.
    Json,
    /// Text of several scripts.
    Unicode,
}

impl Payload {
    pub(crate) fn make(self, size: usize) -> Vec<u8> {
        let mut x: u32 = 0x9e37_79b9;
        let mut random = move || {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x
        };
        match self {
            Self::Pattern => {
                const LETTERS: &[u8; 64] =
                    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                (0..size)
                    .map(|_| LETTERS[(random() >> 26) as usize])
                    .collect()
            }
            Self::Json => {
                let mut text = String::with_capacity(size + 128);
                let mut id = 100_000;
                while text.len() < size {
                    let r = random();
                    let side = if r & 1 == 0 { "buy" } else { "sell" };
                    let _ = write!(
                        text,
                        r#"{{"id":{id},"user":"u{}","type":"trade","price":{}.{:02},"qty":{},"side":"{side}"}},"#,
                        r % 997,
                        (r >> 8) % 5000,
                        (r >> 4) % 100,
                        1 + (r >> 20) % 50,
                    );
                    id += 1;
                }
                text.truncate(size);
                text.into_bytes()
            }
            Self::Unicode => {
                const TEXT: &str =
                    "Жизнь коротка, искусство вечно; 風立ちぬ、いざ生きめやも。 naïve café — ";
                let mut text = String::with_capacity(size);
                for c in TEXT.chars().cycle() {
                    if text.len() + c.len_utf8() > size {
                        break;
                    }
                    text.push(c);
                }
                let mut bytes = text.into_bytes();
                bytes.resize(size, b'.');
                bytes
            }
        }
    }
}

/// Length of the number that a message may carry: a `1` and 15 octal digits, so
/// that it is a decimal number too, without leading zeros.
pub(crate) const DIGITS: usize = 16;

pub(crate) fn digits(number: u64) -> [u8; DIGITS] {
    let mut out = [b'1'; DIGITS];
    for (i, digit) in out.iter_mut().enumerate().skip(1) {
        *digit = b'0' + (number >> (3 * (DIGITS - 1 - i)) & 7) as u8;
    }
    out
}

/// What a message from the server must be.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) payload: Vec<u8>,
    /// Where its number begins, if it has one.
    pub(crate) at: Option<usize>,
}

/// What the connections of a run send, and what they must get for it.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) sends: Sends,
    /// The replies to messages 0, 1, 2 ..., over and over.
    pub(crate) replies: Vec<Reply>,
    /// Messages sent for one reply.
    pub(crate) messages: usize,
    pub(crate) opcode: u8,
}

#[derive(Debug)]
pub(crate) enum Sends {
    /// The same message, and the same back.
    Same(Message),
    Script(Script),
}

impl Load {
    pub(crate) fn new(args: &Args) -> Result<Self, Box<dyn Error>> {
        if args.mode == Mode::Fanout || args.mode.talks() {
            return Ok(Script::new(args)?.load());
        }
        let message = Message::new(args)?;
        Ok(Self {
            replies: vec![Reply {
                payload: message.payload.clone(),
                at: None,
            }],
            sends: Sends::Same(message),
            messages: 1,
            opcode: args.opcode.bits(),
        })
    }
}

/// The message of a run.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) payload: Vec<u8>,
    /// Bytes of it on the wire.
    pub(crate) unit: usize,
    /// These bytes, repeated for writes of several.
    pub(crate) batch: Vec<u8>,
}

impl Message {
    pub(crate) fn new(args: &Args) -> Result<Self, Box<dyn Error>> {
        let payload = args.payload.make(args.size);
        let unit = match args.proto {
            Proto::Raw => payload.clone(),
            Proto::Ws => {
                let mut frame = Vec::new();
                if args.deflate {
                    push_frame(&mut frame, args.opcode.bits(), true, &deflate(&payload)?);
                } else {
                    push_frame(&mut frame, args.opcode.bits(), false, &payload);
                }
                frame
            }
        };
        let repeats = (BATCH / unit.len()).clamp(1, args.pipeline);
        Ok(Self {
            payload,
            unit: unit.len(),
            batch: unit.repeat(repeats),
        })
    }

    /// One message on the wire.
    pub(crate) fn one(&self) -> &[u8] {
        &self.batch[..self.unit]
    }
}

/// Appends one whole masked frame.
pub(crate) fn push_frame(out: &mut Vec<u8>, opcode: u8, compressed: bool, payload: &[u8]) {
    out.push(0x80 | u8::from(compressed) << 6 | opcode);
    match payload.len() {
        n @ ..126 => out.push(0x80 | n as u8),
        n @ ..=0xffff => {
            out.push(0x80 | 126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
}

fn deflate(payload: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::with_capacity(payload.len() + 1024);
    Compress::new(Compression::new(6), false).compress_vec(
        payload,
        &mut out,
        FlushCompress::Sync,
    )?;
    if !out.ends_with(&TAIL) {
        return Err("deflate did not end in an empty block".into());
    }
    out.truncate(out.len() - TAIL.len());
    Ok(out)
}

/// `expected` is the length that must come out; more is cut off.
pub(crate) fn inflate(data: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    let input = [data, &TAIL].concat();
    let mut out = Vec::with_capacity(expected + 1024);
    Decompress::new(false)
        .decompress_vec(&input, &mut out, FlushDecompress::Sync)
        .map_err(|error| format!("does not inflate: {error}"))?;
    Ok(out)
}
