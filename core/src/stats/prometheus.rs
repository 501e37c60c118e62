//! Figures in Prometheus's text format, version 0.0.4.

use alloc::string::String;
use core::fmt::{self, Display, Write as _};
use core::time::Duration;

use super::{CloseCause, Counters, DropCause, Gauges, RefuseCause};
use crate::time::Tick;

/// Rooms with a line of their own; the others are counted only.
const MAX_ROOMS: usize = 1_000;

impl Counters {
    /// All figures: RNode's by its names, and more. `rooms` are ids, names and
    /// numbers of members; the first 1,000 are listed.
    pub(crate) fn to_prometheus<'a>(
        &self,
        now: Tick,
        gauges: &Gauges,
        rooms: impl IntoIterator<Item = (&'a str, &'a str, usize)>,
    ) -> String {
        let mut text = Text::default();
        let closed: u64 = self.closed.iter().sum();
        let closed_by = |cause: CloseCause| self.closed[cause as usize];

        let name = "rnode_server_websocket_connections_total";
        text.counter(name, "Connections that opened.", self.accepted);
        let name = "rnode_server_websocket_disconnections_total";
        text.counter(name, "Connections that closed.", closed);
        let name = "rnode_server_websocket_connections_active";
        text.gauge(name, "Connections that are open.", gauges.connections);
        let name = "rnode_server_websocket_messages_received_total";
        text.counter(name, "Messages received.", self.received.messages);
        let name = "rnode_server_websocket_messages_sent_total";
        text.counter(name, "Messages queued for sending.", self.sent.messages);
        let name = "rnode_server_websocket_rooms_total";
        text.gauge(name, "Rooms that there are.", gauges.rooms);

        let name = "rnode_server_websocket_room_connections";
        text.head(name, "gauge", "Connections in a room.");
        for (id, room, members) in rooms.into_iter().take(MAX_ROOMS) {
            let (id, room) = (Label(id), Label(room));
            text.line(format_args!(
                "{name}{{room_id=\"{id}\",room_name=\"{room}\"}} {members}"
            ));
        }

        let name = "rnode_server_websocket_connection_duration_seconds";
        text.head(name, "summary", "How long closed connections were open.");
        text.line(format_args!("{name}_sum {}", Seconds(self.lasted)));
        text.line(format_args!("{name}_count {closed}"));

        let name = "rnode_server_websocket_message_size_bytes";
        text.head(name, "summary", "Lengths of messages.");
        for (way, traffic) in [("received", self.received), ("sent", self.sent)] {
            let (bytes, messages) = (traffic.bytes, traffic.messages);
            text.line(format_args!("{name}_sum{{direction=\"{way}\"}} {bytes}"));
            text.line(format_args!(
                "{name}_count{{direction=\"{way}\"}} {messages}"
            ));
        }

        let name = "rnode_server_websocket_errors_total";
        text.head(name, "counter", "Connections and handlers that failed.");
        for (error, count) in [
            ("violation", closed_by(CloseCause::Violation)),
            ("timeout", closed_by(CloseCause::Timeout)),
            ("fault", closed_by(CloseCause::Fault)),
            ("handler", self.dropped_by(DropCause::HandlerFailed)),
        ] {
            text.line(format_args!("{name}{{error_type=\"{error}\"}} {count}"));
        }

        let name = "smartsocket_messages_dropped_total";
        text.head(name, "counter", "Messages that were lost.");
        for &cause in DropCause::ALL {
            text.cause(name, cause.as_str(), self.dropped_by(cause));
        }
        let name = "smartsocket_connections_refused_total";
        text.head(name, "counter", "Connections that did not come to be.");
        for &cause in RefuseCause::ALL {
            text.cause(name, cause.as_str(), self.refused[cause as usize]);
        }
        let name = "smartsocket_connections_closed_total";
        text.head(name, "counter", "Connections that closed.");
        for &cause in CloseCause::ALL {
            text.cause(name, cause.as_str(), closed_by(cause));
        }

        let stats = self.stats(now, gauges);
        let name = "smartsocket_messages_per_second";
        let about = "Messages received per second, over the last 10 seconds.";
        text.gauge(name, about, stats.messages_per_second);
        let name = "smartsocket_latency_seconds";
        let about = "Round trip of keepalive pings, a moving mean.";
        text.gauge(name, about, Seconds(self.latency.mean()));
        let name = "smartsocket_uptime_seconds";
        text.gauge(name, "Time since the start.", Seconds(now - self.started));
        if let Some(offline) = &gauges.offline {
            let name = "smartsocket_offline_users";
            text.gauge(name, "Users that messages are kept for.", offline.users);
            let name = "smartsocket_offline_messages";
            text.gauge(name, "Messages kept for users.", offline.messages);
            let name = "smartsocket_offline_bytes";
            text.gauge(name, "Memory these take.", offline.bytes);
        }
        if let Some(resident) = gauges.resident {
            let name = "process_resident_memory_bytes";
            text.gauge(name, "Resident memory of the process.", resident);
        }
        text.0
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn counter(&mut self, name: &str, about: &str, value: u64) {
        self.head(name, "counter", about);
        self.line(format_args!("{name} {value}"));
    }

    fn gauge(&mut self, name: &str, about: &str, value: impl Display) {
        self.head(name, "gauge", about);
        self.line(format_args!("{name} {value}"));
    }

    fn head(&mut self, name: &str, kind: &str, about: &str) {
        self.line(format_args!("# HELP {name} {about}\n# TYPE {name} {kind}"));
    }

    fn cause(&mut self, name: &str, cause: &str, count: u64) {
        self.line(format_args!("{name}{{cause=\"{cause}\"}} {count}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// The value of a label, which a client may have chosen.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{busy, ms};
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    const GOLDEN: &str = r#"# HELP rnode_server_websocket_connections_total Connections that opened.
# TYPE rnode_server_websocket_connections_total counter
rnode_server_websocket_connections_total 4
# HELP rnode_server_websocket_disconnections_total Connections that closed.
# TYPE rnode_server_websocket_disconnections_total counter
rnode_server_websocket_disconnections_total 3
# HELP rnode_server_websocket_connections_active Connections that are open.
# TYPE rnode_server_websocket_connections_active gauge
rnode_server_websocket_connections_active 1
# HELP rnode_server_websocket_messages_received_total Messages received.
# TYPE rnode_server_websocket_messages_received_total counter
rnode_server_websocket_messages_received_total 40
# HELP rnode_server_websocket_messages_sent_total Messages queued for sending.
# TYPE rnode_server_websocket_messages_sent_total counter
rnode_server_websocket_messages_sent_total 3
# HELP rnode_server_websocket_rooms_total Rooms that there are.
# TYPE rnode_server_websocket_rooms_total gauge
rnode_server_websocket_rooms_total 2
# HELP rnode_server_websocket_room_connections Connections in a room.
# TYPE rnode_server_websocket_room_connections gauge
rnode_server_websocket_room_connections{room_id="room_1",room_name="general"} 1
rnode_server_websocket_room_connections{room_id="room_2",room_name="a \"b\" \\c\nd"} 0
# HELP rnode_server_websocket_connection_duration_seconds How long closed connections were open.
# TYPE rnode_server_websocket_connection_duration_seconds summary
rnode_server_websocket_connection_duration_seconds_sum 4.500000
rnode_server_websocket_connection_duration_seconds_count 3
# HELP rnode_server_websocket_message_size_bytes Lengths of messages.
# TYPE rnode_server_websocket_message_size_bytes summary
rnode_server_websocket_message_size_bytes_sum{direction="received"} 4000
rnode_server_websocket_message_size_bytes_count{direction="received"} 40
rnode_server_websocket_message_size_bytes_sum{direction="sent"} 3145728
rnode_server_websocket_message_size_bytes_count{direction="sent"} 3
# HELP rnode_server_websocket_errors_total Connections and handlers that failed.
# TYPE rnode_server_websocket_errors_total counter
rnode_server_websocket_errors_total{error_type="violation"} 1
rnode_server_websocket_errors_total{error_type="timeout"} 0
rnode_server_websocket_errors_total{error_type="fault"} 0
rnode_server_websocket_errors_total{error_type="handler"} 0
# HELP smartsocket_messages_dropped_total Messages that were lost.
# TYPE smartsocket_messages_dropped_total counter
smartsocket_messages_dropped_total{cause="rate_limited"} 3
smartsocket_messages_dropped_total{cause="event_rate_limited"} 1
smartsocket_messages_dropped_total{cause="outbox"} 2
smartsocket_messages_dropped_total{cause="offline_messages"} 1
smartsocket_messages_dropped_total{cause="offline_bytes"} 0
smartsocket_messages_dropped_total{cause="offline_age"} 0
smartsocket_messages_dropped_total{cause="offline_users"} 0
smartsocket_messages_dropped_total{cause="offline_total"} 0
smartsocket_messages_dropped_total{cause="invalid"} 0
smartsocket_messages_dropped_total{cause="undecryptable"} 0
smartsocket_messages_dropped_total{cause="blocked"} 0
smartsocket_messages_dropped_total{cause="not_open"} 0
smartsocket_messages_dropped_total{cause="handler_failed"} 0
smartsocket_messages_dropped_total{cause="closed"} 0
# HELP smartsocket_connections_refused_total Connections that did not come to be.
# TYPE smartsocket_connections_refused_total counter
smartsocket_connections_refused_total{cause="full"} 1
smartsocket_connections_refused_total{cause="address"} 0
smartsocket_connections_refused_total{cause="request"} 0
smartsocket_connections_refused_total{cause="application"} 0
smartsocket_connections_refused_total{cause="stopping"} 0
# HELP smartsocket_connections_closed_total Connections that closed.
# TYPE smartsocket_connections_closed_total counter
smartsocket_connections_closed_total{cause="local"} 0
smartsocket_connections_closed_total{cause="peer"} 2
smartsocket_connections_closed_total{cause="eof"} 0
smartsocket_connections_closed_total{cause="timeout"} 0
smartsocket_connections_closed_total{cause="violation"} 1
smartsocket_connections_closed_total{cause="fault"} 0
# HELP smartsocket_messages_per_second Messages received per second, over the last 10 seconds.
# TYPE smartsocket_messages_per_second gauge
smartsocket_messages_per_second 4.444444444444445
# HELP smartsocket_latency_seconds Round trip of keepalive pings, a moving mean.
# TYPE smartsocket_latency_seconds gauge
smartsocket_latency_seconds 0.017000
# HELP smartsocket_uptime_seconds Time since the start.
# TYPE smartsocket_uptime_seconds gauge
smartsocket_uptime_seconds 100.000000
# HELP smartsocket_offline_users Users that messages are kept for.
# TYPE smartsocket_offline_users gauge
smartsocket_offline_users 1
# HELP smartsocket_offline_messages Messages kept for users.
# TYPE smartsocket_offline_messages gauge
smartsocket_offline_messages 2
# HELP smartsocket_offline_bytes Memory these take.
# TYPE smartsocket_offline_bytes gauge
smartsocket_offline_bytes 300
# HELP process_resident_memory_bytes Resident memory of the process.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 12939428
"#;

    #[test]
    fn everything_has_its_line() {
        let (counters, now, gauges) = busy();
        let rooms = [("room_1", "general", 1), ("room_2", "a \"b\" \\c\nd", 0)];
        assert_eq!(counters.to_prometheus(now, &gauges, rooms), GOLDEN);
    }

    /// What a scraper refuses: a name described twice, a line that belongs to
    /// no name, a counter called otherwise.
    #[test]
    fn the_format_holds_whatever_rooms_are_called() {
        let names: Vec<_> = (0..2_000)
            .map(|n| alloc::format!("{n}\"}} 1\nevil 1\\"))
            .collect();
        let rooms = names.iter().map(|name| (&name[..], &name[..], 1));
        let (counters, _, _) = busy();
        let text = counters.to_prometheus(ms(105_000), &Gauges::default(), rooms);
        let mut described = BTreeSet::new();
        let (mut name, mut rooms) = ("", 0);
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                name = rest.split(' ').next().unwrap();
                assert!(described.insert(name), "{name} twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let kind = rest.strip_prefix(name).unwrap().trim();
                let counts = name.ends_with("_total") && !name.ends_with("rooms_total");
                assert_eq!(counts, kind == "counter", "{line}");
            } else {
                assert!(line.starts_with(name), "{line}");
                let value = line.rsplit(' ').next().unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                rooms += usize::from(name.ends_with("room_connections"));
            }
        }
        assert_eq!(rooms, MAX_ROOMS);
    }
}
