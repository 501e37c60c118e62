//! Ignis's own encryption, byte for byte as its `WebSocketServerHelper` and ECDH
//! helper have it: for its clients, and for its servers.
//!
//! **Weaker than a [`Session`](super::Session).** Nobody is authenticated, so it
//! keeps out listeners only, not whoever can change what is sent; TLS must. One
//! key serves both directions and records are not numbered: messages can be left
//! out, repeated, reordered and sent back unnoticed. Each still opens only as it
//! was sealed.
//!
//! P-256, public keys as raw points in base64; HKDF-SHA-256 with a random salt;
//! AES-256-GCM with random IVs. `authenticate` carries the client's `publicKey`;
//! `connected`, which stays readable, carries `serverPublicKey` and `salt`; other
//! events are wrapped as `{"event":"encrypted","data":{"iv":"…","ct":"…"}}`.
//!
//! ```
//! use smartsocket_core::Seed;
//! use smartsocket_core::crypt::ignis::KeyPair;
//!
//! let client = KeyPair::new(&Seed::new([1; 32]));
//! let server = KeyPair::new(&Seed::new([2; 32]));
//! let server_public_key = server.public_key();
//! let (salt, mut server) = server.accept(&client.public_key())?;
//! let client = client.finish(&server_public_key, &salt)?;
//!
//! let sealed = server.seal(r#"{"event":"a","data":1}"#, "").unwrap();
//! assert_eq!(client.open(&sealed, "").as_deref(), Ok(r#"{"event":"a","data":1}"#));
//! # Ok::<(), smartsocket_core::crypt::HandshakeError>(())
//! ```

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::exchange::{Ephemeral, Exchange, PublicKey};
use super::handshake::HandshakeError;
use super::record::OpenError;
use super::schedule::draw;
use super::session::SealError;
use crate::entropy::{Entropy, Seed};

const INFO: &[u8] = b"ignis-ecdh-p256-aes-256-gcm-v1";
const IV: usize = 12;
const TAG: usize = 16;
/// How often one key may be used with random IVs (NIST SP 800-38D §8.3).
const MAX_MESSAGES: u32 = u32::MAX;

/// One end's keys, for one connection.
pub struct KeyPair {
    ephemeral: Ephemeral,
    salt: [u8; 32],
    ivs: Seed,
}

impl KeyPair {
    /// Keys of their own for each connection: every one needs its own seed.
    pub fn new(seed: &Seed) -> Self {
        Self {
            ephemeral: Ephemeral::new(Exchange::P256, seed),
            salt: *draw(seed, &[b"nonce"]),
            ivs: Seed::new(*draw(seed, &[b"ivs"])),
        }
    }

    /// `publicKey` of a client, `serverPublicKey` of a server: 88 characters of
    /// base64.
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.ephemeral.public().as_bytes())
    }

    /// A server's side: `salt`, and the cipher.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::PublicKey`] when the client's is none.
    pub fn accept(self, public_key: &str) -> Result<(String, Cipher), HandshakeError> {
        let salt = self.salt;
        let cipher = self.agree(public_key, &salt)?;
        Ok((STANDARD.encode(salt), cipher))
    }

    /// A client's side.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::PublicKey`] when the server's is none, and
    /// [`HandshakeError::Mismatch`] when the salt is empty or not base64.
    pub fn finish(self, server_public_key: &str, salt: &str) -> Result<Cipher, HandshakeError> {
        match STANDARD.decode(salt) {
            Ok(salt) if !salt.is_empty() => self.agree(server_public_key, &salt),
            _ => Err(HandshakeError::Mismatch),
        }
    }

    fn agree(self, public_key: &str, salt: &[u8]) -> Result<Cipher, HandshakeError> {
        let public = STANDARD.decode(public_key).ok();
        let shared = public
            .and_then(|public| PublicKey::of(&public))
            .and_then(|public| self.ephemeral.agree(&public))
            .ok_or(HandshakeError::PublicKey)?;
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt), &*shared)
            .expand(INFO, &mut *key)
            .expect("32 bytes are less than HKDF's 8160");
        Ok(Cipher {
            aead: Box::new(Aes256Gcm::new(&(*key).into())),
            ivs: Entropy::new(self.ivs),
            left: MAX_MESSAGES,
        })
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public_key())
    }
}

/// What is in `data` of an `encrypted` event, both in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The 12 bytes that no other message has.
    pub iv: String,
    /// The ciphertext, and 16 bytes of authentication.
    pub ct: String,
}

/// The one cipher of a connection, for both directions.
pub struct Cipher {
    aead: Box<Aes256Gcm>,
    ivs: Entropy,
    left: u32,
}

impl Cipher {
    /// The event that takes the place of `envelope`, which is `event`'s: what
    /// Ignis's `outboundTransformer` does. `None` for `connected`, which is sent
    /// as it is, for the client cannot open anything before it.
    ///
    /// # Errors
    ///
    /// As [`seal`](Self::seal).
    pub fn wrap(&mut self, event: &str, envelope: &str) -> Result<Option<String>, SealError> {
        if event == "connected" {
            return Ok(None);
        }
        let Sealed { iv, ct } = self.seal(envelope, "")?;
        Ok(Some(format!(
            r#"{{"event":"encrypted","data":{{"iv":"{iv}","ct":"{ct}"}}}}"#
        )))
    }

    /// Seals a text. Additional data, if any, are not sent, and have to be the
    /// same where it is opened.
    ///
    /// # Errors
    ///
    /// [`SealError::Ended`] after 2^32 messages.
    pub fn seal(&mut self, text: &str, additional_data: &str) -> Result<Sealed, SealError> {
        self.left = self.left.checked_sub(1).ok_or(SealError::Ended)?;
        let iv: [u8; IV] = self.ivs.bytes();
        let mut sealed = Vec::with_capacity(text.len() + TAG);
        sealed.extend_from_slice(text.as_bytes());
        let tag = self
            .aead
            .encrypt_inout_detached(
                &iv.into(),
                additional_data.as_bytes(),
                sealed.as_mut_slice().into(),
            )
            .expect("no message comes near GCM's 64 GiB");
        sealed.extend_from_slice(&tag);
        Ok(Sealed {
            iv: STANDARD.encode(iv),
            ct: STANDARD.encode(sealed),
        })
    }

    /// Opens what was sealed.
    ///
    /// # Errors
    ///
    /// One for everything.
    pub fn open(&self, sealed: &Sealed, additional_data: &str) -> Result<String, OpenError> {
        self.opened(sealed, additional_data).ok_or(OpenError)
    }

    fn opened(&self, sealed: &Sealed, additional_data: &str) -> Option<String> {
        let iv: [u8; IV] = STANDARD.decode(&sealed.iv).ok()?.try_into().ok()?;
        let mut text = STANDARD.decode(&sealed.ct).ok()?;
        let tag: [u8; TAG] = *text.last_chunk()?;
        text.truncate(text.len() - TAG);
        let opened = self.aead.decrypt_inout_detached(
            &iv.into(),
            additional_data.as_bytes(),
            text.as_mut_slice().into(),
            &tag.into(),
        );
        if opened.is_err() {
            text.zeroize();
            return None;
        }
        String::from_utf8(text).ok()
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypt::tests::hex;

    const TEXT: &str = r#"{"event":"room-ev","data":{"text":"smörgås"}}"#;

    /// What `ECDH` of @venizia/ignis-helpers 0.0.7 made on Node's WebCrypto.
    const CLIENT_SECRET: &str = "987c376fa54aa2aab17013cf440eec8ec45e3cf25f6235b9aec4a9d7101e9e48";
    const CLIENT: &str = "BDAopaT5aH3Ad9I2jvGMG+7QiZuYeFJazZEGWUEqRE71cM9/W2K/dEuJCNKXTsfsUtty\
                          +YX0VVM41M5Yqoj3WS0=";
    const SERVER_SECRET: &str = "7888bdf7b93c2410ca8738671a1d526c5bdf7fdd91371730b3e5e1688df42357";
    const SERVER: &str = "BMfwrj6T5Z4Elr2xxBPWFkyE67FYMkiRYi5vfdFa6S7/4Bybd8vfd6uRtT/R9JLznn6a\
                          8Vb3T9TElDHvIPqT1y0=";
    const SALT: &str = "KdtnI+MeJGMQwiGwvVQtshlOB9uz03uS0T4CFwQpDfI=";
    const PLAIN: [&str; 2] = [
        "1zuv6RjceB4xdckm",
        "Y+x29guC94hRWOHnEb1uYU7TbvNl5yuO+E8ARHQL/TyFk7yTdgZFld/1RaNmMVZTJUaqttN6Ex5wj3VpcStO",
    ];
    const ADDITIONAL: [&str; 2] = [
        "420bFa/vuwOjHN7/",
        "UJxkSnfDm9OYk1AW6AAaGuMyobPTUMVJ/z43XHBcLi46DI31ttzksT7C38tJp6EW+d9un+vr9I1IzV2BhPJB",
    ];

    fn sealed([iv, ct]: [&str; 2]) -> Sealed {
        let [iv, ct] = [iv.into(), ct.into()];
        Sealed { iv, ct }
    }

    fn keys(secret: &str) -> KeyPair {
        let secret = hex(secret).try_into().unwrap();
        KeyPair {
            ephemeral: Ephemeral::from_bytes(Exchange::P256, &secret).unwrap(),
            ..KeyPair::new(&Seed::new([0; 32]))
        }
    }

    #[test]
    fn what_ignis_sealed_opens() {
        let (client, server) = (keys(CLIENT_SECRET), keys(SERVER_SECRET));
        assert_eq!(client.public_key(), CLIENT);
        assert_eq!(server.public_key(), SERVER);
        let salt = STANDARD.decode(SALT).unwrap();
        for cipher in [client.finish(SERVER, SALT), server.agree(CLIENT, &salt)] {
            let cipher = cipher.unwrap();
            let [plain, additional] = [sealed(PLAIN), sealed(ADDITIONAL)];
            assert_eq!(cipher.open(&plain, "").as_deref(), Ok(TEXT));
            assert_eq!(cipher.open(&additional, "client-1").as_deref(), Ok(TEXT));
            assert_eq!(cipher.open(&plain, "client-1"), Err(OpenError));
            assert_eq!(cipher.open(&additional, ""), Err(OpenError));
        }
    }

    fn pair() -> (Cipher, Cipher) {
        let [client, server] = [1, 2].map(|n| KeyPair::new(&Seed::new([n; 32])));
        let public = server.public_key();
        let (salt, server) = server.accept(&client.public_key()).unwrap();
        assert_eq!((public.len(), salt.len()), (88, 44));
        (client.finish(&public, &salt).unwrap(), server)
    }

    #[test]
    fn events_are_wrapped_and_connected_stays_readable() {
        let (client, mut server) = pair();
        let wrapped = server.wrap("room-ev", TEXT).unwrap().unwrap();
        let rest = wrapped
            .strip_prefix(r#"{"event":"encrypted","data":"#)
            .unwrap();
        let sealed: Sealed = serde_json::from_str(rest.strip_suffix('}').unwrap()).unwrap();
        assert_eq!(sealed.iv.len(), 16);
        assert_eq!(client.open(&sealed, "").as_deref(), Ok(TEXT));
        assert_eq!(server.wrap("connected", "{}"), Ok(None));
        let again = server.wrap("room-ev", TEXT).unwrap().unwrap();
        assert_ne!(again, wrapped, "every message has an IV of its own");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let (client, mut server) = pair();
        let good = server.seal(TEXT, "").unwrap();
        let iv = STANDARD.decode(&good.iv).unwrap();
        let ct = STANDARD.decode(&good.ct).unwrap();
        let refused = |iv: &[u8], ct: &[u8]| {
            let [iv, ct] = [iv, ct].map(|bytes| STANDARD.encode(bytes));
            assert_eq!(client.open(&Sealed { iv, ct }, ""), Err(OpenError));
        };
        for bit in 0..iv.len() * 8 {
            let mut iv = iv.clone();
            iv[bit / 8] ^= 1 << (bit % 8);
            refused(&iv, &ct);
        }
        for bit in 0..ct.len() * 8 {
            let mut ct = ct.clone();
            ct[bit / 8] ^= 1 << (bit % 8);
            refused(&iv, &ct);
        }
        for length in 0..ct.len() {
            refused(&iv, &ct[..length]);
        }
        refused(&iv[1..], &ct);
        assert_eq!(client.open(&good, "").as_deref(), Ok(TEXT), "not ended");
    }

    #[test]
    fn what_is_no_key_or_salt_is_refused() {
        let keys = || KeyPair::new(&Seed::new([1; 32]));
        let good = KeyPair::new(&Seed::new([2; 32])).public_key();
        let mut off_curve = STANDARD.decode(&good).unwrap();
        off_curve[64] ^= 1;
        for wrong in [
            String::new(),
            good[..84].into(),
            good.replace('=', ""),
            STANDARD.encode(off_curve),
            STANDARD.encode([9; 32]),
            format!("{good}\n"),
        ] {
            let refused = keys().accept(&wrong).err();
            assert_eq!(refused, Some(HandshakeError::PublicKey), "{wrong}");
        }
        for wrong in ["", "AAA", "AA_A"] {
            let refused = keys().finish(&good, wrong).err();
            assert_eq!(refused, Some(HandshakeError::Mismatch), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_used_2_to_the_32_times_at_most() {
        let (mut client, _) = pair();
        client.left = 1;
        assert!(client.seal("", "").is_ok());
        assert_eq!(client.seal("", ""), Err(SealError::Ended));
    }
}
