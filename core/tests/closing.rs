//! How connections end: transcripts with times, in seconds after the
//! connection was accepted or dialed.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use smartsocket_core::websocket::Role;
use smartsocket_core::{CloseCode, Config, Fault, Message, Refused};

fn deciding() -> Config {
    Config {
        decide: true,
        ..Config::default()
    }
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
                "closed 1006 \"\" by Fault: connection reset by peer (ECONNRESET)",
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
