//! Ten thousand clients lose their server in one moment, and come back: when,
//! and how many at a time. What must come of it follows from the waits alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use smartsocket_core::client::{
    Backoff, ClientConfig, Event, Jitter, LineId, Output, Provider, SmartSocket, State,
};
use smartsocket_core::http::Response;
use smartsocket_core::hub::{self, ConnId, HubConfig, Route};
use smartsocket_core::websocket::{self, Accept};
use smartsocket_core::{Client, Config, Fault, Hub, Seed, Tick, WebSocket};

use super::host::WALL;

pub const CLIENTS: usize = 10_000;

/// So many are let in each second; the others are told when to come again.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub per_second: usize,
    pub retry_after: Option<u64>,
}

/// What serves.
enum Server {
    /// Nothing does.
    Down,
    Hub(Box<Hub>),
    /// WebSockets behind a door.
    Door(Door),
}

struct Seat {
    client: Client,
    line: Option<LineId>,
    end: Option<End>,
    in_since: Option<Tick>,
}

enum End {
    Hub(ConnId),
    Door(Box<WebSocket>),
}

/// What came of it, from the moment when the connections broke.
#[derive(Debug, Default)]
pub struct Figures {
    /// By tenths of a second.
    pub attempts: Vec<usize>,
    pub admitted: Vec<usize>,
    pub refused: usize,
    pub all_in: Duration,
}

impl Figures {
    pub fn total(&self) -> usize {
        self.attempts.iter().sum()
    }

    /// The most in a tenth of a second.
    pub fn peak(&self) -> usize {
        self.attempts.iter().copied().max().unwrap_or(0)
    }

    /// By seconds.
    pub fn seconds(tenths: &[usize]) -> Vec<usize> {
        tenths
            .chunks(10)
            .map(|tenths| tenths.iter().sum())
            .collect()
    }

    pub fn show(&self, name: &str) {
        let seconds = Self::seconds(&self.attempts);
        let most = seconds.iter().copied().max().unwrap_or(0);
        let mean = self.total() as f64 / self.all_in.as_secs_f64();
        println!(
            "{name}: {} attempts, {} refused, all in after {:.1} s; attempts in a second: \
             at most {most}, {mean:.0} on average, {:.1} times that; in 0.1 s at most {}",
            self.total(),
            self.refused,
            self.all_in.as_secs_f64(),
            most as f64 / mean,
            self.peak(),
        );
    }
}

fn tenth(figures: &mut Vec<usize>, since: Duration) -> &mut usize {
    let at = (since.as_micros() / 100_000) as usize;
    if figures.len() <= at {
        figures.resize(at + 1, 0);
    }
    &mut figures[at]
}

pub struct Storm {
    now: Tick,
    seats: Vec<Seat>,
    due: BinaryHeap<Reverse<(Tick, usize)>>,
    server: Server,
    conns: BTreeMap<ConnId, usize>,
    broke: Tick,
    figures: Figures,
}

impl Storm {
    /// All are connected to a hub, and then are not.
    pub fn new(backoff: Backoff, talks_to_hub: bool) -> Self {
        let mut config = ClientConfig::new("ws://h");
        config.ping = None;
        config.reconnect = Some(backoff);
        let provider = match talks_to_hub {
            true => Provider::SmartSocket(Box::new(SmartSocket {
                namespace: "/chat".into(),
                ..SmartSocket::default()
            })),
            false => Provider::Echo,
        };
        let seat = |n: usize| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
            let (provider, config) = (provider.clone(), config.clone());
            let client = Client::new(provider, config, Seed::new(seed), Tick::ZERO, WALL);
            Seat {
                client: client.expect("the options are good"),
                line: None,
                end: None,
                in_since: None,
            }
        };
        let open = Door {
            per_second: usize::MAX,
            retry_after: None,
        };
        let mut storm = Self {
            now: Tick::ZERO,
            seats: (0..CLIENTS).map(seat).collect(),
            due: BinaryHeap::new(),
            server: Server::Down,
            conns: BTreeMap::new(),
            broke: Tick::ZERO,
            figures: Figures::default(),
        };
        match talks_to_hub {
            true => storm.start_hub(),
            false => storm.server = Server::Door(open),
        }
        for at in 0..CLIENTS {
            storm.seats[at].client.connect(Tick::ZERO);
            storm.settle(at);
        }
        // Long enough for the row of failures to end.
        storm.run_until(Tick::from_millis(20_000));
        assert_eq!(storm.inside(), CLIENTS);
        storm
    }

    fn inside(&self) -> usize {
        let inside = self.seats.iter().filter(|seat| seat.in_since.is_some());
        inside.count()
    }

    fn start_hub(&mut self) {
        let config = HubConfig {
            routes: vec![Route::smartsocket("/chat")],
            max_connections: CLIENTS,
            ..HubConfig::default()
        };
        let unix_ms = WALL + self.now.as_micros() / 1_000;
        let hub = Hub::new(config, Seed::new([7; 32]), self.now, unix_ms);
        self.server = Server::Hub(Box::new(hub.expect("the route is good")));
    }

    /// The server dies, and every connection with it.
    fn die(&mut self) {
        self.server = Server::Down;
        self.conns.clear();
        self.broke = self.now;
        self.figures = Figures::default();
        for at in 0..CLIENTS {
            let seat = &mut self.seats[at];
            seat.end = None;
            seat.in_since = None;
            if let Some(line) = seat.line.take() {
                seat.client.handle_fault(self.now, line, Fault::Reset);
            }
            self.settle(at);
        }
    }

    /// The hub dies and is down for so long.
    pub fn without_a_hub_for(mut self, down: Duration) -> Figures {
        self.die();
        self.run_until(self.now + down);
        self.start_hub();
        self.until_all_are_in()
    }

    /// The server dies, and is back at once, behind this door.
    pub fn through(mut self, door: Door) -> Figures {
        self.die();
        self.server = Server::Door(door);
        self.until_all_are_in()
    }

    fn until_all_are_in(mut self) -> Figures {
        let end = self.now + Duration::from_secs(3_600);
        while self.inside() < CLIENTS {
            assert!(self.now < end, "{} are in", self.inside());
            self.run_until(self.now + Duration::from_millis(100));
        }
        let last = self.seats.iter().filter_map(|seat| seat.in_since).max();
        self.figures.all_in = last.expect("all are in").since(self.broke);
        self.figures
    }

    // Time

    fn run_until(&mut self, until: Tick) {
        loop {
            let hub = match &self.server {
                Server::Hub(hub) => hub.next_timeout(),
                Server::Down | Server::Door(_) => None,
            };
            let seat = self.due.peek().map(|Reverse((due, _))| *due);
            let Some(due) = hub
                .into_iter()
                .chain(seat)
                .min()
                .filter(|due| *due <= until)
            else {
                break;
            };
            self.now = self.now.max(due);
            if hub == Some(due) {
                if let Server::Hub(hub) = &mut self.server {
                    hub.handle_timeout(self.now);
                }
                self.drain_hub();
                continue;
            }
            let Some(Reverse((_, at))) = self.due.pop() else {
                continue;
            };
            // It may have been put off since.
            let client = &mut self.seats[at].client;
            if client.next_timeout().is_some_and(|due| due <= self.now) {
                client.handle_timeout(self.now);
                self.settle(at);
            } else if let Some(due) = client.next_timeout() {
                self.due.push(Reverse((due, at)));
            }
        }
        self.now = until;
    }

    // Everything that is sent is there at once.

    fn settle(&mut self, at: usize) {
        let now = self.now;
        loop {
            let mut idle = true;
            while let Some(output) = self.seats[at].client.poll_output() {
                idle = false;
                self.output(at, output);
            }
            if matches!(self.server, Server::Hub(_)) {
                self.drain_hub();
            }
            let seat = &mut self.seats[at];
            let mut bytes = Vec::new();
            let mut over = false;
            if let Some(End::Door(ws)) = &mut seat.end {
                while let Some(output) = ws.poll_output() {
                    idle = false;
                    if let websocket::Output::Event(websocket::Event::Request(ticket)) = output {
                        let door = match self.server {
                            Server::Door(door) => door,
                            Server::Down | Server::Hub(_) => unreachable!("it has an end"),
                        };
                        let since = now.since(self.broke);
                        let second = (since.as_secs() as usize) * 10;
                        let full = self.figures.admitted.iter().skip(second).take(10);
                        let decision = if full.sum::<usize>() < door.per_second {
                            *tenth(&mut self.figures.admitted, since) += 1;
                            ticket.accept(Accept::default())
                        } else {
                            self.figures.refused += 1;
                            let mut response = Response::new(503);
                            if let Some(seconds) = door.retry_after {
                                let named = response.header("Retry-After", &seconds.to_string());
                                response = named.expect("a header");
                            }
                            ticket.respond(response)
                        };
                        ws.decide(now, decision);
                    } else if matches!(output, websocket::Output::Close) {
                        over = true;
                    }
                }
                bytes.extend(ws.unsent().flat_map(|part| part.to_vec()));
                ws.transmitted(now, bytes.len());
            }
            if let Some(line) = seat.line
                && !bytes.is_empty()
            {
                idle = false;
                seat.client.handle_bytes(now, line, &mut bytes);
            }
            if over {
                seat.end = None;
            }
            if idle {
                break;
            }
        }
        if let Some(due) = self.seats[at].client.next_timeout() {
            self.due.push(Reverse((due, at)));
        }
    }

    fn output(&mut self, at: usize, output: Output) {
        let now = self.now;
        let seat = &mut self.seats[at];
        match output {
            Output::Dial(dial) => {
                assert!(seat.line.is_none(), "two at once");
                *tenth(&mut self.figures.attempts, now.since(self.broke)) += 1;
                match &mut self.server {
                    Server::Down => {
                        let fault = Fault::Refused;
                        assert!(seat.client.handle_dial_failed(now, dial.line, fault));
                        return;
                    }
                    Server::Hub(hub) => {
                        let id = hub.accept(now, None).expect("there is room");
                        self.conns.insert(id, at);
                        seat.end = Some(End::Hub(id));
                    }
                    Server::Door(_) => {
                        let config = Config {
                            decide: true,
                            ..Config::default()
                        };
                        let ws = WebSocket::server(config, Seed::new([9; 32]), now);
                        seat.end = Some(End::Door(Box::new(ws)));
                    }
                }
                seat.line = Some(dial.line);
                assert!(seat.client.handle_dialed(now, dial.line));
            }
            Output::Transmit(line) => {
                // Told once until nothing waits.
                loop {
                    let unsent = seat.client.unsent(line);
                    let mut bytes: Vec<u8> = unsent.flat_map(|part| part.to_vec()).collect();
                    if bytes.is_empty() {
                        break;
                    }
                    seat.client.transmitted(now, line, bytes.len());
                    match (&mut seat.end, &mut self.server) {
                        (Some(End::Hub(id)), Server::Hub(hub)) => {
                            hub.handle_bytes(now, *id, &mut bytes);
                        }
                        (Some(End::Door(ws)), _) => ws.handle_bytes(now, &mut bytes),
                        (Some(End::Hub(_)) | None, _) => {}
                    }
                }
            }
            Output::Event(Event::State(state)) => {
                seat.in_since = (state == State::Authenticated).then_some(now);
            }
            Output::Close(_) => {
                seat.line = None;
                seat.end = None;
            }
            Output::Shutdown(_)
            | Output::PauseRead(_)
            | Output::ResumeRead(_)
            | Output::Event(_) => {}
            Output::Token | Output::Authorize { .. } => panic!("nobody asks for such"),
        }
    }

    fn drain_hub(&mut self) {
        let now = self.now;
        loop {
            let Server::Hub(hub) = &mut self.server else {
                return;
            };
            let Some(output) = hub.poll_output() else {
                return;
            };
            match output {
                hub::Output::Transmit(id) => {
                    let unsent = hub.unsent(id);
                    let mut bytes: Vec<u8> = unsent.flat_map(|part| part.to_vec()).collect();
                    hub.transmitted(now, id, bytes.len());
                    let at = self.conns[&id];
                    let seat = &mut self.seats[at];
                    if let Some(line) = seat.line {
                        seat.client.handle_bytes(now, line, &mut bytes);
                        // What it says to that follows.
                        self.due.push(Reverse((now, at)));
                    }
                }
                hub::Output::Close(id) => {
                    self.conns.remove(&id);
                }
                hub::Output::PauseRead(_)
                | hub::Output::ResumeRead(_)
                | hub::Output::Shutdown(_)
                | hub::Output::Event(_)
                | hub::Output::Cluster(_) => {}
            }
        }
    }
}

/// Protocol OS's waits, without an end, and with this jitter.
pub fn backoff(jitter: Jitter) -> Backoff {
    Backoff {
        jitter,
        max_attempts: 0,
        ..Backoff::default()
    }
}
