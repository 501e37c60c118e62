//! The configuration file: TOML with the options' names.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::explain::Failure;
use crate::target;

use super::layers::{Origin, Problem, Said};
use super::table::{ROWS, find, tables};
use super::value::{Kind, Rate, Rates, Value, described};

/// Names of the systems this server takes the place of that are no options
/// here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ackTimeout", "an option of clients"),
    ("apiVersion", "there is one API"),
    ("authenticateFn", FUNCTION),
    ("ca", "certificates of clients are not asked for"),
    ("cert", "say tlsCert, on top, for all paths"),
    ("clientTracking", "clients are always tracked"),
    ("encryptedBatchLimit", "there is no such limit"),
    ("handshakeFn", FUNCTION),
    ("identifier", "servers choose their ids"),
    ("key", "say tlsKey, on top, for all paths"),
    ("maxReconnectAttempts", "an option of clients"),
    ("messageHandler", FUNCTION),
    ("namespace", "an option of clients"),
    ("outboundTransformer", FUNCTION),
    ("publishToSelf", "a client gets what it says to its rooms"),
    ("reconnectDelay", "an option of clients"),
    ("redisConnection", "servers do not share rooms yet"),
    (
        "rejectUnauthorized",
        "certificates of clients are not asked for",
    ),
    ("server", "this program is the server"),
    ("validateRoomFn", FUNCTION),
    ("verifyClient", FUNCTION),
];

const FUNCTION: &str = "a function, for servers made with the library";

/// The least likeness of a name that was probably meant, from 0 to 1.
const LIKENESS: f64 = 0.6;

/// Reads a file that must be there.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let bytes = target::read(path, "configuration")?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(format!("configuration {}: it is not UTF-8", path.display())))
}

/// What a file says, and what is wrong with it.
pub(crate) fn parse(text: &str) -> (Vec<Said>, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        said: Vec::new(),
        problems: Vec::new(),
    };
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.wrong(at, error.message().replace('\n', " "));
    }
    // What was understood of a broken file may not be what it says.
    if errors.is_empty() {
        reader.table(table.get_ref(), "");
    }
    (reader.said, reader.problems)
}

struct Reader<'a> {
    text: &'a str,
    said: Vec<Said>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Reads a table, whose name ends with a point unless it is the outermost.
    fn table(&mut self, table: &DeTable<'_>, prefix: &str) {
        for (key, value) in table.iter() {
            let at = key.span().start;
            let name = format!("{prefix}{}", key.get_ref());
            if let Some(row) = find(&name) {
                self.option(row, at, value.get_ref());
            } else if tables().contains(&&*name) {
                let value = value.get_ref();
                match value.as_table() {
                    Some(table) => self.table(table, &format!("{name}.")),
                    None => self.wrong(
                        at,
                        format!(
                            "{name}: expected a table, [{name}], not {}",
                            described(value)
                        ),
                    ),
                }
            } else {
                self.wrong(at, unknown(&name));
            }
        }
    }

    fn option(&mut self, row: usize, at: usize, value: &DeValue<'_>) {
        let (name, kind) = (ROWS[row].name, ROWS[row].kind);
        let read = match (kind, value) {
            (Kind::Rates, DeValue::Table(table)) => Ok(Value::Rates(self.rates(name, table))),
            _ => kind.read(value),
        };
        match read {
            Ok(value) => {
                let origin = Origin::Line(self.line(at));
                self.said.push(Said { row, value, origin });
            }
            Err(why) => self.wrong(at, format!("{name}: {why}")),
        }
    }

    /// A table for each event.
    fn rates(&mut self, name: &str, table: &DeTable<'_>) -> Rates {
        let mut rates = Rates::new();
        for (event, value) in table.iter() {
            let at = event.span().start;
            let full = format!("{name}.{}", event.get_ref());
            match value.get_ref().as_table() {
                Some(rate) => {
                    if let Some(rate) = self.rate(&full, at, rate) {
                        rates.insert(event.get_ref().to_string(), rate);
                    }
                }
                None => self.wrong(at, format!("{full}: {}", Kind::Rates.expected())),
            }
        }
        rates
    }

    fn rate(&mut self, name: &str, at: usize, table: &DeTable<'_>) -> Option<Rate> {
        let (mut window, mut max) = (None, None);
        let before = self.problems.len();
        for (key, value) in table.iter() {
            let at = key.span().start;
            let (kind, slot) = match &**key.get_ref() {
                "window" => (Kind::Number(1, Rate::LONGEST), &mut window),
                "maxRequests" => (Kind::Number(0, u32::MAX.into()), &mut max),
                other => {
                    self.wrong(
                        at,
                        format!("unknown option {name}.{other}; a rate has window and maxRequests"),
                    );
                    continue;
                }
            };
            match kind.read(value.get_ref()) {
                Ok(Value::Number(number)) => *slot = Some(number),
                Ok(_) => {}
                Err(why) => self.wrong(at, format!("{name}.{}: {why}", key.get_ref())),
            }
        }
        if let (Some(window), Some(max)) = (window, max) {
            return Rate::new(window, u32::try_from(max).ok()?);
        }
        if self.problems.len() == before {
            self.wrong(at, format!("{name}: needs both window and maxRequests"));
        }
        None
    }

    fn wrong(&mut self, at: usize, text: String) {
        let origin = Origin::Line(self.line(at));
        self.problems.push(Problem { origin, text });
    }

    /// The line a byte is on, counted from 1.
    fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// What to say about a name that is no option's.
fn unknown(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    let reason = ELSEWHERE.iter().find(|(other, _)| *other == last);
    match reason {
        Some((_, reason)) => format!("unknown option {name}: {reason}"),
        None => {
            let names = ROWS.iter().map(|row| row.name).chain(tables());
            format!("unknown option {name}{}", meaning(nearest(name, names)))
        }
    }
}

fn meaning(meant: Option<&str>) -> String {
    meant.map_or_else(
        || "; see smartsocket schema".into(),
        |meant| format!("; did you mean {meant}?"),
    )
}

/// The name that was probably meant.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_lowercase();
    let last = |name: &str| plain(name.rsplit('.').next().unwrap_or_default());
    let like = |other: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&plain(name), &plain(other));
        // In another table it may be right.
        let part = strsim::normalized_damerau_levenshtein(&last(name), &last(other));
        whole.max(part * 0.99)
    };
    let alike = names.map(|other| (like(other), other));
    let best = alike.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= LIKENESS).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_wrong_are_told_with_the_right_one() {
        for (text, expected) in [
            ("prot = 1", "unknown option prot; did you mean port?"),
            (
                "max_connections = 1",
                "unknown option max_connections; did you mean maxConnections?",
            ),
            (
                "MaxConnections = 1",
                "unknown option MaxConnections; did you mean maxConnections?",
            ),
            (
                "authTimeout = 1",
                "unknown option authTimeout; did you mean ignis.authTimeout?",
            ),
            (
                "[ignis]\nidleTimeout = 1",
                "unknown option ignis.idleTimeout; \
                 did you mean ignis.serverOptions.idleTimeout?",
            ),
            (
                "[ingis]\npath = 1",
                "unknown option ingis; did you mean ignis?",
            ),
            (
                "zzzzzz = 1",
                "unknown option zzzzzz; see smartsocket schema",
            ),
            (
                "[mb]\nverifyClient = 1",
                "unknown option mb.verifyClient: a function, for servers made with the library",
            ),
            (
                "eventRateLimits = { x = { window = 1, max = 1 } }",
                "unknown option eventRateLimits.x.max; a rate has window and maxRequests",
            ),
        ] {
            let (_, problems) = parse(text);
            let texts: Vec<_> = problems.iter().map(|problem| &*problem.text).collect();
            assert!(texts.contains(&expected), "{text}: {texts:?}");
        }
    }

    #[test]
    fn every_problem_has_its_line() {
        let text = "port = 70000\n\n[mb]\nmaxPayload = -1\n\n[api]\ncors = 5\ntoken = 1\n";
        let (_, problems) = parse(text);
        let lines: Vec<_> = problems.iter().map(|problem| problem.origin).collect();
        let expected = [7, 8, 4, 1].map(Origin::Line);
        assert_eq!(lines, expected, "{problems:?}");
        let (said, problems) = parse("port = 1\nhost = \n");
        assert!(said.is_empty());
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].origin, Origin::Line(2));
    }

    #[test]
    fn values_may_have_units() {
        for (text, name, expected) in [
            (
                "mb.maxPayload = \"64k\"",
                "mb.maxPayload",
                Value::Number(65_536),
            ),
            ("port = 0x50", "port", Value::Number(80)),
            (
                "connectionTimeout = \"1m 30s\"",
                "connectionTimeout",
                Value::Time(std::time::Duration::from_secs(90)),
            ),
            (
                "api.cors = \"*\"",
                "api.cors",
                Value::Texts(vec!["*".into()]),
            ),
            (
                "[eventRateLimits.\"a b\"]\nwindow = 5000\nmaxRequests = 5",
                "eventRateLimits",
                Value::Rates([("a b".into(), Rate::new(5_000, 5).unwrap())].into()),
            ),
        ] {
            let (said, problems) = parse(text);
            assert_eq!(problems, [], "{text}");
            assert_eq!(
                (said[0].row, &said[0].value),
                (find(name).unwrap(), &expected)
            );
        }
    }

    #[test]
    fn values_that_cannot_be_are_told_without_repeating_them() {
        for text in [
            "port = 65536",
            "port = -1",
            "port = 1.5",
            "port = \"x\"",
            "compressionLevel = 0",
            "compressionLevel = 10",
            "maxMessage = 0",
            "maxMessage = \"lots\"",
            "rateLimitWindow = 0",
            "rateLimitWindow = \"1ns\"",
            "rateLimitWindow = 99999999999999999999999",
            "ignis.serverOptions.idleTimeout = \"1500ms\"",
            "enableRateLimiting = \"yes\"",
            "host = \"\"",
            "host = \"a\\u0000\"",
            "ignis = 5",
            "ignis.path = \"ws\"",
            "ignis.path = \"/a//b\"",
            "ignis.defaultRooms = [1]",
            "preset = \"fast\"",
            "encryptionAlgorithm = \"rot13\"",
            "eventRateLimits = 5",
            "eventRateLimits.x = 5",
            "eventRateLimits.x = { window = 5 }",
            "eventRateLimits.x = { window = 0, maxRequests = 5 }",
        ] {
            let (said, problems) = parse(text);
            assert_eq!(problems.len(), 1, "{text}: {said:?} {problems:?}");
        }
        let (_, problems) = parse("apiKey = [\"hunter2\"]\napi.token = 7331");
        assert_eq!(problems.len(), 2);
        assert!(!format!("{problems:?}").contains("hunter2"));
        assert!(!format!("{problems:?}").contains("7331"));
    }
}
