//! The key schedule: from the secrets and the transcript to a direction's keys.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::suite::{Cipher, MAX_KEYS, Suite};
use crate::entropy::Seed;

/// 32 random bytes for one purpose, such that knowing those for another is no
/// help.
pub(super) fn draw(seed: &Seed, purpose: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    expand(seed.as_bytes(), purpose, &mut *bytes);
    bytes
}

fn expand(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    Hkdf::<Sha256>::from_prk(prk)
        .expect("a secret has the length of the hash")
        .expand_multi_info(info, out)
        .expect("64 bytes are less than HKDF's 8160");
}

/// Everything that was said, or known, when the keys were made. Whoever heard
/// something else has other keys.
pub(super) struct Transcript<'a> {
    pub(super) suite: Suite,
    pub(super) key_id: &'a [u8],
    pub(super) offered: &'a [u8],
    pub(super) namespace: &'a str,
    pub(super) client_nonce: &'a [u8; 32],
    pub(super) server_nonce: &'a [u8; 32],
    pub(super) client_public: &'a [u8],
    pub(super) server_public: &'a [u8],
}

impl Transcript<'_> {
    /// The hash over all of it, each with its length before; `None` when
    /// something is longer than 65,535 bytes.
    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        let mut hash = Sha256::new();
        for part in [
            b"smartsocket/e1",
            &[self.suite.number()][..],
            self.key_id,
            self.offered,
            self.namespace.as_bytes(),
            self.client_nonce,
            self.server_nonce,
            self.client_public,
            self.server_public,
        ] {
            hash.update(u16::try_from(part.len()).ok()?.to_be_bytes());
            hash.update(part);
        }
        Some(hash.finalize().into())
    }
}

/// Who seals with these keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    ClientToServer,
    ServerToClient,
    /// A server, to all members at once.
    Group,
}

impl Path {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::ClientToServer => b"c2s",
            Self::ServerToClient => b"s2c",
            Self::Group => b"group",
        }
    }
}

/// The secret of one epoch, of which its keys and the next epoch's are made.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub(super) const fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// From what only the two ends know, or no shared key but a key exchange's
    /// result alone.
    pub(super) fn extract(transcript: &[u8; 32], key: Option<&[u8; 32]>, exchanged: &[u8]) -> Self {
        let mut secrets = Zeroizing::new([0; 64]);
        secrets[..32].copy_from_slice(key.unwrap_or(&[0; 32]));
        secrets[32..32 + exchanged.len()].copy_from_slice(exchanged);
        let secrets = &secrets[..32 + exchanged.len()];
        let (mut prk, _) = Hkdf::<Sha256>::extract(Some(transcript), secrets);
        let secret = Self(Zeroizing::new(prk.into()));
        prk.as_mut_slice().zeroize();
        secret
    }

    pub(super) fn cipher(&self, path: Path, suite: Suite) -> Cipher {
        Cipher::new(suite, &self.keys(path, suite))
    }

    pub(super) fn keys(&self, path: Path, suite: Suite) -> Zeroizing<[u8; MAX_KEYS]> {
        let length = match suite {
            Suite::A256CbcHs512 => 64,
            Suite::A256Gcm => 44,
        };
        let mut keys = Zeroizing::new([0; MAX_KEYS]);
        let info = [b"smartsocket/e1 ", path.label(), b" ", suite.label()];
        expand(&self.0, &info, &mut keys[..length]);
        keys
    }

    /// The secret of the next epoch, from which this one cannot be found.
    pub(super) fn advance(&mut self) {
        let mut next = Zeroizing::new([0; 32]);
        expand(&self.0, &[b"smartsocket/e1 rekey"], &mut *next);
        self.0 = next;
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
