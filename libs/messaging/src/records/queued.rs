//! The jobs that this process has last seen in the queue, so that looking up a queued task transfers no picture and
//! hardly ever asks for the job.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use domain::{Job, TaskId};

/// How many jobs are kept: as many as the queue takes by default. A job takes some 400 bytes.
const MOST: usize = 10_000;

/// For how long a job without a record counts as being in the queue after it was seen there. Only a job that the
/// queue has lost is not, and the reconciler takes longer than this to find it.
const FRESH: Duration = Duration::from_secs(5);

/// The jobs seen last, without their pictures. When there are too many, the oldest is dropped.
#[derive(Debug, Default)]
pub(super) struct SeenJobs {
    jobs: HashMap<TaskId, SeenJob>,
    order: VecDeque<TaskId>,
}

/// A job that was in the queue.
#[derive(Debug, Clone)]
pub(super) struct SeenJob {
    pub(super) job: Job,
    /// When it was seen there last.
    at: Instant,
}

impl SeenJob {
    pub(super) fn is_fresh(&self) -> bool {
        self.at.elapsed() < FRESH
    }
}

impl SeenJobs {
    pub(super) fn get(&self, id: TaskId) -> Option<SeenJob> {
        self.jobs.get(&id).cloned()
    }

    pub(super) fn insert(&mut self, job: Job) {
        let id = job.task_id;
        if self.jobs.insert(id, SeenJob { job, at: Instant::now() }).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.jobs.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::wire::tests::job;

    #[test]
    fn the_oldest_job_is_dropped_when_there_are_too_many() {
        let mut seen = SeenJobs::default();
        let first = job("first.jpg");
        seen.insert(first.clone());
        seen.insert(first.clone());
        for _ in 1..MOST {
            seen.insert(job("another.jpg"));
        }
        assert_eq!(seen.get(first.task_id).map(|seen| seen.job), Some(first.clone()));
        seen.insert(job("last.jpg"));
        assert!(seen.get(first.task_id).is_none());
        assert_eq!((seen.jobs.len(), seen.order.len()), (MOST, MOST));
    }
}
