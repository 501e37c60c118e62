//! `smartsocket serve`: a server.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::thread;

use async_signal::{Signal, Signals};
use futures_lite::StreamExt as _;
use smartsocket_smol::deflate::Deflate;
use smartsocket_smol::tls::{ServerTls, TlsError};
use smartsocket_smol::{Config, Server, Stopper, WebSocket, block_on};

use crate::explain::{Failure, last_part};
use crate::output::note;
use crate::routes::Status;
use crate::target::read;
use crate::values::positive_size;

const NOTES: &str = "\
Paths:
  /echo      WebSocket that sends every message back
  /          console page for trying it in a browser
  /healthz   {\"status\":\"ok\",...}

Signals:
  SIGINT, SIGTERM   close every connection with 1001, then end; a second one ends at once
  SIGHUP            with TLS: read certificate and key again

Examples:
  smartsocket serve
  smartsocket serve --port 0                         a free port, told on stderr
  smartsocket serve --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem";

/// Options of the server.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Serve {
    /// Address to listen on; 0.0.0.0 or :: for all of this machine
    #[arg(long, env = "SMARTSOCKET_HOST", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(short, long, env = "PORT", default_value_t = 3000)]
    port: u16,
    /// Threads that serve connections
    #[arg(
        long,
        value_name = "N",
        env = "SMARTSOCKET_SHARDS",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    shards: u16,
    /// Longest message taken; longer ones close the connection with 1009
    #[arg(
        long,
        value_name = "BYTES",
        env = "SMARTSOCKET_MAX_MESSAGE",
        default_value = "1M",
        value_parser = positive_size
    )]
    max_message: usize,
    /// Speak TLS with this certificate chain (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "SMARTSOCKET_TLS_CERT",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,
    /// The private key (PEM) of --tls-cert
    #[arg(
        long,
        value_name = "FILE",
        env = "SMARTSOCKET_TLS_KEY",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
}

/// A certificate with the files it came from.
#[derive(Debug)]
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Serve {
    /// Serves until a signal comes.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let pair = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some(Pair {
                cert: cert.clone(),
                key: key.clone(),
            }),
            _ => None,
        };
        let tls = pair.as_ref().map(Pair::load).transpose()?;
        let secure = tls.is_some();
        let config = Config {
            max_message: self.max_message,
            deflate: Some(Deflate::default()),
            server_tls: tls.clone(),
            ..Config::default()
        };
        let status = Status::new();
        let deciding = status.clone();
        let server = self
            .bind()?
            .config(config)
            .shards(self.shards.into())
            .on_request(move |ticket| std::future::ready(deciding.decide(ticket)));
        let Some(address) = server.local_addr() else {
            return Err(Failure::new("the system does not tell the address in use"));
        };
        // Before the ready line: who reads it may send a signal at once.
        listen_to_signals(server.stopper(), tls.zip(pair))
            .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;
        if !secure && !address.ip().is_loopback() {
            note(
                "warning: other machines can connect, and nothing is encrypted: \
                 add --tls-cert and --tls-key, or put a TLS proxy before it",
            );
        }
        let scheme = if secure { "wss" } else { "ws" };
        note(&format!("listening on {scheme}://{address}"));
        block_on(server.run(async move |websocket: WebSocket| {
            let counted = status.count();
            echo(websocket).await;
            drop(counted);
        }))
        .map_err(|error| Failure::new(format!("cannot serve: {error}")))?;
        Ok(0)
    }

    fn bind(&self) -> Result<Server, Failure> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = (host, self.port)
            .to_socket_addrs()
            .map_err(|error| {
                Failure::new(format!(
                    "--host {}: not an address, nor the name of one ({})",
                    self.host,
                    last_part(&error.to_string())
                ))
            })?
            .collect();
        Server::bind(&addresses[..]).map_err(|error| self.explain(&error))
    }

    /// Why the port cannot be had.
    fn explain(&self, error: &io::Error) -> Failure {
        let Self { host, port, .. } = self;
        // An open set of kinds: the rest is told in the system's words.
        #[expect(clippy::wildcard_enum_match_arm)]
        Failure::new(match error.kind() {
            ErrorKind::AddrInUse => format!(
                "port {port} on {host} is in use: stop the other program or choose one with --port"
            ),
            ErrorKind::PermissionDenied => format!(
                "no permission to listen on port {port}: choose one of 1024 or more with --port"
            ),
            ErrorKind::AddrNotAvailable => {
                format!("{host} is no address of this machine: choose one with --host")
            }
            _ => format!("cannot listen on port {port} of {host}: {error}"),
        })
    }
}

impl Pair {
    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        Ok((
            read(&self.cert, "--tls-cert")?,
            read(&self.key, "--tls-key")?,
        ))
    }

    fn load(&self) -> Result<ServerTls, Failure> {
        let (cert, key) = self.read()?;
        ServerTls::from_pem(&cert, &key).map_err(|error| self.explain(&error))
    }

    fn reload(&self, tls: &ServerTls) -> Result<(), Failure> {
        let (cert, key) = self.read()?;
        tls.reload(&cert, &key)
            .map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &TlsError) -> Failure {
        Failure::new(format!(
            "cannot use --tls-cert {} with --tls-key {}: {error}",
            self.cert.display(),
            self.key.display()
        ))
    }
}

/// Sends every message back; answers to messages that came together leave
/// together.
async fn echo(mut websocket: WebSocket) {
    log::debug!(target: "smartsocket:server", "a connection opened");
    while let Some(Ok(message)) = websocket.recv().await {
        if websocket.send(message).await.is_err() {
            break;
        }
    }
    if let Some(closed) = websocket.closed() {
        log::debug!(target: "smartsocket:server", "a connection ended: {closed}");
    }
}

/// Acts on signals from now on, on a thread that has time to read files.
fn listen_to_signals(stopper: Stopper, tls: Option<(ServerTls, Pair)>) -> io::Result<()> {
    let mut wanted = vec![Signal::Int, Signal::Term];
    if tls.is_some() {
        // Without TLS it keeps its meaning: the terminal is gone.
        wanted.push(Signal::Hup);
    }
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            while let Some(Ok(signal)) = block_on(signals.next()) {
                match (signal, &tls) {
                    (Signal::Hup, Some((tls, pair))) => match pair.reload(tls) {
                        Ok(()) => {
                            log::info!(target: "smartsocket:tls", "certificate and key read again");
                        }
                        Err(failure) => {
                            log::error!(
                                target: "smartsocket:tls",
                                "the old certificate stays in use: {}",
                                failure.text
                            );
                        }
                    },
                    _ if stopping => std::process::exit(130),
                    _ => {
                        log::info!(target: "smartsocket:server", "stopping on a signal");
                        stopping = true;
                        stopper.stop();
                    }
                }
            }
        })?;
    Ok(())
}
