//! Binary packets: an envelope behind a length, compressed, or in chunks.
//!
//! ```text
//! 01 length(4) JSON                                   plain
//! 02 id(4) total(4) index(4) size(4) bytes            chunk; bit 31 of id: compressed
//! 03 DEFLATE                                          compressed
//! 7b ... / 5b ...   JSON as it is                     what the real server sends to rooms
//! 78 ...            zlib as it is                     the same, compressed
//! ```
//!
//! All numbers are big endian. Compressed is zlib (RFC 1950), which the real
//! server sends, or raw DEFLATE (RFC 1951), which the real client would.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::{BufMut as _, Bytes};
use core::hash::Hasher as _;
use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
use miniz_oxide::inflate::{
    DecompressError, TINFLStatus, decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit,
};
use siphasher::sip::SipHasher13;

use crate::dialect::Failure;
use crate::message::Utf8Bytes;

use super::{Format, SmartSocket};

const PLAIN: u8 = 0x01;
const CHUNK: u8 = 0x02;
const COMPRESSED: u8 = 0x03;
/// Marks the id of a chunk whose message is compressed.
const COMPRESSED_ID: u32 = 1 << 31;
/// Payload bytes of a chunk, and most of a packet that is not in chunks.
const CHUNK_SIZE: usize = 65_536;
/// Bytes before a chunk's payload.
const CHUNK_HEAD: usize = 17;
/// Compression that saves less than this is not worth the peer's time.
const WORTH: (usize, usize) = (85, 100);
/// Messages of one peer that may be in chunks at the same time.
const SETS: usize = 8;
/// So many chunks a message may have, or more if a message may be so long that
/// they are of this size on average. To keep one costs more than its bytes.
const FEW_CHUNKS: usize = 1_024;
const SMALL_CHUNK: usize = 1_024;
/// Inflating is bounded as in permessage-deflate: so many times the size ...
const RATIO: usize = 200;
/// ... but never judged below this.
const RATIO_FLOOR: usize = 64 * 1024;

/// What a packet holds.
#[derive(Debug, PartialEq)]
pub(super) enum Packed {
    Whole(Utf8Bytes),
    Chunk(Chunk),
}

/// A part of a message.
#[derive(Debug, PartialEq)]
pub(super) struct Chunk {
    id: u32,
    total: u32,
    /// Less than `total`.
    index: u32,
    /// Not empty.
    data: Bytes,
}

/// Reads one packet. Nothing is allocated by what it claims.
pub(super) fn decode(packet: &Bytes, max: usize) -> Result<Packed, Failure> {
    let (&kind, rest) = packet.split_first().ok_or(Failure::InvalidMessage)?;
    match kind {
        PLAIN => {
            let (length, body) = number(rest).ok_or(Failure::InvalidMessage)?;
            if body.len() != length as usize {
                return Err(Failure::InvalidMessage);
            }
            text(packet.slice_ref(body)).map(Packed::Whole)
        }
        COMPRESSED => inflate(rest, max).map(Packed::Whole),
        CHUNK => {
            let chunk = chunk(rest).ok_or(Failure::InvalidMessage)?;
            let data = packet.slice_ref(chunk.3);
            Ok(Packed::Chunk(Chunk {
                id: chunk.0,
                total: chunk.1,
                index: chunk.2,
                data,
            }))
        }
        b'{' | b'[' => text(packet.clone()).map(Packed::Whole),
        0x78 => inflate(packet, max).map(Packed::Whole),
        _ => Err(Failure::InvalidMessage),
    }
}

fn chunk(rest: &[u8]) -> Option<(u32, u32, u32, &[u8])> {
    let (id, rest) = number(rest)?;
    let (total, rest) = number(rest)?;
    let (index, rest) = number(rest)?;
    let (size, data) = number(rest)?;
    let fits = data.len() == size as usize && size > 0 && index < total;
    fits.then_some((id, total, index, data))
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn text(bytes: Bytes) -> Result<Utf8Bytes, Failure> {
    Utf8Bytes::try_from(bytes).map_err(|_| Failure::InvalidMessage)
}

/// Inflates either format, which the first two bytes tell apart (RFC 1950 §2.2).
fn inflate(data: &[u8], max: usize) -> Result<Utf8Bytes, Failure> {
    let limit = max.min(data.len().saturating_mul(RATIO).max(RATIO_FLOOR));
    let zlib = matches!(data, [cmf, flags, ..]
        if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flags)) % 31 == 0);
    let inflated = if zlib {
        decompress_to_vec_zlib_with_limit(data, limit)
    } else {
        decompress_to_vec_with_limit(data, limit)
    };
    match inflated {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Into::into)
            .map_err(|_| Failure::InvalidMessage),
        Err(DecompressError {
            status: TINFLStatus::HasMoreOutput,
            ..
        }) => Err(Failure::TooLong),
        Err(_) => Err(Failure::Decompress),
    }
}

/// Messages whose chunks are coming, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Assembly(Vec<Set>);

#[derive(Debug)]
struct Set {
    id: u32,
    total: u32,
    /// The first `next` chunks.
    begun: Vec<u8>,
    next: u32,
    /// Those behind a gap.
    later: BTreeMap<u32, Box<[u8]>>,
    /// Bytes of all chunks that came.
    bytes: usize,
}

impl Assembly {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|set| set.bytes).sum()
    }

    /// Takes a chunk; gives the message when it was the last.
    pub(super) fn add(&mut self, chunk: &Chunk, max: usize) -> Result<Option<Utf8Bytes>, Failure> {
        let most = FEW_CHUNKS.max(max.div_ceil(SMALL_CHUNK));
        if chunk.total as usize > most {
            return Err(Failure::TooLong);
        }
        let found = self.0.iter().position(|set| set.id == chunk.id);
        let found = found.map(|at| (at, self.0.remove(at)));
        let (mut at, mut set) = match found {
            Some((at, set)) if set.total == chunk.total => (at, set),
            // The same id with another total is another message.
            _ => (self.0.len(), Set::new(chunk)),
        };
        set.add(chunk);
        if set.bytes > max {
            return Err(Failure::TooLong);
        }
        if set.next == set.total {
            let whole = set.begun;
            return if set.id & COMPRESSED_ID != 0 {
                inflate(&whole, max).map(Some)
            } else {
                text(whole.into()).map(Some)
            };
        }
        // What never gets whole must not take the room of others for ever.
        let mut bytes = self.bytes() + set.bytes;
        while self.0.len() >= SETS || bytes > max {
            bytes -= self.0.remove(0).bytes;
            at = at.saturating_sub(1);
        }
        self.0.insert(at, set);
        Ok(None)
    }
}

impl Set {
    fn new(first: &Chunk) -> Self {
        Self {
            id: first.id,
            total: first.total,
            begun: Vec::new(),
            next: 0,
            later: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Copies a chunk, so as not to keep a packet for it; one that came before
    /// is passed over.
    fn add(&mut self, chunk: &Chunk) {
        if chunk.index < self.next || self.later.contains_key(&chunk.index) {
            return;
        }
        self.bytes += chunk.data.len();
        if chunk.index > self.next {
            self.later.insert(chunk.index, chunk.data[..].into());
            return;
        }
        self.begun.extend_from_slice(&chunk.data);
        self.next += 1;
        while let Some(data) = self.later.remove(&self.next) {
            self.begun.extend_from_slice(&data);
            self.next += 1;
        }
    }
}

/// The packets of a text that is longer than the threshold.
pub(super) fn encode(text: &str, compressed: bool, options: &SmartSocket) -> Vec<Bytes> {
    let plain = text.as_bytes();
    if compressed {
        let level = options.level.clamp(1, 9);
        let deflated = match options.format {
            Format::Zlib => compress_to_vec_zlib(plain, level),
            Format::Raw => compress_to_vec(plain, level),
        };
        // What looks like a bomb is refused by careful receivers.
        let bomb = plain.len() > RATIO_FLOOR && plain.len() > deflated.len() * RATIO;
        if !bomb && deflated.len() * WORTH.1 < plain.len() * WORTH.0 {
            if deflated.len() > CHUNK_SIZE {
                return chunks(&deflated, COMPRESSED_ID);
            }
            let mut packet = Vec::with_capacity(1 + deflated.len());
            packet.push(COMPRESSED);
            packet.extend_from_slice(&deflated);
            return vec![packet.into()];
        }
    }
    if plain.len() > CHUNK_SIZE {
        return chunks(plain, 0);
    }
    let mut packet = Vec::with_capacity(5 + plain.len());
    packet.push(PLAIN);
    packet.put_u32(plain.len() as u32);
    packet.extend_from_slice(plain);
    vec![packet.into()]
}

fn chunks(data: &[u8], flag: u32) -> Vec<Bytes> {
    // The chunks of one message follow one another, so the id need only
    // differ from those of messages just before it.
    let mut hasher = SipHasher13::new();
    hasher.write(data);
    let id = hasher.finish() as u32 & !COMPRESSED_ID | flag;
    let total = data.len().div_ceil(CHUNK_SIZE) as u32;
    data.chunks(CHUNK_SIZE)
        .zip(0_u32..)
        .map(|(chunk, index)| {
            let mut packet = Vec::with_capacity(CHUNK_HEAD + chunk.len());
            packet.push(CHUNK);
            packet.put_u32(id);
            packet.put_u32(total);
            packet.put_u32(index);
            packet.put_u32(chunk.len() as u32);
            packet.extend_from_slice(chunk);
            packet.into()
        })
        .collect()
}
