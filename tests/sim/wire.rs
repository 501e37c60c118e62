//! Frames as a client writes and reads them, without any code of the crates.

use super::chance::Chance;

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame of a client.
pub fn frame(chance: &mut Chance, fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    let mask: [u8; 4] = chance.bytes();
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    out
}

/// A message of a client, in one frame or several.
pub fn message(chance: &mut Chance, opcode: u8, payload: &[u8]) -> Vec<u8> {
    if payload.len() < 2 || !chance.percent(10) {
        return frame(chance, true, opcode, payload);
    }
    let (head, tail) = payload.split_at(1 + chance.below(payload.len() - 1));
    let mut out = frame(chance, false, opcode, head);
    if chance.percent(30) {
        out.extend(frame(chance, true, PING, b"between"));
    }
    out.extend(frame(chance, true, 0, tail));
    out
}

/// The next frame of a server, taken off the front: its opcode and payload.
/// Servers neither mask nor, unless asked to, cut or compress.
pub fn read(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    assert_eq!(second & 0x80, 0, "a server does not mask");
    assert_eq!(first & 0x70, 0, "nothing was negotiated");
    assert_eq!(first & 0x80, 0x80, "fragmentation is not expected");
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length) as usize, rest)
        }
        short => (usize::from(short), rest),
    };
    let payload = rest.get(..length)?.to_vec();
    let total = bytes.len() - rest.len() + length;
    bytes.drain(..total);
    Some((first & 0x0f, payload))
}
