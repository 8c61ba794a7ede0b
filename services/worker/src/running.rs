//! The tasks that this process runs at the moment.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use domain::{Job, ModelName, TaskId, TaskRecord};
use messaging::{RunningTaskStatus, TaskStore};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The pause before the record of a revoked task is read again.
const REVOKED_PAUSE: Duration = Duration::from_millis(200);

/// The most tasks that are told of: more than the slots of a worker.
const MOST_TOLD: usize = 100;

/// The running tasks.
#[derive(Default)]
pub(crate) struct RunningTasks(Mutex<HashMap<TaskId, Running>>);

/// A running task, as the others see it.
struct Running {
    model: ModelName,
    since: OffsetDateTime,
    signals: Signals,
}

/// The signals of a running task.
#[derive(Clone, Default)]
struct Signals {
    /// Its run has ended.
    ended: CancellationToken,
    /// A client has revoked it.
    revoked: CancellationToken,
}

/// A running task, until this is dropped.
pub(crate) struct RunningTask<'a> {
    tasks: &'a RunningTasks,
    id: TaskId,
    revoked: CancellationToken,
}

impl RunningTask<'_> {
    /// Completes when a client has revoked the task, with its terminal record.
    pub(crate) async fn revoked(&self, tasks: &TaskStore) -> TaskRecord {
        self.revoked.cancelled().await;
        loop {
            match tasks.ended_elsewhere(self.id).await {
                Ok(Some(record)) => return record,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(task_id = %self.id, %error, "cannot read the record of a revoked task");
                }
            }
            // The replica that was asked may not have the record yet.
            sleep(REVOKED_PAUSE).await;
        }
    }
}

impl RunningTasks {
    /// Waits until no other delivery of the task runs in this process. The server delivers a job a second
    /// time to the worker that runs it when the worker was cut off for longer than `ack_wait`, or when the
    /// consumer was recreated. That delivery counts towards the in-flight limit meanwhile. Cancel-safe.
    pub(crate) async fn enter(&self, job: &Job) -> RunningTask<'_> {
        let id = job.task_id;
        loop {
            let other = match self.0.lock().entry(id) {
                Entry::Occupied(other) => other.get().signals.clone(),
                Entry::Vacant(vacant) => {
                    let (signals, since) = (Signals::default(), OffsetDateTime::now_utc());
                    let revoked = signals.revoked.clone();
                    vacant.insert(Running { model: job.model.clone(), since, signals });
                    return RunningTask { tasks: self, id, revoked };
                }
            };
            other.ended.cancelled().await;
        }
    }

    /// The running tasks, oldest first.
    pub(crate) fn list(&self) -> Vec<RunningTaskStatus> {
        let running = self.0.lock();
        let mut list: Vec<_> = running
            .iter()
            .map(|(id, Running { model, since, .. })| RunningTaskStatus {
                task_id: *id,
                model: model.clone(),
                since: *since,
            })
            .collect();
        drop(running);
        list.sort_by_key(|task| task.since);
        list.truncate(MOST_TOLD);
        list
    }

    /// Signals that a client has revoked the task, if it runs here.
    pub(crate) fn revoke(&self, id: TaskId) {
        if let Some(running) = self.0.lock().get(&id) {
            running.signals.revoked.cancel();
        }
    }
}

impl Drop for RunningTask<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.tasks.0.lock().remove(&self.id) {
            running.signals.ended.cancel();
        }
    }
}
