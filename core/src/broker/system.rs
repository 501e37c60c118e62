//! What is asked of the broker itself, under `system.`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::hash::Hash;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::dialect::{Action, HeaderFailure, is_id, topic};
use crate::json::Json;
use crate::message::Utf8Bytes;

use super::subscriptions::{Priority, Purpose};
use super::{Broker, Call, Effect, Failed, id_text, status};

/// The longest name and description of a service, in UTF-16 code units.
const MAX_NAME: usize = 36;
const MAX_DESCRIPTION: usize = 1_024;
/// How many services or subscribers one answer lists: with all that is said
/// of each, within what JSON may hold.
const MAX_LISTED: usize = 1_000;

const LOG: &str = "system.log";
/// What of the broker's own may be subscribed to. MB has `system.message`
/// here too, by which everybody may read everything.
const OPEN: [&str; 4] = [
    LOG,
    "system.service.register",
    "system.topic.subscribe",
    "system.topic.unsubscribe",
];
/// What may be unsubscribed from by its name.
const CLOSEABLE: [&str; 2] = ["system.service.register", "system.topic.subscribe"];
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

/// What payloads may say; `null` is not said.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow)]
    priority: Option<&'a RawValue>,
    #[serde(borrow)]
    service_id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    levels: Option<&'a RawValue>,
    #[serde(borrow)]
    regex: Option<&'a RawValue>,
    #[serde(borrow)]
    show_all: Option<&'a RawValue>,
    #[serde(borrow)]
    param_filter: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct GaugeView<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: &'a str,
    value: u64,
}

#[derive(Serialize)]
struct ServiceView<'a> {
    id: String,
    name: &'a str,
    description: &'a str,
    #[serde(rename = "connectedAt")]
    connected: &'a str,
    #[serde(rename = "lastHeartbeat")]
    heard: &'a str,
}

/// One's subscription, or a topic with its subscribers.
#[derive(Serialize)]
struct SubscriptionView<'a> {
    action: &'static str,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribers: Option<Vec<SubscriberView>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriberView {
    service_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
}

impl<K: Copy + Ord + Hash + Debug> Broker<K> {
    pub(super) fn system(&mut self, call: &mut Call<'_, K>) -> Result<(), Failed> {
        let topic = call.header.topic.clone();
        let is_heartbeat = topic == "system.heartbeat";
        match call.header.action {
            Action::Request => {}
            Action::Response if is_heartbeat => return Ok(()),
            action @ (Action::Publish | Action::Response) => {
                let expected = if is_heartbeat {
                    "REQUEST or RESPONSE"
                } else {
                    "REQUEST"
                };
                let message = format!("Invalid action, expected {expected} for {topic}");
                return Err(invalid(message).details([
                    ("action", Some(Json::string(action.as_str()))),
                    ("topic", Some(Json::string(&topic))),
                ]));
            }
        }
        let payload = match &*topic {
            "system.heartbeat" => status(true),
            "system.log.subscribe" => self.log_subscribe(call)?,
            "system.log.unsubscribe" => {
                self.unsubscribe(call.from, LOG, Purpose::Publish);
                status(true)
            }
            "system.metrics" => self.metrics(call)?,
            "system.service.list" => self.service_list(),
            "system.service.register" => self.service_register(call)?,
            "system.service.subscriptions" => self.service_subscriptions(call)?,
            "system.topic.list" => list("topics", &self.topics()),
            "system.topic.subscribe" => self.topic_subscribe(call)?,
            "system.topic.subscriptions" => list("subscriptions", &self.topics()),
            "system.topic.unsubscribe" => self.topic_unsubscribe(call)?,
            _ => {
                let code = HeaderFailure::TOPIC_NOT_SUPPORTED;
                let message = format!("Unknown system message topic: {topic}");
                return Err(HeaderFailure::new(code, message));
            }
        };
        self.reply(call, payload);
        Ok(())
    }

    fn topic_subscribe(&mut self, call: &Call<'_, K>) -> Result<Json, Failed> {
        let fields = fields(call)?;
        let action = action(&call.payload, &fields)?;
        let topic = self.topic(&call.payload, &fields)?;
        if is_restricted(&topic, &OPEN) {
            return Err(invalid("Unable to subscribe to restricted topic")
                .details([("topic", part(&call.payload, fields.topic))]));
        }
        let priority = match fields.priority {
            None => Some(Priority::DEFAULT),
            Some(raw) => serde_json::from_str(raw.get()).ok().and_then(Priority::new),
        };
        let Some(priority) = priority else {
            return Err(invalid("Invalid priority")
                .details([("priority", part(&call.payload, fields.priority))]));
        };
        let purpose = match action {
            Action::Publish => Purpose::Publish,
            Action::Request => Purpose::Request(priority),
            Action::Response => return Ok(status(false)),
        };
        self.subscribe(call.from, &topic, purpose)?;
        Ok(status(true))
    }

    fn topic_unsubscribe(&mut self, call: &Call<'_, K>) -> Result<Json, Failed> {
        let fields = fields(call)?;
        let action = action(&call.payload, &fields)?;
        let topic = self.topic(&call.payload, &fields)?;
        if is_restricted(&topic, &CLOSEABLE) {
            return Err(invalid("Unable to unsubscribe from restricted topic")
                .details([("topic", part(&call.payload, fields.topic))]));
        }
        let purpose = match action {
            Action::Publish => Purpose::Publish,
            Action::Request => Purpose::Request(Priority::DEFAULT),
            Action::Response => return Ok(status(false)),
        };
        Ok(status(self.unsubscribe(call.from, &topic, purpose)))
    }

    /// The broker itself logs nothing; what an application publishes under
    /// `system.log` it publishes to those who subscribed here.
    fn log_subscribe(&mut self, call: &Call<'_, K>) -> Result<Json, Failed> {
        let fields = fields(call)?;
        if let Some(levels) = fields.levels {
            let all: Option<Vec<&RawValue>> = serde_json::from_str(levels.get()).ok();
            let Some(all) = all else {
                return Err(invalid("Invalid log levels")
                    .details([("levels", part(&call.payload, fields.levels))]));
            };
            let is_known = |level: &&RawValue| {
                let level = call.payload.part(level).to_text();
                level.is_some_and(|level| LEVELS.contains(&&*level))
            };
            if let Some(level) = all.into_iter().find(|level| !is_known(level)) {
                return Err(invalid("Invalid log level")
                    .details([("level", part(&call.payload, Some(level)))]));
            }
        }
        if fields.regex.is_some() && text(&call.payload, fields.regex).is_none() {
            return Err(invalid("Invalid log regex")
                .details([("regex", part(&call.payload, fields.regex))]));
        }
        self.subscribe(call.from, LOG, Purpose::Publish)?;
        Ok(status(true))
    }

    fn metrics(&self, call: &Call<'_, K>) -> Result<Json, Failed> {
        let fields = fields(call)?;
        let is_long = fields.show_all.is_some_and(|all| all.get() == "true");
        let mut metrics = self.metrics.all();
        if fields.param_filter.is_some() {
            // None of ours has parameters.
            metrics.clear();
        }
        if !is_long {
            return Ok(list("metrics", &metrics));
        }
        let gauges = metrics.into_iter().map(|(name, value)| {
            let gauge = GaugeView {
                name,
                kind: "gauge",
                timestamp: call.wall,
                value,
            };
            (name, gauge)
        });
        Ok(list("metrics", &gauges.collect::<BTreeMap<_, _>>()))
    }

    fn service_list(&self) -> Json {
        let services = self.services.values().take(MAX_LISTED);
        let services = services.map(|service| ServiceView {
            id: String::from(id_text(service.id)),
            name: &service.name,
            description: &service.description,
            connected: &service.connected,
            heard: &service.heard,
        });
        list("services", &services.collect::<Vec<_>>())
    }

    fn service_register(&mut self, call: &Call<'_, K>) -> Result<Json, Failed> {
        let fields = fields(call)?;
        let given = |field| text(&call.payload, field).filter(|text| !text.is_empty());
        let (name, description) = (given(fields.name), given(fields.description));
        let (Some(name), Some(description)) = (name, description) else {
            return Err(invalid("Missing or invalid name or description").details([
                ("name", part(&call.payload, fields.name)),
                ("description", part(&call.payload, fields.description)),
            ]));
        };
        if name.encode_utf16().count() > MAX_NAME {
            return Err(invalid("Name of service is too long")
                .details([("name", part(&call.payload, fields.name))]));
        }
        if description.encode_utf16().count() > MAX_DESCRIPTION {
            return Err(invalid("Description of service is too long")
                .details([("description", part(&call.payload, fields.description))]));
        }
        if let Some(service) = self.services.get_mut(&call.from) {
            service.name = name;
            service.description = description;
        }
        Ok(status(true))
    }

    fn service_subscriptions(&self, call: &Call<'_, K>) -> Result<Json, Failed> {
        let fields = fields(call)?;
        let key = match fields.service_id {
            None => call.from,
            Some(_) => {
                let id = text(&call.payload, fields.service_id).filter(|id| is_id(id));
                let Some(id) = id else {
                    return Err(invalid("Invalid serviceId")
                        .details([("serviceId", part(&call.payload, fields.service_id))]));
                };
                let known = Uuid::try_parse(&id).ok();
                let Some(key) = known.and_then(|id| self.by_id.get(&id)) else {
                    let code = HeaderFailure::SERVICE_UNAVAILABLE;
                    return Err(HeaderFailure::new(code, format!("Service {id} not found")));
                };
                *key
            }
        };
        let held = self.subscriptions.of(key);
        let views = held.iter().take(MAX_LISTED).map(|&(topic, purpose)| {
            let (action, priority) = match purpose {
                Purpose::Publish => (Action::Publish, None),
                Purpose::Request(priority) => (Action::Request, Some(priority)),
            };
            SubscriptionView {
                action: action.as_str(),
                topic,
                priority,
                subscribers: None,
            }
        });
        Ok(list("subscriptions", &views.collect::<Vec<_>>()))
    }

    /// All topics with their subscribers, as far as they are listed.
    fn topics(&self) -> Vec<SubscriptionView<'_>> {
        let mut views = Vec::new();
        let mut left = MAX_LISTED;
        for (topic, members) in self.subscriptions.topics() {
            let publish = members.publish().map(|key| (key, None));
            let request = members
                .request()
                .map(|(key, priority)| (key, Some(priority)));
            let mut view = |action: Action, subscribers: &mut dyn Iterator<Item = _>| {
                let subscribers: Vec<_> = subscribers
                    .take(left)
                    .filter_map(|(key, priority)| self.subscriber(key, priority))
                    .collect();
                left -= subscribers.len();
                if !subscribers.is_empty() {
                    views.push(SubscriptionView {
                        action: action.as_str(),
                        topic,
                        priority: None,
                        subscribers: Some(subscribers),
                    });
                }
            };
            view(Action::Publish, &mut publish.into_iter());
            view(Action::Request, &mut request.into_iter());
            if left == 0 {
                break;
            }
        }
        views
    }

    fn subscriber(&self, key: K, priority: Option<Priority>) -> Option<SubscriberView> {
        let service = self.services.get(&key)?;
        Some(SubscriberView {
            service_id: String::from(id_text(service.id)),
            priority,
        })
    }

    fn subscribe(&mut self, key: K, topic: &str, purpose: Purpose) -> Result<(), Failed> {
        let max = self.config.max_subscriptions;
        if self.subscriptions.count(key) >= max && !self.subscriptions.contains(key, topic, purpose)
        {
            let max = Json::from(max as u64);
            return Err(invalid("Too many subscriptions").details([("max", Some(max))]));
        }
        if self.subscriptions.add(key, topic, purpose) && purpose == Purpose::Publish {
            let topic = topic.into();
            self.effects.push_back(Effect::Subscribe { key, topic });
        }
        Ok(())
    }

    /// Gives whether there was such a subscription.
    fn unsubscribe(&mut self, key: K, topic: &str, purpose: Purpose) -> bool {
        let was = self.subscriptions.remove(key, topic, purpose);
        if was && purpose == Purpose::Publish {
            let topic = topic.into();
            self.effects.push_back(Effect::Unsubscribe { key, topic });
        }
        was
    }

    /// The topic that a payload names, a pattern perhaps.
    fn topic(&self, payload: &Json, fields: &Fields<'_>) -> Result<Utf8Bytes, Failed> {
        let is_fine = match self.config.allow_patterns {
            true => topic::is_pattern,
            false => topic::is_name,
        };
        match text(payload, fields.topic).filter(|topic| is_fine(topic)) {
            Some(topic) => Ok(topic::canonical(topic)),
            None => Err(invalid("Missing or invalid topic")
                .details([("topic", part(payload, fields.topic))])),
        }
    }
}

fn action(payload: &Json, fields: &Fields<'_>) -> Result<Action, Failed> {
    match text(payload, fields.action).as_deref() {
        Some("publish") => Ok(Action::Publish),
        Some("request") => Ok(Action::Request),
        Some("response") => Ok(Action::Response),
        _ => Err(invalid("Missing or invalid action")
            .details([("action", part(payload, fields.action))])),
    }
}

fn is_restricted(topic: &str, open: &[&str]) -> bool {
    topic.starts_with("system.") && !open.contains(&topic)
}

/// The fields of a payload; none where it is no object, or has one of them
/// twice: of two readers each could take another.
fn fields<'a, K>(call: &'a Call<'_, K>) -> Result<Fields<'a>, Failed> {
    if call.header.error {
        let code = HeaderFailure::MALFORMED_MESSAGE;
        return Err(HeaderFailure::new(code, "Invalid error object in payload"));
    }
    let payload = call.payload.as_str();
    let object = payload
        .starts_with('{')
        .then(|| serde_json::from_str(payload).ok());
    Ok(object.flatten().unwrap_or_default())
}

fn part(payload: &Json, field: Option<&RawValue>) -> Option<Json> {
    field.map(|raw| payload.part(raw))
}

fn text(payload: &Json, field: Option<&RawValue>) -> Option<Utf8Bytes> {
    part(payload, field)?.to_text().map(Into::into)
}

fn invalid(message: impl Into<Utf8Bytes>) -> Box<HeaderFailure> {
    HeaderFailure::new(HeaderFailure::INVALID_REQUEST, message)
}

/// An answer of one field.
fn list(key: &str, value: &impl Serialize) -> Json {
    // What is listed is cut to what JSON may hold.
    Json::from_value(&BTreeMap::from([(key, value)])).unwrap_or(Json::EMPTY)
}
