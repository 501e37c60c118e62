//! Counting a server's system calls.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::cache;
use crate::children::Children;
use crate::servers::Running;

/// What counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    /// The kernel's tracepoint: hardly slower than without.
    Perf,
    /// Stops the server at every call, which changes what it meets: a peer has
    /// often answered before the next read.
    Strace,
}

/// A count under way.
#[derive(Debug)]
pub(crate) struct Counting {
    id: u32,
    output: PathBuf,
    counter: Counter,
}

const EVENT: &str = "raw_syscalls:sys_enter";

impl Counter {
    /// The best that works here.
    pub(crate) fn find() -> Result<Self, Box<dyn Error>> {
        let works = |program: &str, args: &[&str]| {
            Command::new(program)
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        if works("perf", &["stat", "-e", EVENT, "true"]) {
            Ok(Self::Perf)
        } else if works("strace", &["-c", "true"]) {
            Ok(Self::Strace)
        } else {
            Err("neither perf nor strace can count system calls here".into())
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Perf => "perf tracepoints",
            Self::Strace => "strace, which slows the server down and so flatters some",
        }
    }

    /// Begins to count.
    pub(crate) fn start(
        self,
        children: &Children,
        server: Running,
    ) -> Result<Counting, Box<dyn Error>> {
        let output = cache().join("syscalls.txt");
        let pid = server.id.to_string();
        let mut command = match self {
            Self::Perf => {
                let mut command = Command::new("perf");
                command.args(["stat", "-x", ",", "-e", EVENT, "-p", &pid, "-o"]);
                command
            }
            Self::Strace => {
                let mut command = Command::new("strace");
                command.args(["-c", "-f", "-p", &pid, "-o"]);
                command
            }
        };
        command
            .arg(&output)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let id = children.start(&mut command)?;
        // Neither says when it has begun.
        thread::sleep(Duration::from_millis(500));
        Ok(Counting {
            id,
            output,
            counter: self,
        })
    }
}

impl Counting {
    /// How many calls there were.
    pub(crate) fn end(self, children: &Children) -> Result<f64, Box<dyn Error>> {
        children.interrupt(self.id);
        children.wait(self.id)?;
        let text = fs::read_to_string(&self.output)?;
        let count = match self.counter {
            // count,unit,event,...
            Counter::Perf => text
                .lines()
                .find(|line| line.contains(EVENT))
                .and_then(|line| line.split(',').next()),
            // % time, seconds, usecs/call, calls, errors, syscall
            Counter::Strace => text
                .lines()
                .find(|line| line.ends_with(" total"))
                .and_then(|line| line.split_ascii_whitespace().nth(3)),
        };
        let count = count.ok_or_else(|| format!("no count in {}", self.output.display()))?;
        Ok(count.parse()?)
    }
}
