//! The processes that are started, and their end, whatever happens.

use std::error::Error;
use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// All children that live. Dropped, it ends them; so does a signal.
#[derive(Debug)]
pub(crate) struct Children(Arc<Mutex<Vec<Child>>>);

impl Children {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let limit = getrlimit(Resource::Nofile);
        let all = Rlimit {
            current: limit.maximum,
            ..limit
        };
        setrlimit(Resource::Nofile, all)?;
        let children = Self(Arc::default());
        let ended = Self(Arc::clone(&children.0));
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // Held until the process is gone: nothing is started any more.
                let mut list = ended.lock();
                end(&mut list);
                std::process::exit(128 + signal);
            }
        });
        Ok(children)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process that dies with this one.
    pub(crate) fn start(&self, command: &mut Command) -> Result<u32, Box<dyn Error>> {
        let mut list = self.lock();
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let id = child.id();
        list.push(child);
        Ok(id)
    }

    /// Runs a process to its end: what it wrote to standard output.
    pub(crate) fn output(
        &self,
        command: &mut Command,
    ) -> Result<(ExitStatus, String), Box<dyn Error>> {
        let id = self.start(command.stdout(Stdio::piped()))?;
        let stdout = self.with(id, |child| child.stdout.take());
        let mut output = String::new();
        if let Some(mut stdout) = stdout.flatten() {
            stdout.read_to_string(&mut output)?;
        }
        Ok((self.wait(id)?, output))
    }

    /// Waits for a process that is about to end.
    pub(crate) fn wait(&self, id: u32) -> Result<ExitStatus, Box<dyn Error>> {
        loop {
            let status = self.with(id, Child::try_wait).ok_or("no such child")??;
            if let Some(status) = status {
                self.lock().retain(|child| child.id() != id);
                return Ok(status);
            }
            thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Whether it still runs.
    pub(crate) fn alive(&self, id: u32) -> bool {
        self.with(id, Child::try_wait)
            .is_some_and(|status| matches!(status, Ok(None)))
    }

    pub(crate) fn interrupt(&self, id: u32) {
        self.with(id, |child| signal(child, Signal::INT));
    }

    /// Ends it.
    pub(crate) fn kill(&self, id: u32) {
        let mut list = self.lock();
        if let Some(at) = list.iter().position(|child| child.id() == id) {
            end(&mut vec![list.swap_remove(at)]);
        }
    }

    fn with<T>(&self, id: u32, f: impl FnOnce(&mut Child) -> T) -> Option<T> {
        self.lock().iter_mut().find(|child| child.id() == id).map(f)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        end(&mut self.lock());
    }
}

/// Our children are ours until they are waited for, so their ids cannot be
/// those of others.
fn end(list: &mut Vec<Child>) {
    for child in list.iter_mut() {
        let _ = child.kill();
    }
    for mut child in list.drain(..) {
        let _ = child.wait();
    }
}

fn signal(child: &mut Child, signal: Signal) {
    if let Ok(None) = child.try_wait()
        && let Some(pid) = Pid::from_raw(child.id().cast_signed())
    {
        let _ = kill_process(pid, signal);
    }
}
