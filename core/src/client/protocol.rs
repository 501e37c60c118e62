//! What a provider's protocol is to the client: an encoder, a decoder, and its
//! own way to say that we are in.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::entropy::Entropy;
use crate::http::{Response, UpgradeRequest};
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

use super::config::{ClientConfig, Secret};
use super::verdict::{Ending, Verdict};
use super::{AckTicket, ConfigError, Incoming, RequestId};

/// A provider's protocol. One value lives as long as its client; `opened`
/// begins a new connection.
pub(super) trait Protocol: fmt::Debug + Send + Sync {
    /// Sets what the provider's own clients have, for the application to change.
    fn defaults(&self, _: &mut ClientConfig) {}

    /// Sets what cannot be otherwise with this provider.
    fn prepare(&mut self, _: &mut ClientConfig) {}

    /// The request of an attempt.
    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError>;

    /// An answer to what [`upgrade`](Self::upgrade) gave that is no upgrade: if
    /// it was what we asked for, the next request follows at once; or the
    /// attempt is in vain, in the provider's words.
    fn negotiated(&mut self, _: &Response) -> Option<Result<(), Utf8Bytes>> {
        None
    }

    /// The attempt, or what became of it, is over.
    fn ended(&mut self) {}

    /// The WebSocket is open.
    fn opened(&mut self, cx: &mut Cx<'_>, subprotocol: Option<&str>);

    /// A message came.
    fn received(&mut self, cx: &mut Cx<'_>, message: Message);

    /// Whether what is said to a channel that was asked for has to wait until
    /// the provider has given it to us, which does not take it before.
    fn speaks_when_subscribed(&self) -> bool {
        false
    }

    /// Somebody wants a channel, which nobody wanted before; also after each
    /// reconnection.
    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str);

    /// Nobody wants it any more.
    fn unsubscribe(&mut self, cx: &mut Cx<'_>, channel: &str);

    /// Says something; with an id, an answer is wanted.
    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>);

    /// Answers a message that asked for it.
    fn acknowledge(&mut self, _: &mut Cx<'_>, _: AckTicket, _: &Json) {}

    /// The application's answer to [`Cx::authorize`]; `None` refuses.
    fn authorized(&mut self, _: &mut Cx<'_>, _channel: &str, _socket: &str, _: Option<&Json>) {}

    /// A request has its answer, or will have none.
    fn forget(&mut self, _: RequestId) {}

    /// The application disconnects: a last word.
    fn leave(&mut self, _: &mut Cx<'_>) {}

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn next_timeout(&self) -> Tick {
        Tick::MAX
    }

    /// Time has passed.
    fn handle_timeout(&mut self, _: &mut Cx<'_>) {}

    /// A ping of the protocol's own, where it has one.
    fn ping(&mut self, _: &mut Cx<'_>) {}

    /// What to do about an ending, where that is not the usual.
    fn verdict(&self, ending: &Ending) -> Verdict {
        ending.verdict()
    }
}

/// What an attempt to connect is made of.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) config: &'a ClientConfig,
    pub(super) token: Option<&'a Secret>,
}

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saying {
    /// A message as it is.
    Raw(Message),
    /// An event, perhaps for a channel.
    Event {
        channel: Option<Utf8Bytes>,
        name: Utf8Bytes,
        data: Option<Json>,
    },
    /// An event whose data are bytes; nobody waits for its answer.
    Bytes {
        channel: Option<Utf8Bytes>,
        name: Utf8Bytes,
        data: Bytes,
    },
}

impl Saying {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Raw(message) => message.len(),
            Self::Event { name, data, .. } => {
                let data = data.as_ref().map_or(0, |data| data.as_str().len());
                self.channel().map_or(0, |channel| channel.len()) + name.len() + data
            }
            Self::Bytes { name, data, .. } => {
                self.channel().map_or(0, |channel| channel.len()) + name.len() + data.len()
            }
        }
    }

    pub(super) const fn channel(&self) -> Option<&Utf8Bytes> {
        match self {
            Self::Raw(_) => None,
            Self::Event { channel, .. } | Self::Bytes { channel, .. } => channel.as_ref(),
        }
    }
}

/// What a protocol works with, and what it makes of it.
#[derive(Debug)]
pub(super) struct Cx<'a> {
    pub(super) now: Tick,
    /// The wall clock in milliseconds since 1970.
    pub(super) unix_ms: u64,
    pub(super) config: &'a ClientConfig,
    pub(super) token: Option<&'a Secret>,
    pub(super) entropy: &'a mut Entropy,
    pub(super) acts: Vec<Act>,
}

/// What a protocol makes of what happened.
#[derive(Debug)]
pub(super) enum Act {
    /// Goes out.
    Send(Message),
    /// The provider said that we are in, or there is nothing to wait for.
    Ready,
    /// Another connection is to take the place of this one, which will not last.
    Renew,
    /// The connection is to end.
    End(Verdict, Utf8Bytes),
    /// For the application.
    Heard(Incoming),
    /// The peer wants no more messages for so long.
    Hold(Duration),
    /// What came could not be read.
    Unreadable(Utf8Bytes),
    /// The provider gives us a channel.
    Subscribed(Utf8Bytes),
    /// It does not, in its words.
    Refused(Utf8Bytes, Utf8Bytes),
    /// The application has to say that we may have a channel.
    Authorize(Utf8Bytes, Utf8Bytes),
    /// There was no way to say it, for this reason.
    Dropped(Utf8Bytes),
    /// A request's answer.
    Answered(RequestId, Result<Json, Utf8Bytes>),
    /// A ping went out: so long until something must come.
    ExpectPong,
    /// A ping was answered, after so many milliseconds.
    Pong(u64),
}

/// Why [`Saying::Bytes`] cannot be said to most.
pub(super) const NO_BYTES: &str = "this provider has no events of bytes";
/// Why a request cannot be made of some.
pub(super) const NO_REQUESTS: &str = "this provider has no requests";

impl Cx<'_> {
    pub(super) fn send(&mut self, message: impl Into<Message>) {
        self.acts.push(Act::Send(message.into()));
    }

    pub(super) fn ready(&mut self) {
        self.acts.push(Act::Ready);
    }

    pub(super) fn heard(&mut self, incoming: Incoming) {
        self.acts.push(Act::Heard(incoming));
    }

    pub(super) fn hold(&mut self, time: Duration) {
        self.acts.push(Act::Hold(time));
    }

    pub(super) fn unreadable(&mut self, words: impl Into<Utf8Bytes>) {
        self.acts.push(Act::Unreadable(words.into()));
    }

    pub(super) fn subscribed(&mut self, channel: impl Into<Utf8Bytes>) {
        self.acts.push(Act::Subscribed(channel.into()));
    }

    pub(super) fn refused(&mut self, channel: impl Into<Utf8Bytes>, words: impl Into<Utf8Bytes>) {
        self.acts.push(Act::Refused(channel.into(), words.into()));
    }

    /// Asks the application for what shows that we may have a channel; `socket`
    /// is the provider's name for this connection.
    pub(super) fn authorize(&mut self, channel: &str, socket: &str) {
        self.acts
            .push(Act::Authorize(channel.into(), socket.into()));
    }

    /// There is no way to say what may wait for an answer.
    pub(super) fn refuse(&mut self, answer: Option<RequestId>, words: impl Into<Utf8Bytes>) {
        let words = words.into();
        match answer {
            Some(id) => self.answered(id, Err(words)),
            None => self.acts.push(Act::Dropped(words)),
        }
    }

    pub(super) fn answered(&mut self, id: RequestId, answer: Result<Json, Utf8Bytes>) {
        self.acts.push(Act::Answered(id, answer));
    }

    pub(super) fn expect_pong(&mut self) {
        self.acts.push(Act::ExpectPong);
    }

    pub(super) fn pong(&mut self, ms: u64) {
        self.acts.push(Act::Pong(ms));
    }

    pub(super) fn renew(&mut self) {
        self.acts.push(Act::Renew);
    }

    pub(super) fn end(&mut self, verdict: Verdict, words: impl Into<Utf8Bytes>) {
        self.acts.push(Act::End(verdict, words.into()));
    }

    /// A random UUID.
    pub(super) fn uuid(&mut self) -> alloc::string::String {
        self.entropy.uuid()
    }
}
