//! What one turn of the machine costs.
//!
//! ```text
//! cargo bench -p smartsocket-core --bench turns                # ns per turn, of all cases
//! cargo bench -p smartsocket-core --bench turns -- echo-20 100 # 100 turns of one, for a profiler
//! ```
//!
//! `tests/instructions/run.sh` counts the instructions of each case under
//! callgrind, which a busy machine does not change, and guards them.
#![allow(missing_docs)]

#[path = "turns/hub.rs"]
mod hub;

use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use smartsocket_core::crypt::Suite;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::http::UpgradeRequest;
use smartsocket_core::websocket::{Event, Negotiated, Output, Role};
use smartsocket_core::{Config, Message, Seed, Tick, WebSocket};

/// Prepares a case and gives back its turn.
type Case = (&'static str, fn() -> Box<dyn FnMut()>);

const CASES: &[Case] = &[
    ("receive-20", || receive(message(20))),
    ("receive-512", || receive(message(512))),
    ("receive-16384", || receive(message(16 * 1024))),
    ("receive-1048576", || receive(message(1024 * 1024))),
    ("receive-text-20", || receive(text(20))),
    ("receive-text-16384", || receive(text(16 * 1024))),
    ("send-20", || send(Role::Server, message(20))),
    ("send-16384", || send(Role::Server, message(16 * 1024))),
    ("send-masked-20", || send(Role::Client, message(20))),
    ("echo-20", || echo(1, message(20), None)),
    ("echo-20-by-16", || echo(16, message(20), None)),
    ("echo-16384", || echo(1, message(16 * 1024), None)),
    ("echo-deflate-4096", || {
        echo(1, json(4_096), Some(Deflate::default()))
    }),
    ("upgrade", upgrade),
    ("ping", ping),
    ("hub-event-unheard", hub::unheard),
    ("hub-event-heard", hub::heard),
    ("hub-event-asked", hub::asked),
    ("hub-room-1", || hub::room(1, 1, 44, None)),
    ("hub-room-500", || hub::room(500, 1, 44, None)),
    ("hub-room-500-by-8", || hub::room(500, 8, 44, None)),
    ("hub-room-500-cbc-64", || {
        hub::room(500, 1, 64, hub::each(Suite::A256CbcHs512))
    }),
    ("hub-room-500-gcm-64", || {
        hub::room(500, 1, 64, hub::each(Suite::A256Gcm))
    }),
    ("hub-room-500-group-64", || {
        hub::room(500, 1, 64, hub::group())
    }),
    ("hub-room-500-1024", || hub::room(500, 1, 1_024, None)),
    ("hub-room-500-cbc-1024", || {
        hub::room(500, 1, 1_024, hub::each(Suite::A256CbcHs512))
    }),
    ("hub-room-500-gcm-1024", || {
        hub::room(500, 1, 1_024, hub::each(Suite::A256Gcm))
    }),
    ("hub-room-500-group-1024", || {
        hub::room(500, 1, 1_024, hub::group())
    }),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match &args[..] {
        [] => {
            for (name, case) in CASES {
                println!("{name:24} {:10.1} ns", nanoseconds(case));
            }
        }
        [list] if list == "--list" => {
            for (name, _) in CASES {
                println!("{name}");
            }
        }
        [name, turns] => {
            let Some((_, case)) = CASES.iter().find(|(known, _)| known == name) else {
                eprintln!("no case {name}; --list shows them");
                return ExitCode::from(2);
            };
            let Ok(turns) = turns.parse::<u64>() else {
                eprintln!("{turns} is no number");
                return ExitCode::from(2);
            };
            let mut turn = case();
            for _ in 0..turns {
                turn();
            }
        }
        _ => {
            eprintln!("usage: turns [CASE TURNS | --list]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// The median of nine rounds of about 20 ms.
fn nanoseconds(case: &fn() -> Box<dyn FnMut()>) -> f64 {
    let mut turn = case();
    let mut time = |turns: u64| {
        let start = Instant::now();
        for _ in 0..turns {
            turn();
        }
        start.elapsed().as_nanos() as f64 / turns as f64
    };
    let turns = (20e6 / time(50)) as u64 + 1;
    let mut rounds: Vec<f64> = (0..9).map(|_| time(turns)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn message(len: usize) -> Message {
    (0..len).map(|i| (i * 7) as u8).collect::<Vec<u8>>().into()
}

fn text(len: usize) -> Message {
    "abcdefgh".repeat(len / 8 + 1)[..len].into()
}

fn json(len: usize) -> Message {
    let trade = r#"{"event":"trade","symbol":"BTCUSD","price":64123.5,"size":0.25,"side":"buy"},"#;
    trade.repeat(len / trade.len() + 1)[..len].into()
}

fn open(role: Role, deflate: Option<Deflate>) -> WebSocket {
    let deflate_agreed = deflate.is_some();
    let config = Config {
        deflate,
        max_message: 64 << 20,
        max_queued_bytes: 64 << 20,
        fragment_size: 64 << 20,
        ..Config::default()
    };
    let mut agreed = Negotiated::default();
    if deflate_agreed {
        agreed.deflate = Some(Default::default());
    }
    let mut ws = WebSocket::upgraded(role, agreed, config, Seed::new([7; 32]), Tick::ZERO);
    while ws.poll_output().is_some() {}
    ws
}

/// The bytes with which the other role sends these messages.
fn frames(from: Role, messages: &[Message], deflate: Option<Deflate>) -> Vec<u8> {
    let mut ws = open(from, deflate);
    for message in messages {
        ws.send(Tick::ZERO, message.clone()).expect("room");
    }
    let mut bytes = Vec::new();
    written(&mut ws, &mut bytes);
    bytes
}

/// Takes all that is unsent, as a socket would.
fn written(ws: &mut WebSocket, into: &mut Vec<u8>) {
    loop {
        while ws.poll_output().is_some() {}
        let before = into.len();
        for bytes in ws.unsent() {
            into.extend_from_slice(bytes);
        }
        if into.len() == before {
            return;
        }
        ws.transmitted(Tick::ZERO, into.len() - before);
    }
}

/// One frame in, an owned message out.
fn receive(message: Message) -> Box<dyn FnMut()> {
    let bytes = frames(Role::Client, &[message], None);
    let mut ws = open(Role::Server, None);
    let mut read = bytes.clone();
    Box::new(move || {
        // Stands for the read, which a socket would do.
        read.copy_from_slice(&bytes);
        ws.handle_bytes(Tick::ZERO, &mut read);
        while let Some(output) = ws.poll_output() {
            let _ = black_box(output);
        }
    })
}

/// One message in, its frame taken.
fn send(role: Role, message: Message) -> Box<dyn FnMut()> {
    let mut ws = open(role, None);
    Box::new(move || {
        ws.send(Tick::ZERO, message.clone()).expect("room");
        take(&mut ws);
    })
}

/// What an echo server does for `count` messages that came in one read.
fn echo(count: usize, message: Message, deflate: Option<Deflate>) -> Box<dyn FnMut()> {
    let bytes = frames(Role::Client, &vec![message; count], deflate.clone());
    let mut ws = open(Role::Server, deflate);
    let mut read = bytes.clone();
    Box::new(move || {
        read.copy_from_slice(&bytes);
        ws.handle_bytes(Tick::ZERO, &mut read);
        while let Some(output) = ws.poll_output() {
            if let Output::Event(Event::Message(message)) = output {
                ws.send(Tick::ZERO, message).expect("room");
            }
        }
        take(&mut ws);
    })
}

fn ping() -> Box<dyn FnMut()> {
    let mut client = open(Role::Client, None);
    client
        .ping(Tick::ZERO, &b"are you there"[..])
        .expect("open");
    let mut bytes = Vec::new();
    written(&mut client, &mut bytes);
    let mut ws = open(Role::Server, None);
    let mut read = bytes.clone();
    Box::new(move || {
        read.copy_from_slice(&bytes);
        ws.handle_bytes(Tick::ZERO, &mut read);
        take(&mut ws);
    })
}

fn take(ws: &mut WebSocket) {
    while ws.poll_output().is_some() {}
    let sent: usize = ws.unsent().map(|bytes| black_box(bytes).len()).sum();
    ws.transmitted(Tick::ZERO, sent);
}

/// A server's whole life up to `Open`.
fn upgrade() -> Box<dyn FnMut()> {
    let request = UpgradeRequest::new("ws://127.0.0.1:9001/chat").expect("a URL");
    let seed = Seed::new([1; 32]);
    let mut client =
        WebSocket::client(request, Config::default(), seed.clone(), Tick::ZERO).expect("plain");
    let mut bytes = Vec::new();
    written(&mut client, &mut bytes);
    let config = std::sync::Arc::new(Config::default());
    let mut read = bytes.clone();
    Box::new(move || {
        read.copy_from_slice(&bytes);
        let mut ws = WebSocket::server(config.clone(), seed.clone(), Tick::ZERO);
        ws.handle_bytes(Tick::ZERO, &mut read);
        take(&mut ws);
        assert!(ws.is_open());
    })
}
