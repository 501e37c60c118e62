//! Encrypted sessions as an attacker and a user see them.
#![allow(missing_docs, clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use smartsocket_core::crypt::{
    self, ClientHello, Exchange, Group, Handshake, HandshakeError, Key, KeyRing, MAX_OVERHEAD,
    Offer, OpenError, Opened, Policy, SealError, ServerHello, Session, Suite,
};
use smartsocket_core::{Bytes, Message, Seed, Tick};

const NOW: Tick = Tick::ZERO;
const SUITES: [Suite; 2] = [Suite::A256CbcHs512, Suite::A256Gcm];

fn key() -> Key {
    Key::new([7; 32]).unwrap()
}

fn offer(suite: Suite, exchange: Option<Exchange>) -> Offer {
    Offer {
        suites: vec![suite],
        exchange,
    }
}

/// What two ends are made of.
struct Setting {
    client_key: Option<Key>,
    server_keys: Option<KeyRing>,
    offer: Offer,
    policy: Policy,
    namespaces: [&'static str; 2],
    seeds: [u8; 2],
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            client_key: Some(key()),
            server_keys: Some(key().into()),
            offer: Offer::default(),
            policy: Policy::default(),
            namespaces: ["/chat"; 2],
            seeds: [1, 2],
        }
    }
}

/// Two ends that have said hello, with their first records not yet delivered.
struct Greeted {
    client: Session,
    server: Session,
    client_first: Bytes,
    server_first: Bytes,
}

impl Setting {
    fn greet(&self) -> Result<Greeted, HandshakeError> {
        self.greet_with(|hello| hello, |answer| answer)
    }

    /// With somebody in between, who changes the JSON.
    fn greet_with(
        &self,
        on_hello: impl FnOnce(Value) -> Value,
        on_answer: impl FnOnce(Value) -> Value,
    ) -> Result<Greeted, HandshakeError> {
        let [client_seed, server_seed] = self.seeds.map(|n| Seed::new([n; 32]));
        let client = Handshake::new(
            self.client_key.as_ref(),
            &self.offer,
            self.namespaces[0],
            client_seed,
        )?;
        let hello = on_hello(serde_json::to_value(client.hello()).unwrap());
        let hello: ClientHello = serde_json::from_value(hello).unwrap();
        let (answer, server, server_first) = crypt::accept(
            NOW,
            self.server_keys.as_ref(),
            &self.policy,
            self.namespaces[1],
            &hello,
            &server_seed,
        )?;
        let answer = on_answer(serde_json::to_value(&answer).unwrap());
        let answer: ServerHello = serde_json::from_value(answer).unwrap();
        let (client, client_first) = client.finish(NOW, &answer)?;
        Ok(Greeted {
            client,
            server,
            client_first,
            server_first,
        })
    }

    fn open(&self) -> (Session, Session) {
        self.greet().unwrap().open()
    }
}

impl Greeted {
    fn open(mut self) -> (Session, Session) {
        assert_eq!(self.client.open(self.server_first), Ok(Opened::Ready));
        assert_eq!(self.server.open(self.client_first), Ok(Opened::Ready));
        (self.client, self.server)
    }

    fn fails(mut self) {
        assert_eq!(self.client.open(self.server_first), Err(OpenError));
        assert_eq!(self.server.open(self.client_first), Err(OpenError));
        for end in [&mut self.client, &mut self.server] {
            assert!(!end.is_ready());
            assert_eq!(end.seal(NOW, &"secret".into()), Err(SealError::Ended));
        }
    }
}

fn pair(suite: Suite) -> (Session, Session) {
    let setting = Setting {
        offer: offer(suite, None),
        ..Setting::default()
    };
    setting.open()
}

fn seal(end: &mut Session, text: &str) -> Bytes {
    end.seal(NOW, &text.into()).unwrap()
}

fn opened(text: &str) -> Result<Opened, OpenError> {
    Ok(Opened::Message(text.into()))
}

#[test]
fn messages_of_both_kinds_go_both_ways() {
    for suite in SUITES {
        for exchange in [None, Some(Exchange::X25519), Some(Exchange::P256)] {
            let setting = Setting {
                offer: offer(suite, exchange),
                ..Setting::default()
            };
            let (mut client, mut server) = setting.open();
            assert_eq!((client.suite(), server.suite()), (suite, suite));
            assert_eq!(client.key_id(), Some(key().id()));
            assert_eq!(server.key_id(), Some(key().id()));
            for message in [
                Message::text(""),
                Message::binary(vec![]),
                Message::text("smörgås €😀"),
                Message::binary(vec![0; 70_000]),
            ] {
                let record = client.seal(NOW, &message).unwrap();
                assert!(record.len() <= message.len() + MAX_OVERHEAD);
                assert_eq!(server.open(record), Ok(Opened::Message(message.clone())));
                let record = server.seal(NOW, &message).unwrap();
                assert_eq!(client.open(record), Ok(Opened::Message(message)));
            }
        }
    }
}

#[test]
fn the_same_seeds_make_the_same_records_and_others_make_others() {
    let records = |seeds| {
        let setting = Setting {
            seeds,
            ..Setting::default()
        };
        let (mut client, mut server) = setting.open();
        [seal(&mut client, "a"), seal(&mut server, "a")]
    };
    let [client, server] = records([1, 2]);
    assert_eq!(records([1, 2]), [client.clone(), server.clone()]);
    assert_ne!(client, server);
    for seeds in [[3, 2], [1, 3]] {
        let [c, s] = records(seeds);
        assert!(c != client && s != server, "one fresh nonce is enough");
    }
}

#[test]
fn the_same_message_is_never_the_same_record() {
    for suite in SUITES {
        let (mut client, _) = pair(suite);
        let [a, b] = [0; 2].map(|_| seal(&mut client, "yes"));
        assert_eq!(a.len(), b.len());
        assert_ne!(a[12..], b[12..]);
    }
}

#[test]
fn every_flipped_bit_every_cut_and_every_addition_is_refused() {
    for suite in SUITES {
        let record = {
            let (mut client, _) = pair(suite);
            seal(&mut client, r#"{"event":"pay","data":{"amount":1}}"#)
        };
        let refused = |changed: Vec<u8>| {
            let (_, mut server) = pair(suite);
            assert_eq!(server.open(changed.into()), Err(OpenError));
            assert_eq!(server.open(record.clone()), Err(OpenError), "for good");
        };
        for bit in 0..record.len() * 8 {
            let mut changed = record.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            refused(changed);
        }
        for length in 0..record.len() {
            refused(record[..length].to_vec());
        }
        refused([&record[..], &[0]].concat());
        refused([&record[..], &record[..]].concat());
    }
}

#[test]
fn replayed_reordered_and_left_out_records_are_refused() {
    for suite in SUITES {
        let (mut client, mut server) = pair(suite);
        let [a, b] = ["a", "b"].map(|text| seal(&mut client, text));
        assert_eq!(server.open(a.clone()), opened("a"));
        assert_eq!(server.open(a.clone()), Err(OpenError), "again");
        assert_eq!(server.open(b.clone()), Err(OpenError), "and for good");

        let (_, mut server) = pair(suite);
        assert_eq!(server.open(b.clone()), Err(OpenError), "out of order");
        assert_eq!(server.open(a), Err(OpenError));
    }
}

#[test]
fn reflected_records_are_refused() {
    for suite in SUITES {
        let (mut client, _) = pair(suite);
        let record = seal(&mut client, "a");
        assert_eq!(client.open(record), Err(OpenError));

        let setting = Setting {
            offer: offer(suite, None),
            ..Setting::default()
        };
        let mut greeted = setting.greet().unwrap();
        assert_eq!(greeted.client.open(greeted.client_first), Err(OpenError));
        assert_eq!(greeted.server.open(greeted.server_first), Err(OpenError));
    }
}

/// A recording of one connection is of no use on another of the same key.
#[test]
fn records_of_another_connection_are_refused() {
    for suite in SUITES {
        for seeds in [[1, 9], [9, 2]] {
            let setting = |seeds| Setting {
                offer: offer(suite, None),
                seeds,
                ..Setting::default()
            };
            let (mut client, _) = setting([1, 2]).open();
            let (_, mut server) = setting(seeds).open();
            assert_eq!(server.open(seal(&mut client, "a")), Err(OpenError));

            let recorded = setting([1, 2]).greet().unwrap();
            let mut again = setting(seeds).greet().unwrap();
            assert_eq!(again.server.open(recorded.client_first), Err(OpenError));
        }
    }
}

#[test]
fn another_namespace_is_another_session() {
    let setting = Setting {
        namespaces: ["/chat", "/admin"],
        ..Setting::default()
    };
    setting.greet().unwrap().fails();
}

#[test]
fn what_is_changed_in_the_hellos_comes_out() {
    let setting = Setting::default();
    let plain = |value| value;
    let change = |name: &'static str, to: Value| {
        move |mut hello: Value| {
            hello[name] = to;
            hello
        }
    };
    let base64 = |bytes: &[u8]| {
        let key = Key::new(bytes.try_into().unwrap()).unwrap();
        json!(key.reveal())
    };
    // A suite stripped, moved or added; a nonce; a public key of the attacker's.
    for suites in [json!([1]), json!([2]), json!([2, 1]), json!([1, 2, 9])] {
        let greeted = setting.greet_with(change("suites", suites), plain);
        greeted.unwrap().fails();
    }
    for (name, at_hello) in [("nonce", true), ("salt", false)] {
        let other = change(name, base64(&[9; 32]));
        let greeted = match at_hello {
            true => setting.greet_with(other, plain),
            false => setting.greet_with(plain, other),
        };
        greeted.unwrap().fails();
    }
    let basepoint = base64(&core::array::from_fn::<u8, 32, _>(|i| u8::from(i == 0) * 9));
    let on_hello = setting.greet_with(change("publicKey", basepoint.clone()), plain);
    on_hello.unwrap().fails();
    let on_answer = setting.greet_with(plain, change("serverPublicKey", basepoint));
    on_answer.unwrap().fails();
    let downgraded = setting.greet_with(plain, change("suite", json!(2)));
    downgraded.unwrap().fails();

    // The exchange stripped from both sides: the client notices.
    let strip = |name: &'static str| {
        move |mut hello: Value| {
            hello.as_object_mut().unwrap().remove(name);
            hello
        }
    };
    let stripped = setting.greet_with(strip("publicKey"), plain);
    assert_eq!(stripped.err(), Some(HandshakeError::Mismatch));
    let stripped = setting.greet_with(plain, strip("serverPublicKey"));
    assert_eq!(stripped.err(), Some(HandshakeError::Mismatch));
    for (name, to) in [
        ("suite", json!(3)),
        ("suite", json!(0)),
        ("kid", json!("00000000")),
    ] {
        let answered = setting.greet_with(plain, change(name, to));
        assert_eq!(answered.err(), Some(HandshakeError::Mismatch));
    }
}

#[test]
fn hellos_are_read_strictly() {
    let good = {
        let client = Handshake::new(Some(&key()), &Offer::default(), "/", Seed::new([1; 32]));
        serde_json::to_value(client.unwrap().hello()).unwrap()
    };
    let read = |hello: Value| serde_json::from_value::<ClientHello>(hello).is_ok();
    assert!(read(good.clone()));
    assert_eq!(good["suites"], json!([1, 2]));
    assert_eq!(good["kid"], json!(key().id().to_string()));
    let nonce = good["nonce"].as_str().unwrap();
    for (name, wrong) in [
        ("suites", json!([256])),
        ("suites", json!("1")),
        ("kid", json!("0011223")),
        ("nonce", json!(nonce[..43])),
        ("nonce", json!(format!("{nonce}AAAA"))),
        ("nonce", json!(format!("{nonce}\n"))),
        ("publicKey", json!("AAAA")),
        ("publicKey", json!(format!("Ag{}A=", "A".repeat(84)))),
    ] {
        let mut hello = good.clone();
        hello[name] = wrong.clone();
        assert!(!read(hello), "{name}: {wrong}");
    }
}

#[test]
fn low_order_and_invalid_public_keys_are_refused() {
    let setting = Setting::default();
    let base64 = |bytes: &[u8]| {
        let text = bytes.chunks(3).map(|chunk| match chunk.len() {
            3 => "AAAA",
            2 => "AAA=",
            _ => "AA==",
        });
        json!(text.collect::<String>())
    };
    // All zero is of low order on X25519, and no point of P-256.
    let with_zeros = |length: usize, first: &str| {
        let zeros = base64(&vec![0; length]);
        json!(zeros.as_str().unwrap().replacen("AA", first, 1))
    };
    for public in [with_zeros(32, "AA"), with_zeros(65, "BA")] {
        let on_hello = setting.greet_with(
            |mut hello| {
                hello["publicKey"] = public.clone();
                hello
            },
            |answer| answer,
        );
        assert_eq!(on_hello.err(), Some(HandshakeError::PublicKey));
        let on_answer = setting.greet_with(
            |hello| hello,
            |mut answer| {
                answer["serverPublicKey"] = public.clone();
                answer
            },
        );
        assert_eq!(on_answer.err(), Some(HandshakeError::PublicKey));
    }
}

#[test]
fn keys_rotate_without_a_restart() {
    let [old, new] = [1, 2].map(|n| Key::new([n; 32]).unwrap());
    let mut ring = KeyRing::new(old.clone());
    let greet = |key: &Key, ring: &KeyRing| {
        let setting = Setting {
            client_key: Some(key.clone()),
            server_keys: Some(ring.clone()),
            ..Setting::default()
        };
        setting.greet().map(Greeted::open).map(|(_, server)| server)
    };
    let refused = |key: &Key, ring: &KeyRing| {
        let error = greet(key, ring).err();
        assert_eq!(error, Some(HandshakeError::UnknownKey(Some(key.id()))));
    };
    refused(&new, &ring);
    ring.add(new.clone());
    for key in [&old, &new] {
        assert_eq!(greet(key, &ring).unwrap().key_id(), Some(key.id()));
    }
    ring.retire(old.id());
    refused(&old, &ring);
    assert!(greet(&new, &ring).is_ok());
}

#[test]
fn without_a_key_an_exchange_is_necessary() {
    let keyless = |exchange| Setting {
        client_key: None,
        server_keys: None,
        offer: offer(Suite::A256Gcm, exchange),
        ..Setting::default()
    };
    let (mut client, mut server) = keyless(Some(Exchange::P256)).open();
    assert_eq!(server.open(seal(&mut client, "a")), opened("a"));
    let error = keyless(None).greet().err();
    assert_eq!(error, Some(HandshakeError::NoSecret));

    // One with a key, and one without.
    let mut setting = keyless(Some(Exchange::X25519));
    setting.client_key = Some(key());
    let error = setting.greet().err();
    assert_eq!(error, Some(HandshakeError::UnknownKey(Some(key().id()))));
    setting.client_key = None;
    setting.server_keys = Some(key().into());
    let error = setting.greet().err();
    assert_eq!(error, Some(HandshakeError::UnknownKey(None)));
}

#[test]
fn a_server_takes_the_suite_it_likes_best_and_none_it_does_not_speak() {
    let suites = |client: &[Suite], server: &[Suite]| {
        let setting = Setting {
            offer: Offer {
                suites: client.to_vec(),
                exchange: None,
            },
            policy: Policy {
                suites: server.to_vec(),
                ..Policy::default()
            },
            ..Setting::default()
        };
        setting.greet().map(|greeted| greeted.open().1.suite())
    };
    let [cbc, gcm] = SUITES;
    assert_eq!(suites(&[cbc, gcm], &[gcm, cbc]), Ok(gcm));
    assert_eq!(suites(&[gcm, cbc], &[cbc, gcm]), Ok(cbc));
    assert_eq!(suites(&[gcm], &[cbc, gcm]), Ok(gcm));
    for (client, server) in [
        (&[gcm][..], &[cbc][..]),
        (&[], &[cbc]),
        (&[cbc; 17], &[cbc]),
    ] {
        assert_eq!(suites(client, server), Err(HandshakeError::NoCommonSuite));
    }
    let setting = Setting {
        offer: offer(cbc, None),
        policy: Policy {
            require_exchange: true,
            ..Policy::default()
        },
        ..Setting::default()
    };
    assert_eq!(setting.greet().err(), Some(HandshakeError::NoExchange));
    for (name, suite) in [("aes-256-cbc", cbc), ("aes-256-gcm", gcm)] {
        assert_eq!(name.parse(), Ok(suite));
        assert_eq!(suite.to_string(), name);
    }
    assert!("aes-256-ctr".parse::<Suite>().is_err());
}

#[test]
fn nothing_is_said_before_the_peer_is_known() {
    let mut greeted = Setting::default().greet().unwrap();
    let early = |end: &mut Session| {
        assert!(!end.is_ready());
        assert_eq!(end.seal(NOW, &"a".into()), Err(SealError::NotReady));
        assert_eq!(end.bye(NOW), Err(SealError::NotReady));
    };
    early(&mut greeted.client);
    early(&mut greeted.server);
    assert_eq!(greeted.client.open(greeted.server_first), Ok(Opened::Ready));
    assert!(greeted.client.is_ready());
    early(&mut greeted.server);
}

#[test]
fn a_bye_ends_both_directions_in_order() {
    for suite in SUITES {
        let (mut client, mut server) = pair(suite);
        let last = seal(&mut client, "last");
        let bye = client.bye(NOW).unwrap();
        assert_eq!(client.seal(NOW, &"more".into()), Err(SealError::Ended));
        assert_eq!(client.bye(NOW), Err(SealError::Ended));
        assert_eq!(server.open(last), opened("last"));
        assert_eq!(server.open(bye.clone()), Ok(Opened::Bye));
        assert!(!server.is_ready());
        // What was on its way, and the other side's goodbye, are still heard.
        assert_eq!(client.open(seal(&mut server, "late")), opened("late"));
        assert_eq!(client.open(server.bye(NOW).unwrap()), Ok(Opened::Bye));
        assert_eq!(server.open(bye), Err(OpenError));
    }
}

#[test]
fn keys_change_with_time() {
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    for suite in SUITES {
        let (mut client, mut server) = pair(suite);
        for days in 0..600 {
            let record = client
                .seal(Tick::from_millis(days * DAY), &"a".into())
                .unwrap();
            assert_eq!(record[2], days as u8, "epochs are counted mod 256");
            assert_eq!(server.open(record), opened("a"));
        }
    }
}

#[test]
fn a_group_s_message_is_sealed_once_for_all() {
    let mut group = Group::new(&Seed::new([5; 32]), NOW);
    group.seal(NOW, &"before".into()).unwrap();
    let mut members: Vec<_> = SUITES.map(pair).into();
    for (client, server) in &mut members {
        let invitation = server.invite(NOW, &group).unwrap();
        assert_eq!(client.open(invitation), Ok(Opened::Invited));
    }
    let record = group.seal(NOW, &"all".into()).unwrap();
    let next = group.seal(NOW, &Message::binary(vec![1])).unwrap();
    for (client, server) in &mut members {
        assert_eq!(client.open(record.clone()), opened("all"));
        assert_eq!(client.open(seal(server, "one")), opened("one"));
        assert_eq!(
            client.open(next.clone()),
            Ok(Opened::Message(vec![1].into()))
        );
    }
}

#[test]
fn a_group_s_members_may_miss_messages_but_hear_none_twice_or_late() {
    let invited = || {
        let mut group = Group::new(&Seed::new([5; 32]), NOW);
        let old = group.seal(NOW, &"old".into()).unwrap();
        let (mut client, mut server) = pair(Suite::A256CbcHs512);
        let invitation = server.invite(NOW, &group).unwrap();
        assert_eq!(client.open(invitation), Ok(Opened::Invited));
        let [a, b] = ["a", "b"].map(|text| group.seal(NOW, &text.into()).unwrap());
        (client, server, old, a, b)
    };
    let (mut client, _, _, _, b) = invited();
    assert_eq!(client.open(b), opened("b"));

    let (mut client, _, old, ..) = invited();
    assert_eq!(
        client.open(old),
        Err(OpenError),
        "from before the invitation"
    );
    let (mut client, _, _, a, b) = invited();
    assert_eq!(client.open(b), opened("b"));
    assert_eq!(client.open(a), Err(OpenError), "late");
    let (mut client, mut server, _, a, _) = invited();
    assert_eq!(client.open(a.clone()), opened("a"));
    assert_eq!(client.open(a.clone()), Err(OpenError), "twice");
    let own = seal(&mut server, "own");
    assert_eq!(
        client.open(own),
        Err(OpenError),
        "the whole session is over"
    );

    let (mut client, _, _, a, _) = invited();
    for bit in 0..a.len() * 8 {
        let mut changed = a.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(client.open(changed.into()), Err(OpenError));
        client = invited().0;
    }
}

#[test]
fn outsiders_servers_and_other_groups_open_nothing_of_a_group() {
    let mut group = Group::new(&Seed::new([5; 32]), NOW);
    let mut other = Group::new(&Seed::new([6; 32]), NOW);
    let (mut client, mut server) = pair(Suite::A256Gcm);
    assert_eq!(client.invite(NOW, &group), Err(SealError::NotServer));
    let record = group.seal(NOW, &"a".into()).unwrap();
    assert_eq!(client.open(record.clone()), Err(OpenError), "not invited");
    assert_eq!(server.open(record), Err(OpenError), "servers never are");

    let (mut client, mut server) = pair(Suite::A256Gcm);
    let invitation = server.invite(NOW, &group).unwrap();
    assert_eq!(client.open(invitation), Ok(Opened::Invited));
    let record = other.seal(NOW, &"a".into()).unwrap();
    assert_eq!(client.open(record), Err(OpenError));

    // A new group takes the place of the old one.
    let (mut client, mut server) = pair(Suite::A256Gcm);
    for group in [&group, &other] {
        let invitation = server.invite(NOW, group).unwrap();
        assert_eq!(client.open(invitation), Ok(Opened::Invited));
    }
    let record = other.seal(NOW, &"b".into()).unwrap();
    assert_eq!(client.open(record), opened("b"));
    let record = group.seal(NOW, &"c".into()).unwrap();
    assert_eq!(client.open(record), Err(OpenError));
}

#[test]
fn a_member_that_slept_through_changes_of_the_group_s_keys_keeps_up() {
    let days = |days: u64| Tick::from_millis(days * 24 * 60 * 60 * 1_000);
    let mut group = Group::new(&Seed::new([5; 32]), NOW);
    let (mut client, mut server) = pair(Suite::A256Gcm);
    let invitation = server.invite(NOW, &group).unwrap();
    assert_eq!(client.open(invitation), Ok(Opened::Invited));
    for day in 1..=200 {
        group.seal(days(day), &"unheard".into()).unwrap();
    }
    let record = group.seal(days(201), &"heard".into()).unwrap();
    assert_eq!(client.open(record), opened("heard"));
    // Who comes now does not get the keys of before.
    let invitation = server.invite(NOW, &group).unwrap();
    assert_eq!(client.open(invitation), Ok(Opened::Invited));
    let record = group.seal(days(201), &"a".into()).unwrap();
    assert_eq!((record[2], client.open(record)), (201, opened("a")));
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens_again(
        gcm: bool,
        conversation in prop::collection::vec(
            (any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0..1u64 << 48),
            1..20,
        ),
    ) {
        let (mut client, mut server) = pair(SUITES[usize::from(gcm)]);
        for (from_client, text, data, micros) in conversation {
            let message = match text {
                true => Message::text(String::from_utf8_lossy(&data)),
                false => data.into(),
            };
            let (from, to) = match from_client {
                true => (&mut client, &mut server),
                false => (&mut server, &mut client),
            };
            let record = from.seal(Tick::from_micros(micros), &message).unwrap();
            // Both when the bytes are the opener's alone and when they are shared.
            let shared = from_client.then(|| record.clone());
            prop_assert_eq!(to.open(record), Ok(Opened::Message(message)));
            drop(shared);
        }
    }

    #[test]
    fn no_bytes_panic_or_open(record in prop::collection::vec(any::<u8>(), 0..200), suite in 0..4u8) {
        let (mut client, mut server) = pair(Suite::A256Gcm);
        let mut like = record.clone();
        if like.len() >= 4 {
            like[..4].copy_from_slice(&[0xe1, suite, 0, 0]);
        }
        prop_assert_eq!(client.open(record.into()), Err(OpenError));
        prop_assert_eq!(server.open(like.into()), Err(OpenError));
    }
}
