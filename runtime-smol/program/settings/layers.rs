//! Puts together what flags, the environment, a file and a preset say: in this
//! order the first that says something counts.

use std::fmt;
use std::path::Path;

use smartsocket_smol::http::{Pattern, Router};

use crate::explain::Failure;

use super::flags::Flags;
use super::table::{NAMES, ROWS, find};
use super::value::Value;
use super::{Settings, encryption, file, preset};

/// Who said a value, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Default,
    Preset,
    /// A line of the file, counted from 1.
    Line(usize),
    Environment,
    Flag,
}

/// Something said about an option.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// The number of the row.
    pub(crate) row: usize,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// What is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) origin: Origin,
    pub(crate) text: String,
}

/// A configuration that can be served.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// Who said so, by the numbers of the rows.
    pub(super) origins: Vec<Origin>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
}

impl Loaded {
    /// Reads everything and holds it against itself.
    ///
    /// # Errors
    ///
    /// All that is wrong, a line for each.
    pub(crate) fn load(path: Option<&Path>, flags: Flags) -> Result<Self, Failure> {
        let (mut said, mut problems) = match path {
            Some(path) => file::parse(&file::read(path)?),
            None => (Vec::new(), Vec::new()),
        };
        said.extend(flags.said());
        let mut loaded = Self::of(said);
        loaded.notes.extend(Flags::doubts());
        problems.extend(loaded.problems());
        if problems.is_empty() {
            return Ok(loaded);
        }
        problems.sort_by_key(|problem| problem.origin);
        // It is the command line that was wrong, or the file.
        let usage = problems
            .iter()
            .all(|problem| !matches!(problem.origin, Origin::Line(_)));
        let lines = problems.iter().map(|problem| match (problem.origin, path) {
            (Origin::Line(line), Some(path)) => {
                format!("{}:{line}: {}", path.display(), problem.text)
            }
            _ => problem.text.clone(),
        });
        let text = lines.collect::<Vec<_>>().join("\nerror: ");
        Err(if usage {
            Failure::usage(text)
        } else {
            Failure::new(text)
        })
    }

    /// Whether somebody said what this option is.
    pub(crate) fn is_said(&self, name: &str) -> bool {
        find(name).is_some_and(|row| self.origins[row] != Origin::Default)
    }

    /// Lays what was said over each other.
    fn of(mut said: Vec<Said>) -> Self {
        // The preset is an option as well.
        let chosen = said
            .iter()
            .filter(|said| ROWS[said.row].name == "preset")
            .max_by_key(|said| said.origin);
        if let Some(Said {
            value: Value::Text(name),
            ..
        }) = chosen
        {
            let values = preset::values(name).map(|(row, value)| Said {
                row,
                value,
                origin: Origin::Preset,
            });
            said.extend(values.collect::<Vec<_>>());
        }
        said.sort_by_key(|said| said.origin);
        let mut settings = Settings::default();
        let mut origins = vec![Origin::Default; ROWS.len()];
        for Said { row, value, origin } in said {
            ROWS[row].set(&mut settings, value);
            origins[row] = origin;
        }
        let notes = notes(&settings);
        Self {
            settings,
            origins,
            notes,
        }
    }

    /// What does not fit together.
    fn problems(&self) -> Vec<Problem> {
        let settings = &self.settings;
        let mut problems = Vec::new();
        let mut wrong = |name: &str, text: &dyn fmt::Display| {
            let origin = find(name).map_or(Origin::Default, |row| self.origins[row]);
            problems.push(Problem {
                origin,
                text: format!("{}: {text}", self.named(name)),
            });
        };
        for (one, other, there, missing) in [
            ("tlsCert", "tlsKey", &settings.tls_cert, &settings.tls_key),
            ("tlsKey", "tlsCert", &settings.tls_key, &settings.tls_cert),
        ] {
            if there.is_some() && missing.is_none() {
                wrong(one, &format_args!("needs {} as well", self.named(other)));
            }
        }
        if let Err((name, text)) = encryption::read(settings) {
            wrong(name, &text);
        }
        for (name, secrets) in [
            ("apiKey", settings.api_key.as_slice()),
            ("apiKeys", &settings.api_keys),
            ("api.token", settings.api.token.as_slice()),
        ] {
            if secrets.iter().any(|secret| secret.0.is_empty()) {
                wrong(name, &"expected a text that is not empty");
            }
        }
        for origin in &settings.api.cors {
            if !is_origin(origin) {
                wrong(
                    "api.cors",
                    &"expected origins such as \"https://app.example.com\", or \"*\"",
                );
            }
        }
        // What the application has, and then what can be moved.
        let fixed = ["/", "/chat", "/echo", "/pub", "/sub"].map(|path| ("", path));
        let moved = [
            ("ignis.path", &*settings.ignis.path),
            ("mb.path", &*settings.mb.path),
            ("rnode.path", &*settings.rnode.path),
        ];
        let mut router = Router::new();
        for (name, path) in fixed.into_iter().chain(moved) {
            // A path that is none was told of when it was read.
            if let Ok(pattern) = Pattern::parse(path)
                && router.add(pattern, ()).is_err()
            {
                wrong(name, &format_args!("{path} is the path of something else"));
            }
        }
        problems
    }

    /// An option by the name its user knows.
    fn named(&self, name: &str) -> String {
        let Some(row) = find(name) else {
            return name.into();
        };
        let flag = || format!("--{}", NAMES[row].flag);
        match self.origins[row] {
            Origin::Environment => NAMES[row].variable.clone(),
            Origin::Flag => flag(),
            // Nobody said it: as others were said.
            Origin::Default if self.origins.contains(&Origin::Flag) => flag(),
            Origin::Default | Origin::Preset | Origin::Line(_) => name.into(),
        }
    }
}

/// Whether pages can be of this origin: a scheme, a host and perhaps a port.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_host = |host: &str| {
        let host = host.strip_suffix('/').unwrap_or(host);
        !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' '])
    };
    text == "*" || host.is_some_and(is_host)
}

/// What is no mistake, but may surprise.
fn notes(settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    if settings.preset.as_deref() == Some("mobile") {
        notes.push("note: the preset mobile is for clients; a server changes nothing".into());
    }
    if !settings.enable_connection_pooling {
        notes.push(
            "note: enableConnectionPooling = false changes nothing: \
             connections without work hold no memory to pool"
                .into(),
        );
    }
    if settings.enable_message_cache {
        notes.push(
            "note: messages are kept for users, and this program's own routes know none; \
             servers made with the library do"
                .into(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, text: &str, origin: Origin) -> Said {
        let row = find(name).unwrap();
        Said {
            row,
            value: ROWS[row].kind.parse(text).unwrap(),
            origin,
        }
    }

    #[test]
    fn the_nearest_word_counts() {
        let all = [
            (Origin::Flag, "4"),
            (Origin::Environment, "3"),
            (Origin::Line(9), "2"),
        ];
        let level = |from: usize| {
            let mut words = vec![said("preset", "high-throughput", Origin::Line(1))];
            for (origin, text) in &all[from..] {
                words.push(said("compressionLevel", text, *origin));
            }
            Loaded::of(words).settings.compression_level
        };
        assert_eq!([level(0), level(1), level(2), level(3)], [4, 3, 2, 9]);
        assert_eq!(Loaded::of(Vec::new()).settings.compression_level, 6);
    }

    #[test]
    fn origins_are_told_from_other_texts() {
        for good in [
            "*",
            "https://a.example",
            "http://localhost:8080/",
            "http://[::1]:1",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "a.example",
            "https://",
            "https://*.a.example",
            "https://a.example/x",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn a_preset_can_be_chosen_anew() {
        let loaded = Loaded::of(vec![
            said("preset", "low-latency", Origin::Line(1)),
            said("preset", "high-throughput", Origin::Flag),
        ]);
        assert_eq!(loaded.settings.max_connections, 50_000);
        assert_eq!(loaded.settings.rate_limit_max_requests, 100);
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        for (name, text, expected) in [
            ("tlsCert", "x.pem", "--tls-cert: needs --tls-key as well"),
            ("apiKey", "", "--api-key: expected a text that is not empty"),
            (
                "api.cors",
                "https://a.example,example.com",
                "--api-cors: expected origins such as \"https://app.example.com\", or \"*\"",
            ),
            (
                "mb.path",
                "/echo",
                "--mb-path: /echo is the path of something else",
            ),
            (
                "rnode.path",
                "/ws/",
                "--rnode-path: /ws/ is the path of something else",
            ),
        ] {
            let problems = Loaded::of(vec![said(name, text, Origin::Flag)]).problems();
            let texts: Vec<_> = problems.iter().map(|problem| &*problem.text).collect();
            assert_eq!(texts, [expected]);
        }
    }
}
