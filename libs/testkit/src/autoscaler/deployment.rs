//! The Deployment: runs the wanted number of processes.

use std::time::{Duration, Instant};

use crate::process::Process;

/// Starts one replica.
pub(super) type Start = Box<dyn FnMut() -> Process + Send>;

/// Replicas of one program.
pub(super) struct Deployment {
    start: Start,
    /// The time from SIGTERM to SIGKILL: `terminationGracePeriodSeconds`.
    grace: Duration,
    /// Oldest first.
    running: Vec<Replica>,
    leaving: Vec<(Process, Instant)>,
    ended: Ended,
}

struct Replica {
    process: Process,
    ready: bool,
}

/// Replicas that have exited.
#[derive(Debug, Default)]
pub struct Ended {
    /// Those that exited after SIGTERM.
    pub stopped: Vec<Process>,
    /// Those that did not exit within the grace period and were killed.
    pub killed: Vec<Process>,
    /// Those that exited by themselves and were replaced.
    pub crashed: Vec<Process>,
}

/// The numbers of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replicas {
    /// The wanted number.
    pub wanted: u32,
    /// Those of them that are ready.
    pub ready: u32,
    /// Those that were sent SIGTERM and have not exited yet.
    pub leaving: u32,
}

impl Deployment {
    pub(super) fn new(start: Start, grace: Duration) -> Self {
        Self { start, grace, running: Vec::new(), leaving: Vec::new(), ended: Ended::default() }
    }

    pub(super) fn replicas(&self) -> Replicas {
        let ready = self.running.iter().filter(|replica| replica.ready).count();
        Replicas {
            wanted: count(self.running.len()),
            ready: count(ready),
            leaving: count(self.leaving.len()),
        }
    }

    /// Starts missing replicas. Of surplus ones, the youngest are sent SIGTERM, as by a ReplicaSet among replicas of
    /// the same state.
    pub(super) fn scale_to(&mut self, replicas: u32) {
        let replicas = replicas as usize;
        while self.running.len() < replicas {
            self.running.push(Replica { process: (self.start)(), ready: false });
        }
        for mut replica in self.running.split_off(replicas) {
            replica.process.terminate();
            self.leaving.push((replica.process, Instant::now() + self.grace));
        }
    }

    /// Checks every process: which are ready, have exited, must be killed, or must be replaced.
    pub(super) fn tend(&mut self) {
        for (mut process, deadline) in std::mem::take(&mut self.leaving) {
            if process.exit_status().is_some() {
                self.ended.stopped.push(process);
            } else if Instant::now() >= deadline {
                process.kill9();
                self.ended.killed.push(process);
            } else {
                self.leaving.push((process, deadline));
            }
        }
        for replica in &mut self.running {
            if replica.process.exit_status().is_some() {
                let crashed = std::mem::replace(&mut replica.process, (self.start)());
                self.ended.crashed.push(crashed);
                replica.ready = false;
            }
            replica.ready =
                replica.ready || replica.process.lines().iter().any(|line| line.text == "ready");
        }
    }

    /// Stops all replicas and waits until they have exited.
    pub(super) fn end(mut self) -> Ended {
        self.scale_to(0);
        for (mut process, deadline) in std::mem::take(&mut self.leaving) {
            process.wait_exit(deadline.saturating_duration_since(Instant::now()));
            self.ended.stopped.push(process);
        }
        self.ended
    }
}

fn count(processes: usize) -> u32 {
    u32::try_from(processes).unwrap_or(u32::MAX)
}
