//! Project Wycheproof's cases, through the very functions that records use.

use alloc::vec::Vec;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use wycheproof::{TestResult, aead, cipher, ecdh, hkdf as kdf, mac, xdh};

use crate::crypt::exchange::{Ephemeral, Exchange, PublicKey};
use crate::crypt::suite::{Cipher, Suite};

/// The keys of a suite, one part after the other.
fn keys(parts: &[&[u8]]) -> [u8; 64] {
    let mut keys = parts.concat();
    keys.resize(64, 0);
    keys.try_into().unwrap()
}

/// Opens what a case says; if that succeeds, seals it again.
fn check_aead(cipher: &Cipher, in_record: &[u8], aad: usize, case: &aead::Test) {
    let mut record = in_record.to_vec();
    let opened = cipher
        .open(0, aad, &mut record)
        .map(|place| record[place].to_vec());
    let expected = match case.result {
        TestResult::Valid => Some(case.pt.to_vec()),
        TestResult::Invalid | TestResult::Acceptable => None,
    };
    assert_eq!(opened, expected, "case {}", case.tc_id);
    if let Some(text) = opened {
        let mut record = in_record[..aad].to_vec();
        let iv = || case.nonce[..].try_into().unwrap();
        cipher.seal(0, iv, &text, &mut record);
        assert_eq!(record, in_record, "case {}", case.tc_id);
    }
}

#[test]
fn a256cbc_hs512() {
    let set = aead::TestSet::load(aead::TestName::Aes256CbcHmacSha512).unwrap();
    let mut cases = 0;
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        // A record's IV, tag and keys have their length by its layout.
        let Ok(keys) = case.key[..].try_into() else {
            assert_eq!(case.result, TestResult::Invalid);
            continue;
        };
        let cipher = Cipher::new(Suite::A256CbcHs512, &keys);
        if case.nonce.len() != 16 || case.tag.len() != 32 {
            assert_eq!(case.result, TestResult::Invalid);
            continue;
        }
        let record = [&case.aad[..], &case.nonce, &case.ct, &case.tag].concat();
        check_aead(&cipher, &record, case.aad.len(), case);
        cases += 1;
    }
    assert!(cases >= 90, "{cases} of {}", set.number_of_tests);
}

#[test]
fn a256gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut cases = 0;
    for group in &set.test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for case in &group.tests {
            let cipher = Cipher::new(Suite::A256Gcm, &keys(&[&case.key, &case.nonce]));
            let record = [&case.aad[..], &case.ct, &case.tag].concat();
            check_aead(&cipher, &record, case.aad.len(), case);
            cases += 1;
        }
    }
    assert!(cases >= 60, "{cases} of {}", set.number_of_tests);
}

/// CBC and its padding, in records whose tag is right.
#[test]
fn aes_256_cbc_with_pkcs7() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let mut cases = 0;
    for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
        for case in &group.tests {
            let cipher = Cipher::new(Suite::A256CbcHs512, &keys(&[&[7; 32], &case.key]));
            let mut record = [&case.nonce[..], &case.ct].concat();
            let mut mac = Hmac::<sha2::Sha512>::new_from_slice(&[7; 32]).unwrap();
            mac.update(&record);
            mac.update(&[0; 8]);
            record.extend_from_slice(&mac.finalize().into_bytes()[..32]);

            let mut opened = record.clone();
            let opened = cipher
                .open(0, 0, &mut opened)
                .map(|place| opened[place].to_vec());
            if case.result == TestResult::Valid {
                assert_eq!(opened.as_deref(), Some(&case.pt[..]), "case {}", case.tc_id);
                let mut again = Vec::new();
                let iv = || case.nonce[..].try_into().unwrap();
                cipher.seal(0, iv, &case.pt, &mut again);
                assert_eq!(again, record, "case {}", case.tc_id);
            } else {
                assert_eq!(opened, None, "case {}", case.tc_id);
            }
            cases += 1;
        }
    }
    assert!(cases >= 70, "{cases} of {}", set.number_of_tests);
}

#[test]
fn hmac_sha256_below_hkdf() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    for group in &set.test_groups {
        for case in &group.tests {
            let mut mac = Hmac::<Sha256>::new_from_slice(&case.key).unwrap();
            mac.update(&case.msg);
            let right = mac.verify_truncated_left(&case.tag).is_ok();
            assert_eq!(
                right,
                case.result == TestResult::Valid,
                "case {}",
                case.tc_id
            );
        }
    }
}

#[test]
fn hkdf_sha256() {
    let set = kdf::TestSet::load(kdf::TestName::HkdfSha256).unwrap();
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = alloc::vec![0; case.size];
        let made = Hkdf::<Sha256>::new(Some(&case.salt), &case.ikm).expand(&case.info, &mut okm);
        match case.result {
            TestResult::Valid => {
                made.unwrap();
                assert_eq!(okm, case.okm[..], "case {}", case.tc_id);
            }
            TestResult::Invalid | TestResult::Acceptable => assert!(made.is_err()),
        }
    }
}

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let mut refused = 0;
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let secret = case.private_key[..].try_into().unwrap();
        let secret = Ephemeral::from_bytes(Exchange::X25519, &secret).unwrap();
        let peer = PublicKey::of(&case.public_key).unwrap();
        let shared = secret.agree(&peer).map(|shared| shared.to_vec());
        if case
            .flags
            .contains(&wycheproof::xdh::TestFlag::ZeroSharedSecret)
        {
            assert_eq!(shared, None, "case {}", case.tc_id);
            refused += 1;
        } else {
            assert_eq!(
                shared.as_deref(),
                Some(&case.shared_secret[..]),
                "case {}",
                case.tc_id
            );
        }
    }
    assert!(refused > 0);
}

/// What SEC 1 points are wrapped in by the set that has them in ASN.1.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[test]
fn ecdh_on_p256() {
    for name in [
        ecdh::TestName::EcdhSecp256r1,
        ecdh::TestName::EcdhSecp256r1Ecpoint,
    ] {
        let set = ecdh::TestSet::load(name).unwrap();
        let mut agreed = 0;
        for group in &set.test_groups {
            for case in &group.tests {
                let point = match group.encoding {
                    ecdh::EcdhEncoding::EcPoint => Some(&case.public_key[..]),
                    ecdh::EcdhEncoding::Asn1 => case.public_key.strip_prefix(&P256_SPKI),
                };
                let shared = point.and_then(PublicKey::of).and_then(|peer| {
                    scalar(&case.private_key)
                        .and_then(|secret| Ephemeral::from_bytes(Exchange::P256, &secret))?
                        .agree(&peer)
                });
                match (case.result, shared) {
                    (TestResult::Valid, Some(shared)) => {
                        assert_eq!(shared[..], case.shared_secret[..], "case {}", case.tc_id);
                        agreed += 1;
                    }
                    // Only uncompressed points are spoken.
                    (TestResult::Acceptable | TestResult::Invalid, None) => {}
                    (result, shared) => panic!("{result:?} {} {}", shared.is_some(), case.tc_id),
                }
            }
        }
        assert!(agreed > 150, "{agreed} of {}", set.number_of_tests);
    }
}

/// An integer of any length as 32 bytes.
fn scalar(bytes: &[u8]) -> Option<[u8; 32]> {
    let significant = bytes.iter().position(|byte| *byte != 0)?;
    let bytes = &bytes[significant..];
    let mut scalar = [0; 32];
    scalar
        .get_mut(32_usize.checked_sub(bytes.len())?..)?
        .copy_from_slice(bytes);
    Some(scalar)
}
