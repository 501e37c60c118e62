//! A client, and those who wait for what it has to tell.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
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
type Handle = Box<dyn FnMut(&Event) + Send>;

/// A [`Client`] with callbacks in place of [`Output::Event`]: what runtimes put
/// behind a lock and their handles in front of.
///
/// Most callbacks are called within [`poll_output`](Self::poll_output), so they
/// must not come back here: they put what they are told into a channel. Those
/// of [`on`](Self::on) and its kin are the application's, and may:
/// [`next_call`](Self::next_call) gives them out, to be called without the lock.
pub struct Desk {
    /// The client itself, whose events only this may take.
    pub client: Client,
    subscribers: BTreeMap<SubscriptionId, Hear>,
    requests: BTreeMap<RequestId, Answer>,
    connecting: Vec<Connected>,
    ending: Vec<Ended>,
    listeners: Vec<Listen>,
    handlers: BTreeMap<u64, Handler>,
    /// Handlers to be called, and with what.
    calls: VecDeque<(u64, Event)>,
    serial: u64,
    lines: usize,
    abandoned: bool,
}

/// A callback of the application's.
struct Handler {
    /// The name of the events that it hears; `None` hears all that happens.
    event: Option<Utf8Bytes>,
    once: bool,
    /// Not here while it is being called.
    handle: Option<Handle>,
}

/// A callback to be called: [`Desk::next_call`].
#[must_use]
pub struct Call {
    id: u64,
    handle: Handle,
    event: Event,
}

impl Call {
    /// Calls it.
    pub fn run(&mut self) {
        (self.handle)(&self.event);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
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
            handlers: BTreeMap::new(),
            calls: VecDeque::new(),
            serial: 0,
            lines: 0,
            abandoned: false,
        }
    }

    /// Connects, and tells when it is `authenticated` or the first attempt
    /// failed.
    pub fn connect(
        &mut self,
        now: Tick,
        then: impl FnOnce(Result<(), ConnectError>) + Send + 'static,
    ) {
        if self.abandoned {
            return then(Err(ConnectError::gone()));
        }
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
        if self.abandoned {
            return then();
        }
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
        if self.abandoned {
            return then(Err(RequestError::Disconnected));
        }
        let id = self.client.request(now, channel, event, data, timeout);
        self.requests.insert(id, Box::new(then));
    }

    /// Calls this for each message with an event of this name (SS-37); a
    /// message without one counts as `message`.
    pub fn on(
        &mut self,
        event: impl Into<Utf8Bytes>,
        mut handle: impl FnMut(&Incoming) + Send + 'static,
    ) {
        let handle = move |event: &Event| {
            if let Event::Message(incoming) = event {
                handle(incoming);
            }
        };
        self.handle(Some(event.into()), false, Box::new(handle));
    }

    /// The same, for the next of them only (SS-38).
    pub fn once(
        &mut self,
        event: impl Into<Utf8Bytes>,
        handle: impl FnOnce(&Incoming) + Send + 'static,
    ) {
        let mut handle = Some(handle);
        let handle = move |event: &Event| {
            if let Event::Message(incoming) = event
                && let Some(handle) = handle.take()
            {
                handle(incoming);
            }
        };
        self.handle(Some(event.into()), true, Box::new(handle));
    }

    /// Calls nothing any more for messages with an event of this name (SS-39).
    pub fn off(&mut self, event: &str) {
        self.handlers
            .retain(|_, handler| handler.event.as_deref() != Some(event));
    }

    /// Calls this for all that happens: states, attempts, endings, messages.
    pub fn on_event(&mut self, handle: impl FnMut(&Event) + Send + 'static) {
        self.handle(None, false, Box::new(handle));
    }

    fn handle(&mut self, event: Option<Utf8Bytes>, once: bool, handle: Handle) {
        self.serial += 1;
        let handler = Handler {
            event,
            once,
            handle: Some(handle),
        };
        self.handlers.insert(self.serial, handler);
    }

    /// A callback of the application's to be called: after each
    /// [`poll_output`](Self::poll_output), until there is none.
    pub fn next_call(&mut self) -> Option<Call> {
        while let Some((id, event)) = self.calls.pop_front() {
            let Some(handler) = self.handlers.get_mut(&id) else {
                continue;
            };
            let handle = handler.handle.take();
            if handler.once || handle.is_none() {
                self.handlers.remove(&id);
            }
            if let Some(handle) = handle {
                return Some(Call { id, handle, event });
            }
        }
        None
    }

    /// It was called; one that panicked is not brought back, and not called
    /// again.
    pub fn called(&mut self, call: Call) {
        if let Some(handler) = self.handlers.get_mut(&call.id) {
            handler.handle = Some(call.handle);
        }
    }

    /// Nobody moves the client's bytes any more: who waits for something is
    /// told, now and from now on.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.connected(&Err(ConnectError::gone()));
        self.ending.drain(..).for_each(|then| then());
        for (_, then) in core::mem::take(&mut self.requests) {
            then(Err(RequestError::Disconnected));
        }
        self.subscribers.clear();
        self.listeners.clear();
        self.handlers.clear();
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
            | Event::Dropped(..) => {}
        }
        self.listeners.retain_mut(|listen| listen(event));
        let name = if let Event::Message(incoming) = event {
            incoming.event.as_deref().or(Some("message"))
        } else {
            None
        };
        for (&id, handler) in &self.handlers {
            if handler.event.is_none() || handler.event.as_deref() == name {
                self.calls.push_back((id, event.clone()));
            }
        }
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
            .field("handlers", &self.handlers.len())
            .finish_non_exhaustive()
    }
}
