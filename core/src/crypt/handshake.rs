//! The handshake: one hello each, then one record each.
//!
//! The hellos are plain JSON. Nothing in them can be changed unnoticed: they are
//! hashed, and the hash goes into every key.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::exchange::{Ephemeral, Exchange, PublicKey, Shared};
use super::key::{Key, KeyId, KeyRing};
use super::schedule::{Secret, Transcript, draw};
use super::session::{Agreed, Session};
use super::suite::Suite;
use crate::entropy::Seed;
use crate::time::Tick;

/// More suites than this are no offer of ours.
const MAX_SUITES: usize = 16;

/// What a client proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The suites it speaks. Default: `aes-256-cbc`, `aes-256-gcm`.
    pub suites: Vec<Suite>,
    /// Its key exchange, for forward secrecy and to be apart from other holders
    /// of the shared key; necessary without a shared key. Default: X25519.
    pub exchange: Option<Exchange>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            suites: alloc::vec![Suite::A256CbcHs512, Suite::A256Gcm],
            exchange: Some(Exchange::X25519),
        }
    }
}

/// What a server accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The suites it speaks, the one it likes best first. Default:
    /// `aes-256-cbc`, `aes-256-gcm`.
    pub suites: Vec<Suite>,
    /// Whether clients must bring a key exchange; either curve will do. Without
    /// a shared key they must in any case. Default: `false`.
    pub require_exchange: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            suites: Offer::default().suites,
            require_exchange: false,
        }
    }
}

/// A client's first word, as JSON in its CONNECT or `authenticate`:
/// `{"suites":[1,2],"kid":"6e3f07e2","nonce":"…","publicKey":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientHello {
    suites: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<KeyId>,
    nonce: Nonce,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<PublicKey>,
}

/// A server's answer, as JSON in CONNECT_ACK or `connected`:
/// `{"suite":1,"kid":"6e3f07e2","salt":"…","serverPublicKey":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerHello {
    suite: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<KeyId>,
    salt: Nonce,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_public_key: Option<PublicKey>,
}

/// Why there is no session. The peer is told `ERR_CONN_004` and nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Neither a shared key nor a key exchange.
    NoSecret,
    /// The client offers no suite that the server speaks.
    NoCommonSuite,
    /// The client's key is not in the server's ring; or one has a key, and the
    /// other has none.
    UnknownKey(Option<KeyId>),
    /// The server requires a key exchange.
    NoExchange,
    /// The peer's public key is none, or one that no honest peer has.
    PublicKey,
    /// The server's answer does not fit what was offered.
    Mismatch,
    /// The namespace is longer than 65,535 bytes.
    NamespaceTooLong,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSecret => f.write_str("encryption needs a key or a key exchange"),
            Self::NoCommonSuite => {
                f.write_str("client and server have no encryption algorithm in common")
            }
            Self::UnknownKey(Some(id)) => write!(f, "the client's key {id} is not accepted"),
            Self::UnknownKey(None) => f.write_str("the client has no key"),
            Self::NoExchange => f.write_str("the client brought no key exchange"),
            Self::PublicKey => f.write_str("the peer's public key is not valid"),
            Self::Mismatch => f.write_str("the server answered what was not offered"),
            Self::NamespaceTooLong => f.write_str("the namespace is too long"),
        }
    }
}

impl core::error::Error for HandshakeError {}

/// A client that has said hello.
pub struct Handshake {
    key: Option<Key>,
    namespace: String,
    hello: ClientHello,
    ephemeral: Option<Ephemeral>,
    seed: Seed,
}

impl Handshake {
    /// A client's handshake; every one needs a seed of its own.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::NoSecret`] with neither key nor exchange;
    /// [`HandshakeError::NoCommonSuite`] with no suite.
    pub fn new(
        key: Option<&Key>,
        offer: &Offer,
        namespace: &str,
        seed: Seed,
    ) -> Result<Self, HandshakeError> {
        if key.is_none() && offer.exchange.is_none() {
            return Err(HandshakeError::NoSecret);
        }
        if offer.suites.is_empty() || offer.suites.len() > MAX_SUITES {
            return Err(HandshakeError::NoCommonSuite);
        }
        let ephemeral = offer
            .exchange
            .map(|exchange| Ephemeral::new(exchange, &seed));
        Ok(Self {
            key: key.cloned(),
            namespace: namespace.into(),
            hello: ClientHello {
                suites: offer.suites.iter().map(|suite| suite.number()).collect(),
                kid: key.map(Key::id),
                nonce: Nonce(*draw(&seed, &[b"nonce"])),
                public_key: ephemeral.as_ref().map(Ephemeral::public),
            },
            ephemeral,
            seed,
        })
    }

    /// What to send to the server.
    pub const fn hello(&self) -> &ClientHello {
        &self.hello
    }

    /// The server's answer came: the session, and its first record, to be sent
    /// at once.
    ///
    /// # Errors
    ///
    /// When the answer does not fit; close the connection.
    pub fn finish(
        self,
        now: Tick,
        answer: &ServerHello,
    ) -> Result<(Session, Bytes), HandshakeError> {
        let suite = [Suite::A256CbcHs512, Suite::A256Gcm]
            .into_iter()
            .find(|suite| suite.number() == answer.suite)
            .filter(|suite| self.hello.suites.contains(&suite.number()))
            .ok_or(HandshakeError::Mismatch)?;
        if answer.kid != self.hello.kid {
            return Err(HandshakeError::Mismatch);
        }
        let shared = match (self.ephemeral, &answer.server_public_key) {
            (Some(ephemeral), Some(public)) => agree(ephemeral, public)?,
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(HandshakeError::Mismatch),
        };
        agreed(
            false,
            suite,
            self.key.as_ref(),
            &self.namespace,
            &self.hello,
            answer,
            shared,
        )
        .map(|agreed| Session::new(agreed, ivs(&self.seed), now))
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("hello", &self.hello)
            .finish_non_exhaustive()
    }
}

/// A server's side: its answer, the session, and the session's first record, to
/// be sent right after the answer. Every connection needs a seed of its own.
///
/// # Errors
///
/// When what the client says does not fit; close the connection with 4003.
pub fn accept(
    now: Tick,
    keys: Option<&KeyRing>,
    policy: &Policy,
    namespace: &str,
    hello: &ClientHello,
    seed: &Seed,
) -> Result<(ServerHello, Session, Bytes), HandshakeError> {
    let key = match (keys, hello.kid) {
        (Some(keys), Some(id)) => keys.find(id),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(HandshakeError::UnknownKey(hello.kid)),
    };
    if keys.is_some() && key.is_none() {
        return Err(HandshakeError::UnknownKey(hello.kid));
    }
    let suite = policy
        .suites
        .iter()
        .copied()
        .find(|suite| hello.suites.contains(&suite.number()))
        .filter(|_| hello.suites.len() <= MAX_SUITES)
        .ok_or(HandshakeError::NoCommonSuite)?;
    let mut answer = ServerHello {
        suite: suite.number(),
        kid: hello.kid,
        salt: Nonce(*draw(seed, &[b"nonce"])),
        server_public_key: None,
    };
    let shared = match &hello.public_key {
        Some(public) => {
            let ephemeral = Ephemeral::new(public.exchange(), seed);
            answer.server_public_key = Some(ephemeral.public());
            agree(ephemeral, public)?
        }
        None if policy.require_exchange || key.is_none() => return Err(HandshakeError::NoExchange),
        None => None,
    };
    let agreed = agreed(true, suite, key, namespace, hello, &answer, shared)?;
    let (session, first) = Session::new(agreed, ivs(seed), now);
    Ok((answer, session, first))
}

fn agree(ephemeral: Ephemeral, public: &PublicKey) -> Result<Option<Shared>, HandshakeError> {
    ephemeral
        .agree(public)
        .map(Some)
        .ok_or(HandshakeError::PublicKey)
}

fn agreed(
    server: bool,
    suite: Suite,
    key: Option<&Key>,
    namespace: &str,
    hello: &ClientHello,
    answer: &ServerHello,
    shared: Option<Shared>,
) -> Result<Agreed, HandshakeError> {
    let client_public = hello.public_key.as_ref().map(PublicKey::as_bytes);
    let server_public = answer.server_public_key.as_ref().map(PublicKey::as_bytes);
    let transcript = Transcript {
        suite,
        key_id: hello.kid.as_ref().map_or(&[], |id| &id.0),
        offered: &hello.suites,
        namespace,
        client_nonce: &hello.nonce.0,
        server_nonce: &answer.salt.0,
        client_public: client_public.unwrap_or(&[]),
        server_public: server_public.unwrap_or(&[]),
    };
    let transcript = transcript.hash().ok_or(HandshakeError::NamespaceTooLong)?;
    let shared = shared.as_ref().map_or(&[][..], |shared| &shared[..]);
    Ok(Agreed {
        server,
        suite,
        key_id: hello.kid,
        transcript,
        secret: Secret::extract(&transcript, key.map(Key::bytes), shared),
    })
}

fn ivs(seed: &Seed) -> Seed {
    Seed::new(*draw(seed, &[b"ivs"]))
}

/// 32 bytes that never came before, in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Nonce([u8; 32]);

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        match STANDARD.decode_slice(&text, &mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            _ => Err(D::Error::custom("a nonce is the base64 of 32 bytes")),
        }
    }
}
