//! The shared key of a deployment, and the few that are valid while it changes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::schedule::draw;
use crate::entropy::Seed;

/// Length of a key in bytes.
const LENGTH: usize = 32;
/// What 32 bytes are in base64, padding included, and in hexadecimal.
const BASE64_LENGTH: usize = 44;
const HEX_LENGTH: usize = 64;

/// The key that SmartSocket's documentation prints. It is public, and 31 bytes long.
const SAMPLE: &str = "k3mZ7x9pQ2vL8nR5tY1hJ4bF6wS0dA2eK9mX7cP3vN";

/// A 32-byte secret that servers and clients share (`encryptionKey`).
///
/// Read from 44 characters of standard base64 (`openssl rand -base64 32`) or
/// from 64 of hexadecimal (`openssl rand -hex 32`), and nothing else. Its bytes
/// are wiped when it is dropped, and `Debug` shows its [id](Self::id) only.
///
/// Whoever has the key and sees a connection's first messages can read it all,
/// other clients' too, unless a [key exchange](super::Exchange) took place; and
/// can always pose as the server. Use TLS as well.
///
/// ```
/// use smartsocket_core::crypt::Key;
///
/// let key: Key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
/// assert_eq!(format!("{key:?}"), "Key(6e3f07e2)");
/// let error = "c2VjcmV0".parse::<Key>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "a key is 44 characters of base64 or 64 of hexadecimal (32 bytes), not 8 characters",
/// );
/// ```
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; LENGTH]>);

impl Key {
    /// A key of 32 bytes from a secure random source or a vault.
    ///
    /// # Errors
    ///
    /// [`KeyError::Zero`] when they are all zero.
    pub fn new(bytes: [u8; LENGTH]) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(bytes);
        if bool::from(bytes.ct_eq(&[0; LENGTH])) {
            return Err(KeyError::Zero);
        }
        Ok(Self(bytes))
    }

    /// A fresh key.
    pub fn generate(seed: &Seed) -> Self {
        Self(draw(seed, &[b"key"]))
    }

    /// The secret itself in base64, as it stands in a configuration.
    pub fn reveal(&self) -> String {
        STANDARD.encode(self.bytes())
    }

    /// The name under which the key is spoken of in public.
    pub fn id(&self) -> KeyId {
        let mut id = [0; 4];
        Hkdf::<Sha256>::new(Some(b"smartsocket/e1 key id"), self.bytes())
            .expand(b"", &mut id)
            .expect("4 bytes are less than HKDF's 8160");
        KeyId(id)
    }

    pub(super) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.trim_end_matches('=') == SAMPLE {
            return Err(KeyError::Sample);
        }
        let base64 = text.len() == BASE64_LENGTH;
        let belongs = |c: char| match c {
            '+' | '/' | '=' => base64,
            c if base64 => c.is_ascii_alphanumeric(),
            c => c.is_ascii_hexdigit(),
        };
        let mut bytes = Zeroizing::new([0; LENGTH]);
        match text.len() {
            BASE64_LENGTH | HEX_LENGTH => {
                if let Some((at, found)) = text.char_indices().find(|(_, c)| !belongs(*c)) {
                    return Err(KeyError::Character { at, found });
                }
                let length = if base64 {
                    STANDARD.decode_slice(text, &mut *bytes).ok()
                } else {
                    base16ct::mixed::decode(text, &mut *bytes)
                        .ok()
                        .map(<[u8]>::len)
                };
                if length != Some(LENGTH) {
                    return Err(KeyError::Padding);
                }
            }
            _ => {
                return Err(KeyError::Length {
                    characters: text.chars().count(),
                });
            }
        }
        Self::new(*bytes)
    }
}

/// In constant time.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().ct_eq(other.bytes()).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

/// Why a text is not a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// Neither 44 nor 64 characters.
    Length {
        /// How many there are.
        characters: usize,
    },
    /// A character that is not of the alphabet.
    Character {
        /// Its place, from 0.
        at: usize,
        /// Itself.
        found: char,
    },
    /// Not the one way to write 32 bytes in base64.
    Padding,
    /// The key of SmartSocket's documentation.
    Sample,
    /// All zero.
    Zero,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { characters } => write!(
                f,
                "a key is 44 characters of base64 or 64 of hexadecimal (32 bytes), \
                 not {characters} characters"
            ),
            Self::Character { at, found } => write!(
                f,
                "{found:?} at position {at} of the key is neither standard base64 (44 characters) \
                 nor hexadecimal (64)"
            ),
            Self::Padding => f.write_str(
                "the key is not the base64 of 32 bytes: it ends in one '=', and the character \
                 before has no bits to spare",
            ),
            Self::Sample => f.write_str(
                "this is the sample key of SmartSocket's documentation, which everybody knows: \
                 make your own (openssl rand -base64 32)",
            ),
            Self::Zero => f.write_str("a key of zeros is no secret"),
        }
    }
}

impl core::error::Error for KeyError {}

/// A key's public name: 4 bytes derived from it, shown as 8 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(super) [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut id = [0; 4];
        match base16ct::lower::decode(&text, &mut id) {
            Ok(decoded) if decoded.len() == 4 => Ok(Self(id)),
            _ => Err(serde::de::Error::custom("a key id is 8 hexadecimal digits")),
        }
    }
}

/// The keys a server accepts: up to four, so that a key can be changed while
/// clients still hold the old one.
///
/// To rotate without a restart: [`add`](Self::add) the new key on every server,
/// hand it to the clients, then [`retire`](Self::retire) the old one. A
/// connection keeps the keys it was opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing(Vec<Key>);

impl KeyRing {
    /// How many keys a ring holds at most.
    pub const MAX: usize = 4;

    /// A ring of one key.
    pub fn new(key: Key) -> Self {
        Self(alloc::vec![key])
    }

    /// Puts a key in front: the one that clients of the same process use, while
    /// the others stay accepted. The fifth and oldest key falls out; a key that
    /// is there already moves to the front.
    pub fn add(&mut self, key: Key) {
        self.0.retain(|known| *known != key);
        self.0.truncate(Self::MAX - 1);
        self.0.insert(0, key);
    }

    /// Takes a key out. The last one stays, for a ring is never empty; whether
    /// the key is out is the answer.
    pub fn retire(&mut self, id: KeyId) -> bool {
        if self.0.iter().all(|key| key.id() == id) {
            return false;
        }
        self.0.retain(|key| key.id() != id);
        true
    }

    /// The key in front.
    pub fn sending(&self) -> &Key {
        &self.0[0]
    }

    /// The key of that name, if it is accepted.
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        self.0.iter().find(|key| key.id() == id)
    }
}

impl From<Key> for KeyRing {
    fn from(key: Key) -> Self {
        Self::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString as _;

    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn error(text: &str) -> KeyError {
        text.parse::<Key>().unwrap_err()
    }

    #[test]
    fn base64_and_hexadecimal_are_the_same_key() {
        let key: Key = BASE64.parse().unwrap();
        assert_eq!(key, HEX.parse().unwrap());
        assert_eq!(key, HEX.to_uppercase().parse().unwrap());
        assert_eq!(key.reveal(), BASE64);
        assert_eq!(key.id().to_string(), "6e3f07e2");
        let bytes: [u8; 32] = core::array::from_fn(|i| i as u8);
        assert_eq!(Key::new(bytes), Ok(key));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let length = |characters| KeyError::Length { characters };
        let character = |at, found| KeyError::Character { at, found };
        assert_eq!(error(""), length(0));
        assert_eq!(error(&BASE64[..43]), length(43));
        assert_eq!(error(&format!("{BASE64}\n")), length(45));
        assert_eq!(error(&HEX[..62]), length(62));
        assert_eq!(error("päßwort"), length(7));
        assert_eq!(error(&BASE64.replace('A', "-")), character(0, '-'));
        assert_eq!(error(&BASE64.replacen("CA", "C_", 1)), character(4, '_'));
        assert_eq!(error(&HEX.replace("1f", "1g")), character(63, 'g'));
        assert_eq!(error(&HEX.replace("1f", "=f")), character(62, '='));
        assert_eq!(error(&BASE64.replace("8=", "9=")), KeyError::Padding);
        assert_eq!(error(&BASE64.replace("8=", "==")), KeyError::Padding);
        assert_eq!(error(&BASE64.replace("8=", "88")), KeyError::Padding);
        assert_eq!(error(&BASE64.replace("AE", "A=")), KeyError::Padding);
        assert_eq!(error(&"0".repeat(64)), KeyError::Zero);
        assert_eq!(Key::new([0; 32]), Err(KeyError::Zero));
    }

    #[test]
    fn the_sample_of_the_documentation_is_refused_however_it_is_padded() {
        for padding in ["", "=", "=="] {
            assert_eq!(error(&format!("{SAMPLE}{padding}")), KeyError::Sample);
        }
        let words = KeyError::Sample.to_string();
        assert!(words.contains("openssl rand -base64 32"), "{words}");
    }

    #[test]
    fn no_key_shows_in_debug() {
        let ring = KeyRing::new(BASE64.parse().unwrap());
        assert_eq!(format!("{ring:?}"), "KeyRing([Key(6e3f07e2)])");
    }

    #[test]
    fn fresh_keys_read_back_and_differ() {
        let [a, b] = [1, 2].map(|n| Key::generate(&Seed::new([n; 32])));
        assert_ne!(a, b);
        assert_eq!(a.reveal().parse(), Ok(a));
    }

    #[test]
    fn a_ring_rotates() {
        let keys: [Key; 6] = core::array::from_fn(|n| Key::generate(&Seed::new([n as u8; 32])));
        let mut ring = KeyRing::new(keys[0].clone());
        assert!(!ring.retire(keys[0].id()), "the last key stays");
        for key in &keys[1..] {
            ring.add(key.clone());
            assert_eq!(ring.sending(), key);
        }
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(ring.find(key.id()), (n >= 2).then_some(key));
        }
        ring.add(keys[3].clone());
        assert_eq!(ring.sending(), &keys[3]);
        assert!(ring.find(keys[2].id()).is_some(), "moving drops none");
        assert!(ring.retire(keys[2].id()) && ring.find(keys[2].id()).is_none());
        assert!(ring.retire(keys[3].id()));
        assert_eq!(ring.sending(), &keys[5]);
    }

    #[test]
    fn an_id_reads_back_from_json() {
        let id = KeyId([0, 1, 0xab, 0xcd]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, r#""0001abcd""#);
        assert_eq!(serde_json::from_str::<KeyId>(&json).unwrap(), id);
        for wrong in ["\"0001abc\"", "\"0001abcde0\"", "\"0001ABCD\"", "\"\"", "1"] {
            assert!(serde_json::from_str::<KeyId>(wrong).is_err(), "{wrong}");
        }
    }
}
