//! What the parts are held against.

mod vectors;
mod wiping;
mod wycheproof;

/// Hexadecimal, spaces left out.
pub(super) fn hex(text: &str) -> alloc::vec::Vec<u8> {
    let digits: alloc::vec::Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let mut bytes = alloc::vec![0; digits.len() / 2];
    base16ct::mixed::decode(&digits, &mut bytes).unwrap();
    bytes
}
