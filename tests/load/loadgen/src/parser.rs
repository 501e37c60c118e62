//! What comes back: server frames, parsed in pieces and checked.

use clap::ValueEnum;

use crate::message::inflate;

/// Length of the hexadecimal sequence number that begins a fanout message.
pub(crate) const SEQUENCE: usize = 16;

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

/// What a message must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) opcode: u8,
    pub(crate) verify: Verify,
    pub(crate) deflate: bool,
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
    /// The number that the next message must begin with, if any.
    pub(crate) sequence: Option<u64>,
}

impl Parser {
    pub(crate) fn new(deflate: bool, sequence: Option<u64>) -> Self {
        Self {
            keep: deflate.then(Vec::new),
            sequence,
            ..Self::default()
        }
    }

    /// Takes what the server sent; returns how many messages ended in it.
    pub(crate) fn feed(&mut self, mut data: &[u8], expect: &Expect<'_>) -> Result<usize, String> {
        let mut done = 0;
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
                    done += 1;
                }
            }
        }
        Ok(done)
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
        self.control = opcode > 8;
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
        self.frame_left = match second & 0x7f {
            short @ ..126 => usize::from(short),
            _ => header[2..]
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        self.in_payload = true;
        Ok(())
    }

    fn end(&mut self, expect: &Expect<'_>) -> Result<(), String> {
        self.in_message = false;
        if let Some(sequence) = &mut self.sequence {
            *sequence += 1;
        }
        let keep = self.keep.take();
        if self.compressed {
            if let Some(keep) = keep
                && inflate(&keep, expect.payload.len())? != expect.payload
            {
                return Err("inflated payload differs".into());
            }
        } else if self.position != expect.payload.len() {
            let want = expect.payload.len();
            return Err(format!("length {} instead of {want}", self.position));
        }
        Ok(())
    }

    fn check(&self, mut chunk: &[u8], expect: &Expect<'_>) -> Result<(), String> {
        let mut position = self.position;
        if position + chunk.len() > expect.payload.len() {
            return Err("message too long".into());
        }
        if expect.verify == Verify::None {
            return Ok(());
        }
        if let Some(sequence) = self.sequence
            && position < SEQUENCE
        {
            let (number, rest) = chunk.split_at((SEQUENCE - position).min(chunk.len()));
            if *number != hex(sequence)[position..position + number.len()] {
                return Err(format!("message out of order, {sequence} expected"));
            }
            position += number.len();
            chunk = rest;
        }
        let want = &expect.payload[position..position + chunk.len()];
        let same = match expect.verify {
            Verify::Full => chunk == want,
            Verify::Spot | Verify::None => {
                let few = chunk.len().min(16);
                chunk[..few] == want[..few] && chunk.last() == want.last()
            }
        };
        if same {
            Ok(())
        } else {
            Err("payload differs".into())
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

pub(crate) fn hex(number: u64) -> [u8; SEQUENCE] {
    let mut out = [0; SEQUENCE];
    for (i, digit) in out.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * i)) as usize & 15];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn expect(payload: &[u8]) -> Expect<'_> {
        Expect {
            payload,
            opcode: 2,
            verify: Verify::Full,
            deflate: false,
        }
    }

    /// Every way to cut the replies in two gives the same count.
    fn feed(data: &[u8], expect: &Expect<'_>) -> Result<usize, String> {
        let whole = Parser::new(expect.deflate, None).feed(data, expect);
        for cut in 0..=data.len() {
            let mut parser = Parser::new(expect.deflate, None);
            let pieces = parser
                .feed(&data[..cut], expect)
                .and_then(|n| Ok(n + parser.feed(&data[cut..], expect)?));
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn counts_whole_messages() {
        assert_eq!(feed(b"\x82\x02hi\x82\x02hi\x82", &expect(b"hi")), Ok(2));
        assert_eq!(
            feed(b"\x02\x01h\x8a\x01x\x80\x01i", &expect(b"hi")),
            Ok(1),
            "fragments, with a pong in between"
        );
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        assert_eq!(feed(&long, &expect(&[7; 256])), Ok(1));
    }

    #[test]
    fn refuses_wrong_replies() {
        for (reply, why) in [
            (&b"\x82\x02ho"[..], "contents"),
            (b"\x82\x01h", "too short"),
            (b"\x82\x03hi!", "too long"),
            (b"\x81\x02hi", "another type"),
            (b"\x80\x02hi", "a continuation of nothing"),
            (b"\xc2\x02hi", "compressed without agreement"),
            (b"\x82\x82\0\0\0\0hi", "masked"),
            (b"\x88\x00", "close"),
        ] {
            let whole = Parser::new(false, None).feed(reply, &expect(b"hi"));
            assert!(whole.is_err(), "{why}");
        }
    }

    #[test]
    fn inflates_the_first_reply() {
        let expect = Expect {
            deflate: true,
            ..expect(b"Hello")
        };
        // RFC 7692 §7.2.3.1
        let good = b"\xc2\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
        assert_eq!(feed(good, &expect), Ok(1));
        let other = Expect {
            payload: b"hello",
            ..expect
        };
        assert!(feed(good, &other).is_err());
    }

    #[test]
    fn holds_messages_to_their_order() {
        let payload = [b'0'; SEQUENCE];
        let mut parser = Parser::new(false, Some(9));
        let frame = |n| [&[0x82, SEQUENCE as u8][..], &hex(n)].concat();
        assert_eq!(parser.feed(&frame(9), &expect(&payload)), Ok(1));
        assert_eq!(parser.feed(&frame(10), &expect(&payload)), Ok(1));
        assert!(parser.feed(&frame(12), &expect(&payload)).is_err());
    }
}
