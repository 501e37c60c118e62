//! Names of connections, clients and users. They are different types, so that
//! none can be taken for another.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::message::Utf8Bytes;

/// A connection, as the embedder knows it. Never used again for another one
/// in the life of a hub, as long as fewer than 2^32 follow on one place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl ConnId {
    /// A small number, free to be used again once the connection is gone: the
    /// place of this connection in a table of the embedder's.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({}.{})", self.slot, self.generation)
    }
}

/// A client's id, as clients and the HTTP API know it: a random UUID (version
/// 4, RFC 9562) made by the hub.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId([u8; 16]);

impl ClientId {
    pub(super) const fn new(mut random: [u8; 16]) -> Self {
        random[6] = random[6] & 0x0f | 0x40;
        random[8] = random[8] & 0x3f | 0x80;
        Self(random)
    }

    /// The first eight digits, as RNode names clients that chose no name.
    pub(super) fn short(self) -> String {
        let mut text = alloc::format!("{self}");
        text.truncate(8);
        text
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not the text of a [`ClientId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoClientId;

impl FromStr for ClientId {
    type Err = NoClientId;

    fn from_str(text: &str) -> Result<Self, NoClientId> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return Err(NoClientId);
        }
        let mut id = [0; 16];
        let mut at = 0;
        for (n, byte) in id.iter_mut().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                if text[at] != b'-' {
                    return Err(NoClientId);
                }
                at += 1;
            }
            let digit = |byte: u8| {
                char::from(byte)
                    .to_digit(16)
                    .map(|digit| digit as u8)
                    .ok_or(NoClientId)
            };
            *byte = digit(text[at])? << 4 | digit(text[at + 1])?;
            at += 2;
        }
        Ok(Self(id))
    }
}

impl fmt::Display for NoClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a client id")
    }
}

impl core::error::Error for NoClientId {}

/// A user of the application, who may have several clients.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Utf8Bytes);

impl UserId {
    /// The user of this name.
    pub fn new(name: impl Into<Utf8Bytes>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) const fn text(&self) -> &Utf8Bytes {
        &self.0
    }
}

impl From<&str> for UserId {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for UserId {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn a_client_id_is_a_uuid_of_version_4() {
        let id = ClientId::new([0xff; 16]);
        let text = id.to_string();
        assert_eq!(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(id.short(), "ffffffff");
        for bad in [
            "",
            "ffffffff-ffff-4fff-bfff-fffffffffff",
            "ffffffffxffff-4fff-bfff-ffffffffffff",
            "gfffffff-ffff-4fff-bfff-ffffffffffff",
        ] {
            assert_eq!(bad.parse::<ClientId>(), Err(NoClientId), "{bad}");
        }
    }
}
