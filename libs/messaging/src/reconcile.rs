//! Compares the queue with the records, and repairs differences.
//!
//! A terminal record is written before its job is deleted, so a task without a job has one. Where it is missing
//! although both were read again from the leader, in an order that excludes the moment in between, the job is
//! lost. Every repair is a conditional write: two reconcilers at once do no harm.
//!
//! A job that waits for long gets a record, by which its task expires, and by which its loss is found by any
//! reconciler. Jobs without a record are remembered from one round to the next.

mod ledger;
mod stuck;
mod unrecorded;

use std::{collections::HashSet, time::Duration};

use domain::{FailureReason, Job, TaskId, TaskRecord, TaskState};
use time::OffsetDateTime;

use self::{ledger::Ledger, stuck::Stuck};
use crate::{
    FinishOutcome, Messaging, MessagingError, TaskStore,
    jobs::{picture_store, stored, wire},
};

/// How many discrepancies of one kind are repaired in one round; the rest waits for the next.
const MOST: usize = 1000;

/// How long a run without a deadline in its record, of an older worker, may go on after its task's deadline.
/// Clients are promised a terminal state within 60 s; the rest is for the interval of the checks.
const LATE_RUN: Duration = Duration::from_secs(50);

/// How long such a run may take in all if its job has been lost: the default of older workers.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// A kind of difference between queue and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discrepancy {
    /// A task that is not terminal and has no job (any more).
    LostJob,
    /// A task that is past its deadline and not terminal.
    Overdue,
    /// Jobs in the stream that no consumer delivers.
    StuckJobs,
}

impl Discrepancy {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::LostJob, Self::Overdue, Self::StuckJobs];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LostJob => "record_without_job",
            Self::Overdue => "overdue",
            Self::StuckJobs => "stuck_jobs",
        }
    }
}

/// The result of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    open: [u64; Discrepancy::ALL.len()],
    repaired: [u64; Discrepancy::ALL.len()],
}

impl Findings {
    /// How many were found and are not repaired yet.
    #[must_use]
    pub fn open(&self, kind: Discrepancy) -> u64 {
        self.open[kind as usize]
    }

    /// How many were repaired.
    #[must_use]
    pub fn repaired(&self, kind: Discrepancy) -> u64 {
        self.repaired[kind as usize]
    }

    fn add(&mut self, kind: Discrepancy, count: u64, is_repaired: bool) {
        let counts = if is_repaired { &mut self.repaired } else { &mut self.open };
        counts[kind as usize] += count;
    }
}

/// Compares and repairs, round after round. Meant for one process at a time, the holder of a
/// [`Lease`](crate::Lease).
pub struct Reconciler {
    messaging: Messaging,
    tasks: TaskStore,
    ledger: Ledger,
    /// The tasks without a job in the previous round.
    lost_before: HashSet<TaskId>,
    /// Those that had no record, besides.
    vanished_before: HashSet<TaskId>,
    stuck_before: Option<Stuck>,
}

impl Reconciler {
    pub(crate) fn new(messaging: Messaging) -> Self {
        let (tasks, ledger) = (messaging.tasks(), Ledger::new(messaging.clone()));
        Self {
            messaging,
            tasks,
            ledger,
            lost_before: HashSet::new(),
            vanished_before: HashSet::new(),
            stuck_before: None,
        }
    }

    /// Compares everything, and repairs what can be repaired. Lost and stuck jobs are repaired only if the
    /// previous round has found them, too.
    ///
    /// # Errors
    /// [`MessagingError`] if the server fails in between; earlier repairs stay.
    pub async fn round(&mut self) -> Result<Findings, MessagingError> {
        let mut findings = self.expire_overdue().await?;
        // The job of a task that is known before the jobs are listed was stored before. Tasks that become
        // terminal during the listing are excluded by the records that are read after it.
        let known = self.ledger.ids();
        let jobs = stored::list(&self.messaging).await?;
        self.ledger.catch_up().await?;
        let lost = known.into_iter().filter(|id| !jobs.contains_key(id)).collect();
        self.repair_lost_jobs(lost, &mut findings).await?;
        self.fail_vanished(&jobs, &mut findings).await?;
        self.record_waiting(jobs).await?;
        self.repair_stuck_jobs(&mut findings).await?;
        Ok(findings)
    }

    /// Expires the tasks that are past their deadline, and checks nothing else. Reads only the records that
    /// have changed since the last check.
    ///
    /// # Errors
    /// As [`Reconciler::round`].
    pub async fn expire_overdue(&mut self) -> Result<Findings, MessagingError> {
        self.ledger.catch_up().await?;
        let mut findings = Findings::default();
        let now = OffsetDateTime::now_utc();
        let overdue = self.ledger.records().filter(|record| is_overdue(record, now));
        let overdue: Vec<_> = overdue.map(|record| record.job.task_id).take(MOST).collect();
        for id in overdue {
            let Some(record) = self.still_open(id).await? else { continue };
            if is_overdue(&record, now) {
                let is_stored = self.expire(&record).await?;
                findings.add(Discrepancy::Overdue, 1, is_stored);
            }
        }
        Ok(findings)
    }

    async fn repair_lost_jobs(
        &mut self,
        mut ids: Vec<TaskId>,
        findings: &mut Findings,
    ) -> Result<(), MessagingError> {
        ids.retain(|id| self.ledger.contains(*id));
        ids.sort_unstable();
        let mut lost = HashSet::new();
        for id in ids.into_iter().take(MOST) {
            let Some(record) = self.without_job(id).await? else { continue };
            let is_sure = self.lost_before.contains(&id) && !may_be_running(&record);
            let is_repaired = is_sure && self.repair_lost(&record).await?;
            if !is_repaired {
                lost.insert(id);
            }
            findings.add(Discrepancy::LostJob, 1, is_repaired);
        }
        self.lost_before = lost;
        Ok(())
    }

    /// The task's record, if it is not terminal and has no job. Job first: the terminal record is stored
    /// before the job is deleted, so a task that is not terminal after its job was missing has lost it.
    async fn without_job(&mut self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        let Some(record) = self.ledger.get(id) else { return Ok(None) };
        if stored::exists(&self.messaging, &wire::job_subject(&record.job)).await? {
            return Ok(None);
        }
        self.still_open(id).await
    }

    /// Stores the job again if its picture is still there, or fails the task. Returns whether it did.
    async fn repair_lost(&mut self, record: &TaskRecord) -> Result<bool, MessagingError> {
        let (job, now) = (&record.job, OffsetDateTime::now_utc());
        let task_id = job.task_id;
        if job.is_overdue(now) {
            return self.expire(record).await;
        }
        if picture_store::find(&self.messaging, &wire::object_name(task_id)).await?.is_some() {
            let is_restored = stored::restore(&self.messaging, job).await?;
            if is_restored {
                tracing::warn!(%task_id, "a job was lost from the queue; it has been stored again");
            }
            return Ok(is_restored);
        }
        self.fail_lost(record).await
    }

    /// Fails a task whose job and picture are lost. Returns whether it did.
    async fn fail_lost(&mut self, record: &TaskRecord) -> Result<bool, MessagingError> {
        let lost = TaskState::Failure {
            finished_at: OffsetDateTime::now_utc(),
            reason: FailureReason::Lost,
            message: "the job is no longer in the queue: submit the picture again".to_owned(),
        };
        let is_stored = self.finish(&record.with_state(lost)).await?;
        if is_stored {
            let task_id = record.job.task_id;
            tracing::warn!(%task_id, "a job and its picture were lost; the task has failed");
        }
        Ok(is_stored)
    }

    async fn repair_stuck_jobs(&mut self, findings: &mut Findings) -> Result<(), MessagingError> {
        let found = stuck::check(&self.messaging).await?;
        let before = std::mem::replace(&mut self.stuck_before, found.clone());
        let Some(found) = found else { return Ok(()) };
        let is_sure = !found.may_be_momentary()
            || before.is_some_and(|before| before.is_same_message(&found));
        let is_repaired = is_sure && self.repair_stuck(&found).await?;
        findings.add(Discrepancy::StuckJobs, found.jobs(), is_repaired);
        Ok(())
    }

    /// Returns whether it did.
    async fn repair_stuck(&self, found: &Stuck) -> Result<bool, MessagingError> {
        let jobs = found.jobs();
        match stuck::repair(&self.messaging, found).await {
            Ok(()) => {
                tracing::warn!(
                    jobs,
                    "consumers of the queue were recreated: they did not deliver these jobs"
                );
                Ok(true)
            }
            // An API may publish jobs without being allowed to change consumers.
            Err(
                error @ (MessagingError::NotPermitted { .. }
                | MessagingError::MustBeProvisioned { .. }),
            ) => {
                tracing::error!(
                    jobs,
                    %error,
                    "the queue delivers these jobs to no worker, and these credentials may not recreate \
                     its consumers: provision it with credentials that may, and with the names of all models"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The task's newest record, if it is not terminal. Otherwise removes it from the ledger.
    async fn still_open(&mut self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        let Some(record) = readable(id, self.tasks.get_from_leader(id).await)? else {
            return Ok(None);
        };
        let record = record.filter(|record| !record.state.is_terminal());
        if record.is_none() {
            self.ledger.remove(id);
        }
        Ok(record)
    }

    /// Expires the task and deletes its job and picture. Returns whether it did.
    async fn expire(&mut self, record: &TaskRecord) -> Result<bool, MessagingError> {
        let expired = TaskState::Expired { finished_at: OffsetDateTime::now_utc() };
        let is_stored = self.finish(&record.with_state(expired)).await?;
        if is_stored {
            tracing::warn!(task_id = %record.job.task_id, "the task has expired before a worker could run it");
            self.remove(&record.job).await?;
        }
        Ok(is_stored)
    }

    /// Stores a terminal record, unless there is one. Returns whether it did.
    async fn finish(&mut self, terminal: &TaskRecord) -> Result<bool, MessagingError> {
        let id = terminal.job.task_id;
        // There may be no job from which another process would announce it, if this one ended after the record.
        self.messaging.webhooks().announce_provisionally(terminal).await?;
        let outcome = readable(id, self.tasks.finish(terminal).await)?;
        if outcome.is_some() {
            self.ledger.remove(id);
        }
        Ok(outcome == Some(FinishOutcome::Stored))
    }

    /// Deletes the job and the picture of a task whose terminal record is stored.
    async fn remove(&self, job: &Job) -> Result<(), MessagingError> {
        stored::remove(&self.messaging, &wire::job_subject(job)).await?;
        picture_store::delete(&self.messaging, &wire::object_name(job.task_id)).await;
        Ok(())
    }
}

impl Messaging {
    /// Recreates the queue's consumers if there are jobs that they do not deliver; returns their number. For
    /// credentials that may do so, where those of the reconciler may not.
    ///
    /// # Errors
    /// [`MessagingError`] if the server fails or refuses.
    pub async fn free_stuck_jobs(&self) -> Result<u64, MessagingError> {
        let Some(found) = stuck::check(self).await? else { return Ok(0) };
        stuck::repair(self, &found).await?;
        Ok(found.jobs())
    }
}

/// Whether the task is past its deadline and no run of it may still go on.
fn is_overdue(record: &TaskRecord, now: OffsetDateTime) -> bool {
    match record.state {
        TaskState::Started { run_deadline: Some(run_deadline), .. } => {
            record.job.is_overdue(now) && run_deadline <= now
        }
        TaskState::Started { run_deadline: None, .. } => record.job.is_overdue(now - LATE_RUN),
        _ => record.job.is_overdue(now),
    }
}

/// Whether a worker may still run the job.
fn may_be_running(record: &TaskRecord) -> bool {
    let TaskState::Started { started_at, run_deadline } = record.state else { return false };
    OffsetDateTime::now_utc() < run_deadline.unwrap_or(started_at + LONGEST_RUN)
}

/// `None` for a record that cannot be parsed, or that other processes keep changing: the round goes on with
/// the other tasks.
fn readable<T>(
    task_id: TaskId,
    outcome: Result<T, MessagingError>,
) -> Result<Option<T>, MessagingError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error @ (MessagingError::Record { .. } | MessagingError::Contended { .. })) => {
            tracing::warn!(%task_id, %error, "a task could not be reconciled");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
