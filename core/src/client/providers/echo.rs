//! Echo servers, and any other to which messages go as they are (PO-42): every
//! message is for all.

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::Message;

use super::super::protocol::{Attempt, Cx, NO_REQUESTS, Protocol, Saying};
use super::super::{ConfigError, Incoming, Payload, RequestId};
use super::shared;

#[derive(Debug, Default)]
pub(super) struct Echo;

impl Protocol for Echo {
    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        shared::upgrade(attempt)
    }

    fn opened(&mut self, cx: &mut Cx<'_>, _: Option<&str>) {
        if let Some(message) = shared::first_message(cx) {
            cx.send(message);
        }
        cx.ready();
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        cx.heard(Incoming::new(None, None, Payload::Message(message)));
    }

    fn subscribe(&mut self, _: &mut Cx<'_>, _: &str) {}

    fn unsubscribe(&mut self, _: &mut Cx<'_>, _: &str) {}

    /// Of an event only its data go; nothing tells which answer is whose.
    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        if answer.is_some() {
            return cx.refuse(answer, NO_REQUESTS);
        }
        match what {
            Saying::Raw(message) => cx.send(message.clone()),
            Saying::Event { data, .. } => {
                let data = data.as_ref().map_or("null", Json::as_str);
                cx.send(Message::text(data));
            }
            Saying::Bytes { data, .. } => cx.send(Message::Binary(data.clone())),
        }
    }
}
