//! The client side of the Autobahn test suite: echoes what its fuzzing server
//! sends, case by case.
//!
//! ```text
//! cargo run --release -p smartsocket-smol --example echo_client -- ws://127.0.0.1:9001 [--deflate]
//! ```

use std::env;
use std::error::Error;

use smartsocket_smol::deflate::Deflate;
use smartsocket_smol::{Config, Connect, WebSocket, block_on};

const AGENT: &str = "smartsocket-smol";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let server = args
        .next()
        .ok_or("usage: echo_client ws://HOST:PORT [--deflate]")?;
    let deflate = args.any(|arg| arg == "--deflate");
    block_on(async {
        let cases: u32 = {
            let mut ws = open(&server, "/getCaseCount", deflate).await?;
            let count = ws
                .recv()
                .await
                .ok_or("the suite told no number of cases")??;
            count
                .as_text()
                .ok_or("the number of cases is not text")?
                .parse()?
        };
        for case in 1..=cases {
            let mut ws = open(
                &server,
                &format!("/runCase?case={case}&agent={AGENT}"),
                deflate,
            )
            .await?;
            while let Some(Ok(message)) = ws.recv().await {
                if ws.send(message).await.is_err() {
                    break;
                }
            }
        }
        let mut ws = open(&server, &format!("/updateReports?agent={AGENT}"), deflate).await?;
        while ws.recv().await.is_some() {}
        Ok(())
    })
}

async fn open(
    server: &str,
    path: &str,
    deflate: bool,
) -> Result<WebSocket, smartsocket_smol::Error> {
    let config = Config {
        max_message: 64 << 20,
        max_queued_bytes: 64 << 20,
        max_fragments: 1_000_000,
        deflate: deflate.then(Deflate::default),
        ..Config::default()
    };
    Connect::new(&format!("{server}{path}"))?
        .config(config)
        .open()
        .await
}
