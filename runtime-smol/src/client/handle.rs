//! The handle, and what it shares with the driver.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use smartsocket_core::client::{
    AckTicket, Client as Machine, ClientStats, Event, Incoming, Priority, Provider, RequestError,
    RequestId, State, SubscriptionId,
};
use smartsocket_core::{CloseCode, IntoJson, Json, JsonError, Message, Tick, Utf8Bytes};

use crate::clock::Clock;

use super::builder::ClientBuilder;
use super::subscription::Subscription;

/// So many events wait for who does not take them.
const EVENTS: usize = 1_024;

/// A handle of a client that stays connected; clones are handles of the same.
///
/// Its methods may be called on any thread, and none but
/// [`connect`](Self::connect), [`disconnect`](Self::disconnect) and
/// [`request`](Self::request) waits for the network. When the last handle and
/// the last [`Subscription`] are dropped, the client disconnects.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

/// The last of these ends the client.
struct Handle(Arc<Shared>);

/// What the handles and the driver work on.
#[derive(Debug)]
pub(super) struct Shared {
    clock: Clock,
    buffer: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) machine: Machine,
    pub(super) driver: Option<Waker>,
    /// No handle is left.
    pub(super) left: bool,
    subscribers: BTreeMap<SubscriptionId, Subscriber>,
    requests: BTreeMap<RequestId, Sender<Result<Json, RequestError>>>,
    connecting: Vec<Sender<Result<(), ConnectError>>>,
    disconnecting: Vec<Sender<()>>,
    listeners: Vec<Sender<Arc<Event>>>,
}

#[derive(Debug)]
struct Subscriber {
    sender: Sender<Incoming>,
    missed: u64,
}

/// Why [`Client::connect`] did not.
#[derive(Clone, Debug)]
pub struct ConnectError {
    words: String,
    again: bool,
}

impl ConnectError {
    /// Whether the client goes on trying.
    pub const fn will_retry(&self) -> bool {
        self.again
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for ConnectError {}

impl Client {
    /// A client of this provider at this URL; see [`ClientBuilder`].
    pub fn builder(provider: Provider, url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(provider, url.into())
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Handle(shared)))
    }

    /// Connects, and waits for `authenticated` or for the end of the first
    /// attempt. The client may go on trying after that; see
    /// [`ConnectError::will_retry`].
    ///
    /// # Errors
    ///
    /// Why the attempt failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the client connecting.
    pub async fn connect(&self) -> Result<(), ConnectError> {
        let gone = || ConnectError {
            words: "the driver is gone".into(),
            again: false,
        };
        let wait = {
            let mut inner = self.0.0.lock();
            if inner.machine.state() == State::Authenticated {
                return Ok(());
            }
            let (sender, wait) = async_channel::bounded(1);
            inner.connecting.push(sender);
            let now = self.0.0.now();
            inner.machine.connect(now);
            inner.wake();
            wait
        };
        wait.recv().await.unwrap_or_else(|_| Err(gone()))
    }

    /// Disconnects for good, and waits until that is done. What waits to be
    /// sent is dropped.
    pub async fn disconnect(&self) {
        self.disconnect_with(CloseCode::NORMAL, "").await;
    }

    /// The same, with a close code and a reason (PO-24).
    pub async fn disconnect_with(&self, code: CloseCode, reason: &str) {
        let (sender, wait) = async_channel::bounded(1);
        self.0
            .0
            .command(|machine, now| machine.disconnect(now, code, reason));
        {
            let mut inner = self.0.0.lock();
            inner.disconnecting.push(sender);
            inner.wake();
        }
        let _ = wait.recv().await;
    }

    /// What comes by a channel from now on; `*` is everything, and a name that
    /// ends in `*` all that begin so. The provider is asked for the channel
    /// again after each reconnection.
    pub fn subscribe(&self, channel: impl Into<Utf8Bytes>) -> Subscription {
        let shared = &self.0.0;
        let (sender, messages) = async_channel::bounded(shared.buffer);
        let mut inner = shared.lock();
        let id = inner.machine.subscribe(shared.now(), channel);
        inner
            .subscribers
            .insert(id, Subscriber { sender, missed: 0 });
        inner.wake();
        Subscription {
            id,
            messages: Box::pin(messages),
            shared: Arc::downgrade(shared),
        }
    }

    /// What happens: states, attempts, endings with their cause. Of who does
    /// not take them, the oldest are dropped.
    pub fn events(&self) -> Receiver<Arc<Event>> {
        let (sender, receiver) = async_channel::bounded(EVENTS);
        let mut inner = self.0.0.lock();
        inner.listeners.push(sender);
        receiver
    }

    /// Sends a message as it is, now or once there is a connection.
    pub fn send(&self, message: impl Into<Message>) {
        let message = message.into();
        self.0
            .0
            .command(|machine, now| machine.send(now, message, Priority::Normal));
    }

    /// Sends an event, now or once there is a connection.
    ///
    /// # Errors
    ///
    /// The data have no JSON form.
    pub fn emit(&self, event: &str, data: impl IntoJson) -> Result<(), JsonError> {
        self.publish(None, event, data, Priority::Normal)
    }

    /// Sends an event, to a channel where one is given; those of higher
    /// priority go first after a reconnection, and are dropped last.
    ///
    /// # Errors
    ///
    /// The data have no JSON form.
    pub fn publish(
        &self,
        channel: Option<&str>,
        event: &str,
        data: impl IntoJson,
        priority: Priority,
    ) -> Result<(), JsonError> {
        let data = data.into_json()?;
        let channel = channel.map(Utf8Bytes::from);
        self.0.0.command(|machine, now| {
            machine.publish(now, channel, Utf8Bytes::from(event), data, priority);
        });
        Ok(())
    }

    /// Sends an event and waits for its answer, for
    /// [`ClientConfig::request_timeout`](super::ClientConfig::request_timeout)
    /// or as long as is said here.
    ///
    /// # Errors
    ///
    /// There is no answer, or a refusal.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take back what was sent.
    pub async fn request(
        &self,
        channel: Option<&str>,
        event: &str,
        data: impl IntoJson,
        timeout: Option<Duration>,
    ) -> Result<Json, RequestError> {
        let refused = |error: JsonError| RequestError::Refused(error.to_string().into());
        let data = data.into_json().map_err(refused)?;
        let channel = channel.map(Utf8Bytes::from);
        let answer = {
            let shared = &self.0.0;
            let mut inner = shared.lock();
            let event = Utf8Bytes::from(event);
            let now = shared.now();
            let id = inner.machine.request(now, channel, event, data, timeout);
            let (sender, answer) = async_channel::bounded(1);
            inner.requests.insert(id, sender);
            inner.wake();
            answer
        };
        answer
            .recv()
            .await
            .unwrap_or(Err(RequestError::Disconnected))
    }

    /// Answers a message that asked for it ([`Incoming::ack`]).
    ///
    /// # Errors
    ///
    /// The data have no JSON form.
    pub fn acknowledge(&self, ticket: AckTicket, data: impl IntoJson) -> Result<(), JsonError> {
        let data = data.into_json()?.unwrap_or(Json::NULL);
        self.0
            .0
            .command(|machine, now| machine.acknowledge(now, ticket, &data));
        Ok(())
    }

    /// The device sleeps: no pings and no attempts until
    /// [`resume`](Self::resume) (PO-69).
    pub fn suspend(&self) {
        self.0.0.command(Machine::suspend);
    }

    /// The opposite; a lost connection is dialed at once.
    pub fn resume(&self) {
        self.0.0.command(Machine::resume);
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.0.0.lock().machine.state()
    }

    /// Figures so far.
    pub fn stats(&self) -> ClientStats {
        self.0.0.lock().machine.stats()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.left = true;
        let now = self.0.now();
        inner.machine.disconnect(now, CloseCode::NORMAL, "");
        inner.wake();
    }
}

impl Shared {
    pub(super) fn new(machine: Machine, clock: Clock, buffer: usize) -> Self {
        Self {
            clock,
            buffer,
            inner: Mutex::new(Inner {
                machine,
                driver: None,
                left: false,
                subscribers: BTreeMap::new(),
                requests: BTreeMap::new(),
                connecting: Vec::new(),
                disconnecting: Vec::new(),
                listeners: Vec::new(),
            }),
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.clock.now()
    }

    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nobody panics while holding it, but for bugs of ours.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, command: impl FnOnce(&mut Machine, Tick)) {
        let mut inner = self.lock();
        command(&mut inner.machine, self.now());
        inner.wake();
    }

    pub(super) fn unsubscribe(&self, id: SubscriptionId) {
        let mut inner = self.lock();
        inner.subscribers.remove(&id);
        inner.machine.unsubscribe(self.now(), id);
        inner.wake();
    }

    pub(super) fn missed(&self, id: SubscriptionId) -> u64 {
        let inner = self.lock();
        inner.subscribers.get(&id).map_or(0, |it| it.missed)
    }
}

impl Inner {
    fn wake(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Hands an event to those who wait for it.
    pub(super) fn tell(&mut self, event: Event) {
        match &event {
            Event::Message(incoming) => {
                for id in &incoming.subscriptions {
                    if let Some(subscriber) = self.subscribers.get_mut(id)
                        && let Ok(Some(_)) = subscriber.sender.force_send(incoming.clone())
                    {
                        subscriber.missed += 1;
                    }
                }
            }
            Event::Answered(id, answer) => {
                if let Some(waiting) = self.requests.remove(id) {
                    let _ = waiting.try_send(answer.clone());
                }
            }
            Event::State(State::Authenticated) => {
                for waiting in self.connecting.drain(..) {
                    let _ = waiting.try_send(Ok(()));
                }
            }
            Event::State(State::Disconnected | State::Error) => self.fail("disconnected", false),
            Event::Ended(ending, verdict) => {
                use smartsocket_core::client::Verdict;
                let again = !matches!(verdict, Verdict::Stay | Verdict::Fatal);
                self.fail(&ending.to_string(), again);
            }
            Event::State(_)
            | Event::Reconnecting { .. }
            | Event::Subscribed(_)
            | Event::SubscriptionRefused(..)
            | Event::Unreadable(_)
            | Event::Dropped(_) => {}
        }
        if !self.listeners.is_empty() {
            let event = Arc::new(event);
            self.listeners
                .retain(|listener| listener.force_send(Arc::clone(&event)).is_ok());
        }
    }

    fn fail(&mut self, words: &str, again: bool) {
        for waiting in self.connecting.drain(..) {
            let words = words.to_owned();
            let _ = waiting.try_send(Err(ConnectError { words, again }));
        }
    }

    /// All lines are gone: who waits for the end has it.
    pub(super) fn ended(&mut self) {
        if matches!(self.machine.state(), State::Disconnected | State::Error) {
            self.disconnecting.clear();
        }
    }

    /// Queued outputs, events told.
    pub(super) fn outputs(&mut self) -> VecDeque<smartsocket_core::client::Output> {
        use smartsocket_core::client::Output;
        let mut outputs = VecDeque::new();
        while let Some(output) = self.machine.poll_output() {
            if let Output::Event(event) = output {
                self.tell(event);
            } else {
                outputs.push_back(output);
            }
        }
        outputs
    }
}
