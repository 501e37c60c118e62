//! What else the machine does while it is measured on.

use std::error::Error;
use std::fs;
use std::thread;
use std::time::Duration;

use serde::Serialize;

/// How long the machine is looked at, while no load runs.
const LOOK: Duration = Duration::from_millis(250);
/// Above these percentages a round is doubtful.
const BUSY: f64 = 5.0;
const STEAL: f64 = 1.0;

/// Clock ticks since the machine started, over all processors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    all: u64,
    idle: u64,
    steal: u64,
}

impl Ticks {
    pub(crate) fn now() -> Result<Self, Box<dyn Error>> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().ok_or("/proc/stat is empty")?;
        // user nice system idle iowait irq softirq steal
        let ticks = line
            .split_ascii_whitespace()
            .skip(1)
            .take(8)
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>()?;
        let [.., idle, iowait, _, _, steal] = ticks[..] else {
            return Err("/proc/stat is too short".into());
        };
        Ok(Self {
            all: ticks.iter().sum(),
            idle: idle + iowait,
            steal,
        })
    }

    fn percent(&self, since: &Self, of: impl Fn(&Self) -> u64) -> f64 {
        let all = self.all.saturating_sub(since.all).max(1) as f64;
        100.0 * of(self).saturating_sub(of(since)) as f64 / all
    }

    /// What was stolen by the host since then.
    pub(crate) fn steal_since(&self, since: &Self) -> f64 {
        self.percent(since, |ticks| ticks.steal)
    }
}

/// The machine before and during a round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Noise {
    /// The load average of the last minute, which includes our own.
    load_average: f64,
    /// Percent of all processors that others used just before.
    busy_before: f64,
    /// Percent that the host took away during the round.
    pub(crate) steal: f64,
}

impl Noise {
    /// Looks at the machine while nothing of ours should run.
    pub(crate) fn look() -> Result<Self, Box<dyn Error>> {
        let before = Ticks::now()?;
        thread::sleep(LOOK);
        let now = Ticks::now()?;
        let load = fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default();
        Ok(Self {
            load_average: load.parse()?,
            busy_before: 100.0 - now.percent(&before, |ticks| ticks.idle),
            steal: 0.0,
        })
    }

    /// Why the round's figures are doubtful, if they are.
    pub(crate) fn doubt(&self) -> Option<String> {
        let mut why = Vec::new();
        if self.busy_before > BUSY {
            let (busy, load) = (self.busy_before, self.load_average);
            why.push(format!(
                "{busy:.0} % busy before it began (load average {load})"
            ));
        }
        if self.steal > STEAL {
            why.push(format!("{:.1} % stolen by the host", self.steal));
        }
        (!why.is_empty()).then(|| why.join(", "))
    }
}

/// The machine itself.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// How the processor's clock is set, where it tells.
    pub(crate) governor: Option<String>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(": "))
            .map_or_else(|| "unknown".into(), |(_, name)| name.to_owned());
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Self {
            processor,
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            governor: Some(governor.trim().to_owned()).filter(|governor| !governor.is_empty()),
        }
    }

    /// Why all figures are doubtful, if they are.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.cores < 2 {
            doubts.push("servers and load generator share one core".into());
        }
        if let Some(governor) = &self.governor
            && governor != "performance"
        {
            doubts.push(format!(
                "the processor's clock varies (governor {governor})"
            ));
        }
        if cfg!(debug_assertions) {
            doubts.push("this is not a release build".into());
        }
        doubts
    }
}
