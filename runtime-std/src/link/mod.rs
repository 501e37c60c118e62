//! The loop between one stream and its machine: a `match` over `Output`.
//!
//! The machine is behind a lock that is never held in a system call. One
//! thread at a time reads, one at a time writes; who finds the other busy
//! leaves its bytes to it. A reader with nothing to write sleeps in `read`,
//! where nobody can ask it to write: then whoever has bytes that the socket
//! does not take waits for it.

mod io;

use std::collections::VecDeque;
use std::fmt;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use smartsocket_core::websocket::{Accept, Closed, Decision, Event, Opened, Output, Stats, Ticket};
use smartsocket_core::{
    Bytes, CloseCode, Config, Fault, Message, Refused, SendError, Tick, WebSocket as Machine,
};

use crate::clock::{self, Clock};
use crate::transport::Transport;
use smartsocket_core::websocket::Error;

type Guard<'a> = MutexGuard<'a, State>;

/// One connection, as all its handles share it.
pub(crate) struct Link<T: Transport> {
    transport: T,
    clock: Clock,
    state: Mutex<State>,
    /// A role is free again, or the connection is over.
    changed: Condvar,
    opened: OnceLock<Box<Opened>>,
    closed: OnceLock<Box<Closed>>,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    /// Events taken from the machine while their receiver was elsewhere.
    events: VecDeque<Event>,
    reader: Reader,
    /// A thread is writing, and will see what is queued meanwhile.
    writing: bool,
    /// Threads that wait for `changed`.
    waiting: usize,
    paused: bool,
    shutdown: bool,
    eof: bool,
    /// Writing failed; what the peer said before may still be read.
    fault: Option<Fault>,
    /// The machine's last output came: the stream is of no more use.
    done: bool,
    /// The stream is shut down because of that.
    cut: bool,
}

/// What the thread that receives is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// Nothing: there is none, or it has a message to work on.
    Away,
    /// It waits for the stream in both directions, or is about to return.
    Busy,
    /// It sleeps in `read`.
    Asleep,
}

/// What came of running the connection.
pub(crate) enum Next {
    Event(Event),
    TimedOut,
    Over,
}

/// When what was sent is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    /// With the answers to what still waits to be received.
    Batched,
}

impl<T: Transport> Link<T> {
    pub(crate) fn server(transport: T, config: Arc<Config>) -> Self {
        let clock = Clock::start();
        let machine = Machine::server(config, clock::seed(), clock.now());
        Self::new(transport, clock, machine)
    }

    pub(crate) fn new(transport: T, clock: Clock, machine: Machine) -> Self {
        let state = State {
            machine,
            events: VecDeque::new(),
            reader: Reader::Away,
            writing: false,
            waiting: 0,
            paused: false,
            shutdown: false,
            eof: false,
            fault: None,
            done: false,
            cut: false,
        };
        Self {
            transport,
            clock,
            state: Mutex::new(state),
            changed: Condvar::new(),
            opened: OnceLock::new(),
            closed: OnceLock::new(),
        }
    }

    pub(crate) const fn transport(&self) -> &T {
        &self.transport
    }

    pub(crate) fn opened(&self) -> Option<&Opened> {
        self.opened.get().map(|opened| &**opened)
    }

    pub(crate) fn closed(&self) -> Option<&Closed> {
        self.closed.get().map(|closed| &**closed)
    }

    pub(crate) fn stats(&self) -> Stats {
        *self.lock().machine.stats()
    }

    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        state.machine.is_open() && state.fault.is_none()
    }

    /// Runs the handshake.
    pub(crate) fn open(
        &self,
        decide: impl FnOnce(Ticket) -> Decision,
        until: Option<Tick>,
    ) -> Result<(), Error> {
        let mut decide = Some(decide);
        loop {
            match self.next(until) {
                Next::Event(Event::Open(opened)) => {
                    let _ = self.opened.set(opened);
                    // A server's answer; the application may well do something
                    // else before it receives.
                    self.flush();
                    return Ok(());
                }
                Next::Event(Event::Request(ticket)) => {
                    let decision = match decide.take() {
                        Some(decide) => decide(ticket),
                        None => ticket.accept(Accept::default()),
                    };
                    self.lock().machine.decide(self.clock.now(), decision);
                }
                // Nothing else comes before the handshake is over.
                Next::Event(_) => {}
                Next::TimedOut => return Err(Error::TimedOut),
                Next::Over => return Err(self.end()),
            }
        }
    }

    /// The end of the connection as an error.
    pub(crate) fn end(&self) -> Error {
        let closed = self.closed.get().cloned();
        Error::Closed(closed.expect("the end is told before the last output"))
    }

    /// The tick `after` from now.
    pub(crate) fn after(&self, after: Duration) -> Tick {
        self.clock.after(after)
    }

    /// Runs the connection to its next event, at most to `until`.
    ///
    /// Answers are written when no event is left and before the next read:
    /// one read, all its messages, one write.
    pub(crate) fn next(&self, until: Option<Tick>) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(event) = state.events.pop_front() {
                return Next::Event(event);
            }
            if let Some(event) = self.poll_machine(&mut state) {
                return Next::Event(event);
            }
            if state.done {
                drop(self.settle(state));
                return Next::Over;
            }
            let looked;
            (state, looked) = if state.reader == Reader::Away {
                self.turn(state, until)
            } else {
                (self.wait_changed(state, until), true)
            };
            let late = looked && until.is_some_and(|until| self.clock.now() >= until);
            if late && !self.has_event(&state) {
                return Next::TimedOut;
            }
        }
    }

    /// Queues a message or a part of one, and writes it at once or with what
    /// comes after it. Waits while the queue is full.
    pub(crate) fn send(&self, mut part: Message, last: bool, when: When) -> Result<(), Error> {
        let mut state = self.lock();
        loop {
            if state.fault.is_some() {
                return Err(Error::from(SendError {
                    message: part,
                    refused: Refused::Closed,
                }));
            }
            match state.machine.send_part(self.clock.now(), part, last) {
                Ok(()) => break,
                Err(error) if error.refused == Refused::Full => part = error.message,
                Err(error) => return Err(error.into()),
            }
            state = self.wait_room(state);
        }
        if when == When::Batched && self.has_event(&state) {
            return Ok(());
        }
        self.push(state);
        Ok(())
    }

    pub(crate) fn ping(&self, payload: Bytes) -> Result<(), Refused> {
        let mut state = self.lock();
        state.machine.ping(self.clock.now(), payload)?;
        self.push(state);
        Ok(())
    }

    /// Waits until everything is with the system, or the connection is over.
    pub(crate) fn flush(&self) {
        let mut state = self.write_beside(self.lock());
        while state.has_unsent() && state.fault.is_none() && !state.done {
            state = self.wait_room(state);
        }
    }

    /// Closes, and runs the closing handshake to its end.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let mut state = self.lock();
        state.machine.close(self.clock.now(), code, reason);
        loop {
            self.take_events(&mut state);
            if state.done {
                drop(self.settle(state));
                return;
            }
            state = if state.reader == Reader::Away {
                self.turn(state, None).0
            } else {
                // The reader gets the answer; it may be asleep for longer
                // than the closing may take.
                let written = self.write_beside(state);
                if written.has_unsent() {
                    self.wait_room(written)
                } else {
                    self.wait_changed(written, None)
                }
            };
        }
    }

    /// Starts to close without waiting for anything.
    pub(crate) fn start_close(&self, code: CloseCode, reason: &str) {
        let mut state = self.lock();
        state.machine.close(self.clock.now(), code, reason);
        drop(self.write_beside(state));
    }

    /// Cuts the connection; its reader wakes up.
    pub(crate) fn cut(&self) {
        let _ = self.transport.shutdown(Shutdown::Both);
    }

    fn lock(&self) -> Guard<'_> {
        // A panic in the middle leaves a machine that may be wrong, but never
        // unsafe; it will say so by closing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine's next event for the application.
    #[inline]
    fn poll_machine(&self, state: &mut State) -> Option<Event> {
        while let Some(output) = state.machine.poll_output() {
            match output {
                // What is unsent is looked at before every wait.
                Output::Transmit => {}
                Output::PauseRead => state.paused = true,
                Output::ResumeRead => state.paused = false,
                Output::Shutdown => state.shutdown = true,
                Output::Close => state.done = true,
                Output::Event(Event::Closed(closed)) => {
                    log::debug!(target: "smartsocket:std", "{closed}");
                    let _ = self.closed.set(closed);
                }
                // Who waits for room asks the stream.
                Output::Event(Event::Drained) => {}
                Output::Event(event) => return Some(event),
            }
        }
        None
    }

    /// Makes way for the outputs behind the events that wait.
    fn take_events(&self, state: &mut State) {
        while let Some(event) = self.poll_machine(state) {
            state.events.push_back(event);
        }
    }

    fn has_event(&self, state: &State) -> bool {
        !state.events.is_empty() || state.machine.has_event()
    }
}

impl State {
    fn has_unsent(&self) -> bool {
        self.machine.unsent().next().is_some()
    }

    fn sent(&self) -> u64 {
        self.machine.stats().sent_bytes
    }
}

/// A connection whose last handle is dropped while it is open says so, if
/// that can be said at once.
impl<T: Transport> Drop for Link<T> {
    fn drop(&mut self) {
        if self.is_open() {
            let code = if std::thread::panicking() {
                CloseCode::INTERNAL
            } else {
                CloseCode::NORMAL
            };
            self.start_close(code, "");
        }
    }
}

impl<T: Transport> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
