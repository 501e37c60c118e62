//! The future that moves a client's bytes.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_io::Timer;
use futures_io::{AsyncRead as _, AsyncWrite as _};
use smartsocket_core::client::{Dial, LineId, Output, Secret};
use smartsocket_core::{Fault, Utf8Bytes};

use crate::connect::{dial, fault};
use crate::stream::Stream;

use super::builder::{Proof, ProofHook, TokenHook};
use super::handle::{Shared, TARGET};

const READ: usize = 16 * 1024;
const MAX_SLICES: usize = 64;
/// So many rounds of work before others have a turn.
const ROUNDS: usize = 64;

/// A channel, the provider's name for the connection, and the proof to come.
type Proving = (Utf8Bytes, Utf8Bytes, Proof);
type Dialing = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// Does a client's work; ends when all its handles are dropped and what it had
/// to say is said.
#[must_use = "a client does nothing unless its driver runs"]
pub struct Driver {
    shared: Arc<Shared>,
    hook: Option<TokenHook>,
    token: Option<Pin<Box<dyn Future<Output = Option<Secret>> + Send>>>,
    proof_hook: Option<ProofHook>,
    proving: Vec<Proving>,
    dialing: Vec<(LineId, Dialing)>,
    lines: Vec<Line>,
    timer: Timer,
    buffer: Box<[u8; READ]>,
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

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        hook: Option<TokenHook>,
        proof_hook: Option<ProofHook>,
    ) -> Self {
        Self {
            shared,
            hook,
            token: None,
            proof_hook,
            proving: Vec::new(),
            dialing: Vec::new(),
            lines: Vec::new(),
            timer: Timer::never(),
            buffer: Box::new([0; READ]),
        }
    }

    /// Does what the machine wants; whether it wanted anything.
    fn obey(&mut self) -> bool {
        let mut any = false;
        loop {
            let output = self.shared.lock().desk.poll_output();
            let Some(output) = output else {
                return any;
            };
            any = true;
            match output {
                Output::Dial(place) => {
                    let Dial { host, port, .. } = &place;
                    log::info!(target: TARGET, "Connecting to {host}:{port}");
                    let dialing = Box::pin(dial(place.host, place.port));
                    self.dialing.push((place.line, dialing));
                }
                Output::Token => self.token = self.hook.as_mut().map(|hook| hook()),
                Output::Transmit(id) => self.with(id, |line| line.writes = true),
                Output::PauseRead(id) => self.with(id, |line| line.paused = true),
                Output::ResumeRead(id) => self.with(id, |line| line.paused = false),
                Output::Shutdown(id) => self.with(id, |line| {
                    line.writes = true;
                    line.shutdown = true;
                }),
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

    fn prove(&mut self, channel: Utf8Bytes, socket: Utf8Bytes) {
        let proof = match &mut self.proof_hook {
            Some(hook) => hook(&channel, &socket),
            // Without one, the channel is not for us.
            None => Box::pin(std::future::ready(None)),
        };
        self.proving.push((channel, socket, proof));
    }

    fn poll_proving(&mut self, cx: &mut Context<'_>) -> bool {
        let shared = &self.shared;
        let before = self.proving.len();
        self.proving.retain_mut(|(channel, socket, proof)| {
            let Poll::Ready(proof) = proof.as_mut().poll(cx) else {
                return true;
            };
            let now = shared.now();
            let client = &mut shared.lock().desk.client;
            client.handle_authorized(now, channel, socket, proof.as_ref());
            false
        });
        self.proving.len() < before
    }

    fn poll_dialing(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        let mut at = 0;
        while let Some((id, dialing)) = self.dialing.get_mut(at) {
            let id = *id;
            let Poll::Ready(dialed) = dialing.as_mut().poll(cx) else {
                at += 1;
                continue;
            };
            any = true;
            drop(self.dialing.swap_remove(at));
            let now = self.shared.now();
            let mut inner = self.shared.lock();
            match dialed {
                Ok(stream) => {
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
                Err(error) => inner.desk.handle_dial_failed(now, id, fault(&error)),
            }
        }
        any
    }

    fn poll_token(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(token) = &mut self.token else {
            return false;
        };
        let Poll::Ready(token) = token.as_mut().poll(cx) else {
            return false;
        };
        self.token = None;
        let now = self.shared.now();
        self.shared.lock().desk.client.handle_token(now, token);
        true
    }

    fn poll_lines(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        for line in &mut self.lines {
            any |= line.poll_write(&self.shared, cx);
            any |= line.poll_read(&self.shared, cx, &mut self.buffer[..]);
        }
        any
    }

    /// Tells the machine the time, and sees to it that it is told again.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.shared.now();
        let mut inner = self.shared.lock();
        let Some(due) = inner.desk.client.next_timeout() else {
            return false;
        };
        if due <= now {
            inner.desk.client.handle_timeout(now);
            return true;
        }
        drop(inner);
        match self.shared.clock().instant(due) {
            Some(at) => self.timer.set_at(at),
            None => return false,
        }
        Pin::new(&mut self.timer).poll(cx).is_ready()
    }
}

impl Line {
    fn poll_write(&mut self, shared: &Shared, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while self.writes {
            let mut inner = shared.lock();
            let unsent = {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let mut count = 0;
                for (slice, bytes) in slices.iter_mut().zip(inner.desk.client.unsent(self.id)) {
                    *slice = IoSlice::new(bytes);
                    count += 1;
                }
                if count == 0 {
                    None
                } else {
                    let stream = Pin::new(&mut self.stream);
                    Some(stream.poll_write_vectored(cx, &slices[..count]))
                }
            };
            let now = shared.now();
            match unsent {
                None => {
                    self.writes = false;
                    if std::mem::take(&mut self.shutdown) {
                        let _ = Pin::new(&mut self.stream).poll_close(cx);
                    }
                }
                Some(Poll::Pending) => return any,
                Some(Poll::Ready(Ok(n))) if n > 0 => {
                    inner.desk.client.transmitted(now, self.id, n);
                    any = true;
                }
                Some(Poll::Ready(Err(error))) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Poll::Ready(Ok(_))) => {
                    self.writes = false;
                    let fault = Fault::from(io::Error::from(io::ErrorKind::WriteZero));
                    inner.desk.client.handle_fault(now, self.id, fault);
                    any = true;
                }
                Some(Poll::Ready(Err(error))) => {
                    self.writes = false;
                    // The peer may have said why before it went: that is read
                    // first, unless nothing can be read any more.
                    if self.eof || self.paused {
                        inner
                            .desk
                            .client
                            .handle_fault(now, self.id, Fault::from(error));
                    }
                    any = true;
                }
            }
        }
        any
    }

    fn poll_read(&mut self, shared: &Shared, cx: &mut Context<'_>, buffer: &mut [u8]) -> bool {
        if self.paused || self.eof {
            return false;
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let now = shared.now();
        let Poll::Ready(read) = read else {
            return false;
        };
        let mut inner = shared.lock();
        match read {
            Ok(0) => {
                self.eof = true;
                inner.desk.client.handle_eof(now, self.id);
            }
            Ok(n) => inner
                .desk
                .client
                .handle_bytes(now, self.id, &mut buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                self.eof = true;
                inner
                    .desk
                    .client
                    .handle_fault(now, self.id, Fault::from(error));
            }
        }
        true
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        {
            let mut inner = this.shared.lock();
            inner.driver = Some(cx.waker().clone());
        }
        for _ in 0..ROUNDS {
            let mut any = this.obey();
            any |= this.shared.call_handlers();
            any |= this.poll_dialing(cx);
            any |= this.poll_token(cx);
            any |= this.poll_proving(cx);
            any |= this.poll_lines(cx);
            any |= this.poll_timer(cx);
            if any {
                continue;
            }
            let inner = this.shared.lock();
            if inner.left && inner.desk.is_over() {
                return Poll::Ready(());
            }
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.lock().desk.abandon();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("lines", &self.lines.len())
            .finish_non_exhaustive()
    }
}
