//! How many jobs a worker works on, for the work that gives way to them.

use tokio::sync::watch;

use crate::cores::Parallelism;

/// The jobs of a worker, and whether they leave a slot idle. All clones count the same jobs.
#[derive(Clone)]
pub(crate) struct Load {
    slots: usize,
    jobs: watch::Sender<Jobs>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Jobs {
    /// All that the worker has, also those that wait for a slot or are being stored.
    count: usize,
    /// Those that were given all cores, or that must run alone.
    on_all_cores: usize,
}

impl Jobs {
    fn leave_a_slot_idle(self, slots: usize) -> bool {
        self.on_all_cores == 0 && self.count < slots
    }
}

/// A job counts until this is dropped.
pub(crate) struct CountedJob {
    jobs: watch::Sender<Jobs>,
    parallelism: Parallelism,
}

impl Load {
    /// No job, in a worker of so many slots.
    pub(crate) fn of_slots(slots: usize) -> Self {
        Self { slots, jobs: watch::Sender::new(Jobs::default()) }
    }

    /// Counts a job.
    pub(crate) fn count(&self, parallelism: Parallelism) -> CountedJob {
        self.jobs.send_modify(|jobs| {
            jobs.count += 1;
            jobs.on_all_cores += usize::from(parallelism == Parallelism::AllCores);
        });
        CountedJob { jobs: self.jobs.clone(), parallelism }
    }

    /// Waits until the jobs leave a slot idle.
    pub(crate) async fn leaves_a_slot_idle(&self) {
        self.is(|jobs| jobs.leave_a_slot_idle(self.slots)).await;
    }

    /// Waits until the jobs need all slots, or one of them all cores.
    pub(crate) async fn needs_all_slots(&self) {
        self.is(|jobs| !jobs.leave_a_slot_idle(self.slots)).await;
    }

    async fn is(&self, condition: impl Fn(Jobs) -> bool) {
        // Fails only without a sender, and this is one.
        let _ = self.jobs.subscribe().wait_for(|jobs| condition(*jobs)).await;
    }
}

impl Drop for CountedJob {
    fn drop(&mut self) {
        self.jobs.send_modify(|jobs| {
            jobs.count -= 1;
            jobs.on_all_cores -= usize::from(self.parallelism == Parallelism::AllCores);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[track_caller]
    fn assert_idle(load: &Load, expected: bool) {
        assert_eq!(is_ready(load.leaves_a_slot_idle()), expected);
        assert_eq!(is_ready(load.needs_all_slots()), !expected);
    }

    #[test]
    fn a_slot_is_idle_while_there_are_fewer_jobs_than_slots() {
        let load = Load::of_slots(2);
        assert_idle(&load, true);
        let first = load.count(Parallelism::Slot);
        assert_idle(&load, true);
        let second = load.count(Parallelism::Slot);
        assert_idle(&load, false);
        drop(first);
        assert_idle(&load, true);
        drop(second);
        assert_idle(&load, true);
    }

    #[test]
    fn a_job_on_all_cores_leaves_no_slot_idle() {
        let load = Load::of_slots(4);
        let alone = load.count(Parallelism::AllCores);
        assert_idle(&load, false);
        let other = load.count(Parallelism::Slot);
        drop(alone);
        assert_idle(&load, true);
        drop(other);
    }
}
