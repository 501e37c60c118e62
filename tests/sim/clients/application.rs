//! What the applications of the clients do.

use std::time::Duration;

use smartsocket_core::client::{AckTicket, LineId, Priority, Secret, SubscriptionId, Verdict};
use smartsocket_core::{Client, CloseCode, Json, Message, Seed, Tick};

use super::super::chance::Chance;
use super::host::WALL;
use super::model::{Asked, Model, Waiting};
use super::world::World;
use super::{Kind, setup};

/// A client, the application on it, and what is known of both.
pub struct Far {
    pub client: Client,
    pub model: Model,
    /// Its key is none of the server's.
    pub wrong: bool,
    pub dialing: Option<LineId>,
    pub hooks: usize,
    pub tickets: Vec<AckTicket>,
    pub subscriptions: Vec<SubscriptionId>,
    pub verdict: Verdict,
    /// What it says goes to this server in the end, one by one.
    pub last_words: Option<u64>,
}

impl Far {
    pub fn new(chance: &mut Chance) -> Self {
        let kind = *chance.of(&Kind::ALL);
        let wrong = matches!(kind, Kind::Keyed | Kind::Sealed) && chance.percent(20);
        let config = setup::config(chance, kind);
        let seed = Seed::new(chance.bytes());
        let provider = setup::provider(kind, wrong);
        let client = Client::new(provider, config.clone(), seed, Tick::ZERO, WALL);
        Self {
            client: client.expect("the options are good"),
            model: Model::new(kind, config),
            wrong,
            dialing: None,
            hooks: 0,
            tickets: Vec::new(),
            subscriptions: Vec::new(),
            verdict: Verdict::Stay,
            last_words: None,
        }
    }

    pub fn resume(&mut self, now: Tick) {
        self.model.at_once |= std::mem::take(&mut self.model.suspended);
        self.client.resume(now);
    }

    pub fn connect(&mut self, now: Tick) {
        if self.model.rests() {
            self.model.suspended = false;
            self.model.at_once = true;
        }
        self.client.connect(now);
    }
}

impl World {
    pub fn command(&mut self, at: usize) {
        let now = self.now;
        let far = &mut self.clients[at];
        if far.model.rests() && self.chance.percent(30) {
            far.connect(now);
            return self.settle(at, None, None);
        }
        match self.chance.below(40) {
            0..14 => self.say(at),
            14..20 if far.model.kind.is_smartsocket() || far.model.kind == Kind::Custom => {
                self.ask(at);
            }
            20 | 21 => {
                let names: &[&str] = match far.model.kind {
                    Kind::Pusher => &["a", "b", "*"],
                    Kind::Open | Kind::Keyed | Kind::Sealed | Kind::Echo | Kind::Custom => {
                        &["news", "ne*", "*", "other"]
                    }
                };
                let name = *self.chance.of(names);
                let id = far.client.subscribe(now, name);
                far.model.subscriptions.insert(id, name.into());
                far.subscriptions.push(id);
            }
            22 => {
                if let Some(id) = far.subscriptions.pop() {
                    far.model.subscriptions.remove(&id);
                    assert!(far.client.unsubscribe(now, id));
                    assert!(!far.client.unsubscribe(now, id));
                }
            }
            23 => {
                far.client.suspend(now);
                far.model.suspended = true;
            }
            24..26 => {
                far.resume(now);
            }
            26 if self.chance.percent(40) => {
                let code = CloseCode::from(*self.chance.of(&[1000, 4000]));
                far.client.disconnect(now, code, "bye");
            }
            27..30 => far.connect(now),
            30..33 => {
                if let Some(ticket) = far.tickets.pop() {
                    far.client.acknowledge(now, ticket, &Json::EMPTY);
                }
            }
            33 => far.client.handle_timeout(now),
            _ => self.say(at),
        }
        self.settle(at, None, None);
    }

    pub fn say(&mut self, at: usize) {
        let now = self.now;
        self.next_number += 1;
        let number = self.next_number;
        let pad = "x".repeat(*self.chance.of(&[0, 0, 0, 20, 200, 4_000]));
        let priority = *self
            .chance
            .of(&[Priority::Low, Priority::Normal, Priority::High]);
        let data = format!("{{\"n\":{number},\"pad\":\"{pad}\"}}");
        let far = &mut self.clients[at];
        let was = far.model.state;
        let bytes = match far.model.kind {
            Kind::Echo => {
                let bytes = data.len();
                far.client.send(now, Message::text(data), priority);
                bytes
            }
            Kind::Pusher => {
                let text = format!("{{\"event\":\"client-say\",\"data\":{data}}}");
                let bytes = text.len();
                far.client.send(now, Message::text(text), priority);
                bytes
            }
            Kind::Open | Kind::Keyed | Kind::Sealed | Kind::Custom => {
                let data = Json::parse(data).expect("JSON");
                let bytes = "say".len() + data.as_str().len();
                far.client.publish(now, None, "say", Some(data), priority);
                bytes
            }
        };
        let waiting = Waiting {
            number,
            priority,
            bytes,
            request: None,
        };
        self.settle(at, Some(waiting), Some(was));
    }

    pub fn ask(&mut self, at: usize) {
        let now = self.now;
        self.next_number += 1;
        let number = self.next_number;
        let data = Json::parse(format!("{{\"n\":{number}}}")).expect("JSON");
        let timeout = *self.chance.of(&[
            None,
            Some(Duration::from_millis(1)),
            Some(Duration::from_secs(5)),
        ]);
        let far = &mut self.clients[at];
        let was = far.model.state;
        let bytes = "ask".len() + data.as_str().len();
        let id = far.client.request(now, None, "ask", Some(data), timeout);
        let deadline = now + timeout.unwrap_or(far.model.config.request_timeout);
        far.model.ask(id, Asked { number, deadline });
        let waiting = Waiting {
            number,
            priority: Priority::Normal,
            bytes,
            request: Some(id),
        };
        self.settle(at, Some(waiting), Some(was));
    }

    pub fn hook(&mut self, at: usize) {
        if self.clients[at].hooks == 0 {
            return;
        }
        let far = &mut self.clients[at];
        far.hooks -= 1;
        let fails = self.chance.percent(self.weather.failures);
        let token = (!fails).then(|| {
            self.tokens += 1;
            Secret::from(format!("T{}", self.tokens))
        });
        far.client.handle_token(self.now, token);
        self.settle(at, None, None);
    }
}
