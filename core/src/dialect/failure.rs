//! What a peer is told, in words.

use alloc::borrow::Cow;
use alloc::format;

use super::Failure;

impl Failure {
    /// A sentence for dialects that have no words of their own.
    pub(super) fn sentence(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::InvalidMessage => "Invalid message format",
            Self::Decompress => "Decompression failed",
            Self::TooLong => "Message too large",
            Self::UnknownNamespace => "Invalid namespace",
            Self::InvalidApiKey => "Invalid API key",
            Self::NotAuthenticated => "Not authenticated",
            Self::AlreadyAuthenticated => "Already authenticated",
            Self::AuthenticationFailed => "Authentication failed",
            Self::AuthenticationError => "Authentication error",
            Self::RoomJoin => "Failed to join room",
            Self::RoomFull => "Room is full",
            Self::ClientNotFound(id) => return Cow::Owned(format!("Client {id} not found")),
            Self::InvalidDirect => "Invalid direct message format",
            Self::UnknownAck => "Message not found",
            Self::Refused(reason) => reason,
            Self::Handler => "Internal server error",
            Self::Header(failure) => &failure.message,
        })
    }
}

/// What a peer is told that sends too much.
pub(super) const TOO_MANY: &str = "Too many requests, please slow down";
