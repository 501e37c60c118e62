//! Turns of a hub.

use std::hint::black_box;

use smartsocket_core::hub::{
    ConnId, Event, Hub, HubConfig, Interest, Output, Publication, Route, Step, Target,
};
use smartsocket_core::websocket::Role;
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
    fn new(clients: usize, heard: &[&str]) -> Self {
        let mut route = Route::smartsocket("/");
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
            world.receive(id, &mut bytes(TOLD));
            world.clients.push(id);
        }
        world
    }

    fn receive(&mut self, id: ConnId, data: &mut [u8]) {
        self.hub.handle_bytes(Tick::ZERO, id, data);
        self.drain();
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
    let mut world = World::new(1, heard);
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

/// So many events to a room at a time.
pub(super) fn room(members: usize, events: usize) -> Box<dyn FnMut()> {
    let mut world = World::new(members, &[]);
    for id in world.clients.clone() {
        world.hub.join(Tick::ZERO, id, "lobby").expect("room");
        world.drain();
    }
    let data = Json::parse(r#"{"text":"0123456789"}"#).expect("JSON");
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
