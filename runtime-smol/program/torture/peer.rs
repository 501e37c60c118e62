//! One hostile connection: bytes as they are, over TCP.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use futures_lite::future::{pending, yield_now};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};

use super::case::{Outcome, Server};
use super::reply::{Answer, Replies, Response};
use super::request::{ACCEPT, Request};

/// Bytes written and read at a time.
const PIECE: usize = 64 << 10;
/// A server that takes nothing for this time has stopped reading.
const STALL: Duration = Duration::from_secs(1);
/// No exchange takes longer than this many times the patience.
const LONGEST: u32 = 4;

/// A connection to the server under test.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: Async<TcpStream>,
    replies: Replies,
    patience: Duration,
}

/// What became of a connection, so far.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) replies: &'a Replies,
    pub(crate) end: End,
    /// Since the exchange began.
    pub(crate) after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All came that was waited for.
    Enough,
    /// Nothing more came, nor did it end.
    Open,
    Closed,
    Reset,
}

impl Peer {
    pub(crate) async fn connect(server: &Server) -> Result<Self, Outcome> {
        let connect = async { Async::<TcpStream>::connect(server.address).await };
        let late = async {
            Timer::after(server.patience).await;
            Err(ErrorKind::TimedOut.into())
        };
        let stream = connect.or(late).await.and_then(|stream| {
            // What is sent in two pieces is to arrive in two.
            stream.get_ref().set_nodelay(true)?;
            Ok(stream)
        });
        let stream =
            stream.map_err(|error| Outcome::fail(format!("cannot connect: {}", plain(&error))))?;
        Ok(Self {
            stream,
            replies: Replies::default(),
            patience: server.patience,
        })
    }

    /// A connection that is upgraded as it should be.
    pub(crate) async fn open(server: &Server) -> Result<Self, Outcome> {
        let (peer, _) = Self::open_with(server, Request::good(server)).await?;
        Ok(peer)
    }

    /// A connection that is upgraded with this request, and the response.
    pub(crate) async fn open_with(
        server: &Server,
        request: Request,
    ) -> Result<(Self, Response), Outcome> {
        let (peer, answer) = Self::ask(server, request).await?;
        let words = answer.words();
        let response = answer.into_response().filter(is_upgraded);
        let response = response
            .ok_or_else(|| Outcome::fail(format!("a good request was not upgraded: {words}")))?;
        Ok((peer, response))
    }

    /// A new connection with this request on it, and what became of that.
    pub(crate) async fn ask(
        server: &Server,
        request: impl Into<Vec<u8>>,
    ) -> Result<(Self, Answer), Outcome> {
        let mut peer = Self::connect(server).await?;
        peer.write(&request.into()).await;
        let answer = peer.answer().await;
        Ok((peer, answer))
    }

    /// Writes until all is taken, the connection ends, or the server has
    /// stopped reading. Tells how much was taken.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> usize {
        self.write_in(bytes, PIECE).await
    }

    /// The same, in pieces of this size.
    pub(crate) async fn write_in(&mut self, bytes: &[u8], piece: usize) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let end = bytes.len().min(taken + piece);
            let mut stream = &self.stream;
            let write = stream.write(&bytes[taken..end]);
            let late = async {
                Timer::after(STALL).await;
                Ok(0)
            };
            match write.or(late).await {
                Ok(0) | Err(_) => break,
                Ok(n) => taken += n,
            }
            yield_now().await;
        }
        taken
    }

    /// Reads the head of a response.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        let patience = self.patience;
        let read = async {
            let mut piece = vec![0; PIECE];
            loop {
                match (&self.stream).read(&mut piece).await {
                    Ok(0) if head.is_empty() => return Answer::Closed,
                    Ok(0) => return Answer::Garbled,
                    Err(_) => return Answer::Reset,
                    Ok(n) => head.extend_from_slice(&piece[..n]),
                }
                match Response::parse(&head) {
                    Ok(None) => {}
                    Ok(Some((response, length))) => {
                        self.replies.deflate = response
                            .header("sec-websocket-extensions")
                            .is_some_and(|value| value.contains("permessage-deflate"));
                        self.replies.take(&head[length..]);
                        return Answer::Response(response);
                    }
                    Err(()) => return Answer::Garbled,
                }
            }
        };
        let late = async {
            Timer::after(patience).await;
            Answer::Silent(patience)
        };
        read.or(late).await
    }

    /// Bytes that came after a response, up to the end or for this time.
    pub(crate) async fn rest(&mut self, wait: Duration) -> Vec<u8> {
        let mut rest = self.replies.unread().to_vec();
        let read = async {
            let mut piece = vec![0; PIECE];
            while let Ok(n @ 1..) = (&self.stream).read(&mut piece).await {
                rest.extend_from_slice(&piece[..n]);
            }
        };
        let late = async {
            Timer::after(wait).await;
        };
        read.or(late).await;
        rest
    }

    /// Writes, and reads until it is enough, the connection ends, or nothing
    /// moves for as long as the patience lasts.
    pub(crate) async fn exchange(
        &mut self,
        bytes: &[u8],
        enough: impl Fn(&Replies) -> bool,
    ) -> Seen<'_> {
        self.exchange_for(self.patience, bytes, enough).await
    }

    /// The same with a patience of its own.
    pub(crate) async fn exchange_for(
        &mut self,
        patience: Duration,
        bytes: &[u8],
        enough: impl Fn(&Replies) -> bool,
    ) -> Seen<'_> {
        let start = Instant::now();
        let moved = Cell::new(start);
        let Self {
            stream, replies, ..
        } = self;
        let stream = &*stream;
        let read = async {
            let mut piece = vec![0; PIECE];
            loop {
                if enough(replies) || replies.broken.is_some() {
                    return End::Enough;
                }
                match { stream }.read(&mut piece).await {
                    Ok(0) => return End::Closed,
                    Ok(n) => replies.take(&piece[..n]),
                    Err(_) => return End::Reset,
                }
                moved.set(Instant::now());
            }
        };
        let write = async {
            for part in bytes.chunks(PIECE) {
                if { stream }.write_all(part).await.is_err() {
                    break;
                }
                moved.set(Instant::now());
                yield_now().await;
            }
            pending().await
        };
        let late = async {
            let last = start + patience * LONGEST;
            loop {
                let until = last.min(moved.get() + patience);
                if until <= Instant::now() {
                    return End::Open;
                }
                Timer::at(until).await;
            }
        };
        let end = read.or(write).or(late).await;
        Seen {
            replies: &self.replies,
            end,
            after: start.elapsed(),
        }
    }

    /// Counts the bytes that come, until there are this many or none for this time.
    pub(crate) async fn count(&mut self, most: u64, wait: Duration) -> u64 {
        let mut piece = vec![0; PIECE];
        let mut count = 0;
        while count < most {
            let mut stream = &self.stream;
            let read = stream.read(&mut piece);
            let late = async {
                Timer::after(wait).await;
                Ok(0)
            };
            match read.or(late).await {
                Ok(0) | Err(_) => break,
                Ok(n) => count += n as u64,
            }
        }
        count
    }

    /// Throws away what comes, up to the end or for this time.
    pub(crate) async fn drain(&mut self, wait: Duration) -> End {
        let read = async {
            let mut piece = vec![0; PIECE];
            loop {
                match (&self.stream).read(&mut piece).await {
                    Ok(0) => return End::Closed,
                    Ok(_) => {}
                    Err(_) => return End::Reset,
                }
            }
        };
        let late = async {
            Timer::after(wait).await;
            End::Open
        };
        read.or(late).await
    }

    /// Half-closes: nothing more will be sent.
    pub(crate) fn finish(&self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }

    /// Ends the connection without the courtesies of TCP.
    pub(crate) fn reset(self) {
        let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}

impl Answer {
    /// Whether it upgrades as it should.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.response().is_some_and(is_upgraded)
    }

    /// What became of a request with the usual key.
    pub(crate) fn words(&self) -> String {
        match self.response() {
            Some(response) if response.status == 101 && !is_upgraded(response) => {
                "answered 101 with wrong headers".into()
            }
            _ => self.to_string(),
        }
    }
}

/// Whether a response to a good request upgrades as RFC 6455 §4.2.2 has it.
fn is_upgraded(response: &Response) -> bool {
    response.status == 101
        && response.lists("upgrade", "websocket")
        && response.lists("connection", "upgrade")
        && response.header("sec-websocket-accept") == Some(ACCEPT)
}

/// A client that does everything right gets its echo; the time it took.
pub(crate) async fn good_client(server: &Rc<Server>) -> Result<Duration, String> {
    const HELLO: &str = "is anybody still there?";
    let start = Instant::now();
    let mut peer = Peer::open(server).await.map_err(|outcome| outcome.seen)?;
    let hello = super::frame::text(HELLO);
    let seen = peer.exchange(&hello, |r| r.has(HELLO) || r.over()).await;
    if !seen.replies.has(HELLO) {
        return Err(format!("no echo: {}", seen.words()));
    }
    let waited = start.elapsed();
    let goodbye = super::frame::close(1000, b"");
    peer.exchange(&goodbye, Replies::over).await;
    Ok(waited)
}

impl Seen<'_> {
    /// What was seen, in plain words.
    pub(crate) fn words(&self) -> String {
        let mut words = Vec::new();
        match self.replies.messages.len() {
            0 => {}
            1 => words.push("sent a message".into()),
            n => words.push(format!("sent {n} messages")),
        }
        match self.replies.pongs.len() {
            0 => {}
            1 => words.push("sent a pong".into()),
            n => words.push(format!("sent {n} pongs")),
        }
        if let Some(broken) = self.replies.broken {
            words.push(broken.into());
        } else if let Some(code) = self.replies.code() {
            words.push(format!("closed with {code}"));
        } else if !self.replies.closes.is_empty() {
            words.push("closed without a code".into());
        } else {
            match self.end {
                End::Enough => {}
                End::Open => words.push("still open".into()),
                End::Closed => words.push("ended the connection without a close frame".into()),
                End::Reset => words.push("reset the connection without a close frame".into()),
            }
        }
        format!("{} {}", words.join(", "), after(self.after))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Response(response) => write!(f, "answered {}", response.status),
            Self::Garbled => f.write_str("answered what is no HTTP response"),
            Self::Closed => f.write_str("closed without an answer"),
            Self::Reset => f.write_str("reset without an answer"),
            Self::Silent(wait) => write!(f, "no answer within {}", time(*wait)),
        }
    }
}

/// When something happened, as one would say it.
pub(crate) fn after(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "at once".into(),
        _ => format!("after {}", time(duration)),
    }
}

/// A duration as one would say it.
pub(crate) fn time(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

fn plain(error: &io::Error) -> String {
    error.kind().to_string()
}
