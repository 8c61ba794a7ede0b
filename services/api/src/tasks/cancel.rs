//! Revokes tasks.

use domain::{TaskId, TaskRecord, TaskState};
use messaging::{FinishOutcome, MessagingError};
use time::OffsetDateTime;

use super::{Tasks, lookup::Lookup, viewer::Viewer};

/// The result of revoking a task.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// It is revoked.
    Revoked(Box<TaskRecord>),
    /// It had ended before, with this record.
    AlreadyTerminal(Box<TaskRecord>),
    /// The task is older than results are kept.
    Expired,
    /// There is no such task, or none that the viewer may see.
    Unknown,
}

impl Tasks {
    /// Stores that the task is revoked, unless it has ended. Then its job is deleted, or its run is stopped: a run
    /// that is not stopped in time finds the record, and its result is discarded.
    pub(crate) async fn cancel(
        &self,
        id: TaskId,
        viewer: Viewer,
    ) -> Result<Cancelled, MessagingError> {
        let present = match self.find(id, viewer).await? {
            Lookup::Found(record) => record,
            Lookup::Expired => return Ok(Cancelled::Expired),
            Lookup::Unknown => return Ok(Cancelled::Unknown),
        };
        if present.state.is_terminal() {
            return Ok(Cancelled::AlreadyTerminal(present));
        }
        let revoked = TaskState::Revoked { finished_at: OffsetDateTime::now_utc() };
        let revoked = present.with_state(revoked);
        if let FinishOutcome::AlreadyTerminal(present) = self.store.finish(&revoked).await? {
            return Ok(Cancelled::AlreadyTerminal(present));
        }
        tracing::info!(task_id = %id, "a client has revoked the task");
        if let Err(error) = self.queue.cancel(&revoked.job).await {
            // Its worker finds the record.
            tracing::warn!(task_id = %id, %error, "the job of a revoked task was not deleted");
        }
        if let Some(cache) = &self.cache {
            cache.put_in_background(&revoked);
        }
        Ok(Cancelled::Revoked(Box::new(revoked)))
    }
}
