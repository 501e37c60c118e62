//! The rules that hold for every machine, tried with random conversations.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::collection::vec;
use proptest::prelude::*;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::http::Response;
use smartsocket_core::websocket::{Accept, Role};
use smartsocket_core::{CloseCode, Config, Fault, Tick};

// Conversations

/// What a peer sends, before it is turned into bytes for one role.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Binary(usize),
    Fragments(bool, Vec<Vec<u8>>, Option<Vec<u8>>),
    Compressed(bool, Vec<u8>, usize),
    CompressedFragments(Vec<u8>, usize),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
    /// A frame with fields that need not fit together.
    Odd(bool, u8, u8, bool, Form, Vec<u8>),
    Garbage(Vec<u8>),
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        2 => "[a-zäöü€😀]{0,30}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 120..140),
        1 => (0..3_000_usize).prop_map(|n| b"abcdefgh".repeat(n / 8)),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => "[a-zäöü€😀]{0,60}".prop_map(Piece::Text),
        2 => (0_usize..400).prop_map(Piece::Binary),
        1 => (70_000_usize..120_000).prop_map(Piece::Binary),
        4 => (any::<bool>(), vec(payload(), 1..5), proptest::option::of(vec(any::<u8>(), 0..9)))
            .prop_map(|(text, parts, ping)| Piece::Fragments(text, parts, ping)),
        3 => (any::<bool>(), payload(), prop_oneof![9 => Just(0), 1 => 1..40_usize])
            .prop_map(|(text, data, cut)| Piece::Compressed(text, data, cut)),
        2 => (payload(), 1..20_usize).prop_map(|(data, size)| Piece::CompressedFragments(data, size)),
        3 => vec(any::<u8>(), 0..126).prop_map(Piece::Ping),
        1 => vec(any::<u8>(), 0..126).prop_map(Piece::Pong),
        1 => (prop_oneof![1000_u16..1016, 3000_u16..3010, any::<u16>()], "[a-z]{0,20}")
            .prop_map(|(code, reason)| Piece::Close(code, reason)),
        1 => (any::<bool>(), 0..8_u8, 0..16_u8, any::<bool>(), form(), vec(any::<u8>(), 0..130))
            .prop_map(|(fin, rsv, opcode, mask, form, payload)|
                Piece::Odd(fin, rsv, opcode, mask, form, payload)),
        1 => vec(any::<u8>(), 1..30).prop_map(Piece::Garbage),
    ]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Shortest), Just(Form::Medium), Just(Form::Long)]
}

impl Piece {
    fn bytes(&self, to: Role) -> Vec<u8> {
        match self {
            Self::Text(text) => frame(to, TEXT, text),
            Self::Binary(n) => frame(to, BINARY, vec![b'b'; *n]),
            Self::Fragments(text, parts, ping) => {
                let opcode = if *text { TEXT } else { BINARY };
                let mut out = fragment(to, opcode, &parts[0]);
                for part in &parts[1..] {
                    out.extend(fragment(to, CONTINUATION, part));
                    out.extend(ping.iter().flat_map(|ping| frame(to, PING, ping)));
                }
                out.extend(frame(to, CONTINUATION, "end"));
                out
            }
            Self::Compressed(text, data, cut) => {
                let mut payload = deflated(data);
                payload.truncate(payload.len().saturating_sub(*cut));
                let opcode = if *text { TEXT } else { BINARY };
                Raw::to(to, true, opcode, payload).rsv(4).bytes()
            }
            Self::CompressedFragments(data, size) => {
                let payload = deflated(data);
                let mut out = Raw::to(to, false, BINARY, "").rsv(4).bytes();
                for part in payload.chunks(*size) {
                    out.extend(fragment(to, CONTINUATION, part));
                }
                out.extend(frame(to, CONTINUATION, ""));
                out
            }
            Self::Ping(payload) => frame(to, PING, payload),
            Self::Pong(payload) => frame(to, PONG, payload),
            Self::Close(code, reason) => close_frame(to, *code, reason),
            Self::Odd(fin, rsv, opcode, mask, form, payload) => {
                let mut raw = Raw::to(to, *fin, *opcode, payload).rsv(*rsv).form(*form);
                raw.mask = mask.then_some([1, 2, 3, 4]);
                raw.bytes()
            }
            Self::Garbage(bytes) => bytes.clone(),
        }
    }
}

#[derive(Clone, Debug)]
struct Conversation {
    role: Role,
    pieces: Vec<Piece>,
    /// Replaces one byte somewhere.
    flip: Option<(prop::sample::Index, u8)>,
    handshake: bool,
    deflate: bool,
    streaming: bool,
    max_message: usize,
}

fn conversation() -> impl Strategy<Value = Conversation> {
    (
        role(),
        vec(piece(), 0..8),
        proptest::option::weighted(0.3, any::<(prop::sample::Index, u8)>()),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(100_usize), Just(2_000), Just(1 << 20)],
    )
        .prop_map(
            |(role, pieces, flip, handshake, deflate, streaming, max_message)| Conversation {
                role,
                pieces,
                flip,
                handshake,
                deflate,
                streaming,
                max_message,
            },
        )
}

impl Conversation {
    fn config(&self) -> Config {
        Config {
            deflate: self.deflate.then(Deflate::default),
            streaming: self.streaming,
            max_message: self.max_message,
            control_events: true,
            ..Config::default()
        }
    }

    fn machine(&self) -> Machine {
        let mut machine = match (self.role, self.handshake) {
            (role, false) => Machine::upgraded(role, self.config()),
            (Role::Server, true) => Machine::server(self.config()),
            (Role::Client, true) => Machine::client(self.config()),
        };
        machine.drain();
        machine.join_parts = true;
        machine
    }

    fn bytes(&self) -> Vec<u8> {
        let extension =
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
        let extension = if self.deflate { extension } else { "" };
        let mut out = match (self.role, self.handshake) {
            (_, false) => Vec::new(),
            (Role::Server, true) => {
                let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
                let head = REQUEST.strip_suffix("\r\n").unwrap();
                format!("{head}{offer}").into_bytes()
            }
            (Role::Client, true) => self.machine().answer(extension).into_bytes(),
        };
        out.extend(self.pieces.iter().flat_map(|piece| piece.bytes(self.role)));
        if let Some((index, byte)) = &self.flip
            && !out.is_empty()
        {
            let at = index.index(out.len());
            out[at] = *byte;
        }
        out
    }

    fn run(&self, sizes: &[usize], how: How) -> Machine {
        let mut machine = self.machine();
        machine.feed_cut(&self.bytes(), sizes, how);
        machine.drain();
        machine
    }
}

fn frames(machine: &Machine) -> Vec<Sent> {
    let mut bytes = machine.sent.clone();
    while let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        bytes.drain(..at + 4);
    }
    std::iter::from_fn(|| read_frame(&mut bytes)).collect()
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        vec(1..40_usize, 1..20),
        vec(1..5_usize, 1..20),
        vec(prop_oneof![1..10_usize, 1_000..70_000_usize], 1..20),
    ]
}

/// What proptest finds becomes a named test, not a file of seeds.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(192))]

    /// Rule 1, drained once: the cuts cannot be told from the outcome.
    #[test]
    fn the_same_bytes_in_any_cuts_give_the_same_outcome(
        conversation in conversation(),
        sizes in sizes(),
    ) {
        let mut whole = conversation.run(&[usize::MAX], How::default());
        let lines = whole.turn();
        // Byte by byte, unless that takes too long.
        let bytes = if whole.ws.stats().received_bytes < 20_000 { 1 } else { 61 };
        for (sizes, fills) in [(&[bytes][..], false), (&sizes, false), (&sizes, true), (&[50_000], true)] {
            let mut cut = conversation.run(sizes, How { fills, drains: false });
            prop_assert_eq!(&cut.turn(), &lines, "cut {:?}, fills: {}", sizes, fills);
            prop_assert_eq!(&cut.messages, &whole.messages);
            prop_assert!(cut.sent == whole.sent, "other bytes went out");
        }
    }

    /// Rule 1, drained in between: the same messages, the same close, and
    /// pongs for some of the pings, the last among them.
    #[test]
    fn drains_in_between_change_no_message_and_no_close(
        conversation in conversation(),
        sizes in sizes(),
    ) {
        let mut whole = conversation.run(&[usize::MAX], How::default());
        let mut cut = conversation.run(&sizes, How { drains: true, fills: true });
        prop_assert_eq!(&cut.messages, &whole.messages);
        let end = |machine: &Machine| machine.outcome.as_ref().map(|end| end.to_string());
        prop_assert_eq!(end(&cut), end(&whole));
        let (cut_frames, whole_frames) = (frames(&cut), frames(&whole));
        let close = |frames: &[Sent]| frames.iter().find(|frame| frame.opcode == CLOSE)
            .map(|frame| frame.payload.clone());
        prop_assert_eq!(close(&cut_frames), close(&whole_frames));
        let pings: Vec<_> = whole.turn().iter()
            .filter_map(|line| line.strip_prefix("ping ").map(String::from)).collect();
        for (machine, frames) in [(&mut whole, whole_frames), (&mut cut, cut_frames)] {
            let pongs: Vec<_> = frames.iter().filter(|frame| frame.opcode == PONG).collect();
            prop_assert_eq!(pongs.is_empty(), pings.is_empty(), "{:?}", machine.role);
            let mut rest = pings.iter();
            for pong in &pongs {
                let payload = short(&pong.payload);
                prop_assert!(rest.any(|ping| *ping == payload), "{} answers no ping", payload);
            }
            if let Some(last) = pongs.last() {
                prop_assert_eq!(&short(&last.payload), pings.last().unwrap());
            }
        }
    }
}

// Actions

/// Half of its content comes; the next bytes are the rest.
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\
    Content-Length: 40\r\n\r\n{\"name\":\"general\"";

#[derive(Clone, Debug)]
enum Action {
    Bytes(Piece),
    Raw(Vec<u8>),
    Head,
    Post,
    Fill(Vec<u8>),
    EmptyFill,
    Later(u64),
    Earlier(u64),
    Send(bool, usize),
    Part(bool, usize, bool),
    Ping,
    Close(u16),
    Decide(bool),
    Block,
    Write(usize),
    Unblock,
    Flush,
    Eof,
    Fault,
    Timeout,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => piece().prop_map(Action::Bytes),
        1 => vec(any::<u8>(), 0..40).prop_map(Action::Raw),
        3 => Just(Action::Head),
        1 => Just(Action::Post),
        1 => vec(any::<u8>(), 0..100).prop_map(Action::Fill),
        1 => Just(Action::EmptyFill),
        6 => prop_oneof![0..20_u64, 0..70_000_u64].prop_map(Action::Later),
        1 => (0..10_000_u64).prop_map(Action::Earlier),
        4 => (any::<bool>(), prop_oneof![0..200_usize, 1_000..200_000_usize])
            .prop_map(|(text, n)| Action::Send(text, n)),
        2 => (any::<bool>(), 0..3_000_usize, any::<bool>())
            .prop_map(|(text, n, last)| Action::Part(text, n, last)),
        1 => Just(Action::Ping),
        1 => prop_oneof![1000..1016_u16, any::<u16>()].prop_map(Action::Close),
        2 => any::<bool>().prop_map(Action::Decide),
        1 => Just(Action::Block),
        2 => (0..100_000_usize).prop_map(Action::Write),
        1 => Just(Action::Unblock),
        1 => Just(Action::Flush),
        1 => Just(Action::Eof),
        1 => Just(Action::Fault),
        3 => Just(Action::Timeout),
    ]
}

#[derive(Clone, Debug)]
struct Script {
    role: Role,
    upgraded: bool,
    config: Config,
    actions: Vec<Action>,
}

fn script() -> impl Strategy<Value = Script> {
    let duration = || {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(secs(0))),
            4 => (1_u64..40).prop_map(|n| Some(secs(n))),
        ]
    };
    let config = (
        any::<[bool; 4]>(),
        [duration(), duration(), duration(), duration()],
        [duration(), duration()],
        prop_oneof![Just(1_usize), 100..3_000_usize, Just(1 << 20)],
        prop_oneof![Just(0_usize), 100..100_000_usize],
    )
        .prop_map(
            |(flags, times, more, fragment_size, max_queued_bytes)| Config {
                deflate: flags[0].then(|| Deflate {
                    threshold: 100,
                    ..Deflate::default()
                }),
                streaming: flags[1],
                control_events: flags[2],
                decide: flags[3],
                max_body: 100,
                handshake_timeout: times[0],
                ping_interval: times[1],
                idle_timeout: times[2],
                write_timeout: times[3],
                pong_timeout: more[0].unwrap_or(secs(10)),
                close_timeout: more[1].unwrap_or(secs(5)),
                fragment_size,
                max_queued_bytes,
                ..Config::default()
            },
        );
    (role(), any::<bool>(), config, vec(action(), 1..40)).prop_map(
        |(role, upgraded, config, actions)| Script {
            role,
            upgraded,
            config,
            actions,
        },
    )
}

impl Script {
    fn machine(&self) -> Machine {
        let config = self.config.clone();
        match (self.role, self.upgraded) {
            (role, true) => Machine::upgraded(role, config),
            (Role::Server, false) => Machine::server(config),
            (Role::Client, false) => Machine::client(config),
        }
    }

    /// Plays the script; `check` looks at the machine after every action.
    fn play(&self, mut check: impl FnMut(&mut Machine)) -> (Vec<String>, Vec<u8>) {
        let mut machine = self.machine();
        let mut lines = machine.turn();
        for action in &self.actions {
            if machine.dropped {
                break;
            }
            act(&mut machine, action);
            check(&mut machine);
            lines.extend(machine.turn());
        }
        (lines, machine.sent)
    }
}

fn act(machine: &mut Machine, action: &Action) {
    let now = machine.now;
    match action {
        Action::Bytes(piece) => machine.feed(piece.bytes(machine.role)),
        Action::Raw(bytes) => machine.feed(bytes),
        Action::Head if machine.ws.is_open() => {}
        Action::Head if machine.role == Role::Server => machine.feed(REQUEST),
        Action::Head => {
            machine.drain();
            if machine.sent.starts_with(b"GET") {
                machine.feed(machine.answer(""));
            }
        }
        Action::Post => machine.feed(POST),
        Action::Fill(bytes) => {
            if let Some(fill) = machine.ws.take_fill() {
                let n = bytes.len().min(fill.room);
                machine.fill(fill, &bytes[..n]);
            }
        }
        Action::EmptyFill => {
            if let Some(fill) = machine.ws.take_fill() {
                machine.fill(fill, &[]);
            }
        }
        Action::Later(millis) => machine.now = now + std::time::Duration::from_millis(*millis),
        // The machine is told of the past; the driver's clock goes on.
        Action::Earlier(millis) => {
            let past = Tick::from_micros(now.as_micros().saturating_sub(millis * 1_000));
            machine.ws.handle_timeout(past);
        }
        Action::Send(true, n) => drop(machine.ws.send(now, "t".repeat(*n))),
        Action::Send(false, n) => drop(machine.ws.send(now, vec![1; *n])),
        Action::Part(true, n, last) => drop(machine.ws.send_part(now, "p".repeat(*n), *last)),
        Action::Part(false, n, last) => drop(machine.ws.send_part(now, vec![2; *n], *last)),
        Action::Ping => drop(machine.ws.ping(now, "ping")),
        Action::Close(code) => machine.ws.close(now, CloseCode::from(*code), "why"),
        Action::Decide(accept) => {
            if let Some(ticket) = machine.tickets.pop() {
                let decision = if *accept {
                    ticket.accept(Accept::default())
                } else {
                    ticket.respond(Response::text(404, "no"))
                };
                machine.ws.decide(now, decision);
            }
        }
        Action::Block => machine.blocked = true,
        Action::Write(n) => drop(machine.write(*n)),
        Action::Unblock => machine.blocked = false,
        Action::Flush => machine.ws.flush(),
        Action::Eof => machine.ws.handle_eof(now),
        Action::Fault => machine.ws.handle_fault(now, Fault::Reset),
        Action::Timeout => machine.ws.handle_timeout(now),
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// Rule 2.
    #[test]
    fn the_same_seed_inputs_and_ticks_give_the_same_bytes(script in script()) {
        prop_assert_eq!(script.play(|_| {}), script.play(|_| {}));
    }

    /// Rule 3, and one outcome for every connection (the driver checks that).
    #[test]
    fn timeouts_end_and_spurious_ones_are_free(script in script()) {
        script.play(|machine| {
            machine.drain();
            let now = machine.now;
            let mut steps = 0;
            while machine.ws.next_timeout().is_some_and(|due| due <= now) {
                machine.ws.handle_timeout(now);
                machine.drain();
                steps += 1;
                assert!(steps < 8, "due for ever at {now:?}: {:?}", machine.ws);
            }
            let due = machine.ws.next_timeout();
            for _ in 0..3 {
                machine.ws.handle_timeout(now);
                assert!(machine.ws.poll_output().is_none(), "a spurious call has an effect");
            }
            assert_eq!(machine.ws.next_timeout(), due);
        });
    }

    /// Spurious calls between any two inputs change no byte of the outcome.
    #[test]
    fn a_nervous_embedder_sees_the_same_connection(mut script in script()) {
        // Told of the time earlier, it would take the past for later.
        script.actions.retain(|action| !matches!(action, Action::Earlier(_)));
        let nervous = script.play(|machine| {
            for _ in 0..2 {
                // Not where it would only tell of the time earlier.
                if machine.ws.next_timeout().is_none_or(|due| due > machine.now) {
                    machine.ws.handle_timeout(machine.now);
                    machine.ws.transmitted(machine.now, 0);
                }
                let _ = (machine.ws.has_event(), machine.ws.buffered(), machine.ws.unsent().count());
            }
        });
        prop_assert_eq!(nervous, script.play(|_| {}));
    }

    /// Every connection that is left alone ends, or waits for nothing but bytes.
    #[test]
    fn time_alone_brings_every_connection_to_rest(script in script()) {
        let mut machine = script.machine();
        for action in &script.actions {
            if machine.dropped {
                break;
            }
            act(&mut machine, action);
        }
        let keepalive = script.config.ping_interval.is_some() || script.config.idle_timeout.is_some();
        machine.blocked = false;
        machine.run_until(machine.now + secs(1_000));
        if machine.outcome.is_some() {
            prop_assert!(machine.dropped, "told, but not dropped: {:?}", machine.ws);
        } else if keepalive {
            prop_assert!(!machine.ws.is_open(), "a silent peer is still connected");
        }
    }

    /// Rule 4: any bytes at all, in front of, inside and after a handshake.
    #[test]
    fn bytes_from_a_peer_never_panic(
        role in role(),
        open in any::<bool>(),
        reads in vec(vec(any::<u8>(), 0..60), 0..20),
    ) {
        let config = Config { deflate: Some(Deflate::default()), ..Config::default() };
        let mut machine = match (role, open) {
            (role, true) => Machine::upgraded(role, config),
            (Role::Server, false) => Machine::server(config),
            (Role::Client, false) => Machine::client(config),
        };
        for read in reads {
            machine.feed(read);
            machine.drain();
        }
        machine.ws.handle_eof(machine.now);
        machine.run_until(ms(60_000));
        prop_assert!(machine.dropped && machine.closes == 1);
    }
}

#[test]
fn a_message_read_into_lent_buffers_is_the_message_that_was_sent() {
    let mut numbers = Numbers(1);
    let data: Vec<u8> = (0..700_000).map(|_| numbers.next() as u8).collect();
    for role in ROLES {
        let mut bytes = frame(role, TEXT, "before");
        bytes.extend(fragment(role, BINARY, &data[..300_000]));
        bytes.extend(frame(role, PING, "between"));
        bytes.extend(frame(role, CONTINUATION, &data[300_000..]));
        bytes.extend(frame(role, TEXT, "after"));
        for size in [1_000, 40_000, 64 * 1024, 1 << 20] {
            let mut machine = Machine::upgraded(role, Config::default());
            machine.feed_cut(
                &bytes,
                &[size],
                How {
                    fills: true,
                    drains: true,
                },
            );
            machine.drain();
            assert_eq!(machine.messages.len(), 3, "{size}");
            assert!(machine.messages[1].as_bytes() == data, "{size}");
            assert_eq!(machine.fills > 0, size < 1 << 20, "{size}");
        }
    }
}
