//! Encrypted sessions.

mod key;

pub use key::{Key, KeyError, KeyId, KeyRing};
