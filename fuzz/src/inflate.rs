//! Compressed payloads: any cuts, any limits, against miniz_oxide driven in
//! the plainest way.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use smartsocket_core::deflate::{Deflate, InflateError};
use smartsocket_core::internals::Inflater;

use crate::input::{Input, bit, choice, pieces};

/// `limits, n, n sizes of pieces, length of the first payload (two bytes), two
/// payloads`: the second is inflated with the context of the first, or
/// without.
pub fn run(data: &[u8]) {
    const MESSAGE: [usize; 4] = [32 << 10, 1_000, 100, 70_000];
    const RATIO: [u32; 4] = [200, 1, 10, u32::MAX];
    const FLOOR: [usize; 4] = [16 << 10, 0, 300, 64 << 10];
    let mut input = Input(data);
    let limits = input.byte();
    let sizes = input.counted(15);
    let first = usize::from(u16::from_be_bytes([input.byte(), input.byte()]));
    let payloads = [input.take(first), input.0];
    let max = MESSAGE[choice(limits, 0)];
    let deflate = Deflate {
        max_ratio: RATIO[choice(limits, 1)],
        ratio_floor: FLOOR[choice(limits, 2)],
        ..Deflate::default()
    };
    let takeover = bit(limits, 6);

    let mut whole = Inflater::new(max, &deflate);
    let mut cut = Inflater::new(max, &deflate);
    let mut bytewise = Inflater::new(max, &deflate);
    let mut model = Model::default();
    for payload in payloads {
        let (result, out) = inflate(&mut whole, payload, &[], max);
        for (inflater, sizes) in [(&mut cut, sizes), (&mut bytewise, &[1])] {
            let (other, same) = inflate(inflater, payload, sizes, max);
            assert_eq!(other, result, "cut by {sizes:?}");
            if result.is_ok() {
                assert!(same == out, "cut by {sizes:?}: another message");
            }
        }
        if let Some(expected) = model.inflate(payload) {
            match result {
                Ok(()) => {
                    assert!(out == expected, "{} bytes: another message", out.len());
                    let allowed = payload.len() as u64 * u64::from(deflate.max_ratio);
                    let tail = 4 * u64::from(deflate.max_ratio);
                    assert!(
                        out.len() <= deflate.ratio_floor || out.len() as u64 <= allowed + tail,
                        "{} bytes of {}",
                        out.len(),
                        payload.len()
                    );
                }
                Err(InflateError::TooLarge) => assert!(expected.len() > max),
                Err(InflateError::Ratio) => assert!(expected.len() > deflate.ratio_floor),
                Err(InflateError::Corrupt) => panic!("{} bytes are missed", expected.len()),
            }
        } else if model.is_exact {
            assert!(result.is_err(), "the model refuses it: {}", out.len());
        }
        if result.is_err() {
            return;
        }
        if !takeover {
            whole.reset();
            cut.reset();
            bytewise.reset();
            model = Model::default();
        }
    }
}

fn inflate(
    inflater: &mut Inflater,
    payload: &[u8],
    sizes: &[u8],
    max: usize,
) -> (Result<(), InflateError>, Vec<u8>) {
    let mut out = Vec::new();
    let mut result = Ok(());
    for piece in pieces(payload, sizes) {
        result = result.and_then(|()| inflater.inflate(piece, false, &mut out));
        assert!(out.len() <= max, "{} bytes, at most {max}", out.len());
        let room = (2 * (out.len() + 256)).max(32 << 10);
        assert!(
            out.capacity() <= room,
            "{} has {}",
            out.len(),
            out.capacity()
        );
    }
    let result = result.and_then(|()| inflater.inflate(&[], true, &mut out));
    assert!(out.len() <= max, "{} bytes, at most {max}", out.len());
    (result, out)
}

/// miniz_oxide with all of its output in one buffer, which is its window too.
struct Model {
    inner: DecompressorOxide,
    buffer: Vec<u8>,
    end: usize,
    /// What is refused is wrong, and not only beyond the model.
    is_exact: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            inner: DecompressorOxide::new(),
            buffer: vec![0; 192 << 10],
            end: 0,
            is_exact: true,
        }
    }
}

impl Model {
    /// The message, if the payload is one; final blocks are beyond the model.
    fn inflate(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let start = self.end;
        if payload.is_empty() {
            return Some(Vec::new());
        }
        self.step(payload)?;
        self.step(&[0x00, 0x00, 0xff, 0xff])?;
        let message = self.buffer[start..self.end].to_vec();
        // At the end of a block nothing is missing for a last, empty one.
        let rests = self.inner.clone();
        let (status, read, written) = self.decompress(&[0x01, 0x00, 0x00, 0xff, 0xff]);
        self.inner = rests;
        (status == TINFLStatus::Done && read == 5 && written == 0).then_some(message)
    }

    fn step(&mut self, input: &[u8]) -> Option<()> {
        let (status, read, written) = self.decompress(input);
        self.end += written;
        self.is_exact &= !matches!(status, TINFLStatus::Done | TINFLStatus::HasMoreOutput);
        (status == TINFLStatus::NeedsMoreInput && read == input.len()).then_some(())
    }

    fn decompress(&mut self, input: &[u8]) -> (TINFLStatus, usize, usize) {
        decompress(
            &mut self.inner,
            input,
            &mut self.buffer,
            self.end,
            TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        )
    }
}
