//! Looks tasks up.

use std::time::Duration;

use domain::{TaskId, TaskRecord};
use messaging::MessagingError;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::{Tasks, viewer::Viewer};

/// The result of a lookup.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The record of the task.
    Found(Box<TaskRecord>),
    /// The task is older than results are kept.
    Expired,
    /// There is no such task, or none that the viewer may see.
    Unknown,
}

impl Tasks {
    /// Looks `id` up: in Redis, which has copies of terminal records, then in the bucket and the queue.
    pub(crate) async fn find(&self, id: TaskId, viewer: Viewer) -> Result<Lookup, MessagingError> {
        if let Some(cache) = &self.cache
            && let Some(record) = cache.get(id).await
        {
            return Ok(self.shown(record, viewer));
        }
        let record = self.store.find(id).await?;
        Ok(self.remember(id, record, viewer))
    }

    /// As [`Self::wait`], or as [`Self::find`] for a timeout of zero.
    pub(crate) async fn find_or_wait(
        &self,
        id: TaskId,
        viewer: Viewer,
        timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Lookup, MessagingError> {
        match timeout.is_zero() {
            true => self.find(id, viewer).await,
            false => self.wait(id, viewer, timeout, shutdown).await,
        }
    }

    /// As [`Self::find`], once the task has a terminal state, after `timeout`, or when `shutdown` begins,
    /// whichever comes first; at once for a task that the viewer may not see. The bucket is read once before waiting. Redis has copies of terminal records
    /// only, so it is read only if the bucket cannot be: first, where there is no connection to NATS, and
    /// otherwise after a failed read.
    pub(crate) async fn wait(
        &self,
        id: TaskId,
        viewer: Viewer,
        timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Lookup, MessagingError> {
        if !self.store.is_connected() {
            return self.find(id, viewer).await;
        }
        let give_up = async {
            tokio::select! {
                () = tokio::time::sleep(timeout) => {}
                () = shutdown.cancelled() => {}
            }
        };
        let is_awaited = |record: &TaskRecord| viewer.sees(&record.job);
        match (self.store.await_terminal_if(id, is_awaited, give_up).await, &self.cache) {
            (Ok(record), _) => Ok(self.remember(id, record, viewer)),
            (Err(error), None) => Err(error),
            (Err(error), Some(cache)) => match cache.get(id).await {
                Some(record) => Ok(self.shown(record, viewer)),
                None => Err(error),
            },
        }
    }

    fn remember(&self, id: TaskId, record: Option<TaskRecord>, viewer: Viewer) -> Lookup {
        let Some(record) = record else { return self.absent(id) };
        self.keep_result(&record);
        self.shown(record, viewer)
    }

    /// The record, if the viewer may see it; otherwise what there is to say of an id without a record.
    pub(super) fn shown(&self, record: TaskRecord, viewer: Viewer) -> Lookup {
        match viewer.sees(&record.job) {
            true => Lookup::Found(Box::new(record)),
            false => self.absent(record.job.task_id),
        }
    }

    /// Puts a terminal record into the caches.
    pub(super) fn keep_result(&self, record: &TaskRecord) {
        if let Some(cache) = &self.cache
            && record.state.is_terminal()
        {
            cache.put_in_background(record);
        }
        if let Some(responses) = &self.responses {
            responses.put_in_background(record);
        }
    }

    /// An id contains its creation time, so a missing record of an old id has expired.
    pub(super) fn absent(&self, id: TaskId) -> Lookup {
        let is_old = |born| OffsetDateTime::now_utc() - born > self.result_ttl;
        if id.created_at().is_some_and(is_old) { Lookup::Expired } else { Lookup::Unknown }
    }
}
