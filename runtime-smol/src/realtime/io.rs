//! The server, as handlers and other threads see it.

use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

use async_channel::Sender;
use log::Level;
use smartsocket_core::crypt::KeyRing;
use smartsocket_core::http::{ClientInfo, RoomInfo};
use smartsocket_core::hub::{
    Answer, ClientId, EmitError, Hub, JoinError, Publication, Target, UserId,
};
use smartsocket_core::{IntoJson, Json, JsonError, Message, ServerStats, Tick, Utf8Bytes};

use super::shard::Shard;
use super::socket::{AckError, WaitError};

const TARGET: &str = "smartsocket:server";

/// The server, for handlers: on its thread, at once. See [`Remote`] for other
/// threads.
#[derive(Clone)]
pub struct Io(pub(super) Weak<Shard>);

impl Io {
    pub(super) fn new(shard: &Rc<Shard>) -> Self {
        Self(Rc::downgrade(shard))
    }

    /// Looks at the hub; does nothing that has outputs.
    pub(super) fn hub<T: Default>(&self, look: impl FnOnce(&mut Hub, Tick) -> T) -> T {
        match self.0.upgrade() {
            Some(shard) => {
                let now = shard.now();
                look(&mut shard.hub.borrow_mut(), now)
            }
            None => T::default(),
        }
    }

    /// Tells the hub to do something, whose outputs go out soon.
    pub(super) fn command<T: NothingDone>(&self, command: impl FnOnce(&mut Hub, Tick) -> T) -> T {
        match self.0.upgrade() {
            Some(shard) => {
                let now = shard.now();
                let done = command(&mut shard.hub.borrow_mut(), now);
                shard.kick();
                done
            }
            None => T::nothing(),
        }
    }

    /// Everybody (SS-05).
    pub fn everyone(&self) -> To {
        self.target(Target::All)
    }

    /// Everybody in a namespace (SS-30).
    pub fn namespace(&self, namespace: &str) -> To {
        self.target(Target::Namespace(namespace.into()))
    }

    /// One client (SS-06).
    pub fn to(&self, client: ClientId) -> To {
        self.target(Target::Client(client))
    }

    /// The members of a room.
    pub fn room(&self, namespace: &str, room: &str) -> To {
        self.target(Target::Room {
            namespace: namespace.into(),
            room: room.into(),
        })
    }

    /// All clients of a user, now or when it comes back.
    pub fn user(&self, user: impl Into<UserId>) -> To {
        self.target(Target::User(user.into()))
    }

    fn target(&self, target: Target) -> To {
        To {
            io: self.clone(),
            publication: Publication::new(target, "", None),
        }
    }

    /// Sends an event to everybody (SS-05).
    ///
    /// # Errors
    ///
    /// The data have no JSON form.
    pub fn broadcast(&self, event: &str, data: impl IntoJson) -> Result<usize, JsonError> {
        self.everyone().emit(event, data)
    }

    /// Sends a message as it is to the members of a room. Gives how many.
    pub fn send_room(&self, namespace: &str, room: &str, message: impl Into<Message>) -> usize {
        self.command(|hub, now| hub.send_room(now, namespace, room, message))
    }

    /// Sends an event to one client and waits for its answer.
    ///
    /// # Errors
    ///
    /// It did not answer in `timeout`, is gone, or its dialect knows no
    /// answers.
    pub async fn emit_with_ack(
        &self,
        client: ClientId,
        event: &str,
        data: impl IntoJson,
        timeout: Duration,
    ) -> Result<Json, AckError> {
        let data = data.into_json().map_err(AckError::Json)?;
        log_emit(event, data.as_ref());
        let shard = self.0.upgrade().ok_or(AckError::Gone)?;
        let (sender, answer) = async_channel::bounded(1);
        let now = shard.now();
        let token = shard
            .hub
            .borrow_mut()
            .emit_with_ack(now, client, event, data.as_ref(), timeout)
            .map_err(|error| match error {
                EmitError::TooMany => AckError::TooMany,
                EmitError::NoAcks => AckError::NoAcks,
                EmitError::Gone | EmitError::Full => AckError::Gone,
            })?;
        shard.waiting.borrow_mut().insert(token, sender);
        shard.kick();
        drop(shard);
        match answer.recv().await {
            Ok(Answer::Data(data)) => Ok(data),
            Ok(Answer::TimedOut) => Err(AckError::TimedOut),
            Ok(Answer::Closed) | Err(_) => Err(AckError::Gone),
        }
    }

    /// Bytes that wait to be sent to a client: `bufferedAmount` of browsers. 0
    /// when it is gone.
    pub fn buffered(&self, client: ClientId) -> usize {
        self.hub(|hub, _| hub.buffered(client))
    }

    /// Sends an event to one client as soon as there is room for it: at once, as
    /// long as the client keeps up. Where it does not read as fast as is sent,
    /// this waits until half of its [`Outbox`](smartsocket_core::hub::Outbox)
    /// is used at most; the other half is for what is sent without waiting.
    /// So a feed of any length takes little memory, loses nothing, and does
    /// not have the client closed as too slow.
    ///
    /// Cancel safe: it is sent when this is ready, and not before.
    ///
    /// # Errors
    ///
    /// It is not sent: the client is gone, or the data have no JSON form.
    pub async fn emit_when_ready(
        &self,
        client: ClientId,
        event: &str,
        data: impl IntoJson,
    ) -> Result<(), WaitError> {
        let data = data.into_json().map_err(WaitError::Json)?;
        log_emit(event, data.as_ref());
        self.when_ready(client, |hub, now| {
            hub.try_emit(now, client, event, data.as_ref())
        })
        .await
    }

    /// Sends a message as it is to one client, as soon as there is room for it;
    /// see [`emit_when_ready`](Self::emit_when_ready).
    ///
    /// # Errors
    ///
    /// It is not sent: the client is gone.
    pub async fn send_when_ready(
        &self,
        client: ClientId,
        message: impl Into<Message>,
    ) -> Result<(), WaitError> {
        let message = message.into();
        self.when_ready(client, |hub, now| hub.try_send(now, client, &message))
            .await
    }

    async fn when_ready(
        &self,
        client: ClientId,
        attempt: impl Fn(&mut Hub, Tick) -> Result<(), EmitError>,
    ) -> Result<(), WaitError> {
        loop {
            let shard = self.0.upgrade().ok_or(WaitError::Gone)?;
            let now = shard.now();
            let tried = attempt(&mut shard.hub.borrow_mut(), now);
            match tried {
                Ok(()) => {
                    shard.kick();
                    return Ok(());
                }
                Err(EmitError::Full) => {}
                Err(EmitError::Gone | EmitError::TooMany | EmitError::NoAcks) => {
                    return Err(WaitError::Gone);
                }
            }
            let room = shard.room(client);
            drop(shard);
            // It says nothing, it ends.
            let _ = room.recv().await;
        }
    }

    /// Makes a room (RN-02). Gives its id.
    ///
    /// # Errors
    ///
    /// There are as many rooms as there may be.
    pub fn create_room(
        &self,
        namespace: &str,
        name: &str,
        description: Option<&str>,
        max_connections: Option<usize>,
    ) -> Result<Utf8Bytes, JoinError> {
        self.command(|hub, now| hub.create_room(now, namespace, name, description, max_connections))
    }

    /// Sends a message to a room (RN-03). Whether there is one.
    pub fn send_room_message(&self, namespace: &str, room: &str, message: &str) -> bool {
        self.command(|hub, now| hub.send_room_message(now, namespace, room, message))
    }

    /// A room (RN-04).
    pub fn room_info(&self, namespace: &str, room: &str) -> Option<RoomInfo> {
        self.hub(|hub, _| hub.room(namespace, room))
    }

    /// All rooms of a namespace (RN-05).
    pub fn rooms(&self, namespace: &str) -> Vec<RoomInfo> {
        self.hub(|hub, _| hub.rooms_in(namespace))
    }

    /// Puts a client into a room (RN-06).
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    pub fn join_room(&self, client: &str, room: &str) -> Result<(), JoinError> {
        self.command(|hub, now| {
            let id = hub.find(client).ok_or(JoinError::NoClient)?;
            hub.join(now, id, room)
        })
    }

    /// Takes a client out of a room (RN-07). Whether it was in.
    pub fn leave_room(&self, client: &str, room: &str) -> bool {
        self.command(|hub, now| match hub.find(client) {
            Some(id) => hub.leave(now, id, room),
            None => false,
        })
    }

    /// A client, by its id or the name it chose (RN-08).
    pub fn client_info(&self, client: &str) -> Option<ClientInfo> {
        self.hub(|hub, _| hub.info(hub.find(client)?))
    }

    /// The rooms of a client (RN-09).
    pub fn client_rooms(&self, client: &str) -> Vec<RoomInfo> {
        self.hub(|hub, _| {
            hub.find(client)
                .map_or_else(Vec::new, |id| hub.rooms_of(id))
        })
    }

    /// The ids of all clients.
    pub fn clients(&self) -> Vec<ClientId> {
        self.hub(|hub, _| hub.clients().iter().map(|client| client.id()).collect())
    }

    /// The ids of a user's clients (IG-22).
    pub fn clients_of(&self, user: &UserId) -> Vec<ClientId> {
        self.hub(|hub, _| hub.clients().of(user).map(|client| client.id()).collect())
    }

    /// Runs a future on the server's thread, until it is done or the server is.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        if let Some(shard) = self.0.upgrade() {
            shard.executor.spawn(future).detach();
        }
    }

    /// Replaces the keys of a namespace, without a pause; see
    /// [`Hub::set_keys`].
    pub fn set_keys(&self, namespace: &str, keys: &KeyRing) {
        self.command(|hub, now| hub.set_keys(now, namespace, keys));
    }

    /// Figures of the server (SS-07).
    pub fn stats(&self) -> ServerStats {
        self.hub(|hub, _| hub.stats())
    }

    /// Messages received so far (RN-11).
    pub fn received_messages(&self) -> u64 {
        self.hub(|hub, _| hub.received_messages())
    }

    /// Connections by namespace (SS-09).
    pub fn namespace_stats(&self) -> Vec<(String, usize)> {
        self.hub(|hub, _| {
            hub.namespace_stats()
                .into_iter()
                .map(|(name, count)| (name.into(), count))
                .collect()
        })
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

/// What a command on a server that is gone comes to.
pub(super) trait NothingDone {
    fn nothing() -> Self;
}

impl NothingDone for () {
    fn nothing() -> Self {}
}

impl NothingDone for bool {
    fn nothing() -> Self {
        false
    }
}

impl NothingDone for usize {
    fn nothing() -> Self {
        0
    }
}

impl<T> NothingDone for Result<T, JoinError> {
    fn nothing() -> Self {
        Err(JoinError::NoClient)
    }
}

/// Whom an event is for.
#[derive(Clone, Debug)]
#[must_use]
pub struct To {
    io: Io,
    publication: Publication,
}

impl To {
    /// Not for this client.
    pub fn except(mut self, client: ClientId) -> Self {
        self.publication.except.push(client);
        self
    }

    /// Sends an event. Gives how many clients it was for.
    ///
    /// # Errors
    ///
    /// The data have no JSON form.
    pub fn emit(mut self, event: &str, data: impl IntoJson) -> Result<usize, JsonError> {
        self.publication.event = event.into();
        self.publication.data = data.into_json()?;
        log_emit(event, self.publication.data.as_ref());
        Ok(self
            .io
            .command(|hub, now| hub.publish(now, self.publication)))
    }
}

/// Logs an event on its way out (SS-109): the beginning of its data too, but
/// only where every detail is wanted, since they may be anybody's.
pub(super) fn log_emit(event: &str, data: Option<&Json>) {
    const SHOWN: usize = 128;
    if !log::log_enabled!(target: TARGET, Level::Debug) {
        return;
    }
    let data = data.filter(|_| log::log_enabled!(target: TARGET, Level::Trace));
    match data.map(Json::as_str) {
        None => log::debug!(target: TARGET, "Emitting event: {event}"),
        Some(data) if data.len() <= SHOWN => {
            log::debug!(target: TARGET, "Emitting event: {event} {data}");
        }
        Some(data) => {
            let end = (0..=SHOWN).rev().find(|end| data.is_char_boundary(*end));
            let shown = &data[..end.unwrap_or(0)];
            log::debug!(target: TARGET, "Emitting event: {event} {shown}... ({} bytes)", data.len());
        }
    }
}

pub(super) type Job = Box<dyn FnOnce(&Io) + Send>;

/// The server, for other threads.
#[derive(Clone, Debug)]
pub struct Remote {
    pub(super) jobs: Sender<Job>,
}

impl Remote {
    /// Does something with the server, on its thread, and gives what came of
    /// it; `None` when the server has stopped.
    ///
    /// Cancel safe: what was asked for is done even if nobody waits for it.
    pub async fn with<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Io) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, result) = async_channel::bounded(1);
        let job: Job = Box::new(move |io| {
            let _ = sender.try_send(job(io));
        });
        self.jobs.send(job).await.ok()?;
        result.recv().await.ok()
    }

    /// Does something with the server, on its thread, some time soon. Whether
    /// the server still runs.
    pub fn spawn(&self, job: impl FnOnce(&Io) + Send + 'static) -> bool {
        self.jobs.try_send(Box::new(job)).is_ok()
    }
}
