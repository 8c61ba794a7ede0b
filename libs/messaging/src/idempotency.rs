//! Which task a client's idempotency key stands for: a record made once and never changed.

use std::sync::Arc;

use async_nats::jetstream::kv::{self, CreateErrorKind};
use domain::TaskId;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{Messaging, MessagingError, layout::IDEMPOTENCY_BUCKET};

/// The record of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The task that the key stands for.
    pub task_id: TaskId,
    /// What was submitted under the key, as a digest. The same key with something else is a mistake
    /// of the client's.
    pub fingerprint: String,
}

/// The keys that clients have used, for as long as results are kept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct IdempotencyKeys {
    messaging: Messaging,
    bucket: Arc<OnceCell<kv::Store>>,
}

impl IdempotencyKeys {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, bucket: Arc::default() }
    }

    /// Claims `key` (letters, digits, `-`, `_`; a digest of the client's own key) and returns the
    /// claim that holds: `claim` itself for the first to come, the first one's for everybody after.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; claiming again is safe.
    pub async fn claim(&self, key: &str, claim: &Claim) -> Result<Claim, MessagingError> {
        let what = "claim an idempotency key";
        let json = serde_json::to_vec(claim)
            .map_err(|cause| MessagingError::Record { task_id: claim.task_id, cause })?;
        let jetstream = self.messaging.jetstream();
        let open = self.bucket.get_or_try_init(|| jetstream.get_key_value(IDEMPOTENCY_BUCKET));
        let bucket = self.messaging.within(what, open).await?;
        let create = bucket.create(key, json.into());
        match self.messaging.within_timeout(what, create).await? {
            Ok(_) => return Ok(claim.clone()),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(MessagingError::failed(what, error)),
        }
        match self.messaging.within(what, bucket.get(key)).await? {
            Some(json) => serde_json::from_slice(&json)
                .map_err(|cause| MessagingError::Record { task_id: claim.task_id, cause }),
            None => Err(MessagingError::failed(what, "it expired while it was being read")),
        }
    }
}
