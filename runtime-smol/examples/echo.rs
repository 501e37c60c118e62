//! Sends every message back.
//!
//! ```text
//! cargo run --release -p smartsocket-smol --example echo -- 127.0.0.1:9001 [--deflate] [--shards N]
//!     [--tls-cert FILE --tls-key FILE]
//! ```

use std::env;
use std::error::Error;

use smartsocket_smol::deflate::Deflate;
use smartsocket_smol::http::Origins;
use smartsocket_smol::{Config, Server, WebSocket, block_on};

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let scheme = if options.config.server_tls.is_some() {
        "wss"
    } else {
        "ws"
    };
    let server = Server::bind(&options.address)?
        .config(options.config)
        .shards(options.shards)
        .max_connections(100_000)
        .stop_on_signals();
    eprintln!(
        "listening on {scheme}://{}",
        server.local_addr().ok_or("no address")?
    );
    block_on(server.run(echo))?;
    Ok(())
}

/// The obvious loop; answers to messages that came together leave together.
async fn echo(mut ws: WebSocket) {
    while let Some(Ok(message)) = ws.recv().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

struct Options {
    address: String,
    shards: usize,
    config: Config,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let mut options = Options {
        address: args
            .next()
            .ok_or("usage: echo ADDRESS [--deflate] [--shards N]")?,
        shards: 1,
        // Limits for test suites and load: far above the defaults.
        config: Config {
            max_message: 64 << 20,
            max_queued_bytes: 64 << 20,
            max_fragments: 1_000_000,
            // An echo gives nothing away that a foreign page could be after.
            origins: Origins::Any,
            ..Config::default()
        },
    };
    let (mut certificate, mut key) = (None, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match &*arg {
            "--deflate" => options.config.deflate = Some(Deflate::default()),
            "--shards" => options.shards = value()?.parse()?,
            "--tls-cert" => certificate = Some(std::fs::read(value()?)?),
            "--tls-key" => key = Some(std::fs::read(value()?)?),
            _ => return Err(format!("unknown option {arg}").into()),
        }
    }
    if let (Some(certificate), Some(key)) = (certificate, key) {
        options.config.server_tls = Some(smartsocket_smol::tls::ServerTls::from_pem(
            &certificate,
            &key,
        )?);
    }
    Ok(options)
}
