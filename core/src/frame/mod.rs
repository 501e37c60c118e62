//! Frames on the wire (RFC 6455 §5): pure functions, no state beyond a value.
//!
//! `header` reads and writes frame headers, `mask` applies masking keys,
//! `utf8` checks text that arrives in pieces, `close` reads close payloads.

pub(crate) mod close;
pub(crate) mod header;
pub(crate) mod mask;
pub(crate) mod utf8;
