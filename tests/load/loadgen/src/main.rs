//! A neutral closed-loop WebSocket load generator.
//!
//! One thread, one level-triggered epoll, hand-written frames. It is meant to
//! be pinned to a core of its own and to cost less per message than any server
//! it measures. Client frames are masked once, with a fixed non-zero key, and
//! the same bytes are sent again and again; replies are parsed frame by frame,
//! and their lengths, opcodes and contents are checked. A wrong reply ends the
//! run with an error.
//!
//! Realtime servers are spoken to in their own languages (`--language`). Their
//! messages are numbered, per connection, and so are the replies.
//!
//! With `--proto raw` there is no WebSocket: as many bytes as a message has go
//! out and are expected back, which gives the ceiling of the machine's loopback.
//!
//! The result is one JSON object on standard output.

mod connection;
mod echo;
mod fanout;
mod idle;
mod language;
mod measure;
mod message;
mod parser;
mod script;
mod storm;

use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::language::Language;
use crate::message::Payload;
use crate::parser::Verify;

/// Loads a WebSocket or TCP echo server and reports what came of it as JSON.
#[derive(Parser, Debug)]
struct Args {
    /// Where the server is.
    #[arg(long, value_name = "ws://HOST:PORT[/PATH]", value_parser = target)]
    url: Target,
    /// What to do.
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    mode: Mode,
    /// What to speak.
    #[arg(long, value_enum, default_value_t = Proto::Ws)]
    proto: Proto,
    /// What is said over WebSocket.
    #[arg(long, value_enum, default_value_t = Language::Raw)]
    language: Language,
    /// How many connections; with fanout, how many subscribers.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    connections: usize,
    /// Payload bytes of a message, or bytes of text in an event.
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    size: usize,
    /// Messages in flight per connection.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pipeline: usize,
    /// Seconds to measure; with idle, seconds to wait once all is open.
    #[arg(long, default_value = "3", value_parser = seconds)]
    duration: Duration,
    /// Seconds before the measurement begins.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warmup: Duration,
    /// The type of the messages.
    #[arg(long, value_enum, default_value_t = Opcode::Binary)]
    opcode: Opcode,
    /// What the messages say.
    #[arg(long, value_enum, default_value_t = Payload::Pattern)]
    payload: Payload,
    /// How much of each reply is compared: its ends, all of it, or its length.
    #[arg(long, value_enum, default_value_t = Verify::Spot)]
    verify: Verify,
    /// Offer permessage-deflate and send compressed messages.
    #[arg(long)]
    deflate: bool,
    /// With idle: one echo on each connection first.
    #[arg(long)]
    touch: bool,
    /// With idle: each connection joins one room.
    #[arg(long)]
    join: bool,
    /// Report the processor time and memory of this process.
    #[arg(long, value_name = "PID")]
    server_pid: Option<i32>,
}

/// A thing to do with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Each connection keeps `--pipeline` messages in flight and sends one
    /// more for each echo that has come back whole.
    Echo,
    /// Subscribers, and one publisher with `--pipeline` messages in flight; a
    /// message has left the flight once every subscriber has it. In languages
    /// with events, event `publish` goes to all in a room.
    Fanout,
    /// Event `echo`, which is acknowledged with its data.
    Ack,
    /// Event `event`, which comes back as an event.
    Events,
    /// Joins a room and leaves it; both are acknowledged.
    Rooms,
    /// 15 events `heard`, which nothing answers, to one `echo`.
    Heard,
    /// 15 events `unheard`, which nobody listens to, to one `echo`.
    Unheard,
    /// Opens connections, waits, and reports the server's memory.
    Idle,
    /// Connect, upgrade, one echo, close, over and over.
    Storm,
}

impl Mode {
    /// Whether it speaks of numbered events.
    const fn talks(self) -> bool {
        match self {
            Self::Ack | Self::Events | Self::Rooms | Self::Heard | Self::Unheard => true,
            Self::Echo | Self::Fanout | Self::Idle | Self::Storm => false,
        }
    }
}

impl Args {
    fn path(&self) -> &str {
        self.url.path.as_deref().unwrap_or(self.language.path())
    }
}

/// What goes over the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Proto {
    /// WebSocket.
    Ws,
    /// Bytes.
    Raw,
}

/// A type of message (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Opcode {
    Text,
    Binary,
}

impl Opcode {
    const fn bits(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Binary => 2,
        }
    }
}

#[derive(Clone, Debug)]
struct Target {
    address: SocketAddr,
    host: String,
    path: Option<String>,
}

fn target(url: &str) -> Result<Target, String> {
    let rest = url.strip_prefix("ws://").ok_or("not a ws:// URL")?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(slash);
    let path = Some(path).filter(|path| !path.is_empty() && *path != "/");
    let address = host
        .to_socket_addrs()
        .map_err(|error| error.to_string())?
        .next()
        .ok_or("no address")?;
    Ok(Target {
        address,
        host: host.to_owned(),
        path: path.map(str::to_owned),
    })
}

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds: f64 = value.parse().map_err(|_| "not a number")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn at_least_one(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let echoes = matches!(args.mode, Mode::Echo | Mode::Idle | Mode::Storm);
    if args.deflate && (args.proto == Proto::Raw || !echoes) {
        return Err("--deflate goes with echoes over WebSocket only".into());
    }
    if args.proto == Proto::Raw && !echoes {
        return Err("that needs WebSocket".into());
    }
    if args.join && !args.language.has_events() {
        return Err("--join needs a language with rooms".into());
    }
    measure::raise_descriptor_limit();
    let report = match args.mode {
        Mode::Echo | Mode::Ack | Mode::Events | Mode::Rooms | Mode::Heard | Mode::Unheard => {
            echo::run(&args)?
        }
        Mode::Fanout => fanout::run(&args)?,
        Mode::Idle => idle::run(&args)?,
        Mode::Storm => storm::run(&args)?,
    };
    println!("{report}");
    Ok(())
}
