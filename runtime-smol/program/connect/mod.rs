//! `smartsocket connect`: a client for the terminal and for pipes. `plain` is
//! one connection without a protocol of messages; with a provider, `options`
//! tells what to be, `session` stays connected, `print` shows what happens.

mod entry;
mod input;
mod options;
mod plain;
mod print;
mod session;
mod token;

use std::time::Duration;

use crate::explain::Failure;
use crate::target::{Address, Target, address};
use crate::transcript::Format;
use crate::values::{positive_size, seconds};

pub(crate) use options::Method;

const NOTES: &str = r#"Every line of stdin is sent as a message; every message that comes is written
to stdout as a line. At the end of stdin the connection is closed as soon as no
message has come for the time of --linger, so that answers arrive.

Examples:
  smartsocket connect 127.0.0.1:3000/echo
  echo hi | smartsocket connect ws://127.0.0.1:3000/echo
  smartsocket connect wss://example.com/feed --keep-open --json </dev/null
  smartsocket connect wss://example.com/ -H 'Authorization: Bearer ...' -s chat.v2 -v
  smartsocket connect 127.0.0.1:3000/echo -b <in.bin >out.bin

With --provider it speaks that provider's protocol, comes back when the
connection is lost, and has its subscriptions again; what is typed meanwhile
waits. A message is written as 'CHANNEL: EVENT DATA', as far as there are such.
A line of stdin that is JSON is sent as JSON, any other as a text.
`smartsocket providers` lists the providers, what a channel and an event is to
each, and which way to authenticate each takes without --auth.

  smartsocket connect --provider smartsocket 127.0.0.1:3000 --event echo --request
  smartsocket connect --provider socketio ws://127.0.0.1:3000 --token-file token --subscribe /room
  smartsocket connect --provider echo 127.0.0.1:3000/echo --json --stats <messages.txt
  smartsocket connect --form connection.json --check

With --provider, --json writes objects of these types, all with a time:
  state         state: connecting, connected, authenticating, authenticated,
                reconnecting, disconnected or error
  message       channel, event, data; kind: json, text or binary (in base64);
                ack: true where an answer was asked for, and given
  answer        data or error, ms: what came of a line, with --request
  subscribed    channel
  refused       channel, reason: no such subscription
  ended         code, clean, text: why a connection or an attempt ended; action:
                now, backoff, after, reauthenticate, stay or fatal
  reconnecting  attempt, wait_ms
  unreadable    reason: a message that could not be read
  dropped       count, reason: messages that were never sent
  stats         with --stats and on SIGUSR1
  error         message, exit_code: the last, unless all went well

Exit codes:
  0 clean end, 1 failed or ended uncleanly, 2 wrong usage,
  3 refused with an HTTP status, 130 on ctrl-c"#;

/// Options of the client.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Connect {
    /// ws://HOST:PORT/PATH or wss://...; without a scheme, ws:// is meant
    #[arg(value_name = "URL", required_unless_present = "form", value_parser = address)]
    url: Option<Address>,
    #[command(flatten)]
    target: Target,
    /// Show handshake, pings and close on stderr; twice also every message's size
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write everything that happens to stdout, one JSON object a line; binary data in base64
    #[arg(long, conflicts_with = "binary")]
    json: bool,
    /// Send stdin as binary messages, as it is read; write messages as they
    /// are, without line ends
    #[arg(short, long, conflicts_with = "protocol")]
    binary: bool,
    /// Send at most one line, and end after the first message
    #[arg(short = '1', long)]
    one_message: bool,
    /// Stay connected after the end of stdin
    #[arg(short = 'n', long)]
    keep_open: bool,
    /// After the end of stdin, close when no message came for this time
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    linger: Duration,
    /// Ping after this time without a word from the server, or as the provider
    /// does it; 0 never pings [default: 25, or the provider's]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    ping_interval: Option<Duration>,
    /// Longest message taken
    #[arg(long, value_name = "BYTES", default_value = "16M", value_parser = positive_size)]
    max_message: usize,
    #[command(flatten, next_help_heading = "With a provider")]
    options: options::Options,
}

impl Connect {
    /// Talks until one side has had enough.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        match &self.url {
            Some(address) if !self.stays_connected() => plain::run(&self, address),
            Some(_) | None => session::run(&self),
        }
    }

    /// Whether it is not one plain connection that is wanted.
    pub(crate) const fn stays_connected(&self) -> bool {
        self.options.are_asked_for()
    }

    const fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else {
            Format::Lines
        }
    }
}
