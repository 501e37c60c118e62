//! The way out: messages become frames, as few at a time as are needed.
//!
//! Messages wait whole in a backlog; frames are made of them when the wire
//! runs low. So a control frame is never behind more than the wire's target
//! and one fragment, a client masks in small steps, and memory is bounded by
//! what was queued.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::Bytes;

use crate::code::CloseCode;
use crate::entropy::Entropy;
use crate::error::Refused;
use crate::frame::header::{Header, MAX_CONTROL, MAX_HEADER, Opcode};
use crate::frame::{close, mask};
use crate::message::Message;

use super::codec::Codec;
use super::wire::{GATHER, Joined, SHORT, Wire};
use super::{Role, Shared};

/// Frames are made until this many bytes are on the wire.
pub(super) const WIRE_TARGET: usize = 64 * 1024;

/// Every ping is answered until this many bytes are on the wire; after that
/// only the latest (RFC 6455 §5.5.3 allows to answer no other).
pub(super) const PONG_ROOM: usize = 4 * 1024;

/// What a message counts in the queue beyond its payload: a queue of empty
/// messages is not free.
pub(super) const ENTRY: usize = size_of::<Outgoing>();

/// The outgoing half of an endpoint.
#[derive(Debug)]
pub(super) struct Sender {
    role: Role,
    pub(super) wire: Wire,
    /// What the wire has no room for; mostly there is nothing.
    waiting: Option<Box<Waiting>>,
    /// A message is being sent in parts: its kind and whether it is compressed.
    unfinished: Option<Unfinished>,
    /// The caller was refused for want of room and waits to hear of some.
    pub(super) pressed: bool,
}

/// What is to become frames, in this order.
#[derive(Default)]
struct Waiting {
    /// The latest ping's answer.
    pong: Option<Bytes>,
    ping: Option<Bytes>,
    backlog: VecDeque<Outgoing>,
    backlog_bytes: usize,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.backlog.is_empty() && self.pong.is_none() && self.ping.is_none()
    }
}

/// Lengths only, as of what is on the wire.
impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("pong", &self.pong.as_ref().map(Bytes::len))
            .field("ping", &self.ping.as_ref().map(Bytes::len))
            .field("backlog", &self.backlog.len())
            .field("backlog_bytes", &self.backlog_bytes)
            .finish()
    }
}

/// A message, or a part of one, that is not on the wire.
enum Outgoing {
    Data {
        opcode: Opcode,
        compressed: bool,
        payload: Bytes,
        last: bool,
    },
    Close {
        payload: Bytes,
    },
}

/// What has been made of a message that goes to many, for the next of them.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    /// Its payload, compressed for a level and a window; `None` where that is
    /// no shorter.
    deflated: Vec<((u8, u8), Option<Bytes>)>,
    /// Payloads, and whole frames of a server with them; plain and compressed.
    frames: [Option<(Bytes, Bytes)>; 2],
    /// Pieces that the frame came behind, and each with the frame.
    joined: Joined,
    /// Somebody had a short one of it, copied.
    copied: bool,
}

#[derive(Clone, Copy, Debug)]
struct Unfinished {
    text: bool,
    compressed: bool,
}

/// A server's frame of a whole message.
fn whole_frame(opcode: Opcode, rsv1: bool, payload: &[u8]) -> Bytes {
    let (header, size) = Header {
        fin: true,
        rsv1,
        opcode,
        mask: None,
        length: payload.len() as u64,
    }
    .encode();
    let mut frame = Vec::with_capacity(size + payload.len());
    frame.extend_from_slice(&header[..size]);
    frame.extend_from_slice(payload);
    frame.into()
}

impl Sender {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            wire: Wire::default(),
            waiting: None,
            unfinished: None,
            pressed: false,
        }
    }

    /// Payload and header bytes that wait.
    #[inline]
    pub(super) fn buffered(&self) -> usize {
        let waiting = self.waiting.as_ref();
        self.wire.len() + waiting.map_or(0, |waiting| waiting.backlog_bytes)
    }

    /// Whether nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.waiting.is_none()
    }

    fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    /// Whether a message of `len` bytes may be queued now.
    pub(super) fn admit(&mut self, shared: &Shared, len: usize) -> Result<(), Refused> {
        let buffered = self.buffered();
        if buffered > 0 && buffered + len > shared.config.max_queued_bytes {
            self.pressed = true;
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// Queues a message or a part of one. `codec` compresses, where agreed.
    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        codec: Option<&mut Codec>,
        message: Message,
        last: bool,
    ) -> Result<(), (Message, Refused)> {
        let text = message.is_text();
        let first = match self.unfinished {
            Some(unfinished) if unfinished.text != text => {
                return Err((message, Refused::Unfinished));
            }
            Some(_) => false,
            None => true,
        };
        if let Err(refused) = self.admit(shared, message.len()) {
            return Err((message, refused));
        }
        let opcode = match (first, text) {
            (false, _) => Opcode::Continuation,
            (true, true) => Opcode::Text,
            (true, false) => Opcode::Binary,
        };
        let mut payload = message.into_bytes();
        let mut compressed = self
            .unfinished
            .is_some_and(|unfinished| unfinished.compressed);
        if let Some(codec) = codec.filter(|codec| codec.deflates())
            && (if first {
                !last || payload.len() >= shared.threshold()
            } else {
                compressed
            })
        {
            let mut deflated = Vec::new();
            codec.deflate(shared.pool(), &payload, last, &mut deflated);
            let whole = first && last;
            if !(whole && codec.forgets() && deflated.len() >= payload.len()) {
                // It grew by doubling; what waits is to be as long as it counts.
                deflated.shrink_to_fit();
                payload = deflated.into();
                compressed = true;
            }
        }
        self.unfinished = (!last).then_some(Unfinished { text, compressed });
        self.queue(shared, opcode, compressed && first, payload, last);
        Ok(())
    }

    /// Queues a whole message that goes to others too: it is compressed once
    /// for all who can take the same.
    pub(super) fn send_packed(
        &mut self,
        shared: &mut Shared,
        codec: Option<&mut Codec>,
        message: &Message,
        packed: &mut Packed,
    ) -> Result<(), Refused> {
        let compresses =
            |codec: &&mut Codec| codec.deflates() && message.len() >= shared.threshold();
        let codec = codec.filter(compresses);
        if self.unfinished.is_some() || codec.as_ref().is_some_and(|codec| !codec.forgets()) {
            return self
                .send(shared, codec, message.clone(), true)
                .map_err(|(_, refused)| refused);
        }
        self.admit(shared, message.len())?;
        let can_share = self.role == Role::Server
            && self.waiting.is_none()
            && self.wire.len() < WIRE_TARGET
            && self.wire.has_place();
        if can_share
            && codec.is_none()
            && let Some((_, frame)) = &packed.frames[0]
        {
            self.wire.share(frame, &mut packed.joined);
            return Ok(());
        }
        let payload = message.clone().into_bytes();
        let deflated = codec.and_then(|codec| {
            let variant = codec.variant();
            let known = packed.deflated.iter().find(|(known, _)| *known == variant);
            if let Some((_, deflated)) = known {
                return deflated.clone();
            }
            let mut deflated = Vec::new();
            codec.deflate(shared.pool(), &payload, true, &mut deflated);
            let smaller = deflated.len() < payload.len();
            deflated.shrink_to_fit();
            let deflated = smaller.then(|| Bytes::from(deflated));
            packed.deflated.push((variant, deflated.clone()));
            deflated
        });
        let opcode = if message.is_text() {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        let compressed = deflated.is_some();
        let payload = deflated.unwrap_or(payload);
        // A long one is shared from the first who gets it; a short one from the
        // second, as it may be for one only.
        let worth = payload.len() > SHORT || mem::replace(&mut packed.copied, true);
        if can_share && worth && payload.len() <= shared.config.fragment_size {
            // The frame is the same for all who get this very payload.
            let place = &mut packed.frames[usize::from(compressed)];
            let known = place
                .as_ref()
                .filter(|(of, _)| of.as_ptr() == payload.as_ptr());
            let frame = match known {
                Some((_, frame)) => frame,
                None => {
                    let frame = whole_frame(opcode, compressed, &payload);
                    &place.insert((payload, frame)).1
                }
            };
            self.wire.share(frame, &mut packed.joined);
        } else {
            self.queue(shared, opcode, compressed, payload, true);
        }
        Ok(())
    }

    /// Puts a message on the wire, or behind others.
    fn queue(
        &mut self,
        shared: &mut Shared,
        opcode: Opcode,
        rsv1: bool,
        payload: Bytes,
        last: bool,
    ) {
        let in_line = self.waiting.as_ref();
        if in_line.is_none_or(|waiting| waiting.backlog.is_empty())
            && self.wire.len() < WIRE_TARGET
            && payload.len() <= shared.config.fragment_size
        {
            self.put(&mut shared.entropy, opcode, rsv1, payload, last);
        } else {
            let waiting = self.waiting();
            waiting.backlog_bytes += ENTRY + payload.len();
            waiting.backlog.push_back(Outgoing::Data {
                opcode,
                compressed: rsv1,
                payload,
                last,
            });
            self.refill(shared);
        }
    }

    /// Answers a ping, ahead of messages that are not on the wire. While the
    /// peer does not take its answers, only the latest is kept.
    pub(super) fn pong(&mut self, shared: &mut Shared, payload: Bytes) {
        if self.wire.len() < PONG_ROOM {
            if let Some(waiting) = &mut self.waiting {
                waiting.pong = None;
            }
            self.put(&mut shared.entropy, Opcode::Pong, false, payload, true);
        } else {
            self.waiting().pong = Some(payload);
        }
    }

    /// Sends a ping; one that still waits is replaced.
    pub(super) fn ping(&mut self, payload: Bytes) {
        self.waiting().ping = Some(payload);
    }

    /// Queues the close frame behind everything that was sent before.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        let (payload, len) = close::encode(code, reason);
        self.unfinished = None;
        let waiting = self.waiting();
        // A pong that waits still goes before it (RFC 6455 §5.5.2).
        waiting.ping = None;
        waiting.backlog.push_back(Outgoing::Close {
            payload: Bytes::copy_from_slice(&payload[..len]),
        });
    }

    /// Drops what no longer matters once the close frame must go at once.
    pub(super) fn abandon(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.backlog.clear();
            waiting.backlog_bytes = 0;
        }
    }

    /// Makes frames until the wire has enough, control frames first.
    #[inline]
    pub(super) fn refill(&mut self, shared: &mut Shared) {
        if let Some(waiting) = self.waiting.take() {
            self.refill_from(shared, waiting);
        }
    }

    fn refill_from(&mut self, shared: &mut Shared, mut waiting: Box<Waiting>) {
        while self.wire.len() < WIRE_TARGET {
            if let Some(payload) = waiting.pong.take() {
                self.put(&mut shared.entropy, Opcode::Pong, false, payload, true);
            } else if let Some(payload) = waiting.ping.take() {
                self.put(&mut shared.entropy, Opcode::Ping, false, payload, true);
            } else {
                match waiting.backlog.pop_front() {
                    None => return,
                    Some(Outgoing::Close { payload }) => {
                        self.put(&mut shared.entropy, Opcode::Close, false, payload, true);
                    }
                    Some(Outgoing::Data {
                        opcode,
                        compressed,
                        mut payload,
                        last,
                    }) => {
                        let size = shared.config.fragment_size.max(1);
                        let rest = (payload.len() > size).then(|| payload.split_off(size));
                        waiting.backlog_bytes -= payload.len();
                        let fin = last && rest.is_none();
                        self.put(&mut shared.entropy, opcode, compressed, payload, fin);
                        match rest {
                            // Its next fragment is first in line.
                            Some(payload) => waiting.backlog.push_front(Outgoing::Data {
                                opcode: Opcode::Continuation,
                                compressed: false,
                                payload,
                                last,
                            }),
                            None => waiting.backlog_bytes -= ENTRY,
                        }
                    }
                }
            }
        }
        if !waiting.is_empty() {
            self.waiting = Some(waiting);
        }
    }

    /// Puts one frame on the wire.
    #[inline]
    fn put(
        &mut self,
        entropy: &mut Entropy,
        opcode: Opcode,
        rsv1: bool,
        payload: Bytes,
        fin: bool,
    ) {
        debug_assert!(!opcode.is_control() || payload.len() <= MAX_CONTROL);
        let key = match self.role {
            Role::Client => Some(entropy.mask()),
            Role::Server => None,
        };
        let length = payload.len();
        let (header, size) = Header {
            fin,
            rsv1,
            opcode,
            mask: key,
            length: length as u64,
        }
        .encode();
        let header = &header[..size];
        match key {
            None if length <= GATHER => {
                let out = self.wire.gather(size + length);
                out.extend_from_slice(header);
                out.extend_from_slice(&payload);
                self.wire.gathered(size + length);
            }
            None => {
                self.put_header(header);
                self.wire.push(payload);
            }
            Some(key) if length <= GATHER => {
                let out = self.wire.gather(size + length);
                out.extend_from_slice(header);
                let start = out.len();
                out.extend_from_slice(&payload);
                mask::apply(key, 0, &mut out[start..]);
                self.wire.gathered(size + length);
            }
            Some(key) => {
                self.put_header(header);
                // Nobody else holds the payload: mask it where it is.
                let payload = match payload.try_into_mut() {
                    Ok(mut own) => {
                        mask::apply(key, 0, &mut own);
                        own.freeze()
                    }
                    Err(held) => {
                        let mut copy = held.to_vec();
                        mask::apply(key, 0, &mut copy);
                        copy.into()
                    }
                };
                self.wire.push(payload);
            }
        }
    }

    fn put_header(&mut self, header: &[u8]) {
        self.wire.gather(MAX_HEADER).extend_from_slice(header);
        self.wire.gathered(header.len());
    }
}
