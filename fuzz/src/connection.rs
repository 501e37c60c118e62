//! A whole connection: configuration, a script of what happens, and the bytes
//! of the peer. The rules are those of every machine (`core/tests/rules.rs`
//! tries them with conversations that are mostly correct).
//!
//! ```text
//! input = flags, limits, times, n, n bytes of script, the peer's bytes
//! ```
//!
//! A byte of the script is one action: its kind in the low four bits, its
//! measure in the high ones. What the script leaves of the peer's bytes comes
//! at its end.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use smartsocket_core::deflate::{Deflate, Parameters};
use smartsocket_core::http::{HeadLimits, Response};
use smartsocket_core::internals::FrameHeader;
use smartsocket_core::websocket::{Accept, Cause, Event, Negotiated, Output, Role};
use smartsocket_core::{CloseCode, Config, Fault, Message, Seed, Tick, WebSocket};
use stats_alloc::Region;

use crate::HEAP;
use crate::driver::{Driver, Seen, Start};
use crate::input::{Input, bit, choice, pieces};

/// Plays one connection in several ways and compares them.
pub(crate) fn run(role: Role, data: &[u8]) {
    let plan = Plan::new(role, data);
    plan.check_script();
    let mut whole = plan.read(&[], false, false);
    let told = whole.told();
    plan.check_limits(&told);
    plan.check_cuts(&whole, &told);
    plan.check_drains(&whole, &told);
    plan.check_cost();
}

#[derive(Debug)]
struct Plan {
    start: Start,
    /// The same, and pings and pongs are told.
    loud: Start,
    blocked: bool,
    actions: Vec<Action>,
    /// All bytes of the peer; actions tell which are theirs.
    stream: Vec<u8>,
    /// The script's bytes again, as sizes of reads.
    sizes: Vec<u8>,
}

#[derive(Debug)]
enum Action {
    Bytes(Range<usize>),
    /// Bytes, read into lent buffers where there are any.
    Fill(Range<usize>),
    EmptyFill,
    LoseFill,
    Pass(Duration),
    Earlier(Duration),
    Send(Message, bool),
    Ping(usize),
    Close(u16),
    Decide(bool),
    Block,
    Unblock,
    Write(usize),
    Drain,
    Flush,
    Fidget,
    Eof,
    Fault,
}

/// Bytes that one input may unfold to.
const MAX_STREAM: usize = 160 * 1024;

impl Plan {
    fn new(role: Role, data: &[u8]) -> Self {
        let mut input = Input(data);
        let (flags, limits, times) = (input.byte(), input.byte(), input.byte());
        let script = input.counted(63);
        let start = start(role, flags, limits, times);
        let mut loud = start.clone();
        loud.config = Arc::new(Config {
            control_events: true,
            ..Config::clone(&start.config)
        });
        let mut plan = Self {
            start,
            loud,
            blocked: bit(flags, 7),
            actions: Vec::new(),
            stream: Vec::new(),
            sizes: script.to_vec(),
        };
        for &byte in script {
            let action = plan.action(byte & 15, usize::from(byte >> 4), &mut input);
            plan.actions.push(action);
        }
        let rest = plan.bytes(input.0);
        plan.actions.push(Action::Bytes(rest));
        plan
    }

    fn action(&mut self, kind: u8, measure: usize, input: &mut Input<'_>) -> Action {
        const READ: [usize; 16] = [
            1, 1, 2, 3, 5, 6, 8, 14, 20, 60, 125, 131, 300, 1_000, 4_000, 20_000,
        ];
        const SECONDS: [f64; 16] = [
            0.0, 0.001, 0.5, 1.0, 2.0, 5.0, 9.0, 10.0, 11.0, 25.0, 30.0, 35.0, 60.0, 100.0, 1e4,
            1e7,
        ];
        const SEND: [usize; 8] = [0, 1, 125, 126, 1_500, 3_000, 9_000, 66_000];
        const WRITE: [usize; 8] = [1, 2, 7, 100, 130, 1_000, 60_000, 200_000];
        const CODES: [u16; 16] = [
            1000, 1001, 1002, 1003, 1004, 1005, 1006, 1011, 1014, 1015, 0, 999, 3000, 4999, 5000,
            65_535,
        ];
        // Compressing is slow here.
        let most = if self.start.config.deflate.is_some() {
            3_000
        } else {
            usize::MAX
        };
        match kind {
            0..=4 => Action::Bytes(self.bytes(input.take(READ[measure]))),
            5 if measure < 8 => {
                let bulk = vec![b'x'; 1 << (10 + measure % 7)];
                Action::Fill(self.bytes(&bulk))
            }
            5 => {
                let start = self.stream.len().saturating_sub(READ[measure]);
                let flood = self.stream[start..].repeat(40);
                Action::Bytes(self.bytes(&flood))
            }
            6 => Action::Fill(self.bytes(input.take(READ[measure]))),
            7 => Action::Pass(Duration::from_secs_f64(SECONDS[measure])),
            8 => Action::Send(
                message(measure & 1 == 0, SEND[measure >> 1].min(most)),
                true,
            ),
            9 => Action::Send(
                message(measure & 1 == 0, SEND[2 * (measure >> 2)].min(most)),
                measure & 2 != 0,
            ),
            10 => Action::Ping(10 * measure),
            11 => Action::Close(CODES[measure]),
            12 => Action::Decide(measure % 4 != 3),
            13 => match measure {
                0..4 => Action::Block,
                4..8 => Action::Unblock,
                _ => Action::Write(WRITE[measure - 8]),
            },
            14 => match measure {
                0..8 => Action::Drain,
                8..12 => Action::Flush,
                _ => Action::Earlier(Duration::from_secs_f64(SECONDS[measure])),
            },
            _ => match measure {
                0 => Action::Eof,
                1 => Action::Fault,
                2 => Action::LoseFill,
                3..6 => Action::EmptyFill,
                _ => Action::Fidget,
            },
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.stream.len();
        let n = bytes.len().min(MAX_STREAM - start);
        self.stream.extend_from_slice(&bytes[..n]);
        start..start + n
    }

    /// Rules 2 and 3, a nervous embedder sees the same, and what was sent is a
    /// conversation that a peer can follow.
    fn check_script(&self) {
        let mut first = self.play(false);
        let again = self.play(true);
        assert!(first.sent == again.sent, "the same inputs, other bytes");
        assert_eq!(first.seen, again.seen);
        first.finish();
        check_sent(&first, self.start.role);
    }

    fn play(&self, nervous: bool) -> Driver {
        let mut driver = Driver::new(&self.start);
        driver.decides = false;
        for action in &self.actions {
            if driver.dropped {
                break;
            }
            self.act(&mut driver, action);
            if nervous {
                driver.fidget();
            }
        }
        driver.drain();
        driver
    }

    fn act(&self, driver: &mut Driver, action: &Action) {
        let now = driver.now;
        match action {
            Action::Bytes(range) => driver.feed(&self.stream[range.clone()]),
            Action::Fill(range) => driver.read(&self.stream[range.clone()], true),
            Action::EmptyFill => drop(driver.fill(&[])),
            Action::LoseFill => drop(driver.ws.take_fill()),
            Action::Pass(time) => driver.pass(now + *time),
            Action::Earlier(time) => {
                let past = now.since(Tick::ZERO).saturating_sub(*time);
                driver.ws.handle_timeout(past.into());
            }
            Action::Send(message, last) => driver.send(message.clone(), *last),
            Action::Ping(n) => drop(driver.ws.ping(now, vec![b'p'; *n])),
            Action::Close(code) => driver.ws.close(now, CloseCode::from(*code), "why"),
            Action::Decide(accept) => {
                driver.drain();
                if let Some(ticket) = driver.tickets.pop_front() {
                    let decision = if *accept {
                        ticket.accept(Accept::default())
                    } else {
                        ticket.respond(Response::text(404, "no"))
                    };
                    driver.ws.decide(now, decision);
                }
            }
            Action::Block => driver.blocked = true,
            Action::Unblock => driver.blocked = false,
            Action::Write(n) => drop(driver.write(*n)),
            Action::Drain => driver.drain(),
            Action::Flush => driver.ws.flush(),
            Action::Fidget => driver.fidget(),
            Action::Eof => driver.ws.handle_eof(now),
            Action::Fault => driver.ws.handle_fault(now, Fault::Reset),
        }
    }

    /// Frames and fragments beyond the limits end the connection.
    fn check_limits(&self, told: &[Seen]) {
        let config = &self.start.config;
        if self.start.upgraded.is_none() || config.deflate.is_some() {
            return;
        }
        let most = config.max_frame.min(config.max_message) as u64;
        let (mut rest, mut fragments) = (&self.stream[..], 0);
        while let Ok(Some((header, size))) = FrameHeader::decode(rest) {
            match header.opcode {
                0 => fragments += 1,
                1 | 2 => fragments = 1,
                _ => {}
            }
            if fragments > config.max_fragments || (header.opcode < 8 && header.length > most) {
                let ended = told.iter().any(|seen| matches!(seen, Seen::Closed(_)));
                return assert!(ended, "{header:?}, fragment {fragments}");
            }
            let Some(next) = rest.get(size + header.length as usize..) else {
                return;
            };
            rest = next;
        }
    }

    /// Rule 1, drained once: the cuts cannot be told from the outcome.
    fn check_cuts(&self, whole: &Driver, told: &[Seen]) {
        // Byte by byte, unless that takes too long.
        let size = if self.stream.len() < 4_096 { 1 } else { 61 };
        // Buffers are lent for long payloads only.
        let fills = self.stream.len() > 64 * 1024;
        for (sizes, fills) in [(&[size][..], false), (&self.sizes, fills)] {
            let mut cut = self.read(sizes, fills, false);
            assert_eq!(cut.told(), told, "cut by {sizes:?}, fills: {fills}");
            assert!(cut.sent == whole.sent, "cut by {sizes:?}: other bytes out");
        }
    }

    /// Rule 1, drained in between: the same messages, the same close, and
    /// pongs for some of the pings, the last among them.
    fn check_drains(&self, whole: &Driver, whole_told: &[Seen]) {
        let mut cut = self.read(&self.sizes, true, true);
        let cut_told = cut.told();
        for keep in [
            (|seen: &Seen| matches!(seen, Seen::Message(_))) as fn(&Seen) -> bool,
            |seen| matches!(seen, Seen::Ping(_)),
            |seen| matches!(seen, Seen::Pong(_)),
            |seen| matches!(seen, Seen::Open(_) | Seen::Closed(_) | Seen::Drop),
        ] {
            let only = |told: &[Seen]| told.iter().filter(|seen| keep(seen)).cloned().collect();
            let (whole, cut): (Vec<Seen>, Vec<Seen>) = (only(whole_told), only(&cut_told));
            assert_eq!(cut, whole, "drained in between");
        }
        let close = |driver: &Driver| driver.frames().into_iter().find(|frame| frame.0 == 8);
        assert_eq!(close(&cut), close(whole));
        for driver in [whole, &cut] {
            let mut pings = whole_told.iter().filter_map(|seen| {
                if let Seen::Ping(payload) = seen {
                    Some(&payload[..])
                } else {
                    None
                }
            });
            let last = pings.clone().last();
            let pongs: Vec<_> = driver.frames();
            let pongs = pongs.iter().filter(|frame| frame.0 == 10);
            let mut answered = None;
            for (_, _, payload) in pongs {
                assert!(pings.any(|ping| ping == payload), "a pong to no ping");
                answered = Some(&payload[..]);
            }
            assert_eq!(answered, last, "the last ping is answered");
        }
    }

    /// Hands in the whole stream, in pieces of these sizes.
    fn read(&self, sizes: &[u8], fills: bool, drains: bool) -> Driver {
        let mut driver = Driver::new(&self.loud);
        for piece in pieces(&self.stream, sizes) {
            driver.read(piece, fills);
            if drains {
                driver.drain();
            }
        }
        driver.drain();
        driver
    }

    /// Rule 4: what is held and what is done are bounded by what came.
    fn check_cost(&self) {
        let config = &self.start.config;
        let mut stream = self.stream.clone();
        let region = Region::new(HEAP);
        let mut ws = self.start.machine();
        let (mut fed, mut outputs, mut reads) = (0, 0, 0);
        let size = usize::from(self.sizes.first().map_or(250, |size| *size)).max(1);
        for piece in stream.chunks_mut(size) {
            fed += piece.len();
            reads += 1;
            ws.handle_bytes(Tick::ZERO, piece);
            // Events wait for whoever reads that much at once.
            let waiting = self.bound(fed) + EVENTS * size;
            assert!(held(&region) <= waiting, "{} for {fed}", held(&region));
            outputs += self.discard_outputs(&mut ws);
            let bound = self.bound(fed);
            assert!(held(&region) <= bound, "{} for {fed}", held(&region));
        }
        let change = region.change();
        let calls = change.allocations + change.reallocations;
        assert!(
            calls <= 8 * fed + 300,
            "{calls} allocations for {fed} bytes"
        );
        // A message in fragments begins with a block of 4 KiB.
        let most = if config.deflate.is_some() {
            4_096 * fed + (2 << 20)
        } else {
            1_024 * fed + (64 << 10)
        };
        let allocated = change.bytes_allocated;
        assert!(allocated <= most, "{allocated} bytes allocated for {fed}");
        assert!(
            outputs <= fed + 3 * reads + 8,
            "{outputs} outputs for {fed}"
        );
    }

    /// Takes and drops all outputs; how many there were.
    fn discard_outputs(&self, ws: &mut WebSocket) -> usize {
        let mut outputs = 0;
        loop {
            while let Some(output) = ws.poll_output() {
                outputs += 1;
                match output {
                    Output::Event(Event::Message(message)) if self.start.echo => {
                        let _ = ws.send(Tick::ZERO, message);
                    }
                    Output::Event(Event::Request(ticket)) => {
                        ws.decide(Tick::ZERO, ticket.accept(Accept::default()));
                    }
                    Output::Event(_)
                    | Output::Transmit
                    | Output::PauseRead
                    | Output::ResumeRead
                    | Output::Shutdown
                    | Output::Close => {}
                }
            }
            let n = ws.unsent().map(|bytes| bytes.len()).sum();
            if self.blocked || n == 0 {
                return outputs;
            }
            ws.transmitted(Tick::ZERO, n);
        }
    }

    /// What a connection may hold after `fed` bytes.
    fn bound(&self, fed: usize) -> usize {
        const FIXED: usize = 24 * 1024;
        /// Two inflaters and two deflaters.
        const DEFLATE: usize = 1 << 20;
        let config = &self.start.config;
        let limits = 2
            * (config.max_message
                + config.max_queued_bytes
                + config.head.head_bytes
                + config.max_body)
            + 128 * 1024;
        FIXED
            + if config.deflate.is_some() {
                limits + DEFLATE
            } else {
                limits.min(4 * fed)
            }
    }
}

/// What the events of a byte may hold: those of empty frames are the worst,
/// inflated ones aside, and their queue has grown by doubling.
const EVENTS: usize = 300;

fn held(region: &Region<'_, std::alloc::System>) -> usize {
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}

fn start(role: Role, flags: u8, limits: u8, times: u8) -> Start {
    const MESSAGE: [usize; 4] = [1 << 20, 64 << 10, 1_000, 10];
    const FRAME: [usize; 4] = [usize::MAX, 30_000, 125, 100];
    const FRAGMENTS: [u32; 4] = [4_096, 16, 2, 1];
    const FRAGMENT: [usize; 4] = [1 << 20, 1_000, 100, 7];
    const QUEUED: [usize; 4] = [1 << 20, 4_000, 300, 0];
    let seconds =
        |choice: usize| [Some(5), None, Some(1), Some(0)][choice].map(Duration::from_secs);
    let takeover = bit(flags, 5);
    let deflate = bit(flags, 1).then(|| Deflate {
        level: 1,
        threshold: 100,
        server_no_context_takeover: !takeover,
        client_no_context_takeover: !takeover,
        ..Deflate::default()
    });
    let agreed = Negotiated {
        subprotocol: None,
        deflate: deflate.is_some().then(|| Parameters {
            server_no_context_takeover: !takeover,
            client_no_context_takeover: !takeover,
            ..Parameters::default()
        }),
    };
    let defaults = Config::default();
    let config = Config {
        max_message: MESSAGE[choice(limits, 0)],
        max_frame: FRAME[choice(limits, 1)],
        max_fragments: FRAGMENTS[choice(limits, 1)],
        fragment_size: FRAGMENT[choice(limits, 2)],
        max_queued_bytes: QUEUED[choice(limits, 3)],
        streaming: bit(flags, 2),
        control_events: bit(flags, 3),
        decide: bit(flags, 4),
        max_body: 300,
        handshake_timeout: seconds(choice(times, 0)),
        ping_interval: seconds(choice(times, 1)).map(|time| 5 * time),
        pong_timeout: seconds(choice(times, 1)).unwrap_or(defaults.pong_timeout),
        idle_timeout: seconds((choice(times, 2) + 1) % 4),
        write_timeout: seconds(choice(times, 3)),
        close_timeout: seconds(choice(times, 3)).unwrap_or(defaults.close_timeout),
        deflate,
        subprotocols: vec!["superchat".into(), "chat".into()],
        head: if choice(limits, 0) == 3 {
            HeadLimits {
                head_bytes: 300,
                headers: 8,
                target: 10,
            }
        } else {
            HeadLimits::default()
        },
        ..defaults
    };
    Start {
        role,
        upgraded: bit(flags, 0).then_some(agreed),
        config: Arc::new(config),
        echo: bit(flags, 6),
    }
}

fn message(text: bool, n: usize) -> Message {
    if text {
        Message::text("smörgås ".repeat(n / 8))
    } else {
        Message::binary((0..n).map(|n| n as u8).collect::<Vec<_>>())
    }
}

/// A strict peer reads all that was sent, and gets the messages in order.
fn check_sent(driver: &Driver, role: Role) {
    let Some(agreed) = &driver.agreed else {
        return;
    };
    let frames = driver.frames();
    let after = frames.iter().skip_while(|frame| frame.0 != 8).skip(1);
    assert_eq!(after.count(), 0, "a frame after the close frame");
    let config = Config {
        max_message: usize::MAX,
        max_fragments: u32::MAX,
        deflate: Some(Deflate {
            max_ratio: u32::MAX,
            ..Deflate::default()
        }),
        ..Config::default()
    };
    let peer = match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let seed = Seed::new([9; 32]);
    let mut peer = WebSocket::upgraded(peer, agreed.clone(), config, seed, Tick::ZERO);
    peer.handle_bytes(Tick::ZERO, &mut driver.stream().to_vec());
    let mut accepted = driver.accepted.iter();
    while let Some(output) = peer.poll_output() {
        if let Output::Event(Event::Message(message)) = output {
            assert_eq!(Some(&message), accepted.next(), "sent is what was taken");
        } else if let Output::Event(Event::Closed(closed)) = output {
            let kept = !matches!(closed.cause, Cause::Violation(_));
            assert!(kept, "we break the protocol: {closed}");
        }
    }
}
