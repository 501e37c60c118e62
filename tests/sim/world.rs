//! A hub, the network around it and the application on top, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use smartsocket_core::hub::{
    AckTicket, Auth, ConnId, Event, Hub, HubConfig, Identity, Interest, Output, Overflow,
    Publication, Route, Step, Target, Turn,
};
use smartsocket_core::{
    CloseCode, DropCause, Fault, Json, Message, OfflineConfig, RateLimit, Seed, Tick,
};

use super::chance::Chance;
use super::model::{Asked, Member, Model, Said};
use super::peer::Peer;

pub const CHAT: usize = 0;
pub const KEYED: usize = 1;
pub const IGNIS: usize = 2;
pub const RNODE: usize = 3;
pub const RNODE_TOO: usize = 4;
pub const MB: usize = 5;
pub const RAW: usize = 6;

pub const PATHS: [&str; 7] = ["/chat", "/keyed", "/ws", "/rnode", "/too", "/mb", "/raw"];
const NAMESPACES: [&str; 7] = ["/chat", "/keyed", "/ws", "/rnode", "/rnode", "/mb", "/ws"];
const USERS: [&str; 3] = ["ann", "bob", "cy"];
pub const KEY: &str = "the-key";
const ROOMS: [&str; 4] = ["red", "green", "blue", "events.one"];
const WALL: u64 = 1_700_000_000_000;
const HANDLER: Duration = Duration::from_secs(30);
const EMPTY_ROOM: Duration = Duration::from_secs(600);
const MAX_MEMBERS: usize = 3;

/// What kind of weather a run has.
#[derive(Debug)]
pub struct Weather {
    /// No resets, no vanished peers, no violations; sockets stall at times.
    pub calm: bool,
    pub peers: usize,
    /// How often an answer comes at once, and how often never, in percent.
    prompt: usize,
    never: usize,
    /// How many bytes a socket takes at most at a time.
    gulp: usize,
    bite: usize,
    overflow: Overflow,
}

pub struct World {
    pub chance: Chance,
    pub weather: Weather,
    pub hub: Hub,
    config: HubConfig,
    pub now: Tick,
    pub step: u64,
    pub model: Model,
    pub peers: BTreeMap<ConnId, Peer>,
    gone: Vec<ConnId>,
    turns: Vec<(Turn, Tick)>,
    /// Turns that were told and not answered, by connection, until when.
    open_turns: BTreeMap<ConnId, Tick>,
    tickets: Vec<(ConnId, u64, AckTicket)>,
    next_number: u64,
    next_peer: usize,
    pub wakeups: u64,
    /// A connection ended with bytes that nobody can count.
    pub lossy: bool,
    /// What happened, in a number: the same for the same seed.
    pub trace: u64,
    /// Connection time so far, in microseconds.
    pub lived: u128,
    frames: u64,
}

fn routes(chance: &mut Chance, overflow: Overflow, calm: bool) -> Vec<Route> {
    let optional = [
        Interest::CONNECT,
        Interest::OPENED,
        Interest::EVENT,
        Interest::BINARY,
        Interest::JOIN,
        Interest::LEAVE,
        Interest::ROOM_MESSAGE,
        Interest::DIRECT,
        Interest::PING,
        Interest::PONG,
        Interest::WELCOME,
        Interest::MESSAGE_ACK,
        Interest::ERROR,
        Interest::RATE_LIMITED,
        Interest::OUTBOUND,
    ];
    let share = *chance.of(&[0, 10, 30, 60, 100]);
    let mut routes = vec![
        Route::smartsocket(PATHS[CHAT]),
        Route::smartsocket(PATHS[KEYED]),
        Route::ignis(PATHS[IGNIS]),
        Route::rnode(PATHS[RNODE]),
        Route::rnode(PATHS[RNODE_TOO]),
        Route::header_line(PATHS[MB]),
        Route::raw(PATHS[RAW]),
    ];
    routes[KEYED].auth = Auth::ApiKeys {
        keys: vec!["another".into(), KEY.into()],
        timeout: Duration::from_secs(5),
    };
    routes[RNODE].rooms.must_exist = chance.percent(50);
    routes[RNODE_TOO].rooms.must_exist = routes[RNODE].rooms.must_exist;
    for (route, namespace) in routes.iter_mut().zip(NAMESPACES) {
        route.namespace = namespace.into();
        route.interest = Interest::CLOSED;
        for bit in optional {
            if chance.percent(share) {
                route.interest |= bit;
            }
        }
        if matches!(route.auth, Auth::Message { .. }) {
            route.interest |= Interest::AUTHENTICATE | Interest::JOIN;
        }
        route.rate = (!calm && chance.percent(50))
            .then(|| RateLimit::new(*chance.of(&[3, 20]), Duration::from_secs(5)));
        if !calm && chance.percent(20) {
            route.user_rate = Some(RateLimit::new(10, Duration::from_secs(5)));
        }
        if !calm && chance.percent(20) {
            route
                .event_rates
                .set("say", RateLimit::new(2, Duration::from_secs(5)));
        }
        if chance.percent(20) {
            route.websocket.idle_timeout = Some(Duration::from_secs(90));
        }
        route.outbox.overflow = overflow;
        route.outbox.max_messages = *chance.of(&[2, 10, 1_024]);
        route.outbox.max_bytes = *chance.of(&[1_000, 100_000, 1 << 20]);
    }
    routes
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let calm = chance.percent(40);
        let weather = Weather {
            calm,
            peers: 1 + chance.below(20),
            prompt: *chance.of(&[0, 30, 90, 100]),
            never: if calm { 0 } else { *chance.of(&[0, 0, 5, 30]) },
            gulp: *chance.of(&[30, 300, 5_000, 1 << 20]),
            bite: *chance.of(&[20, 200, 5_000]),
            overflow: *chance.of(&[
                Overflow::Close,
                Overflow::DropNewest,
                Overflow::DropOldest,
                Overflow::KeepLatest,
            ]),
        };
        let config = HubConfig {
            routes: routes(&mut chance, weather.overflow, calm),
            handler_timeout: HANDLER,
            empty_room_timeout: EMPTY_ROOM,
            max_connections: 24,
            max_rooms: *chance.of(&[3, 1_000]),
            max_rooms_per_client: *chance.of(&[3, 100]),
            max_acks_per_client: *chance.of(&[2, 100]),
            offline: chance.percent(60).then(|| OfflineConfig {
                max_messages: 5,
                max_user_bytes: 2_000,
                max_age: Duration::from_secs(60),
                max_users: 2,
                max_bytes: 3_000,
            }),
            ..HubConfig::default()
        };
        let hub = Hub::new(config.clone(), Seed::new(chance.bytes()), Tick::ZERO, WALL);
        Self {
            hub: hub.expect("the routes are good"),
            chance,
            weather,
            config,
            now: Tick::ZERO,
            step: 0,
            model: Model::default(),
            peers: BTreeMap::new(),
            gone: Vec::new(),
            turns: Vec::new(),
            open_turns: BTreeMap::new(),
            tickets: Vec::new(),
            next_number: 0,
            next_peer: 0,
            wakeups: 0,
            lossy: false,
            trace: 0,
            lived: 0,
            frames: 0,
        }
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace.rotate_left(7) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn pick(&mut self) -> Option<ConnId> {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        (!ids.is_empty()).then(|| *self.chance.of(&ids))
    }

    /// One thing happens, and all that follows is held against the model.
    pub fn take_step(&mut self) {
        self.step += 1;
        // Several inputs may come before outputs are looked at.
        for _ in 0..if self.chance.percent(15) { 4 } else { 1 } {
            self.happen();
        }
        self.settle();
    }

    fn happen(&mut self) {
        match self.chance.below(100) {
            0..6 => self.connect(),
            6..28 => {
                let aliases: Vec<_> = self
                    .peers
                    .values()
                    .filter_map(|p| p.alias.clone())
                    .collect();
                let picked = self.pick().and_then(|id| self.peers.get_mut(&id));
                if let Some(peer) = picked.filter(|peer| peer.upgraded) {
                    peer.speak(&mut self.chance, &aliases);
                }
            }
            28..50 => {
                if let Some(id) = self.pick() {
                    let bite = 1 + self.chance.below(self.weather.bite);
                    self.move_up(id, bite);
                }
            }
            50..65 => {
                if let Some(id) = self.pick() {
                    let gulp = self.chance.below(self.weather.gulp + 1);
                    self.move_down(id, gulp);
                }
            }
            65..75 => self.decide_some(),
            75..90 => self.command(),
            90..95 => self.time_passes(),
            95..97 => {
                if let Some(id) = self.pick()
                    && let Some(peer) = self.peers.get_mut(&id)
                {
                    peer.stalled = !peer.stalled;
                }
            }
            97 => {
                if let Some(id) = self.pick()
                    && let Some(peer) = self.peers.get_mut(&id)
                    && peer.upgraded
                    && self.chance.percent(30)
                {
                    peer.close(&mut self.chance);
                }
            }
            98 if !self.weather.calm && self.chance.percent(40) => self.misfortune(),
            _ => self.ghosts(),
        }
    }

    fn connect(&mut self) {
        if self.peers.len() >= self.weather.peers {
            return;
        }
        let address = IpAddr::from([10, 0, 0, 1 + self.chance.below(3) as u8]);
        let Ok(id) = self.hub.accept(self.now, Some(address)) else {
            return;
        };
        assert!(
            !self.model.members.contains_key(&id),
            "{id:?} was used before"
        );
        let route = self.chance.below(PATHS.len());
        let proven = matches!(self.config.routes[route].auth, Auth::None);
        let member = Member::new(route, NAMESPACES[route], proven);
        self.model.members.insert(id, member);
        self.model.peers.insert(self.next_peer, id);
        let peer = Peer::new(self.next_peer, id, route, &mut self.chance);
        self.peers.insert(id, peer);
        self.next_peer += 1;
        if self.chance.percent(80) {
            self.move_up(id, usize::MAX);
            self.settle();
            self.move_down(id, usize::MAX);
        }
    }

    /// Bytes of a client come to the hub, as many as this.
    fn move_up(&mut self, id: ConnId, n: usize) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.vanished || peer.paused || peer.ended {
            return;
        }
        let n = n.min(peer.upward.len());
        if n == 0 {
            if peer.ends {
                peer.ended = true;
                self.hub.handle_eof(self.now, id);
            }
            return;
        }
        if self.chance.percent(30)
            && let Some(mut fill) = self.hub.take_fill(id)
        {
            let n = n.min(fill.room);
            fill.buf.extend(peer.upward.drain(..n));
            peer.arrive(self.step, n, &mut self.model);
            return self.hub.handle_fill(self.now, id, fill);
        }
        let mut bytes: Vec<u8> = peer.upward.drain(..n).collect();
        peer.arrive(self.step, n, &mut self.model);
        self.hub.handle_bytes(self.now, id, &mut bytes);
    }

    /// The socket of a client takes bytes of the hub's.
    fn move_down(&mut self, id: ConnId, n: usize) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.stalled || peer.vanished || !peer.wanted || n == 0 {
            return;
        }
        let mut bytes: Vec<u8> = self.hub.unsent(id).flat_map(|b| b.to_vec()).collect();
        bytes.truncate(n);
        if bytes.is_empty() {
            peer.wanted = false;
            return;
        }
        self.hub.transmitted(self.now, id, bytes.len());
        if self.hub.unsent(id).next().is_none() {
            peer.wanted = false;
        }
        peer.take(&bytes, &mut self.chance, &mut self.model);
        let said = bytes.iter().fold(bytes.len() as u64, |sum, b| {
            sum * 31 % 0xffff_fffb + u64::from(*b)
        });
        self.note(said);
    }

    fn misfortune(&mut self) {
        let Some(id) = self.pick() else {
            return;
        };
        self.lossy = true;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        match self.chance.below(4) {
            0 => self.hub.handle_fault(self.now, id, Fault::Reset),
            1 => peer.vanished = true,
            2 => peer.ends = true,
            _ => {
                // No mask, no sense.
                let junk: [u8; 6] = self.chance.bytes();
                if peer.upgraded && !peer.ends {
                    peer.upward.extend(junk);
                    peer.ends = true;
                }
            }
        }
    }

    /// Words about connections that are no more.
    fn ghosts(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let id = *self.chance.of(&self.gone);
        let now = self.now;
        match self.chance.below(8) {
            0 => self
                .hub
                .handle_bytes(now, id, &mut [0x81, 0x80, 0, 0, 0, 0]),
            1 => self.hub.handle_eof(now, id),
            2 => self.hub.handle_fault(now, id, Fault::Reset),
            3 => self.hub.transmitted(now, id, 10),
            4 => assert!(self.hub.join(now, id, "red").is_err()),
            5 => assert!(!self.hub.leave(now, id, "red")),
            6 => self.hub.transform(id),
            _ => assert!(self.hub.take_fill(id).is_none()),
        }
        assert!(self.hub.client(id).is_none() && self.hub.rooms_of(id).is_empty());
    }

    // Time

    pub fn time_passes(&mut self) {
        self.settle();
        let due = self.hub.next_timeout();
        let until = match self.chance.below(10) {
            _ if self.weather.calm => {
                for peer in self.peers.values_mut() {
                    peer.stalled &= self.chance.percent(70);
                }
                self.now + Duration::from_millis(self.chance.below(500) as u64)
            }
            0..7 => self.now + Duration::from_millis(self.chance.below(100) as u64),
            7 | 8 => due.unwrap_or(self.now).max(self.now),
            _ if self.chance.percent(70) => {
                self.now + Duration::from_millis(self.chance.below(20_000) as u64)
            }
            // A laptop was closed.
            _ => self.now + Duration::from_secs(self.chance.below(4_000) as u64),
        };
        self.pass(until);
    }

    /// The clock is at this time now.
    pub fn pass(&mut self, until: Tick) {
        let past = until.since(self.now).as_micros();
        self.lived += past * self.peers.len() as u128;
        self.now = until;
        self.hub.handle_timeout(self.now);
        self.wakeups += 1;
    }

    // Outputs

    /// Takes all outputs until there are none, and looks at everything.
    pub fn settle(&mut self) {
        let mut rounds = 0;
        loop {
            self.drain();
            self.look();
            match self.hub.next_timeout() {
                Some(due) if due <= self.now => {
                    rounds += 1;
                    assert!(rounds < 100, "no end of timeouts at {:?}", self.now);
                    self.hub.handle_timeout(self.now);
                }
                _ => break,
            }
        }
        let overdue = self
            .model
            .acks
            .values()
            .find(|asked| asked.deadline <= self.now);
        assert!(overdue.is_none(), "nobody told what came of {overdue:?}");
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.hub.poll_output() {
            outputs += 1;
            assert!(outputs < 200_000, "no end of outputs");
            self.output(output);
        }
        assert!(self.hub.poll_output().is_none());
    }

    fn output(&mut self, output: Output) {
        let socket = match &output {
            Output::Transmit(id)
            | Output::PauseRead(id)
            | Output::ResumeRead(id)
            | Output::Shutdown(id)
            | Output::Close(id) => Some(*id),
            Output::Event(_) | Output::Cluster(_) => None,
        };
        if let Some(id) = socket {
            assert!(
                self.peers.contains_key(&id),
                "{output:?} after the last output"
            );
        }
        match output {
            Output::Transmit(id) => {
                let peer = self.peers.get_mut(&id).expect("just seen");
                peer.wanted = true;
            }
            Output::PauseRead(id) | Output::ResumeRead(id) => {
                let pause = matches!(output, Output::PauseRead(_));
                let peer = self.peers.get_mut(&id).expect("just seen");
                assert_ne!(peer.paused, pause, "{output:?} twice");
                peer.paused = pause;
            }
            Output::Shutdown(id) => {
                let peer = self.peers.get_mut(&id).expect("just seen");
                assert!(
                    self.hub.unsent(id).next().is_none(),
                    "{id:?}: bytes are left"
                );
                peer.ends = true;
            }
            Output::Close(id) => {
                let peer = self.peers.remove(&id).expect("just seen");
                self.frames += peer.frames;
                self.lossy |= peer.upgraded && !peer.got_close || peer.answered.is_none();
                let member = self.model.members.get_mut(&id).expect("a connection");
                member.dropped = true;
                self.gone.push(id);
                self.note(3);
            }
            Output::Event(Event::Turn(turn)) => self.turn(turn),
            Output::Event(Event::Answered { token, answer }) => {
                let id = self.model.acks.get(&token).map(|asked| asked.id);
                let open = id.is_some_and(|id| self.hub.client(id).is_some());
                self.model.settled(self.now, token, &answer, open);
                self.note(5);
            }
            Output::Event(Event::Request(..) | Event::Bare(..)) => panic!("nobody asked"),
            Output::Cluster(_) => panic!("there is no cluster"),
        }
    }

    fn turn(&mut self, turn: Turn) {
        let id = turn.id();
        self.note(7);
        let interest = self.config.routes[turn.route()].interest;
        assert!(interest.has(turn.interest()), "{turn:?} is nobody's");
        let member = self.model.members.get_mut(&id).expect("a connection");
        assert!(!member.told_closed, "{turn:?} after the end");
        if let Step::Closed(gone) = &turn.step {
            member.told_closed = true;
            assert!(self.hub.client(id).is_none(), "{id:?} is gone and there");
            if member.somebody || member.client.is_some() {
                let user = gone.user.as_ref().map(|user| user.as_str());
                assert_eq!(user, member.user.as_deref(), "{id:?}");
            }
            self.open_turns.remove(&id);
            return;
        }
        if !matches!(turn.step, Step::Outbound { .. }) {
            let until = self.open_turns.insert(id, self.now + HANDLER);
            assert!(
                until.is_none_or(|until| until <= self.now),
                "{turn:?} while another is open"
            );
        } else {
            assert!(member.transformed, "{turn:?} is not marked");
        }
        if let Step::Join(rooms) = &turn.step {
            for room in rooms {
                assert!(
                    member.asked_in.contains(room.as_str()),
                    "{room} was not asked for"
                );
            }
        }
        if self.chance.percent(self.weather.prompt) {
            self.decide(turn);
        } else if !self.chance.percent(self.weather.never) {
            self.turns.push((turn, self.now));
        }
    }

    // The application

    fn decide_some(&mut self) {
        if !self.turns.is_empty() {
            let at = self.chance.below(self.turns.len());
            let (turn, _) = self.turns.swap_remove(at);
            self.decide(turn);
        } else if !self.tickets.is_empty() {
            let at = self.chance.below(self.tickets.len());
            let (id, number, ticket) = self.tickets.swap_remove(at);
            self.acknowledge(id, number, ticket);
        }
    }

    fn acknowledge(&mut self, id: ConnId, number: u64, ticket: AckTicket) {
        if self.hub.client(id).is_some()
            && let Some(member) = self.model.members.get_mut(&id)
        {
            member.owed_by_app.insert(number);
        }
        self.hub.acknowledge(self.now, ticket, &Json::EMPTY);
    }

    fn decide(&mut self, mut turn: Turn) {
        let id = turn.id();
        let fresh = self
            .open_turns
            .get(&id)
            .is_some_and(|until| *until > self.now);
        if !matches!(turn.step, Step::Outbound { .. }) {
            self.open_turns.remove(&id);
        }
        if let Step::Event(event) = &mut turn.step
            && let Some(ticket) = event.ack.take()
        {
            let number = event.data.as_ref().and_then(|data| {
                let word = data.as_str().split(".").nth(1)?;
                word.split('"').next()?.parse().ok()
            });
            match (number, self.chance.below(3)) {
                (Some(number), 0) => self.acknowledge(id, number, ticket),
                (Some(number), 1) => self.tickets.push((id, number, ticket)),
                _ => event.ack = Some(ticket),
            }
        }
        let credentials = matches!(turn.step, Step::Authenticate(_) | Step::Connect(_));
        let verdict = self.chance.below(10);
        let decision = match (&turn.step, verdict) {
            (_, 0) => turn.cancel(None),
            (_, 1) => turn.cancel(Some("no")),
            (_, 2) => turn.fail(),
            (Step::Authenticate(_) | Step::Connect(_), 3..7) => {
                let user = *self.chance.of(&USERS);
                let member = self.model.members.get_mut(&id).expect("a connection");
                if fresh {
                    member.proven = true;
                    if !member.dropped && self.hub.len() > 0 {
                        member.user = Some(user.into());
                    }
                }
                turn.authenticate(Identity {
                    user: Some(user.into()),
                    metadata: None,
                })
            }
            (Step::Join(rooms), 3) => {
                let allowed: Vec<_> = rooms.iter().take(1).cloned().collect();
                turn.rooms(&allowed)
            }
            _ => {
                if matches!(turn.step, Step::Authenticate(_)) && fresh {
                    let member = self.model.members.get_mut(&id).expect("a connection");
                    member.proven = true;
                    member.user = None;
                }
                turn.allow()
            }
        };
        self.note(u64::from(credentials) + 10);
        self.hub.decide(self.now, decision);
    }

    fn command(&mut self) {
        // Other inputs may have come since the last drain.
        self.look();
        let now = self.now;
        let id = self.pick().or_else(|| self.gone.last().copied());
        let room = *self.chance.of(&ROOMS);
        let Some(id) = id else {
            return;
        };
        let namespace = self.model.members[&id].namespace.clone();
        match self.chance.below(20) {
            0..9 => self.publish(id),
            9 | 10 => self.ask(id),
            11 | 12 => {
                let joined = self.hub.join(now, id, room).is_ok();
                let member = self.model.members.get_mut(&id).expect("a connection");
                if joined {
                    assert!(!member.is_in(room) && member.proven, "{id:?} joined {room}");
                    member.enter(self.step, room);
                    let rooms = member.now_in().len();
                    assert!(rooms <= self.config.max_rooms_per_client);
                }
            }
            13 => {
                let left = self.hub.leave(now, id, room);
                let member = self.model.members.get_mut(&id).expect("a connection");
                member.exit(self.step, room);
                let _ = left;
            }
            14 => {
                self.hub.remove_room(now, &namespace, room);
                for member in self.model.members.values_mut() {
                    if member.namespace == namespace {
                        member.exit(self.step, room);
                    }
                }
                assert!(self.hub.room(&namespace, room).is_none());
            }
            15 => {
                let full = Some(MAX_MEMBERS);
                if let Ok(room) = self.hub.create_room(now, &namespace, "made", None, full) {
                    for id in self.peers.keys().copied().collect::<Vec<_>>() {
                        let joins = self.chance.percent(30);
                        if joins && self.hub.join(now, id, &room).is_ok() {
                            let member = self.model.members.get_mut(&id).expect("a connection");
                            if member.namespace == namespace {
                                member.enter(self.step, &room);
                                let made = self.hub.room(&namespace, &room).expect("just made");
                                assert!(made.connections_count <= MAX_MEMBERS);
                            } else {
                                member.enter(self.step, &room);
                            }
                        }
                    }
                }
            }
            16 if self.hub.client(id).is_some() => {
                let user = self.chance.percent(80).then(|| *self.chance.of(&USERS));
                self.hub.set_user(now, id, user.map(Into::into));
                let member = self.model.members.get_mut(&id).expect("a connection");
                member.user = user.map(Into::into);
            }
            17 if self.chance.percent(20) => {
                self.hub.transform(id);
                let member = self.model.members.get_mut(&id).expect("a connection");
                member.transformed = true;
            }
            18 if self.chance.percent(30) => {
                if let Some(client) = self.model.members[&id].client {
                    self.hub
                        .disconnect(now, client, CloseCode::NORMAL, "enough");
                }
            }
            _ => {
                if let Some(client) = self.hub.client(id).map(|client| client.id()) {
                    let number = self.number(BTreeSet::from([id]), None, true);
                    let text = format!("{{\"event\":\"raw\",\"data\":{{\"n\":{number}}}}}");
                    self.hub.send(now, client, Message::text(text));
                }
            }
        }
    }

    fn number(&mut self, to: BTreeSet<ConnId>, kept_for: Option<String>, direct: bool) -> u64 {
        self.next_number += 1;
        let said = Said {
            to,
            kept_for,
            direct,
            delivered: 0,
        };
        self.model.said.insert(self.next_number, said);
        self.next_number
    }

    fn publish(&mut self, id: ConnId) {
        let member = &self.model.members[&id];
        let namespace = *self.chance.of(&NAMESPACES);
        let room = *self.chance.of(&ROOMS);
        let user = *self.chance.of(&USERS);
        let client = member.client;
        let target = match self.chance.below(6) {
            0 => Target::All,
            1 => Target::Namespace(namespace.into()),
            2 | 3 => Target::Room {
                namespace: namespace.into(),
                room: room.into(),
            },
            4 => Target::User(user.into()),
            _ => match client {
                Some(client) => Target::Client(client),
                None => Target::All,
            },
        };
        let except = match client {
            Some(client) if self.chance.percent(20) => vec![client],
            _ => Vec::new(),
        };
        let to: BTreeSet<ConnId> = self
            .model
            .members
            .iter()
            .filter(|(_, member)| member.somebody)
            .filter(|(_, member)| match &target {
                Target::All => true,
                Target::Namespace(name) => member.namespace == name.as_str(),
                Target::Room { namespace, room } => {
                    member.namespace == namespace.as_str() && member.is_in(room)
                }
                Target::User(user) => member.user.as_deref() == Some(user.as_str()),
                Target::Client(client) => member.client == Some(*client),
            })
            .filter(|(_, member)| !member.client.is_some_and(|client| except.contains(&client)))
            .map(|(id, _)| *id)
            .collect();
        let expected = to.len();
        let kept = match &target {
            Target::User(user) if to.is_empty() && except.is_empty() => Some(user.as_str().into()),
            _ => None,
        };
        let number = self.number(to, kept, false);
        let pad = match self.chance.below(20) {
            0 => 70_000,
            1..4 => 900,
            _ => 0,
        };
        let data = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(pad));
        let data = Json::parse(data).expect("JSON");
        let name = *self.chance.of(&["a", "b"]);
        let publication = Publication {
            except,
            ..Publication::new(target, name, Some(data))
        };
        let reached = self.hub.publish(self.now, publication.clone());
        assert_eq!(
            reached, expected,
            "{publication:?} in {:?}",
            self.model.members
        );
    }

    fn ask(&mut self, id: ConnId) {
        self.settle();
        let Some(client) = self.hub.client(id).map(|client| client.id()) else {
            return;
        };
        let number = self.number(BTreeSet::from([id]), None, true);
        let data = Json::parse(format!("{{\"n\":{number}}}")).expect("JSON");
        let timeout = Duration::from_millis(*self.chance.of(&[0, 100, 5_000, 60_000]));
        let asked = self
            .hub
            .emit_with_ack(self.now, client, "ask", Some(&data), timeout);
        if let Ok(token) = asked {
            let deadline = self.now + timeout;
            let asked = Asked {
                id,
                deadline,
                number,
            };
            assert!(self.model.acks.insert(token, asked).is_none());
            let owed = self.model.acks.values().filter(|asked| asked.id == id);
            assert!(owed.count() <= self.config.max_acks_per_client);
        }
    }

    // Oracles

    /// Holds what the hub shows against the model.
    fn look(&mut self) {
        let step = self.step;
        let mut somebodies = 0;
        for (id, member) in &mut self.model.members {
            let Some(client) = self.hub.client(*id) else {
                if member.somebody {
                    member.somebody = false;
                    for room in member.now_in() {
                        member.exit(step, &room);
                    }
                }
                continue;
            };
            somebodies += 1;
            assert!(member.proven, "{id:?} is somebody, and nobody knows why");
            assert!(!member.dropped && !member.told_closed, "{id:?} lives on");
            if member.client.is_none() {
                member.client = Some(client.id());
                for room in &self.config.routes[member.route].default_rooms {
                    member.asked_in.insert(room.to_string());
                }
            }
            member.somebody = true;
            assert_eq!(member.client, Some(client.id()));
            if client.namespace() != member.namespace {
                let name = client.namespace();
                assert!(
                    member.asked_namespaces.contains(name),
                    "{id:?} moved to {name}"
                );
                for room in member.now_in() {
                    member.exit(step, &room);
                }
                member.namespace = name.into();
            }
            let user = client.user().map(|user| user.as_str());
            assert_eq!(user, member.user.as_deref(), "{id:?}");
            member.was.extend(member.user.clone());
            let bound = 4 * (1 << 20) + 300_000;
            assert!(client.buffered() <= bound, "{id:?}: {}", client.buffered());
            let rooms: BTreeSet<String> = self
                .hub
                .rooms_of(*id)
                .iter()
                .map(|room| room.id.to_string())
                .collect();
            let known = member.now_in();
            for room in rooms.difference(&known) {
                assert!(
                    member.asked_in.contains(room),
                    "{id:?} is in {room} unasked"
                );
                member.enter(step, room);
            }
            for room in known.difference(&rooms) {
                let asked = member.asked_out.contains(room) || member.asked_out.contains("");
                assert!(asked, "{id:?} is out of {room} unasked");
                member.exit(step, room);
            }
        }
        assert_eq!(self.hub.clients().iter().count(), somebodies);
        self.look_at_rooms();
    }

    fn look_at_rooms(&self) {
        for namespace in ["/chat", "/keyed", "/ws", "/rnode", "/mb"] {
            for room in self.hub.rooms_in(namespace) {
                let members: BTreeSet<&str> = room.connections.iter().map(|c| c.as_str()).collect();
                assert_eq!(members.len(), room.connections_count, "{room:?}");
                let known: BTreeSet<String> = self
                    .model
                    .members
                    .values()
                    .filter(|member| member.somebody && member.namespace == namespace)
                    .filter(|member| member.is_in(&room.id))
                    .filter_map(|member| Some(member.client?.to_string()))
                    .collect();
                let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
                assert_eq!(members, known, "{}", room.id);
                assert!(
                    !members.is_empty() || room.id.starts_with("room_"),
                    "{room:?}"
                );
            }
        }
    }

    // The end

    /// The storm is over: everything moves, everything is answered.
    pub fn calm_down(&mut self) {
        for peer in self.peers.values_mut() {
            peer.stalled = false;
        }
        self.weather.prompt = 100;
        for round in 0.. {
            assert!(round < 10_000, "it never comes to rest");
            self.step += 1;
            let before = self.trace;
            for id in self.peers.keys().copied().collect::<Vec<_>>() {
                self.move_up(id, usize::MAX);
                self.move_down(id, usize::MAX);
            }
            let idle = self.turns.is_empty() && self.tickets.is_empty();
            self.decide_some();
            self.settle();
            let moving = self.peers.values().any(|peer| {
                !peer.vanished && (!peer.upward.is_empty() && !peer.paused || peer.wanted)
            });
            if idle && !moving && before == self.trace {
                break;
            }
        }
    }

    /// What was sent is with the clients, or counted as lost.
    pub fn account(&mut self) {
        if std::env::var("SIM_DEBUG").is_ok() {
            eprintln!(
                "account lossy={} calm={} sent={} outbox={} closed={} frames={} vanished={} settled={} words={} said={} del={} peers={} overflow={:?}",
                self.lossy,
                self.weather.calm,
                self.hub.sent_messages(),
                self.hub.dropped(DropCause::Outbox),
                self.hub.dropped(DropCause::Closed),
                self.frames,
                self.peers.values().any(|p| p.vanished),
                self.model.settled,
                self.model.words.len(),
                self.model.said.len(),
                self.model.said.values().map(|s| s.delivered).sum::<u64>(),
                self.peers.len(),
                self.weather.overflow
            );
        }
        let sent = self.hub.sent_messages();
        let arrived = self.frames + self.peers.values().map(|peer| peer.frames).sum::<u64>();
        assert!(arrived <= sent, "{arrived} of {sent} came");
        if self.lossy || self.peers.values().any(|peer| peer.vanished) {
            return;
        }
        let lost = self.hub.dropped(DropCause::Outbox) + self.hub.dropped(DropCause::Closed);
        assert!(
            arrived + lost >= sent,
            "{sent} sent, {arrived} came, {lost} are counted as lost"
        );
    }

    /// Clients that are there, and were answered, were answered once.
    pub fn account_acks(&self) {
        for peer in self.peers.values().filter(|peer| !peer.vanished) {
            let member = &self.model.members[&peer.id];
            if member.somebody && !peer.ends {
                for number in &member.owed_by_app {
                    assert!(
                        member.answered.contains_key(number),
                        "{:?}: {number}",
                        peer.id
                    );
                }
            }
        }
    }

    /// Nothing but time happens for so long.
    pub fn idle(&mut self, long: Duration) {
        let end = self.now + long;
        let before = self.wakeups;
        let peers = self.peers.len() as u64;
        while let Some(due) = self.hub.next_timeout().filter(|due| *due <= end) {
            self.step += 1;
            self.pass(due.max(self.now));
            self.settle();
            for id in self.peers.keys().copied().collect::<Vec<_>>() {
                self.move_down(id, usize::MAX);
                self.settle();
                self.move_up(id, usize::MAX);
                self.settle();
            }
            let spent = self.wakeups - before;
            // Pings of both kinds, their answers, and what was due anyhow.
            let bound = 200 + 40 * peers + peers * long.as_secs() / 3;
            assert!(spent <= bound, "{spent} wake-ups for {peers} idle clients");
        }
        self.pass(end);
        self.settle();
    }

    /// Everybody leaves, one way or another, and nothing is left of them.
    pub fn empty(&mut self) {
        let stops = self.chance.percent(30);
        if stops {
            self.hub.stop(self.now);
        } else {
            for id in self.peers.keys().copied().collect::<Vec<_>>() {
                let peer = self.peers.get_mut(&id).expect("listed");
                match self.chance.below(3) {
                    0 => {
                        self.lossy = true;
                        self.hub.handle_fault(self.now, id, Fault::Reset);
                    }
                    1 => peer.ends = true,
                    _ => {
                        peer.close(&mut self.chance);
                        peer.ends = true;
                    }
                }
            }
        }
        self.settle();
        self.calm_down();
        self.idle(Duration::from_secs(200));
        assert!(
            self.hub.is_empty() && self.peers.is_empty(),
            "{:?}",
            self.peers
        );
        assert!(self.model.acks.is_empty(), "{:?}", self.model.acks);
        for (id, member) in &self.model.members {
            assert!(member.dropped, "{id:?} was never let go");
            assert!(
                member.client.is_none() || member.told_closed,
                "{id:?}: its end was not told"
            );
        }
        self.idle(EMPTY_ROOM);
        for (namespace, members) in self.hub.namespace_stats() {
            assert_eq!(members, 0, "{namespace}");
            assert!(self.hub.rooms_in(namespace).is_empty(), "{namespace}");
        }
        assert_eq!(self.hub.next_timeout(), None, "nothing to wait for");
        for user in USERS {
            let target = Target::User(user.into());
            assert_eq!(
                self.hub
                    .publish(self.now, Publication::new(target, "x", None)),
                0
            );
        }
    }
}
