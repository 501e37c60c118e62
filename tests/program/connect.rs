//! `smartsocket connect`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use crate::support::{Directory, Program, Server, Signal, command, run};

/// A server for one connection that reads a head and answers with these bytes.
fn answer(bytes: &'static [u8]) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = read_head(&mut stream);
        stream.write_all(bytes).unwrap();
        head
    });
    (url, served)
}

fn read_head(stream: &mut TcpStream) -> String {
    stream
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A port where nothing listens.
fn dead_place() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn lines_go_out_and_messages_come_back_as_lines() {
    let server = Server::start(&[]);
    let ended = run(&["connect", &server.url("/echo")], "hi\nüber\r\n\nlast");
    assert_eq!((ended.code, ended.text()), (Some(0), "hi\nüber\n\nlast\n"));
    assert_eq!(ended.stderr, "");
    // Without a scheme.
    let ended = run(&["connect", &format!("{}/echo", server.place)], "hi\n");
    assert_eq!((ended.code, ended.text()), (Some(0), "hi\n"));
}

#[test]
fn a_long_input_is_answered_to_its_end() {
    let server = Server::start(&[]);
    let input: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    let ended = run(&["connect", &server.url("/echo")], &input);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.text() == input);
}

#[test]
fn binary_data_pass_unchanged() {
    let server = Server::start(&[]);
    let input: Vec<u8> = (0..1_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    for options in [&["-b"][..], &["-b", "--deflate"]] {
        let url = server.url("/echo");
        let ended = run(&[&["connect", &url], options].concat(), &input);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout == input);
    }
}

#[test]
fn json_tells_everything_in_order() {
    let server = Server::start(&[]);
    let ended = run(&["connect", &server.url("/echo"), "--json"], "a \"b\"\n");
    let events = ended.json();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["open", "message", "close"]);
    assert_eq!(events[0]["address"], server.place);
    assert_eq!(events[1]["kind"], "text");
    assert_eq!(events[1]["data"], "a \"b\"");
    assert_eq!(events[2]["code"], 1000);
    assert_eq!(events[2]["meaning"], "normal");
    assert!(
        events
            .iter()
            .all(|event| event["time"].as_str().unwrap().ends_with('Z'))
    );
}

#[test]
fn one_message_is_enough_with_1() {
    let server = Server::start(&[]);
    let client = run(&["connect", &server.url("/echo"), "-1"], "a\nb\n");
    assert_eq!((client.code, client.text()), (Some(0), "a\n"));
}

#[test]
fn stdin_may_end_before_the_connection() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let client = Program::start(&["connect", &url, "--keep-open", "-v"]);
    client.note("* connected");
    server.program.signal(Signal::TERM);
    let ended = client.end();
    assert_eq!(ended.code, Some(0));
    assert!(
        ended
            .stderr
            .contains("1001 going away (server is stopping)"),
        "{}",
        ended.stderr
    );
}

#[test]
fn pings_show_the_round_trip() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let client = Program::start(&["connect", &url, "-v", "--ping-interval", "0.05"]);
    let pong = client.note("pong received, round trip");
    assert!(pong.ends_with(" ms"), "{pong}");
    assert_eq!(client.end().code, Some(0));
}

#[test]
fn ctrl_c_closes_and_ends_with_130() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let mut client = Program::start(&["connect", &url, "--json"]);
    client.write(b"hi\n");
    client.line();
    client.line();
    client.signal(Signal::INT);
    let close = client.line();
    assert!(close.contains("\"code\":1000"), "{close}");
    assert_eq!(client.wait().code, Some(130));
}

#[test]
fn failures_to_connect_end_with_1_and_tell_what_to_do() {
    let place = dead_place();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent
        .local_addr()
        .map(|at| (at.to_string(), silent))
        .unwrap();
    for (args, expected) in [
        (
            &["connect", &place][..],
            format!("error: nothing listens at {place} (connection refused)\n"),
        ),
        (
            &["connect", &silent.0, "--timeout", "0.2"],
            format!(
                "error: {} did not answer within 0.2 s: check host and port, or wait longer with --timeout\n",
                silent.0
            ),
        ),
        (
            &["connect", "no-such-host.invalid"],
            "error: the host no-such-host.invalid has no address: check its spelling".into(),
        ),
    ] {
        let ended = run(args, "hi\n");
        assert_eq!((ended.code, ended.text()), (Some(1), ""));
        assert!(ended.stderr.starts_with(&expected), "{}", ended.stderr);
    }
}

#[test]
fn bad_urls_and_headers_are_wrong_usage_and_not_repeated() {
    for (args, expected) in [
        (
            &["connect", "ftp://canary/"][..],
            "does not start with ws:// or wss://",
        ),
        (&["connect", "ws://canary:port/"], "port of the url"),
        (&["connect", "ws://h/#canary"], "fragment"),
        (&["connect", "h", "-H", "canary"], "'Name: value'"),
        (
            &["connect", "h", "-H", "A: canary\r\nB: c"],
            "control character",
        ),
        (
            &["connect", "h", "-H", "Sec-WebSocket-Key: canary"],
            "the handshake writes it",
        ),
        (&["connect", "h", "-s", "canary protocol"], "not a token"),
    ] {
        let ended = run(args, "");
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(
            ended.stderr.contains(expected),
            "{args:?}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    }
}

#[test]
fn an_http_refusal_ends_with_3_and_shows_why() {
    let (url, served) = answer(
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 27\r\n\r\n{\"error\":\"\x1b[31mno token\"}\n\n\n",
    );
    let ended = run(&["connect", &url, "--json"], "hi\n");
    served.join().unwrap();
    assert_eq!(ended.code, Some(3));
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert!(lines[0].contains("HTTP status 401") && lines[0].contains("-H 'Authorization"));
    assert_eq!(lines[1], "  {\"error\":\"\\u{1b}[31mno token\"}");
    assert_eq!(ended.json()[0]["type"], "error");
    assert_eq!(ended.json()[0]["exit_code"], 3);
}

#[test]
fn other_protocols_are_told_apart() {
    for (bytes, expected) in [
        (
            &b"\x15\x03\x03\x00\x02\x02\x32"[..],
            "speaks TLS: use wss:// instead of ws://",
        ),
        (b"SSH-2.0-x\r\n", "does not answer in HTTP"),
        (b"", "ended the connection during the handshake"),
        (
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "is no WebSocket server",
        ),
    ] {
        let (url, served) = answer(bytes);
        let ended = run(&["connect", &url], "hi\n");
        served.join().unwrap();
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}

#[test]
fn input_that_is_not_text_is_refused() {
    let server = Server::start(&[]);
    let ended = run(&["connect", &server.url("/echo")], b"ok\n\xff\xfe\n");
    assert_eq!((ended.code, ended.text()), (Some(1), "ok\n"));
    assert!(
        ended.stderr.contains("not UTF-8: send it with --binary"),
        "{}",
        ended.stderr
    );
}

#[test]
fn secrets_never_show() {
    const CANARY: &str = "canary-5f2b";
    // A server that repeats what it was sent.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let head = read_head(&mut stream);
            let answer = format!(
                "HTTP/1.1 401 {CANARY}\r\nX-Seen: {CANARY}\r\nSet-Cookie: a={CANARY}\r\nContent-Length: 11\r\n\r\n{CANARY}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            assert_eq!(head.matches(CANARY).count(), 4, "{head}");
        }
    });
    let url = format!("ws://{place}/?token={CANARY}");
    let authorization = format!("Authorization: Bearer {CANARY}");
    let key = format!("X-Api-Key: {CANARY}");
    let options = ["-H", &authorization, "-H", &key, "-s", CANARY, "-vv"];
    let with_debug = |args: &[&str]| {
        Program::spawn(
            command(args)
                .args(options)
                .env("DEBUG", "*")
                .env("RUST_LOG", "trace"),
        )
    };
    for args in [&["connect", &url][..], &["connect", &url, "--json"]] {
        let ended = with_debug(args).end();
        assert_eq!(ended.code, Some(3));
        assert!(
            ended.stderr.contains("> Authorization: ***"),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
        assert!(!ended.text().contains(CANARY), "{}", ended.text());
    }
    served.join().unwrap();

    // Our own server, on both sides.
    let mut serve = command(&["serve", "--port", "0", "--log", "trace"]);
    let server = Server::spawn(serve.env("DEBUG", "*"));
    let credentials = format!("ws://user:{CANARY}@{}/echo?token={CANARY}", server.place);
    let mut client = with_debug(&["connect", &credentials]);
    client.write(b"hi\n");
    assert_eq!(client.line(), "hi");
    let ended = client.end();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
    run(
        &[
            "connect",
            &format!("ws://{}/{}?{CANARY}", server.place, "nope"),
        ],
        "",
    );
    server.program.signal(Signal::TERM);
    let ended = server.program.wait();
    assert!(ended.stderr.contains("[debug]"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let server = Server::start(&[]);
    let directory = Directory::new("leaves");
    let input = directory.file("input", &"line\n".repeat(50_000));
    let script = format!(
        "'{}' connect {} <'{input}' | head -n 1",
        env!("CARGO_BIN_EXE_smartsocket"),
        server.url("/echo")
    );
    let ended = Program::spawn(std::process::Command::new("sh").args(["-c", &script])).end();
    assert_eq!((ended.text(), &*ended.stderr), ("line\n", ""));
}

#[test]
fn debug_says_what_smartsocket_says() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let mut client = Program::spawn(command(&["connect", &url]).env("DEBUG", "smartsocket:client"));
    client.write(b"hello\n");
    assert_eq!(client.line(), "hello");
    let ended = client.end();
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            &*format!("[smartsocket] [info] Connecting to {url}"),
            "[smartsocket] [debug] WebSocket connection opened",
            "[smartsocket] [info] Connected to server",
            "[smartsocket] [debug] Sent message (5 bytes)",
        ]
    );
}
