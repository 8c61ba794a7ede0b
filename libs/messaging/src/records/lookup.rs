//! Looking a task up: its record, or its job in the queue.

use domain::{Job, TaskId, TaskRecord};
use time::OffsetDateTime;

use super::{queued::SeenJob, store::TaskStore};
use crate::{MessagingError, jobs::stored};

impl TaskStore {
    /// The newest record of a task. A task whose job is in the queue and which has no record yet is QUEUED.
    /// So is one whose job the queue has lost, as far as this process knows of it. `None` if there is no such task
    /// (any more).
    ///
    /// # Errors
    /// As [`TaskStore::get`].
    pub async fn find(&self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        if let Some(record) = self.get(id).await? {
            return Ok(Some(record));
        }
        if let Some(job) = self.queued_job(id).await? {
            return Ok(Some(TaskRecord::queued(job)));
        }
        // The terminal record is stored before the job is deleted: a task without a job has one by now.
        if let Some(record) = self.get_from_leader(id).await? {
            return Ok(Some(record));
        }
        self.lost(id).await
    }

    /// The record of a task that this process has seen in the queue, and that has neither a job nor a record any
    /// more. The queue has lost the job: with a record, the reconciler finds it. `None` for other tasks.
    async fn lost(&self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        let Some(SeenJob { job, .. }) = self.seen.lock().get(id) else { return Ok(None) };
        // A record is younger than its task, and may have expired only after this time.
        let result_ttl = self.messaging.config().result_ttl;
        if OffsetDateTime::now_utc() - job.submitted_at > result_ttl {
            return Ok(None);
        }
        let queued = TaskRecord::queued(job);
        self.create_queued(&queued).await?;
        tracing::warn!(task_id = %id, "the queue has lost a job");
        Ok(Some(queued))
    }

    /// Notes that the job is in the queue. [`TaskStore::find`] then need not read it, with its picture, from the
    /// server, and asks only every few seconds whether it is still there.
    pub fn note_queued(&self, job: Job) {
        self.seen.lock().insert(job);
    }

    async fn queued_job(&self, id: TaskId) -> Result<Option<Job>, MessagingError> {
        let seen = self.seen.lock().get(id);
        if let Some(seen) = &seen
            && seen.is_fresh()
        {
            return Ok(Some(seen.job.clone()));
        }
        let Some(subject) = stored::subject_of(&self.messaging, id).await? else { return Ok(None) };
        let job = match seen {
            Some(seen) => Some(seen.job),
            None => stored::find(&self.messaging, &subject).await?.map(|found| found.job),
        };
        if let Some(job) = &job {
            self.note_queued(job.clone());
        }
        Ok(job)
    }
}
