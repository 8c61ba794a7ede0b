//! The records of tasks. Once an end is stored, it stays.

use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, UpdateErrorKind};
use bytes::Bytes;
use domain::{TaskId, TaskRecord};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Messaging, MessagingError};

/// How often a write is tried against others that change the same record, or against a replica that
/// still answers with an older one.
const WRITE_ATTEMPTS: u32 = 10;

/// The pause before a write is tried again; grows with each attempt.
const WRITE_PAUSE: Duration = Duration::from_millis(10);

/// How many of these attempts may go unanswered.
const UNANSWERED: u32 = 2;

/// The pause before a broken watch is set up again.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// The records of tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TaskStore {
    messaging: Messaging,
}

/// What came of writing a state on the way.
#[derive(Debug, Clone, PartialEq)]
pub enum MarkOutcome {
    /// It is stored.
    Stored,
    /// The task has come to this end already; nothing was written.
    AlreadyTerminal(TaskRecord),
}

/// What came of writing an end.
#[derive(Debug, Clone, PartialEq)]
pub enum FinishOutcome {
    /// It is stored, and final.
    Stored,
    /// Another end was first; nothing was written.
    AlreadyTerminal(TaskRecord),
}

/// What came of one attempt to write.
enum Written {
    Stored,
    /// An end stands in the way.
    Ended(TaskRecord),
    /// Somebody else wrote in between.
    Overtaken,
}

impl TaskStore {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    /// The newest record of a task, or `None` if there is none (any more).
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], or [`MessagingError::Record`] for a
    /// record of another program's making.
    pub async fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        Ok(self.current(id).await?.map(|(record, _)| record))
    }

    /// Stores the first record of a task. If there is one already, a fast worker was there before:
    /// it stays, and that is fine.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn create_queued(&self, record: &TaskRecord) -> Result<(), MessagingError> {
        self.create(record).await.map(drop)
    }

    /// Stores that a task is queued again or started. Never touches an end.
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], [`MessagingError::Record`] or
    /// [`MessagingError::Contended`].
    pub async fn mark(&self, record: &TaskRecord) -> Result<MarkOutcome, MessagingError> {
        debug_assert!(!record.state.is_terminal(), "an end is stored by `finish`");
        Ok(match self.write(record).await? {
            None => MarkOutcome::Stored,
            Some(end) => MarkOutcome::AlreadyTerminal(end),
        })
    }

    /// Stores the end of a task, unless it has come to one already: the first one stored wins.
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], [`MessagingError::Record`] or
    /// [`MessagingError::Contended`].
    pub async fn finish(&self, record: &TaskRecord) -> Result<FinishOutcome, MessagingError> {
        debug_assert!(record.state.is_terminal(), "a state on the way is stored by `mark`");
        Ok(match self.write(record).await? {
            None => FinishOutcome::Stored,
            // The answer to an earlier attempt was lost, the attempt itself was not.
            Some(end) if end == *record => FinishOutcome::Stored,
            Some(end) => FinishOutcome::AlreadyTerminal(end),
        })
    }

    /// Waits until the task has come to its end, and returns that; after `timeout`, the newest
    /// record there is, or `None`. Wakes by the server's notice, not by asking again and again.
    ///
    /// # Errors
    /// [`MessagingError`] if not even the newest record can be read.
    pub async fn wait_terminal(
        &self,
        id: TaskId,
        timeout: Duration,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        let deadline = Instant::now() + timeout;
        // Most askers come late; they need no consumer of their own on the server.
        match self.get(id).await? {
            Some(record) if record.state.is_terminal() => return Ok(Some(record)),
            _ => {}
        }
        loop {
            match timeout_at(deadline, self.watch_for_end(id)).await {
                Ok(Ok(record)) => return Ok(Some(record)),
                Ok(Err(error)) => {
                    tracing::debug!(task_id = %id, %error, "watching a task again");
                    let again = Instant::now() + WATCH_PAUSE;
                    tokio::time::sleep_until(again.min(deadline)).await;
                }
                Err(_) => return self.get(id).await,
            }
        }
    }

    async fn watch_for_end(&self, id: TaskId) -> Result<TaskRecord, MessagingError> {
        let what = "watch a task";
        let bucket = self.messaging.task_bucket().await?;
        // Begins with the present record, so nothing is missed between the look and the watch.
        let watch = bucket.watch_with_history(id.to_string());
        let mut entries = self.messaging.within(what, watch).await?;
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|error| MessagingError::failed(what, error))?;
            match parse(id, &entry)? {
                Some(record) if record.state.is_terminal() => return Ok(record),
                _ => {}
            }
        }
        Err(MessagingError::failed(what, "the watch ended"))
    }

    /// Writes by compare-and-set. `Some` is the end that stands in the way.
    async fn write(&self, record: &TaskRecord) -> Result<Option<TaskRecord>, MessagingError> {
        let id = record.job.task_id;
        let mut unanswered = 0;
        for attempt in 1..=WRITE_ATTEMPTS {
            match self.write_once(record).await {
                Ok(Written::Stored) => return Ok(None),
                Ok(Written::Ended(end)) => return Ok(Some(end)),
                Ok(Written::Overtaken) => {}
                // What was asked on a connection that broke is never answered. Asking again is safe:
                // if it was stored after all, that is seen now.
                Err(MessagingError::Timeout { .. }) if unanswered < UNANSWERED => {
                    unanswered += 1;
                    let patience = self.messaging.config().request_timeout;
                    self.messaging.wait_until_connected(patience).await;
                }
                Err(error) => return Err(error),
            }
            sleep(WRITE_PAUSE * attempt).await;
        }
        Err(MessagingError::Contended { task_id: id, attempts: WRITE_ATTEMPTS })
    }

    async fn write_once(&self, record: &TaskRecord) -> Result<Written, MessagingError> {
        let stored = match self.current(record.job.task_id).await? {
            Some((present, _)) if present.state.is_terminal() => {
                return Ok(Written::Ended(present));
            }
            Some((_, revision)) => self.update(record, revision).await?,
            None => self.create(record).await?,
        };
        Ok(if stored { Written::Stored } else { Written::Overtaken })
    }

    /// The record and its revision, read from whichever server is near.
    async fn current(&self, id: TaskId) -> Result<Option<(TaskRecord, u64)>, MessagingError> {
        let bucket = self.messaging.task_bucket().await?;
        let entry =
            self.messaging.within("read a task's record", bucket.entry(id.to_string())).await?;
        let Some(entry) = entry else { return Ok(None) };
        Ok(parse(id, &entry)?.map(|record| (record, entry.revision)))
    }

    /// Whether it was stored; not if there is a record already.
    async fn create(&self, record: &TaskRecord) -> Result<bool, MessagingError> {
        let what = "store a task's first record";
        let bucket = self.messaging.task_bucket().await?;
        let create = bucket.create(record.job.task_id.to_string(), json(record)?);
        match self.messaging.within_timeout(what, create).await? {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }

    /// Whether it was stored; not if the record has changed since `revision`.
    async fn update(&self, record: &TaskRecord, revision: u64) -> Result<bool, MessagingError> {
        let what = "store a task's record";
        let bucket = self.messaging.task_bucket().await?;
        let update = bucket.update(record.job.task_id.to_string(), json(record)?, revision);
        match self.messaging.within_timeout(what, update).await? {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }
}

/// `None` for a deleted record.
fn parse(id: TaskId, entry: &Entry) -> Result<Option<TaskRecord>, MessagingError> {
    if entry.operation != Operation::Put {
        return Ok(None);
    }
    serde_json::from_slice(&entry.value)
        .map(Some)
        .map_err(|cause| MessagingError::Record { task_id: id, cause })
}

fn json(record: &TaskRecord) -> Result<Bytes, MessagingError> {
    serde_json::to_vec(record)
        .map(Bytes::from)
        .map_err(|cause| MessagingError::Record { task_id: record.job.task_id, cause })
}
