//! A hub, the network around it and the application on top, step by step.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use smartsocket_core::hub::{
    AckTicket, Auth, ConnId, Event, Hub, HubConfig, Interest, Output, Overflow, Route, Turn,
};
use smartsocket_core::{Fault, OfflineConfig, RateLimit, Seed, Tick};

use super::chance::Chance;
use super::model::{Member, Model};
use super::peer::Peer;

pub const CHAT: usize = 0;
pub const KEYED: usize = 1;
pub const IGNIS: usize = 2;
pub const RNODE: usize = 3;
pub const RNODE_TOO: usize = 4;
pub const MB: usize = 5;
pub const RAW: usize = 6;

pub const PATHS: [&str; 7] = ["/chat", "/keyed", "/ws", "/rnode", "/too", "/mb", "/raw"];
pub const NAMESPACES: [&str; 7] = ["/chat", "/keyed", "/ws", "/rnode", "/rnode", "/mb", "/ws"];
pub const USERS: [&str; 3] = ["ann", "bob", "cy"];
pub const KEY: &str = "the-key";
pub const ROOMS: [&str; 4] = ["red", "green", "blue", "events.one"];
pub const WALL: u64 = 1_700_000_000_000;
pub const HANDLER: Duration = Duration::from_secs(30);
pub const EMPTY_ROOM: Duration = Duration::from_secs(600);
pub const MAX_MEMBERS: usize = 3;

/// What kind of weather a run has.
#[derive(Debug)]
pub struct Weather {
    /// No resets, no vanished peers, no violations; sockets stall at times.
    pub calm: bool,
    pub peers: usize,
    /// How often an answer comes at once, and how often never, in percent.
    pub prompt: usize,
    pub never: usize,
    /// How many bytes a socket takes at most at a time.
    pub gulp: usize,
    pub bite: usize,
    pub overflow: Overflow,
}

pub struct World {
    pub chance: Chance,
    pub weather: Weather,
    pub hub: Hub,
    pub config: HubConfig,
    pub now: Tick,
    pub step: u64,
    pub model: Model,
    pub peers: BTreeMap<ConnId, Peer>,
    pub gone: Vec<ConnId>,
    pub turns: Vec<(Turn, Tick)>,
    /// Turns that were told and not answered, by connection, until when.
    pub open_turns: BTreeMap<ConnId, Tick>,
    pub tickets: Vec<(ConnId, u64, AckTicket)>,
    pub next_number: u64,
    pub next_peer: usize,
    pub wakeups: u64,
    /// A connection ended with bytes that nobody can count.
    pub lossy: bool,
    /// What happened, in a number: the same for the same seed.
    pub trace: u64,
    /// Connection time so far, in microseconds.
    pub lived: u128,
    pub frames: u64,
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

    pub fn note(&mut self, what: u64) {
        self.trace = (self.trace.rotate_left(7) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub fn pick(&mut self) -> Option<ConnId> {
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

    pub fn happen(&mut self) {
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

    pub fn connect(&mut self) {
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
    pub fn move_up(&mut self, id: ConnId, n: usize) {
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
    pub fn move_down(&mut self, id: ConnId, n: usize) {
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
        // Who has come into a room in this very step may have spoken there.
        self.look_at_members();
        let peer = self.peers.get_mut(&id).expect("just seen");
        peer.take(&bytes, &mut self.chance, &mut self.model);
        let said = bytes.iter().fold(bytes.len() as u64, |sum, b| {
            sum * 31 % 0xffff_fffb + u64::from(*b)
        });
        self.note(said);
    }

    pub fn misfortune(&mut self) {
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
    pub fn ghosts(&mut self) {
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

    pub fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.hub.poll_output() {
            outputs += 1;
            assert!(outputs < 200_000, "no end of outputs");
            self.output(output);
        }
        assert!(self.hub.poll_output().is_none());
    }

    pub fn output(&mut self, output: Output) {
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
            Output::Event(Event::Request(..) | Event::Bare(..) | Event::Drained(_)) => {
                panic!("nobody asked")
            }
            Output::Cluster(_) => panic!("there is no cluster"),
        }
    }
}
