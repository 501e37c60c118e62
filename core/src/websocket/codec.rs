//! One connection's compression: whose state is used for what.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::{fmt, mem};

use crate::deflate::{
    Deflater, InflateError, InflateLimits, Inflater, Parameters, Pool, WINDOW_BITS,
};

use super::{Config, Role};

/// The agreed parameters and the states that outlive a message.
///
/// Without context takeover nothing outlives a message and the states come
/// from the shared [`Pool`]; with it each direction owns one.
pub(super) struct Codec {
    level: u8,
    deflate_bits: u8,
    /// The window agreed on is one this build can keep to. Otherwise messages
    /// go uncompressed, which the extension always allows (RFC 7692 §6).
    deflates: bool,
    deflate_takeover: bool,
    inflate_takeover: bool,
    deflater: Option<Box<Deflater>>,
    inflater: Option<Box<Inflater>>,
    /// Compressed bytes of the current message, kept while the pool has no
    /// inflater to spare.
    waiting: Vec<u8>,
}

/// Without its states, which hold what was said.
impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("level", &self.level)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Codec {
    pub(super) fn new(role: Role, parameters: Parameters, config: &Config) -> Self {
        let server = (
            parameters.server_no_context_takeover,
            parameters.server_max_window_bits,
        );
        let client = (
            parameters.client_no_context_takeover,
            parameters.client_max_window_bits,
        );
        let (own, peer) = match role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        };
        Self {
            level: config.deflate.as_ref().map_or(6, |deflate| deflate.level),
            deflate_bits: own.1,
            deflates: WINDOW_BITS.contains(&own.1),
            deflate_takeover: !own.0,
            inflate_takeover: !peer.0,
            deflater: None,
            inflater: None,
            waiting: Vec::new(),
        }
    }

    /// What two connections must have in common to take the same bytes.
    pub(super) const fn variant(&self) -> (u8, u8) {
        (self.level, self.deflate_bits)
    }

    /// Whether a compressed message of the peer may be passed over: no later one
    /// needs what it held.
    pub(super) const fn may_skip(&self) -> bool {
        !self.inflate_takeover
    }

    /// Whether messages can be compressed at all.
    pub(super) const fn deflates(&self) -> bool {
        self.deflates
    }

    /// Whether what was compressed may be thrown away: with a context kept,
    /// the peer must see all that went through it.
    pub(super) const fn forgets(&self) -> bool {
        !self.deflate_takeover
    }

    /// Compresses a part of a message.
    pub(super) fn deflate(&mut self, pool: &mut Pool, data: &[u8], last: bool, out: &mut Vec<u8>) {
        let deflater = if self.deflate_takeover {
            self.deflater
                .get_or_insert_with(|| Box::new(Deflater::new(self.level, self.deflate_bits)))
        } else {
            // A fresh state for every part is as good as one for the message:
            // its output refers to nothing before it (RFC 7692 §7.2.3.3).
            pool.deflater(self.level, self.deflate_bits)
        };
        deflater.deflate(data, out, last);
    }

    /// Inflates a piece of a message and appends what comes out.
    ///
    /// Without an inflater to spare, pieces wait (bounded by the caller's
    /// message limit) and come out with the last one.
    pub(super) fn inflate(
        &mut self,
        pool: &mut Pool,
        data: &[u8],
        last: bool,
        limits: &InflateLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        if self.inflater.is_none() {
            self.inflater = match (self.inflate_takeover, last) {
                (true, _) => Some(Box::new(Inflater::new())),
                (false, false) => pool.take_inflater(),
                (false, true) => None,
            };
        }
        let inflater = match &mut self.inflater {
            Some(inflater) => inflater,
            // One that is needed only inside this call is always there.
            None if last => pool.inflater(),
            None => {
                self.waiting.extend_from_slice(data);
                return Ok(());
            }
        };
        if !self.waiting.is_empty() {
            let waiting = mem::take(&mut self.waiting);
            inflater.inflate(&waiting, false, limits, out)?;
        }
        inflater.inflate(data, last, limits, out)?;
        if last {
            self.release(pool);
        }
        Ok(())
    }

    /// Gives back what was borrowed; the message, or the connection, is over.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        if !self.inflate_takeover
            && let Some(inflater) = self.inflater.take()
        {
            pool.give_back(inflater);
        }
    }
}
