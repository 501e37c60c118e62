//! Records: one message each, numbered, sealed and opened in order.
//!
//! ```text
//! 0   1  0xE1
//! 1   1  suite: 1 A256CBC-HS512, 2 A256GCM, 3 group (A256GCM)
//! 2   1  epoch: how often the sender changed its keys, mod 256
//! 3   1  flags: 0 binary message, 1 text message, 4 control
//! 4   8  number of the record, big endian, from 0, through all epochs
//! 12     suite 1: IV (16), ciphertext, tag (32); suites 2 and 3: ciphertext, tag (16)
//! ```
//!
//! The first 12 bytes are authenticated with the rest.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use zeroize::Zeroize as _;

use super::schedule::{Path, Secret};
use super::suite::{Cipher, Suite};
use crate::entropy::{Entropy, Seed};
use crate::time::Tick;

const MAGIC: u8 = 0xe1;
pub(super) const GROUP: u8 = 3;
pub(super) const HEADER: usize = 12;

/// What one epoch's keys may encrypt (NIST SP 800-38D §8.3 allows 2^32 records).
const MAX_RECORDS: u32 = 1 << 24;
const MAX_BYTES: u64 = 1 << 36;
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is inside a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Binary,
    Text,
    /// What the ends tell each other about the session.
    Control,
}

impl Content {
    pub(super) const fn flags(self) -> u8 {
        match self {
            Self::Binary => 0,
            Self::Text => 1,
            Self::Control => 4,
        }
    }

    const fn of(flags: u8) -> Option<Self> {
        match flags {
            0 => Some(Self::Binary),
            1 => Some(Self::Text),
            4 => Some(Self::Control),
            _ => None,
        }
    }
}

/// A record that is not what the peer sealed next: changed, repeated, left out,
/// moved, from elsewhere, or sealed with another key. Which of them is not told
/// to anybody. The session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError;

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record does not open")
    }
}

impl core::error::Error for OpenError {}

/// The keys of one direction, and how much they were used.
#[derive(Clone)]
struct Keys {
    path: Path,
    suite: Suite,
    secret: Secret,
    epoch: u8,
    records: u32,
    bytes: u64,
}

impl Keys {
    fn new(path: Path, suite: Suite, secret: Secret, epoch: u8) -> Self {
        Self {
            path,
            suite,
            secret,
            epoch,
            records: 0,
            bytes: 0,
        }
    }

    fn cipher(&self) -> Box<Cipher> {
        Box::new(self.secret.cipher(self.path, self.suite))
    }

    fn advance(&mut self) {
        self.secret.advance();
        self.epoch = self.epoch.wrapping_add(1);
        self.records = 0;
        self.bytes = 0;
    }

    /// Whether one more record of this length may be encrypted. The first always
    /// may.
    fn hold(&self, length: usize) -> bool {
        let bytes = self.bytes.saturating_add(length as u64);
        self.records == 0 || (self.records < MAX_RECORDS && bytes <= MAX_BYTES)
    }

    fn count(&mut self, length: usize) {
        self.records += 1;
        self.bytes = self.bytes.saturating_add(length as u64);
    }

    fn suite_number(&self) -> u8 {
        match self.path {
            Path::ClientToServer | Path::ServerToClient => self.suite.number(),
            Path::Group => GROUP,
        }
    }
}

/// Seals what goes one way, in order.
pub(super) struct Sealer {
    keys: Keys,
    cipher: Box<Cipher>,
    next: u64,
    since: Tick,
    ivs: Entropy,
}

impl Sealer {
    pub(super) fn new(path: Path, suite: Suite, secret: Secret, ivs: Seed, now: Tick) -> Self {
        let keys = Keys::new(path, suite, secret, 0);
        Self {
            cipher: keys.cipher(),
            keys,
            next: 0,
            since: now,
            ivs: Entropy::new(ivs),
        }
    }

    /// The next record; `None` when the numbers are used up, after 2^64 records.
    pub(super) fn seal(&mut self, now: Tick, content: Content, text: &[u8]) -> Option<Vec<u8>> {
        let after = self.next.checked_add(1)?;
        let most = text.len() + self.keys.suite.overhead();
        if !self.keys.hold(most) || now.since(self.since) >= MAX_AGE {
            self.keys.advance();
            self.cipher = self.keys.cipher();
            self.since = now;
        }
        let mut record = Vec::with_capacity(most);
        record.extend_from_slice(&[
            MAGIC,
            self.keys.suite_number(),
            self.keys.epoch,
            content.flags(),
        ]);
        record.extend_from_slice(&self.next.to_be_bytes());
        let iv = || self.ivs.bytes();
        self.cipher.seal(self.next, iv, text, &mut record);
        self.keys.count(record.len());
        self.next = after;
        Some(record)
    }

    /// Where a reader has to begin that hears the next record first.
    pub(super) fn position(&self) -> (&Secret, u8, u64) {
        (&self.keys.secret, self.keys.epoch, self.next)
    }
}

/// Opens what comes one way, in order.
pub(super) struct Opener {
    /// Gone, with its keys, after the first record that does not open.
    live: Option<Box<Live>>,
}

struct Live {
    keys: Keys,
    cipher: Box<Cipher>,
    next: u64,
}

impl Opener {
    pub(super) fn new(path: Path, suite: Suite, secret: Secret, epoch: u8, next: u64) -> Self {
        let keys = Keys::new(path, suite, secret, epoch);
        let cipher = keys.cipher();
        Self {
            live: Some(Box::new(Live { keys, cipher, next })),
        }
    }

    /// Opens a record in place: what is inside, and where in `record`.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(Content, Range<usize>), OpenError> {
        let opened = self.live.as_mut().and_then(|live| live.open(record));
        if opened.is_none() {
            self.live = None;
            record.zeroize();
        }
        opened.ok_or(OpenError)
    }

    /// Opens no more.
    pub(super) fn shut(&mut self) {
        self.live = None;
    }
}

impl Live {
    fn open(&mut self, record: &mut [u8]) -> Option<(Content, Range<usize>)> {
        let &[magic, suite, epoch, flags, ref number @ ..] = record.first_chunk::<HEADER>()?;
        let content = Content::of(flags)?;
        let number = u64::from_be_bytes(*number);
        let ahead = epoch.wrapping_sub(self.keys.epoch);
        // A group's reader does not hear every record.
        let follows = match self.keys.path {
            Path::ClientToServer | Path::ServerToClient => number == self.next && ahead <= 1,
            Path::Group => number >= self.next,
        };
        if magic != MAGIC || suite != self.keys.suite_number() || !follows {
            return None;
        }
        for _ in 0..ahead {
            self.keys.advance();
        }
        if ahead > 0 {
            self.cipher = self.keys.cipher();
        }
        if !self.keys.hold(record.len()) {
            return None;
        }
        let text = self.cipher.open(number, HEADER, record)?;
        self.keys.count(record.len());
        self.next = number.checked_add(1)?;
        Some((content, text))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, "Sealer", Some((&self.keys, self.next)))
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.live.as_ref().map(|live| (&live.keys, live.next));
        show(f, "Opener", live)
    }
}

fn show(f: &mut fmt::Formatter<'_>, name: &str, live: Option<(&Keys, u64)>) -> fmt::Result {
    let Some((keys, next)) = live else {
        return write!(f, "{name}(shut)");
    };
    f.debug_struct(name)
        .field("suite", &keys.suite)
        .field("epoch", &keys.epoch)
        .field("next", &next)
        .finish_non_exhaustive()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn ends(path: Path) -> (Sealer, Opener) {
        let secret = || Secret::new(Zeroizing::new([1; 32]));
        let suite = Suite::A256Gcm;
        let sealer = Sealer::new(path, suite, secret(), Seed::new([2; 32]), Tick::ZERO);
        (sealer, Opener::new(path, suite, secret(), 0, 0))
    }

    fn live(opener: &mut Opener) -> &mut Live {
        opener.live.as_mut().unwrap()
    }

    fn sealed(sealer: &mut Sealer) -> Vec<u8> {
        sealer.seal(Tick::ZERO, Content::Text, b"text").unwrap()
    }

    /// Whether it opens, and the epoch it is of.
    fn passes(sealer: &mut Sealer, opener: &mut Opener) -> (bool, u8) {
        let mut record = sealed(sealer);
        let epoch = record[2];
        (opener.open(&mut record).is_ok(), epoch)
    }

    #[test]
    fn keys_change_after_2_to_the_24_records() {
        let (mut sealer, mut opener) = ends(Path::ClientToServer);
        sealer.keys.records = MAX_RECORDS - 1;
        live(&mut opener).keys.records = MAX_RECORDS - 1;
        let epochs = [0, 1, 1].map(|_| passes(&mut sealer, &mut opener));
        assert_eq!(epochs, [(true, 0), (true, 1), (true, 1)]);
    }

    #[test]
    fn keys_change_before_64_gib() {
        let (mut sealer, mut opener) = ends(Path::ServerToClient);
        for (keys, left) in [
            (&mut sealer.keys, 2 * 32),
            (&mut live(&mut opener).keys, 2 * 32),
        ] {
            keys.records = 1;
            keys.bytes = MAX_BYTES - left;
        }
        let epochs = [0; 4].map(|_| passes(&mut sealer, &mut opener));
        assert_eq!(epochs, [(true, 0), (true, 0), (true, 1), (true, 1)]);
    }

    #[test]
    fn a_peer_that_wears_out_its_keys_is_not_heard() {
        let (mut sealer, mut opener) = ends(Path::ClientToServer);
        live(&mut opener).keys.records = MAX_RECORDS;
        assert_eq!(passes(&mut sealer, &mut opener), (false, 0));
    }

    #[test]
    fn an_epoch_is_skipped_in_groups_only() {
        for (path, opens) in [(Path::ClientToServer, false), (Path::Group, true)] {
            let (mut sealer, mut opener) = ends(path);
            sealer.keys.advance();
            sealer.keys.advance();
            sealer.cipher = sealer.keys.cipher();
            assert_eq!(passes(&mut sealer, &mut opener), (opens, 2));
        }
        // And never back.
        let (mut sealer, _) = ends(Path::Group);
        let mut old = sealed(&mut sealer);
        let secret = Secret::new(Zeroizing::new([1; 32]));
        let mut opener = Opener::new(Path::Group, Suite::A256Gcm, secret, 1, 0);
        assert_eq!(opener.open(&mut old), Err(OpenError));
    }

    #[test]
    fn the_last_number_is_the_end() {
        let (mut sealer, _) = ends(Path::Group);
        sealer.next = u64::MAX - 1;
        assert!(sealer.seal(Tick::ZERO, Content::Text, b"").is_some());
        assert!(sealer.seal(Tick::ZERO, Content::Text, b"").is_none());
    }

    #[test]
    fn keys_are_gone_after_a_failure() {
        let (_, mut opener) = ends(Path::Group);
        assert_eq!(opener.open(&mut [0xe1, 3]), Err(OpenError));
        assert!(opener.live.is_none());
        assert_eq!(alloc::format!("{opener:?}"), "Opener(shut)");
    }
}
