//! The names of streams, subjects and buckets, and the TTLs of some. Imports no other file of this crate, so that every
//! file may import it.

use std::time::Duration;

use domain::ModelName;

pub(crate) const JOBS_STREAM: &str = "JOBS";
pub(crate) const JOBS_SUBJECT: &str = "jobs";
pub(crate) const DEAD_LETTER_STREAM: &str = "DLQ";
pub(crate) const DEAD_LETTER_SUBJECT: &str = "dlq";
pub(crate) const DEAD_PICTURE_STREAM: &str = "DLQ_PICTURES";
pub(crate) const DEAD_PICTURE_SUBJECT: &str = "dlq_pictures";
/// The webhooks that are to be delivered: `webhooks.<task_id>`.
pub(crate) const WEBHOOK_STREAM: &str = "WEBHOOKS";
pub(crate) const WEBHOOK_SUBJECT: &str = "webhooks";
pub(crate) const WEBHOOK_CONSUMER: &str = "notifier";
/// Those that were given up: `webhooks_dlq.<task_id>`.
pub(crate) const DEAD_WEBHOOK_STREAM: &str = "WEBHOOKS_DLQ";
pub(crate) const DEAD_WEBHOOK_SUBJECT: &str = "webhooks_dlq";
/// The end of each task: `events.task.<state>.<task_id>`.
pub(crate) const CLOUD_EVENT_STREAM: &str = "EVENTS";
pub(crate) const CLOUD_EVENT_SUBJECT: &str = "events";
/// Jobs that the shadow model runs as well: `shadow_jobs.<shadow model>.<task_id>`.
pub(crate) const SHADOW_JOBS_STREAM: &str = "SHADOW_JOBS";
pub(crate) const SHADOW_JOBS_SUBJECT: &str = "shadow_jobs";
/// What a job's model and the shadow model have found: `model_comparisons.<model>.<shadow model>.<task_id>`.
pub(crate) const COMPARISON_STREAM: &str = "MODEL_COMPARISONS";
pub(crate) const COMPARISON_SUBJECT: &str = "model_comparisons";
pub(crate) const TASK_BUCKET: &str = "tasks";
/// Where the server publishes each record that it has stored.
pub(crate) const RECORDS_SUBJECT: &str = "records";
/// Where a worker tells those who follow a task that its first run begins: `starts.<task_id>`.
pub(crate) const STARTS_SUBJECT: &str = "starts";
/// Where the API tells workers that a task is revoked: `cancels.<task_id>`.
pub(crate) const CANCELS_SUBJECT: &str = "cancels";
/// Where an API asks all processes for their status.
pub(crate) const STATUS_REQUESTS_SUBJECT: &str = "status.requests";
/// Where they answer: `status.answers.<who asked>`.
pub(crate) const STATUS_ANSWERS_SUBJECT: &str = "status.answers";
pub(crate) const IDEMPOTENCY_BUCKET: &str = "idempotency";
pub(crate) const TASK_STREAM: &str = "KV_tasks";
pub(crate) const IDEMPOTENCY_STREAM: &str = "KV_idempotency";
/// Records of batches, and what became of their pictures.
pub(crate) const BATCH_BUCKET: &str = "batches";
pub(crate) const BATCH_STREAM: &str = "KV_batches";
/// Where the server publishes what it has stored of a batch: `batch_records.<batch>.…`.
pub(crate) const BATCH_RECORDS_SUBJECT: &str = "batch_records";
pub(crate) const LEASE_BUCKET: &str = "leases";
pub(crate) const LEASE_STREAM: &str = "KV_leases";
pub(crate) const HEARTBEAT_BUCKET: &str = "models";
pub(crate) const HEARTBEAT_STREAM: &str = "KV_models";
/// What each model is.
pub(crate) const DESCRIPTION_BUCKET: &str = "model_descriptions";
pub(crate) const DESCRIPTION_STREAM: &str = "KV_model_descriptions";
/// The subjects of the bucket's entries, without the name of the model: `$KV.model_descriptions.<model>`.
pub(crate) const DESCRIPTION_SUBJECT: &str = "$KV.model_descriptions";
/// The API keys, by their ids.
pub(crate) const KEY_BUCKET: &str = "keys";
pub(crate) const KEY_STREAM: &str = "KV_keys";
pub(crate) const DRAWING_STREAM: &str = "DRAWINGS";
pub(crate) const DRAWING_SUBJECT: &str = "drawings";
pub(crate) const PICTURE_STORE: &str = "pictures";
pub(crate) const PICTURE_STREAM: &str = "OBJ_pictures";

/// How long a worker's heartbeat is kept. A worker sends several in this time.
pub const HEARTBEAT_TTL: Duration = Duration::from_secs(30);

/// How long the description of a model is kept after it was stored last. A worker that serves the model stores it every
/// day, so a model is known for weeks after its last worker has stopped.
pub const DESCRIPTION_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long dead letters are kept, and webhooks that were given up.
pub(crate) const DEAD_LETTER_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a shadow job waits for an idle worker before it expires.
pub const SHADOW_JOB_AGE: Duration = Duration::from_secs(300);

/// How long a lease is kept after its last renewal. Its holder renews it several times in this time.
pub const LEASE_TTL: Duration = Duration::from_secs(30);

/// The consumer of the shadow jobs for a model.
pub(crate) fn shadow_consumer(model: &ModelName) -> String {
    format!("shadow-{model}")
}
