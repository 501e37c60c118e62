//! zlib-rs: faster, keeps to smaller windows, uses unsafe code inside.
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use super::codec::{Compress, Corrupt, Decompress, Step};

/// The farthest a match may reach back.
const WINDOW: usize = 32 * 1024;

/// How much the output grows by while compressing: at least room for a flush, which zlib would
/// otherwise repeat.
const GROWTH: RangeInclusive<usize> = 256..=16 * 1024;

pub(crate) struct Compressor(Deflate);

impl Compress for Compressor {
    const HEAP: usize = 384 * 1024;
    /// Without a zlib header 8 is refused: the window of 256 bytes never worked.
    const WINDOW_BITS: RangeInclusive<u8> = 9..=15;

    fn new(level: u8, window_bits: u8) -> Self {
        Self(Deflate::new(i32::from(level), false, window_bits))
    }

    fn flush(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        loop {
            let start = out.len();
            let room = (input.len() / 2).clamp(*GROWTH.start(), *GROWTH.end());
            out.resize(start + room, 0);
            let (read, written) = (self.0.total_in(), self.0.total_out());
            self.0
                .compress(input, &mut out[start..], DeflateFlush::SyncFlush)
                .expect("a compressor that is never finished takes any input");
            let read = (self.0.total_in() - read) as usize;
            let written = (self.0.total_out() - written) as usize;
            input = &input[read..];
            out.truncate(start + written);
            if written < room {
                break;
            }
        }
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

pub(crate) struct Decompressor {
    inner: Inflate,
    /// The last 32 KiB of output: zlib forgets its window when a stream ends, RFC 7692 §7.2.2 does
    /// not.
    history: VecDeque<u8>,
}

impl Decompress for Decompressor {
    /// The history grows by doubling, to less than two windows.
    const HEAP: usize = 48 * 1024 + 3 * WINDOW;

    fn new() -> Self {
        Self {
            inner: Inflate::new(false, 15),
            history: VecDeque::new(),
        }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        let step = self.decompress(input, out, InflateFlush::NoFlush)?;
        let forget = (self.history.len() + step.written).saturating_sub(WINDOW);
        self.history.drain(..forget);
        self.history.extend(&out[..step.written]);
        Ok(step)
    }

    fn restart(&mut self) {
        self.inner.reset(false);
        let (older, newer) = self.history.as_slices();
        for part in [older, newer] {
            self.inner
                .set_dictionary(part)
                .expect("a raw stream takes any dictionary");
        }
    }

    fn between_blocks(&mut self) -> bool {
        // Told to stop after a block, it takes an empty one and leaves the byte behind it.
        const EMPTY_AND_MORE: [u8; 6] = [0x00, 0x00, 0x00, 0xff, 0xff, 0x00];
        matches!(
            self.decompress(&EMPTY_AND_MORE, &mut [0], InflateFlush::Block),
            Ok(Step {
                read: 5,
                written: 0,
                end: false
            })
        )
    }

    fn reset(&mut self) {
        self.inner.reset(false);
        self.history.clear();
    }
}

impl Decompressor {
    fn decompress(
        &mut self,
        input: &[u8],
        out: &mut [u8],
        flush: InflateFlush,
    ) -> Result<Step, Corrupt> {
        let (read, written) = (self.inner.total_in(), self.inner.total_out());
        let status = self
            .inner
            .decompress(input, out, flush)
            .map_err(|_| Corrupt {
                written: (self.inner.total_out() - written) as usize,
            })?;
        Ok(Step {
            read: (self.inner.total_in() - read) as usize,
            written: (self.inner.total_out() - written) as usize,
            end: status == Status::StreamEnd,
        })
    }
}
