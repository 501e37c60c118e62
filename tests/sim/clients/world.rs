//! The clients, the host and the wires between them, step by step.

use std::collections::BTreeMap;
use std::time::Duration;

use smartsocket_core::client::{Event, LineId, Output, State};
use smartsocket_core::{RateLimit, Tick};

use super::super::chance::Chance;
use super::application::Far;
use super::host::{Act, End, Host, Mood};
use super::model::Waiting;
use super::wires::Wire;
use super::{Kind, Outcome};

/// What kind of weather a run has.
#[derive(Debug)]
pub struct Weather {
    /// Of a thousand steps so many are misfortunes.
    pub misfortunes: usize,
    pub bite: usize,
    /// Of a hundred hooks and dials, so many fail.
    pub failures: usize,
    pub limited: bool,
}

pub struct World {
    pub chance: Chance,
    pub weather: Weather,
    pub now: Tick,
    pub host: Host,
    pub clients: Vec<Far>,
    pub wires: Vec<Wire>,
    /// Which wire of which client an end of the host's is.
    pub ends: BTreeMap<End, (usize, usize)>,
    pub next_wire: usize,
    pub next_number: u64,
    pub announced: u64,
    pub tokens: u64,
    pub trace: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5eed_c1ae_0000_0000);
        let weather = Weather {
            misfortunes: *chance.of(&[0, 5, 30, 100]),
            bite: *chance.of(&[60, 600, 5_000]),
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

    pub fn note(&mut self, what: u64) {
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
            26..82 => {
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
            82..87 => self.host.decide_some(self.now),
            87..92 => self.host_does(),
            92..97 => self.time_passes(),
            _ => self.ghosts(client),
        }
        self.settle_host();
    }

    // Time

    pub fn time_passes(&mut self) {
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

    pub fn next_timeout(&self) -> Option<Tick> {
        let clients = self.clients.iter();
        let clients = clients.filter_map(|far| far.client.next_timeout()).min();
        clients.into_iter().chain(self.host.next_timeout()).min()
    }

    pub fn pass(&mut self, until: Tick) {
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
    pub fn settle(&mut self, at: usize, new: Option<Waiting>, was: Option<State>) {
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

    pub fn output(&mut self, at: usize, output: Output) {
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

    pub fn event(&mut self, at: usize, event: Event) {
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

    pub fn settle_host(&mut self) {
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
}
