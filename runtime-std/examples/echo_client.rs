//! The client side of the Autobahn test suite: echoes what its fuzzing server
//! sends, case by case.
//!
//! ```text
//! cargo run --release -p smartsocket-std --example echo_client -- ws://127.0.0.1:9001 [--deflate]
//! ```

use std::env;
use std::error::Error;

use smartsocket_std::deflate::Deflate;
use smartsocket_std::{Config, Connect, WebSocket};

const AGENT: &str = "smartsocket-std";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let usage = "usage: echo_client ws://HOST:PORT [--deflate]";
    let server = args.next().ok_or(usage)?;
    let deflate = args.any(|arg| arg == "--deflate");
    let open = |path: &str| open(&format!("{server}{path}"), deflate);

    let count = open("/getCaseCount")?
        .recv()
        .ok_or("the suite told no number of cases")??;
    let count: u32 = count.as_text().unwrap_or_default().parse()?;
    for case in 1..=count {
        let mut ws = open(&format!("/runCase?case={case}&agent={AGENT}"))?;
        while let Some(Ok(message)) = ws.recv() {
            if ws.send(message).is_err() {
                break;
            }
        }
    }
    let mut ws = open(&format!("/updateReports?agent={AGENT}"))?;
    while ws.recv().is_some() {}
    Ok(())
}

fn open(url: &str, deflate: bool) -> Result<WebSocket, smartsocket_std::Error> {
    let config = Config {
        max_message: 64 << 20,
        max_queued_bytes: 64 << 20,
        max_fragments: 1_000_000,
        deflate: deflate.then(Deflate::default),
        ..Config::default()
    };
    Connect::new(url)?.config(config).open()
}
