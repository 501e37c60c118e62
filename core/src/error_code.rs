//! SmartSocket's error codes: what happened, why, and what cures it.

/// An `ERR_*` code with its message, cause and solution (SS-68 to SS-83).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `ERR_CONN_001`: nobody listens.
    ConnectionRefused,
    /// `ERR_CONN_002`: no answer in time.
    ConnectionTimeout,
    /// `ERR_CONN_003`: the handshake failed.
    HandshakeFailed,
    /// `ERR_CONN_004`: the key or the credentials are wrong.
    AuthenticationFailed,
    /// `ERR_CONN_005`: the server is full.
    MaxConnections,
    /// `ERR_CONN_006`: the connection broke.
    ConnectionLost,
    /// `ERR_MSG_001`: not in the dialect's form.
    InvalidMessage,
    /// `ERR_MSG_002`: compressed data do not inflate.
    DecompressionFailed,
    /// `ERR_MSG_003`: encrypted data do not open.
    DecryptionFailed,
    /// `ERR_MSG_004`: longer than allowed.
    MessageTooLarge,
    /// `ERR_MSG_005`: no such namespace.
    InvalidNamespace,
    /// `ERR_RATE_001`: too many messages.
    RateLimit,
    /// `ERR_RATE_002`: too many messages of this event.
    EventRateLimit,
    /// `ERR_ACK_001`: no answer in time.
    AckTimeout,
    /// `ERR_ACK_002`: the answer is not in the right form.
    InvalidAck,
    /// `ERR_ACK_003`: nobody waits for this answer.
    UnknownAck,
}
