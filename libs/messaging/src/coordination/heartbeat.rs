//! The heartbeats of the workers: each reports which model file it runs, for as long as it lives.

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

/// The stored form of a heartbeat.
#[derive(Debug, Serialize, Deserialize)]
struct StoredHeartbeat {
    model_digest: Sha256Digest,
}

/// A heartbeat of a worker, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatEvent {
    /// A unique name of the worker.
    pub worker: String,
    /// The digest of its model; `None` once it has stopped, or if the heartbeat cannot be parsed.
    pub model_digest: Option<Sha256Digest>,
}

/// The heartbeats of all workers.
pub struct Heartbeats {
    messaging: Messaging,
    bucket: OnceCell<kv::Store>,
}

impl Heartbeats {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, bucket: OnceCell::new() }
    }

    /// The heartbeat of a worker that runs `model`. Nothing is sent yet.
    #[must_use]
    pub fn of_worker(self, model: &ModelName, model_digest: Sha256Digest) -> WorkerHeartbeat {
        let worker = rand::rng().sample_iter(Alphanumeric).take(22).map(char::from);
        let key = format!("{model}.{}", worker.collect::<String>());
        WorkerHeartbeat { heartbeats: self, key, heartbeat: StoredHeartbeat { model_digest } }
    }

    /// Passes the heartbeats of the workers that run `model` to `listener`: first the newest of each, then
    /// new ones. Returns when the watch ends, or after [`HEARTBEAT_TTL`] without a heartbeat, since a broken
    /// watch looks like that.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; watching again is safe.
    pub async fn follow(
        &self,
        model: &ModelName,
        mut listener: impl FnMut(HeartbeatEvent),
    ) -> Result<(), MessagingError> {
        let what = "watch the heartbeats of the workers";
        let watch = self.bucket().await?.watch_with_history(format!("{model}.*"));
        let mut entries = self.messaging.within(what, watch).await?;
        while let Ok(Some(entry)) = timeout(HEARTBEAT_TTL, entries.next()).await {
            let entry = entry.map_err(|error| MessagingError::failed(what, error))?;
            let heartbeat: Option<StoredHeartbeat> = match entry.operation {
                Operation::Put => serde_json::from_slice(&entry.value).ok(),
                Operation::Delete | Operation::Purge => None,
            };
            let model_digest = heartbeat.map(|heartbeat| heartbeat.model_digest);
            listener(HeartbeatEvent { worker: entry.key, model_digest });
        }
        Ok(())
    }

    async fn bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.messaging.jetstream().get_key_value(HEARTBEAT_BUCKET);
        let what = "open the bucket of heartbeats";
        self.messaging.within(what, self.bucket.get_or_try_init(open)).await
    }
}

/// The heartbeat of one worker. It expires [`HEARTBEAT_TTL`] after it was sent last.
pub struct WorkerHeartbeat {
    heartbeats: Heartbeats,
    key: String,
    heartbeat: StoredHeartbeat,
}

impl WorkerHeartbeat {
    /// Sends the heartbeat, for the first time or again.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn renew(&self) -> Result<(), MessagingError> {
        let what = "send a heartbeat";
        let json = serde_json::to_vec(&self.heartbeat)
            .map_err(|error| MessagingError::failed(what, error))?;
        let put = self.heartbeats.bucket().await?.put(&self.key, json.into());
        self.heartbeats.messaging.within(what, put).await.map(drop)
    }

    /// Deletes the heartbeat: the worker has stopped.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then it expires.
    pub async fn withdraw(self) -> Result<(), MessagingError> {
        let delete = self.heartbeats.bucket().await?.delete(&self.key);
        self.heartbeats.messaging.within("delete a heartbeat", delete).await
    }
}
