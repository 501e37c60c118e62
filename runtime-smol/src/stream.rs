//! Sockets: TCP and Unix as one type.

use std::io::{self, IoSlice, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_io::Async;
use futures_io::{AsyncRead, AsyncWrite};
use socket2::SockRef;

/// A connected TCP or Unix socket.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    /// A wake-up was waited for: its readiness must be consumed before the
    /// next read, or the read after that would find a stale one, try in vain
    /// and arm the poller again.
    waited: bool,
    /// The same for writing: until there is room, nobody tries in vain.
    full: bool,
}

#[derive(Debug)]
enum Io {
    Tcp(Async<TcpStream>),
    Unix(Async<UnixStream>),
}

impl Stream {
    /// The peer's address; `None` for a Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.io {
            Io::Tcp(tcp) => tcp.get_ref().peer_addr().ok(),
            Io::Unix(_) => None,
        }
    }

    /// A socket of our own listener, which has set its options.
    pub(crate) const fn accepted(tcp: Async<TcpStream>) -> Self {
        Self {
            io: Io::Tcp(tcp),
            waited: false,
            full: false,
        }
    }

    /// Reads into spare capacity: no byte of `buf` is touched twice.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, |fd| {
            Ok(rustix::io::read(fd, rustix::buffer::spare_capacity(buf))?)
        })
    }

    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if self.waited {
            ready!(self.poll_readable(cx))?;
            self.waited = false;
        }
        loop {
            match read(self.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return Poll::Ready(result),
            }
            self.waited = true;
            ready!(self.poll_readable(cx))?;
            self.waited = false;
        }
    }

    fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&Io) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if self.full {
            ready!(self.poll_writable(cx))?;
            self.full = false;
        }
        loop {
            match write(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return Poll::Ready(result),
            }
            self.full = true;
            ready!(self.poll_writable(cx))?;
            self.full = false;
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            Io::Tcp(tcp) => tcp.poll_writable(cx),
            Io::Unix(unix) => unix.poll_writable(cx),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            Io::Tcp(tcp) => tcp.poll_readable(cx),
            Io::Unix(unix) => unix.poll_readable(cx),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.io {
            Io::Tcp(tcp) => tcp.as_fd(),
            Io::Unix(unix) => unix.as_fd(),
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

impl From<Async<TcpStream>> for Stream {
    fn from(tcp: Async<TcpStream>) -> Self {
        // Without the options the connection is slower, not broken.
        let _ = prepare(tcp.get_ref());
        Self {
            io: Io::Tcp(tcp),
            waited: false,
            full: false,
        }
    }
}

impl From<Async<UnixStream>> for Stream {
    fn from(unix: Async<UnixStream>) -> Self {
        Self {
            io: Io::Unix(unix),
            waited: false,
            full: false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_io(cx, |fd| Ok(rustix::io::read(fd, &mut *buf)?))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_out(cx, |io| match io {
            Io::Tcp(tcp) => tcp.get_ref().write(buf),
            Io::Unix(unix) => unix.get_ref().write(buf),
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_out(cx, |io| match io {
            Io::Tcp(tcp) => tcp.get_ref().write_vectored(bufs),
            Io::Unix(unix) => unix.get_ref().write_vectored(bufs),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match &self.get_mut().io {
            Io::Tcp(tcp) => tcp.get_ref().shutdown(Shutdown::Write),
            Io::Unix(unix) => unix.get_ref().shutdown(Shutdown::Write),
        })
    }
}
