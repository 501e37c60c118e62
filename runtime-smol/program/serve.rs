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

use crate::application;
use crate::explain::{Failure, last_part};
use crate::output::note;
use crate::routes::Status;
use crate::target::read;
use crate::values::positive_size;

const NOTES: &str = "\
WebSocket paths:
  /, /chat   SmartSocket: events echo, message, join, leave, say
  /ws        Ignis; on loopback, the token \"dev\" authenticates
  /rnode     RNode; rooms are made by POST /websocket/rooms
  /mb        MB Server Node: topics, requests
  /echo      every message comes back
  /pub, /sub what is sent to the one comes to all of the other

HTTP paths:
  /                   console page for trying it in a browser
  /healthz            {\"status\":\"ok\",...}
  /smartsocket.js     client for browsers and Node, a module; /smartsocket.d.ts its types
  /client.js          the same as a plain script: window.SmartSocket
  /metrics            figures, as JSON or for Prometheus
  /websocket/rooms    rooms and clients of /rnode; see the README

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
        if self.shards > 1 {
            return self.echo_only(tls, pair);
        }
        let loopback = self
            .addresses()?
            .iter()
            .all(|address| address.ip().is_loopback());
        let options = application::Options {
            max_message: self.max_message,
            dev_token: loopback,
        };
        let status = Status::new();
        let answering = status.clone();
        let builder = Server::builder()
            .config(|config| config.listener.server_tls = tls.clone())
            .on_request(move |request, io| {
                std::future::ready(answering.answer(&request, io.stats().connections))
            });
        let server = application::routes(builder, &options)
            .bind(&self.addresses()?[..])
            .map_err(|error| self.explain(&error))?;
        let address = told(server.local_addr())?;
        // Before the ready line: who reads it may send a signal at once.
        listen_to_signals(server.stopper(), tls.zip(pair))
            .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;
        warn_of_others(secure, address);
        if options.dev_token {
            note(
                "note: the token \"dev\" authenticates on /ws, since only this machine can connect",
            );
        }
        let scheme = if secure { "wss" } else { "ws" };
        note(&format!("listening on {scheme}://{address}"));
        block_on(server.run()).map_err(|error| Failure::new(format!("cannot serve: {error}")))?;
        Ok(0)
    }

    /// Rooms and users are on one thread: several threads only echo.
    fn echo_only(&self, tls: Option<ServerTls>, pair: Option<Pair>) -> Result<u8, Failure> {
        let secure = tls.is_some();
        let status = Status::new();
        let deciding = status.clone();
        let server = Server::bind(&self.addresses()?[..])
            .map_err(|error| self.explain(&error))?
            .config(Config {
                max_message: self.max_message,
                deflate: Some(Deflate::default()),
                server_tls: tls.clone(),
                ..Config::default()
            })
            .shards(self.shards.into())
            .on_request(move |ticket| std::future::ready(deciding.decide(ticket)));
        let address = told(server.local_addr())?;
        listen_to_signals(server.stopper(), tls.zip(pair))
            .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;
        warn_of_others(secure, address);
        note(&format!(
            "note: with --shards {} only /echo is served",
            self.shards
        ));
        let scheme = if secure { "wss" } else { "ws" };
        note(&format!("listening on {scheme}://{address}"));
        block_on(server.run(async move |websocket: WebSocket| {
            let counted = status.count();
            application::echo(websocket).await;
            drop(counted);
        }))
        .map_err(|error| Failure::new(format!("cannot serve: {error}")))?;
        Ok(0)
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        Ok((host, self.port)
            .to_socket_addrs()
            .map_err(|error| {
                Failure::new(format!(
                    "--host {}: not an address, nor the name of one ({})",
                    self.host,
                    last_part(&error.to_string())
                ))
            })?
            .collect())
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

fn told(address: Option<SocketAddr>) -> Result<SocketAddr, Failure> {
    address.ok_or_else(|| Failure::new("the system does not tell the address in use"))
}

fn warn_of_others(secure: bool, address: SocketAddr) {
    if !secure && !address.ip().is_loopback() {
        note(
            "warning: other machines can connect, and nothing is encrypted: \
             add --tls-cert and --tls-key, or put a TLS proxy before it",
        );
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
