//! Agreeing on a secret in the open: ephemeral Diffie-Hellman.

use alloc::string::String;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::schedule::draw;
use crate::entropy::Seed;

/// How client and server agree on a secret that even holders of the shared key
/// cannot find out by listening, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// X25519 (RFC 7748).
    X25519,
    /// ECDH on P-256 (NIST SP 800-56A), which every browser's WebCrypto has.
    P256,
}

/// A secret key that lives for one exchange. Wiped when dropped.
pub(super) enum Ephemeral {
    X25519(x25519_dalek::StaticSecret),
    P256(p256::SecretKey),
}

/// What two secret keys make together, wiped when dropped.
pub(super) type Shared = Zeroizing<[u8; 32]>;

impl Ephemeral {
    pub(super) fn new(exchange: Exchange, seed: &Seed) -> Self {
        // Of 2^32 draws one is not below P-256's order.
        (0..=u8::MAX)
            .find_map(|n| Self::from_bytes(exchange, &draw(seed, &[b"ephemeral", &[n]])))
            .expect("one of 256 draws is in range")
    }

    pub(super) fn from_bytes(exchange: Exchange, bytes: &[u8; 32]) -> Option<Self> {
        match exchange {
            Exchange::X25519 => Some(Self::X25519((*bytes).into())),
            Exchange::P256 => p256::SecretKey::from_slice(bytes).ok().map(Self::P256),
        }
    }

    pub(super) fn public(&self) -> PublicKey {
        match self {
            Self::X25519(secret) => {
                PublicKey::X25519(x25519_dalek::PublicKey::from(secret).to_bytes())
            }
            Self::P256(secret) => {
                let point = secret.public_key().to_sec1_point(false);
                PublicKey::P256(core::array::from_fn(|i| point.as_bytes()[i]))
            }
        }
    }

    /// The shared secret; `None` when the peer's key is of another curve, is no
    /// point of it, or is one of the few that make the secret the same for all.
    pub(super) fn agree(self, peer: &PublicKey) -> Option<Shared> {
        match (self, peer) {
            (Self::X25519(secret), PublicKey::X25519(peer)) => {
                let shared = secret.diffie_hellman(&(*peer).into());
                let contributory = shared.was_contributory();
                contributory.then(|| Zeroizing::new(shared.to_bytes()))
            }
            (Self::P256(secret), PublicKey::P256(peer)) => {
                let peer = p256::PublicKey::from_sec1_bytes(peer).ok()?;
                let shared =
                    p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), peer.as_affine());
                Some(Zeroizing::new((*shared.raw_secret_bytes()).into()))
            }
            (Self::X25519(_), PublicKey::P256(_)) | (Self::P256(_), PublicKey::X25519(_)) => None,
        }
    }
}

/// The half that travels; its length tells the curve.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    X25519([u8; 32]),
    /// Uncompressed: `04 || X || Y` (SEC 1 §2.3.3).
    P256([u8; 65]),
}

impl PublicKey {
    pub(super) const fn exchange(&self) -> Exchange {
        match self {
            Self::X25519(_) => Exchange::X25519,
            Self::P256(_) => Exchange::P256,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::X25519(key) => key,
            Self::P256(key) => key,
        }
    }

    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        if let Ok(key) = bytes.try_into() {
            return Some(Self::X25519(key));
        }
        let key: [u8; 65] = bytes.try_into().ok()?;
        (key[0] == 4).then_some(Self::P256(key))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.exchange())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 66];
        let length = STANDARD.decode_slice(&text, &mut bytes).ok();
        length
            .and_then(|length| Self::of(&bytes[..length]))
            .ok_or_else(|| D::Error::custom("a public key is the base64 of 32 or 65 bytes"))
    }
}
