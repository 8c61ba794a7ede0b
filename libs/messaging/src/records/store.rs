//! The records of tasks. Once an end is stored, it stays.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_nats::jetstream::{
    kv::{CreateErrorKind, Entry, Operation},
    stream::LastRawMessageErrorKind,
};
use bytes::Bytes;
use domain::{Job, TaskId, TaskRecord, TaskState};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::{
    Messaging, MessagingError, connection::refusal::is_overtaken, provision::names::TASK_STREAM,
};

/// How often a write is tried against others that change the same record, or against a replica that
/// still answers with an older one.
const WRITE_ATTEMPTS: u32 = 10;

/// The pause before a write is tried again; grows with each attempt.
const WRITE_PAUSE: Duration = Duration::from_millis(10);

/// The most that is believed of how long a run may take. Records are not kept for so long.
const LONGEST_RUN_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many of these attempts may go unanswered.
const UNANSWERED: u32 = 2;

/// The records of tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TaskStore {
    pub(super) messaging: Messaging,
    /// The runs that this process has begun and not brought to an end: what it wrote is still there,
    /// most likely, and need not be read before the next write.
    begun: Arc<Mutex<HashMap<TaskId, (TaskRecord, u64)>>>,
}

/// A task's record as it was when a worker looked at it, and its place in the bucket.
#[derive(Debug, Clone)]
pub struct Snapshot(Option<(TaskRecord, u64)>);

impl Snapshot {
    /// The record; `None` if there was none.
    #[must_use]
    pub fn record(&self) -> Option<&TaskRecord> {
        self.0.as_ref().map(|(record, _)| record)
    }
}

/// What came of beginning a run.
#[derive(Debug, Clone, PartialEq)]
pub enum BeginOutcome {
    /// The task is STARTED; this is its record.
    Begun(TaskRecord),
    /// The task has come to this end already; nothing was written.
    AlreadyTerminal(TaskRecord),
}

/// Why a run that has begun goes back to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequeueReason {
    /// It failed and is to be tried again: the run counts.
    RunFailed,
    /// The worker was told to stop: the run does not count.
    Released,
}

/// What came of writing an end.
#[derive(Debug, Clone, PartialEq)]
pub enum FinishOutcome {
    /// It is stored, and final.
    Stored,
    /// Another end was first; nothing was written.
    AlreadyTerminal(Box<TaskRecord>),
}

/// What came of one attempt to write.
enum Written {
    /// What was written, and its revision.
    Stored(TaskRecord, u64),
    /// An end stands in the way.
    Ended(TaskRecord),
    /// Somebody else wrote in between.
    Overtaken,
}

impl TaskStore {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, begun: Arc::default() }
    }

    /// The newest record of a task, or `None` if there is none (any more).
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], or [`MessagingError::Record`] for a
    /// record of another program's making.
    pub async fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, MessagingError> {
        match self.current(id).await? {
            Some((record, _)) => Ok(Some(record)),
            // Any replica answers a read, also one that has not heard of the newest records yet. To
            // somebody who holds the id, "there is none" would be wrong, so the leader is asked.
            None if self.messaging.config().replicas > 1 => self.get_from_leader(id).await,
            None => Ok(None),
        }
    }

    /// As [`TaskStore::get`], and never an older record than the newest.
    pub(crate) async fn get_from_leader(
        &self,
        id: TaskId,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        let what = "read a task's record from the leader";
        let bucket = self.messaging.task_bucket().await?;
        let subject = format!("$KV.{}.{id}", bucket.name);
        let stream = self.messaging.jetstream().get_stream_no_info(&bucket.stream_name);
        let stream = self.messaging.within(what, stream).await?;
        let message = stream.get_last_raw_message_by_subject(&subject);
        match self.messaging.within_timeout(what, message).await? {
            // What marks a deletion has no body.
            Ok(message) if message.payload.is_empty() => Ok(None),
            Ok(message) => serde_json::from_slice(&message.payload)
                .map(Some)
                .map_err(|cause| MessagingError::Record { task_id: id, cause }),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }

    /// Stores the first record of a task. If there is one already, a fast worker was there before:
    /// it stays, and that is fine.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn create_queued(&self, record: &TaskRecord) -> Result<(), MessagingError> {
        self.create(record).await.map(drop)
    }

    /// Stores a task that has come to its end without a run, unless there is a record of it; tells
    /// whether it did.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn create_terminal(&self, record: &TaskRecord) -> Result<bool, MessagingError> {
        debug_assert!(record.state.is_terminal(), "a state on the way is no end");
        Ok(self.create(record).await?.is_some())
    }

    /// The record as it is now, for a worker that decides by it whether and how to run the job.
    ///
    /// # Errors
    /// As [`TaskStore::get`].
    pub async fn snapshot(&self, id: TaskId) -> Result<Snapshot, MessagingError> {
        self.current(id).await.map(Snapshot)
    }

    /// Stores that a run of the job begins now, and counts it; its record names no deadline of the run.
    /// Never touches a terminal record.
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], [`MessagingError::Record`] or
    /// [`MessagingError::Contended`].
    pub async fn begin(&self, job: &Job) -> Result<BeginOutcome, MessagingError> {
        let snapshot = self.snapshot(job.task_id).await?;
        self.begin_at(job, snapshot, OffsetDateTime::now_utc(), None).await
    }

    /// As [`TaskStore::begin`], for a run that may take `longest_run` and that others take to be under
    /// way for as long; see [`TaskStore::extend_run`]. The record is read again only if it has changed
    /// since `snapshot`.
    ///
    /// # Errors
    /// As [`TaskStore::begin`].
    pub async fn begin_from(
        &self,
        job: &Job,
        snapshot: Snapshot,
        longest_run: Duration,
    ) -> Result<BeginOutcome, MessagingError> {
        let now = OffsetDateTime::now_utc();
        self.begin_at(job, snapshot, now, Some(run_deadline(now, longest_run))).await
    }

    async fn begin_at(
        &self,
        job: &Job,
        snapshot: Snapshot,
        started_at: OffsetDateTime,
        run_deadline: Option<OffsetDateTime>,
    ) -> Result<BeginOutcome, MessagingError> {
        if let Snapshot(Some(present)) = snapshot {
            self.begun.lock().insert(job.task_id, present);
        }
        let started = TaskState::Started { started_at, run_deadline };
        let begun = |attempts: u32| TaskRecord {
            job: job.clone(),
            attempts: attempts.saturating_add(1),
            state: started.clone(),
        };
        // An attempt whose answer was lost finds its own record and must not count twice.
        let next = |present: Option<&TaskRecord>| match present {
            Some(record) if record.state == started => record.clone(),
            Some(record) => begun(record.attempts),
            None => begun(0),
        };
        Ok(match self.write(job.task_id, next).await? {
            Ok((record, revision)) => {
                self.begun.lock().insert(job.task_id, (record.clone(), revision));
                BeginOutcome::Begun(record)
            }
            Err(end) => BeginOutcome::AlreadyTerminal(end),
        })
    }

    /// Stores that a begun run goes on and may take `longest_run` from now, unless its record is of
    /// another run or terminal by now.
    ///
    /// # Errors
    /// As [`TaskStore::begin`].
    pub async fn extend_run(
        &self,
        begun: &TaskRecord,
        longest_run: Duration,
    ) -> Result<(), MessagingError> {
        let deadline = run_deadline(OffsetDateTime::now_utc(), longest_run);
        let own_start = begun.state.started_at();
        let next = |present: Option<&TaskRecord>| match present {
            Some(TaskRecord { job, attempts, state: TaskState::Started { started_at, .. } })
                if Some(*started_at) == own_start =>
            {
                let (started_at, run_deadline) = (*started_at, Some(deadline));
                let state = TaskState::Started { started_at, run_deadline };
                TaskRecord { job: job.clone(), attempts: *attempts, state }
            }
            Some(of_another_run) => of_another_run.clone(),
            None => begun.clone(),
        };
        let task_id = begun.job.task_id;
        if let Ok((record, revision)) = self.write(task_id, next).await? {
            self.begun.lock().insert(task_id, (record, revision));
        }
        Ok(())
    }

    /// Stores that a begun run goes back to the queue. Never touches an end.
    ///
    /// # Errors
    /// As [`TaskStore::begin`].
    pub async fn requeue(
        &self,
        begun: &TaskRecord,
        reason: RequeueReason,
    ) -> Result<(), MessagingError> {
        let attempts = match reason {
            RequeueReason::RunFailed => begun.attempts,
            RequeueReason::Released => begun.attempts.saturating_sub(1),
        };
        let queued = TaskRecord { attempts, ..begun.with_state(TaskState::Queued) };
        self.write(begun.job.task_id, |_| queued.clone()).await.map(drop)
    }

    /// Stores the end of a task, unless it has come to one already: the first one stored wins.
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], [`MessagingError::Record`] or
    /// [`MessagingError::Contended`].
    pub async fn finish(&self, record: &TaskRecord) -> Result<FinishOutcome, MessagingError> {
        debug_assert!(record.state.is_terminal(), "a state on the way is no end");
        Ok(match self.write(record.job.task_id, |_| record.clone()).await? {
            Ok(_) => FinishOutcome::Stored,
            // The answer to an earlier attempt was lost, the attempt itself was not.
            Err(end) if end == *record => FinishOutcome::Stored,
            Err(end) => FinishOutcome::AlreadyTerminal(Box::new(end)),
        })
    }

    /// Writes what `next` makes of the present record, by compare-and-set. The outer `Ok` holds what
    /// was written and its revision, or as `Err` the end that stands in the way.
    async fn write(
        &self,
        id: TaskId,
        next: impl Fn(Option<&TaskRecord>) -> TaskRecord,
    ) -> Result<Result<(TaskRecord, u64), TaskRecord>, MessagingError> {
        let mut unanswered = 0;
        for attempt in 1..=WRITE_ATTEMPTS {
            match self.write_once(id, &next).await {
                Ok(Written::Stored(record, revision)) => return Ok(Ok((record, revision))),
                Ok(Written::Ended(end)) => return Ok(Err(end)),
                Ok(Written::Overtaken) => {}
                // What was asked on a connection that broke is never answered. Asking again is safe:
                // if it was stored after all, that is seen now.
                Err(MessagingError::Timeout { .. }) if unanswered < UNANSWERED => {
                    unanswered += 1;
                    let patience = self.messaging.config().request_timeout;
                    self.messaging.wait_until_connected(patience).await;
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
        // Taken out: if it is not what is there any more, the next attempt reads.
        let own = self.begun.lock().remove(&id);
        let present = match own {
            Some(own) => Some(own),
            None => self.current(id).await?,
        };
        if let Some((present, _)) = &present
            && present.state.is_terminal()
        {
            return Ok(Written::Ended(present.clone()));
        }
        let record = next(present.as_ref().map(|(record, _)| record));
        let stored = match present {
            Some((_, revision)) => self.update(&record, revision).await?,
            None => self.create(&record).await?,
        };
        Ok(match stored {
            Some(revision) => Written::Stored(record, revision),
            None => Written::Overtaken,
        })
    }

    /// The record and its revision, read from whichever server is near.
    async fn current(&self, id: TaskId) -> Result<Option<(TaskRecord, u64)>, MessagingError> {
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

/// When a run is over that may take `longest_run` from `now`.
fn run_deadline(now: OffsetDateTime, longest_run: Duration) -> OffsetDateTime {
    now + longest_run.min(LONGEST_RUN_LIMIT)
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
