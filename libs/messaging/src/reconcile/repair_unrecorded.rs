//! Jobs whose tasks have no record: the queue is the only place that has them.

use std::collections::HashMap;

use domain::{DetectionSettings, Job, TaskId, TaskRecord, TaskState};
use time::OffsetDateTime;

use super::{Discrepancy, Findings, MOST, Reconciler, readable, unrecorded_jobs::UnrecordedJobs};
use crate::{
    MessagingError,
    jobs::stored::{self, StoredJob},
};

impl Reconciler {
    /// Fails the tasks whose jobs were in the queue in an earlier round and are not any more, though they have no
    /// terminal record. Found twice, as a run may be about to end.
    pub(super) async fn fail_vanished(
        &mut self,
        jobs: &HashMap<TaskId, String>,
        findings: &mut Findings,
    ) -> Result<(), MessagingError> {
        let ended = self.ledger.take_ended();
        let UnrecordedJobs { waiting, missing } = std::mem::take(&mut self.unrecorded);
        let known = waiting.into_iter().chain(missing.clone());
        let gone = known.filter(|(id, _)| {
            !jobs.contains_key(id) && !ended.contains(id) && !self.ledger.contains(*id)
        });
        // A record that has expired is younger than its id.
        let result_ttl = self.messaging.config().result_ttl;
        let oldest = OffsetDateTime::now_utc() - result_ttl;
        let gone = gone.filter(|(id, _)| id.created_at().is_some_and(|born| born > oldest));
        for (id, subject) in gone.take(MOST).collect::<Vec<_>>() {
            if !self.has_vanished(id, &subject).await? {
                continue;
            }
            let is_repaired = match lost_job(id, &subject) {
                Some(job) if missing.contains_key(&id) => {
                    self.fail_lost(&TaskRecord::queued(job)).await?
                }
                Some(_) | None => false,
            };
            if !is_repaired {
                self.unrecorded.missing.insert(id, subject);
            }
            findings.add(Discrepancy::LostJob, 1, is_repaired);
        }
        Ok(())
    }

    /// Job first: the terminal record is stored before the job is deleted.
    async fn has_vanished(&self, id: TaskId, subject: &str) -> Result<bool, MessagingError> {
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
        self.unrecorded.waiting = waiting.into_iter().collect();
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
            Some(StoredJob { job, stored_at }) if self.waits_for_long(stored_at) => {
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
    let model = subject.split('.').nth(1)?.parse().ok()?;
    let job = Job::new(String::new(), model, DetectionSettings::default());
    Some(Job { task_id, submitted_at: task_id.created_at()?, ..job })
}
