//! The machine.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
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
use crate::websocket::{Event as Inner, Fill, Output as InnerOutput, WebSocket};

use super::config::{ClientConfig, Secret};
use super::protocol::{Act, Attempt, Cx, Protocol, Saying};
use super::providers::Provider;
use super::queue::{Priority, Queue};
use super::verdict::{Ending, Verdict};
use super::{
    AckTicket, ClientStats, ConfigError, Dial, Event, Incoming, LineId, Output, RequestError,
    RequestId, State, SubscriptionId,
};

/// A client that stays connected, as a state machine: what happened on the
/// network and what the application wants in, what to do about it out.
///
/// The methods are of the kinds of [`WebSocket`]'s: inputs (`handle_*`,
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

/// An attempt, and the connection that it becomes.
#[derive(Debug)]
struct Course {
    protocol: Box<dyn Protocol>,
    phase: Phase,
    /// When it must be in.
    deadline: Tick,
    /// It is.
    ready: bool,
    /// What the application waits for has come by it.
    heard: bool,
    /// Channels asked for that the provider has not given so far, and whether
    /// it ever says such a thing.
    awaited: BTreeSet<Utf8Bytes>,
    confirms: bool,
    /// What the protocol said and the limit holds back; goes before the queue.
    held: VecDeque<Message>,
}

impl Course {
    fn new(protocol: Box<dyn Protocol>) -> Self {
        Self {
            protocol,
            phase: Phase::Idle,
            deadline: Tick::MAX,
            ready: false,
            heard: false,
            awaited: BTreeSet::new(),
            confirms: false,
            held: VecDeque::new(),
        }
    }

    const fn line(&self) -> Option<LineId> {
        match self.phase {
            Phase::Line(id) => Some(id),
            Phase::Idle | Phase::Token | Phase::Dialing(_) | Phase::Waiting(_) => None,
        }
    }

    fn next_timeout(&self) -> Tick {
        let protocol = self.line().map(|_| self.protocol.next_timeout());
        self.deadline.min(protocol.unwrap_or(Tick::MAX))
    }
}

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none, and none to come.
    Idle,
    /// The hook looks for a token.
    Token,
    /// A stream is being opened.
    Dialing(LineId),
    /// There is one.
    Line(LineId),
    /// The next attempt is due.
    Waiting(Tick),
}

#[derive(Debug)]
struct Line {
    id: LineId,
    ws: WebSocket,
}

#[derive(Debug)]
struct Waiting {
    saying: Saying,
    answer: Option<RequestId>,
}

#[derive(Debug)]
struct Request {
    deadline: Tick,
    /// It went out.
    sent: bool,
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
            client.upgrade()?;
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

    /// The opposite: a lost connection is dialed at once, and one that is there
    /// has to show that it lives.
    pub fn resume(&mut self, now: Tick) {
        let now = self.tick(now);
        if !core::mem::replace(&mut self.suspended, false) {
            return;
        }
        match self.course.phase {
            Phase::Waiting(_) => self.attempt(),
            Phase::Line(_) if self.state == State::Authenticated => {
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
    pub fn handle_dialed(&mut self, now: Tick, line: LineId) {
        let now = self.tick(now);
        self.where_phase(Phase::Dialing(line), |client| client.dialed(now, line));
        self.pump();
    }

    fn dialed(&mut self, now: Tick, line: LineId) {
        let seed = Seed::new(self.entropy.bytes());
        let config = self.config.websocket.clone();
        let ws = self
            .upgrade()
            .and_then(|request| Ok(WebSocket::client(request, config, seed, now)?));
        match ws {
            Ok(ws) => {
                self.course.phase = Phase::Line(line);
                self.lines.push(Line { id: line, ws });
            }
            Err(error) => {
                self.outputs.push_back(Output::Close(line));
                let words = alloc::format!("{error}");
                self.ended(Ending::Protocol(words.into()), Verdict::Fatal);
            }
        }
    }

    /// It could not be had.
    pub fn handle_dial_failed(&mut self, now: Tick, line: LineId, fault: Fault) {
        self.tick(now);
        self.where_phase(Phase::Dialing(line), |client| {
            let ending = Ending::Dial(fault);
            let verdict = client.course.protocol.verdict(&ending);
            client.ended(ending, verdict);
        });
    }

    /// Bytes came; see [`WebSocket::handle_bytes`].
    pub fn handle_bytes(&mut self, now: Tick, line: LineId, data: &mut [u8]) {
        let now = self.tick(now);
        if let Some(line) = self.line(line) {
            line.ws.handle_bytes(now, data);
            self.pump();
        }
    }

    /// See [`WebSocket::take_fill`].
    pub fn take_fill(&mut self, line: LineId) -> Option<Fill> {
        self.line(line)?.ws.take_fill()
    }

    /// See [`WebSocket::handle_fill`].
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
        let queue = if held(&self.course) || self.next.as_ref().is_some_and(held) {
            self.allowed
        } else if self.queue.is_empty() || self.state != State::Authenticated {
            Tick::MAX
        } else if self.batch < Tick::MAX {
            self.batch.max(self.allowed)
        } else if self.allowed > self.clock {
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
    pub fn stats(&self) -> ClientStats {
        ClientStats {
            queued: self.queue.len(),
            uptime: self.since.map(|since| self.clock.since(since)),
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

    /// Does something to the course that is in this phase, if one is.
    fn where_phase(&mut self, phase: Phase, work: impl FnOnce(&mut Self)) {
        if self.course.phase == phase {
            work(self);
        } else if self.next.as_ref().is_some_and(|next| next.phase == phase) {
            self.with_next(work);
        }
    }

    fn course_timeout(&mut self, now: Tick) {
        if self.course.deadline <= now {
            self.course.deadline = Tick::MAX;
            self.break_off(Ending::TimedOut, Verdict::Backoff);
        } else if self.course.next_timeout() <= now {
            self.with_protocol(|protocol, cx| protocol.handle_timeout(cx));
        }
    }

    /// Begins what will take the place of the course, which has not long to
    /// live.
    fn begin_next(&mut self) {
        self.renew = Tick::MAX;
        if self.state == State::Authenticated && self.next.is_none() {
            let mut protocol = self.provider.clone().protocol();
            // The options are prepared already.
            protocol.prepare(&mut self.config.clone());
            self.next = Some(Course::new(protocol));
            self.with_next(Self::attempt);
        }
    }

    /// Does something to the course, and to what will take its place, as far as
    /// they are in.
    fn in_courses(&mut self, work: impl Fn(&mut Self)) {
        if self.state == State::Authenticated {
            work(self);
            if self.next.as_ref().is_some_and(|next| next.ready) {
                self.with_next(work);
            }
            self.pump();
        }
    }

    /// Does something to `next`, as if it were the course; and lets it be that
    /// once it can do all that the course does.
    fn with_next(&mut self, work: impl FnOnce(&mut Self)) {
        let Some(next) = self.next.take() else {
            return;
        };
        self.aside = Some(core::mem::replace(&mut self.course, next));
        work(self);
        let Some(old) = self.aside.take() else {
            return;
        };
        let next = &self.course;
        let complete = match next.confirms {
            true => next.awaited.is_empty(),
            false => next.heard || self.subscriptions.is_empty(),
        };
        if matches!(next.phase, Phase::Idle) {
            // It failed; the course lives on, and there is another try.
            self.course = old;
            let random = u64::from_le_bytes(self.entropy.bytes());
            let backoff = self.config.reconnect.as_ref();
            let wait = backoff.and_then(|backoff| backoff.wait(self.failures, random));
            self.failures = self.failures.saturating_add(1);
            self.renew = wait.map_or(Tick::MAX, |wait| self.clock + wait);
        } else if next.ready && complete {
            let new = core::mem::replace(&mut self.course, old);
            self.detach(CloseCode::NORMAL, "");
            self.course = new;
            self.fail_requests(|request| request.sent);
            self.began();
        } else {
            self.next = Some(core::mem::replace(&mut self.course, old));
        }
    }

    /// Begins an attempt.
    fn attempt(&mut self) {
        self.course.deadline = self.clock + self.config.connect_timeout;
        if self.config.refresh {
            self.course.phase = Phase::Token;
            self.outputs.push_back(Output::Token);
        } else {
            self.dial();
        }
    }

    fn dial(&mut self) {
        match self.upgrade() {
            Ok(request) => {
                self.dialed = self.dialed.wrapping_add(1);
                let line = LineId(self.dialed);
                self.course.phase = Phase::Dialing(line);
                let url = request.url();
                self.outputs.push_back(Output::Dial(Dial {
                    line,
                    host: url.host().into(),
                    port: url.port(),
                    secure: url.secure(),
                }));
            }
            Err(error) => {
                let words = alloc::format!("{error}");
                self.ended(Ending::Protocol(words.into()), Verdict::Fatal);
            }
        }
    }

    fn with_protocol(&mut self, work: impl FnOnce(&mut dyn Protocol, &mut Cx<'_>)) {
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

    fn act(&mut self, act: Act) {
        let now = self.clock;
        match act {
            Act::Send(message) => {
                if self.course.held.is_empty() && self.allowance() {
                    self.transmit(message);
                } else if self.course.held.len() < self.config.queue.max_messages {
                    self.course.held.push_back(message);
                } else {
                    self.lost(1);
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
            Act::Hold(time) => self.allowed = self.allowed.max(now + time),
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
            Act::Dropped => self.lost(1),
            Act::ExpectPong => {
                let timeout = self.config.ping.map_or(Duration::MAX, |ping| ping.timeout);
                self.pong = self.pong.min(now + timeout);
            }
            Act::Pong(ms) => self.stats.latency = Some(Duration::from_millis(ms)),
        }
    }

    fn transmit(&mut self, message: Message) {
        let now = self.clock;
        let Some(line) = self.current() else {
            return;
        };
        let len = message.len();
        match line.ws.send(now, message) {
            Ok(()) => {
                if let Some(limit) = &self.config.outbound {
                    // There is an allowance: it was asked for.
                    let _ = self.limiter.check(limit, now, 1);
                }
                self.stats.messages_sent += 1;
                self.stats.bytes_sent += len as u64;
            }
            // It is closing: nothing reaches the peer any more.
            Err(_) => self.lost(1),
        }
    }

    /// Whether the limit lets another message go; if not, when it will.
    fn allowance(&mut self) -> bool {
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

    /// In.
    fn ready(&mut self) {
        if self.course.line().is_none() || core::mem::replace(&mut self.course.ready, true) {
            return;
        }
        self.course.deadline = Tick::MAX;
        if self.aside.is_none() {
            self.began();
        }
        let channels = self.subscriptions.values();
        let channels = channels.filter(|channel| !is_pattern(channel));
        let channels: BTreeSet<_> = channels.cloned().collect();
        self.course.awaited.clone_from(&channels);
        for channel in channels {
            self.with_protocol(|protocol, cx| protocol.subscribe(cx, &channel));
        }
    }

    /// The course is one that messages go by.
    fn began(&mut self) {
        let now = self.clock;
        self.since = Some(now);
        self.stats.connected_at = Some(self.unix_ms());
        self.ping = self.config.ping.map_or(Tick::MAX, |it| now + it.interval);
        self.pong = Tick::MAX;
        self.renew = self.config.lifetime.map_or(Tick::MAX, |it| now + it);
        self.enter(State::Authenticated);
    }

    fn wanted(&self, incoming: &Incoming) -> Vec<SubscriptionId> {
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

    fn say(&mut self, saying: Saying, priority: Priority, answer: Option<RequestId>) {
        let bytes = saying.len();
        let waiting = Waiting { saying, answer };
        let gone: Vec<_> = self
            .queue
            .push(&self.config.queue, priority, bytes, waiting)
            .collect();
        self.lost(gone.len());
        for id in gone.into_iter().filter_map(|waiting| waiting.answer) {
            self.answer(id, Err(RequestError::Dropped));
        }
        if let Some(batch) = self.config.batch {
            self.batch = self.batch.min(self.clock + batch);
        }
        self.pump();
    }

    fn lost(&mut self, messages: usize) {
        if messages > 0 {
            self.stats.dropped += messages as u64;
            self.outputs
                .push_back(Output::Event(Event::Dropped(messages)));
        }
    }

    fn flush_held(&mut self) {
        while !self.course.held.is_empty() && self.allowance() {
            if let Some(message) = self.course.held.pop_front() {
                self.transmit(message);
            }
        }
    }

    /// Says what waits, as far as it may go.
    fn flush(&mut self) {
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
        while self.state == State::Authenticated
            && let Some(line) = self.current()
            && line.ws.is_open()
            && line.ws.has_room()
            && !self.queue.is_empty()
            && self.course.held.is_empty()
            && self.allowance()
        {
            let Some(Waiting { saying, answer }) = self.queue.pop() else {
                break;
            };
            if let Some(request) = answer.and_then(|id| self.requests.get_mut(&id)) {
                request.sent = true;
            }
            self.with_protocol(|protocol, cx| protocol.say(cx, &saying, answer));
        }
    }

    fn answer(&mut self, id: RequestId, answer: Result<Json, RequestError>) {
        if let Some(request) = self.requests.remove(&id) {
            self.course.protocol.forget(id);
            self.deadlines.remove(&(request.deadline, id));
            self.outputs
                .push_back(Output::Event(Event::Answered(id, answer)));
        }
    }

    fn fail_requests(&mut self, which: impl Fn(&Request) -> bool) {
        let failed = self.requests.iter();
        let failed: Vec<_> = failed
            .filter(|(_, request)| which(request))
            .map(|(&id, _)| id)
            .collect();
        for id in failed {
            self.answer(id, Err(RequestError::Disconnected));
        }
    }

    /// Takes what the lines have to tell, until they have no more.
    fn pump(&mut self) {
        self.flush();
        let mut at = 0;
        while let Some(line) = self.lines.get_mut(at) {
            let id = line.id;
            match line.ws.poll_output() {
                None => at += 1,
                Some(InnerOutput::Transmit) => self.outputs.push_back(Output::Transmit(id)),
                Some(InnerOutput::PauseRead) => self.outputs.push_back(Output::PauseRead(id)),
                Some(InnerOutput::ResumeRead) => self.outputs.push_back(Output::ResumeRead(id)),
                Some(InnerOutput::Shutdown) => self.outputs.push_back(Output::Shutdown(id)),
                Some(InnerOutput::Close) => {
                    self.outputs.push_back(Output::Close(id));
                    self.lines.remove(at);
                }
                Some(InnerOutput::Event(event)) => {
                    self.where_phase(Phase::Line(id), |client| client.told(event));
                    self.flush();
                    // What it led to may concern lines before this one.
                    at = 0;
                }
            }
        }
    }

    fn told(&mut self, event: Inner) {
        match event {
            Inner::Open(opened) => {
                self.enter(State::Connected);
                let subprotocol = opened.agreed.subprotocol;
                self.with_protocol(|protocol, cx| protocol.opened(cx, subprotocol.as_deref()));
                if self.state == State::Connected && !self.course.ready {
                    self.enter(State::Authenticating);
                }
            }
            Inner::Message(message) => {
                self.stats.messages_received += 1;
                self.stats.bytes_received += message.len() as u64;
                self.pong = Tick::MAX;
                self.with_protocol(|protocol, cx| protocol.received(cx, message));
            }
            Inner::Closed(closed) => {
                let ending = Ending::Closed(*closed);
                let answer = ending.response();
                match answer.and_then(|answer| self.course.protocol.negotiated(answer)) {
                    Some(Ok(())) => return self.dial(),
                    Some(Err(words)) => return self.ended(Ending::Protocol(words), Verdict::Fatal),
                    None => {}
                }
                let verdict = self.course.protocol.verdict(&ending);
                self.ended(ending, verdict);
            }
            Inner::Drained
            | Inner::Request(_)
            | Inner::Part(_)
            | Inner::Ping(_)
            | Inner::Pong(_) => {}
        }
    }

    /// Ends what is under way because of something that we noticed.
    fn break_off(&mut self, ending: Ending, verdict: Verdict) {
        if !matches!(self.course.phase, Phase::Idle | Phase::Waiting(_)) {
            self.detach(CloseCode::GOING_AWAY, "");
            self.ended(ending, verdict);
        }
    }

    /// Leaves what is under way to its end, which counts no more.
    fn detach(&mut self, code: CloseCode, reason: &str) {
        let now = self.clock;
        match self.course.phase {
            Phase::Line(id) => {
                if let Some(line) = self.line(id) {
                    line.ws.close(now, code, reason);
                }
            }
            Phase::Dialing(id) => self.outputs.push_back(Output::Close(id)),
            Phase::Idle | Phase::Token | Phase::Waiting(_) => {}
        }
        self.course.phase = Phase::Idle;
    }

    /// A connection or an attempt is over: what now?
    fn ended(&mut self, ending: Ending, verdict: Verdict) {
        self.course.protocol.ended();
        let now = self.clock;
        self.reset();
        if self.aside.is_some() {
            // Only what would have taken the course's place.
            return;
        }
        let since = self.since.take();
        if since.is_some() {
            self.stats.disconnected_at = Some(self.unix_ms());
        }
        self.outputs
            .push_back(Output::Event(Event::Ended(ending, verdict)));
        self.fail_requests(|request| request.sent);
        let random = u64::from_le_bytes(self.entropy.bytes());
        let wait = self.config.reconnect.as_ref().and_then(|backoff| {
            if since.is_some_and(|since| now.since(since) >= backoff.stable_after) {
                self.failures = 0;
            }
            let wait = backoff.wait(self.failures, random);
            match verdict {
                Verdict::Stay | Verdict::Fatal => None,
                Verdict::Reauthenticate if !self.config.refresh => None,
                // Not again and again: one that does not last is waited for.
                Verdict::Now if self.failures == 0 => wait.map(|_| Duration::ZERO),
                Verdict::After(least) => wait.map(|wait| wait.max(least)),
                Verdict::Now | Verdict::Backoff | Verdict::Reauthenticate => wait,
            }
        });
        if wait.is_some()
            && let Some(next) = self.next.take()
        {
            // Another attempt is on its way already.
            self.enter(State::Reconnecting);
            self.course = next;
            if self.course.ready {
                self.began();
            }
            return;
        }
        match wait {
            Some(wait) => {
                self.failures = self.failures.saturating_add(1);
                self.stats.reconnect_attempts += 1;
                self.course.phase = Phase::Waiting(now + wait);
                self.enter(State::Reconnecting);
                let attempt = self.failures;
                self.outputs
                    .push_back(Output::Event(Event::Reconnecting { attempt, wait }));
            }
            None if verdict == Verdict::Stay => self.rest(State::Disconnected),
            None if verdict != Verdict::Fatal
                && since.is_some()
                && self.config.reconnect.is_none() =>
            {
                self.rest(State::Disconnected);
            }
            None => self.rest(State::Error),
        }
    }

    /// Nothing is under way in this course.
    fn reset(&mut self) {
        self.course.phase = Phase::Idle;
        self.course.deadline = Tick::MAX;
        self.course.ready = false;
        self.course.heard = false;
        self.course.awaited.clear();
        self.course.confirms = false;
        self.course.held.clear();
        if self.aside.is_none() {
            self.ping = Tick::MAX;
            self.pong = Tick::MAX;
            self.renew = Tick::MAX;
        }
    }

    /// Nothing will be dialed: nobody waits any longer.
    fn rest(&mut self, state: State) {
        if self.since.take().is_some() {
            self.stats.disconnected_at = Some(self.unix_ms());
        }
        self.reset();
        if self.next.is_some() {
            self.with_next(|client| client.detach(CloseCode::NORMAL, ""));
        }
        self.next = None;
        self.renew = Tick::MAX;
        let waiting = self.queue.drain().count();
        self.lost(waiting);
        self.fail_requests(|_| true);
        self.enter(state);
    }
}

/// Whether it stands for channels, instead of being one.
fn is_pattern(channel: &str) -> bool {
    channel.ends_with('*')
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
