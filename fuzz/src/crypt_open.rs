//! Encryption: records, hellos, and the texts that keys and ciphertexts are
//! written as.

use smartsocket_core::crypt::ignis::{self, KeyPair};
use smartsocket_core::crypt::{
    self, ClientHello, Group, Handshake, Key, KeyRing, MAX_OVERHEAD, Offer, OpenError, Opened,
    Policy, SealError, ServerHello, Session, Suite,
};
use smartsocket_core::{Bytes, Message, Seed, Tick};
use stats_alloc::Region;

use crate::HEAP;
use crate::input::{Input, bit, choice};

const NOW: Tick = Tick::ZERO;

/// `options`, then a script of records, two hellos with a zero between, or texts
/// with zeros between.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte();
    match choice(options, 3) {
        0 | 1 => records(options, input),
        2 => hellos(options, input.0),
        _ => texts(input.0),
    }
}

fn key() -> Key {
    Key::new([7; 32]).expect("not zero")
}

fn seed(n: u8) -> Seed {
    Seed::new([n; 32])
}

/// A client and a server that trust each other.
fn open(options: u8) -> (Session, Session) {
    let suite = match bit(options, 0) {
        true => Suite::A256Gcm,
        false => Suite::A256CbcHs512,
    };
    let offer = Offer {
        suites: vec![suite],
        exchange: None,
    };
    let client = Handshake::new(Some(&key()), &offer, "/", seed(1)).expect("a key and a suite");
    let ring = KeyRing::new(key());
    let (policy, hello) = (Policy::default(), client.hello());
    let answer = crypt::accept(NOW, Some(&ring), &policy, "/", hello, &seed(2));
    let (answer, mut server, first) = answer.expect("a known suite");
    let (mut client, first_of_client) = client.finish(NOW, &answer).expect("what was offered");
    assert_eq!(client.open(first), Ok(Opened::Ready));
    assert_eq!(server.open(first_of_client), Ok(Opened::Ready));
    (client, server)
}

/// `(kind, counted, ...)*`: the attacker delivers the next record, changes it,
/// makes one up, repeats one or leaves one out. What opens is what was sealed.
fn records(options: u8, mut input: Input<'_>) {
    let (client, server) = open(options);
    let to_client = bit(options, 1);
    let (mut reader, mut writer) = match to_client {
        true => (client, server),
        false => (server, client),
    };
    let mut group = Group::new(&seed(3), NOW);
    if to_client {
        let invitation = writer.invite(NOW, &group).expect("ready");
        assert_eq!(reader.open(invitation), Ok(Opened::Invited));
    }
    let mut sent: Vec<Bytes> = Vec::new();
    let mut ended = false;
    // What was left out of a session's own records is missed by the next.
    let mut gap = false;
    while !input.0.is_empty() {
        let kind = input.byte();
        let data = input.counted(u8::MAX);
        let message = match core::str::from_utf8(data) {
            Ok(text) if bit(kind, 3) => Message::text(text),
            _ => data.into(),
        };
        let to_group = to_client && bit(kind, 4);
        let mut seal = |message: &Message| match to_group {
            true => group.seal(NOW, message),
            false => writer.seal(NOW, message),
        };
        let (record, genuine) = match kind & 7 {
            0 | 1 => (seal(&message).expect("ready"), true),
            2 => {
                let sealed = seal(&message).expect("ready");
                let mut record = sealed.to_vec();
                let at = usize::from(input.byte()) * record.len() / 256;
                record[at] ^= input.byte();
                let genuine = record == sealed;
                (record.into(), genuine)
            }
            3 => (Bytes::copy_from_slice(data), false),
            4 => {
                let sealed = seal(&message).expect("ready");
                let mut record = sealed.to_vec();
                record.truncate(usize::from(input.byte()));
                record.resize(record.len() + usize::from(input.byte() >> 4), 0);
                let genuine = record == sealed;
                (record.into(), genuine)
            }
            5 if !sent.is_empty() => (sent[usize::from(input.byte()) % sent.len()].clone(), false),
            _ => {
                seal(&message).expect("ready");
                gap |= !to_group;
                continue;
            }
        };
        sent.push(record.clone());
        let length = record.len();
        let region = Region::new(HEAP);
        let opened = reader.open(record);
        let cost = region.change().bytes_allocated;
        assert!(cost <= length + 256, "{cost} allocated for {length}");

        let expected = match genuine && !ended && (to_group || !gap) {
            true => Ok(Opened::Message(message)),
            false => Err(OpenError),
        };
        assert_eq!(opened, expected);
        ended |= expected.is_err();
        let answer = reader.seal(NOW, &Message::text("answer"));
        match answer {
            Ok(answer) => assert!(!ended && answer.len() <= 6 + MAX_OVERHEAD),
            Err(error) => assert!(ended && error == SealError::Ended),
        }
    }
}

/// Whatever hellos say, no session with them opens what its peer did not seal.
fn hellos(options: u8, data: &[u8]) {
    let mut hellos = data.splitn(2, |byte| *byte == 0);
    let hello = hellos.next().unwrap_or_default();
    if let Ok(hello) = serde_json::from_slice::<ClientHello>(hello) {
        let json = serde_json::to_vec(&hello).expect("plain fields");
        let again = serde_json::from_slice::<ClientHello>(&json);
        assert_eq!(again.ok().as_ref(), Some(&hello));
        let ring = KeyRing::new(key());
        let keys = bit(options, 0).then_some(&ring);
        let policy = Policy {
            require_exchange: bit(options, 1),
            ..Policy::default()
        };
        if let Ok((answer, mut session, first)) =
            crypt::accept(NOW, keys, &policy, "/", &hello, &seed(2))
        {
            assert!(!session.is_ready());
            assert_eq!(session.open(first), Err(OpenError), "its own");
            let json = serde_json::to_string(&answer).expect("plain fields");
            let again = serde_json::from_str::<ServerHello>(&json);
            assert_eq!(again.ok(), Some(answer));
        }
    }
    let answer = hellos.next().unwrap_or_default();
    if let Ok(answer) = serde_json::from_slice::<ServerHello>(answer) {
        let key = bit(options, 0).then(key);
        let client = Handshake::new(key.as_ref(), &Offer::default(), "/", seed(1));
        let client = client.expect("an exchange");
        if let Ok((mut session, first)) = client.finish(NOW, &answer) {
            assert_eq!(session.open(first), Err(OpenError), "its own");
        }
    }
}

/// A key, a public key and a salt, an IV and a ciphertext.
fn texts(data: &[u8]) {
    let mut texts = data.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let mut next = || texts.next().unwrap_or_default();
    if let Ok(key) = next().parse::<Key>() {
        assert_eq!(key.reveal().parse(), Ok(key));
    }
    let keys = || KeyPair::new(&seed(1));
    let (public, salt) = (next(), next());
    if let Ok((salt, _)) = keys().accept(&public) {
        assert_eq!(salt.len(), 44);
        assert_eq!(public.len(), 88);
    }
    let other = keys().finish(&public, &salt);
    let cipher = other.unwrap_or_else(|_| {
        let salt = "AAAA";
        let public = KeyPair::new(&seed(2)).public_key();
        keys().finish(&public, salt).expect("both are valid")
    });
    let sealed = ignis::Sealed {
        iv: next().into(),
        ct: next().into(),
    };
    assert_eq!(cipher.open(&sealed, ""), Err(OpenError));
}
