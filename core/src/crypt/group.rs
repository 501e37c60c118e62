//! Groups: a message to many, sealed once.

use bytes::Bytes;

use super::record::{Opener, Sealer};
use super::schedule::{Path, Secret, draw};
use super::session::{SealError, content};
use super::suite::Suite;
use crate::entropy::Seed;
use crate::message::Message;
use crate::time::Tick;

/// One sender to many readers: a message is sealed once, with AES-256-GCM, and
/// the same record goes to every member.
///
/// The key is the group's own and fresh. A member gets it, and the number of the
/// next record, in an [invitation](super::Session::invite) through its own
/// session; so nobody outside can read the group or replay what was said before.
/// What it gives up against a message sealed for one member:
///
/// - A member can forge the group's messages to other members, if it can change
///   what reaches them.
/// - On the network, a record can be left out, or shown to a member that it was
///   not sent to. Each opens once, and none after a later one.
/// - A member that was let go still has the key: begin a new group, and invite
///   those who stay. Until then, what it is not sent is all that it misses.
///
/// So make it no wider than who may hear everything: a namespace, or a room. Where
/// members must be kept apart by the cipher too, seal for each.
#[derive(Debug)]
pub struct Group {
    pub(super) sealer: Sealer,
}

impl Group {
    /// A group with a key of its own.
    pub fn new(seed: &Seed, now: Tick) -> Self {
        let secret = Secret::new(draw(seed, &[b"group"]));
        // Nonces are counted: no randomness is drawn for them.
        let ivs = Seed::new([0; 32]);
        Self {
            sealer: Sealer::new(Path::Group, Suite::A256Gcm, secret, ivs, now),
        }
    }

    /// Seals a message: one record for all members.
    ///
    /// # Errors
    ///
    /// [`SealError::Ended`] after 2^64 records.
    pub fn seal(&mut self, now: Tick, message: &Message) -> Result<Bytes, SealError> {
        let record = self.sealer.seal(now, content(message), message.as_bytes());
        Ok(record.ok_or(SealError::Ended)?.into())
    }

    pub(super) fn opener(secret: Secret, epoch: u8, next: u64) -> Opener {
        Opener::new(Path::Group, Suite::A256Gcm, secret, epoch, next)
    }
}
