//! What the tests share: a running server, raw peers, deadlines.

#![allow(dead_code, missing_docs)]

pub(crate) mod stream;
pub(crate) mod talk;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_lite::FutureExt as _;
use smartsocket_smol::{Config, Connect, Server, Stopper, WebSocket, block_on};

/// Runs a future that must end; far beyond what it takes, it has hung.
#[track_caller]
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let late = async {
        async_io::Timer::after(Duration::from_secs(30)).await;
        panic!("hung");
    };
    block_on(future.or(late))
}

pub(crate) async fn sleep_ms(millis: u64) {
    async_io::Timer::after(Duration::from_millis(millis)).await;
}

/// A server on a thread of its own; stopped when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    pub(crate) fn connect(&self) -> Connect {
        Connect::new(&self.url()).unwrap()
    }

    pub(crate) async fn open(&self) -> WebSocket {
        self.connect().open().await.unwrap()
    }

    /// Waits for the server to end after it was told to.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }

    pub(crate) fn stop(self) {
        self.stopper.stop();
        self.join();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

pub(crate) fn serve<H>(
    options: impl FnOnce(Server) -> Server + Send + 'static,
    handler: H,
) -> Running
where
    H: AsyncFn(WebSocket) + Clone + Send + 'static,
{
    serve_at("127.0.0.1:0", options, handler)
}

pub(crate) fn serve_at<H>(
    address: &'static str,
    options: impl FnOnce(Server) -> Server + Send + 'static,
    handler: H,
) -> Running
where
    H: AsyncFn(WebSocket) + Clone + Send + 'static,
{
    let (told, hear) = mpsc::channel();
    let thread = thread::spawn(move || {
        let server = options(Server::bind(address).unwrap());
        told.send((server.local_addr().unwrap(), server.stopper()))
            .unwrap();
        block_on(server.run(handler)).unwrap();
    });
    let (address, stopper) = hear.recv().unwrap();
    Running {
        address,
        stopper,
        thread: Some(thread),
    }
}

pub(crate) fn serve_echo() -> Running {
    serve(|server| server, echo)
}

/// Options that let 16 MiB through.
pub(crate) fn roomy() -> Config {
    Config {
        max_message: 64 << 20,
        max_queued_bytes: 64 << 20,
        ..Config::default()
    }
}

pub(crate) async fn echo(mut ws: WebSocket) {
    while let Some(Ok(message)) = ws.recv().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

/// A socket that has sent these bytes and fails rather than waits for ever.
pub(crate) fn raw(address: SocketAddr, sent: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(20));
    socket.set_read_timeout(limit).unwrap();
    socket.set_write_timeout(limit).unwrap();
    socket.write_all(sent).unwrap();
    socket
}

pub(crate) const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A WebSocket peer that does nothing by itself.
pub(crate) fn raw_upgraded(address: SocketAddr) -> TcpStream {
    let mut socket = raw(address, UPGRADE.as_bytes());
    let head = read_head(&mut socket);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket
}

pub(crate) fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "ended inside a head");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Everything to the end of the stream.
pub(crate) fn read_all(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    all
}

/// A short frame as a client sends it, with a mask of zeros.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap()];
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A short frame as a server sends it.
pub(crate) fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, u8::try_from(payload.len()).unwrap()];
    frame.extend(payload);
    frame
}

pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    payload
}
