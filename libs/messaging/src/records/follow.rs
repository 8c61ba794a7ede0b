//! Following a task: its present record, and each later one.

use std::time::Duration;

use domain::{TaskId, TaskRecord};
use tokio::time::{Instant, sleep_until};

use super::{store::TaskStore, subscription::RecordSubscription};
use crate::MessagingError;

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
        // What the server stores after this read, it publishes to the subscription.
        let Some(present) = self.find_or_retry(id).await? else { return Ok(None) };
        let (pause, _) = READ_AGAIN;
        let read_at = Instant::now() + pause;
        let changes = RecordChanges { store: self.clone(), id, records, pause, read_at };
        Ok(Some((present.into(), changes)))
    }
}

impl RecordChanges {
    /// A record that is published, or that a read has found, which may be one that was returned before. `None` if
    /// there is no such task any more. May be dropped at any time and called again.
    pub async fn next(&mut self) -> Option<RecordVersion> {
        loop {
            tokio::select! {
                biased;
                published = self.records.next() => return Some(published.into()),
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
