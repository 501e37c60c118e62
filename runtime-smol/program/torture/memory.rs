//! How much memory a server has.

use std::fs;
use std::future::Future;
use std::time::Duration;

use async_io::Timer;
use futures_lite::FutureExt as _;

/// How often memory is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// Resident memory of a process, in bytes; `None` if that cannot be told.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "VmRSS:")
}

/// Open files of a process.
pub(crate) fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Runs it, and tells by how much the process grew meanwhile at most.
pub(crate) async fn watch<T>(pid: Option<u32>, work: impl Future<Output = T>) -> (T, Option<u64>) {
    let Some((pid, before)) = pid.and_then(|pid| Some((pid, resident(pid)?))) else {
        return (work.await, None);
    };
    let mut peak = before;
    let look = async {
        loop {
            peak = peak.max(resident(pid).unwrap_or(0));
            Timer::after(EVERY).await;
        }
    };
    let done = work.or(look).await;
    let peak = peak.max(resident(pid).unwrap_or(0));
    (done, Some(peak - before))
}

/// A size as one would say it.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_status_are_in_kib() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(field(status, "VmRSS:"), Some(2 << 20));
        assert_eq!(field(status, "VmHWM:"), None);
        assert_eq!(mib(3 << 19), "1.5 MiB");
    }
}
