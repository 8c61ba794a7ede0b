//! CPU time and memory of the system's processes, from `/proc`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use serde::Serialize;

/// The length of a tick in `/proc/<pid>/stat`: 100 per second on every Linux that spotter supports.
const TICK: Duration = Duration::from_millis(10);

/// CPU time and memory of one service or server, summed over its processes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Usage {
    /// CPU seconds since the processes started.
    pub(crate) cpu_s: f64,
    /// Resident memory now, in MiB.
    pub(crate) resident_mib: f64,
    /// Peak resident memory, in MiB.
    pub(crate) peak_mib: f64,
}

/// Usage of `API`, `worker`, `NATS` and `Redis`.
pub(crate) type Usages = BTreeMap<&'static str, Usage>;

/// The usage of the processes that this one has started.
pub(crate) fn usages() -> Usages {
    let mut usages = Usages::new();
    for id in children() {
        let Some(service) = service(id) else { continue };
        let found = usage(id).unwrap_or_default();
        let sum: &mut Usage = usages.entry(service).or_default();
        sum.cpu_s += found.cpu_s;
        sum.resident_mib += found.resident_mib;
        sum.peak_mib += found.peak_mib;
    }
    usages
}

/// The busy time of the inference threads up to a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotTimes {
    at: Instant,
    threads: usize,
    /// Seconds in which they ran or waited for a core, summed.
    busy_s: f64,
}

impl SlotTimes {
    /// The busy time of every slot of the workers that this process has started.
    pub(crate) fn now() -> Self {
        let workers = children().into_iter().filter(|id| service(*id) == Some("worker"));
        let slots = workers.flat_map(threads).filter(|thread| is_slot(thread));
        let busy: Vec<f64> = slots.filter_map(|thread| busy_s(&thread)).collect();
        Self { at: Instant::now(), threads: busy.len(), busy_s: busy.iter().sum() }
    }

    /// The share of the time since `earlier` in which they slept. Linux accounts the time of a running thread at its
    /// next tick, so that over a short interval the busy time may exceed the interval.
    pub(crate) fn idle_share_since(&self, earlier: &Self) -> f64 {
        let time_s = (self.at - earlier.at).as_secs_f64() * self.threads as f64;
        (1.0 - (self.busy_s - earlier.busy_s) / time_s).clamp(0.0, 1.0)
    }
}

fn threads(id: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn is_slot(thread: &Path) -> bool {
    fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("slot-"))
}

/// The seconds in which a thread ran or waited for a core.
fn busy_s(thread: &Path) -> Option<f64> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    let mut nanoseconds = text.split_ascii_whitespace().map(|field| field.parse::<f64>().ok());
    let (ran, waited) = (nanoseconds.next()??, nanoseconds.next()??);
    Some((ran + waited) / 1e9)
}

/// CPU seconds of this process.
pub(crate) fn own_cpu_s() -> f64 {
    cpu_s(process::id()).unwrap_or_default()
}

fn children() -> Vec<u32> {
    let own = process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|stat| stat.parent == own)).collect()
}

/// The service or server that a process is, by its command line.
fn service(id: u32) -> Option<&'static str> {
    let words = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
    let mut words = words.split('\0');
    let program = words.next()?.rsplit('/').next()?.to_owned();
    match (program.as_str(), words.next()) {
        ("nats-server", _) => Some("NATS"),
        (program, _) if program.starts_with("redis-server") => Some("Redis"),
        (_, Some("api")) => Some("API"),
        (_, Some("worker")) => Some("worker"),
        _ => None,
    }
}

struct Stat {
    parent: u32,
    ticks: u32,
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold blanks and brackets.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u32>().ok();
    // Counted from the third field: the parent is the 4th, user and system time the 14th and 15th.
    Some(Stat { parent: number(1)?, ticks: number(11)? + number(12)? })
}

fn cpu_s(id: u32) -> Option<f64> {
    Some((TICK * stat(id)?.ticks).as_secs_f64())
}

fn usage(id: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_ascii_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
    };
    Some(Usage { cpu_s: cpu_s(id)?, resident_mib: mib("VmRSS:")?, peak_mib: mib("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_found_and_identified() {
        let script = "read -r line";
        let mut child =
            Command::new("sh").args(["-c", script, "x"]).stdin(Stdio::piped()).spawn().unwrap();
        assert!(children().contains(&child.id()));
        assert_eq!(service(child.id()), None);
        let found = usage(child.id()).unwrap();
        assert!(found.peak_mib > 0.0 && found.peak_mib < 100.0, "{found:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_late_tick_makes_no_negative_sleep() {
        let at = Instant::now();
        let after =
            |threads, busy_s| SlotTimes { at: at + Duration::from_secs(1), threads, busy_s };
        let earlier = SlotTimes { at, threads: 2, busy_s: 1.0 };
        assert!((after(2, 2.5).idle_share_since(&earlier) - 0.25).abs() < 1e-9);
        assert_eq!(after(2, 3.002).idle_share_since(&earlier), 0.0);
        let none = SlotTimes { at, threads: 0, busy_s: 0.0 };
        assert!(after(0, 0.0).idle_share_since(&none).is_nan());
    }
}
