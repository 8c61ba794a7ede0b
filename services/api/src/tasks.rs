//! Taking a picture in, and finding out what became of it.

use std::time::Duration;

use bytes::Bytes;
use domain::{DetectionSettings, Job, ModelName, TaskId, TaskRecord};
use messaging::{JobQueue, MessagingError, SubmitError, TaskStore};
use time::OffsetDateTime;

use crate::{metrics::ApiMetrics, result_cache::ResultCache, upload::UploadedPicture};

/// Seconds a client is asked to wait when the queue is full or the servers are away.
pub(crate) const RETRY_AFTER_SECONDS: u64 = 5;

/// The two things the API does with tasks.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) queue: JobQueue,
    pub(crate) store: TaskStore,
    pub(crate) cache: Option<ResultCache>,
    pub(crate) model: ModelName,
    pub(crate) result_ttl: Duration,
    pub(crate) metrics: ApiMetrics,
}

/// Why a picture was not accepted although nothing is wrong with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAccepted {
    #[error("the queue is full, try again later")]
    QueueFull,
    #[error(
        "the queue does not answer, try again later; task {task_id} may still be run if it was stored"
    )]
    Unavailable { task_id: TaskId },
}

/// What is known of an id.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The task and where it stands.
    Found(TaskRecord),
    /// There was such a task, longer ago than results are kept.
    Expired,
    /// There never was such a task.
    Unknown,
}

impl Tasks {
    /// Puts the picture into the queue. Once this returns an id the job is stored and will be run.
    pub(crate) async fn submit(
        &self,
        picture: UploadedPicture,
        settings: DetectionSettings,
    ) -> Result<TaskRecord, NotAccepted> {
        let record = TaskRecord::queued(Job {
            task_id: TaskId::generate(),
            picture_name: picture.name,
            model: self.model.clone(),
            settings,
            submitted_at: OffsetDateTime::now_utc(),
        });
        let accepted = self.store_job(&record, picture.bytes).await;
        self.metrics.count_submission(match &accepted {
            Ok(()) => "accepted",
            Err(NotAccepted::QueueFull) => "queue_full",
            Err(NotAccepted::Unavailable { .. }) => "unavailable",
        });
        accepted.map(|()| record)
    }

    async fn store_job(&self, record: &TaskRecord, picture: Bytes) -> Result<(), NotAccepted> {
        let task_id = record.job.task_id;
        let published = self.queue.submit(&record.job, picture).await;
        published.map_err(|error| match error {
            SubmitError::QueueFull { .. } => NotAccepted::QueueFull,
            error => {
                tracing::warn!(%task_id, %error, "a job could not be published");
                NotAccepted::Unavailable { task_id }
            }
        })?;
        // After the publish, so that no record speaks of a job that was never stored. A worker that
        // was faster has written its own record by now, and that one stays.
        self.store.create_queued(record).await.map_err(|error| {
            tracing::warn!(%task_id, %error, "a published job's record could not be written");
            NotAccepted::Unavailable { task_id }
        })
    }

    /// What is known of `id`: from the cache if it is a finished task, else from the bucket.
    pub(crate) async fn find(&self, id: TaskId) -> Result<Lookup, MessagingError> {
        if let Some(cache) = &self.cache
            && let Some(record) = cache.get(id).await
        {
            return Ok(Lookup::Found(record));
        }
        let record = self.store.get(id).await?;
        Ok(self.remember(id, record))
    }

    /// Like [`Self::find`], but waits up to `patience` for the task to end.
    pub(crate) async fn wait(
        &self,
        id: TaskId,
        patience: Duration,
    ) -> Result<Lookup, MessagingError> {
        match self.find(id).await? {
            Lookup::Found(record) if !record.state.is_terminal() && !patience.is_zero() => {
                let record = self.store.wait_terminal(id, patience).await?;
                Ok(self.remember(id, record))
            }
            found => Ok(found),
        }
    }

    fn remember(&self, id: TaskId, record: Option<TaskRecord>) -> Lookup {
        let Some(record) = record else { return self.absent(id) };
        if let Some(cache) = &self.cache
            && record.state.is_terminal()
        {
            cache.put_in_background(record.clone());
        }
        Lookup::Found(record)
    }

    /// An id carries its birth, so a missing record of an old id has expired.
    fn absent(&self, id: TaskId) -> Lookup {
        let is_old = |born| OffsetDateTime::now_utc() - born > self.result_ttl;
        if id.created_at().is_some_and(is_old) { Lookup::Expired } else { Lookup::Unknown }
    }
}
