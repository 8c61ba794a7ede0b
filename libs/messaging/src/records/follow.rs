//! Following a task: its present record, and each later one.

use std::time::Duration;

use domain::{TaskId, TaskRecord, TaskState};
use tokio::time::{Instant, sleep_until};

use super::{store::TaskStore, subscription::RecordSubscription};
use crate::{MessagingError, provision::names};

/// The pause before a record is read again all the same, at first and at the longest: the server publishes each record
/// once, and a message may be lost (see `wait.rs`). Those who follow are many and follow for long, so it grows further
/// than for a request that waits.
const READ_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(32));

/// A task's record as it was at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordVersion {
    /// The record.
    pub record: TaskRecord,
    /// Grows with each change of the record. 0 for a task that has no stored record yet, since its job is in the
    /// queue.
    pub revision: u64,
}

/// The changes of one task's record.
pub struct RecordChanges {
    store: TaskStore,
    id: TaskId,
    records: RecordSubscription,
    /// Until the first run has begun.
    starts: Option<RecordSubscription>,
    pause: Duration,
    read_at: Instant,
}

impl TaskStore {
    /// The present record of a task, and its changes from then on. `None` if there is no such task.
    ///
    /// Following takes no consumer, which would cost the server far more than a subscription. A change that is
    /// overtaken by the next one may be left out; the last one is not.
    ///
    /// # Errors
    /// As [`TaskStore::get`].
    pub async fn follow(
        &self,
        id: TaskId,
    ) -> Result<Option<(RecordVersion, RecordChanges)>, MessagingError> {
        let records = RecordSubscription::to_stored(&self.messaging, id).await?;
        let starts = RecordSubscription::to_starts(&self.messaging, id).await?;
        // What the server stores after this read, it publishes to the subscription.
        let Some(present) = self.find_or_retry(id).await? else { return Ok(None) };
        let starts = Some(starts).filter(|_| is_unrun(&present.0));
        let (pause, _) = READ_AGAIN;
        let read_at = Instant::now() + pause;
        let changes = RecordChanges { store: self.clone(), id, records, starts, pause, read_at };
        Ok(Some((present.into(), changes)))
    }
}

impl TaskStore {
    /// Tells those who follow the task that its first run has begun, of which `record` is not stored yet, and maybe
    /// never. The message is not stored either: where nobody follows the task, the server drops it.
    pub async fn announce_first_run(&self, record: &TaskRecord) {
        let subject = format!("{}.{}", names::STARTS_SUBJECT, record.job.task_id);
        let Ok(payload) = serde_json::to_vec(record) else { return };
        if let Err(error) = self.messaging.client().publish(subject, payload.into()).await {
            tracing::debug!(task_id = %record.job.task_id, %error, "a run was not announced");
        }
    }
}

impl RecordChanges {
    /// A record that is published, or that a read has found, which may be one that was returned before. `None` if
    /// there is no such task any more. May be dropped at any time and called again.
    pub async fn next(&mut self) -> Option<RecordVersion> {
        loop {
            tokio::select! {
                // The start first, which was published before the end.
                biased;
                started = next_start(&mut self.starts) => return Some(started.into()),
                published = self.records.next() => {
                    self.starts.take_if(|_| !is_unrun(&published.0));
                    return Some(published.into());
                }
                () = sleep_until(self.read_at) => {}
            }
            // Boxed, as it is large and there is hardly ever one.
            let read = Box::pin(self.store.find_version(self.id)).await;
            let (_, longest) = READ_AGAIN;
            self.pause = (2 * self.pause).min(longest);
            self.read_at = Instant::now() + self.pause;
            match read {
                Ok(found) => return found.map(RecordVersion::from),
                Err(error) => tracing::debug!(task_id = %self.id, %error, "reading a record again"),
            }
        }
    }
}

impl From<(TaskRecord, u64)> for RecordVersion {
    fn from((record, revision): (TaskRecord, u64)) -> Self {
        Self { record, revision }
    }
}

/// Whether no run of the task has begun, as far as the record shows.
fn is_unrun(record: &TaskRecord) -> bool {
    record.attempts == 0 && matches!(record.state, TaskState::Queued { .. })
}

/// The record of the first run, which is published once.
async fn next_start(starts: &mut Option<RecordSubscription>) -> (TaskRecord, u64) {
    match starts {
        Some(subscription) => {
            let started = subscription.next().await;
            *starts = None;
            started
        }
        None => std::future::pending().await,
    }
}
