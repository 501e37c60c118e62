//! The threads between sockets and a hub: a `match` over `Output`.
//!
//! A thread per connection reads. Whoever told the hub something deals with
//! its outputs, one thread at a time, and tries each write at once without
//! waiting; what a socket does not take is left to the flusher. Handlers run
//! on workers, never with the hub locked.

use std::collections::HashMap;
use std::io::{self, IoSlice, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags};
use smartsocket_core::hub::{AckToken, Answer, ClientId, ConnId, Event, Hub, Output};
use smartsocket_core::websocket::{Accept, Ticket};
use smartsocket_core::{Bytes, Fault, Tick, WebSocket as Machine};

use super::handlers::App;
use super::io::Io;
use super::socket::Data;
use super::workers::Workers;
use crate::accept::refuse;
use crate::clock::Clock;
use crate::link::Link as Bare;
use crate::stream::Stream;
use crate::transport::{Transport as _, is_early};
use crate::websocket::WebSocket;

/// What a connection's thread reads at once.
const READ_BUFFER: usize = 16 * 1024;
/// Most byte strings of one vectored write.
const MAX_SLICES: usize = 64;
/// How often the hub is told the wall clock and the process's memory.
const GAUGES: Duration = Duration::from_secs(10);

/// A hub, its sockets and its threads.
pub(super) struct Shard {
    hub: Mutex<Hub>,
    pub(super) app: App,
    clock: Clock,
    links: Mutex<Vec<Option<Arc<Link>>>>,
    /// Who holds it deals with outputs, in their order.
    draining: Mutex<()>,
    waiting: Mutex<HashMap<AckToken, mpsc::SyncSender<Answer>>>,
    /// Who waits for which client to read.
    room: Mutex<HashMap<ClientId, Arc<Room>>>,
    pub(super) workers: Workers,
    stack_size: usize,
    /// When the timer's thread wakes.
    armed: Mutex<Tick>,
    sooner: Condvar,
    blocked: Mutex<Vec<Arc<Link>>>,
    doorbell: PipeWriter,
    /// Threads of connections, bare ones among them.
    pub(super) threads: AtomicUsize,
    pub(super) over: AtomicBool,
}

/// A connection's socket and what its thread is to do with it.
pub(super) struct Link {
    id: ConnId,
    stream: Stream,
    address: Option<IpAddr>,
    /// Reading rests.
    paused: Mutex<bool>,
    resumed: Condvar,
    want_write: AtomicBool,
    shutdown: AtomicBool,
    done: AtomicBool,
    given: Mutex<Option<Given>>,
    data: Arc<Data>,
}

/// A connection of a bare route, for its own thread to drive.
struct Given {
    machine: Machine,
    route: usize,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// The shard, and what its flusher waits for.
    pub(super) fn new(
        make: impl FnOnce(Tick, u64) -> Hub,
        app: App,
        workers: usize,
        stack_size: usize,
    ) -> io::Result<(Arc<Self>, PipeReader)> {
        let clock = Clock::start();
        let (bell, doorbell) = io::pipe()?;
        let shard = Arc::new(Self {
            hub: Mutex::new(make(clock.now(), unix_ms())),
            app,
            clock,
            links: Mutex::default(),
            draining: Mutex::new(()),
            waiting: Mutex::default(),
            room: Mutex::default(),
            workers: Workers::new(workers),
            stack_size,
            armed: Mutex::new(Tick::MAX),
            sooner: Condvar::new(),
            blocked: Mutex::default(),
            doorbell,
            threads: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        Ok((shard, bell))
    }

    pub(super) fn now(&self) -> Tick {
        self.clock.now()
    }

    pub(super) fn hub(&self) -> MutexGuard<'_, Hub> {
        lock(&self.hub)
    }

    pub(super) fn data(&self, id: ConnId) -> Option<Arc<Data>> {
        Some(Arc::clone(&self.link(id)?.data))
    }

    pub(super) fn wait_for(&self, token: AckToken, sender: mpsc::SyncSender<Answer>) {
        lock(&self.waiting).insert(token, sender);
    }

    /// What is told when there is room for more to this client, or it is gone.
    /// Asked for with the hub locked, so that this cannot have happened yet;
    /// `None` when the server is over.
    pub(super) fn room(&self, client: ClientId) -> Option<Arc<Room>> {
        let room = Arc::clone(lock(&self.room).entry(client).or_default());
        // Who ends it tells all there are then.
        (!self.over.load(Ordering::Acquire)).then_some(room)
    }

    /// Takes a socket in, with a thread of its own.
    pub(super) fn open(self: &Arc<Self>, stream: Stream, address: Option<IpAddr>) {
        let accepted = self.hub().accept(self.now(), address);
        let id = match accepted {
            Ok(id) => id,
            Err(crowded) => {
                log::warn!(target: "smartsocket:std", "ERR_CONN_005: {crowded}");
                return refuse(&stream);
            }
        };
        let link = Arc::new(Link {
            id,
            stream,
            address,
            paused: Mutex::new(false),
            resumed: Condvar::new(),
            want_write: AtomicBool::new(false),
            shutdown: AtomicBool::new(false),
            done: AtomicBool::new(false),
            given: Mutex::new(None),
            data: Arc::default(),
        });
        let mut links = lock(&self.links);
        if links.len() <= id.slot() {
            links.resize_with(id.slot() + 1, || None);
        }
        links[id.slot()] = Some(Arc::clone(&link));
        drop(links);
        self.threads.fetch_add(1, Ordering::Relaxed);
        let shard = Arc::clone(self);
        let reading = thread::Builder::new()
            .name("smartsocket-conn".into())
            .stack_size(self.stack_size)
            .spawn(move || {
                shard.attend(link);
                shard.threads.fetch_sub(1, Ordering::Relaxed);
            });
        if let Err(error) = reading {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            log::warn!(target: "smartsocket:std", "refused a connection: no thread: {error}");
            self.hub().handle_fault(self.now(), id, Fault::from(&error));
        }
        self.drain();
    }

    /// A connection's thread.
    fn attend(self: &Arc<Self>, link: Arc<Link>) {
        let mut buf = vec![0; READ_BUFFER];
        while !link.done.load(Ordering::Acquire) {
            let paused = lock(&link.paused);
            let waits = |paused: &mut bool| *paused && !link.done.load(Ordering::Acquire);
            drop(link.resumed.wait_while(paused, waits));
            if link.done.load(Ordering::Acquire) || !self.read(&link, &mut buf) {
                break;
            }
            self.drain();
        }
        self.drain();
        drop(buf);
        let given = lock(&link.given).take();
        if let Some(given) = given {
            self.drive(link, given);
        }
    }

    /// Reads once; whether there may be more.
    fn read(&self, link: &Link, buf: &mut [u8]) -> bool {
        let fill = self.hub().take_fill(link.id);
        let result = match fill {
            Some(mut fill) => {
                let result = link.stream.read_to_spare(&mut fill.buf, fill.room, None);
                let now = self.now();
                self.hub().handle_fill(now, link.id, fill);
                result
            }
            None => {
                let result = link.stream.read(buf, None);
                if let Ok(n @ 1..) = result {
                    let now = self.now();
                    self.hub().handle_bytes(now, link.id, &mut buf[..n]);
                }
                result
            }
        };
        let now = self.now();
        match result {
            Ok(0) => self.hub().handle_eof(now, link.id),
            Ok(_) => return true,
            Err(error) if is_early(&error) => return true,
            Err(error) => self.hub().handle_fault(now, link.id, Fault::from(&error)),
        }
        false
    }

    /// Does what the hub wants done. When it returns, all that was wanted
    /// before it was called is done.
    pub(super) fn drain(&self) {
        let one = lock(&self.draining);
        loop {
            let output = self.hub().poll_output();
            let Some(output) = output else { break };
            match output {
                Output::Transmit(id) => self.with_link(id, |link| self.write(&link)),
                Output::PauseRead(id) => self.with_link(id, |link| *lock(&link.paused) = true),
                Output::ResumeRead(id) => self.with_link(id, |link| {
                    *lock(&link.paused) = false;
                    link.resumed.notify_all();
                }),
                Output::Shutdown(id) => self.with_link(id, |link| {
                    link.shutdown.store(true, Ordering::Relaxed);
                    self.write(&link);
                }),
                Output::Close(id) => {
                    self.with_link(id, |link| link.end());
                    self.forget(id);
                }
                Output::Event(Event::Turn(turn)) => self.app.turn(turn),
                Output::Event(Event::Answered { token, answer }) => {
                    if let Some(sender) = lock(&self.waiting).remove(&token) {
                        let _ = sender.try_send(answer);
                    }
                }
                Output::Event(Event::Drained(client)) => {
                    if let Some(room) = lock(&self.room).remove(&client) {
                        room.tell();
                    }
                }
                Output::Event(Event::Request(id, ticket)) => self.app.request(id, ticket),
                Output::Event(Event::Bare(id, ticket)) => self.give_away(id, ticket),
                // One hub has nobody to tell.
                Output::Cluster(_) => {}
            }
        }
        drop(one);
        let due = self.hub().next_timeout().unwrap_or(Tick::MAX);
        if due < *lock(&self.armed) {
            self.sooner.notify_one();
        }
    }

    /// Writes what is unsent, as far as the socket takes it. Only for who
    /// deals with outputs.
    fn write(&self, link: &Arc<Link>) {
        loop {
            let unsent: Vec<Bytes> = self
                .hub()
                .unsent(link.id)
                .take(MAX_SLICES)
                .cloned()
                .collect();
            if unsent.is_empty() {
                break;
            }
            let slices: Vec<IoSlice<'_>> = unsent.iter().map(|bytes| IoSlice::new(bytes)).collect();
            match link.stream.write(&slices) {
                Ok(n) if n > 0 => {
                    let now = self.now();
                    self.hub().transmitted(now, link.id, n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.block(link);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) => return self.break_off(link, &io::ErrorKind::WriteZero.into()),
                Err(error) => return self.break_off(link, &error),
            }
        }
        if link.shutdown.swap(false, Ordering::Relaxed) {
            let _ = link.stream.shutdown(Shutdown::Write);
        }
    }

    fn break_off(&self, link: &Link, error: &io::Error) {
        let now = self.now();
        self.hub().handle_fault(now, link.id, Fault::from(error));
    }

    /// Leaves a full socket to the flusher.
    fn block(&self, link: &Arc<Link>) {
        if !link.want_write.swap(true, Ordering::Relaxed) {
            lock(&self.blocked).push(Arc::clone(link));
            let _ = (&self.doorbell).write(&[1]);
        }
    }

    /// The flusher's thread: waits for sockets that were full.
    pub(super) fn flush(&self, mut bell: PipeReader) {
        while !self.over.load(Ordering::Acquire) {
            let links = lock(&self.blocked).clone();
            let mut fds: Vec<_> = links
                .iter()
                .map(|link| PollFd::new(&link.stream, PollFlags::OUT))
                .collect();
            fds.push(PollFd::new(&bell, PollFlags::IN));
            if rustix::event::poll(&mut fds, None).is_err() {
                continue;
            }
            let rang = fds.last().is_some_and(|fd| !fd.revents().is_empty());
            let ready: Vec<_> = links
                .iter()
                .zip(&fds)
                .filter(|(_, fd)| !fd.revents().is_empty())
                .map(|(link, _)| Arc::clone(link))
                .collect();
            drop(fds);
            if rang {
                let _ = bell.read(&mut [0; 64]);
            }
            lock(&self.blocked).retain(|link| !ready.iter().any(|other| Arc::ptr_eq(other, link)));
            for link in &ready {
                link.want_write.store(false, Ordering::Relaxed);
                let one = lock(&self.draining);
                if !link.done.load(Ordering::Acquire) {
                    self.write(link);
                }
                drop(one);
            }
            if !ready.is_empty() {
                self.drain();
            }
        }
    }

    /// The timer's thread: keeps the hub's deadlines.
    pub(super) fn keep_time(&self) {
        let mut told = Tick::ZERO;
        while !self.over.load(Ordering::Acquire) {
            let now = self.now();
            if now >= told {
                told = now + GAUGES;
                self.gauge(now);
            }
            // Under the lock: who brings an earlier deadline after this finds
            // us waiting.
            let mut armed = lock(&self.armed);
            let due = self.hub().next_timeout().unwrap_or(Tick::MAX).min(told);
            if due > now {
                *armed = due;
                let waited = self.sooner.wait_timeout(armed, due.since(now));
                let (mut armed, _) = waited.unwrap_or_else(PoisonError::into_inner);
                *armed = Tick::MAX;
                continue;
            }
            drop(armed);
            self.hub().handle_timeout(now);
            self.drain();
        }
    }

    fn gauge(&self, now: Tick) {
        let resident = resident();
        let mut hub = self.hub();
        hub.handle_clock(now, unix_ms());
        if let Some(resident) = resident {
            hub.handle_gauges(resident);
        }
    }

    /// Wakes every thread, to see that it is over.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.sooner.notify_all();
        let _ = (&self.doorbell).write(&[1]);
        self.workers.end();
        lock(&self.room).drain().for_each(|(_, room)| room.tell());
        for link in lock(&self.links).iter().flatten() {
            link.end();
        }
    }

    /// A connection of a bare route is left to its thread, which deals with
    /// the read that brought its request.
    fn give_away(&self, id: ConnId, ticket: Ticket) {
        let (Some(link), Some((mut machine, route))) = (self.link(id), self.hub().detach(id))
        else {
            return;
        };
        machine.decide(self.now(), ticket.accept(Accept::default()));
        *lock(&link.given) = Some(Given { machine, route });
        link.done.store(true, Ordering::Release);
        self.forget(id);
    }

    fn drive(self: &Arc<Self>, mut link: Arc<Link>, given: Given) {
        // Whoever looked it up lets go of it soon.
        let link = loop {
            match Arc::try_unwrap(link) {
                Ok(link) => break link,
                Err(held) => {
                    link = held;
                    thread::yield_now();
                }
            }
        };
        let bare = Arc::new(Bare::new(link.stream, self.clock, given.machine));
        self.app.begin_bare(&bare);
        match bare.open(|ticket| ticket.accept(Accept::default()), None) {
            Ok(()) => self
                .app
                .bare(given.route, WebSocket::over(Arc::clone(&bare))),
            Err(error) => log::debug!(target: "smartsocket:std", "no WebSocket: {error}"),
        }
        self.hub().release(link.address);
    }

    pub(super) fn io(self: &Arc<Self>) -> Io {
        Io::new(self)
    }

    fn link(&self, id: ConnId) -> Option<Arc<Link>> {
        let link = lock(&self.links).get(id.slot()).cloned().flatten()?;
        (link.id == id).then_some(link)
    }

    fn with_link(&self, id: ConnId, then: impl FnOnce(Arc<Link>)) {
        if let Some(link) = self.link(id) {
            then(link);
        }
    }

    fn forget(&self, id: ConnId) {
        let mut links = lock(&self.links);
        if let Some(place) = links.get_mut(id.slot())
            && place.as_ref().is_some_and(|link| link.id == id)
        {
            *place = None;
        }
    }
}

/// Room for more to a client, for threads to wait for.
#[derive(Default)]
pub(super) struct Room {
    told: Mutex<bool>,
    wake: Condvar,
}

impl Room {
    fn tell(&self) {
        *lock(&self.told) = true;
        self.wake.notify_all();
    }

    /// Waits to be told until then, or for ever; whether it was.
    pub(super) fn wait(&self, until: Option<Instant>) -> bool {
        let told = lock(&self.told);
        let waits = |told: &mut bool| !*told;
        match until {
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let waited = self.wake.wait_timeout_while(told, left, waits);
                *waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.wake.wait_while(told, waits);
                *waited.unwrap_or_else(PoisonError::into_inner)
            }
        }
    }
}

impl Link {
    /// Ends the stream; its thread sees that.
    fn end(&self) {
        self.done.store(true, Ordering::Release);
        let _ = self.stream.shutdown(Shutdown::Both);
        drop(lock(&self.paused));
        self.resumed.notify_all();
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Resident memory in bytes, where the system tells it.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
