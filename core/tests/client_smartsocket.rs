//! The SmartSocket client against the hub: both are machines of this crate, so
//! this shows that they fit; that either is right, the transcripts and the
//! foreign peers show.
#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod common;

use std::time::Duration;

use common::world::{WALL, World};
use smartsocket_core::client::{
    Ending, Event, LineId, Output, Payload, Provider, Secret, SmartSocket, State, Verdict,
};
use smartsocket_core::crypt::{Exchange, Key, Offer};
use smartsocket_core::hub::{Auth, ConnId, Encryption, Interest, Publication, Route, Step, Target};
use smartsocket_core::{Client, CloseCode, Fault, Json, Seed, Tick};

fn key(n: u8) -> Key {
    Key::generate(&Seed::new([n; 32]))
}

/// A client and the hub it is connected to.
struct Pair {
    world: World,
    client: Client,
    line: Option<(LineId, ConnId)>,
    events: Vec<Event>,
}

fn route() -> Route {
    let mut route = Route::smartsocket("/chat");
    route.interest = Interest::EVENT;
    route
}

fn options() -> SmartSocket {
    SmartSocket {
        namespace: "/chat".into(),
        ..SmartSocket::default()
    }
}

impl Pair {
    fn new(route: Route, options: SmartSocket) -> Self {
        let provider = Provider::SmartSocket(Box::new(options));
        let config = provider.config("ws://localhost:3000");
        let seed = Seed::new([5; 32]);
        let mut pair = Self {
            world: World::new(vec![route]),
            client: Client::new(provider, config, seed, Tick::ZERO, WALL).unwrap(),
            line: None,
            events: Vec::new(),
        };
        pair.client.connect(Tick::ZERO);
        pair.run();
        pair
    }

    fn run(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.client.poll_output() {
                idle = false;
                let now = self.world.now;
                match output {
                    Output::Dial(dial) => {
                        let id = self.world.hub.accept(now, None).unwrap();
                        self.world.sockets.insert(id, Default::default());
                        self.line = Some((dial.line, id));
                        self.client.handle_dialed(now, dial.line);
                    }
                    Output::Transmit(line) => {
                        let unsent = self.client.unsent(line);
                        let bytes: Vec<u8> = unsent.flat_map(|bytes| bytes.to_vec()).collect();
                        self.client.transmitted(now, line, bytes.len());
                        if let Some((of, id)) = self.line
                            && of == line
                        {
                            self.world.feed(id, bytes);
                        }
                    }
                    Output::Event(event) => self.events.push(event),
                    Output::Shutdown(line) | Output::Close(line) => {
                        if let Some((of, id)) = self.line
                            && of == line
                        {
                            self.world.hub.handle_eof(now, id);
                            self.world.drain();
                        }
                    }
                    Output::PauseRead(_) | Output::ResumeRead(_) => {}
                    output @ (Output::Token | Output::Authorize { .. }) => panic!("{output:?}"),
                }
            }
            if let Some((line, id)) = self.line {
                let mut bytes = std::mem::take(&mut self.world.sockets.get_mut(&id).unwrap().bytes);
                if !bytes.is_empty() {
                    idle = false;
                    self.client.handle_bytes(self.world.now, line, &mut bytes);
                }
                if self.world.sockets[&id].dropped {
                    self.line = None;
                    self.client.handle_eof(self.world.now, line);
                    idle = false;
                }
            }
            if idle {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.world.now + time;
        while let Some(due) = self.client.next_timeout().filter(|due| *due <= until) {
            self.world.now = self.world.now.max(due);
            self.client.handle_timeout(self.world.now);
            self.run();
        }
        self.world.now = until;
    }

    fn heard(&mut self) -> Vec<(String, String)> {
        let mut heard = Vec::new();
        self.events.retain(|event| match event {
            Event::Message(incoming) => {
                let Payload::Json(data) = &incoming.data else {
                    panic!("{incoming:?}")
                };
                let event = incoming.event.as_deref().unwrap();
                heard.push((event.to_owned(), data.as_str().to_owned()));
                false
            }
            _ => true,
        });
        heard
    }

    fn ended(&self) -> Option<(String, Verdict)> {
        self.events.iter().find_map(|event| match event {
            Event::Ended(ending, verdict) => Some((ending.to_string(), *verdict)),
            _ => None,
        })
    }
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).unwrap()
}

fn talks(route: Route, options: SmartSocket) {
    let mut pair = Pair::new(route, options);
    assert_eq!(
        pair.client.state(),
        State::Authenticated,
        "{:?}",
        pair.events
    );
    let now = pair.world.now;
    // An event, short and long; the application answers one.
    let long = format!("\"{}\"", "long ".repeat(1_000));
    let id = pair
        .client
        .request(now, None, "save", Some(json(r#"{"n":1}"#)), None);
    pair.client
        .publish(now, None, "note", Some(json(&long)), Default::default());
    // Data that are no object keep their shape.
    let texts: Vec<_> = [json(r#""text""#), json("[1]"), json("null")]
        .into_iter()
        .map(|data| {
            (
                data.clone(),
                pair.client.request(now, None, "echo", Some(data), None),
            )
        })
        .collect();
    pair.run();
    let mut names = Vec::new();
    // A turn waits for the one before it.
    for _ in 0..5 {
        for mut turn in std::mem::take(&mut pair.world.turns) {
            let Step::Event(event) = &mut turn.step else {
                panic!("{turn:?}")
            };
            if event.name != "echo" {
                names.push((event.name.to_string(), event.data.clone().unwrap()));
            }
            if let Some(ack) = event.ack.take() {
                let saved = json(r#"{"saved":true}"#);
                let answer = match (&*event.name, &event.data) {
                    ("echo", Some(data)) => data.clone(),
                    _ => saved,
                };
                pair.world.hub.acknowledge(now, ack, &answer);
            }
            pair.world.hub.decide(now, turn.allow());
            pair.world.drain();
        }
        pair.run();
    }
    assert_eq!(
        names,
        [
            ("save".to_owned(), json(r#"{"n":1}"#)),
            ("note".to_owned(), json(&long)),
        ]
    );
    let answer = |id| {
        pair.events.iter().find_map(|event| match event {
            Event::Answered(of, answer) if *of == id => Some(answer.clone()),
            _ => None,
        })
    };
    assert_eq!(answer(id), Some(Ok(json(r#"{"saved":true}"#))));
    for (data, id) in texts {
        assert_eq!(answer(id), Some(Ok(data)));
    }
    // The other way: to all of the namespace, and asking for an answer.
    let to = Target::Namespace("/chat".into());
    let event = Publication::new(to, "news", Some(json(&long)));
    assert_eq!(pair.world.hub.publish(now, event), 1);
    pair.world.drain();
    pair.run();
    assert_eq!(pair.heard(), [("news".to_owned(), long)]);
    let (_, conn) = pair.line.unwrap();
    let client = pair.world.hub.client(conn).unwrap().id();
    pair.world
        .hub
        .emit_with_ack(now, client, "ask", None, Duration::from_secs(5))
        .unwrap();
    pair.world.drain();
    pair.run();
    let ticket = pair.events.iter().find_map(|event| match event {
        Event::Message(incoming) => incoming.ack.clone(),
        _ => None,
    });
    pair.client.acknowledge(now, ticket.unwrap(), &json("42"));
    pair.run();
    assert_eq!(
        pair.world.answers,
        [smartsocket_core::hub::Answer::Data(json("42"))]
    );
    pair.client.disconnect(now, CloseCode::NORMAL, "");
    pair.run();
    assert_eq!(pair.world.hub.len(), 0);
}

#[test]
fn an_open_client_and_a_hub_talk() {
    talks(route(), options());
}

#[test]
fn an_encrypted_client_and_a_hub_talk() {
    for exchange in [None, Some(Exchange::X25519), Some(Exchange::P256)] {
        let mut route = route();
        route.encryption = Some(Encryption::new(key(1)));
        let mut options = options();
        options.encryption = Some(key(1));
        options.offer = Offer {
            exchange,
            ..Offer::default()
        };
        talks(route, options);
    }
}

/// Without a shared key; and nobody is content with less.
#[test]
fn keys_are_exchanged_alone_where_both_want_it() {
    let without_key = |mut route: Route| {
        route.encryption = Some(Encryption {
            keys: None,
            ..Encryption::new(key(1))
        });
        route
    };
    let mut options = options();
    options.exchange_alone = true;
    talks(without_key(route()), options.clone());
    // A server that encrypts nothing, one that wants a key, a client that
    // proposes no exchange.
    let mut keyed = route();
    keyed.encryption = Some(Encryption::new(key(1)));
    let mut silent = options.clone();
    silent.offer.exchange = None;
    for (route, options) in [
        (route(), options.clone()),
        (keyed, options),
        (without_key(self::route()), silent),
    ] {
        let mut pair = Pair::new(route, options);
        pair.pass(Duration::from_secs(31));
        assert_ne!(pair.client.state(), State::Authenticated);
        assert!(pair.world.turns.is_empty());
    }
}

/// By default, so that who gets the shared key later cannot read what was said.
#[test]
fn keys_are_exchanged_unless_told_not_to() {
    let mut strict = route();
    let mut encryption = Encryption::new(key(1));
    encryption.policy.require_exchange = true;
    strict.encryption = Some(encryption);
    let mut options = options();
    options.encryption = Some(key(1));
    talks(strict.clone(), options.clone());
    options.offer.exchange = None;
    let pair = Pair::new(strict, options);
    assert_eq!(pair.client.state(), State::Error);
}

/// SS-60, SS-76: the same error whatever is wrong, and not again and again.
#[test]
fn a_wrong_key_is_fatal() {
    let mut route = route();
    route.encryption = Some(Encryption::new(key(1)));
    let mut options = options();
    options.encryption = Some(key(2));
    let pair = Pair::new(route, options);
    let (words, verdict) = pair.ended().unwrap();
    assert!(words.contains("ERR_CONN_004"), "{words}");
    assert!(matches!(verdict, Verdict::Fatal | Verdict::Reauthenticate));
    assert_eq!(pair.client.state(), State::Error);
}

/// Who has the key of the encryption is not in yet where an API key is wanted too.
#[test]
fn a_sealed_client_is_in_when_the_server_says_so() {
    for (api_key, state) in [
        (None, State::Error),
        (Some("other"), State::Error),
        (Some("k"), State::Authenticated),
    ] {
        let mut route = route();
        route.encryption = Some(Encryption::new(key(1)));
        route.auth = Auth::ApiKeys {
            keys: vec!["k".into()],
            timeout: Duration::from_secs(5),
        };
        let mut options = options();
        options.encryption = Some(key(1));
        options.api_key = api_key.map(Secret::from);
        let pair = Pair::new(route, options);
        assert_eq!(pair.client.state(), state, "{api_key:?}");
    }
}

/// There is no falling back to the open.
#[test]
fn a_server_without_encryption_is_refused_by_a_client_with_a_key() {
    let mut options = options();
    options.encryption = Some(key(1));
    let mut pair = Pair::new(route(), options);
    pair.pass(Duration::from_secs(31));
    assert_ne!(pair.client.state(), State::Authenticated);
    assert!(pair.ended().is_some());
    assert!(pair.world.turns.is_empty());
}

/// SS-84, SS-86.
#[test]
fn a_lost_connection_comes_back_after_the_waits_of_the_seed() {
    let mut pair = Pair::new(route(), options());
    let line = pair.line.unwrap().0;
    pair.client.handle_fault(pair.world.now, line, Fault::Reset);
    pair.run();
    assert!(matches!(
        pair.events.iter().rev().find_map(|event| match event {
            Event::Ended(ending, _) => Some(ending),
            _ => None,
        }),
        Some(Ending::Closed(_))
    ));
    // SS-84: the first wait is a second, of which chance takes half at most.
    pair.pass(Duration::from_millis(499));
    assert_eq!(pair.client.state(), State::Reconnecting);
    pair.pass(Duration::from_millis(501));
    assert_eq!(pair.client.state(), State::Authenticated);
}

/// SS-61: the key goes in CONNECT, and no Debug shows it.
#[test]
fn an_api_key_is_sent_and_not_shown() {
    let mut options = options();
    options.api_key = Some(Secret::from("canary-key"));
    let shown = format!("{options:?}");
    let pair = Pair::new(route(), options);
    assert!(!shown.contains("canary") && !format!("{:?}", pair.client).contains("canary"));
    assert_eq!(pair.client.state(), State::Authenticated);
}
