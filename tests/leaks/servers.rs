//! Servers give back everything: memory, file descriptors and threads are at
//! the level they were at once all connections have ended, at whatever stage.
//!
//! The server runs in a child, which is this binary again and says on request
//! what it holds. `SMARTSOCKET_LEAK_CONNECTIONS` and `SMARTSOCKET_LEAK_ROUNDS`
//! say how many connections live at a time, and how often.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../support/child.rs"]
mod child;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use child::{Level, PATIENCE, Served, UPGRADE, answer, frame_of, number};

/// Rounds before the level is taken: lists grow to what they need, threads
/// that are kept are started.
const WARM_UP: usize = 3;

fn main() {
    child::main(serve, |runtime| {
        everything_is_given_back(runtime);
        println!("test everything_is_given_back_by_{runtime} ... ok");
        running_out_of_descriptors_leaves_nothing(runtime);
        println!("test running_out_of_descriptors_leaves_nothing_in_{runtime} ... ok");
        2
    });
}

fn everything_is_given_back(runtime: &str) {
    let connections = number("SMARTSOCKET_LEAK_CONNECTIONS", 1_000);
    let rounds = number("SMARTSOCKET_LEAK_ROUNDS", 10);
    let mut server = Served::start(runtime, "");
    let start = started(&mut server);
    let mut sockets = Vec::new();
    let (mut level, mut last) = (start, start);
    // The table of connections that live doubles when it has been churned
    // long enough, once; only vectors never do.
    let slack = match runtime {
        "smol" => 0,
        _ => 64 * connections,
    };
    for round in 0..WARM_UP + rounds {
        // More than will come later, so that no list has to grow then.
        let more = if round < WARM_UP { connections / 4 } else { 0 };
        for n in 0..connections + more {
            sockets.push(connection(server.address(round), round * 7 + n));
        }
        assert!(server.level().descriptors > start.descriptors + connections / 4);
        for (n, socket) in sockets.drain(..).enumerate() {
            if n % 3 == 0 {
                SockRef::from(&socket)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        }
        if round < WARM_UP {
            level = settled(&mut server, start);
        } else {
            last = settles(&mut server, level, slack);
        }
    }
    println!(
        "  {runtime}: {connections} connections, {rounds} rounds, back to {last:?} from {level:?}"
    );
}

/// Connections beyond the last descriptor are refused, one by one; those
/// before it live on, and when all are gone so is what they cost.
fn running_out_of_descriptors_leaves_nothing(runtime: &str) {
    let mut server = Served::start(runtime, "ulimit -n 40;");
    let start = started(&mut server);
    let mut level = start;
    for round in 0..WARM_UP + 5 {
        let address = server.address(round);
        let open = || {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.write_all(UPGRADE.as_bytes()).unwrap();
            socket
        };
        let mut all: Vec<_> = (0..60).map(|_| open()).collect();
        let mut answers = [0, 0];
        for socket in &mut all {
            let mut line = [0; 12];
            socket.read_exact(&mut line).unwrap();
            match &line {
                b"HTTP/1.1 101" => answers[0] += 1,
                b"HTTP/1.1 503" => answers[1] += 1,
                _ => panic!("{}", line.escape_ascii()),
            }
        }
        assert!(answers.iter().all(|count| *count > 10), "{answers:?}");
        drop(all);
        if round < WARM_UP {
            level = settled(&mut server, start);
        } else {
            settles(&mut server, level, 16 * 1024);
        }
        // There is room again.
        drop(connection(address, 5));
    }
}

const STAGES: usize = 12;
/// A connection brought to one of its stages, to be dropped there.
fn connection(address: SocketAddr, n: usize) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut say = |bytes: &[u8]| socket.write_all(bytes).unwrap();
    match n % STAGES {
        0 => return socket,
        // In the middle of the head, with one that is refused, and before the
        // answer is read.
        1 => return (say(&UPGRADE.as_bytes()[..50]), socket).1,
        2 => return (say(b"\x16\x03\x01\x02"), socket).1,
        3 => return (say(UPGRADE.as_bytes()), socket).1,
        _ => say(UPGRADE.as_bytes()),
    }
    // Nothing follows the head before we say something.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1_000];
        let n = socket.read(&mut piece).unwrap();
        assert!(n > 0, "ended inside the head");
        head.extend(&piece[..n]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let mut say = |bytes: &[u8]| socket.write_all(bytes).unwrap();
    match n % STAGES {
        4 => {}
        // After an echo.
        5 | 6 => {
            say(&zeros(0x82, 200 + n % 1_000));
            socket
                .read_exact(&mut vec![0; 4 + 200 + n % 1_000])
                .unwrap();
        }
        // In the middle of a frame, of a message, of an echo nobody reads.
        7 => say(&zeros(0x82, 60_000)[..30_000]),
        8 => say(&zeros(0x01, 1_000)),
        9 => say(&zeros(0x82, 300_000)),
        // Closing, read to the end or not.
        10 => say(&zeros(0x88, 0)),
        _ => {
            say(&zeros(0x88, 0));
            let mut end = Vec::new();
            socket.read_to_end(&mut end).unwrap();
            assert_eq!(end, [0x88, 0]);
        }
    }
    socket
}

/// A frame of a client with zeros in it.
fn zeros(first: u8, length: usize) -> Vec<u8> {
    frame_of(first, &vec![0; length])
}

/// The level of a server that has had one connection.
fn started(server: &mut Served) -> Level {
    drop(connection(server.address(0), 5));
    server.rests(|_| true)
}

/// The level once all connections have ended.
fn settled(server: &mut Served, start: Level) -> Level {
    server.rests(|level| level.descriptors == start.descriptors)
}

/// Waits for a level that was reached before, or a little more memory.
fn settles(server: &mut Served, level: Level, slack: usize) -> Level {
    server.wait(&mut |now| {
        let bytes = now.bytes.saturating_sub(level.bytes);
        bytes <= slack
            && Level {
                bytes: level.bytes,
                ..now
            } == level
    })
}

/// What the child does.
fn serve(runtime: &str) {
    match runtime {
        "smol" => {
            use smartsocket_smol::{Server, WebSocket, block_on};
            let server = Server::bind("0.0.0.0:0").unwrap().max_connections(20_000);
            answer(server.local_addr().unwrap());
            let echo = async |mut ws: WebSocket| {
                while let Some(Ok(message)) = ws.recv().await {
                    if ws.send(message).await.is_err() {
                        break;
                    }
                }
            };
            block_on(server.run(echo)).unwrap();
        }
        _ => {
            use smartsocket_std::{Server, WebSocket};
            let server = Server::bind("0.0.0.0:0").unwrap().max_connections(20_000);
            answer(server.local_addr().unwrap());
            let echo = |mut ws: WebSocket| {
                while let Some(Ok(message)) = ws.recv() {
                    if ws.send(message).is_err() {
                        break;
                    }
                }
            };
            server.run(echo).unwrap();
        }
    }
}
