//! What a run costs: time, processor time, memory.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Map, Value, json};

use crate::{Args, Proto};

/// As many descriptors as may be had.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        eprintln!("loadgen: cannot raise the limit of descriptors: {error}");
    }
}

/// Nanoseconds since the run began.
#[derive(Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// What the system says of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    cpu: Duration,
    /// Of which in user mode, in clock ticks; that of the kernel.
    ticks: (u64, u64),
    pub(crate) rss_kib: u64,
    peak_kib: u64,
    voluntary_switches: u64,
    involuntary_switches: u64,
}

impl Sample {
    /// Of the server, when its process is known.
    pub(crate) fn server(args: &Args) -> Result<Option<Self>, Box<dyn Error>> {
        args.server_pid.map(Self::of).transpose()
    }

    fn of(pid: i32) -> Result<Self, Box<dyn Error>> {
        let cpu = cpu(clock_getcpuclockid(Pid::from_raw(pid))?)?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, stat) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let mut stat = stat.split_ascii_whitespace().skip(11);
        let mut tick = || -> Result<u64, Box<dyn Error>> {
            Ok(stat.next().ok_or("no times in stat")?.parse()?)
        };
        let ticks = (tick()?, tick()?);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64, Box<dyn Error>> {
            let rest = status.lines().find_map(|line| line.strip_prefix(name));
            let value = rest.and_then(|rest| rest.split_ascii_whitespace().next());
            Ok(value.ok_or(format!("no {name} in status"))?.parse()?)
        };
        Ok(Self {
            cpu,
            ticks,
            rss_kib: field("VmRSS:")?,
            peak_kib: field("VmHWM:")?,
            voluntary_switches: field("voluntary_ctxt_switches:")?,
            involuntary_switches: field("nonvoluntary_ctxt_switches:")?,
        })
    }

    pub(crate) fn cpu_since(&self, before: &Self) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }
}

fn cpu(clock: ClockId) -> Result<Duration, Box<dyn Error>> {
    Ok(clock.now()?.into())
}

/// The measured part of a run, which begins when the warm-up is over.
#[derive(Debug)]
pub(crate) struct Window {
    start: Instant,
    own: Duration,
    server: Option<Sample>,
}

impl Window {
    pub(crate) fn begin(args: &Args) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            server: Sample::server(args)?,
            own: cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID)?,
            start: Instant::now(),
        })
    }

    /// `messages` were handled in it.
    pub(crate) fn end(
        self,
        args: &Args,
        messages: u64,
        report: &mut Report,
    ) -> Result<(), Box<dyn Error>> {
        let wall = self.start.elapsed().as_secs_f64();
        let own = cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - self.own;
        report.number("wall_s", wall);
        report.number("messages", messages as f64);
        report.number("messages_per_s", messages as f64 / wall);
        report.number("loadgen_cpu_pct", 100.0 * own.as_secs_f64() / wall);
        let (Some(before), Some(after)) = (self.server, Sample::server(args)?) else {
            return Ok(());
        };
        let cpu = after.cpu_since(&before).as_secs_f64();
        let [user, system] = [
            after.ticks.0 - before.ticks.0,
            after.ticks.1 - before.ticks.1,
        ];
        report.number("server_cpu_pct", 100.0 * cpu / wall);
        if messages > 0 {
            let per_message = 1e6 * cpu / messages as f64;
            report.number("server_cpu_us_per_message", per_message);
            if user + system > 0 {
                let share = user as f64 / (user + system) as f64;
                report.number("server_user_us_per_message", per_message * share);
            }
        }
        for (name, before, after) in [
            (
                "server_voluntary_switches",
                before.voluntary_switches,
                after.voluntary_switches,
            ),
            (
                "server_involuntary_switches",
                before.involuntary_switches,
                after.involuntary_switches,
            ),
        ] {
            // Counted per thread that still lives, so it can fall.
            report.number(name, after.saturating_sub(before) as f64);
        }
        report.number("server_rss_kib", after.rss_kib as f64);
        report.number("server_rss_peak_kib", after.peak_kib as f64);
        Ok(())
    }
}

/// 100 ns to a minute, three digits.
pub(crate) fn histogram() -> Result<Histogram<u64>, Box<dyn Error>> {
    Ok(Histogram::new_with_bounds(100, 60_000_000_000, 3)?)
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Report(Map<String, Value>);

impl Report {
    pub(crate) fn new(args: &Args) -> Self {
        let mut report = Self(Map::new());
        let proto = match args.proto {
            Proto::Ws => "ws",
            Proto::Raw => "raw",
        };
        let mode = args.mode.to_possible_value();
        let mode = mode.map(|mode| mode.get_name().to_owned());
        report.0.insert("mode".into(), json!(mode));
        report.0.insert("proto".into(), json!(proto));
        report.number("connections", args.connections as f64);
        report.number("size", args.size as f64);
        report.number("pipeline", args.pipeline as f64);
        report
    }

    /// Rounded to four places.
    pub(crate) fn number(&mut self, name: &str, value: f64) {
        let rounded = (value * 1e4).round() / 1e4;
        self.0.insert(name.into(), json!(rounded));
    }

    pub(crate) fn latency(&mut self, histogram: &Histogram<u64>) {
        self.number("latency_us_mean", histogram.mean() / 1e3);
        for (name, quantile) in [
            ("latency_us_p50", 0.5),
            ("latency_us_p90", 0.9),
            ("latency_us_p99", 0.99),
            ("latency_us_p999", 0.999),
            ("latency_us_max", 1.0),
        ] {
            self.number(name, histogram.value_at_quantile(quantile) as f64 / 1e3);
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Value::Object(self.0.clone()).to_string())
    }
}
