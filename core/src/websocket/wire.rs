//! Bytes on their way out, in the order they go.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::{Buf as _, Bytes};

/// A payload longer than this travels by reference; a shorter one is copied
/// behind its header, which is cheaper than one more entry in a vectored write.
pub(super) const GATHER: usize = 2_048;
/// A gathering buffer this full is sealed: what has been copied should still
/// be in the cache when the kernel copies it again.
const SEAL: usize = 64 * 1024;
/// With this many pieces waiting, small frames go on gathering until the peer
/// takes some: a piece of a few bytes costs more than those.
const CROWD: usize = 64;
/// Pieces there can be: the crowd, and what 64 KiB are made of if each is too
/// long to be copied and has its header before it.
pub(super) const MAX_PIECES: usize = CROWD + 2 * (SEAL / GATHER) + 2;

/// A frame for many up to this length is copied behind what is one's own, which
/// is cheaper than one more entry in a vectored write.
pub(super) const SHORT: usize = 256;
/// Frames for many are joined up to this length.
const JOINED: usize = 4 * 1024;
/// So many ways are remembered to come before the same frame.
const WAYS: usize = 4;

/// Pieces with a frame behind them: what it came behind, and both as one. They
/// are kept while the frame is given out, so that two pieces at one address
/// are the same.
pub(super) type Joined = Vec<(Bytes, Bytes)>;

/// A queue of byte strings with a gathering buffer at its end.
///
/// One string lives inline, so that the usual turn (one answer, sent at once)
/// needs no queue on the heap; nothing is kept once all is sent.
#[derive(Default)]
pub(super) struct Wire {
    front: Bytes,
    rest: VecDeque<Bytes>,
    tail: Vec<u8>,
    bytes: usize,
}

/// Lengths only: what applications send has no place in a log.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.unsent().map(Bytes::len).collect::<Vec<_>>();
        f.debug_struct("Wire")
            .field("pieces", &pieces)
            .field("tail", &self.tail.len())
            .finish()
    }
}

impl Wire {
    /// Bytes that wait, sealed or not.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The gathering buffer with room for `more` bytes, to be followed by
    /// [`gathered`](Self::gathered).
    #[inline]
    pub(super) fn gather(&mut self, more: usize) -> &mut Vec<u8> {
        if self.tail.len() + more > SEAL {
            self.seal_tail();
        }
        if self.tail.is_empty() {
            // Often the only frame of its turn: exactly its size.
            self.tail.reserve_exact(more);
        } else if self.tail.capacity() - self.tail.len() < more {
            self.tail.reserve(more.max(512));
        }
        &mut self.tail
    }

    /// Reports how many bytes were added to the gathering buffer.
    #[inline]
    pub(super) const fn gathered(&mut self, added: usize) {
        self.bytes += added;
    }

    /// Whether there is a place for a piece that is shorter than those which
    /// [`MAX_PIECES`] allows for.
    #[inline]
    pub(super) fn has_place(&self) -> bool {
        self.rest.len() < CROWD
    }

    /// Appends bytes without copying them.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.seal_tail();
        self.bytes += bytes.len();
        self.push_sealed(bytes);
    }

    /// Appends a frame that many get, without copying it: they who got the same
    /// before share both as one piece.
    #[inline]
    pub(super) fn share(&mut self, frame: &Bytes, joined: &mut Joined) {
        if self.bytes == 0 {
            self.bytes = frame.len();
            self.front = frame.clone();
        } else {
            self.share_behind(frame, joined);
        }
    }

    fn share_behind(&mut self, frame: &Bytes, joined: &mut Joined) {
        let mut copy = frame.len() <= SHORT;
        if self.tail.is_empty() {
            let last = self.rest.back_mut().unwrap_or(&mut self.front);
            let known = joined
                .iter()
                .find(|(before, _)| before.as_ptr() == last.as_ptr() && before.len() == last.len());
            if let Some((_, both)) = known {
                *last = both.clone();
                self.bytes += frame.len();
                return;
            }
            // What nobody else has is not worth a copy for others.
            if !last.is_unique() {
                if last.len() + frame.len() <= JOINED && joined.len() < WAYS {
                    let both = Bytes::from([&last[..], frame].concat());
                    let before = mem::replace(last, both.clone());
                    joined.push((before, both));
                    self.bytes += frame.len();
                    return;
                }
                copy = false;
            }
        }
        if copy {
            self.gather(frame.len()).extend_from_slice(frame);
            self.gathered(frame.len());
        } else {
            self.push(frame.clone());
        }
    }

    /// Makes what was gathered visible to [`unsent`](Self::unsent).
    #[inline]
    pub(super) fn seal(&mut self) {
        if self.rest.len() < CROWD || self.tail.len() >= GATHER {
            self.seal_tail();
        }
    }

    #[inline]
    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = mem::take(&mut self.tail);
            self.push_sealed(tail.into());
        }
    }

    /// What is sealed, in order.
    pub(super) fn unsent(&self) -> impl Iterator<Item = &Bytes> {
        (!self.front.is_empty())
            .then_some(&self.front)
            .into_iter()
            .chain(&self.rest)
    }

    /// Drops the first `n` bytes, or as many as are sealed.
    pub(super) fn advance(&mut self, mut n: usize) {
        while n > 0 && !self.front.is_empty() {
            let step = n.min(self.front.len());
            self.front.advance(step);
            self.bytes -= step;
            n -= step;
            if self.front.is_empty() {
                self.front = self.rest.pop_front().unwrap_or_default();
            }
        }
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
    }

    /// Takes the first sealed byte string away.
    #[cfg(feature = "tls")]
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let next = self.rest.pop_front().unwrap_or_default();
        let front = mem::replace(&mut self.front, next);
        self.bytes -= front.len();
        (!front.is_empty()).then_some(front)
    }

    #[inline]
    fn push_sealed(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
        } else if self.front.is_empty() {
            self.front = bytes;
        } else {
            self.rest.push_back(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two who get the same hold the same bytes; a third, with an answer of its
    /// own between, gets them too.
    #[test]
    fn what_many_get_is_joined_once() {
        let mut wires: [Wire; 3] = Default::default();
        let mut expected: [Vec<u8>; 3] = Default::default();
        for n in 0..100_u8 {
            let frame = Bytes::from(alloc::vec![n; 1 + usize::from(n) * 7]);
            let mut joined = Joined::new();
            for (at, wire) in wires.iter_mut().enumerate() {
                if at == 2 && n % 10 == 3 {
                    wire.gather(5).extend_from_slice(b"alone");
                    wire.gathered(5);
                    wire.seal();
                    expected[at].extend(b"alone");
                }
                wire.share(&frame, &mut joined);
                expected[at].extend(&frame);
            }
            assert!(joined.len() <= WAYS);
        }
        let shown = |wire: &mut Wire| {
            wire.seal();
            let pieces = wire.unsent().map(|piece| piece.as_ptr());
            pieces.collect::<Vec<_>>()
        };
        let [first, second, third] = &mut wires;
        assert_eq!(shown(first), shown(second));
        assert!(first.unsent().all(|piece| piece.len() <= JOINED));
        assert!(shown(first).len() < 14);
        assert!(shown(third).len() < 90);
        for (wire, expected) in wires.iter().zip(&expected) {
            assert_eq!(wire.len(), expected.len());
            assert_eq!(content(wire), *expected);
        }
    }

    /// Who took a part of it and who took nothing are not confused.
    #[test]
    fn a_piece_taken_in_part_is_not_what_others_hold() {
        let mut wires: [Wire; 2] = Default::default();
        for n in 0..3_u8 {
            let frame = Bytes::from(alloc::vec![n; 10]);
            let mut joined = Joined::new();
            for wire in &mut wires {
                wire.share(&frame, &mut joined);
            }
            wires[1].advance(4);
        }
        wires.iter_mut().for_each(Wire::seal);
        let whole = [[0; 10], [1; 10], [2; 10]].concat();
        assert_eq!(content(&wires[0]), whole);
        assert_eq!(content(&wires[1]), whole[12..]);
    }

    fn content(wire: &Wire) -> Vec<u8> {
        wire.unsent()
            .flat_map(|bytes| bytes.iter().copied())
            .collect()
    }

    #[test]
    fn a_crowd_of_tiny_frames_gathers_although_each_was_shown() {
        let mut wire = Wire::default();
        for n in 0..30_000_u16 {
            wire.gather(2).extend_from_slice(&n.to_be_bytes());
            wire.gathered(2);
            wire.seal();
            assert!(wire.unsent().count() <= MAX_PIECES);
        }
        let mut next = 0_u16;
        while !wire.is_empty() {
            let first = wire.unsent().next().cloned().unwrap_or_default();
            for n in first.chunks(2) {
                assert_eq!(n, next.to_be_bytes());
                next += 1;
            }
            wire.advance(first.len());
            wire.seal();
        }
        assert_eq!(next, 30_000);
    }

    #[test]
    fn small_pieces_gather_large_ones_stand_alone_and_order_holds() {
        let mut wire = Wire::default();
        let mut expected = Vec::new();
        for round in 0..200_u8 {
            let small = [round; 100];
            wire.gather(small.len()).extend_from_slice(&small);
            wire.gathered(small.len());
            expected.extend(small);
            if round % 50 == 0 {
                let large = Bytes::from(alloc::vec![round ^ 0xff; 5_000]);
                expected.extend(&large);
                wire.push(large);
            }
        }
        assert_eq!(wire.len(), expected.len());
        wire.seal();
        assert_eq!(content(&wire), expected);
        assert!(wire.unsent().count() < 12);
        let mut taken = 0;
        for step in (0..).map(|n| n * 37) {
            if wire.is_empty() {
                break;
            }
            wire.advance(step);
            taken = (taken + step).min(expected.len());
            assert_eq!(content(&wire), expected[taken..]);
        }
    }
}
