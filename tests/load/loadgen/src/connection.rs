//! Connections, and the epoll that watches them.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::message::{Load, Sends};
use crate::parser::{Expect, Parser};
use crate::{Args, Proto};

/// The sample key of RFC 6455 §1.3, and the answer it must get.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const HEAD_LIMIT: usize = 16 * 1024;

/// Connects and, unless it is raw, upgrades. The stream comes back blocking.
pub(crate) fn connect(args: &Args, path: &str) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = TcpStream::connect(args.url.address)?;
    stream.set_nodelay(true)?;
    // The end of a run resets its connections: no port is left in TIME_WAIT.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    if args.proto == Proto::Ws {
        let rest = upgrade(args, path, &mut stream)?;
        args.language.greet(&mut stream, rest)?;
    }
    Ok(stream)
}

/// Gives back what came after the response head.
fn upgrade(args: &Args, path: &str, stream: &mut TcpStream) -> Result<Vec<u8>, Box<dyn Error>> {
    let host = &args.url.host;
    let extensions = if args.deflate {
        "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
    } else {
        ""
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::with_capacity(512);
    let mut buffer = [0; 2048];
    let rest = loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err("closed during the handshake".into());
        }
        head.extend_from_slice(&buffer[..n]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break head.split_off(end + 4);
        }
        if head.len() > HEAD_LIMIT {
            return Err("response head too long".into());
        }
    };
    let head = String::from_utf8_lossy(&head);
    if !head.starts_with("HTTP/1.1 101") {
        let status = head.lines().next().unwrap_or_default();
        return Err(format!("not upgraded: {status}").into());
    }
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if header("sec-websocket-accept") != Some(ACCEPT) {
        return Err("wrong Sec-WebSocket-Accept".into());
    }
    let extensions = header("sec-websocket-extensions").unwrap_or_default();
    if args.deflate != extensions.starts_with("permessage-deflate") {
        return Err(format!("the answer to the offered extensions is {extensions:?}").into());
    }
    Ok(rest)
}

/// Sends one message and waits for its echo, on a blocking stream.
pub(crate) fn one_echo(
    args: &Args,
    stream: &mut TcpStream,
    load: &Load,
    expect: &Expect<'_>,
) -> Result<(), Box<dyn Error>> {
    let Sends::Same(message) = &load.sends else {
        return Err("one echo is of one message".into());
    };
    stream.write_all(message.one())?;
    let mut parser = Parser::new(args.deflate);
    let mut buffer = [0; 64 * 1024];
    let mut got = 0;
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err("closed by the server".into());
        }
        got += n;
        let done = match args.proto {
            Proto::Raw => got >= message.unit,
            Proto::Ws => parser.feed(&buffer[..n], expect)? > 0,
        };
        if done {
            return Ok(());
        }
    }
}

/// One connection of a run with many.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) parser: Parser,
    /// Bytes that are still to be sent.
    owed: usize,
    /// What is to be sent, unless it is the load's one message over and over.
    out: Vec<u8>,
    /// Where in it, or in the load's batch, the next byte to be sent lies.
    at: usize,
    /// The number of the next message.
    next: u64,
    want_out: bool,
    /// When each message in flight was sent, the oldest first.
    pub(crate) sent_at: VecDeque<u64>,
    /// Raw: bytes of a message that is not yet whole.
    pub(crate) raw: usize,
}

impl Connection {
    pub(crate) fn open(args: &Args, path: &str, join: bool) -> Result<Self, Box<dyn Error>> {
        let mut stream = connect(args, path)?;
        if join {
            args.language.enter(&mut stream)?;
        }
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            parser: Parser::new(args.deflate),
            owed: 0,
            out: Vec::new(),
            at: 0,
            next: 0,
            want_out: false,
            sent_at: VecDeque::with_capacity(args.pipeline),
            raw: 0,
        })
    }

    /// Opens as many as `args` asks for, watched under their numbers.
    pub(crate) fn open_all(
        args: &Args,
        path: &str,
        join: bool,
        epoll: &Epoll,
    ) -> Result<Vec<Self>, Box<dyn Error>> {
        (0..args.connections)
            .map(|i| {
                let opened = Self::open(args, path, join)
                    .map_err(|error| format!("connection {i}: {error}"))?;
                epoll.add(&opened.stream, i as u64)?;
                Ok(opened)
            })
            .collect()
    }

    /// Reads once: how many bytes, or `None` when there is nothing to read.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, String> {
        match self.stream.read(buffer) {
            Ok(0) => Err("closed by the server".into()),
            Ok(n) => Ok(Some(n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Has `count` more turns of the load to send.
    pub(crate) fn owe(&mut self, load: &Load, count: usize) {
        match &load.sends {
            Sends::Same(message) => self.owed += message.unit * count,
            Sends::Script(script) => {
                for _ in 0..count {
                    script.append(&mut self.out, self.next);
                    self.next += 1;
                }
                self.owed = self.out.len() - self.at;
            }
        }
    }

    /// Sends what is owed, as far as the socket takes it.
    pub(crate) fn flush(&mut self, load: &Load, epoll: &Epoll, token: u64) -> Result<(), String> {
        while self.owed > 0 {
            let (ready, turn) = match &load.sends {
                Sends::Same(message) => (&message.batch, message.unit),
                Sends::Script(_) => (&self.out, self.out.len()),
            };
            let n = self.owed.min(ready.len() - self.at);
            match self.stream.write(&ready[self.at..self.at + n]) {
                Ok(sent) => {
                    self.owed -= sent;
                    self.at = (self.at + sent) % turn;
                    if sent < n {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        if self.owed == 0 {
            self.out.clear();
        }
        let want = self.owed > 0;
        if want != self.want_out {
            self.want_out = want;
            epoll
                .modify(&self.stream, token, want)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// A level-triggered epoll.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

pub(crate) type Events = Vec<epoll::Event>;

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    pub(crate) fn add(&self, stream: &TcpStream, token: u64) -> io::Result<()> {
        let token = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.0, stream, token, epoll::EventFlags::IN)?)
    }

    pub(crate) fn modify(&self, stream: &TcpStream, token: u64, out: bool) -> io::Result<()> {
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, out);
        let token = epoll::EventData::new_u64(token);
        Ok(epoll::modify(&self.0, stream, token, flags)?)
    }

    /// Waits 100 ms at most.
    pub(crate) fn wait(&self, events: &mut Events) -> io::Result<()> {
        const PATIENCE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        events.clear();
        match epoll::wait(&self.0, spare_capacity(events), Some(&PATIENCE)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
