//! Listening sockets, and who is let in.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::future::{poll_once, yield_now};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use smartsocket_core::Gate;

use crate::stream::{Stream, prepare};

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;
/// How long accepting rests when the process has no file descriptor left.
const REST: Duration = Duration::from_millis(100);
/// The answer to a connection that is one too many.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(Async<TcpListener>),
    Unix(Async<UnixListener>),
}

/// A connection not yet bound to a thread's executor.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
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
        // Accepted sockets inherit the options.
        prepare(&listener)?;
        Ok(Self::Tcp(Async::new(listener)?))
    }

    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self::Unix(Async::new(UnixListener::bind(path)?)?))
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.get_ref().local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// One connection, with the peer's address for TCP.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        // Non-blocking from the start: two system calls less than setting it.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match self {
            Self::Tcp(tcp) => {
                let (fd, peer) = tcp
                    .read_with(|tcp| Ok(acceptfrom_with(tcp, flags)?))
                    .await?;
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                Ok((Socket::Tcp(fd.into()), peer.map(|peer| peer.ip())))
            }
            Self::Unix(unix) => {
                let (fd, _) = unix
                    .read_with(|unix| Ok(acceptfrom_with(unix, flags)?))
                    .await?;
                Ok((Socket::Unix(fd.into()), None))
            }
        }
    }
}

impl Socket {
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(tcp) => Stream::accepted(Async::new_nonblocking(tcp)?),
            Self::Unix(unix) => Async::new_nonblocking(unix)?.into(),
        })
    }

    /// Says that there is no room, if that can be said at once.
    pub(crate) fn refuse(self) {
        let _ = match self {
            Self::Tcp(mut tcp) => tcp.write(BUSY),
            Self::Unix(mut unix) => unix.write(BUSY),
        };
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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

    /// The next connection that may come in.
    pub(crate) async fn next(&mut self) -> (Socket, Place) {
        loop {
            match self.listener.accept().await {
                Ok((socket, address)) => match self.admit(address) {
                    Some(place) => return (socket, place),
                    None => socket.refuse(),
                },
                Err(error) => self.recover(&error).await,
            }
        }
    }

    fn admit(&self, address: Option<IpAddr>) -> Option<Place> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(crowded) = gate.enter(address) {
            log::warn!(target: "smartsocket:server", "refused a connection: {crowded}");
            return None;
        }
        drop(gate);
        Some(Place {
            gate: Arc::clone(&self.gate),
            address,
        })
    }

    /// What an accept that failed needs.
    async fn recover(&mut self, error: &io::Error) {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => {
                log::warn!(target: "smartsocket:server", "no file descriptor left: {error}");
                if self.reserve.take().is_some()
                    && let Some(Ok((socket, _))) = poll_once(self.listener.accept()).await
                {
                    socket.refuse();
                    self.reserve = reserve();
                    if self.reserve.is_some() {
                        // So can the next be.
                        return yield_now().await;
                    }
                }
                Timer::after(REST).await;
                self.reserve = reserve();
            }
            // The peer was gone before we came.
            Some(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
            _ => {
                log::warn!(target: "smartsocket:server", "cannot accept: {error}");
                Timer::after(REST).await;
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
    fn an_address_has_its_cap_loopback_has_none_and_places_are_given_back() {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let acceptor = Acceptor::new(listener, 5, 2);
        let from = |address: &str| acceptor.admit(Some(address.parse().unwrap()));
        let first = from("192.0.2.1").unwrap();
        let _second = from("192.0.2.1").unwrap();
        assert!(from("192.0.2.1").is_none());
        assert!(from("::ffff:192.0.2.1").is_none(), "the same by IPv6");
        drop(first);
        let _third = from("::ffff:192.0.2.1").unwrap();
        let inside = [from("127.0.0.1"), from("::1"), acceptor.admit(None)];
        assert!(inside.iter().all(Option::is_some));
        assert!(from("198.51.100.1").is_none(), "five are inside");
        drop(inside);
        assert!(from("198.51.100.1").is_some());
    }
}
