//! The loop between sockets and a hub: a `match` over `Output`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_executor::LocalExecutor;
use async_io::Timer;
use futures_io::{AsyncRead as _, AsyncWrite as _};
use futures_lite::future::{poll_fn, yield_now};
use smartsocket_core::hub::{AckToken, Answer, ClientId, ConnId, Event, Hub, Output};
use smartsocket_core::websocket::{Accept, Ticket};
use smartsocket_core::{Fault, Tick};

use super::handlers::App;
use super::socket::Data;
use crate::accept::Socket as Accepted;
use crate::clock::Clock;
use crate::live::Live;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// One read buffer for all: an idle connection holds none.
const READ_BUFFER: usize = 64 * 1024;
/// Most byte strings of one vectored write.
const MAX_SLICES: usize = 64;
/// How often the hub is told the wall clock and the process's memory.
const GAUGES: Duration = Duration::from_secs(10);

/// One thread's hub and its sockets.
pub(super) struct Shard {
    pub(super) hub: RefCell<Hub>,
    pub(super) app: App,
    clock: Clock,
    links: RefCell<Vec<Option<Rc<Link>>>>,
    read: RefCell<Vec<u8>>,
    pub(super) executor: Rc<LocalExecutor<'static>>,
    /// Connections that were given away.
    pub(super) live: Arc<Live>,
    /// Outputs are being dealt with further up the stack.
    draining: Cell<bool>,
    /// Outputs wait that nobody deals with yet.
    kicked: Cell<bool>,
    flusher: Cell<Option<Waker>>,
    sleeper: Cell<Option<Waker>>,
    /// When the sleeper wakes.
    armed: Cell<Tick>,
    /// Who waits for which answer.
    pub(super) waiting: RefCell<HashMap<AckToken, async_channel::Sender<Answer>>>,
    /// Who waits for which client to read: a channel that is closed then.
    room: RefCell<HashMap<ClientId, Room>>,
}

type Room = (async_channel::Sender<()>, async_channel::Receiver<()>);

/// A connection's socket and what its task is to do with it.
pub(super) struct Link {
    id: ConnId,
    /// Given away with a connection of a bare route.
    stream: RefCell<Option<Stream>>,
    address: Option<IpAddr>,
    want_write: Cell<bool>,
    shutdown: Cell<bool>,
    paused: Cell<bool>,
    eof: Cell<bool>,
    /// Nothing can be written any more; told once nothing can be read either.
    broken: Cell<Option<Fault>>,
    done: Cell<bool>,
    waker: Cell<Option<Waker>>,
    pub(super) data: Rc<Data>,
}

impl Link {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Shard {
    pub(super) fn new(
        make: impl FnOnce(Tick, u64) -> Hub,
        app: App,
        executor: Rc<LocalExecutor<'static>>,
        live: Arc<Live>,
    ) -> Self {
        let clock = Clock::start();
        Self {
            hub: RefCell::new(make(clock.now(), unix_ms())),
            app,
            clock,
            links: RefCell::default(),
            read: RefCell::new(vec![0; READ_BUFFER]),
            executor,
            live,
            draining: Cell::new(false),
            kicked: Cell::new(false),
            flusher: Cell::new(None),
            sleeper: Cell::new(None),
            armed: Cell::new(Tick::MAX),
            waiting: RefCell::default(),
            room: RefCell::default(),
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.clock.now()
    }

    pub(super) fn data(&self, id: ConnId) -> Option<Rc<Data>> {
        let links = self.links.borrow();
        let link = links.get(id.slot())?.as_ref()?;
        (link.id == id).then(|| Rc::clone(&link.data))
    }

    /// Takes a socket in.
    pub(super) fn open(self: &Rc<Self>, socket: Accepted, address: Option<IpAddr>) {
        let accepted = self.hub.borrow_mut().accept(self.now(), address);
        let id = match accepted {
            Ok(id) => id,
            Err(crowded) => {
                log::warn!(target: "smartsocket:server", "ERR_CONN_005: {crowded}");
                return socket.refuse();
            }
        };
        let stream = match socket.into_stream() {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!(target: "smartsocket:server", "cannot use a socket: {error}");
                let fault = Fault::from(&error);
                self.hub.borrow_mut().handle_fault(self.now(), id, fault);
                return self.drain();
            }
        };
        let link = Rc::new(Link {
            id,
            stream: RefCell::new(Some(stream)),
            address,
            want_write: Cell::new(false),
            shutdown: Cell::new(false),
            paused: Cell::new(false),
            eof: Cell::new(false),
            broken: Cell::new(None),
            done: Cell::new(false),
            waker: Cell::new(None),
            data: Rc::default(),
        });
        let mut links = self.links.borrow_mut();
        if links.len() <= id.slot() {
            links.resize_with(id.slot() + 1, || None);
        }
        links[id.slot()] = Some(Rc::clone(&link));
        drop(links);
        let shard = Rc::clone(self);
        self.executor
            .spawn(async move { shard.attend(&link).await })
            .detach();
        self.drain();
    }

    /// A connection's task: waits for its socket, reads, and yields after
    /// what was read has been dealt with.
    async fn attend(self: Rc<Self>, link: &Link) {
        while poll_fn(|cx| self.poll_link(link, cx)).await {
            yield_now().await;
        }
    }

    /// Ready when something was read (`true`) or the connection is over.
    fn poll_link(&self, link: &Link, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if link.done.get() {
                return Poll::Ready(false);
            }
            if link.want_write.get() || link.shutdown.get() {
                self.write(link, cx);
                if link.done.get() {
                    continue;
                }
            }
            if !link.paused.get() && !link.eof.get() {
                match self.poll_read(link, cx) {
                    Poll::Ready(true) => return Poll::Ready(true),
                    Poll::Ready(false) => continue,
                    Poll::Pending => {}
                }
            }
            link.waker.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
    }

    /// Reads once and deals with it.
    fn poll_read(&self, link: &Link, cx: &mut Context<'_>) -> Poll<bool> {
        let result = self.read(link, cx);
        let read = match result {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => {
                link.eof.set(true);
                let (now, broken) = (self.now(), link.broken.take());
                let mut hub = self.hub.borrow_mut();
                hub.handle_eof(now, link.id);
                if let Some(fault) = broken {
                    // What is left to say cannot be said.
                    hub.handle_fault(now, link.id, fault);
                }
                false
            }
            Poll::Ready(Ok(_)) => true,
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => false,
            Poll::Ready(Err(error)) => {
                link.eof.set(true);
                self.fault(link, &error);
                false
            }
        };
        self.drain();
        Poll::Ready(read)
    }

    fn read(&self, link: &Link, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut stream = link.stream.borrow_mut();
        let Some(stream) = stream.as_mut() else {
            return Poll::Pending;
        };
        let fill = self.hub.borrow_mut().take_fill(link.id);
        match fill {
            Some(mut fill) => {
                let result = stream.poll_fill(cx, &mut fill.buf);
                let now = self.now();
                self.hub.borrow_mut().handle_fill(now, link.id, fill);
                result
            }
            None => {
                let mut buf = self.read.borrow_mut();
                let result = Pin::new(stream).poll_read(cx, &mut buf);
                if let Poll::Ready(Ok(n @ 1..)) = result {
                    let now = self.now();
                    self.hub
                        .borrow_mut()
                        .handle_bytes(now, link.id, &mut buf[..n]);
                }
                result
            }
        }
    }

    fn fault(&self, link: &Link, error: &io::Error) {
        link.want_write.set(false);
        let fault = Fault::from(error);
        self.hub
            .borrow_mut()
            .handle_fault(self.now(), link.id, fault);
    }

    /// Writes what is unsent, as far as the socket takes it.
    fn write(&self, link: &Link, cx: &mut Context<'_>) {
        loop {
            let mut hub = self.hub.borrow_mut();
            let mut stream = link.stream.borrow_mut();
            let Some(stream) = stream.as_mut() else {
                return link.want_write.set(false);
            };
            let stream = Pin::new(stream);
            let result = {
                let mut unsent = hub.unsent(link.id);
                match (unsent.next(), unsent.next()) {
                    (None, _) => break,
                    (Some(one), None) => stream.poll_write(cx, one),
                    (Some(first), Some(second)) => {
                        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                        let mut count = 0;
                        let all = [first, second].into_iter().chain(unsent);
                        for (slice, bytes) in slices.iter_mut().zip(all) {
                            *slice = IoSlice::new(bytes);
                            count += 1;
                        }
                        stream.poll_write_vectored(cx, &slices[..count])
                    }
                }
            };
            match result {
                Poll::Ready(Ok(n)) if n > 0 => hub.transmitted(self.now(), link.id, n),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Pending => {
                    link.want_write.set(true);
                    return;
                }
                Poll::Ready(Ok(_)) => {
                    drop(hub);
                    self.fault(link, &io::ErrorKind::WriteZero.into());
                    return self.kick();
                }
                Poll::Ready(Err(error)) => {
                    drop(hub);
                    // The peer may have said why before it went: that is read
                    // first, unless nothing can be read any more.
                    if link.eof.get() || link.paused.get() {
                        self.fault(link, &error);
                    } else {
                        link.broken.set(Some(Fault::from(&error)));
                    }
                    link.want_write.set(false);
                    return self.kick();
                }
            }
        }
        link.want_write.set(false);
        if link.shutdown.get() {
            let closed = match link.stream.borrow_mut().as_mut() {
                Some(stream) => Pin::new(stream).poll_close(cx).is_ready(),
                None => true,
            };
            link.shutdown.set(!closed);
        }
        // Room in the wire lets more onto it, and ends may have been waiting.
        self.kick();
    }

    /// Does what the hub wants done. Called again from within, it leaves it to
    /// the call further up.
    pub(super) fn drain(&self) {
        if self.draining.replace(true) {
            return;
        }
        loop {
            let output = self.hub.borrow_mut().poll_output();
            let Some(output) = output else { break };
            match output {
                Output::Transmit(id) => self.with_link(id, |link| {
                    let mut cx = Context::from_waker(Waker::noop());
                    self.write(link, &mut cx);
                    if link.want_write.get() {
                        link.wake();
                    }
                }),
                Output::PauseRead(id) => self.with_link(id, |link| {
                    link.paused.set(true);
                    if let Some(fault) = link.broken.take() {
                        let now = self.now();
                        self.hub.borrow_mut().handle_fault(now, id, fault);
                    }
                }),
                Output::ResumeRead(id) => self.with_link(id, |link| {
                    link.paused.set(false);
                    link.wake();
                }),
                Output::Shutdown(id) => self.with_link(id, |link| {
                    link.shutdown.set(true);
                    link.wake();
                }),
                Output::Close(id) => {
                    self.with_link(id, |link| {
                        let mut cx = Context::from_waker(Waker::noop());
                        if let Some(stream) = link.stream.borrow_mut().as_mut() {
                            let _ = Pin::new(stream).poll_close(&mut cx);
                        }
                        link.done.set(true);
                        link.wake();
                    });
                    self.forget(id);
                }
                Output::Event(Event::Turn(turn)) => self.app.turn(turn),
                Output::Event(Event::Answered { token, answer }) => {
                    let waiting = self.waiting.borrow_mut().remove(&token);
                    if let Some(sender) = waiting {
                        let _ = sender.try_send(answer);
                    }
                }
                Output::Event(Event::Drained(client)) => {
                    self.room.borrow_mut().remove(&client);
                }
                Output::Event(Event::Request(id, ticket)) => self.app.request(id, ticket),
                Output::Event(Event::Bare(id, ticket)) => self.give_away(id, ticket),
                // One hub has nobody to tell.
                Output::Cluster(_) => {}
            }
        }
        self.draining.set(false);
        self.kicked.set(false);
        let due = self.hub.borrow().next_timeout().unwrap_or(Tick::MAX);
        if due < self.armed.get()
            && let Some(sleeper) = self.sleeper.take()
        {
            sleeper.wake();
        }
    }

    /// What ends when there is room for more to this client, or it is gone.
    pub(super) fn room(&self, client: ClientId) -> async_channel::Receiver<()> {
        let mut room = self.room.borrow_mut();
        let (_, told) = room
            .entry(client)
            .or_insert_with(|| async_channel::bounded(1));
        told.clone()
    }

    /// A connection of a bare route gets a driver of its own.
    fn give_away(&self, id: ConnId, ticket: Ticket) {
        let link = self.links.borrow().get(id.slot()).cloned().flatten();
        let Some(link) = link.filter(|link| link.id == id) else {
            return;
        };
        let Some((mut machine, route)) = self.hub.borrow_mut().detach(id) else {
            return;
        };
        link.done.set(true);
        link.wake();
        self.forget(id);
        // The read that brought the request may be going on up the stack.
        let stream = link
            .stream
            .try_borrow_mut()
            .ok()
            .and_then(|mut stream| stream.take());
        let Some(stream) = stream else {
            return self.hub.borrow_mut().release(link.address);
        };
        machine.decide(self.now(), ticket.accept(Accept::default()));
        let leash = self.live.add(None);
        let mut websocket = WebSocket::over_socket(stream, self.clock, machine);
        websocket.set_leash(Arc::clone(&leash));
        self.app.bare(route, websocket, leash, link.address);
    }

    fn forget(&self, id: ConnId) {
        let mut links = self.links.borrow_mut();
        if let Some(place) = links.get_mut(id.slot())
            && place.as_ref().is_some_and(|link| link.id == id)
        {
            *place = None;
        }
    }

    /// Something was asked of the hub: its outputs are dealt with soon, those
    /// of several commands together.
    pub(super) fn kick(&self) {
        if !self.draining.get()
            && !self.kicked.replace(true)
            && let Some(flusher) = self.flusher.take()
        {
            flusher.wake();
        }
    }

    /// Drains when kicked.
    pub(super) async fn flush(self: Rc<Self>) {
        loop {
            poll_fn(|cx| {
                if self.kicked.get() {
                    return Poll::Ready(());
                }
                self.flusher.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            self.drain();
        }
    }

    /// Keeps the hub's deadlines.
    pub(super) async fn keep_time(self: Rc<Self>) {
        let mut timer = Timer::never();
        loop {
            let due = self.hub.borrow().next_timeout().unwrap_or(Tick::MAX);
            if due < self.armed.get() {
                match self.clock.instant(due) {
                    Some(at) => timer.set_at(at),
                    None => timer = Timer::never(),
                }
                self.armed.set(due);
            }
            let fired = poll_fn(|cx| {
                use std::future::Future as _;
                if Pin::new(&mut timer).poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                let due = self.hub.borrow().next_timeout().unwrap_or(Tick::MAX);
                if due < self.armed.get() {
                    return Poll::Ready(false);
                }
                self.sleeper.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            if fired {
                self.armed.set(Tick::MAX);
                self.hub.borrow_mut().handle_timeout(self.now());
                self.drain();
            }
        }
    }

    /// Tells the hub what only the process knows.
    pub(super) async fn keep_gauges(self: Rc<Self>) {
        loop {
            self.gauge();
            Timer::after(GAUGES).await;
        }
    }

    fn gauge(&self) {
        let now = self.now();
        let mut hub = self.hub.borrow_mut();
        hub.handle_clock(now, unix_ms());
        if let Some(resident) = resident() {
            hub.handle_gauges(resident);
        }
    }

    fn with_link(&self, id: ConnId, then: impl FnOnce(&Link)) {
        let link = self.links.borrow().get(id.slot()).cloned().flatten();
        if let Some(link) = link.filter(|link| link.id == id) {
            then(&link);
        }
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
