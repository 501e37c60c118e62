//! What a handler holds of one client.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smartsocket_core::hub::{AckTicket, ClientId, ConnId, JoinError, UserId};
use smartsocket_core::{CloseCode, IntoJson, Json, JsonError, Message, Utf8Bytes};

use super::handlers::EventHandler;
use super::io::Io;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an application remembers of a connection: at most one value of each
/// type, gone with the connection.
#[derive(Default)]
pub struct Data {
    values: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    listeners: Mutex<HashMap<String, Vec<Listener>>>,
}

pub(super) struct Listener {
    handler: EventHandler,
    once: bool,
}

impl Data {
    /// Remembers a value instead of an earlier one of its type.
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) {
        let value: Arc<dyn Any + Send + Sync> = Arc::new(value);
        lock(&self.values).insert(TypeId::of::<T>(), value);
    }

    /// The value of a type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let value = lock(&self.values).get(&TypeId::of::<T>()).cloned()?;
        value.downcast().ok()
    }

    /// Forgets the value of a type.
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let value = lock(&self.values).remove(&TypeId::of::<T>())?;
        value.downcast().ok()
    }

    /// Those who listen to an event of this connection; who listened once is
    /// forgotten.
    pub(super) fn listeners(&self, event: &str) -> Vec<EventHandler> {
        let mut listeners = lock(&self.listeners);
        let Some(of_event) = listeners.get_mut(event) else {
            return Vec::new();
        };
        let handlers = of_event
            .iter()
            .map(|listener| Arc::clone(&listener.handler))
            .collect();
        of_event.retain(|listener| !listener.once);
        if of_event.is_empty() {
            listeners.remove(event);
        }
        handlers
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data")
            .field("values", &lock(&self.values).len())
            .finish_non_exhaustive()
    }
}

/// A connected client, as handlers see it. Cheap to clone; outlives its
/// connection harmlessly.
#[derive(Clone)]
pub struct Socket {
    pub(super) io: Io,
    pub(super) id: ConnId,
    pub(super) client: ClientId,
    pub(super) data: Arc<Data>,
}

impl Socket {
    /// The client's id (SS-13).
    pub const fn id(&self) -> ClientId {
        self.client
    }

    /// Whether it is still there (SS-14).
    pub fn connected(&self) -> bool {
        self.io.hub(|hub, _| hub.client(self.id).is_some())
    }

    /// What the application remembers of it (SS-15).
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The server, to speak to others.
    pub const fn io(&self) -> &Io {
        &self.io
    }

    /// Its namespace; empty when it is gone.
    pub fn namespace(&self) -> String {
        self.io.hub(|hub, _| {
            hub.client(self.id)
                .map_or_else(String::new, |client| client.namespace().into())
        })
    }

    /// The user it belongs to.
    pub fn user(&self) -> Option<UserId> {
        self.io.hub(|hub, _| hub.client(self.id)?.user().cloned())
    }

    /// Whether what is sent to it is encrypted, beside TLS
    /// ([`Encryption`](crate::hub::Encryption)).
    pub fn is_encrypted(&self) -> bool {
        self.io.hub(|hub, _| {
            hub.client(self.id)
                .is_some_and(|client| client.is_encrypted())
        })
    }

    /// Remembers which user it belongs to.
    pub fn set_user(&self, user: impl Into<UserId>) {
        let user = user.into();
        self.io
            .command(|hub, now| hub.set_user(now, self.id, Some(user)));
    }

    /// Sends it an event (SS-19).
    ///
    /// # Errors
    ///
    /// The data have no JSON form.
    pub fn emit(&self, event: &str, data: impl IntoJson) -> Result<(), JsonError> {
        let data = data.into_json()?;
        self.io
            .command(|hub, now| hub.emit(now, self.client, event, data));
        Ok(())
    }

    /// Sends it a message as it is, whatever its dialect.
    pub fn send(&self, message: impl Into<Message>) {
        self.io
            .command(|hub, now| hub.send(now, self.client, message));
    }

    /// Bytes that wait to be sent to it: `bufferedAmount` of browsers. 0 when
    /// it is gone.
    pub fn buffered(&self) -> usize {
        self.io.buffered(self.client)
    }

    /// Sends it an event as soon as there is room for it; see
    /// [`Io::emit_when_ready`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn feed(socket: &smartsocket_std::realtime::Socket) {
    /// for row in 0..1_000_000 {
    ///     if socket.emit_when_ready("row", row, Duration::MAX).is_err() {
    ///         break; // the client is gone
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// It is not sent: there was no room in `timeout`, the client is gone, or
    /// the data have no JSON form.
    pub fn emit_when_ready(
        &self,
        event: &str,
        data: impl IntoJson,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.io.emit_when_ready(self.client, event, data, timeout)
    }

    /// Sends it a message as it is, as soon as there is room for it; see
    /// [`Io::emit_when_ready`].
    ///
    /// # Errors
    ///
    /// It is not sent: there was no room in `timeout`, or the client is gone.
    pub fn send_when_ready(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.io.send_when_ready(self.client, message, timeout)
    }

    /// Sends it an event and waits for its answer, on this thread.
    ///
    /// # Errors
    ///
    /// It did not answer in `timeout`, is gone, or its dialect knows no
    /// answers.
    pub fn emit_with_ack(
        &self,
        event: &str,
        data: impl IntoJson,
        timeout: Duration,
    ) -> Result<Json, AckError> {
        self.io.emit_with_ack(self.client, event, data, timeout)
    }

    /// Puts it into a room of its namespace.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    pub fn join(&self, room: &str) -> Result<(), JoinError> {
        self.io.command(|hub, now| hub.join(now, self.id, room))
    }

    /// Takes it out of a room. Whether it was in.
    pub fn leave(&self, room: &str) -> bool {
        self.io.command(|hub, now| hub.leave(now, self.id, room))
    }

    /// Whether it is in a room.
    pub fn is_in(&self, room: &str) -> bool {
        self.rooms().iter().any(|id| id == room)
    }

    /// The rooms it is in, by id.
    pub fn rooms(&self) -> Vec<Utf8Bytes> {
        self.io.hub(|hub, _| {
            let rooms = hub.rooms_of(self.id);
            rooms.into_iter().map(|room| room.id).collect()
        })
    }

    /// Lets events to it pass [`Routes::transform`](super::Routes::transform)
    /// from now on, for good (IG-35).
    pub fn transform(&self) {
        self.io.hub(|hub, _| hub.transform(self.id));
    }

    /// Closes the connection with 1000, after what was sent before (SS-20).
    pub fn disconnect(&self) {
        self.close(CloseCode::NORMAL, "");
    }

    /// Closes the connection with a code and a reason.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.io
            .command(|hub, now| hub.disconnect(now, self.client, code, reason));
    }

    /// Calls `handler` for every event of this name from this client (SS-16),
    /// besides those of its namespace.
    pub fn on<F>(&self, event: &str, handler: F)
    where
        F: Fn(&Self, Json, Ack) + Send + Sync + 'static,
    {
        self.listen(event, Arc::new(handler), false);
    }

    /// Calls `handler` for the next event of this name only (SS-17).
    pub fn once<F>(&self, event: &str, handler: F)
    where
        F: Fn(&Self, Json, Ack) + Send + Sync + 'static,
    {
        self.listen(event, Arc::new(handler), true);
    }

    /// Forgets all handlers of [`on`](Self::on) and [`once`](Self::once) for
    /// this event (SS-18).
    pub fn off(&self, event: &str) {
        lock(&self.data.listeners).remove(event);
    }

    fn listen(&self, event: &str, handler: EventHandler, once: bool) {
        let listener = Listener { handler, once };
        lock(&self.data.listeners)
            .entry(event.into())
            .or_default()
            .push(listener);
        self.io.hub(|hub, _| hub.listen(self.id, event));
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.client).finish()
    }
}

/// How to answer a client's event, if it asked for an answer.
#[must_use]
pub struct Ack {
    pub(super) io: Io,
    pub(super) ticket: Option<AckTicket>,
}

impl Ack {
    /// Answers. Without effect when no answer was asked for.
    ///
    /// # Errors
    ///
    /// The data have no JSON form: the client is not answered.
    pub fn send(self, data: impl IntoJson) -> Result<(), JsonError> {
        let data = data.into_json()?.unwrap_or(Json::NULL);
        if let Some(ticket) = self.ticket {
            self.io
                .command(|hub, now| hub.acknowledge(now, ticket, &data));
        }
        Ok(())
    }

    /// Whether an answer was asked for.
    pub const fn is_wanted(&self) -> bool {
        self.ticket.is_some()
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack")
            .field("wanted", &self.is_wanted())
            .finish()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckError {
    /// `ERR_ACK_001`: it did not come in time.
    TimedOut,
    /// The client went away, or was not there.
    Gone,
    /// The client owes too many answers.
    TooMany,
    /// The client's dialect knows no answers.
    NoAcks,
    /// The data have no JSON form.
    Json(JsonError),
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("ERR_ACK_001: Acknowledgment timeout"),
            Self::Gone => f.write_str("the client is not connected"),
            Self::TooMany => f.write_str("the client owes too many answers"),
            Self::NoAcks => f.write_str("the client's dialect knows no acknowledgements"),
            Self::Json(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AckError {}

/// Why something that waited for room was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// The client went away, or was not there.
    Gone,
    /// The client did not read enough in time.
    TimedOut,
    /// The data have no JSON form.
    Json(JsonError),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the client is not connected"),
            Self::TimedOut => f.write_str("the client reads too slowly"),
            Self::Json(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WaitError {}
