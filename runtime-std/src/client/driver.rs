//! The thread that moves a client's bytes.

use std::io::{self, ErrorKind, IoSlice, PipeReader, PipeWriter, Read as _};
use std::net::Shutdown;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use smartsocket_core::client::{Dial, LineId, Output, Secret};
use smartsocket_core::{Bytes, Fault, Json, Utf8Bytes};

use crate::connect::dial;
use crate::stream::Stream;
use crate::transport::Transport as _;

use super::builder::{ProofHook, TokenHook};
use super::handle::{Shared, TARGET};

const READ: usize = 16 * 1024;
const MAX_SLICES: usize = 64;

/// Does a client's work, until all its handles are dropped and what it had to
/// say is said.
pub(super) struct Driver {
    shared: Arc<Shared>,
    hook: Option<TokenHook>,
    proof_hook: Option<ProofHook>,
    /// A byte comes for each command given while the driver sleeps.
    woken: PipeReader,
    /// What threads that dial and ask for tokens found.
    results: (Sender<Found>, Receiver<Found>),
    timeout: Duration,
    /// Streams that are being opened; without its pipe an attempt ends.
    dialing: Vec<(LineId, PipeWriter)>,
    lines: Vec<Line>,
    buffer: Vec<u8>,
}

enum Found {
    Stream(LineId, Result<Stream, Fault>),
    Token(Option<Secret>),
    /// A channel, the provider's name for the connection, and the proof.
    Proof(Utf8Bytes, Utf8Bytes, Option<Json>),
}

/// A stream and what the machine wants of it.
struct Line {
    id: LineId,
    stream: Stream,
    writes: bool,
    paused: bool,
    eof: bool,
    shutdown: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.lock().desk.abandon();
    }
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        (hook, proof_hook): (Option<TokenHook>, Option<ProofHook>),
        woken: PipeReader,
        timeout: Duration,
    ) -> Self {
        Self {
            shared,
            hook,
            proof_hook,
            woken,
            results: mpsc::channel(),
            timeout,
            dialing: Vec::new(),
            lines: Vec::new(),
            buffer: vec![0; READ],
        }
    }

    pub(super) fn run(mut self) {
        loop {
            self.obey();
            self.take_results();
            self.shared.call_handlers();
            let now = self.shared.now();
            let sleep = {
                let mut inner = self.shared.lock();
                if inner.left && inner.desk.is_over() {
                    return;
                }
                let due = inner.desk.client.next_timeout();
                if due.is_some_and(|due| due <= now) {
                    inner.desk.client.handle_timeout(now);
                    continue;
                }
                inner.sleeps = true;
                due.map(|due| due.since(now))
            };
            self.wait(sleep);
        }
    }

    /// Does what the machine wants.
    fn obey(&mut self) {
        loop {
            let output = self.shared.lock().desk.poll_output();
            let Some(output) = output else {
                return;
            };
            match output {
                Output::Dial(place) => self.dial(place),
                Output::Token => self.ask(),
                Output::Transmit(id) => {
                    self.with(id, |line| line.writes = true);
                    self.write(id);
                }
                Output::PauseRead(id) => self.with(id, |line| line.paused = true),
                Output::ResumeRead(id) => self.with(id, |line| line.paused = false),
                Output::Shutdown(id) => {
                    self.with(id, |line| {
                        line.writes = true;
                        line.shutdown = true;
                    });
                    self.write(id);
                }
                Output::Close(id) => {
                    self.dialing.retain(|(line, _)| *line != id);
                    self.lines.retain(|line| line.id != id);
                }
                Output::Authorize { channel, socket } => self.prove(channel, socket),
                // Those the desk keeps.
                Output::Event(_) => {}
            }
        }
    }

    fn with(&mut self, id: LineId, work: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.id == id) {
            work(line);
        }
    }

    /// Does something that blocks, on a thread of its own.
    fn apart(&self, work: impl FnOnce() -> Found + Send + 'static) -> io::Result<()> {
        let (sender, shared) = (self.results.0.clone(), Arc::clone(&self.shared));
        let work = move || {
            // Nobody listens once the client is gone.
            let _ = sender.send(work());
            shared.command(|_, _| ());
        };
        let thread = thread::Builder::new().name("smartsocket-dial".into());
        thread.spawn(work).map(drop)
    }

    fn dial(&mut self, place: Dial) {
        let until = Instant::now() + self.timeout;
        let Dial { host, port, .. } = &place;
        log::info!(target: TARGET, "Connecting to {host}:{port}");
        let line = place.line;
        let begun = io::pipe().and_then(|(stop, wanted)| {
            let dial = move || dial(&place.host, place.port, until, Some(&stop));
            self.apart(move || Found::Stream(line, dial()))?;
            self.dialing.push((line, wanted));
            Ok(())
        });
        if let Err(error) = begun {
            let found = Found::Stream(line, Err(Fault::from(error)));
            let _ = self.results.0.send(found);
        }
    }

    fn ask(&self) {
        let Some(hook) = self.hook.clone() else {
            return;
        };
        let work = move || {
            let mut hook = hook.lock().unwrap_or_else(PoisonError::into_inner);
            Found::Token(hook())
        };
        if self.apart(work).is_err() {
            let _ = self.results.0.send(Found::Token(None));
        }
    }

    fn prove(&self, channel: Utf8Bytes, socket: Utf8Bytes) {
        // Without a hook, or a thread for it, the channel is not for us.
        let refused = Found::Proof(channel.clone(), socket.clone(), None);
        let asked = self.proof_hook.clone().is_some_and(|hook| {
            let work = move || {
                let mut hook = hook.lock().unwrap_or_else(PoisonError::into_inner);
                let proof = hook(&channel, &socket);
                Found::Proof(channel, socket, proof)
            };
            self.apart(work).is_ok()
        });
        if !asked {
            let _ = self.results.0.send(refused);
        }
    }

    fn take_results(&mut self) {
        while let Ok(found) = self.results.1.try_recv() {
            let now = self.shared.now();
            let mut inner = self.shared.lock();
            match found {
                Found::Token(token) => inner.desk.client.handle_token(now, token),
                Found::Proof(channel, socket, proof) => {
                    let client = &mut inner.desk.client;
                    client.handle_authorized(now, &channel, &socket, proof.as_ref());
                }
                Found::Stream(id, Ok(stream)) => {
                    self.dialing.retain(|(line, _)| *line != id);
                    // One that was given up meanwhile is dropped.
                    if inner.desk.client.handle_dialed(now, id) {
                        self.lines.push(Line {
                            id,
                            stream,
                            writes: false,
                            paused: false,
                            eof: false,
                            shutdown: false,
                        });
                    }
                }
                Found::Stream(id, Err(fault)) => {
                    self.dialing.retain(|(line, _)| *line != id);
                    inner.desk.handle_dial_failed(now, id, fault);
                }
            }
            drop(inner);
            self.obey();
        }
    }

    /// Sleeps until something can be read or written, or is to be done.
    fn wait(&mut self, sleep: Option<Duration>) {
        let timeout = sleep.and_then(|sleep| Timespec::try_from(sleep).ok());
        let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
        for line in &self.lines {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !line.paused && !line.eof);
            flags.set(PollFlags::OUT, line.writes);
            fds.push(PollFd::new(&line.stream, flags));
        }
        // An interruption is a wake-up like others.
        let _ = rustix::event::poll(&mut fds, timeout.as_ref());
        let found: Vec<_> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        self.shared.lock().sleeps = false;
        if !found[0].is_empty() {
            let _ = (&self.woken).read(&mut [0; 16]);
        }
        let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let lines: Vec<_> = self.lines.iter().map(|line| line.id).collect();
        for (id, found) in lines.into_iter().zip(&found[1..]) {
            if found.intersects(PollFlags::OUT | broken) {
                self.write(id);
            }
            if found.intersects(PollFlags::IN | broken) {
                self.read(id);
            }
        }
    }

    fn write(&mut self, id: LineId) {
        let Some(line) = self.lines.iter_mut().find(|line| line.id == id) else {
            return;
        };
        while line.writes {
            let unsent: Vec<Bytes> = {
                let inner = self.shared.lock();
                let unsent = inner.desk.client.unsent(id).take(MAX_SLICES);
                unsent.cloned().collect()
            };
            if unsent.is_empty() {
                line.writes = false;
                if std::mem::take(&mut line.shutdown) {
                    let _ = line.stream.shutdown(Shutdown::Write);
                }
                return;
            }
            let slices: Vec<_> = unsent.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let written = line.stream.write(&slices);
            let now = self.shared.now();
            let client = &mut self.shared.lock().desk.client;
            match written {
                Ok(n) if n > 0 => client.transmitted(now, id, n),
                Ok(_) => {
                    line.writes = false;
                    client.handle_fault(
                        now,
                        id,
                        Fault::from(io::Error::from(ErrorKind::WriteZero)),
                    );
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    line.writes = false;
                    // The peer may have said why before it went: that is read
                    // first, unless nothing can be read any more.
                    if line.eof || line.paused {
                        client.handle_fault(now, id, Fault::from(error));
                    }
                }
            }
        }
    }

    fn read(&mut self, id: LineId) {
        let Some(line) = self.lines.iter_mut().find(|line| line.id == id) else {
            return;
        };
        if line.paused || line.eof {
            return;
        }
        let read = line.stream.read(&mut self.buffer, Some(Duration::ZERO));
        let now = self.shared.now();
        let client = &mut self.shared.lock().desk.client;
        match read {
            Ok(0) => {
                line.eof = true;
                client.handle_eof(now, id);
            }
            Ok(n) => client.handle_bytes(now, id, &mut self.buffer[..n]),
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => {
                line.eof = true;
                client.handle_fault(now, id, Fault::from(error));
            }
        }
    }
}
