//! Provisioning: streams, buckets, the object store and the consumers are created, or brought up to date.

pub(crate) mod consumers;
pub(crate) mod lanes;
pub(crate) mod names;
pub(crate) mod outcome;
mod streams;

use async_nats::jetstream::{
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::Config,
};
use domain::ModelName;

use self::{
    consumers::ensure_lane,
    lanes::Lane,
    outcome::{ProvisionOutcome, Provisioned, if_changeable, missing, refused},
    streams::{shadow_streams, streams},
};
use crate::{Messaging, MessagingError, connection::refusal::Refusal};

impl Messaging {
    /// Creates streams, buckets, object store, and the consumers of the webhooks and of the jobs of `models`, or updates
    /// their settings to the configured ones, and returns what it did. Safe to call from many processes at once.
    ///
    /// Read permissions are enough where everything exists. Settings that differ are then left as they are,
    /// with a warning.
    ///
    /// # Errors
    /// [`MessagingError::Provision`] when the server refuses, [`MessagingError::MustBeProvisioned`] when something
    /// is missing that these credentials may not create, [`MessagingError::Timeout`] when the server does
    /// not answer, [`MessagingError::Failed`] when a bucket was deleted meanwhile.
    pub async fn provision(
        &self,
        models: impl IntoIterator<Item = ModelName>,
    ) -> Result<Vec<Provisioned>, MessagingError> {
        let mut provisioned = ensure_streams(self, streams(self.config())).await?;
        for model in models {
            provisioned.extend(self.provision_consumers(&model).await?);
        }
        provisioned.push(consumers::ensure_webhooks(self).await?);
        // Opened now, so that later requests need not.
        self.task_bucket().await?;
        self.picture_store().await?;
        Ok(provisioned)
    }

    /// Creates the consumers of one more model, or updates their settings. `Ok` means that they are there, and jobs
    /// of the model can be pulled.
    ///
    /// # Errors
    /// As [`Messaging::provision`]: [`MessagingError::MustBeProvisioned`] when a consumer is missing that these
    /// credentials may not create.
    pub async fn provision_consumers(
        &self,
        model: &ModelName,
    ) -> Result<Vec<Provisioned>, MessagingError> {
        let mut provisioned = Vec::new();
        for lane in Lane::of_model(model) {
            provisioned.push(ensure_lane(self, &lane).await?);
        }
        Ok(provisioned)
    }

    /// Creates what shadow runs of `model` need, or updates its settings: the streams of shadow jobs and of comparisons,
    /// and the consumer of the model's shadow jobs.
    ///
    /// # Errors
    /// As [`Messaging::provision`].
    pub async fn provision_shadow(
        &self,
        model: &ModelName,
    ) -> Result<Vec<Provisioned>, MessagingError> {
        let mut provisioned = ensure_streams(self, shadow_streams(self.config())).await?;
        provisioned.push(consumers::ensure_shadow(self, model).await?);
        Ok(provisioned)
    }
}

async fn ensure_streams(
    messaging: &Messaging,
    streams: impl IntoIterator<Item = Config>,
) -> Result<Vec<Provisioned>, MessagingError> {
    let mut provisioned = Vec::new();
    for stream in streams {
        let what = format!("stream {}", stream.name);
        let outcome = ensure_stream(messaging, &what, stream).await?;
        provisioned.push(Provisioned { what, outcome });
    }
    Ok(provisioned)
}

/// Creates the stream, or updates the settings that this project manages. Other settings of an operator
/// (placement, compression, republishing where we have none) stay as they are.
async fn ensure_stream(
    messaging: &Messaging,
    what: &str,
    wanted: Config,
) -> Result<ProvisionOutcome, MessagingError> {
    let jetstream = messaging.jetstream();
    let name = wanted.name.clone();
    let api = |verb: &str| format!("$JS.API.STREAM.{verb}.{name}");
    let look = jetstream.get_stream(&name);
    let found = messaging.if_permitted("look up a stream", api("INFO"), look).await?;
    let (written, outcome) = match found {
        Ok(stream) => {
            let present = &stream.cached_info().config;
            let updated = with_ours(present.clone(), &wanted);
            if updated == *present {
                return Ok(ProvisionOutcome::Unchanged);
            }
            let update = jetstream.update_stream(&updated);
            let change = messaging.if_permitted("change a stream", api("UPDATE"), update).await;
            let Some(outcome) = if_changeable(what, change)? else {
                return Ok(ProvisionOutcome::Differs);
            };
            (outcome.map(drop), ProvisionOutcome::Updated)
        }
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(found) if Refusal::of(&found) == Refusal::NoStream => {
                let create = jetstream.create_stream(&wanted);
                let create = messaging.if_permitted("create a stream", api("CREATE"), create);
                let outcome = create.await.map_err(|denied| missing(what, denied))?;
                (outcome.map(drop), ProvisionOutcome::Created)
            }
            _ => {
                return Err(refused(messaging.config(), what.to_owned(), error.into()));
            }
        },
    };
    match written {
        Ok(()) => Ok(outcome),
        Err(error) => Err(match error.kind() {
            CreateStreamErrorKind::JetStream(api) => {
                refused(messaging.config(), what.to_owned(), Box::new(api))
            }
            _ => refused(messaging.config(), what.to_owned(), error.into()),
        }),
    }
}

fn with_ours(present: Config, wanted: &Config) -> Config {
    let wanted = wanted.clone();
    Config {
        description: wanted.description,
        subjects: wanted.subjects,
        retention: wanted.retention,
        storage: wanted.storage,
        discard: wanted.discard,
        num_replicas: wanted.num_replicas,
        max_bytes: wanted.max_bytes,
        max_messages: wanted.max_messages,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_age: wanted.max_age,
        duplicate_window: wanted.duplicate_window,
        allow_rollup: wanted.allow_rollup,
        deny_delete: wanted.deny_delete,
        allow_direct: wanted.allow_direct,
        republish: wanted.republish.or(present.republish),
        ..present
    }
}
