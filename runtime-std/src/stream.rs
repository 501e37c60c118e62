//! Sockets: TCP and Unix as one type.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::buffer::Buffer;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;

use crate::transport::{Readiness, Transport};

/// A wait shorter than this is done by `poll`: the kernel rounds the time
/// limit of a socket up to its own ticks.
const SHORT: Duration = Duration::from_millis(20);
/// The time limit of a socket is none, or not known.
const NEVER: u64 = 0;
const UNKNOWN: u64 = u64::MAX;

/// A connected TCP or Unix socket in blocking mode.
///
/// Reading is one system call: the time it may take is a property of the
/// socket (`SO_RCVTIMEO`), which is changed only when it must be. Make one by
/// `Stream::from` a [`TcpStream`] or [`UnixStream`].
pub struct Stream {
    socket: Socket,
    /// The time limit of reads, in microseconds.
    limit: AtomicU64,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// The peer's address; `None` for a Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(tcp) => tcp.peer_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// A socket of our own listener, which has set its options.
    pub(crate) const fn accepted(tcp: TcpStream) -> Self {
        Self::new(Socket::Tcp(tcp))
    }

    const fn new(socket: Socket) -> Self {
        Self {
            socket,
            limit: AtomicU64::new(UNKNOWN),
        }
    }

    fn receive<B: Buffer<u8>>(&self, buf: B, patience: Option<Duration>) -> io::Result<B::Output> {
        match patience {
            Some(patience) if patience < SHORT => receive_by_poll(self.as_fd(), buf, patience),
            _ => {
                self.limit_reads(patience)?;
                Ok(rustix::io::read(self, buf)?)
            }
        }
    }

    /// Sets the time limit of reads, unless the one that is set will do: one
    /// that ends too early costs another turn, one that changes with every
    /// read costs a system call each.
    fn limit_reads(&self, patience: Option<Duration>) -> io::Result<()> {
        let limit = self.limit.load(Ordering::Relaxed);
        let wanted = match patience {
            None => NEVER,
            Some(patience) => {
                let wanted = micros(patience);
                let known = limit != NEVER && limit != UNKNOWN;
                if known && limit <= wanted && limit >= wanted / 2 {
                    return Ok(());
                }
                // A little less, because a bit of the time passes from read
                // to read.
                wanted - wanted / 64
            }
        };
        if limit != wanted {
            let value = (wanted != NEVER).then(|| Duration::from_micros(wanted));
            set_socket_timeout(self, Timeout::Recv, value)?;
            self.limit.store(wanted, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Transport for Stream {
    fn read(&self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        self.receive(buf, patience)
    }

    fn read_to_spare(
        &self,
        buf: &mut Vec<u8>,
        _room: usize,
        patience: Option<Duration>,
    ) -> io::Result<usize> {
        self.receive(rustix::buffer::spare_capacity(buf), patience)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        write(self.as_fd(), bufs)
    }

    fn wait(&self, interest: Readiness, patience: Option<Duration>) -> io::Result<Readiness> {
        wait(self.as_fd(), interest, patience)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(tcp) => tcp.shutdown(how),
            Socket::Unix(unix) => unix.shutdown(how),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(tcp) => tcp.as_fd(),
            Socket::Unix(unix) => unix.as_fd(),
        }
    }
}

/// Small answers do not wait for more to come; and what the system holds of
/// what it has not sent yet is little, so that one who reads slowly is seen to
/// read, and what waits for it waits where it is counted.
pub(crate) fn prepare(tcp: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_notsent_lowat(128 * 1024)?;
    Ok(())
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        // Without the options the connection is slower, not broken.
        let _ = prepare(&tcp);
        Self::new(Socket::Tcp(tcp))
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Self::new(Socket::Unix(unix))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

/// The plain sockets work too. They remember no time limit, so each read that
/// has one takes two system calls.
macro_rules! plain_socket {
    ($socket:ty) => {
        impl Transport for $socket {
            fn read(&self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
                match patience {
                    Some(patience) => receive_by_poll(self.as_fd(), buf, patience),
                    None => Ok(rustix::io::read(self, buf)?),
                }
            }

            fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                write(self.as_fd(), bufs)
            }

            fn wait(
                &self,
                interest: Readiness,
                patience: Option<Duration>,
            ) -> io::Result<Readiness> {
                wait(self.as_fd(), interest, patience)
            }

            fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.shutdown(how)
            }
        }
    };
}

plain_socket!(TcpStream);
plain_socket!(UnixStream);

fn receive_by_poll<B: Buffer<u8>>(
    fd: BorrowedFd<'_>,
    buf: B,
    patience: Duration,
) -> io::Result<B::Output> {
    if !patience.is_zero() {
        let interest = Readiness {
            readable: true,
            writable: false,
        };
        wait(fd, interest, Some(patience))?;
    }
    let (output, _) = rustix::net::recv(fd, buf, RecvFlags::DONTWAIT)?;
    Ok(output)
}

fn write(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(match bufs {
        [one] => rustix::net::send(fd, one, flags)?,
        many => rustix::net::sendmsg(fd, many, &mut SendAncillaryBuffer::default(), flags)?,
    })
}

fn wait(
    fd: BorrowedFd<'_>,
    interest: Readiness,
    patience: Option<Duration>,
) -> io::Result<Readiness> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    // Too long for the system is as good as for ever.
    let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
    rustix::event::poll(&mut fds, timeout.as_ref())?;
    let found = fds[0].revents();
    // The next read or write tells what is wrong.
    let broken = found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
    Ok(Readiness {
        readable: interest.readable && (broken || found.contains(PollFlags::IN)),
        writable: interest.writable && (broken || found.contains(PollFlags::OUT)),
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(UNKNOWN - 1)
}
