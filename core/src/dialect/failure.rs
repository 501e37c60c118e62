//! What a peer is told, in words.

use alloc::borrow::Cow;
use alloc::format;
use core::fmt;

use super::Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())
    }
}

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
            Self::NotMember => "Not a member of the room",
            Self::ClientNotFound(id) => return Cow::Owned(format!("Client {id} not found")),
            Self::InvalidDirect => "Invalid direct message format",
            Self::UnknownAck => "Message not found",
            Self::Refused(reason) => reason,
            Self::Handler => "Internal server error",
            Self::Header(failure) => &failure.message,
        })
    }

    /// What kind of failure it is, as RNode names them.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::RoomJoin => "room_join_error",
            Self::RoomFull => "room_full",
            Self::NotMember => "not_a_member",
            Self::ClientNotFound(_) => "client_not_found",
            Self::InvalidDirect => "invalid_format",
            Self::InvalidApiKey | Self::NotAuthenticated | Self::AuthenticationFailed => {
                "unauthorized"
            }
            Self::AuthenticationError | Self::Handler => "server_error",
            Self::InvalidMessage
            | Self::Decompress
            | Self::TooLong
            | Self::UnknownNamespace
            | Self::AlreadyAuthenticated
            | Self::UnknownAck
            | Self::Refused(_)
            | Self::Header(_) => "validation_error",
        }
    }
}

/// What a peer is told that sends too much.
pub(super) const TOO_MANY: &str = "Too many requests, please slow down";
