//! Sends every message back.
//!
//! ```text
//! cargo run --release -p smartsocket-std --example echo -- 127.0.0.1:9001 [--deflate]
//!     [--tls-cert FILE --tls-key FILE]
//! ```

use std::env;
use std::error::Error;

use smartsocket_std::deflate::Deflate;
use smartsocket_std::http::Origins;
use smartsocket_std::{Config, Server, WebSocket};

fn main() -> Result<(), Box<dyn Error>> {
    let (address, config) = options()?;
    #[cfg(feature = "tls")]
    let secure = config.server_tls.is_some();
    #[cfg(not(feature = "tls"))]
    let secure = false;
    let server = Server::bind(address)?
        .config(config)
        .max_connections(100_000)
        .stop_on_signals();
    eprintln!(
        "listening on {}://{}",
        if secure { "wss" } else { "ws" },
        server.local_addr().ok_or("no address")?
    );
    server.run(echo)?;
    Ok(())
}

/// The obvious loop; answers to messages that came together leave together.
fn echo(mut ws: WebSocket) {
    while let Some(Ok(message)) = ws.recv() {
        if ws.send(message).is_err() {
            break;
        }
    }
}

fn options() -> Result<(String, Config), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args
        .next()
        .ok_or("usage: echo ADDRESS [--deflate] [--tls-cert FILE --tls-key FILE]")?;
    // Limits for test suites and load: far above the defaults.
    let mut config = Config {
        max_message: 64 << 20,
        max_queued_bytes: 64 << 20,
        max_fragments: 1_000_000,
        // An echo gives nothing away that a foreign page could be after.
        origins: Origins::Any,
        ..Config::default()
    };
    let (mut certificate, mut key) = (None, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match &*arg {
            "--deflate" => config.deflate = Some(Deflate::default()),
            "--shards" => eprintln!("--shards {} means nothing to threads", value()?),
            "--tls-cert" => certificate = Some(std::fs::read(value()?)?),
            "--tls-key" => key = Some(std::fs::read(value()?)?),
            _ => return Err(format!("unknown option {arg}").into()),
        }
    }
    #[cfg(feature = "tls")]
    if let (Some(certificate), Some(key)) = (&certificate, &key) {
        use smartsocket_std::tls::ServerTls;
        config.server_tls = Some(ServerTls::from_pem(certificate, key)?);
    }
    #[cfg(not(feature = "tls"))]
    if certificate.or(key).is_some() {
        return Err("built without feature tls".into());
    }
    Ok((address, config))
}
