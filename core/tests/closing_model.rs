//! Every way a connection can close, in up to six steps: all sequences of what
//! a peer, a network, an application and a clock can do to an open connection.
//! After each step the machine must be in order, and from wherever a sequence
//! leaves it, time alone must bring it to its end.
//!
//! A step that changes nothing is left out, and of sequences that lead to the
//! same state one goes on. What the machine says is checked against rules, not
//! against another machine.
// What else there is must not come.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod common;

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};

use common::*;
use smartsocket_core::websocket::{Cause, Closed, Deadline, Event, Negotiated, Output, Role};
use smartsocket_core::{CloseCode, Config, Tick, WebSocket};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    PeerClose,
    PeerMessage,
    PeerPing,
    /// The first bytes of a frame; whatever the peer sends next completes it.
    PeerHalf,
    PeerBreaks,
    Eof,
    Fault,
    Close,
    Send,
    /// The socket takes a byte, or all.
    TakeOne,
    TakeAll,
    /// Time passes to the next deadline, or far beyond it.
    Timeout,
    Hour,
    /// The embedder takes an output, or all.
    PollOne,
    Drain,
}

use Step::*;

const STEPS: [Step; 15] = [
    PeerClose,
    PeerMessage,
    PeerPing,
    PeerHalf,
    PeerBreaks,
    Eof,
    Fault,
    Close,
    Send,
    TakeOne,
    TakeAll,
    Timeout,
    Hour,
    PollOne,
    Drain,
];

/// The longest sequence.
const DEPTH: usize = 6;
/// There are about 80,000 of them for a server and 75,000 for a client.
const STATES: usize = 50_000;

const PEER_CODE: u16 = 4001;
const OWN_CODE: u16 = 4002;

/// A connection, and all that was seen of it.
struct World {
    ws: WebSocket,
    role: Role,
    now: Tick,
    half: bool,
    /// Bytes the socket took.
    wire: Vec<u8>,
    /// Messages `send` took.
    accepted: usize,
    received: usize,
    came: usize,
    pings: usize,
    closed: Option<Box<Closed>>,
    shut: bool,
    dropped: bool,
    eof: bool,
    fault: bool,
    /// `close` had an effect.
    closing: bool,
    /// Time passed between the outcome and the last byte.
    late: bool,
    /// The outputs.
    said: String,
}

impl World {
    fn new(role: Role) -> Self {
        let config = Config::default();
        let agreed = Negotiated::default();
        Self {
            ws: WebSocket::upgraded(role, agreed, config, seed(), Tick::ZERO),
            role,
            now: Tick::ZERO,
            half: false,
            wire: Vec::new(),
            accepted: 0,
            received: 0,
            came: 0,
            pings: 0,
            closed: None,
            shut: false,
            dropped: false,
            eof: false,
            fault: false,
            closing: false,
            late: false,
            said: String::new(),
        }
    }

    /// Takes a step; false if it changes nothing.
    fn step(&mut self, step: Step) -> bool {
        self.late |= self.closed.is_some() && matches!(step, Timeout | Hour);
        match step {
            PeerClose | PeerMessage | PeerPing | PeerHalf | PeerBreaks if self.eof => return false,
            // After the outcome all bytes are alike.
            PeerClose | PeerMessage | PeerPing | PeerHalf if self.closed.is_some() => return false,
            PeerClose => self.peer(&close_frame(self.role, PEER_CODE, "bye")),
            PeerMessage => {
                self.came += 1;
                self.peer(&frame(self.role, TEXT, "m"));
            }
            PeerPing => {
                self.pings += 1;
                self.peer(&frame(self.role, PING, "p"));
            }
            PeerHalf if self.half => return false,
            PeerHalf => {
                self.came += 1;
                self.half = true;
                self.bytes(&frame(self.role, TEXT, "half")[..3]);
            }
            PeerBreaks => self.peer(&[0xff, 0xff]),
            Eof | Fault if self.eof => return false,
            Eof => {
                self.eof = true;
                self.ws.handle_eof(self.now);
            }
            Fault => {
                (self.eof, self.fault) = (true, true);
                self.ws
                    .handle_fault(self.now, smartsocket_core::Fault::Reset);
            }
            Close => {
                let open = self.ws.is_open();
                self.ws.close(self.now, CloseCode::from(OWN_CODE), "mine");
                // With an outcome on its way it is too late.
                let closes = open && !self.ws.is_open();
                self.closing |= closes;
                return closes;
            }
            Send => {
                let open = self.ws.is_open();
                let taken = self
                    .ws
                    .send(self.now, [self.accepted as u8; 3].to_vec())
                    .is_ok();
                assert_eq!(taken, open, "only an open connection takes messages");
                self.accepted += usize::from(taken);
                return taken;
            }
            TakeOne | TakeAll => {
                let most = if step == TakeOne { 1 } else { usize::MAX };
                return self.take(most);
            }
            Timeout => match self.ws.next_timeout() {
                Some(due) if due > self.now => self.timeout(due),
                _ => return false,
            },
            Hour => self.timeout(self.now + secs(3_600)),
            PollOne => return self.poll(),
            Drain => {
                // One output alone is `PollOne`.
                if !self.poll() || !self.poll() {
                    return false;
                }
                while self.poll() {}
            }
        }
        true
    }

    fn peer(&mut self, bytes: &[u8]) {
        if std::mem::take(&mut self.half) {
            let rest = frame(self.role, TEXT, "half").split_off(3);
            self.bytes(&[&rest, bytes].concat());
        } else {
            self.bytes(bytes);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.ws.handle_bytes(self.now, &mut bytes.to_vec());
    }

    fn timeout(&mut self, now: Tick) {
        self.now = now;
        self.ws.handle_timeout(now);
    }

    /// The socket takes up to `most` bytes; whether there were any.
    fn take(&mut self, most: usize) -> bool {
        let before = self.wire.len();
        for bytes in self.ws.unsent() {
            let room = most - (self.wire.len() - before);
            self.wire.extend(&bytes[..bytes.len().min(room)]);
        }
        let taken = self.wire.len() - before;
        if taken > 0 && !self.dropped {
            self.ws.transmitted(self.now, taken);
        }
        taken > 0
    }

    /// The embedder takes an output; whether there was one.
    fn poll(&mut self) -> bool {
        let has_event = self.ws.has_event();
        let next = self.ws.next_timeout();
        let Some(output) = self.ws.poll_output() else {
            assert!(!has_event, "an event was promised");
            return false;
        };
        assert!(!self.dropped, "{output:?} after the last output");
        assert!(
            next.is_some_and(|next| next <= self.now),
            "{output:?} waited, and the next timeout was {next:?} at {:?}",
            self.now
        );
        assert_eq!(has_event, matches!(output, Output::Event(_)));
        writeln!(self.said, "{output:?}").unwrap();
        match output {
            Output::Transmit => assert!(self.ws.unsent().next().is_some()),
            Output::PauseRead | Output::ResumeRead => panic!("no decision is open"),
            Output::Shutdown => {
                assert!(self.closed.is_some() && !self.shut);
                assert!(self.ws.unsent().next().is_none(), "all is sent before");
                self.shut = true;
            }
            Output::Close => {
                assert!(self.closed.is_some(), "the outcome is told before");
                self.dropped = true;
            }
            Output::Event(event) => {
                assert!(self.closed.is_none(), "{event:?} after Closed");
                match event {
                    Event::Message(_) => self.received += 1,
                    Event::Closed(closed) => self.closed = Some(closed),
                    other => panic!("{other:?}"),
                }
            }
        }
        true
    }

    /// What holds at all times.
    fn check(&self) {
        let over = self.closed.is_some() || self.fault;
        assert!(!over || !self.ws.is_open(), "open after the end");
        assert!(over || self.closing || self.ws.is_open(), "nobody closed");
        if self.dropped {
            assert_eq!(self.ws.next_timeout(), None);
            assert!(!self.ws.has_event());
        }
    }

    /// Nothing but time: the end must come, whether or not the socket takes
    /// bytes.
    fn finish(&mut self, blocked: bool) {
        let mut steps = 0;
        loop {
            while self.poll() {}
            if !blocked && !self.dropped && self.take(usize::MAX) {
                continue;
            }
            self.check();
            let Some(due) = self.ws.next_timeout() else {
                break;
            };
            assert!(
                due > self.now,
                "due at {due:?}, and nothing to do at {:?}",
                self.now
            );
            self.timeout(due);
            // What a clock that stands still adds: nothing.
            while self.poll() {}
            self.timeout(self.now);
            steps += 1;
            assert!(steps < 8, "no end of timeouts");
        }
        assert!(self.dropped, "the end never came");
        self.judge(blocked);
    }

    /// The whole life of the connection.
    fn judge(&self, blocked: bool) {
        let closed = self.closed.as_ref().expect("told once");
        let mut rest = self.wire.clone();
        let mut frames = Vec::new();
        while let Some(frame) = read_frame(&mut rest) {
            assert_eq!(frame.mask.is_some(), self.role == Role::Client);
            frames.push(frame);
        }
        let close = frames.iter().position(|frame| frame.opcode == CLOSE);
        if let Some(at) = close {
            assert_eq!(at + 1, frames.len(), "nothing follows a close frame");
            assert!(rest.is_empty(), "not even in part");
        }
        // Messages go in order, and of each ping there is one pong at most.
        let sent = frames.iter().filter(|frame| frame.opcode == BINARY);
        let mut messages = 0;
        for (n, frame) in sent.enumerate() {
            assert_eq!(frame.payload, [n as u8; 3]);
            messages += 1;
        }
        assert!(messages <= self.accepted);
        let pongs = frames.iter().filter(|frame| frame.opcode == PONG).count();
        assert!(pongs <= self.pings);
        assert!(self.received <= self.came);
        let counted = self.ws.stats();
        assert_eq!(counted.sent_messages as usize, self.accepted);
        assert_eq!(counted.received_messages as usize, self.received);
        assert!(self.received + counted.dropped_messages as usize <= self.came);

        let answered = match &closed.cause {
            Cause::Peer => {
                assert!(!closed.reason.is_empty() && u16::from(closed.code) == PEER_CODE);
                // The code goes back, without the reason.
                Some(PEER_CODE.to_be_bytes().to_vec())
            }
            Cause::Local => {
                assert!(self.closing && u16::from(closed.code) == PEER_CODE);
                Some([&OWN_CODE.to_be_bytes()[..], b"mine"].concat())
            }
            Cause::Violation(violation) => {
                assert_eq!(closed.code, violation.code());
                let code = u16::from(closed.code).to_be_bytes();
                // Who broke the protocol after our close frame gets no other.
                (!self.closing).then(|| [&code[..], closed.reason.as_bytes()].concat())
            }
            Cause::Eof => {
                assert!(self.eof);
                None
            }
            Cause::Fault(_) => {
                assert!(self.fault);
                None
            }
            Cause::Timeout(Deadline::Close) => {
                assert!(self.closing);
                None
            }
            Cause::Timeout(_) => None,
            other => panic!("{other:?}"),
        };
        if let Some(at) = close {
            let payload = &frames[at].payload;
            let own = [&OWN_CODE.to_be_bytes()[..], b"mine"].concat();
            let fits = answered.as_ref().unwrap_or(&own);
            assert_eq!(payload, fits, "{closed:?}");
        }
        // An orderly end, and a network that takes everything: nothing is lost.
        let orderly = matches!(closed.cause, Cause::Peer | Cause::Local);
        if orderly && !blocked && !self.fault && !self.late {
            assert!(close.is_some());
            assert_eq!(
                messages, self.accepted,
                "every message before the close frame"
            );
        }
    }
}

/// All that decides what happens next, and all that was seen: what the machine
/// shows of itself but its counters, what it has to send, what it will say if left alone, and
/// what is known of it.
fn key((shown, unsent, said): &(String, Vec<u8>, usize), world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    let state = shown.split(", discarded: ").next();
    (state, unsent, said).hash(&mut hasher);
    world.said.hash(&mut hasher);
    world.wire.hash(&mut hasher);
    let World { half, eof, .. } = world;
    (half, eof, world.late).hash(&mut hasher);
    hasher.finish()
}

fn replay(role: Role, path: &[Step]) -> Option<World> {
    let mut world = World::new(role);
    let mut moved = true;
    for step in path {
        moved = world.step(*step);
        world.check();
    }
    moved.then_some(world)
}

/// Follows every sequence of up to `depth` steps; of those that lead to the
/// same state only the first goes on. How many states there are.
fn explore(role: Role, depth: usize) -> usize {
    let mut seen: HashMap<u64, Vec<Step>> = HashMap::new();
    let mut frontier = vec![Vec::new()];
    let (mut sequences, mut orderly) = (0, 0);
    for length in 1..=depth {
        let mut next = Vec::new();
        for begin in frontier {
            for step in STEPS {
                let path = [&begin[..], &[step]].concat();
                let _told = Told(&path);
                let Some(mut world) = replay(role, &path) else {
                    continue;
                };
                sequences += 1;
                let unsent: Vec<u8> = world.ws.unsent().flatten().copied().collect();
                let before = (format!("{:?}", world.ws), unsent, world.said.len());
                let over = world.dropped;
                world.finish(false);
                match seen.entry(key(&before, &world)) {
                    Entry::Occupied(same) if sequences % 64 == 0 => alike(role, &path, same.get()),
                    Entry::Occupied(_) => {}
                    Entry::Vacant(new) => {
                        let cause = &world.closed.as_ref().unwrap().cause;
                        orderly += usize::from(matches!(cause, Cause::Peer | Cause::Local));
                        replay(role, &path).unwrap().finish(true);
                        new.insert(path.clone());
                        if !over && length < depth {
                            next.push(path.clone());
                        }
                    }
                }
            }
        }
        frontier = next;
    }
    let states = seen.len();
    println!("{role:?}: {sequences} sequences, {states} states, {orderly} with an orderly end");
    assert!(orderly > states / 20);
    states
}

/// That two sequences lead to the same state is not only said of them: what
/// follows is the same.
fn alike(role: Role, one: &[Step], other: &[Step]) {
    for step in STEPS {
        let [one, other] = [one, other].map(|path| {
            let mut world = replay(role, &[path, &[step]].concat())?;
            world.finish(false);
            Some((world.said, world.wire))
        });
        assert!(one == other, "not so after {step:?}");
    }
}

/// Tells the sequence that failed.
struct Told<'a>(&'a [Step]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:?}", self.0);
        }
    }
}

#[test]
fn a_server_closes_in_order_whatever_happens() {
    assert!(explore(Role::Server, DEPTH) > STATES);
}

#[test]
fn a_client_closes_in_order_whatever_happens() {
    assert!(explore(Role::Client, DEPTH) > STATES);
}
