//! What a server answers, read with suspicion: a reader of heads and frames
//! that shares nothing with the one under test.

use std::time::Duration;

use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::frame::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT};

/// The longest head that is read, in bytes.
const LONGEST_HEAD: usize = 64 << 10;
/// The longest frame that is read, and message that is inflated, in bytes.
const LONGEST: u64 = 512 << 20;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Response(Response),
    /// Bytes that are no HTTP.
    Garbled,
    /// The end of the stream.
    Closed,
    Reset,
    /// Nothing, for this time.
    Silent(Duration),
}

impl Answer {
    pub(crate) fn response(&self) -> Option<&Response> {
        match self {
            Self::Response(response) => Some(response),
            Self::Garbled | Self::Closed | Self::Reset | Self::Silent(_) => None,
        }
    }

    pub(crate) fn into_response(self) -> Option<Response> {
        match self {
            Self::Response(response) => Some(response),
            Self::Garbled | Self::Closed | Self::Reset | Self::Silent(_) => None,
        }
    }
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Response {
    /// Reads a head, and its length; `None` if more is to come.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ()> {
        let start = &b"HTTP/1."[..bytes.len().min(7)];
        if !bytes.starts_with(start) || bytes.len() > LONGEST_HEAD {
            return Err(());
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok()).ok_or(())?;
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').ok_or(())?;
                Ok((name.to_ascii_lowercase(), value.trim().to_string()))
            })
            .collect::<Result<_, ()>>()?;
        Ok(Some((Self { status, headers }, end + 4)))
    }

    /// The first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|header| header.0 == name);
        found.next().map(|header| &*header.1)
    }

    /// Whether a header, a list, has this element.
    pub(crate) fn lists(&self, name: &str, wanted: &str) -> bool {
        let values = self.headers.iter().filter(|header| header.0 == name);
        values
            .flat_map(|header| header.1.split(','))
            .any(|element| element.trim().eq_ignore_ascii_case(wanted))
    }
}

/// A frame of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    first: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// Reads a frame, and its length; `None` if more is to come. What breaks
    /// RFC 6455 §5 is an error.
    fn parse(bytes: &[u8], deflate: bool) -> Result<Option<(Self, usize)>, &'static str> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if second & 0x80 != 0 {
            return Err("sent a masked frame");
        }
        let allowed = if deflate { RSV1 } else { 0 };
        if first & 0x70 & !allowed != 0 {
            return Err("sent a frame with a reserved bit set");
        }
        let opcode = first & 15;
        if !matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG) {
            return Err("sent a frame of a reserved kind");
        }
        if opcode >= CLOSE && (first & FIN == 0 || first & RSV1 != 0) {
            return Err("sent a fragmented or compressed control frame");
        }
        if opcode >= CLOSE && second > 125 {
            return Err("sent a control frame of more than 125 bytes");
        }
        let width = match second {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((written, rest)) = rest.split_at_checked(width) else {
            return Ok(None);
        };
        let length = written.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        let length = match (width, length) {
            (0, _) => u64::from(second),
            (2, 0..=125) | (8, 0..=0xffff) => {
                return Err("sent a frame whose length is not written in the shortest way");
            }
            _ => length,
        };
        if length > LONGEST {
            return Err("sent a frame longer than anything it was sent");
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        Ok(Some((Self { first, payload }, 2 + width + length)))
    }
}

/// A message of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) text: bool,
    pub(crate) data: Vec<u8>,
}

impl Message {
    pub(crate) fn text(text: &str) -> Self {
        let (text, data) = (true, text.into());
        Self { text, data }
    }

    pub(crate) fn binary(data: impl Into<Vec<u8>>) -> Self {
        let (text, data) = (false, data.into());
        Self { text, data }
    }
}

/// Everything that came on an open connection.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pub(crate) messages: Vec<Message>,
    pub(crate) pongs: Vec<Vec<u8>>,
    /// Payloads of close frames.
    pub(crate) closes: Vec<Vec<u8>>,
    /// Frames of messages that came after a close frame.
    pub(crate) after_close: usize,
    /// What the server may not send.
    pub(crate) broken: Option<&'static str>,
    /// Whether compression was agreed on.
    pub(crate) deflate: bool,
    unread: Vec<u8>,
    under_way: Option<Message>,
    compressed: bool,
}

impl Replies {
    /// Takes what came.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let mut start = 0;
        while self.broken.is_none() {
            match Frame::parse(&self.unread[start..], self.deflate) {
                Ok(Some((frame, length))) => {
                    start += length;
                    self.broken = self.accept(frame).err();
                }
                Ok(None) => break,
                Err(why) => self.broken = Some(why),
            }
        }
        self.unread.drain(..start);
    }

    /// Bytes that make no whole frame yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Whether a message with this text came.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.messages.iter().any(|m| m.data == text.as_bytes())
    }

    /// The code of the first close frame, if it has one.
    pub(crate) fn code(&self) -> Option<u16> {
        match self.closes.first()?[..] {
            [high, low, ..] => Some(u16::from_be_bytes([high, low])),
            _ => None,
        }
    }

    /// Whether nothing but more of the same can come.
    pub(crate) fn over(&self) -> bool {
        self.broken.is_some() || !self.closes.is_empty()
    }

    fn accept(&mut self, Frame { first, payload }: Frame) -> Result<(), &'static str> {
        let opcode = first & 15;
        match opcode {
            CLOSE => {
                self.closes.push(payload);
                return Ok(());
            }
            PING => return Ok(()),
            PONG => {
                self.pongs.push(payload);
                return Ok(());
            }
            _ => {}
        }
        self.after_close += usize::from(!self.closes.is_empty());
        if opcode == CONTINUATION {
            if first & RSV1 != 0 {
                return Err("sent a continuation marked as compressed");
            }
            let message = self.under_way.as_mut();
            let message = message.ok_or("sent a continuation of nothing")?;
            message.data.extend_from_slice(&payload);
        } else {
            if self.under_way.is_some() {
                return Err("began a message inside another");
            }
            self.compressed = first & RSV1 != 0;
            let (text, data) = (opcode == TEXT, payload);
            self.under_way = Some(Message { text, data });
        }
        if first & FIN != 0
            && let Some(mut message) = self.under_way.take()
        {
            if self.compressed {
                message.data = inflate(message.data)?;
            }
            if message.text && std::str::from_utf8(&message.data).is_err() {
                return Err("sent text that is not UTF-8");
            }
            self.messages.push(message);
        }
        Ok(())
    }
}

/// Undoes RFC 7692 §7.2.1, for a server that keeps no context.
fn inflate(mut data: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    // The tail that was left out, and an empty last block.
    data.extend_from_slice(b"\0\0\xff\xff\x01\0\0\xff\xff");
    let longest = usize::try_from(LONGEST).unwrap_or(usize::MAX);
    decompress_to_vec_with_limit(&data, longest)
        .map_err(|_| "sent a compressed message that does not inflate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(deflate: bool, bytes: &[u8]) -> Replies {
        let feed = |piece: usize| {
            let mut replies = Replies {
                deflate,
                ..Replies::default()
            };
            for part in bytes.chunks(piece) {
                replies.take(part);
            }
            replies
        };
        let (whole, bytewise) = (feed(bytes.len()), feed(1));
        assert_eq!(format!("{whole:?}"), format!("{bytewise:?}"));
        whole
    }

    #[test]
    fn responses_are_read_as_they_come() {
        let head = b"HTTP/1.1 101 x\r\nUPGRADE:websocket\r\nConnection: a, Upgrade\r\n\r\nrest";
        for end in 0..head.len() - 4 {
            assert_eq!(Response::parse(&head[..end]), Ok(None), "{end}");
        }
        let (response, length) = Response::parse(head).unwrap().unwrap();
        assert_eq!((response.status, length), (101, head.len() - 4));
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert!(response.lists("connection", "upgrade"));
        assert!(!response.lists("connection", "up"));
        for head in [
            &b"x"[..],
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            assert_eq!(Response::parse(head), Err(()));
        }
    }

    #[test]
    fn messages_are_put_together() {
        let bytes = b"\x01\x01a\x8a\x01p\x80\x01b\x82\x00\x88\x02\x03\xe8\x81\x01c";
        let replies = replies(false, bytes);
        assert_eq!(
            replies.messages,
            [Message::text("ab"), Message::binary([]), Message::text("c")]
        );
        assert_eq!(replies.pongs, [b"p"]);
        assert_eq!((replies.code(), replies.after_close), (Some(1000), 1));
        assert_eq!(replies.broken, None);
    }

    #[test]
    fn what_a_server_may_not_send_is_noticed() {
        for (bytes, word) in [
            (&b"\x81\x81\0\0\0\0a"[..], "masked"),
            (b"\xc1\x00", "reserved bit"),
            (b"\x83\x00", "reserved kind"),
            (b"\x08\x00", "fragmented"),
            (b"\x8a\x7e\0\x7e", "125"),
            (b"\x81\x7e\0\x01a", "shortest"),
            (b"\x81\x7f\0\0\0\0\0\0\0\x01a", "shortest"),
            (b"\x81\x7f\x80\0\0\0\0\0\0\0", "longer"),
            (b"\x80\x00", "nothing"),
            (b"\x01\x00\x01\x00", "inside"),
            (b"\x81\x01\xff", "UTF-8"),
        ] {
            let broken = replies(false, bytes).broken.expect(word);
            assert!(broken.contains(word), "{broken}");
        }
    }

    #[test]
    fn compressed_messages_are_inflated() {
        // RFC 7692 §7.2.3.1 and §7.2.3.4.
        for hello in [
            &b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00",
        ] {
            let replies = replies(true, hello);
            assert_eq!(replies.messages, [Message::text("Hello")]);
        }
        assert!(replies(true, b"\xc1\x01\x07").broken.is_some());
        assert!(replies(true, b"\x01\x00\xc0\x00").broken.is_some());
    }
}
