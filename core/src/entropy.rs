//! Randomness as an input: one seed, one reproducible stream.

use alloc::boxed::Box;
use core::fmt;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use zeroize::Zeroize as _;

/// 32 bytes of randomness from the operating system (or fixed ones in a test).
///
/// Mask keys, handshake keys and ping nonces are drawn from it. Two machines
/// given the same seed and the same inputs put out the same bytes, so every
/// connection needs a seed of its own. Its bytes are wiped when it is dropped.
#[derive(Clone)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Wraps 32 random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(***)")
    }
}

/// A cryptographically secure generator (ChaCha12) over one [`Seed`].
///
/// A server draws only a ping nonce now and then; the generator's buffer of
/// some 300 bytes exists from the first draw on, so that an idle server
/// connection does without.
pub(crate) struct Entropy {
    seed: Seed,
    rng: Option<Box<ChaCha12Rng>>,
    nonces: u64,
}

impl Entropy {
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            seed,
            rng: None,
            nonces: 0,
        }
    }

    /// A fresh masking key (RFC 6455 §5.3), never derived from the last one.
    pub(crate) fn mask(&mut self) -> [u8; 4] {
        self.rng().next_u32().to_le_bytes()
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng().fill_bytes(&mut bytes);
        bytes
    }

    /// Eight bytes for a keepalive ping, drawn without keeping a generator.
    pub(crate) fn nonce(&mut self) -> [u8; 8] {
        // A stream number of its own, so that nonces and masks never overlap.
        let mut rng = ChaCha12Rng::from_seed(self.seed.0);
        self.nonces += 1;
        rng.set_stream(self.nonces);
        rng.next_u64().to_le_bytes()
    }

    fn rng(&mut self) -> &mut ChaCha12Rng {
        self.rng
            .get_or_insert_with(|| Box::new(ChaCha12Rng::from_seed(self.seed.0)))
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::format;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let mut a = Entropy::new(Seed::new([7; 32]));
        let mut b = Entropy::new(Seed::new([7; 32]));
        assert_eq!(a.bytes::<100>(), b.bytes::<100>());
        assert_eq!(a.nonce(), b.nonce());
        assert_eq!(a.mask(), b.mask());
        assert_ne!(a.nonce(), Entropy::new(Seed::new([8; 32])).nonce());
    }

    #[test]
    fn a_million_masks_hardly_repeat_and_fill_every_byte_evenly() {
        let mut entropy = Entropy::new(Seed::new([1; 32]));
        let mut seen = BTreeSet::new();
        let mut counts = [0_u32; 256];
        let mut last = entropy.mask();
        for _ in 0..1_000_000 {
            let mask = entropy.mask();
            assert_ne!(
                mask, last,
                "curl CVE-2025-10148: a mask key kept over frames"
            );
            for byte in mask {
                counts[usize::from(byte)] += 1;
            }
            seen.insert(mask);
            last = mask;
        }
        // Birthday bound: about 116 collisions are expected among 2^32 keys.
        assert!(seen.len() > 999_700, "{}", seen.len());
        let expected = 4_000_000.0 / 256.0;
        let chi: f64 = counts
            .iter()
            .map(|&n| (f64::from(n) - expected).powi(2) / expected)
            .sum();
        assert!(chi < 400.0, "chi-square {chi} with 255 degrees of freedom");
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Seed::new([0x41; 32])), "Seed(***)");
        assert_eq!(
            format!("{:?}", Entropy::new(Seed::new([0x41; 32]))),
            "Entropy(***)"
        );
    }
}
