//! `smartsocket torture`.

use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Ended, Program, Server, Signal, run};

/// The longest the whole suite may take, on a slow machine.
const WHOLE: Duration = Duration::from_secs(180);

fn torture(args: &[&str]) -> Ended {
    Program::start(&[&["torture", "--json"], args].concat()).wait_for(WHOLE)
}

/// The verdict of a case.
fn verdict(lines: &[Value], case: &str) -> String {
    let line = lines.iter().find(|line| line["case"] == case);
    line.expect(case)["verdict"].as_str().unwrap().into()
}

#[test]
fn our_own_server_passes_every_case() {
    let server = Server::start(&[]);
    let ended = torture(&[
        &server.url("/echo"),
        "--server-pid",
        &server.program.id().to_string(),
        // The server needs 5 s to give up a head, and a slow machine longer.
        "--patience",
        "30",
    ]);
    let lines = ended.json();
    let bad: Vec<_> = lines
        .iter()
        .filter(|line| line["verdict"] == "FAIL")
        .collect();
    assert_eq!(bad, Vec::<&Value>::new());
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let (sum, cases) = lines.split_last().unwrap();
    let count = |name: &str| sum[name].as_u64().unwrap();
    assert_eq!((count("failed"), count("skipped")), (0, 0), "{sum}");
    assert_eq!(count("passed") + count("notes"), cases.len() as u64);
    for case in cases {
        for name in ["case", "source", "expected", "seen"] {
            assert!(!case[name].as_str().unwrap().is_empty(), "{case}");
        }
    }
    // Those that run one at a time tell of the server's memory.
    let measured = cases.iter().filter(|case| case["grown_bytes"].is_u64());
    assert!(measured.count() > 200);
}

/// A server that checks nothing, trusts every length and queues every answer.
struct Gullible {
    place: String,
}

impl Gullible {
    /// Ends after so many connections.
    fn start(connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let memory = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming().take(connections) {
                let memory = Arc::clone(&memory);
                // A connection that fails is of no interest.
                thread::spawn(move || stream.map(|stream| gullible(stream, &memory)));
            }
        });
        Self { place }
    }
}

/// Bytes that all connections together may hold: enough to be seen.
const MOST: usize = 256 << 20;

fn gullible(mut stream: TcpStream, memory: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    stream.write_all(
        b"HTTP/1.1 101 Whatever\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )?;
    let mut writer = stream.try_clone()?;
    let (queue, answers) = channel::<Vec<u8>>();
    thread::spawn(move || {
        answers
            .iter()
            .try_for_each(|answer| writer.write_all(&answer))
    });
    loop {
        let [first, second] = read(&mut stream)?;
        let length = match second & 127 {
            126 => u64::from(u16::from_be_bytes(read(&mut stream)?)),
            127 => u64::from_be_bytes(read(&mut stream)?),
            short => short.into(),
        };
        let key: [u8; 4] = match second & 128 {
            0 => [0; 4],
            _ => read(&mut stream)?,
        };
        let length = usize::try_from(length).unwrap();
        if length > MOST || memory.fetch_add(length, Ordering::Relaxed) > MOST {
            return Ok(());
        }
        let mut payload = vec![1; length];
        let done = stream.read_exact(&mut payload);
        memory.fetch_sub(length, Ordering::Relaxed);
        done?;
        for four in payload.chunks_mut(4) {
            for (byte, key) in four.iter_mut().zip(key) {
                *byte ^= key;
            }
        }
        // Ping to pong; the rest as it came.
        let mut out = vec![if first & 15 == 9 { first + 1 } else { first }];
        match length {
            0..126 => out.push(length as u8),
            126..65_536 => {
                out.push(126);
                out.extend((length as u16).to_be_bytes());
            }
            _ => {
                out.push(127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        out.extend(payload);
        // Without a writer the next read fails.
        let _ = queue.send(out);
        if first & 15 == 8 {
            return Ok(());
        }
    }
}

fn read<const N: usize>(stream: &mut TcpStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_gullible_server_fails() {
    let server = Gullible::start(usize::MAX);
    let ended = torture(&[
        &server.place,
        "--patience",
        "5",
        "--only",
        "heads/no-",
        "--only",
        "heads/plain",
        "--only",
        "heads/content-taken",
        "--only",
        "frames/",
        "--only",
        "utf8/",
        "--only",
        "closing/code-",
        "--only",
        "deflate/",
        "--only",
        "slow/half-a-head",
    ]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let lines = ended.json();
    for (case, expected) in [
        ("heads/plain", "pass"),
        ("heads/no-host", "FAIL"),
        ("heads/no-key", "FAIL"),
        ("heads/no-version", "FAIL"),
        ("heads/content-taken-for-frames", "note"),
        ("frames/binary-of-65536", "pass"),
        ("frames/unmasked-text", "FAIL"),
        ("frames/unmasked-close", "pass"),
        ("frames/rsv2-on-binary", "FAIL"),
        ("frames/opcode-3", "FAIL"),
        ("frames/ping-of-126-bytes", "FAIL"),
        ("frames/fragmented-pong", "FAIL"),
        ("frames/continuation-of-nothing", "FAIL"),
        ("frames/text-inside-a-message", "FAIL"),
        ("frames/non-minimal-length/five-bytes-in-16-bits", "note"),
        ("utf8/edges", "pass"),
        ("utf8/surrogate", "FAIL"),
        ("utf8/refused-early/inside-a-frame", "note"),
        ("closing/code-1000", "pass"),
        ("closing/code-999", "note"),
        ("closing/code-1006", "FAIL"),
        ("deflate/bomb", "skipped"),
        ("slow/half-a-head", "FAIL"),
    ] {
        assert_eq!(verdict(&lines, case), expected, "{case}");
    }
    let sum = lines.last().unwrap();
    assert_eq!(sum["url"], format!("ws://{}/", server.place));
    for name in ["passed", "failed", "notes", "skipped"] {
        assert!(sum[name].as_u64().unwrap() > 0, "{sum}");
    }
}

#[test]
fn a_server_that_trusts_lengths_fails() {
    let server = Gullible::start(usize::MAX);
    let only = "frames/claimed-length/1-mib-on-200-connections";
    // Its memory is that of this process.
    let pid = std::process::id().to_string();
    let ended = torture(&[&server.place, "--only", only, "--server-pid", &pid]);
    let lines = ended.json();
    assert_eq!(verdict(&lines, only), "FAIL");
    let seen = lines[0]["seen"].as_str().unwrap();
    assert!(seen.contains("more than the 48.0 MiB it may"), "{seen}");
}

#[test]
fn a_server_that_hoards_answers_fails() {
    let server = Gullible::start(usize::MAX);
    let only = "floods/long-messages-unread";
    let ended = torture(&[&server.place, "--only", only]);
    let lines = ended.json();
    assert_eq!(verdict(&lines, only), "FAIL");
    let seen = lines[0]["seen"].as_str().unwrap();
    assert!(seen.contains("kept 128."), "{seen}");
}

#[test]
fn a_server_that_is_gone_ends_the_suite() {
    // Two connections make sure that it is an echo server and one asks for
    // compression; a case takes one more, and the good client after it another.
    let server = Gullible::start(6);
    let ended = torture(&[&server.place, "--patience", "5", "--only", "frames/"]);
    assert_eq!(ended.code, Some(1));
    let lines = ended.json();
    let (sum, cases) = lines.split_last().unwrap();
    assert_eq!(sum["failed"], 2, "{cases:?}");
    let last = &cases[1];
    let seen = last["seen"].as_str().unwrap();
    assert!(seen.contains("then a good client: "), "{seen}");
    assert_eq!(sum["skipped"], cases.len() - 2);
    assert!(ended.stderr.contains("does not serve any more"));
}

#[test]
fn the_report_for_humans_says_what_and_why() {
    let server = Gullible::start(usize::MAX);
    let ended = run(
        &[
            "torture",
            &server.place,
            "--only",
            "frames/unmasked-text",
            "--only",
            "frames/binary-of-1",
        ],
        "",
    );
    assert_eq!(ended.code, Some(1));
    let words = ended
        .text()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for text in [
        "FAIL frames/unmasked-text went on as if nothing were wrong: sent 2 messages",
        "expected: closed (RFC 6455 §5.1)",
        "pass frames/binary-of-1 echoed the message",
        "torture: 4 passed, 1 failed, 0 notes, 0 skipped",
    ] {
        assert!(words.contains(text), "{text:?} in {words}");
    }
}

#[test]
fn only_servers_of_ones_own_are_attacked() {
    // An address for documentation (RFC 5737): nobody is there.
    for target in ["ws://192.0.2.1:9/", "192.0.2.1:9", "[2001:db8::1]:9"] {
        let ended = run(&["torture", target], "");
        assert_eq!((ended.code, ended.text()), (Some(2), ""), "{target}");
        assert!(ended.stderr.contains("--i-own-this-server"), "{target}");
    }
    let own = ["--i-own-this-server", "--patience", "0.1"];
    let ended = run(&[&["torture", "192.0.2.1:9"], &own[..]].concat(), "");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("nothing to torture"),
        "{}",
        ended.stderr
    );
    assert!(
        run(&["torture", "--help"], "")
            .text()
            .contains("is an attack")
    );
}

#[test]
fn what_cannot_be_tortured_is_explained() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let unused = unused.unwrap().to_string();
    let server = Server::start(&[]);
    let echo = server.url("/echo");
    let nope = server.url("/nope");
    for (args, code, advice) in [
        (&[&*unused][..], 1, "connection refused"),
        (&[&nope], 3, "HTTP status 404"),
        (&["wss://127.0.0.1:1/"], 2, "plain ws://"),
        (&["ws://"], 2, "bad URL"),
        (&[&echo, "--only", "nothing/"], 2, "--list"),
        (&[&echo, "--server-pid", "999999999"], 1, "no such process"),
        (&[], 2, "<URL>"),
    ] {
        let ended = run(&[&["torture"], args].concat(), "");
        assert_eq!((ended.code, ended.text()), (Some(code), ""), "{args:?}");
        assert!(ended.stderr.contains(advice), "{args:?} {}", ended.stderr);
    }
    let list = run(&["torture", "--list", "--only", "utf8/"], "");
    assert_eq!(list.code, Some(0));
    assert!(list.text().starts_with("utf8/") && list.text().contains("RFC 3629"));
}

#[test]
fn ctrl_c_ends_it() {
    let server = Server::start(&[]);
    let program = Program::start(&["torture", &server.url("/echo"), "--only", "slow/"]);
    // It waits for the server, which has 5 s.
    thread::sleep(Duration::from_millis(500));
    program.signal(Signal::INT);
    assert_eq!(program.wait().code, Some(130));
}
