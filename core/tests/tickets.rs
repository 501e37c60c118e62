//! Requests the application decides about: transcripts with times, in seconds
//! after the connection was accepted.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use smartsocket_core::http::Response;
use smartsocket_core::websocket::{Accept, Role};
use smartsocket_core::{CloseCode, Config, Fault};

fn deciding() -> Config {
    Config {
        decide: true,
        ..Config::default()
    }
}

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
