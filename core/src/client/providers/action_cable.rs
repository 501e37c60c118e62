//! Action Cable, the channels of Rails.
//!
//! The server tells nothing of a command it cannot make sense of, so one that
//! asks for a channel goes out again until there is an answer, for a while.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::http::UpgradeRequest;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;
use crate::websocket::Cause;

use super::super::backoff::{Backoff, Jitter};
use super::super::config::ClientConfig;
use super::super::protocol::{Attempt, Cx, NO_BYTES, NO_REQUESTS, Protocol, Saying};
use super::super::utilities::parse_message;
use super::super::verdict::{Ending, Verdict};
use super::super::{ConfigError, Incoming, Payload, RequestId};
use super::shared;

const SUBPROTOCOL: &str = "actioncable-v1-json";

/// What the official client offers too, so that servers can say no.
const UNSUPPORTED: &str = "actioncable-unsupported";

/// The server pings every 3 s; two in a row are missed then.
const STALE: Duration = Duration::from_secs(6);

/// How long until a channel is asked for again, and how often.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const TIMES: u32 = 20;

#[derive(Debug)]
pub(super) struct ActionCable {
    /// By their identifiers, which are compared byte by byte.
    channels: BTreeMap<Utf8Bytes, Channel>,
    /// Which are asked for again, and when.
    asking: BTreeSet<(Tick, Utf8Bytes)>,
    stale: Tick,
}

#[derive(Debug)]
struct Channel {
    /// As the application calls it.
    name: Utf8Bytes,
    /// How often it was asked for, and when again; `MAX` once it is ours.
    asked: u32,
    again: Tick,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    identifier: Option<String>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    reason: Option<String>,
    reconnect: Option<bool>,
}

impl Default for ActionCable {
    fn default() -> Self {
        Self {
            channels: BTreeMap::new(),
            asking: BTreeSet::new(),
            stale: Tick::MAX,
        }
    }
}

impl Protocol for ActionCable {
    fn defaults(&self, config: &mut ClientConfig) {
        config.reconnect = Some(Backoff {
            initial: STALE,
            factor: 1.15,
            jitter: Jitter {
                more: 1.0,
                ..Jitter::NONE
            },
            max_attempts: 0,
            ..Backoff::default()
        });
    }

    fn prepare(&mut self, config: &mut ClientConfig) {
        shared::default_path(config, "/cable");
        for offered in [SUBPROTOCOL, UNSUPPORTED] {
            if !config.subprotocols.iter().any(|it| it == offered) {
                config.subprotocols.push(offered.into());
            }
        }
        // Clients have no pings.
        config.ping = None;
    }

    fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        shared::upgrade(attempt)
    }

    fn opened(&mut self, cx: &mut Cx<'_>, subprotocol: Option<&str>) {
        self.channels.clear();
        self.asking.clear();
        self.stale = cx.now + STALE;
        if subprotocol != Some(SUBPROTOCOL) {
            let words = "the server does not speak actioncable-v1-json";
            cx.end(Verdict::Fatal, words);
        }
    }

    fn received(&mut self, cx: &mut Cx<'_>, message: Message) {
        self.stale = cx.now + STALE;
        let Some(whole) = parse_message(&message) else {
            return;
        };
        let Ok(fields) = serde_json::from_str::<Fields<'_>>(whole.as_str()) else {
            return;
        };
        match (fields.kind.as_deref(), fields.identifier) {
            (Some("welcome"), _) => cx.ready(),
            (Some("disconnect"), _) => {
                let words = fields.reason.unwrap_or_else(|| "disconnect".into());
                let verdict = match (fields.reconnect, words.as_str()) {
                    (Some(false), "unauthorized") => Verdict::Reauthenticate,
                    (Some(false), _) => Verdict::Fatal,
                    (Some(true) | None, _) => Verdict::Backoff,
                };
                cx.end(verdict, words);
            }
            (Some("confirm_subscription"), Some(identifier)) => {
                if let Some(channel) = self.answered(&identifier) {
                    cx.subscribed(channel.name.clone());
                }
            }
            (Some("reject_subscription"), Some(identifier)) => {
                if let Some(Channel { name, .. }) = self.remove(&identifier) {
                    cx.refused(name, "rejected");
                }
            }
            (None, Some(identifier)) => {
                if let Some(channel) = self.channels.get(&*identifier) {
                    let name = channel.name.clone();
                    let data = fields.message.map_or(Json::NULL, |it| whole.part(it));
                    cx.heard(Incoming::new(Some(name), None, Payload::Json(data)));
                }
            }
            // Pings among them.
            (Some(_) | None, _) => {}
        }
    }

    /// Its threads may come to an action before they come to the command that
    /// asked for the channel, and then it is lost.
    fn speaks_when_subscribed(&self) -> bool {
        true
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        let identifier = identifier(channel);
        cx.send(command("subscribe", &identifier, None));
        let channel = Channel {
            name: channel.into(),
            asked: 1,
            again: cx.now + ASK_AGAIN,
        };
        self.asking.insert((channel.again, identifier.clone()));
        self.channels.insert(identifier, channel);
    }

    fn unsubscribe(&mut self, cx: &mut Cx<'_>, channel: &str) {
        let identifier = identifier(channel);
        if self.remove(&identifier).is_some() {
            cx.send(command("unsubscribe", &identifier, None));
        }
    }

    fn say(&mut self, cx: &mut Cx<'_>, what: &Saying, answer: Option<RequestId>) {
        if answer.is_some() {
            return cx.refuse(answer, NO_REQUESTS);
        }
        match what {
            Saying::Raw(message @ Message::Text(_)) => cx.send(message.clone()),
            Saying::Event {
                channel: Some(channel),
                name,
                data,
            } => {
                let data = action(name, data.as_ref());
                cx.send(command("message", &identifier(channel), Some(&data)));
            }
            Saying::Event { channel: None, .. } => cx.refuse(None, "an action needs a channel"),
            Saying::Raw(Message::Binary(_)) | Saying::Bytes { .. } => cx.refuse(None, NO_BYTES),
        }
    }

    fn next_timeout(&self) -> Tick {
        let asking = self.asking.first().map_or(Tick::MAX, |(again, _)| *again);
        asking.min(self.stale)
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.stale <= cx.now {
            self.stale = Tick::MAX;
            return cx.end(Verdict::Backoff, "no ping came in time");
        }
        while let Some((again, identifier)) = self.asking.first().cloned()
            && again <= cx.now
            && let Some(mut channel) = self.remove(&identifier)
        {
            if channel.asked == TIMES {
                cx.refused(channel.name, "there was no answer");
                continue;
            }
            cx.send(command("subscribe", &identifier, None));
            channel.asked += 1;
            channel.again = cx.now + ASK_AGAIN;
            self.asking.insert((channel.again, identifier.clone()));
            self.channels.insert(identifier, channel);
        }
    }

    /// Who must not come back was told so by a message.
    fn verdict(&self, ending: &Ending) -> Verdict {
        if let Ending::Closed(closed) = ending
            && matches!(closed.cause, Cause::Peer)
        {
            return Verdict::Backoff;
        }
        ending.verdict()
    }
}

impl ActionCable {
    fn remove(&mut self, identifier: &str) -> Option<Channel> {
        let (identifier, channel) = self.channels.remove_entry(identifier)?;
        self.asking.remove(&(channel.again, identifier));
        Some(channel)
    }

    /// A channel that is ours now; once.
    fn answered(&mut self, identifier: &str) -> Option<&Channel> {
        let channel = self.channels.get_mut(identifier)?;
        let again = core::mem::replace(&mut channel.again, Tick::MAX);
        self.asking
            .remove(&(again, identifier.into()))
            .then_some(&*channel)
    }
}

/// A class stands for a channel without parameters.
fn identifier(channel: &str) -> Utf8Bytes {
    if channel.starts_with('{') {
        return channel.into();
    }
    let name = Json::string(channel);
    format!("{{\"channel\":{name}}}").into()
}

fn command(command: &str, identifier: &str, data: Option<&str>) -> Message {
    let identifier = Json::string(identifier);
    let data = data.map_or(String::new(), |data| {
        format!(",\"data\":{}", Json::string(data))
    });
    Message::text(format!(
        "{{\"command\":\"{command}\",\"identifier\":{identifier}{data}}}"
    ))
}

/// The action goes among the fields of its data, as the last: of two of a name
/// it is the one that counts.
fn action(name: &str, data: Option<&Json>) -> String {
    let name = Json::string(name);
    let Some(data) = data else {
        return format!("{{\"action\":{name}}}");
    };
    let fields = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(data.as_str());
    match fields.map(|fields| fields.is_empty()) {
        Ok(true) => format!("{{\"action\":{name}}}"),
        Ok(false) => {
            let fields = data.as_str();
            let fields = fields[..fields.len() - 1].trim_end();
            format!("{fields},\"action\":{name}}}")
        }
        Err(_) => format!("{{\"data\":{data},\"action\":{name}}}"),
    }
}
