//! Provisioning: streams, buckets, the object store and the consumers are created, or brought up to date.

pub(crate) mod consumers;
pub(crate) mod lanes;
pub(crate) mod names;
mod streams;

use async_nats::jetstream::{
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::Config,
};
use domain::ModelName;
use service::files::human_size;

use self::{
    consumers::ensure_lane,
    lanes::Lane,
    streams::{MAX_DEAD_LETTER_BYTES, reserved_bytes, streams},
};
use crate::{
    Messaging, MessagingConfig, MessagingError, connection::refusal::Refusal, error::Cause,
};

/// What provisioning did to a stream or consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisionOutcome {
    /// It was missing and has been created.
    Created,
    /// Its settings differed and have been updated.
    Updated,
    /// It existed with the configured settings.
    Unchanged,
    /// Its settings differ, and these credentials may not update them.
    Differs,
}

/// A stream or consumer, and what provisioning did to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// Its kind and name: `stream JOBS`, `consumer normal-yolov8n`.
    pub what: String,
    /// What was done.
    pub outcome: ProvisionOutcome,
}

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
        let mut provisioned = Vec::new();
        for stream in streams(self.config()) {
            let what = format!("stream {}", stream.name);
            let outcome = ensure_stream(self, &what, stream).await?;
            provisioned.push(Provisioned { what, outcome });
        }
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
}

/// The error of a denied creation: other credentials must provision what is missing.
fn missing(what: &str, denied: MessagingError) -> MessagingError {
    match denied {
        MessagingError::NotPermitted { .. } => {
            MessagingError::MustBeProvisioned { what: what.to_owned() }
        }
        other => other,
    }
}

/// `None` if an update was denied: an existing stream can be used with other settings.
fn if_changeable<T>(
    what: &str,
    outcome: Result<T, MessagingError>,
) -> Result<Option<T>, MessagingError> {
    match outcome {
        Ok(changed) => Ok(Some(changed)),
        Err(MessagingError::NotPermitted { .. }) => {
            tracing::warn!(
                "{what} has other settings than this process, whose credentials may not update them: \
                 provision it again, or give every process the same settings"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
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

fn refused(config: &MessagingConfig, what: String, cause: Cause) -> MessagingError {
    let advice = match Refusal::in_chain(cause.as_ref()) {
        Some(Refusal::ServerFull) => {
            return MessagingError::Provision { what, cause, advice: storage_advice(config) };
        }
        Some(Refusal::TooFewServers) => {
            "set no more replicas than there are servers in the cluster"
        }
        Some(Refusal::NoJetStream) | None => {
            "check that JetStream is enabled on the server and for this account"
        }
        Some(
            Refusal::StreamFull
            | Refusal::AccountFull
            | Refusal::Overtaken
            | Refusal::WriteError
            | Refusal::PurgeForbidden
            | Refusal::NoStream
            | Refusal::NoConsumer
            | Refusal::FiltersOverlap
            | Refusal::Other,
        ) => "change the setting back, or delete it on the server so that it is created again",
    };
    MessagingError::Provision { what, cause, advice: advice.to_owned() }
}

fn storage_advice(config: &MessagingConfig) -> String {
    format!(
        "the streams set aside {reserved} on each server: 2 × QUEUE_MAX_BYTES ({each} each, for jobs and \
         for large pictures), {dead} for dead letters, DRAWINGS_MAX_BYTES ({drawings}){events}. The server's \
         limit, max_file_store, is less, or \
         others have taken it. Where none is set, it is three quarters of the disk's free space at the \
         server's start, so {disk} must be free then. Lower QUEUE_MAX_BYTES or DRAWINGS_MAX_BYTES, raise max_file_store, or make \
         room and restart the server",
        reserved = human_size(reserved_bytes(config)),
        each = human_size(config.limits.max_bytes),
        dead = human_size(2 * MAX_DEAD_LETTER_BYTES.unsigned_abs()),
        drawings = human_size(config.drawing_bytes),
        events = config.events_advice(),
        disk = human_size(config.disk_bytes()),
    )
}
