//! SmartSocket: a server of before CONNECT had an answer.

use std::time::{Duration, Instant};

use serde_json::json;
use smartsocket_core::client::{Provider, SmartSocket, State};

use crate::on_both;
use crate::runtimes::Runtime;
use crate::servers::Server;
use crate::survival::{Ask, Case};

on_both!(an_older_server, older_packets);

fn options() -> SmartSocket {
    SmartSocket {
        connect_ack_timeout: Duration::from_millis(300),
        ..SmartSocket::default()
    }
}

fn case() -> Case {
    Case {
        ask: Some(Ask {
            channel: None,
            event: "ask",
            data: || json!({ "n": 1 }),
            answer: || json!({ "asked": { "n": 1 } }),
        }),
        channel: "news",
        ..Case::new(
            "smartsocket_old.mjs",
            Provider::SmartSocket(Box::new(options())),
        )
    }
}

/// It says nothing when somebody comes: who is connected is in after a while.
fn an_older_server(runtime: Runtime) {
    case().survives(runtime);
}

fn older_packets(runtime: Runtime) {
    let mut server = Server::start("smartsocket_old.mjs");
    let client = case().client(runtime, &server);
    let begin = Instant::now();
    client.connect().unwrap();
    assert!(begin.elapsed() >= options().connect_ack_timeout);
    assert_eq!(client.state(), State::Authenticated);
    let news = client.subscribe("news");
    for how in ["push", "packed", "room"] {
        server.tell(&format!("{how} {how}"));
        assert_eq!(news.json(), json!({ "text": how }).to_string());
    }
    server.tell("ping");
    server.hear("pong");
    // Long enough to go as a packet, which this server cannot inflate.
    let long = "κόσμε 🦀".repeat(500);
    client.publish(None, "say", &json!({ "text": long }));
    assert_eq!(server.hear("said "), long);
    client.disconnect();
}
