//! Proxies and a server to reach through them.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use smartsocket_std::tls::ServerTls;
use smartsocket_std::{Config, Server, Stopper, WebSocket};

/// Far beyond the time anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// tinyproxy takes no other signs than these in them.
pub(crate) const USER: &str = "us-er";
pub(crate) const PASSWORD: &str = "pa.ss";
/// Both, in base64.
const BASIC: &str = "dXMtZXI6cGEuc3M=";

/// An authority of its own, and what it signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this host, and its key, both in PEM.
    pub(crate) fn issue(
        &self,
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn server(&self, host: &str) -> ServerTls {
        let (chain, key) = self.issue(host, |_| ());
        ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }
}

/// A server that echoes, on a thread of its own.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(tls: Option<ServerTls>) -> Self {
        let config = Config {
            server_tls: tls,
            ..Config::default()
        };
        let server = Server::bind("127.0.0.1:0").unwrap().config(config);
        let echo = |mut ws: WebSocket| {
            while let Some(Ok(message)) = ws.recv() {
                if ws.send(message).is_err() {
                    break;
                }
            }
        };
        Self {
            address: server.local_addr().unwrap(),
            stopper: server.stopper(),
            thread: Some(thread::spawn(move || server.run(echo).unwrap())),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stopper.stop();
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Socks,
}

/// A proxy: another project's in a process of its own, or ours.
pub(crate) struct Proxy {
    kind: Kind,
    address: SocketAddr,
    child: Option<Child>,
    /// Its configuration.
    file: Option<PathBuf>,
    /// Ways that ours gave.
    ways: Ways,
}

/// How many there were, and the client's ends of them.
type Ways = Arc<Mutex<Vec<TcpStream>>>;

impl Proxy {
    /// One of another project (tinyproxy, microsocks) if the environment says
    /// so, which must be installed then.
    pub(crate) fn start(kind: Kind, closed: bool) -> Self {
        if std::env::var_os("REAL_PROXIES").is_some() {
            Self::real(kind, closed)
        } else {
            Self::ours(kind, closed, None)
        }
    }

    pub(crate) fn is_real(&self) -> bool {
        self.child.is_some()
    }

    /// How many ways it gave, if it counts them.
    pub(crate) fn ways(&self) -> usize {
        self.ways.lock().unwrap().len()
    }

    /// Ends all that go through it.
    pub(crate) fn cut(&self) {
        for stream in self.ways.lock().unwrap().iter() {
            // One that has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn url(&self, userinfo: &str) -> String {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Socks => "socks5",
        };
        format!("{scheme}://{userinfo}{}", self.address)
    }

    fn real(kind: Kind, closed: bool) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let port = address.port().to_string();
        let mut config = None;
        let mut command = match kind {
            Kind::Http => {
                let mut lines = format!(
                    "Port {port}\nListen 127.0.0.1\nMaxClients 50\nTimeout 60\nLogLevel Critical\n"
                );
                if closed {
                    lines += &format!("BasicAuth {USER} {PASSWORD}\n");
                }
                let file = format!("smartsocket-tinyproxy-{port}.conf");
                let file = std::env::temp_dir().join(file);
                std::fs::write(&file, lines).unwrap();
                let mut command = Command::new("tinyproxy");
                command.arg("-d").arg("-c").arg(&file);
                config = Some(file);
                command
            }
            Kind::Socks => {
                let mut command = Command::new("microsocks");
                command.args(["-i", "127.0.0.1", "-p", &port]);
                if closed {
                    command.args(["-u", USER, "-P", PASSWORD]);
                }
                command
            }
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the proxy is installed");
        let mut proxy = Self {
            kind,
            address,
            child: Some(child),
            file: config,
            ways: Arc::default(),
        };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = proxy.child.as_mut().unwrap().try_wait().unwrap();
            assert_eq!(ended, None, "{kind:?} does not start");
            assert!(begin.elapsed() < PATIENCE, "{kind:?} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        proxy
    }

    /// One that goes to `only`, whatever it is asked for, if that is given.
    pub(crate) fn ours(kind: Kind, closed: bool, only: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            kind,
            address: listener.local_addr().unwrap(),
            child: None,
            file: None,
            ways: Arc::default(),
        };
        let ways = Arc::clone(&proxy.ways);
        thread::spawn(move || {
            // For as long as the test lives.
            for stream in listener.incoming() {
                let (stream, ways) = (stream.unwrap(), Arc::clone(&ways));
                thread::spawn(move || {
                    // How it ends is seen at the client's end.
                    let _ = match kind {
                        Kind::Http => http(stream, closed, only, &ways),
                        Kind::Socks => socks(stream, closed, only, &ways),
                    };
                });
            }
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn http(
    mut client: TcpStream,
    closed: bool,
    only: Option<SocketAddr>,
    ways: &Ways,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let known = format!("\r\nProxy-Authorization: Basic {BASIC}\r\n");
    if closed && !head.contains(&known) {
        let ask = "Proxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 2\r\n\r\nno";
        return write!(client, "HTTP/1.1 407 Who?\r\n{ask}");
    }
    let place = head.strip_prefix("CONNECT ").unwrap();
    let place = place.split(' ').next().unwrap();
    match connect(place, only) {
        Ok(server) => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            splice(client, server, ways);
            Ok(())
        }
        Err(_) => client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
    }
}

fn socks(
    mut client: TcpStream,
    closed: bool,
    only: Option<SocketAddr>,
    ways: &Ways,
) -> io::Result<()> {
    let take = |mut client: &TcpStream, n: usize| {
        let mut bytes = vec![0; n];
        client.read_exact(&mut bytes).map(|()| bytes)
    };
    let text = |client: &TcpStream| {
        let length = take(client, 1)?[0];
        Ok::<_, io::Error>(String::from_utf8(take(client, length.into())?).unwrap())
    };
    let hello = take(&client, 2)?;
    let methods = take(&client, hello[1].into())?;
    let method = if closed { 2 } else { 0 };
    if !methods.contains(&method) {
        return client.write_all(&[5, 0xff]);
    }
    client.write_all(&[5, method])?;
    if closed {
        take(&client, 1)?;
        let known = (text(&client)?, text(&client)?) == (USER.to_owned(), PASSWORD.to_owned());
        client.write_all(&[1, u8::from(!known)])?;
        if !known {
            return Ok(());
        }
    }
    let host = match take(&client, 4)?[3] {
        1 => {
            let address: [u8; 4] = take(&client, 4)?.try_into().unwrap();
            std::net::Ipv4Addr::from(address).to_string()
        }
        _ => text(&client)?,
    };
    let port = take(&client, 2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    match connect(&format!("{host}:{port}"), only) {
        Ok(server) => {
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
            splice(client, server, ways);
            Ok(())
        }
        Err(_) => client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]),
    }
}

fn connect(place: &str, only: Option<SocketAddr>) -> io::Result<TcpStream> {
    match only {
        Some(only) => TcpStream::connect(only),
        None => TcpStream::connect(place),
    }
}

/// Carries bytes both ways until one side ends.
fn splice(client: TcpStream, server: TcpStream, ways: &Ways) {
    ways.lock().unwrap().push(client.try_clone().unwrap());
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })
    };
    let up = copy(client.try_clone().unwrap(), server.try_clone().unwrap());
    let _ = copy(server, client).join();
    let _ = up.join();
}
