//! The jobs in the queue, whose tasks may have no record yet.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    time::{Duration, Instant},
};

use domain::{ModelName, StateKind, TaskFilter, TaskId};

use crate::provision::lanes;

/// The jobs in the queue as of the last time that it was asked, and those submitted since by this process.
#[derive(Debug, Default)]
pub(super) struct QueuedJobs {
    jobs: BTreeMap<TaskId, ModelName>,
    listed_at: Option<Instant>,
    noted: Vec<(Instant, TaskId, ModelName)>,
}

impl QueuedJobs {
    /// Whether the list is older than this.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.listed_at.is_none_or(|listed_at| listed_at.elapsed() > age)
    }

    /// Replaces the list by the subjects of all jobs, asked for at `asked_at`.
    pub(super) fn replace(&mut self, subjects: HashMap<TaskId, String>, asked_at: Instant) {
        let model = |subject: String| lanes::parse(&subject)?.0.parse().ok();
        let jobs = subjects.into_iter().filter_map(|(id, subject)| Some((id, model(subject)?)));
        self.jobs = jobs.collect();
        self.noted.retain(|(at, ..)| *at >= asked_at);
        self.jobs.extend(self.noted.iter().map(|(_, id, model)| (*id, model.clone())));
        self.listed_at = Some(asked_at);
    }

    /// Notes a job that was submitted just now.
    pub(super) fn note(&mut self, id: TaskId, model: ModelName) {
        self.noted.push((Instant::now(), id, model.clone()));
        self.jobs.insert(id, model);
    }

    /// Whether the task's job was in the queue.
    pub(super) fn has(&self, id: TaskId) -> bool {
        self.jobs.contains_key(&id)
    }

    /// The tasks from `from` on and before `before` that the filter matches, newest first.
    pub(super) fn scan<'a>(
        &'a self,
        filter: &'a TaskFilter,
        from: Option<TaskId>,
        before: Option<TaskId>,
    ) -> impl Iterator<Item = TaskId> + 'a {
        // Jobs with metadata have a record.
        let may_match = filter.metadata.is_empty() && filter.has_state(StateKind::Queued);
        let upper = before.map_or(Bound::Unbounded, Bound::Excluded);
        let lower = from.map_or(Bound::Unbounded, Bound::Included);
        let is_empty = from.zip(before).is_some_and(|(from, before)| before <= from);
        let range = (may_match && !is_empty).then(|| self.jobs.range((lower, upper)).rev());
        let matching = range.into_iter().flatten();
        let matching =
            matching.filter(|(id, model)| filter.has_id(**id) && filter.has_model(model));
        matching.map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_was_submitted_while_the_queue_was_asked_stays() {
        let mut queued = QueuedJobs::default();
        let [first, second, third] = [(); 3].map(|()| TaskId::generate());
        let model: ModelName = "m".parse().unwrap();
        let all = |queued: &QueuedJobs| -> Vec<TaskId> {
            queued.scan(&TaskFilter::default(), None, None).collect()
        };
        queued.note(first, model.clone());
        let asked_at = Instant::now();
        queued.note(second, model);
        queued.replace(HashMap::from([(third, format!("jobs.other.{third}"))]), asked_at);
        assert_eq!(all(&queued), [third, second]);
        let other = TaskFilter { model: Some("other".parse().unwrap()), ..TaskFilter::default() };
        assert_eq!(queued.scan(&other, None, None).collect::<Vec<_>>(), [third]);
        assert_eq!(queued.scan(&other, None, Some(third)).count(), 0);
        assert_eq!(queued.scan(&other, Some(third), Some(second)).count(), 0);
        queued.replace(HashMap::new(), Instant::now());
        assert_eq!(all(&queued), []);
    }
}
