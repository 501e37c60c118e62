//! The broker against one that walks lists.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const WALL: &str = "2026-11-21T00:10:09.893Z";
const MAX_OUTSTANDING: usize = 4;
const MAX_SUBSCRIPTIONS: usize = 3;
const SLOTS: u32 = 4;
const NAMES: [&str; 5] = ["a", "b", "a.b", "a.c", "a.b.c"];
const PATTERNS: [&str; 5] = ["a", "a.b", "a.+", "#", "+.b.#"];

#[derive(Clone, Debug)]
enum Act {
    Enter,
    Leave,
    /// To requests of that priority, or to what is published.
    Subscribe(&'static str, Option<i8>),
    Unsubscribe(&'static str, bool),
    Publish(&'static str),
    Request(&'static str, Option<u16>),
    /// To one of the open requests, which may be somebody else's.
    Respond(Index, bool),
    /// To no request.
    Babble,
    Wait(u16),
}

/// Who, whether its message has an id, and what.
fn act() -> impl Strategy<Value = (u32, bool, Act)> {
    let act = prop_oneof![
        1 => Just(Act::Enter),
        1 => Just(Act::Leave),
        4 => (select(&PATTERNS[..]), any::<bool>(), -1..2_i8).prop_map(|(topic, is_request, p)| {
            Act::Subscribe(topic, is_request.then_some(p))
        }),
        1 => (select(&PATTERNS[..]), any::<bool>())
            .prop_map(|(topic, is_request)| Act::Unsubscribe(topic, is_request)),
        4 => select(&NAMES[..]).prop_map(Act::Publish),
        6 => (select(&NAMES[..]), proptest::option::of(1..200_u16))
            .prop_map(|(topic, timeout)| Act::Request(topic, timeout)),
        5 => (any::<Index>(), any::<bool>())
            .prop_map(|(which, is_error)| Act::Respond(which, is_error)),
        1 => Just(Act::Babble),
        2 => (0..300_u16).prop_map(Act::Wait),
    ];
    (0..SLOTS, any::<bool>(), act)
}

struct Asked {
    requester: u32,
    responder: u32,
    topic: &'static str,
    id: Option<Utf8Bytes>,
    forwarded: Utf8Bytes,
    deadline: Tick,
}

struct Model {
    broker: Broker<u32>,
    now: Tick,
    /// The connection in each place; a new one has a new name.
    keys: [u32; SLOTS as usize],
    subscriptions: Vec<(u32, &'static str, Option<i8>)>,
    /// The oldest first.
    asked: Vec<Asked>,
    /// The rooms that the hub would have.
    rooms: BTreeSet<(u32, String)>,
    /// Ids of messages that are owed an answer, and to whom.
    owed: BTreeSet<(u32, Utf8Bytes)>,
    /// All ids there ever were.
    ids: BTreeSet<Utf8Bytes>,
    drawn: u64,
}

fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.split_once('.'), name.split_once('.')) {
        _ if pattern == "#" => true,
        (None, None) => pattern == name || pattern == "+",
        (Some((one, pattern)), Some((level, name))) => {
            (one == level || one == "+") && matches(pattern, name)
        }
        // `#` is no level, too.
        (Some((one, "#")), None) => one == name || one == "+",
        _ => false,
    }
}

impl Model {
    fn new() -> Self {
        Self {
            broker: Broker::new(BrokerConfig {
                request_timeout: Duration::from_millis(100),
                max_outstanding: MAX_OUTSTANDING,
                max_subscriptions: MAX_SUBSCRIPTIONS,
                allow_patterns: true,
                ..BrokerConfig::default()
            }),
            now: Tick::ZERO,
            keys: core::array::from_fn(|n| n as u32),
            subscriptions: Vec::new(),
            asked: Vec::new(),
            rooms: BTreeSet::new(),
            owed: BTreeSet::new(),
            ids: BTreeSet::new(),
            drawn: 0,
        }
    }

    fn act(&mut self, slot: u32, has_id: bool, act: &Act) {
        let key = self.keys[slot as usize];
        match *act {
            Act::Enter => self.broker.enter(WALL, [slot as u8; 16], key),
            Act::Leave => {
                self.broker.leave(self.now, key);
                assert!(self.drain().is_empty());
                self.subscriptions.retain(|(one, ..)| *one != key);
                self.asked.retain(|asked| asked.requester != key);
                self.owed.retain(|(one, _)| *one != key);
                self.rooms.retain(|(one, _)| *one != key);
                self.keys[slot as usize] += SLOTS;
            }
            Act::Subscribe(topic, priority) => self.subscribe(key, has_id, topic, priority),
            Act::Unsubscribe(topic, is_request) => {
                let before = self.subscriptions.len();
                self.subscriptions.retain(|(one, of, priority)| {
                    (*one, *of, priority.is_some()) != (key, topic, is_request)
                });
                let action = if is_request { "request" } else { "publish" };
                let payload = format!("{{\"action\":\"{action}\",\"topic\":\"{topic}\"}}");
                let topic = "system.topic.unsubscribe";
                let (id, effects) = self.say(key, Action::Request, topic, has_id, &payload, None);
                self.replied(
                    effects,
                    key,
                    topic,
                    id,
                    status(before > self.subscriptions.len()),
                );
            }
            Act::Publish(topic) => self.publish(key, has_id, topic),
            Act::Request(topic, timeout) => self.request(key, has_id, topic, timeout),
            Act::Respond(which, is_error) => self.respond(key, which, is_error),
            Act::Babble => {
                let (id, effects) = self.say(key, Action::Response, "a", has_id, "{}", None);
                self.failed(effects, key, "a", id, HeaderFailure::INVALID_REQUEST_ID);
            }
            Act::Wait(ms) => self.wait(Duration::from_millis(ms.into())),
        }
        let deadlines = self.asked.iter().map(|asked| asked.deadline);
        assert_eq!(self.broker.next_timeout(), deadlines.min());
        assert_eq!(self.broker.requests.len(), self.asked.len());
        assert!(self.asked.len() <= MAX_OUTSTANDING);
        let published = self.subscriptions.iter().filter(|(_, _, p)| p.is_none());
        let rooms = published.map(|(key, topic, _)| (*key, String::from(*topic)));
        assert_eq!(self.rooms, rooms.collect());
    }

    fn subscribe(&mut self, key: u32, has_id: bool, of: &'static str, priority: Option<i8>) {
        let action = if priority.is_some() {
            "request"
        } else {
            "publish"
        };
        let payload = match priority {
            Some(priority) => {
                format!("{{\"action\":\"{action}\",\"topic\":\"{of}\",\"priority\":{priority}}}")
            }
            None => format!("{{\"action\":\"{action}\",\"topic\":\"{of}\"}}"),
        };
        let topic = "system.topic.subscribe";
        let (id, effects) = self.say(key, Action::Request, topic, has_id, &payload, None);
        let same = |(one, topic, p): &(u32, &str, Option<i8>)| {
            (*one, *topic, p.is_some()) == (key, of, priority.is_some())
        };
        let theirs = self.subscriptions.iter().filter(|(one, ..)| *one == key);
        if theirs.count() >= MAX_SUBSCRIPTIONS && !self.subscriptions.iter().any(same) {
            return self.failed(effects, key, topic, id, HeaderFailure::INVALID_REQUEST);
        }
        self.subscriptions
            .retain(|subscription| !same(subscription));
        self.subscriptions.push((key, of, priority));
        self.replied(effects, key, topic, id, status(true));
    }

    fn publish(&mut self, key: u32, has_id: bool, topic: &'static str) {
        let payload = format!("{{\"n\":{}}}", self.drawn);
        let (id, mut effects) = self.say(key, Action::Publish, topic, has_id, &payload, None);
        let matching = self.matching(topic).filter(|(_, _, p)| p.is_none());
        let expected: BTreeSet<u32> = matching.map(|(key, ..)| *key).collect();
        if expected.is_empty() {
            return self.failed(effects, key, topic, id, HeaderFailure::NO_ROUTE_FOUND);
        }
        let Effect::Publish {
            to,
            header,
            payload: sent,
        } = effects.remove(0)
        else {
            panic!("{effects:?}");
        };
        assert_eq!(to.len(), expected.len(), "once each");
        assert_eq!(to.into_iter().collect::<BTreeSet<_>>(), expected);
        assert_eq!((header.action, &*header.topic), (Action::Publish, topic));
        assert_eq!(sent.as_str(), payload);
        self.fresh(header.request_id);
        match id {
            Some(id) => self.replied(effects, key, topic, Some(id), status(true)),
            None => assert!(effects.is_empty()),
        }
    }

    fn request(&mut self, key: u32, has_id: bool, topic: &'static str, timeout: Option<u16>) {
        let payload = format!("{{\"n\":{}}}", self.drawn);
        let ms = timeout.map(u32::from);
        let (id, mut effects) = self.say(key, Action::Request, topic, has_id, &payload, ms);
        let matching: Vec<_> = self
            .matching(topic)
            .filter_map(|(k, _, p)| Some((*k, (*p)?)))
            .collect();
        let Some(top) = matching.iter().map(|(_, priority)| *priority).max() else {
            return self.failed(effects, key, topic, id, HeaderFailure::NO_ROUTE_FOUND);
        };
        if self.asked.len() == MAX_OUTSTANDING {
            let oldest = self.asked.remove(0);
            if oldest.id.is_some() {
                let busy = [effects.remove(0)].into();
                let (to, topic) = (oldest.requester, oldest.topic);
                self.failed(
                    busy,
                    to,
                    topic,
                    oldest.id,
                    HeaderFailure::SERVICE_UNAVAILABLE,
                );
            }
        }
        let [
            Effect::Send {
                to,
                header,
                payload: sent,
            },
        ] = &effects[..]
        else {
            panic!("{effects:?}");
        };
        assert!(matching.contains(&(*to, top)));
        assert_eq!((header.action, &*header.topic), (Action::Request, topic));
        assert_eq!((header.timeout, sent.as_str()), (None, &*payload));
        let forwarded = header.request_id.clone();
        self.fresh(forwarded.clone());
        self.asked.push(Asked {
            requester: key,
            responder: *to,
            topic,
            id,
            forwarded: forwarded.unwrap(),
            deadline: self.now + Duration::from_millis(timeout.map_or(100, u64::from)),
        });
    }

    fn respond(&mut self, key: u32, which: Index, is_error: bool) {
        if self.asked.is_empty() {
            return;
        }
        let which = which.index(self.asked.len());
        let forwarded = self.asked[which].forwarded.clone();
        let payload = Json::parse(format!("{{\"r\":{}}}", self.drawn)).unwrap();
        let header = Header {
            request_id: Some(forwarded.clone()),
            error: is_error,
            ..header(Action::Response, "b")
        };
        let effects = self.handle(key, header, payload.clone());
        if self.asked[which].responder != key {
            let code = HeaderFailure::INVALID_REQUEST_ID;
            self.owed.insert((key, forwarded.clone()));
            return self.failed(effects, key, "b", Some(forwarded), code);
        }
        let asked = self.asked.remove(which);
        if asked.id.is_none() && !is_error {
            return assert!(effects.is_empty());
        }
        self.replied(effects, asked.requester, asked.topic, asked.id, payload);
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.broker.handle_timeout(self.now);
        let mut effects = self.drain();
        let now = self.now;
        let (mut due, waiting) = core::mem::take(&mut self.asked)
            .into_iter()
            .partition::<Vec<_>, _>(|asked| asked.deadline <= now);
        self.asked = waiting;
        // Stable: of the same moment, the oldest first.
        due.sort_by_key(|asked| asked.deadline);
        for asked in due.into_iter().filter(|asked| asked.id.is_some()) {
            let timed_out = [effects.remove(0)].into();
            let (to, topic) = (asked.requester, asked.topic);
            self.failed(timed_out, to, topic, asked.id, HeaderFailure::TIMEOUT);
        }
        assert!(effects.is_empty());
    }

    fn matching(&self, name: &str) -> impl Iterator<Item = &(u32, &'static str, Option<i8>)> {
        let all = self.subscriptions.iter();
        all.filter(move |(_, pattern, _)| matches(pattern, name))
    }

    /// Says something, under an id of its own if need be.
    fn say(
        &mut self,
        key: u32,
        action: Action,
        topic: &str,
        has_id: bool,
        payload: &str,
        timeout: Option<u32>,
    ) -> (Option<Utf8Bytes>, Vec<Effect<u32>>) {
        let id = has_id.then(|| {
            self.drawn += 1;
            id_text(Uuid::from_u64_pair(u64::MAX, self.drawn))
        });
        if let Some(id) = &id {
            assert!(self.ids.insert(id.clone()));
            self.owed.insert((key, id.clone()));
        }
        let header = Header {
            request_id: id.clone(),
            timeout,
            ..header(action, topic)
        };
        let payload = Json::parse(payload).unwrap();
        (id, self.handle(key, header, payload))
    }

    fn handle(&mut self, key: u32, header: Header, payload: Json) -> Vec<Effect<u32>> {
        let drawn = &mut self.drawn;
        let mut random = || {
            *drawn += 1;
            let mut bytes = [0; 16];
            bytes[8..].copy_from_slice(&drawn.to_be_bytes());
            // The choice among equals.
            bytes[0] = *drawn as u8;
            bytes
        };
        self.broker
            .handle(self.now, WALL, &mut random, key, header, payload);
        self.drain()
    }

    /// What is to be done, but for the rooms, which are kept here.
    fn drain(&mut self) -> Vec<Effect<u32>> {
        let mut effects = Vec::new();
        while let Some(effect) = self.broker.poll() {
            match effect {
                Effect::Subscribe { key, topic } => {
                    assert!(self.rooms.insert((key, topic.into())));
                }
                Effect::Unsubscribe { key, topic } => {
                    assert!(self.rooms.remove(&(key, topic.into())));
                }
                Effect::Send { .. } | Effect::Publish { .. } | Effect::Fail { .. } => {
                    effects.push(effect);
                }
            }
        }
        effects
    }

    /// An id that there was not before.
    fn fresh(&mut self, id: Option<Utf8Bytes>) {
        assert!(self.ids.insert(id.unwrap()));
    }

    /// What was owed is paid, once.
    fn paid(&mut self, to: u32, topic: &str, id: Option<Utf8Bytes>, header: &Header) {
        assert_eq!((header.action, &*header.topic), (Action::Response, topic));
        match id {
            Some(id) => {
                assert_eq!(header.request_id, Some(id.clone()));
                assert!(self.owed.remove(&(to, id)), "answered twice");
            }
            None => self.fresh(header.request_id.clone()),
        }
    }

    fn replied(
        &mut self,
        effects: Vec<Effect<u32>>,
        key: u32,
        topic: &str,
        id: Option<Utf8Bytes>,
        expected: Json,
    ) {
        let [
            Effect::Send {
                to,
                header,
                payload,
            },
        ] = &effects[..]
        else {
            panic!("{effects:?}");
        };
        assert_eq!((*to, payload), (key, &expected));
        self.paid(key, topic, id, header);
    }

    fn failed(
        &mut self,
        effects: Vec<Effect<u32>>,
        key: u32,
        topic: &str,
        id: Option<Utf8Bytes>,
        code: &str,
    ) {
        let [Effect::Fail { to, failure }] = &effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!((*to, failure.code), (key, code));
        self.paid(key, topic, id, failure.about.as_ref().unwrap());
    }
}

fn header(action: Action, topic: &str) -> Header {
    Header {
        action,
        topic: topic.into(),
        version: "1.0.0".into(),
        request_id: None,
        parent_request_id: None,
        timeout: None,
        error: false,
    }
}

proptest! {
    #[test]
    fn every_message_with_an_id_is_answered_once_and_nobody_else_hears_of_it(
        acts in proptest::collection::vec(act(), 0..120),
    ) {
        let mut model = Model::new();
        for (slot, has_id, act) in &acts {
            model.act(*slot, *has_id, act);
        }
        // Nobody waits for ever.
        model.wait(Duration::from_millis(200));
        prop_assert!(model.owed.is_empty());
        for slot in 0..SLOTS {
            model.act(slot, false, &Act::Leave);
        }
        prop_assert!(model.broker.is_empty());
    }
}
