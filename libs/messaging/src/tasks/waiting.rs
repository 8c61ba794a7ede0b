//! Waiting for the end of a task, of which the server tells whoever listens.

use std::time::Duration;

use async_nats::Subscriber;
use domain::{TaskId, TaskRecord};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::TaskStore;
use crate::{MessagingError, layout};

/// After how long a record is looked at all the same, at first and at the most. What the server tells is
/// told once: it is missed while a connection is broken, or by whom not all servers of a cluster know yet.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

impl TaskStore {
    /// Waits until the task has come to its end, and returns that; after `patience`, the newest record
    /// there is, or `None`.
    ///
    /// The server tells of each record that it has stored. To listen costs it far less than a consumer of
    /// the bucket's stream, which would miss nothing.
    ///
    /// # Errors
    /// [`MessagingError`] if not even the newest record can be read.
    pub async fn wait_terminal(
        &self,
        id: TaskId,
        patience: Duration,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        let deadline = Instant::now() + patience;
        // Most askers come late.
        match self.get(id).await {
            Ok(Some(record)) if record.state.is_terminal() => return Ok(Some(record)),
            // What was asked on a connection that broke is never answered; it is asked again.
            Ok(_) | Err(MessagingError::Timeout { .. }) => {}
            Err(error) => return Err(error),
        }
        match timeout_at(deadline, self.hear_of_end(id)).await {
            Ok(end) => end.map(Some),
            Err(_) => self.get(id).await,
        }
    }

    async fn hear_of_end(&self, id: TaskId) -> Result<TaskRecord, MessagingError> {
        let subject = format!("{}.{id}", layout::RECORDS_SUBJECT);
        let subscribed = self.messaging.client().subscribe(subject).await;
        let mut told = subscribed
            .map_err(|error| MessagingError::failed("listen for the end of a task", error))?;
        let (mut pause, longest) = LOOK_AGAIN;
        loop {
            // For what was stored before the server knew that somebody listens.
            tokio::select! {
                record = self.get(id) => match record {
                    Ok(Some(record)) if record.state.is_terminal() => return Ok(record),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(task_id = %id, %error, "looking again"),
                },
                end = end_told(&mut told) => return Ok(end),
            }
            if let Ok(end) = timeout(pause, end_told(&mut told)).await {
                return Ok(end);
            }
            pause = (2 * pause).min(longest);
        }
    }
}

/// The first end that is told.
async fn end_told(told: &mut Subscriber) -> TaskRecord {
    while let Some(message) = told.next().await {
        match serde_json::from_slice::<TaskRecord>(&message.payload) {
            Ok(record) if record.state.is_terminal() => return record,
            // On the way, or deleted, or of another program's making, which is said to whoever looks.
            Ok(_) | Err(_) => {}
        }
    }
    // The connection was closed for good: who looks is told so.
    std::future::pending().await
}
