//! `Config::max_memory` against a counting allocator: every buffer of a
//! connection is driven to its limit, and the formula is never below what was
//! held, nor far above where all limits are reached at once.
//!
//! A buffer that is moved counts twice while it is.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use peak_alloc::PeakAlloc;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::http::{HeadLimits, UpgradeRequest};
use smartsocket_core::websocket::{Accept, Event, Output, Role};
use smartsocket_core::{CloseCode, Config, Refused, Tick, WebSocket};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Tests run one after the other on the only thread there is (`harness =
/// false`), so that each sees its own allocations and no others.
fn main() {
    let tests: [(&str, fn()); 5] = [
        (
            "no_connection_holds_more_than_the_formula_says",
            no_connection_holds_more_than_the_formula_says,
        ),
        (
            "the_formula_is_close_where_every_limit_is_reached",
            the_formula_is_close_where_every_limit_is_reached,
        ),
        (
            "the_body_of_a_request_is_within_the_formula",
            the_body_of_a_request_is_within_the_formula,
        ),
        ("the_formula_saturates", the_formula_saturates),
        ("tls_adds_what_it_is_said_to", tls_adds_what_it_is_said_to),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    println!(
        "test result: ok. {} passed; 0 failed; 0 ignored",
        tests.len()
    );
}

const KIB: usize = 1024;
const MIB: usize = 1 << 20;

fn ceiling() -> Config {
    Config {
        ping_interval: None,
        write_timeout: None,
        handshake_timeout: None,
        ..Config::default()
    }
}

fn deflating(takeover: bool) -> Option<Deflate> {
    Some(Deflate {
        server_no_context_takeover: !takeover,
        client_no_context_takeover: !takeover,
        ..Deflate::default()
    })
}

fn matrix() -> Vec<(&'static str, Config)> {
    let small = || Config {
        max_message: 4 * KIB,
        max_queued_bytes: 4 * KIB,
        fragment_size: 100,
        head: HeadLimits {
            head_bytes: KIB,
            headers: 8,
            target: 100,
        },
        ..ceiling()
    };
    vec![
        ("default", ceiling()),
        ("small", small()),
        (
            "small, streaming",
            Config {
                streaming: true,
                control_events: true,
                ..small()
            },
        ),
        (
            "small, deflate",
            Config {
                deflate: deflating(false),
                ..small()
            },
        ),
        (
            "16 MiB",
            Config {
                max_message: 16 * MIB,
                control_events: true,
                ..ceiling()
            },
        ),
        (
            "1-byte fragments",
            Config {
                max_queued_bytes: 256 * KIB,
                fragment_size: 1,
                ..ceiling()
            },
        ),
        (
            "streaming",
            Config {
                streaming: true,
                ..ceiling()
            },
        ),
        (
            "decide",
            Config {
                decide: true,
                ..ceiling()
            },
        ),
        (
            "deflate",
            Config {
                deflate: deflating(false),
                ..ceiling()
            },
        ),
        (
            "deflate with takeover, streaming",
            Config {
                deflate: deflating(true),
                streaming: true,
                ..ceiling()
            },
        ),
        (
            "deflate with takeover, 16 MiB",
            Config {
                max_message: 16 * MIB,
                deflate: deflating(true),
                control_events: true,
                ..ceiling()
            },
        ),
    ]
}

fn no_connection_holds_more_than_the_formula_says() {
    for (name, config) in matrix() {
        for role in ROLES {
            for read in [KIB, 64 * KIB] {
                let most = [false, true].map(|tiny| drive(&config, role, read, tiny));
                for (held, formula) in most {
                    assert!(
                        held <= formula,
                        "{name}, {role:?}, reads of {read}: {held} of {formula}"
                    );
                }
                let ((held, formula), (other, _)) = (most[0], most[1]);
                println!(
                    "  {name}, {role:?}, reads of {read}: {} held of {formula}",
                    held.max(other)
                );
            }
        }
    }
}

fn the_formula_is_close_where_every_limit_is_reached() {
    let plain = Config {
        max_message: 16 * MIB,
        control_events: true,
        ..ceiling()
    };
    let compressed = Config {
        deflate: deflating(true),
        ..plain.clone()
    };
    for role in ROLES {
        for (config, read) in [(&plain, 64 * KIB), (&compressed, 4 * KIB)] {
            let (held, formula) = drive(config, role, read, true);
            assert!(
                held <= formula && formula <= held + held / 4,
                "{role:?}: {held} of {formula}"
            );
        }
    }
}

fn the_body_of_a_request_is_within_the_formula() {
    for (length, read) in [(MIB, KIB), (MIB, 64 * KIB), (MIB - 1, 64 * KIB), (MIB, MIB)] {
        let config = Arc::new(Config {
            decide: true,
            max_body: MIB,
            // So that the opening is what counts.
            max_message: KIB,
            max_queued_bytes: KIB,
            ..ceiling()
        });
        let formula = config.max_memory(Role::Server, read);
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        let mut head = head.into_bytes();
        let mut buffer = vec![b'x'; read];
        HEAP.reset_peak_usage();
        let start = HEAP.current_usage();
        let mut ws = Box::new(machine(&config, Role::Server));
        ws.handle_bytes(ms(0), &mut head);
        let held = HEAP.peak_usage() - start;
        assert!(held < 64 * KIB, "{held} for what has not come");
        let mut left = length;
        while left > 0 {
            let n = left.min(read);
            ws.handle_bytes(ms(0), &mut buffer[..n]);
            left -= n;
        }
        // As much behind it as is kept until the answer.
        for _ in 0..128 * KIB / read.min(128 * KIB) {
            ws.handle_bytes(ms(0), &mut buffer[..read.min(128 * KIB)]);
        }
        let Some(Output::Event(Event::Request(ticket))) = ws.poll_output() else {
            panic!("no request");
        };
        assert_eq!(ticket.request().body().len(), length);
        let held = HEAP.peak_usage() - start;
        println!("  a body of {length} in reads of {read}: {held} held of {formula}");
        assert!(length <= held && held <= formula, "{held} of {formula}");
    }
}

fn the_formula_saturates() {
    let config = Config {
        max_message: usize::MAX,
        max_queued_bytes: usize::MAX,
        fragment_size: 0,
        deflate: Some(Deflate {
            max_ratio: u32::MAX,
            ratio_floor: usize::MAX,
            ..Deflate::default()
        }),
        head: HeadLimits {
            head_bytes: usize::MAX,
            headers: usize::MAX,
            target: usize::MAX,
        },
        decide: true,
        max_body: usize::MAX,
        ..Config::default()
    };
    for role in ROLES {
        assert_eq!(config.max_memory(role, usize::MAX), usize::MAX);
    }
}

/// One connection at its limits; what it held at most, and what it may hold.
fn drive(config: &Config, role: Role, read: usize, tiny: bool) -> (usize, usize) {
    let formula = config.max_memory(role, read);
    let config = Arc::new(config.clone());
    let mut input = Input::new(&config, role, read);
    HEAP.reset_peak_usage();
    let start = HEAP.current_usage();
    // In a box, so that the machine itself counts.
    let mut ws = Box::new(machine(&config, role));
    shake_hands(&mut ws, &mut input);
    assert!(ws.is_open());
    fill_queue(&mut ws, &mut input, tiny);
    while let Some(n) = input.next() {
        ws.handle_bytes(ms(0), &mut input.buffer[..n]);
        while let Some(output) = ws.poll_output() {
            if let Output::Event(Event::Closed(closed)) = output {
                panic!("{closed}");
            }
        }
    }
    assert!(ws.is_open());
    // Half a ping, and then the end with all it has to say.
    let half = &mut frame(role, PING, [0; 125])[..100];
    ws.handle_bytes(ms(0), half);
    ws.close(ms(0), CloseCode::NORMAL, &"x".repeat(123));
    discard(&mut ws);
    let violation = &mut [0xff; 40];
    ws.handle_bytes(ms(0), violation);
    discard(&mut ws);
    (HEAP.peak_usage() - start - input.outside, formula)
}

fn machine(config: &Arc<Config>, role: Role) -> WebSocket {
    match role {
        Role::Server => WebSocket::server(config.clone(), seed(), Tick::ZERO),
        Role::Client => {
            let request = UpgradeRequest::new("ws://h/").unwrap();
            WebSocket::client(request, config.clone(), seed(), Tick::ZERO).unwrap()
        }
    }
}

/// Takes all outputs and drops them.
fn discard(ws: &mut WebSocket) {
    while ws.poll_output().is_some() {}
}

fn send_all(ws: &mut WebSocket, but: usize) {
    loop {
        discard(ws);
        let n: usize = ws.unsent().map(|bytes| bytes.len()).sum();
        let last = n == ws.buffered();
        ws.transmitted(ms(0), if last { n - but } else { n });
        if last {
            break discard(ws);
        }
    }
}

/// A handshake whose head is as large as it may be, byte by byte.
fn shake_hands(ws: &mut WebSocket, input: &mut Input) {
    discard(ws);
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let no_takeover = "; server_no_context_takeover; client_no_context_takeover\r\n";
    let extension = match &input.config.deflate {
        None => String::new(),
        Some(deflate) if deflate.server_no_context_takeover => {
            extension.replace("\r\n", no_takeover)
        }
        Some(_) => extension.into(),
    };
    let head = match input.role {
        Role::Server => REQUEST.replace("\r\n\r\n", &format!("\r\n{extension}\r\n")),
        Role::Client => {
            let sent: Vec<u8> = ws.unsent().flat_map(|bytes| bytes.to_vec()).collect();
            let sent = String::from_utf8(sent).unwrap();
            let key = sent.split("Sec-WebSocket-Key: ").nth(1).unwrap();
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n{extension}\r\n",
                accept(&key[..24])
            )
        }
    };
    if input.role == Role::Client {
        send_all(ws, 0);
    }
    let mut head = head.strip_suffix("\r\n").unwrap().to_owned();
    let limits = input.config.head;
    while head.matches("\r\n").count() < limits.headers {
        head += "a: \r\n";
    }
    head += "b: ";
    head += &"x".repeat(limits.head_bytes - head.len() - 4);
    head += "\r\n\r\n";
    let mut head = head.into_bytes();
    assert_eq!(head.len(), limits.head_bytes);
    // Until now the test has held more than the machine.
    input.outside = head.capacity();
    HEAP.reset_peak_usage();
    for byte in &mut head {
        ws.handle_bytes(ms(0), std::slice::from_mut(byte));
    }
    if input.config.decide && input.role == Role::Server {
        let Some(Output::Event(Event::Request(ticket))) = ws.poll_output() else {
            panic!("no request");
        };
        // Empty messages, as many as are kept until the answer.
        let early = frame(input.role, BINARY, "").repeat(128 * KIB / 6);
        let mut piece = early.clone();
        HEAP.reset_peak_usage();
        input.outside += 2 * early.len();
        for piece in piece.chunks_mut(input.buffer.len()) {
            ws.handle_bytes(ms(0), piece);
            discard(ws);
        }
        ws.decide(ms(0), ticket.accept(Accept::default()));
        discard(ws);
        input.outside -= 2 * early.len();
    } else {
        discard(ws);
    }
    drop(head);
    send_all(ws, 0);
    input.outside = 0;
}

/// A message as long as the queue takes, all of it sent but a byte; behind it
/// as much again.
fn fill_queue(ws: &mut WebSocket, input: &mut Input, tiny: bool) {
    let most = input.config.max_queued_bytes;
    let mut numbers = Numbers(1);
    let mut noise = || -> Vec<u8> { (0..most).map(|_| numbers.next() as u8).collect() };
    ws.send(ms(0), noise()).unwrap();
    send_all(ws, 1);
    let room = most - ws.buffered();
    if !tiny {
        let mut message = noise();
        message.truncate(room);
        message.shrink_to_fit();
        ws.send(ms(0), message).unwrap();
    }
    loop {
        match ws.send(ms(0), vec![0]) {
            Ok(()) => discard(ws),
            Err(refused) => break assert_eq!(refused.refused, Refused::Full),
        }
    }
    ws.ping(ms(0), vec![0; 125]).unwrap();
    discard(ws);
    // More pings than are answered.
    for _ in 0..2_100 {
        let ping = &mut [0; 6][..];
        let ping = match input.role {
            Role::Server => ping,
            Role::Client => &mut ping[..2],
        };
        ping[0] = 0x89;
        ping[1] = if input.role == Role::Server { 0x80 } else { 0 };
        ws.handle_bytes(ms(0), ping);
        discard(ws);
    }
}

/// What comes in, a read at a time, made outside of what is counted.
struct Input {
    config: Arc<Config>,
    role: Role,
    buffer: Vec<u8>,
    reads: Vec<Vec<u8>>,
    at: usize,
    /// Bytes the test holds that no machine does.
    outside: usize,
}

impl Input {
    fn new(config: &Arc<Config>, role: Role, read: usize) -> Self {
        let plain = plain(config, role, read);
        let compressed = match config.deflate {
            None => Vec::new(),
            Some(_) => {
                let mut reads = long_bomb(config, role, read);
                reads.push(bombs(config, role, read));
                reads
            }
        };
        let reads = [plain, compressed].concat();
        assert!(reads.iter().all(|bytes| bytes.len() <= read));
        Self {
            config: config.clone(),
            role,
            buffer: vec![0; read],
            reads,
            at: 0,
            outside: 0,
        }
    }

    /// Puts the next read into the buffer.
    fn next(&mut self) -> Option<usize> {
        let read = self.reads.get(self.at)?;
        self.at += 1;
        self.buffer[..read.len()].copy_from_slice(read);
        Some(read.len())
    }
}

/// The steps in which a message grows to `most`, such that its buffer is two
/// bytes short of that at the end and must be moved once more.
fn steps(most: usize, step: usize) -> Vec<usize> {
    let mut capacity = most;
    while capacity / 2 > 2 * step.min(4 * KIB) && (capacity / 2).is_multiple_of(2) {
        capacity /= 2;
    }
    capacity -= 2;
    let mut len = (capacity / 2).min(step);
    let mut steps = vec![len];
    while len < most - 2 {
        let next = if len == capacity {
            capacity = 2 * (capacity + 1);
            1
        } else {
            (capacity - len).min(step)
        };
        steps.push(next);
        len += next;
    }
    assert_eq!(len, most - 2);
    steps
}

/// Events of one read, as many as fit, and what is left of it.
fn pings(role: Role, room: usize) -> Vec<u8> {
    let ping = frame(role, PING, "");
    ping.repeat(room / ping.len())
}

/// The longest message, whose last bytes come behind as many pings as one
/// read holds; and a read of empty messages.
fn plain(config: &Config, role: Role, read: usize) -> Vec<Vec<u8>> {
    let most = config.max_message;
    let first = Raw::to(role, false, BINARY, "").claim(most as u64 - 2);
    let mut reads = vec![first.bytes()];
    // Zeros are nothing new under any mask but must be masked all the same.
    reads.extend(steps(most, read).into_iter().map(|n| vec![0; n]));
    let last = frame(role, CONTINUATION, [0; 2]);
    reads.push([pings(role, read - last.len()), last].concat());
    let empty = frame(role, BINARY, "");
    reads.push(empty.repeat(read / empty.len()));
    let one = frame(role, BINARY, "x");
    reads.push(one.repeat(read / one.len()));
    let part = fragment(role, CONTINUATION, "x");
    let begin = fragment(role, TEXT, "");
    let fragments = (read - begin.len()) / part.len();
    let fragments = fragments.min(config.max_fragments as usize - 2);
    reads.push([begin, part.repeat(fragments)].concat());
    reads.push(frame(role, CONTINUATION, ""));
    reads
}

/// DEFLATE data that say what they hold byte by byte (RFC 1951 §3.2.4).
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for block in data.chunks(65_535) {
        let len = block.len() as u16;
        out.push(0);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(block);
    }
    out
}

/// A read of messages that each inflate as far as the ratio lets them.
fn bombs(config: &Config, role: Role, read: usize) -> Vec<u8> {
    let most = config.max_message.min(64 * KIB);
    let bombs = [most, most / 64].map(|n| compressed(role, BINARY, &vec![0; n]));
    let bomb = bombs.iter().find(|bomb| bomb.len() <= read).unwrap();
    bomb.repeat(read / bomb.len())
}

/// The longest compressed message, whose last read inflates to a lot.
fn long_bomb(config: &Config, role: Role, read: usize) -> Vec<Vec<u8>> {
    let most = config.max_message;
    let end = deflated(&vec![0; (most / 2).min(read * 900)]);
    let tail = (most / 2).min(read * 900);
    let mut payload = Vec::new();
    let mut left = most - tail;
    for n in steps(most, read - 5) {
        let n = n.min(left);
        if n == 0 {
            break;
        }
        payload.push(stored(&vec![7; n]));
        left -= n;
    }
    let length: usize = payload.iter().map(Vec::len).sum();
    let first = Raw::to(role, false, BINARY, "").rsv(4).claim(length as u64);
    let mut reads = vec![first.bytes()];
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut at = 0;
    for mut piece in payload {
        if role == Role::Server {
            for byte in &mut piece {
                *byte ^= key[at % 4];
                at += 1;
            }
        }
        reads.push(piece);
    }
    let last = frame(role, CONTINUATION, end);
    reads.push([pings(role, read - last.len()), last].concat());
    reads
}

#[cfg(not(feature = "tls"))]
fn tls_adds_what_it_is_said_to() {}

/// Both ends of one connection, which count together.
#[cfg(feature = "tls")]
fn tls_adds_what_it_is_said_to() {
    use smartsocket_core::tls::{ClientTls, ServerTls};

    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, secret) = (key.cert.pem(), key.signing_key.serialize_pem());
    let config = Config {
        server_tls: Some(ServerTls::from_pem(chain.as_bytes(), secret.as_bytes()).unwrap()),
        client_tls: Some(
            ClientTls::builder()
                .root_pem(chain.as_bytes())
                .unwrap()
                .build()
                .unwrap(),
        ),
        ..ceiling()
    };
    let read = 64 * KIB;
    let extra = 64 * KIB + 2 * config.fragment_size + 2 * read;
    let formula: usize = ROLES
        .map(|role| config.max_memory(role, read) + extra)
        .iter()
        .sum();
    let config = Arc::new(config);
    let mut buffer = vec![0; read];
    let mut idle = 0;
    // The first connection pays for what all share.
    for round in 0..3 {
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        let mut server = WebSocket::server(config.clone(), seed(), Tick::ZERO);
        let request = UpgradeRequest::new("wss://localhost/").unwrap();
        let mut client = WebSocket::client(request, config.clone(), seed(), Tick::ZERO).unwrap();
        let mut pass = |from: &mut WebSocket, to: &mut WebSocket| {
            discard(from);
            let mut moved = false;
            loop {
                let Some(bytes) = from.unsent().next().cloned() else {
                    break moved;
                };
                let n = bytes.len().min(read);
                buffer[..n].copy_from_slice(&bytes[..n]);
                from.transmitted(ms(0), n);
                to.handle_bytes(ms(0), &mut buffer[..n]);
                discard(to);
                moved = true;
            }
        };
        while pass(&mut client, &mut server) || pass(&mut server, &mut client) {}
        assert!(server.is_open() && client.is_open());
        idle = HEAP.current_usage() - before;
        assert!(round == 0 || idle < 2 * 64 * KIB, "{idle}");
        for data in [vec![7; MIB], vec![7; 30]] {
            while server.send(ms(0), data.clone()).is_ok() {
                discard(&mut server);
            }
            while client.send(ms(0), data.clone()).is_ok() {
                discard(&mut client);
            }
            while pass(&mut client, &mut server) || pass(&mut server, &mut client) {}
        }
        let held = HEAP.peak_usage() - before;
        println!("  both ends of wss://: {held} held of {formula}, {idle} when idle");
        assert!(round == 0 || held <= formula);
    }
    assert!(idle > 0);
}
