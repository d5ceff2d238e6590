//! What this process uses, as the kernel tells.

use std::fs;
use std::time::Duration;

/// The time that this thread was on a processor: the bench runs on one.
pub(crate) fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

/// Bytes in memory now.
pub(crate) fn resident() -> u64 {
    line("VmRSS:")
}

/// The most bytes in memory since [`forget_peak`].
pub(crate) fn peak() -> u64 {
    line("VmHWM:")
}

/// Begins to look for the peak anew.
pub(crate) fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn line(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes << 10
}
