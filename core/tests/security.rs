//! One test per known attack or published bug that a WebSocket endpoint has
//! to survive. Each names what happened to somebody else.
//!
//! Bounds on memory are in `memory.rs` and `work.rs`, because they need a
//! counting allocator.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::http::Origins;
use smartsocket_core::websocket::{Accept, Role};
use smartsocket_core::{CloseCode, Config, Seed};

fn compressing() -> Config {
    Config {
        deflate: Some(Deflate::default()),
        ..Config::default()
    }
}

/// A request with these header lines in place of the sample's.
fn request(edit: impl Fn(String) -> String) -> String {
    edit(REQUEST.into())
}

/// The sample request with one more header line.
fn with(line: &str) -> String {
    request(|head| head.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n")))
}

/// The status a server answers this head with, and whether it opened.
fn answer(config: Config, bytes: impl AsRef<[u8]>) -> (u16, bool) {
    let mut server = Machine::server(config);
    server.feed(bytes);
    server.drain();
    let sent = String::from_utf8_lossy(&server.sent).into_owned();
    let status = sent
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, server.ws.is_open())
}

// The handshake

/// RUSTSEC-2023-0065, CVE-2023-43669 (tungstenite): the head was parsed from
/// its start again at every read.
#[test]
fn trickling_head() {
    // The reader's own tests count its steps; here is that a head may trickle.
    let padding = format!("X-Padding: {}", "x".repeat(7_000));
    let mut server = Machine::server(Config::default());
    for byte in with(&padding).bytes() {
        server.feed([byte]);
    }
    assert_eq!(server.turn()[0], "open");
}

/// RUSTSEC-2023-0065, too: a head without an end.
#[test]
fn endless_head() {
    for (filler, status) in [("x", 431), ("X: y\r\n", 431)] {
        let mut server = Machine::server(Config::default());
        server.feed("GET / HTTP/1.1\r\nX: ");
        if filler.len() > 1 {
            server.feed("\r\n");
        }
        for _ in 0..10_000 {
            server.feed(filler);
            if server.ws.has_event() {
                break;
            }
        }
        let received = server.ws.stats().received_bytes;
        assert!(received <= 8_193, "{received} bytes of head taken");
        assert!(server.turn()[1].starts_with(&format!("-> HTTP/1.1 {status}")));
    }
}

/// CVE-2024-37890 (ws): beyond the most headers the `Upgrade` went missing
/// and its absence was not expected.
#[test]
fn many_headers_around_the_upgrade() {
    for count in 0..200 {
        for before in [true, false] {
            let filler: String = (0..count).map(|n| format!("X-{n}: y\r\n")).collect();
            let head = request(|head| {
                if before {
                    head.replace("Upgrade: w", &format!("{filler}Upgrade: w"))
                } else {
                    head.replace("\r\n\r\n", &format!("\r\n{filler}\r\n"))
                }
            });
            let expected = if count + 5 <= 64 {
                (101, true)
            } else {
                (431, false)
            };
            assert_eq!(answer(Config::default(), head), expected, "{count}");
        }
    }
}

/// CVE-2021-32640 (ws), CVE-2020-7662 and -7663 (websocket-extensions):
/// regular expressions that backtracked over list headers.
#[test]
fn list_headers_made_to_backtrack() {
    for value in [
        ";".repeat(3_000),
        ", ".repeat(1_500),
        format!("a;b=\"{}", "\\\\".repeat(1_500)),
        format!("a;{}", "b=\"\\\"\";".repeat(400)),
        " \t".repeat(1_500),
        "\"".repeat(3_000),
    ] {
        for name in [
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Connection",
        ] {
            let (status, _) = answer(compressing(), with(&format!("{name}: {value}")));
            assert!(matches!(status, 101 | 400), "{name}: {status}");
        }
    }
}

/// CVE-2026-2229 (undici): a window size out of range crashed the client.
#[test]
fn window_bits_out_of_range() {
    for (value, fine) in [
        ("8", true),
        ("9", true),
        ("15", true),
        ("7", false),
        ("16", false),
        ("0", false),
        ("08", false),
        ("010", false),
        ("-9", false),
        ("+9", false),
        ("9.0", false),
        ("999999999999999999999", false),
        ("", false),
        ("x", false),
        ("1000", false),
    ] {
        let mut client = Machine::client(compressing());
        client.drain();
        client.turn();
        let line = format!(
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             server_max_window_bits={value}\r\n"
        );
        let answer = client.answer(&line);
        let lines = client.on(answer);
        assert_eq!(lines[0] == "open", fine, "{value}: {lines:?}");
    }
    for params in [
        "server_no_context_takeover; server_no_context_takeover",
        "server_no_context_takeover; constructor",
        "server_no_context_takeover=1",
        "client_no_context_takeover; server_no_context_takeover, permessage-deflate",
    ] {
        let mut client = Machine::client(compressing());
        client.drain();
        let answer = client.answer(&format!(
            "Sec-WebSocket-Extensions: permessage-deflate; {params}\r\n"
        ));
        client.feed(answer);
        assert!(
            client.turn()[1].contains("Handshake: Extensions"),
            "{params}"
        );
    }
}

/// CVE-2026-1527 (undici), RUSTSEC-2024-0009 (trillium): header values that
/// bring headers of their own.
#[test]
fn header_injection() {
    let mut server = Machine::server(Config {
        decide: true,
        ..Config::default()
    });
    server.on(with("Sec-WebSocket-Protocol: chat"));
    let accept = Accept {
        subprotocol: Some("chat\r\nSet-Cookie: a=b".into()),
        ..Accept::default()
    };
    let decision = server.tickets.pop().unwrap().accept(accept);
    server.ws.decide(server.now, decision);
    server.drain();
    let sent = String::from_utf8(server.sent.clone()).unwrap();
    assert!(
        !sent.contains("Set-Cookie") && !sent.contains("-Protocol"),
        "{sent}"
    );
    let config = Config {
        subprotocols: vec!["chat\r\nSet-Cookie: a=b".into()],
        ..Config::default()
    };
    let mut server = Machine::server(config);
    server.on(with("Sec-WebSocket-Protocol: chat"));
    assert!(!String::from_utf8_lossy(&server.sent).contains("Set-Cookie"));
}

/// Request smuggling through proxies that believe an upgrade they have not
/// seen succeed (0ang3el): whatever follows a rejected head is not parsed.
#[test]
fn nothing_is_parsed_after_a_rejected_head() {
    let hello = frame(Role::Server, TEXT, "smuggled");
    for (head, status) in [
        (
            request(|head| head.replace("Version: 13", "Version: 7")),
            426,
        ),
        (
            request(|head| head.replace("Upgrade: websocket\r\n", "")),
            426,
        ),
        (
            request(|head| head.replace("Connection: Upgrade", "Connection: close")),
            400,
        ),
        (request(|head| head.replace("GET", "POST")), 405),
        (request(|head| head.replace("HTTP/1.1", "HTTP/1.0")), 505),
        (
            request(|head| head.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")),
            400,
        ),
        (with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (with("Host: other.example.com"), 400),
        (with("Content-Length: 5"), 400),
        (with("Transfer-Encoding: chunked"), 400),
        (with(" folded"), 400),
        (with("X : y"), 400),
        (with("X: a\0b"), 400),
        (request(|head| head.replace("\r\n", "\n")), 400),
    ] {
        for follow in [hello.clone(), REQUEST.as_bytes().to_vec()] {
            for cut in [0, 1] {
                let mut server = Machine::server(Config::default());
                server.feed(&head.as_bytes()[..head.len() - cut]);
                server.feed([&head.as_bytes()[head.len() - cut..], &follow].concat());
                server.feed(&follow);
                let lines = server.turn();
                assert_eq!(server.messages, []);
                let status_line = format!("-> HTTP/1.1 {status} ");
                let answers = lines
                    .iter()
                    .filter(|line| line.starts_with("-> HTTP"))
                    .count();
                assert!(lines[1].starts_with(&status_line), "{head}: {lines:?}");
                assert_eq!(answers, 1, "{lines:?}");
                let sent = String::from_utf8_lossy(&server.sent).into_owned();
                assert!(sent.contains("\r\nConnection: close\r\n"), "{sent}");
                if status == 426 {
                    assert!(sent.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{sent}");
                    assert!(sent.contains("\r\nUpgrade: websocket\r\n"), "{sent}");
                }
            }
        }
    }
}

/// Bytes after the head belong to the frames, wherever the reads are cut.
#[test]
fn early_frames_in_the_same_read_as_the_head() {
    let bytes = [REQUEST.as_bytes(), &frame(Role::Server, TEXT, "early")].concat();
    for cut in 0..bytes.len() {
        let mut server = Machine::server(Config::default());
        server.feed(&bytes[..cut]);
        server.feed(&bytes[cut..]);
        assert_eq!(
            server.turn(),
            [
                "open",
                "text \"early\"",
                "-> HTTP/1.1 101 Switching Protocols"
            ],
            "cut at {cut}"
        );
    }
}

/// A client believes nothing behind a head before the head is verified.
#[test]
fn a_tail_behind_an_unverified_accept() {
    let tail = frame(Role::Client, TEXT, "trust me");
    for edit in [
        |head: String| head.replace("Accept: ", "Accept: x"),
        |head: String| head.replace("Sec-WebSocket-Accept", "X-Accept"),
        |head: String| head.replace("Upgrade: websocket", "Upgrade: h2c"),
        |head: String| head.replace("Connection: Upgrade", "Connection: close"),
        |head: String| {
            let line = head
                .lines()
                .find(|line| line.contains("Accept"))
                .unwrap()
                .to_string();
            head.replace(&line, &format!("{line}\r\n{line}"))
        },
    ] {
        let mut client = Machine::client(Config::default());
        client.drain();
        let head = edit(client.answer(""));
        client.feed([head.as_bytes(), &tail].concat());
        client.feed(&tail);
        let lines = client.turn();
        assert!(
            lines[1].starts_with("closed 1006 \"\" by Handshake"),
            "{lines:?}"
        );
        assert_eq!(lines[2..], ["drop"]);
    }
}

/// A cached 101: the answer to one key is no answer to the next.
#[test]
fn an_accept_of_another_connection() {
    let config = Config::default();
    let mut first = Machine::client(config.clone());
    first.drain();
    let request = smartsocket_core::http::UpgradeRequest::new("ws://server.example.com/").unwrap();
    let ws =
        smartsocket_core::WebSocket::client(request, config, Seed::new([8; 32]), ms(0)).unwrap();
    let mut second = Machine::new(Role::Client, ws, false);
    second.drain();
    assert_ne!(first.sent, second.sent, "every connection draws a key");
    assert!(second.on(first.answer(""))[1].contains("Handshake: Accept"));
}

/// Cross-site WebSocket hijacking: a page of somebody else speaks with the
/// cookies of the user.
#[test]
fn cross_site_websocket_hijacking() {
    for (origin, allowed) in [
        ("http://server.example.com", true),
        ("https://server.example.com", true),
        ("HTTP://SERVER.example.com:80", true),
        ("http://evil.com", false),
        ("http://server.example.com.evil.com", false),
        ("http://evilserver.example.com", false),
        ("http://example.com", false),
        ("http://server.example.com:8080", false),
        ("http://server.example.com@evil.com", false),
        ("http://server.example.com/path", false),
        ("null", false),
        ("", false),
        ("file://", false),
    ] {
        let expected = if allowed { (101, true) } else { (403, false) };
        let head = with(&format!("Origin: {origin}"));
        assert_eq!(answer(Config::default(), &head), expected, "{origin}");
        // A page that is not welcome is not asked about either.
        let mut server = Machine::server(Config {
            decide: true,
            ..Config::default()
        });
        server.on(&head);
        assert_eq!(server.tickets.len(), usize::from(allowed), "{origin}");
    }
    let twice = with("Origin: http://server.example.com\r\nOrigin: http://evil.com");
    assert_eq!(answer(Config::default(), twice), (403, false));
    let list = Config {
        origins: Origins::List(vec!["https://app.example.com".into()]),
        ..Config::default()
    };
    assert_eq!(
        answer(list.clone(), with("Origin: https://app.example.com")),
        (101, true)
    );
    assert_eq!(
        answer(list.clone(), with("Origin: http://app.example.com")),
        (403, false)
    );
    assert_eq!(
        answer(list, with("Origin: http://server.example.com")),
        (403, false)
    );
}

/// Credentials sent on to wherever a redirect pointed (ws 2022).
#[test]
fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let mut client = Machine::client(Config::default());
        client.drain();
        let sent = client.sent.len();
        client.feed(format!(
            "HTTP/1.1 {status} Moved\r\nLocation: ws://evil.com/\r\nContent-Length: 0\r\n\r\n"
        ));
        let lines = client.turn();
        assert_eq!(
            lines[1..],
            [
                format!("closed 1006 \"\" by Refused {status} \"\""),
                "drop".into()
            ]
        );
        assert_eq!(client.sent.len(), sent);
    }
}

/// Slowloris: one byte every 900 ms keeps nothing open.
#[test]
fn slowloris() {
    let mut server = Machine::server(Config::default());
    let mut bytes = REQUEST.bytes();
    while server.outcome.is_none() {
        let next = server.now + std::time::Duration::from_millis(900);
        let lines = server.run_until(next);
        if let Some(first) = lines.first() {
            assert_eq!(first, "5.000 closed 1006 \"\" by Handshake timeout");
        }
        server.feed([bytes.next().unwrap()]);
    }
    assert!(server.shut);
}

/// A TLS ClientHello, an SSH banner, line noise: no need to wait for the
/// deadline.
#[test]
fn garbage_first_bytes() {
    for garbage in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"\0",
        b"\r\n\r\n",
        b" GET",
        b"\xff\xfe",
        b"{\"a\":1}",
        b"GET\0",
    ] {
        let mut server = Machine::server(Config::default());
        server.feed(garbage);
        let lines = server.turn();
        assert!(
            lines[0].starts_with("closed 1006 \"\" by Head: byte 0x"),
            "{lines:?}"
        );
        assert_eq!(lines[1], "-> HTTP/1.1 400 Bad Request");
        let mut client = Machine::client(Config::default());
        client.drain();
        client.feed(garbage);
        assert_eq!(client.turn().last().unwrap(), "drop");
    }
}

/// CVE-2025-11234 (qemu): a connection that went away during the handshake
/// was used after it was freed.
#[test]
fn a_connection_that_goes_away_at_every_step_of_the_handshake() {
    for cut in 0..=REQUEST.len() {
        for deciding in [false, true] {
            let config = Config {
                decide: deciding,
                ..Config::default()
            };
            let mut server = Machine::server(config);
            server.feed(&REQUEST[..cut]);
            server.ws.handle_eof(server.now);
            server.drain();
            if let Some(ticket) = server.tickets.pop() {
                server
                    .ws
                    .decide(server.now, ticket.accept(Accept::default()));
            }
            server.run_until(ms(60_000));
            assert!(server.dropped && server.closes == 1, "{cut}");
        }
    }
}

// Frames

/// CVE-2020-27813 (gorilla), CVE-2020-13935 (Tomcat), CVE-2026-1528 (undici),
/// CVE-2026-43678 (swift-nio), CVE-2026-54466 (websocket-driver): lengths
/// beyond 2^63 overflowed, looped or trapped. `tables.rs` has all lengths.
#[test]
fn frame_length_beyond_two_to_the_63() {
    for role in ROLES {
        for length in [1 << 63, (1 << 63) + 1, u64::MAX, u64::MAX - 13] {
            for opcode in [TEXT, BINARY] {
                let header = Raw::to(role, true, opcode, "").claim(length).bytes();
                let lines = Machine::upgraded(role, Config::default()).on(header);
                assert_eq!(
                    lines[0],
                    "closed 1002 \"frame length not in its shortest form\" by Violation"
                );
            }
        }
    }
}

/// The same lengths as the sum of fragments: the total must not wrap.
#[test]
fn fragment_lengths_that_add_up_beyond_64_bits() {
    for role in ROLES {
        let config = Config {
            max_message: usize::MAX,
            ..Config::default()
        };
        let mut machine = Machine::upgraded(role, config);
        machine.feed(fragment(role, BINARY, "a"));
        machine.feed(
            Raw::to(role, false, CONTINUATION, "")
                .claim((1 << 63) - 1)
                .bytes(),
        );
        machine.feed(vec![0; 1_000]);
        assert_eq!(machine.turn(), [""; 0], "within what the embedder allowed");
        let mut machine = Machine::upgraded(
            role,
            Config {
                max_message: 1_000,
                ..Config::default()
            },
        );
        machine.feed(fragment(role, BINARY, "a"));
        let end = Raw::to(role, true, CONTINUATION, "")
            .claim((1 << 63) - 1)
            .bytes();
        assert!(machine.on(end)[0].starts_with("closed 1009"));
    }
}

/// CVE-2026-12151 (undici), ws 8.21.0: fragments without content were not
/// counted, so a message never ended and never grew.
#[test]
fn empty_fragments_without_end() {
    for role in ROLES {
        for payload in ["", "x"] {
            let mut machine = Machine::upgraded(role, Config::default());
            machine.feed(fragment(role, TEXT, payload));
            let more = fragment(role, CONTINUATION, payload);
            let mut fragments = 1;
            while machine.outcome.is_none() {
                machine.feed(&more);
                machine.drain();
                fragments += 1;
            }
            assert_eq!(fragments, 4_097);
            assert_eq!(
                machine.turn()[0],
                "closed 1008 \"message of more than 4096 fragments\" by Violation"
            );
        }
    }
}

/// RFC 6455 §5.1 and §10.3: a client that does not mask lets a page write
/// bytes of its choice through a proxy.
#[test]
fn unmasked_client_and_masked_server() {
    for role in ROLES {
        let wrong = frame(other(role), TEXT, "x");
        for cut in 0..wrong.len() {
            let mut machine = Machine::upgraded(role, Config::default());
            machine.feed(&wrong[..cut]);
            machine.feed(&wrong[cut..]);
            let lines = machine.turn();
            let why = match role {
                Role::Server => "client frame without a mask",
                Role::Client => "server frame with a mask",
            };
            assert_eq!(lines[0], format!("closed 1002 {why:?} by Violation"));
        }
        // Two bytes are enough to know.
        let mut machine = Machine::upgraded(role, Config::default());
        machine.feed(
            &Raw {
                mask: (role == Role::Client).then_some([0; 4]),
                ..Raw::to(role, true, BINARY, "").claim(1 << 40)
            }
            .bytes()[..2],
        );
        assert!(machine.turn()[0].starts_with("closed 1002"));
    }
}

/// CVE-2022-21676 (engine.io): a frame with wrong bits raised an error that
/// nobody handled. Here errors are outcomes; `tables.rs` has every state.
#[test]
fn reserved_bits() {
    for role in ROLES {
        for rsv in 1..8 {
            let lines =
                Machine::upgraded(role, Config::default())
                    .on(Raw::to(role, true, TEXT, "x").rsv(rsv).bytes());
            assert_eq!(lines[0], "closed 1002 \"reserved bits set\" by Violation");
            assert_eq!(lines[1], "-> close 1002 \"reserved bits set\"");
        }
    }
}

/// RFC 6455 §5.4, §5.5: control frames that are long or cut, continuations
/// of nothing, messages inside messages.
#[test]
fn control_frames_and_fragments_out_of_place() {
    for role in ROLES {
        for (bytes, why) in [
            (
                frame(role, PING, [0; 126]),
                "control frame longer than 125 bytes",
            ),
            (fragment(role, PING, ""), "fragmented control frame"),
            (fragment(role, CLOSE, ""), "fragmented control frame"),
            (
                frame(role, CONTINUATION, "x"),
                "continuation without a message",
            ),
            (
                fragment(role, CONTINUATION, "x"),
                "continuation without a message",
            ),
            (
                [fragment(role, TEXT, "a"), frame(role, BINARY, "b")].concat(),
                "new message inside a fragmented one",
            ),
            (
                [fragment(role, TEXT, "a"), fragment(role, TEXT, "b")].concat(),
                "new message inside a fragmented one",
            ),
        ] {
            let lines = Machine::upgraded(role, Config::default()).on(bytes);
            assert_eq!(lines[0], format!("closed 1002 {why:?} by Violation"));
        }
    }
}

/// Ping floods while the writer is blocked: answers are not hoarded.
#[test]
fn ping_flood_with_a_blocked_writer() {
    for role in ROLES {
        let mut machine = Machine::open(
            role,
            Config {
                write_timeout: None,
                ..Config::default()
            },
        );
        machine.blocked = true;
        let pings: Vec<u8> = (0..100)
            .flat_map(|_| frame(role, PING, [b'p'; 125]))
            .collect();
        for _ in 0..1_000 {
            machine.feed(&pings);
            machine.drain();
        }
        machine.feed(frame(role, PING, "last"));
        let buffered = machine.ws.buffered();
        assert!(buffered < 66 * 1024, "{buffered} bytes of pongs");
        machine.blocked = false;
        let lines = machine.turn();
        assert_eq!(lines.last().unwrap(), "-> pong \"last\"");
    }
}

/// tungstenite before 0.21: a pong was written only when the application
/// happened to read.
#[test]
fn a_pong_goes_out_by_itself() {
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        machine.blocked = true;
        machine.feed(frame(role, PING, "x"));
        assert_eq!(machine.turn(), [""; 0]);
        machine.blocked = false;
        assert_eq!(machine.turn(), ["-> pong \"x\""]);
    }
}

/// ws 8.20.1: uninitialised memory went out in the reason of a close frame.
#[test]
fn close_frames_hold_what_was_said_and_nothing_else() {
    for n in 0..=130 {
        let mut machine = Machine::open(Role::Server, Config::default());
        let reason = "r".repeat(n);
        machine.ws.close(machine.now, CloseCode::NORMAL, &reason);
        machine.drain();
        let frame = read_frame(&mut machine.sent.clone()).unwrap();
        assert_eq!(frame.payload[2..], reason.as_bytes()[..n.min(123)]);
    }
}

/// CVE-2025-10148 (curl): one mask for a whole connection poisoned caches of
/// proxies.
#[test]
fn every_frame_has_a_mask_of_its_own() {
    let config = Config {
        max_queued_bytes: usize::MAX,
        ..Config::default()
    };
    let mut client = Machine::open(Role::Client, config);
    for n in 0..20_000_u32 {
        client
            .ws
            .send(client.now, n.to_be_bytes().to_vec())
            .unwrap();
    }
    client.drain();
    let mut masks = std::collections::HashSet::new();
    let mut last = None;
    let mut ones = 0;
    for frame in client.sent.chunks(10) {
        let mask = <[u8; 4]>::try_from(&frame[2..6]).unwrap();
        assert_ne!(last, Some(mask));
        last = Some(mask);
        ones += u32::from_be_bytes(mask).count_ones();
        masks.insert(mask);
    }
    assert!(
        masks.len() > 19_990,
        "about one collision is due: {}",
        masks.len()
    );
    assert!(
        (310_000..330_000).contains(&ones),
        "half of the bits are set: {ones}"
    );
}

/// Two connections never share masks, or keys, or nonces.
#[test]
fn another_seed_gives_other_masks() {
    let sent = |seed: u8| {
        let agreed = Default::default();
        let ws = smartsocket_core::WebSocket::upgraded(
            Role::Client,
            agreed,
            Config::default(),
            Seed::new([seed; 32]),
            ms(0),
        );
        let mut client = Machine::new(Role::Client, ws, true);
        client.ws.send(client.now, "same").unwrap();
        client.run_until(ms(30_000));
        client.sent
    };
    assert_eq!(sent(1), sent(1));
    assert_ne!(sent(1), sent(2));
}

/// libhv #769: unmasking read beyond the frame. Every length at every offset
/// into the read.
#[test]
fn unmasking_at_every_offset() {
    for offset in 0..20 {
        for length in 0..150 {
            let data: Vec<u8> = (0..length).map(|n| n as u8 ^ 0x5a).collect();
            let role = Role::Server;
            let mut server = Machine::upgraded(role, Config::default());
            let bytes = [
                frame(role, PONG, vec![0; offset]),
                frame(role, BINARY, &data),
            ]
            .concat();
            server.feed(&bytes);
            server.drain();
            assert_eq!(server.messages[0].as_bytes(), data);
        }
    }
}

// Compression

/// CVE-2026-1526 (undici), CVE-2018-1000518 (websockets), tornado #2391:
/// a few bytes inflate to the whole memory. The bound is in `memory.rs`.
#[test]
fn decompression_bombs() {
    for role in ROLES {
        let config = || Config {
            deflate: Some(Deflate {
                max_ratio: u32::MAX,
                ..Deflate::default()
            }),
            max_message: 100_000,
            ..Config::default()
        };
        let at_limit =
            Machine::upgraded(role, config()).on(compressed(role, BINARY, &[0; 100_000]));
        assert_eq!(at_limit, ["binary 100000 bytes"]);
        let beyond = Machine::upgraded(role, config()).on(compressed(role, BINARY, &[0; 100_001]));
        assert_eq!(
            beyond[0],
            "closed 1009 \"message exceeds maximum of 100000\" by Violation"
        );
        // In fragments of one byte, too.
        let mut machine = Machine::upgraded(role, config());
        machine.feed(Raw::to(role, false, BINARY, "").rsv(4).bytes());
        for byte in deflated(&vec![0; 1 << 20]) {
            machine.feed(fragment(role, CONTINUATION, [byte]));
        }
        assert!(machine.turn()[0].starts_with("closed 1009"));
        // A ratio no honest message has, well below the size limit.
        let config = Config {
            deflate: Some(Deflate::default()),
            ..Config::default()
        };
        let ratio = Machine::upgraded(role, config).on(compressed(role, BINARY, &vec![0; 1 << 19]));
        assert_eq!(
            ratio[0],
            "closed 1009 \"compressed data inflate too much\" by Violation"
        );
    }
}

/// Blocks that inflate to nothing: work without a message.
#[test]
fn empty_deflate_blocks_without_end() {
    for role in ROLES {
        // Stored blocks of no bytes: five bytes each, within the frame limit.
        let mut stored = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(100_000);
        stored.push(0x00);
        let mut machine = Machine::upgraded(role, compressing());
        let lines = machine.on(Raw::to(role, true, BINARY, &stored).rsv(4).bytes());
        assert_eq!(
            lines,
            ["binary \"\""],
            "linear, and bounded by the frame limit"
        );
        // Final blocks of no bytes: each may cost a new window.
        let last = [0x03, 0x00].repeat(100_000);
        let mut machine = Machine::upgraded(role, compressing());
        let lines = machine.on(Raw::to(role, true, BINARY, &last).rsv(4).bytes());
        assert_eq!(
            lines[0],
            "closed 1007 \"compressed data are corrupt\" by Violation"
        );
    }
}

/// RFC 7692 §7.2.3: the examples.
#[test]
fn examples_of_rfc_7692() {
    let role = Role::Client;
    for payload in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[
            0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        ],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ],
    ] {
        for cut in 0..=payload.len() {
            let bytes = [
                Raw::to(role, false, TEXT, &payload[..cut]).rsv(4).bytes(),
                frame(role, CONTINUATION, &payload[cut..]),
            ]
            .concat();
            let mut client = Machine::upgraded(role, compressing());
            assert_eq!(
                client.on(bytes),
                ["text \"Hello\""],
                "{payload:x?} cut at {cut}"
            );
        }
    }
    let empty = Raw::to(role, true, TEXT, [0]).rsv(4).bytes();
    assert_eq!(
        Machine::upgraded(role, compressing()).on(empty),
        ["text \"\""]
    );
}

/// RFC 7692 §6.1: the bit stands on the first frame of a message, and on no
/// other; §7.2.2: an inflate error ends the connection, its state is not used
/// again.
#[test]
fn corrupt_compressed_data_end_the_connection() {
    let text = b"a text that compresses, a text that compresses well".repeat(3);
    for role in ROLES {
        let on_continuation = [
            Raw::to(role, false, TEXT, &deflated(&text)[..5])
                .rsv(4)
                .bytes(),
            Raw::to(role, true, CONTINUATION, &deflated(&text)[5..])
                .rsv(4)
                .bytes(),
        ];
        let lines = Machine::upgraded(role, compressing()).on(on_continuation.concat());
        assert_eq!(lines[0], "closed 1002 \"reserved bits set\" by Violation");

        let good = deflated(&text);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let mut machine = Machine::upgraded(role, compressing());
            machine.feed(Raw::to(role, true, BINARY, bad).rsv(4).bytes());
            machine.feed(compressed(role, TEXT, b"next"));
            machine.drain();
            match &machine.outcome {
                Some(end) => assert!(matches!(u16::from(end.code), 1007 | 1009)),
                // Deflate has no checksum: then it was another valid stream.
                None => assert_eq!(machine.messages[1], "next".into()),
            }
        }
    }
}

/// CRIME, BREACH: without an application's leave nothing is compressed.
#[test]
fn compression_is_off_by_default() {
    assert_eq!(Config::default().deflate, None);
    let mut server = Machine::server(Config::default());
    server.on(with("Sec-WebSocket-Extensions: permessage-deflate"));
    assert!(!String::from_utf8_lossy(&server.sent).contains("Extensions"));
    server.sent.clear();
    server.ws.send(server.now, "a".repeat(10_000)).unwrap();
    assert_eq!(server.turn(), ["-> text 10000 bytes"]);
}

#[test]
fn a_machine_in_a_log_shows_nothing_of_what_was_said() {
    for role in ROLES {
        for deflate in [None, Some(Deflate::default())] {
            let config = Config {
                deflate,
                max_queued_bytes: 1 << 20,
                ..Config::default()
            };
            let mut machine = Machine::upgraded(role, config);
            let secret = "hunter2 ".repeat(20_000);
            machine.feed(&frame(role, PING, "hunter2")[..8]);
            let _ = machine.ws.send(ms(0), secret.as_str());
            let _ = machine.ws.send(ms(0), secret.as_str());
            let half = format!("{:?}", machine.ws);
            let mut machine = Machine::upgraded(role, Config::default());
            let begun = frame(role, TEXT, &secret);
            machine.feed(&begun[..70_000]);
            let begun = format!("{:?}", machine.ws);
            for shown in [half, begun] {
                // As text or as a list of numbers.
                assert!(!shown.contains("hunter2"), "{shown}");
                assert!(!shown.contains("104, 117, 110"), "{shown}");
                assert!(shown.len() < 3_000, "{}", shown.len());
            }
        }
    }
}
