//! permessage-deflate, the compression extension of WebSocket (RFC 7692).
//!
//! `negotiate` settles in the handshake what both ends will do, `codec` turns messages into
//! compressed payloads and back, `miniz` and `zlib` are the two backends below it, and `pool` shares
//! their large states between connections.
//!
//! | heap of one state | compressor | decompressor |
//! |---|---|---|
//! | miniz_oxide (default) | 312 KiB | 58 KiB |
//! | zlib-rs (feature `zlib-rs`), 15 bits | 371 KiB | 47 KiB, 79 KiB after 32 KiB of output |
//! | zlib-rs, 12 bits | 259 KiB | as above |
//! | zlib-rs, 9 bits | 245 KiB | as above |
//!
//! An idle connection should not hold a third of a megabyte, so by default neither side keeps its
//! context between messages and all connections of a hub share one pool. With context
//! takeover every connection owns a state per direction it is kept in.

mod codec;
#[cfg(any(test, not(feature = "zlib-rs")))]
mod miniz;
mod negotiate;
mod pool;
#[cfg(test)]
mod tests;
#[cfg(feature = "zlib-rs")]
mod zlib;

use core::ops::RangeInclusive;

#[cfg(not(feature = "zlib-rs"))]
use miniz as backend;
#[cfg(feature = "zlib-rs")]
use zlib as backend;

pub use codec::InflateError;
pub(crate) use codec::InflateLimits;
pub use negotiate::Parameters;
pub(crate) use negotiate::Params;
pub(crate) use pool::Pool;

/// Compresses messages with the backend this crate was built with.
pub(crate) type Deflater = codec::Deflater<backend::Compressor>;
/// Decompresses messages with the backend this crate was built with.
pub(crate) type Inflater = codec::Inflater<backend::Decompressor>;

/// The most that DEFLATE makes of a byte: a match of 258 bytes in two bits.
pub(crate) const MAX_RATIO: usize = 1_032;
/// Heap of one state for each direction, and of the pool that keeps them.
pub(crate) const STATES: usize = <backend::Compressor as codec::Compress>::HEAP
    + <backend::Decompressor as codec::Decompress>::HEAP
    + 1_024;

/// The window sizes, as powers of two, that the compiled backend can promise when it compresses:
/// 15 alone with miniz_oxide, whose window is fixed; 9 to 15 with the feature `zlib-rs`.
///
/// Decompressing works for every window a peer may choose.
pub const WINDOW_BITS: RangeInclusive<u8> = <backend::Compressor as codec::Compress>::WINDOW_BITS;

/// Options of permessage-deflate. Values outside their range count as the nearest one inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// How hard to compress: 1 (fast) to 9 (small). Default 6.
    pub level: u8,
    /// Messages shorter than this many bytes are sent as they are. Default 1024: below it the
    /// compressor's reset costs more than the bytes it saves.
    pub threshold: usize,
    /// The server forgets its context after every message. Default true: it compresses worse, and
    /// needs no compressor per connection.
    ///
    /// A server does so; a client asks for it, and the connection fails if a server that accepts the
    /// extension does not agree.
    pub server_no_context_takeover: bool,
    /// The client forgets its context after every message, so the server needs no decompressor per
    /// connection. Default true. A server asks for it, a client does so.
    pub client_no_context_takeover: bool,
    /// The largest window the server compresses with, as a power of two: 9 to 15. Default 15.
    ///
    /// A server never goes below what [`WINDOW_BITS`] allows it. A client asks for it, and offers to
    /// go without if the server cannot.
    pub server_max_window_bits: u8,
    /// The largest window the client compresses with, as a power of two: 9 to 15. Default 15.
    ///
    /// A server asks for it from clients that can choose. A client never goes below what
    /// [`WINDOW_BITS`] allows it.
    pub client_max_window_bits: u8,
    /// A message that inflates to more than this many times its compressed size is refused, as soon
    /// as any beginning of it does. Default 200. The format itself reaches 1032.
    pub max_ratio: u32,
    /// Messages that inflate to no more than this many bytes are never judged by their ratio.
    /// Default 65,536.
    pub ratio_floor: usize,
}

impl Default for Deflate {
    fn default() -> Self {
        Self {
            level: 6,
            threshold: 1024,
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
            max_ratio: 200,
            ratio_floor: 64 * 1024,
        }
    }
}
