//! Keeps the index current while lists are asked for.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{KeyId, Metadata, ModelName, StateKind, TaskId};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::{
    entries::{Entries, Indexed},
    index::{ListError, TaskIndex},
    position::Position,
    queued_jobs::QueuedJobs,
};
use crate::{MessagingError, jobs::stored, record_log::Change};

/// How long a request waits for the index. Building it goes on.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often changes are read between two lists, so that the next one has few to read.
const READ_EVERY: Duration = Duration::from_secs(5);

/// How long after the last list the index is dropped.
const IDLE: Duration = Duration::from_secs(300);

/// How often entries of expired records are removed. Until then they cost a read for the page they would be on.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);

/// The part of a record that the index needs.
#[derive(Deserialize)]
struct IndexedRecord {
    task_id: TaskId,
    model: ModelName,
    #[serde(default)]
    metadata: Option<Metadata>,
    state: StateKind,
    #[serde(default)]
    owner: Option<KeyId>,
}

impl TaskIndex {
    /// Brings the index up to the present moment. The list of jobs in the queue may have this age.
    pub(super) async fn refresh(&self, queue_age: Duration) -> Result<(), ListError> {
        let asked_at = Instant::now();
        self.note_asked(asked_at);
        let index = self.clone();
        // In a task of its own, which goes on where this request gives up.
        let refreshing = tokio::spawn(async move { index.catch_up(asked_at, queue_age).await });
        match timeout(LONGEST_WAIT, refreshing).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(panicked)) => {
                Err(MessagingError::failed("read the records of tasks", panicked).into())
            }
            Err(_) => Err(ListError::Building),
        }
    }

    fn note_asked(&self, at: Instant) {
        let mut activity = self.inner.activity.lock();
        activity.asked_at = Some(at);
        if !std::mem::replace(&mut activity.is_following, true) {
            tokio::spawn(self.clone().follow());
        }
    }

    /// Reads changes until no lists have been asked for a while, and then drops the index.
    async fn follow(self) {
        loop {
            sleep(READ_EVERY).await;
            if self.stops_following() {
                return self.drop_entries().await;
            }
            if let Err(error) = self.catch_up(Instant::now(), READ_EVERY).await {
                tracing::debug!(%error, "cannot read the changes of records");
            }
        }
    }

    fn stops_following(&self) -> bool {
        let mut activity = self.inner.activity.lock();
        activity.is_following = activity.asked_at.is_some_and(|asked_at| asked_at.elapsed() < IDLE);
        !activity.is_following
    }

    async fn drop_entries(&self) {
        let mut position = self.inner.position.lock().await;
        let activity = self.inner.activity.lock();
        // A list has been asked for meanwhile.
        if activity.is_following {
            return;
        }
        *position = Position::new(self.inner.messaging.clone());
        *self.inner.entries.write() = Entries::default();
        *self.inner.queued.write() = QueuedJobs::default();
        tracing::info!("no lists are asked for: the index of tasks is dropped");
    }

    /// Reads what has changed, unless that was begun by another one after `asked_at`.
    async fn catch_up(&self, asked_at: Instant, queue_age: Duration) -> Result<(), MessagingError> {
        let mut position = self.inner.position.lock().await;
        if position.current_at.is_some_and(|current_at| current_at >= asked_at) {
            return Ok(());
        }
        let (begun_at, read_before) = (Instant::now(), self.records_read());
        // Before the records: a job that is not there any more has left a record.
        if self.inner.queued.read().is_older_than(queue_age) {
            let subjects = stored::list(&self.inner.messaging).await?;
            self.inner.queued.write().replace(subjects, begun_at);
        }
        let first_sequence = position.log.read_changes(|change| self.apply(change)).await?;
        if position.expired_at.elapsed() > EXPIRE_EVERY {
            self.inner.entries.write().expire(first_sequence);
            position.expired_at = Instant::now();
        }
        if position.current_at.is_none() {
            let (records, took) = (self.records_read() - read_before, begun_at.elapsed());
            tracing::info!(records, tasks = self.len(), ?took, "the index of tasks is built");
        }
        position.current_at = Some(begun_at);
        Ok(())
    }

    fn apply(&self, change: Change) {
        let mut entries = self.inner.entries.write();
        match change {
            Change::All => *entries = Entries::default(),
            Change::Record { id, sequence, payload } => {
                self.inner.read.fetch_add(1, Ordering::Relaxed);
                match indexed(id, &payload) {
                    Some(IndexedRecord { model, metadata, state, owner, .. }) => {
                        let (metadata, has_owner) = (metadata.as_ref(), owner.is_some());
                        let indexed = Indexed { model, metadata, state, has_owner };
                        entries.insert(id, sequence, indexed, self.inner.most);
                    }
                    None => entries.remove(id),
                }
            }
        }
    }
}

/// `None` for a record that was deleted, and for one that another program has written.
fn indexed(id: TaskId, payload: &Bytes) -> Option<IndexedRecord> {
    let record: IndexedRecord = serde_json::from_slice(payload).ok()?;
    (record.task_id == id).then_some(record)
}
