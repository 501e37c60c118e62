//! `smartsocket connect`: a client for the terminal and for pipes.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use async_channel::Receiver as Channel;
use async_io::Timer;
use async_signal::{Signal, Signals};
use futures_lite::future::poll_once;
use futures_lite::{FutureExt as _, StreamExt as _};
use smartsocket_smol::{
    CloseCode, Closed, Config, Error, Event, Message, Receiver, Sender, block_on,
};

use crate::explain::{self, Failure, Place as _};
use crate::output::note;
use crate::target::Target;
use crate::transcript::{Format, Transcript};
use crate::values::{positive_size, seconds};

const NOTES: &str = "\
Every line of stdin is sent as a text message; every message that comes is
written to stdout as a line. At the end of stdin the connection is closed as
soon as no message has come for the time of --linger, so that answers arrive.

Examples:
  smartsocket connect 127.0.0.1:3000/echo
  echo hi | smartsocket connect ws://127.0.0.1:3000/echo
  smartsocket connect wss://example.com/feed --keep-open --json </dev/null
  smartsocket connect wss://example.com/ -H 'Authorization: Bearer ...' -s chat.v2 -v
  smartsocket connect 127.0.0.1:3000/echo -b <in.bin >out.bin

Exit codes:
  0 clean end, 1 failed or ended uncleanly, 2 wrong usage,
  3 refused with an HTTP status, 130 on ctrl-c";

/// Input read ahead of what the connection has taken.
const READ_AHEAD: usize = 16;
/// The longest binary message made of stdin.
const CHUNK: usize = 64 * 1024;

/// Options of the client.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Connect {
    #[command(flatten)]
    target: Target,
    /// Show handshake, pings and close on stderr; twice also every message's size
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write everything that happens to stdout, one JSON object a line; binary data in base64
    #[arg(long, conflicts_with = "binary")]
    json: bool,
    /// Send stdin as binary messages, as it is read; write messages as they
    /// are, without line ends
    #[arg(short, long)]
    binary: bool,
    /// Send at most one line, and end after the first message
    #[arg(short = '1', long)]
    one_message: bool,
    /// Stay connected after the end of stdin
    #[arg(short = 'n', long)]
    keep_open: bool,
    /// After the end of stdin, close when no message came for this time
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    linger: Duration,
    /// Ping after this time without a word from the server; 0 never pings
    #[arg(long, value_name = "SECONDS", default_value = "25", value_parser = seconds)]
    ping_interval: Duration,
    /// Longest message taken
    #[arg(long, value_name = "BYTES", default_value = "16M", value_parser = positive_size)]
    max_message: usize,
}

impl Connect {
    /// Talks until one side has had enough.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let format = if self.json {
            Format::Json
        } else if self.binary {
            Format::Raw
        } else {
            Format::Lines
        };
        let mut transcript = Transcript::new(format, self.verbose, self.target.secrets());
        let done = block_on(self.talk(&mut transcript));
        if let Err(failure) = &done {
            transcript.failed(failure);
        }
        done
    }

    async fn talk(&self, transcript: &mut Transcript) -> Result<u8, Failure> {
        let url = self.target.url()?;
        let connect = self.target.connect(Config {
            max_message: self.max_message,
            control_events: true,
            ping_interval: Some(self.ping_interval).filter(|interval| !interval.is_zero()),
            ..Config::default()
        })?;
        let mut signals = Signals::new([Signal::Int, Signal::Term])
            .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;

        transcript.opening(&url, self.target.header_names());
        let open = async { Ok(connect.open().await) };
        let interrupted = async { Err(signal(&mut signals).await) };
        let websocket = match open.or(interrupted).await {
            Ok(Ok(websocket)) => websocket,
            Ok(Err(error)) => return Err(self.target.explain(&error, &url)),
            Err(code) => return Ok(code),
        };
        if io::stdin().is_terminal() && io::stderr().is_terminal() && !self.json {
            let place = url.authority_with_port();
            note(&format!("connected to {place}; ctrl-d ends"));
        }
        let ready = transcript
            .opened(&websocket, &url)
            .and_then(|()| transcript.flush());
        let (sender, receiver) = websocket.split();
        let talk = Talk {
            options: self,
            sender,
            transcript: RefCell::new(transcript),
            heard: Cell::new(None),
            failure: RefCell::default(),
            unheard: Cell::new(false),
        };
        if let Err(error) = ready {
            talk.stop_writing(&error).await;
        }
        let lines = self.read_stdin();
        let interrupted = Cell::new(None);
        let ended = talk
            .receive(receiver)
            .or(talk.send(lines))
            .or(async {
                interrupted.set(Some(signal(&mut signals).await));
                talk.sender.close(CloseCode::NORMAL, "").await;
                // A second one does not wait for the peer.
                signal(&mut signals).await;
                Ok(())
            })
            .await;
        match interrupted.get() {
            Some(code) => Ok(code),
            None => ended.and_then(|()| talk.result()),
        }
    }

    /// Reads stdin on a thread of its own, which ends with the process.
    fn read_stdin(&self) -> Channel<io::Result<Vec<u8>>> {
        let (sender, input) = async_channel::bounded(READ_AHEAD);
        let binary = self.binary;
        let spawned = thread::Builder::new().name("stdin".into()).spawn(move || {
            let mut stdin = io::stdin().lock();
            loop {
                let mut data = Vec::new();
                let read = if binary {
                    data.resize(CHUNK, 0);
                    stdin.read(&mut data).inspect(|n| data.truncate(*n))
                } else {
                    stdin.read_until(b'\n', &mut data)
                };
                let read = match read {
                    Ok(0) => return,
                    Ok(_) => Ok(data),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let last = read.is_err();
                if sender.send_blocking(read).is_err() || last {
                    return;
                }
            }
        });
        if let Err(error) = spawned {
            log::error!(target: "smartsocket:connect", "cannot read stdin: {error}");
        }
        input
    }

    /// The message a piece of input makes.
    fn message(&self, mut input: Vec<u8>) -> Result<Message, Failure> {
        if self.binary {
            return Ok(Message::binary(input));
        }
        if input.ends_with(b"\n") {
            input.pop();
            if input.ends_with(b"\r") {
                input.pop();
            }
        }
        String::from_utf8(input)
            .map(Message::text)
            .map_err(|_| Failure::new("a line of stdin is not UTF-8: send it with --binary"))
    }
}

/// The exit code of the signal that came.
async fn signal(signals: &mut Signals) -> u8 {
    match signals.next().await {
        Some(Ok(Signal::Term)) => 143,
        Some(_) => 130,
        None => pending().await,
    }
}

/// An open connection and what has happened on it.
struct Talk<'a> {
    options: &'a Connect,
    sender: Sender,
    transcript: RefCell<&'a mut Transcript>,
    /// When the last message came.
    heard: Cell<Option<Instant>>,
    failure: RefCell<Option<Failure>>,
    /// Nobody reads stdout any more.
    unheard: Cell<bool>,
}

impl Talk<'_> {
    /// Receives to the end.
    async fn receive(&self, mut receiver: Receiver) -> Result<(), Failure> {
        loop {
            // What is known is written before waiting for more.
            let event = match poll_once(receiver.recv_event()).await {
                Some(event) => event,
                None => {
                    let flushed = self.transcript.borrow_mut().flush();
                    if let Err(error) = flushed {
                        self.stop_writing(&error).await;
                    }
                    receiver.recv_event().await
                }
            };
            match event {
                Some(Ok(event)) => self.note(event).await,
                Some(Err(Error::Closed(closed))) => return self.closed(&closed),
                Some(Err(error)) => return Err(Failure::new(error.to_string())),
                None => {
                    return match receiver.closed() {
                        Some(closed) => self.closed(&closed),
                        None => Ok(()),
                    };
                }
            }
        }
    }

    async fn note(&self, event: Event) {
        if self.unheard.get() {
            return;
        }
        let noted = match event {
            Event::Message(message) => {
                if self.options.one_message && self.heard.get().is_some() {
                    return;
                }
                self.heard.set(Some(Instant::now()));
                let noted = self.transcript.borrow_mut().message(&message);
                if self.options.one_message {
                    self.sender.close(CloseCode::NORMAL, "").await;
                }
                noted
            }
            Event::Ping(_) => self.transcript.borrow_mut().ping(),
            Event::Pong(payload) => {
                // One without content answers nothing of ours.
                let round_trip = self.sender.stats().round_trip;
                let round_trip = round_trip.filter(|_| !payload.is_empty());
                self.transcript.borrow_mut().pong(round_trip)
            }
            Event::Request(_)
            | Event::Open(_)
            | Event::Part(_)
            | Event::Drained
            | Event::Closed(_) => Ok(()),
        };
        if let Err(error) = noted {
            self.stop_writing(&error).await;
        }
    }

    fn closed(&self, closed: &Closed) -> Result<(), Failure> {
        let mut transcript = self.transcript.borrow_mut();
        if !self.unheard.get() {
            let told = transcript.closed(closed).and_then(|()| transcript.flush());
            if told.is_err() {
                self.unheard.set(true);
            }
        }
        if closed.is_clean() {
            Ok(())
        } else {
            Err(Failure::new(explain::ending(closed)))
        }
    }

    /// Sends what stdin has, and closes at its end; never returns.
    async fn send(&self, input: Channel<io::Result<Vec<u8>>>) -> Result<(), Failure> {
        while let Ok(read) = input.recv().await {
            let message = read
                .map_err(|error| Failure::new(format!("cannot read stdin: {error}")))
                .and_then(|data| self.options.message(data));
            match message {
                Ok(message) => {
                    self.transcript.borrow().sent(&message);
                    if self.sender.send(message).await.is_err() {
                        // The receiving side tells why.
                        return pending().await;
                    }
                }
                Err(failure) => {
                    *self.failure.borrow_mut() = Some(failure);
                    break;
                }
            }
            if self.options.one_message {
                return pending().await;
            }
        }
        self.sender.flush().await;
        let failed = self.failure.borrow().is_some();
        if !failed && (self.options.keep_open || self.options.one_message) {
            return pending().await;
        }
        self.linger().await;
        self.sender.close(CloseCode::NORMAL, "").await;
        pending().await
    }

    /// Waits until no message has come for a while.
    async fn linger(&self) {
        let ended = Instant::now();
        loop {
            let since = self.heard.get().map_or(ended, |heard| heard.max(ended));
            let rest = self.options.linger.saturating_sub(since.elapsed());
            if rest.is_zero() {
                return;
            }
            Timer::after(rest).await;
        }
    }

    /// The reader of stdout is gone, as `head` goes: no reason to complain.
    async fn stop_writing(&self, error: &io::Error) {
        if !self.unheard.replace(true) {
            if error.kind() != io::ErrorKind::BrokenPipe {
                *self.failure.borrow_mut() =
                    Some(Failure::new(format!("cannot write to stdout: {error}")));
            }
            self.sender.close(CloseCode::NORMAL, "").await;
        }
    }

    /// The exit code of a clean end.
    fn result(&self) -> Result<u8, Failure> {
        if let Some(failure) = self.failure.borrow_mut().take() {
            return Err(failure);
        }
        if self.options.one_message && self.heard.get().is_none() {
            return Err(Failure::new("the connection ended before a message came"));
        }
        Ok(0)
    }
}
