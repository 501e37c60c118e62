//! What a client that stays connected shows: messages on stdout, all else on
//! stderr, or everything as JSON on stdout.

use std::io;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smartsocket_smol::Json;
use smartsocket_smol::client::{
    ClientStats, Ending, Event, Incoming, Payload, RequestError, State, Verdict,
};

use crate::explain::{self, Failure, Way};
use crate::output::hex;
use crate::transcript::Transcript;

use super::entry::{Entry, Figures};

const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// Writes down what a client tells.
#[derive(Debug)]
pub(super) struct Print {
    transcript: Transcript,
    color: bool,
    way: Way,
    /// The WebSocket of the attempt under way opened.
    open: bool,
    /// When the last message came.
    pub(super) heard: Option<Instant>,
    /// How the last connection or attempt ended, and whether that is told.
    ended: Option<(Failure, Verdict)>,
    told: bool,
    /// Attempts in a row to come back.
    attempts: u32,
    /// The client gave up.
    over: bool,
}

impl Print {
    pub(super) fn new(transcript: Transcript, way: Way) -> Self {
        let quiet = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            color: transcript.is_terminal() && !quiet,
            transcript,
            way,
            open: false,
            heard: None,
            ended: None,
            told: true,
            attempts: 0,
            over: false,
        }
    }

    /// Here is more that nobody is to see.
    pub(super) fn hide(&mut self, secrets: &[String]) {
        self.transcript.hide(secrets);
    }

    /// Something happened.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::State(state) => self.state(*state),
            Event::Reconnecting { attempt, wait } => {
                self.attempts = *attempt;
                self.tell_end("lost");
                let seconds = wait.as_secs_f64();
                self.transcript
                    .aside(&format!("attempt {attempt} to come back in {seconds:.1} s"));
                self.transcript.entry(Entry::Reconnecting {
                    attempt: *attempt,
                    wait_ms: milliseconds(*wait),
                })
            }
            Event::Message(incoming) => self.message(incoming),
            Event::Subscribed(channel) => {
                let channel = self.transcript.harmless(channel);
                self.transcript.aside(&format!("subscribed to {channel}"));
                self.transcript.entry(Entry::Subscribed { channel })
            }
            Event::SubscriptionRefused(channel, words) => {
                let channel = self.transcript.harmless(channel);
                let reason = self.transcript.harmless(words);
                self.transcript
                    .aside(&format!("no subscription to {channel}: {reason}"));
                self.transcript.entry(Entry::Refused { channel, reason })
            }
            Event::Ended(ending, verdict) => self.ended(ending, *verdict),
            Event::Unreadable(words) => {
                let reason = self.transcript.harmless(words);
                self.transcript
                    .aside(&format!("a message that cannot be read: {reason}"));
                self.transcript.entry(Entry::Unreadable { reason })
            }
            Event::Dropped(count, why) => {
                let (count, reason) = (*count, self.transcript.harmless(&why.to_string()));
                let what = if count == 1 {
                    "message was"
                } else {
                    "messages were"
                };
                self.transcript
                    .aside(&format!("{count} {what} never sent: {reason}"));
                self.transcript.entry(Entry::Dropped { count, reason })
            }
            // The session has it from the question.
            Event::Answered(..) => Ok(()),
        }
    }

    /// The answer to a line.
    pub(super) fn answer(
        &mut self,
        answer: &Result<Json, RequestError>,
        time: Duration,
    ) -> io::Result<()> {
        self.heard = Some(Instant::now());
        let ms = milliseconds(time);
        match answer {
            Ok(data) => {
                let data = &self.without_secrets(data);
                let line = self.transcript.harmless(data.as_str());
                self.transcript.line(&format!("{line}  ({ms:.1} ms)"))?;
                self.transcript.entry(Entry::Answer {
                    data: Some(data),
                    error: None,
                    ms,
                })
            }
            Err(error) => {
                let error = self.transcript.harmless(&error.to_string());
                self.transcript
                    .aside(&format!("no answer after {ms:.1} ms: {error}"));
                self.transcript.entry(Entry::Answer {
                    data: None,
                    error: Some(error),
                    ms,
                })
            }
        }
    }

    /// Figures so far.
    pub(super) fn stats(&mut self, stats: &ClientStats) -> io::Result<()> {
        let ClientStats {
            messages_sent,
            messages_received,
            bytes_sent,
            bytes_received,
            reconnect_attempts,
            dropped,
            queued,
            ..
        } = *stats;
        let latency = stats.latency.map_or("not measured".into(), |latency| {
            format!("{:.1} ms", milliseconds(latency))
        });
        let uptime = stats.uptime;
        let connected = uptime.map_or("not connected".into(), |uptime| {
            format!("connected for {:.1} s", uptime.as_secs_f64())
        });
        self.transcript.aside(&format!(
            "{connected}; sent {messages_sent} ({bytes_sent} bytes), received {messages_received} \
             ({bytes_received} bytes), waiting {queued}, dropped {dropped}; latency {latency}; \
             attempts to come back {reconnect_attempts}"
        ));
        self.transcript.entry(Entry::Stats(Figures {
            connected_at: stats.connected_at,
            disconnected_at: stats.disconnected_at,
            uptime_ms: uptime.map(milliseconds),
            reconnect_attempts,
            messages_sent,
            messages_received,
            bytes_sent,
            bytes_received,
            latency_ms: stats.latency.map(milliseconds),
            dropped,
            queued,
        }))
    }

    /// What it all came to, when the client gave up or was sent away.
    pub(super) fn result(&self) -> Result<u8, Failure> {
        match &self.ended {
            Some((_, Verdict::Stay)) | None => Ok(0),
            Some((failure, _)) => {
                let Failure { mut text, code } = failure.clone();
                if self.attempts > 0 {
                    let attempts = self.attempts;
                    let s = if attempts == 1 { "" } else { "s" };
                    text = format!("gave up after {attempts} attempt{s} to come back: {text}");
                }
                Err(Failure { text, code })
            }
        }
    }

    /// The program fails.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.transcript.failed(failure);
    }

    /// Hands everything to the reader.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.transcript.flush()
    }

    fn state(&mut self, state: State) -> io::Result<()> {
        match state {
            State::Connected => self.open = true,
            State::Authenticated => self.attempts = 0,
            State::Reconnecting => self.tell_end("lost"),
            // What is left of it is taken down.
            State::Disconnected if self.over => return Ok(()),
            // A failure is told at the end.
            State::Disconnected if self.failed_to_end() => {}
            State::Disconnected => self.tell_end("ended"),
            State::Error => self.over = true,
            State::Connecting | State::Authenticating => {}
        }
        self.transcript.aside(state.as_str());
        self.transcript.entry(Entry::State {
            state: state.as_str(),
        })
    }

    fn ended(&mut self, ending: &Ending, verdict: Verdict) -> io::Result<()> {
        let open = std::mem::take(&mut self.open);
        let mut failure = explain::lost(ending, verdict, &self.way, open);
        failure.text = self.transcript.without_secrets(&failure.text);
        let entry = self.transcript.entry(Entry::Ended {
            code: ending.code().into(),
            clean: ending.was_clean(),
            text: &failure.text,
            action: match verdict {
                Verdict::Now => "now",
                Verdict::Backoff => "backoff",
                Verdict::After(_) => "after",
                Verdict::Reauthenticate => "reauthenticate",
                Verdict::Stay => "stay",
                Verdict::Fatal => "fatal",
            },
        });
        self.ended = Some((failure, verdict));
        self.told = false;
        entry
    }

    /// Whether the program will say why it fails.
    fn failed_to_end(&self) -> bool {
        matches!(&self.ended, Some((_, verdict)) if *verdict != Verdict::Stay)
    }

    /// Says how it ended, if that is not said so far.
    fn tell_end(&mut self, what: &str) {
        if let Some((failure, _)) = &self.ended
            && !std::mem::replace(&mut self.told, true)
        {
            self.transcript.aside(&format!("{what}: {}", failure.text));
        }
    }

    fn message(&mut self, incoming: &Incoming) -> io::Result<()> {
        self.heard = Some(Instant::now());
        let Incoming {
            channel,
            event,
            data,
            ack,
            ..
        } = incoming;
        let (kind, json) = match data {
            Payload::Json(json) => ("json", self.without_secrets(json)),
            Payload::Message(message) => match message.as_text() {
                Some(text) => ("text", Json::string(&self.transcript.without_secrets(text))),
                None => ("binary", Json::string(&STANDARD.encode(message.as_bytes()))),
            },
        };
        let line = self.line(incoming, &json);
        self.transcript.line(&line)?;
        self.transcript.entry(Entry::Message {
            channel: channel.as_deref(),
            event: event.as_deref(),
            kind,
            data: &json,
            ack: ack.is_some(),
        })
    }

    /// `CHANNEL: EVENT DATA`
    fn line(&self, incoming: &Incoming, json: &Json) -> String {
        let painted = |color: &str, text: &str| {
            let text = self.transcript.harmless(text);
            if self.color {
                format!("{color}{text}{PLAIN}")
            } else {
                text
            }
        };
        let event = incoming.event.as_deref();
        let channel = incoming.channel.as_deref();
        let channel = channel.filter(|channel| Some(*channel) != event);
        let data = match &incoming.data {
            Payload::Json(_) if json.as_str() == "null" && event.is_some() => None,
            Payload::Json(_) => Some(self.transcript.harmless(json.as_str())),
            Payload::Message(message) => Some(match message.as_text() {
                Some(text) => self.transcript.harmless(text),
                None => {
                    let bytes = message.as_bytes();
                    format!("<binary {} bytes: {}>", bytes.len(), hex(bytes))
                }
            }),
        };
        let channel = channel.map(|channel| painted(CYAN, channel) + ":");
        let event = event.map(|event| painted(BOLD, event));
        let parts: Vec<_> = [channel, event, data].into_iter().flatten().collect();
        parts.join(" ")
    }

    /// The value, with no secret in its strings.
    fn without_secrets(&self, json: &Json) -> Json {
        let text = json.as_str();
        if self.transcript.without_secrets(text) == text {
            return json.clone();
        }
        // Every other part is between the quotes of a string.
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut inside = false;
        while let Some(at) = quote(rest, inside) {
            let part = &rest[..at];
            if inside {
                out.push_str(&self.transcript.without_secrets(part));
            } else {
                out.push_str(part);
            }
            out.push('"');
            rest = &rest[at + 1..];
            inside = !inside;
        }
        out.push_str(rest);
        Json::parse(out).unwrap_or_else(|_| Json::string("***"))
    }
}

/// Where the next quote is that begins or ends a string.
fn quote(text: &str, inside: bool) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let found = byte == b'"' && !escaped;
        escaped = inside && byte == b'\\' && !escaped;
        found
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use smartsocket_smol::Message;
    use smartsocket_smol::http::Url;

    use super::*;
    use crate::transcript::Format;

    fn print(secrets: &[&str]) -> Print {
        let secrets: Vec<_> = secrets.iter().map(|it| (*it).to_owned()).collect();
        let transcript = Transcript::new(Format::Lines, 0, secrets);
        let way = Way {
            url: Url::parse("ws://h/").unwrap(),
            proxy: None,
            timeout: Duration::ZERO,
        };
        let mut print = Print::new(transcript, way);
        print.color = false;
        print
    }

    fn incoming(channel: Option<&str>, event: Option<&str>, data: Payload) -> Incoming {
        Incoming {
            channel: channel.map(Into::into),
            event: event.map(Into::into),
            data,
            subscriptions: Vec::new(),
            ack: None,
        }
    }

    #[test]
    fn a_message_is_one_line() {
        let json = |text: &str| Payload::Json(Json::parse(text.to_owned()).unwrap());
        for (channel, event, data, expected) in [
            (Some("/a"), Some("hi"), json("[1]"), "/a: hi [1]"),
            (None, Some("hi"), json("null"), "hi"),
            (None, None, json("null"), "null"),
            (Some("hi"), Some("hi"), json("{}"), "hi {}"),
            (
                Some("a\x1b[2J"),
                Some("b\n"),
                json("\"\u{9b}\""),
                "a\\u{1b}[2J: b\\n \"\\u{9b}\"",
            ),
            (
                None,
                None,
                Payload::Message(Message::text("two\nlines\u{202e}")),
                "two\\nlines\\u{202e}",
            ),
            (
                None,
                None,
                Payload::Message(Message::binary(vec![1, 255])),
                "<binary 2 bytes: 01ff>",
            ),
        ] {
            let print = print(&[]);
            let incoming = incoming(channel, event, data);
            let json = match &incoming.data {
                Payload::Json(json) => json.clone(),
                Payload::Message(_) => Json::NULL,
            };
            assert_eq!(print.line(&incoming, &json), expected);
        }
    }

    #[test]
    fn a_value_stays_a_value_without_its_secrets() {
        let print = print(&["hunter2", "1234567"]);
        for (value, expected) in [
            (
                r#"{"a":"my hunter2!","n":12345678}"#,
                r#"{"a":"my ***!","n":12345678}"#,
            ),
            (
                r#"["\"hunter2","\\","hunter2\\"]"#,
                r#"["\"***","\\","***\\"]"#,
            ),
            (r#"{"hunter2":1}"#, r#"{"***":1}"#),
        ] {
            let json = Json::parse(value.to_owned()).unwrap();
            assert_eq!(print.without_secrets(&json).as_str(), expected);
        }
    }
}
