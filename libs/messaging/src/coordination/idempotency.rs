//! Which task a client's idempotency key stands for: a record that is created once and never changed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::kv::{self, CreateErrorKind};
use domain::{Sha256Digest, TaskId};
use serde::{Deserialize, Serialize};
use tokio::{sync::OnceCell, time::sleep};

use super::fingerprint::{self, Submission};
use crate::{
    Messaging, MessagingError,
    connection::refusal::is_overtaken,
    provision::names::{IDEMPOTENCY_BUCKET, IDEMPOTENCY_STREAM},
};

/// How often a claim is attempted while the claim of another process cannot be read.
const CLAIM_ATTEMPTS: u32 = 5;

/// The delay before the next attempt; grows with each.
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// The record of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claim {
    /// The task that the key stands for.
    task_id: TaskId,
    /// The fingerprint of the submission in the form without a version, the only one that older APIs read and
    /// write. `None` in claims of an API that no longer writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// The fingerprints of the submission, by the version of their form.
    #[serde(default)]
    fingerprints: BTreeMap<u32, Sha256Digest>,
}

impl Claim {
    fn new(task_id: TaskId, submission: &Submission<'_>) -> Self {
        let fingerprint = Some(fingerprint::unversioned(submission).to_string());
        Self { task_id, fingerprint, fingerprints: fingerprint::fingerprints(submission) }
    }

    /// Whether both are of the same submission, by the newest form that both have. Without one, as between
    /// APIs that are several versions apart, the key decides: an honest retry must not be refused because
    /// of an upgrade.
    fn is_of_the_same(&self, other: &Self) -> bool {
        let versions = self.fingerprints.iter().rev();
        let mut common = versions.filter_map(|(version, own)| {
            other.fingerprints.get(version).map(|others| own == others)
        });
        let unversioned = || Some(self.fingerprint.as_ref()? == other.fingerprint.as_ref()?);
        common.next().or_else(unversioned).unwrap_or(true)
    }
}

/// The result of claiming a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The key stands for this task: the claimed one, or that of an earlier submission of the same.
    Task(TaskId),
    /// Another submission has used the key.
    ByAnotherSubmission,
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

    /// Claims `key`, the digest of a client's own key, which may have any characters. The first to
    /// claim it decides which task and which submission it stands for.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; claiming again is safe.
    pub async fn claim(
        &self,
        key: Sha256Digest,
        task_id: TaskId,
        submission: &Submission<'_>,
    ) -> Result<Claimed, MessagingError> {
        let own = Claim::new(task_id, submission);
        let holding = self.holding(&key.to_string(), &own).await?;
        Ok(if holding.is_of_the_same(&own) {
            Claimed::Task(holding.task_id)
        } else {
            Claimed::ByAnotherSubmission
        })
    }

    /// The claim that is stored: `claim` itself, or an earlier one.
    async fn holding(&self, key: &str, claim: &Claim) -> Result<Claim, MessagingError> {
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
            // The earlier claim is still being replicated, or has just expired.
            sleep(CLAIM_PAUSE * attempt).await;
        }
        Err(MessagingError::failed(what, "the claim of another process cannot be read"))
    }
}
