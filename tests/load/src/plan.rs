//! Who is measured with what, and the measuring.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::children::Children;
use crate::noise::{Machine, Noise, Ticks};
use crate::servers::{LOAD_CORE, Running, Server, Source, pinned};
use crate::syscalls::Counter;
use crate::workloads::{Kind, Workload};
use crate::{Args, Suite};

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    suite: Suite,
    pub(crate) servers: Vec<Server>,
    workloads: Vec<Workload>,
    /// Servers were asked for by name.
    named: bool,
    rounds: u32,
    duration: Duration,
    warmup: Duration,
    syscalls: bool,
    pub(crate) loadgen: PathBuf,
}

/// One server under one load, once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) workload: String,
    pub(crate) server: String,
    pub(crate) round: u32,
    /// What the load generator reports.
    pub(crate) figures: BTreeMap<String, f64>,
    /// Why there are none.
    pub(crate) error: Option<String>,
}

/// One round of one load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) workload: String,
    pub(crate) round: u32,
    pub(crate) noise: Noise,
}

/// Everything that came out.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    #[serde(skip)]
    pub(crate) suite: Suite,
    pub(crate) machine: Machine,
    /// Seconds.
    pub(crate) duration: f64,
    /// The packages that peers are built on.
    pub(crate) versions: BTreeMap<String, String>,
    /// In the order of the tables.
    pub(crate) servers: Vec<String>,
    #[serde(skip)]
    pub(crate) workloads: Vec<Workload>,
    pub(crate) rounds: Vec<Round>,
    pub(crate) runs: Vec<Run>,
    /// What counted the system calls.
    pub(crate) counter: Option<&'static str>,
    /// System calls per message, in a pass of its own.
    pub(crate) syscalls: Vec<Run>,
}

impl Results {
    pub(crate) fn failed(&self) -> bool {
        let mut all = self.runs.iter().chain(&self.syscalls);
        all.any(|run| run.error.is_some())
    }
}

impl Plan {
    pub(crate) fn new(
        suite: Suite,
        args: &Args,
        servers: Vec<Server>,
        workloads: Vec<Workload>,
    ) -> Result<Self, Box<dyn Error>> {
        for name in &args.only {
            if !servers.iter().any(|server| server.name == *name) {
                return Err(format!("no server {name}; --list names them").into());
            }
        }
        let selects = |name: &str, workload: &Workload| match name.strip_suffix('*') {
            Some(begin) => workload.name.starts_with(begin),
            None => workload.name == name,
        };
        for name in &args.workload {
            if !workloads.iter().any(|workload| selects(name, workload)) {
                return Err(format!("no workload {name}; --list names them").into());
            }
        }
        let workloads: Vec<Workload> = workloads
            .into_iter()
            .filter(|workload| {
                args.workload.is_empty() || args.workload.iter().any(|name| selects(name, workload))
            })
            .collect();
        let named = !args.only.is_empty();
        let servers = servers
            .into_iter()
            .filter(|server| {
                (!named || server.name == suite.base() || args.only.contains(&server.name))
                    && workloads
                        .iter()
                        .any(|workload| server.takes(workload, named))
            })
            .collect();
        let (rounds, duration, warmup) = if args.quick {
            (1, Duration::from_millis(200), Duration::from_millis(100))
        } else {
            (args.rounds, args.duration, Duration::from_millis(200))
        };
        Ok(Self {
            suite,
            servers,
            workloads,
            named,
            rounds,
            duration,
            warmup,
            syscalls: args.syscalls,
            loadgen: PathBuf::new(),
        })
    }

    /// Measures everything.
    pub(crate) fn run(self, children: &Children) -> Result<Results, Box<dyn Error>> {
        let running = self
            .servers
            .iter()
            .map(|server| server.start(children))
            .collect::<Result<Vec<_>, _>>()?;
        let mut results = Results {
            suite: self.suite,
            machine: Machine::look(),
            duration: self.duration.as_secs_f64(),
            versions: versions(&self.servers)?,
            servers: self
                .servers
                .iter()
                .map(|server| server.name.clone())
                .collect(),
            workloads: self.workloads.clone(),
            rounds: Vec::new(),
            runs: Vec::new(),
            counter: None,
            syscalls: Vec::new(),
        };
        for workload in &self.workloads {
            // What a connection holds is the same every time.
            let rounds = if workload.kind.fresh() {
                1
            } else {
                self.rounds
            };
            for round in 0..rounds {
                eprintln!("{}: round {} of {rounds}", workload.name, round + 1);
                let mut noise = Noise::look()?;
                let begin = Ticks::now()?;
                let mut order: Vec<_> = self.taking(workload, &running).collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                for (server, running) in order {
                    let figures = self.measure(children, workload, server, running);
                    let run = record(workload, server, round, figures);
                    results.runs.push(run);
                }
                noise.steal = Ticks::now()?.steal_since(&begin);
                results.rounds.push(Round {
                    workload: workload.name.clone(),
                    round,
                    noise,
                });
            }
        }
        if self.syscalls {
            let counter = Counter::find()?;
            results.counter = Some(counter.describe());
            for workload in &self.workloads {
                if workload.kind.fresh() {
                    continue;
                }
                eprintln!("{}: system calls", workload.name);
                for (server, running) in self.taking(workload, &running) {
                    let calls = self.count(counter, children, workload, server, running);
                    let figures = calls.map(|calls| [("per_message".to_owned(), calls)].into());
                    results.syscalls.push(record(workload, server, 0, figures));
                }
            }
        }
        Ok(results)
    }

    /// The servers that `workload` is for.
    fn taking<'a>(
        &'a self,
        workload: &'a Workload,
        running: &'a [Running],
    ) -> impl Iterator<Item = (&'a Server, Running)> {
        let both = self.servers.iter().zip(running.iter().copied());
        both.filter(|(server, _)| server.takes(workload, self.named))
    }

    fn measure(
        &self,
        children: &Children,
        workload: &Workload,
        server: &Server,
        running: Running,
    ) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
        if !workload.kind.fresh() {
            return self.load(children, workload, server, running);
        }
        let fresh = server.start(children)?;
        let figures = self.load(children, workload, server, fresh);
        children.kill(fresh.id);
        figures
    }

    /// System calls per message, without those of opening and closing unless
    /// that is what the load is.
    fn count(
        &self,
        counter: Counter,
        children: &Children,
        workload: &Workload,
        server: &Server,
        running: Running,
    ) -> Result<f64, Box<dyn Error>> {
        let counted = |workload: &Workload| -> Result<_, Box<dyn Error>> {
            let counting = counter.start(children, running)?;
            let figures = self.load(children, workload, server, running);
            let calls = counting.end(children)?;
            Ok((calls, figures?))
        };
        let (mut calls, figures) = counted(workload)?;
        // Opening is what a storm is, and next to nothing beside a fan-out.
        if !matches!(workload.kind, Kind::Storm | Kind::Publish | Kind::Say) {
            let (opening, _) = counted(&workload.opening())?;
            calls -= opening;
        }
        let messages = figures.get("messages_in_all").ok_or("no messages")?;
        Ok(calls / messages)
    }

    fn load(
        &self,
        children: &Children,
        workload: &Workload,
        server: &Server,
        running: Running,
    ) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
        let Running { id, port } = running;
        let proto = if server.raw() { "raw" } else { "ws" };
        // What is in flight to so many is a while's work.
        let wide = matches!(workload.kind, Kind::Publish | Kind::Say);
        let duration = match wide && workload.connections >= 10_000 {
            true => self.duration * 4,
            false => self.duration,
        };
        let mut command = pinned(LOAD_CORE, &self.loadgen);
        command
            .args(["--url", &format!("ws://127.0.0.1:{port}/")])
            .args(["--server-pid", &id.to_string(), "--proto", proto])
            .args(["--language", server.language(workload)])
            .args(["--duration", &duration.as_secs_f64().to_string()])
            .args(["--warmup", &self.warmup.as_secs_f64().to_string()])
            .args(workload.options())
            .stderr(Stdio::inherit());
        if server.deflates() {
            command.arg("--deflate");
        }
        let (status, output) = children.output(&mut command)?;
        if !children.alive(id) {
            return Err("the server has ended; see its log".into());
        }
        if !status.success() {
            return Err(format!("the load generator failed ({status})").into());
        }
        let report: BTreeMap<String, Value> = serde_json::from_str(&output)?;
        let number = |(name, value): (String, Value)| Some((name, value.as_f64()?));
        Ok(report.into_iter().filter_map(number).collect())
    }
}

fn record(
    workload: &Workload,
    server: &Server,
    round: u32,
    figures: Result<BTreeMap<String, f64>, Box<dyn Error>>,
) -> Run {
    let (figures, error) = match figures {
        Ok(figures) => (figures, None),
        Err(error) => {
            eprintln!("{} under {}: {error}", server.name, workload.name);
            (BTreeMap::new(), Some(error.to_string()))
        }
    };
    Run {
        workload: workload.name.clone(),
        server: server.name.clone(),
        round,
        figures,
        error,
    }
}

/// The versions of the packages that are measured.
fn versions(servers: &[Server]) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let lock = std::fs::read_to_string(path)?;
    let version = |package: &str| {
        let begin = format!("[[package]]\nname = \"{package}\"\nversion = \"");
        let (_, rest) = lock.split_once(&begin)?;
        Some(rest.split('"').next()?.to_owned())
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/package.json");
    let manifest: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let on_node = |package: &str| {
        let version = manifest["dependencies"][package].as_str()?;
        Some(version.to_owned())
    };
    let packages = servers.iter().filter_map(|server| {
        let package = server.of?;
        let version = if server.source == Source::Node {
            on_node(package)
        } else {
            version(package)
        };
        Some((package.to_owned(), version?))
    });
    Ok(packages.collect())
}
