//! The stream that everyone reads: one masked frame, again and again.

use std::fmt;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io as futures;
use tokio::io as tokio;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// A read brings at most this, as from a socket whose buffer is full.
const READ: usize = 256 * 1024;

/// A type of message (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Binary,
    Text,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binary => "binary",
            Self::Text => "text",
        })
    }
}

/// The near end of a connection in memory. Reads always bring something, and
/// writes go nowhere.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Whole frames.
    frames: Vec<u8>,
    at: usize,
}

impl Wire {
    /// The stream, and what each of its messages says.
    pub(crate) fn new(kind: Kind, size: usize) -> (Self, Vec<u8>) {
        let payload: Vec<u8> = (0..size).map(|i| b' ' + (i * 31 % 95) as u8).collect();
        let mut frame = vec![match kind {
            Kind::Binary => 0x82,
            Kind::Text => 0x81,
        }];
        match size {
            ..126 => frame.push(0x80 | size as u8),
            126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend((size as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((size as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
        let frames = frame.repeat((READ / frame.len()).max(1));
        (Self { frames, at: 0 }, payload)
    }

    /// Gives out up to `room` bytes, piece by piece; says how many.
    pub(crate) fn give(&mut self, room: usize, mut take: impl FnMut(&[u8])) -> usize {
        let wanted = room.min(READ);
        let mut left = wanted;
        while left > 0 {
            let piece = left.min(self.frames.len() - self.at);
            take(&self.frames[self.at..self.at + piece]);
            self.at = (self.at + piece) % self.frames.len();
            left -= piece;
        }
        wanted
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut at = 0;
        Ok(self.give(buffer.len(), |piece| {
            buffer[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }))
    }
}

impl Write for Wire {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tokio::AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut tokio::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.give(buffer.remaining(), |piece| buffer.put_slice(piece));
        Poll::Ready(Ok(()))
    }
}

impl tokio::AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl futures::AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.read(buffer))
    }
}

impl futures::AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
