//! `smartsocket serve`: a server.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::thread;

use async_signal::{Signal, Signals};
use futures_lite::StreamExt as _;
use smartsocket_smol::hub::Route;
use smartsocket_smol::realtime::Remote;
use smartsocket_smol::tls::{ServerTls, TlsError};
use smartsocket_smol::{Config, Server, Stopper, WebSocket, block_on};

use crate::application;
use crate::explain::{Failure, last_part};
use crate::output::note;
use crate::process::descriptor_limit;
use crate::routes::Status;
use crate::settings::{Flags, Loaded, Settings};
use crate::target::read;

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
  SIGHUP            read again: certificate and key; with --config, the keys of
                    encrypted sessions

Examples:
  smartsocket serve
  smartsocket serve --port 0                         a free port, told on stderr
  smartsocket serve --config smartsocket.toml        see also: check, schema
  smartsocket serve --preset low-latency --rate-limit-max-requests 1000
  smartsocket serve --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem";

/// Options of the server.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Serve {
    /// Read options from this file (TOML); flags and the environment win
    #[arg(short, long, value_name = "FILE", env = "SMARTSOCKET_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// A certificate with the files it came from.
#[derive(Debug)]
pub(crate) struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Serve {
    /// Serves until a signal comes.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let loaded = Loaded::load(self.config.as_deref(), self.flags.clone())?;
        for line in &loaded.notes {
            note(line);
        }
        if loaded.is_said("maxConnections") {
            warn_of_few_files(loaded.settings.max_connections);
        }
        let settings = loaded.settings;
        let pair = Pair::of(&settings);
        let tls = pair.as_ref().map(Pair::load).transpose()?;
        let mut again = Vec::new();
        if let (Some(pair), Some(tls)) = (pair, tls.clone()) {
            again.push(Again {
                what: "certificate and key",
                read: Box::new(move || pair.reload(&tls)),
            });
        }
        if settings.shards > 1 {
            return echo_only(&settings, tls, again);
        }
        everything(&settings, tls, |remote| {
            if let (Some(path), Some(_)) = (self.config.clone(), settings.keys()) {
                again.push(Again {
                    what: "keys of encrypted sessions",
                    read: Box::new(move || reload_keys(&path, self.flags.clone(), &remote)),
                });
            }
            again
        })
    }
}

/// Something that is read again on SIGHUP.
struct Again {
    what: &'static str,
    read: Box<dyn Fn() -> Result<(), Failure> + Send>,
}

impl Again {
    fn act(&self) {
        let what = self.what;
        match (self.read)() {
            Ok(()) => log::info!(target: "smartsocket:server", "{what} read again"),
            Err(failure) => log::error!(
                target: "smartsocket:server",
                "the old {what} stay in use: {}",
                failure.text
            ),
        }
    }
}

fn reload_keys(path: &Path, flags: Flags, remote: &Remote) -> Result<(), Failure> {
    let settings = Loaded::load(Some(path), flags)?.settings;
    let keys = settings
        .keys()
        .ok_or_else(|| Failure::new("encryption cannot be turned off while it serves"))?;
    remote.spawn(move |io| {
        for namespace in application::NAMESPACES {
            io.set_keys(namespace, &keys);
        }
    });
    Ok(())
}

/// Serves every route.
fn everything(
    settings: &Settings,
    tls: Option<ServerTls>,
    again: impl FnOnce(Remote) -> Vec<Again>,
) -> Result<u8, Failure> {
    let secure = tls.is_some();
    let addresses = addresses(settings)?;
    let loopback = addresses.iter().all(|address| address.ip().is_loopback());
    let status = Status::new(settings, loopback);
    let answering = status.clone();
    let builder = Server::builder()
        .config(|config| config.listener.server_tls = tls.clone())
        .on_request(move |request, io| {
            std::future::ready(answering.answer(&request, io.stats().connections))
        });
    let server = application::routes(builder, settings, loopback)
        .from_listener(listen(settings, &addresses)?)
        .map_err(|error| Failure::new(format!("cannot serve: {error}")))?;
    let address = told(server.local_addr())?;
    // Before the ready line: who reads it may send a signal at once.
    listen_to_signals(server.stopper(), again(server.remote()))
        .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;
    warn_of_others(secure, address);
    if loopback {
        note(&format!(
            "note: the token \"dev\" authenticates on {}, since only this machine can connect",
            settings.ignis.path
        ));
    }
    let scheme = if secure { "wss" } else { "ws" };
    note(&format!("listening on {scheme}://{address}"));
    block_on(server.run()).map_err(|error| Failure::new(format!("cannot serve: {error}")))?;
    Ok(0)
}

/// Rooms and users are on one thread: several threads only echo.
fn echo_only(
    settings: &Settings,
    tls: Option<ServerTls>,
    again: Vec<Again>,
) -> Result<u8, Failure> {
    let secure = tls.is_some();
    let status = Status::new(settings, false);
    let deciding = status.clone();
    let websocket = settings.open(Route::bare("/echo")).websocket;
    let listener = listen(settings, &addresses(settings)?)?;
    let server = Server::from_listener(listener)
        .map_err(|error| Failure::new(format!("cannot serve: {error}")))?
        .config(Config {
            server_tls: tls.clone(),
            ..websocket
        })
        .shards(settings.shards as usize)
        .max_connections(settings.max_connections as usize)
        .max_connections_per_address(settings.max_connections_per_address as usize)
        .on_request(move |ticket| std::future::ready(deciding.decide(ticket)));
    let address = told(server.local_addr())?;
    listen_to_signals(server.stopper(), again)
        .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;
    warn_of_others(secure, address);
    note(&format!(
        "note: with --shards {} only /echo is served",
        settings.shards
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

fn addresses(settings: &Settings) -> Result<Vec<SocketAddr>, Failure> {
    let host = settings.host.trim_start_matches('[').trim_end_matches(']');
    Ok((host, port(settings))
        .to_socket_addrs()
        .map_err(|error| {
            Failure::new(format!(
                "--host {}: not an address, nor the name of one ({})",
                settings.host,
                last_part(&error.to_string())
            ))
        })?
        .collect())
}

fn port(settings: &Settings) -> u16 {
    u16::try_from(settings.port).expect("the table allows no other")
}

/// Listens on the first of the addresses that works.
fn listen(settings: &Settings, addresses: &[SocketAddr]) -> Result<TcpListener, Failure> {
    let backlog = i32::try_from(settings.mb.backlog).expect("the table allows no other");
    TcpListener::bind(addresses)
        .and_then(|listener| {
            // Once more: the standard library has a backlog of its own.
            rustix::net::listen(&listener, backlog)?;
            Ok(listener)
        })
        .map_err(|error| explain(settings, &error))
}

/// Why the port cannot be had.
fn explain(settings: &Settings, error: &io::Error) -> Failure {
    let Settings { host, port, .. } = settings;
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

impl Pair {
    /// The one to serve with, if any.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        Some(Self {
            cert: settings.tls_cert.as_ref()?.into(),
            key: settings.tls_key.as_ref()?.into(),
        })
    }

    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        Ok((
            read(&self.cert, "--tls-cert")?,
            read(&self.key, "--tls-key")?,
        ))
    }

    /// Reads both files.
    pub(crate) fn load(&self) -> Result<ServerTls, Failure> {
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

fn warn_of_few_files(connections: u64) {
    if let Some(files) = descriptor_limit().filter(|files| *files < connections) {
        note(&format!(
            "warning: this process may open {files} files, so {connections} connections \
             cannot be: raise the limit (ulimit -n)"
        ));
    }
}

/// Acts on signals from now on, on a thread that has time to read files.
fn listen_to_signals(stopper: Stopper, again: Vec<Again>) -> io::Result<()> {
    let mut wanted = vec![Signal::Int, Signal::Term];
    if !again.is_empty() {
        // With nothing to read it keeps its meaning: the terminal is gone.
        wanted.push(Signal::Hup);
    }
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            while let Some(Ok(signal)) = block_on(signals.next()) {
                if signal == Signal::Hup {
                    again.iter().for_each(Again::act);
                } else if stopping {
                    std::process::exit(130);
                } else {
                    log::info!(target: "smartsocket:server", "stopping on a signal");
                    stopping = true;
                    stopper.stop();
                }
            }
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_backlog_is_the_one_asked_for() {
        let mut settings = Settings::default();
        settings.port = 0;
        let mut waiting = |backlog: u64| {
            settings.mb.backlog = backlog;
            let listener = listen(&settings, &addresses(&settings).unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            // Who finds no place waits in vain, however fast the machine is.
            let connect = |_: &u8| TcpStream::connect_timeout(&address, Duration::from_secs(1));
            let connected: Vec<_> = [0; 4].iter().map_while(|n| connect(n).ok()).collect();
            connected.len()
        };
        // Linux has room for one more than asked for.
        assert!(waiting(1) < 4);
        assert_eq!(waiting(1_024), 4);
    }
}
