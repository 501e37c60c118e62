//! What is said and heard: the queue, the limit, requests and their answers.

use alloc::vec::Vec;
use core::time::Duration;

use crate::error::Refused;
use crate::json::Json;
use crate::message::Message;
use crate::time::Tick;

use super::super::protocol::{Act, Cx, Protocol, Saying};
use super::super::queue::Priority;
use super::super::verdict::Ending;
use super::super::{Event, Incoming, Loss, Output, RequestError, RequestId, State, SubscriptionId};
use super::{Client, LONGEST_HINT, Phase};

/// Messages of the protocol that wait for room or for the limit.
const MOST_HELD: usize = 1_000;

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) saying: Saying,
    pub(super) answer: Option<RequestId>,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) deadline: Tick,
    /// It went out.
    pub(super) sent: bool,
}

/// Whether it stands for channels, instead of being one.
pub(super) fn is_pattern(channel: &str) -> bool {
    channel.ends_with('*')
}

impl Client {
    pub(super) fn with_protocol(&mut self, work: impl FnOnce(&mut dyn Protocol, &mut Cx<'_>)) {
        let unix_ms = self.unix_ms();
        let mut cx = Cx {
            now: self.clock,
            unix_ms,
            config: &self.config,
            token: self.token.as_ref(),
            entropy: &mut self.entropy,
            acts: Vec::new(),
        };
        work(&mut *self.course.protocol, &mut cx);
        let acts = cx.acts;
        for act in acts {
            let last = matches!(act, Act::End(..));
            self.act(act);
            if last {
                break;
            }
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        let now = self.clock;
        match act {
            Act::Send(message) => {
                if self.course.held.len() < MOST_HELD {
                    self.course.held.push_back(message);
                    self.flush_held();
                } else {
                    self.lost(1, Loss::Crowded);
                }
            }
            Act::Ready => self.ready(),
            Act::Renew => {
                if self.aside.is_none() {
                    self.renew = now;
                }
            }
            Act::End(verdict, words) => self.break_off(Ending::Protocol(words), verdict),
            Act::Heard(mut incoming) => {
                incoming.subscriptions = self.wanted(&incoming);
                self.course.heard |= !incoming.subscriptions.is_empty();
                if let (Some(ack), Phase::Line(line)) = (&mut incoming.ack, &self.course.phase) {
                    ack.line = *line;
                }
                self.outputs
                    .push_back(Output::Event(Event::Message(incoming)));
            }
            Act::Hold(time) => self.allowed = self.allowed.max(now + time.min(LONGEST_HINT)),
            Act::Unreadable(words) => self
                .outputs
                .push_back(Output::Event(Event::Unreadable(words))),
            Act::Subscribed(channel) => {
                self.course.confirms = true;
                self.course.awaited.remove(&channel);
                self.outputs
                    .push_back(Output::Event(Event::Subscribed(channel)));
            }
            Act::Refused(channel, words) => {
                self.course.confirms = true;
                self.course.awaited.remove(&channel);
                let event = Event::SubscriptionRefused(channel, words);
                self.outputs.push_back(Output::Event(event));
            }
            Act::Authorize(channel, socket) => self
                .outputs
                .push_back(Output::Authorize { channel, socket }),
            Act::Answered(id, answer) => {
                // Providers may number what goes out by our ids; a peer that
                // makes up an answer to what it was not asked is not heard.
                if self.requests.get(&id).is_some_and(|request| request.sent) {
                    self.answer(id, answer.map_err(RequestError::Refused));
                }
            }
            Act::Dropped(words) => self.lost(1, Loss::Refused(words)),
            Act::ExpectPong => {
                let timeout = self.config.ping.map_or(Duration::MAX, |ping| ping.timeout);
                self.pong = self.pong.min(now + timeout);
            }
            Act::Pong(ms) => self.stats.latency = Some(Duration::from_millis(ms)),
        }
    }

    /// Gives it back where there is no room for it now.
    fn transmit(&mut self, message: Message) -> Option<Message> {
        let now = self.clock;
        let line = self.current()?;
        let len = message.len();
        match line.ws.send(now, message) {
            Ok(()) => {
                if let Some(limit) = &self.config.outbound {
                    // There is an allowance: it was asked for.
                    let _ = self.limiter.check(limit, now, 1);
                }
                self.stats.messages_sent += 1;
                self.stats.bytes_sent += len as u64;
                None
            }
            Err(error) if error.refused == Refused::Full => Some(error.message),
            // It is closing: nothing reaches the peer any more.
            Err(_) => None,
        }
    }

    /// Whether the limit lets another message go; if not, when it will.
    pub(super) fn allowance(&mut self) -> bool {
        if self.clock < self.allowed {
            return false;
        }
        let Some(limit) = &self.config.outbound else {
            return true;
        };
        if self.limiter.remaining(limit, self.clock) > 0 {
            return true;
        }
        if let Err(later) = self.limiter.check(limit, self.clock, 1) {
            self.allowed = self.clock + later;
        }
        false
    }

    pub(super) fn wanted(&self, incoming: &Incoming) -> Vec<SubscriptionId> {
        let key = incoming.channel.as_ref().or(incoming.event.as_ref());
        let key = key.map_or("", |key| key.as_str());
        let matches = |channel: &str| {
            channel == key
                || channel
                    .strip_suffix('*')
                    .is_some_and(|start| key.starts_with(start))
        };
        let wanted = self.subscriptions.iter();
        let wanted = wanted.filter(|(_, channel)| matches(channel));
        wanted.map(|(&id, _)| id).collect()
    }

    pub(super) fn say(&mut self, saying: Saying, priority: Priority, answer: Option<RequestId>) {
        let bytes = saying.len();
        let waiting = Waiting { saying, answer };
        let crowded = !self.queue.fits(&self.config.queue, bytes);
        if crowded {
            // What waits for company has enough.
            self.batch = self.batch.min(self.clock);
            self.flush();
        }
        // The queue's bounds are not for what need not wait.
        let alone = crowded || self.config.batch.is_none();
        let may_go = self.queue.is_empty() && self.course.may_go(&waiting.saying);
        if alone && may_go && self.may_say() {
            self.say_now(waiting);
        } else {
            self.wait(waiting, bytes, priority);
        }
        self.pump();
    }

    fn wait(&mut self, waiting: Waiting, bytes: usize, priority: Priority) {
        let gone: Vec<_> = self
            .queue
            .push(&self.config.queue, priority, bytes, waiting)
            .collect();
        self.lost(gone.len(), Loss::Crowded);
        for id in gone.into_iter().filter_map(|waiting| waiting.answer) {
            self.answer(id, Err(RequestError::Dropped));
        }
        if let Some(batch) = self.config.batch {
            self.batch = self.batch.min(self.clock + batch);
        }
    }

    /// Whether a message may go out this moment.
    fn may_say(&mut self) -> bool {
        self.state == State::Authenticated
            && self
                .current()
                .is_some_and(|line| line.ws.is_open() && line.ws.has_room())
            && self.course.held.is_empty()
            && self.allowance()
    }

    fn say_now(&mut self, Waiting { saying, answer }: Waiting) {
        if let Some(request) = answer.and_then(|id| self.requests.get_mut(&id)) {
            request.sent = true;
        }
        self.with_protocol(|protocol, cx| protocol.say(cx, &saying, answer));
    }

    pub(super) fn lost(&mut self, messages: usize, why: Loss) {
        if messages > 0 {
            let stats = &mut self.stats;
            let of_it = match &why {
                Loss::Crowded => &mut stats.crowded,
                Loss::Closed => &mut stats.closed,
                Loss::Refused(_) => &mut stats.refused,
            };
            *of_it += messages as u64;
            stats.dropped += messages as u64;
            let event = Event::Dropped(messages, why);
            self.outputs.push_back(Output::Event(event));
        }
    }

    pub(super) fn flush_held(&mut self) {
        while !self.course.held.is_empty() && self.allowance() {
            let Some(message) = self.course.held.pop_front() else {
                break;
            };
            if let Some(message) = self.transmit(message) {
                self.course.held.push_front(message);
                break;
            }
        }
    }

    /// Says what waits, as far as it may go.
    pub(super) fn flush(&mut self) {
        let now = self.clock;
        self.flush_held();
        if self.next.as_ref().is_some_and(|next| !next.held.is_empty()) {
            self.with_next(Self::flush_held);
        }
        if self.batch < Tick::MAX {
            if now < self.batch && self.queue.bytes() < self.config.batch_bytes {
                return;
            }
            self.batch = Tick::MAX;
        }
        while !self.queue.is_empty() && self.may_say() {
            let course = &self.course;
            let Some(waiting) = self.queue.pop(|it| course.may_go(&it.saying)) else {
                break;
            };
            self.say_now(waiting);
        }
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Result<Json, RequestError>) {
        if let Some(request) = self.requests.remove(&id) {
            self.course.protocol.forget(id);
            self.deadlines.remove(&(request.deadline, id));
            self.outputs
                .push_back(Output::Event(Event::Answered(id, answer)));
        }
    }

    pub(super) fn fail_requests(&mut self, which: impl Fn(&Request) -> bool) {
        let failed = self.requests.iter();
        let failed: Vec<_> = failed
            .filter(|(_, request)| which(request))
            .map(|(&id, _)| id)
            .collect();
        for id in failed {
            self.answer(id, Err(RequestError::Disconnected));
        }
    }
}
