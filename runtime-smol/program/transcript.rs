//! What `connect` shows: messages on stdout, everything else on stderr, or
//! all of it as JSON on stdout.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log::Level;
use serde::Serialize;
use smartsocket_smol::http::Url;
use smartsocket_smol::{Closed, Message, WebSocket};

use crate::explain::{Failure, ending};
use crate::output::{hex, note, printable, timestamp};
use crate::target::redact;

/// Headers of a response whose values are nobody's business, by parts of
/// their names.
const PRIVATE: [&str; 6] = ["cookie", "auth", "token", "secret", "session", "api-key"];
/// A subprotocol longer than this is rather a token than a name.
const LONGEST_NAME: usize = 32;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One message a line.
    Lines,
    /// The bytes of messages and nothing else.
    Raw,
    /// One JSON object for everything that happens.
    Json,
}

/// Writes down what happens on a connection.
#[derive(Debug)]
pub(crate) struct Transcript {
    out: BufWriter<Stdout>,
    terminal: bool,
    format: Format,
    verbose: u8,
    /// Words the user sent in headers, in case a server repeats them.
    secrets: Vec<String>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Entry<'a> {
    Open {
        url: String,
        address: Option<String>,
        subprotocol: Option<&'a str>,
        compression: Option<String>,
    },
    Message {
        kind: &'a str,
        data: &'a str,
    },
    Ping,
    Pong {
        round_trip_ms: Option<f64>,
    },
    Close {
        code: u16,
        reason: &'a str,
        meaning: &'a str,
        clean: bool,
        text: String,
    },
    Error {
        message: &'a str,
        exit_code: u8,
    },
}

#[derive(Serialize)]
struct Timed<T> {
    #[serde(flatten)]
    entry: T,
    time: String,
}

impl Transcript {
    pub(crate) fn new(format: Format, verbose: u8, secrets: Vec<String>) -> Self {
        let out = io::stdout();
        Self {
            terminal: out.is_terminal(),
            out: BufWriter::new(out),
            format,
            verbose,
            secrets,
        }
    }

    /// The request goes out, with these headers of the user.
    pub(crate) fn opening<'a>(&self, url: &Url, names: impl Iterator<Item = &'a str>) {
        self.log(Level::Info, format_args!("Connecting to {url}"));
        if self.verbose == 0 {
            return;
        }
        note(&format!("* connecting to {url}"));
        let target = url.path_and_query();
        // The query may hold a token.
        let shown = match target.split_once('?') {
            Some((path, _)) => format!("{path}?***"),
            None => target.into(),
        };
        note(&format!("> GET {shown} HTTP/1.1"));
        note(&format!("> Host: {}", url.authority()));
        if url.credentials().is_some() {
            note("> Authorization: ***");
        }
        for name in names {
            note(&format!("> {}: ***", printable(name)));
        }
    }

    /// The handshake is over.
    pub(crate) fn opened(&mut self, websocket: &WebSocket, url: &Url) -> io::Result<()> {
        self.log(Level::Debug, format_args!("WebSocket connection opened"));
        self.log(Level::Info, format_args!("Connected to server"));
        let agreed = websocket.agreed();
        let address = websocket.get_ref().peer_addr().map(|at| at.to_string());
        let compression = agreed
            .and_then(|agreed| agreed.deflate)
            .map(|parameters| parameters.to_string());
        if self.verbose > 0 {
            if let Some(response) = websocket.response() {
                note(&format!("< HTTP {}", response.status()));
                for (name, value) in response.headers().iter() {
                    note(&format!("< {name}: {}", self.shown(name, value)));
                }
            }
            note(&format!(
                "* connected to {}, compression {}",
                address.as_deref().unwrap_or("the server"),
                if compression.is_some() { "on" } else { "off" }
            ));
        }
        self.entry(Entry::Open {
            url: url.to_string(),
            address,
            subprotocol: agreed.and_then(|agreed| agreed.subprotocol.as_deref()),
            compression,
        })
    }

    /// A message came.
    pub(crate) fn message(&mut self, message: &Message) -> io::Result<()> {
        if self.verbose > 1 {
            note(&format!("< {}", describe(message)));
        }
        match self.format {
            Format::Json => match message.as_text() {
                Some(data) => self.entry(Entry::Message { kind: "text", data }),
                None => self.entry(Entry::Message {
                    kind: "binary",
                    data: &STANDARD.encode(message.as_bytes()),
                }),
            },
            Format::Raw => self.out.write_all(message.as_bytes()),
            Format::Lines => match message.as_text() {
                // A peer must not command the terminal.
                Some(text) if self.terminal => text
                    .split('\n')
                    .try_for_each(|line| writeln!(self.out, "{}", printable(line))),
                Some(text) => writeln!(self.out, "{text}"),
                None => writeln!(
                    self.out,
                    "<binary {} bytes: {}>",
                    message.len(),
                    hex(message.as_bytes())
                ),
            },
        }
    }

    /// A message went out.
    pub(crate) fn sent(&self, message: &Message) {
        self.log(
            Level::Debug,
            format_args!("Sent message ({} bytes)", message.len()),
        );
        if self.verbose > 1 {
            note(&format!("> {}", describe(message)));
        }
    }

    /// A ping came.
    pub(crate) fn ping(&mut self) -> io::Result<()> {
        if self.verbose > 0 {
            note("* ping received and answered");
        }
        self.entry(Entry::Ping)
    }

    /// A pong came.
    pub(crate) fn pong(&mut self, round_trip: Option<Duration>) -> io::Result<()> {
        let milliseconds = round_trip.map(|time| time.as_secs_f64() * 1_000.0);
        if self.verbose > 0 {
            note(&match milliseconds {
                Some(time) => format!("* pong received, round trip {time:.3} ms"),
                None => "* pong received".into(),
            });
        }
        self.entry(Entry::Pong {
            round_trip_ms: milliseconds,
        })
    }

    /// The connection is over.
    pub(crate) fn closed(&mut self, closed: &Closed) -> io::Result<()> {
        let text = ending(closed);
        if self.verbose > 0 {
            note(&format!("* {text}"));
        }
        self.entry(Entry::Close {
            code: closed.code.into(),
            reason: &closed.reason,
            meaning: closed.code.meaning(),
            clean: closed.is_clean(),
            text,
        })
    }

    /// The program fails.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        let entry = Entry::Error {
            message: &failure.text,
            exit_code: failure.code,
        };
        // The failure is told on stderr as well.
        let _ = self.entry(entry).and_then(|()| self.flush());
    }

    /// Hands everything to the reader.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Says it in the words of SmartSocket's log (SS-109), unless `-vv` does
    /// so in its own.
    fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        if self.verbose < 2 {
            log::log!(target: "smartsocket:client", level, "{text}");
        }
    }

    /// Writes an entry, where everything is written as JSON.
    pub(crate) fn entry(&mut self, entry: impl Serialize) -> io::Result<()> {
        if self.format != Format::Json {
            return Ok(());
        }
        let timed = Timed {
            entry,
            time: timestamp(),
        };
        serde_json::to_writer(&mut self.out, &timed)?;
        self.out.write_all(b"\n")
    }

    /// Writes a line, where lines are written.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        match self.format {
            Format::Lines => writeln!(self.out, "{line}"),
            Format::Raw | Format::Json => Ok(()),
        }
    }

    /// Whether a human reads along.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Says something beside the messages, unless everything is JSON.
    pub(crate) fn aside(&self, text: &str) {
        if self.format != Format::Json || self.verbose > 0 {
            note(&format!("* {}", self.harmless(text)));
        }
    }

    /// A text of the peer without control characters and secrets.
    pub(crate) fn harmless(&self, text: &str) -> String {
        self.without_secrets(&printable(text))
    }

    /// A text of the peer without secrets.
    pub(crate) fn without_secrets(&self, text: &str) -> String {
        redact(text, &self.secrets)
    }

    /// Here are more secrets.
    pub(crate) fn hide(&mut self, secrets: &[String]) {
        for secret in secrets {
            if !self.secrets.contains(secret) {
                self.secrets.push(secret.clone());
            }
        }
    }

    /// A header's value as it may be shown.
    fn shown(&self, name: &str, value: &[u8]) -> String {
        let value = String::from_utf8_lossy(value);
        let name = name.to_ascii_lowercase();
        let hidden = PRIVATE.iter().any(|part| name.contains(part))
            || (name == "sec-websocket-protocol" && value.len() > LONGEST_NAME);
        if hidden {
            "***".into()
        } else {
            self.harmless(&value)
        }
    }
}

fn describe(message: &Message) -> String {
    let kind = if message.is_text() { "text" } else { "binary" };
    format!("{kind}, {} bytes", message.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_headers_are_not_shown() {
        let transcript = Transcript::new(Format::Lines, 2, vec!["hunter2".into()]);
        for (name, value, expected) in [
            ("Server", "x", "x"),
            ("Sec-WebSocket-Accept", "abc=", "abc="),
            ("Sec-WebSocket-Protocol", "chat.v2", "chat.v2"),
            ("Sec-WebSocket-Protocol", &"t".repeat(40), "***"),
            ("Set-Cookie", "sid=1", "***"),
            ("WWW-Authenticate", "Basic", "***"),
            ("X-You-Sent", "token hunter2 indeed", "token *** indeed"),
            ("X-Color", "\x1b[31m", "\\u{1b}[31m"),
        ] {
            assert_eq!(transcript.shown(name, value.as_bytes()), expected, "{name}");
        }
    }
}
