//! Listening sockets, who is let in, and how waiting for it ends.

use std::fs::File;
use std::io::{self, IoSlice, PipeReader, PipeWriter, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use smartsocket_core::Gate;

use crate::stream::{Stream, prepare};
use crate::transport::Transport as _;

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;
/// How long accepting rests when the process has no file descriptor left.
const REST: Duration = Duration::from_millis(100);
/// The answer to a connection that is one too many.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";

/// A socket that listens, in non-blocking mode.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on the first of the addresses that works. A port in use is an
    /// error, also when another socket of ours uses it.
    pub(crate) fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
        for address in addresses.to_socket_addrs()? {
            match listen(address) {
                Ok(listener) => return Self::tcp(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn tcp(listener: TcpListener) -> io::Result<Self> {
        // Accepted sockets inherit these options, but not the other.
        prepare(&listener)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener))
    }

    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(listener))
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// One connection, with the peer's address for TCP.
    fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(tcp) => {
                let (tcp, peer) = tcp.accept()?;
                Ok((Stream::accepted(tcp), Some(peer.ip())))
            }
            Self::Unix(unix) => Ok((unix.accept()?.0.into(), None)),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Says that there is no room, if that can be said at once.
pub(crate) fn refuse(stream: &Stream) {
    let _ = stream.write(&[IoSlice::new(BUSY)]);
    let _ = stream.shutdown(Shutdown::Write);
    // Closing with unread bytes would reset the connection and take the
    // answer back.
    let _ = stream.read(&mut [0; 4096], Some(Duration::ZERO));
}

/// The request to stop: a pipe that becomes readable, so that a poll and a
/// signal handler can have a part in it.
#[derive(Debug)]
pub(crate) struct Stop {
    told: AtomicBool,
    writer: PipeWriter,
    reader: PipeReader,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            told: AtomicBool::new(false),
            writer,
            reader,
        })
    }

    pub(crate) fn stop(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            // An empty pipe has room.
            let _ = (&self.writer).write(&[1]);
        }
    }

    /// Another end to stop by: one byte is enough.
    pub(crate) fn writer(&self) -> io::Result<PipeWriter> {
        self.writer.try_clone()
    }

    /// Waits for a connection, or `timeout`; whether to stop.
    fn wait(&self, listener: Option<&Listener>, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.reader, PollFlags::IN)];
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Takes connections in, one by one, within the limits.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: Listener,
    gate: Arc<Mutex<Gate>>,
    /// A descriptor to give up when there are no others, so that a connection
    /// can be taken and refused instead of waiting in vain.
    reserve: Option<File>,
}

/// A place inside; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Mutex<Gate>>,
    address: Option<IpAddr>,
}

impl Acceptor {
    pub(crate) fn new(listener: Listener, max: usize, max_per_address: usize) -> Self {
        Self {
            listener,
            gate: Arc::new(Mutex::new(Gate::new(max, max_per_address))),
            reserve: reserve(),
        }
    }

    /// The next connection that may come in; `None` when it is time to stop.
    pub(crate) fn next(&mut self, stop: &Stop) -> io::Result<Option<(Stream, Place)>> {
        loop {
            if stop.wait(Some(&self.listener), None)? {
                return Ok(None);
            }
            match self.listener.accept() {
                Ok((stream, address)) => match self.admit(address) {
                    Some(place) => return Ok(Some((stream, place))),
                    None => refuse(&stream),
                },
                Err(error) => {
                    if self.recover(&error) {
                        // What told us to stop is seen by the next wait.
                        stop.wait(None, Some(REST))?;
                    }
                }
            }
        }
    }

    fn admit(&self, address: Option<IpAddr>) -> Option<Place> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(crowded) = gate.enter(address) {
            log::warn!(target: "smartsocket:std", "refused a connection: {crowded}");
            return None;
        }
        drop(gate);
        Some(Place {
            gate: Arc::clone(&self.gate),
            address,
        })
    }

    /// Does what an accept that failed needs; whether accepting should rest.
    fn recover(&mut self, error: &io::Error) -> bool {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => {
                log::warn!(target: "smartsocket:std", "no file descriptor left: {error}");
                if self.reserve.take().is_some() {
                    if let Ok((stream, _)) = self.listener.accept() {
                        refuse(&stream);
                    }
                    self.reserve = reserve();
                }
                true
            }
            // The peer was gone before we came.
            Some(Errno::WOULDBLOCK | Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => false,
            _ => {
                log::warn!(target: "smartsocket:std", "cannot accept: {error}");
                true
            }
        }
    }
}

impl Place {
    /// The address it is for.
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.leave(self.address);
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_all_and_per_address_loopback_exempt() {
        let acceptor = Acceptor::new(Listener::bind("127.0.0.1:0").unwrap(), 4, 2);
        let remote = Some("192.0.2.1".parse().unwrap());
        let loopback = Some("127.0.0.1".parse().unwrap());
        let first = acceptor.admit(remote).unwrap();
        let _second = acceptor.admit(remote).unwrap();
        assert!(acceptor.admit(remote).is_none());
        drop(first);
        let _third = acceptor.admit(remote).unwrap();
        let _here = [
            acceptor.admit(loopback).unwrap(),
            acceptor.admit(None).unwrap(),
        ];
        assert!(acceptor.admit(loopback).is_none());
    }

    #[test]
    fn without_a_descriptor_a_connection_is_refused_by_the_reserve() {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::new(listener, 10, 10);
        let mut client = std::net::TcpStream::connect(address).unwrap();
        assert!(acceptor.recover(&Errno::MFILE.into()));
        assert!(acceptor.reserve.is_some());
        let mut answer = String::new();
        io::Read::read_to_string(&mut client, &mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("Retry-After: "));
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = Listener::bind("127.0.0.1:0").unwrap();
        let error = Listener::bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
