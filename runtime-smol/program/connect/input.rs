//! What comes from the user: stdin and signals.

use std::future::pending;
use std::io::{self, BufRead as _, Read as _};
use std::thread;

use async_channel::Receiver;
use async_signal::{Signal, Signals};
use futures_lite::StreamExt as _;

use crate::explain::Failure;

/// Input read ahead of what the connection has taken.
const READ_AHEAD: usize = 16;
/// The longest binary message made of stdin.
const CHUNK: usize = 64 * 1024;

/// A piece of stdin.
pub(super) type Input = io::Result<Vec<u8>>;

/// Reads stdin, line by line or as it comes, on a thread of its own, which ends
/// with the process.
pub(super) fn read(binary: bool) -> Receiver<Input> {
    let (sender, input) = async_channel::bounded(READ_AHEAD);
    let spawned = thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut data = Vec::new();
            let read = if binary {
                data.resize(CHUNK, 0);
                stdin.read(&mut data).inspect(|n| data.truncate(*n))
            } else {
                stdin.read_until(b'\n', &mut data)
            };
            let read = match read {
                Ok(0) => return,
                Ok(_) => Ok(data),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = read.is_err();
            if sender.send_blocking(read).is_err() || last {
                return;
            }
        }
    });
    if let Err(error) = spawned {
        log::error!(target: "smartsocket:connect", "cannot read stdin: {error}");
    }
    input
}

/// A piece of it as it is.
pub(super) fn data(input: Input) -> Result<Vec<u8>, Failure> {
    input.map_err(|error| Failure::new(format!("cannot read stdin: {error}")))
}

/// A line of it, without its end.
pub(super) fn line(input: Input) -> Result<String, Failure> {
    let mut line = data(input)?;
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    String::from_utf8(line)
        .map_err(|_| Failure::new("a line of stdin is not UTF-8: send it with --binary"))
}

/// Listens to these signals.
pub(super) fn signals<const N: usize>(which: [Signal; N]) -> Result<Signals, Failure> {
    Signals::new(which).map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))
}

/// The exit code of the signal that came.
pub(super) async fn signal(signals: &mut Signals) -> u8 {
    match signals.next().await {
        Some(Ok(Signal::Term)) => 143,
        Some(_) => 130,
        None => pending().await,
    }
}
