//! A pair of streams in memory that do everything a stream may do: take or
//! give a part, wait for no reason, wake for no reason, be interrupted, and
//! hold what was written until it is flushed.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use smartsocket_smol::{Config, Negotiated, Role, WebSocket};

/// How much a stream holds back until flushed.
const HOLD: usize = 300;

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct End {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    held: Vec<u8>,
    whims: Whims,
}

#[derive(Debug, Default)]
struct Pipe {
    data: VecDeque<u8>,
    capacity: usize,
    ended: bool,
    /// The reading end is gone.
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What a stream does unasked; the same seed does the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whims {
    seed: u64,
    /// The most bytes a call takes or gives.
    portion: usize,
    /// How often a call waits for no reason before each that does not.
    storm: u32,
    /// By reads, writes and flushes each.
    waited: [u32; 3],
}

impl Whims {
    /// Everything as prompt and whole as the pipe allows.
    pub(crate) const NONE: Self = Self {
        seed: 0,
        portion: usize::MAX,
        storm: 0,
        waited: [0; 3],
    };

    pub(crate) fn seed(seed: u64) -> Self {
        Self {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            ..Self::NONE
        }
    }

    /// As many bytes a call at most, and no other whim.
    pub(crate) fn portions(portion: usize) -> Self {
        Self {
            portion,
            ..Self::NONE
        }
    }

    /// As many waits before every call that does anything.
    pub(crate) fn storm(storm: u32) -> Self {
        Self {
            storm,
            ..Self::NONE
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        if self.seed == 0 {
            return sides - 1;
        }
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) % sides
    }

    /// Waits or fails for no reason, now and then.
    fn poll(&mut self, cx: &Context<'_>, call: usize) -> Poll<io::Result<()>> {
        let waited = &mut self.waited[call];
        if *waited < self.storm {
            *waited += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        *waited = 0;
        match self.roll(8) {
            0 | 1 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            2 => Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// A part of `n`.
    fn part(&mut self, n: usize) -> usize {
        let n = n.min(self.portion);
        match self.roll(4) {
            0 => n.min(1),
            1 => n.div_ceil(3),
            _ => n,
        }
    }
}

/// Two ends of pipes that hold `capacity` bytes in each direction.
pub(crate) fn pair(capacity: usize, whims: Whims) -> (End, End) {
    let pipe = || {
        Arc::new(Mutex::new(Pipe {
            capacity,
            ..Pipe::default()
        }))
    };
    let (there, back) = (pipe(), pipe());
    let end = |incoming: &Arc<_>, outgoing: &Arc<_>, whims| End {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        held: Vec::new(),
        whims,
    };
    let other = Whims {
        seed: whims.seed.rotate_left(17),
        ..whims
    };
    (end(&back, &there, whims), end(&there, &back, other))
}

impl Pipe {
    fn poll_push(&mut self, cx: &Context<'_>, from: &mut Vec<u8>) -> Poll<io::Result<()>> {
        while !from.is_empty() {
            if self.deaf {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = (self.capacity - self.data.len()).min(from.len());
            if room == 0 {
                self.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.data.extend(from.drain(..room));
            self.wake_reader();
        }
        Poll::Ready(Ok(()))
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}

impl End {
    /// Makes every further write wait, as a peer that takes nothing does.
    pub(crate) fn clog(&self) {
        self.outgoing.lock().unwrap().capacity = 0;
    }

    fn poll_spill(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.lock().unwrap().poll_push(cx, &mut self.held)
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.whims.poll(cx, 0))?;
        let part = self.whims.part(buf.len());
        let mut pipe = self.incoming.lock().unwrap();
        if pipe.data.is_empty() {
            if pipe.ended {
                return Poll::Ready(Ok(0));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = part.min(pipe.data.len());
        for (to, byte) in buf.iter_mut().zip(pipe.data.drain(..n)) {
            *to = byte;
        }
        if let Some(waker) = pipe.writer.take() {
            waker.wake();
        }
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.whims.poll(cx, 1))?;
        if self.held.len() >= HOLD {
            ready!(self.poll_spill(cx))?;
        }
        let all: usize = bufs.iter().map(|buf| buf.len()).sum();
        let room = HOLD - self.held.len();
        let n = self.whims.part(all.min(room));
        let bytes = bufs.iter().flat_map(|buf| buf.iter().copied());
        self.held.extend(bytes.take(n));
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.whims.poll(cx, 2))?;
        self.poll_spill(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_spill(cx))?;
        let mut pipe = self.outgoing.lock().unwrap();
        pipe.ended = true;
        pipe.wake_reader();
        Poll::Ready(Ok(()))
    }
}

/// What was not flushed is lost.
impl Drop for End {
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.lock().unwrap();
        outgoing.ended = true;
        outgoing.wake_reader();
        drop(outgoing);
        let mut incoming = self.incoming.lock().unwrap();
        incoming.deaf = true;
        if let Some(waker) = incoming.writer.take() {
            waker.wake();
        }
    }
}

/// A server's WebSocket and the bare stream of its client.
pub(crate) fn server(capacity: usize, config: Config) -> (WebSocket<End>, End) {
    let (ours, peer) = pair(capacity, Whims::NONE);
    let agreed = Negotiated::default();
    (
        WebSocket::upgraded(ours, Role::Server, agreed, &[], config),
        peer,
    )
}

pub(crate) async fn say(peer: &mut End, frame: &[u8]) {
    peer.write_all(frame).await.unwrap();
    peer.flush().await.unwrap();
}

pub(crate) async fn hear(peer: &mut End, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    peer.read_exact(&mut bytes).await.unwrap();
    bytes
}
