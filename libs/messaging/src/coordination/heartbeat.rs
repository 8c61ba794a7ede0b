//! The heartbeats of the workers: each reports which models it serves, for as long as it lives.

use async_nats::jetstream::kv::{self, Entry, Operation};
use domain::{ModelName, Sha256Digest};
use futures_util::StreamExt;
use rand::{RngExt, distr::Alphanumeric};
use serde::{Deserialize, Serialize};
use tokio::{sync::OnceCell, time::timeout};

use crate::{
    Messaging, MessagingError,
    provision::names::{HEARTBEAT_BUCKET, HEARTBEAT_TTL},
};

/// What a worker reports of a model that it serves. A worker of an older version reports the digest only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The digest of the version that it runs.
    pub model_digest: Sha256Digest,
    /// The name of the worker, as in the records of its runs.
    #[serde(default)]
    pub worker: Option<String>,
    /// Whether the model is in memory. If not, the next job has to wait until it is.
    #[serde(default)]
    pub in_memory: Option<bool>,
    /// How many pictures the worker has run with it.
    #[serde(default)]
    pub runs: u64,
    /// The mean time of the last runs, in milliseconds.
    #[serde(default)]
    pub mean_ms: Option<f32>,
    /// The 95th percentile of these times, in milliseconds.
    #[serde(default)]
    pub p95_ms: Option<f32>,
}

impl ModelReport {
    /// A report of the version only.
    #[must_use]
    pub fn of_version(model_digest: Sha256Digest) -> Self {
        Self { model_digest, worker: None, in_memory: None, runs: 0, mean_ms: None, p95_ms: None }
    }
}

/// A heartbeat of a worker, or its end.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatEvent {
    /// The model that it is about.
    pub model: ModelName,
    /// A unique name of the worker.
    pub worker: String,
    /// What it reports; `None` once it has stopped, or if the heartbeat cannot be parsed.
    pub report: Option<ModelReport>,
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

    /// The heartbeats of a worker, one for each model that it serves. Nothing is sent yet.
    #[must_use]
    pub fn of_worker(self) -> WorkerHeartbeats {
        let worker = rand::rng().sample_iter(Alphanumeric).take(22).map(char::from).collect();
        WorkerHeartbeats { heartbeats: self, worker }
    }

    /// Passes the heartbeats of all workers to `listener`: first the newest of each, then new ones. Returns when
    /// the watch ends, or after [`HEARTBEAT_TTL`] without a heartbeat, since a broken watch looks like that.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; watching again is safe.
    pub async fn follow(
        &self,
        mut listener: impl FnMut(HeartbeatEvent),
    ) -> Result<(), MessagingError> {
        let what = "watch the heartbeats of the workers";
        let watch = self.bucket().await?.watch_with_history("*.*");
        let mut entries = self.messaging.within(what, watch).await?;
        while let Ok(Some(entry)) = timeout(HEARTBEAT_TTL, entries.next()).await {
            let entry = entry.map_err(|error| MessagingError::failed(what, error))?;
            if let Some(event) = event(&entry) {
                listener(event);
            }
        }
        Ok(())
    }

    async fn bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.messaging.jetstream().get_key_value(HEARTBEAT_BUCKET);
        let what = "open the bucket of heartbeats";
        self.messaging.within(what, self.bucket.get_or_try_init(open)).await
    }
}

/// `None` for an entry that no worker has written.
fn event(entry: &Entry) -> Option<HeartbeatEvent> {
    let (model, worker) = entry.key.split_once('.')?;
    let report = match entry.operation {
        Operation::Put => serde_json::from_slice(&entry.value).ok(),
        Operation::Delete | Operation::Purge => None,
    };
    Some(HeartbeatEvent { model: model.parse().ok()?, worker: worker.to_owned(), report })
}

/// The heartbeats of one worker. Each expires [`HEARTBEAT_TTL`] after it was sent last.
pub struct WorkerHeartbeats {
    heartbeats: Heartbeats,
    /// A unique name, as a part of keys.
    worker: String,
}

impl WorkerHeartbeats {
    /// Sends the heartbeat of `model`, for the first time or again.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn renew(
        &self,
        model: &ModelName,
        report: &ModelReport,
    ) -> Result<(), MessagingError> {
        let what = "send a heartbeat";
        let json =
            serde_json::to_vec(report).map_err(|error| MessagingError::failed(what, error))?;
        let put = self.heartbeats.bucket().await?.put(self.key(model), json.into());
        self.heartbeats.messaging.within(what, put).await.map(drop)
    }

    /// Deletes the heartbeat of `model`: the worker has stopped, or serves it no longer.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then it expires.
    pub async fn withdraw(&self, model: &ModelName) -> Result<(), MessagingError> {
        let delete = self.heartbeats.bucket().await?.delete(self.key(model));
        self.heartbeats.messaging.within("delete a heartbeat", delete).await
    }

    fn key(&self, model: &ModelName) -> String {
        format!("{model}.{}", self.worker)
    }
}
