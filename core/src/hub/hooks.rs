//! RNode's callbacks: a turn as the data they are given, and back.

use alloc::string::{String, ToString as _};

use crate::json::Json;

use super::output::{Decision, Step, Turn};
use super::{Hub, Interest};

/// What a callback is told (RN-29). Which fields are set depends on what
/// happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventData {
    /// The client's id.
    pub connection_id: String,
    /// The path it connected to.
    pub path: String,
    /// The route's path.
    pub handler_id: String,
    /// What came: JSON, or text as a JSON string.
    pub data: Option<Json>,
    /// When, in RFC 3339.
    pub timestamp: String,
    /// The name the client chose, or was given.
    pub client_id: Option<String>,
    /// The room it is about.
    pub room_id: Option<String>,
    /// The client it is for.
    pub target_client_id: Option<String>,
    /// The client it is from.
    pub from_client_id: Option<String>,
    /// The text of a message.
    pub message: Option<String>,
    /// An error in words.
    pub error: Option<String>,
    /// The kind of an error.
    pub error_type: Option<String>,
    /// The kind of a message.
    pub kind: Option<String>,
}

/// What a callback decides (RN-30).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventResult {
    /// It is not to happen.
    pub should_cancel: bool,
    /// It happens with these data instead.
    pub modified_event: Option<EventData>,
    /// Why it does not happen.
    pub error: Option<String>,
}

impl EventResult {
    /// Let it happen: what `undefined` is in RNode (RN-39).
    pub fn allow() -> Self {
        Self::default()
    }

    /// Do not let it happen (RN-37).
    pub fn cancel(error: impl Into<String>) -> Self {
        Self {
            should_cancel: true,
            modified_event: None,
            error: Some(error.into()),
        }
    }

    /// Let it happen with other data (RN-38).
    pub fn modify(event: EventData) -> Self {
        Self {
            modified_event: Some(event),
            ..Self::default()
        }
    }
}

impl Hub {
    /// A turn as RNode's callbacks are told of it.
    pub fn event_data(&self, turn: &Turn) -> EventData {
        let conn = self.conns.get(turn.id);
        let alias = conn.and_then(|conn| conn.profile.alias.as_ref());
        let mut data = EventData {
            connection_id: turn.client.to_string(),
            path: conn.map_or_else(String::new, |conn| conn.profile.path.clone()),
            handler_id: self
                .routes
                .get(turn.route())
                .map_or_else(String::new, |state| state.route.path.clone()),
            timestamp: self.timestamp().to_string(),
            client_id: alias.map(|alias| alias.to_string()),
            ..EventData::default()
        };
        let text = |text: &str| Some(String::from(text));
        match &turn.step {
            Step::Event(event) => {
                data.data = event.data.clone();
                data.message = event.raw.as_deref().map(String::from);
                data.kind = text(&event.name);
            }
            Step::Binary(bytes) => {
                let said = alloc::format!("Binary data: {} bytes", bytes.len());
                data.data = Some(Json::string(&said));
            }
            Step::Join(rooms) | Step::Leave(rooms) => {
                data.room_id = rooms.first().map(|room| room.to_string());
            }
            Step::RoomMessage { room, text: said } => {
                data.room_id = text(room);
                data.message = text(said);
                data.data = Some(Json::string(said));
                data.from_client_id.clone_from(&data.client_id);
            }
            Step::Direct { to, text: said } => {
                data.target_client_id = text(to);
                data.message = text(said);
                data.data = Some(Json::string(said));
                data.from_client_id.clone_from(&data.client_id);
            }
            Step::MessageAck(raw) | Step::Pong { raw: Some(raw) } => {
                data.message = text(raw);
            }
            Step::Error(complaint) => {
                data.error = Some(complaint.to_string());
                data.error_type = text(complaint.kind());
            }
            Step::Closed(gone) => {
                // The connection itself may not be there any more.
                data.client_id = gone.alias.as_deref().map(String::from);
                data.path.clone_from(&gone.path);
                data.data = Some(Json::string(&gone.closed.to_string()));
            }
            Step::RateLimited { .. } => data.error_type = text("rate_limited"),
            Step::Authenticate(credentials) => data.data = Some(credentials.clone()),
            Step::Outbound { event, data: of } => {
                data.kind = text(event);
                data.data.clone_from(of);
            }
            Step::Connect(_)
            | Step::Welcome
            | Step::Opened
            | Step::Ping
            | Step::Pong { raw: None } => {}
        }
        data
    }
}

impl Turn {
    /// Answers as a callback of RNode's decided.
    pub fn answer(mut self, result: EventResult) -> Decision {
        if result.should_cancel {
            return self.cancel(result.error.as_deref());
        }
        if let Some(event) = result.modified_event {
            let text = |event: &EventData| {
                event
                    .data
                    .as_ref()
                    .and_then(Json::to_text)
                    .or_else(|| event.message.clone())
            };
            match &mut self.step {
                Step::Event(incoming) => incoming.data = event.data,
                Step::RoomMessage { room, text: said } => {
                    if let Some(id) = &event.room_id {
                        *room = id.as_str().into();
                    }
                    if let Some(text) = text(&event) {
                        *said = text.into();
                    }
                }
                Step::Direct { to, text: said } => {
                    if let Some(id) = &event.target_client_id {
                        *to = id.as_str().into();
                    }
                    if let Some(text) = text(&event) {
                        *said = text.into();
                    }
                }
                Step::Join(rooms) | Step::Leave(rooms) => {
                    if let Some(room) = event.room_id {
                        *rooms = alloc::vec![room.into()];
                    }
                }
                Step::MessageAck(raw) => {
                    if let Some(message) = event.message {
                        *raw = message.into();
                    }
                }
                Step::Connect(_)
                | Step::Authenticate(_)
                | Step::Welcome
                | Step::Opened
                | Step::Binary(_)
                | Step::Ping
                | Step::Pong { .. }
                | Step::Error(_)
                | Step::RateLimited { .. }
                | Step::Outbound { .. }
                | Step::Closed(_) => {}
            }
        }
        self.allow()
    }

    /// Which hook this turn is of.
    pub const fn interest(&self) -> Interest {
        self.step.interest()
    }
}
