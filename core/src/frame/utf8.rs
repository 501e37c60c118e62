//! Text that arrives in pieces (RFC 6455 §8.1): checked as it comes.

use alloc::string::String;

/// The check of one text message over all its pieces.
///
/// Pieces go through `simdutf8`; what is kept between them is the start of a
/// code point that a cut left open, at most three bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Utf8 {
    open: [u8; 3],
    len: u8,
}

/// Bytes that no UTF-8 text contains at their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

impl Utf8 {
    /// Appends what is text of the next piece to `text`; fails at the first
    /// byte that cannot be UTF-8, whether or not its code point is complete.
    pub(crate) fn push(&mut self, mut data: &[u8], text: &mut String) -> Result<(), NotUtf8> {
        if self.len > 0 {
            data = self.complete(data, text)?;
        }
        if let Ok(valid) = simdutf8::basic::from_utf8(data) {
            text.push_str(valid);
            return Ok(());
        }
        // Not all of it: either a code point is cut at the end, or it is wrong.
        // The cut is at most three bytes from the end, so all before it is
        // checked at full speed once more and only the end byte by byte.
        let end = data.len() - data.len().min(3);
        let cut = (end..data.len())
            .find(|&at| data[at] >= 0xc0 && is_cut(&data[at..]))
            .ok_or(NotUtf8)?;
        let (valid, open) = data.split_at(cut);
        text.push_str(simdutf8::basic::from_utf8(valid).map_err(|_| NotUtf8)?);
        self.keep(open);
        Ok(())
    }

    /// Whether the text may end here.
    pub(crate) fn finish(self) -> Result<(), NotUtf8> {
        if self.len == 0 { Ok(()) } else { Err(NotUtf8) }
    }

    /// Feeds the open code point until it is whole; gives back the rest.
    fn complete<'a>(&mut self, data: &'a [u8], text: &mut String) -> Result<&'a [u8], NotUtf8> {
        let mut point = [0; 4];
        let mut len = usize::from(self.len);
        point[..len].copy_from_slice(&self.open[..len]);
        for (taken, &byte) in data.iter().enumerate() {
            point[len] = byte;
            len += 1;
            match core::str::from_utf8(&point[..len]) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.len = 0;
                    return Ok(&data[taken + 1..]);
                }
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => {}
            }
        }
        self.keep(&point[..len]);
        Ok(&[])
    }

    fn keep(&mut self, open: &[u8]) {
        self.open = [0; 3];
        self.open[..open.len()].copy_from_slice(open);
        self.len = open.len() as u8;
    }
}

/// Whether `bytes` are the start of one code point, so far without a fault.
fn is_cut(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes)
        .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn check(pieces: &[&[u8]]) -> Result<(), NotUtf8> {
        let mut utf8 = Utf8::default();
        let mut text = String::new();
        for piece in pieces {
            utf8.push(piece, &mut text)?;
        }
        utf8.finish()?;
        assert_eq!(text.as_bytes(), pieces.concat(), "nothing is lost or added");
        Ok(())
    }

    #[test]
    fn every_sequence_of_three_bytes_is_judged_like_std_whole_and_cut() {
        // 2^24 sequences would take a while unoptimised: the second and third
        // byte take every class boundary, the first every value.
        let edges: Vec<u8> = (0..=255)
            .filter(|byte| matches!(byte, 0x00 | 0x41 | 0x7f..=0x81 | 0x8f..=0x91 | 0x9f..=0xa1 | 0xbe..=0xc3 | 0xdf..=0xe1 | 0xec..=0xf0 | 0xf3..=0xf6 | 0xff))
            .collect();
        for a in 0..=255 {
            for &b in &edges {
                for &c in &edges {
                    for &d in &edges {
                        let text = [a, b, c, d];
                        let expected = core::str::from_utf8(&text).is_ok();
                        for cut in 0..=4 {
                            let (head, tail) = text.split_at(cut);
                            assert_eq!(
                                check(&[head, tail]).is_ok(),
                                expected,
                                "{text:x?} cut at {cut}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn it_fails_at_the_first_byte_that_cannot_be_text() {
        // Autobahn 6.4: the third byte of an encoded value above U+10FFFF.
        let fails_at = |text: &[u8]| {
            let mut utf8 = Utf8::default();
            text.iter()
                .position(|&byte| utf8.push(&[byte], &mut String::new()).is_err())
        };
        assert_eq!(fails_at(b"\xce\xba\xf4\x90\x80\x80"), Some(3));
        assert_eq!(
            fails_at(b"a\xed\xa0\x80"),
            Some(2),
            "a surrogate is known at its second byte"
        );
        assert_eq!(
            fails_at(b"\xc0\xaf"),
            Some(0),
            "an overlong form at its first"
        );
    }

    proptest! {
        #[test]
        fn pieces_are_judged_like_the_whole(mut text in ".{0,40}".prop_map(Vec::from), flip in proptest::option::of((0_usize..200, any::<u8>())), cut in 1_usize..7) {
            if let Some((at, byte)) = flip && at < text.len() {
                text[at] = byte;
            }
            let pieces: Vec<&[u8]> = text.chunks(cut).collect();
            prop_assert_eq!(check(&pieces).is_ok(), core::str::from_utf8(&text).is_ok());
        }
    }
}
