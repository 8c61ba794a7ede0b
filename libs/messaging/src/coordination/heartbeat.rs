//! Which model files the workers run: each says so again and again for as long as it lives.

use async_nats::jetstream::kv::{self, Operation};
use domain::{ModelName, Sha256Digest};
use futures_util::StreamExt;
use rand::{RngExt, distr::Alphanumeric};
use serde::{Deserialize, Serialize};
use tokio::{sync::OnceCell, time::timeout};

use crate::{
    Messaging, MessagingError,
    provision::names::{HEARTBEAT_BUCKET, HEARTBEAT_TTL},
};

/// What is stored of a worker.
#[derive(Debug, Serialize, Deserialize)]
struct StoredHeartbeat {
    model_digest: Sha256Digest,
}

/// What one worker says of its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatEvent {
    /// Which worker: a text that no other one has.
    pub worker: String,
    /// What its model comes to; `None` once it has stopped, or for a word that cannot be read.
    pub model_digest: Option<Sha256Digest>,
}

/// The workers' words on their models.
pub struct Heartbeats {
    messaging: Messaging,
    bucket: OnceCell<kv::Store>,
}

impl Heartbeats {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, bucket: OnceCell::new() }
    }

    /// What a worker says that runs `model`. Nothing is said yet.
    #[must_use]
    pub fn of_worker(self, model: &ModelName, model_digest: Sha256Digest) -> WorkerHeartbeat {
        let worker = rand::rng().sample_iter(Alphanumeric).take(22).map(char::from);
        let key = format!("{model}.{}", worker.collect::<String>());
        WorkerHeartbeat { announcements: self, key, announced: StoredHeartbeat { model_digest } }
    }

    /// Hands to `listener` what the workers that run `model` say: first what they said last, then
    /// what they say from now on. Returns when nothing more will come, or when nobody has said
    /// anything for [`HEARTBEAT_TTL`], which may mean the same.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; following them again is safe.
    pub async fn follow(
        &self,
        model: &ModelName,
        mut listener: impl FnMut(HeartbeatEvent),
    ) -> Result<(), MessagingError> {
        let what = "follow which model files the workers run";
        let watch = self.bucket().await?.watch_with_history(format!("{model}.*"));
        let mut entries = self.messaging.within(what, watch).await?;
        while let Ok(Some(entry)) = timeout(HEARTBEAT_TTL, entries.next()).await {
            let entry = entry.map_err(|error| MessagingError::failed(what, error))?;
            let announced: Option<StoredHeartbeat> = match entry.operation {
                Operation::Put => serde_json::from_slice(&entry.value).ok(),
                Operation::Delete | Operation::Purge => None,
            };
            let model_digest = announced.map(|announced| announced.model_digest);
            listener(HeartbeatEvent { worker: entry.key, model_digest });
        }
        Ok(())
    }

    async fn bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.messaging.jetstream().get_key_value(HEARTBEAT_BUCKET);
        let what = "open the bucket of the workers' models";
        self.messaging.within(what, self.bucket.get_or_try_init(open)).await
    }
}

/// One worker's word on its model, forgotten [`HEARTBEAT_TTL`] after it was given last.
pub struct WorkerHeartbeat {
    announcements: Heartbeats,
    key: String,
    announced: StoredHeartbeat,
}

impl WorkerHeartbeat {
    /// Says it, or says it again.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn renew(&self) -> Result<(), MessagingError> {
        let what = "announce a worker's model";
        let json = serde_json::to_vec(&self.announced)
            .map_err(|error| MessagingError::failed(what, error))?;
        let put = self.announcements.bucket().await?.put(&self.key, json.into());
        self.announcements.messaging.within(what, put).await.map(drop)
    }

    /// Takes it back: the worker has stopped.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then it is forgotten by itself.
    pub async fn withdraw(self) -> Result<(), MessagingError> {
        let delete = self.announcements.bucket().await?.delete(&self.key);
        self.announcements.messaging.within("take a worker's model back", delete).await
    }
}
