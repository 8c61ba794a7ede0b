//! Which task a client's idempotency key stands for: a record made once and never changed.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::kv::{self, CreateErrorKind};
use domain::TaskId;
use serde::{Deserialize, Serialize};
use tokio::{sync::OnceCell, time::sleep};

use crate::{
    Messaging, MessagingError,
    error::is_overtaken,
    layout::{IDEMPOTENCY_BUCKET, IDEMPOTENCY_STREAM},
};

/// How often a key is claimed that somebody else has claimed and that cannot be read.
const CLAIM_ATTEMPTS: u32 = 5;

/// The pause before the next attempt; grows with each.
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

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
        for attempt in 1..=CLAIM_ATTEMPTS {
            let create = bucket.create(key, json.clone().into());
            match self.messaging.within_write(what, IDEMPOTENCY_STREAM, create).await? {
                Ok(_) => return Ok(claim.clone()),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
                Err(error) if is_overtaken(&error) => {}
                Err(error) => return Err(MessagingError::failed(what, error)),
            }
            if let Some(json) = self.messaging.within(what, bucket.get(key)).await? {
                return serde_json::from_slice(&json)
                    .map_err(|cause| MessagingError::Record { task_id: claim.task_id, cause });
            }
            // The one that came first is still on its way to all servers, or has just expired.
            sleep(CLAIM_PAUSE * attempt).await;
        }
        Err(MessagingError::failed(what, "somebody else's claim of it cannot be read"))
    }
}
