//! What must hold of one client, kept as naively as can be: what it was told to
//! say, what of that went where, and when it may dial. The client is right as
//! long as nothing here disagrees.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smartsocket_core::client::{
    ClientConfig, ClientStats, Ending, Incoming, Payload, Priority, RequestError, RequestId, State,
    SubscriptionId, Verdict,
};
use smartsocket_core::websocket::Cause;
use smartsocket_core::{Json, Message, Tick};

use super::Kind;
use super::host::WALL;

/// Something that the application said, and that has not gone out.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub number: u64,
    pub priority: Priority,
    pub bytes: usize,
    pub request: Option<RequestId>,
}

#[derive(Debug)]
pub struct Asked {
    pub number: u64,
    pub deadline: Tick,
}

#[derive(Debug)]
pub struct Model {
    pub kind: Kind,
    pub config: ClientConfig,
    pub state: State,
    pub suspended: bool,
    /// Attempts are not bound by a wait, once: the application wants it.
    pub at_once: bool,
    queue: Vec<Waiting>,
    /// What went out, in order, and where each stands in that.
    handed: Vec<u64>,
    handed_bytes: u64,
    places: BTreeMap<u64, usize>,
    /// What the server has seen, and the last by connection.
    arrived: BTreeSet<u64>,
    last: BTreeMap<usize, usize>,
    /// What will never arrive, and was told so.
    gone: BTreeSet<u64>,
    dropped: u64,
    requests: BTreeMap<RequestId, Asked>,
    /// Requests that have to make room, and those that are told to have.
    crowded_out: BTreeSet<RequestId>,
    told_dropped: BTreeSet<RequestId>,
    /// Since when there is a connection or an attempt to get one, and what is to
    /// take its place.
    live: Option<Tick>,
    renewal: Option<Tick>,
    failures: u32,
    not_before: Tick,
    /// What is to be done about an end, and whether it was in before.
    ended: Option<(Verdict, bool)>,
    reconnects: u64,
    since: Option<Tick>,
    connected_at: Option<u64>,
    disconnected_at: Option<u64>,
    /// Nothing may go out before this.
    hold: Tick,
    next_hold: Tick,
    /// It got in since the queue was looked at.
    got_in: bool,
    pub subscriptions: BTreeMap<SubscriptionId, String>,
    heard: BTreeMap<u64, usize>,
    last_heard: u64,
    messages: u64,
    message_bytes: u64,
    /// How often it got in, and how much had gone out when it last did.
    pub arrivals: usize,
    begin: usize,
}

fn unix_ms(now: Tick) -> u64 {
    WALL + now.as_micros() / 1_000
}

impl Model {
    pub fn new(kind: Kind, config: ClientConfig) -> Self {
        Self {
            kind,
            config,
            state: State::Disconnected,
            suspended: false,
            at_once: false,
            queue: Vec::new(),
            handed: Vec::new(),
            handed_bytes: 0,
            places: BTreeMap::new(),
            arrived: BTreeSet::new(),
            last: BTreeMap::new(),
            gone: BTreeSet::new(),
            dropped: 0,
            requests: BTreeMap::new(),
            crowded_out: BTreeSet::new(),
            told_dropped: BTreeSet::new(),
            live: None,
            renewal: None,
            failures: 0,
            not_before: Tick::ZERO,
            ended: None,
            reconnects: 0,
            since: None,
            connected_at: None,
            disconnected_at: None,
            hold: Tick::ZERO,
            next_hold: Tick::ZERO,
            got_in: false,
            subscriptions: BTreeMap::new(),
            heard: BTreeMap::new(),
            last_heard: 0,
            messages: 0,
            message_bytes: 0,
            arrivals: 0,
            begin: 0,
        }
    }

    pub const fn rests(&self) -> bool {
        matches!(self.state, State::Disconnected | State::Error)
    }

    // The queue

    fn fits(&self, bytes: usize) -> bool {
        let waiting: usize = self.queue.iter().map(|waiting| waiting.bytes).sum();
        self.queue.len() < self.config.queue.max_messages
            && waiting + bytes <= self.config.queue.max_bytes
    }

    /// By the rule: the oldest of the least urgent has to go.
    fn push(&mut self, waiting: Waiting) -> u64 {
        if waiting.bytes > self.config.queue.max_bytes {
            self.drop(&waiting);
            return 1;
        }
        self.queue.push(waiting);
        let mut gone = 0;
        while !(self.queue.len() <= self.config.queue.max_messages
            && self.queue.iter().map(|w| w.bytes).sum::<usize>() <= self.config.queue.max_bytes)
        {
            let least = self.queue.iter().map(|w| w.priority).min().expect("some");
            let at = self.queue.iter().position(|w| w.priority == least);
            let waiting = self.queue.remove(at.expect("just seen"));
            self.drop(&waiting);
            gone += 1;
        }
        gone
    }

    fn drop(&mut self, waiting: &Waiting) {
        self.gone.insert(waiting.number);
        self.crowded_out.extend(waiting.request);
    }

    fn hand(&mut self, waiting: &Waiting) {
        self.places.insert(waiting.number, self.handed.len());
        self.handed.push(waiting.number);
        self.handed_bytes += waiting.bytes as u64;
    }

    fn hand_first(&mut self) {
        let best = self.queue.iter().map(|w| Reverse(w.priority)).min();
        let at = self
            .queue
            .iter()
            .position(|w| Some(Reverse(w.priority)) == best);
        let waiting = self
            .queue
            .remove(at.expect("one more than there was went out"));
        self.hand(&waiting);
    }

    /// After a call that may have said something new: so many were told as
    /// dropped, so many wait. What is missing went out, in order.
    pub fn reconcile(
        &mut self,
        now: Tick,
        new: Option<Waiting>,
        was: State,
        dropped: u64,
        queued: usize,
    ) {
        self.dropped += dropped;
        let before = self.queue.len() + usize::from(new.is_some());
        let out = before
            .checked_sub(dropped as usize + queued)
            .expect("more was dropped, or waits, than there was");
        let mut left = out;
        if out > 0 {
            let open = was == State::Authenticated || self.got_in;
            assert!(open, "{out} went out in {was}");
            assert!(self.hold <= now, "{out} went out before {:?}", self.hold);
        }
        self.got_in = false;
        self.hold = self.next_hold;
        let mut told = dropped;
        if let Some(new) = new {
            if was == State::Authenticated && !self.fits(new.bytes) {
                // What has to make room goes first, if it can.
                while left > 0 && !self.queue.is_empty() {
                    self.hand_first();
                    left -= 1;
                }
            }
            if left > 0 && self.queue.is_empty() {
                self.hand(&new);
                left -= 1;
            } else {
                let gone = self.push(new);
                assert!(gone <= told, "{gone} had to go, {told} are told");
                told -= gone;
            }
        }
        for _ in 0..left {
            self.hand_first();
        }
        if self.rests() && was != self.state {
            assert_eq!(self.queue.len() as u64, told, "all that waits is dropped");
            for waiting in std::mem::take(&mut self.queue) {
                self.gone.insert(waiting.number);
            }
        } else {
            assert_eq!(told, 0, "dropped without need in {}", self.state);
        }
        assert_eq!(self.queue.len(), queued);
        assert!(queued <= self.config.queue.max_messages);
        let told = std::mem::take(&mut self.told_dropped);
        assert_eq!(told, std::mem::take(&mut self.crowded_out));
    }

    /// The server has seen this, on the connection with this number.
    pub fn saw(&mut self, wire: usize, number: u64, limited: bool) {
        let place = self.places.get(&number);
        let place = *place.unwrap_or_else(|| panic!("{number} was not let out"));
        assert!(self.arrived.insert(number), "{number} arrived twice");
        if let Some(last) = self.last.insert(wire, place) {
            // What is between them was lost on an open connection.
            let next = if limited {
                place > last
            } else {
                place == last + 1
            };
            assert!(next, "{place} came after {last} on {wire}");
        }
    }

    // Requests

    pub fn ask(&mut self, id: RequestId, asked: Asked) {
        assert!(self.requests.insert(id, asked).is_none());
    }

    pub fn answered(&mut self, now: Tick, id: RequestId, answer: &Result<Json, RequestError>) {
        let asked = self.requests.remove(&id);
        let asked = asked.unwrap_or_else(|| panic!("{id:?} is told twice, or never asked"));
        let waits = self.queue.iter().position(|w| w.request == Some(id));
        match answer {
            Ok(data) => {
                assert!(
                    data.as_str().contains(&format!("\"r\":{}", asked.number)),
                    "{data}"
                );
                assert!(
                    self.arrived.contains(&asked.number),
                    "nobody saw {}",
                    asked.number
                );
            }
            Err(RequestError::Refused(words)) => {
                assert_eq!(words.as_str(), "no");
                assert!(
                    self.arrived.contains(&asked.number),
                    "nobody saw {}",
                    asked.number
                );
            }
            Err(RequestError::TimedOut) => {
                assert!(asked.deadline <= now, "{id:?} ended too early");
                if let Some(at) = waits {
                    let waiting = self.queue.remove(at);
                    self.gone.insert(waiting.number);
                }
            }
            Err(RequestError::Disconnected) => {}
            // The queue is reconciled after this, and must agree.
            Err(RequestError::Dropped) => drop(self.told_dropped.insert(id)),
            Err(other) => panic!("{other}"),
        }
    }

    // Attempts and connections

    /// An attempt begins: with a dial, or with the hook that gives tokens.
    pub fn begin(&mut self, now: Tick) {
        assert!(!self.suspended, "an attempt while suspended");
        if self.live.is_some() {
            assert!(self.config.lifetime.is_some(), "two attempts at once");
            assert_eq!(self.state, State::Authenticated, "two attempts at once");
            self.renewal = Some(now);
            return;
        }
        assert!(
            matches!(self.state, State::Connecting | State::Reconnecting),
            "an attempt in {}",
            self.state
        );
        let early = now < self.not_before && !std::mem::take(&mut self.at_once);
        assert!(!early, "an attempt at {now:?}, not {:?}", self.not_before);
        self.live = Some(now);
    }

    pub fn entered(&mut self, now: Tick, state: State) {
        use State::{
            Authenticated, Authenticating, Connected, Connecting, Disconnected, Reconnecting,
        };
        let known = match self.state {
            Disconnected => matches!(state, Connecting),
            State::Error => matches!(state, Connecting | Disconnected),
            Connecting => matches!(
                state,
                Connected | Reconnecting | State::Error | Disconnected
            ),
            Connected => !matches!(state, Connecting | Connected),
            Authenticating => !matches!(state, Connecting | Connected | Authenticating),
            Authenticated => matches!(state, Reconnecting | State::Error | Disconnected),
            Reconnecting => matches!(
                state,
                Connected | Authenticated | State::Error | Disconnected
            ),
        };
        assert!(known, "from {} to {state}", self.state);
        self.state = state;
        if let Some((verdict, was_in)) = self.ended.take() {
            let again = match verdict {
                Verdict::Fatal | Verdict::Stay => false,
                Verdict::Reauthenticate => self.config.refresh,
                Verdict::Now | Verdict::Backoff | Verdict::After(_) => true,
            };
            let backoff = self.config.reconnect.as_ref();
            let tries = backoff.map_or(0, |backoff| match backoff.max_attempts {
                0 => u32::MAX,
                n => n.saturating_sub(self.failures),
            });
            let meant = backoff.is_none() && was_in && verdict != Verdict::Fatal;
            let expected = if again && tries > 0 {
                Reconnecting
            } else if verdict == Verdict::Stay || meant {
                Disconnected
            } else {
                State::Error
            };
            // Failed replacements count too, and are not told of.
            let untold = self.config.lifetime.is_some() && state == State::Error;
            assert!(
                state == expected || untold,
                "{state}, not {expected} after {verdict:?}"
            );
        }
        match state {
            Authenticated => {
                self.since = Some(now);
                self.connected_at = Some(unix_ms(now));
                self.arrivals += 1;
                self.begin = self.handed.len();
                self.got_in = true;
            }
            Disconnected | State::Error => {
                if self.since.take().is_some() {
                    self.disconnected_at = Some(unix_ms(now));
                }
                self.live = None;
                self.renewal = None;
            }
            Connecting => {
                self.failures = 0;
                self.not_before = Tick::ZERO;
            }
            Connected | Authenticating | Reconnecting => {}
        }
    }

    pub fn ended(&mut self, now: Tick, ending: &Ending, verdict: Verdict, wrong: bool) {
        let was_in = self.since.is_some();
        if let Some(since) = self.since.take() {
            self.disconnected_at = Some(unix_ms(now));
            let backoff = self.config.reconnect.as_ref();
            if backoff.is_some_and(|backoff| now.since(since) >= backoff.stable_after) {
                self.failures = 0;
            }
        }
        assert!(self.live.is_some(), "{ending} ends nothing");
        self.live = self.renewal.take();
        self.ended = Some((verdict, was_in));
        // Some have rules of their own, and who has a wrong key hears so.
        if self.kind != Kind::Pusher && !wrong {
            assert_eq!(verdict, expected(ending), "{ending}");
        }
    }

    pub fn reconnecting(&mut self, now: Tick, attempt: u32, wait: Duration, verdict: Verdict) {
        self.live = None;
        // One attempt after another, without a change of the state.
        if self.ended.take().is_some() {
            assert_eq!(self.state, State::Reconnecting);
        }
        self.reconnects += 1;
        let expected = self.failures + 1;
        let renews = self.config.lifetime.is_some();
        assert!(attempt == expected || renews, "{attempt}, not {expected}");
        self.failures = attempt;
        let backoff = self.config.reconnect.as_ref().expect("it comes back");
        let (cap, jitter) = (backoff.cap.as_secs_f64(), backoff.jitter);
        let growth = backoff
            .factor
            .powi(i32::try_from(attempt - 1).expect("few"));
        let base = (backoff.initial.as_secs_f64() * growth).min(cap);
        let least = base * (1.0 - jitter.less);
        let most = (base * (1.0 + jitter.more) + jitter.added.as_secs_f64()).min(cap);
        let (least, most) = match verdict {
            Verdict::After(hint) => {
                let hint = hint.as_secs_f64();
                let drawn = hint * (1.0 + jitter.less + jitter.more) + jitter.added.as_secs_f64();
                (least.max(hint), most.max(drawn))
            }
            Verdict::Now | Verdict::Backoff | Verdict::Reauthenticate => (least, most),
            Verdict::Stay | Verdict::Fatal => panic!("another attempt after {verdict:?}"),
        };
        let wait_s = wait.as_secs_f64();
        assert!(
            (least - 1e-6..=most + 1e-6).contains(&wait_s),
            "attempt {attempt} after {wait_s} s, not {least} to {most}"
        );
        self.not_before = now + wait;
        self.at_once = false;
    }

    // What comes

    pub fn heard(&mut self, now: Tick, incoming: &Incoming) {
        self.messages += 1;
        let text = match &incoming.data {
            Payload::Json(json) => json.as_str().to_owned(),
            Payload::Message(Message::Text(text)) => text.to_string(),
            Payload::Message(Message::Binary(_)) => panic!("nobody says such"),
        };
        self.message_bytes += text.len() as u64;
        let key = incoming.channel.as_deref().or(incoming.event.as_deref());
        let key = key.unwrap_or_default();
        let wanted = self.subscriptions.iter().filter(|(_, name)| {
            let start = name.strip_suffix('*');
            name.as_str() == key || start.is_some_and(|start| key.starts_with(start))
        });
        let wanted: Vec<_> = wanted.map(|(id, _)| *id).collect();
        assert_eq!(incoming.subscriptions, wanted, "{incoming:?}");
        if incoming.event.as_deref() == Some("__rate-limited__") {
            let ms = super::after(&text, "\"retryAfter\":").expect("when to go on");
            self.next_hold = self.hold.max(now + Duration::from_millis(ms));
        }
        if let Some(number) = super::after(&text, "\"s\":") {
            let times = self.heard.entry(number).or_default();
            *times += 1;
            if self.config.lifetime.is_none() {
                assert_eq!(*times, 1, "{number} came twice");
                assert!(
                    self.last_heard < number,
                    "{number} after {}",
                    self.last_heard
                );
                self.last_heard = number;
            }
        }
    }

    // At every step

    pub fn look(&self, now: Tick, stats: &ClientStats, next_timeout: Option<Tick>) {
        assert_eq!(stats.dropped, self.dropped);
        assert_eq!(stats.queued, self.queue.len());
        assert_eq!(stats.reconnect_attempts, self.reconnects);
        assert_eq!(stats.disconnected_at, self.disconnected_at);
        if self.config.lifetime.is_none() {
            assert_eq!(stats.connected_at, self.connected_at);
            assert_eq!(stats.uptime, self.since.map(|since| now.since(since)));
        }
        // One may wait for room on each connection, and is lost with it.
        let out = self.handed.len() as u64;
        let least = out.saturating_sub(1 + self.arrivals as u64);
        let replaced = self.config.lifetime.is_some();
        assert!(
            replaced || stats.messages_sent >= least,
            "{stats:?}, {out} went out"
        );
        match self.kind {
            Kind::Echo => {
                assert_eq!(stats.messages_received, self.messages);
                assert_eq!(stats.bytes_received, self.message_bytes);
                assert!(stats.messages_sent <= out);
                assert!(stats.bytes_sent <= self.handed_bytes);
                if stats.messages_sent == out {
                    assert_eq!(stats.bytes_sent, self.handed_bytes);
                }
            }
            Kind::Custom if self.config.ping.is_none() => assert!(stats.messages_sent <= out),
            // The protocol says things by itself.
            Kind::Open | Kind::Keyed | Kind::Sealed | Kind::Custom | Kind::Pusher => {}
        }
        if self.rests() {
            assert!(self.live.is_none());
        } else {
            assert!(
                self.suspended || next_timeout.is_some(),
                "it is stuck in {}",
                self.state
            );
            assert!(self.live.is_some() || self.state == State::Reconnecting);
        }
    }

    /// Its clock was brought to this time.
    pub fn in_time(&self, now: Tick) {
        let late = self
            .requests
            .iter()
            .find(|(_, asked)| asked.deadline <= now);
        assert!(late.is_none(), "nobody told what came of {late:?}");
        if let Some(since) = self.live
            && !matches!(self.state, State::Authenticated)
        {
            let until = since + self.config.connect_timeout;
            assert!(now < until, "an attempt of {since:?} goes on");
        }
    }

    /// All has moved, the host is well.
    pub fn at_peace(&self, limited: bool) {
        assert_eq!(self.state, State::Authenticated);
        assert!(self.queue.is_empty(), "{} wait", self.queue.len());
        assert!(self.requests.is_empty(), "{:?}", self.requests);
        // By a connection that lasts, everything arrives, also what had waited.
        let replaced = self.config.lifetime.is_some();
        for number in &self.handed[self.begin..] {
            let arrived = self.arrived.contains(number);
            assert!(arrived || limited || replaced, "{number} is lost");
        }
        for number in self.places.keys() {
            assert!(
                !self.gone.contains(number),
                "{number} went out and was dropped"
            );
        }
    }

    /// A message said in peace, after which nothing was lost.
    pub fn has_arrived(&self, number: u64) -> bool {
        self.arrived.contains(&number)
    }

    pub fn account(&self) -> (usize, usize, usize) {
        (self.handed.len(), self.arrived.len(), self.gone.len())
    }
}

/// What is to be done about an ending, row by row.
fn expected(ending: &Ending) -> Verdict {
    let Ending::Closed(closed) = ending else {
        return Verdict::Backoff;
    };
    if let Cause::Refused(response) = &closed.cause {
        let later = response.headers().get("retry-after");
        let later = later.map(|seconds| seconds.parse().expect("seconds"));
        return match (response.status(), later) {
            (401, _) => Verdict::Reauthenticate,
            (403, _) => Verdict::Fatal,
            (408 | 429 | 500 | 503, None) => Verdict::Backoff,
            (429 | 503, Some(seconds)) => Verdict::After(Duration::from_secs(seconds)),
            other => panic!("nobody said {other:?}"),
        };
    }
    match u16::from(closed.code) {
        1000 => Verdict::Stay,
        1001 | 1006 | 1012 | 1013 | 4000..=4999 => Verdict::Backoff,
        1008 => Verdict::Reauthenticate,
        3003 => Verdict::Fatal,
        other => panic!("nobody closed by {other}"),
    }
}
