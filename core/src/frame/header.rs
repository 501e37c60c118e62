//! The frame header (RFC 6455 §5.2).

/// Room for the longest header: two bytes, a 64-bit length, a masking key.
pub(crate) const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455 §5.5).
pub(crate) const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame is (RFC 6455 §5.2; the ten other values are reserved).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(crate) const fn decode(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(crate) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// One frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) rsv1: bool,
    pub(crate) opcode: Opcode,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) length: u64,
}

/// A header that no endpoint may send, whatever the connection's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    ReservedBits,
    ReservedOpcode(u8),
    FragmentedControl,
    ControlTooLong,
    LengthNotMinimal,
    LengthTooLarge,
}

impl Header {
    /// Reads a header from the start of `data`: the header and its length in
    /// bytes, or `None` when more bytes are needed.
    ///
    /// Everything the first two bytes tell is judged on them, without waiting
    /// for the rest.
    #[inline]
    pub(crate) fn decode(data: &[u8]) -> Result<Option<(Self, usize)>, HeaderError> {
        let &[first, second, ref rest @ ..] = data else {
            // One byte is enough to see a reserved bit or opcode.
            return match data {
                [first] => Self::check_first(*first).map(|_| None),
                _ => Ok(None),
            };
        };
        let opcode = Self::check_first(first)?;
        let fin = first & FIN != 0;
        let short = second & LENGTH;
        if opcode.is_control() {
            if !fin {
                return Err(HeaderError::FragmentedControl);
            }
            if usize::from(short) > MAX_CONTROL {
                return Err(HeaderError::ControlTooLong);
            }
        }
        let (length, extended) = match short {
            LENGTH_16 => {
                let Some(bytes) = rest.first_chunk::<2>() else {
                    return Ok(None);
                };
                let length = u64::from(u16::from_be_bytes(*bytes));
                if length < u64::from(LENGTH_16) {
                    return Err(HeaderError::LengthNotMinimal);
                }
                (length, 2)
            }
            LENGTH_64 => {
                let Some(bytes) = rest.first_chunk::<8>() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*bytes);
                if length <= u64::from(u16::MAX) {
                    return Err(HeaderError::LengthNotMinimal);
                }
                if length >> 63 != 0 {
                    return Err(HeaderError::LengthTooLarge);
                }
                (length, 8)
            }
            short => (u64::from(short), 0),
        };
        let (mask, size) = if second & MASKED == 0 {
            (None, 2 + extended)
        } else {
            let Some(key) = rest.get(extended..).and_then(<[u8]>::first_chunk::<4>) else {
                return Ok(None);
            };
            (Some(*key), 6 + extended)
        };
        Ok(Some((
            Self {
                fin,
                rsv1: first & RSV1 != 0,
                opcode,
                mask,
                length,
            },
            size,
        )))
    }

    /// Writes the header: the buffer and how many of its bytes count.
    #[inline]
    pub(crate) fn encode(&self) -> ([u8; MAX_HEADER], usize) {
        let mut out = [0; MAX_HEADER];
        out[0] =
            self.opcode.bits() | if self.fin { FIN } else { 0 } | if self.rsv1 { RSV1 } else { 0 };
        let mut size = match self.length {
            short @ 0..=125 => {
                out[1] = short as u8;
                2
            }
            medium @ 126..=0xffff => {
                out[1] = LENGTH_16;
                out[2..4].copy_from_slice(&(medium as u16).to_be_bytes());
                4
            }
            long => {
                out[1] = LENGTH_64;
                out[2..10].copy_from_slice(&long.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.mask {
            out[1] |= MASKED;
            out[size..size + 4].copy_from_slice(&key);
            size += 4;
        }
        (out, size)
    }

    #[inline]
    fn check_first(first: u8) -> Result<Opcode, HeaderError> {
        let Some(opcode) = Opcode::decode(first & OPCODE) else {
            return Err(HeaderError::ReservedOpcode(first & OPCODE));
        };
        // RSV2 and RSV3 belong to no extension we speak; RSV1 only to the
        // first frame of a message (RFC 7692 §6). Whether compression was
        // agreed is the connection's to judge.
        let allowed = if matches!(opcode, Opcode::Text | Opcode::Binary) {
            RSV1
        } else {
            0
        };
        if first & RSV & !allowed != 0 {
            return Err(HeaderError::ReservedBits);
        }
        Ok(opcode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const OPCODES: [Opcode; 6] = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ];

    fn lengths() -> Vec<u64> {
        let mut lengths = Vec::from([0, 1, 125, 126, 127, 128, 65_535, 65_536, i64::MAX as u64]);
        for bits in [31, 32, 53] {
            let power = 1_u64 << bits;
            lengths.extend([power - 1, power, power + 1]);
        }
        lengths
    }

    #[test]
    fn every_legal_header_survives_encode_and_decode() {
        for opcode in OPCODES {
            for length in lengths() {
                if opcode.is_control() && length > 125 {
                    continue;
                }
                for mask in [None, Some([1, 2, 3, 4]), Some([0; 4])] {
                    for fin in [true, opcode.is_control()] {
                        for rsv1 in [false, matches!(opcode, Opcode::Text | Opcode::Binary)] {
                            let header = Header {
                                fin,
                                rsv1,
                                opcode,
                                mask,
                                length,
                            };
                            let (bytes, size) = header.encode();
                            for cut in 0..size {
                                assert_eq!(
                                    Header::decode(&bytes[..cut]),
                                    Ok(None),
                                    "{header:?} cut at {cut}"
                                );
                            }
                            assert_eq!(Header::decode(&bytes[..size]), Ok(Some((header, size))));
                            assert_eq!(
                                Header::decode(&bytes),
                                Ok(Some((header, size))),
                                "what follows does not matter"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_pair_of_first_bytes_is_judged_as_the_rfc_says() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let opcode = first & 0x0f;
                let known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
                let control = opcode >= 8;
                let rsv = (first >> 4) & 0x7;
                let rsv_ok = rsv == 0 || (rsv == 4 && matches!(opcode, 1 | 2));
                let legal =
                    known && rsv_ok && (!control || (first & 0x80 != 0 && second & 0x7f <= 125));
                assert_eq!(
                    Header::decode(&[first, second]).is_ok(),
                    legal,
                    "{first:#04x} {second:#04x}"
                );
                assert_eq!(
                    Header::decode(&[first]).is_ok(),
                    known && rsv_ok,
                    "{first:#04x}"
                );
            }
        }
    }

    #[test]
    fn lengths_must_be_minimal_and_below_two_to_the_63() {
        let long = |length: u64| {
            let mut bytes = Vec::from([0x82, 0x7f]);
            bytes.extend(length.to_be_bytes());
            Header::decode(&bytes).map(|header| header.map(|(header, _)| header.length))
        };
        for length in [0, 1, 125, 126, 65_535] {
            assert_eq!(long(length), Err(HeaderError::LengthNotMinimal), "{length}");
        }
        for length in [65_536, (1 << 32) + 1, (1 << 63) - 1] {
            assert_eq!(long(length), Ok(Some(length)));
        }
        for length in [1 << 63, u64::MAX] {
            assert_eq!(long(length), Err(HeaderError::LengthTooLarge), "{length}");
        }
        for length in 0..=u16::MAX {
            let [high, low] = length.to_be_bytes();
            let decoded = Header::decode(&[0x82, 0x7e, high, low]);
            if length < 126 {
                assert_eq!(decoded, Err(HeaderError::LengthNotMinimal));
            } else {
                assert_eq!(decoded.unwrap().unwrap().0.length, u64::from(length));
            }
        }
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7() {
        let masked_hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d];
        let header = Header {
            fin: true,
            rsv1: false,
            opcode: Opcode::Text,
            mask: Some([0x37, 0xfa, 0x21, 0x3d]),
            length: 5,
        };
        assert_eq!(Header::decode(&masked_hello), Ok(Some((header, 6))));
        let large = [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0];
        let header = Header {
            fin: true,
            rsv1: false,
            opcode: Opcode::Binary,
            mask: None,
            length: 65_536,
        };
        assert_eq!(Header::decode(&large), Ok(Some((header, 10))));
    }
}
