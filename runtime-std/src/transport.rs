//! What a connection needs of the stream below it.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A byte stream that a [`WebSocket`](crate::WebSocket) can run over.
///
/// All methods take `&self`: two threads may read and write at a time, never
/// two of them in the same direction. [`Stream`](crate::Stream) is the one to
/// use for sockets, [`HalfDuplex`] wraps anything that reads and writes.
///
/// Being early is always allowed: any method may return
/// [`WouldBlock`](io::ErrorKind::WouldBlock) or
/// [`Interrupted`](io::ErrorKind::Interrupted) before its time, and is called
/// again.
pub trait Transport {
    /// Reads into `buf`; 0 is the end of the stream. Waits up to `patience`
    /// for the first byte: for ever if `None`, not at all if zero.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing came; anything
    /// else is the end of the connection.
    fn read(&self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize>;

    /// As [`read`](Self::read), to the end of `buf`, which has a spare
    /// capacity of `room` bytes or more.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    fn read_to_spare(
        &self,
        buf: &mut Vec<u8>,
        room: usize,
        patience: Option<Duration>,
    ) -> io::Result<usize> {
        let start = buf.len();
        buf.resize(start + room, 0);
        let result = self.read(&mut buf[start..], patience);
        buf.truncate(start + *result.as_ref().unwrap_or(&0));
        result
    }

    /// Writes what can be written without waiting.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when that is nothing;
    /// anything else is the end of the connection.
    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Waits up to `patience` (for ever if `None`) until one of the
    /// directions in `interest` is ready, and says which; neither when the
    /// time passed.
    ///
    /// # Errors
    ///
    /// The system cannot wait for the stream.
    fn wait(&self, interest: Readiness, patience: Option<Duration>) -> io::Result<Readiness>;

    /// Ends the stream in one or both directions. A reader that waits must
    /// wake up when its direction is ended, from whatever thread.
    ///
    /// # Errors
    ///
    /// Usually that the stream ended before; nothing depends on it.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

/// Directions of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes, or the end of the stream, can be read.
    pub readable: bool,
    /// Bytes can be written.
    pub writable: bool,
}

/// Whether the transport just has to be called again.
pub(crate) fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Any `Read + Write` as a [`Transport`], for instance a pipe, a serial line
/// or a tunnel.
///
/// It waits only as long as the stream below waits: without time limits of
/// that stream, the connection's deadlines are noticed no earlier than the next
/// byte comes or goes. While one thread reads, another one waits to write, so
/// splitting such a connection is of little use. A stream that never blocks
/// would keep a thread busy. Nor can it be ended in one direction: the stream
/// counts as over once the last byte is sent, and ends when it is dropped.
pub struct HalfDuplex<S> {
    stream: Mutex<S>,
    ended: AtomicBool,
}

impl<S> HalfDuplex<S> {
    /// Wraps a stream.
    pub const fn new(stream: S) -> Self {
        Self {
            stream: Mutex::new(stream),
            ended: AtomicBool::new(false),
        }
    }

    /// Gives the stream back.
    pub fn into_inner(self) -> S {
        self.stream
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Read + Write> Transport for HalfDuplex<S> {
    fn read(&self, buf: &mut [u8], _patience: Option<Duration>) -> io::Result<usize> {
        if self.ended.load(Ordering::Relaxed) {
            return Ok(0);
        }
        match self.lock().read(buf) {
            // How a blocking socket with a time limit may put it.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            result => result,
        }
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut stream = self.lock();
        let written = stream.write_vectored(bufs)?;
        match stream.flush() {
            // What was taken stays taken; the next write flushes again.
            Err(error) if is_early(&error) => Ok(written),
            flushed => flushed.map(|()| written),
        }
    }

    fn wait(&self, interest: Readiness, _patience: Option<Duration>) -> io::Result<Readiness> {
        // A read might wait for an answer to what is still to be written.
        Ok(Readiness {
            readable: interest.readable && !interest.writable,
            ..interest
        })
    }

    fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl<S> fmt::Debug for HalfDuplex<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HalfDuplex").finish_non_exhaustive()
    }
}
