//! `smartsocket bench`: how fast a server echoes.
//!
//! The load is a closed loop: every connection keeps a fixed number of
//! messages under way and sends the next when an echo has come. One thread
//! with one executor does it all.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use async_io::Timer;
use async_signal::{Signal, Signals};
use futures_lite::{FutureExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use smartsocket_smol::http::Url;
use smartsocket_smol::{CloseCode, Config, Error, WebSocket, block_on};

use crate::explain::{self, Failure, Way};
use crate::payload::Payload;
use crate::report::Report;
use crate::target::{Address, Target, address};
use crate::values::{positive_seconds, seconds, size};

const NOTES: &str = "\
The server must send every message back as it came. Every connection keeps
--pipeline messages under way (a closed loop: a slow server is asked less), so
compare latencies at equal numbers of messages per second. A client on the
same machine takes part of the server's time.

Examples:
  smartsocket bench 127.0.0.1:3000/echo
  smartsocket bench 127.0.0.1:3000/echo --connections 100 --pipeline 16
  smartsocket bench wss://example.com/echo --size 1k --duration 30 --json";

/// Connections that are being opened at a time: more overrun the server's
/// queue of those not yet accepted.
const OPENING: usize = 64;
/// How long echoes still under way may take after the end.
const DRAIN: Duration = Duration::from_secs(2);
/// The longest latency told apart, in nanoseconds: an hour.
const SLOWEST: u64 = 3_600_000_000_000;
/// How often the live figures change.
const REFRESH: Duration = Duration::from_millis(100);

/// Options of the load.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Bench {
    /// ws://HOST:PORT/PATH or wss://...; without a scheme, ws:// is meant
    #[arg(value_name = "URL", value_parser = address)]
    url: Address,
    #[command(flatten)]
    target: Target,
    /// Connections
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    connections: u32,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value = "20", value_parser = size)]
    size: usize,
    /// Messages under way on every connection
    #[arg(
        short,
        long,
        value_name = "DEPTH",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pipeline: u32,
    /// How long to measure
    #[arg(short, long, value_name = "SECONDS", default_value = "5", value_parser = positive_seconds)]
    duration: Duration,
    /// How long to run before measuring
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Send text; binary otherwise
    #[arg(long)]
    text: bool,
    /// Write the result to stdout as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Warmup,
    Measure,
    Over,
}

/// What all connections share.
struct Run {
    phase: Cell<Phase>,
    /// Echoes since the start.
    echoes: Cell<u64>,
    /// Echoes while measuring.
    messages: Cell<u64>,
    /// Latencies in nanoseconds.
    latency: RefCell<Histogram<u64>>,
    errors: RefCell<BTreeMap<String, u64>>,
    open: Cell<u32>,
}

impl Bench {
    /// Measures, and tells the result.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        // A task of its own: the executor looks at the future it is given on
        // every wake-up of any task.
        let executor = Rc::new(LocalExecutor::new());
        let spawner = Rc::clone(&executor);
        block_on(executor.run(executor.spawn(async move { self.measure(&spawner).await })))
    }

    async fn measure(self, executor: &LocalExecutor<'static>) -> Result<u8, Failure> {
        let url = self.url.url()?;
        let mut signals = Signals::new([Signal::Int, Signal::Term])
            .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;
        let interrupted = Cell::new(false);
        let run = Rc::new(Run {
            phase: Cell::new(Phase::Warmup),
            echoes: Cell::new(0),
            messages: Cell::new(0),
            latency: RefCell::new(
                Histogram::new_with_bounds(1, SLOWEST, 3).expect("the bounds are allowed"),
            ),
            errors: RefCell::default(),
            open: Cell::new(0),
        });
        let progress = Progress::new(&self);
        let mut interrupt = Box::pin(async {
            signals.next().await;
            interrupted.set(true);
        });

        let opening = self.open(&url, &run, &progress, executor);
        let opened = async { Some(opening.await) }
            .or(async {
                interrupt.as_mut().await;
                None
            })
            .await;
        let Some(opened) = opened else {
            return Ok(130);
        };
        let opened = opened?;
        let tasks: Vec<_> = opened
            .into_iter()
            .enumerate()
            .map(|(n, websocket)| {
                let payload = Payload::new(self.size, self.text, n as u64);
                executor.spawn(load(websocket, Rc::clone(&run), payload, self.pipeline))
            })
            .collect();

        let start = Cell::new(Instant::now());
        async {
            progress.watch(&run, self.warmup, "warming up").await;
            start.set(Instant::now());
            run.phase.set(Phase::Measure);
            progress.watch(&run, self.duration, "measuring").await;
        }
        .or(interrupt)
        .await;
        let elapsed = start.get().elapsed();
        run.phase.set(Phase::Over);
        progress.finish();

        let drained = async {
            for task in tasks {
                task.await;
            }
        };
        let late = async {
            Timer::after(DRAIN).await;
            run.fail("echoes still missing at the end");
        };
        drained.or(late).await;

        let report = Report {
            url: url.to_string(),
            connections: run.open.get(),
            size: self.size,
            pipeline: self.pipeline,
            elapsed,
            messages: run.messages.get(),
            latency: &run.latency.borrow(),
            errors: &run.errors.borrow(),
        };
        if self.json {
            report.json()?;
        } else {
            report.text()?;
        }
        Ok(if interrupted.get() {
            130
        } else {
            u8::from(!report.errors.is_empty() || report.messages == 0)
        })
    }

    /// Opens the connections; the first that fails ends it all, as it says
    /// that URL, options or server are wrong.
    async fn open(
        &self,
        url: &Url,
        run: &Rc<Run>,
        progress: &Progress,
        executor: &LocalExecutor<'static>,
    ) -> Result<Vec<WebSocket>, Failure> {
        let config = Config {
            max_message: self.size.max(64 * 1024),
            // Sending never waits for room, so receiving never waits for sending.
            max_queued_bytes: usize::MAX,
            ..Config::default()
        };
        let connect = self.target.connect(&self.url, config)?;
        let way = self.target.way(url.clone())?;
        let mut opened = Vec::new();
        let mut under_way = VecDeque::new();
        for n in 0..self.connections {
            under_way.push_back(executor.spawn(connect.clone().open()));
            while under_way.len() >= OPENING || (n + 1 == self.connections && !under_way.is_empty())
            {
                let Some(next) = under_way.pop_front() else {
                    break;
                };
                let websocket = next.await;
                opened.push(
                    websocket.map_err(|error| self.not_opened(&error, &way, run.open.get()))?,
                );
                run.open.set(run.open.get() + 1);
                progress.opened(run.open.get(), self.connections);
            }
        }
        Ok(opened)
    }

    fn not_opened(&self, error: &Error, way: &Way, open: u32) -> Failure {
        let mut failure = self.target.explain(error, way);
        if open > 0 {
            failure.text = format!(
                "connection {} of {}: {}",
                open + 1,
                self.connections,
                failure.text
            );
        }
        failure
    }
}

impl Run {
    fn fail(&self, cause: &str) {
        *self.errors.borrow_mut().entry(cause.into()).or_default() += 1;
    }
}

/// One connection's load, to the end.
async fn load(mut websocket: WebSocket, run: Rc<Run>, mut payload: Payload, depth: u32) {
    let mut sent = VecDeque::with_capacity(depth as usize);
    for _ in 0..depth {
        sent.push_back(Instant::now());
        if websocket.send(payload.next()).await.is_err() {
            break;
        }
    }
    while !sent.is_empty() {
        match websocket.recv().await {
            Some(Ok(echo)) => {
                let now = Instant::now();
                let since = sent.pop_front().unwrap_or(now);
                if let Err(difference) = payload.check(&echo) {
                    run.fail(difference);
                    break;
                }
                run.echoes.set(run.echoes.get() + 1);
                match run.phase.get() {
                    Phase::Warmup => {}
                    Phase::Measure => {
                        run.messages.set(run.messages.get() + 1);
                        let latency = now.duration_since(since).as_nanos();
                        let latency = u64::try_from(latency).unwrap_or(u64::MAX);
                        run.latency.borrow_mut().saturating_record(latency);
                    }
                    Phase::Over => continue,
                }
                sent.push_back(now);
                if let Err(error) = websocket.send(payload.next()).await {
                    run.fail(&error.to_string());
                    break;
                }
            }
            Some(Err(error)) => {
                run.fail(&match error.closed() {
                    Some(closed) => explain::ending(closed),
                    None => error.to_string(),
                });
                return;
            }
            None => {
                run.fail(&match websocket.closed() {
                    Some(closed) => explain::ending(closed),
                    None => "the connection ended".into(),
                });
                return;
            }
        }
    }
    websocket.close(CloseCode::NORMAL, "").await;
}

/// The bar on a terminal; nothing elsewhere.
struct Progress(ProgressBar);

impl Progress {
    fn new(bench: &Bench) -> Self {
        // indicatif itself is silent where stderr is no terminal.
        let bar = if bench.json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(1)
        };
        let style = ProgressStyle::with_template("{prefix:11} [{bar:30}] {msg}");
        bar.set_style(
            style
                .expect("the template is a constant")
                .progress_chars("=> "),
        );
        Self(bar)
    }

    fn opened(&self, open: u32, wanted: u32) {
        self.0.set_prefix("connecting");
        self.0.set_length(wanted.into());
        self.0.set_position(open.into());
    }

    /// Shows live figures for a time.
    async fn watch(&self, run: &Run, time: Duration, what: &'static str) {
        let start = Instant::now();
        let (mut at, mut before) = (start, run.echoes.get());
        self.0.set_prefix(what);
        self.0
            .set_length(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        loop {
            let rest = time.saturating_sub(start.elapsed());
            if rest.is_zero() {
                return;
            }
            Timer::after(rest.min(REFRESH)).await;
            let (now, echoes) = (Instant::now(), run.echoes.get());
            let rate = (echoes - before) as f64 / (now - at).as_secs_f64();
            (at, before) = (now, echoes);
            let passed = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.0.set_position(passed);
            self.0.set_message(format!("{rate:.0} messages/s"));
        }
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
