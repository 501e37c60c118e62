//! SmartSocket's error codes: what happened, why, and what cures it.

use core::fmt;

/// An `ERR_*` code with its message, cause and solution (SS-68 to SS-83).
///
/// ```
/// use smartsocket_core::ErrorCode;
///
/// let code = ErrorCode::ConnectionRefused;
/// assert_eq!(code.to_string(), "ERR_CONN_001: Connection refused");
/// assert_eq!(code.solution(), "Verify server is running, check host/port");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// The words of SmartSocket's reference.
struct Words {
    code: &'static str,
    message: &'static str,
    cause: &'static str,
    solution: &'static str,
}

impl ErrorCode {
    /// Every code, in the order of SmartSocket's reference.
    pub const ALL: [Self; 16] = [
        Self::ConnectionRefused,
        Self::ConnectionTimeout,
        Self::HandshakeFailed,
        Self::AuthenticationFailed,
        Self::MaxConnections,
        Self::ConnectionLost,
        Self::InvalidMessage,
        Self::DecompressionFailed,
        Self::DecryptionFailed,
        Self::MessageTooLarge,
        Self::InvalidNamespace,
        Self::RateLimit,
        Self::EventRateLimit,
        Self::AckTimeout,
        Self::InvalidAck,
        Self::UnknownAck,
    ];

    /// The code on the wire and in logs, such as `ERR_CONN_001`.
    pub const fn as_str(self) -> &'static str {
        self.words().code
    }

    /// What happened, such as `Connection refused`.
    pub const fn message(self) -> &'static str {
        self.words().message
    }

    /// What usually causes it.
    pub const fn cause(self) -> &'static str {
        self.words().cause
    }

    /// What to do about it.
    pub const fn solution(self) -> &'static str {
        self.words().solution
    }

    const fn words(self) -> Words {
        let (code, message, cause, solution) = match self {
            Self::ConnectionRefused => (
                "ERR_CONN_001",
                "Connection refused",
                "Server not listening or unreachable",
                "Verify server is running, check host/port",
            ),
            Self::ConnectionTimeout => (
                "ERR_CONN_002",
                "Connection timeout",
                "Server not responding within timeout",
                "Check network connectivity, increase connectionTimeout",
            ),
            Self::HandshakeFailed => (
                "ERR_CONN_003",
                "Handshake failed",
                "WebSocket handshake error",
                "Verify server is WebSocket-compatible",
            ),
            Self::AuthenticationFailed => (
                "ERR_CONN_004",
                "Authentication failed",
                "Encryption key mismatch or invalid API key",
                "Verify encryptionKey matches on client and server",
            ),
            Self::MaxConnections => (
                "ERR_CONN_005",
                "Max connections exceeded",
                "Server at maxConnections limit",
                "Increase maxConnections or disconnect unused clients",
            ),
            Self::ConnectionLost => (
                "ERR_CONN_006",
                "Connection lost",
                "Network interruption or server disconnect",
                "Client will auto-reconnect with exponential backoff",
            ),
            Self::InvalidMessage => (
                "ERR_MSG_001",
                "Invalid message format",
                "Malformed message structure",
                "Check message format, update SmartSocket version",
            ),
            Self::DecompressionFailed => (
                "ERR_MSG_002",
                "Decompression failed",
                "Corrupted compressed data",
                "Check compressionLevel, retry message",
            ),
            Self::DecryptionFailed => (
                "ERR_MSG_003",
                "Decryption failed",
                "Wrong encryption key or corrupted data",
                "Verify encryptionKey matches exactly on both sides",
            ),
            Self::MessageTooLarge => (
                "ERR_MSG_004",
                "Message too large",
                "Data exceeds maximum size",
                "Split message into smaller chunks or enable compression",
            ),
            Self::InvalidNamespace => (
                "ERR_MSG_005",
                "Invalid namespace",
                "Namespace doesn't exist on server",
                "Verify namespace path, create namespace on server",
            ),
            Self::RateLimit => (
                "ERR_RATE_001",
                "Rate limit exceeded",
                "Too many requests in time window",
                "Wait for window to reset or adjust rate limit settings",
            ),
            Self::EventRateLimit => (
                "ERR_RATE_002",
                "Event rate limit exceeded",
                "Specific event rate limit triggered",
                "Reduce frequency of specific events",
            ),
            Self::AckTimeout => (
                "ERR_ACK_001",
                "Acknowledgment timeout",
                "Server didn't respond within ackTimeout",
                "Increase ackTimeout or optimize server processing",
            ),
            Self::InvalidAck => (
                "ERR_ACK_002",
                "Invalid acknowledgment response",
                "Malformed ack callback response",
                "Ensure callback returns valid response object",
            ),
            Self::UnknownAck => (
                "ERR_ACK_003",
                "Message not found",
                "Ack ID doesn't match any sent message",
                "Retry the message or check for duplicate sends",
            ),
        };
        Words {
            code,
            message,
            cause,
            solution,
        }
    }
}

/// Code and message: `ERR_CONN_001: Connection refused`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.as_str(), self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    /// SmartSocket's reference, "Error Codes", as it is written there.
    const REFERENCE: &str = "\
ERR_CONN_001: Connection refused
  Cause: Server not listening or unreachable
  Solution: Verify server is running, check host/port
ERR_CONN_002: Connection timeout
  Cause: Server not responding within timeout
  Solution: Check network connectivity, increase connectionTimeout
ERR_CONN_003: Handshake failed
  Cause: WebSocket handshake error
  Solution: Verify server is WebSocket-compatible
ERR_CONN_004: Authentication failed
  Cause: Encryption key mismatch or invalid API key
  Solution: Verify encryptionKey matches on client and server
ERR_CONN_005: Max connections exceeded
  Cause: Server at maxConnections limit
  Solution: Increase maxConnections or disconnect unused clients
ERR_CONN_006: Connection lost
  Cause: Network interruption or server disconnect
  Solution: Client will auto-reconnect with exponential backoff
ERR_MSG_001: Invalid message format
  Cause: Malformed message structure
  Solution: Check message format, update SmartSocket version
ERR_MSG_002: Decompression failed
  Cause: Corrupted compressed data
  Solution: Check compressionLevel, retry message
ERR_MSG_003: Decryption failed
  Cause: Wrong encryption key or corrupted data
  Solution: Verify encryptionKey matches exactly on both sides
ERR_MSG_004: Message too large
  Cause: Data exceeds maximum size
  Solution: Split message into smaller chunks or enable compression
ERR_MSG_005: Invalid namespace
  Cause: Namespace doesn't exist on server
  Solution: Verify namespace path, create namespace on server
ERR_RATE_001: Rate limit exceeded
  Cause: Too many requests in time window
  Solution: Wait for window to reset or adjust rate limit settings
ERR_RATE_002: Event rate limit exceeded
  Cause: Specific event rate limit triggered
  Solution: Reduce frequency of specific events
ERR_ACK_001: Acknowledgment timeout
  Cause: Server didn't respond within ackTimeout
  Solution: Increase ackTimeout or optimize server processing
ERR_ACK_002: Invalid acknowledgment response
  Cause: Malformed ack callback response
  Solution: Ensure callback returns valid response object
ERR_ACK_003: Message not found
  Cause: Ack ID doesn't match any sent message
  Solution: Retry the message or check for duplicate sends
";

    #[test]
    fn every_code_has_the_words_of_the_reference() {
        let mut reference = REFERENCE.lines();
        for code in ErrorCode::ALL {
            let mut line = || reference.next().unwrap();
            assert_eq!(format!("{code}"), line());
            assert_eq!(format!("  Cause: {}", code.cause()), line());
            assert_eq!(format!("  Solution: {}", code.solution()), line());
        }
        assert_eq!(reference.next(), None);
    }
}
