//! Published examples, and one computed independently with Python's `cryptography`.

use alloc::vec::Vec;

use super::hex;
use crate::crypt::Key;
use crate::crypt::record::{Content, HEADER, Opener};
use crate::crypt::schedule::{Path, Secret, Transcript};
use crate::crypt::suite::{Cipher, Suite};

const RECORD: &str = "e10100000000000000000000000102030405060708090a0b0c0d0e0f\
    38cdace79b1f994401ed0c05e43ff6ea414ec4c97f30ceea7aca8f81e2a4c7745153bf58d14545d25ac5d95956ee17de\
    316c36242785ba9036375bba0de1168a2f98fe7231e2a6b231e1f0b59aa71aa17c2c903371457566392b2261eaa9ebef";
const TEXT: &[u8] = br#"{"event":"message","data":{"text":"Hello"},"id":"1"}"#;

fn transcript<'a>(key_id: &'a [u8], offered: &'a [u8]) -> Transcript<'a> {
    Transcript {
        suite: Suite::A256CbcHs512,
        key_id,
        offered,
        namespace: "/chat",
        client_nonce: &[0xc0; 32],
        server_nonce: &[0x50; 32],
        client_public: &[],
        server_public: &[],
    }
}

fn secret() -> Secret {
    let key = Key::new(core::array::from_fn(|i| i as u8)).unwrap();
    let hash = transcript(&key.id().0, &[1]).hash().unwrap();
    assert_eq!(
        hash[..],
        hex("9c64a23e1344b7814a9426222299cc05911f8fe70b4f0c55951052b10b419026")
    );
    Secret::extract(&hash, Some(key.bytes()), &[])
}

#[test]
fn the_key_schedule_and_a_record_are_those_of_the_vector() {
    let secret = secret();
    let suite = Suite::A256CbcHs512;
    let keys = |path| secret.keys(path, suite).to_vec();
    assert_eq!(
        keys(Path::ClientToServer),
        hex(
            "1b11c4ad24f28017c29842f7e342a599affec19c0125cafc1c5b66f538cb0bd3\
             c892baff83538cc8348671562b2d26ee336323348cdbe38e6290b4c5faadd8ac"
        )
    );
    assert_eq!(
        keys(Path::ServerToClient),
        hex(
            "7f40911418544efd3e9d7e02af04d0018084ea07862d4aa8c2493295742e5391\
             d4186be173886c608fbba970a4ff9e69816a2ca94b0031c702a1c7ef04f2da29"
        )
    );

    let mut record = hex("e10100000000000000000000");
    let iv = || core::array::from_fn(|i| i as u8);
    let cipher = secret.cipher(Path::ClientToServer, suite);
    cipher.seal(0, iv, TEXT, &mut record);
    assert_eq!(record, hex(RECORD));

    let (content, place) = opener().open(&mut record).unwrap();
    assert_eq!((content, &record[place]), (Content::Binary, TEXT));
}

fn opener() -> Opener {
    let suite = Suite::A256CbcHs512;
    Opener::new(Path::ClientToServer, suite, secret(), 0, 0)
}

#[test]
fn each_bit_of_the_vector_matters() {
    let record = hex(RECORD);
    for bit in 0..record.len() * 8 {
        let mut flipped = record.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(opener().open(&mut flipped).is_err(), "bit {bit}");
        assert!(flipped.iter().all(|byte| *byte == 0), "nothing is left");
    }
    for length in 0..record.len() {
        assert!(opener().open(&mut record.clone()[..length]).is_err());
    }
    let mut longer = record;
    longer.push(0);
    assert!(opener().open(&mut longer).is_err());
}

#[test]
fn the_transcript_tells_apart_what_is_joined_alike() {
    let hash = |key_id, offered| transcript(key_id, offered).hash();
    assert_ne!(hash(&[1, 2], &[3]), hash(&[1], &[2, 3]));
    assert_ne!(hash(&[], &[1]), hash(&[1], &[]));
    assert_eq!(hash(&[], &alloc::vec![1; 65_536]), None);
}

/// RFC 7518, appendix B.3.
#[test]
fn a256cbc_hs512_is_that_of_rfc_7518() {
    let keys: [u8; 64] = core::array::from_fn(|i| i as u8);
    let aad = b"The second principle of Auguste Kerckhoffs";
    let text = b"A cipher system must not be required to be secret, and it must be able to fall \
                 into the hands of the enemy without inconvenience";
    let iv = || hex("1af38c2dc2b96ffdd86694092341bc04").try_into().unwrap();
    let cipher = Cipher::new(Suite::A256CbcHs512, &keys);
    let mut record = aad.to_vec();
    cipher.seal(0, iv, text, &mut record);
    assert_eq!(
        record[aad.len() + 16..],
        hex(
            "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd\
             822c301dd67c373bccb584ad3e9279c2e6d12a1374b77f077553df829410446b\
             36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3\
             a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950b\
             be2638d09dd7a4930930806d0703b1f6\
             4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5"
        )
    );
    let place = cipher.open(0, aad.len(), &mut record).unwrap();
    assert_eq!(record[place], text[..]);
}

/// The nonce of GCM counts in its last 8 bytes; a record of suite 2 is 28 bytes
/// longer than its text, one of suite 1 up to the next block.
#[test]
fn lengths_are_those_of_the_layout() {
    for length in [0, 1, 15, 16, 17, 31, 32, 1_000] {
        let text: Vec<u8> = alloc::vec![7; length];
        for (suite, expected) in [
            (Suite::A256CbcHs512, 12 + 16 + (length / 16 + 1) * 16 + 32),
            (Suite::A256Gcm, 12 + length + 16),
        ] {
            let mut record = alloc::vec![0; HEADER];
            secret()
                .cipher(Path::Group, suite)
                .seal(9, || [1; 16], &text, &mut record);
            assert_eq!(record.len(), expected);
            assert!(record.len() <= length + suite.overhead());
        }
    }
}
