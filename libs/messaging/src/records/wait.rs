//! Waiting for a task's terminal state, which the server publishes to those who subscribe to it.

use std::{pin::pin, time::Duration};

use domain::{TaskId, TaskRecord};
use tokio::time::sleep;

use super::{
    store::{Present, TaskStore},
    subscription::RecordSubscription,
};
use crate::MessagingError;

/// The pause before a record is read again all the same, at first and at the longest. The server publishes
/// each record once: a message is lost while the connection is broken, and while a server of the cluster
/// does not know of the subscription yet.
const READ_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

impl TaskStore {
    /// As [`TaskStore::await_terminal_if`], for any task.
    ///
    /// # Errors
    /// As [`TaskStore::await_terminal_if`].
    pub async fn await_terminal(
        &self,
        id: TaskId,
        give_up: impl Future<Output = ()>,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        self.await_terminal_if(id, |_| true, give_up).await
    }

    /// Subscribes to the records of a task, reads the present one, and waits for a terminal state until
    /// `give_up` completes. Returns the newest record that is known then; at once where there is no such task, where it
    /// is terminal, or where it is not one that `is_awaited`. The first read is always completed, so that also a caller that gives up early, as in a
    /// shutdown, gets a record.
    ///
    /// The server publishes each record that it has stored. A subscription costs it far less than a consumer
    /// of the bucket's stream, which would miss nothing.
    ///
    /// # Errors
    /// [`MessagingError`] if the first read fails, or if the last one has failed when `give_up` completes.
    pub async fn await_terminal_if(
        &self,
        id: TaskId,
        is_awaited: impl Fn(&TaskRecord) -> bool,
        give_up: impl Future<Output = ()>,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        let mut records = RecordSubscription::to_stored(&self.messaging, id).await?;
        // The server handles the commands of one connection in order: what it stores after this read, it
        // publishes to the subscription.
        let first = tokio::select! {
            record = next_terminal(&mut records) => return Ok(Some(record)),
            read = self.find_or_retry(id) => read?.map(|(record, _)| record),
        };
        let is_over = |record: &TaskRecord| record.state.is_terminal() || !is_awaited(record);
        if first.as_ref().is_none_or(is_over) {
            return Ok(first);
        }
        let mut newest = Ok(first);
        let (mut pause, longest) = READ_AGAIN;
        let mut give_up = pin!(give_up);
        let mut reading = pin!(self.find_after(pause, id));
        loop {
            newest = tokio::select! {
                biased;
                (record, _) = records.next() => Ok(Some(record)),
                () = &mut give_up => return newest,
                read = &mut reading => {
                    pause = (2 * pause).min(longest);
                    reading.set(self.find_after(pause, id));
                    read
                }
            };
            match &newest {
                Ok(Some(record)) if !record.state.is_terminal() => {}
                Ok(_) => return newest,
                Err(error) => tracing::debug!(task_id = %id, %error, "reading a record again"),
            }
        }
    }

    /// What was asked on a connection that broke is never answered; on the next one it is.
    pub(super) async fn find_or_retry(&self, id: TaskId) -> Result<Present, MessagingError> {
        match self.find_version(id).await {
            Err(MessagingError::Timeout { .. }) => self.find_version(id).await,
            read => read,
        }
    }

    async fn find_after(
        &self,
        pause: Duration,
        id: TaskId,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        sleep(pause).await;
        self.find(id).await
    }
}

/// The next terminal record that is published.
async fn next_terminal(records: &mut RecordSubscription) -> TaskRecord {
    loop {
        let (record, _) = records.next().await;
        if record.state.is_terminal() {
            return record;
        }
    }
}
