//! Why a job is queued again.

use crate::{TaskRecord, TaskState};

/// Why a job is queued again after a worker had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// Its run failed, and may succeed another time.
    RunFailed,
    /// Its worker has stopped and released it; that run does not count as an attempt.
    WorkerStopped,
    /// Its worker ended during the run, or has lost its connection to the queue. No record says so: it shows by the
    /// next run.
    WorkerLost,
}

impl RetryReason {
    /// Why the task of `record` is queued again; `None` unless it is.
    #[must_use]
    pub fn of(record: &TaskRecord) -> Option<Self> {
        match record.state {
            TaskState::Queued { released: true } => Some(Self::WorkerStopped),
            TaskState::Queued { released: false } if record.attempts > 0 => Some(Self::RunFailed),
            _ => None,
        }
    }
}
