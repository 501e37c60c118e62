//! How targets read their input: a few bytes that choose, then a plain stream.

/// The bytes of one input that are not read yet. Missing bytes are zero, so
/// that every input means something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    /// The next `n` bytes, or as many as there are.
    pub(crate) fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A byte that tells how many follow, at most `max`, and those.
    pub(crate) fn counted(&mut self, max: u8) -> &'a [u8] {
        let n = self.byte().min(max);
        self.take(n.into())
    }
}

/// Cuts `data` in pieces of these sizes, over and over; a size of zero is one
/// byte, and no sizes cut nothing.
pub(crate) fn pieces<'a>(mut data: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let size = sizes
            .next()
            .map_or(data.len(), |size| usize::from(*size).max(1));
        let (piece, rest) = data.split_at(size.min(data.len()));
        data = rest;
        Some(piece)
    })
}

/// Two bits of a byte, as an index.
pub(crate) fn choice(byte: u8, place: u32) -> usize {
    usize::from(byte >> (2 * place) & 3)
}

pub(crate) fn bit(byte: u8, place: u32) -> bool {
    byte >> place & 1 != 0
}
