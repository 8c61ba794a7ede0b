//! Looking a task up: its record, or its job in the queue.

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use domain::{Job, TaskId, TaskRecord, TaskState};
use time::OffsetDateTime;

use super::{
    queued::SeenJob,
    store::{Present, TaskStore},
};
use crate::{
    MessagingError,
    jobs::{
        lane_progress::JobPlace,
        stored::{self, StoredJob},
        wire,
    },
    provision::lanes::Lane,
};

/// The revision of a record that is not stored: it is older than any that is.
pub(super) const NOT_STORED: u64 = 0;

impl TaskStore {
    /// The newest record of a task, or `None` if there is none (any more).
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], or [`MessagingError::Record`] for a record
    /// that cannot be parsed.
    pub async fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        Ok(self.get_version(id).await?.map(|(record, _)| record))
    }

    async fn get_version(&self, id: TaskId) -> Result<Present, MessagingError> {
        match self.current(id).await? {
            Some(present) => Ok(Some(present)),
            // Any replica answers a read, also one without the newest records. A caller that has the id must
            // not get "there is none", so the leader is read.
            None if self.messaging.config().replicas > 1 => self.version_from_leader(id).await,
            None => Ok(None),
        }
    }

    /// As [`TaskStore::get`], and always the newest record.
    pub(crate) async fn get_from_leader(
        &self,
        id: TaskId,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        Ok(self.version_from_leader(id).await?.map(|(record, _)| record))
    }

    async fn version_from_leader(&self, id: TaskId) -> Result<Present, MessagingError> {
        let what = "read a task's record from the leader";
        let bucket = self.messaging.task_bucket().await?;
        let subject = format!("$KV.{}.{id}", bucket.name);
        let stream = self.messaging.jetstream().get_stream_no_info(&bucket.stream_name);
        let stream = self.messaging.within(what, stream).await?;
        let message = stream.get_last_raw_message_by_subject(&subject);
        match self.messaging.within_timeout(what, message).await? {
            // A deletion marker has no payload.
            Ok(message) if message.payload.is_empty() => Ok(None),
            Ok(message) => serde_json::from_slice(&message.payload)
                .map(|record| Some((record, message.sequence)))
                .map_err(|cause| MessagingError::Record { task_id: id, cause }),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }

    /// The newest record of a task. A task whose job is in the queue and which has no record yet is QUEUED.
    /// So is one whose job the queue has lost, as far as this process knows of it. `None` if there is no such task
    /// (any more).
    ///
    /// # Errors
    /// As [`TaskStore::get`].
    pub async fn find(&self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        Ok(self.find_version(id).await?.map(|(record, _)| record))
    }

    /// As [`TaskStore::find`], with the record's revision, or [`NOT_STORED`].
    pub(super) async fn find_version(&self, id: TaskId) -> Result<Present, MessagingError> {
        if let Some(present) = self.get_version(id).await? {
            return Ok(Some(present));
        }
        if let Some(job) = self.queued_job(id).await? {
            return Ok(Some((TaskRecord::queued(job), NOT_STORED)));
        }
        // The terminal record is stored before the job is deleted: a task without a job has one by now.
        if let Some(present) = self.version_from_leader(id).await? {
            return Ok(Some(present));
        }
        Ok(self.lost(id).await?.map(|record| (record, NOT_STORED)))
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

    /// The task of a job that was in the queue a moment ago, and had no record.
    pub(crate) async fn find_queued(
        &self,
        id: TaskId,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        let seen = self.seen.lock().get(id);
        match seen {
            Some(SeenJob { job, .. }) => Ok(Some(TaskRecord::queued(job))),
            None => self.find(id).await,
        }
    }

    /// Notes that the job is in the queue, with this sequence in its stream. [`TaskStore::find`] then need not read it, with
    /// its picture, from the server, and asks only every few seconds whether it is still there.
    pub fn note_queued(&self, job: Job, sequence: u64) {
        self.seen.lock().insert(job, sequence);
    }

    /// How many jobs of the same model and priority wait before that of this task, at most. `None` where that is not known:
    /// the task is not QUEUED, a worker has had its job, or the server does not answer at once.
    ///
    /// This is an upper bound of a moment ago. It costs at most one request a second for all tasks of the same model and
    /// priority, and one for each task whose job another process has submitted.
    pub async fn max_jobs_ahead(&self, record: &TaskRecord) -> Option<u64> {
        let TaskState::Queued { released: false } = record.state else { return None };
        if record.attempts > 0 {
            return None;
        }
        let place = self.place_of(&record.job).await?;
        let lane = Lane::of_job(&record.job);
        self.lanes.most_ahead_of(&self.messaging, lane, place).await
    }

    async fn place_of(&self, job: &Job) -> Option<JobPlace> {
        if let Some(seen) = self.seen.lock().get(job.task_id) {
            return Some(seen.place);
        }
        // Another process has submitted it, and it has a record.
        match stored::find(&self.messaging, &wire::job_subject(job)).await {
            Ok(found) => {
                let StoredJob { job: found, sequence, .. } = found?;
                self.note_queued(found, sequence);
            }
            Err(error) => tracing::debug!(task_id = %job.task_id, %error, "a job was not found"),
        }
        self.seen.lock().get(job.task_id).map(|seen| seen.place)
    }

    async fn queued_job(&self, id: TaskId) -> Result<Option<Job>, MessagingError> {
        let seen = self.seen.lock().get(id);
        if let Some(seen) = &seen
            && seen.is_fresh()
        {
            return Ok(Some(seen.job.clone()));
        }
        let Some(subject) = stored::subject_of(&self.messaging, id).await? else { return Ok(None) };
        let found = match seen {
            Some(seen) => Some((seen.job, seen.place.sequence)),
            None => {
                let found = stored::find(&self.messaging, &subject).await?;
                found.map(|found| (found.job, found.sequence))
            }
        };
        if let Some((job, sequence)) = &found {
            self.note_queued(job.clone(), *sequence);
        }
        Ok(found.map(|(job, _)| job))
    }
}
