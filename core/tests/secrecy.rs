//! Encrypted sessions with the hub: how they begin, what they refuse, what they
//! carry, and how keys change.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::world::World;
use common::{BINARY, CLOSE, PING, TEXT, frame};
use smartsocket_core::crypt::{
    Exchange, Handshake, Key, KeyRing, Offer, Opened, Session, Suite, ignis,
};
use smartsocket_core::hub::{
    Auth, ConnId, Encryption, HubConfig, Interest, Publication, Route, RouteError, Step, Target,
};
use smartsocket_core::websocket::Role;
use smartsocket_core::{DropCause, Json, Message, RateLimit, Seed};

fn key(n: u8) -> Key {
    Key::generate(&Seed::new([n; 32]))
}

fn route(path: &str) -> Route {
    let mut route = Route::smartsocket(path);
    route.encryption = Some(Encryption::new(key(1)));
    route.interest = Interest::EVENT;
    route
}

/// A client of an encrypted route.
struct Client {
    id: ConnId,
    session: Session,
}

fn hello(key: &Key, offer: &Offer, namespace: &str) -> (Handshake, String) {
    let handshake = Handshake::new(Some(key), offer, namespace, Seed::new([9; 32])).unwrap();
    let hello = serde_json::to_string(handshake.hello()).unwrap();
    let data = format!(r#"{{"namespace":"{namespace}","encryption":{hello}}}"#);
    (handshake, format!(r#"{{"event":"CONNECT","data":{data}}}"#))
}

fn open(world: &mut World, id: ConnId, key: &Key, offer: &Offer, namespace: &str) -> Client {
    let (handshake, connect) = hello(key, offer, namespace);
    world.say(id, &connect);
    let mut frames = world.frames(id);
    assert_eq!(frames.len(), 2, "an answer and a record");
    let (opcode, record) = frames.pop().unwrap();
    assert_eq!(opcode, BINARY);
    let (opcode, ack) = frames.pop().unwrap();
    assert_eq!(opcode, TEXT);
    let ack: serde_json::Value = serde_json::from_slice(&ack).unwrap();
    assert_eq!(ack["event"], "CONNECT_ACK");
    assert_eq!(ack["data"]["namespace"], namespace);
    let answer = serde_json::from_value(ack["data"]["encryption"].clone()).unwrap();
    let (mut session, first) = handshake.finish(world.now, &answer).unwrap();
    assert_eq!(session.open(record.into()), Ok(Opened::Ready));
    world.feed(id, frame(Role::Server, BINARY, first));
    Client { id, session }
}

impl Client {
    fn connect(world: &mut World, path: &str) -> Self {
        let id = world.connect(path);
        open(world, id, &key(1), &Offer::default(), path)
    }

    fn seal(&mut self, world: &World, text: &str) -> Bytes {
        let text = Message::text(text.to_owned());
        self.session.seal(world.now, &text).unwrap()
    }

    fn say(&mut self, world: &mut World, text: &str) {
        let record = self.seal(world, text);
        world.feed(self.id, frame(Role::Server, BINARY, record));
    }

    /// What came, opened; a close frame as it is.
    fn got(&mut self, world: &mut World) -> Vec<String> {
        let frames = world.frames(self.id).into_iter();
        frames
            .filter(|(opcode, _)| *opcode != PING)
            .map(|(opcode, payload)| match opcode {
                CLOSE => format!("close {}", u16::from_be_bytes([payload[0], payload[1]])),
                _ => {
                    assert_eq!(opcode, BINARY, "{}", payload.escape_ascii());
                    match self.session.open(payload.into()).unwrap() {
                        Opened::Message(message) => {
                            String::from_utf8(message.as_bytes().to_vec()).unwrap()
                        }
                        other @ (Opened::Ready | Opened::Invited | Opened::Bye) => {
                            format!("{other:?}")
                        }
                    }
                }
            })
            .collect()
    }
}

#[test]
fn events_and_answers_go_both_ways_sealed() {
    for exchange in [None, Some(Exchange::X25519), Some(Exchange::P256)] {
        for suite in [Suite::A256CbcHs512, Suite::A256Gcm] {
            let offer = Offer {
                suites: vec![suite],
                exchange,
            };
            let mut world = World::new(vec![route("/")]);
            let id = world.connect("/");
            assert!(
                world
                    .hub
                    .client(id)
                    .is_none_or(|client| client.user().is_none())
            );
            let mut client = open(&mut world, id, &key(1), &offer, "/");
            let name = world.client(id);
            client.say(&mut world, r#"{"event":"hi","data":{"a":1,"__ackId":"x"}}"#);
            let mut turn = world.turn();
            let Step::Event(event) = &mut turn.step else {
                panic!("{turn:?}");
            };
            assert_eq!(event.name, "hi");
            let ticket = event.ack.take().unwrap();
            world
                .hub
                .acknowledge(world.now, ticket, &Json::string("yes"));
            world.decide(turn.allow());
            world
                .hub
                .emit(world.now, name, "news", Some(Json::from(7_u64)));
            world.drain();
            assert_eq!(
                client.got(&mut world),
                [
                    r#"{"event":"__ack__","data":{"ackId":"x","response":"yes"}}"#,
                    r#"{"event":"news","data":7}"#
                ]
            );
            // The end is sealed as well.
            world.hub.stop(world.now);
            world.drain();
            assert_eq!(client.got(&mut world), ["Bye", "close 1001"]);
        }
    }
}

#[test]
fn a_broadcast_reaches_everybody_sealed_for_each() {
    let mut world = World::new(vec![route("/")]);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(&mut world, "/")).collect();
    let all = Publication::new(Target::Namespace("/".into()), "all", None);
    assert_eq!(world.hub.publish(world.now, all), 3);
    world.drain();
    for client in &mut clients {
        assert_eq!(client.got(&mut world), [r#"{"event":"all"}"#]);
    }
}

#[test]
fn who_does_not_encrypt_is_refused_and_hears_nothing() {
    let plain = [
        r#"{"event":"CONNECT","data":{"namespace":"/"}}"#,
        r#"{"event":"hi"}"#,
        r#"{"event":"__ack__","data":{"ackId":"ack_1","response":1}}"#,
        r#"{"event":"CONNECT","data":{"encryption":{"suites":[1]}}}"#,
    ];
    for words in plain {
        let mut world = World::new(vec![route("/"), Route::smartsocket("/open")]);
        let id = world.connect("/");
        let all = Publication::new(Target::All, "secret", None);
        assert_eq!(world.hub.publish(world.now, all), 0);
        world.say(id, words);
        assert!(world.turns.is_empty(), "{words}");
        let got = world.got(id);
        assert!(
            got.iter()
                .all(|text| !text.contains("secret") && !text.contains("CONNECT_ACK")),
            "{got:?}"
        );
        // One who says nothing more is closed in time.
        world.pass(world.now + std::time::Duration::from_secs(6));
        let got: Vec<_> = got.into_iter().chain(world.got(id)).collect();
        assert!(
            got.iter()
                .any(|text| text.starts_with("close 4001") || text.starts_with("close 4003")),
            "{words}: {got:?}"
        );
    }
}

#[test]
fn there_is_no_way_from_an_open_namespace_to_an_encrypted_one() {
    let mut world = World::new(vec![route("/secret"), Route::smartsocket("/")]);
    let id = world.connect("/");
    world.say(id, r#"{"event":"CONNECT","data":{"namespace":"/secret"}}"#);
    assert!(world.got(id)[0].contains("ERR_MSG_005"));
    // Nor back, or on to another: the session is for one.
    let mut client = Client::connect(&mut world, "/secret");
    client.say(
        &mut world,
        r#"{"event":"CONNECT","data":{"namespace":"/"}}"#,
    );
    assert!(client.got(&mut world)[0].contains("ERR_MSG_005"));
    // With a hello there is.
    open(&mut world, id, &key(1), &Offer::default(), "/secret");
    assert_eq!(world.hub.client(id).unwrap().namespace(), "/secret");
}

#[test]
fn a_wrong_key_is_err_conn_004() {
    let mut world = World::new(vec![route("/")]);
    let id = world.connect("/");
    let (_, connect) = hello(&key(2), &Offer::default(), "/");
    world.say(id, &connect);
    let got = world.got(id);
    assert!(got[0].contains("ERR_CONN_004"), "{got:?}");
    assert!(got[1].starts_with("close 4003"), "{got:?}");
    assert_eq!(got.len(), 2);
}

#[test]
fn a_first_record_that_is_none_is_the_end() {
    let mut world = World::new(vec![route("/")]);
    let id = world.connect("/");
    let (_, connect) = hello(&key(1), &Offer::default(), "/");
    world.say(id, &connect);
    world.frames(id);
    world.feed(id, frame(Role::Server, BINARY, [0xe1; 80]));
    assert!(world.got(id)[0].starts_with("close 4003"));
    assert_eq!(world.hub.dropped(DropCause::Undecryptable), 1);
}

#[test]
fn what_does_not_open_is_err_msg_003_and_text_is_never_taken() {
    for flip in [true, false] {
        let mut world = World::new(vec![route("/")]);
        let mut client = Client::connect(&mut world, "/");
        let id = client.id;
        if flip {
            let mut record = client.seal(&world, r#"{"event":"hi"}"#).to_vec();
            record[40] ^= 1;
            world.feed(id, frame(Role::Server, BINARY, record));
        } else {
            world.say(id, r#"{"event":"hi"}"#);
        }
        assert!(world.turns.is_empty());
        let got = world.got(id);
        assert_eq!(
            got.last().unwrap(),
            "close 1008 ERR_MSG_003: Decryption failed"
        );
        assert_eq!(world.hub.dropped(DropCause::Undecryptable), 1);
    }
}

#[test]
fn an_api_key_travels_sealed() {
    let mut route = route("/");
    route.auth = Auth::ApiKeys {
        keys: vec!["k".into()],
        timeout: std::time::Duration::from_secs(5),
    };
    let mut world = World::new(vec![route]);
    let id = world.connect("/");
    // In the open it does not count.
    world.say(id, r#"{"event":"CONNECT","data":{"apiKey":"k"}}"#);
    assert!(world.got(id)[1].starts_with("close 4003"));

    let mut client = Client::connect(&mut world, "/");
    client.say(&mut world, r#"{"event":"hi"}"#);
    assert!(client.got(&mut world)[0].contains("ERR_CONN_004"));
    assert!(world.turns.is_empty());
    client.say(&mut world, r#"{"event":"CONNECT","data":{"apiKey":"k"}}"#);
    assert!(client.got(&mut world)[0].contains("CONNECT_ACK"));
    client.say(&mut world, r#"{"event":"hi"}"#);
    assert_eq!(world.turns.len(), 1);
}

#[test]
fn one_too_many_is_dropped_and_the_session_goes_on() {
    let mut route = route("/");
    route.rate = Some(RateLimit::new(4, std::time::Duration::from_secs(60)));
    let mut world = World::new(vec![route]);
    world.yes = true;
    let mut client = Client::connect(&mut world, "/");
    for _ in 0..5 {
        client.say(&mut world, r#"{"event":"hi"}"#);
    }
    let got = client.got(&mut world);
    assert_eq!(got.len(), 1);
    assert!(got[0].contains("__rate-limited__"));
    world.pass(world.now + std::time::Duration::from_secs(61));
    client.got(&mut world);
    client.say(&mut world, r#"{"event":"hi"}"#);
    assert!(client.got(&mut world).is_empty());
}

#[test]
fn who_need_not_encrypt_may() {
    let mut route = route("/");
    route.encryption.as_mut().unwrap().required = false;
    let mut world = World::new(vec![route]);
    let plain = world.connect("/");
    world.say(plain, r#"{"event":"hi"}"#);
    let mut sealed = Client::connect(&mut world, "/");
    sealed.say(&mut world, r#"{"event":"hi"}"#);
    assert_eq!(world.turns.len(), 2);
    let is_encrypted = |id| world.hub.client(id).unwrap().is_encrypted();
    assert_eq!([plain, sealed.id].map(is_encrypted), [false, true]);
    let all = Publication::new(Target::All, "all", None);
    assert_eq!(world.hub.publish(world.now, all), 2);
    world.drain();
    assert_eq!(world.got(plain), [r#"{"event":"all"}"#]);
    assert_eq!(sealed.got(&mut world), [r#"{"event":"all"}"#]);
}

#[test]
fn what_comes_while_keys_are_agreed_on_waits() {
    let mut route = route("/");
    route.encryption.as_mut().unwrap().required = false;
    let mut world = World::new(vec![route]);
    let id = world.connect("/");
    let (handshake, connect) = hello(&key(1), &Offer::default(), "/");
    world.say(id, &connect);
    let all = Publication::new(Target::All, "all", None);
    assert_eq!(world.hub.publish(world.now, all), 1);
    world.drain();
    let frames = world.frames(id);
    assert_eq!(frames.len(), 2, "nothing behind the answer and the record");
    let ack: serde_json::Value = serde_json::from_slice(&frames[0].1).unwrap();
    let answer = serde_json::from_value(ack["data"]["encryption"].clone()).unwrap();
    let (mut session, first) = handshake.finish(world.now, &answer).unwrap();
    session.open(frames[1].1.clone().into()).unwrap();
    world.feed(id, frame(Role::Server, BINARY, first));
    let mut client = Client { id, session };
    assert_eq!(client.got(&mut world), [r#"{"event":"all"}"#]);
}

#[test]
fn the_longest_message_is_as_long_sealed_as_it_is_in_the_open() {
    // Of whole blocks: one more of padding, so nothing is longer around it.
    const MOST: usize = 1_008;
    let event = |length: usize| {
        let frame = r#"{"event":"hi","data":""}"#.len();
        format!(
            r#"{{"event":"hi","data":"{}"}}"#,
            "x".repeat(length - frame)
        )
    };
    let mut route = route("/");
    route.websocket.max_message = MOST;
    route.websocket.max_frame = MOST;
    route.encryption.as_mut().unwrap().required = false;
    for suite in [Suite::A256CbcHs512, Suite::A256Gcm] {
        let offer = Offer {
            suites: vec![suite],
            exchange: None,
        };
        // The last is refused for the record's length, unopened.
        for (length, taken) in [(MOST - 1, 1), (MOST, 1), (MOST + 1, 0), (MOST + 80, 0)] {
            let mut world = World::new(vec![route.clone()]);
            let id = world.connect("/");
            let mut client = open(&mut world, id, &key(1), &offer, "/");
            client.say(&mut world, &event(length));
            assert_eq!(world.turns.len(), taken, "{suite} {length}");
            let got = client.got(&mut world);
            match taken {
                1 => assert!(got.is_empty(), "{got:?}"),
                _ => assert_eq!(got.last().unwrap(), "close 1009", "{suite} {length}"),
            }
        }
    }
    for (length, taken) in [(MOST, 1), (MOST + 1, 0)] {
        let mut world = World::new(vec![route.clone()]);
        let plain = world.connect("/");
        world.say(plain, &event(length));
        assert_eq!(world.turns.len(), taken);
        if taken == 0 {
            let reason = "close 1009 message exceeds maximum of 1008";
            assert_eq!(world.got(plain), [reason]);
        }
    }
}

/// The records that came to a client, unopened.
fn records(world: &mut World, client: &Client) -> Vec<Vec<u8>> {
    let frames = world.frames(client.id).into_iter();
    let records = frames.filter(|(opcode, _)| *opcode != PING);
    records.map(|(_, record)| record).collect()
}

#[test]
fn what_goes_to_many_may_be_sealed_once() {
    let mut route = route("/");
    route.encryption.as_mut().unwrap().group = true;
    let mut world = World::new(vec![route]);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(&mut world, "/")).collect();
    // Whether all got the same record, and how many were invited.
    let publish = |world: &mut World, clients: &mut [Client], n: u64| {
        let target = Target::Namespace("/".into());
        let all = Publication::new(target, "all", Some(Json::from(n)));
        assert_eq!(world.hub.publish(world.now, all), clients.len());
        world.drain();
        let (mut sealed, mut invited) = (Vec::new(), 0);
        for client in clients {
            let mut records = records(world, client);
            sealed.push(records.pop().unwrap());
            for record in records {
                assert_eq!(client.session.open(record.into()), Ok(Opened::Invited));
                invited += 1;
            }
            let record = sealed.last().unwrap().clone();
            let text = format!(r#"{{"event":"all","data":{n}}}"#);
            let said = Opened::Message(Message::text(text));
            assert_eq!(client.session.open(record.into()), Ok(said));
        }
        let same = sealed.iter().all(|record| *record == sealed[0]);
        (same, invited)
    };
    // All are invited with the first, which only the first gets as it is for all.
    assert_eq!(publish(&mut world, &mut clients, 1), (false, 3));
    assert_eq!(publish(&mut world, &mut clients, 2), (true, 0));
    // What is for one is sealed for one, and one who comes takes part.
    let one = world.client(clients[0].id);
    world.hub.emit(world.now, one, "one", None);
    world.drain();
    assert_eq!(clients[0].got(&mut world), [r#"{"event":"one"}"#]);
    clients.push(Client::connect(&mut world, "/"));
    assert_eq!(publish(&mut world, &mut clients, 3), (false, 1));
    assert_eq!(publish(&mut world, &mut clients, 4), (true, 0));
    // One who does not read gets all of it later, in order.
    let slow = clients[1].id;
    world.sockets.get_mut(&slow).unwrap().takes = Some(0);
    for n in 0..40_u64 {
        let target = Target::Namespace("/".into());
        let data = Json::string(&format!("{n}{}", "x".repeat(5_000)));
        world
            .hub
            .publish(world.now, Publication::new(target, "all", Some(data)));
        world.drain();
    }
    world.sockets.get_mut(&slow).unwrap().takes = None;
    world.write(slow);
    world.drain();
    for client in &mut clients {
        let got = client.got(&mut world);
        assert_eq!(got.len(), 40);
        for (n, text) in got.iter().enumerate() {
            assert!(text.contains(&format!("\"{n}x")), "{text:.40}");
        }
    }
    // Who has left cannot listen in for ever.
    let gone = clients.pop().unwrap();
    world.feed(gone.id, frame(Role::Server, CLOSE, [3, 232]));
    assert_eq!(publish(&mut world, &mut clients, 5), (true, 0));
    world.now = world.now + std::time::Duration::from_secs(3_601);
    assert_eq!(publish(&mut world, &mut clients, 6), (false, 3));
    assert_eq!(publish(&mut world, &mut clients, 7), (true, 0));
    // Nor who has an old key.
    let mut ring = KeyRing::new(key(2));
    ring.add(key(1));
    world.hub.set_keys(world.now, "/", &ring);
    assert_eq!(publish(&mut world, &mut clients, 8), (false, 3));
    assert_eq!(publish(&mut world, &mut clients, 9), (true, 0));
}

#[test]
fn keys_change_without_a_pause() {
    let mut world = World::new(vec![route("/")]);
    let mut old = Client::connect(&mut world, "/");
    let mut ring = KeyRing::new(key(2));
    ring.add(key(1));
    world.hub.set_keys(world.now, "/", &ring);
    world.drain();
    old.say(&mut world, r#"{"event":"hi"}"#);
    assert_eq!(world.turns.len(), 1);
    let id = world.connect("/");
    let mut new = open(&mut world, id, &key(2), &Offer::default(), "/");
    // The old one has had its time.
    world.hub.set_keys(world.now, "/", &KeyRing::new(key(2)));
    world.drain();
    assert_eq!(old.got(&mut world), ["Bye", "close 1012"]);
    assert!(new.got(&mut world).is_empty());
    let id = world.connect("/");
    let (_, connect) = hello(&key(1), &Offer::default(), "/");
    world.say(id, &connect);
    assert!(world.got(id)[0].contains("ERR_CONN_004"));
}

#[test]
fn what_a_dialect_does_not_know_is_refused() {
    let mut route = Route::rnode("/");
    route.encryption = Some(Encryption::new(key(1)));
    let config = HubConfig {
        routes: vec![route],
        ..HubConfig::default()
    };
    let hub = smartsocket_core::hub::Hub::new(config, Seed::new([0; 32]), Default::default(), 0);
    assert!(matches!(hub, Err(RouteError::Encryption(_))));
}

#[test]
fn ignis_clients_exchange_keys_when_they_authenticate() {
    let mut route = Route::ignis("/ws");
    route.encryption = Some(Encryption::exchange());
    route.interest = Interest::AUTHENTICATE;
    for known in [Some(true), Some(false), None] {
        let mut world = World::new(vec![route.clone()]);
        let id = world.connect("/ws");
        let client = ignis::KeyPair::new(&Seed::new([5; 32]));
        let public = match known {
            Some(true) => format!(r#","publicKey":"{}""#, client.public_key()),
            Some(false) => r#","publicKey":"AAAA""#.into(),
            None => String::new(),
        };
        world.say(
            id,
            &format!(r#"{{"event":"authenticate","data":{{"token":"t"{public}}}}}"#),
        );
        let turn = world.turn();
        world.decide(turn.allow());
        if known != Some(true) {
            assert_eq!(
                world.got(id),
                [
                    r#"{"event":"error","data":{"message":"Encryption handshake failed"}}"#,
                    "close 4004 Encryption required"
                ]
            );
            continue;
        }
        let connected: serde_json::Value = serde_json::from_str(&world.got(id)[0]).unwrap();
        assert_eq!(connected["event"], "connected");
        assert!(world.hub.client(id).unwrap().is_encrypted());
        let text = |name| connected["data"][name].as_str().unwrap();
        let cipher = client
            .finish(text("serverPublicKey"), text("salt"))
            .unwrap();
        let all = Publication::new(Target::All, "news", Some(Json::from(1_u64)));
        assert_eq!(world.hub.publish(world.now, all), 1);
        let name = world.client(id);
        // What cannot be sealed is not said at all.
        world
            .hub
            .send(world.now, name, Message::binary(&b"bytes"[..]));
        world.drain();
        let got = world.got(id);
        assert_eq!(got.len(), 1);
        let wrapped: serde_json::Value = serde_json::from_str(&got[0]).unwrap();
        assert_eq!(wrapped["event"], "encrypted");
        let sealed = serde_json::from_value(wrapped["data"].clone()).unwrap();
        assert_eq!(
            cipher.open(&sealed, "").unwrap(),
            r#"{"event":"news","data":1}"#
        );
        // What clients say is in the open.
        world.say(id, r#"{"event":"heartbeat"}"#);
        assert!(world.got(id).is_empty());
    }
}
