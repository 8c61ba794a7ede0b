//! The jobs that this process has last seen in the queue, so that looking up a queued task transfers no picture and
//! hardly ever asks for the job.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use domain::{Job, TaskId};

use crate::jobs::lane_progress::JobPlace;

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
    pub(super) place: JobPlace,
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

    pub(super) fn insert(&mut self, job: Job, sequence: u64) {
        let (id, at) = (job.task_id, Instant::now());
        let place = JobPlace { sequence, known_at: at };
        let before = self.jobs.get(&id).map(|seen| seen.place);
        let place = before.filter(|before| before.sequence == sequence).unwrap_or(place);
        if self.jobs.insert(id, SeenJob { job, place, at }).is_none() {
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
        seen.insert(first.clone(), 1);
        seen.insert(first.clone(), 1);
        for _ in 1..MOST {
            seen.insert(job("another.jpg"), 2);
        }
        assert_eq!(seen.get(first.task_id).map(|seen| seen.job), Some(first.clone()));
        seen.insert(job("last.jpg"), 3);
        assert!(seen.get(first.task_id).is_none());
        assert_eq!((seen.jobs.len(), seen.order.len()), (MOST, MOST));
    }
    #[test]
    fn a_job_keeps_its_place_and_since_when_it_is_known() {
        let mut seen = SeenJobs::default();
        let job = job("bus.jpg");
        seen.insert(job.clone(), 7);
        let first = seen.get(job.task_id).unwrap().place;
        seen.insert(job.clone(), 7);
        assert_eq!(seen.get(job.task_id).unwrap().place, first);
        // The queue had lost it, and it was stored again.
        seen.insert(job.clone(), 9);
        let again = seen.get(job.task_id).unwrap().place;
        assert!(again.sequence == 9 && again.known_at >= first.known_at);
    }
}
