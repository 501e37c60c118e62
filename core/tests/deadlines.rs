//! What happens when, and what happens when nothing does: transcripts with
//! times, in seconds after the connection was accepted or dialed.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::http::Response;
use smartsocket_core::websocket::{Accept, Role};
use smartsocket_core::{CloseCode, Config, Fault, Message, Refused, Tick};

/// Deadlines apart from the one under test are off.
fn quiet() -> Config {
    Config {
        ping_interval: None,
        write_timeout: None,
        ..Config::default()
    }
}

fn deciding() -> Config {
    Config {
        decide: true,
        ..Config::default()
    }
}

// Opening handshake

#[test]
fn a_server_answers_408_to_half_a_request_after_five_seconds() {
    let mut server = Machine::server(Config::default());
    server.feed(&REQUEST[..20]);
    assert_eq!(
        server.run_until(ms(60_000)),
        [
            "5.000 closed 1006 \"\" by Handshake timeout",
            "5.000 -> HTTP/1.1 408 Request Timeout",
            "5.000 -> \"the request took too long\\n\"",
            "5.000 shutdown",
            "5.000 drop",
        ]
    );
    assert_eq!(server.ws.next_timeout(), None);
}

#[test]
fn a_client_gives_up_a_silent_server_after_five_seconds() {
    let mut client = Machine::client(Config::default());
    assert_eq!(
        client.run_until(ms(60_000)),
        [
            "0.000 -> GET /chat HTTP/1.1",
            "5.000 closed 1006 \"\" by Handshake timeout",
            "5.000 drop",
        ]
    );
    assert_eq!(client.ws.next_timeout(), None);
}

#[test]
fn bytes_of_a_slow_head_do_not_push_the_deadline() {
    let mut server = Machine::server(Config::default());
    let mut lines = Vec::new();
    for (i, byte) in REQUEST.bytes().enumerate() {
        lines.extend(server.run_until(ms(900 * i as u64)));
        if server.outcome.is_some() {
            break;
        }
        server.feed([byte]);
    }
    assert_eq!(lines[0], "5.000 closed 1006 \"\" by Handshake timeout");
}

#[test]
fn a_finished_handshake_has_no_deadline() {
    let mut server = Machine::server(quiet());
    server.at(ms(4_999)).feed(REQUEST);
    assert_eq!(
        server.run_until(ms(1_000_000)),
        ["4.999 open", "4.999 -> HTTP/1.1 101 Switching Protocols"]
    );
    assert_eq!(server.ws.next_timeout(), None);
}

#[test]
fn a_client_takes_what_came_of_a_refusal_when_the_rest_does_not_come() {
    let mut client = Machine::client(Config::default());
    client.drain();
    client.feed("HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nno toke");
    assert_eq!(
        client.run_until(ms(60_000))[1..],
        [
            "5.000 closed 1006 \"\" by Refused 401 \"no toke\"",
            "5.000 drop",
        ]
    );
}

// Tickets

#[test]
fn the_handshake_deadline_rests_while_the_application_decides() {
    let mut server = Machine::server(deciding());
    server.at(ms(1_000)).feed(REQUEST);
    assert_eq!(server.run_until(ms(600_000)), ["1.000 request GET /chat"]);
    assert_eq!(server.ws.next_timeout(), None);
    let ticket = server.tickets.pop().unwrap();
    assert!(ticket.is_upgrade());
    server
        .ws
        .decide(server.now, ticket.accept(Accept::default()));
    assert_eq!(
        server.run_until(ms(600_000)),
        [
            "600.000 open",
            "600.000 -> HTTP/1.1 101 Switching Protocols"
        ]
    );
}

#[test]
fn an_answer_after_long_thought_is_not_taken_for_a_write_stall() {
    let mut server = Machine::server(deciding());
    server.feed(REQUEST);
    server.drain();
    let ticket = server.tickets.pop().unwrap();
    server.at(ms(60_000));
    server
        .ws
        .decide(server.now, ticket.accept(Accept::default()));
    server.ws.handle_timeout(server.now);
    assert_eq!(
        server.turn(),
        [
            "request GET /chat",
            "open",
            "-> HTTP/1.1 101 Switching Protocols"
        ]
    );
}

#[test]
fn a_pong_after_a_long_silence_is_not_taken_for_a_write_stall() {
    for role in ROLES {
        let mut machine = Machine::open(
            role,
            Config {
                ping_interval: None,
                ..Config::default()
            },
        );
        machine.at(ms(3_600_000)).feed(frame(role, PING, "x"));
        machine.ws.handle_timeout(machine.now);
        assert_eq!(machine.turn(), ["-> pong \"x\""], "{role:?}");
    }
}

#[test]
fn a_ticket_refused_with_a_body_sends_it_and_ends() {
    let mut server = Machine::server(deciding());
    assert_eq!(server.on(REQUEST), ["request GET /chat"]);
    let refusal = Response::text(403, "members only")
        .header("X-Why", "closed club")
        .unwrap();
    let decision = server.tickets.pop().unwrap().respond(refusal);
    server.ws.decide(server.now, decision);
    assert_eq!(
        server.run_until(ms(60_000)),
        [
            "0.000 closed 1006 \"\" by Answered 403",
            "0.000 -> HTTP/1.1 403 Forbidden",
            "0.000 -> \"members only\"",
            "0.000 shutdown",
            "5.000 drop",
        ]
    );
    assert!(String::from_utf8_lossy(&server.sent).contains("\r\nX-Why: closed club\r\n"));
}

#[test]
fn plain_http_is_asked_too_and_cannot_be_upgraded() {
    for (head, is_body) in [
        ("GET /health HTTP/1.1\r\nHost: h\r\n\r\n", true),
        ("HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n", false),
    ] {
        let mut server = Machine::server(deciding());
        let method = head.split(' ').next().unwrap();
        assert_eq!(server.on(head), [format!("request {method} /health")]);
        let ticket = server.tickets.pop().unwrap();
        assert!(!ticket.is_upgrade());
        server
            .ws
            .decide(server.now, ticket.respond(Response::text(200, "fine")));
        server.drain();
        let sent = String::from_utf8(server.sent.clone()).unwrap();
        assert!(sent.starts_with("HTTP/1.1 200 OK\r\n"), "{sent}");
        assert!(sent.contains("\r\nContent-Length: 4\r\n"), "{sent}");
        assert_eq!(sent.ends_with("\r\n\r\nfine"), is_body, "{sent}");
        assert!(server.shut);

        let mut server = Machine::server(deciding());
        server.on(head);
        let ticket = server.tickets.pop().unwrap();
        server
            .ws
            .decide(server.now, ticket.accept(Accept::default()));
        assert!(
            server
                .turn()
                .contains(&"-> HTTP/1.1 426 Upgrade Required".into())
        );
        assert!(!server.ws.is_open());
    }
}

#[test]
fn a_dropped_ticket_leaves_the_connection_to_the_peer() {
    let mut server = Machine::server(deciding());
    server.on(REQUEST);
    drop(server.tickets.pop());
    assert_eq!(server.run_until(ms(1_000_000)), [""; 0]);
    server.ws.handle_eof(server.now);
    assert_eq!(
        server.turn(),
        ["closed 1006 \"\" by Eof", "shutdown", "drop"]
    );
}

#[test]
fn who_ends_its_stream_behind_a_request_still_reads_the_answer() {
    let mut server = Machine::server(deciding());
    server.on("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    server.ws.handle_eof(server.now);
    assert_eq!(server.turn(), [""; 0]);
    let ticket = server.tickets.pop().unwrap();
    let decision = ticket.respond(Response::text(200, "fine"));
    server.ws.decide(server.now, decision);
    assert_eq!(
        server.turn(),
        [
            "closed 1006 \"\" by Answered 200",
            "-> HTTP/1.1 200 OK",
            "-> \"fine\"",
            "shutdown",
            "drop"
        ]
    );
    // ... if it comes soon.
    let mut server = Machine::server(deciding());
    server.on("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    server.ws.handle_eof(server.now);
    let lines = server.run_until(ms(60_000));
    assert!(lines[0].starts_with("5.000 closed 1006"), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "5.000 drop");
    // An upgrade is of no use to a client that has said all.
    let mut server = Machine::server(deciding());
    server.on(REQUEST);
    server.ws.handle_eof(server.now);
    let decision = server.tickets.pop().unwrap().accept(Accept::default());
    server.ws.decide(server.now, decision);
    assert_eq!(server.turn(), ["open", "closed 1006 \"\" by Eof", "drop"]);
}

#[test]
fn a_late_answer_is_harmless() {
    for answer in [true, false] {
        let mut server = Machine::server(deciding());
        server.on(REQUEST);
        let ticket = server.tickets.pop().unwrap();
        server.ws.handle_fault(server.now, Fault::Reset);
        let decision = if answer {
            ticket.accept(Accept::default())
        } else {
            ticket.respond(Response::new(404))
        };
        server.ws.decide(server.now, decision);
        assert_eq!(
            server.turn(),
            [
                "closed 1006 \"\" by Fault: connection reset by peer",
                "drop"
            ]
        );
    }

    // ... also the answer to another connection's ticket.
    let mut asking = Machine::server(deciding());
    asking.on(REQUEST);
    let mut open = Machine::open(Role::Server, Config::default());
    open.ws.decide(
        open.now,
        asking.tickets.pop().unwrap().respond(Response::new(404)),
    );
    assert_eq!(open.on(frame(Role::Server, TEXT, "hi")), ["text \"hi\""]);
}

#[test]
fn frames_sent_while_the_application_decides_are_kept_up_to_a_bound() {
    let mut server = Machine::server(deciding());
    let hello = frame(Role::Server, TEXT, "early");
    assert_eq!(
        server.on([REQUEST.as_bytes(), &hello].concat()),
        ["request GET /chat"]
    );
    assert_eq!(
        server.on(frame(Role::Server, TEXT, vec![b'a'; 5_000])),
        ["pause"]
    );
    let ticket = server.tickets.pop().unwrap();
    server
        .ws
        .decide(server.now, ticket.accept(Accept::default()));
    assert_eq!(
        server.turn(),
        [
            "open",
            "text \"early\"",
            "text 5000 bytes",
            "resume",
            "-> HTTP/1.1 101 Switching Protocols"
        ]
    );

    let mut server = Machine::server(deciding());
    server.on(REQUEST);
    assert_eq!(
        server.on(vec![0; 200_000]),
        [
            "closed 1008 \"data before the handshake was answered\" by Violation",
            "drop"
        ]
    );
}

#[test]
fn reading_goes_on_when_a_connection_ends_while_it_was_paused() {
    let mut server = Machine::server(deciding());
    server.on(REQUEST);
    assert_eq!(server.on(vec![0; 5_000]), ["pause"]);
    server.ws.close(server.now, CloseCode::GOING_AWAY, "");
    let lines = server.turn();
    assert!(
        lines.contains(&"resume".into()),
        "the end of the stream must be seen: {lines:?}"
    );
    server.ws.handle_eof(server.now);
    assert_eq!(server.turn(), ["drop"]);
}

#[test]
fn a_server_told_to_close_before_the_upgrade_says_503() {
    let mut server = Machine::server(deciding());
    server.on(REQUEST);
    server.ws.close(server.now, CloseCode::GOING_AWAY, "");
    assert_eq!(
        server.turn()[..2],
        [
            "closed 1006 \"\" by Answered 503",
            "-> HTTP/1.1 503 Service Unavailable"
        ]
    );
}

// Liveness

#[test]
fn a_silent_peer_is_pinged_after_25_seconds_and_dead_10_seconds_later() {
    for role in ROLES {
        let mut machine = Machine::upgraded(role, Config::default());
        let lines = machine.run_until(ms(100_000));
        assert!(lines[0].starts_with("25.000 -> ping "), "{lines:?}");
        assert_eq!(
            lines[1..],
            ["35.000 closed 1006 \"\" by Pong timeout", "35.000 drop"]
        );
    }
}

/// The payload of the keepalive ping that was just sent.
fn nonce(machine: &Machine) -> Vec<u8> {
    let mut sent = machine.sent.clone();
    let mut last = None;
    while let Some(frame) = read_frame(&mut sent) {
        last = Some(frame);
    }
    let ping = last.unwrap();
    assert_eq!(ping.opcode, PING);
    ping.payload
}

#[test]
fn only_the_pong_with_the_nonce_measures_the_round_trip() {
    for role in ROLES {
        let mut machine = Machine::upgraded(role, Config::default());
        machine.run_until(ms(25_000));
        let nonce = nonce(&machine);
        machine.at(ms(25_010)).feed(frame(role, PONG, "unasked"));
        assert_eq!(machine.ws.stats().round_trip, None);
        machine.at(ms(25_042)).feed(frame(role, PONG, &nonce));
        assert_eq!(
            machine.ws.stats().round_trip,
            Some(std::time::Duration::from_millis(42))
        );
        // A repeated pong is unasked, too.
        machine.at(ms(26_000)).feed(frame(role, PONG, &nonce));
        assert_eq!(
            machine.ws.stats().round_trip,
            Some(std::time::Duration::from_millis(42))
        );
        let lines = machine.run_until(ms(60_000));
        assert!(
            lines[0].starts_with("51.000 -> ping "),
            "25 s after the last byte: {lines:?}"
        );
        assert_ne!(
            nonce,
            self::nonce(&machine),
            "every ping has a nonce of its own"
        );
    }
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let role = Role::Server;
    let mut machine = Machine::upgraded(role, Config::default());
    let long = frame(role, BINARY, vec![0; 100]);
    let mut pings = 0;
    for (i, byte) in long.iter().enumerate() {
        pings += machine.run_until(ms(30_000 * (i as u64 + 1))).len();
        machine.feed([*byte]);
    }
    assert_eq!(machine.turn(), ["binary 100 bytes"]);
    assert_eq!(
        pings,
        long.len(),
        "one ping per silence, and none of them fatal"
    );
}

#[test]
fn no_bytes_are_no_sign_of_life() {
    let mut machine = Machine::upgraded(Role::Server, Config::default());
    machine.at(ms(20_000)).feed("");
    assert!(machine.run_until(ms(26_000))[0].starts_with("25.000 -> ping "));
    machine.at(ms(30_000)).feed("");
    assert_eq!(
        machine.run_until(ms(40_000))[0],
        "35.000 closed 1006 \"\" by Pong timeout"
    );
}

#[test]
fn an_idle_connection_is_closed_politely_and_pings_do_not_count() {
    let config = Config {
        idle_timeout: Some(secs(60)),
        ..Config::default()
    };
    let role = Role::Server;
    let mut machine = Machine::upgraded(role, config);
    machine.at(ms(10_000)).feed(frame(role, TEXT, "last"));
    let mut lines = Vec::new();
    for second in 11..=80 {
        lines.extend(machine.run_until(ms(second * 1_000)));
        machine.feed(frame(role, PING, "."));
    }
    lines.retain(|line| !line.contains("pong"));
    assert_eq!(
        lines,
        [
            "10.000 text \"last\"",
            "70.000 closed 1000 \"idle\" by Idle timeout",
            "70.000 -> close 1000 \"idle\"",
            "70.000 shutdown",
            "75.000 drop",
        ]
    );
}

#[test]
fn sending_is_activity_too() {
    let config = Config {
        idle_timeout: Some(secs(60)),
        ..quiet()
    };
    let mut machine = Machine::upgraded(Role::Client, config);
    machine.at(ms(59_000));
    machine.ws.send(machine.now, "x").unwrap();
    let lines = machine.run_until(ms(118_999));
    assert_eq!(lines, ["59.000 -> text \"x\""]);
    assert_eq!(
        machine.run_until(ms(119_000))[0],
        "119.000 closed 1000 \"idle\" by Idle timeout"
    );
}

// Closing

#[test]
fn both_roles_close_cleanly_and_the_server_ends_the_stream_first() {
    let mut server = Machine::open(Role::Server, Config::default());
    server.at(ms(1_000));
    server.ws.close(server.now, CloseCode::from(4000), "bye");
    assert_eq!(server.turn(), ["-> close 4000 \"bye\""]);
    server
        .at(ms(1_100))
        .feed(close_frame(Role::Server, 4000, ""));
    assert_eq!(server.turn(), ["closed 4000 \"\" by Local", "shutdown"]);
    server.ws.handle_eof(server.now);
    assert_eq!(server.turn(), ["drop"]);
    assert_eq!(server.ws.next_timeout(), None);

    let mut client = Machine::open(Role::Client, Config::default());
    assert_eq!(
        client.on(close_frame(Role::Client, 4000, "bye")),
        ["closed 4000 \"bye\" by Peer", "-> close 4000 \"\""]
    );
    client.ws.handle_eof(client.now);
    assert_eq!(client.turn(), ["drop"], "the server ended the stream");
    assert_eq!(client.ws.next_timeout(), None);
}

#[test]
fn a_peer_that_never_answers_the_close_frame_is_dropped_after_five_seconds() {
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        machine.at(ms(1_000));
        machine.ws.close(machine.now, CloseCode::NORMAL, "");
        assert_eq!(
            machine.run_until(ms(60_000)),
            [
                "1.000 -> close 1000 \"\"",
                "6.000 closed 1006 \"\" by Close timeout",
                "6.000 drop",
            ]
        );
        assert_eq!(machine.ws.next_timeout(), None);
    }
}

#[test]
fn a_peer_that_never_ends_the_stream_is_dropped_after_five_seconds() {
    let mut server = Machine::open(Role::Server, Config::default());
    server
        .at(ms(1_000))
        .feed(close_frame(Role::Server, 1000, ""));
    assert_eq!(
        server.run_until(ms(60_000)),
        [
            "1.000 closed 1000 \"\" by Peer",
            "1.000 -> close 1000 \"\"",
            "1.000 shutdown",
            "6.000 drop",
        ]
    );
    let mut client = Machine::open(Role::Client, Config::default());
    client
        .at(ms(1_000))
        .feed(close_frame(Role::Client, 1000, ""));
    assert_eq!(
        client.run_until(ms(60_000)),
        [
            "1.000 closed 1000 \"\" by Peer",
            "1.000 -> close 1000 \"\"",
            "6.000 drop"
        ]
    );
}

#[test]
fn what_waits_goes_before_the_close_frame_and_nothing_after_it() {
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        machine.ws.send(machine.now, "one").unwrap();
        machine.ws.send(machine.now, "two").unwrap();
        machine.ws.close(machine.now, CloseCode::NORMAL, "done");
        let refused = machine.ws.send(machine.now, "three").unwrap_err();
        assert_eq!(
            (refused.refused, refused.message),
            (Refused::Closed, Message::text("three"))
        );
        assert_eq!(machine.ws.ping(machine.now, "x"), Err(Refused::Closed));
        machine.ws.close(machine.now, CloseCode::INTERNAL, "again");
        machine.feed(frame(role, PING, "anyone?"));
        assert_eq!(
            machine.turn(),
            [
                "-> text \"one\"",
                "-> text \"two\"",
                "-> close 1000 \"done\""
            ]
        );
    }
}

#[test]
fn a_ping_that_came_before_a_close_is_still_answered() {
    // RFC 6455 §5.5.2: unless a Close frame came already.
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        machine.blocked = true;
        // Fill the wire, so that the pong cannot go there at once.
        machine.ws.send(machine.now, vec![0; 10_000]).unwrap();
        machine.feed(frame(role, PING, "x"));
        machine.feed(close_frame(role, 1000, ""));
        machine.drain();
        machine.blocked = false;
        assert_eq!(
            machine.turn(),
            [
                "closed 1000 \"\" by Peer",
                "-> binary 10000 bytes",
                "-> pong \"x\"",
                "-> close 1000 \"\"",
            ]
            .into_iter()
            .chain((role == Role::Server).then_some("shutdown"))
            .collect::<Vec<_>>()
        );
    }
}

#[test]
fn messages_before_the_peers_close_frame_still_get_answers() {
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        let bytes = [frame(role, TEXT, "question"), close_frame(role, 1001, "")].concat();
        machine.feed(bytes);
        // The application takes the message before it hears of the close.
        let first = machine.ws.poll_output().unwrap();
        assert!(format!("{first:?}").contains("question"), "{first:?}");
        machine.ws.send(machine.now, "answer").unwrap();
        let lines = machine.turn();
        assert_eq!(
            lines[..3],
            [
                "closed 1001 \"\" by Peer",
                "-> text \"answer\"",
                "-> close 1001 \"\""
            ]
        );
        assert!(machine.ws.send(machine.now, "late").is_err());
    }
}

#[test]
fn what_comes_after_the_close_frame_is_discarded_up_to_16_mib() {
    let role = Role::Server;
    let mut server = Machine::open(role, Config::default());
    let close = close_frame(role, 1000, "");
    let garbage = [0xff; 1_000];
    let lines = server.on([&close[..], &garbage].concat());
    assert_eq!(
        lines,
        ["closed 1000 \"\" by Peer", "-> close 1000 \"\"", "shutdown"]
    );
    let megabyte = vec![0xff; 1 << 20];
    for _ in 0..15 {
        assert_eq!(server.on(&megabyte), [""; 0]);
    }
    assert_eq!(server.on(&megabyte), ["drop"]);
}

#[test]
fn messages_that_come_while_we_close_are_counted_and_dropped() {
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        machine.ws.close(machine.now, CloseCode::NORMAL, "");
        machine.feed(frame(role, TEXT, "crossed on the way"));
        machine.feed(close_frame(role, 1000, ""));
        assert_eq!(
            machine.turn()[..2],
            ["closed 1000 \"\" by Local", "-> close 1000 \"\""]
        );
        assert_eq!(machine.ws.stats().dropped_messages, 1);
        assert_eq!(machine.ws.stats().received_messages, 0);
    }
}

#[test]
fn two_close_frames_that_cross_are_a_clean_end() {
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        machine.ws.close(machine.now, CloseCode::NORMAL, "mine");
        machine.turn();
        machine.feed(close_frame(role, 1001, "yours"));
        assert_eq!(machine.turn()[0], "closed 1001 \"yours\" by Local");
        assert!(machine.outcome.as_ref().unwrap().is_clean());
    }
}

#[test]
fn a_code_that_must_not_be_sent_goes_as_none_and_a_long_reason_is_cut() {
    let mut machine = Machine::open(Role::Server, Config::default());
    machine
        .ws
        .close(machine.now, CloseCode::ABNORMAL, "ignored");
    assert_eq!(machine.turn(), ["-> close"]);
    let mut machine = Machine::open(Role::Server, Config::default());
    machine
        .ws
        .close(machine.now, CloseCode::NORMAL, &"ä".repeat(100));
    let cut = "ä".repeat(61);
    assert_eq!(machine.turn(), [format!("-> close 1000 {cut:?}")]);
}

// Ends of the stream

#[test]
fn the_end_of_the_stream_in_every_phase_tells_one_outcome() {
    type Setup = fn() -> Machine;
    let phases: [(&str, Setup, &str); 12] = [
        (
            "server, nothing came",
            || Machine::server(Config::default()),
            "Eof",
        ),
        (
            "server, half a head",
            || {
                let mut server = Machine::server(Config::default());
                server.feed(&REQUEST[..30]);
                server
            },
            "Eof",
        ),
        (
            "server, deciding",
            || {
                let mut server = Machine::server(deciding());
                server.feed(REQUEST);
                server
            },
            "Eof",
        ),
        (
            "client, request sent",
            || Machine::client(Config::default()),
            "Eof",
        ),
        (
            "client, refusal under way",
            || {
                let mut client = Machine::client(Config::default());
                client.feed("HTTP/1.1 503 No\r\n\r\nbu");
                client
            },
            "Refused 503 \"bu\"",
        ),
        (
            "open",
            || Machine::open(Role::Server, Config::default()),
            "Eof",
        ),
        (
            "client open",
            || Machine::open(Role::Client, Config::default()),
            "Eof",
        ),
        (
            "half a header",
            || {
                let mut server = Machine::open(Role::Server, Config::default());
                server.feed([0x81]);
                server
            },
            "Eof",
        ),
        (
            "half a message",
            || {
                let mut server = Machine::open(Role::Server, Config::default());
                server.feed(fragment(Role::Server, TEXT, "half"));
                server
            },
            "Eof",
        ),
        (
            "closing",
            || {
                let mut server = Machine::open(Role::Server, Config::default());
                server.ws.close(server.now, CloseCode::NORMAL, "");
                server
            },
            "Eof",
        ),
        (
            "peer closed",
            || {
                let mut server = Machine::open(Role::Server, Config::default());
                server.feed(close_frame(Role::Server, 1000, ""));
                server
            },
            "Peer",
        ),
        (
            "failed",
            || {
                let mut server = Machine::open(Role::Server, Config::default());
                server.feed([0xff]);
                server
            },
            "Violation",
        ),
    ];
    for (phase, setup, word) in phases {
        for drained in [false, true] {
            let mut machine = setup();
            if drained {
                machine.drain();
            }
            machine.ws.handle_eof(machine.now);
            machine.drain();
            machine.ws.handle_eof(machine.now);
            machine.run_until(ms(60_000));
            assert_eq!(machine.closes, 1, "{phase}");
            assert!(machine.dropped, "{phase}");
            assert_eq!(machine.ws.next_timeout(), None, "{phase}");
            assert_eq!(cause(&machine.outcome.unwrap().cause), word, "{phase}");
        }
    }
}

#[test]
fn half_a_stream_is_enough_to_send_the_last_answers() {
    // The peer sends a close frame and shuts its direction down at once.
    let role = Role::Server;
    let mut server = Machine::open(role, Config::default());
    server.blocked = true;
    server.ws.send(server.now, vec![7; 200_000]).unwrap();
    server.feed(close_frame(role, 1000, ""));
    server.ws.handle_eof(server.now);
    assert_eq!(server.turn(), ["closed 1000 \"\" by Peer"]);
    server.blocked = false;
    assert_eq!(
        server.turn(),
        [
            "-> binary 200000 bytes",
            "-> close 1000 \"\"",
            "shutdown",
            "drop"
        ]
    );
}

#[test]
fn a_fault_ends_the_connection_at_once_and_keeps_a_better_explanation() {
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        machine.ws.send(machine.now, "lost").unwrap();
        machine.ws.handle_fault(machine.now, Fault::Reset);
        assert_eq!(
            machine.turn(),
            [
                "closed 1006 \"\" by Fault: connection reset by peer",
                "drop"
            ]
        );

        let mut machine = Machine::open(role, Config::default());
        machine.feed(close_frame(role, 4001, "kicked"));
        machine.ws.handle_fault(machine.now, Fault::Reset);
        assert_eq!(machine.turn(), ["closed 4001 \"kicked\" by Peer", "drop"]);

        let mut machine = Machine::open(role, Config::default());
        machine.feed(close_frame(role, 4001, "kicked"));
        machine.turn();
        machine.ws.handle_fault(machine.now, Fault::Reset);
        assert_eq!(machine.turn(), ["drop"]);
    }
}

// Writing

#[test]
fn a_peer_that_takes_nothing_for_ten_seconds_is_dropped() {
    let config = Config {
        ping_interval: None,
        ..Config::default()
    };
    for role in ROLES {
        let mut machine = Machine::open(role, config.clone());
        machine.blocked = true;
        machine.at(ms(100_000));
        machine.ws.send(machine.now, vec![0; 1_000]).unwrap();
        assert_eq!(machine.run_until(ms(109_000)), [""; 0]);
        // One byte is progress.
        machine.write(1);
        assert_eq!(
            machine.run_until(ms(200_000)),
            ["119.000 closed 1006 \"\" by Write timeout", "119.000 drop"]
        );
    }
}

#[test]
fn no_write_deadline_while_nothing_waits() {
    let config = Config {
        ping_interval: None,
        ..Config::default()
    };
    let mut machine = Machine::open(Role::Server, config);
    for hour in 1..50 {
        machine.at(ms(3_600_000 * hour));
        machine.ws.transmitted(machine.now, 0);
        machine.ws.send(machine.now, "x").unwrap();
        machine.ws.handle_timeout(machine.now);
        assert_eq!(machine.turn(), ["-> text \"x\""]);
    }
}

#[test]
fn a_clock_that_runs_backwards_moves_no_deadline() {
    let mut machine = Machine::upgraded(Role::Server, Config::default());
    machine.ws.handle_timeout(ms(20_000));
    assert_eq!(machine.ws.next_timeout(), Some(ms(25_000)));
    for earlier in [0, 19_999, 5_000] {
        machine.ws.handle_timeout(ms(earlier));
        machine.ws.send(ms(earlier), "x").unwrap();
        machine.at(ms(earlier)).drain();
    }
    machine.feed(frame(Role::Server, PONG, ""));
    assert_eq!(
        machine.ws.next_timeout(),
        Some(ms(45_000)),
        "heard at the latest tick seen"
    );
}

#[test]
fn spurious_timeouts_are_free() {
    let mut machine = Machine::upgraded(Role::Server, Config::default());
    let due = machine.ws.next_timeout();
    for millis in 0..25_000 {
        machine.ws.handle_timeout(ms(millis));
        assert!(machine.ws.poll_output().is_none());
    }
    assert_eq!(machine.ws.next_timeout(), due);
}

#[test]
fn the_next_timeout_is_now_while_outputs_wait() {
    let mut machine = Machine::open(Role::Server, quiet());
    machine.at(ms(7_000));
    assert_eq!(machine.ws.next_timeout(), None);
    machine.ws.send(machine.now, "x").unwrap();
    assert_eq!(machine.ws.next_timeout(), Some(ms(7_000)));
    machine.drain();
    assert_eq!(machine.ws.next_timeout(), None);
    machine.feed(frame(Role::Server, TEXT, "y"));
    assert_eq!(machine.ws.next_timeout(), Some(ms(7_000)));
}

// Queues

#[test]
fn a_full_queue_hands_the_message_back_and_tells_once_when_there_is_room() {
    for role in ROLES {
        let mut machine = Machine::open(
            role,
            Config {
                max_queued_bytes: 10_000,
                ..quiet()
            },
        );
        machine.blocked = true;
        let message = |n: u8| Message::binary(vec![n; 4_000]);
        machine.ws.send(machine.now, message(1)).unwrap();
        machine.ws.send(machine.now, message(2)).unwrap();
        for _ in 0..3 {
            let error = machine.ws.send(machine.now, message(3)).unwrap_err();
            assert_eq!(error.refused, Refused::Full);
            assert_eq!(error.message, message(3), "unharmed");
        }
        machine.drain();
        machine.write(2_000);
        assert_eq!(machine.turn(), [""; 0], "more than half still waits");
        machine.write(2_000);
        let lines = machine.turn();
        assert!(lines.contains(&"drained".into()), "{lines:?}");
        machine.write(2_000);
        assert!(!machine.turn().contains(&"drained".into()), "told once");
        machine.ws.send(machine.now, message(3)).unwrap();
    }
}

#[test]
fn an_empty_queue_takes_one_message_however_long() {
    for role in ROLES {
        let mut machine = Machine::open(
            role,
            Config {
                max_queued_bytes: 10,
                ..quiet()
            },
        );
        machine.blocked = true;
        machine.ws.send(machine.now, vec![0; 5 << 20]).unwrap();
        assert_eq!(
            machine.ws.send(machine.now, "").unwrap_err().refused,
            Refused::Full
        );
        machine.blocked = false;
        let lines = machine.turn();
        assert!(lines.contains(&"drained".into()));
        machine.ws.send(machine.now, "").unwrap();
    }
}

#[test]
fn empty_messages_fill_the_queue_too() {
    let mut machine = Machine::open(Role::Server, quiet());
    machine.blocked = true;
    machine.drain();
    let queued = (0..2_000_000)
        .take_while(|_| machine.ws.send(machine.now, "").is_ok())
        .count();
    assert!(
        queued < 600_000,
        "a frame is at least two bytes of the queue: {queued}"
    );
}

#[test]
fn nothing_can_be_sent_before_the_connection_is_open() {
    for mut machine in [Machine::server(quiet()), Machine::client(quiet())] {
        let error = machine.ws.send(machine.now, "early").unwrap_err();
        assert_eq!(error.refused, Refused::NotOpen);
        assert_eq!(machine.ws.ping(machine.now, ""), Err(Refused::NotOpen));
    }
}

#[test]
fn a_ping_passes_a_message_of_100_mib() {
    for role in ROLES {
        let mut machine = Machine::open(role, quiet());
        machine.blocked = true;
        machine
            .ws
            .send(machine.now, Bytes::from(vec![0; 100 << 20]))
            .unwrap();
        machine.drain();
        machine.ws.ping(machine.now, "me first").unwrap();
        machine.feed(frame(role, PING, "and me"));
        let mut before = 0;
        let lines = loop {
            let room = 64 * 1024;
            assert!(machine.write(room));
            before += room;
            let lines = machine.turn();
            if lines.iter().any(|line| line.contains("me first")) {
                break lines;
            }
        };
        assert!(before < 3 << 20, "{before} bytes went before the ping");
        let controls: Vec<_> = lines
            .iter()
            .filter(|line| !line.contains("bytes"))
            .collect();
        assert_eq!(controls, ["-> pong \"and me\"", "-> ping \"me first\""]);
    }
}

#[test]
fn long_messages_go_out_in_fragments_that_add_up() {
    for role in ROLES {
        let config = Config {
            fragment_size: 1_000,
            ..quiet()
        };
        let mut machine = Machine::open(role, config);
        machine.ws.send(machine.now, vec![1; 2_500]).unwrap();
        machine.ws.send(machine.now, "whole").unwrap();
        machine.ws.send(machine.now, vec![2; 1_000]).unwrap();
        machine.ws.send(machine.now, vec![3; 2_000]).unwrap();
        assert_eq!(
            machine.turn(),
            [
                "-> binary.. 1000 bytes",
                "-> more.. 1000 bytes",
                "-> more 500 bytes",
                "-> text \"whole\"",
                "-> binary 1000 bytes",
                "-> binary.. 1000 bytes",
                "-> more 1000 bytes",
            ]
        );
    }
}

#[test]
fn a_message_is_sent_in_parts() {
    for role in ROLES {
        let mut machine = Machine::open(role, quiet());
        machine.ws.send_part(machine.now, "Hel", false).unwrap();
        machine.ws.ping(machine.now, "between").unwrap();
        machine.drain();
        let other = machine.ws.send(machine.now, vec![1]).unwrap_err();
        assert_eq!(other.refused, Refused::Unfinished);
        machine.ws.send_part(machine.now, "lo", false).unwrap();
        machine.ws.send_part(machine.now, "", true).unwrap();
        machine.ws.send(machine.now, vec![1]).unwrap();
        assert_eq!(
            machine.turn(),
            [
                "-> text.. \"Hel\"",
                "-> ping \"between\"",
                "-> more.. \"lo\"",
                "-> more \"\"",
                "-> binary [1]",
            ]
        );
    }
}

#[test]
fn a_message_sent_in_parts_with_compression_arrives() {
    for takeover in [false, true] {
        let deflate = Deflate {
            server_no_context_takeover: !takeover,
            client_no_context_takeover: !takeover,
            ..Deflate::default()
        };
        let config = || Config {
            deflate: Some(deflate.clone()),
            ..quiet()
        };
        let mut server = Machine::server(config());
        let mut client = Machine::client(config());
        shake_hands(&mut client, &mut server);
        client.turn();
        for round in 0..3 {
            let parts = [
                "Hello, ".repeat(50),
                String::new(),
                "world".into(),
                String::new(),
            ];
            for (i, part) in parts.iter().enumerate() {
                client
                    .ws
                    .send_part(client.now, part.as_str(), i == 3)
                    .unwrap();
                client.drain();
                if round == 1 {
                    server.feed(std::mem::take(&mut client.sent));
                }
            }
            client.ws.send(client.now, "short: not compressed").unwrap();
            client
                .ws
                .send(client.now, "long: compressed. ".repeat(100))
                .unwrap();
            client.drain();
            server.feed(std::mem::take(&mut client.sent));
            server.drain();
            assert_eq!(server.outcome.as_ref().map(|end| end.to_string()), None);
            let got: Vec<_> = server.messages.drain(..).collect();
            assert_eq!(
                got[0],
                Message::text(parts.concat()),
                "takeover: {takeover}"
            );
            assert_eq!(got.len(), 3);
        }
        let lines = client.turn();
        assert!(lines[0].starts_with("-> text*.. "), "{lines:?}");
        assert!(lines[1].starts_with("-> more.. "), "{lines:?}");
    }
}

/// Two machines open each other.
fn shake_hands(client: &mut Machine, server: &mut Machine) {
    client.drain();
    server.feed(std::mem::take(&mut client.sent));
    server.drain();
    client.feed(std::mem::take(&mut server.sent));
    client.drain();
    assert!(client.ws.is_open() && server.ws.is_open());
    server.turn();
}

// Streams upgraded elsewhere

#[test]
fn an_upgraded_stream_starts_open_and_with_the_bytes_left_over() {
    for role in ROLES {
        let mut machine = Machine::upgraded(role, Config::default());
        assert!(machine.ws.is_open());
        let leftover = [frame(role, TEXT, "already here"), vec![0x89]].concat();
        assert_eq!(machine.on(leftover), ["text \"already here\""]);
        let rest = frame(role, PING, "");
        assert_eq!(machine.on(&rest[1..]), ["-> pong \"\""]);
        machine.ws.send(machine.now, "hi").unwrap();
        assert_eq!(machine.turn(), ["-> text \"hi\""]);
    }
}

#[test]
fn an_upgraded_stream_compresses_as_agreed() {
    for role in ROLES {
        let config = Config {
            deflate: Some(Deflate::default()),
            ..Config::default()
        };
        let mut machine = Machine::upgraded(role, config);
        let text = "again and ".repeat(200);
        assert_eq!(
            machine.on(compressed(role, TEXT, text.as_bytes())),
            ["text 2000 bytes"]
        );
        machine.ws.send(machine.now, text.as_str()).unwrap();
        let lines = machine.turn();
        assert!(lines[0].starts_with("-> text* "), "{lines:?}");
        let mut sent = machine.sent.clone();
        let payload = [
            read_frame(&mut sent).unwrap().payload,
            vec![0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff],
        ]
        .concat();
        let inflated = miniz_oxide::inflate::decompress_to_vec(&payload).unwrap();
        assert_eq!(inflated, text.as_bytes());
    }
    // Not agreed: a reserved bit like any other.
    let mut machine = Machine::upgraded(Role::Server, Config::default());
    assert_eq!(
        machine.on(compressed(Role::Server, TEXT, b"x"))[0],
        "closed 1002 \"reserved bits set\" by Violation"
    );
}

#[test]
fn after_the_last_output_nothing_is_due() {
    for role in ROLES {
        let mut machine = Machine::open(role, Config::default());
        machine.feed(close_frame(role, 1000, ""));
        machine.ws.handle_eof(machine.now);
        machine.drain();
        assert!(machine.dropped);
        assert_eq!(machine.ws.next_timeout(), None);
        machine.ws.handle_timeout(Tick::from_millis(1_000_000));
        machine.feed(frame(role, TEXT, "late"));
        assert!(machine.ws.poll_output().is_none());
    }
}
