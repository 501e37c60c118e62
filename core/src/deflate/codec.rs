//! Messages to compressed payloads and back (RFC 7692 §7.2), over either backend.
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// What ends every sync flush; it is left out on the wire (RFC 7692 §7.2.1, §7.2.2).
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The most that is inflated between two looks at the limits.
pub(crate) const STEP: usize = 16 * 1024;

/// The least that `out` grows by.
pub(super) const FIRST_BLOCK: usize = 256;

/// A message may hold this many final blocks, and one more for every so many bytes.
///
/// Starting over after a final block can cost a copy of the whole window, for two bytes on the wire.
const FREE_RESTARTS: u64 = 16;
const BYTES_PER_RESTART: u64 = 64;

/// Bounds of one message. They hold while inflating, not after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InflateLimits {
    /// Bytes a message may inflate to.
    pub(crate) max_output_total: usize,
    /// Bytes of output allowed per byte of input ...
    pub(crate) max_ratio: u32,
    /// ... once there are more than this many bytes of output.
    pub(crate) ratio_floor: usize,
}

/// Why a compressed message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It is not valid compressed data, or it ends in the middle of a block.
    Corrupt,
    /// It inflates to more bytes than a message may have.
    TooLarge,
    /// It inflates to more bytes than its compressed size justifies.
    Ratio,
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "invalid compressed data",
            Self::TooLarge => "compressed message exceeds the message size limit",
            Self::Ratio => "compressed message exceeds the compression ratio limit",
        })
    }
}

impl core::error::Error for InflateError {}

/// The compressing half of a backend.
pub(crate) trait Compress {
    /// Bytes of heap one state takes at most.
    const HEAP: usize;
    /// The windows it can keep to.
    const WINDOW_BITS: RangeInclusive<u8>;

    /// Both numbers are in range: 1 to 9, and one of `WINDOW_BITS`.
    fn new(level: u8, window_bits: u8) -> Self;
    /// Appends all of `input`, which is not empty, and a sync flush.
    fn flush(&mut self, input: &[u8], out: &mut Vec<u8>);
    /// Forgets everything but the settings.
    fn reset(&mut self);
}

/// The decompressing half of a backend.
pub(crate) trait Decompress {
    /// Bytes of heap one state takes at most.
    const HEAP: usize;

    fn new() -> Self;
    /// Inflates into `out`, which holds 1 to [`STEP`] bytes, until either side is used up or a final
    /// block has ended.
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt>;
    /// Expects a new stream of blocks whose matches may still reach into the old one.
    fn restart(&mut self);
    /// Whether the last byte taken was the last of a block, seen from a byte boundary.
    ///
    /// If not, the state is good for nothing but a reset.
    fn between_blocks(&mut self) -> bool;
    /// Forgets everything.
    fn reset(&mut self);
}

/// What a backend did in one step.
pub(crate) struct Step {
    pub(crate) read: usize,
    pub(crate) written: usize,
    /// A final block (BFINAL) has ended, and all of its output is written.
    pub(crate) end: bool,
}

/// The data is not in the DEFLATE format. What they inflate to before the fault is written, so that
/// an outcome does not depend on where they were cut.
pub(crate) struct Corrupt {
    pub(crate) written: usize,
}

/// Compresses the messages of one direction.
pub(crate) struct Deflater<C> {
    backend: C,
}

impl<C: Compress> Deflater<C> {
    /// Values out of range become the nearest in range.
    pub(crate) fn new(level: u8, window_bits: u8) -> Self {
        let window = C::WINDOW_BITS;
        Self {
            backend: C::new(
                level.clamp(1, 9),
                window_bits.clamp(*window.start(), *window.end()),
            ),
        }
    }

    /// Appends the payload of a message, or of the next part of it; the peer can inflate each part
    /// as it arrives. The context stays, so `reset` between messages unless it is taken over.
    pub(crate) fn deflate(&mut self, input: &[u8], out: &mut Vec<u8>, last: bool) {
        if !input.is_empty() {
            self.backend.flush(input, out);
            if last {
                debug_assert!(
                    out.ends_with(&TAIL),
                    "a sync flush ends in an empty stored block"
                );
                out.truncate(out.len() - TAIL.len());
            }
        } else if last {
            // The part before has kept its tail, so there must be an empty block for the tail the
            // peer will append (RFC 7692 §7.2.3.6). Compressors flush nothing if nothing is new.
            out.push(0x00);
        }
    }

    pub(crate) fn reset(&mut self) {
        self.backend.reset();
    }
}

/// Decompresses the messages of one direction.
///
/// After an error only `reset` makes it usable again.
pub(crate) struct Inflater<D> {
    backend: D,
    message: Progress,
}

/// How far the current message has come.
#[derive(Default)]
struct Progress {
    read: u64,
    written: u64,
    restarts: u64,
    /// The bytes so far end with a final block, and nothing follows it yet.
    ended: bool,
}

impl<D: Decompress> Inflater<D> {
    pub(crate) fn new() -> Self {
        Self {
            backend: D::new(),
            message: Progress::default(),
        }
    }

    /// Appends what the payload of a message, or the next part of it, inflates to. The context
    /// stays, so `reset` between messages unless it is taken over.
    ///
    /// `out` never gets more than the message may still have, nor a capacity of more than twice
    /// what it holds. The outcome does not depend on where the payload is cut.
    pub(crate) fn inflate(
        &mut self,
        input: &[u8],
        last: bool,
        limits: &InflateLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        self.feed(input, limits, out)?;
        if !last {
            return Ok(());
        }
        // The tail completes the empty block at the end of a payload. Lenient: there is none after
        // a final block that nothing was appended to, nor in an empty payload.
        if self.message.read > 0 && !self.message.ended {
            self.feed(&TAIL, limits, out)?;
            if !self.message.ended && !self.backend.between_blocks() {
                return Err(InflateError::Corrupt);
            }
        }
        self.message.check_ratio(limits)?;
        self.message = Progress::default();
        Ok(())
    }

    pub(crate) fn reset(&mut self) {
        self.backend.reset();
        self.message = Progress::default();
    }

    fn feed(
        &mut self,
        mut input: &[u8],
        limits: &InflateLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        let before = out.len();
        loop {
            // The limits are looked at on a grid of the output, whatever the cuts of the input.
            let grid = STEP - (self.message.written % STEP as u64) as usize;
            let left = (limits.max_output_total as u64).saturating_sub(self.message.written);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let start = out.len();
            let guess = input
                .len()
                .saturating_mul(4)
                .max(start - before)
                .max(FIRST_BLOCK);
            let room = grow(out, guess.min(grid).min(left), left);

            // With no room left, one byte aside tells the end of the data from a byte too many.
            let mut aside = [0];
            out.resize(start + room, 0);
            let target = if room == 0 {
                &mut aside[..]
            } else {
                &mut out[start..]
            };
            let space = target.len();
            let step = self.backend.step(input, target);
            let (Ok(Step { written, .. }) | Err(Corrupt { written })) = step;
            out.truncate(start + written.min(room));
            if written > room {
                return Err(InflateError::TooLarge);
            }
            let step = step.map_err(|_| InflateError::Corrupt)?;

            input = &input[step.read..];
            self.message.read += step.read as u64;
            self.message.written += step.written as u64;
            if step.written > 0 && self.message.written.is_multiple_of(STEP as u64) {
                self.message.check_ratio(limits)?;
            }
            if step.end {
                self.message.count_restart()?;
                self.backend.restart();
                self.message.ended = true;
            } else if step.read > 0 {
                self.message.ended = false;
            }
            if input.is_empty() && (step.end || step.written < space) {
                return Ok(());
            }
            if step.read == 0 && step.written == 0 && !step.end {
                return Err(InflateError::Corrupt);
            }
        }
    }
}

impl Progress {
    fn check_ratio(&self, limits: &InflateLimits) -> Result<(), InflateError> {
        let allowed = self.read.saturating_mul(u64::from(limits.max_ratio));
        if self.written > limits.ratio_floor as u64 && self.written > allowed {
            return Err(InflateError::Ratio);
        }
        Ok(())
    }

    fn count_restart(&mut self) -> Result<(), InflateError> {
        self.restarts += 1;
        if self.restarts > FREE_RESTARTS + self.read / BYTES_PER_RESTART {
            return Err(InflateError::Corrupt);
        }
        Ok(())
    }
}

impl<C> fmt::Debug for Deflater<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl<D> fmt::Debug for Inflater<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("read", &self.message.read)
            .field("written", &self.message.written)
            .finish_non_exhaustive()
    }
}

/// Makes room for up to `room` bytes and says how many: uses up what there is before it doubles, and
/// never goes beyond the `left` bytes that may still come.
fn grow(out: &mut Vec<u8>, room: usize, left: usize) -> usize {
    let spare = out.capacity() - out.len();
    if spare < room.min(FIRST_BLOCK) {
        out.reserve_exact(out.capacity().min(left).max(room));
        room
    } else {
        room.min(spare)
    }
}
