//! The tasks that this process runs at the moment.

use std::collections::{HashMap, hash_map::Entry};

use domain::TaskId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The running tasks, each with a token that is cancelled at the end of its run.
#[derive(Default)]
pub(crate) struct RunningTasks(Mutex<HashMap<TaskId, CancellationToken>>);

/// A running task, until this is dropped.
pub(crate) struct RunningTask<'a> {
    tasks: &'a RunningTasks,
    id: TaskId,
}

impl RunningTasks {
    /// Waits until no other delivery of the task runs in this process. The server delivers a job a second
    /// time to the worker that runs it when the worker was cut off for longer than `ack_wait`, or when the
    /// consumer was recreated. That delivery counts towards the in-flight limit meanwhile. Cancel-safe.
    pub(crate) async fn enter(&self, id: TaskId) -> RunningTask<'_> {
        loop {
            let other = match self.0.lock().entry(id) {
                Entry::Occupied(other) => other.get().clone(),
                Entry::Vacant(vacant) => {
                    vacant.insert(CancellationToken::new());
                    return RunningTask { tasks: self, id };
                }
            };
            other.cancelled().await;
        }
    }
}

impl Drop for RunningTask<'_> {
    fn drop(&mut self) {
        if let Some(ended) = self.tasks.0.lock().remove(&self.id) {
            ended.cancel();
        }
    }
}
