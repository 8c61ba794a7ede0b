//! Compares what the queue holds with what the records say, and repairs where they differ.
//!
//! A record is written after its job is stored, and an end before its job is removed. So in between
//! the two may differ for a moment, and only for a moment: what still differs when both are read
//! again from the leader, in the order that makes it certain, is a loss. Every repair is a write
//! that others may have overtaken: two reconcilers at once do no harm.

mod ledger;
mod stored_jobs;
mod stuck;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use domain::{FailureReason, Job, TaskId, TaskRecord, TaskState};
use time::OffsetDateTime;

use self::{ledger::Ledger, stored_jobs::StoredJob, stuck::Stuck};
use crate::{
    FinishOutcome, Messaging, MessagingError, TaskStore,
    jobs::{picture_store, wire},
};

/// How many discrepancies of one kind are dealt with in one round; the rest waits for the next.
const MOST: usize = 1000;

/// How long a run whose record has no deadline of its own may go on after its task's deadline. It is of
/// an older worker, and its client was promised an end within 60 s; the rest is for the next look.
const LATE_RUN: Duration = Duration::from_secs(50);

/// How long such a run may take in all, when its job has been lost: the default of older workers.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// A way in which queue and records differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discrepancy {
    /// A task without an end, and no job that could bring it to one.
    RecordWithoutJob,
    /// A job whose task is unknown: the API stopped between storing the one and the other.
    JobWithoutRecord,
    /// A task that is past its deadline and that no worker has ended.
    Overdue,
    /// Jobs in the queue that it hands to nobody.
    StuckJobs,
}

impl Discrepancy {
    /// All there are.
    pub const ALL: [Self; 4] =
        [Self::RecordWithoutJob, Self::JobWithoutRecord, Self::Overdue, Self::StuckJobs];

    /// Its name, as metrics say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RecordWithoutJob => "record_without_job",
            Self::JobWithoutRecord => "job_without_record",
            Self::Overdue => "overdue",
            Self::StuckJobs => "stuck_jobs",
        }
    }
}

/// What came of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    open: [u64; Discrepancy::ALL.len()],
    repaired: [u64; Discrepancy::ALL.len()],
}

impl Findings {
    /// How many were found and not repaired yet.
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

/// Compares and repairs, round after round. For one process at a time: whoever holds a
/// [`Lease`](crate::Lease) on it.
pub struct Reconciler {
    messaging: Messaging,
    tasks: TaskStore,
    ledger: Ledger,
    /// The tasks that had lost their job in the round before.
    lost_before: HashSet<TaskId>,
    stuck_before: Option<Stuck>,
}

impl Reconciler {
    pub(crate) fn new(messaging: Messaging) -> Self {
        let (tasks, ledger) = (messaging.tasks(), Ledger::new(messaging.clone()));
        Self { messaging, tasks, ledger, lost_before: HashSet::new(), stuck_before: None }
    }

    /// Compares everything, and repairs what can be repaired. A lost job and stuck ones are only
    /// repaired when the round before has found them too.
    ///
    /// # Errors
    /// [`MessagingError`] if the server fails in between; what is repaired by then stays so.
    pub async fn round(&mut self) -> Result<Findings, MessagingError> {
        let mut findings = self.expire_overdue().await?;
        // A task that is known before the jobs are listed had its job stored before. Those that end
        // while they are listed are told by the records that are read after it.
        let known = self.ledger.ids();
        let jobs = stored_jobs::list(&self.messaging).await?;
        self.ledger.catch_up().await?;
        let lost = known.into_iter().filter(|id| !jobs.contains_key(id)).collect();
        self.deal_with_lost(lost, &mut findings).await?;
        self.deal_with_unrecorded(jobs, &mut findings).await?;
        self.deal_with_stuck(&mut findings).await?;
        Ok(findings)
    }

    /// Ends the tasks that are past their deadline, and looks for nothing else. Costs little: what
    /// has changed since the last look is read, and no more.
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
                let is_ended = self.expire(&record).await?;
                findings.add(Discrepancy::Overdue, 1, is_ended);
            }
        }
        Ok(findings)
    }

    async fn deal_with_lost(
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
            findings.add(Discrepancy::RecordWithoutJob, 1, is_repaired);
        }
        self.lost_before = lost;
        Ok(())
    }

    /// The task's record, if it has neither an end nor a job. In this order: the end is stored before
    /// the job is removed, so a task without an end whose job was gone before has lost it.
    async fn without_job(&mut self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        let Some(record) = self.ledger.get(id) else { return Ok(None) };
        if stored_jobs::exists(&self.messaging, &wire::job_subject(&record.job)).await? {
            return Ok(None);
        }
        self.still_open(id).await
    }

    /// Puts the job back if its picture is still there, or ends the task. Tells whether it did.
    async fn repair_lost(&mut self, record: &TaskRecord) -> Result<bool, MessagingError> {
        let (job, now) = (&record.job, OffsetDateTime::now_utc());
        let task_id = job.task_id;
        if job.is_overdue(now) {
            return self.expire(record).await;
        }
        if picture_store::find(&self.messaging, &wire::object_name(task_id)).await?.is_some() {
            let is_restored = stored_jobs::restore(&self.messaging, job).await?;
            if is_restored {
                tracing::warn!(%task_id, "the queue had lost a job; it is stored again");
            }
            return Ok(is_restored);
        }
        let lost = TaskState::Failure {
            finished_at: now,
            reason: FailureReason::Lost,
            message: "the job is no longer in the queue: submit the picture again".to_owned(),
        };
        let is_ended = self.finish(&record.with_state(lost)).await?;
        if is_ended {
            tracing::warn!(%task_id, "the queue had lost a job and its picture; its task has failed");
        }
        Ok(is_ended)
    }

    async fn deal_with_unrecorded(
        &mut self,
        jobs: HashMap<TaskId, String>,
        findings: &mut Findings,
    ) -> Result<(), MessagingError> {
        let unknown = jobs.into_iter().filter(|(id, _)| !self.ledger.contains(*id));
        let mut unknown: Vec<_> = unknown.collect();
        unknown.sort_unstable();
        for (id, subject) in unknown.into_iter().take(MOST) {
            match readable(id, self.tasks.get_from_leader(id).await)? {
                Some(None) => {}
                // Its end was stored, and then removing the job failed. No worker would do anything
                // else with it.
                Some(Some(TaskRecord { state: TaskState::Expired { .. }, job, .. })) => {
                    self.remove(&job).await?;
                    continue;
                }
                Some(Some(_)) | None => continue,
            }
            let Some(job) = self.settled_job(&subject).await? else { continue };
            self.tasks.create_queued(&TaskRecord::queued(job)).await?;
            tracing::warn!(task_id = %id, "a job had no record; it has one now");
            findings.add(Discrepancy::JobWithoutRecord, 1, true);
        }
        Ok(())
    }

    /// The job of this subject, unless it is so fresh that the API may be about to write its record.
    async fn settled_job(&self, subject: &str) -> Result<Option<Job>, MessagingError> {
        // Opening the bucket and writing may each take the time that one question may take.
        let fresh = self.messaging.config().request_timeout * 2;
        let found = stored_jobs::find(&self.messaging, subject).await?;
        let is_settled = |found: &StoredJob| OffsetDateTime::now_utc() - found.stored_at > fresh;
        Ok(found.filter(is_settled).map(|found| found.job))
    }

    async fn deal_with_stuck(&mut self, findings: &mut Findings) -> Result<(), MessagingError> {
        let found = stuck::look(&self.messaging).await?;
        let before = std::mem::replace(&mut self.stuck_before, found);
        let (found, jobs, is_sure) = match (found, before) {
            (None, _) => return Ok(()),
            (Some(found @ Stuck::NoConsumer { jobs }), _) => (found, jobs, true),
            (Some(found @ Stuck::Jobs { oldest, jobs }), before) => {
                let is_same =
                    |before| matches!(before, Stuck::Jobs { oldest: o, .. } if o == oldest);
                (found, jobs, before.is_some_and(is_same))
            }
        };
        let is_repaired = is_sure && self.repair_stuck(found, jobs).await?;
        findings.add(Discrepancy::StuckJobs, jobs, is_repaired);
        Ok(())
    }

    /// Tells whether it did.
    async fn repair_stuck(&self, found: Stuck, jobs: u64) -> Result<bool, MessagingError> {
        match stuck::repair(&self.messaging, found).await {
            Ok(()) => {
                tracing::warn!(jobs, "the queue's consumer was made anew: its jobs went to nobody");
                Ok(true)
            }
            // An API that may put jobs in need not be one that may say who gets them.
            Err(MessagingError::NotPermitted { .. } | MessagingError::MustBeProvisioned { .. }) => {
                tracing::error!(
                    jobs,
                    "the queue delivers these jobs to no worker, and these credentials may not recreate \
                     its consumer: provision it with credentials that may"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The task's newest record if the task has no end. If it has one or is gone, it leaves the
    /// ledger.
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

    /// Ends the task as EXPIRED and removes what there is of its job. Tells whether it did.
    async fn expire(&mut self, record: &TaskRecord) -> Result<bool, MessagingError> {
        let expired = TaskState::Expired { finished_at: OffsetDateTime::now_utc() };
        let is_ended = self.finish(&record.with_state(expired)).await?;
        if is_ended {
            tracing::warn!(task_id = %record.job.task_id, "no worker came in time; expired");
            self.remove(&record.job).await?;
        }
        Ok(is_ended)
    }

    /// Stores an end, unless there is one. Tells whether it did.
    async fn finish(&mut self, end: &TaskRecord) -> Result<bool, MessagingError> {
        let id = end.job.task_id;
        let outcome = readable(id, self.tasks.finish(end).await)?;
        if outcome.is_some() {
            self.ledger.remove(id);
        }
        Ok(outcome == Some(FinishOutcome::Stored))
    }

    /// Removes a job and its picture. Only of a task whose end is stored.
    async fn remove(&self, job: &Job) -> Result<(), MessagingError> {
        stored_jobs::remove(&self.messaging, &wire::job_subject(job)).await?;
        picture_store::delete(&self.messaging, &wire::object_name(job.task_id)).await;
        Ok(())
    }
}

impl Messaging {
    /// Makes the queue's consumer anew if there are jobs that it hands to nobody; tells how many
    /// there were. For credentials that may do it, where the reconciler's may not.
    ///
    /// # Errors
    /// [`MessagingError`] if the server fails or refuses.
    pub async fn free_stuck_jobs(&self) -> Result<u64, MessagingError> {
        match stuck::look(self).await? {
            None => Ok(0),
            Some(found @ (Stuck::NoConsumer { jobs } | Stuck::Jobs { jobs, .. })) => {
                stuck::repair(self, found).await?;
                Ok(jobs)
            }
        }
    }
}

/// Whether nobody is going to bring this task to its end in time.
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

/// `None` for a record that cannot be read, or not be written for all the others who do: it keeps
/// nobody from looking at the rest.
fn readable<T>(
    task_id: TaskId,
    outcome: Result<T, MessagingError>,
) -> Result<Option<T>, MessagingError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error @ (MessagingError::Record { .. } | MessagingError::Contended { .. })) => {
            tracing::warn!(%task_id, %error, "a task is left as it is");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
