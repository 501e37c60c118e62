//! Rooms, users, acks and limits of a hub against the plainest model of them:
//! any sequence of what clients and applications may do, compared after every
//! step. A failure shrinks to the shortest sequence that still shows it.

#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

#[path = "../common/mod.rs"]
mod common;
mod limit;
mod naive;
mod ops;

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use common::world::{Socket, World};
use common::{close_frame, ms};
use naive::Naive;
use ops::{Name, Op, PEOPLE, To, Who, op};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use smartsocket_core::hub::{
    Auth, ClientId, ConnId, Heartbeat, HubConfig, Interest, Publication, Route, Step, Target,
    UserId,
};
use smartsocket_core::websocket::Role;
use smartsocket_core::{Algorithm, CloseCode, DropCause, Fault, Json, RateLimit};

/// The routes, by their index: one for each way to limit, and each dialect with
/// ways of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    Main,
    Chat,
    Ignis,
    RNode,
}

const PLACES: [Place; 4] = [Place::Main, Place::Chat, Place::Ignis, Place::RNode];

impl Place {
    const fn path(self) -> &'static str {
        match self {
            Self::Main => "/",
            Self::Chat => "/chat",
            Self::Ignis => "/ws",
            Self::RNode => "/rnode",
        }
    }

    const fn is_smartsocket(self) -> bool {
        matches!(self, Self::Main | Self::Chat)
    }
}

fn routes() -> Vec<Route> {
    let limit = |algorithm, max, window| {
        Some(RateLimit {
            algorithm,
            ..RateLimit::new(max, Duration::from_millis(window))
        })
    };
    let mut main = Route::smartsocket("/");
    main.interest = Interest::EVENT;
    let mut chat = Route::smartsocket("/chat");
    chat.interest = Interest::EVENT;
    let mut ignis = Route::ignis("/ws");
    ignis.interest = Interest::AUTHENTICATE | Interest::JOIN;
    let mut rnode = Route::rnode("/rnode");
    main.rate = limit(Algorithm::Ring, 4, 1_000);
    chat.rate = limit(Algorithm::Fixed, 4, 1_000);
    ignis.rate = limit(Algorithm::Gcra, 4, 1_000);
    rnode.rate = limit(Algorithm::Ring, 5, 700);
    for (route, algorithm) in [(&mut main, Algorithm::Gcra), (&mut chat, Algorithm::Ring)] {
        let save = limit(algorithm, 2, 900).unwrap();
        route.event_rates.set("save", save);
    }
    for route in [&mut main, &mut ignis] {
        route.user_rate = limit(Algorithm::Ring, 5, 1_000);
    }
    let mut routes = vec![main, chat, ignis, rnode];
    for route in &mut routes {
        assert!(matches!(route.auth, Auth::None) || route.path == "/ws");
        route.heartbeat = Heartbeat::None;
        route.websocket.ping_interval = None;
    }
    routes
}

fn config() -> HubConfig {
    HubConfig {
        routes: routes(),
        max_connections: 4,
        max_rooms: 7,
        max_rooms_per_client: 3,
        empty_room_timeout: Duration::from_millis(1_500),
        max_acks_per_client: 2,
        ..HubConfig::default()
    }
}

/// A hub and its model.
struct Play {
    world: World,
    naive: Naive,
    /// The last connection of each, and its client.
    people: [Option<(ConnId, ClientId)>; PEOPLE],
    made: Vec<String>,
    /// Makes every message another.
    count: u64,
    /// Words after which there are no more, for those who are gone.
    last: Vec<(ConnId, &'static str)>,
    heard: Vec<(ConnId, String)>,
}

impl Play {
    fn new() -> Self {
        Self {
            world: World::with(config()),
            naive: Naive::new(config()),
            people: [None; PEOPLE],
            made: Vec::new(),
            count: 0,
            last: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Somebody's connection, if it is there.
    fn id(&self, who: Who) -> Option<ConnId> {
        let (id, _) = self.people[who]?;
        self.naive.peers.contains_key(&id).then_some(id)
    }

    fn place(&self, who: Who) -> Option<(ConnId, Place)> {
        let id = self.id(who)?;
        Some((id, self.naive.peers[&id].place))
    }

    fn name(&self, name: &Name) -> String {
        match name {
            Name::Short(n) => ["a", "b", "c"][*n].into(),
            Name::Made(n) => match self.made.len() {
                0 => "none".into(),
                made => self.made[n % made].clone(),
            },
            Name::Reserved => "ws:x".into(),
            Name::Empty => String::new(),
            Name::TooLong => "x".repeat(257),
        }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn say(&mut self, id: ConnId, what: &Value) -> String {
        let text = what.to_string();
        self.world.say(id, &text);
        text
    }

    /// A request, whatever comes of it.
    fn knock(&mut self, target: &str) -> Option<ConnId> {
        let address = IpAddr::from([127, 0, 0, 1]);
        let accepted = self.world.hub.accept(self.world.now, Some(address));
        assert_eq!(accepted.is_err(), self.naive.is_full());
        let id = accepted.ok()?;
        self.world.sockets.insert(id, Socket::default());
        self.world.request(id, target, "");
        Some(id)
    }

    fn apply(&mut self, op: &Op) {
        let now = self.world.now;
        match op {
            Op::Pass(millis) => {
                let until = now + Duration::from_millis(*millis);
                self.world.pass(until);
                self.naive.pass(until.as_micros());
            }
            Op::Connect(who, place) => self.connect(*who, *place),
            Op::Impostor(who) => {
                if let Some((_, Place::RNode)) = self.place(*who)
                    && let Some(other) = self.knock(&format!("/rnode?clientId=c{who}"))
                {
                    let got = self.world.got(other);
                    assert!(got[0].starts_with("409 "), "{got:?}");
                }
            }
            Op::Goodbye(who) => {
                if let Some(id) = self.id(*who) {
                    self.world.feed(id, close_frame(Role::Server, 1000, ""));
                    self.last.push((id, "close 1000 "));
                }
            }
            Op::Reset(who) => {
                if let Some(id) = self.id(*who) {
                    self.world.hub.handle_fault(now, id, Fault::Reset);
                    self.last.push((id, ""));
                }
            }
            Op::Kick(who) => {
                if let Some((id, client)) = self.people[*who] {
                    let hub = &mut self.world.hub;
                    hub.disconnect(now, client, CloseCode::POLICY, "bye");
                    self.world.drain();
                    if self.id(*who).is_some() {
                        self.world.feed(id, close_frame(Role::Server, 1008, ""));
                        self.last.push((id, "close 1008 bye"));
                    }
                }
            }
            Op::Say(..)
            | Op::AskInto(..)
            | Op::AskOutOf(..)
            | Op::SpeakIn(..)
            | Op::Direct(..)
            | Op::Connected(..)
            | Op::Answer(..) => self.speak(op),
            Op::Join(..)
            | Op::Leave(..)
            | Op::SetUser(..)
            | Op::Create(..)
            | Op::Remove(..)
            | Op::Publish(..)
            | Op::Ask(..) => self.command(op),
        }
        self.world.drain();
        self.hear();
    }

    /// The application listens.
    fn hear(&mut self) {
        while !self.world.turns.is_empty() {
            let turn = self.world.turn();
            if let Step::Event(event) = &turn.step {
                self.heard.push((turn.id(), event.name.to_string()));
            }
            self.world.decide(turn.allow());
        }
    }

    fn connect(&mut self, who: Who, place: Place) {
        if self.id(who).is_some() {
            return;
        }
        let name = format!("c{who}");
        let target = match place {
            Place::RNode => format!("/rnode?clientId={name}"),
            Place::Main | Place::Chat | Place::Ignis => place.path().into(),
        };
        let Some(id) = self.knock(&target) else {
            return;
        };
        if place == Place::Ignis {
            self.say(id, &json!({"event": "authenticate", "data": {}}));
            let turn = self.world.turn();
            self.world.decide(turn.allow());
        }
        self.people[who] = Some((id, self.world.client(id)));
        self.naive.open(id, &name, place);
    }

    /// What clients say, each in its dialect.
    fn speak(&mut self, op: &Op) {
        let n = self.next();
        match op {
            Op::Say(who, event, times) => {
                let Some((id, place)) = self.place(*who) else {
                    return;
                };
                for _ in 0..*times {
                    let n = self.next();
                    let text = match place {
                        Place::RNode => self.say(id, &json!({"type": event, "data": n})),
                        Place::Main | Place::Chat | Place::Ignis => {
                            self.say(id, &json!({"event": event, "data": {"said": n}}))
                        }
                    };
                    self.naive.say(id, event, &text);
                    self.hear();
                }
            }
            Op::AskInto(who, name) | Op::AskOutOf(who, name) => {
                let room = self.name(name);
                let into = matches!(op, Op::AskInto(..));
                let message = match self.place(*who) {
                    Some((id, Place::Ignis)) => {
                        let event = if into { "join" } else { "leave" };
                        Some((id, json!({"event": event, "data": {"rooms": [room]}})))
                    }
                    Some((id, Place::RNode)) => {
                        let kind = if into { "join_room" } else { "leave_room" };
                        Some((id, json!({"type": kind, "room_id": room})))
                    }
                    Some((_, Place::Main | Place::Chat)) | None => None,
                };
                if let Some((id, message)) = message {
                    self.say(id, &message);
                    if into {
                        self.naive.ask_into(id, &[&room]);
                    } else {
                        self.naive.ask_out(id, &[&room]);
                    }
                }
            }
            Op::SpeakIn(who, name) => {
                if let Some((id, Place::RNode)) = self.place(*who) {
                    let (room, text) = (self.name(name), n.to_string());
                    let message = json!({"type": "room_message", "room_id": room, "data": text});
                    self.say(id, &message);
                    self.naive.speak_in(id, &room, &text);
                }
            }
            Op::Direct(who, to) => {
                if let Some((id, Place::RNode)) = self.place(*who) {
                    let (to, text) = (format!("c{to}"), n.to_string());
                    let kind = "direct_message";
                    let message = json!({"type": kind, "target_client_id": to, "data": text});
                    self.say(id, &message);
                    self.naive.direct(id, &to, &text);
                }
            }
            Op::Connected(who, to) => {
                if let Some((id, place)) = self.place(*who)
                    && place.is_smartsocket()
                {
                    let name = to.map_or("/nowhere", Place::path);
                    let data = json!({"namespace": name});
                    self.say(id, &json!({"event": "CONNECT", "data": data}));
                    let to = to.filter(|to| to.is_smartsocket());
                    self.naive.relocate(id, to);
                }
            }
            Op::Answer(who, which) => {
                if let Some((id, place)) = self.place(*who)
                    && place.is_smartsocket()
                {
                    // Its own, another's, or nobody's.
                    let owed: Vec<_> = self.naive.owed.keys().copied().collect();
                    let key = owed.get(*which).copied().unwrap_or(1_000_000);
                    let data = json!({"ackId": format!("ack_{key}"), "response": n});
                    self.say(id, &json!({"event": "__ack__", "data": data}));
                    self.naive.answer(id, key, &Json::from(n));
                }
            }
            other => unreachable!("{other:?} is not said"),
        }
    }

    /// What the application does; those it is about may be gone.
    fn command(&mut self, op: &Op) {
        let now = self.world.now;
        let n = self.next();
        match op {
            Op::Join(who, name) => {
                if let Some((id, _)) = self.people[*who] {
                    let room = self.name(name);
                    let joined = self.world.hub.join(now, id, &room);
                    assert_eq!(joined, self.naive.join(id, &room, false));
                }
            }
            Op::Leave(who, name) => {
                if let Some((id, _)) = self.people[*who] {
                    let room = self.name(name);
                    let left = self.world.hub.leave(now, id, &room);
                    assert_eq!(left, self.naive.leave(id, &room));
                }
            }
            Op::SetUser(who, user) => {
                if let Some(id) = self.id(*who) {
                    let user = user.map(|user| format!("u{user}"));
                    self.world
                        .hub
                        .set_user(now, id, user.as_deref().map(UserId::from));
                    self.naive.peers.get_mut(&id).unwrap().user = user;
                }
            }
            Op::Create(place, max) => {
                let hub = &mut self.world.hub;
                let made = hub.create_room(now, place.path(), "made", None, *max);
                assert_eq!(made.is_ok(), self.naive.may_create());
                if let Ok(room) = made {
                    self.naive.create(*place, &room, *max);
                    self.made.push(room.to_string());
                }
            }
            Op::Remove(place, name) => {
                let room = self.name(name);
                let removed = self.world.hub.remove_room(now, place.path(), &room);
                assert_eq!(removed, self.naive.remove(*place, &room));
            }
            Op::Publish(to, except) => {
                let mut one = None;
                let target = match to {
                    To::All => Target::All,
                    To::Namespace(place) => Target::Namespace(place.path().into()),
                    To::Room(place, name) => Target::Room {
                        namespace: place.path().into(),
                        room: self.name(name).into(),
                    },
                    To::User(user) => Target::User(format!("u{user}").into()),
                    To::Client(who) => {
                        let Some((id, client)) = self.people[*who] else {
                            return;
                        };
                        one = Some(id);
                        Target::Client(client)
                    }
                };
                let but: Vec<_> = except.iter().filter_map(|who| self.people[*who]).collect();
                let mut publication = Publication::new(target.clone(), "n", Some(Json::from(n)));
                publication.except = but.iter().map(|(_, client)| *client).collect();
                let reached = self.world.hub.publish(now, publication);
                let but: Vec<_> = but.into_iter().map(|(id, _)| id).collect();
                assert_eq!(reached, self.naive.publish(&target, &but, one, n));
            }
            Op::Ask(who, timeout) => {
                if let Some((id, client)) = self.people[*who] {
                    let hub = &mut self.world.hub;
                    let asked =
                        hub.emit_with_ack(now, client, "q", None, Duration::from_millis(*timeout));
                    let expected = self.naive.ask(id, timeout * 1_000);
                    assert_eq!(asked.map(|_| ()), expected);
                }
            }
            other => unreachable!("{other:?} is no command"),
        }
    }

    /// Holds all that can be seen of the hub against the model.
    fn compare(&mut self) {
        for (id, word) in std::mem::take(&mut self.last) {
            let mut expected = std::mem::take(&mut self.naive.peers.get_mut(&id).unwrap().inbox);
            if !word.is_empty() {
                expected.push(json!(word));
            }
            assert_eq!(self.heard_by(id), expected);
            assert!(self.world.sockets.remove(&id).unwrap().dropped);
            self.naive.close(id);
        }
        let ids: Vec<_> = self.naive.peers.keys().copied().collect();
        for id in ids {
            let got = self.heard_by(id);
            let peer = self.naive.peers.get_mut(&id).unwrap();
            assert_eq!(got, std::mem::take(&mut peer.inbox), "{}", peer.name);
            let rooms = self.world.hub.rooms_of(id);
            assert!(rooms.iter().map(|room| &*room.id).eq(&peer.rooms));
            let client = self.world.hub.client(id).expect("it is there");
            assert_eq!(client.namespace(), peer.place.path());
            assert_eq!(client.user().map(UserId::as_str), peer.user.as_deref());
            assert_eq!(self.world.hub.find(&client.id().to_string()), Some(id));
        }
        for place in PLACES {
            self.compare_rooms(place);
        }
        assert_eq!(
            std::mem::take(&mut self.world.answers),
            std::mem::take(&mut self.naive.answers)
        );
        assert_eq!(
            std::mem::take(&mut self.heard),
            std::mem::take(&mut self.naive.heard)
        );
        let hub = &self.world.hub;
        assert_eq!(hub.len(), self.naive.peers.len());
        assert_eq!(hub.stats().connections, self.naive.peers.len());
        assert_eq!(hub.received_messages(), self.naive.received);
        assert_eq!(hub.sent_messages(), self.naive.sent);
        for cause in DropCause::ALL {
            let dropped = self.naive.dropped.get(cause).copied();
            assert_eq!(hub.dropped(*cause), dropped.unwrap_or(0), "{cause:?}");
        }
        for (name, count) in hub.namespace_stats() {
            let peers = self.naive.peers.values();
            assert_eq!(
                count,
                peers.filter(|peer| peer.place.path() == name).count()
            );
        }
        for who in 0..PEOPLE {
            let alias = self.place(who).filter(|(_, place)| *place == Place::RNode);
            let found = self.world.hub.find(&format!("c{who}"));
            assert_eq!(found, alias.map(|(id, _)| id));
        }
    }

    fn compare_rooms(&self, place: Place) {
        let rooms = self.world.hub.rooms_in(place.path());
        let names: HashSet<_> = rooms.iter().map(|room| room.id.to_string()).collect();
        let here = self.naive.rooms.keys().filter(|(at, _)| *at == place);
        assert_eq!(names, here.map(|(_, name)| name.clone()).collect());
        for room in rooms {
            let known = &self.naive.rooms[&(place, room.id.to_string())];
            let find = |client| self.world.hub.find(client).expect("members are there");
            let members = room.connections.iter().map(|client| find(client));
            assert_eq!(members.collect::<BTreeSet<_>>(), known.members);
            assert_eq!(room.connections_count, known.members.len());
            assert_eq!(room.max_connections, known.max);
        }
    }

    fn heard_by(&mut self, id: ConnId) -> Vec<Value> {
        self.world.got(id).iter().map(|got| essence(got)).collect()
    }
}

/// A message without what is random, wordy or the time.
fn essence(text: &str) -> Value {
    let Ok(Value::Object(mut message)) = serde_json::from_str(text) else {
        return json!(text);
    };
    for field in ["timestamp", "connection_id"] {
        message.remove(field);
    }
    if message.contains_key("retry_after") {
        message.remove("error");
    }
    let is_error = message.get("event") == Some(&json!("error"));
    if let Some(data) = message.get_mut("data") {
        if is_error && data.get("retryAfter").is_none() {
            *data = data["message"].take();
        }
        if let Value::Object(data) = data {
            for field in ["id", "time", "message"] {
                data.remove(field);
            }
        }
    }
    Value::Object(message)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_a_hub_is_as_its_model(ops in vec(op(), 1..100)) {
        let mut play = Play::new();
        for op in &ops {
            play.apply(op);
            play.compare();
        }
    }
}

#[test]
fn the_model_knows_the_limits_by_heart() {
    // By hand, so that both cannot be wrong in the same way.
    let mut play = Play::new();
    for op in [Op::Connect(0, Place::Main), Op::Connect(1, Place::Chat)] {
        play.apply(&op);
    }
    play.world.pass(ms(900));
    play.naive.pass(900_000);
    for who in [0, 1] {
        play.apply(&Op::Say(who, "other", 5));
    }
    let told: Vec<_> = [0, 1]
        .map(|who| play.id(who).unwrap())
        .map(|id| play.heard_by(id))
        .into_iter()
        .flatten()
        .map(|told| told["data"]["retryAfter"].clone())
        .collect();
    // 900 ms is in the 13th of 15 parts, over 16 parts later; and 100 ms from
    // the end of the second.
    assert_eq!(told, [json!(1_000 * (13 + 16) / 15 + 1 - 900), json!(100)]);
}
