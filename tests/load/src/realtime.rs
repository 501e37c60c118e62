//! Realtime servers: which there are, and the loads.

use std::error::Error;

use crate::Args;
use crate::servers::{Server, Source, Speaks, node};
use crate::workloads::{Kind, Workload};

/// What the others are held against.
pub(crate) const BASE: &str = "smol";

/// Every server there is, in the order of the tables.
pub(crate) fn servers(args: &Args) -> Result<Vec<Server>, Box<dyn Error>> {
    if !args.deflate_peer.is_empty() {
        return Err("nothing is compressed here: --peer".into());
    }
    let port: &[_] = &["{port}"];
    let binary = |package, name| Source::Binary { package, name };
    let ours = |name, program| {
        let source = binary("ours", program);
        Server::new(name, source, None, port, Speaks::Smartsocket)
    };
    let mut all = vec![
        ours(BASE, "realtime-smol"),
        Server::new(
            "serve",
            Source::Program,
            None,
            &["serve", "--port", "{port}", "--max-connections", "20000"],
            Speaks::Publishing,
        ),
        ours("std", "realtime-std"),
        Server::new(
            "socketioxide",
            binary("peers", "socketioxide"),
            Some("socketioxide"),
            port,
            Speaks::Socketio,
        ),
    ];
    if node() {
        let script = |name, path, package, speaks| {
            Server::new(name, Source::Node, Some(package), &[path, "{port}"], speaks)
        };
        let socketio = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/node_socketio.mjs");
        let engineio = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/node_engineio.mjs");
        let ws = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/node_ws_events.mjs");
        all.extend([
            script("socket.io", socketio, "socket.io", Speaks::Socketio),
            script("engine.io", engineio, "engine.io", Speaks::Engineio),
            script("node-ws", ws, "ws", Speaks::Smartsocket),
        ]);
    }
    for peer in &args.peer {
        all.push(Server::given(peer, Speaks::Publishing)?);
    }
    Ok(all)
}

/// Every load there is.
pub(crate) fn workloads() -> Vec<Workload> {
    let mut all = Vec::new();
    for (name, kind) in [("publish", Kind::Publish), ("say", Kind::Say)] {
        for connections in [500, 1_000, 10_000] {
            for (length, size) in [("64", 64), ("1K", 1_024)] {
                all.push(Workload {
                    name: format!("{name}-{length}/{connections}"),
                    kind,
                    size,
                    connections,
                    pipeline: 8,
                });
            }
        }
    }
    for (name, kind, connections, pipeline) in [
        ("ack/1", Kind::Ack, 1, 1),
        ("ack/32", Kind::Ack, 32, 1),
        ("ack/32p16", Kind::Ack, 32, 16),
        ("ack/500", Kind::Ack, 500, 1),
        ("event/32", Kind::Events, 32, 1),
        ("event/32p16", Kind::Events, 32, 16),
        ("event/500", Kind::Events, 500, 1),
        ("rooms/32", Kind::Rooms, 32, 1),
        ("rooms/32p16", Kind::Rooms, 32, 16),
        ("heard", Kind::Heard, 32, 1),
        ("unheard", Kind::Unheard, 32, 1),
        ("joined", Kind::Joined, 10_000, 1),
    ] {
        all.push(Workload {
            name: name.into(),
            kind,
            size: 64,
            connections,
            pipeline,
        });
    }
    all
}
