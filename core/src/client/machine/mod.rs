//! The machine: commands and inputs in, outputs out. `course` is what becomes
//! of connections, `say` what goes over them.

mod course;
mod say;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::code::CloseCode;
use crate::entropy::{Entropy, Seed};
use crate::error::Fault;
use crate::json::Json;
use crate::limit::Limiter;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;
use crate::websocket::Fill;

use super::config::{ClientConfig, Secret};
use super::protocol::{Attempt, Saying};
use super::providers::Provider;
use super::queue::{Priority, Queue};
use super::verdict::{Ending, Verdict};
use course::{Course, Line, Phase};
use say::{Request, Waiting, is_pattern};

use super::{
    AckTicket, ClientStats, ConfigError, Event, LineId, Output, RequestError, RequestId, State,
    SubscriptionId,
};

/// No peer keeps a client away, or silent, for longer than this.
const LONGEST_HINT: Duration = Duration::from_secs(24 * 60 * 60);

/// A client that stays connected, as a state machine: what happened on the
/// network and what the application wants in, what to do about it out.
///
/// The methods are of the kinds of [`WebSocket`](crate::WebSocket)'s: inputs (`handle_*`,
/// [`transmitted`](Self::transmitted)), commands, outputs and getters. A
/// message of the application is sent at most once: one that was on the wire
/// when the connection broke is not sent again, one that waited is.
pub struct Client {
    config: ClientConfig,
    provider: Provider,
    course: Course,
    /// What will take its place, before it has to end.
    next: Option<Course>,
    /// When to begin that.
    renew: Tick,
    /// The course, while `next` stands in its place to be worked with.
    aside: Option<Course>,
    entropy: Entropy,
    clock: Tick,
    /// The wall clock at tick zero, in milliseconds since 1970.
    origin_ms: i64,
    state: State,
    token: Option<Secret>,
    /// Those of the courses, and those that are still being closed.
    lines: Vec<Line>,
    dialed: u32,
    /// Failures in a row.
    failures: u32,
    /// The peer wants no attempt before.
    named: Tick,
    /// When the course was in.
    since: Option<Tick>,
    suspended: bool,
    subscriptions: BTreeMap<SubscriptionId, Utf8Bytes>,
    queue: Queue<Waiting>,
    /// When what waits for company goes.
    batch: Tick,
    limiter: Limiter,
    /// When the limit lets the next go.
    allowed: Tick,
    requests: BTreeMap<RequestId, Request>,
    deadlines: BTreeSet<(Tick, RequestId)>,
    serial: u64,
    /// When the next ping of the provider's protocol is due, and until when
    /// something must come.
    ping: Tick,
    pong: Tick,
    outputs: VecDeque<Output>,
    stats: ClientStats,
}

impl Client {
    /// A client, which is [`Disconnected`](State::Disconnected) until
    /// [`connect`](Self::connect). `unix_ms` is the wall clock.
    ///
    /// # Errors
    ///
    /// No connection can be made with these options.
    pub fn new(
        provider: Provider,
        mut config: ClientConfig,
        seed: Seed,
        now: Tick,
        unix_ms: u64,
    ) -> Result<Self, ConfigError> {
        let mut protocol = provider.clone().protocol();
        protocol.prepare(&mut config);
        // A whole attempt has its time; so long the server may take its own.
        Arc::make_mut(&mut config.websocket).handshake_timeout = None;
        let mut client = Self {
            provider,
            course: Course::new(protocol),
            next: None,
            renew: Tick::MAX,
            aside: None,
            entropy: Entropy::new(seed),
            clock: now,
            origin_ms: unix_ms as i64 - (now.as_micros() / 1_000) as i64,
            state: State::Disconnected,
            token: config.token.clone(),
            lines: Vec::new(),
            dialed: 0,
            failures: 0,
            named: Tick::ZERO,
            since: None,
            suspended: false,
            subscriptions: BTreeMap::new(),
            queue: Queue::default(),
            batch: Tick::MAX,
            limiter: Limiter::default(),
            allowed: Tick::ZERO,
            requests: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            serial: 0,
            ping: Tick::MAX,
            pong: Tick::MAX,
            outputs: VecDeque::new(),
            stats: ClientStats::default(),
            config,
        };
        if !client.config.refresh {
            // What will be refused every time is refused at once.
            client.place()?;
        }
        Ok(client)
    }

    // Commands

    /// Connects, if it is not connected or about to be.
    pub fn connect(&mut self, now: Tick) {
        self.tick(now);
        if matches!(self.course.phase, Phase::Idle) {
            self.failures = 0;
            self.suspended = false;
            self.enter(State::Connecting);
            self.attempt();
        }
    }

    /// Disconnects for good: until [`connect`](Self::connect), nothing is
    /// dialed. What is on the wire goes first; what waits is dropped.
    pub fn disconnect(&mut self, now: Tick, code: CloseCode, reason: &str) {
        self.tick(now);
        if self.state != State::Disconnected {
            if self.state == State::Authenticated {
                self.with_protocol(|protocol, cx| protocol.leave(cx));
            }
            self.detach(code, reason);
            self.rest(State::Disconnected);
            self.pump();
        }
    }

    /// The page is hidden, the device sleeps: no pings, and no attempts to come
    /// back, until [`resume`](Self::resume) (PO-69).
    pub fn suspend(&mut self, now: Tick) {
        self.tick(now);
        self.suspended = true;
    }

    /// The opposite: a lost connection is dialed at once, or when the server
    /// wants it, and one that is there has to show that it lives.
    pub fn resume(&mut self, now: Tick) {
        let now = self.tick(now);
        if !core::mem::replace(&mut self.suspended, false) {
            return;
        }
        match self.course.phase {
            Phase::Waiting(_) if self.named > now => self.course.phase = Phase::Waiting(self.named),
            Phase::Waiting(_) => self.attempt(),
            Phase::Line(_) if self.state == State::Authenticated && self.config.ping.is_some() => {
                self.ping = now;
                self.handle_timeout(now);
            }
            Phase::Idle | Phase::Token | Phase::Dialing(_) | Phase::Line(_) => {}
        }
    }

    /// Wants to hear of a channel. The provider is asked once for each name, and
    /// again after each reconnection. `*` is all that come anyway, and `*` at
    /// the end of a name those of them that begin so: of these the provider
    /// learns nothing.
    pub fn subscribe(&mut self, now: Tick, channel: impl Into<Utf8Bytes>) -> SubscriptionId {
        self.tick(now);
        let channel = channel.into();
        self.serial += 1;
        let id = SubscriptionId(self.serial);
        let known = self.subscriptions.values().any(|other| *other == channel);
        self.subscriptions.insert(id, channel.clone());
        if !known && !is_pattern(&channel) {
            self.in_courses(|client| {
                client.course.awaited.insert(channel.clone());
                client.with_protocol(|protocol, cx| protocol.subscribe(cx, &channel));
            });
        }
        id
    }

    /// Does not want to any more. Whether it did.
    pub fn unsubscribe(&mut self, now: Tick, id: SubscriptionId) -> bool {
        self.tick(now);
        let Some(channel) = self.subscriptions.remove(&id) else {
            return false;
        };
        let wanted = self.subscriptions.values().any(|other| *other == channel);
        if !wanted && !is_pattern(&channel) {
            self.in_courses(|client| {
                client.course.awaited.remove(&channel);
                client.with_protocol(|protocol, cx| protocol.unsubscribe(cx, &channel));
            });
        }
        true
    }

    /// Sends a message as it is, now or once there is a connection.
    pub fn send(&mut self, now: Tick, message: impl Into<Message>, priority: Priority) {
        self.tick(now);
        self.say(Saying::Raw(message.into()), priority, None);
    }

    /// Sends an event, to a channel where one is given, now or once there is a
    /// connection.
    pub fn publish(
        &mut self,
        now: Tick,
        channel: Option<Utf8Bytes>,
        event: impl Into<Utf8Bytes>,
        data: Option<Json>,
        priority: Priority,
    ) {
        self.tick(now);
        let saying = Saying::Event {
            channel,
            name: event.into(),
            data,
        };
        self.say(saying, priority, None);
    }

    /// The same with bytes as data, for providers that have such: Socket.IO,
    /// Phoenix, Ably; an echo sends just these. With others it is
    /// [`Dropped`](Event::Dropped).
    pub fn publish_bytes(
        &mut self,
        now: Tick,
        channel: Option<Utf8Bytes>,
        event: impl Into<Utf8Bytes>,
        data: impl Into<Bytes>,
        priority: Priority,
    ) {
        self.tick(now);
        let saying = Saying::Bytes {
            channel,
            name: event.into(),
            data: data.into(),
        };
        self.say(saying, priority, None);
    }

    /// Sends an event that asks for an answer, which [`Event::Answered`] tells,
    /// or that there was none within the time (by default
    /// [`ClientConfig::request_timeout`]).
    pub fn request(
        &mut self,
        now: Tick,
        channel: Option<Utf8Bytes>,
        event: impl Into<Utf8Bytes>,
        data: Option<Json>,
        timeout: Option<Duration>,
    ) -> RequestId {
        let now = self.tick(now);
        self.serial += 1;
        let id = RequestId(self.serial);
        let deadline = now + timeout.unwrap_or(self.config.request_timeout);
        let request = Request {
            deadline,
            sent: false,
        };
        self.requests.insert(id, request);
        self.deadlines.insert((deadline, id));
        let saying = Saying::Event {
            channel,
            name: event.into(),
            data,
        };
        self.say(saying, Priority::Normal, Some(id));
        id
    }

    /// Answers a message; without effect when its connection is gone.
    pub fn acknowledge(&mut self, now: Tick, ticket: AckTicket, data: &Json) {
        self.tick(now);
        if matches!(self.course.phase, Phase::Line(line) if line == ticket.line) {
            self.with_protocol(|protocol, cx| protocol.acknowledge(cx, ticket, data));
            self.pump();
        }
    }

    /// A message with a type, an id and the time, in the form of Protocol OS
    /// (PO-26, PO-73); without an id it gets a random one.
    pub fn create_message(
        &mut self,
        now: Tick,
        kind: &str,
        payload: &Json,
        id: Option<&str>,
    ) -> Message {
        self.tick(now);
        let id = id.map_or_else(|| self.entropy.uuid(), Into::into);
        let (kind, id) = (Json::string(kind), Json::string(&id));
        Message::text(alloc::format!(
            "{{\"type\":{},\"payload\":{},\"id\":{},\"timestamp\":{}}}",
            kind.as_str(),
            payload.as_str(),
            id.as_str(),
            self.unix_ms(),
        ))
    }

    // Inputs

    /// The answer to [`Output::Authorize`]: what the provider takes as proof,
    /// or that we may not. One for a connection that is gone has no effect.
    pub fn handle_authorized(
        &mut self,
        now: Tick,
        channel: &str,
        socket: &str,
        proof: Option<&Json>,
    ) {
        self.tick(now);
        if self.state == State::Authenticated {
            self.with_protocol(|protocol, cx| protocol.authorized(cx, channel, socket, proof));
            self.pump();
        }
    }

    /// The hook's answer to [`Output::Token`]: a token, or that there is none,
    /// which counts as a failed attempt.
    pub fn handle_token(&mut self, now: Tick, token: Option<Secret>) {
        self.tick(now);
        self.where_phase(Phase::Token, |client| match token {
            Some(token) => {
                client.token = Some(token);
                client.dial();
            }
            None => {
                let why = Utf8Bytes::from("no token could be had");
                client.ended(Ending::Protocol(why), Verdict::Backoff);
            }
        });
    }

    /// The stream that [`Output::Dial`] asked for is there.
    /// Whether it is wanted: otherwise drop it.
    pub fn handle_dialed(&mut self, now: Tick, line: LineId) -> bool {
        let now = self.tick(now);
        self.where_phase(Phase::Dialing(line), |client| client.dialed(now, line));
        self.pump();
        self.lines.iter().any(|known| known.id == line)
    }

    /// It could not be had. Whether anybody still wanted it.
    pub fn handle_dial_failed(&mut self, now: Tick, line: LineId, fault: Fault) -> bool {
        self.tick(now);
        let mut wanted = false;
        self.where_phase(Phase::Dialing(line), |client| {
            wanted = true;
            let ending = Ending::Dial(fault);
            let verdict = client.course.protocol.verdict(&ending);
            client.ended(ending, verdict);
        });
        wanted
    }

    /// Bytes came; see [`WebSocket::handle_bytes`](crate::WebSocket::handle_bytes).
    pub fn handle_bytes(&mut self, now: Tick, line: LineId, data: &mut [u8]) {
        let now = self.tick(now);
        if let Some(line) = self.line(line) {
            line.ws.handle_bytes(now, data);
            self.pump();
        }
    }

    /// See [`WebSocket::take_fill`](crate::WebSocket::take_fill).
    pub fn take_fill(&mut self, line: LineId) -> Option<Fill> {
        self.line(line)?.ws.take_fill()
    }

    /// See [`WebSocket::handle_fill`](crate::WebSocket::handle_fill).
    pub fn handle_fill(&mut self, now: Tick, line: LineId, fill: Fill) {
        let now = self.tick(now);
        if let Some(line) = self.line(line) {
            line.ws.handle_fill(now, fill);
            self.pump();
        }
    }

    /// The peer ended its direction of the stream.
    pub fn handle_eof(&mut self, now: Tick, line: LineId) {
        let now = self.tick(now);
        if let Some(line) = self.line(line) {
            line.ws.handle_eof(now);
            self.pump();
        }
    }

    /// The network or the system failed.
    pub fn handle_fault(&mut self, now: Tick, line: LineId, fault: Fault) {
        let now = self.tick(now);
        if let Some(line) = self.line(line) {
            line.ws.handle_fault(now, fault);
            self.pump();
        }
    }

    /// The kernel took the first `n` bytes of [`unsent`](Self::unsent).
    pub fn transmitted(&mut self, now: Tick, line: LineId, n: usize) {
        let now = self.tick(now);
        if let Some(line) = self.line(line) {
            line.ws.transmitted(now, n);
            self.pump();
        }
    }

    /// Time has passed. Calling it too early or too often is free.
    pub fn handle_timeout(&mut self, now: Tick) {
        let now = self.tick(now);
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.queue.retain(|waiting| waiting.answer != Some(id));
            self.answer(id, Err(RequestError::TimedOut));
        }
        self.course_timeout(now);
        if self
            .next
            .as_ref()
            .is_some_and(|next| next.next_timeout() <= now)
        {
            self.with_next(|client| client.course_timeout(now));
        }
        if self.renew <= now && !self.suspended {
            self.begin_next();
        }
        if matches!(self.course.phase, Phase::Waiting(due) if due <= now) && !self.suspended {
            self.attempt();
        }
        if self.pong <= now {
            self.pong = Tick::MAX;
            self.break_off(Ending::Silent, Verdict::Backoff);
        } else if self.ping <= now && !self.suspended {
            self.ping = self.config.ping.map_or(Tick::MAX, |it| now + it.interval);
            self.with_protocol(|protocol, cx| protocol.ping(cx));
        }
        for line in &mut self.lines {
            line.ws.handle_timeout(now);
        }
        self.pump();
    }

    // Outputs

    /// What to do next; `None` until another input or command.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn next_timeout(&self) -> Option<Tick> {
        if !self.outputs.is_empty() {
            return Some(self.clock);
        }
        let waiting = match self.course.phase {
            Phase::Waiting(due) if !self.suspended => due,
            Phase::Idle | Phase::Token | Phase::Dialing(_) | Phase::Line(_) | Phase::Waiting(_) => {
                Tick::MAX
            }
        };
        let lines = self.lines.iter().filter_map(|line| line.ws.next_timeout());
        let lines = lines.min().unwrap_or(Tick::MAX);
        let next = self.next.as_ref().map_or(Tick::MAX, Course::next_timeout);
        let renew = if self.suspended {
            Tick::MAX
        } else {
            self.renew
        };
        let ping = if self.suspended { Tick::MAX } else { self.ping };
        let request = self.deadlines.first().map_or(Tick::MAX, |(due, _)| *due);
        let held = |course: &Course| !course.held.is_empty();
        // What waits for room goes when there is some, which needs no deadline.
        let limited = self.allowed > self.clock;
        let queue = if held(&self.course) || self.next.as_ref().is_some_and(held) {
            if limited { self.allowed } else { Tick::MAX }
        } else if self.queue.is_empty() || self.state != State::Authenticated {
            Tick::MAX
        } else if self.batch < Tick::MAX {
            self.batch.max(self.allowed)
        } else if limited {
            self.allowed
        } else {
            Tick::MAX
        };
        let due = [
            waiting,
            lines,
            self.course.next_timeout(),
            next,
            renew,
            ping,
            self.pong,
            request,
            queue,
        ]
        .into_iter()
        .min()
        .unwrap_or(Tick::MAX);
        (due < Tick::MAX).then_some(due)
    }

    /// Bytes to send, in order.
    pub fn unsent(&self, line: LineId) -> impl Iterator<Item = &Bytes> {
        let line = self.lines.iter().find(|other| other.id == line);
        line.into_iter().flat_map(|line| line.ws.unsent())
    }

    // Getters

    /// Where it stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Figures so far.
    pub fn stats(&self, now: Tick) -> ClientStats {
        let now = now.max(self.clock);
        ClientStats {
            queued: self.queue.len(),
            uptime: self.since.map(|since| now.since(since)),
            ..self.stats
        }
    }

    // Helpers

    /// Notes the time; it never runs backwards.
    fn tick(&mut self, now: Tick) -> Tick {
        self.clock = self.clock.max(now);
        self.clock
    }

    fn unix_ms(&self) -> u64 {
        let ms = self.origin_ms + (self.clock.as_micros() / 1_000) as i64;
        u64::try_from(ms).unwrap_or(0)
    }

    fn line(&mut self, id: LineId) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| line.id == id)
    }

    /// The line that counts.
    fn current(&mut self) -> Option<&mut Line> {
        match self.course.phase {
            Phase::Line(id) => self.line(id),
            Phase::Idle | Phase::Token | Phase::Dialing(_) | Phase::Waiting(_) => None,
        }
    }

    fn enter(&mut self, state: State) {
        // Of what is to take its place, nobody is told before it does.
        if self.state != state && self.aside.is_none() {
            self.state = state;
            self.outputs.push_back(Output::Event(Event::State(state)));
        }
    }

    fn upgrade(&mut self) -> Result<crate::http::UpgradeRequest, ConfigError> {
        let attempt = Attempt {
            config: &self.config,
            token: self.token.as_ref(),
        };
        self.course.protocol.upgrade(&attempt)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state)
            .field("phase", &self.course.phase)
            .field("next", &self.next.as_ref().map(|next| next.phase))
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
