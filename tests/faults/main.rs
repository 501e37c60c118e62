//! Bad company: readers that are slow or never read, storms of resets, requests
//! that come byte by byte, crowds, no descriptors left. Others are served all
//! the while, nothing is lost for them, and memory stays within what the limits
//! say.
//!
//! The server runs in a child. `SMARTSOCKET_IDLE` and `SMARTSOCKET_ACTIVE` say
//! how large the crowd is.
#![allow(missing_docs, clippy::unwrap_used)]

mod app;
#[path = "../support/child.rs"]
mod child;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use smartsocket_core::Message;
use smartsocket_std::WebSocket;
use socket2::SockRef;

use app::{HANDSHAKE, OUTBOX};
use child::{Level, PATIENCE, Served, UPGRADE, frame_of, number};

type Fault = fn(&str);

fn main() {
    let faults: [(&str, Fault); 6] = [
        ("slow_and_never_readers", slow_and_never_readers),
        ("answers_nobody_reads", answers_nobody_reads),
        ("storms_of_resets", storms_of_resets),
        ("requests_byte_by_byte", requests_byte_by_byte),
        ("a_crowd", a_crowd),
        ("no_descriptors_left", no_descriptors_left),
    ];
    child::main(app::serve, |runtime| {
        for (name, fault) in faults {
            fault(runtime);
            println!("test {name}_on_{runtime} ... ok");
        }
        faults.len()
    });
}

fn connect(address: SocketAddr) -> WebSocket {
    WebSocket::connect(&format!("ws://{address}/")).unwrap()
}

fn say(client: &mut WebSocket, text: String) {
    client.send(text).unwrap();
}

fn hear(client: &mut WebSocket) -> String {
    loop {
        match client.recv_timeout(PATIENCE) {
            Some(Ok(Message::Text(text))) if text.starts_with(r#"{"event":"ping""#) => {}
            Some(Ok(Message::Text(text))) => return text.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

/// An event that comes back, and how long that takes.
fn echo(client: &mut WebSocket, n: usize) -> Duration {
    let begin = Instant::now();
    say(
        client,
        format!(r#"{{"event":"echo","data":{n},"ackId":"e{n}"}}"#),
    );
    let answer = hear(client);
    assert!(
        answer.contains(&format!(r#""e{n}""#)) && answer.contains(&n.to_string()),
        "{answer}"
    );
    begin.elapsed()
}

/// A client with nothing around it, whose buffer for what comes is small.
fn bare(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    SockRef::from(&socket)
        .set_recv_buffer_size(16 * 1024)
        .unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        head.escape_ascii()
    );
    socket
}

fn event(text: &str) -> Vec<u8> {
    frame_of(0x81, text.as_bytes())
}

/// One figure of the server.
fn figure(address: SocketAddr, name: &str) -> u64 {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request =
        "GET /metrics/prometheus HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
        .parse()
        .unwrap()
}

fn wait_for(address: SocketAddr, name: &str, value: u64) {
    let begin = Instant::now();
    while figure(address, name) != value {
        assert!(begin.elapsed() < PATIENCE, "{name} is not {value}");
        thread::sleep(Duration::from_millis(20));
    }
}

const OPEN: &str = "rnode_server_websocket_connections_active ";
const TOO_SLOW: &str = "smartsocket_messages_dropped_total{cause=\"outbox\"} ";

/// A room with members that read, read slowly and do not read at all: those
/// that read miss nothing, the others are let go.
fn slow_and_never_readers(runtime: &str) {
    const NEVER: usize = 20;
    const READERS: usize = 10;
    const MESSAGES: usize = 20_000;
    // So many messages those that read may be behind, which is far from filling
    // their outbox; the system may let them wait as long as it likes.
    const BEHIND: usize = 64;
    let mut server = Served::start(runtime, "");
    let address = server.address(0);
    let progress: Arc<[AtomicUsize]> = (0..READERS).map(|_| AtomicUsize::new(0)).collect();
    let join = r#"{"event":"join","data":"room","ackId":1}"#;
    let filler = "x".repeat(1_000);

    let never: Vec<_> = (0..NEVER)
        .map(|_| {
            let mut socket = bare(address);
            socket.write_all(&event(join)).unwrap();
            socket
        })
        .collect();
    let mut slow = bare(address);
    slow.write_all(&event(join)).unwrap();
    let (ready, are_ready) = mpsc::channel();
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let ready = ready.clone();
            let progress = Arc::clone(&progress);
            thread::spawn(move || {
                let mut client = connect(address);
                say(&mut client, join.into());
                hear(&mut client);
                ready.send(()).unwrap();
                for n in 0..MESSAGES {
                    let said = hear(&mut client);
                    assert!(said.contains(&format!(r#""n":{n},"#)), "not {n}: {said}");
                    progress[reader].store(n + 1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    (0..READERS).for_each(|_| are_ready.recv().unwrap());

    // Reads all the time, but hardly anything.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = slow.read(&mut [0; 100]);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let _done = Done(&done);
        let mut speaker = connect(address);
        say(&mut speaker, join.into());
        hear(&mut speaker);
        let before = server.level().bytes;
        server.peak();
        let mut heard = 0;
        for n in 0..MESSAGES {
            say(
                &mut speaker,
                format!(r#"{{"event":"say","data":{{"n":{n},"f":"{filler}"}}}}"#),
            );
            if n >= heard + 8 {
                hear(&mut speaker);
                heard += 1;
            }
            let begin = Instant::now();
            while progress
                .iter()
                .any(|of| n > of.load(Ordering::Relaxed) + BEHIND)
            {
                assert!(begin.elapsed() < PATIENCE, "a reader does not hear {n}");
                thread::yield_now();
            }
        }
        (heard..MESSAGES).for_each(|_| drop(hear(&mut speaker)));
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
        let held = server.peak().saturating_sub(before);
        // Each: its outbox, what is ready to be written, and a little.
        let allowed = (NEVER + 1 + READERS + 1) * (OUTBOX + 2 * 64 * 1024 + 16 * 1024);
        assert!(held <= allowed, "{held} bytes of {allowed}");
        // The speaker alone is left: the readers have gone by themselves.
        wait_for(address, OPEN, 1);
        let dropped = figure(address, TOO_SLOW);
        assert!(dropped > 0);
        println!(
            "  {runtime}: {held} bytes held of {allowed} allowed, {dropped} messages to {} that did not read",
            NEVER + 1
        );
    });
    drop(never);
}

/// Says so when it is dropped, by a panic too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client that asks and does not read is not read from, and loses nothing.
fn answers_nobody_reads(runtime: &str) {
    let mut server = Served::start(runtime, "");
    let address = server.address(0);
    let mut other = connect(address);
    let mut asker = bare(address);
    asker
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    echo(&mut other, 0);
    let before = server.level().bytes;
    server.peak();
    let filler = "x".repeat(4_000);
    let question = |n: usize| {
        event(&format!(
            r#"{{"event":"echo","data":"{filler}","ackId":"{n}"}}"#
        ))
    };
    let (mut asked, mut sent) = (0, 0);
    let mut rest = Vec::new();
    // Until it takes no more; 100 MB are more than any buffer between us.
    while asked < 25_000 {
        let question = question(asked);
        match asker.write(&question) {
            Ok(n) => {
                asked += 1;
                sent += n;
                if n < question.len() {
                    rest = question[n..].to_vec();
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(asked < 25_000, "all was read from one who does not read");
    echo(&mut other, 1);
    let held = server.peak().saturating_sub(before);
    // Answers, what was read before that was noticed, and what is on the wire.
    let allowed = OUTBOX + 256 * 1024 + 4 * 64 * 1024;
    assert!(held <= allowed, "{held} bytes of {allowed}");
    println!("  {runtime}: not read from after {sent} bytes, {held} bytes held");

    // Now it reads: everything is there, in order.
    let mut reading = asker.try_clone().unwrap();
    let reader = thread::spawn(move || {
        for n in 0..asked {
            let mut head = [0; 4];
            reading.read_exact(&mut head).unwrap();
            assert_eq!(head[..2], [0x81, 126]);
            let mut answer = vec![0; u16::from_be_bytes([head[2], head[3]]).into()];
            reading.read_exact(&mut answer).unwrap();
            let id = format!(r#""{n}""#);
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.contains(&id), "no {id} in {answer}");
        }
    });
    asker.set_write_timeout(Some(PATIENCE)).unwrap();
    asker.write_all(&rest).unwrap();
    reader.join().unwrap();
}

/// Connections are reset at every stage, all the time.
fn storms_of_resets(runtime: &str) {
    const STORMERS: usize = 4;
    const EACH: usize = 500;
    let mut server = Served::start(runtime, "");
    let mut client = connect(server.address(0));
    let level = server.rests(|_| true);
    let worst = thread::scope(|scope| {
        let address = |n| server.address(1 + n);
        let storm: Vec<_> = (0..STORMERS)
            .map(|n| {
                let address = address(n);
                scope.spawn(move || {
                    for n in 0..EACH {
                        let mut socket = TcpStream::connect(address).unwrap();
                        let all = [
                            UPGRADE.as_bytes(),
                            &event(r#"{"event":"join","data":"room"}"#),
                            &event(r#"{"event":"say","data":"boo"}"#),
                            &frame_of(0x82, &[0; 1_000]),
                        ]
                        .concat();
                        let part = all.len() * (n % 20) / 19;
                        let _ = socket.write_all(&all[..part]);
                        if n % 3 == 0 {
                            let _ = socket.read(&mut [0; 200]);
                        }
                        SockRef::from(&socket)
                            .set_linger(Some(Duration::ZERO))
                            .unwrap();
                    }
                })
            })
            .collect();
        let (mut worst, mut n) = (Duration::ZERO, 0);
        while storm.iter().any(|one| !one.is_finished()) {
            worst = worst.max(echo(&mut client, n));
            n += 1;
        }
        println!("  {runtime}: {n} echoes during {} resets", STORMERS * EACH);
        worst
    });
    wait_for(server.address(0), OPEN, 1);
    let after = server.rests(|now| now.descriptors <= level.descriptors + 1);
    assert!(
        after.bytes < level.bytes + 2 * 1024 * 1024,
        "{level:?} {after:?}"
    );
    println!("  {runtime}: worst answer {worst:?}; {level:?} before, {after:?} after");
}

/// Requests that come byte by byte are ended in time, each at its own.
fn requests_byte_by_byte(runtime: &str) {
    const SLOW: usize = 300;
    let server = Served::start(runtime, "");
    let address = server.address(0);
    let mut client = connect(address);
    let mut slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            Some(socket)
        })
        .collect();
    let begin = Instant::now();
    let mut at = 0;
    while slow.iter().any(Option::is_some) {
        assert!(begin.elapsed() < HANDSHAKE + PATIENCE, "still reading");
        // Never the whole of it.
        let byte = UPGRADE.as_bytes()[at.min(UPGRADE.len() - 3)];
        at += 1;
        for socket in &mut slow {
            // The answer, then the end, or a reset by what was sent since.
            if let Some(open) = socket
                && open.write_all(&[byte]).is_err()
            {
                *socket = None;
            }
        }
        echo(&mut client, at);
        thread::sleep(Duration::from_millis(50));
    }
    assert!(begin.elapsed() >= HANDSHAKE);
    wait_for(address, OPEN, 1);
    println!("  {runtime}: {SLOW} ended after {:?}", begin.elapsed());
}

/// Many that are silent, and some that are not.
fn a_crowd(runtime: &str) {
    const ROUNDS: usize = 20;
    let (silent, active) = (
        number("SMARTSOCKET_IDLE", 1_000),
        number("SMARTSOCKET_ACTIVE", 100),
    );
    let mut server = Served::start(runtime, "");
    let level = server.rests(|_| true);
    let idle: Vec<_> = (0..silent)
        .map(|n| bare(server.address(n / 1_000)))
        .collect();
    let settled = server.rests(|_| true);
    let each = settled.bytes.saturating_sub(level.bytes) / silent;

    let mut speakers: Vec<_> = (0..active).map(|_| bare(server.address(100))).collect();
    let mut times = Vec::new();
    let mut buffer = [0; 200];
    for round in 0..ROUNDS {
        let question = event(&format!(
            r#"{{"event":"echo","data":{round},"ackId":"r{round}"}}"#
        ));
        let begins: Vec<_> = speakers
            .iter_mut()
            .map(|socket| {
                socket.write_all(&question).unwrap();
                Instant::now()
            })
            .collect();
        for (socket, begin) in speakers.iter_mut().zip(begins) {
            let n = socket.read(&mut buffer).unwrap();
            let answer = String::from_utf8_lossy(&buffer[..n]);
            assert!(answer.contains(&format!(r#""r{round}""#)), "{answer}");
            times.push(begin.elapsed());
        }
    }
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1_000];
    println!(
        "  {runtime}: {silent} idle at {each} bytes of heap each; {active} active: p50 {:?}, p99 {:?}, p99.9 {:?}",
        at(500),
        at(990),
        at(999)
    );
    // A thread has a buffer of its own to read into.
    let buffer = if runtime == "std" { 16 * 1024 } else { 0 };
    assert!(each < 4 * 1024 + buffer, "{each} bytes each");
    let open = u64::try_from(silent + active).unwrap();
    wait_for(server.address(101), OPEN, open);
    drop((idle, speakers));
    wait_for(server.address(101), OPEN, 0);
    server.rests(|now: Level| now.descriptors <= level.descriptors + 1);
}

/// Without descriptors, those who are there are served, and later others are.
fn no_descriptors_left(runtime: &str) {
    let server = Served::start(runtime, "ulimit -n 40;");
    let mut client = connect(server.address(0));
    for round in 1..6 {
        let address = server.address(round);
        let mut all: Vec<_> = (0..60)
            .map(|_| {
                let mut socket = TcpStream::connect(address).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.write_all(UPGRADE.as_bytes()).unwrap();
                socket
            })
            .collect();
        let mut answers = [0, 0];
        for (n, socket) in all.iter_mut().enumerate() {
            let mut line = [0; 12];
            socket.read_exact(&mut line).unwrap();
            match &line {
                b"HTTP/1.1 101" => answers[0] += 1,
                b"HTTP/1.1 503" => answers[1] += 1,
                _ => panic!("{}", line.escape_ascii()),
            }
            echo(&mut client, n);
        }
        assert!(answers.iter().all(|count| *count > 10), "{answers:?}");
        drop(all);
        wait_for(address, OPEN, 1);
    }
}
