//! Turns: whatever happens is proposed to the application, where it wants to
//! be asked, and then performed, or not.

use alloc::collections::VecDeque;

use crate::code::CloseCode;
use crate::dialect::{Dialect, Failure, Outgoing};
use crate::error_code::ErrorCode;
use crate::json::Json;
use crate::message::Utf8Bytes;
use crate::stats::DropCause;
use crate::time::Tick;

use super::Hub;
use super::config::Interest;
use super::conn::{State, Turning};
use super::ids::ConnId;
use super::output::{
    Complaint, Decision, Event, Identity, Incoming as IncomingStep, Output, Step, Turn, Verdict,
};

impl Hub {
    /// Asks the application about a step, if it wants to be asked.
    pub(super) fn propose(&mut self, id: ConnId, step: Step) {
        if !self.is_wanted(id, &step) {
            return self.perform(id, step);
        }
        let until = self.clock + self.config.handler_timeout;
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.turn = Some(Turning {
            serial,
            until,
            about: step.interest(),
        });
        let (client, route) = (conn.client, conn.route.unwrap_or_default());
        self.queue.push_back(Output::Event(Event::Turn(Turn {
            id,
            serial,
            route,
            client,
            step,
        })));
    }

    /// Answers a [`Turn`]. Too late, it is harmless.
    pub fn decide(&mut self, now: Tick, decision: Decision) {
        self.tick(now);
        let Decision {
            id,
            serial,
            step,
            verdict,
        } = decision;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if let Some(changing) = &mut conn.changing
            && changing
                .turn
                .as_ref()
                .is_some_and(|turn| turn.serial == serial)
        {
            changing.turn = None;
            match (verdict, step) {
                (Verdict::Allow, Step::Outbound { event, data }) => {
                    self.say_changed(id, &event, data.as_ref());
                }
                (Verdict::Cancel(_), _) => self.counters.dropped(DropCause::Blocked, 1),
                _ => self.counters.dropped(DropCause::HandlerFailed, 1),
            }
            return self.change_next(id);
        }
        if conn.turn.as_ref().is_none_or(|turn| turn.serial != serial) {
            return;
        }
        conn.turn = None;
        if conn.state == State::Disconnected {
            return self.wind_up(id);
        }
        match (verdict, step) {
            (Verdict::Authenticated(identity), Step::Authenticate(data)) => {
                self.exchange(id, &data, identity);
            }
            (Verdict::Authenticated(identity), Step::Connect(ticket)) => {
                self.accept_upgrade(id, ticket, Some(identity));
            }
            (Verdict::Allow | Verdict::Authenticated(_), step) => self.perform(id, step),
            (Verdict::Cancel(error), step) => self.cancelled(id, step, error),
            (Verdict::Failed, step) => self.failed(id, step),
        }
        self.proceed(id);
        self.pump(id);
    }

    /// Goes on with what waited for a turn, or for answers to be read.
    pub(super) fn proceed(&mut self, id: ConnId) {
        while let Some(conn) = self.conns.get_mut(id) {
            let route = &self.routes[usize::from(conn.route.unwrap_or_default())].route;
            if conn.turn.is_some() {
                return;
            }
            if let Some(notice) = conn.notice.take() {
                self.propose(id, *notice);
                continue;
            }
            if conn.owes_reading(&route.outbox) {
                return;
            }
            let Some((len, incoming)) = conn.inbox.pop_front() else {
                if conn.inbox.capacity() > 64 {
                    conn.inbox = VecDeque::new();
                }
                return;
            };
            conn.inbox_bytes -= len;
            self.act(id, incoming);
        }
    }

    /// Does what a step is about.
    pub(super) fn perform(&mut self, id: ConnId, step: Step) {
        match step {
            Step::Connect(ticket) => self.accept_upgrade(id, ticket, None),
            Step::Authenticate(data) => self.exchange(id, &data, Identity::default()),
            Step::Welcome => {
                self.greet(id, None);
                self.welcomed(id);
            }
            Step::Event(event) => {
                if let Some(raw) = event.raw
                    && self.dialect(id).is_some_and(Dialect::acknowledges)
                {
                    self.propose(id, Step::MessageAck(raw));
                }
            }
            Step::Join(rooms) => self.join_asked(id, &rooms),
            Step::Leave(rooms) => {
                for room in rooms {
                    if self.leave_room(id, &room) {
                        self.say(id, Outgoing::RoomLeft { room: &room });
                    }
                }
            }
            Step::RoomMessage { room, text } => self.speak_in(id, &room, &text),
            Step::Direct { to, text } => {
                let from = self.name_of(id);
                match self.aliases.get(&to) {
                    Some(&target) if self.shares_namespace(id, target) => self.say(
                        target,
                        Outgoing::Direct {
                            text: &text,
                            from: &from,
                        },
                    ),
                    Some(_) | None => self.fail(id, Failure::ClientNotFound(to)),
                }
            }
            Step::Ping => self.say(id, Outgoing::Pong { latency_ms: None }),
            Step::Pong { raw: Some(raw) } => self.propose(id, Step::MessageAck(raw)),
            Step::MessageAck(raw) => self.say(id, Outgoing::MessageAck { raw: &raw }),
            Step::Error(complaint) => self.say(id, Outgoing::Error(&complaint.failure)),
            Step::RateLimited { event, retry_after } => {
                let code = match event {
                    Some(_) => ErrorCode::EventRateLimit,
                    None => ErrorCode::RateLimit,
                };
                self.say(
                    id,
                    Outgoing::RateLimited {
                        code,
                        retry_after_ms: retry_after,
                    },
                );
            }
            // Outbound turns are answered on a way of their own.
            Step::Opened
            | Step::Binary(_)
            | Step::Pong { raw: None }
            | Step::Outbound { .. }
            | Step::Closed(_) => {}
        }
    }

    /// The application does not want a step to happen.
    pub(super) fn cancelled(&mut self, id: ConnId, step: Step, error: Option<Utf8Bytes>) {
        match step {
            Step::Connect(ticket) => {
                let why = error.as_deref().unwrap_or("Unauthorized client");
                self.refuse(id, ticket, 403, why);
            }
            Step::Authenticate(_) => self.rejected(id, Failure::AuthenticationFailed),
            Step::Welcome => self.welcomed(id),
            Step::Event(event) => {
                self.counters.dropped(DropCause::Blocked, 1);
                self.blocked(id, event, error);
            }
            Step::Binary(_) | Step::RoomMessage { .. } | Step::Direct { .. } => {
                self.counters.dropped(DropCause::Blocked, 1);
                if let Some(error) = error {
                    self.say_blocked(id, "", &error);
                }
            }
            Step::Join(_) | Step::Leave(_) => {
                if let Some(error) = error {
                    self.fail(id, Failure::Refused(error));
                }
            }
            Step::Opened => {
                let why = error.as_deref().unwrap_or_default();
                self.shut(id, CloseCode::POLICY, why);
            }
            Step::Outbound { .. } => self.counters.dropped(DropCause::Blocked, 1),
            Step::Ping
            | Step::Pong { .. }
            | Step::MessageAck(_)
            | Step::Error(_)
            | Step::RateLimited { .. }
            | Step::Closed(_) => {}
        }
    }

    pub(super) fn blocked(&mut self, id: ConnId, event: IncomingStep, error: Option<Utf8Bytes>) {
        let why = error.unwrap_or_else(|| Utf8Bytes::from_static("Middleware blocked message"));
        match (event.ack, event.raw) {
            (Some(ticket), _) => {
                let data = Json::from_value(&serde_json::json!({ "error": why.as_str() }))
                    .unwrap_or(Json::NULL);
                self.say(
                    id,
                    Outgoing::Ack {
                        id: &ticket.ack,
                        data: &data,
                    },
                );
            }
            (None, Some(raw)) => self.say_blocked(id, &raw, &why),
            (None, None) => self.say_blocked(id, "", &why),
        }
    }

    pub(super) fn say_blocked(&mut self, id: ConnId, raw: &str, reason: &str) {
        let tell = self
            .conns
            .get(id)
            .and_then(|conn| conn.route)
            .is_some_and(|route| self.routes[usize::from(route)].route.tell_blocked);
        if tell {
            self.say(id, Outgoing::Blocked { raw, reason });
        }
    }

    /// The application's handler failed.
    pub(super) fn failed(&mut self, id: ConnId, step: Step) {
        self.counters.dropped(DropCause::HandlerFailed, 1);
        match step {
            Step::Connect(ticket) => self.refuse(id, ticket, 500, "the server failed"),
            Step::Authenticate(_) => self.rejected(id, Failure::AuthenticationError),
            Step::Welcome => self.welcomed(id),
            Step::Event(IncomingStep {
                ack: Some(ticket), ..
            }) => {
                let data =
                    Json::from_value(&serde_json::json!({ "error": "Internal server error" }))
                        .unwrap_or(Json::NULL);
                self.say(
                    id,
                    Outgoing::Ack {
                        id: &ticket.ack,
                        data: &data,
                    },
                );
            }
            Step::Error(_) | Step::Closed(_) => {}
            Step::Opened
            | Step::Event(_)
            | Step::Binary(_)
            | Step::Join(_)
            | Step::Leave(_)
            | Step::RoomMessage { .. }
            | Step::Direct { .. }
            | Step::Ping
            | Step::Pong { .. }
            | Step::MessageAck(_)
            | Step::RateLimited { .. }
            | Step::Outbound { .. } => self.say(id, Outgoing::Error(&Failure::Handler)),
        }
    }

    /// A handler did not answer in time.
    pub(super) fn stalled(&mut self, id: ConnId, about: Interest) {
        self.counters.dropped(DropCause::HandlerFailed, 1);
        if self
            .conns
            .get(id)
            .is_none_or(|conn| conn.state == State::Disconnected)
        {
            return self.wind_up(id);
        }
        match about {
            // The handshake answers for itself when it is closed.
            Interest::CONNECT => self.shut(id, CloseCode::TRY_AGAIN, ""),
            Interest::AUTHENTICATE => self.rejected(id, Failure::AuthenticationError),
            Interest::WELCOME => self.welcomed(id),
            _ => self.say(id, Outgoing::Error(&Failure::Handler)),
        }
        self.proceed(id);
    }

    /// Tells a client what went wrong.
    pub(super) fn fail(&mut self, id: ConnId, failure: Failure) {
        let step = Step::Error(Complaint { failure });
        let busy = self.conns.get(id).is_some_and(|conn| conn.turn.is_some());
        if busy {
            self.perform(id, step);
        } else {
            self.propose(id, step);
        }
    }
}
