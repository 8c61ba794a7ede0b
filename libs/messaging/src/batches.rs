//! Batches: the record of each, what became of its pictures, and which have not ended.
//!
//! All of it is in one bucket, under these keys:
//!
//! | key | value |
//! |---|---|
//! | `<batch>.head` | the record of the batch, changed by compare-and-set |
//! | `<batch>.open` | nothing; deleted when the end of the batch has been reported |
//! | `<batch>.<index>.<outcome>` | nothing, or why the picture was refused |
//!
//! Which pictures have ended, and how, is in the keys: the server's index of subjects counts them without reading a
//! value. Whoever stores a terminal record stores the outcome before the job is deleted ([`crate::TaskStore::finish`]); to
//! store it again changes nothing. The API that ends batches ([`Batches::open`]) finds outcomes that are missing all the
//! same by the records of the tasks, whose ids follow from that of the batch.

mod changes;
mod keys;
mod list;
mod outcomes;

use std::sync::Arc;

use async_nats::jetstream::{
    kv::{self, CreateErrorKind, Operation},
    stream::Stream,
};
use bytes::Bytes;
use domain::{BatchId, BatchItem, BatchRecord, ItemOutcome, ItemRefusal, TaskRecord};
use tokio::sync::OnceCell;

use self::keys::{OPEN, head, id_of, outcome_key, subject};
pub use self::{
    changes::{BatchChange, BatchChanges},
    list::BatchPage,
    outcomes::Outcomes,
};
use crate::{
    Messaging, MessagingError,
    connection::refusal::is_overtaken,
    provision::names::{BATCH_BUCKET, BATCH_STREAM},
    stream_subjects,
};

/// A version of a batch's record, for a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRevision(u64);

/// The batches. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Batches {
    messaging: Messaging,
    bucket: Arc<OnceCell<kv::Store>>,
}

impl Batches {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, bucket: Arc::default() }
    }

    /// Stores the record of a new batch, unless there is one of this id: then `None`.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then it may be stored.
    pub async fn create(
        &self,
        record: &BatchRecord,
    ) -> Result<Option<BatchRevision>, MessagingError> {
        // First: a batch that nobody knows to be open would never end. One without a record is forgotten.
        self.mark_open(record.batch_id).await?;
        let what = "store the record of a batch";
        let create = self.bucket().await?.create(head(record.batch_id), json(record)?);
        match self.messaging.within_write(what, BATCH_STREAM, create).await? {
            Ok(revision) => Ok(Some(BatchRevision(revision))),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) if is_overtaken(&error) => Ok(None),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }

    /// Its new revision if it was stored; `None` if the record has changed since `revision`.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then it may be stored.
    pub async fn update(
        &self,
        record: &BatchRecord,
        revision: BatchRevision,
    ) -> Result<Option<BatchRevision>, MessagingError> {
        let what = "store the record of a batch";
        let update = self.bucket().await?.update(head(record.batch_id), json(record)?, revision.0);
        match self.messaging.within_write(what, BATCH_STREAM, update).await? {
            Ok(revision) => Ok(Some(BatchRevision(revision))),
            Err(error) if is_overtaken(&error) => Ok(None),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }

    /// The record of a batch, from the leader; `None` if there is none (any more).
    ///
    /// # Errors
    /// [`MessagingError::Failed`], [`MessagingError::Timeout`], or [`MessagingError::Record`] for a record that cannot be
    /// parsed.
    pub async fn get(
        &self,
        id: BatchId,
    ) -> Result<Option<(BatchRecord, BatchRevision)>, MessagingError> {
        let Some(entry) = self.entry(head(id)).await? else { return Ok(None) };
        let record = serde_json::from_slice(&entry.value)
            .map_err(|cause| MessagingError::Record { task_id: id.uuid(), cause })?;
        Ok(Some((record, BatchRevision(entry.revision))))
    }

    /// Notes that a batch has not ended.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn mark_open(&self, id: BatchId) -> Result<(), MessagingError> {
        put(&self.messaging, &format!("{id}.{OPEN}"), Bytes::new()).await
    }

    /// The batches whose end has not been reported.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn open(&self) -> Result<Vec<BatchId>, MessagingError> {
        let keys = keys(&self.messaging, "list the open batches", &format!("*.{OPEN}")).await?;
        Ok(keys.iter().filter_map(|key| id_of(key)).collect())
    }

    /// Notes that the end of a batch has been reported.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn close(&self, id: BatchId) -> Result<(), MessagingError> {
        self.remove(&format!("{id}.{OPEN}")).await
    }

    async fn remove(&self, key: &str) -> Result<(), MessagingError> {
        let what = "delete what is stored of a batch";
        let stream = stream(&self.messaging, what).await?;
        // A purge leaves no deletion marker behind.
        let purge = stream.purge().filter(subject(key));
        self.messaging.within(what, purge.into_future()).await.map(drop)
    }

    /// Stores that a picture was refused.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn note_refused(
        &self,
        item: BatchItem,
        refusal: &ItemRefusal,
    ) -> Result<(), MessagingError> {
        let task_id = item.batch_id.uuid();
        let value = serde_json::to_vec(refusal)
            .map_err(|cause| MessagingError::Record { task_id, cause })?;
        put(&self.messaging, &outcome_key(item, ItemOutcome::Refused), value.into()).await
    }

    /// Why a picture was refused; `None` if it was not.
    ///
    /// # Errors
    /// As [`Batches::get`].
    pub async fn refusal(&self, item: BatchItem) -> Result<Option<ItemRefusal>, MessagingError> {
        let entry = self.entry(outcome_key(item, ItemOutcome::Refused)).await?;
        let read = entry.map(|entry| serde_json::from_slice(&entry.value)).transpose();
        read.map_err(|cause| MessagingError::Record { task_id: item.batch_id.uuid(), cause })
    }

    /// Forgets that a picture was refused, as it has been accepted after all.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn forget_refusal(&self, item: BatchItem) -> Result<(), MessagingError> {
        self.remove(&outcome_key(item, ItemOutcome::Refused)).await
    }

    /// Stores how a task has ended.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn note_outcome(
        &self,
        item: BatchItem,
        outcome: ItemOutcome,
    ) -> Result<(), MessagingError> {
        put(&self.messaging, &outcome_key(item, outcome), Bytes::new()).await
    }

    /// The same for the task of this record, if it is terminal and of a batch.
    pub(crate) async fn note_end(
        messaging: &Messaging,
        record: &TaskRecord,
    ) -> Result<(), MessagingError> {
        let (Some(item), Some(outcome)) = (record.job.batch, ItemOutcome::of(&record.state)) else {
            return Ok(());
        };
        put(messaging, &outcome_key(item, outcome), Bytes::new()).await
    }

    /// What became of the pictures of a batch, as far as it is stored.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn outcomes(&self, id: BatchId) -> Result<Outcomes, MessagingError> {
        let what = "read the outcomes of a batch";
        let keys = keys(&self.messaging, what, &format!("{id}.*.*")).await?;
        Ok(keys.iter().filter_map(|key| outcomes::parse(key)).collect())
    }

    /// What happens to a batch from now on.
    ///
    /// # Errors
    /// [`MessagingError::Failed`].
    pub async fn follow(&self, id: BatchId) -> Result<BatchChanges, MessagingError> {
        BatchChanges::of(&self.messaging, id).await
    }

    async fn entry(&self, key: String) -> Result<Option<kv::Entry>, MessagingError> {
        let what = "read of a batch";
        let entry = self.messaging.within(what, self.bucket().await?.entry(key)).await?;
        Ok(entry.filter(|entry| entry.operation == Operation::Put))
    }

    async fn bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.messaging.jetstream().get_key_value(BATCH_BUCKET);
        self.messaging.within("open the bucket of batches", self.bucket.get_or_try_init(open)).await
    }
}

fn json(record: &BatchRecord) -> Result<Bytes, MessagingError> {
    serde_json::to_vec(record)
        .map(Bytes::from)
        .map_err(|cause| MessagingError::Record { task_id: record.batch_id.uuid(), cause })
}

/// Without opening the bucket, which a worker need not be able to do.
async fn put(messaging: &Messaging, key: &str, value: Bytes) -> Result<(), MessagingError> {
    let what = "store what became of a picture of a batch";
    let publish = async { messaging.jetstream().publish(subject(key), value).await?.await };
    let stored = messaging.within_write(what, BATCH_STREAM, publish).await?;
    stored.map(drop).map_err(|error| MessagingError::failed(what, error))
}

/// The keys that match `filter`, from the leader's index.
async fn keys(
    messaging: &Messaging,
    what: &'static str,
    filter: &str,
) -> Result<Vec<String>, MessagingError> {
    let subjects = stream_subjects::list(messaging, what, BATCH_STREAM, subject(filter)).await?;
    let prefix = subject("");
    Ok(subjects.iter().filter_map(|key| key.strip_prefix(&prefix).map(str::to_owned)).collect())
}

async fn stream(messaging: &Messaging, what: &'static str) -> Result<Stream<()>, MessagingError> {
    messaging.within(what, messaging.jetstream().get_stream_no_info(BATCH_STREAM)).await
}
