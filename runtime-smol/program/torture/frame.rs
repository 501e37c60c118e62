//! Frames as a client writes them, and as it should not.

/// The first byte of a frame (RFC 6455 §5.2).
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// What the second byte says about masking.
const MASKED: u8 = 0x80;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How a payload's length is written (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// In the second byte.
    Short,
    /// In 16 bits more.
    Two,
    /// In 64 bits more.
    Eight,
}

impl Width {
    /// The one a sender must choose.
    const fn minimal(length: u64) -> Self {
        match length {
            0..=125 => Self::Short,
            126..=0xffff => Self::Two,
            _ => Self::Eight,
        }
    }
}

/// A masked frame that is well formed if its first byte is.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u64;
    claim(first, Width::minimal(length), length, payload)
}

/// A masked frame whose header claims this length in this way.
pub(crate) fn claim(first: u8, width: Width, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = header(first, MASKED, width, length);
    out.extend_from_slice(&KEY);
    out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(b, k)| b ^ k));
    out
}

/// A frame masked with zeros, which change nothing.
pub(crate) fn zero_masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u64;
    let mut out = header(first, MASKED, Width::minimal(length), length);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// A frame that is not masked.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u64;
    let mut out = header(first, 0, Width::minimal(length), length);
    out.extend_from_slice(payload);
    out
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

/// A close frame with this code and reason.
pub(crate) fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

fn header(first: u8, masked: u8, width: Width, length: u64) -> Vec<u8> {
    let eight = length.to_be_bytes();
    let mut out = vec![first];
    match width {
        Width::Short => out.push(masked | eight[7]),
        Width::Two => {
            out.push(masked | 126);
            out.extend_from_slice(&eight[6..]);
        }
        Width::Eight => {
            out.push(masked | 127);
            out.extend_from_slice(&eight);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_rfc() {
        // RFC 6455 §5.7.
        let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(text("Hello"), hello);
        assert_eq!(unmasked(FIN | TEXT, b"Hello"), b"\x81\x05Hello");
        assert_eq!(zero_masked(FIN | TEXT, b"a"), b"\x81\x81\0\0\0\0a");
        let lengths = [125, 126, 65_535, 65_536].map(|n| frame(FIN | BINARY, &vec![0; n]).len());
        assert_eq!(
            lengths,
            [125 + 6, 126 + 8, 65_535 + 8, 65_536 + 14],
            "the shortest form"
        );
        assert_eq!(
            claim(TEXT, Width::Eight, 1 << 63, b""),
            b"\x01\xff\x80\0\0\0\0\0\0\0\x37\xfa\x21\x3d"
        );
    }
}
