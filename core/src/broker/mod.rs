//! MB's broker: topics, their subscribers, and requests on their way.
//!
//! A machine that is told of messages and decides who gets what; the hub
//! delivers. Connections are *services* here, as in MB, and are known to each
//! other by ids that are no keys of the hub. `subscriptions` knows who wants
//! what, `requests` who waits for whom, `system` answers what is asked of the
//! broker itself.
//!
//! Everything kept is bounded: subscriptions per connection, requests in all,
//! and what a service says about itself.

mod metrics;
#[cfg(test)]
mod model;
mod requests;
mod subscriptions;
mod system;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::hash::Hash;
use core::time::Duration;

use uuid::Uuid;

use crate::dialect::{Action, Header, HeaderFailure};
use crate::json::Json;
use crate::message::Utf8Bytes;
use crate::time::Tick;

use metrics::Metrics;
use requests::{Pending, Requests};
use subscriptions::Subscriptions;

/// Options of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerConfig {
    /// How long a requester waits that does not say. Default: 5 s.
    pub(crate) request_timeout: Duration,
    /// How many requests may wait for answers; one more, and the oldest
    /// fails. Default: 10,000.
    pub(crate) max_outstanding: usize,
    /// How many subscriptions one connection may have. Default: 1,000.
    pub(crate) max_subscriptions: usize,
    /// Whether versions may be `x.y`. Default: no.
    pub(crate) tolerate_short_version: bool,
    /// Whether subscriptions may have wildcards, `+` for one level and `#`
    /// for all further ones. Default: no.
    pub(crate) allow_patterns: bool,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            max_outstanding: 10_000,
            max_subscriptions: 1_000,
            tolerate_short_version: false,
            allow_patterns: false,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect<K> {
    /// A message to one.
    Send {
        to: K,
        header: Header,
        payload: Json,
    },
    /// One message to many, the publisher perhaps among them.
    Publish {
        to: Vec<K>,
        header: Header,
        payload: Json,
    },
    /// An error to one.
    Fail { to: K, failure: Box<HeaderFailure> },
    /// It hears what is published under the topic from now on.
    Subscribe { key: K, topic: Utf8Bytes },
    /// It hears it no longer. Not told of who has left.
    Unsubscribe { key: K, topic: Utf8Bytes },
}

/// The broker; its connections are named by `K`.
///
/// After each input, [`poll`](Self::poll) until `None`.
#[derive(Debug)]
pub(crate) struct Broker<K> {
    config: BrokerConfig,
    services: BTreeMap<K, Service>,
    by_id: BTreeMap<Uuid, K>,
    subscriptions: Subscriptions<K>,
    requests: Requests<K>,
    metrics: Metrics,
    effects: VecDeque<Effect<K>>,
    clock: Tick,
}

/// A connection.
#[derive(Debug)]
struct Service {
    id: Uuid,
    name: Utf8Bytes,
    description: Utf8Bytes,
    /// When it came, and was heard last, as texts of wall time.
    connected: String,
    heard: String,
}

/// A message, and what acting on it needs.
struct Call<'a, K> {
    wall: &'a str,
    random: &'a mut dyn FnMut() -> [u8; 16],
    from: K,
    header: Header,
    payload: Json,
}

type Failed = Box<HeaderFailure>;

impl<K: Copy + Ord + Hash + Debug> Broker<K> {
    pub(crate) fn new(config: BrokerConfig) -> Self {
        Self {
            config,
            services: BTreeMap::new(),
            by_id: BTreeMap::new(),
            subscriptions: Subscriptions::new(),
            requests: Requests::new(),
            metrics: Metrics::default(),
            effects: VecDeque::new(),
            clock: Tick::ZERO,
        }
    }

    // Inputs

    /// A connection stands. `wall` is the time as RFC 3339 text; others will
    /// know it by an id made of `random`. Who is not told of so enters with
    /// its first message.
    pub(crate) fn enter(&mut self, wall: &str, random: [u8; 16], key: K) {
        self.services.entry(key).or_insert_with(|| {
            let id = random_id(random);
            self.by_id.insert(id, key);
            self.metrics.connected += 1;
            Service {
                id,
                name: Utf8Bytes::default(),
                description: Utf8Bytes::default(),
                connected: wall.into(),
                heard: wall.into(),
            }
        });
    }

    /// A message came. `random` gives random bytes for the ids of what is
    /// sent on, and for the choice among equals.
    pub(crate) fn handle(
        &mut self,
        now: Tick,
        wall: &str,
        random: &mut dyn FnMut() -> [u8; 16],
        from: K,
        header: Header,
        payload: Json,
    ) {
        self.clock = self.clock.max(now);
        if !self.services.contains_key(&from) {
            self.enter(wall, random(), from);
        }
        if let Some(service) = self.services.get_mut(&from) {
            service.heard.clear();
            service.heard.push_str(wall);
        }
        if !self.config.tolerate_short_version
            && let Err(failure) = header.require_full_version()
        {
            self.effects.push_back(Effect::Fail { to: from, failure });
            return;
        }
        let action = header.action;
        self.metrics.message(action);
        let mut call = Call {
            wall,
            random,
            from,
            header,
            payload,
        };
        if let Err(failure) = self.route(&mut call) {
            self.metrics.error(action);
            let failure = failure.about(call.answer());
            self.effects.push_back(Effect::Fail { to: from, failure });
        }
    }

    /// The connection is gone. Its subscriptions are too, and nobody waits
    /// for the answers to its requests; those it was to answer time out.
    pub(crate) fn leave(&mut self, now: Tick, key: K) {
        self.clock = self.clock.max(now);
        if let Some(service) = self.services.remove(&key) {
            self.by_id.remove(&service.id);
            self.metrics.disconnected += 1;
        }
        self.subscriptions.leave(key);
        self.requests.forget(key);
    }

    /// Fails the requests that nobody answered in time.
    pub(crate) fn handle_timeout(&mut self, now: Tick) {
        self.clock = self.clock.max(now);
        while let Some(request) = self.requests.take_due(self.clock) {
            self.metrics.requests_timed_out += 1;
            let service = Json::string(&id_text(request.service));
            let failure = HeaderFailure::new(HeaderFailure::TIMEOUT, "Request timed out")
                .details([("targetServiceId", Some(service))]);
            self.fail(request, failure);
        }
    }

    // Outputs

    /// What to do next.
    pub(crate) fn poll(&mut self) -> Option<Effect<K>> {
        let effect = self.effects.pop_front();
        if self.effects.is_empty() && self.effects.capacity() > 64 {
            self.effects = VecDeque::new();
        }
        effect
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), or the latest
    /// tick seen while [`poll`](Self::poll) has something.
    pub(crate) fn next_timeout(&self) -> Option<Tick> {
        if !self.effects.is_empty() {
            return Some(self.clock);
        }
        self.requests.next_timeout()
    }

    // Helpers

    fn route(&mut self, call: &mut Call<'_, K>) -> Result<(), Failed> {
        if call.header.topic.starts_with("system.") {
            return self.system(call);
        }
        match call.header.action {
            Action::Publish => self.publish(call),
            Action::Request => self.request(call),
            Action::Response => self.respond(call),
        }
    }

    fn publish(&mut self, call: &mut Call<'_, K>) -> Result<(), Failed> {
        let to = self.subscriptions.publish(&call.header.topic);
        if to.is_empty() {
            self.metrics.publishes_dropped += 1;
            return Err(no_route(&call.header));
        }
        let id = random_id((call.random)());
        self.effects.push_back(Effect::Publish {
            to,
            header: forwarded(&call.header, id),
            payload: call.payload.clone(),
        });
        if call.header.request_id.is_some() {
            self.reply(call, status(true));
        }
        Ok(())
    }

    fn request(&mut self, call: &mut Call<'_, K>) -> Result<(), Failed> {
        let random = || {
            let [bytes @ .., _, _, _, _, _, _, _, _] = (call.random)();
            u64::from_le_bytes(bytes)
        };
        let responder = self.subscriptions.request(&call.header.topic, random);
        let service = responder.and_then(|key| self.services.get(&key));
        let (Some(responder), Some(service)) = (responder, service) else {
            return Err(no_route(&call.header));
        };
        let service = service.id;
        let id = random_id((call.random)());
        if self.requests.len() >= self.config.max_outstanding
            && let Some(oldest) = self.requests.take_oldest()
        {
            self.metrics.requests_dropped += 1;
            let code = HeaderFailure::SERVICE_UNAVAILABLE;
            self.fail(oldest, HeaderFailure::new(code, "Message broker is busy"));
        }
        let timeout = call.header.timeout.map(u64::from);
        let timeout = timeout.map_or(self.config.request_timeout, Duration::from_millis);
        self.requests.insert(Pending {
            id,
            requester: call.from,
            responder,
            service,
            answer: kept(&call.header),
            deadline: self.clock + timeout,
        });
        self.effects.push_back(Effect::Send {
            to: responder,
            header: forwarded(&call.header, id),
            payload: call.payload.clone(),
        });
        Ok(())
    }

    fn respond(&mut self, call: &mut Call<'_, K>) -> Result<(), Failed> {
        let code = HeaderFailure::INVALID_REQUEST_ID;
        let Some(id) = &call.header.request_id else {
            let message = "Received response message without requestId.";
            return Err(HeaderFailure::new(code, message));
        };
        let request = Uuid::try_parse(id)
            .ok()
            .and_then(|id| self.requests.take_answered(call.from, id));
        let Some(request) = request else {
            let message = format!("No matching request found for requestId: {id}");
            return Err(HeaderFailure::new(code, message));
        };
        let mut header = request.answer;
        header.error = call.header.error;
        // Who asks without an id is told only of what goes wrong.
        if header.request_id.is_none() {
            if !header.error {
                return Ok(());
            }
            header.request_id = Some(id_text(random_id((call.random)())));
        }
        self.effects.push_back(Effect::Send {
            to: request.requester,
            header,
            payload: call.payload.clone(),
        });
        Ok(())
    }

    fn reply(&mut self, call: &mut Call<'_, K>, payload: Json) {
        self.effects.push_back(Effect::Send {
            to: call.from,
            header: call.answer(),
            payload,
        });
    }

    /// Tells the requester, if it wants to know.
    fn fail(&mut self, request: Pending<K>, failure: Failed) {
        if request.answer.request_id.is_some() {
            self.effects.push_back(Effect::Fail {
                to: request.requester,
                failure: failure.about(request.answer),
            });
        }
    }
}

#[cfg(test)]
impl<K: Copy + Ord + Hash> Broker<K> {
    fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.by_id.is_empty()
            && self.subscriptions.is_empty()
            && self.requests.is_empty()
            && self.effects.is_empty()
    }
}

impl<K> Call<'_, K> {
    /// What to answer under: a message without an id gets one for the answer.
    fn answer(&mut self) -> Header {
        let id = self.header.request_id.clone();
        let id = id.unwrap_or_else(|| id_text(random_id((self.random)())));
        self.header.answer(Some(id))
    }
}

/// The header under which a message goes on: with an id of the broker's.
fn forwarded(header: &Header, id: Uuid) -> Header {
    Header {
        action: header.action,
        error: header.error,
        ..header.answer(Some(id_text(id)))
    }
}

/// The header of the answer, without keeping the message that it is part of.
fn kept(header: &Header) -> Header {
    let copy = |text: &Utf8Bytes| Utf8Bytes::from(text.as_str());
    Header {
        topic: copy(&header.topic),
        version: copy(&header.version),
        ..header.answer(header.request_id.as_ref().map(copy))
    }
}

fn no_route(header: &Header) -> Failed {
    let message = format!("No subscribers for topic {}", header.topic);
    HeaderFailure::new(HeaderFailure::NO_ROUTE_FOUND, message)
}

fn status(is_success: bool) -> Json {
    Json::trusted(Utf8Bytes::from_static(match is_success {
        true => "{\"status\":\"success\"}",
        false => "{\"status\":\"failure\"}",
    }))
}

fn random_id(random: [u8; 16]) -> Uuid {
    uuid::Builder::from_random_bytes(random).into_uuid()
}

fn id_text(id: Uuid) -> Utf8Bytes {
    let mut text = Uuid::encode_buffer();
    Utf8Bytes::from(&*id.hyphenated().encode_lower(&mut text))
}
