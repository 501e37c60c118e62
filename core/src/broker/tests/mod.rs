//! Transcripts: what is said to the broker, and who hears what.

mod messages;
mod system;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::dialect::{Context, Dialect, Failure, Incoming, Memory, Outgoing, PeerBinary};
use crate::message::Message;

const WALL: &str = "2026-11-21T00:10:09.893Z";
const SUCCESS: &str = "\n{\"status\":\"success\"}";

/// A broker and the dialect in front of it. Ids are written `<a>` where a
/// client made them and `<1>`, in the order of their coming, where the broker
/// did.
struct Stage {
    broker: Broker<char>,
    ids: BTreeMap<String, String>,
    made: u8,
    now: Tick,
}

impl Stage {
    fn new(config: BrokerConfig) -> Self {
        Self {
            broker: Broker::new(config),
            ids: BTreeMap::new(),
            made: 0,
            now: Tick::ZERO,
        }
    }

    /// With services `A` and `B`, whose ids are `<1>` and `<2>`.
    fn with_two(config: BrokerConfig) -> Self {
        let mut stage = Self::new(config);
        for (n, key) in [(1, 'A'), (2, 'B')] {
            stage.broker.enter(WALL, [n; 16], key);
            let id = format!("{}", random_id([n; 16]));
            stage.ids.insert(format!("<{n}>"), id);
            stage.made = n;
        }
        stage
    }

    /// What everybody gets to hear when `from` says this.
    fn say(&mut self, from: char, text: &str) -> Vec<String> {
        let text = self.unmasked(text);
        let heard = Dialect::HeaderLine.decode(&mut Memory::default(), Message::text(text));
        if let Incoming::Invalid(failure) = &heard {
            return self.heard(from, &Outgoing::Error(failure));
        }
        let Incoming::Broker(header, payload) = heard else {
            panic!("{heard:?}");
        };
        let made = &mut self.made;
        let mut random = || {
            *made += 1;
            [*made; 16]
        };
        self.broker
            .handle(self.now, WALL, &mut random, from, header, payload);
        self.drain()
    }

    /// Subscribes, and thinks no more of it.
    fn subscribe(&mut self, from: char, payload: &str) {
        let said = self.say(
            from,
            &format!("request:system.topic.subscribe:1.0.0:<a>\n{payload}"),
        );
        assert!(said.last().unwrap().ends_with(SUCCESS), "{said:?}");
    }

    fn after(&mut self, ms: u64) -> Vec<String> {
        self.now = self.now + Duration::from_millis(ms);
        self.broker.handle_timeout(self.now);
        self.drain()
    }

    fn leave(&mut self, key: char) {
        self.broker.leave(self.now, key);
        assert_eq!(self.drain(), [""; 0]);
    }

    fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(effect) = self.broker.poll() {
            match effect {
                Effect::Send {
                    to,
                    header,
                    payload,
                } => all.extend(self.message(&[to], &header, &payload)),
                Effect::Publish {
                    to,
                    header,
                    payload,
                } => all.extend(self.message(&to, &header, &payload)),
                Effect::Fail { to, failure } => {
                    all.extend(self.heard(to, &Outgoing::Error(&Failure::Header(failure))));
                }
                Effect::Subscribe { key, topic } => all.push(format!("{key} joins {topic}")),
                Effect::Unsubscribe { key, topic } => all.push(format!("{key} leaves {topic}")),
            }
        }
        all
    }

    fn message(&mut self, to: &[char], header: &Header, payload: &Json) -> Vec<String> {
        to.iter()
            .flat_map(|&to| self.heard(to, &Outgoing::Broker { header, payload }))
            .collect()
    }

    fn heard(&mut self, to: char, what: &Outgoing<'_>) -> Vec<String> {
        let context = Context {
            unix_ms: 0,
            timestamp: WALL,
            binary: PeerBinary::None,
        };
        let said = Dialect::HeaderLine.encode(context, what);
        said.iter()
            .map(|said| format!("{to} {}", self.masked(said.as_text().unwrap())))
            .collect()
    }

    fn unmasked(&mut self, text: &str) -> String {
        for n in 0..3 {
            let name = format!("<{}>", char::from(b'a' + n));
            let id = format!("{}", random_id([0xa0 + n; 16]));
            self.ids.insert(name, id);
        }
        let ids = self.ids.iter();
        ids.fold(text.into(), |text: String, (name, id)| {
            text.replace(name, id)
        })
    }

    fn masked(&mut self, text: &str) -> String {
        for n in 1..=self.made {
            let id = format!("{}", random_id([n; 16]));
            if text.contains(&id) && !self.ids.values().any(|known| *known == id) {
                let n = self.ids.keys().filter(|name| name[1..2] < *"a").count() + 1;
                self.ids.insert(format!("<{n}>"), id);
            }
        }
        let ids = self.ids.iter();
        ids.fold(text.into(), |text: String, (name, id)| {
            text.replace(id, name)
        })
    }
}

fn error(header: &str, code: &str, message: &str, details: &str) -> String {
    format!(
        "{header}\n{{\"error\":{{\"code\":\"{code}\",\"message\":\"{message}\",\
         \"timestamp\":\"{WALL}\"{details}}}}}"
    )
}

fn patterns() -> BrokerConfig {
    BrokerConfig {
        allow_patterns: true,
        ..BrokerConfig::default()
    }
}
