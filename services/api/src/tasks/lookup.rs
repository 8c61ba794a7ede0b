//! Looks tasks up.

use std::time::Duration;

use domain::{TaskId, TaskRecord};
use messaging::MessagingError;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::Tasks;

/// The result of a lookup.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The record of the task.
    Found(Box<TaskRecord>),
    /// The task is older than results are kept.
    Expired,
    /// There is no such task.
    Unknown,
}

impl Tasks {
    /// Looks `id` up: in Redis, which has copies of terminal records, then in the bucket and the queue.
    pub(crate) async fn find(&self, id: TaskId) -> Result<Lookup, MessagingError> {
        if let Some(cache) = &self.cache
            && let Some(record) = cache.get(id).await
        {
            return Ok(Lookup::Found(Box::new(record)));
        }
        let record = self.store.find(id).await?;
        Ok(self.remember(id, record))
    }

    /// As [`Self::wait`], or as [`Self::find`] for a timeout of zero.
    pub(crate) async fn find_or_wait(
        &self,
        id: TaskId,
        timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Lookup, MessagingError> {
        match timeout.is_zero() {
            true => self.find(id).await,
            false => self.wait(id, timeout, shutdown).await,
        }
    }

    /// As [`Self::find`], once the task has a terminal state, after `timeout`, or when `shutdown` begins,
    /// whichever comes first. The bucket is read once before waiting. Redis has copies of terminal records
    /// only, so it is read only if the bucket cannot be: first, where there is no connection to NATS, and
    /// otherwise after a failed read.
    pub(crate) async fn wait(
        &self,
        id: TaskId,
        timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Lookup, MessagingError> {
        if !self.store.is_connected() {
            return self.find(id).await;
        }
        let give_up = async {
            tokio::select! {
                () = tokio::time::sleep(timeout) => {}
                () = shutdown.cancelled() => {}
            }
        };
        match (self.store.await_terminal(id, give_up).await, &self.cache) {
            (Ok(record), _) => Ok(self.remember(id, record)),
            (Err(error), None) => Err(error),
            (Err(error), Some(cache)) => match cache.get(id).await {
                Some(record) => Ok(Lookup::Found(Box::new(record))),
                None => Err(error),
            },
        }
    }

    fn remember(&self, id: TaskId, record: Option<TaskRecord>) -> Lookup {
        let Some(record) = record else { return self.absent(id) };
        self.keep_result(&record);
        Lookup::Found(Box::new(record))
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
