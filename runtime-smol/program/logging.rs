//! Log lines on stderr, chosen by level or by name.
//!
//! `--log` chooses by level. `DEBUG` chooses by name, with the rules of the npm
//! package `debug`: names separated by commas or spaces, `*` for any
//! characters, `-name` to leave one out. A line is shown if either wants it,
//! and looks as SmartSocket's do if `DEBUG` does (SS-106, SS-108).

use std::io::Write as _;

use log::{LevelFilter, Log, Metadata, Record};

use crate::output::{printable, timestamp};

/// Installs the logger.
pub(crate) fn start(level: LevelFilter, debug: Option<&str>) {
    let names = Names::parse(debug.unwrap_or_default());
    log::set_max_level(if names.enabled.is_empty() {
        level
    } else {
        LevelFilter::Trace
    });
    // It fails only if there is a logger already, which then does the work.
    let _ = log::set_boxed_logger(Box::new(Logger { level, names }));
}

/// Reads a level.
pub(crate) fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| "expected off, error, warn, info, debug or trace".into())
}

struct Logger {
    level: LevelFilter,
    names: Names,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = if metadata.target().starts_with("smartsocket") {
            self.level
        } else {
            // Other crates log for their own authors.
            self.level.min(LevelFilter::Warn)
        };
        metadata.level() <= level || self.names.enables(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // One write, so that lines of several threads do not mix.
            let _ = std::io::stderr()
                .lock()
                .write_all(self.line(record).as_bytes());
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn line(&self, record: &Record<'_>) -> String {
        let text = printable(&record.args().to_string());
        let target = record.target();
        if self.names.enables(target) {
            let who = target.split(':').next().unwrap_or(target);
            let level = record.level().as_str().to_lowercase();
            return format!("[{who}] [{level}] {text}\n");
        }
        format!("{} {:5} {target} {text}\n", timestamp(), record.level())
    }
}

/// The names `DEBUG` asks for.
#[derive(Debug, Default)]
struct Names {
    enabled: Vec<String>,
    skipped: Vec<String>,
}

impl Names {
    fn parse(text: &str) -> Self {
        let mut names = Self::default();
        let parts = text.split(|c: char| c == ',' || c.is_whitespace());
        for part in parts.filter(|part| !part.is_empty()) {
            match part.strip_prefix('-') {
                Some(skipped) => names.skipped.push(skipped.into()),
                None => names.enabled.push(part.into()),
            }
        }
        names
    }

    fn enables(&self, name: &str) -> bool {
        let among = |templates: &[String]| {
            templates
                .iter()
                .any(|template| matches(name.as_bytes(), template.as_bytes()))
        };
        !among(&self.skipped) && among(&self.enabled)
    }
}

/// Whether the name fits the template, in which `*` stands for any
/// characters. Takes time in proportion to the product of both lengths.
fn matches(name: &[u8], template: &[u8]) -> bool {
    let (mut at, mut wanted) = (0, 0);
    // The last star, and how much of the name it has taken.
    let mut star = None;
    while at < name.len() {
        match template.get(wanted) {
            Some(b'*') => {
                star = Some((wanted, at));
                wanted += 1;
            }
            Some(byte) if *byte == name[at] => {
                wanted += 1;
                at += 1;
            }
            Some(_) | None => {
                let Some((place, taken)) = star else {
                    return false;
                };
                star = Some((place, taken + 1));
                (wanted, at) = (place + 1, taken + 1);
            }
        }
    }
    template[wanted..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What npm's debug 4.4.3 answers.
    #[test]
    fn names_are_chosen_as_npm_debug_does() {
        for (debug, name, expected) in [
            ("", "smartsocket:server", false),
            ("*", "smartsocket:server", true),
            ("*", "", true),
            ("smartsocket:*", "smartsocket:server", true),
            ("smartsocket:*", "smartsocket:", true),
            ("smartsocket:*", "smartsocket", false),
            ("smartsocket*", "smartsocket", true),
            ("smartsocket", "smartsocket:server", false),
            ("smartsocket:server", "smartsocket:server", true),
            ("smartsocket:server", "smartsocket:server:x", false),
            ("SMARTSOCKET:*", "smartsocket:server", false),
            ("a,smartsocket:tls", "smartsocket:tls", true),
            ("a smartsocket:tls", "smartsocket:tls", true),
            (" a ,\t smartsocket:tls,, ", "smartsocket:tls", true),
            ("*,-smartsocket:tls", "smartsocket:tls", false),
            ("*,-smartsocket:tls", "smartsocket:server", true),
            ("-smartsocket:tls,*", "smartsocket:tls", false),
            ("-smartsocket:tls", "smartsocket:server", false),
            ("smartsocket:*,-*:server", "smartsocket:server", false),
            ("smartsocket:*,-*:server", "smartsocket:tls", true),
            ("*:server", "smartsocket:server", true),
            ("*:ser", "smartsocket:server", false),
            ("s*:*r", "smartsocket:server", true),
            ("s*t:*", "smartsocket:server", true),
            ("s**r", "smartsocket:server", true),
            ("*sock*serv*", "smartsocket:server", true),
            ("-", "smartsocket:server", false),
            ("*,-", "smartsocket:server", true),
            ("smart.ocket:*", "smartsocket:server", false),
        ] {
            assert_eq!(
                Names::parse(debug).enables(name),
                expected,
                "DEBUG={debug:?} {name}"
            );
        }
    }

    #[test]
    fn lines_look_as_who_asked_for_them_expects() {
        let logger = Logger {
            level: LevelFilter::Info,
            names: Names::parse("smartsocket:client"),
        };
        let line = |target| {
            let record = Record::builder()
                .level(log::Level::Info)
                .target(target)
                .args(format_args!("Connected\nto server"))
                .build();
            logger.line(&record)
        };
        assert_eq!(
            line("smartsocket:client"),
            "[smartsocket] [info] Connected\\nto server\n"
        );
        let long = line("smartsocket:server");
        let (time, rest) = long.split_once(' ').unwrap();
        assert!(time.ends_with('Z'), "{time}");
        assert_eq!(rest, "INFO  smartsocket:server Connected\\nto server\n");
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let template = "*a".repeat(30) + "b";
        assert!(!matches("a".repeat(2_000).as_bytes(), template.as_bytes()));
    }

    #[test]
    fn a_line_is_shown_by_level_or_by_name() {
        let logger = Logger {
            level: LevelFilter::Info,
            names: Names::parse("smartsocket:tls other"),
        };
        let shown = |level, target| {
            logger.enabled(&Metadata::builder().level(level).target(target).build())
        };
        assert!(shown(log::Level::Info, "smartsocket:server"));
        assert!(!shown(log::Level::Debug, "smartsocket:server"));
        assert!(shown(log::Level::Trace, "smartsocket:tls"));
        assert!(shown(log::Level::Warn, "polling"));
        assert!(!shown(log::Level::Info, "polling"));
        assert!(shown(log::Level::Trace, "other"));
    }
}
