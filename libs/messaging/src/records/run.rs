//! A run of a job in the record of its task: its beginning, its end, and that the job goes back to the queue.

use std::time::Duration;

use domain::{Job, TaskRecord, TaskState};
use time::OffsetDateTime;

/// A run of a job, and when it began.
#[derive(Debug, Clone, Copy)]
pub struct RunStart<'a> {
    /// The job.
    pub job: &'a Job,
    /// The number of the delivery that it began with.
    pub delivery: u32,
    /// When it began.
    pub started_at: OffsetDateTime,
}

impl<'a> RunStart<'a> {
    /// A run that begins now, with the `delivery`th delivery of the job.
    #[must_use]
    pub fn now(job: &'a Job, delivery: u32) -> Self {
        Self { job, delivery, started_at: OffsetDateTime::now_utc() }
    }

    /// The record of this run, whose deadline is `lease` from now, after the record `present`.
    #[must_use]
    pub fn record(&self, present: Option<&TaskRecord>, lease: Duration) -> TaskRecord {
        let run_deadline = Some(OffsetDateTime::now_utc() + lease);
        let earlier_runs = TaskRecord::earlier_runs(present, self.delivery);
        TaskRecord {
            job: self.job.clone(),
            attempts: earlier_runs.saturating_add(1),
            state: TaskState::Started { started_at: self.started_at, run_deadline },
        }
    }
}

/// The result of beginning a run.
#[derive(Debug, Clone, PartialEq)]
pub enum BeginOutcome {
    /// The task is STARTED; this is its record.
    Begun(TaskRecord),
    /// The task is terminal, with this record; nothing was written.
    AlreadyTerminal(TaskRecord),
}

/// Why a job is requeued after its run has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequeueReason {
    /// The run failed and is retried: it counts as an attempt.
    RunFailed,
    /// The worker stops and releases the job: the run does not count.
    Released,
}

/// The result of storing a terminal record.
#[derive(Debug, Clone, PartialEq)]
pub enum FinishOutcome {
    /// It is stored.
    Stored,
    /// Another terminal record was first; nothing was written.
    AlreadyTerminal(Box<TaskRecord>),
}
