//! Requests the application decides about: transcripts with times, in seconds
//! after the connection was accepted.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
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
                "closed 1006 \"\" by Fault: connection reset by peer (ECONNRESET)",
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

fn reading() -> Config {
    Config {
        max_body: 100,
        ..deciding()
    }
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /rooms HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}")
}

/// The status that refuses a request.
fn status(request: &str) -> u16 {
    let mut server = Machine::server(reading());
    server.feed(request);
    server.drain();
    assert!(server.tickets.is_empty(), "{request}");
    assert!(server.shut, "{request}");
    let sent = String::from_utf8(server.sent.clone()).unwrap();
    assert_eq!(sent.matches("HTTP/1.1 ").count(), 1, "{sent}");
    sent["HTTP/1.1 ".len()..][..3].parse().unwrap()
}

#[test]
fn the_application_is_asked_when_all_of_a_body_is_there() {
    let mut server = Machine::server(reading());
    assert_eq!(server.on(post("Content-Length: 11\r\n", "hello")), [""; 0]);
    assert_eq!(server.on(" worl"), [""; 0]);
    assert_eq!(server.on("d"), ["request POST /rooms"]);
    let ticket = server.tickets.pop().unwrap();
    assert!(!ticket.is_upgrade());
    assert_eq!(ticket.request().body(), "hello world");
    assert!(!format!("{:?}", ticket.request()).contains("hello"));
    server
        .ws
        .decide(server.now, ticket.respond(Response::text(200, "fine")));
    server.drain();
    let sent = String::from_utf8(server.sent.clone()).unwrap();
    assert!(sent.ends_with("\r\n\r\nfine"), "{sent}");
}

#[test]
fn a_request_without_content_is_asked_about_at_once() {
    for request in [
        "GET /rooms HTTP/1.1\r\nHost: h\r\n\r\n",
        "DELETE /rooms HTTP/1.0\r\n\r\n",
        "GET /rooms HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
        &post("Content-Length: 0\r\n", ""),
        &post("content-length:000\r\n", ""),
    ] {
        let mut server = Machine::server(reading());
        server.feed(request);
        server.drain();
        assert_eq!(server.tickets.len(), 1, "{request}");
        assert_eq!(server.sent, b"");
        assert!(server.tickets[0].request().body().is_empty());
    }
}

#[test]
fn a_client_that_waits_is_told_to_send_its_body() {
    let mut server = Machine::server(reading());
    let fields = "Expect: 100-Continue\r\nContent-Length: 100\r\n";
    assert_eq!(server.on(post(fields, "")), ["-> HTTP/1.1 100 Continue"]);
    assert_eq!(server.on("x".repeat(100)), ["request POST /rooms"]);
    assert_eq!(server.tickets[0].request().body().len(), 100);
    assert_eq!(server.sent, b"HTTP/1.1 100 Continue\r\n\r\n");
    // HTTP/1.0 knows no interim answers.
    let mut server = Machine::server(reading());
    server.feed("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(server.turn(), [""; 0]);
}

#[test]
fn a_body_that_cannot_be_read_is_refused_at_its_head() {
    for (fields, expected) in [
        ("Content-Length: 101\r\n", 413),
        ("Content-Length: 18446744073709551616\r\n", 413),
        ("Expect: 100-continue\r\nContent-Length: 101\r\n", 413),
        ("", 411),
        ("Transfer-Encoding: chunked\r\n", 411),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Expect: a-miracle\r\nContent-Length: 5\r\n", 417),
    ] {
        assert_eq!(status(&post(fields, "hello")), expected, "{fields}");
    }
    let get = "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status(get), 411);
    let upgrade = REQUEST.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(status(&upgrade), 400);
}

#[test]
fn a_body_that_does_not_come_in_time_ends_the_connection() {
    let mut server = Machine::server(reading());
    server.feed(post("Content-Length: 11\r\n", "hello"));
    server.at(ms(4_000)).feed(" worl");
    assert_eq!(
        server.run_until(ms(60_000))[..2],
        [
            "5.000 closed 1006 \"\" by Handshake timeout",
            "5.000 -> HTTP/1.1 408 Request Timeout",
        ]
    );
    assert!(server.tickets.is_empty());

    let mut server = Machine::server(reading());
    server.feed(post("Content-Length: 11\r\n", "hello"));
    server.ws.handle_eof(server.now);
    assert_eq!(
        server.turn(),
        ["closed 1006 \"\" by Eof", "shutdown", "drop"]
    );
    assert!(server.tickets.is_empty());
}

#[test]
fn bodies_are_thrown_away_where_none_are_wanted() {
    for fields in ["", "Content-Length: 5\r\n", "Content-Length: 1000000\r\n"] {
        let mut server = Machine::server(deciding());
        server.feed(post(fields, "hello"));
        assert_eq!(server.turn(), ["request POST /rooms"]);
        assert_eq!(server.tickets[0].request().body(), "");
    }
}

proptest! {
    #[test]
    fn a_body_is_the_same_however_it_is_cut(
        length in 0_usize..=100, more in 0_usize..50, waits in any::<bool>(),
        cuts in proptest::collection::vec(0_usize..300, 0..8),
    ) {
        let expect = if waits { "Expect: 100-continue\r\n" } else { "" };
        let fields = format!("{expect}Content-Length: {length}\r\n");
        let stream = post(&fields, &"x".repeat(length)) + &"y".repeat(more);
        let mut cuts: Vec<_> = cuts.into_iter().filter(|&cut| cut < stream.len()).collect();
        cuts.sort_unstable();
        let mut server = Machine::server(reading());
        let mut from = 0;
        for to in cuts.into_iter().chain([stream.len()]) {
            server.feed(&stream.as_bytes()[from..to]);
            from = to;
        }
        server.drain();
        let ticket = server.tickets.pop().unwrap();
        prop_assert_eq!(ticket.request().body(), &"x".repeat(length));
        server.ws.decide(server.now, ticket.respond(Response::new(204)));
        server.drain();
        let sent = String::from_utf8(server.sent.clone()).unwrap();
        let before = if waits && length > 0 { "HTTP/1.1 100 Continue\r\n\r\n" } else { "" };
        prop_assert_eq!(sent, format!("{before}HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"));
    }
}
