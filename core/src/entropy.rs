//! Randomness as an input: one seed, one reproducible stream.

use alloc::boxed::Box;
use core::fmt;

use chacha20::ChaCha12;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use zeroize::{Zeroize as _, Zeroizing};

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

/// A cryptographically secure generator over one [`Seed`] that forgets: what
/// it gave cannot be found from what it is afterwards.
///
/// Each time, ChaCha12 under the key makes the next key, which takes the place
/// of the old one, and then what is given out, which is wiped as it goes.
///
/// A server draws only a ping nonce now and then; the store of some 260 bytes
/// exists from the first other draw on, so that an idle server connection does
/// without.
pub(crate) struct Entropy {
    key: Seed,
    store: Option<Box<Store>>,
}

const KEY: usize = 32;
/// The four blocks that SIMD computes at once.
const STORE: usize = 4 * 64;

/// What was made and not yet given out; what was is zeros.
struct Store {
    bytes: Zeroizing<[u8; STORE]>,
    used: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            bytes: Zeroizing::new([0; STORE]),
            used: STORE,
        }
    }
}

impl Entropy {
    pub(crate) const fn new(seed: Seed) -> Self {
        Self {
            key: seed,
            store: None,
        }
    }

    /// A fresh masking key (RFC 6455 §5.3), never derived from the last one.
    pub(crate) fn mask(&mut self) -> [u8; 4] {
        self.bytes()
    }

    #[inline]
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let store = self.store.get_or_insert_with(Box::default);
        let rest = store.bytes.get_mut(store.used..);
        if let Some(given) = rest.and_then(<[u8]>::first_chunk_mut::<N>) {
            let bytes = *given;
            given.zeroize();
            store.used += N;
            return bytes;
        }
        self.bytes_over_the_end()
    }

    #[cold]
    fn bytes_over_the_end<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let mut rest = &mut bytes[..];
        let store = self.store.get_or_insert_with(Box::default);
        while !rest.is_empty() {
            if store.used == STORE {
                advance(&mut self.key, &mut *store.bytes);
                store.used = KEY;
            }
            let count = rest.len().min(STORE - store.used);
            let (now, later) = rest.split_at_mut(count);
            let given = &mut store.bytes[store.used..][..count];
            now.copy_from_slice(given);
            given.zeroize();
            store.used += count;
            rest = later;
        }
        bytes
    }

    /// A random UUID (RFC 9562 §5.4).
    pub(crate) fn uuid(&mut self) -> alloc::string::String {
        let mut bytes: [u8; 16] = self.bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let n = u128::from_be_bytes(bytes);
        alloc::format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            n >> 96,
            n >> 80 & 0xffff,
            n >> 64 & 0xffff,
            n >> 48 & 0xffff,
            n & 0xffff_ffff_ffff
        )
    }

    /// Eight bytes for a keepalive ping, drawn without keeping a store.
    pub(crate) fn nonce(&mut self) -> [u8; 8] {
        if self.store.is_some() {
            return self.bytes();
        }
        let mut block = Zeroizing::new([0; KEY + 8]);
        advance(&mut self.key, &mut *block);
        core::array::from_fn(|i| block[KEY + i])
    }
}

/// Takes the next key from the begin of the keystream, and leaves what comes
/// after it behind as many zeros in `block`.
fn advance(key: &mut Seed, block: &mut [u8]) {
    let mut cipher = ChaCha12::new((&key.0).into(), &[0; 12].into());
    block.fill(0);
    cipher.apply_keystream(block);
    let (next, _) = block.split_at_mut(KEY);
    key.0.copy_from_slice(next);
    next.zeroize();
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
    use alloc::vec::Vec;

    /// Keystream of ChaCha12 with key and nonce of zeros, as Strombergson's
    /// test vectors have it (TC1, 256 bits).
    #[test]
    fn the_first_key_and_output_are_those_of_the_vector() {
        const NEXT: [u8; 32] = [
            0x9b, 0xf4, 0x9a, 0x6a, 0x07, 0x55, 0xf9, 0x53, 0x81, 0x1f, 0xce, 0x12, 0x5f, 0x26,
            0x83, 0xd5, 0x04, 0x29, 0xc3, 0xbb, 0x49, 0xe0, 0x74, 0x14, 0x7e, 0x00, 0x89, 0xa5,
            0x2e, 0xae, 0x15, 0x5f,
        ];
        const OUTPUT: [u8; 16] = [
            0x05, 0x64, 0xf8, 0x79, 0xd2, 0x7a, 0xe3, 0xc0, 0x2c, 0xe8, 0x28, 0x34, 0xac, 0xfa,
            0x8c, 0x79,
        ];
        let mut entropy = Entropy::new(Seed::new([0; 32]));
        assert_eq!(entropy.bytes(), OUTPUT);
        assert_eq!(entropy.key.0, NEXT);
        let mut entropy = Entropy::new(Seed::new([0; 32]));
        assert_eq!(entropy.nonce(), OUTPUT[..8]);
        assert_eq!(entropy.key.0, NEXT);
        assert!(entropy.store.is_none(), "idle connections have none");
    }

    /// What is in memory, and what can be computed from it by running on.
    fn reachable(entropy: &Entropy) -> Vec<u8> {
        let mut all = entropy.key.0.to_vec();
        if let Some(store) = &entropy.store {
            all.extend_from_slice(&*store.bytes);
        }
        let mut later = Entropy::new(entropy.key.clone());
        for _ in 0..8 {
            all.extend_from_slice(&later.bytes::<{ STORE - KEY }>());
            all.extend_from_slice(&later.key.0);
        }
        // The keystream of the key that is here, wherever one begins in it.
        let mut whole = [0; 1_024];
        ChaCha12::new(&entropy.key.0.into(), &[0; 12].into()).apply_keystream(&mut whole);
        all.extend_from_slice(&whole);
        all
    }

    #[test]
    fn what_was_given_is_not_to_be_found_afterwards() {
        let mut entropy = Entropy::new(Seed::new([3; 32]));
        let mut given = Vec::new();
        for n in 0..100 {
            let key = entropy.key.clone();
            if n % 3 == 0 {
                given.extend_from_slice(&entropy.nonce());
            }
            // Of several lengths, over the ends of stores.
            given.extend_from_slice(&entropy.bytes::<24>());
            given.extend_from_slice(&entropy.mask());
            given.extend_from_slice(&entropy.bytes::<300>()[..64]);
            assert_ne!(key.0, entropy.key.0, "a store was used up");
            let here = self::reachable(&entropy);
            let here: BTreeSet<&[u8]> = here.windows(8).collect();
            for old in given.chunks(8).chain(key.0.chunks(8)) {
                assert!(old.len() < 8 || !here.contains(old));
            }
        }
        let store = entropy.store.unwrap();
        assert!(store.bytes[..store.used].iter().all(|byte| *byte == 0));
        assert!(store.bytes[store.used..].iter().any(|byte| *byte != 0));
    }

    /// Two runs differ in nothing but how much is drawn at once.
    #[test]
    fn the_stream_does_not_depend_on_how_it_is_cut() {
        let mut whole = Entropy::new(Seed::new([4; 32]));
        let mut cut = Entropy::new(Seed::new([4; 32]));
        let whole = whole.bytes::<1_000>();
        let cut: Vec<u8> = (0..250).flat_map(|_| cut.mask()).collect();
        assert_eq!(whole[..], cut);
    }

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
