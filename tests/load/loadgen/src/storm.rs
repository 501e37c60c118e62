//! Mode storm.

use std::error::Error;
use std::time::Instant;

use crate::Args;
use crate::connection::{connect, one_echo};
use crate::measure::{Report, Window, histogram};
use crate::message::Load;
use crate::parser::Expect;

pub(crate) fn run(args: &Args) -> Result<Report, Box<dyn Error>> {
    let load = Load::new(args)?;
    let expect = Expect::new(args, &load);
    let mut latency = histogram()?;
    let (mut opened, mut warmed) = (0_u64, 0_u64);
    let turn = || -> Result<u64, Box<dyn Error>> {
        let begin = Instant::now();
        let mut stream = connect(args, args.path())?;
        one_echo(args, &mut stream, &load, &expect)?;
        drop(stream);
        Ok(begin.elapsed().as_nanos() as u64)
    };
    let begin = Instant::now();
    while begin.elapsed() < args.warmup {
        turn()?;
        warmed += 1;
    }
    let window = Window::begin(args)?;
    let begin = Instant::now();
    while begin.elapsed() < args.duration {
        let _ = latency.record(turn()?);
        opened += 1;
    }
    let mut report = Report::new(args);
    window.end(args, opened, &mut report)?;
    report.number("messages_in_all", (warmed + opened) as f64);
    report.latency(&latency);
    Ok(report)
}
