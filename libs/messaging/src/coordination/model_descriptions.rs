//! The descriptions of models, which workers store so that the API can show them.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::kv;
use domain::{LabelMap, ModelName, Sha256Digest};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::OnceCell;

use crate::{
    Messaging, MessagingError,
    provision::names::{DESCRIPTION_BUCKET, DESCRIPTION_STREAM, DESCRIPTION_SUBJECT},
    stream_subjects,
};

/// What a model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelDescription {
    /// The digest of the version that is described.
    pub model_digest: Sha256Digest,
    /// The layout of its outputs, by which its family is known: `yolov8-cut`.
    pub head: String,
    /// The size of its input.
    pub input: DescribedInput,
    /// The names of its classes.
    pub labels: LabelMap,
    /// The licence of its weights.
    pub license: String,
    /// The program that wrote the file it was installed from.
    pub producer: String,
    /// The sha256 of that file.
    pub source_sha256: Sha256Digest,
    /// When it was stored.
    #[serde(with = "time::serde::rfc3339")]
    pub stored_at: OffsetDateTime,
}

/// The size of a model's input in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescribedInput {
    /// Pictures are scaled to this longer side.
    LongSide(u32),
    /// Pictures are padded or stretched to one size.
    Fixed {
        /// The width.
        width: u32,
        /// The height.
        height: u32,
    },
}

/// The descriptions of all models. They expire [`DESCRIPTION_TTL`](crate::DESCRIPTION_TTL) after they were stored last.
pub struct ModelDescriptions {
    messaging: Messaging,
    bucket: OnceCell<kv::Store>,
}

impl ModelDescriptions {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, bucket: OnceCell::new() }
    }

    /// Stores the description of a model, in place of an earlier one.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn store(
        &self,
        model: &ModelName,
        description: &ModelDescription,
    ) -> Result<(), MessagingError> {
        let what = "store the description of a model";
        let json =
            serde_json::to_vec(description).map_err(|error| MessagingError::failed(what, error))?;
        let put = self.bucket().await?.put(model.as_str(), json.into());
        self.messaging.within(what, put).await.map(drop)
    }

    /// The description of a model. `None` if there is none, or one that cannot be parsed.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn get(&self, model: &ModelName) -> Result<Option<ModelDescription>, MessagingError> {
        let get = self.bucket().await?.get(model.as_str());
        let stored = self.messaging.within("read the description of a model", get).await?;
        Ok(stored.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// The descriptions of all models.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn list(&self) -> Result<BTreeMap<ModelName, ModelDescription>, MessagingError> {
        let mut descriptions = BTreeMap::new();
        for name in self.names().await? {
            if let Some(description) = self.get(&name).await? {
                descriptions.insert(name, description);
            }
        }
        Ok(descriptions)
    }

    /// The names of the models that are described, in their order.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn names(&self) -> Result<BTreeSet<ModelName>, MessagingError> {
        let (what, filter) =
            ("list the descriptions of models", format!("{DESCRIPTION_SUBJECT}.*"));
        let subjects =
            stream_subjects::list(&self.messaging, what, DESCRIPTION_STREAM, filter).await?;
        let name = |subject: String| {
            subject.strip_prefix(DESCRIPTION_SUBJECT)?.strip_prefix('.')?.parse().ok()
        };
        Ok(subjects.into_iter().filter_map(name).collect())
    }

    async fn bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.messaging.jetstream().get_key_value(DESCRIPTION_BUCKET);
        let what = "open the bucket of descriptions of models";
        self.messaging.within(what, self.bucket.get_or_try_init(open)).await
    }
}
