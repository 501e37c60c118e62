//! What a message costs in process: from masked bytes in memory to the event
//! that a server sees, in nanoseconds of processor time.
//!
//! Every library reads the same endless stream of one frame, for a slice of
//! time, in turn, forwards and then backwards, over and over; the tables say
//! the medians. The first messages of each are compared in full.

mod libraries;
mod ours;
mod stream;

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};

use crate::stream::{Kind, Wire};

/// Whatever went wrong; nobody tells failures apart here.
type Failure = Box<dyn Error + Send + Sync>;

/// Measures WebSocket codecs beside each other, in memory.
#[derive(Parser, Debug)]
struct Args {
    /// Measure these only.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Slices of time per codec and column.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds in a slice, about.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    slice: u64,
    /// Say which codecs there are.
    #[arg(long)]
    list: bool,
}

/// Something that turns bytes into messages.
trait Codec {
    /// Takes `messages` messages off the stream.
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure>;
}

/// Makes a codec that reads `wire`.
type Make = fn(Wire) -> Result<Box<dyn Codec>, Failure>;

/// Where messages go.
#[derive(Debug)]
struct Sink {
    payload: Vec<u8>,
    compare: bool,
    messages: u64,
    bytes: u64,
}

impl Sink {
    /// A whole message.
    fn message(&mut self, payload: &[u8]) {
        self.part(0, payload);
        self.messages += 1;
    }

    /// A part of a message, which begins at `at`.
    fn part(&mut self, at: usize, part: &[u8]) {
        black_box(part);
        self.bytes += part.len() as u64;
        if self.compare {
            assert_eq!(self.payload.get(at..at + part.len()), Some(part));
        }
    }
}

/// One codec in one column.
struct Lane {
    codec: Box<dyn Codec>,
    sink: Sink,
    /// Messages in a slice.
    batch: u64,
    /// Nanoseconds per message, one figure per slice.
    figures: Vec<f64>,
}

impl Lane {
    fn new(make: Make, kind: Kind, size: usize) -> Result<Self, Failure> {
        let (wire, payload) = Wire::new(kind, size);
        let mut lane = Self {
            codec: make(wire)?,
            sink: Sink {
                payload,
                compare: true,
                messages: 0,
                bytes: 0,
            },
            batch: 100,
            figures: Vec::new(),
        };
        lane.slice()?;
        lane.sink.compare = false;
        Ok(lane)
    }

    /// Nanoseconds per message.
    fn slice(&mut self) -> Result<f64, Failure> {
        (self.sink.messages, self.sink.bytes) = (0, 0);
        let begin = processor_time();
        self.codec.run(self.batch, &mut self.sink)?;
        let time = processor_time() - begin;
        let bytes = self.batch * self.sink.payload.len() as u64;
        if (self.sink.messages, self.sink.bytes) != (self.batch, bytes) {
            let Sink {
                messages, bytes, ..
            } = self.sink;
            return Err(format!("{messages} messages of {bytes} bytes in all").into());
        }
        Ok(time.as_nanos() as f64 / self.batch as f64)
    }

    /// Finds how many messages a slice has.
    fn warm_up(&mut self, slice: Duration) -> Result<(), Failure> {
        for _ in 0..3 {
            let per_message = self.slice()?.max(1.0);
            self.batch = (slice.as_nanos() as f64 / per_message).max(1.0) as u64;
        }
        Ok(())
    }

    fn median(&mut self) -> f64 {
        self.figures.sort_by(f64::total_cmp);
        self.figures[self.figures.len() / 2]
    }
}

/// Of this thread: what others do at the same time does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let all = [ours::CODECS, libraries::CODECS].concat();
    if args.list {
        for (name, _) in all {
            println!("{name}");
        }
        return Ok(());
    }
    if let Some(name) = args
        .only
        .iter()
        .find(|only| all.iter().all(|(name, _)| name != only))
    {
        return Err(format!("no codec {name}; --list names them").into());
    }
    let codecs: Vec<_> = all
        .into_iter()
        .filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|only| only == name))
        .collect();
    // Some set timers, which then never run.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let _context = runtime.enter();

    let mut rows: Vec<Vec<String>> = vec![Vec::new(); codecs.len()];
    let mut columns = Vec::new();
    for kind in [Kind::Binary, Kind::Text] {
        for size in [20, 512, 16_384, 1_048_576] {
            columns.push(format!("{kind} {size}"));
            let figures = column(&codecs, kind, size, &args)?;
            for (row, ns) in rows.iter_mut().zip(figures) {
                let ns = ns.map(|ns| format!("{ns:.0} ns ({:.2} GB/s)", size as f64 / ns));
                row.push(ns.unwrap_or_default());
            }
        }
    }
    println!("| codec | {} |", columns.join(" | "));
    println!("|---|{}", "--:|".repeat(columns.len()));
    for ((name, _), row) in codecs.iter().zip(rows) {
        println!("| {name} | {} |", row.join(" | "));
    }
    Ok(())
}

/// Nanoseconds per message of each codec, of those that do this kind.
fn column(
    codecs: &[(&str, Make)],
    kind: Kind,
    size: usize,
    args: &Args,
) -> Result<Vec<Option<f64>>, Failure> {
    eprintln!("{kind} {size}");
    let mut lanes = Vec::new();
    for (name, make) in codecs {
        // A frame is a frame: what it holds is not looked at.
        if kind == Kind::Text && *name == ours::FRAME {
            lanes.push(None);
            continue;
        }
        let mut lane = Lane::new(*make, kind, size).map_err(|error| format!("{name}: {error}"))?;
        lane.warm_up(Duration::from_millis(args.slice))
            .map_err(|error| format!("{name}: {error}"))?;
        lanes.push(Some(lane));
    }
    for round in 0..args.rounds {
        let mut order: Vec<_> = lanes.iter_mut().flatten().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for lane in order {
            let figure = lane.slice()?;
            lane.figures.push(figure);
        }
    }
    Ok(lanes
        .iter_mut()
        .map(|lane| lane.as_mut().map(Lane::median))
        .collect())
}
