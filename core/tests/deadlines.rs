//! What happens when, and what happens when nothing does: transcripts with
//! times, in seconds after the connection was accepted or dialed.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use smartsocket_core::Config;
use smartsocket_core::websocket::Role;

/// Deadlines apart from the one under test are off.
fn quiet() -> Config {
    Config {
        ping_interval: None,
        write_timeout: None,
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
            "5.000 -> \"{\\\"success\\\":false,\\\"error\\\":\\\"the request took too long\\\"}\\n\"",
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
