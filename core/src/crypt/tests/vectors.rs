//! Published examples, and one computed independently with Python's `cryptography`.

use alloc::vec::Vec;

use super::hex;
use crate::crypt::record::{Content, HEADER, Opener};
use crate::crypt::schedule::{Path, Secret, Transcript};
use crate::crypt::suite::{Cipher, Suite};
use crate::crypt::{self, Exchange, Group, Handshake, Key, KeyRing, Offer, Policy};
use crate::entropy::Seed;
use crate::message::Message;
use crate::time::Tick;

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

/// A whole conversation with seeds 01…, 02… and 03…, key 07…, and namespace
/// `/chat`, as a program in Python with `cryptography` 48 made it from the
/// description of the wire.
struct Conversation {
    exchange: Exchange,
    hello: &'static str,
    answer: &'static str,
    first_of_client: &'static str,
    first_of_server: &'static str,
    text: &'static str,
    after_a_day: &'static str,
    invitation: &'static str,
    bye: &'static str,
}

const CONVERSATIONS: [Conversation; 2] = [
    Conversation {
        exchange: Exchange::X25519,
        hello: r#"{"suites":[2,1],"kid":"d829eabb","nonce":"agNICsdF5tZUejF4rgpspD25sFHBsSs912XP1Vq5YOM=","publicKey":"2qNzjB79TQjfNhCnUHfQP0BtlSn7kAC6dRdjjX1aBG4="}"#,
        answer: r#"{"suite":2,"kid":"d829eabb","salt":"aIQKaKRpXlS1szJKmGPCJcMOm79inY8cRaKqNc331mk=","serverPublicKey":"l+Xtk6vU0+WFrrgQq+K4u0QGXFZOlq4Fmmr5meEhp1A="}"#,
        first_of_client: "e10200040000000000000000da26c8e2a45c26988150e105ce5d4996216de267ea8d11eb3b8e53bc3c6bf7ca5d43363992234c82f1f1ae82186353f65a",
        first_of_server: "e102000400000000000000004ad276c70212bccfd5ed7a87bce7da394594428c782bfeb2e5965482e323dac12e0f1ac109acbd7a00650d0a63d0115394",
        text: "e102000100000000000000019c5780899909d3e398e83fb8291c884a777689561cc0ee737d",
        after_a_day: "e10201000000000000000001bb2be89a6df0943b8f9abaf882efa58412a5b3",
        invitation: "e102010400000000000000024c6c90a47f5f1345e148dafba01cecb7d7b8534daa010e3bb3ef406b00df28bc10a0339b579390cd264d538fbdb8c6805ee9e91a8887f447c195",
        bye: "e10200040000000000000002846bbbac2e3dd489625f22b7388e7880d7",
    },
    Conversation {
        exchange: Exchange::P256,
        hello: r#"{"suites":[2,1],"kid":"d829eabb","nonce":"agNICsdF5tZUejF4rgpspD25sFHBsSs912XP1Vq5YOM=","publicKey":"BIK6TDj+azXLZNkqW2J4UPRaKyhVkVO3JkmI/qGdknFXw6if5IpW8UoBBbWkLB/p2a9/lNaWicaMULhC0ogzxfI="}"#,
        answer: r#"{"suite":2,"kid":"d829eabb","salt":"aIQKaKRpXlS1szJKmGPCJcMOm79inY8cRaKqNc331mk=","serverPublicKey":"BIgVapsy2xQhqhLuaCVnkPvCGjWIdqXuTZe3wSrSmtPmet9kl6LH/94rQTb5IGhDCjVJB05NOnY1wO5TMDxBEDw="}"#,
        first_of_client: "e10200040000000000000000713df14668f165efb4cc1334a844572a406288762125f84c69be5310df90f55df49877de61ca036283a86a397850001a8b",
        first_of_server: "e10200040000000000000000cfb0d3bba3c02e09d445f67b7bcb11fb6dfc415641ff3e9cb2bfe3889e2dc1a0318e0d994aa7e185fd9e6cc28b62aac918",
        text: "e10200010000000000000001e33cafc1a3cb7775e80c94c7bdd1b2f70dc1234ed697ce2ac5",
        after_a_day: "e10201000000000000000001d847525b871c74e041baf3bb3781ce8f6fcd02",
        invitation: "e1020104000000000000000247830efeff9734a8082748a25decb484af1a4dfa4ef853b335f262013775e641638dee23a3f56706a6ce6c5010ef5d33f8219072b454a3a55f51",
        bye: "e102000400000000000000027447bf22ee2971a6c2b243e8e77b155702",
    },
];
const TO_THE_GROUP: &str = "e10300010000000000000000a04e223e2ea64846fc6164e08d2b09eb8a64a3";

#[test]
fn a_whole_conversation_is_that_of_the_vector() {
    let key = Key::new([7; 32]).unwrap();
    let ring = KeyRing::new(key.clone());
    let suites = alloc::vec![Suite::A256Gcm, Suite::A256CbcHs512];
    let policy = Policy {
        suites: suites.clone(),
        require_exchange: true,
    };
    let [client_seed, server_seed, group_seed] = [1, 2, 3].map(|n| Seed::new([n; 32]));
    let now = Tick::ZERO;
    let day = Tick::from_millis(24 * 60 * 60 * 1_000);
    for expected in CONVERSATIONS {
        let offer = Offer {
            suites: suites.clone(),
            exchange: Some(expected.exchange),
        };
        let client = Handshake::new(Some(&key), &offer, "/chat", client_seed.clone()).unwrap();
        let hello = client.hello();
        assert_eq!(serde_json::to_string(hello).unwrap(), expected.hello);
        let (answer, mut server, first) =
            crypt::accept(now, Some(&ring), &policy, "/chat", hello, &server_seed).unwrap();
        assert_eq!(serde_json::to_string(&answer).unwrap(), expected.answer);
        assert_eq!(first, hex(expected.first_of_server));
        let (mut client, first_of_client) = client.finish(now, &answer).unwrap();
        assert_eq!(first_of_client, hex(expected.first_of_client));
        client.open(first).unwrap();
        server.open(first_of_client).unwrap();

        let record = client.seal(now, &Message::text("smörgås")).unwrap();
        assert_eq!(record, hex(expected.text));
        let record = server
            .seal(day, &Message::binary(alloc::vec![1, 2, 3]))
            .unwrap();
        assert_eq!(record, hex(expected.after_a_day));
        let mut group = Group::new(&group_seed, now);
        let record = group.seal(now, &Message::text("all")).unwrap();
        assert_eq!(record, hex(TO_THE_GROUP));
        assert_eq!(
            server.invite(day, &group).unwrap(),
            hex(expected.invitation)
        );
        assert_eq!(client.bye(now).unwrap(), hex(expected.bye));
    }
}
