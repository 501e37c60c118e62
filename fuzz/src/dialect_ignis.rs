//! Ignis: its messages, and its envelopes between servers.

use smartsocket_core::dialect::Dialect;
use smartsocket_core::dialect::ignis::Envelope;

use crate::dialect;

/// `messages, with zeros between`.
pub fn run(data: &[u8]) {
    dialect::run(&Dialect::Ignis, data, |text, heard, bytes| {
        assert_eq!(heard, bytes, "bytes are text");
        if let "join" | "leave" = heard.kind {
            assert!(heard.texts.len() <= 1_000);
            for room in &heard.texts {
                assert!((1..=256).contains(&room.encode_utf16().count()));
                assert!(!room.starts_with("ws:"));
            }
            assert!(heard.kind == "join" || !heard.texts.is_empty());
        }
        if let Some(envelope) = Envelope::decode(text) {
            assert!(!envelope.to.channel().is_empty());
            assert_eq!(Envelope::decode(envelope.encode()), Some(envelope));
        }
    });
}
