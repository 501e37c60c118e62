//! A session: both directions of one connection, and the records that begin
//! and end them.

use core::fmt;
use core::ops::Range;

use bytes::{Bytes, BytesMut};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::group::Group;
use super::key::KeyId;
use super::record::{Content, GROUP, OpenError, Opener, Sealer};
use super::schedule::{Path, Secret};
use super::suite::Suite;
use crate::entropy::Seed;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

/// The first byte of a control record.
const FIN: u8 = 0;
const BYE: u8 = 1;
const INVITE: u8 = 2;

/// One end of an encrypted connection: seals what leaves, opens what comes.
///
/// Records must be sent in the order in which they were sealed, and opened in
/// the order in which they came: a WebSocket keeps it. Each direction changes
/// its keys by itself, after 2^24 records, 64 GiB or 24 hours.
#[derive(Debug)]
pub struct Session {
    key_id: Option<KeyId>,
    suite: Suite,
    transcript: [u8; 32],
    sealer: Sealer,
    opener: Opener,
    group: Option<Opener>,
    server: bool,
    heard: Heard,
    ended: bool,
}

/// How far the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Finished,
    /// A goodbye, or something that is no record.
    End,
}

/// What was in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The peer's first record: it has the key, and heard the same handshake.
    /// Messages may go both ways from here.
    Ready,
    /// A message.
    Message(Message),
    /// An [invitation](Session::invite) to a group: its messages open as well
    /// from here.
    Invited,
    /// The peer's last record: nothing was cut off. A connection that ends
    /// without it was lost (`ERR_CONN_006`).
    Bye,
}

/// Why nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The peer has not yet shown that it has the key.
    NotReady,
    /// The session is over: [`bye`](Session::bye) was said, or something came
    /// that is no record.
    Ended,
    /// Clients invite to no group.
    NotServer,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "the peer has not yet shown that it has the key",
            Self::Ended => "the encrypted session is over",
            Self::NotServer => "only servers invite to a group",
        })
    }
}

impl core::error::Error for SealError {}

/// What the handshake found out.
pub(super) struct Agreed {
    pub(super) server: bool,
    pub(super) suite: Suite,
    pub(super) key_id: Option<KeyId>,
    pub(super) transcript: [u8; 32],
    pub(super) secret: Secret,
}

impl Session {
    /// The session and its first record.
    pub(super) fn new(agreed: Agreed, ivs: Seed, now: Tick) -> (Self, Bytes) {
        let (ours, theirs) = match agreed.server {
            true => (Path::ServerToClient, Path::ClientToServer),
            false => (Path::ClientToServer, Path::ServerToClient),
        };
        let secret = agreed.secret;
        let mut session = Self {
            key_id: agreed.key_id,
            suite: agreed.suite,
            transcript: agreed.transcript,
            sealer: Sealer::new(ours, agreed.suite, secret.clone(), ivs, now),
            opener: Opener::new(theirs, agreed.suite, secret, 0, 0),
            group: None,
            server: agreed.server,
            heard: Heard::Nothing,
            ended: false,
        };
        let fin = session.control(now, FIN, &agreed.transcript);
        (session, fin.expect("the first number is not the last"))
    }

    /// The shared key that the session is based on, if it is on one. After a
    /// [rotation](super::KeyRing), connections on a retired key can be told by it.
    pub const fn key_id(&self) -> Option<KeyId> {
        self.key_id
    }

    /// The cipher that was agreed on.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Whether the peer has shown that it has the key, and not ended since.
    pub fn is_ready(&self) -> bool {
        self.heard == Heard::Finished
    }

    /// Whether nothing can be sealed yet, and may be later.
    pub(crate) fn awaits_peer(&self) -> bool {
        self.heard == Heard::Nothing && !self.ended
    }

    /// Seals a message: the next record, to be sent as one binary message.
    ///
    /// # Errors
    ///
    /// Before the peer is [ready](Opened::Ready), and after the end.
    pub fn seal(&mut self, now: Tick, message: &Message) -> Result<Bytes, SealError> {
        self.may_seal()?;
        let record = self
            .sealer
            .seal(now, content(message), message.as_bytes())
            .ok_or(SealError::Ended)?;
        Ok(record.into())
    }

    /// Seals the goodbye: the last record, to be sent before a close frame.
    ///
    /// # Errors
    ///
    /// As [`seal`](Self::seal).
    pub fn bye(&mut self, now: Tick) -> Result<Bytes, SealError> {
        self.may_seal()?;
        self.ended = true;
        self.control(now, BYE, &[])
    }

    /// Seals an invitation to a group, for a client that is to read its messages
    /// from here on. It takes the place of a former one.
    ///
    /// # Errors
    ///
    /// As [`seal`](Self::seal), and on the client's side.
    pub fn invite(&mut self, now: Tick, group: &Group) -> Result<Bytes, SealError> {
        if !self.server {
            return Err(SealError::NotServer);
        }
        self.may_seal()?;
        let (secret, epoch, next) = group.sealer.position();
        let mut invitation = Zeroizing::new([0; 41]);
        invitation[0] = epoch;
        invitation[1..9].copy_from_slice(&next.to_be_bytes());
        invitation[9..].copy_from_slice(secret.bytes());
        self.control(now, INVITE, &*invitation)
    }

    /// Opens the next record that came.
    ///
    /// # Errors
    ///
    /// One for everything, and for good: close the connection, with
    /// `ERR_CONN_004` when no record was opened before, `ERR_MSG_003` otherwise,
    /// and tell the peer nothing more.
    pub fn open(&mut self, record: Bytes) -> Result<Opened, OpenError> {
        // Opened in place when nobody else holds the bytes.
        let record = record.try_into_mut();
        let mut record = record.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let opened = self.read(&mut record);
        let opened = opened.and_then(|(content, place)| self.heard(content, place, record));
        if opened.is_none() {
            self.heard = Heard::End;
            self.ended = true;
            self.opener.shut();
            self.group = None;
        }
        opened.ok_or(OpenError)
    }

    fn read(&mut self, record: &mut [u8]) -> Option<(Content, Range<usize>)> {
        match (&mut self.group, record.get(1)) {
            (Some(group), Some(&GROUP)) => {
                let opened = group.open(record).ok()?;
                (opened.0 != Content::Control).then_some(opened)
            }
            _ => self.opener.open(record).ok(),
        }
    }

    fn heard(
        &mut self,
        content: Content,
        place: Range<usize>,
        mut record: BytesMut,
    ) -> Option<Opened> {
        if content == Content::Control {
            let opened = self.obey(&record[place]);
            record.zeroize();
            return opened;
        }
        if self.heard != Heard::Finished {
            record.zeroize();
            return None;
        }
        let data = record.freeze().slice(place);
        Some(Opened::Message(match content {
            Content::Text => Message::Text(Utf8Bytes::try_from(data).ok()?),
            Content::Binary | Content::Control => Message::Binary(data),
        }))
    }

    fn obey(&mut self, control: &[u8]) -> Option<Opened> {
        let (kind, body) = control.split_first()?;
        match (self.heard, *kind) {
            (Heard::Nothing, FIN) if bool::from(body.ct_eq(&self.transcript)) => {
                self.heard = Heard::Finished;
                Some(Opened::Ready)
            }
            (Heard::Finished, BYE) if body.is_empty() => {
                self.heard = Heard::End;
                self.opener.shut();
                self.group = None;
                Some(Opened::Bye)
            }
            (Heard::Finished, INVITE) if !self.server => {
                let (epoch, rest) = body.split_first()?;
                let (next, secret) = rest.split_first_chunk()?;
                let next = u64::from_be_bytes(*next);
                let secret = Secret::new(Zeroizing::new(secret.try_into().ok()?));
                self.group = Some(Group::opener(secret, *epoch, next));
                Some(Opened::Invited)
            }
            _ => None,
        }
    }

    const fn may_seal(&self) -> Result<(), SealError> {
        match self.heard {
            _ if self.ended => Err(SealError::Ended),
            Heard::Nothing => Err(SealError::NotReady),
            Heard::Finished | Heard::End => Ok(()),
        }
    }

    fn control(&mut self, now: Tick, kind: u8, body: &[u8]) -> Result<Bytes, SealError> {
        let mut text = Zeroizing::new(alloc::vec![kind; 1 + body.len()]);
        text[1..].copy_from_slice(body);
        let record = self.sealer.seal(now, Content::Control, &text);
        Ok(record.ok_or(SealError::Ended)?.into())
    }
}

pub(super) const fn content(message: &Message) -> Content {
    match message {
        Message::Text(_) => Content::Text,
        Message::Binary(_) => Content::Binary,
    }
}
