//! Sending no faster than a client reads.

use crate::dialect::Outgoing;
use crate::json::Json;
use crate::message::Message;
use crate::time::Tick;

use super::Hub;
use super::conn::{Conn, State};
use super::deliver::{Class, EmitError};
use super::ids::{ClientId, ConnId};
use super::output::{Event, Output};
use super::publish::Saying;

impl Hub {
    /// Sends an event to one client, unless more than half of what its
    /// [`Outbox`](super::Outbox) allows would wait for it then. The other half is left to what
    /// is sent without asking, so that neither has the other dropped. Where
    /// nothing waits, one message always goes, however long.
    ///
    /// # Errors
    ///
    /// [`EmitError::Full`]: not now; [`Event::Drained`] tells when there is
    /// room. [`EmitError::Gone`]: never again. Nothing was sent and nothing is
    /// counted as lost.
    pub fn try_emit(
        &mut self,
        now: Tick,
        client: ClientId,
        event: &str,
        data: Option<&Json>,
    ) -> Result<(), EmitError> {
        self.tick(now);
        self.say_paced(
            client,
            Outgoing::Event {
                name: event,
                data,
                ack: None,
            },
        )
    }

    /// Sends a message as it is to one client, under the terms of
    /// [`try_emit`](Self::try_emit).
    ///
    /// # Errors
    ///
    /// Those of [`try_emit`](Self::try_emit).
    pub fn try_send(
        &mut self,
        now: Tick,
        client: ClientId,
        message: &Message,
    ) -> Result<(), EmitError> {
        self.tick(now);
        self.say_paced(client, Outgoing::Raw(message))
    }

    fn say_paced(&mut self, client: ClientId, what: Outgoing<'_>) -> Result<(), EmitError> {
        let id = *self.clients.get(&client).ok_or(EmitError::Gone)?;
        let timestamp = self.timestamp();
        let mut saying = Saying::new(what, self.unix_ms(), timestamp.as_str());
        let conn = self.conns.get_mut(id);
        let conn = conn.filter(|conn| conn.is_somebody() && conn.endpoint.is_open());
        let conn = conn.ok_or(EmitError::Gone)?;
        let route = conn.route.ok_or(EmitError::Gone)?;
        let state = &self.routes[usize::from(route)];
        let dialect = &self.dialects[usize::from(state.dialect)];
        let messages = saying.messages(state.dialect, dialect, conn.binary);
        let bytes = messages.iter().map(|(message, _)| message.len()).sum();
        // What passes the application is as much as it makes of it: one at a
        // time.
        let outbox = conn.outbox.as_ref();
        let limits = &state.route.outbox;
        let fits = outbox.is_none_or(|it| it.fits_half(limits, messages.len(), bytes));
        if is_changing(conn) || !fits {
            conn.flags.awaited = true;
            return Err(EmitError::Full);
        }
        self.deliver(id, &mut saying, Class::Paced);
        Ok(())
    }

    /// Tells who was refused for want of room, once half of that room is free
    /// or nobody needs it any more.
    pub(super) fn tell_of_room(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.flags.awaited) else {
            return;
        };
        let over = conn.state == State::Disconnected;
        let limits = conn
            .route
            .map(|route| &self.routes[usize::from(route)].route.outbox);
        let outbox = conn.outbox.as_ref();
        let low = outbox.is_none_or(|it| limits.is_none_or(|limits| it.is_low(limits)));
        if over || low && !is_changing(conn) {
            conn.flags.awaited = false;
            let event = Event::Drained(conn.client);
            self.queue.push_back(Output::Event(event));
        }
    }
}

fn is_changing(conn: &Conn) -> bool {
    let changing = conn.changing.as_ref();
    changing.is_some_and(|changing| changing.is_busy())
}
