//! The records of tasks. A terminal record is never changed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation};
use bytes::Bytes;
use domain::{Job, TaskId, TaskRecord, TaskState};
use parking_lot::Mutex;
use service::lifecycle::failpoints;
use time::OffsetDateTime;
use tokio::time::sleep;

use super::{
    queued::SeenJobs,
    run::{BeginOutcome, FinishOutcome, RequeueReason, RunStart},
};
use crate::{
    Batches, Messaging, MessagingError, connection::refusal::is_overtaken,
    jobs::lane_progress::LaneProgress, provision::names::TASK_STREAM,
};

/// How often a write is attempted when other processes change the same record, or when a replica returns an
/// older one.
const WRITE_ATTEMPTS: u32 = 10;

/// How many of these attempts may time out.
const UNANSWERED: u32 = 2;

/// The delay before the next attempt; grows with each.
const WRITE_PAUSE: Duration = Duration::from_millis(10);

/// The records of tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TaskStore {
    pub(super) messaging: Messaging,
    /// What this process has read or written last of the records of tasks that it runs. It is most likely
    /// current, and need not be read before the next write.
    known: Arc<Mutex<HashMap<TaskId, Present>>>,
    pub(super) seen: Arc<Mutex<SeenJobs>>,
    pub(super) lanes: LaneProgress,
}

/// A task's record and its revision, or `None` if there is none.
pub(super) type Present = Option<(TaskRecord, u64)>;

/// A task's record and its revision, at the time of a read.
#[derive(Debug, Clone)]
pub struct Snapshot(Present);

impl Snapshot {
    /// Of a task that most likely has no record, without a read.
    #[must_use]
    pub fn unread() -> Self {
        Self(None)
    }

    /// The record; `None` if there is none.
    #[must_use]
    pub fn record(&self) -> Option<&TaskRecord> {
        self.0.as_ref().map(|(record, _)| record)
    }
}

/// The result of one attempt to write.
enum Written {
    /// The record, written now or present already, and its revision.
    Stored(TaskRecord, u64),
    /// The present record is terminal.
    AlreadyTerminal(TaskRecord),
    /// Another process wrote in between.
    Overtaken,
}

impl TaskStore {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self {
            messaging,
            known: Arc::default(),
            seen: Arc::default(),
            lanes: LaneProgress::default(),
        }
    }

    /// Whether there is a connection to the server, without which no record can be read.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.messaging.is_connected()
    }

    /// Stores the first record of a task, unless a fast worker has stored one already.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn create_queued(&self, record: &TaskRecord) -> Result<(), MessagingError> {
        self.create(record).await.map(drop)
    }

    /// Stores the record of a task that is terminal without a run, unless there is a record of it; returns
    /// whether it did.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn create_terminal(&self, record: &TaskRecord) -> Result<bool, MessagingError> {
        debug_assert!(record.state.is_terminal(), "the state is not terminal");
        let is_created = self.create(record).await?.is_some();
        if is_created {
            self.messaging.ended().count(&record.state);
            self.announce(record).await?;
        }
        Ok(is_created)
    }

    /// Stores that the end of this task counts for its batch, if it is of one, and is to be reported by a webhook, if its
    /// client wants that. Whoever stores a terminal record does so, and whoever finds one with a job. Twice is once, for
    /// the webhook within the stream's duplicate window.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn announce(&self, record: &TaskRecord) -> Result<(), MessagingError> {
        if record.state.is_terminal() {
            Batches::note_end(&self.messaging, record).await?;
            self.messaging.webhooks().announce(record).await?;
        }
        Ok(())
    }

    /// The record and its revision, for a worker that decides by it whether and how to run the job.
    ///
    /// # Errors
    /// As [`TaskStore::get`].
    pub async fn snapshot(&self, id: TaskId) -> Result<Snapshot, MessagingError> {
        self.current(id).await.map(Snapshot)
    }

    /// Stores that a run of the job has begun, and counts it as an attempt. The run's deadline is `lease`
    /// from now; see [`TaskStore::extend_run`]. Never changes a terminal record. The record is read again only
    /// if it has changed since `snapshot`.
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], [`MessagingError::Record`] or
    /// [`MessagingError::Contended`].
    pub async fn begin(
        &self,
        run: RunStart<'_>,
        snapshot: Snapshot,
        lease: Duration,
    ) -> Result<BeginOutcome, MessagingError> {
        let task_id = run.job.task_id;
        self.note_known(task_id, snapshot);
        // A retry of a write whose answer was lost finds its own record and must not count twice.
        let next = |present: Option<&TaskRecord>| match present {
            Some(record) if record.state.started_at() == Some(run.started_at) => record.clone(),
            present => run.record(present, lease),
        };
        Ok(match self.write(task_id, next).await? {
            Ok((record, revision)) => {
                self.known.lock().insert(task_id, Some((record.clone(), revision)));
                BeginOutcome::Begun(record)
            }
            Err(present) => BeginOutcome::AlreadyTerminal(present),
        })
    }

    /// Extends the deadline of a run to `lease` from now. Writes nothing if the record is terminal or of
    /// another run by now.
    ///
    /// # Errors
    /// As [`TaskStore::begin`].
    pub async fn extend_run(
        &self,
        begun: &TaskRecord,
        lease: Duration,
    ) -> Result<(), MessagingError> {
        let TaskState::Started { started_at, .. } = begun.state else { return Ok(()) };
        let run_deadline = Some(OffsetDateTime::now_utc() + lease);
        let extended = begun.with_state(TaskState::Started { started_at, run_deadline });
        let is_own = |present: &TaskRecord| {
            present.attempts == begun.attempts && present.state.started_at() == Some(started_at)
        };
        let next = |present: Option<&TaskRecord>| match present {
            Some(of_another_run) if !is_own(of_another_run) => of_another_run.clone(),
            Some(_) | None => extended.clone(),
        };
        let task_id = begun.job.task_id;
        match self.write(task_id, next).await? {
            Ok((record, revision)) if is_own(&record) => {
                self.known.lock().insert(task_id, Some((record, revision)));
            }
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    /// Stores that a job is queued again after its run has begun. Never changes a terminal record, nor that of a later
    /// run.
    ///
    /// # Errors
    /// As [`TaskStore::begin`].
    pub async fn requeue(
        &self,
        begun: &TaskRecord,
        reason: RequeueReason,
    ) -> Result<(), MessagingError> {
        let (attempts, released) = match reason {
            RequeueReason::RunFailed => (begun.attempts, false),
            RequeueReason::Released => (begun.attempts.saturating_sub(1), true),
        };
        let queued = TaskRecord { attempts, ..begun.with_state(TaskState::Queued { released }) };
        let next = |present: Option<&TaskRecord>| match present {
            // A second delivery has begun another run, which counts too.
            Some(of_later_run) if of_later_run.attempts > begun.attempts => of_later_run.clone(),
            Some(_) | None => queued.clone(),
        };
        let written = self.write(begun.job.task_id, next).await;
        self.known.lock().remove(&begun.job.task_id);
        written.map(drop)
    }

    /// Stores that the first delivery of a job was released before its run, so that the next one does not
    /// count it as a run. Changes nothing if a run of the job is stored.
    ///
    /// # Errors
    /// As [`TaskStore::begin`].
    pub(crate) async fn note_released(&self, job: &Job) -> Result<(), MessagingError> {
        let released = TaskState::Queued { released: true };
        let released = TaskRecord::queued(job.clone()).with_state(released);
        let next = |present: Option<&TaskRecord>| match present {
            Some(of_a_run) if of_a_run.attempts > 0 => of_a_run.clone(),
            Some(_) | None => released.clone(),
        };
        self.write(job.task_id, next).await.map(drop)
    }

    /// The record of a task that another process has ended; `None` if it has not, as far as the server that was asked
    /// knows. What this process knows of the task is forgotten.
    ///
    /// # Errors
    /// As [`TaskStore::get`].
    pub async fn ended_elsewhere(&self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        self.known.lock().remove(&id);
        let present = self.current(id).await?.map(|(record, _)| record);
        Ok(present.filter(|record| record.state.is_terminal()))
    }

    /// Notes the record on which the next write of this task is based, instead of a read.
    pub fn note_known(&self, id: TaskId, snapshot: Snapshot) {
        self.known.lock().insert(id, snapshot.0);
    }

    /// Stores a terminal record, unless there is one: the first one wins. Then announces it to the notifier.
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], [`MessagingError::Record`] or
    /// [`MessagingError::Contended`]. The record may be stored and not be announced: its job must stay in the queue.
    pub async fn finish(&self, record: &TaskRecord) -> Result<FinishOutcome, MessagingError> {
        debug_assert!(record.state.is_terminal(), "the state is not terminal");
        let written = self.write(record.job.task_id, |_| record.clone()).await;
        // An extension of the run whose answer came late may have stored it again.
        self.known.lock().remove(&record.job.task_id);
        let outcome = match written? {
            Ok(_) => FinishOutcome::Stored,
            // An earlier attempt was stored, and its answer was lost.
            Err(present) if present == *record => FinishOutcome::Stored,
            Err(present) => FinishOutcome::AlreadyTerminal(Box::new(present)),
        };
        if outcome == FinishOutcome::Stored {
            self.messaging.ended().count(&record.state);
            failpoints::reach("before-announce");
            self.announce(record).await?;
        }
        Ok(outcome)
    }

    /// Writes the record that `next` makes of the present one, by compare-and-set; nothing if they are equal.
    /// The outer `Ok` holds that record and its revision, or as `Err` the present record if that is terminal.
    async fn write(
        &self,
        id: TaskId,
        next: impl Fn(Option<&TaskRecord>) -> TaskRecord,
    ) -> Result<Result<(TaskRecord, u64), TaskRecord>, MessagingError> {
        let mut unanswered = 0;
        for attempt in 1..=WRITE_ATTEMPTS {
            match self.write_once(id, &next).await {
                Ok(Written::Stored(record, revision)) => return Ok(Ok((record, revision))),
                Ok(Written::AlreadyTerminal(present)) => return Ok(Err(present)),
                Ok(Written::Overtaken) => {}
                // A request on a connection that broke is never answered. A retry is safe: it finds the record
                // if that was stored after all.
                Err(MessagingError::Timeout { .. }) if unanswered < UNANSWERED => {
                    unanswered += 1;
                    let limit = self.messaging.config().request_timeout;
                    self.messaging.wait_until_connected(limit).await;
                }
                Err(error) => return Err(error),
            }
            sleep(WRITE_PAUSE * attempt).await;
        }
        Err(MessagingError::Contended { task_id: id, attempts: WRITE_ATTEMPTS })
    }

    async fn write_once(
        &self,
        id: TaskId,
        next: &impl Fn(Option<&TaskRecord>) -> TaskRecord,
    ) -> Result<Written, MessagingError> {
        // Removed: if it is outdated, the next attempt reads the record.
        let known = self.known.lock().remove(&id);
        let present = match known {
            Some(known) => known,
            None => self.current(id).await?,
        };
        if let Some((present, _)) = &present
            && present.state.is_terminal()
        {
            return Ok(Written::AlreadyTerminal(present.clone()));
        }
        let record = next(present.as_ref().map(|(record, _)| record));
        let stored = match present {
            Some((present, revision)) if present == record => Some(revision),
            Some((_, revision)) => self.update(&record, revision).await?,
            None => self.create(&record).await?,
        };
        Ok(match stored {
            Some(revision) => Written::Stored(record, revision),
            None => Written::Overtaken,
        })
    }

    /// The record and its revision, read from any server.
    pub(super) async fn current(&self, id: TaskId) -> Result<Present, MessagingError> {
        let bucket = self.messaging.task_bucket().await?;
        let entry =
            self.messaging.within("read a task's record", bucket.entry(id.to_string())).await?;
        let Some(entry) = entry else { return Ok(None) };
        Ok(parse(id, &entry)?.map(|record| (record, entry.revision)))
    }

    /// Its revision if it was stored; `None` if there is a record already.
    async fn create(&self, record: &TaskRecord) -> Result<Option<u64>, MessagingError> {
        let what = "store a task's first record";
        let bucket = self.messaging.task_bucket().await?;
        let create = bucket.create(record.job.task_id.to_string(), json(record)?);
        match self.messaging.within_write(what, TASK_STREAM, create).await? {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) if is_overtaken(&error) => Ok(None),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }

    /// Its new revision if it was stored; `None` if the record has changed since `revision`.
    async fn update(
        &self,
        record: &TaskRecord,
        revision: u64,
    ) -> Result<Option<u64>, MessagingError> {
        let what = "store a task's record";
        let bucket = self.messaging.task_bucket().await?;
        let update = bucket.update(record.job.task_id.to_string(), json(record)?, revision);
        match self.messaging.within_write(what, TASK_STREAM, update).await? {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if is_overtaken(&error) => Ok(None),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }
}

/// `None` for a deleted record.
fn parse(id: TaskId, entry: &Entry) -> Result<Option<TaskRecord>, MessagingError> {
    if entry.operation != Operation::Put {
        return Ok(None);
    }
    serde_json::from_slice(&entry.value)
        .map(Some)
        .map_err(|cause| MessagingError::Record { task_id: id, cause })
}

fn json(record: &TaskRecord) -> Result<Bytes, MessagingError> {
    serde_json::to_vec(record)
        .map(Bytes::from)
        .map_err(|cause| MessagingError::Record { task_id: record.job.task_id, cause })
}
