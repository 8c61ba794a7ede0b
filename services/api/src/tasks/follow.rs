//! Follows tasks.

use domain::TaskId;
use messaging::{MessagingError, RecordChanges, RecordVersion};

use super::{
    Tasks,
    events::{EventId, Progress, TaskEvent},
    lookup::Lookup,
    viewer::Viewer,
};

/// The result of a request to follow a task.
pub(crate) enum Follow {
    /// Its events.
    Events(Box<TaskEvents>),
    /// The client has seen the last event.
    Over,
    /// The task is older than results are kept.
    Expired,
    /// There is no such task, or none that the viewer may see.
    Unknown,
}

/// The events of one task that a client has not seen.
pub(crate) struct TaskEvents {
    tasks: Tasks,
    progress: Progress,
    /// `None` once the task has ended.
    changes: Option<RecordChanges>,
}

impl Tasks {
    /// The events of a task after `seen`, or from the present state on.
    pub(crate) async fn follow(
        &self,
        id: TaskId,
        viewer: Viewer,
        seen: Option<EventId>,
    ) -> Result<Follow, MessagingError> {
        let (present, changes) = match self.start_following(id, viewer).await? {
            Ok(found) => found,
            Err(Lookup::Expired) => return Ok(Follow::Expired),
            Err(_) => return Ok(Follow::Unknown),
        };
        let has_ended = present.record.state.is_terminal();
        let seen = match seen {
            Some(seen) if seen.is_last() && has_ended => return Ok(Follow::Over),
            // Not an event of this task.
            Some(seen) if seen.is_last() => None,
            seen => seen,
        };
        let mut progress = Progress::after(seen);
        progress.note(present);
        let changes = changes.filter(|_| !has_ended);
        Ok(Follow::Events(Box::new(TaskEvents { tasks: self.clone(), progress, changes })))
    }

    /// The present record, and its changes. Redis is read only if the bucket cannot be, as for a wait.
    async fn start_following(
        &self,
        id: TaskId,
        viewer: Viewer,
    ) -> Result<Result<(RecordVersion, Option<RecordChanges>), Lookup>, MessagingError> {
        let without_changes = |record| (RecordVersion { record, revision: 0 }, None);
        if !self.store.is_connected() {
            return Ok(match self.find(id, viewer).await? {
                Lookup::Found(record) => Ok(without_changes(*record)),
                absent => Err(absent),
            });
        }
        match (self.store.follow(id).await, &self.cache) {
            (Ok(Some((present, _))), _) if !viewer.sees(&present.record.job) => {
                Ok(Err(self.absent(id)))
            }
            (Ok(Some((present, changes))), _) => {
                self.keep_result(&present.record);
                Ok(Ok((present, Some(changes))))
            }
            (Ok(None), _) => Ok(Err(self.absent(id))),
            (Err(error), None) => Err(error),
            (Err(error), Some(cache)) => match cache.get(id).await {
                Some(record) if !viewer.sees(&record.job) => Ok(Err(self.absent(id))),
                Some(record) => Ok(Ok(without_changes(record))),
                None => Err(error),
            },
        }
    }
}

impl TaskEvents {
    /// The next event. `None` after the last one, or if the task has expired. May be dropped at any time and called
    /// again.
    pub(crate) async fn next(&mut self) -> Option<TaskEvent> {
        loop {
            if let Some(event) = self.progress.next() {
                return Some(event);
            }
            let version = self.changes.as_mut()?.next().await?;
            if version.record.state.is_terminal() {
                self.changes = None;
                self.tasks.keep_result(&version.record);
            }
            self.progress.note(version);
        }
    }
}
