//! A stream that does everything a stream is allowed to do: takes and gives
//! bytes one at a time or not at all, is interrupted, and wakes up for nothing.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use smartsocket_std::http::UpgradeRequest;
use smartsocket_std::{
    CloseCode, Config, Message, Negotiated, Readiness, Role, Stream, Transport, WebSocket,
};

/// Bytes on their way in one direction.
#[derive(Default)]
struct Pipe {
    bytes: Mutex<(VecDeque<u8>, bool)>,
    changed: Condvar,
}

/// Bytes that fit into a pipe.
const CAPACITY: usize = 1_000;

struct Moody {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
    mood: AtomicU64,
    /// The most bytes a call takes or gives.
    portion: usize,
    /// Of so many calls one does anything.
    patience: u64,
}

fn pair() -> (Moody, Moody) {
    pair_of(200, 0)
}

fn pair_of(portion: usize, patience: u64) -> (Moody, Moody) {
    let pipes: [Arc<Pipe>; 2] = Default::default();
    let end = |incoming: usize, seed| Moody {
        incoming: Arc::clone(&pipes[incoming]),
        outgoing: Arc::clone(&pipes[1 - incoming]),
        mood: AtomicU64::new(seed),
        portion,
        patience,
    };
    (end(0, 1), end(1, 2))
}

impl Moody {
    /// The next of some numbers below `n`, the same in every run.
    fn mood(&self, n: u64) -> u64 {
        let old = self
            .mood
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (old ^ (old >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 33) % n
    }

    fn whim(&self) -> io::Result<()> {
        if self.patience > 0 && self.mood(self.patience) > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.mood(8) {
            0 => Err(io::ErrorKind::Interrupted.into()),
            1 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }
}

impl Transport for Moody {
    fn read(&self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        self.whim()?;
        let mut pipe = self.incoming.bytes.lock().unwrap();
        if pipe.0.is_empty() && !pipe.1 && patience != Some(Duration::ZERO) {
            let patience = patience.unwrap_or(Duration::MAX);
            pipe = self
                .incoming
                .changed
                .wait_timeout(pipe, patience)
                .unwrap()
                .0;
        }
        if pipe.0.is_empty() {
            return if pipe.1 {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let n = buf
            .len()
            .min(pipe.0.len())
            .min(1 + self.mood(self.portion as u64) as usize);
        for (place, byte) in buf.iter_mut().zip(pipe.0.drain(..n)) {
            *place = byte;
        }
        self.incoming.changed.notify_all();
        Ok(n)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.whim()?;
        let mut pipe = self.outgoing.bytes.lock().unwrap();
        let room = (CAPACITY - pipe.0.len()).min(1 + self.mood(self.portion as u64) as usize);
        if pipe.1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes: Vec<u8> = bufs
            .iter()
            .flat_map(|buf| buf.iter())
            .take(room)
            .copied()
            .collect();
        pipe.0.extend(&bytes);
        self.outgoing.changed.notify_all();
        Ok(bytes.len())
    }

    fn wait(&self, interest: Readiness, patience: Option<Duration>) -> io::Result<Readiness> {
        self.whim()?;
        // Does not even look: always early, and often wrong.
        thread::sleep(Duration::from_micros(100).min(patience.unwrap_or(Duration::MAX)));
        Ok(Readiness {
            readable: interest.readable && self.mood(2) == 0,
            writable: interest.writable && self.mood(2) == 0,
        })
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let pipes = match how {
            Shutdown::Read => &[&self.incoming][..],
            Shutdown::Write => &[&self.outgoing],
            Shutdown::Both => &[&self.incoming, &self.outgoing],
        };
        for pipe in pipes {
            pipe.bytes.lock().unwrap().1 = true;
            pipe.changed.notify_all();
        }
        Ok(())
    }
}

fn open() -> (WebSocket<Moody>, WebSocket<Moody>) {
    open_over(pair())
}

fn open_over((client, server): (Moody, Moody)) -> (WebSocket<Moody>, WebSocket<Moody>) {
    let server = thread::spawn(|| WebSocket::accept(server, Config::default()).unwrap());
    let request = UpgradeRequest::new("ws://localhost/").unwrap();
    let client = WebSocket::handshake(client, request, Config::default()).unwrap();
    (client, server.join().unwrap())
}

fn spawn_echo(mut ws: WebSocket<Moody>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while let Some(Ok(message)) = ws.recv() {
            ws.send(message).unwrap();
        }
        assert!(ws.closed().unwrap().is_clean());
    })
}

#[test]
fn messages_survive_every_mood_of_the_stream() {
    let (mut client, server) = open();
    let server = spawn_echo(server);
    for size in [0, 1, 125, 126, 3_000, 65_535, 65_536, 200_000] {
        let message = Message::binary(vec![size as u8; size]);
        client.send(message.clone()).unwrap();
        assert_eq!(client.recv().unwrap().unwrap(), message);
    }
    client.close(CloseCode::NORMAL, "").unwrap();
    server.join().unwrap();
}

#[test]
fn messages_survive_parts_of_every_size_and_storms_of_waits() {
    let portions = (1..=20).map(|portion| (portion, 0));
    for (portion, patience) in portions.chain([(200, 50), (1, 20), (3, 5)]) {
        let (mut client, server) = open_over(pair_of(portion, patience));
        let server = spawn_echo(server);
        for size in [0, 1, 130] {
            let message = Message::binary(vec![size as u8; size]);
            client.send(message.clone()).unwrap();
            assert_eq!(client.recv().unwrap().unwrap(), message);
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        server.join().unwrap();
    }
}

#[test]
fn both_halves_survive_every_mood_of_the_stream() {
    let (client, server) = open();
    let server = spawn_echo(server);
    let (sender, mut receiver) = client.split();
    let other = sender.clone();
    thread::scope(|scope| {
        for sender in [&sender, &other] {
            scope.spawn(move || {
                for n in 0..500_usize {
                    sender.send(vec![7; n * 13 % 700]).unwrap();
                }
            });
        }
        let mut sum = 0;
        for _ in 0..1_000 {
            sum += receiver.recv().unwrap().unwrap().len();
        }
        assert_eq!(sum, (0..500).map(|n| n * 13 % 700).sum::<usize>() * 2);
    });
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert!(receiver.recv().is_none());
    server.join().unwrap();
}

/// A socket that counts what it is asked for.
struct Counting {
    stream: Stream,
    calls: AtomicUsize,
}

impl Transport for Counting {
    fn read(&self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.stream.read(buf, patience)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.stream.write(bufs)
    }

    fn wait(&self, interest: Readiness, patience: Option<Duration>) -> io::Result<Readiness> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.stream.wait(interest, patience)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }
}

#[test]
fn the_answers_to_one_read_leave_in_one_write() {
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let transport = Counting {
        stream: Stream::from(stream),
        calls: AtomicUsize::new(0),
    };
    let agreed = Negotiated::default();
    let mut ws = WebSocket::upgraded(transport, Role::Server, agreed, &[], Config::default());
    // Masked with zeros: the payload as it is.
    let frame = b"\x81\x81\0\0\0\0x";
    for round in 1..=3 {
        peer.write_all(&frame.repeat(500)).unwrap();
        for _ in 0..500 {
            let message = ws.recv().unwrap().unwrap();
            ws.send(message).unwrap();
        }
        assert_eq!(ws.get_ref().calls.load(Ordering::Relaxed), 2 * round);
    }
}
