//! The way in: bytes become messages (RFC 6455 §5, §8; RFC 7692 §6).
//!
//! Every rule is judged at the first byte that breaks it. A whole frame in
//! one read becomes a message without a detour; everything else is gathered
//! in an [`Assembly`].

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::Bytes;

use crate::code::CloseCode;
use crate::deflate::InflateError;
use crate::frame::close::{self, CloseError};
use crate::frame::header::{Header, HeaderError, MAX_HEADER, Opcode};
use crate::frame::mask;
use crate::frame::utf8::Utf8;
use crate::message::{Message, Utf8Bytes};

use super::codec::Codec;
use super::event::{Part, Violation};
use super::{Config, Fill, Role, Shared};

/// A payload with at least this much to come is worth a read of its own.
const FILL: u64 = 32 * 1024;
/// The first block of a long message, before anything of it has come.
const FIRST_BLOCK: usize = 4 * 1024;

/// What a control frame, or the end of a message, means to the endpoint.
#[derive(Debug)]
pub(super) enum Received {
    Message(Message),
    Part(Part),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseCode, Utf8Bytes),
}

/// The incoming half of an endpoint.
pub(super) struct Receiver {
    role: Role,
    /// A header that arrived in part.
    spill: [u8; MAX_HEADER],
    spilled: u8,
    frame: Option<Frame>,
    message: Option<Box<Assembly>>,
    /// A control payload that arrived in part.
    control: Vec<u8>,
}

/// The frame whose payload is under way.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    done: u64,
    length: u64,
}

impl Frame {
    const fn remaining(&self) -> u64 {
        self.length - self.done
    }
}

/// A message that takes more than one read or frame.
#[derive(Debug)]
struct Assembly {
    body: Body,
    compressed: bool,
    fragments: u32,
    /// Payload bytes announced by the frames so far, as they are on the wire.
    announced: u64,
    lent: bool,
}

enum Body {
    Text(String, Utf8),
    Binary(Vec<u8>),
    /// Nobody will see it; so many bytes went by.
    Skipped(usize),
}

/// Lengths only: what peers send has no place in a log.
impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("spilled", &self.spilled)
            .field("frame", &self.frame)
            .field("message", &self.message)
            .field("control", &self.control.len())
            .finish()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text, utf8) => write!(f, "Text({} bytes, {utf8:?})", text.len()),
            Self::Binary(data) => write!(f, "Binary({} bytes)", data.len()),
            Self::Skipped(bytes) => write!(f, "Skipped({bytes} bytes)"),
        }
    }
}

impl Receiver {
    pub(super) const fn new(role: Role) -> Self {
        Self {
            role,
            spill: [0; MAX_HEADER],
            spilled: 0,
            frame: None,
            message: None,
            control: Vec::new(),
        }
    }

    /// Takes bytes up to the end of the next message, part or control frame;
    /// what it gives goes out by `found`, the number of bytes taken comes back.
    #[inline]
    pub(super) fn read(
        &mut self,
        shared: &mut Shared,
        codec: &mut Option<Box<Codec>>,
        data: &mut [u8],
    ) -> Result<(usize, Option<Received>), Violation> {
        let mut at = 0;
        if self.frame.is_none() {
            match self.read_header(shared, codec.as_deref(), data)? {
                Some(used) => at = used,
                None => return Ok((data.len(), None)),
            }
        }
        let Some(mut frame) = self.frame.take() else {
            return Ok((at, None));
        };
        let rest = &mut data[at..];
        let take = usize::try_from(frame.remaining())
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let piece = &mut rest[..take];
        mask::apply(frame.mask, frame.done, piece);
        frame.done += take as u64;
        let whole = take as u64 == frame.length;
        if frame.remaining() > 0 {
            self.frame = Some(frame);
        }
        let received = if frame.opcode.is_control() {
            self.control(&frame, piece)?
        } else {
            self.data(shared, codec, &frame, piece, whole)?
        };
        Ok((at + take, received))
    }

    /// A buffer to read the rest of a long binary payload into.
    pub(super) fn take_fill(&mut self, config: &Config) -> Option<Fill> {
        let frame = self.frame.as_ref()?;
        let assembly = self.message.as_deref_mut()?;
        let expected = assembly.expected(frame.fin, config);
        let Body::Binary(buf) = &mut assembly.body else {
            return None;
        };
        if frame.opcode.is_control()
            || assembly.compressed
            || assembly.lent
            || config.streaming
            || frame.remaining() < FILL
            // The room is to be no more than what came already.
            || (buf.len() as u64) < FILL
        {
            return None;
        }
        let start = buf.len();
        let mut buf = mem::take(buf);
        let room = usize::try_from(frame.remaining())
            .unwrap_or(usize::MAX)
            .min(start);
        let need = start + room;
        if need > buf.capacity() {
            buf.reserve_exact((2 * start).min(expected).max(need) - start);
        }
        assembly.lent = true;
        Some(Fill { buf, room, start })
    }

    /// Takes the buffer back with what was read into it; bytes beyond its
    /// room come back, to be read as any others.
    pub(super) fn put_fill(
        &mut self,
        fill: Fill,
    ) -> Result<(Option<Received>, Vec<u8>), Violation> {
        let Fill {
            mut buf,
            room,
            start,
        } = fill;
        let (Some(mut frame), Some(assembly)) = (self.frame, self.message.as_deref_mut()) else {
            return Ok((None, Vec::new()));
        };
        if !assembly.lent || buf.len() < start {
            return Ok((None, Vec::new()));
        }
        assembly.lent = false;
        let beyond = if buf.len() > start + room {
            buf.split_off(start + room)
        } else {
            Vec::new()
        };
        mask::apply(frame.mask, frame.done, &mut buf[start..]);
        frame.done += (buf.len() - start) as u64;
        assembly.body = Body::Binary(buf);
        if frame.remaining() > 0 {
            self.frame = Some(frame);
            return Ok((None, beyond));
        }
        self.frame = None;
        let received = if frame.fin { self.finish(false)? } else { None };
        Ok((received, beyond))
    }

    /// Whether a [`Fill`] is out.
    pub(super) fn is_lent(&self) -> bool {
        self.message
            .as_deref()
            .is_some_and(|assembly| assembly.lent)
    }

    /// Forgets a message under way; the connection is over.
    pub(super) fn clear(&mut self) {
        self.message = None;
        self.control = Vec::new();
    }

    /// Reads a header, across reads if need be; `None` when it is not whole.
    #[inline]
    fn read_header(
        &mut self,
        shared: &Shared,
        codec: Option<&Codec>,
        data: &[u8],
    ) -> Result<Option<usize>, Violation> {
        let deflate = codec.is_some();
        let may_skip = codec.is_some_and(Codec::may_skip);
        let (header, used) = if self.spilled == 0 {
            match self.decode(data)? {
                Some(whole) => whole,
                None => {
                    self.spill[..data.len()].copy_from_slice(data);
                    self.spilled = data.len() as u8;
                    return Ok(None);
                }
            }
        } else {
            let held = usize::from(self.spilled);
            let more = data.len().min(MAX_HEADER - held);
            self.spill[held..held + more].copy_from_slice(&data[..more]);
            match self.decode(&self.spill[..held + more])? {
                Some((header, size)) => {
                    self.spilled = 0;
                    (header, size - held)
                }
                None => {
                    self.spilled += more as u8;
                    return Ok(None);
                }
            }
        };
        let frame = self.accept(&shared.config, deflate, header)?;
        if header.rsv1
            && shared.quota == 0
            && may_skip
            && let Some(message) = &mut self.message
        {
            message.body = Body::Skipped(0);
        }
        self.frame = Some(frame);
        Ok(Some(used))
    }

    /// Reads a header and judges its mask bit. That is known two bytes in, so
    /// it neither waits for a long length nor comes after its faults.
    #[inline]
    fn decode(&self, data: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let decoded = Header::decode(data);
        match (decoded, data) {
            (Ok(Some((header, size))), _) if header.mask.is_some() == self.expects_mask() => {
                return Ok(Some((header, size)));
            }
            (
                Ok(_) | Err(HeaderError::LengthNotMinimal | HeaderError::LengthTooLarge),
                [_, second, ..],
            ) if (second & 0x80 != 0) != self.expects_mask() => {
                return Err(match self.role {
                    Role::Server => Violation::NotMasked,
                    Role::Client => Violation::Masked,
                });
            }
            (Ok(_) | Err(_), _) => {}
        }
        Ok(decoded?)
    }

    /// Clients mask, servers do not (RFC 6455 §5.1).
    const fn expects_mask(&self) -> bool {
        matches!(self.role, Role::Server)
    }

    /// Judges a header against the state of the connection, before any of its
    /// payload is awaited.
    #[inline]
    fn accept(
        &mut self,
        config: &Config,
        deflate: bool,
        header: Header,
    ) -> Result<Frame, Violation> {
        let frame = Frame {
            opcode: header.opcode,
            fin: header.fin,
            mask: header.mask.unwrap_or_default(),
            done: 0,
            length: header.length,
        };
        if header.opcode.is_control() {
            return Ok(frame);
        }
        if header.rsv1 && !deflate {
            return Err(Violation::ReservedBits);
        }
        let continues = header.opcode == Opcode::Continuation;
        match (&self.message, continues) {
            (None, true) => return Err(Violation::NothingToContinue),
            (Some(_), false) => return Err(Violation::NotContinued),
            (None, false) | (Some(_), true) => {}
        }
        // In u64, before any cast: a length may be close to 2^63.
        let max_frame = config.max_frame.min(config.max_message);
        let compressed = header.rsv1
            || self
                .message
                .as_ref()
                .is_some_and(|message| message.compressed);
        let announced = self
            .message
            .as_ref()
            .map_or(0, |message| message.announced)
            .saturating_add(header.length);
        // What does not compress grows a little (RFC 7692 §7.2.3.1).
        let slack = if compressed {
            64 + config.max_message / 1_000
        } else {
            0
        };
        if header.length > (max_frame as u64).saturating_add(slack as u64) {
            return Err(Violation::FrameTooBig {
                size: header.length,
                max: max_frame,
            });
        }
        if announced > (config.max_message as u64).saturating_add(slack as u64) {
            return Err(Violation::MessageTooBig {
                max: config.max_message,
            });
        }
        match &mut self.message {
            Some(message) => {
                message.announced = announced;
                message.fragments += 1;
                if message.fragments > config.max_fragments {
                    return Err(Violation::TooManyFragments {
                        max: config.max_fragments,
                    });
                }
            }
            // A whole, plain message may need no assembly at all: `data`
            // decides when it sees how much of it is there.
            None if header.fin && !header.rsv1 => {}
            None => self.begin(header.opcode, header.rsv1, header.length),
        }
        Ok(frame)
    }

    fn begin(&mut self, opcode: Opcode, compressed: bool, announced: u64) {
        let body = if opcode == Opcode::Text {
            Body::Text(String::new(), Utf8::default())
        } else {
            Body::Binary(Vec::new())
        };
        self.message = Some(Box::new(Assembly {
            body,
            compressed,
            fragments: 1,
            announced,
            lent: false,
        }));
    }

    #[inline]
    fn control(&mut self, frame: &Frame, piece: &[u8]) -> Result<Option<Received>, Violation> {
        if frame.remaining() > 0 {
            self.control.extend_from_slice(piece);
            return Ok(None);
        }
        let held;
        let payload = if self.control.is_empty() {
            piece
        } else {
            self.control.extend_from_slice(piece);
            held = mem::take(&mut self.control);
            &held
        };
        Ok(Some(match frame.opcode {
            Opcode::Ping => Received::Ping(Bytes::copy_from_slice(payload)),
            Opcode::Pong => Received::Pong(Bytes::copy_from_slice(payload)),
            Opcode::Close | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                let (code, reason) = close::decode(payload)?;
                Received::Close(code, reason.into())
            }
        }))
    }

    #[inline]
    fn data(
        &mut self,
        shared: &mut Shared,
        codec: &mut Option<Box<Codec>>,
        frame: &Frame,
        piece: &[u8],
        whole: bool,
    ) -> Result<Option<Received>, Violation> {
        if whole && self.message.is_none() {
            let data = if frame.opcode == Opcode::Text {
                Message::text(simdutf8::basic::from_utf8(piece).map_err(|_| Violation::NotUtf8)?)
            } else {
                Message::Binary(Bytes::copy_from_slice(piece))
            };
            return Ok(Some(if shared.config.streaming {
                Received::Part(Part { data, last: true })
            } else {
                Received::Message(data)
            }));
        }
        if self.message.is_none() {
            self.begin(frame.opcode, false, frame.length);
        }
        let Some(assembly) = self.message.as_deref_mut() else {
            return Ok(None);
        };
        let last = frame.fin && frame.remaining() == 0;
        let streaming = shared.config.streaming;
        if let Body::Skipped(bytes) = &mut assembly.body {
            *bytes += piece.len();
            if last {
                shared.skipped.0 += 1;
                shared.skipped.1 += *bytes;
                self.message = None;
            }
            return Ok(None);
        }
        if assembly.compressed {
            shared.quota -= u32::from(last && shared.quota < u32::MAX);
            let Some(codec) = codec else {
                return Err(Violation::ReservedBits);
            };
            let limits = shared.inflate_limits();
            let mut inflated = shared.take_scratch();
            inflated.clear();
            let result = codec
                .inflate(shared.pool(), piece, last, &limits, &mut inflated)
                .map_err(|error| Violation::inflate(&error, shared.config.max_message));
            // Text is judged up to the fault, as it is when it comes in pieces.
            let expected = assembly.expected(false, &shared.config);
            let result = assembly.push(&inflated, expected).and(result);
            shared.keep_scratch(inflated);
            result?;
        } else {
            let expected = assembly.expected(frame.fin, &shared.config);
            assembly.push(piece, expected)?;
        }
        if last {
            return self.finish(streaming);
        }
        if streaming {
            return Ok(assembly.part());
        }
        Ok(None)
    }

    fn finish(&mut self, streaming: bool) -> Result<Option<Received>, Violation> {
        let Some(assembly) = self.message.take() else {
            return Ok(None);
        };
        let data = match assembly.body {
            Body::Text(mut text, utf8) => {
                utf8.finish().map_err(|_| Violation::NotUtf8)?;
                text.shrink_to_fit();
                Message::text(text)
            }
            Body::Binary(mut data) => {
                // What was fragmented or inflated grew by doubling.
                data.shrink_to_fit();
                Message::binary(data)
            }
            Body::Skipped(_) => return Ok(None),
        };
        Ok(Some(if streaming {
            Received::Part(Part { data, last: true })
        } else {
            Received::Message(data)
        }))
    }
}

impl Assembly {
    /// Appends a piece of a message of at most `expected` bytes.
    #[inline]
    fn push(&mut self, piece: &[u8], expected: usize) -> Result<(), Violation> {
        if piece.is_empty() {
            return Ok(());
        }
        match &mut self.body {
            Body::Text(text, utf8) => {
                text.reserve_exact(growth(
                    text.len(),
                    text.capacity(),
                    piece.len() + 3,
                    expected,
                ));
                utf8.push(piece, text).map_err(|_| Violation::NotUtf8)
            }
            Body::Binary(data) => {
                data.reserve_exact(growth(data.len(), data.capacity(), piece.len(), expected));
                data.extend_from_slice(piece);
                Ok(())
            }
            Body::Skipped(_) => Ok(()),
        }
    }

    /// How long the message can be. It is known exactly in its last frame, if
    /// that is not compressed; until then room grows by doubling, or many small
    /// fragments would move it as many times. A part is as long as it is.
    fn expected(&self, last: bool, config: &Config) -> usize {
        if config.streaming {
            0
        } else if last && !self.compressed {
            usize::try_from(self.announced).unwrap_or(usize::MAX)
        } else {
            config.max_message
        }
    }

    /// What has come since the last part, if anything.
    fn part(&mut self) -> Option<Received> {
        let data = match &mut self.body {
            Body::Text(text, _) => Message::text(mem::take(text)),
            Body::Binary(data) => Message::binary(mem::take(data)),
            Body::Skipped(_) => return None,
        };
        (!data.is_empty()).then_some(Received::Part(Part { data, last: false }))
    }
}

/// How much to reserve so that `more` bytes fit: at most twice what is there
/// then or one first block, and never more than is `expected` in all. What a
/// header announces is not allocated before it comes.
fn growth(len: usize, capacity: usize, more: usize, expected: usize) -> usize {
    let need = len + more;
    if need <= capacity {
        0
    } else {
        (2 * need).max(FIRST_BLOCK).min(expected).max(need) - len
    }
}

impl From<HeaderError> for Violation {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::ReservedBits => Self::ReservedBits,
            HeaderError::ReservedOpcode(opcode) => Self::ReservedOpcode(opcode),
            HeaderError::FragmentedControl => Self::FragmentedControl,
            HeaderError::ControlTooLong => Self::ControlTooLong,
            HeaderError::LengthNotMinimal | HeaderError::LengthTooLarge => Self::Length,
        }
    }
}

impl From<CloseError> for Violation {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Length => Self::CloseLength,
            CloseError::Code(code) => Self::CloseCode(code.into()),
            CloseError::Reason => Self::NotUtf8,
        }
    }
}

impl Violation {
    fn inflate(error: &InflateError, max: usize) -> Self {
        match error {
            InflateError::Corrupt => Self::Inflate,
            InflateError::TooLarge => Self::MessageTooBig { max },
            InflateError::Ratio => Self::InflateRatio,
        }
    }
}
