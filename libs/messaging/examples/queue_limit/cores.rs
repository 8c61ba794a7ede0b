//! Cores: which ones this process may use, and threads that stay on some of them.

use std::{fs, process::Command};

/// The ids of the cores that this process may run on.
///
/// # Panics
/// If Linux does not say so.
pub(crate) fn allowed() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    // Such as "0-3,6".
    let ranges = list.expect("Linux has it").trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<usize>().unwrap()..=last.parse::<usize>().unwrap()
    });
    ranges.flatten().collect()
}

/// Keeps every thread of this process, and those that they start, on these cores.
///
/// # Panics
/// Without `taskset`, which is a part of util-linux.
pub(crate) fn pin_to(cores: &[usize]) {
    let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
    let own = std::process::id().to_string();
    let taskset = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &list.join(","), &own])
        .output()
        .expect("taskset can be started");
    assert!(taskset.status.success(), "{}", String::from_utf8_lossy(&taskset.stderr));
}

/// CPU seconds of the calling thread.
///
/// # Panics
/// If Linux does not say so.
pub(crate) fn thread_cpu_s() -> f64 {
    // The first number is the time on a core in nanoseconds.
    let times = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let ran = times.split_ascii_whitespace().next().expect("it has three numbers");
    ran.parse::<f64>().unwrap() / 1e9
}
