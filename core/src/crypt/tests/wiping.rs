//! Secrets are wiped where they are dropped. What is in freed memory cannot be
//! looked at from safe code, so this holds the types to it: the features that
//! make them wipe themselves are easily lost from a manifest.

use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::crypt::schedule::{Path, Secret};
use crate::crypt::suite::Suite;

const fn wiped<T: ZeroizeOnDrop>() {}

#[test]
fn what_holds_a_secret_wipes_it() {
    // The shared key, an epoch's secret, a direction's keys, an exchange's result.
    wiped::<Zeroizing<[u8; 32]>>();
    wiped::<x25519_dalek::StaticSecret>();
    wiped::<x25519_dalek::SharedSecret>();
    wiped::<p256::SecretKey>();
    wiped::<p256::ecdh::SharedSecret>();
    // Both suites' ciphers.
    wiped::<aes::Aes256>();
    wiped::<aes_gcm::Aes256Gcm>();
    wiped::<cbc::Encryptor<aes::Aes256>>();
    wiped::<cbc::Decryptor<aes::Aes256>>();
    // An HMAC is two of these, whose state after the key is as good as the key.
    wiped::<sha2::block_api::Sha256VarCore>();
    wiped::<sha2::block_api::Sha512VarCore>();
    // What randomness is made of.
    wiped::<chacha20::ChaCha12>();
}

#[test]
fn an_epochs_secret_takes_the_place_of_the_last() {
    let mut secret = Secret::new(Zeroizing::new([7; 32]));
    let keys = |secret: &Secret| secret.keys(Path::ClientToServer, Suite::A256Gcm).to_vec();
    let (old, old_keys) = (*secret.bytes(), keys(&secret));
    secret.advance();
    assert_ne!(*secret.bytes(), old);
    // Neither the old secret nor the old keys come out of the new one.
    for _ in 0..1_000 {
        assert_ne!(*secret.bytes(), old);
        assert_ne!(keys(&secret), old_keys);
        secret.advance();
    }
}
