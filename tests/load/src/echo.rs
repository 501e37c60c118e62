//! Libraries, by the echo: servers and loads.

use std::error::Error;

use crate::Args;
use crate::servers::{BOTH_CORES, Server, Source, Speaks, node};
use crate::workloads::{Kind, Workload};

/// The name of the ceiling.
pub(crate) const CEILING: &str = "rawecho";

/// Every server there is, in the order of the tables.
pub(crate) fn servers(args: &Args) -> Result<Vec<Server>, Box<dyn Error>> {
    let new = Server::new;
    let raw = Source::Binary {
        package: "loadgen",
        name: CEILING,
    };
    let mut all = vec![new(CEILING, raw, None, &["{port}"], Speaks::Raw)];

    let example = |package, example, features| Source::Example {
        package,
        example,
        features,
    };
    let address = "127.0.0.1:{port}";
    let deflate = "--deflate";
    let epoll = example("smartsocket-core", "epoll_echo", "std");
    let smol = example("smartsocket-smol", "echo", "");
    let smol_zlib = example("smartsocket-smol", "echo", "zlib-rs");
    let threads = example("smartsocket-std", "echo", "");
    let threads_zlib = example("smartsocket-std", "echo", "zlib-rs");
    all.extend([
        new("epoll", epoll, None, &[address], Speaks::Plain),
        new("smol", smol.clone(), None, &[address], Speaks::Plain),
        new("std", threads, None, &[address], Speaks::Plain),
        new(
            "smol-deflate",
            smol_zlib,
            None,
            &[address, deflate],
            Speaks::Deflate,
        ),
        new(
            "smol-deflate-miniz",
            smol.clone(),
            None,
            &[address, deflate],
            Speaks::Deflate,
        ),
        new(
            "std-deflate",
            threads_zlib,
            None,
            &[address, deflate],
            Speaks::Deflate,
        ),
    ]);
    all.push(Server {
        cores: BOTH_CORES,
        ..new(
            "smol-2",
            smol,
            None,
            &[address, "--shards", "2"],
            Speaks::Scaling,
        )
    });

    let peer = |name, library, option: &str, speaks| {
        let package = match library {
            "soketto" => "peer-soketto",
            _ => "peers",
        };
        let source = Source::Binary {
            package,
            name: library,
        };
        let options = ["{port}", option];
        let options = &options[..if option.is_empty() { 1 } else { 2 }];
        new(name, source, Some(library), options, speaks)
    };
    let batch = "--batch";
    all.extend([
        peer("tokio-tungstenite", "tokio-tungstenite", "", Speaks::Plain),
        peer(
            "tokio-tungstenite-tuned",
            "tokio-tungstenite",
            batch,
            Speaks::Plain,
        ),
        peer("tungstenite-threads", "tungstenite", "", Speaks::Plain),
        peer("fastwebsockets", "fastwebsockets", "", Speaks::Plain),
        peer("tokio-websockets", "tokio-websockets", "", Speaks::Plain),
        peer(
            "tokio-websockets-batch",
            "tokio-websockets",
            batch,
            Speaks::Plain,
        ),
        peer("yawc", "yawc", "", Speaks::Plain),
        peer("yawc-batch", "yawc", batch, Speaks::Plain),
        peer("yawc-deflate", "yawc", deflate, Speaks::Deflate),
        peer("sockudo-ws", "sockudo-ws", "", Speaks::Plain),
        peer("sockudo-ws-batch", "sockudo-ws", batch, Speaks::Plain),
        peer("sockudo-ws-deflate", "sockudo-ws", deflate, Speaks::Deflate),
        peer("soketto-smol", "soketto", "", Speaks::Plain),
        peer("soketto-smol-deflate", "soketto", deflate, Speaks::Deflate),
    ]);
    if node() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/node_ws.mjs");
        let ws = Some("ws");
        all.extend([
            new(
                "node-ws",
                Source::Node,
                ws,
                &[script, "{port}"],
                Speaks::Plain,
            ),
            new(
                "node-ws-deflate",
                Source::Node,
                ws,
                &[script, "{port}", deflate],
                Speaks::Deflate,
            ),
        ]);
    }

    for (peers, speaks) in [
        (&args.peer, Speaks::Plain),
        (&args.deflate_peer, Speaks::Deflate),
    ] {
        for peer in peers {
            all.push(Server::given(peer, speaks)?);
        }
    }
    Ok(all)
}

/// Every load there is.
pub(crate) fn workloads() -> Vec<Workload> {
    let new = |name: String, kind, size, connections, pipeline| Workload {
        name,
        kind,
        size,
        connections,
        pipeline,
    };
    let mut all = Vec::new();
    for (size, connections, pipeline) in [
        (20, 1, 1),
        (20, 32, 1),
        (20, 500, 1),
        (20, 32, 16),
        (512, 32, 1),
        (16 << 10, 1, 1),
        (16 << 10, 32, 1),
        (1 << 20, 1, 1),
        (1 << 20, 32, 1),
    ] {
        let length = match size {
            0x10_0000.. => format!("{}M", size >> 20),
            0x400.. => format!("{}K", size >> 10),
            _ => size.to_string(),
        };
        let depth = match pipeline {
            1 => String::new(),
            depth => format!("p{depth}"),
        };
        let name = format!("{length}/{connections}{depth}");
        all.push(new(name, Kind::Echo, size, connections, pipeline));
    }
    for connections in [1, 10, 100, 1_000, 10_000] {
        let name = format!("scale-{connections}");
        all.push(new(name, Kind::Scale, 20, connections, 1));
    }
    for (name, size) in [("deflate-200", 200), ("deflate-4K", 4 << 10)] {
        all.push(new(name.into(), Kind::Deflate, size, 32, 1));
    }
    all.push(new("storm".into(), Kind::Storm, 20, 1, 1));
    for (name, kind, size) in [
        ("idle", Kind::Idle, 20),
        ("idle-20", Kind::Touched, 20),
        ("idle-16K", Kind::Touched, 16 << 10),
    ] {
        all.push(new(name.into(), kind, size, 10_000, 1));
    }
    all
}
