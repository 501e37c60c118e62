//! Tables in Markdown.

use crate::Suite;
use crate::plan::{Results, Run};
use crate::servers::Server;
use crate::workloads::{Kind, Workload};

/// What `--list` says.
pub(crate) fn list(servers: &[Server], workloads: &[Workload]) {
    println!("servers:");
    for server in servers {
        println!("  {:20} {}", server.name, server.describe());
    }
    println!("\nworkloads:");
    for workload in workloads {
        println!("  {:12} {}", workload.name, workload.describe());
    }
}

/// All tables.
pub(crate) fn print(results: &Results) {
    let machine = &results.machine;
    println!("# {}\n", results.suite.title());
    println!(
        "{}, {} cores, Linux {}; {} s per server and round.\n",
        machine.processor, machine.cores, machine.kernel, results.duration
    );
    for doubt in machine.doubts() {
        println!("**Doubtful: {doubt}.**\n");
    }
    if !results.versions.is_empty() {
        let versions = results.versions.iter();
        let versions: Vec<_> = versions
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        println!("Peers: {}.\n", versions.join(", "));
    }
    for workload in &results.workloads {
        table(results, workload);
    }
    let base = results.suite.base();
    overview(
        results,
        &format!("Messages per second, to those of {base}"),
        ratio,
        ratio_text,
    );
    if results.suite == Suite::Realtime {
        overview(
            results,
            &format!("Server CPU per message, to that of {base}"),
            cpu_ratio,
            ratio_text,
        );
    }
    overview(
        results,
        "Server CPU, us per message (minimum)",
        cpu,
        significant,
    );
    interest(results);
    if let Some(counter) = results.counter {
        let title = format!("System calls per message ({counter})");
        overview(results, &title, calls, |calls| format!("{calls:.2}"));
    }
}

fn table(results: &Results, workload: &Workload) {
    println!("## {}: {}\n", workload.name, workload.describe());
    let columns: &[(&str, Column)] = match workload.kind {
        Kind::Joined => &[
            ("bytes per connection", bytes),
            ("ratio", |of| of.to_base("server_rss_bytes_per_connection")),
            ("CPU us per open", |of| of.median("server_cpu_us_per_open")),
            ("idle CPU %", |of| of.median("server_idle_cpu_pct")),
        ],
        Kind::Idle | Kind::Touched => &[
            ("bytes per connection", bytes),
            ("CPU us per open", |of| of.median("server_cpu_us_per_open")),
            ("idle CPU %", |of| of.median("server_idle_cpu_pct")),
        ],
        Kind::Echo | Kind::Scale | Kind::Deflate | Kind::Storm => &[
            ("ratio", ratio),
            ("per second", |of| of.median("messages_per_s")),
            ("CPU us min", |of| of.minimum("server_cpu_us_per_message")),
            ("CPU us median", |of| of.median("server_cpu_us_per_message")),
            ("p50 us", |of| of.median("latency_us_p50")),
            ("p99.9 us", |of| of.median("latency_us_p999")),
            ("loadgen CPU %", |of| of.median("loadgen_cpu_pct")),
        ],
        Kind::Publish
        | Kind::Say
        | Kind::Ack
        | Kind::Events
        | Kind::Rooms
        | Kind::Heard
        | Kind::Unheard => &[
            ("CPU ratio", cpu_ratio),
            ("ratio", ratio),
            ("per second", |of| of.median("messages_per_s")),
            ("CPU us min", cpu),
            ("CPU us median", |of| of.median("server_cpu_us_per_message")),
            ("p50 us", |of| of.median("latency_us_p50")),
            ("p99.9 us", |of| of.median("latency_us_p999")),
            ("loadgen CPU %", |of| of.median("loadgen_cpu_pct")),
        ],
    };
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    head("server", &names);
    for server in &results.servers {
        let of = Of {
            results,
            workload,
            server,
        };
        if of.runs().next().is_none() {
            continue;
        }
        let cells: Vec<_> = columns
            .iter()
            .map(|(name, column)| match column(&of) {
                Some(value) if name.ends_with("ratio") => ratio_text(value),
                Some(value) => significant(value),
                None => "-".into(),
            })
            .collect();
        println!("| {server} | {} |", cells.join(" | "));
    }
    println!();
    let of_workload = |name: &str| name == workload.name;
    for run in results.runs.iter().filter(|run| of_workload(&run.workload)) {
        if let Some(error) = &run.error {
            println!(
                "**{} failed in round {}: {error}.**\n",
                run.server,
                run.round + 1
            );
        }
    }
    for round in results
        .rounds
        .iter()
        .filter(|round| of_workload(&round.workload))
    {
        if let Some(doubt) = round.noise.doubt() {
            println!("Doubtful: round {}: {doubt}.\n", round.round + 1);
        }
    }
}

/// One figure of every server under every load that has it.
fn overview(results: &Results, title: &str, column: Column, show: fn(f64) -> String) {
    let workloads: Vec<_> = results
        .workloads
        .iter()
        .filter(|workload| !workload.kind.fresh())
        .collect();
    let names: Vec<_> = workloads
        .iter()
        .map(|workload| workload.name.as_str())
        .collect();
    if names.is_empty() {
        return;
    }
    println!("## {title}\n");
    head("server", &names);
    for server in &results.servers {
        let cells: Vec<_> = workloads
            .iter()
            .map(|workload| {
                let of = Of {
                    results,
                    workload,
                    server,
                };
                column(&of).map(show).unwrap_or_default()
            })
            .collect();
        println!("| {server} | {} |", cells.join(" | "));
    }
    println!();
}

/// What an event costs that nobody listens to, beside one that is heard.
fn interest(results: &Results) {
    let of_kind = |kind| {
        let mut workloads = results.workloads.iter();
        workloads.find(|workload| workload.kind == kind)
    };
    let (Some(heard), Some(unheard)) = (of_kind(Kind::Heard), of_kind(Kind::Unheard)) else {
        return;
    };
    println!("## Events that nobody listens to\n");
    head(
        "server",
        &["heard, CPU us", "unheard, CPU us", "CPU saved %"],
    );
    for server in &results.servers {
        let cost = |workload| {
            cpu(&Of {
                results,
                workload,
                server,
            })
        };
        if let (Some(heard), Some(unheard)) = (cost(heard), cost(unheard)) {
            let saved = 100.0 * (1.0 - unheard / heard);
            let cells = [heard, unheard, saved].map(significant);
            println!("| {server} | {} |", cells.join(" | "));
        }
    }
    println!();
}

fn head(first: &str, names: &[&str]) {
    println!("| {first} | {} |", names.join(" | "));
    println!("|---|{}", "--:|".repeat(names.len()));
}

/// Three digits that count, and all that come before the point.
fn significant(value: f64) -> String {
    let places = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

type Column = fn(&Of<'_>) -> Option<f64>;

fn ratio(of: &Of<'_>) -> Option<f64> {
    of.to_base("messages_per_s")
}

fn ratio_text(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn cpu_ratio(of: &Of<'_>) -> Option<f64> {
    of.to_base("server_cpu_us_per_message")
}

fn bytes(of: &Of<'_>) -> Option<f64> {
    of.median("server_rss_bytes_per_connection")
}

fn cpu(of: &Of<'_>) -> Option<f64> {
    of.minimum("server_cpu_us_per_message")
}

fn calls(of: &Of<'_>) -> Option<f64> {
    let mut passes = of.results.syscalls.iter();
    passes
        .find(|run| of.is(run))?
        .figures
        .get("per_message")
        .copied()
}

/// One server under one load.
struct Of<'a> {
    results: &'a Results,
    workload: &'a Workload,
    server: &'a str,
}

impl Of<'_> {
    fn is(&self, run: &Run) -> bool {
        run.server == self.server && run.workload == self.workload.name
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.results.runs.iter().filter(|run| self.is(run))
    }

    fn values(&self, name: &str) -> Vec<f64> {
        let mut values: Vec<f64> = self
            .runs()
            .filter_map(|run| run.figures.get(name).copied())
            .collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self, name: &str) -> Option<f64> {
        median(&self.values(name))
    }

    fn minimum(&self, name: &str) -> Option<f64> {
        self.values(name).first().copied()
    }

    /// The median of what it had in each round to what the base had in it.
    fn to_base(&self, name: &str) -> Option<f64> {
        let base = Of {
            server: self.results.suite.base(),
            ..*self
        };
        let mut ratios: Vec<f64> = self
            .runs()
            .filter_map(|run| {
                let same = base.runs().find(|other| other.round == run.round)?;
                Some(run.figures.get(name)? / same.figures.get(name)?)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        median(&ratios)
    }
}

/// Of sorted values.
fn median(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
