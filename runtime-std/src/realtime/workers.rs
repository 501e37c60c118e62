//! The threads that call handlers.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a worker without work stays.
const REST: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Threads that come when there is work and go when there is none.
pub(super) struct Workers {
    max: usize,
    state: Mutex<State>,
    /// There is work, or no more will come.
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    over: bool,
}

impl Workers {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            state: Mutex::default(),
            work: Condvar::new(),
        }
    }

    /// Does `job` as soon as a thread is free; `run` is what a new one calls.
    pub(super) fn submit<R>(&self, job: Job, run: R)
    where
        R: FnOnce() + Send + 'static,
    {
        let mut state = self.lock();
        state.queue.push_back(job);
        if state.idle >= state.queue.len() || state.threads >= self.max {
            drop(state);
            return self.work.notify_one();
        }
        state.threads += 1;
        drop(state);
        let started = thread::Builder::new()
            .name("smartsocket-worker".into())
            .spawn(run);
        if let Err(error) = started {
            log::warn!(target: "smartsocket:std", "no thread for a handler: {error}");
            self.lock().threads -= 1;
        }
    }

    /// A worker's life.
    pub(super) fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            if state.over {
                break;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, REST);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }

    /// No more work comes: threads go when they have done what there is.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
