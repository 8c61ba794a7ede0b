//! The record of a run while the run lasts.
//!
//! Storing each run before it begins would cost as much as storing its result. So a first run is stored only when
//! it has taken a while. Should it end its worker before that, the next delivery counts it: a first delivery
//! that left no trace ([`TaskRecord::earlier_runs`]). Later runs are stored before they begin.

use std::time::Duration;

use domain::TaskRecord;
use messaging::{BeginOutcome, Delivery, MessagingError, RunStart, Snapshot, TaskStore};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How long a first run takes before it is stored. Clients see it as QUEUED until then.
const SHORT_RUN: Duration = Duration::from_secs(1);

/// How far ahead the deadline in a run's record is at most. The reconciler leaves a run alone until then, also
/// where its worker has died: clients are promised a terminal state within 60 s of their task's deadline.
const LONGEST_LEASE: Duration = Duration::from_secs(50);

/// A run of a job.
pub(crate) struct RecordedRun<'a> {
    tasks: &'a TaskStore,
    lease: Duration,
    start: RunStart<'a>,
    /// Its record, which is stored from the second delivery on.
    record: TaskRecord,
    is_stored: bool,
}

/// The result of starting a run.
pub(crate) enum Start<'a> {
    Run(RecordedRun<'a>),
    /// The task has become terminal, with this record.
    AlreadyTerminal(TaskRecord),
}

impl<'a> RecordedRun<'a> {
    /// Stores the run, unless it is that of the first delivery. It may take `job_deadline`.
    ///
    /// # Errors
    /// [`MessagingError`] if it could not be stored.
    pub(crate) async fn start(
        tasks: &'a TaskStore,
        job_deadline: Duration,
        delivery: &'a Delivery,
        snapshot: Snapshot,
    ) -> Result<Start<'a>, MessagingError> {
        let lease = job_deadline.min(LONGEST_LEASE);
        let start = RunStart::now(&delivery.job, delivery.attempt);
        let record = start.record(snapshot.record(), lease);
        let mut run = Self { tasks, lease, start, record, is_stored: false };
        if delivery.attempt == 1 {
            tasks.note_known(delivery.job.task_id, snapshot);
            tasks.announce_first_run(&run.record).await;
            return Ok(Start::Run(run));
        }
        Ok(match run.store(snapshot).await? {
            Some(terminal) => Start::AlreadyTerminal(terminal),
            None => Start::Run(run),
        })
    }

    /// Stores a first run after [`SHORT_RUN`], and then extends the deadline in the run's record: the run may take
    /// longer where `JOB_DEADLINE_SECONDS` allows it or it waits for a slot, and the reconciler calls a run past
    /// that deadline lost. Returns only if the task has become terminal meanwhile, with its record.
    pub(crate) async fn keep_recorded(&mut self) -> TaskRecord {
        if !self.is_stored {
            sleep(SHORT_RUN).await;
        }
        // Thrice in a lease, so that one write may fail.
        let mut ticks = interval(self.lease / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if self.is_stored {
            ticks.tick().await;
        }
        loop {
            ticks.tick().await;
            let stored = if self.is_stored {
                self.tasks.extend_run(&self.record, self.lease).await.map(|()| None)
            } else {
                self.store(Snapshot::unread()).await
            };
            match stored {
                Ok(None) => {}
                Ok(Some(terminal)) => return terminal,
                Err(error) => {
                    let task_id = self.record.job.task_id;
                    tracing::warn!(%task_id, %error, "the record of a run was not stored");
                }
            }
        }
    }

    /// How long the job has waited for this run; `None` if that is not its first.
    pub(crate) fn wait(&self) -> Option<time::Duration> {
        let is_first = self.record.attempts == 1;
        is_first.then(|| self.start.started_at - self.start.job.submitted_at)
    }

    /// The record of this run, stored or not.
    pub(crate) fn into_record(self) -> TaskRecord {
        self.record
    }

    /// Stores the run. Returns the task's record if that is terminal.
    async fn store(&mut self, snapshot: Snapshot) -> Result<Option<TaskRecord>, MessagingError> {
        Ok(match self.tasks.begin(self.start, snapshot, self.lease).await? {
            BeginOutcome::Begun(record) => {
                self.record = record;
                self.is_stored = true;
                None
            }
            BeginOutcome::AlreadyTerminal(terminal) => Some(terminal),
        })
    }
}
