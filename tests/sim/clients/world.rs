//! The clients, the host and the wires between them, step by step.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use smartsocket_core::client::{
    AckTicket, Event, LineId, Output, Priority, Secret, State, SubscriptionId, Verdict,
};
use smartsocket_core::{Client, CloseCode, Fault, Json, Message, RateLimit, Seed, Tick};

use super::super::chance::Chance;
use super::host::{Act, End, Host, Mood, WALL};
use super::model::{Asked, Model, Waiting};
use super::{Kind, Outcome, setup};

/// A client, the application on it, and what is known of both.
struct Far {
    client: Client,
    model: Model,
    /// Its key is none of the server's.
    wrong: bool,
    dialing: Option<LineId>,
    hooks: usize,
    tickets: Vec<AckTicket>,
    subscriptions: Vec<SubscriptionId>,
    verdict: Verdict,
    /// What it says goes to this server in the end, one by one.
    last_words: Option<u64>,
}

/// A stream between a client and the host.
#[derive(Debug)]
struct Wire {
    number: usize,
    client: usize,
    line: LineId,
    end: Option<End>,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    /// The client has not dropped it.
    held: bool,
    client_wants: bool,
    client_paused: bool,
    host_wants: bool,
    host_paused: bool,
    /// After the bytes the client's direction ends; told so.
    up_ends: bool,
    up_ended: bool,
    /// The same of the other direction, and whether it ends well.
    down_ends: Option<bool>,
    down_ended: bool,
    stalled: bool,
    /// Nothing moves any more, and nobody is told.
    vanished: bool,
    accepted: bool,
}

/// What kind of weather a run has.
#[derive(Debug)]
struct Weather {
    /// Of a thousand steps so many are misfortunes.
    misfortunes: usize,
    bite: usize,
    /// Of a hundred hooks and dials, so many fail.
    failures: usize,
    limited: bool,
}

pub struct World {
    pub chance: Chance,
    weather: Weather,
    now: Tick,
    host: Host,
    clients: Vec<Far>,
    wires: Vec<Wire>,
    /// Which wire of which client an end of the host's is.
    ends: BTreeMap<End, (usize, usize)>,
    next_wire: usize,
    next_number: u64,
    announced: u64,
    tokens: u64,
    trace: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5eed_c1ae_0000_0000);
        let weather = Weather {
            misfortunes: *chance.of(&[0, 5, 30, 100]),
            bite: *chance.of(&[30, 300, 5_000]),
            failures: *chance.of(&[0, 10, 50]),
            limited: chance.percent(15),
        };
        let mood = Mood {
            refuses: *chance.of(&[0, 10, 60]),
            prompt: *chance.of(&[0, 50, 100]),
            answers: *chance.of(&[50, 100]),
        };
        let rate = weather
            .limited
            .then(|| RateLimit::new(6, Duration::from_secs(4)));
        let host = Host::new(Chance::new(chance.next()), mood, rate, Tick::ZERO);
        let clients = (0..1 + chance.below(4)).map(|_| Far::new(&mut chance));
        let clients = clients.collect();
        let mut world = Self {
            chance,
            weather,
            now: Tick::ZERO,
            host,
            clients,
            wires: Vec::new(),
            ends: BTreeMap::new(),
            next_wire: 0,
            next_number: 0,
            announced: 0,
            tokens: 0,
            trace: 0,
        };
        for at in 0..world.clients.len() {
            if world.chance.percent(80) {
                world.clients[at].connect(Tick::ZERO);
                world.settle(at, None, None);
            }
        }
        world
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace.rotate_left(7) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub fn outcome(&self) -> Outcome {
        let mut outcome = Outcome {
            trace: self.trace,
            ..Outcome::default()
        };
        for far in &self.clients {
            let (said, seen, dropped) = far.model.account();
            outcome.said += said;
            outcome.seen += seen;
            outcome.dropped += dropped;
            outcome.arrivals += far.model.arrivals;
        }
        outcome
    }

    pub fn take_step(&mut self) {
        if self.chance.below(1_000) < self.weather.misfortunes {
            return self.misfortune();
        }
        let client = self.chance.below(self.clients.len());
        match self.chance.below(100) {
            0..15 => self.command(client),
            15..22 => self.dialed(client),
            22..26 => self.hook(client),
            26..75 => {
                if !self.wires.is_empty() {
                    let at = self.chance.below(self.wires.len());
                    let number = self.wires[at].number;
                    let n = 1 + self.chance.below(self.weather.bite);
                    if self.chance.percent(50) {
                        self.move_up(number, n);
                    } else {
                        self.move_down(number, n);
                    }
                }
            }
            75..80 => self.host.decide_some(self.now),
            80..85 => self.host_does(),
            85..97 => self.time_passes(),
            _ => self.ghosts(client),
        }
        self.settle_host();
    }

    // What applications do

    fn command(&mut self, at: usize) {
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
                    _ => &["news", "ne*", "*", "other"],
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

    fn say(&mut self, at: usize) {
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

    fn ask(&mut self, at: usize) {
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

    fn hook(&mut self, at: usize) {
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

    // What the network does

    fn dialed(&mut self, at: usize) {
        let Some(line) = self.clients[at].dialing.take() else {
            return;
        };
        let now = self.now;
        let far = &mut self.clients[at];
        let reached = self.host.up && !self.chance.percent(self.weather.failures);
        let end = reached.then(|| self.host.accept(now, far.model.kind));
        let Some(end) = end.flatten() else {
            let fault = [Fault::Refused, Fault::TimedOut, Fault::NotFound("h".into())];
            let fault = self.chance.of(&fault).clone();
            assert!(far.client.handle_dial_failed(now, line, fault));
            return self.settle(at, None, None);
        };
        assert!(far.client.handle_dialed(now, line), "it was wanted");
        self.next_wire += 1;
        self.ends.insert(end, (at, self.next_wire));
        self.wires.push(Wire {
            number: self.next_wire,
            client: at,
            line,
            end: Some(end),
            up: VecDeque::new(),
            down: VecDeque::new(),
            held: true,
            client_wants: false,
            client_paused: false,
            host_wants: false,
            host_paused: false,
            up_ends: false,
            up_ended: false,
            down_ends: None,
            down_ended: false,
            stalled: false,
            vanished: false,
            accepted: false,
        });
        self.settle(at, None, None);
    }

    /// Bytes of a client come nearer to the host, as many as this.
    fn move_up(&mut self, number: usize, n: usize) {
        let now = self.now;
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return;
        };
        if wire.stalled || wire.vanished {
            return;
        }
        if wire.held && wire.client_wants {
            let far = &mut self.clients[wire.client];
            let unsent = far.client.unsent(wire.line);
            let mut bytes: Vec<u8> = unsent.flat_map(|part| part.to_vec()).collect();
            // More may follow at once, which is told again.
            wire.client_wants = bytes.len() > n;
            bytes.truncate(n);
            wire.up.extend(&bytes);
            far.client.transmitted(now, wire.line, bytes.len());
            let client = wire.client;
            self.settle(client, None, None);
        }
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return;
        };
        let Some(end) = wire.end else {
            wire.up.clear();
            return;
        };
        if wire.host_paused {
            return;
        }
        let n = n.min(wire.up.len());
        let mut bytes: Vec<u8> = wire.up.drain(..n).collect();
        if n > 0 {
            self.host.handle_bytes(now, end, &mut bytes);
            self.note(n as u64);
        } else if wire.up_ends && !wire.up_ended {
            wire.up_ended = true;
            self.host.handle_eof(now, end);
        }
        self.settle_host();
    }

    fn move_down(&mut self, number: usize, n: usize) {
        let now = self.now;
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return;
        };
        if wire.stalled || wire.vanished {
            return;
        }
        if let Some(end) = wire.end
            && wire.host_wants
        {
            wire.down.extend(self.host.take(now, end, n));
            wire.host_wants = self.host.has_unsent(end);
            self.settle_host();
        }
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return;
        };
        if !wire.held {
            wire.down.clear();
            return;
        }
        let (client, line) = (wire.client, wire.line);
        if wire.client_paused {
            return;
        }
        let n = n.min(wire.down.len());
        let mut bytes: Vec<u8> = wire.down.drain(..n).collect();
        let ends = wire.down_ends.filter(|_| !wire.down_ended);
        let far = &mut self.clients[client];
        if n > 0 {
            if self.chance.percent(30)
                && let Some(mut fill) = far.client.take_fill(line)
            {
                let part = n.min(fill.room);
                fill.buf.extend_from_slice(&bytes[..part]);
                far.client.handle_fill(now, line, fill);
                bytes.drain(..part);
                self.settle(client, None, None);
            }
            if !bytes.is_empty() {
                let far = &mut self.clients[client];
                far.client.handle_bytes(now, line, &mut bytes);
            }
        } else if let Some(well) = ends {
            wire.down_ended = true;
            if well {
                far.client.handle_eof(now, line);
            } else {
                far.client.handle_fault(now, line, Fault::Reset);
            }
        } else {
            return;
        }
        self.note(n as u64 + 1);
        self.settle(client, None, None);
    }

    fn misfortune(&mut self) {
        let now = self.now;
        match self.chance.below(8) {
            0 | 1 if self.host.up => self.kill(),
            0 | 1 => self.host.start(now),
            2 if self.host.up && self.chance.percent(30) => {
                self.host.stop(now);
                self.settle_host();
            }
            3 => self.host.floor = self.tokens + 1,
            _ if self.wires.is_empty() => {}
            kind => {
                let at = self.chance.below(self.wires.len());
                let wire = &mut self.wires[at];
                match kind {
                    4 => wire.vanished = true,
                    5 => wire.stalled = !wire.stalled,
                    _ => {
                        let end = wire.end;
                        cut(wire, &mut self.chance);
                        if let Some(end) = end {
                            self.host.handle_fault(now, end);
                        }
                    }
                }
            }
        }
        self.settle_host();
    }

    fn kill(&mut self) {
        self.host.die();
        self.ends.clear();
        for wire in &mut self.wires {
            cut(wire, &mut self.chance);
        }
    }

    fn host_does(&mut self) {
        let now = self.now;
        let ends: Vec<End> = self.wires.iter().filter_map(|wire| wire.end).collect();
        match self.chance.below(10) {
            0 if !ends.is_empty() && self.weather.misfortunes > 0 => {
                let codes = [1000, 1008, 1012, 1013, 3003, 4000, 4001, 4999];
                let (end, code) = (*self.chance.of(&ends), *self.chance.of(&codes));
                self.host.close(now, end, code);
            }
            1..3 if !ends.is_empty() => {
                let end = *self.chance.of(&ends);
                self.host.ask(now, end);
            }
            _ => {
                self.announced += 1;
                self.host.announce(now, self.announced);
            }
        }
    }

    /// Words about lines that are no more, or never were.
    fn ghosts(&mut self, at: usize) {
        let now = self.now;
        let gone = self.wires.iter().find(|wire| !wire.held);
        if let Some(Wire { client, line, .. }) = gone {
            let (client, line) = (*client, *line);
            let far = &mut self.clients[client];
            far.client.handle_bytes(now, line, &mut [0x81, 1, b'x']);
            far.client.handle_eof(now, line);
            far.client.transmitted(now, line, 3);
            assert!(!far.client.handle_dialed(now, line));
            assert!(!far.client.handle_dial_failed(now, line, Fault::Refused));
            assert!(far.client.take_fill(line).is_none());
            self.settle(client, None, None);
        }
        let far = &mut self.clients[at];
        if far.hooks == 0 {
            // The answer to a question of long ago.
            far.client.handle_token(now, Some(Secret::from("T0")));
            self.settle(at, None, None);
        }
    }

    // Time

    fn time_passes(&mut self) {
        match self.chance.below(10) {
            0..5 => {
                let time = Duration::from_millis(self.chance.below(100) as u64);
                self.pass(self.now + time);
            }
            5..8 => {
                let due = self.next_timeout().unwrap_or(self.now);
                self.pass(due.max(self.now));
            }
            8 => {
                let time = Duration::from_millis(self.chance.below(5_000) as u64);
                let until = self.now + time;
                while let Some(due) = self.next_timeout().filter(|due| *due <= until) {
                    self.pass(due.max(self.now));
                }
                self.pass(until);
            }
            // Nobody looked for a while.
            _ => {
                let time = Duration::from_millis(self.chance.below(60_000) as u64);
                self.pass(self.now + time);
            }
        }
    }

    fn next_timeout(&self) -> Option<Tick> {
        let clients = self.clients.iter();
        let clients = clients.filter_map(|far| far.client.next_timeout()).min();
        clients.into_iter().chain(self.host.next_timeout()).min()
    }

    fn pass(&mut self, until: Tick) {
        self.now = until;
        self.host.handle_timeout(until);
        self.settle_host();
        for at in 0..self.clients.len() {
            let mut rounds = 0;
            loop {
                let far = &mut self.clients[at];
                far.client.handle_timeout(until);
                self.settle(at, None, None);
                let far = &self.clients[at];
                far.model.in_time(until);
                if far.client.next_timeout().is_none_or(|due| due > until) {
                    break;
                }
                rounds += 1;
                assert!(rounds < 100, "no end of timeouts: {:?}", far.client);
            }
        }
    }

    // Outputs

    /// Takes all that a client has to tell, and holds it against the model.
    /// `new` was said in the call before this, when the state was `was`.
    fn settle(&mut self, at: usize, new: Option<Waiting>, was: Option<State>) {
        let now = self.now;
        let far = &mut self.clients[at];
        let was = was.unwrap_or(far.model.state);
        let mut dropped = 0;
        let mut outputs = 0;
        while let Some(output) = self.clients[at].client.poll_output() {
            outputs += 1;
            assert!(outputs < 10_000, "no end of outputs");
            if let Output::Event(Event::Dropped(messages, _)) = output {
                dropped += messages as u64;
                continue;
            }
            self.output(at, output);
        }
        let far = &mut self.clients[at];
        let stats = far.client.stats(now);
        far.model.reconcile(now, new, was, dropped, stats.queued);
        assert_eq!(far.model.state, far.client.state());
        far.model.look(now, &stats, far.client.next_timeout());
        assert!(
            far.dialing.is_none() || !far.model.rests(),
            "it rests, and dials"
        );
        self.wires.retain(|wire| wire.held || wire.end.is_some());
    }

    fn output(&mut self, at: usize, output: Output) {
        let now = self.now;
        let far = &mut self.clients[at];
        let wire = |wires: &mut Vec<Wire>, line: LineId| {
            let found = |wire: &Wire| wire.client == at && wire.line == line;
            wires.iter().position(found)
        };
        match output {
            Output::Dial(dial) => {
                assert_eq!(
                    (dial.host.as_str(), dial.port, dial.secure),
                    ("h", 80, false)
                );
                assert!(far.dialing.is_none(), "two dials at once");
                if !far.model.config.refresh {
                    far.model.begin(now);
                }
                far.dialing = Some(dial.line);
                self.note(2);
            }
            Output::Token => {
                assert!(far.model.config.refresh);
                far.model.begin(now);
                far.hooks += 1;
            }
            Output::Authorize { .. } => panic!("no channel is private"),
            Output::Transmit(line) => {
                if let Some(at) = wire(&mut self.wires, line) {
                    let wire = &mut self.wires[at];
                    assert!(wire.held && !wire.client_wants, "told twice");
                    wire.client_wants = true;
                } else {
                    // Between the dial and this, in one call.
                    panic!("nobody knows {line:?}");
                }
            }
            Output::PauseRead(line) | Output::ResumeRead(line) => {
                let pause = matches!(output, Output::PauseRead(_));
                let at = wire(&mut self.wires, line).expect("a wire");
                self.wires[at].client_paused = pause;
            }
            Output::Shutdown(line) => {
                let at = wire(&mut self.wires, line).expect("a wire");
                self.wires[at].up_ends = true;
            }
            Output::Close(line) => {
                if far.dialing == Some(line) {
                    far.dialing = None;
                } else {
                    let at = wire(&mut self.wires, line).expect("a wire");
                    assert!(self.wires[at].held, "closed twice");
                    self.wires[at].held = false;
                    self.wires[at].up_ends = true;
                }
            }
            Output::Event(event) => self.event(at, event),
        }
    }

    fn event(&mut self, at: usize, event: Event) {
        let now = self.now;
        if std::env::var("SIM_DEBUG").is_ok() {
            eprintln!(
                "{now:?} client {at} {:?}: {event:?}",
                self.clients[at].model.kind
            );
        }
        let far = &mut self.clients[at];
        match event {
            Event::State(state) => {
                if state == State::Authenticated {
                    let mut wires = self.wires.iter();
                    let accepted = wires.any(|wire| wire.client == at && wire.accepted);
                    assert!(accepted && !far.wrong, "nobody let it in");
                }
                far.model.entered(now, state);
                self.note(state as u64 + 20);
            }
            Event::Reconnecting { attempt, wait } => {
                let verdict = far.verdict;
                far.model.reconnecting(now, attempt, wait, verdict);
            }
            Event::Message(mut incoming) => {
                far.model.heard(now, &incoming);
                far.tickets.extend(incoming.ack.take());
            }
            Event::Subscribed(channel) => {
                assert_eq!(far.model.kind, Kind::Pusher);
                assert!(
                    matches!(channel.as_str(), "a" | "b"),
                    "{channel} is a pattern"
                );
            }
            Event::Answered(id, answer) => far.model.answered(now, id, &answer),
            Event::Ended(ending, verdict) => {
                far.verdict = verdict;
                far.model.ended(now, &ending, verdict, far.wrong);
                self.note(40);
            }
            Event::SubscriptionRefused(..) => panic!("nobody refuses"),
            Event::Unreadable(words) => panic!("{words}"),
            Event::Dropped(..) => unreachable!("counted before"),
        }
    }

    fn settle_host(&mut self) {
        self.host.drain(self.now);
        for act in std::mem::take(&mut self.host.acts) {
            let (Act::Wants(end)
            | Act::Pause(end, _)
            | Act::Shutdown(end)
            | Act::Dropped(end)
            | Act::Accepted(end)
            | Act::Saw(end, _)) = act;
            if let Act::Saw(_, number) = act {
                // However it is with the wire by now.
                let (client, wire) = self.ends[&end];
                let model = &mut self.clients[client].model;
                let limited = self.weather.limited && model.kind.is_smartsocket();
                model.saw(wire, number, limited);
            }
            let Some(wire) = self.wires.iter_mut().find(|wire| wire.end == Some(end)) else {
                continue;
            };
            match act {
                Act::Wants(_) => wire.host_wants = true,
                Act::Pause(_, pause) => wire.host_paused = pause,
                Act::Shutdown(_) => wire.down_ends = Some(true),
                Act::Dropped(_) => {
                    wire.end = None;
                    let well = self.chance.percent(50);
                    wire.down_ends = wire.down_ends.or(Some(well));
                }
                Act::Accepted(_) => wire.accepted = true,
                Act::Saw(..) => {}
            }
        }
        self.wires.retain(|wire| wire.held || wire.end.is_some());
    }

    // How a run ends

    /// The host is well, everything moves and everybody is answered.
    pub fn make_peace(&mut self) {
        if self.host.stopped {
            self.kill();
        }
        if !self.host.up {
            self.host.start(self.now);
        }
        self.host.mood = Mood {
            refuses: 0,
            prompt: 100,
            answers: 100,
        };
        self.weather.failures = 0;
        self.weather.bite = 1 << 20;
        for wire in &mut self.wires {
            wire.stalled = false;
        }
        for at in 0..self.clients.len() {
            let now = self.now;
            self.clients[at].resume(now);
            self.settle(at, None, None);
        }
        // Longer than attempts and waits last, and than what is queued takes.
        self.live(Duration::from_secs(400));
        for at in 0..self.clients.len() {
            if self.clients[at].wrong {
                continue;
            }
            // Whoever has given up is told to try again.
            self.clients[at].connect(self.now);
            self.settle(at, None, None);
        }
        self.live(Duration::from_secs(100));
        for at in 0..self.clients.len() {
            let far = &self.clients[at];
            if far.wrong {
                continue;
            }
            far.model.at_peace();
            self.look_at_channels(at);
            // Nobody is in somebody else's way: what is said now arrives.
            self.say(at);
            self.clients[at].last_words = Some(self.next_number);
        }
        self.live(Duration::from_secs(10));
        for far in &self.clients {
            let Some(number) = far.last_words else {
                continue;
            };
            let limited = self.weather.limited && far.model.kind.is_smartsocket();
            assert!(far.model.has_arrived(number) || limited, "{number} is lost");
        }
    }

    /// The server knows what the application wants to hear of.
    fn look_at_channels(&self, at: usize) {
        let far = &self.clients[at];
        if far.model.kind != Kind::Pusher {
            return;
        }
        let names = far.model.subscriptions.values();
        let wanted = names.filter(|name| !name.ends_with('*')).cloned().collect();
        let mut known = self
            .wires
            .iter()
            .filter(|wire| wire.client == at && wire.accepted);
        let known = known.any(|wire| {
            let channels = wire.end.and_then(|end| self.host.channels(end));
            channels == Some(&wanted)
        });
        assert!(known, "nobody knows that it wants {wanted:?}");
    }

    /// Time passes deadline by deadline, and everything moves.
    fn live(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.rush();
            match self.next_timeout() {
                Some(due) if due <= until => self.pass(due.max(self.now)),
                _ => break,
            }
        }
        self.pass(until);
        self.rush();
    }

    /// Everything moves until nothing does.
    fn rush(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "it never comes to rest");
            let before = (self.trace, self.host.has_waiting());
            for at in 0..self.clients.len() {
                self.hook(at);
                self.dialed(at);
            }
            let numbers: Vec<_> = self.wires.iter().map(|wire| wire.number).collect();
            for number in numbers {
                self.move_up(number, usize::MAX);
                self.move_down(number, usize::MAX);
            }
            self.host.decide_some(self.now);
            self.settle_host();
            let hooks = self
                .clients
                .iter()
                .any(|far| far.hooks > 0 || far.dialing.is_some());
            let moving = self.wires.iter().any(|wire| {
                let up = wire.end.is_some() && !wire.host_paused && !wire.up.is_empty();
                let down = wire.held && !wire.client_paused && !wire.down.is_empty();
                let ends = wire.held && wire.down_ends.is_some() && !wire.down_ended;
                let wants = wire.client_wants || wire.host_wants;
                !wire.vanished && (up || down || ends && !wire.client_paused || wants)
            });
            if before == (self.trace, false) && !hooks && !moving {
                break;
            }
        }
    }

    /// Everybody leaves, for good.
    pub fn leave(&mut self) {
        for at in 0..self.clients.len() {
            let now = self.now;
            self.clients[at]
                .client
                .disconnect(now, CloseCode::NORMAL, "bye");
            self.settle(at, None, None);
            assert_eq!(self.clients[at].model.state, State::Disconnected);
        }
        self.live(Duration::from_secs(3_600));
        for (at, far) in self.clients.iter().enumerate() {
            assert!(far.dialing.is_none(), "it dials after all");
            assert!(far.model.rests());
            let held = self.wires.iter().any(|wire| wire.client == at && wire.held);
            assert!(!held, "a line is left");
            assert_eq!(far.client.next_timeout(), None, "{:?}", far.client);
        }
    }
}

impl Far {
    fn new(chance: &mut Chance) -> Self {
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

    fn resume(&mut self, now: Tick) {
        self.model.at_once |= std::mem::take(&mut self.model.suspended);
        self.client.resume(now);
    }

    fn connect(&mut self, now: Tick) {
        if self.model.rests() {
            self.model.suspended = false;
            self.model.at_once = true;
        }
        self.client.connect(now);
    }
}

/// The stream breaks, somewhere among what is on its way.
fn cut(wire: &mut Wire, chance: &mut Chance) {
    wire.end = None;
    wire.host_wants = false;
    wire.down.truncate(chance.below(wire.down.len() + 1));
    match chance.below(3) {
        0 => wire.vanished = true,
        kind => wire.down_ends = Some(kind == 1),
    }
}
