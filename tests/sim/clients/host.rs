//! What clients connect to: a hub, and scripted servers of other protocols. It
//! dies whole, and what comes back remembers nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smartsocket_core::hub::{
    AckTicket, Auth, ConnId, Encryption, Event, HubConfig, Interest, Output, Publication, Route,
    Step, Target, Turn,
};
use smartsocket_core::{
    CloseCode, Config, Fault, Hub, Json, Message, RateLimit, Seed, Tick, WebSocket,
};

use super::super::chance::Chance;
use super::Kind;

pub const WALL: u64 = 1_700_000_000_000;
pub const KEY: &str = "the-key";

/// The server's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Hub(ConnId),
    Script(u64),
}

/// What the host wants of the network, and what it saw.
#[derive(Debug)]
pub enum Act {
    Wants(End),
    Pause(End, bool),
    Shutdown(End),
    Dropped(End),
    /// The client is let in.
    Accepted(End),
    /// A message with this number came.
    Saw(End, u64),
}

#[derive(Debug)]
pub struct Socket {
    pub ws: WebSocket,
    pub kind: Kind,
    pub channels: BTreeSet<String>,
}

/// How good a server it is.
#[derive(Clone, Copy, Debug)]
pub struct Mood {
    /// Of a hundred upgrades, so many are refused.
    pub refuses: usize,
    /// Of a hundred questions, so many are answered at once, or ever.
    pub prompt: usize,
    pub answers: usize,
}

#[derive(Debug)]
pub struct Host {
    pub chance: Chance,
    pub mood: Mood,
    pub up: bool,
    /// It has said goodbye, and takes nobody any more.
    pub stopped: bool,
    pub hub: Option<Hub>,
    pub sockets: BTreeMap<u64, Socket>,
    pub serial: u64,
    pub turns: Vec<Turn>,
    pub tickets: Vec<(AckTicket, u64)>,
    pub owed: Vec<(u64, String)>,
    /// Tokens with a lower number are refused.
    pub floor: u64,
    /// What the hub was told of, to be asked whether it has let it in.
    pub waiting: Vec<ConnId>,
    pub rate: Option<RateLimit>,
    pub asked: u64,
    pub answered: u64,
    pub acts: Vec<Act>,
}

impl Host {
    pub fn new(chance: Chance, mood: Mood, rate: Option<RateLimit>, now: Tick) -> Self {
        let mut host = Self {
            chance,
            mood,
            up: false,
            stopped: false,
            hub: None,
            sockets: BTreeMap::new(),
            serial: 0,
            turns: Vec::new(),
            tickets: Vec::new(),
            owed: Vec::new(),
            floor: 0,
            waiting: Vec::new(),
            rate,
            asked: 0,
            answered: 0,
            acts: Vec::new(),
        };
        host.start(now);
        host
    }

    pub fn start(&mut self, now: Tick) {
        let mut routes = vec![
            Route::smartsocket("/open"),
            Route::smartsocket("/keyed"),
            Route::smartsocket("/sealed"),
        ];
        routes[1].auth = Auth::ApiKeys {
            keys: vec![KEY.into()],
            timeout: Duration::from_secs(5),
        };
        routes[2].encryption = Some(Encryption::new(super::key(1)));
        for route in &mut routes {
            route.interest = Interest::EVENT;
            route.rate = self.rate;
        }
        let config = HubConfig {
            routes,
            ..HubConfig::default()
        };
        let seed = Seed::new(self.chance.bytes());
        let unix_ms = WALL + now.as_micros() / 1_000;
        self.hub = Some(Hub::new(config, seed, now, unix_ms).expect("the routes are good"));
        self.up = true;
        self.stopped = false;
    }

    /// All is forgotten, and nobody is told anything.
    pub fn die(&mut self) {
        self.up = false;
        self.hub = None;
        self.sockets.clear();
        self.turns.clear();
        self.tickets.clear();
        self.owed.clear();
        self.waiting.clear();
        self.asked = self.answered;
    }

    /// It says goodbye to all.
    pub fn stop(&mut self, now: Tick) {
        self.stopped = true;
        if let Some(hub) = &mut self.hub {
            hub.stop(now);
        }
        for socket in self.sockets.values_mut() {
            socket.ws.close(now, CloseCode::GOING_AWAY, "stopping");
        }
    }

    pub fn accept(&mut self, now: Tick, kind: Kind) -> Option<End> {
        if kind.is_smartsocket() {
            let id = self.hub.as_mut()?.accept(now, None).ok()?;
            self.waiting.push(id);
            return Some(End::Hub(id));
        }
        self.serial += 1;
        let config = Config {
            decide: true,
            ..Config::default()
        };
        let ws = WebSocket::server(config, Seed::new(self.chance.bytes()), now);
        let socket = Socket {
            ws,
            kind,
            channels: BTreeSet::new(),
        };
        self.sockets.insert(self.serial, socket);
        Some(End::Script(self.serial))
    }

    // Inputs

    pub fn handle_bytes(&mut self, now: Tick, end: End, bytes: &mut [u8]) {
        match (end, &mut self.hub) {
            (End::Hub(id), Some(hub)) => hub.handle_bytes(now, id, bytes),
            (End::Script(id), _) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.ws.handle_bytes(now, bytes);
                }
            }
            (End::Hub(_), None) => {}
        }
    }

    pub fn handle_eof(&mut self, now: Tick, end: End) {
        match (end, &mut self.hub) {
            (End::Hub(id), Some(hub)) => hub.handle_eof(now, id),
            (End::Script(id), _) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.ws.handle_eof(now);
                }
            }
            (End::Hub(_), None) => {}
        }
    }

    pub fn handle_fault(&mut self, now: Tick, end: End) {
        match (end, &mut self.hub) {
            (End::Hub(id), Some(hub)) => hub.handle_fault(now, id, Fault::Reset),
            (End::Script(id), _) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.ws.handle_fault(now, Fault::Reset);
                }
            }
            (End::Hub(_), None) => {}
        }
    }

    /// At most so many bytes of what it has for a client.
    pub fn take(&mut self, now: Tick, end: End, n: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        match (end, &mut self.hub) {
            (End::Hub(id), Some(hub)) => {
                bytes.extend(hub.unsent(id).flat_map(|part| part.to_vec()));
                bytes.truncate(n);
                hub.transmitted(now, id, bytes.len());
            }
            (End::Script(id), _) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    bytes.extend(socket.ws.unsent().flat_map(|part| part.to_vec()));
                    bytes.truncate(n);
                    socket.ws.transmitted(now, bytes.len());
                }
            }
            (End::Hub(_), None) => {}
        }
        bytes
    }

    pub fn has_unsent(&self, end: End) -> bool {
        match (end, &self.hub) {
            (End::Hub(id), Some(hub)) => hub.unsent(id).next().is_some(),
            (End::Script(id), _) => {
                let socket = self.sockets.get(&id);
                socket.is_some_and(|socket| socket.ws.unsent().next().is_some())
            }
            (End::Hub(_), None) => false,
        }
    }

    pub fn handle_timeout(&mut self, now: Tick) {
        if let Some(hub) = &mut self.hub {
            hub.handle_timeout(now);
        }
        for socket in self.sockets.values_mut() {
            socket.ws.handle_timeout(now);
        }
    }

    pub fn next_timeout(&self) -> Option<Tick> {
        let hub = self.hub.as_ref().and_then(Hub::next_timeout);
        let sockets = self.sockets.values();
        let sockets = sockets.filter_map(|socket| socket.ws.next_timeout()).min();
        hub.into_iter().chain(sockets).min()
    }

    // What the application on it does

    /// Ends a connection by a code of the application's.
    pub fn close(&mut self, now: Tick, end: End, code: u16) {
        let code = CloseCode::from(code);
        match (end, &mut self.hub) {
            (End::Hub(id), Some(hub)) => {
                if let Some(client) = hub.client(id).map(|client| client.id()) {
                    hub.disconnect(now, client, code, "enough");
                }
            }
            (End::Script(id), _) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.ws.close(now, code, "enough");
                }
            }
            (End::Hub(_), None) => {}
        }
    }

    /// Says a number to everybody who listens.
    pub fn announce(&mut self, now: Tick, number: u64) {
        let data = format!("{{\"s\":{number}}}");
        if let Some(hub) = &mut self.hub {
            let json = Json::parse(data.clone()).expect("JSON");
            hub.publish(now, Publication::new(Target::All, "news", Some(json)));
        }
        for socket in self.sockets.values_mut() {
            let texts = match socket.kind {
                Kind::Echo => vec![data.clone()],
                Kind::Custom => vec![format!("{{\"type\":\"news\",\"payload\":{data}}}")],
                Kind::Pusher => {
                    let event = |channel| {
                        format!(
                            "{{\"event\":\"news\",\"channel\":\"{channel}\",\"data\":{}}}",
                            Json::string(&data)
                        )
                    };
                    socket.channels.iter().take(1).map(event).collect()
                }
                Kind::Open | Kind::Keyed | Kind::Sealed => Vec::new(),
            };
            for text in texts {
                // One that is closing hears nothing any more.
                let _ = socket.ws.send(now, Message::text(text));
            }
        }
    }

    /// Asks a client of the hub something.
    pub fn ask(&mut self, now: Tick, end: End) {
        if let (End::Hub(id), Some(hub)) = (end, &mut self.hub)
            && let Some(client) = hub.client(id).map(|client| client.id())
        {
            let timeout = Duration::from_secs(5);
            let asked = hub.emit_with_ack(now, client, "question", None, timeout);
            self.asked += u64::from(asked.is_ok());
        }
    }

    /// Answers something that waits for it.
    pub fn decide_some(&mut self, now: Tick) {
        let Some(hub) = &mut self.hub else {
            return;
        };
        if !self.turns.is_empty() {
            let at = self.chance.below(self.turns.len());
            let turn = self.turns.swap_remove(at);
            return self.decide(now, turn);
        }
        if let Some((ticket, number)) = self.tickets.pop() {
            let data = Json::parse(format!("{{\"r\":{number}}}")).expect("JSON");
            return hub.acknowledge(now, ticket, &data);
        }
        if let Some((id, text)) = self.owed.pop()
            && let Some(socket) = self.sockets.get_mut(&id)
        {
            let _ = socket.ws.send(now, Message::text(text));
        }
    }

    pub const fn has_waiting(&self) -> bool {
        !self.turns.is_empty() || !self.tickets.is_empty() || !self.owed.is_empty()
    }

    fn decide(&mut self, now: Tick, mut turn: Turn) {
        let Some(hub) = &mut self.hub else {
            return;
        };
        if let Step::Event(event) = &mut turn.step
            && let Some(ticket) = event.ack.take()
            && self.chance.percent(self.mood.answers)
        {
            let number = event
                .data
                .as_ref()
                .and_then(|data| super::number(data.as_str()));
            let number = number.expect("a question has a number");
            if self.chance.percent(self.mood.prompt) {
                let data = Json::parse(format!("{{\"r\":{number}}}")).expect("JSON");
                hub.acknowledge(now, ticket, &data);
            } else {
                self.tickets.push((ticket, number));
            }
        }
        hub.decide(now, turn.allow());
    }

    // Outputs

    /// Takes all outputs until there are none.
    pub fn drain(&mut self, now: Tick) {
        while let Some(output) = self.hub.as_mut().and_then(Hub::poll_output) {
            self.hub_output(now, output);
        }
        let ids: Vec<u64> = self.sockets.keys().copied().collect();
        for id in ids {
            while let Some(output) = self
                .sockets
                .get_mut(&id)
                .and_then(|socket| socket.ws.poll_output())
            {
                self.script_output(now, id, output);
            }
        }
        // Looked at last: the hub tells of nobody that it lets in.
        if let Some(hub) = &self.hub {
            self.waiting.retain(|id| {
                let there = hub.client(*id).is_some();
                if there {
                    self.acts.push(Act::Accepted(End::Hub(*id)));
                }
                !there
            });
        }
    }

    fn hub_output(&mut self, now: Tick, output: Output) {
        match output {
            Output::Transmit(id) => self.acts.push(Act::Wants(End::Hub(id))),
            Output::PauseRead(id) => self.acts.push(Act::Pause(End::Hub(id), true)),
            Output::ResumeRead(id) => self.acts.push(Act::Pause(End::Hub(id), false)),
            Output::Shutdown(id) => self.acts.push(Act::Shutdown(End::Hub(id))),
            Output::Close(id) => {
                self.waiting.retain(|other| *other != id);
                self.acts.push(Act::Dropped(End::Hub(id)));
            }
            Output::Event(Event::Turn(turn)) => {
                if let Step::Event(event) = &turn.step
                    && let Some(number) = event
                        .data
                        .as_ref()
                        .and_then(|data| super::number(data.as_str()))
                {
                    self.acts.push(Act::Saw(End::Hub(turn.id()), number));
                }
                if self.chance.percent(self.mood.prompt) {
                    self.decide(now, turn);
                } else {
                    self.turns.push(turn);
                }
            }
            Output::Event(Event::Answered { .. }) => {
                self.answered += 1;
                assert!(self.answered <= self.asked, "answered what nobody asked");
            }
            Output::Event(Event::Request(..) | Event::Bare(..) | Event::Drained(_))
            | Output::Cluster(_) => panic!("nobody asked"),
        }
    }

    /// The channels that a connection has asked for.
    pub fn channels(&self, end: End) -> Option<&BTreeSet<String>> {
        match end {
            End::Hub(_) => None,
            End::Script(id) => Some(&self.sockets.get(&id)?.channels),
        }
    }
}
