//! A client, and those who wait for what it has to tell.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::code::CloseCode;
use crate::json::Json;
use crate::message::Utf8Bytes;
use crate::time::Tick;

use super::{Client, Event, Incoming, Output, RequestError, RequestId, State, SubscriptionId};

type Hear = Box<dyn FnMut(&Incoming) + Send>;
type Answer = Box<dyn FnOnce(Result<Json, RequestError>) + Send>;
type Connected = Box<dyn FnOnce(Result<(), ConnectError>) + Send>;
type Ended = Box<dyn FnOnce() + Send>;
type Listen = Box<dyn FnMut(&Event) -> bool + Send>;

/// A [`Client`] with callbacks in place of [`Output::Event`]: what runtimes put
/// behind a lock and their handles in front of.
///
/// Callbacks are called within [`poll_output`](Self::poll_output), so they must
/// not come back here: they put what they are told into a channel.
pub struct Desk {
    /// The client itself, whose events only this may take.
    pub client: Client,
    subscribers: BTreeMap<SubscriptionId, Hear>,
    requests: BTreeMap<RequestId, Answer>,
    connecting: Vec<Connected>,
    ending: Vec<Ended>,
    listeners: Vec<Listen>,
    lines: usize,
}

/// Why an attempt to connect failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    words: String,
    again: bool,
}

impl ConnectError {
    /// Whether the client goes on trying.
    pub const fn will_retry(&self) -> bool {
        self.again
    }

    /// Nobody does the client's work any more.
    pub fn gone() -> Self {
        Self {
            words: "the client is gone".into(),
            again: false,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl core::error::Error for ConnectError {}

impl Desk {
    /// For a client that nobody has connected yet.
    pub const fn new(client: Client) -> Self {
        Self {
            client,
            subscribers: BTreeMap::new(),
            requests: BTreeMap::new(),
            connecting: Vec::new(),
            ending: Vec::new(),
            listeners: Vec::new(),
            lines: 0,
        }
    }

    /// Connects, and tells when it is `authenticated` or the first attempt
    /// failed.
    pub fn connect(
        &mut self,
        now: Tick,
        then: impl FnOnce(Result<(), ConnectError>) + Send + 'static,
    ) {
        if self.client.state() == State::Authenticated {
            return then(Ok(()));
        }
        self.connecting.push(Box::new(then));
        self.client.connect(now);
    }

    /// Disconnects for good, and tells when no stream is left.
    pub fn disconnect(
        &mut self,
        now: Tick,
        code: CloseCode,
        reason: &str,
        then: impl FnOnce() + Send + 'static,
    ) {
        self.ending.push(Box::new(then));
        self.client.disconnect(now, code, reason);
    }

    /// Hears what comes by a channel; see [`Client::subscribe`].
    pub fn subscribe(
        &mut self,
        now: Tick,
        channel: impl Into<Utf8Bytes>,
        hear: impl FnMut(&Incoming) + Send + 'static,
    ) -> SubscriptionId {
        let id = self.client.subscribe(now, channel);
        self.subscribers.insert(id, Box::new(hear));
        id
    }

    /// Does not hear it any more.
    pub fn unsubscribe(&mut self, now: Tick, id: SubscriptionId) {
        self.subscribers.remove(&id);
        self.client.unsubscribe(now, id);
    }

    /// Asks, and hears the answer; see [`Client::request`].
    pub fn request(
        &mut self,
        now: Tick,
        channel: Option<Utf8Bytes>,
        event: &str,
        data: Option<Json>,
        timeout: Option<Duration>,
        then: impl FnOnce(Result<Json, RequestError>) + Send + 'static,
    ) {
        let id = self.client.request(now, channel, event, data, timeout);
        self.requests.insert(id, Box::new(then));
    }

    /// Hears of all that happens, until it gives `false`.
    pub fn listen(&mut self, listen: impl FnMut(&Event) -> bool + Send + 'static) {
        self.listeners.push(Box::new(listen));
    }

    /// What to do next, all events being told.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.client.poll_output() {
                Some(Output::Event(event)) => self.tell(&event),
                Some(output) => {
                    match output {
                        Output::Dial(_) => self.lines += 1,
                        Output::Close(_) => self.lines -= 1,
                        Output::Token
                        | Output::Authorize { .. }
                        | Output::Transmit(_)
                        | Output::PauseRead(_)
                        | Output::ResumeRead(_)
                        | Output::Shutdown(_)
                        | Output::Event(_) => {}
                    }
                    return Some(output);
                }
                None => {
                    if self.is_over() {
                        self.ending.drain(..).for_each(|then| then());
                    }
                    return None;
                }
            }
        }
    }

    /// Whether nothing will happen until somebody connects.
    pub fn is_over(&self) -> bool {
        let rests = matches!(self.client.state(), State::Disconnected | State::Error);
        rests && self.lines == 0
    }

    /// A stream could not be opened: it needs no [`Output::Close`].
    pub fn handle_dial_failed(&mut self, now: Tick, line: super::LineId, fault: crate::Fault) {
        if self.client.handle_dial_failed(now, line, fault) {
            self.lines -= 1;
        }
    }

    fn tell(&mut self, event: &Event) {
        match event {
            Event::Message(incoming) => {
                for id in &incoming.subscriptions {
                    if let Some(hear) = self.subscribers.get_mut(id) {
                        hear(incoming);
                    }
                }
            }
            Event::Answered(id, answer) => {
                if let Some(then) = self.requests.remove(id) {
                    then(answer.clone());
                }
            }
            Event::State(State::Authenticated) => self.connected(&Ok(())),
            Event::State(State::Disconnected | State::Error) => {
                self.connected(&Err(ConnectError {
                    words: "disconnected".into(),
                    again: false,
                }))
            }
            // The verdict alone does not tell: attempts come to an end, and a
            // new token has to come from somewhere.
            Event::Ended(ending, _) => self.connected(&Err(ConnectError {
                words: ending.to_string(),
                again: !matches!(self.client.state(), State::Disconnected | State::Error),
            })),
            Event::State(_)
            | Event::Reconnecting { .. }
            | Event::Subscribed(_)
            | Event::SubscriptionRefused(..)
            | Event::Unreadable(_)
            | Event::Dropped(_) => {}
        }
        self.listeners.retain_mut(|listen| listen(event));
    }

    fn connected(&mut self, result: &Result<(), ConnectError>) {
        let connecting = core::mem::take(&mut self.connecting);
        connecting.into_iter().for_each(|then| then(result.clone()));
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("client", &self.client)
            .field("subscribers", &self.subscribers.len())
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}
