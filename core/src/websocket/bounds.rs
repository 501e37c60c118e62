//! What one connection can hold, as a formula.
//!
//! All figures count what the allocator is asked for, with both blocks while
//! one is moved to a larger one.

use bytes::Bytes;

use crate::deflate;
use crate::frame::header::{MAX_CONTROL, MAX_HEADER};

use super::event::Event;
use super::handshake::{EARLY_MAX, MAX_BODY};
use super::send::{ENTRY, PONG_ROOM, WIRE_TARGET};
use super::wire::{GATHER, MAX_PIECES};
use super::{Config, Role, WebSocket};

/// The small blocks that are there once: of the message under way, the
/// outcome and its text, the codec, a client's generator.
const BOXES: usize = 2 * 1024;
/// What makes a byte string one of several handles.
const HANDLE: usize = 4 * size_of::<usize>();
/// What a request's subprotocols and extensions take beside their text.
const LISTS: usize = 8 * 1024;

impl Config {
    /// The most memory, in bytes, that one connection can make its
    /// [`WebSocket`] hold at any moment, whatever the peer does: the machine
    /// itself and all of its heap, a buffer that is being moved counted twice.
    ///
    /// It holds for an embedder that takes all outputs after every input, in
    /// which it hands in at most `read` bytes, and for an application that
    /// sends no message longer than
    /// [`max_queued_bytes`](Self::max_queued_bytes) (if it does, ask with that
    /// set to the longest). Not in it are what has left in an event; the
    /// configuration, which connections can share; what the application hands
    /// in besides messages (a request, a response, headers), and memory that
    /// its messages share with others; the allocator's own overhead.
    ///
    /// | term | bytes |
    /// |---|---|
    /// | machine | `size_of::<WebSocket>()`, and 2 KiB of small blocks |
    /// | head | 5 × `head.head_bytes` + 56 × `head.headers` + 8 KiB, and 8 × the configured `headers` and `subprotocols`; with `decide`, 384 KiB for early frames and 2 × [`max_body`](Self::max_body); client: 48 KiB for a refusal's body |
    /// | message under way, [`Fill`](super::Fill) | 2 × `max_message`; with `deflate`, half of it again or what one read can inflate to; with `streaming`, no more than one read brings |
    /// | inflater, compressor | with `deflate`: 59 and 314 KiB (with zlib-rs 144 and 384 KiB) |
    /// | outbound queue | 2 × `max_queued_bytes`, because a message stays whole until its last byte is sent; up to twice that again when all are tiny |
    /// | wire | up to 132 KiB, as its buffers may be larger than the frames in them, and 18 KiB for their list |
    /// | control frames | 5 KiB |
    /// | events of one read | for every 2 bytes of `read` (server: 6) an event of some 48 bytes, in a queue that grows by doubling; 3 × `read`; with `deflate`, `read` inflated as far as [`max_ratio`](deflate::Deflate::max_ratio), [`ratio_floor`](deflate::Deflate::ratio_floor) and the format (1032:1) allow |
    ///
    /// Head and messages are not there at the same time: the larger counts.
    ///
    /// TLS comes on top: 64 KiB for its state, twice the larger of
    /// [`fragment_size`](Self::fragment_size) (no more than the longest message
    /// sent) and 64 KiB for records to send, and twice `read`.
    ///
    /// ```
    /// use smartsocket_core::Config;
    /// use smartsocket_core::websocket::Role;
    ///
    /// let config = Config {
    ///     max_message: 64 * 1024,
    ///     max_queued_bytes: 64 * 1024,
    ///     ..Config::default()
    /// };
    /// assert!(config.max_memory(Role::Server, 16 * 1024) < 1 << 20);
    /// ```
    pub const fn max_memory(&self, role: Role, read: usize) -> usize {
        let open = sum(&[self.incoming(role, read), self.outgoing()]);
        sum(&[
            size_of::<WebSocket>(),
            BOXES,
            max(self.opening(role), open),
            self.events(role, read),
        ])
    }

    /// Until the handshake is over.
    const fn opening(&self, role: Role) -> usize {
        let head = sum(&[
            self.head.head_bytes.saturating_mul(5),
            self.head.headers.saturating_mul(56),
            LISTS,
        ]);
        let mut own = self.headers.size();
        let mut left = self.subprotocols.as_slice();
        while let [name, rest @ ..] = left {
            own = own.saturating_add(name.len());
            left = rest;
        }
        let kept = match role {
            Role::Server if self.decide => sum(&[3 * EARLY_MAX, self.max_body.saturating_mul(2)]),
            Role::Server => 0,
            Role::Client => 3 * MAX_BODY,
        };
        sum(&[head, own.saturating_mul(8), kept])
    }

    /// The message under way. While it moves to a larger block the old one is
    /// there too; and what inflates comes by way of another.
    const fn incoming(&self, role: Role, read: usize) -> usize {
        let whole = self.max_message.saturating_add(MAX_HEADER);
        let longest = if self.streaming {
            min(whole, read.saturating_add(self.inflated(role, read)))
        } else {
            whole
        };
        let double = longest.saturating_mul(2);
        match self.deflate {
            None => double,
            Some(_) => {
                let came = min(longest / 2, self.inflated(role, read));
                sum(&[double, came, deflate::STATES])
            }
        }
    }

    /// What waits to be sent.
    const fn outgoing(&self) -> usize {
        let queue = self.queue();
        // One message is nearly sent, and still there; others are queued, and
        // the list of them has just been moved to a block of twice its size.
        let entries = max(queue / ENTRY, 2);
        let list = (2_usize << entries.ilog2()).saturating_mul(ENTRY);
        // Every fragment has a header.
        let framed = queue.saturating_mul(1 + MAX_HEADER.div_ceil(max(self.fragment_size, 1)));
        let gathered = min(
            WIRE_TARGET + GATHER + MAX_HEADER,
            framed.saturating_add(PONG_ROOM),
        );
        let deflated = match self.deflate {
            None => 0,
            Some(_) => queue.saturating_mul(3),
        };
        sum(&[
            queue.saturating_mul(2),
            max(list, deflated),
            2 * gathered,
            MAX_PIECES * (3 * size_of::<Bytes>() + HANDLE),
            PONG_ROOM + 8 * MAX_CONTROL,
        ])
    }

    /// Bytes queued at most: a message that does not compress grows a little.
    const fn queue(&self) -> usize {
        match self.deflate {
            None => self.max_queued_bytes,
            Some(_) => sum(&[self.max_queued_bytes, self.max_queued_bytes / 8, 1_024]),
        }
    }

    /// What one input brings before the embedder can take any of it.
    const fn events(&self, role: Role, read: usize) -> usize {
        let read = match role {
            Role::Server if self.decide => max(read, EARLY_MAX),
            Role::Server | Role::Client => read,
        };
        let events = read / shortest(role) + 2;
        let payloads = (read / (shortest(role) + 1)).saturating_mul(HANDLE);
        sum(&[
            list(events, size_of::<Event>()),
            payloads,
            read.saturating_mul(3),
            self.inflated(role, read),
        ])
    }

    /// How much `read` bytes of compressed messages can become.
    const fn inflated(&self, role: Role, read: usize) -> usize {
        let Some(deflate) = &self.deflate else {
            return 0;
        };
        let ratio = deflate::MAX_RATIO;
        // The best a message can do that is not judged by its ratio.
        let free = min(deflate.ratio_floor, self.max_message);
        let short = free.saturating_mul(ratio) / (shortest(role) * ratio).saturating_add(free);
        let most = min(max(deflate.max_ratio as usize, short + 1), ratio);
        read.saturating_mul(most)
    }
}

/// The shortest frame that comes in.
const fn shortest(role: Role) -> usize {
    match role {
        Role::Server => 6,
        Role::Client => 2,
    }
}

/// A list of up to `n` entries that grows by doubling, while it does.
const fn list(n: usize, entry: usize) -> usize {
    match n.checked_next_power_of_two() {
        Some(capacity) => capacity.saturating_mul(entry).saturating_mul(3) / 2,
        None => usize::MAX,
    }
}

const fn sum(terms: &[usize]) -> usize {
    let mut sum = 0_usize;
    let mut left = terms;
    while let [term, rest @ ..] = left {
        sum = sum.saturating_add(*term);
        left = rest;
    }
    sum
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

const fn min(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}
