//! Close codes: what they mean, what causes them, what cures them.

use core::fmt;

/// A WebSocket close code (RFC 6455 §7.4).
///
/// ```
/// use smartsocket_core::CloseCode;
///
/// assert_eq!(CloseCode::from(1009), CloseCode::TOO_BIG);
/// assert_eq!(CloseCode::TOO_BIG.to_string(), "1009 message too big");
/// assert!(CloseCode::from(4001).is_sendable());
/// assert!(!CloseCode::ABNORMAL.is_sendable());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: a kind of data the endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1005: the close frame held no code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: data that do not fit the type of the message, such as text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: a rule of the endpoint was broken.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message larger than the endpoint takes.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the client misses an extension the server did not agree to.
    pub const EXTENSION: Self = Self(1010);
    /// 1011: the endpoint met something it did not expect.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the server restarts.
    pub const RESTART: Self = Self(1012);
    /// 1013: the server is overloaded.
    pub const TRY_AGAIN: Self = Self(1013);
    /// 1014: a gateway got no valid answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: TLS failed. Never on the wire.
    pub const TLS: Self = Self(1015);

    /// Whether the code may stand in a close frame: 1000–1003, 1007–1014 and
    /// 3000–4999 (RFC 6455 §7.4.2 and the IANA registry).
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// The code in two or three words, lower case.
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            1000 => "normal",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1005 => "no status",
            1006 => "connection lost",
            1007 => "invalid data",
            1008 => "policy violation",
            1009 => "message too big",
            1010 => "extension missing",
            1011 => "internal error",
            1012 => "service restart",
            1013 => "try again later",
            1014 => "bad gateway",
            1015 => "TLS failure",
            3000..=3999 => "registered code",
            4000..=4999 => "application code",
            _ => "unassigned code",
        }
    }

    /// What to do about it, for a human; `None` when nothing is wrong or only
    /// the application knows.
    pub const fn cure(self) -> Option<&'static str> {
        match self.0 {
            1002 => {
                Some("one end speaks the protocol wrongly: look at the reason, update that end")
            }
            1003 => Some("send the kind of message, text or binary, that the peer takes"),
            1006 => {
                Some("the network, a proxy or the peer's process dropped the connection: reconnect")
            }
            1007 => Some("send text as UTF-8, other data as binary messages"),
            1008 => Some(
                "the peer's rules forbid what was sent: look at the reason, its limits and credentials",
            ),
            1009 => Some("send smaller messages, or raise the receiver's message limit"),
            1010 => Some("turn the extension on at the server, or do not insist on it"),
            1011 => Some("look at the log of the end that closed"),
            1001 | 1012 | 1013 | 1014 => Some("wait and reconnect"),
            1015 => Some("check certificate, host name and trusted authorities"),
            _ => None,
        }
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.meaning())
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_registered_and_the_free_ranges_are_sendable() {
        // Spelled out as the RFC and the registry list them, not as the code does.
        let listed = [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
        ];
        for code in 0..=u16::MAX {
            let expected = listed.contains(&code) || (3000..5000).contains(&code);
            assert_eq!(CloseCode::from(code).is_sendable(), expected, "{code}");
        }
    }
}
