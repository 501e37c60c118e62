//! Attempts, the connections that they become, and what follows their end.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

use crate::code::CloseCode;
use crate::entropy::Seed;
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;
use crate::websocket::{ClientError, Event as Inner, Output as InnerOutput, WebSocket};

use super::super::protocol::{Protocol, Saying};
use super::super::verdict::{Ending, Verdict};
use super::super::{ConfigError, Dial, Event, LineId, Loss, Output, State};
use super::{Client, LONGEST_HINT, is_pattern};

/// An attempt, and the connection that it becomes.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) protocol: Box<dyn Protocol>,
    pub(super) phase: Phase,
    /// When it must be in.
    pub(super) deadline: Tick,
    /// Its WebSocket is open. Before that, times that the protocol waits for
    /// are those of the connection before.
    pub(super) open: bool,
    /// It is.
    pub(super) ready: bool,
    /// What the application waits for has come by it.
    pub(super) heard: bool,
    /// Channels asked for that the provider has not given so far, and whether
    /// it ever says such a thing.
    pub(super) awaited: BTreeSet<Utf8Bytes>,
    pub(super) confirms: bool,
    /// What the protocol said and cannot go yet, for want of room or because of
    /// the limit; goes before the queue.
    pub(super) held: VecDeque<Message>,
}

impl Course {
    pub(super) fn new(protocol: Box<dyn Protocol>) -> Self {
        Self {
            protocol,
            phase: Phase::Idle,
            deadline: Tick::MAX,
            open: false,
            ready: false,
            heard: false,
            awaited: BTreeSet::new(),
            confirms: false,
            held: VecDeque::new(),
        }
    }

    /// Whether the provider takes this now: the channel may not be ours so far.
    pub(super) fn may_go(&self, saying: &Saying) -> bool {
        !self.protocol.speaks_when_subscribed()
            || saying
                .channel()
                .is_none_or(|channel| !self.awaited.contains(channel))
    }

    pub(super) const fn line(&self) -> Option<LineId> {
        match self.phase {
            Phase::Line(id) => Some(id),
            Phase::Idle | Phase::Token | Phase::Dialing(_) | Phase::Waiting(_) => None,
        }
    }

    pub(super) fn next_timeout(&self) -> Tick {
        if self.open {
            self.deadline.min(self.protocol.next_timeout())
        } else {
            self.deadline
        }
    }
}

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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
pub(super) struct Line {
    pub(super) id: LineId,
    pub(super) ws: WebSocket,
}

impl Client {
    pub(super) fn dialed(&mut self, now: Tick, line: LineId) {
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

    /// Does something to the course that is in this phase, if one is.
    pub(super) fn where_phase(&mut self, phase: Phase, work: impl FnOnce(&mut Self)) {
        if self.course.phase == phase {
            work(self);
        } else if self.next.as_ref().is_some_and(|next| next.phase == phase) {
            self.with_next(work);
        }
    }

    pub(super) fn course_timeout(&mut self, now: Tick) {
        if self.course.deadline <= now {
            self.course.deadline = Tick::MAX;
            self.break_off(Ending::TimedOut, Verdict::Backoff);
        } else if self.course.next_timeout() <= now {
            self.with_protocol(|protocol, cx| protocol.handle_timeout(cx));
        }
    }

    /// Begins what will take the place of the course, which has not long to
    /// live.
    pub(super) fn begin_next(&mut self) {
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
    pub(super) fn in_courses(&mut self, work: impl Fn(&mut Self)) {
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
    pub(super) fn with_next(&mut self, work: impl FnOnce(&mut Self)) {
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
    pub(super) fn attempt(&mut self) {
        self.course.deadline = self.clock + self.config.connect_timeout;
        if self.config.refresh {
            self.course.phase = Phase::Token;
            self.outputs.push_back(Output::Token);
        } else {
            self.dial();
        }
    }

    pub(super) fn dial(&mut self) {
        match self.place() {
            Ok(place) => {
                self.dialed = place.line.0;
                self.course.phase = Phase::Dialing(place.line);
                self.outputs.push_back(Output::Dial(place));
            }
            Err(error) => {
                let words = alloc::format!("{error}");
                self.ended(Ending::Protocol(words.into()), Verdict::Fatal);
            }
        }
    }

    /// Where the next stream goes to.
    pub(super) fn place(&mut self) -> Result<Dial, ConfigError> {
        let request = self.upgrade()?;
        let url = request.url();
        let proxy = self.config.websocket.proxy(url);
        let (host, port) = match proxy.map_err(ClientError::from)? {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (url.host(), url.port()),
        };
        Ok(Dial {
            line: LineId(self.dialed.wrapping_add(1)),
            host: host.into(),
            port,
            secure: url.secure(),
        })
    }

    /// In.
    pub(super) fn ready(&mut self) {
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
    pub(super) fn began(&mut self) {
        let now = self.clock;
        self.since = Some(now);
        self.stats.connected_at = Some(self.unix_ms());
        self.ping = self.config.ping.map_or(Tick::MAX, |it| now + it.interval);
        self.pong = Tick::MAX;
        self.renew = self.config.lifetime.map_or(Tick::MAX, |it| now + it);
        self.enter(State::Authenticated);
    }

    /// Takes what the lines have to tell, until they have no more.
    pub(super) fn pump(&mut self) {
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

    pub(super) fn told(&mut self, event: Inner) {
        match event {
            Inner::Open(opened) => {
                self.enter(State::Connected);
                self.course.open = true;
                let subprotocol = opened.agreed.subprotocol;
                self.with_protocol(|protocol, cx| protocol.opened(cx, subprotocol.as_deref()));
                if self.state == State::Connected && !self.course.ready {
                    self.enter(State::Authenticating);
                }
            }
            Inner::Message(message) => {
                self.stats.messages_received += 1;
                self.stats.bytes_received += message.len() as u64;
                if self.aside.is_none() {
                    self.pong = Tick::MAX;
                }
                self.with_protocol(|protocol, cx| protocol.received(cx, message));
            }
            Inner::Closed(closed) => {
                let ending = Ending::closed(*closed, self.unix_ms());
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
    pub(super) fn break_off(&mut self, ending: Ending, verdict: Verdict) {
        if !matches!(self.course.phase, Phase::Idle | Phase::Waiting(_)) {
            self.detach(CloseCode::GOING_AWAY, "");
            self.ended(ending, verdict);
        }
    }

    /// Leaves what is under way to its end, which counts no more.
    pub(super) fn detach(&mut self, code: CloseCode, reason: &str) {
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
    pub(super) fn ended(&mut self, ending: Ending, verdict: Verdict) {
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
        self.named = if let Verdict::After(least) = verdict {
            now + least.min(LONGEST_HINT)
        } else {
            Tick::ZERO
        };
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
                Verdict::After(least) => {
                    backoff.wait_at_least(least.min(LONGEST_HINT), self.failures, random)
                }
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
    pub(super) fn reset(&mut self) {
        self.course.phase = Phase::Idle;
        self.course.deadline = Tick::MAX;
        self.course.open = false;
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
    pub(super) fn rest(&mut self, state: State) {
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
        self.lost(waiting, Loss::Closed);
        self.fail_requests(|_| true);
        self.enter(state);
    }
}
