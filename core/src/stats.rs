//! Figures of a server: what came and went, what was lost and why.

mod prometheus;

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::gate::Crowded;
use crate::json::Json;
use crate::offline::{Loss, Losses};
use crate::time::Tick;
use crate::websocket::Cause;

/// A server in five figures (SS-22 to SS-26). As JSON, its names are `camelCase`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections that are open.
    pub connections: usize,
    /// Resident memory of the process, such as `12.34 MB` (of 1,048,576
    /// bytes); `0.00 MB` where it is not known.
    pub memory_usage: String,
    /// Seconds since the server was made.
    pub uptime: f64,
    /// Messages received per second, over the last 10 s.
    pub messages_per_second: f64,
    /// Round trip of keepalive pings in milliseconds, a mean in which the
    /// latest count most; 0 before the first.
    pub average_latency: f64,
}

/// Names a list of causes, each by the word it has in metrics.
macro_rules! causes {
    ($(#[$about:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $cause:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        $vis enum $name { $($(#[$doc])* $cause,)* }

        impl $name {
            /// Every cause.
            $vis const ALL: &'static [Self] = &[$(Self::$cause),*];

            /// The word for it in metrics.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$cause => $word,)* }
            }
        }
    };
}

causes! {
    /// Why a message reached nobody, or not everybody.
    pub enum DropCause {
        /// The sender exceeded its limit.
        RateLimited = "rate_limited",
        /// The sender exceeded its limit of this event.
        EventRateLimited = "event_rate_limited",
        /// The receiver's outbound queue was full.
        Outbox = "outbox",
        /// Kept for a user who is away: too many for this user.
        OfflineMessages = "offline_messages",
        /// Kept for a user who is away: too many bytes for this user.
        OfflineBytes = "offline_bytes",
        /// Kept for a user who is away: for too long.
        OfflineAge = "offline_age",
        /// Kept for a user who is away: too many users.
        OfflineUsers = "offline_users",
        /// Kept for a user who is away: too many bytes for all.
        OfflineTotal = "offline_total",
        /// It is not in the form of the sender's dialect.
        Invalid = "invalid",
        /// It is no record of its session: `ERR_MSG_003`.
        Undecryptable = "undecryptable",
        /// The application stopped it.
        Blocked = "blocked",
        /// The receiver's connection was not open yet.
        NotOpen = "not_open",
        /// The application's handler failed.
        HandlerFailed = "handler_failed",
        /// The connection closed with the message in its queue.
        Closed = "closed",
    }
}

causes! {
    /// Why a connection did not come to be.
    pub enum RefuseCause {
        /// The server is full.
        Full = "full",
        /// Its address has as many as it may.
        Address = "address",
        /// Its request was not one for a WebSocket, or did not come.
        Request = "request",
        /// The application refused it.
        Application = "application",
        /// The server is shutting down.
        Stopping = "stopping",
    }
}

causes! {
    /// How a connection ended that was open.
    pub enum CloseCause {
        /// We closed it.
        Local = "local",
        /// The peer closed it.
        Peer = "peer",
        /// The stream ended without a close frame.
        Eof = "eof",
        /// A deadline passed.
        Timeout = "timeout",
        /// The peer broke the protocol or a limit.
        Violation = "violation",
        /// The network, the system or TLS failed.
        Fault = "fault",
    }
}

impl From<Loss> for DropCause {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Messages => Self::OfflineMessages,
            Loss::Bytes => Self::OfflineBytes,
            Loss::Age => Self::OfflineAge,
            Loss::Users => Self::OfflineUsers,
            Loss::Total => Self::OfflineTotal,
        }
    }
}

impl From<Crowded> for RefuseCause {
    fn from(crowded: Crowded) -> Self {
        match crowded {
            Crowded::Full(_) => Self::Full,
            Crowded::Address(..) => Self::Address,
        }
    }
}

impl CloseCause {
    /// `None` for how only a handshake ends.
    pub(crate) const fn of(cause: &Cause) -> Option<Self> {
        match cause {
            Cause::Local => Some(Self::Local),
            Cause::Peer => Some(Self::Peer),
            Cause::Eof => Some(Self::Eof),
            Cause::Timeout(_) => Some(Self::Timeout),
            Cause::Violation(_) => Some(Self::Violation),
            Cause::Fault(_) => Some(Self::Fault),
            #[cfg(feature = "tls")]
            Cause::Tls(_) => Some(Self::Fault),
            Cause::Head(_)
            | Cause::Handshake(_)
            | Cause::Answered(_)
            | Cause::Refused(_)
            | Cause::Tunnel(_) => None,
        }
    }
}

/// What a server counts. Noting something costs the same however much there is.
#[derive(Debug)]
pub(crate) struct Counters {
    started: Tick,
    received: Traffic,
    sent: Traffic,
    accepted: u64,
    refused: [u64; RefuseCause::ALL.len()],
    closed: [u64; CloseCause::ALL.len()],
    dropped: [u64; DropCause::ALL.len()],
    /// How long the closed connections were open.
    lasted: Duration,
    rate: Rate,
    latency: Latency,
}

#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    messages: u64,
    bytes: u64,
}

/// What is measured when figures are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    /// Open connections.
    pub(crate) connections: usize,
    pub(crate) rooms: usize,
    /// Resident memory in bytes, if the embedder told.
    pub(crate) resident: Option<u64>,
    /// The offline cache, if there is one.
    pub(crate) offline: Option<OfflineGauges>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfflineGauges {
    pub(crate) users: usize,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Counters {
    pub(crate) const fn new(now: Tick) -> Self {
        const NONE: Traffic = Traffic {
            messages: 0,
            bytes: 0,
        };
        Self {
            started: now,
            received: NONE,
            sent: NONE,
            accepted: 0,
            refused: [0; RefuseCause::ALL.len()],
            closed: [0; CloseCause::ALL.len()],
            dropped: [0; DropCause::ALL.len()],
            lasted: Duration::ZERO,
            rate: Rate {
                second: 0,
                counts: [0; SECONDS],
            },
            latency: Latency(None),
        }
    }

    /// A message came, whatever becomes of it.
    pub(crate) fn received(&mut self, now: Tick, bytes: usize) {
        self.received.messages += 1;
        self.received.bytes += bytes as u64;
        self.rate.count(now);
    }

    /// So many messages were queued for sending, of so many bytes together.
    pub(crate) const fn sent(&mut self, messages: usize, bytes: usize) {
        self.sent.messages += messages as u64;
        self.sent.bytes += bytes as u64;
    }

    /// A connection opened.
    pub(crate) const fn accepted(&mut self) {
        self.accepted += 1;
    }

    /// A connection did not come to be.
    pub(crate) const fn refused(&mut self, cause: RefuseCause) {
        self.refused[cause as usize] += 1;
    }

    /// A connection ended that had opened so long ago.
    pub(crate) fn closed(&mut self, cause: CloseCause, lasted: Duration) {
        self.closed[cause as usize] += 1;
        self.lasted = self.lasted.saturating_add(lasted);
    }

    /// So many messages were lost.
    pub(crate) const fn dropped(&mut self, cause: DropCause, messages: usize) {
        self.dropped[cause as usize] += messages as u64;
    }

    /// The offline cache lost some.
    pub(crate) fn lost(&mut self, losses: Losses) {
        for (loss, messages) in losses.iter() {
            self.dropped(loss.into(), messages);
        }
    }

    /// A keepalive ping was answered after this time.
    pub(crate) fn round_trip(&mut self, time: Duration) {
        self.latency.note(time);
    }

    /// Messages received.
    pub(crate) const fn received_messages(&self) -> u64 {
        self.received.messages
    }

    /// Messages queued for sending.
    pub(crate) const fn sent_messages(&self) -> u64 {
        self.sent.messages
    }

    /// Messages lost to a cause.
    pub(crate) const fn dropped_by(&self, cause: DropCause) -> u64 {
        self.dropped[cause as usize]
    }

    /// The figures of [`ServerStats`].
    pub(crate) fn stats(&self, now: Tick, gauges: &Gauges) -> ServerStats {
        ServerStats {
            connections: gauges.connections,
            memory_usage: format!("{:.2} MB", mega(gauges.resident.unwrap_or(0))),
            uptime: (now - self.started).as_secs_f64(),
            messages_per_second: self.rate.per_second(now, self.started),
            average_latency: self.latency.mean().as_secs_f64() * 1e3,
        }
    }

    /// RNode's figures (RN-51): `{"websocket":{"connections":…,"messages":…,"rooms":…}}`.
    pub(crate) fn to_metrics(&self, gauges: &Gauges) -> Json {
        json_of(&json!({
            "websocket": {
                "connections": gauges.connections,
                "rooms": gauges.rooms,
                "messages": self.received.messages,
            }
        }))
    }

    /// SmartSocket's figures, by the names they have there. What has no
    /// meaning here is 0 or left out: object and buffer pools, a predictive
    /// compressor, the heap of a virtual machine.
    pub(crate) fn to_json(&self, now: Tick, gauges: &Gauges) -> Json {
        let uptime = now - self.started;
        let limited =
            self.dropped_by(DropCause::RateLimited) + self.dropped_by(DropCause::EventRateLimited);
        let mut stats = json!({
            "uptime": format!("{:.2}s", uptime.as_secs_f64()),
            "connections": gauges.connections,
            "rooms": gauges.rooms,
            "rateLimiter": {
                "totalRequests": self.received.messages,
                "limitedRequests": limited,
                "limitRate": percent(limited, self.received.messages),
                "activeClients": gauges.connections,
            },
            "stats": {
                "messagesProcessed": self.received.messages.saturating_sub(limited),
                "messagesOptimized": 0,
                "optimizationRate": percent(0, 0),
                "cachedLookups": 0,
                "rateLimitedRequests": limited,
            },
            "transmission": {
                "totalMessages": self.sent.messages,
                "averageLatency": format!("{:.2}ms", self.latency.mean().as_secs_f64() * 1e3),
                "averageSpeed": format!("{:.2} KB/s", speed(self.sent.bytes, uptime)),
                "averageCompression": percent(0, 0),
                "totalDataTransmitted": format!("{:.2} MB", mega(self.sent.bytes)),
                "totalCompressed": format!("{:.2} MB", mega(0)),
                "bandwidthSaved": percent(0, 0),
            },
        });
        if let Some(resident) = gauges.resident {
            stats["memory"] = json!({ "rss": format!("{:.2}MB", mega(resident)) });
        }
        if let Some(offline) = &gauges.offline {
            stats["messageCache"] = json!({
                "users": offline.users,
                "messages": offline.messages,
                "bytes": offline.bytes,
            });
        }
        json_of(&stats)
    }
}

fn json_of(value: &Value) -> Json {
    Json::from_value(value).expect("a few dozen figures, two levels deep")
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// KiB per second.
fn speed(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1_024.0 / time.as_secs_f64().max(1.0)
}

fn percent(part: u64, of: u64) -> String {
    format!("{:.2}%", part as f64 * 100.0 / of.max(1) as f64)
}

const SECONDS: usize = 10;

/// Counts by the second, for the last ten of them.
#[derive(Debug)]
struct Rate {
    /// The last second in which something was counted.
    second: u64,
    /// Each at its number modulo 10.
    counts: [u32; SECONDS],
}

impl Rate {
    fn count(&mut self, now: Tick) {
        let second = (now.as_micros() / 1_000_000).max(self.second);
        for gone in 1..=(second - self.second).min(SECONDS as u64) {
            self.counts[Self::slot(self.second + gone)] = 0;
        }
        self.second = second;
        let count = &mut self.counts[Self::slot(second)];
        *count = count.saturating_add(1);
    }

    /// The mean of the last ten seconds, of which the tenth is not over, or of
    /// all since the start.
    fn per_second(&self, now: Tick, started: Tick) -> f64 {
        let now = now.max(Tick::from_micros(self.second * 1_000_000));
        let second = now.as_micros() / 1_000_000;
        let gone = (second - self.second).min(SECONDS as u64);
        let counts = (gone + 1..=SECONDS as u64)
            .map(|after| u64::from(self.counts[Self::slot(self.second + after)]));
        let begun = Tick::from_micros(second.saturating_sub(SECONDS as u64 - 1) * 1_000_000);
        let time = (now - begun.max(started)).as_secs_f64();
        counts.sum::<u64>() as f64 / time.max(1.0)
    }

    const fn slot(second: u64) -> usize {
        (second % SECONDS as u64) as usize
    }
}

/// A mean to which every new sample contributes 1/16.
#[derive(Debug)]
struct Latency(Option<Duration>);

impl Latency {
    fn note(&mut self, sample: Duration) {
        self.0 = Some(match self.0 {
            None => sample,
            Some(mean) => (mean - mean / 16).saturating_add(sample / 16),
        });
    }

    fn mean(&self) -> Duration {
        self.0.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadError;
    use crate::offline::{OfflineCache, OfflineConfig};
    use crate::websocket::Deadline;
    use proptest::prelude::*;

    pub(super) fn ms(n: u64) -> Tick {
        Tick::from_millis(n)
    }

    /// A server with something of everything, 100 s old.
    pub(super) fn busy() -> (Counters, Tick, Gauges) {
        let mut counters = Counters::new(ms(5_000));
        for n in 0..40 {
            counters.received(ms(96_500 + n * 200), 100);
        }
        counters.sent(3, 3 << 20);
        for cause in [CloseCause::Peer, CloseCause::Peer, CloseCause::Violation] {
            counters.accepted();
            counters.closed(cause, Duration::from_millis(1_500));
        }
        counters.accepted();
        counters.refused(RefuseCause::from(Crowded::Full(1)));
        counters.dropped(DropCause::RateLimited, 3);
        counters.dropped(DropCause::EventRateLimited, 1);
        counters.dropped(DropCause::Outbox, 2);
        let mut offline = OfflineCache::new(OfflineConfig {
            max_messages: 0,
            ..OfflineConfig::default()
        });
        counters.lost(offline.know(ms(0), &"u".into()));
        counters.lost(offline.push(ms(0), &"u".into(), 1, ()).unwrap());
        counters.round_trip(Duration::from_millis(16));
        counters.round_trip(Duration::from_millis(32));
        let gauges = Gauges {
            connections: 1,
            rooms: 2,
            resident: Some(12_939_428),
            offline: Some(OfflineGauges {
                users: 1,
                messages: 2,
                bytes: 300,
            }),
        };
        (counters, ms(105_000), gauges)
    }

    #[test]
    fn the_seeds_five_figures() {
        let (counters, now, gauges) = busy();
        let stats = counters.stats(now, &gauges);
        let text = serde_json::to_string(&stats).unwrap();
        // 40 messages from 96.5 s to 104.3 s, in the 9 s since 96 s.
        assert_eq!(
            text,
            "{\"connections\":1,\"memoryUsage\":\"12.34 MB\",\"uptime\":100.0,\
             \"messagesPerSecond\":4.444444444444445,\"averageLatency\":17.0}"
        );
        let fresh = Counters::new(now).stats(now, &Gauges::default());
        assert_eq!(fresh.memory_usage, "0.00 MB");
        assert_eq!(
            (
                fresh.uptime,
                fresh.messages_per_second,
                fresh.average_latency
            ),
            (0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn smartsockets_figures() {
        let (counters, now, gauges) = busy();
        assert_eq!(
            counters.to_json(now, &gauges).as_str(),
            "{\"connections\":1,\
             \"memory\":{\"rss\":\"12.34MB\"},\
             \"messageCache\":{\"bytes\":300,\"messages\":2,\"users\":1},\
             \"rateLimiter\":{\"activeClients\":1,\"limitRate\":\"10.00%\",\"limitedRequests\":4,\
             \"totalRequests\":40},\
             \"rooms\":2,\
             \"stats\":{\"cachedLookups\":0,\"messagesOptimized\":0,\"messagesProcessed\":36,\
             \"optimizationRate\":\"0.00%\",\"rateLimitedRequests\":4},\
             \"transmission\":{\"averageCompression\":\"0.00%\",\"averageLatency\":\"17.00ms\",\
             \"averageSpeed\":\"30.72 KB/s\",\"bandwidthSaved\":\"0.00%\",\
             \"totalCompressed\":\"0.00 MB\",\"totalDataTransmitted\":\"3.00 MB\",\
             \"totalMessages\":3},\
             \"uptime\":\"100.00s\"}"
        );
        let fresh = Counters::new(now).to_json(now, &Gauges::default());
        assert!(!fresh.as_str().contains("memory") && !fresh.as_str().contains("messageCache"));
        assert!(fresh.as_str().contains("\"limitRate\":\"0.00%\""));
    }

    #[test]
    fn rnodes_figures() {
        let (counters, _, gauges) = busy();
        assert_eq!(
            counters.to_metrics(&gauges).as_str(),
            "{\"websocket\":{\"connections\":1,\"messages\":40,\"rooms\":2}}"
        );
    }

    #[test]
    fn every_end_of_an_open_connection_is_counted_somewhere() {
        for (cause, expected) in [
            (Cause::Local, Some(CloseCause::Local)),
            (Cause::Timeout(Deadline::Pong), Some(CloseCause::Timeout)),
            (Cause::Head(HeadError::Host), None),
            (Cause::Answered(404), None),
        ] {
            assert_eq!(CloseCause::of(&cause), expected);
        }
    }

    #[test]
    fn causes_have_words_of_their_own_in_their_order() {
        for (place, cause) in DropCause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, place);
            let same = DropCause::ALL
                .iter()
                .filter(|other| other.as_str() == cause.as_str());
            assert_eq!(same.count(), 1);
        }
        assert_eq!(DropCause::from(Loss::Age).as_str(), "offline_age");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate {
            second: 0,
            counts: [0; SECONDS],
        };
        let at = |rate: &Rate, millis| rate.per_second(ms(millis), Tick::ZERO);
        for n in 0..100 {
            rate.count(ms(n));
        }
        assert_eq!(at(&rate, 100), 100.0, "of a first second that is not over");
        assert_eq!(at(&rate, 2_000), 50.0);
        assert_eq!(at(&rate, 9_999), 100.0 / 9.999);
        assert_eq!(at(&rate, 10_000), 0.0);
        rate.count(ms(15_000));
        // A time before the last one counts as that.
        rate.count(ms(1));
        assert_eq!(at(&rate, 0), 2.0 / 9.0);
        assert_eq!(at(&rate, 24_999), 2.0 / 9.999);
        assert_eq!(at(&rate, 25_000), 0.0);
        assert_eq!(rate.per_second(Tick::MAX, Tick::ZERO), 0.0);
        rate.count(Tick::MAX);
    }

    #[test]
    fn the_mean_latency_follows_what_comes() {
        let mut latency = Latency(None);
        for _ in 0..200 {
            latency.note(Duration::from_millis(10));
        }
        assert_eq!(latency.mean().as_millis(), 10);
        for _ in 0..200 {
            latency.note(Duration::from_millis(50));
        }
        assert!((49..=50).contains(&latency.mean().as_millis()));
        latency.note(Duration::MAX);
        latency.note(Duration::MAX);
    }

    proptest! {
        #[test]
        fn the_rate_is_what_a_list_of_moments_says(
            pauses in proptest::collection::vec(prop_oneof![0..50_u64, 0..20_000_u64], 1..100),
            later in 0..20_000_u64,
        ) {
            let mut rate = Rate { second: 0, counts: [0; SECONDS] };
            let (mut now, mut moments) = (0, alloc::vec::Vec::new());
            for pause in pauses {
                now += pause;
                rate.count(ms(now));
                moments.push(now);
            }
            let now = now + later;
            let begun = (now / 1_000).saturating_sub(9) * 1_000;
            let count = moments.iter().filter(|&&moment| moment >= begun).count();
            let time = ((now - begun) as f64 / 1e3).max(1.0);
            let found = rate.per_second(ms(now), Tick::ZERO);
            prop_assert!((found - count as f64 / time).abs() < 1e-9);
        }
    }
}
