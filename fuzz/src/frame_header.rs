//! Frame headers and masks, against a reading of RFC 6455 §5.2 word by word.

use smartsocket_core::internals::{FrameHeader, apply_mask};

use crate::input::pieces;

/// A header, and a payload to mask.
pub fn run(data: &[u8]) {
    let model = model(data);
    // Every beginning: a header is found at its end, and a fault stays one.
    let mut found = None;
    for n in 0..=data.len().min(20) {
        let decoded = FrameHeader::decode(&data[..n]);
        match found {
            Some(before) => assert_eq!(decoded, before, "more bytes change a header"),
            None if decoded != Ok(None) => {
                assert!(n > 0, "a header of nothing");
                if let Ok(Some((_, size))) = decoded {
                    assert_eq!(size, n, "found at its end");
                }
                found = Some(decoded);
            }
            None => {}
        }
    }
    let found = found.unwrap_or(Ok(None));
    assert_eq!(found.ok(), model, "the RFC says otherwise");

    let Ok(Some((header, size))) = found else {
        return;
    };
    let encoded = header.encode();
    assert_eq!(encoded.as_deref(), Some(&data[..size]), "one form each");

    let (sizes, payload) = data[size..].split_at(data[size..].len().min(4));
    let key = header.mask.unwrap_or([1, 2, 3, 0xff]);
    let mut offset = 0;
    for piece in pieces(payload, sizes) {
        let mut masked = piece.to_vec();
        apply_mask(key, offset, &mut masked);
        for (i, (byte, plain)) in masked.iter().zip(piece).enumerate() {
            let at = offset as usize + i;
            assert_eq!(*byte, plain ^ key[at % 4], "byte {at}");
        }
        offset += piece.len() as u64;
    }
}

/// `Some(None)`: more bytes are needed. `None`: nobody may send this.
fn model(data: &[u8]) -> Option<Option<(FrameHeader, usize)>> {
    let Some(&first) = data.first() else {
        return Some(None);
    };
    let opcode = first % 16;
    if (3..8).contains(&opcode) || opcode > 10 || first & 0x30 != 0 {
        return None;
    }
    let control = opcode >= 8;
    let rsv1 = first & 0x40 != 0;
    if rsv1 && !(opcode == 1 || opcode == 2) {
        return None;
    }
    let fin = first >= 0x80;
    let Some(&second) = data.get(1) else {
        return Some(None);
    };
    let short = u64::from(second % 128);
    if control && (!fin || short > 125) {
        return None;
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(bytes) = data.get(2..2 + extended) else {
        return Some(None);
    };
    let long = bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    let length = if extended == 0 { short } else { long };
    let minimal = match length {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    if extended != minimal || length > i64::MAX as u64 {
        return None;
    }
    let mut size = 2 + extended;
    let mut mask = None;
    if second >= 0x80 {
        let Some(key) = data.get(size..size + 4) else {
            return Some(None);
        };
        mask = Some([key[0], key[1], key[2], key[3]]);
        size += 4;
    }
    let header = FrameHeader {
        fin,
        rsv1,
        opcode,
        mask,
        length,
    };
    Some(Some((header, size)))
}
