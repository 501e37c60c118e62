//! SmartSocket.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::message::Message;

use super::{Context, Incoming, Outgoing};

/// Which binary packets a SmartSocket peer understands; all understand text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PeerBinary {
    /// None. The published clients in browsers are of this kind.
    #[default]
    None,
    /// Plain ones and plain chunks.
    Plain,
    /// Compressed ones too.
    Compressed,
}

/// Options of the SmartSocket dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmartSocket {
    /// The longest message that is put together of chunks, or inflated, in
    /// bytes. Default 1 MiB.
    pub max_message: usize,
}

impl Default for SmartSocket {
    fn default() -> Self {
        Self {
            max_message: 1 << 20,
        }
    }
}

/// What is remembered of one peer.
#[derive(Debug, Default)]
pub(super) struct Memory {}

impl Memory {
    /// Notes an event that went to the peer.
    pub(super) fn sent(&mut self, _message: &Message) {}
}

pub(super) fn decode(
    _options: &SmartSocket,
    _memory: &mut Option<Box<Memory>>,
    _message: Message,
) -> Incoming {
    Incoming::Nothing
}

pub(super) fn encode(
    _options: &SmartSocket,
    _context: Context<'_>,
    _what: &Outgoing<'_>,
) -> Vec<Message> {
    Vec::new()
}
