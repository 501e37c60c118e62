//! Encrypted sessions, end to end between a client and a server of ours.
//!
//! A [`Session`] seals each message into one binary message, a record, and opens
//! those that come. Both ends share a [`Key`]; a key [`Exchange`] in the
//! handshake adds forward secrecy. What is defended against:
//!
//! | attack | defence |
//! |---|---|
//! | changing a record, padding oracles | authentication before anything else; one [`OpenError`], which ends the session |
//! | repeating, leaving out, reordering | records are numbered |
//! | cutting off the end | the last record says [bye](Opened::Bye) |
//! | sending back what was sent | each direction has keys of its own |
//! | moving records between connections, namespaces | both ends' nonces and the namespace are in every key |
//! | talking the ends into a weaker suite | all offers are in every key |
//! | recording now, stealing the key later | key exchange, new keys after 24 hours |
//!
//! Lengths and times of messages show. There is no compression inside records,
//! for it would let lengths tell contents. And there is no plain text to fall
//! back to: without a session nothing can be sealed or opened.
//!
//! This does not replace TLS: a shared key does not prove to a client whom it
//! talks to, for all other clients have it as well.
//!
//! Ignis's own scheme, for its unmodified clients and servers, is in [`ignis`].
//!
//! ```
//! use smartsocket_core::crypt::{self, Handshake, Key, KeyRing, Offer, Opened, Policy};
//! use smartsocket_core::{Message, Seed, Tick};
//!
//! let key: Key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
//! let now = Tick::ZERO;
//!
//! // The client's hello travels as JSON in its CONNECT, the answer in CONNECT_ACK.
//! let client = Handshake::new(Some(&key), &Offer::default(), "/chat", Seed::new([1; 32]))?;
//! let hello = serde_json::to_string(client.hello()).unwrap();
//! let hello = serde_json::from_str(&hello).unwrap();
//! let (policy, ring, seed) = (Policy::default(), KeyRing::new(key), Seed::new([2; 32]));
//! let (answer, mut server, first) =
//!     crypt::accept(now, Some(&ring), &policy, "/chat", &hello, &seed)?;
//! let (mut client, first_of_client) = client.finish(now, &answer)?;
//!
//! // Each end's first record shows the other that it has the key.
//! assert_eq!(client.open(first), Ok(Opened::Ready));
//! assert_eq!(server.open(first_of_client), Ok(Opened::Ready));
//!
//! let message = Message::text("hello");
//! let record = client.seal(now, &message).unwrap();
//! assert_eq!(server.open(record), Ok(Opened::Message(message)));
//! # Ok::<(), crypt::HandshakeError>(())
//! ```

pub mod ignis;

mod exchange;
mod group;
mod handshake;
mod key;
mod record;
mod schedule;
mod session;
mod suite;
#[cfg(test)]
mod tests;

pub use exchange::Exchange;
pub use group::Group;
pub use handshake::{ClientHello, Handshake, HandshakeError, Offer, Policy, ServerHello, accept};
pub use key::{Key, KeyError, KeyId, KeyRing};
pub use record::OpenError;
pub use session::{Opened, SealError, Session};
pub use suite::{Suite, UnknownSuite};

/// How much longer than its message a record is at most, in bytes.
pub const MAX_OVERHEAD: usize = 76;
