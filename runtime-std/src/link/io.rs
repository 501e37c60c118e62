//! What a connection does to its stream, and how it waits.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::PoisonError;
use std::time::Duration;

use smartsocket_core::{Bytes, Fault, Tick};

use super::{Guard, Link, Reader, State};
use crate::transport::{Readiness, Transport, is_early};

/// The read buffer of a thread: small while small reads suffice, since a
/// server has a thread for each connection.
const SMALL_BUFFER: usize = 4 * 1024;
const LARGE_BUFFER: usize = 64 * 1024;
/// Most byte strings of one vectored write.
const MAX_SLICES: usize = 32;

thread_local! {
    /// Taken out while in use: a transport may itself be a connection.
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<T: Transport> Link<T> {
    /// One turn of the thread that reads: writes what waits, then waits for
    /// the peer and takes what it sent. Whether it came to look at the peer.
    pub(super) fn turn<'a>(
        &'a self,
        mut state: Guard<'a>,
        until: Option<Tick>,
    ) -> (Guard<'a>, bool) {
        if state.has_unsent() && !state.writing && state.fault.is_none() {
            let before = state.sent();
            state = self.write(state);
            if state.sent() > before {
                // Outputs may have come of it.
                return (state, false);
            }
        }
        state = self.settle(state);
        let Some(patience) = self.patience(&mut state, until) else {
            return (state, false);
        };
        if state.fault.is_some() {
            return (self.read_rest(state), true);
        }
        let interest = Readiness {
            readable: !state.paused && !state.eof,
            writable: state.has_unsent() && !state.writing,
        };
        let state = match (interest.readable, interest.writable) {
            (true, false) => self.read(state, patience),
            (false, false) => self.wait_changed(state, until),
            (_, true) => {
                let (state, ready) = self.wait(state, interest, patience);
                if ready.readable {
                    self.read(state, Some(Duration::ZERO))
                } else {
                    state
                }
            }
        };
        (state, true)
    }

    /// How long to wait; outer `None` when something was due and is done.
    fn patience(&self, state: &mut State, until: Option<Tick>) -> Option<Option<Duration>> {
        let due = state.machine.next_timeout();
        let now = self.clock.now();
        if due.is_some_and(|due| due <= now) {
            state.machine.handle_timeout(now);
            return None;
        }
        let due = due.unwrap_or(Tick::MAX).min(until.unwrap_or(Tick::MAX));
        Some((due < Tick::MAX).then(|| due - now))
    }

    /// Waits for the stream, unlocked, as the reader.
    fn wait<'a>(
        &'a self,
        mut state: Guard<'a>,
        interest: Readiness,
        patience: Option<Duration>,
    ) -> (Guard<'a>, Readiness) {
        state.reader = Reader::Busy;
        drop(state);
        let result = self.transport.wait(interest, patience);
        let mut state = self.lock();
        state.reader = Reader::Away;
        self.tell(&state);
        let ready = self.check_wait(&mut state, result);
        (state, ready)
    }

    fn check_wait(&self, state: &mut State, result: io::Result<Readiness>) -> Readiness {
        match result {
            Ok(ready) => return ready,
            Err(error) if is_early(&error) => {}
            Err(error) => state
                .machine
                .handle_fault(self.clock.now(), Fault::from(error)),
        }
        Readiness::default()
    }

    /// Reads once, unlocked, and hands in what came.
    fn read<'a>(&'a self, mut state: Guard<'a>, patience: Option<Duration>) -> Guard<'a> {
        state.reader = if patience == Some(Duration::ZERO) {
            Reader::Busy
        } else {
            Reader::Asleep
        };
        let (mut state, result) = if let Some(mut fill) = state.machine.take_fill() {
            drop(state);
            let result = self
                .transport
                .read_to_spare(&mut fill.buf, fill.room, patience);
            let mut state = self.lock();
            state.machine.handle_fill(self.clock.now(), fill);
            (state, result)
        } else {
            drop(state);
            let mut buf = READ.take();
            if buf.is_empty() {
                buf.resize(SMALL_BUFFER, 0);
            }
            let result = self.transport.read(&mut buf, patience);
            let mut state = self.lock();
            if let Ok(n) = result {
                state.machine.handle_bytes(self.clock.now(), &mut buf[..n]);
                if n == buf.len() && n < LARGE_BUFFER {
                    buf.resize(LARGE_BUFFER, 0);
                }
            }
            READ.set(buf);
            (state, result)
        };
        state.reader = Reader::Away;
        self.tell(&state);
        match result {
            Ok(0) => {
                state.eof = true;
                let now = self.clock.now();
                match state.fault.take() {
                    Some(fault) => state.machine.handle_fault(now, fault),
                    None => state.machine.handle_eof(now),
                }
            }
            Ok(_) => {}
            Err(error) if is_early(&error) => {}
            Err(error) => {
                state.eof = true;
                let fault = state.fault.take().unwrap_or_else(|| Fault::from(error));
                state.machine.handle_fault(self.clock.now(), fault);
            }
        }
        state
    }

    /// Writing failed: reads what the peer said before, which may well be why.
    fn read_rest<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        let before = state.machine.stats().received_bytes;
        let mut state = if state.eof || state.paused {
            state
        } else {
            self.read(state, Some(Duration::ZERO))
        };
        if state.machine.stats().received_bytes == before
            && let Some(fault) = state.fault.take()
        {
            state.eof = true;
            state.machine.handle_fault(self.clock.now(), fault);
        }
        state
    }

    /// Writes what was queued, now. What does not fit is left to the reader,
    /// unless that is asleep.
    pub(super) fn push<'a>(&'a self, state: Guard<'a>) {
        let mut state = self.write_beside(state);
        // On a broken stream the reader does not sleep for long.
        while state.reader == Reader::Asleep
            && state.has_unsent()
            && state.fault.is_none()
            && !state.done
        {
            state = self.wait_room(state);
        }
    }

    /// As [`write`](Self::write), for any thread. If the reader is asleep,
    /// nobody else sees what came of it.
    pub(super) fn write_beside<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        let mut state = self.write(state);
        if state.reader == Reader::Asleep {
            self.take_events(&mut state);
            state = self.settle(state);
        }
        state
    }

    /// Writes what can be written without waiting.
    fn write<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        state.machine.flush();
        if state.writing || state.fault.is_some() {
            return state;
        }
        loop {
            let mut batch = [const { Bytes::new() }; MAX_SLICES];
            let mut count = 0;
            let mut size = 0;
            for (place, bytes) in batch.iter_mut().zip(state.machine.unsent()) {
                *place = bytes.clone();
                size += bytes.len();
                count += 1;
            }
            if count == 0 {
                return state;
            }
            state.writing = true;
            drop(state);
            let result = self.write_batch(&batch[..count]);
            drop(batch);
            state = self.lock();
            state.writing = false;
            self.tell(&state);
            match result {
                Ok(n) => {
                    state.machine.transmitted(self.clock.now(), n);
                    if n < size {
                        return state;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_early(&error) => return state,
                Err(error) => {
                    state.fault = Some(Fault::from(error));
                    return state;
                }
            }
        }
    }

    fn write_batch(&self, batch: &[Bytes]) -> io::Result<usize> {
        let written = match batch {
            [one] => self.transport.write(&[IoSlice::new(one)]),
            many => {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                for (slice, bytes) in slices.iter_mut().zip(many) {
                    *slice = IoSlice::new(bytes);
                }
                self.transport.write(&slices[..many.len()])
            }
        };
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            written => written,
        }
    }

    /// Waits until the peer took some of what waits for it, or a deadline
    /// passed.
    pub(super) fn wait_room<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        self.take_events(&mut state);
        let before = state.sent();
        state = self.write(state);
        if state.done || state.sent() > before {
            return self.settle(state);
        }
        if state.writing || state.fault.is_some() {
            return self.wait_changed(state, None);
        }
        if let Some(patience) = self.patience(&mut state, None) {
            drop(state);
            let interest = Readiness {
                readable: false,
                writable: true,
            };
            let result = self.transport.wait(interest, patience);
            state = self.lock();
            self.check_wait(&mut state, result);
        }
        self.take_events(&mut state);
        self.settle(state)
    }

    /// Waits for another thread that reads or writes, or for a deadline.
    pub(super) fn wait_changed<'a>(
        &'a self,
        mut state: Guard<'a>,
        until: Option<Tick>,
    ) -> Guard<'a> {
        let Some(patience) = self.patience(&mut state, until) else {
            self.take_events(&mut state);
            return self.settle(state);
        };
        state.waiting += 1;
        let patience = patience.unwrap_or(Duration::MAX);
        let waited = self.changed.wait_timeout(state, patience);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Tells those who wait that something changed. Nobody waits in the usual
    /// case, and telling is a system call.
    fn tell(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Does what the machine wants done to the stream.
    pub(super) fn settle<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        let how = if state.done && !state.cut {
            // A reader that sleeps must wake up, and the peer should not wait
            // until the last handle is gone.
            state.cut = true;
            Shutdown::Both
        } else if state.shutdown && !state.has_unsent() {
            state.shutdown = false;
            Shutdown::Write
        } else {
            return state;
        };
        drop(state);
        // That the peer is gone already is told by reading.
        let _ = self.transport.shutdown(how);
        let state = self.lock();
        self.tell(&state);
        state
    }
}
