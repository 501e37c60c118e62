//! The ciphers: what a record's bytes are made of, and made back from.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _, KeyInit as _};
use aes_gcm::{AeadInOut as _, Aes256Gcm};
use hmac::{Hmac, Mac as _};
use sha2::Sha512;
use subtle::ConstantTimeEq as _;

/// How records are encrypted and authenticated.
///
/// The names of the configuration (`encryptionAlgorithm`) are those of
/// SmartSocket: `aes-256-cbc` and `aes-256-gcm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// `aes-256-cbc`, never without its authentication: AES-256-CBC with
    /// HMAC-SHA-512, encrypt-then-MAC (A256CBC-HS512, RFC 7518 §5.2.5). A record
    /// is 61 to 76 bytes longer than its message.
    A256CbcHs512,
    /// `aes-256-gcm` (NIST SP 800-38D) with counted nonces: faster, and a record
    /// is 28 bytes longer than its message.
    A256Gcm,
}

impl Suite {
    /// The name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A256CbcHs512 => "aes-256-cbc",
            Self::A256Gcm => "aes-256-gcm",
        }
    }

    /// The number in hellos and records.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::A256CbcHs512 => 1,
            Self::A256Gcm => 2,
        }
    }

    /// The name in the key schedule.
    pub(super) const fn label(self) -> &'static [u8] {
        match self {
            Self::A256CbcHs512 => b"a256cbc-hs512",
            Self::A256Gcm => b"a256gcm",
        }
    }

    /// How much longer than its text a record may be, header included.
    pub(super) const fn overhead(self) -> usize {
        match self {
            Self::A256CbcHs512 => super::MAX_OVERHEAD,
            Self::A256Gcm => 12 + GCM_TAG,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Neither `aes-256-cbc` nor `aes-256-gcm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSuite;

impl fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the encryption algorithms are aes-256-cbc and aes-256-gcm")
    }
}

impl core::error::Error for UnknownSuite {}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, UnknownSuite> {
        [Self::A256CbcHs512, Self::A256Gcm]
            .into_iter()
            .find(|suite| suite.as_str() == name)
            .ok_or(UnknownSuite)
    }
}

const BLOCK: usize = 16;
const IV: usize = 16;
const CBC_TAG: usize = 32;
const GCM_TAG: usize = 16;
const GCM_NONCE: usize = 12;

/// Room for the keys of any suite.
pub(super) const MAX_KEYS: usize = 64;

/// A suite with its keys, ready for either direction. Wiped when dropped, by
/// the crates that hold the parts.
pub(super) enum Cipher {
    CbcHs512 {
        mac: Hmac<Sha512>,
        aes: Aes256,
    },
    Gcm {
        aead: Aes256Gcm,
        /// The nonce of record 0; those of others differ from it by their number.
        iv_base: [u8; GCM_NONCE],
    },
}

impl Cipher {
    /// `keys` has room for the longest; a suite takes from it what it needs.
    pub(super) fn new(suite: Suite, keys: &[u8; MAX_KEYS]) -> Self {
        let (first, second) = keys.split_at(32);
        let fits = "an AES-256 key is 32 bytes long";
        match suite {
            Suite::A256CbcHs512 => Self::CbcHs512 {
                mac: Hmac::new_from_slice(first).expect("HMAC takes keys of any length"),
                aes: Aes256::new_from_slice(second).expect(fits),
            },
            Suite::A256Gcm => Self::Gcm {
                aead: Aes256Gcm::new_from_slice(first).expect(fits),
                iv_base: core::array::from_fn(|i| second[i]),
            },
        }
    }

    /// Appends to the additional data in `record` what becomes of `text`:
    /// [IV,] ciphertext, tag.
    pub(super) fn seal(
        &self,
        seq: u64,
        iv: impl FnOnce() -> [u8; IV],
        text: &[u8],
        record: &mut Vec<u8>,
    ) {
        let aad = record.len();
        match self {
            Self::CbcHs512 { mac, aes } => {
                let iv = iv();
                record.extend_from_slice(&iv);
                record.extend_from_slice(text);
                let padding = BLOCK - text.len() % BLOCK;
                record.resize(record.len() + padding, 0);
                cbc::Encryptor::inner_iv_init(aes, &iv.into())
                    .encrypt_padded::<Pkcs7>(&mut record[aad + IV..], text.len())
                    .expect("room was made for the padding");
                let tag = cbc_tag(mac, aad, record);
                record.extend_from_slice(&tag);
            }
            Self::Gcm { aead, iv_base } => {
                record.extend_from_slice(text);
                let (aad, text) = record.split_at_mut(aad);
                let tag = aead
                    .encrypt_inout_detached(&nonce(iv_base, seq).into(), aad, text.into())
                    .expect("no message comes near GCM's 64 GiB");
                record.extend_from_slice(&tag);
            }
        }
    }

    /// Decrypts in place what follows the additional data, if all of it is as it
    /// was sealed: the text's place in `record`. Nothing is decrypted before the
    /// tag was found right.
    pub(super) fn open(&self, seq: u64, aad: usize, record: &mut [u8]) -> Option<Range<usize>> {
        match self {
            Self::CbcHs512 { mac, aes } => {
                let text = aad + IV;
                let tag = record.len().checked_sub(CBC_TAG)?;
                let length = tag.checked_sub(text)?;
                if length == 0 || length % BLOCK != 0 {
                    return None;
                }
                let expected = cbc_tag(mac, aad, &record[..tag]);
                if !bool::from(record[tag..].ct_eq(&expected)) {
                    return None;
                }
                let iv: [u8; IV] = core::array::from_fn(|i| record[aad + i]);
                let opened = cbc::Decryptor::inner_iv_init(aes, &iv.into())
                    .decrypt_padded::<Pkcs7>(&mut record[text..tag])
                    .ok()?;
                Some(text..text + opened.len())
            }
            Self::Gcm { aead, iv_base } => {
                let tag = record.len().checked_sub(GCM_TAG)?;
                if tag < aad {
                    return None;
                }
                let (sealed, tag) = record.split_at_mut(tag);
                let (aad, text) = sealed.split_at_mut(aad);
                let nonce = nonce(iv_base, seq).into();
                aead.decrypt_inout_detached(&nonce, aad, text.into(), (&*tag).try_into().ok()?)
                    .ok()?;
                Some(aad.len()..aad.len() + text.len())
            }
        }
    }
}

/// RFC 7518 §5.2.2.1, step 5: additional data, IV, ciphertext, and the first's
/// length in bits; `sealed` is the first three, one after the other.
fn cbc_tag(mac: &Hmac<Sha512>, aad: usize, sealed: &[u8]) -> [u8; CBC_TAG] {
    let mut mac = mac.clone();
    mac.update(sealed);
    mac.update(&(aad as u64 * 8).to_be_bytes());
    let tag = mac.finalize().into_bytes();
    core::array::from_fn(|i| tag[i])
}

/// The record's number in the last 8 of 12 bytes, as in TLS 1.3 (RFC 8446 §5.3).
fn nonce(iv_base: &[u8; GCM_NONCE], seq: u64) -> [u8; GCM_NONCE] {
    let seq = seq.to_be_bytes();
    core::array::from_fn(|i| match i.checked_sub(4) {
        Some(i) => iv_base[4 + i] ^ seq[i],
        None => iv_base[i],
    })
}
