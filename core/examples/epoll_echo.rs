//! A WebSocket echo server in one thread on bare epoll: what an event loop of
//! your own looks like around the machine.
//!
//! ```text
//! cargo run --release -p smartsocket-core --features std --example epoll_echo -- 127.0.0.1:9001
//! ```
//!
//! One loop, four kinds of work: accept, read, write, time. Each hands the
//! machine what happened and then does what [`WebSocket::poll_output`] says.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use slab::Slab;
use smartsocket_core::http::Origins;
use smartsocket_core::websocket::{Event, Output};
use smartsocket_core::{Config, Fault, Seed, Tick, WebSocket};

/// The listener's place among the tokens; connections count from 0.
const LISTENER: u64 = u64::MAX;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: epoll_echo ADDRESS")?;
    let listener = TcpListener::bind(&address)?;
    eprintln!("listening on ws://{}", listener.local_addr()?);
    Server::new(listener)?.run()
}

struct Server {
    listener: TcpListener,
    epoll: rustix::fd::OwnedFd,
    connections: Slab<Connection>,
    /// When to look at which connection again. Deadlines mostly move away, so
    /// an entry is only a hint: the machine is asked when its time comes.
    timers: BinaryHeap<Reverse<(Tick, usize)>>,
    /// One read buffer for all: an idle connection holds none.
    buffer: Vec<u8>,
    config: Arc<Config>,
    start: Instant,
}

struct Connection {
    socket: TcpStream,
    machine: WebSocket,
    /// The earliest entry in `timers`.
    armed: Tick,
    /// What epoll watches for.
    interest: epoll::EventFlags,
    paused: bool,
}

impl Server {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        listener.set_nonblocking(true)?;
        let token = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, token, epoll::EventFlags::IN)?;
        // Far above the defaults: this server meets test suites and load tools.
        let config = Config {
            max_message: 64 << 20,
            max_queued_bytes: 64 << 20,
            max_fragments: 1_000_000,
            // An echo gives nothing away that a foreign page could be after.
            origins: Origins::Any,
            ..Config::default()
        };
        Ok(Self {
            listener,
            epoll,
            connections: Slab::new(),
            timers: BinaryHeap::new(),
            buffer: vec![0; 64 * 1024],
            config: Arc::new(config),
            start: Instant::now(),
        })
    }

    fn run(mut self) -> Result<(), Box<dyn Error>> {
        let mut events = Vec::with_capacity(1024);
        loop {
            let timeout = self.next_timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    token => self.ready(token as usize, event.flags),
                }
            }
            self.expire();
        }
    }

    fn now(&self) -> Tick {
        Tick::from(self.start.elapsed())
    }

    fn accept(&mut self) {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Most often no file descriptor is left: give others time
                    // to go, the backlog keeps who waits.
                    eprintln!("cannot accept: {error}");
                    std::thread::sleep(Duration::from_millis(10));
                    return;
                }
            };
            if let Err(error) = self.add(socket) {
                eprintln!("cannot serve a connection: {error}");
            }
        }
    }

    fn add(&mut self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let machine = WebSocket::server(Arc::clone(&self.config), Seed::new(seed), self.now());
        let interest = epoll::EventFlags::IN;
        let entry = self.connections.vacant_entry();
        let token = epoll::EventData::new_u64(entry.key() as u64);
        epoll::add(&self.epoll, &socket, token, interest)?;
        let key = entry.key();
        entry.insert(Connection {
            socket,
            machine,
            armed: Tick::MAX,
            interest,
            paused: false,
        });
        self.turn(key);
        Ok(())
    }

    /// A socket can be read or written.
    fn ready(&mut self, key: usize, flags: epoll::EventFlags) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if flags.contains(epoll::EventFlags::OUT) {
            connection.write(now);
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            connection.read(now, &mut self.buffer);
        }
        self.turn(key);
    }

    /// Does what the machine wants, after any input.
    fn turn(&mut self, key: usize) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.drain(now) {
            // Dropping the socket takes it out of epoll, too.
            self.connections.remove(key);
            return;
        }
        if let Err(error) = connection.watch(&self.epoll, key) {
            eprintln!("cannot watch a connection: {error}");
            self.connections.remove(key);
            return;
        }
        if let Some(due) = connection.machine.next_timeout()
            && due < connection.armed
        {
            connection.armed = due;
            self.timers.push(Reverse((due, key)));
        }
    }

    fn next_timeout(&self) -> Option<Timespec> {
        let Reverse((due, _)) = self.timers.peek()?;
        // Rounded up: a tick too early would spin until it comes.
        let wait = due.since(self.now()) + Duration::from_millis(1);
        Timespec::try_from(wait).ok()
    }

    fn expire(&mut self) {
        let now = self.now();
        while let Some(&Reverse((due, key))) = self.timers.peek()
            && due <= now
        {
            self.timers.pop();
            // Gone, or its place was taken by a later connection: then this
            // looks once too often, which is free.
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            connection.armed = Tick::MAX;
            connection.machine.handle_timeout(now);
            self.turn(key);
        }
    }
}

impl Connection {
    /// One read: who has more waits for the next turn, and nobody starves.
    fn read(&mut self, now: Tick, buffer: &mut [u8]) {
        if self.paused {
            return;
        }
        let result = match self.machine.take_fill() {
            // A long payload goes straight where it belongs.
            Some(mut fill) => {
                let result = rustix::io::read(&self.socket, spare_capacity(&mut fill.buf));
                self.machine.handle_fill(now, fill);
                result.map_err(io::Error::from)
            }
            None => {
                let result = self.socket.read(buffer);
                if let Ok(n) = result {
                    self.machine.handle_bytes(now, &mut buffer[..n]);
                }
                result
            }
        };
        match result {
            Ok(0) => self.machine.handle_eof(now),
            Ok(_) => {}
            Err(error) => self.fault(now, &error),
        }
    }

    /// Writes what waits, until the kernel takes no more.
    fn write(&mut self, now: Tick) {
        loop {
            let mut slices = [IoSlice::new(&[]); 64];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(self.machine.unsent()) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let result = match &slices[..count] {
                [] => return,
                [one] => self.socket.write(one),
                many => self.socket.write_vectored(many),
            };
            match result {
                Ok(n) => self.machine.transmitted(now, n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.fault(now, &error),
            }
        }
    }

    /// Follows the machine's outputs; `true` when the connection is over.
    fn drain(&mut self, now: Tick) -> bool {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Transmit => self.write(now),
                Output::PauseRead => self.paused = true,
                Output::ResumeRead => self.paused = false,
                Output::Shutdown => {
                    let _ = self.socket.shutdown(Shutdown::Write);
                }
                Output::Close => return true,
                Output::Event(Event::Message(message)) => {
                    // A peer that does not read its answers fills the queue:
                    // this server then has no more to say to it.
                    if let Err(error) = self.machine.send(now, message) {
                        eprintln!("{error}");
                    }
                }
                Output::Event(_) => {}
            }
        }
        false
    }

    /// Tells epoll what to watch for, when that has changed.
    fn watch(&mut self, epoll: &rustix::fd::OwnedFd, key: usize) -> io::Result<()> {
        let mut interest = epoll::EventFlags::empty();
        interest.set(epoll::EventFlags::IN, !self.paused);
        interest.set(
            epoll::EventFlags::OUT,
            self.machine.unsent().next().is_some(),
        );
        if interest != self.interest {
            self.interest = interest;
            epoll::modify(
                epoll,
                &self.socket,
                epoll::EventData::new_u64(key as u64),
                interest,
            )?;
        }
        Ok(())
    }

    fn fault(&mut self, now: Tick, error: &io::Error) {
        if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
            self.machine.handle_fault(now, Fault::from(error));
        }
    }
}
