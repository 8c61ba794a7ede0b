//! Jobs whose tasks have no record: only the queue has them, and the reconciler's memory of the last rounds.

use std::collections::{HashMap, HashSet};

use domain::{DetectionSettings, Job, TaskId, TaskRecord, TaskState};
use time::OffsetDateTime;

use super::{Discrepancy, Findings, MOST, Reconciler, readable};
use crate::{
    MessagingError,
    jobs::stored::{self, StoredJob},
    provision::lanes,
};

impl Reconciler {
    /// Fails the tasks whose jobs were in the queue in an earlier round and are not any more, though they have no
    /// terminal record. Found twice, as a run may be about to end.
    pub(super) async fn fail_vanished(
        &mut self,
        jobs: &HashMap<TaskId, String>,
        findings: &mut Findings,
    ) -> Result<(), MessagingError> {
        let gone = self.ledger.unrecorded().filter(|(id, _)| !jobs.contains_key(id));
        let gone: Vec<_> = gone.take(MOST).map(|(id, subject)| (id, subject.to_owned())).collect();
        let mut vanished = HashSet::new();
        for (id, subject) in gone {
            if !self.has_vanished(id, &subject).await? {
                self.ledger.remove(id);
                continue;
            }
            let is_repaired = match lost_job(id, &subject) {
                Some(job) if self.vanished_before.contains(&id) => {
                    self.fail_lost(&TaskRecord::queued(job)).await?
                }
                Some(_) | None => false,
            };
            if !is_repaired {
                vanished.insert(id);
            }
            findings.add(Discrepancy::LostJob, 1, is_repaired);
        }
        self.vanished_before = vanished;
        Ok(())
    }

    /// Job first: the terminal record is stored before the job is deleted. A task older than records are kept may
    /// have had one.
    async fn has_vanished(&self, id: TaskId, subject: &str) -> Result<bool, MessagingError> {
        let oldest = OffsetDateTime::now_utc() - self.messaging.config().result_ttl;
        if id.created_at().is_none_or(|born| born <= oldest) {
            return Ok(false);
        }
        if stored::exists(&self.messaging, subject).await? {
            return Ok(false);
        }
        let record = readable(id, self.tasks.get_from_leader(id).await)?;
        Ok(matches!(record, Some(None)))
    }

    /// Stores a record for each job that has waited for long without one, and remembers the others.
    pub(super) async fn record_waiting(
        &mut self,
        jobs: HashMap<TaskId, String>,
    ) -> Result<(), MessagingError> {
        let unrecorded = jobs.into_iter().filter(|(id, _)| !self.ledger.contains(*id));
        let mut waiting: Vec<_> = unrecorded.collect();
        waiting.sort_unstable();
        let is_long = |id: &TaskId| id.created_at().is_none_or(|born| self.waits_for_long(born));
        let long = waiting.iter().take(MOST).filter(|(id, _)| is_long(id));
        for (id, subject) in long {
            self.record_job(*id, subject).await?;
        }
        self.ledger.note_unrecorded(waiting);
        Ok(())
    }

    async fn record_job(&self, id: TaskId, subject: &str) -> Result<(), MessagingError> {
        match readable(id, self.tasks.get_from_leader(id).await)? {
            Some(None) => {}
            // Its terminal record was stored, and deleting the job failed. A worker would do nothing but
            // delete it.
            Some(Some(TaskRecord { state: TaskState::Expired { .. }, job, .. })) => {
                return self.remove(&job).await;
            }
            Some(Some(_)) | None => return Ok(()),
        }
        match stored::find(&self.messaging, subject).await? {
            Some(StoredJob { job, stored_at, .. }) if self.waits_for_long(stored_at) => {
                self.tasks.create_queued(&TaskRecord::queued(job)).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a job that has waited `since` then needs a record. Before that, the API may be about to store it:
    /// opening the bucket and writing the record may each take one request timeout.
    fn waits_for_long(&self, since: OffsetDateTime) -> bool {
        let config = self.messaging.config();
        OffsetDateTime::now_utc() - since > config.record_delay.max(config.request_timeout * 2)
    }
}

/// What the subject tells of a job that is lost. The name of its picture is lost, too.
fn lost_job(task_id: TaskId, subject: &str) -> Option<Job> {
    let (model, _, priority) = lanes::parse(subject)?;
    let job = Job::new(String::new(), model.parse().ok()?, DetectionSettings::default());
    Some(Job { task_id, priority, submitted_at: task_id.created_at()?, ..job })
}
