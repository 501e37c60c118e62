//! Turns of a hub.

use std::hint::black_box;

use smartsocket_core::crypt::{Handshake, Key, Offer, Suite};
use smartsocket_core::hub::{
    ConnId, Encryption, Event, Hub, HubConfig, Interest, Output, Publication, Route, Step, Target,
};
use smartsocket_core::websocket::{Event as Heard, Output as Told, Role};
use smartsocket_core::{Json, Message, RateLimit, Seed, Tick};

/// A client asks for the answer of a handler that sends its data back.
const ASKED: &str = r#"{"event":"asked","data":{"text":"0123456789","__ackId":"ack_1"}}"#;
/// The same without the wish.
const TOLD: &str = r#"{"event":"told","data":{"text":"0123456789"}}"#;

/// A hub, and clients who have all spoken.
struct World {
    hub: Hub,
    clients: Vec<ConnId>,
}

impl World {
    /// The application listens to these events.
    fn new(clients: usize, heard: &[&str], encryption: Option<Encryption>) -> Self {
        let sealed = encryption.is_some();
        let mut route = Route::smartsocket("/");
        route.encryption = encryption;
        route.interest = Interest::EVENT;
        route.events = Some(heard.iter().map(|&event| event.into()).collect());
        route.rate = Some(RateLimit::new(u32::MAX, std::time::Duration::from_secs(60)));
        let config = HubConfig {
            routes: vec![route],
            ..HubConfig::default()
        };
        let hub = Hub::new(config, Seed::new([7; 32]), Tick::ZERO, 0).expect("a route");
        let mut world = Self {
            hub,
            clients: Vec::new(),
        };
        for _ in 0..clients {
            let id = world.hub.accept(Tick::ZERO, None).expect("room");
            let mut request = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                .to_vec();
            world.receive(id, &mut request);
            if sealed {
                world.agree(id);
            } else {
                world.receive(id, &mut bytes(TOLD));
            }
            world.clients.push(id);
        }
        world
    }

    fn receive(&mut self, id: ConnId, data: &mut [u8]) {
        self.hub.handle_bytes(Tick::ZERO, id, data);
        self.drain();
    }

    /// The client's side of an encrypted session's beginning.
    fn agree(&mut self, id: ConnId) {
        let offer = Offer {
            exchange: None,
            ..Offer::default()
        };
        let client =
            Handshake::new(Some(&key()), &offer, "/", Seed::new([8; 32])).expect("an offer");
        let hello = serde_json::to_string(client.hello()).expect("JSON");
        let connect = format!(r#"{{"event":"CONNECT","data":{{"encryption":{hello}}}}}"#);
        self.hub.handle_bytes(Tick::ZERO, id, &mut bytes(&connect));
        while self.hub.poll_output().is_some() {}
        let mut said: Vec<u8> = self.hub.unsent(id).flatten().copied().collect();
        self.hub.transmitted(Tick::ZERO, id, said.len());
        let mut socket = super::open(Role::Client, None);
        socket.handle_bytes(Tick::ZERO, &mut said);
        let mut outputs = std::iter::from_fn(|| socket.poll_output());
        let heard = outputs.find_map(|output| {
            let Told::Event(Heard::Message(message)) = output else {
                return None;
            };
            Some(message)
        });
        let heard = heard.expect("CONNECT_ACK");
        let heard: serde_json::Value = serde_json::from_slice(heard.as_bytes()).expect("JSON");
        let answer = serde_json::from_value(heard["data"]["encryption"].clone());
        let (_, first) = client
            .finish(Tick::ZERO, &answer.expect("an answer"))
            .expect("the same key");
        let first = super::frames(Role::Client, &[Message::Binary(first)], None);
        self.receive(id, &mut first.clone());
    }

    /// All bytes go; the application answers what wants an answer.
    fn drain(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            if let Output::Transmit(id) = output {
                let unsent = self.hub.unsent(id);
                let sent = unsent.map(|bytes| black_box(bytes).len()).sum();
                self.hub.transmitted(Tick::ZERO, id, sent);
            } else if let Output::Event(Event::Turn(mut turn)) = output {
                if let Step::Event(event) = &mut turn.step
                    && let (Some(ack), Some(data)) = (event.ack.take(), &event.data)
                {
                    self.hub.acknowledge(Tick::ZERO, ack, data);
                }
                self.hub.decide(Tick::ZERO, turn.allow());
            } else {
                panic!("{output:?}");
            }
        }
    }
}

fn bytes(text: &str) -> Vec<u8> {
    super::frames(Role::Client, &[Message::text(text)], None)
}

/// One event, with these events heard.
fn event(text: &'static str, heard: &'static [&'static str]) -> Box<dyn FnMut()> {
    let mut world = World::new(1, heard, None);
    let bytes = bytes(text);
    let mut read = bytes.clone();
    Box::new(move || {
        read.copy_from_slice(&bytes);
        let id = world.clients[0];
        world.receive(id, &mut read);
    })
}

pub(super) fn heard() -> Box<dyn FnMut()> {
    event(TOLD, &["told"])
}

pub(super) fn unheard() -> Box<dyn FnMut()> {
    event(TOLD, &["asked"])
}

pub(super) fn asked() -> Box<dyn FnMut()> {
    event(ASKED, &["asked"])
}

fn key() -> Key {
    Key::new([7; 32]).expect("not zeros")
}

/// Sealed for each member, in this way.
pub(super) fn each(suite: Suite) -> Option<Encryption> {
    let mut encryption = Encryption::new(key());
    encryption.policy.suites = vec![suite];
    Some(encryption)
}

/// Sealed once for all members.
pub(super) fn group() -> Option<Encryption> {
    Some(Encryption {
        group: true,
        ..Encryption::new(key())
    })
}

/// So many events to a room at a time, of so many bytes.
pub(super) fn room(
    members: usize,
    events: usize,
    length: usize,
    encryption: Option<Encryption>,
) -> Box<dyn FnMut()> {
    let mut world = World::new(members, &[], encryption);
    for id in world.clients.clone() {
        world.hub.join(Tick::ZERO, id, "lobby").expect("room");
        world.drain();
    }
    let rest = length - r#"{"event":"told","data":{"text":""}}"#.len();
    let text = "x".repeat(rest);
    let data = Json::parse(format!(r#"{{"text":"{text}"}}"#)).expect("JSON");
    Box::new(move || {
        for _ in 0..events {
            let to = Target::Room {
                namespace: "/".into(),
                room: "lobby".into(),
            };
            let event = Publication::new(to, "told", Some(data.clone()));
            assert_eq!(world.hub.publish(Tick::ZERO, event), members);
        }
        world.drain();
    })
}
