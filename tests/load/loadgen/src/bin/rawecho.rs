//! The ceiling: a raw level-triggered epoll TCP echo. One thread, one receive
//! buffer, no protocol.
//!
//! `rawecho PORT` echoes every byte; drive it with `loadgen --proto raw`.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use slab::Slab;

const LISTENER: u64 = u64::MAX;

struct Peer {
    stream: TcpStream,
    /// What the socket did not take.
    backlog: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: rawecho PORT")?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let mut peers = Slab::new();
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            if event.data.u64() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let entry = peers.vacant_entry();
                    let token = EventData::new_u64(entry.key() as u64);
                    epoll::add(&epoll, &stream, token, EventFlags::IN)?;
                    let backlog = Vec::new();
                    entry.insert(Peer { stream, backlog });
                }
                continue;
            }
            let key = event.data.u64() as usize;
            if !peers[key].turn(&epoll, event.data, &mut buffer)? {
                peers.remove(key);
            }
        }
    }
}

impl Peer {
    /// One read and one write, or one write of what is left; `false` when the
    /// peer is gone.
    fn turn(
        &mut self,
        epoll: &OwnedFd,
        token: EventData,
        buffer: &mut [u8],
    ) -> Result<bool, Box<dyn Error>> {
        if self.backlog.is_empty() {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => &buffer[..n],
                Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
            };
            let sent = match self.stream.write(read) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return Ok(false),
            };
            if sent < read.len() {
                self.backlog.extend_from_slice(&read[sent..]);
                epoll::modify(epoll, &self.stream, token, EventFlags::OUT)?;
            }
        } else {
            match self.stream.write(&self.backlog) {
                Ok(sent) => {
                    self.backlog.drain(..sent);
                }
                Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
            }
            if self.backlog.is_empty() {
                epoll::modify(epoll, &self.stream, token, EventFlags::IN)?;
            }
        }
        Ok(true)
    }
}
