//! The loop between one stream and its machine: a `match` over `Output`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use async_io::Timer;
use futures_io::{AsyncRead, AsyncWrite};
use smartsocket_core::websocket::{Closed, Event, Output};
use smartsocket_core::{CloseCode, Fault, Message, Refused, SendError, Tick, WebSocket as Machine};

use crate::clock::Clock;
use crate::live::Leash;
use crate::stream::Stream;

/// One read buffer a thread: an idle connection holds none, and what was just
/// read is still in the cache.
const READ_BUFFER: usize = 64 * 1024;
/// Most byte strings of one vectored write.
const MAX_SLICES: usize = 64;
const STOPPING: &str = "server is stopping";

thread_local! {
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How to read into a `Vec` beyond its length.
type PollFill<S> = fn(&mut S, &mut Context<'_>, &mut Vec<u8>, usize) -> Poll<io::Result<usize>>;

#[derive(Debug)]
pub(crate) struct Driver<S> {
    io: S,
    pub(crate) machine: Machine,
    poll_fill: PollFill<S>,
    /// Writes what it can without waiting; for `Drop`, which knows no bounds.
    farewell: fn(&mut Self),
    clock: Clock,
    /// When the last bytes were read.
    read: Tick,
    /// Armed for `armed` or earlier; made when first needed.
    timer: Option<Timer>,
    armed: Tick,
    transmit: bool,
    /// The stream took bytes that it may still hold itself.
    flush: bool,
    shutdown: bool,
    shut: bool,
    /// Why writing failed: told once what the peer said before has been read.
    broken: Option<Box<Fault>>,
    paused: bool,
    eof: bool,
    /// Something was read since the task last yielded.
    worked: bool,
    /// Events taken from the machine while a sender waited for room.
    events: VecDeque<Event>,
    /// The machine's last output came: the socket is of no more use.
    pub(crate) done: bool,
    pub(crate) closed: Option<Box<Closed>>,
    /// The hold of the server that accepted the connection.
    pub(crate) leash: Option<Arc<Leash>>,
    /// The server's stop has been obeyed.
    stopped: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(crate) fn new(io: S, clock: Clock, machine: Machine) -> Self {
        Self {
            io,
            machine,
            poll_fill: poll_fill_zeroed,
            farewell: |driver| {
                while driver.poll_machine().is_some() {}
                let _ = driver.poll_write_all(&mut Context::from_waker(Waker::noop()));
            },
            clock,
            read: Tick::ZERO,
            timer: None,
            armed: Tick::MAX,
            transmit: false,
            flush: false,
            shutdown: false,
            shut: false,
            broken: None,
            paused: false,
            eof: false,
            worked: false,
            events: VecDeque::new(),
            done: false,
            closed: None,
            leash: None,
            stopped: false,
        }
    }

    pub(crate) fn now(&self) -> Tick {
        self.clock.now()
    }

    pub(crate) const fn io(&self) -> &S {
        &self.io
    }

    /// Runs the machine to its next event; `None` once the connection is over.
    ///
    /// Answers are written when no event is left and before the next read:
    /// one read, all its messages, one write. Between two reads the task
    /// yields once, so that a busy peer cannot keep others from their turn,
    /// and the next read rarely comes too early.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            self.obey_stop();
            if let Some(event) = self.next_event() {
                return Poll::Ready(Some(event));
            }
            if self.done {
                // What the stream itself holds still has a chance, no more.
                let _ = self.poll_write(cx);
                return Poll::Ready(None);
            }
            if self.wants_write() && self.poll_write(cx).is_ready() {
                continue;
            }
            if self.worked {
                self.worked = false;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.paused && !self.eof && self.poll_read(cx).is_ready() {
                continue;
            }
            if let Some(fault) = self.broken.take() {
                self.fault(*fault);
                continue;
            }
            if self.poll_timer(cx).is_ready() || self.poll_stop(cx).is_ready() {
                continue;
            }
            return Poll::Pending;
        }
    }

    /// Queues a message, or a part of one; `Pending` while the queue is full.
    /// Writes at once, unless `lazy` and something that was received still
    /// waits to be taken: its answers will go along.
    ///
    /// `message` is taken when it is queued, and left when it is refused.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        last: bool,
        lazy: bool,
    ) -> Poll<Result<(), Refused>> {
        loop {
            self.obey_stop();
            let Some(next) = message.take() else {
                return Poll::Ready(Ok(()));
            };
            match self.send(next, last) {
                Ok(()) => {
                    if !(lazy && self.has_event()) {
                        let _ = self.poll_write_all(cx);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) => {
                    *message = Some(error.message);
                    if error.refused != Refused::Full {
                        return Poll::Ready(Err(error.refused));
                    }
                }
            }
            ready!(self.poll_drain(cx));
        }
    }

    /// Queues a message or a part of one, if that can be done now.
    pub(crate) fn send(&mut self, message: Message, last: bool) -> Result<(), SendError> {
        if self.broken.is_some() {
            let refused = Refused::Closed;
            return Err(SendError { message, refused });
        }
        // Answers to what came together are made at one time: asking for it
        // costs as much as making one.
        let now = if self.has_event() {
            self.read
        } else {
            self.clock.now()
        };
        self.machine.send_part(now, message, last)
    }

    /// Ready when there is room for a message, or no hope of any.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.obey_stop();
            if self.machine.has_room() || self.broken.is_some() {
                return Poll::Ready(());
            }
            ready!(self.poll_drain(cx));
        }
    }

    /// Ready when the system has everything that was sent, or the connection
    /// is over.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.obey_stop();
            if self.done || self.poll_write_all(cx).is_ready() {
                return Poll::Ready(());
            }
            ready!(self.poll_meanwhile(cx));
        }
    }

    /// Ready when a full queue may have moved.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.machine.buffered();
        let _ = self.poll_write_all(cx);
        if self.machine.buffered() < before || self.broken.is_some() {
            Poll::Ready(())
        } else {
            self.poll_meanwhile(cx)
        }
    }

    /// What goes on while a sender waits for the peer: pings are answered and
    /// deadlines kept. Reads until something comes that the application has
    /// to take. Ready when anything happened.
    fn poll_meanwhile(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Events make way, so that what the machine wants next is seen.
        while let Some(event) = self.poll_machine() {
            self.events.push_back(event);
        }
        if self.done {
            return Poll::Ready(());
        }
        if self.worked {
            self.worked = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.events.is_empty() && !self.paused && !self.eof && self.poll_read(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.poll_timer(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_stop(cx)
    }

    /// Whether something was received that nobody has taken.
    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty() || self.machine.has_event()
    }

    /// Whether the connection needs a turn of [`poll_event`](Self::poll_event)
    /// before its timer fires.
    pub(crate) fn wants_turn(&self) -> bool {
        self.has_event()
            || self.broken.is_some()
            || self
                .machine
                .next_timeout()
                .is_some_and(|due| due < self.armed)
    }

    fn wants_write(&self) -> bool {
        self.transmit || self.flush || self.shutdown
    }

    /// Closes once the server stops.
    fn obey_stop(&mut self) {
        if !self.stopped && self.leash.as_ref().is_some_and(|leash| leash.is_stopping()) {
            self.stopped = true;
            self.machine
                .close(self.clock.now(), CloseCode::GOING_AWAY, STOPPING);
        }
    }

    /// Ready when the server stops.
    fn poll_stop(&mut self, cx: &Context<'_>) -> Poll<()> {
        match &self.leash {
            Some(leash) if !self.stopped => leash.poll_stop(cx),
            _ => Poll::Pending,
        }
    }

    fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| self.poll_machine())
    }

    fn poll_machine(&mut self) -> Option<Event> {
        while let Some(output) = self.machine.poll_output() {
            if let Some(event) = self.note(output) {
                return Some(event);
            }
        }
        None
    }

    fn note(&mut self, output: Output) -> Option<Event> {
        match output {
            Output::Transmit => self.transmit = true,
            Output::PauseRead => self.paused = true,
            Output::ResumeRead => self.paused = false,
            Output::Shutdown => self.shutdown = true,
            Output::Close => {
                self.done = true;
                self.transmit = false;
                // Whoever holds us need not drop us soon, and the peer waits.
                self.shutdown = !self.shut;
            }
            Output::Event(event) => return Some(event),
        }
        None
    }

    /// Writes everything that was sent; ready when nothing of it is left.
    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.machine.flush();
        self.transmit = true;
        self.poll_write(cx)
    }

    /// Writes what is unsent; ready when nothing is.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.broken.is_some() {
            (self.transmit, self.flush, self.shutdown) = (false, false, false);
            return Poll::Ready(());
        }
        while self.transmit {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(self.machine.unsent()) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let io = Pin::new(&mut self.io);
            let result = match &slices[..count] {
                [] => {
                    self.transmit = false;
                    break;
                }
                [one] => io.poll_write(cx, one),
                many => io.poll_write_vectored(cx, many),
            };
            match result {
                Poll::Ready(Ok(0)) => self.break_off(&io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.flush = true;
                    self.machine.transmitted(self.clock.now(), n);
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => self.break_off(&error),
                Poll::Pending => return Poll::Pending,
            }
        }
        while self.flush {
            match ready!(Pin::new(&mut self.io).poll_flush(cx)) {
                Ok(()) => self.flush = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.break_off(&error),
            }
        }
        if self.shutdown {
            // That the peer is gone already is told by the read side.
            let _ = ready!(Pin::new(&mut self.io).poll_close(cx));
            self.shutdown = false;
            self.shut = true;
        }
        Poll::Ready(())
    }

    /// Nothing more can be written. The peer may have said why before it
    /// went, so what came is read first.
    fn break_off(&mut self, error: &io::Error) {
        self.transmit = false;
        self.flush = false;
        self.shutdown = false;
        self.broken = Some(Box::new(Fault::from(error)));
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let result = if let Some(mut fill) = self.machine.take_fill() {
            let result = (self.poll_fill)(&mut self.io, cx, &mut fill.buf, fill.room);
            self.machine.handle_fill(self.clock.now(), fill);
            result
        } else {
            // Taken, not borrowed: the stream may be a WebSocket itself.
            let mut buf = READ.take();
            buf.resize(READ_BUFFER, 0);
            let result = Pin::new(&mut self.io).poll_read(cx, &mut buf);
            if let Poll::Ready(Ok(n)) = result {
                self.read = self.clock.now();
                self.machine.handle_bytes(self.read, &mut buf[..n]);
            }
            READ.set(buf);
            result
        };
        match result {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => {
                self.eof = true;
                self.machine.handle_eof(self.clock.now());
            }
            Poll::Ready(Ok(_)) => self.worked = true,
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Poll::Ready(Err(error)) => self.fault(Fault::from(&error)),
        }
        Poll::Ready(())
    }

    /// Ready when a deadline of the machine passed.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.machine.next_timeout() else {
            return Poll::Pending;
        };
        // Deadlines mostly move away: the timer is set again when it fires,
        // not each time.
        let due_earlier = due < self.armed;
        if due_earlier {
            let at = self.clock.instant(due).unwrap_or_else(far);
            self.armed = due;
            match &mut self.timer {
                Some(timer) => timer.set_at(at),
                None => self.timer = Some(Timer::at(at)),
            }
        }
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        match Pin::new(timer).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.armed = Tick::MAX;
                self.machine.handle_timeout(self.clock.now());
                Poll::Ready(())
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.transmit = false;
        self.eof = true;
        self.machine.handle_fault(self.clock.now(), fault);
    }
}

impl Driver<Stream> {
    /// Our own sockets can read into memory that was never written.
    pub(crate) fn over_socket(io: Stream, clock: Clock, machine: Machine) -> Self {
        let poll_fill: PollFill<Stream> = |io, cx, buf, _room| io.poll_fill(cx, buf);
        let mut driver = Self::new(io, clock, machine);
        driver.poll_fill = poll_fill;
        driver
    }
}

/// A connection that is dropped open says so, if that can be said at once; and
/// a close frame that came and was not seen is answered.
impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let stopping = self.leash.as_ref().is_some_and(|leash| leash.is_stopping());
        let (code, reason) = if std::thread::panicking() {
            (CloseCode::INTERNAL, "")
        } else if stopping {
            (CloseCode::GOING_AWAY, STOPPING)
        } else if self.machine.is_open() {
            (CloseCode::NORMAL, "")
        } else {
            return;
        };
        self.machine.close(self.clock.now(), code, reason);
        (self.farewell)(self);
    }
}

/// Any other stream wants memory that has been written.
fn poll_fill_zeroed<S: AsyncRead + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    buf: &mut Vec<u8>,
    room: usize,
) -> Poll<io::Result<usize>> {
    let start = buf.len();
    // All of it is written each time, however little comes.
    buf.resize(start + room.min(READ_BUFFER), 0);
    let result = Pin::new(io).poll_read(cx, &mut buf[start..]);
    let came = if let Poll::Ready(Ok(n)) = result {
        n
    } else {
        0
    };
    buf.truncate(start + came);
    result
}

/// A moment that never comes.
fn far() -> Instant {
    Instant::now() + std::time::Duration::from_secs(86_400 * 365)
}
