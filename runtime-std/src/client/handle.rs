//! The handle, and what it shares with the driver.

use std::fmt;
use std::io::{PipeWriter, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::Level;
use smartsocket_core::client::{
    AckTicket, Client as Machine, ClientStats, ConnectError, Desk, Event, Incoming, Priority,
    Provider, RequestError, State,
};
use smartsocket_core::{Bytes, CloseCode, IntoJson, Json, JsonError, Message, Tick, Utf8Bytes};

use crate::clock::Clock;

use super::builder::ClientBuilder;
use super::subscription::{Events, Mailbox, Posting, Subscription};

/// The name of this part in the log.
pub(super) const TARGET: &str = "smartsocket:client";

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
    pub(super) desk: Desk,
    /// Wakes the driver, unless it is awake or was woken already.
    waker: PipeWriter,
    pub(super) sleeps: bool,
    /// No handle is left.
    pub(super) left: bool,
}

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
    pub fn connect(&self) -> Result<(), ConnectError> {
        let (sender, wait) = sync_channel(1);
        self.0.0.command(|desk, now| {
            desk.connect(now, move |result| _ = sender.try_send(result));
        });
        wait.recv().unwrap_or_else(|_| Err(ConnectError::gone()))
    }

    /// Disconnects for good, and waits until that is done. What waits to be
    /// sent is dropped.
    pub fn disconnect(&self) {
        self.disconnect_with(CloseCode::NORMAL, "");
    }

    /// The same, with a close code and a reason (PO-24).
    pub fn disconnect_with(&self, code: CloseCode, reason: &str) {
        let (sender, wait) = sync_channel(1);
        self.0.0.command(|desk, now| {
            desk.disconnect(now, code, reason, move || _ = sender.try_send(()));
        });
        let _ = wait.recv();
    }

    /// What comes by a channel from now on; `*` is everything, and a name that
    /// ends in `*` all that begin so. The provider is asked for the channel
    /// again after each reconnection.
    pub fn subscribe(&self, channel: impl Into<Utf8Bytes>) -> Subscription {
        self.subscribe_where(channel, |_| true)
    }

    /// The same, of those messages that the filter lets through; it is called
    /// under the client's lock, so it must not use the client.
    pub fn subscribe_where(
        &self,
        channel: impl Into<Utf8Bytes>,
        mut filter: impl FnMut(&Incoming) -> bool + Send + 'static,
    ) -> Subscription {
        let shared = &self.0.0;
        let mailbox = Arc::new(Mailbox::new(shared.buffer));
        let letters = Posting(Arc::clone(&mailbox));
        let hear = move |incoming: &Incoming| {
            if filter(incoming) {
                letters.0.put(incoming.clone());
            }
        };
        let id = shared.command(|desk, now| desk.subscribe(now, channel, hear));
        Subscription {
            id,
            mailbox,
            shared: Arc::downgrade(shared),
        }
    }

    /// What happens: states, attempts, endings with their cause. Of who does
    /// not take them, the oldest are dropped. Ends with the client.
    pub fn events(&self) -> Events {
        let mailbox = Arc::new(Mailbox::new(EVENTS));
        let letters = Posting(Arc::clone(&mailbox));
        self.0.0.command(|desk, _| {
            desk.listen(move |event| {
                letters.0.put(event.clone());
                // Nobody else holds it: nobody listens.
                Arc::strong_count(&letters.0) > 1
            });
        });
        Events(mailbox)
    }

    /// Calls this for each message with an event of this name (SS-37); a
    /// message without one counts as `message`. It is called on the
    /// thread of the client, without a lock: it may use this client, but not
    /// wait for it ([`connect`](Self::connect), [`disconnect`](Self::disconnect),
    /// [`request`](Self::request)). One that panics is not called again.
    pub fn on(&self, event: &str, handle: impl FnMut(&Incoming) + Send + 'static) {
        self.0.0.command(|desk, _| desk.on(event, handle));
    }

    /// The same, for the next of them only (SS-38).
    pub fn once(&self, event: &str, handle: impl FnOnce(&Incoming) + Send + 'static) {
        self.0.0.command(|desk, _| desk.once(event, handle));
    }

    /// Calls nothing any more for messages with an event of this name (SS-39).
    pub fn off(&self, event: &str) {
        self.0.0.command(|desk, _| desk.off(event));
    }

    /// Calls this for all that happens: states, attempts, endings with their
    /// cause, messages (PO-14 to PO-20, SS-86). As with [`on`](Self::on).
    pub fn on_event(&self, handle: impl FnMut(&Event) + Send + 'static) {
        self.0.0.command(|desk, _| desk.on_event(handle));
    }

    /// A message with a type, an id and the time, in the form of Protocol OS
    /// (PO-26); without an id it gets a random one.
    ///
    /// # Errors
    ///
    /// The payload has no JSON form.
    pub fn create_message(
        &self,
        kind: &str,
        payload: impl IntoJson,
        id: Option<&str>,
    ) -> Result<Message, JsonError> {
        let payload = payload.into_json()?.unwrap_or(Json::NULL);
        let create = |desk: &mut Desk, now| desk.client.create_message(now, kind, &payload, id);
        Ok(self.0.0.command(create))
    }

    /// Sends a message as it is, now or once there is a connection.
    pub fn send(&self, message: impl Into<Message>) {
        let message = message.into();
        self.0
            .0
            .command(|desk, now| desk.client.send(now, message, Priority::Normal));
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
        self.0.0.command(|desk, now| {
            desk.client
                .publish(now, channel, Utf8Bytes::from(event), data, priority);
        });
        Ok(())
    }

    /// The same with bytes as data, for providers that have such (Socket.IO,
    /// Phoenix, Ably, an echo); with others it is dropped.
    pub fn publish_bytes(
        &self,
        channel: Option<&str>,
        event: &str,
        data: impl Into<Bytes>,
        priority: Priority,
    ) {
        let (channel, event) = (channel.map(Utf8Bytes::from), Utf8Bytes::from(event));
        self.0.0.command(|desk, now| {
            let client = &mut desk.client;
            client.publish_bytes(now, channel, event, data, priority);
        });
    }

    /// Sends an event and waits for its answer, for
    /// [`ClientConfig::request_timeout`](super::ClientConfig::request_timeout)
    /// or as long as is said here.
    ///
    /// # Errors
    ///
    /// There is no answer, or a refusal.
    pub fn request(
        &self,
        channel: Option<&str>,
        event: &str,
        data: impl IntoJson,
        timeout: Option<Duration>,
    ) -> Result<Json, RequestError> {
        let refused = |error: JsonError| RequestError::Refused(error.to_string().into());
        let data = data.into_json().map_err(refused)?;
        let channel = channel.map(Utf8Bytes::from);
        let (sender, answer) = sync_channel(1);
        self.0.0.command(|desk, now| {
            let then = move |answer| _ = sender.try_send(answer);
            desk.request(now, channel, event, data, timeout, then);
        });
        answer.recv().unwrap_or(Err(RequestError::Disconnected))
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
            .command(|desk, now| desk.client.acknowledge(now, ticket, &data));
        Ok(())
    }

    /// The device sleeps: no pings and no attempts until
    /// [`resume`](Self::resume) (PO-69).
    pub fn suspend(&self) {
        self.0.0.command(|desk, now| desk.client.suspend(now));
    }

    /// The opposite; a lost connection is dialed at once.
    pub fn resume(&self) {
        self.0.0.command(|desk, now| desk.client.resume(now));
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.0.0.lock().desk.client.state()
    }

    /// Figures so far.
    pub fn stats(&self) -> ClientStats {
        let now = self.0.0.now();
        self.0.0.lock().desk.client.stats(now)
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
        inner.desk.client.disconnect(now, CloseCode::NORMAL, "");
        inner.wake();
    }
}

impl Shared {
    pub(super) fn new(client: Machine, clock: Clock, buffer: usize, waker: PipeWriter) -> Self {
        let mut desk = Desk::new(client);
        desk.listen(|event| {
            log(event);
            true
        });
        Self {
            clock,
            buffer,
            inner: Mutex::new(Inner {
                desk,
                waker,
                sleeps: false,
                left: false,
            }),
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.clock.now()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nobody panics while holding it, but for bugs of ours.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the application's callbacks that are due; none keeps the lock.
    pub(super) fn call_handlers(&self) {
        while let Some(mut call) = { self.lock().desk.next_call() } {
            if catch_unwind(AssertUnwindSafe(|| call.run())).is_ok() {
                self.lock().desk.called(call);
            } else {
                log::error!(target: TARGET, "a handler panicked: it is not called again");
            }
        }
    }

    pub(super) fn command<T>(&self, command: impl FnOnce(&mut Desk, Tick) -> T) -> T {
        let mut inner = self.lock();
        let done = command(&mut inner.desk, self.now());
        inner.wake();
        done
    }
}

impl Inner {
    fn wake(&mut self) {
        if std::mem::take(&mut self.sleeps) {
            // An empty pipe has room.
            let _ = self.waker.write(&[1]);
        }
    }
}

/// What happens, but for what is said.
fn log(event: &Event) {
    let level = match event {
        Event::Ended(..)
        | Event::SubscriptionRefused(..)
        | Event::Unreadable(_)
        | Event::Dropped(..) => Level::Warn,
        Event::State(State::Authenticated | State::Error) | Event::Reconnecting { .. } => {
            Level::Info
        }
        Event::State(_) | Event::Subscribed(_) => Level::Debug,
        Event::Message(_) | Event::Answered(..) => Level::Trace,
    };
    log::log!(target: TARGET, level, "{event}");
}
