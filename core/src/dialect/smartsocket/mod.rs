//! SmartSocket: JSON events, acks in two forms, binary packets.
//!
//! `envelope` is what a message says, `packet` the binary forms it can have.
//! The published clients differ. Those of generation A answer and ask by
//! `__ackId`; those of generation B by `_ackId`, say `connected` first, and
//! send every event they receive straight back, which must not be taken for
//! an event of theirs.

mod echo;
mod envelope;
mod packet;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::message::{Message, Utf8Bytes};

use super::{Context, Failure, Incoming, Outgoing};
use echo::Echoes;
use packet::{Assembly, Packed};

/// Which binary packets a SmartSocket peer understands; all understand text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PeerBinary {
    /// None. The published clients are of this kind in browsers, where they
    /// drop every binary message.
    #[default]
    None,
    /// Plain ones and plain chunks: the published clients on Node.
    Plain,
    /// Compressed ones too.
    Compressed,
}

/// How packets of ours are compressed; those that come may be either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 1950, as the published server sends it.
    #[default]
    Zlib,
    /// RFC 1951, as the published client would send it.
    Raw,
}

/// Options of the SmartSocket dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmartSocket {
    /// The longest message that is put together of chunks, or inflated, in
    /// bytes; also that of all chunks together that wait for others. Default
    /// 1 MiB.
    pub max_message: usize,
    /// Packets for peers that understand them: messages longer than this, in
    /// bytes, are not sent as text. Default 1,024 (SS-53).
    pub threshold: usize,
    /// How hard packets are compressed: 1 (fast) to 9 (small). Default 6 (SS-54).
    pub level: u8,
    /// How packets are compressed. Default zlib.
    pub format: Format,
}

impl Default for SmartSocket {
    fn default() -> Self {
        Self {
            max_message: 1 << 20,
            threshold: 1_024,
            level: 6,
            format: Format::Zlib,
        }
    }
}

/// What is remembered of one peer.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Chunks of messages that are not whole.
    assembly: Assembly,
    /// It said `connected`: generation B.
    echoes: Option<Echoes>,
}

impl Memory {
    pub(super) fn is_echo(&mut self, text: &str) -> bool {
        self.echoes
            .as_mut()
            .is_some_and(|echoes| echoes.is_one(text))
    }
}

/// Notes a message that went to the peer. Who has not spoken yet may turn out
/// to be of generation B.
pub(super) fn sent(memory: &mut Option<Box<Memory>>, message: &Message, silent: bool) {
    let Message::Text(text) = message else {
        return;
    };
    if silent {
        memory
            .get_or_insert_default()
            .echoes
            .get_or_insert_default();
    }
    if let Some(echoes) = memory.as_mut().and_then(|memory| memory.echoes.as_mut()) {
        echoes.expect(text, silent);
    }
}

pub(super) fn decode(
    options: &SmartSocket,
    memory: &mut Option<Box<Memory>>,
    message: Message,
    first: bool,
) -> Incoming {
    let text = match message {
        Message::Text(text) => Ok(text),
        Message::Binary(data) => {
            let packed = packet::decode(&data, options.max_message);
            match packed {
                Ok(Packed::Whole(text)) => Ok(text),
                Ok(Packed::Chunk(chunk)) => {
                    let known = memory.get_or_insert_default();
                    let added = known.assembly.add(&chunk, options.max_message);
                    if known.assembly.is_empty() && known.echoes.is_none() {
                        *memory = None;
                    }
                    match added {
                        Ok(Some(text)) => Ok(text),
                        Ok(None) => return Incoming::Nothing,
                        Err(failure) => Err(failure),
                    }
                }
                Err(failure) => Err(failure),
            }
        }
    };
    match text {
        Ok(text) => understand(memory, text, first),
        Err(failure) => Incoming::Invalid(failure),
    }
}

fn understand(memory: &mut Option<Box<Memory>>, text: Utf8Bytes, first: bool) -> Incoming {
    if !first && memory.as_mut().is_some_and(|memory| memory.is_echo(&text)) {
        return Incoming::Nothing;
    }
    let said = envelope::decode(text);
    if first && !matches!(said, Ok(envelope::Said::Hello)) {
        // Not of generation B, whose first word is another.
        *memory = None;
    }
    match said {
        Ok(envelope::Said::Hello) => {
            memory
                .get_or_insert_default()
                .echoes
                .get_or_insert_default();
            Incoming::Nothing
        }
        Ok(envelope::Said::Message(incoming)) => incoming,
        Err(envelope::NotAnEnvelope) => Incoming::Invalid(Failure::InvalidMessage),
    }
}

pub(super) fn encode(
    options: &SmartSocket,
    context: Context<'_>,
    what: &Outgoing<'_>,
) -> Vec<Message> {
    if let Outgoing::Raw(message) = what {
        return vec![(*message).clone()];
    }
    let Some(text) = envelope::encode(context, what) else {
        return Vec::new();
    };
    if context.binary == PeerBinary::None || text.len() <= options.threshold {
        return vec![Message::text(text)];
    }
    packet::encode(&text, context.binary == PeerBinary::Compressed, options)
        .into_iter()
        .map(Message::binary)
        .collect()
}
