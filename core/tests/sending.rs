//! Queues, fragments and parts, and streams upgraded elsewhere.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::websocket::Role;
use smartsocket_core::{Config, Message, Refused, Tick};

/// Deadlines apart from the one under test are off.
fn quiet() -> Config {
    Config {
        ping_interval: None,
        write_timeout: None,
        ..Config::default()
    }
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
