//! miniz_oxide: no unsafe code, no standard library, a window of always 32 KiB.
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_IGNORE_ADLER32, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::codec::{Compress, Corrupt, Decompress, STEP, Step};

/// The farthest a match may reach back.
const WINDOW: usize = 32 * 1024;

pub(crate) struct Compressor(Box<CompressorOxide>);

impl Compress for Compressor {
    const HEAP: usize = 314 * 1024;
    /// The level decides how far it looks back; a smaller window is accepted and then ignored.
    const WINDOW_BITS: RangeInclusive<u8> = 15..=15;

    fn new(level: u8, window_bits: u8) -> Self {
        // A negative window means no zlib header.
        let flags = create_comp_flags_from_zip_params(i32::from(level), -i32::from(window_bits), 0);
        Self(Box::new(CompressorOxide::new(flags)))
    }

    fn flush(&mut self, input: &[u8], out: &mut Vec<u8>) {
        // Its slice interface forgets the flush if the output fills up at the wrong moment.
        let (status, read) = compress_to_output(&mut self.0, input, TDEFLFlush::Sync, |bytes| {
            out.extend_from_slice(bytes);
            true
        });
        debug_assert!(status == TDEFLStatus::Okay && read == input.len());
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// It inflates into a buffer of its own, which slides: everything before `end` is history. So a match
/// that reaches back too far is an error, where the usual ring would hand out whatever another
/// connection has left in it, and a reset need not wipe anything.
pub(crate) struct Decompressor {
    inner: Box<DecompressorOxide>,
    buffer: Box<[u8]>,
    end: usize,
}

impl Decompress for Decompressor {
    const HEAP: usize = size_of::<DecompressorOxide>() + WINDOW + STEP;

    fn new() -> Self {
        Self {
            inner: Box::default(),
            buffer: vec![0; WINDOW + STEP].into(),
            end: 0,
        }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        debug_assert!((1..=STEP).contains(&out.len()));
        if self.end + out.len() > self.buffer.len() {
            self.buffer.copy_within(self.end - WINDOW..self.end, 0);
            self.end = WINDOW;
        }
        let start = self.end;
        let (status, read, written) = decompress(
            &mut self.inner,
            input,
            &mut self.buffer[..start + out.len()],
            start,
            TINFL_FLAG_HAS_MORE_INPUT
                | TINFL_FLAG_IGNORE_ADLER32
                | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        );
        self.end += written;
        out[..written].copy_from_slice(&self.buffer[start..self.end]);
        // All failures are negative.
        if (status as i8) < 0 {
            return Err(Corrupt { written });
        }
        let end = status == TINFLStatus::Done;
        Ok(Step { read, written, end })
    }

    fn restart(&mut self) {
        self.inner.init();
    }

    fn between_blocks(&mut self) -> bool {
        // Only there does a final empty block end the stream, with nothing missing or left.
        const FINAL_EMPTY: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
        let rests = matches!(
            self.step(&FINAL_EMPTY, &mut [0]),
            Ok(Step {
                read: 5,
                written: 0,
                end: true
            })
        );
        self.restart();
        rests
    }

    fn reset(&mut self) {
        self.inner.init();
        self.end = 0;
    }
}
