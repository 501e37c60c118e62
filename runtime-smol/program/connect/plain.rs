//! One connection, as it is: lines out, messages in, until one side has had
//! enough.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use async_channel::Receiver as Channel;
use async_io::Timer;
use async_signal::Signal;
use futures_lite::FutureExt as _;
use futures_lite::future::poll_once;
use smartsocket_smol::{
    CloseCode, Closed, Config, Error, Event, Message, Receiver, Sender, block_on,
};

use crate::explain::{self, Failure, Place as _};
use crate::output::note;
use crate::target::Address;
use crate::transcript::{Format, Transcript};

use super::Connect;
use super::input::{self, Input, signal};

/// Used without `--ping-interval`.
const PING: Duration = Duration::from_secs(25);

/// Talks until one side has had enough.
pub(super) fn run(options: &Connect, address: &Address) -> Result<u8, Failure> {
    let format = if options.binary {
        Format::Raw
    } else {
        options.format()
    };
    let mut transcript = Transcript::new(format, options.verbose, options.target.secrets());
    let done = block_on(talk(options, address, &mut transcript));
    if let Err(failure) = &done {
        transcript.failed(failure);
    }
    done
}

async fn talk(
    options: &Connect,
    address: &Address,
    transcript: &mut Transcript,
) -> Result<u8, Failure> {
    let url = address.url()?;
    let ping = options.ping_interval.unwrap_or(PING);
    let connect = options.target.connect(
        address,
        Config {
            max_message: options.max_message,
            control_events: true,
            ping_interval: Some(ping).filter(|interval| !interval.is_zero()),
            ..Config::default()
        },
    )?;
    let way = options.target.way(url.clone())?;
    let mut signals = input::signals([Signal::Int, Signal::Term])?;

    transcript.opening(&url, options.target.header_names());
    let open = async { Ok(connect.open().await) };
    let interrupted = async { Err(signal(&mut signals).await) };
    let websocket = match open.or(interrupted).await {
        Ok(Ok(websocket)) => websocket,
        Ok(Err(error)) => return Err(options.target.explain(&error, &way)),
        Err(code) => return Ok(code),
    };
    if io::stdin().is_terminal() && io::stderr().is_terminal() && !options.json {
        let place = url.authority_with_port();
        note(&format!("connected to {place}; ctrl-d ends"));
    }
    let ready = transcript
        .opened(&websocket, &url)
        .and_then(|()| transcript.flush());
    let (sender, receiver) = websocket.split();
    let talk = Talk {
        options,
        sender,
        transcript: RefCell::new(transcript),
        heard: Cell::new(None),
        failure: RefCell::default(),
        unheard: Cell::new(false),
    };
    if let Err(error) = ready {
        talk.stop_writing(&error).await;
    }
    let lines = input::read(options.binary);
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
    async fn send(&self, input: Channel<Input>) -> Result<(), Failure> {
        while let Ok(read) = input.recv().await {
            match self.message(read) {
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

    /// The message a piece of input makes.
    fn message(&self, input: Input) -> Result<Message, Failure> {
        if self.options.binary {
            input::data(input).map(Message::binary)
        } else {
            input::line(input).map(Message::text)
        }
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
