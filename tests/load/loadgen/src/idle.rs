//! Mode idle.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use crate::Args;
use crate::connection::{connect, one_echo};
use crate::measure::{Report, Sample};
use crate::message::Load;
use crate::parser::Expect;

pub(crate) fn run(args: &Args) -> Result<Report, Box<dyn Error>> {
    let load = Load::new(args)?;
    let expect = Expect::new(args, &load);
    let open = || {
        let mut stream = connect(args, args.path())?;
        if args.touch {
            one_echo(args, &mut stream, &load, &expect)?;
        }
        if args.join {
            args.language.enter(&mut stream)?;
        }
        Ok::<_, Box<dyn Error>>(stream)
    };
    // One connection first: what the server allocates once is not counted
    // against the connections.
    let first = open()?;
    thread::sleep(Duration::from_millis(200));
    let before = Sample::server(args)?;
    let begin = Instant::now();
    let mut streams = Vec::with_capacity(args.connections);
    for i in 0..args.connections {
        streams.push(open().map_err(|error| format!("connection {i}: {error}"))?);
    }
    let opening = begin.elapsed().as_secs_f64();
    let opened = Sample::server(args)?;
    thread::sleep(args.duration);
    let after = Sample::server(args)?;

    let mut report = Report::new(args);
    let connections = args.connections as f64;
    report.number("opening_s", opening);
    report.number("opens_per_s", connections / opening);
    if let (Some(before), Some(opened), Some(after)) = (before, opened, after) {
        let grown = (after.rss_kib as f64 - before.rss_kib as f64) * 1024.0;
        report.number("server_rss_kib", after.rss_kib as f64);
        report.number("server_rss_bytes_per_connection", grown / connections);
        let cpu = opened.cpu_since(&before).as_secs_f64();
        report.number("server_cpu_us_per_open", 1e6 * cpu / connections);
        let idle = after.cpu_since(&opened).as_secs_f64();
        let waited = args.duration.as_secs_f64();
        report.number("server_idle_cpu_pct", 100.0 * idle / waited);
    }
    drop((first, streams));
    Ok(report)
}
