//! Servers give back everything: memory, file descriptors and threads are at
//! the level they were at once all connections have ended, at whatever stage.
//!
//! The server runs in a child, which is this binary again and says on request
//! what it holds. `SMARTSOCKET_LEAK_CONNECTIONS` and `SMARTSOCKET_LEAK_ROUNDS`
//! say how many connections live at a time, and how often.
#![allow(missing_docs, clippy::unwrap_used)]

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use socket2::SockRef;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Tells this binary to be the child.
const SERVE: &str = "serve";
/// Rounds before the level is taken: lists grow to what they need, threads
/// that are kept are started.
const WARM_UP: usize = 3;
/// Far beyond the time the last connection takes to end.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let args: Vec<_> = env::args().skip(1).collect();
    if let [serve_it, runtime] = &args[..]
        && serve_it == SERVE
    {
        return serve(runtime);
    }
    let mut runtimes = vec!["smol", "std"];
    // Named as a filter, one runs alone.
    if let Some(named) = runtimes
        .iter()
        .find(|name| args.iter().any(|arg| arg == *name))
    {
        runtimes = vec![*named];
    }
    for runtime in &runtimes {
        everything_is_given_back(runtime);
        println!("test everything_is_given_back_by_{runtime} ... ok");
        running_out_of_descriptors_leaves_nothing(runtime);
        println!("test running_out_of_descriptors_leaves_nothing_in_{runtime} ... ok");
    }
    let passed = 2 * runtimes.len();
    println!("test result: ok. {passed} passed; 0 failed; 0 ignored");
}

fn number(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn everything_is_given_back(runtime: &str) {
    let connections = number("SMARTSOCKET_LEAK_CONNECTIONS", 1_000);
    let rounds = number("SMARTSOCKET_LEAK_ROUNDS", 10);
    let mut server = Served::start(runtime, "");
    let start = server.started();
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
            level = server.settled(start);
        } else {
            last = server.settles(level, slack);
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
    let start = server.started();
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
            level = server.settled(start);
        } else {
            server.settles(level, 16 * 1024);
        }
        // There is room again.
        drop(connection(address, 5));
    }
}

const STAGES: usize = 12;
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

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
            say(&frame(0x82, 200 + n % 1_000));
            socket
                .read_exact(&mut vec![0; 4 + 200 + n % 1_000])
                .unwrap();
        }
        // In the middle of a frame, of a message, of an echo nobody reads.
        7 => say(&frame(0x82, 60_000)[..30_000]),
        8 => say(&frame(0x01, 1_000)),
        9 => say(&frame(0x82, 300_000)),
        // Closing, read to the end or not.
        10 => say(&frame(0x88, 0)),
        _ => {
            say(&frame(0x88, 0));
            let mut end = Vec::new();
            socket.read_to_end(&mut end).unwrap();
            assert_eq!(end, [0x88, 0]);
        }
    }
    socket
}

/// A frame of a client, with a mask of zeros and zeros in it.
fn frame(first: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![first];
    match length {
        0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.resize(frame.len() + 4 + length, 0);
    frame
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    bytes: usize,
    descriptors: usize,
    threads: usize,
}

impl Level {
    /// Of this process.
    fn now() -> Self {
        // To look takes a descriptor, and there may be none left.
        let count = |directory| {
            loop {
                match fs::read_dir(directory) {
                    Ok(entries) => break entries.count(),
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            }
        };
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            bytes: HEAP.current_usage(),
        }
    }
}

struct Served {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

impl Served {
    /// Starts the child, after `limits` in the shell.
    fn start(runtime: &str, limits: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limits} exec \"$0\" \"$@\"")])
            .arg(env::current_exe().unwrap())
            .args([SERVE, runtime])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut served = Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            port: 0,
        };
        served.port = served.line().parse().unwrap();
        served
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Another address every round, so that ports that rest after a
    /// connection are not missed.
    fn address(&self, round: usize) -> SocketAddr {
        let last = u8::try_from(1 + round % 250).unwrap();
        (Ipv4Addr::new(127, 0, 0, last), self.port).into()
    }

    fn level(&mut self) -> Level {
        self.stdin.write_all(b"\n").unwrap();
        let line = self.line();
        let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        Level {
            bytes: next(),
            descriptors: next(),
            threads: next(),
        }
    }

    /// The level of a server that has had one connection.
    fn started(&mut self) -> Level {
        drop(connection(self.address(0), 5));
        self.rests(|_| true)
    }

    /// The level once all connections have ended.
    fn settled(&mut self, start: Level) -> Level {
        self.rests(|level| level.descriptors == start.descriptors)
    }

    /// Waits for a level that was reached before, or a little more memory.
    fn settles(&mut self, level: Level, slack: usize) -> Level {
        self.wait(&mut |now| {
            let bytes = now.bytes.saturating_sub(level.bytes);
            bytes <= slack
                && Level {
                    bytes: level.bytes,
                    ..now
                } == level
        })
    }

    /// The level once it is as it should be and has not changed for a while.
    fn rests(&mut self, fits: impl Fn(Level) -> bool) -> Level {
        let (mut last, mut times) = (None, 0);
        self.wait(&mut |level| {
            times = if last == Some(level) { times + 1 } else { 0 };
            last = Some(level);
            fits(level) && times == 10
        })
    }

    fn wait(&mut self, done: &mut dyn FnMut(Level) -> bool) -> Level {
        let begin = Instant::now();
        loop {
            let level = self.level();
            if done(level) {
                return level;
            }
            assert!(begin.elapsed() < PATIENCE, "still {level:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// Tells the port, and the level for every line that comes.
fn answer(address: SocketAddr) {
    println!("{}", address.port());
    thread::spawn(|| {
        let mut line = String::new();
        let stdin = io::stdin();
        while stdin.lock().read_line(&mut line).is_ok_and(|n| n > 0) {
            line.clear();
            let level = Level::now();
            println!("{} {} {}", level.bytes, level.descriptors, level.threads);
        }
    });
}
