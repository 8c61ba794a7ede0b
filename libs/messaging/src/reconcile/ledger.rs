//! The records of tasks that are not terminal, kept current by reading changes.

use std::collections::HashMap;

use async_nats::jetstream::stream::State;
use domain::{TaskId, TaskRecord};
use time::OffsetDateTime;

use crate::{
    Messaging, MessagingError,
    provision::names::{TASK_BUCKET, TASK_STREAM},
    stream_range::{self, Payloads, Stored, StreamRange},
};

/// How many records are read at a time.
const PAGE: usize = 1000;

/// All records that are not terminal, as of the last update. Each change of a record is read once, and the
/// bucket keeps one value for each key, so an update costs what has changed since the last one.
pub(super) struct Ledger {
    messaging: Messaging,
    /// When the bucket was created.
    created_at: Option<OffsetDateTime>,
    /// The last sequence that was read.
    read_to: u64,
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
        Self {
            messaging,
            created_at: None,
            read_to: 0,
            open: HashMap::new(),
            unrecorded: HashMap::new(),
        }
    }

    /// Reads the changes since the last update.
    pub(super) async fn catch_up(&mut self) -> Result<(), MessagingError> {
        let what = "ask for the state of the task records";
        let jetstream = self.messaging.jetstream();
        let stream = self.messaging.within(what, jetstream.get_stream_no_info(TASK_STREAM)).await?;
        let info = self.messaging.within(what, stream.get_info()).await?;
        if self.created_at != Some(info.created) || info.state.last_sequence < self.read_to {
            // A new bucket, or an older state of it after a restore or a crash.
            self.open.clear();
            self.read_to = 0;
            self.created_at = Some(info.created);
        }
        self.read_up_to(&info.state).await?;
        // Expired and purged records show only by the first sequence: the oldest go first.
        self.open.retain(|_, entry| entry.sequence >= info.state.first_sequence);
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

    async fn read_up_to(&mut self, state: &State) -> Result<(), MessagingError> {
        self.read_to = self.read_to.max(state.first_sequence.saturating_sub(1));
        while self.read_to < state.last_sequence {
            let range = StreamRange {
                stream: TASK_STREAM,
                subject: format!("$KV.{TASK_BUCKET}.>"),
                from: self.read_to + 1,
                most: PAGE,
                payloads: Payloads::Read,
            };
            let page = stream_range::read(&self.messaging, &range).await?;
            // A lagging replica has fewer; the next update reads the rest.
            let Some(last) = page.last() else { return Ok(()) };
            self.read_to = last.sequence;
            for stored in page {
                self.apply(stored);
            }
        }
        Ok(())
    }

    fn apply(&mut self, stored: Stored) {
        let Stored { sequence, message, .. } = stored;
        let key = message.subject.rsplit('.').next().unwrap_or_default();
        let Ok(id) = key.parse::<TaskId>() else { return };
        self.remove(id);
        // A deletion marker has no payload.
        if message.payload.is_empty() {
            return;
        }
        match serde_json::from_slice::<TaskRecord>(&message.payload) {
            Ok(record) if record.job.task_id == id && !record.state.is_terminal() => {
                self.open.insert(id, Entry { record, sequence });
            }
            Ok(_) => {}
            // Written by another program. Readers of this task get an error.
            Err(error) => tracing::debug!(task_id = %id, %error, "a record cannot be read"),
        }
    }
}
