//! Servers beside each other, under the same load.
//!
//! Builds the servers, starts them all, each pinned to one core, and drives
//! them in turn by a load generator pinned to another; then says what each
//! message cost. See the README beside this package for what the figures mean.

mod build;
mod children;
mod echo;
mod noise;
mod plan;
mod realtime;
mod report;
mod servers;
mod syscalls;
mod workloads;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::children::Children;
use crate::plan::Plan;
use crate::servers::Server;
use crate::workloads::Workload;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Libraries, by the echo.
    Echo,
    /// Realtime servers: fan-out, acknowledgements, events, rooms.
    Realtime,
}

impl Suite {
    const fn name(self) -> &'static str {
        match self {
            Self::Echo => "bench-echo",
            Self::Realtime => "bench-realtime",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Echo => "Echo servers beside each other",
            Self::Realtime => "Realtime servers beside each other",
        }
    }

    /// The server that the others are held against.
    const fn base(self) -> &'static str {
        match self {
            Self::Echo => echo::CEILING,
            Self::Realtime => realtime::BASE,
        }
    }

    fn servers(self, args: &Args) -> Result<Vec<Server>, Box<dyn Error>> {
        let all = match self {
            Self::Echo => echo::servers(args)?,
            Self::Realtime => realtime::servers(args)?,
        };
        let mut names: Vec<_> = all.iter().map(|server| &server.name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two servers are named {}", twice[0]).into());
        }
        Ok(all)
    }

    fn workloads(self) -> Vec<Workload> {
        match self {
            Self::Echo => echo::workloads(),
            Self::Realtime => realtime::workloads(),
        }
    }
}

/// Measures servers beside each other.
#[derive(Parser, Debug)]
struct Args {
    /// Measure these servers only (and the one that all are held against).
    #[arg(long, value_name = "SERVER,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure these workloads only; a name that ends in `*` means all that begin so.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    workload: Vec<String>,
    /// Rounds per workload.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that each server is measured in a round.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    duration: Duration,
    /// One more server, of no compression; `{port}` in the command is where it is to listen on
    /// 127.0.0.1. It echoes, or what comes to /pub goes to all on /sub.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = peer)]
    peer: Vec<Peer>,
    /// One more echo server, which agrees to compress.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = peer)]
    deflate_peer: Vec<Peer>,
    /// After the rounds, count system calls, in a pass of its own that is not timed.
    #[arg(long)]
    syscalls: bool,
    /// One round of 0.2 seconds: says whether everything works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Where the figures go as JSON; without it, to a file named like the program.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Say which servers and workloads there are.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Debug)]
struct Peer {
    name: String,
    command: String,
}

fn peer(value: &str) -> Result<Peer, String> {
    let (name, command) = value.split_once('=').ok_or("not NAME=COMMAND")?;
    if name.is_empty() || !command.contains("{port}") {
        return Err("needs a name, and {port} in the command".into());
    }
    Ok(Peer {
        name: name.into(),
        command: command.into(),
    })
}

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds: f64 = value.parse().map_err(|_| "not a number")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where what is built and logged is kept.
fn cache() -> PathBuf {
    root().join("tests/.cache/load")
}

/// Measures as the command line says.
///
/// # Errors
///
/// A server cannot be built, started or measured.
pub fn run(suite: Suite) -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let servers = suite.servers(&args)?;
    let workloads = suite.workloads();
    if args.list {
        report::list(&servers, &workloads);
        return Ok(());
    }
    let mut plan = Plan::new(suite, &args, servers, workloads)?;
    let children = Children::new()?;
    build::all(&mut plan, &children)?;
    let results = plan.run(&children)?;
    drop(children);
    report::print(&results);
    let json = args.json.unwrap_or_else(|| {
        let name = suite.name();
        format!("{name}.json").into()
    });
    std::fs::write(&json, serde_json::to_vec_pretty(&results)?)?;
    eprintln!("figures in {}", json.display());
    if results.failed() {
        return Err("not everything could be measured".into());
    }
    Ok(())
}
