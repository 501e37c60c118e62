//! RNode's messages.

use smartsocket_core::dialect::Dialect;

use crate::dialect;

/// `messages, with zeros between`.
pub fn run(data: &[u8]) {
    dialect::run(&Dialect::RNode, data, |text, heard, bytes| {
        assert_eq!(bytes.kind, "binary");
        if let "event" | "pong" = heard.kind {
            assert!(heard.texts.last().is_some_and(|raw| raw == text));
        }
        if let "join" | "leave" = heard.kind {
            assert!(heard.texts.len() <= 1);
        }
    });
}
