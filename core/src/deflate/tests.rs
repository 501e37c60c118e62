//! What goes in comes out, whatever the cuts; what should not come out does not.
use alloc::vec;
use alloc::vec::Vec;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use proptest::prelude::*;

use super::codec::*;
use super::{Deflater, Inflater, WINDOW_BITS};

const OPEN: InflateLimits = InflateLimits {
    max_output_total: 1 << 30,
    max_ratio: u32::MAX,
    ratio_floor: 0,
};

fn deflate(deflater: &mut Deflater, message: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    deflater.deflate(message, &mut payload, true);
    payload
}

fn deflated(message: &[u8]) -> Vec<u8> {
    deflate(&mut Deflater::new(6, 15), message)
}

fn inflate(inflater: &mut Inflater, payload: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    inflater
        .inflate(payload, true, &OPEN, &mut out)
        .map(|()| out)
}

fn inflated(payload: &[u8]) -> Result<Vec<u8>, InflateError> {
    inflate(&mut Inflater::new(), payload)
}

fn inflated_within(
    payload: &[u8],
    limits: &InflateLimits,
    cut: usize,
) -> (Result<(), InflateError>, Vec<u8>) {
    let mut inflater = Inflater::new();
    let mut out = Vec::new();
    for part in payload.chunks(cut) {
        if let Err(error) = inflater.inflate(part, false, limits, &mut out) {
            return (Err(error), out);
        }
    }
    (inflater.inflate(&[], true, limits, &mut out), out)
}

/// Bytes without any pattern, the same ones for the same seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    core::iter::repeat_with(next).take(len).collect()
}

fn stored(last: bool, data: &[u8]) -> Vec<u8> {
    let len = data.len() as u16;
    let mut block = vec![u8::from(last)];
    block.extend(len.to_le_bytes());
    block.extend((!len).to_le_bytes());
    block.extend(data);
    block
}

// RFC 7692 §7.2.3, one test per example.

#[test]
fn one_compressed_block() {
    let payload = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(deflated(b"Hello"), payload);
    assert_eq!(inflated(&payload).unwrap(), b"Hello");
    // In two fragments.
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    inflater
        .inflate(&payload[..3], false, &OPEN, &mut out)
        .unwrap();
    inflater
        .inflate(&payload[3..], true, &OPEN, &mut out)
        .unwrap();
    assert_eq!(out, b"Hello");
}

#[test]
fn sharing_the_window() {
    let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut deflater = Deflater::new(6, 15);
    assert_eq!(deflate(&mut deflater, b"Hello"), first);
    assert_eq!(deflate(&mut deflater, b"Hello"), second);
    let mut inflater = Inflater::new();
    assert_eq!(inflate(&mut inflater, &first).unwrap(), b"Hello");
    assert_eq!(inflate(&mut inflater, &second).unwrap(), b"Hello");
    deflater.reset();
    assert_eq!(deflate(&mut deflater, b"Hello"), first);
    inflater.reset();
    assert_eq!(inflate(&mut inflater, &second), Err(InflateError::Corrupt));
}

#[test]
fn a_block_without_compression() {
    let payload = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_eq!(inflated(&payload).unwrap(), b"Hello");
}

#[test]
fn a_final_block() {
    let payload = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(inflated(&payload).unwrap(), b"Hello");
    // Senders that forget the empty block after it.
    assert_eq!(inflated(&payload[..7]).unwrap(), b"Hello");
}

#[test]
fn two_blocks_in_one_message() {
    let payload = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(inflated(&payload).unwrap(), b"Hello");
}

#[test]
fn an_empty_message() {
    let mut deflater = Deflater::new(6, 15);
    assert_eq!(deflate(&mut deflater, b""), [0x00]);
    let hello = deflate(&mut deflater, b"Hello");
    let mut inflater = Inflater::new();
    assert_eq!(inflate(&mut inflater, &[0x00]).unwrap(), b"");
    assert_eq!(inflate(&mut inflater, &[]).unwrap(), b"");
    assert_eq!(inflate(&mut inflater, &hello).unwrap(), b"Hello");
}

// Parts.

#[test]
fn each_part_can_be_inflated_when_it_arrives() {
    let (mut deflater, mut inflater) = (Deflater::new(6, 15), Inflater::new());
    for last in ["", "ever."] {
        let mut out = Vec::new();
        for (part, is_last) in [
            ("for ", false),
            ("", false),
            ("ever and ", false),
            (last, true),
        ] {
            let mut payload = Vec::new();
            deflater.deflate(part.as_bytes(), &mut payload, is_last);
            let before = out.len();
            inflater
                .inflate(&payload, is_last, &OPEN, &mut out)
                .unwrap();
            assert_eq!(&out[before..], part.as_bytes());
        }
    }
}

#[test]
fn the_flush_is_never_lost_whatever_the_size_of_the_output() {
    let (mut deflater, mut inflater) = (Deflater::new(1, 15), Inflater::new());
    for len in (0..1200)
        .chain(16_000..17_000)
        .chain([65_535, 65_536, 200_000])
    {
        let message = noise(len, len as u64);
        let payload = deflate(&mut deflater, &message);
        assert!(
            inflate(&mut inflater, &payload).unwrap() == message,
            "{len}"
        );
    }
}

// Final blocks.

#[test]
fn data_after_a_final_block_belongs_to_the_message() {
    let mut payload = stored(true, b"one ");
    payload.extend(stored(true, b"two "));
    payload.extend(stored(false, b"three"));
    payload.push(0x00);
    assert_eq!(inflated(&payload).unwrap(), b"one two three");
    payload.truncate(payload.len() - 1);
    payload.extend(stored(true, b" four"));
    assert_eq!(inflated(&payload).unwrap(), b"one two three four");
    for cut in 1..payload.len() {
        assert_eq!(
            inflated_within(&payload, &OPEN, cut).1,
            b"one two three four"
        );
    }
}

#[test]
fn the_window_outlives_a_final_block() {
    // The first message is as long as the window and ends it; the second repeats its start, at
    // the greatest distance there is.
    let message = noise(WINDOW, 7);
    let (mut deflater, mut inflater) = (Deflater::new(9, 15), Inflater::new());
    let mut payload = deflate(&mut deflater, &message);
    payload.extend(TAIL);
    payload.extend(stored(true, b""));
    payload.push(0x00);
    assert!(inflate(&mut inflater, &payload).unwrap() == message);

    // One match in fixed codes: length 258 (285), distance 32768 (29 and 13 ones).
    let mut bits = Bits::default();
    bits.push(0b010, 3);
    bits.code(0b1100_0101, 8);
    bits.code(29, 5);
    bits.push(0x1fff, 13);
    bits.code(0, 7);
    bits.push(0b000, 3);
    let far = bits.bytes;
    assert!(inflate(&mut inflater, &far).unwrap() == message[..258]);
    assert_eq!(
        inflated(&far),
        Err(InflateError::Corrupt),
        "there is nothing to repeat"
    );
}

#[test]
fn one_connection_never_sees_what_another_has_left_in_an_inflater() {
    let mut inflater = Inflater::new();
    for len in [0, 1, 1000, WINDOW, 100_000] {
        inflate(&mut inflater, &deflated(&noise(len, 3))).unwrap();
        inflater.reset();
        // "a" and a match of length 3 at distance 2.
        let mut bits = Bits::default();
        bits.push(0b010, 3);
        bits.code(0x30 + u32::from(b'a'), 8);
        bits.code(1, 7);
        bits.code(1, 5);
        bits.code(0, 7);
        bits.push(0b000, 3);
        assert_eq!(
            inflate(&mut inflater, &bits.bytes),
            Err(InflateError::Corrupt)
        );
        inflater.reset();
    }
}

#[test]
fn too_many_final_blocks_are_refused() {
    let times = |n: usize| [0x03, 0x00].repeat(n);
    assert_eq!(inflated(&times(16)).unwrap(), b"");
    assert_eq!(inflated(&times(100)), Err(InflateError::Corrupt));
}

// Limits.

#[test]
fn the_size_limit_is_exact() {
    for len in [
        0,
        1,
        255,
        256,
        1024,
        STEP - 1,
        STEP,
        STEP + 1,
        100_000,
        1 << 20,
    ] {
        for message in [vec![0; len], noise(len, 5)] {
            let payload = deflated(&message);
            for cut in [usize::MAX, 1000, 7] {
                let limits = InflateLimits {
                    max_output_total: len,
                    ..OPEN
                };
                let (result, out) = inflated_within(&payload, &limits, cut);
                assert_eq!(result, Ok(()));
                assert!(out == message);
                assert!(out.capacity() <= len, "{} {len}", out.capacity());
                if len > 0 {
                    let limits = InflateLimits {
                        max_output_total: len - 1,
                        ..OPEN
                    };
                    let (result, out) = inflated_within(&payload, &limits, cut);
                    assert_eq!(result, Err(InflateError::TooLarge));
                    assert!(out.capacity() < len);
                }
            }
        }
    }
}

#[test]
fn the_output_grows_with_what_arrives() {
    let payload = deflated(&noise(1 << 20, 9));
    let mut inflater = Inflater::new();
    let mut out = Vec::new();
    for part in payload.chunks(100) {
        inflater.inflate(part, false, &OPEN, &mut out).unwrap();
        assert!(out.capacity() <= 2 * (out.len() + FIRST_BLOCK));
    }
}

#[test]
fn a_bomb_is_stopped_by_its_ratio_just_beyond_the_floor() {
    let limits = InflateLimits {
        max_ratio: 200,
        ratio_floor: 64 * 1024,
        ..OPEN
    };
    for cut in [usize::MAX, 100, 1] {
        let bomb = deflated(&vec![0; 10 << 20]);
        let (result, out) = inflated_within(&bomb, &limits, cut);
        assert_eq!(result, Err(InflateError::Ratio));
        assert!(out.len() <= 64 * 1024 + STEP, "{}", out.len());

        let floor = deflated(&vec![0; 64 * 1024]);
        assert_eq!(inflated_within(&floor, &limits, cut).0, Ok(()));
        let above = deflated(&vec![0; 64 * 1024 + 1]);
        assert_eq!(
            inflated_within(&above, &limits, cut).0,
            Err(InflateError::Ratio)
        );

        let fair = deflated(&noise(1000, 1).repeat(30));
        assert_eq!(inflated_within(&fair, &limits, cut).0, Ok(()));
    }
}

#[test]
fn limits_count_per_message() {
    let limits = InflateLimits {
        max_output_total: 5,
        ..OPEN
    };
    let (mut deflater, mut inflater) = (Deflater::new(6, 15), Inflater::new());
    let mut out = Vec::new();
    for _ in 0..3 {
        inflater
            .inflate(&deflate(&mut deflater, b"Hello"), true, &limits, &mut out)
            .unwrap();
    }
    assert_eq!(out, b"HelloHelloHello");
}

#[test]
fn blocks_without_output_are_harmless() {
    let count = 100_000;
    let mut fixed = Bits::default();
    for _ in 0..count {
        fixed.push(0b010, 3);
        fixed.code(0, 7);
    }
    fixed.push(0b000, 3);
    let mut empty = stored(false, b"").repeat(count);
    empty.push(0x00);
    for payload in [fixed.bytes, empty] {
        assert_eq!(inflated(&payload).unwrap(), b"");
        assert_eq!(inflated_within(&payload, &OPEN, 3).0, Ok(()));
    }
}

// Damage.

#[test]
fn a_damaged_payload_never_inflates_to_the_message() {
    let message: Vec<u8> = (0..400)
        .flat_map(|n| [b'{', n as u8, b'}', (n % 7) as u8])
        .collect();
    for mut payload in [deflated(&message), stored(false, &message)] {
        if payload.len() > message.len() {
            payload.push(0x00);
        }
        // Harmless are the padding bits at both ends, and the mark of the last block.
        for at in 0..payload.len() - 1 {
            for flip in [0x02, 0x40, 0xff] {
                let mut payload = payload.clone();
                payload[at] ^= flip;
                let limits = InflateLimits {
                    max_output_total: 1 << 20,
                    ..OPEN
                };
                let (result, out) = inflated_within(&payload, &limits, usize::MAX);
                let padding = at == 0 && flip == 0x40;
                assert!(result.is_err() || out != message || padding, "{at} {flip}");
            }
        }
    }
}

#[test]
fn a_payload_that_ends_too_early_is_refused() {
    let payload = deflated(&noise(300, 1).repeat(2));
    for end in 1..payload.len() - 1 {
        assert_eq!(
            inflated(&payload[..end]),
            Err(InflateError::Corrupt),
            "{end}"
        );
    }
}

// Windows.

#[test]
fn every_promised_window_is_kept() {
    for bits in WINDOW_BITS {
        let size = 1 << bits;
        let mut message = noise(size, 11).repeat(3);
        message.extend(noise(size / 3, 12).repeat(5));
        let mut deflater = Deflater::new(9, bits);
        let (mut inflater, mut small) = (Inflater::new(), Small::new(bits));
        for _ in 0..3 {
            let payload = deflate(&mut deflater, &message);
            assert!(inflate(&mut inflater, &payload).unwrap() == message);
            assert_eq!(small.inflate(&payload), Some(message.len()));
        }
    }
}

/// An inflater that fails at matches beyond a smaller window.
struct Small {
    inner: DecompressorOxide,
    ring: Vec<u8>,
    at: usize,
}

impl Small {
    fn new(bits: u8) -> Self {
        Self {
            inner: DecompressorOxide::new(),
            ring: vec![0; 1 << bits],
            at: 0,
        }
    }

    /// The length of the message, if it can be inflated.
    fn inflate(&mut self, payload: &[u8]) -> Option<usize> {
        let mut input = &[payload, &TAIL].concat()[..];
        let mut len = 0;
        loop {
            let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
            let (status, read, written) =
                decompress(&mut self.inner, input, &mut self.ring, self.at, flags);
            input = &input[read..];
            len += written;
            self.at = (self.at + written) % self.ring.len();
            if status == TINFLStatus::NeedsMoreInput && input.is_empty() {
                return Some(len);
            } else if status != TINFLStatus::HasMoreOutput {
                return None;
            }
        }
    }
}

#[test]
fn the_window_check_sees_a_compressor_that_lies() {
    let payload = deflated(&noise(5000, 11).repeat(2));
    assert_eq!(Small::new(15).inflate(&payload), Some(10_000));
    assert_eq!(Small::new(12).inflate(&payload), None);
}

// Random messages.

fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(prop::sample::select(b"{\"event\":1} ".to_vec()), 0..300),
        (any::<u8>(), 0..40_000_usize).prop_map(|(byte, len)| vec![byte; len]),
        (0..20_000_usize, any::<u64>()).prop_map(|(len, seed)| noise(len, seed)),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn cuts(payload: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = payload;
    let mut parts = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, more) = rest.split_at((*size).min(rest.len()));
        parts.push(part.to_vec());
        rest = more;
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out(
        messages in prop::collection::vec(message(), 1..4),
        level in 1..=9_u8,
        takeover: bool,
        sizes in prop::collection::vec(1..3000_usize, 1..5),
    ) {
        let (mut deflater, mut inflater) = (Deflater::new(level, 15), Inflater::new());
        for message in messages {
            let payload = deflate(&mut deflater, &message);
            let mut out = Vec::new();
            for part in cuts(&payload, &sizes) {
                inflater.inflate(&part, false, &OPEN, &mut out).unwrap();
            }
            inflater.inflate(&[], true, &OPEN, &mut out).unwrap();
            prop_assert!(out == message);
            if !takeover {
                deflater.reset();
                inflater.reset();
            }
        }
    }

    #[test]
    fn the_outcome_does_not_depend_on_the_cuts(
        message in message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        sizes in prop::collection::vec(1..200_usize, 1..5),
        max_output_total in 0..200_000_usize,
        max_ratio in 1..1000_u32,
    ) {
        let mut payload = deflated(&message);
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let limits = InflateLimits { max_output_total, max_ratio, ratio_floor: 20_000 };
        let mut whole = Vec::new();
        let result = Inflater::new().inflate(&payload, true, &limits, &mut whole);
        let (mut inflater, mut out) = (Inflater::new(), Vec::new());
        let cut = cuts(&payload, &sizes)
            .iter()
            .try_for_each(|part| inflater.inflate(part, false, &limits, &mut out))
            .and_then(|()| inflater.inflate(&[], true, &limits, &mut out));
        prop_assert_eq!(result, cut);
        prop_assert!(whole.len() <= max_output_total);
        if result.is_ok() {
            prop_assert!(whole == out);
        }
    }

    #[test]
    fn any_bytes_are_inflated_or_refused(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
    ) {
        let limits = InflateLimits { max_output_total: 10_000, ..OPEN };
        let (mut inflater, mut out) = (Inflater::new(), Vec::new());
        for part in parts {
            if inflater.inflate(&part, false, &limits, &mut out).is_err() {
                break;
            }
        }
        prop_assert!(out.len() <= 10_000);
    }
}

#[cfg(feature = "zlib-rs")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_backends_understand_each_other(
        messages in prop::collection::vec(message(), 1..4),
        level in 1..=9_u8,
    ) {
        use super::{codec, miniz, zlib};
        let mut miniz = (
            codec::Deflater::<miniz::Compressor>::new(level, 15),
            codec::Inflater::<miniz::Decompressor>::new(),
        );
        let mut zlib = (
            codec::Deflater::<zlib::Compressor>::new(level, 15),
            codec::Inflater::<zlib::Decompressor>::new(),
        );
        for message in messages {
            let (mut payload, mut out) = (Vec::new(), Vec::new());
            miniz.0.deflate(&message, &mut payload, true);
            zlib.1.inflate(&payload, true, &OPEN, &mut out).unwrap();
            prop_assert!(out == message);
            (payload, out) = (Vec::new(), Vec::new());
            zlib.0.deflate(&message, &mut payload, true);
            miniz.1.inflate(&payload, true, &OPEN, &mut out).unwrap();
            prop_assert!(out == message);
        }
    }

    #[test]
    fn the_backends_judge_bytes_alike(
        message in message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        use super::{codec, miniz, zlib};
        let limits = InflateLimits { max_output_total: 1 << 20, ..OPEN };
        let mut payload = deflated(&message);
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let miniz = codec::Inflater::<miniz::Decompressor>::new()
            .inflate(&payload, true, &limits, &mut one);
        let zlib = codec::Inflater::<zlib::Decompressor>::new()
            .inflate(&payload, true, &limits, &mut two);
        prop_assert_eq!(miniz, zlib);
        if miniz.is_ok() {
            prop_assert!(one == two);
        }
    }
}

const WINDOW: usize = 32 * 1024;

/// Writes blocks bit by bit (RFC 1951 §3.1.1).
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    /// Numbers go lowest bit first ...
    fn push(&mut self, value: u32, count: usize) {
        for at in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = (value >> at & 1) as u8;
            *self.bytes.last_mut().unwrap() |= bit << (self.used % 8);
            self.used += 1;
        }
    }

    /// ... and codes highest bit first.
    fn code(&mut self, value: u32, count: usize) {
        for at in (0..count).rev() {
            self.push(value >> at & 1, 1);
        }
    }
}
