//! What comes back: server frames, parsed in pieces and checked.

use clap::ValueEnum;

use crate::Args;
use crate::message::{DIGITS, Load, Reply, digits, inflate};

/// How much of a reply is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verify {
    /// Its length.
    None,
    /// The first 16 bytes and the last one of each piece read.
    Spot,
    /// Everything.
    Full,
}

/// What messages must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect<'a> {
    /// Of messages 0, 1, 2 ..., over and over.
    pub(crate) replies: &'a [Reply],
    /// Whether text of one byte is a sign of life (Engine.IO).
    pub(crate) pings: bool,
    pub(crate) opcode: u8,
    pub(crate) verify: Verify,
    pub(crate) deflate: bool,
}

impl<'a> Expect<'a> {
    pub(crate) fn new(args: &Args, load: &'a Load) -> Self {
        Self {
            replies: &load.replies,
            pings: args.language.pings(),
            opcode: load.opcode,
            verify: args.verify,
            deflate: args.deflate,
        }
    }

    fn reply(&self, number: u64) -> &'a Reply {
        match self.replies {
            [one] => one,
            several => &several[number as usize % several.len()],
        }
    }
}

/// One connection's incoming frames.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    header: [u8; 10],
    header_len: usize,
    in_payload: bool,
    frame_left: usize,
    control: bool,
    fin: bool,
    compressed: bool,
    in_message: bool,
    position: usize,
    /// Compressed bytes of the first message, which is inflated and compared.
    /// A server that keeps its context makes later ones depend on it.
    keep: Option<Vec<u8>>,
    /// How many messages came, which is the number of the next one.
    pub(crate) number: u64,
}

impl Parser {
    pub(crate) fn new(deflate: bool) -> Self {
        Self {
            keep: deflate.then(Vec::new),
            ..Self::default()
        }
    }

    /// Takes what the server sent; returns how many messages ended in it.
    pub(crate) fn feed(&mut self, mut data: &[u8], expect: &Expect<'_>) -> Result<usize, String> {
        let before = self.number;
        while !data.is_empty() {
            if !self.in_payload {
                if self.header_len == 0 && data.len() >= self.header.len() {
                    let used = header_len(data[1]);
                    self.begin(&data[..used], expect)?;
                    data = &data[used..];
                } else {
                    // Seldom: a header that may be in two reads.
                    self.header[self.header_len] = data[0];
                    self.header_len += 1;
                    data = &data[1..];
                    if self.header_len < 2 || self.header_len < header_len(self.header[1]) {
                        continue;
                    }
                    let header = self.header;
                    self.begin(&header[..self.header_len], expect)?;
                    self.header_len = 0;
                }
            }
            let (chunk, rest) = data.split_at(self.frame_left.min(data.len()));
            data = rest;
            self.frame_left -= chunk.len();
            if !self.control {
                if !self.compressed {
                    self.check(chunk, expect)?;
                } else if let Some(keep) = &mut self.keep {
                    keep.extend_from_slice(chunk);
                }
                self.position += chunk.len();
            }
            if self.frame_left == 0 {
                self.in_payload = false;
                if !self.control && self.fin {
                    self.end(expect)?;
                }
            }
        }
        Ok((self.number - before) as usize)
    }

    fn begin(&mut self, header: &[u8], expect: &Expect<'_>) -> Result<(), String> {
        let (first, second) = (header[0], header[1]);
        if second & 0x80 != 0 {
            return Err("masked frame from the server".into());
        }
        let opcode = first & 0x0f;
        if opcode == 8 {
            return Err("close frame".into());
        }
        self.frame_left = match second & 0x7f {
            short @ ..126 => usize::from(short),
            _ => header[2..]
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        self.control = opcode > 8 || expect.pings && first == 0x81 && self.frame_left == 1;
        if !self.control {
            if self.in_message != (opcode == 0) || (opcode != 0 && opcode != expect.opcode) {
                return Err(format!("unexpected opcode {opcode}"));
            }
            self.fin = first & 0x80 != 0;
            if opcode != 0 {
                self.compressed = first & 0x40 != 0;
                if self.compressed && !expect.deflate {
                    return Err("RSV1 without an extension".into());
                }
                self.in_message = true;
                self.position = 0;
            }
        }
        self.in_payload = true;
        Ok(())
    }

    fn end(&mut self, expect: &Expect<'_>) -> Result<(), String> {
        self.in_message = false;
        let reply = &expect.reply(self.number).payload;
        self.number += 1;
        let keep = self.keep.take();
        if self.compressed {
            if let Some(keep) = keep
                && inflate(&keep, reply.len())? != *reply
            {
                return Err("inflated payload differs".into());
            }
        } else if self.position != reply.len() {
            let want = reply.len();
            return Err(format!("length {} instead of {want}", self.position));
        }
        Ok(())
    }

    fn check(&self, chunk: &[u8], expect: &Expect<'_>) -> Result<(), String> {
        let reply = expect.reply(self.number);
        let (start, end) = (self.position, self.position + chunk.len());
        if end > reply.payload.len() {
            return Err("message too long".into());
        }
        if expect.verify == Verify::None {
            return Ok(());
        }
        let same = |from: usize, to: usize| {
            let (got, want) = (&chunk[from - start..to - start], &reply.payload[from..to]);
            let few = match expect.verify {
                Verify::Full => got.len(),
                Verify::Spot | Verify::None => got.len().min(16),
            };
            got[..few] == want[..few] && got.last() == want.last()
        };
        let whole = match reply.at {
            None => same(start, end),
            Some(at) => {
                let number = digits(self.number);
                let from = at.clamp(start, end);
                let to = (at + DIGITS).clamp(start, end);
                if from < to && chunk[from - start..to - start] != number[from - at..to - at] {
                    return Err(format!("out of order: message {} expected", self.number));
                }
                same(start, from) && same(to, end)
            }
        };
        if whole {
            Ok(())
        } else {
            let want = String::from_utf8_lossy(&reply.payload);
            Err(format!("payload differs from {want:.100}"))
        }
    }
}

const fn header_len(second: u8) -> usize {
    match second & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(payload: &[u8]) -> [Reply; 1] {
        [Reply {
            payload: payload.into(),
            at: None,
        }]
    }

    const fn expect(replies: &[Reply]) -> Expect<'_> {
        Expect {
            replies,
            pings: false,
            opcode: 2,
            verify: Verify::Full,
            deflate: false,
        }
    }

    /// Every way to cut the replies in two gives the same count.
    fn feed(data: &[u8], expect: &Expect<'_>) -> Result<usize, String> {
        let whole = Parser::new(expect.deflate).feed(data, expect);
        for cut in 0..=data.len() {
            let mut parser = Parser::new(expect.deflate);
            let pieces = parser
                .feed(&data[..cut], expect)
                .and_then(|n| Ok(n + parser.feed(&data[cut..], expect)?));
            assert_eq!(pieces.as_ref().ok(), whole.as_ref().ok(), "cut at {cut}");
        }
        whole
    }

    #[test]
    fn counts_whole_messages() {
        let hi = reply(b"hi");
        assert_eq!(feed(b"\x82\x02hi\x82\x02hi\x82", &expect(&hi)), Ok(2));
        assert_eq!(
            feed(b"\x02\x01h\x8a\x01x\x80\x01i", &expect(&hi)),
            Ok(1),
            "fragments, with a pong in between"
        );
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        assert_eq!(feed(&long, &expect(&reply(&[7; 256]))), Ok(1));
    }

    #[test]
    fn refuses_wrong_replies() {
        for (bytes, why) in [
            (&b"\x82\x02ho"[..], "contents"),
            (b"\x82\x01h", "too short"),
            (b"\x82\x03hi!", "too long"),
            (b"\x81\x02hi", "another type"),
            (b"\x80\x02hi", "a continuation of nothing"),
            (b"\xc2\x02hi", "compressed without agreement"),
            (b"\x82\x82\0\0\0\0hi", "masked"),
            (b"\x88\x00", "close"),
        ] {
            let whole = Parser::new(false).feed(bytes, &expect(&reply(b"hi")));
            assert!(whole.is_err(), "{why}");
        }
    }

    #[test]
    fn inflates_the_first_reply() {
        let (hello, other) = (reply(b"Hello"), reply(b"hello"));
        let expect = Expect {
            deflate: true,
            ..expect(&hello)
        };
        // RFC 7692 §7.2.3.1
        let good = b"\xc2\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
        assert_eq!(feed(good, &expect), Ok(1));
        let other = Expect {
            replies: &other,
            ..expect
        };
        assert!(feed(good, &other).is_err());
    }

    #[test]
    fn holds_messages_to_their_order() {
        let turn = |before: &str| {
            let payload = [before.as_bytes(), &digits(0), b"!"].concat();
            let at = Some(before.len());
            Reply { payload, at }
        };
        let replies = [turn("even "), turn("odd ")];
        let expect = expect(&replies);
        let frame = |before: &str, number| {
            let payload = [before.as_bytes(), &digits(number), b"!"].concat();
            [&[0x82, payload.len() as u8][..], &payload].concat()
        };
        let good = [frame("even ", 0), frame("odd ", 1), frame("even ", 2)].concat();
        assert_eq!(feed(&good, &expect), Ok(3));
        for (wrong, why) in [
            ([frame("even ", 0), frame("odd ", 2)], "one is missing"),
            ([frame("even ", 0), frame("even ", 1)], "another message"),
        ] {
            assert!(feed(&wrong.concat(), &expect).is_err(), "{why}");
        }
    }

    #[test]
    fn knows_signs_of_life() {
        let hi = reply(b"hi");
        let pings = Expect {
            pings: true,
            ..expect(&hi)
        };
        assert_eq!(feed(b"\x81\x012\x82\x02hi", &pings), Ok(1));
        assert!(feed(b"\x81\x012\x82\x02hi", &expect(&hi)).is_err());
    }

    #[test]
    fn numbers_are_decimal_and_grow() {
        let mut last = 0;
        for number in [0, 1, 7, 8, 4095, 4096, (1 << 45) - 1] {
            let text = String::from_utf8(digits(number).into()).expect("digits");
            let value: u64 = text.parse().expect("a number");
            assert!(value > last && text.starts_with('1'), "{text}");
            last = value;
        }
    }
}
