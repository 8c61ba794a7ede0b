//! The records of tasks that are not terminal, kept current by reading changes.

use std::collections::HashMap;

use bytes::Bytes;
use domain::{TaskId, TaskRecord};

use crate::{
    Messaging, MessagingError,
    record_log::{Change, RecordLog},
};

/// All records that are not terminal, as of the last update.
pub(super) struct Ledger {
    log: RecordLog,
    open: HashMap<TaskId, Entry>,
    /// The subjects of jobs that were in the queue without a record of their task, until one is read.
    unrecorded: HashMap<TaskId, String>,
}

struct Entry {
    record: TaskRecord,
    sequence: u64,
}

impl Ledger {
    pub(super) fn new(messaging: Messaging) -> Self {
        Self { log: RecordLog::new(messaging), open: HashMap::new(), unrecorded: HashMap::new() }
    }

    /// Reads the changes since the last update.
    pub(super) async fn catch_up(&mut self) -> Result<(), MessagingError> {
        let Self { log, open, unrecorded } = self;
        let changes = log.read_changes(|change| match change {
            Change::All => open.clear(),
            Change::Record { id, sequence, payload } => {
                unrecorded.remove(&id);
                match open_record(id, &payload) {
                    Some(record) => open.insert(id, Entry { record, sequence }),
                    None => open.remove(&id),
                };
            }
        });
        let first_sequence = changes.await?;
        // Expired and purged records show only by the first sequence: the oldest go first.
        self.open.retain(|_, entry| entry.sequence >= first_sequence);
        Ok(())
    }

    pub(super) fn ids(&self) -> Vec<TaskId> {
        self.open.keys().copied().collect()
    }

    pub(super) fn contains(&self, id: TaskId) -> bool {
        self.open.contains_key(&id)
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&TaskRecord> {
        self.open.get(&id).map(|entry| &entry.record)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &TaskRecord> {
        self.open.values().map(|entry| &entry.record)
    }

    /// Notes jobs in the queue whose tasks have no record.
    pub(super) fn note_unrecorded(&mut self, jobs: impl IntoIterator<Item = (TaskId, String)>) {
        self.unrecorded.extend(jobs);
    }

    /// The jobs noted, and their subjects, of whose tasks no record has been read since.
    pub(super) fn unrecorded(&self) -> impl Iterator<Item = (TaskId, &str)> {
        self.unrecorded.iter().map(|(id, subject)| (*id, subject.as_str()))
    }

    /// Removes a task that is terminal or gone.
    pub(super) fn remove(&mut self, id: TaskId) {
        self.open.remove(&id);
        self.unrecorded.remove(&id);
    }
}

/// `None` for a task that is terminal or gone.
fn open_record(id: TaskId, payload: &Bytes) -> Option<TaskRecord> {
    // A deletion marker has no payload.
    if payload.is_empty() {
        return None;
    }
    match serde_json::from_slice::<TaskRecord>(payload) {
        Ok(record) if record.job.task_id == id && !record.state.is_terminal() => Some(record),
        Ok(_) => None,
        // Written by another program. Readers of this task get an error.
        Err(error) => {
            tracing::debug!(task_id = %id, %error, "a record cannot be read");
            None
        }
    }
}
