//! The settings of each stream, bucket and consumer, and the disk space that they reserve.
//!
//! A bucket and an object store are streams with agreed names and settings (NATS ADR-8 and ADR-20).

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{AckPolicy, pull},
    stream::{Config, DiscardPolicy, Republish, RetentionPolicy, StorageType},
};

use domain::{ModelName, Priority};
use service::files::human_size;

use super::{
    lanes::{self, Lane},
    names::{
        self, BATCH_BUCKET, BATCH_RECORDS_SUBJECT, CLOUD_EVENT_STREAM, CLOUD_EVENT_SUBJECT,
        COMPARISON_STREAM, COMPARISON_SUBJECT, DEAD_LETTER_AGE, DEAD_LETTER_STREAM,
        DEAD_LETTER_SUBJECT, DEAD_PICTURE_STREAM, DEAD_PICTURE_SUBJECT, DEAD_WEBHOOK_STREAM,
        DEAD_WEBHOOK_SUBJECT, DESCRIPTION_BUCKET, DESCRIPTION_TTL, DRAWING_STREAM, DRAWING_SUBJECT,
        HEARTBEAT_BUCKET, HEARTBEAT_TTL, IDEMPOTENCY_BUCKET, JOBS_STREAM, KEY_BUCKET, LEASE_BUCKET,
        LEASE_TTL, PICTURE_STORE, PICTURE_STREAM, RECORDS_SUBJECT, SHADOW_JOB_AGE,
        SHADOW_JOBS_STREAM, SHADOW_JOBS_SUBJECT, TASK_BUCKET, WEBHOOK_CONSUMER, WEBHOOK_STREAM,
        WEBHOOK_SUBJECT,
    },
};
use crate::{MessagingConfig, config::LEAST_QUEUE_BYTES};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The server's default, for streams other than the queue.
const SHORT_DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// When there are more dead letters than this, the oldest are deleted.
pub(super) const MAX_DEAD_LETTER_BYTES: i64 = 256 << 20;

const CLOUD_EVENT_AGE: Duration = DAY.saturating_mul(7);

/// When there are more shadow jobs than this, the oldest are deleted.
const MAX_SHADOW_JOBS: i64 = 1000;
const MAX_SHADOW_JOB_BYTES: i64 = 64 << 20;

/// When there are more comparisons than this, the oldest are deleted.
const MAX_COMPARISONS: i64 = 10_000;
const COMPARISON_AGE: Duration = DAY.saturating_mul(7);

/// A dead letter's picture is stored a moment before the letter and must not expire before it.
const DEAD_PICTURE_AGE: Duration = DEAD_LETTER_AGE.saturating_add(Duration::from_secs(3600));

/// The longest time between storing a drawing and the record that names it.
const DRAWING_LEAD: Duration = Duration::from_secs(600);
/// The most webhooks that wait for a delivery. A task whose webhook does not fit keeps its job until it does.
const MAX_WEBHOOKS: i64 = 100_000;

/// The most webhooks among the dead letters; the oldest are deleted.
const MAX_DEAD_WEBHOOKS: i64 = 10_000;

/// More jobs than all workers together ever hold: this limit must never throttle them.
const MAX_ACK_PENDING: i64 = 100_000;

/// How many pull requests may be pending. A worker has up to one per free slot. The server's
/// default is 512, and it cannot be changed once the consumer exists.
const MAX_WAITING: i64 = 8192;

pub(super) fn streams(config: &MessagingConfig) -> Vec<Config> {
    let mut streams = vec![
        jobs(config),
        dead_letters(config),
        dead_pictures(config),
        tasks(config),
        idempotency(config),
        batches(config),
        leases(config),
        heartbeats(config),
        model_descriptions(config),
        api_keys(config),
        pictures(config),
        drawings(config),
        webhooks(config),
        dead_webhooks(config),
    ];
    streams.extend(config.cloud_events.then(|| cloud_events(config)));
    streams
}

/// The sum of the limits of all streams in bytes. Each server reserves this much when they are created.
pub(super) fn reserved_bytes(config: &MessagingConfig) -> u64 {
    let limits =
        streams(config).into_iter().map(|stream| u64::try_from(stream.max_bytes).unwrap_or(0));
    limits.fold(0, u64::saturating_add)
}

impl MessagingConfig {
    /// How many bytes a server's disk should have free before the streams are created: the sum of their limits
    /// and a third more, for records and because a server without `max_file_store` uses three quarters of the
    /// free space.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let reserved = reserved_bytes(self);
        reserved.saturating_add(reserved / 3)
    }

    /// The part of the events in a list of what is set aside; empty without events.
    #[must_use]
    pub fn events_advice(&self) -> String {
        if !self.cloud_events {
            return String::new();
        }
        format!(", CLOUD_EVENTS_MAX_BYTES ({})", human_size(self.cloud_event_bytes))
    }

    /// The largest `QUEUE_MAX_BYTES` whose streams fit on a disk with `free` bytes; `None` where not even the
    /// smallest queue fits.
    #[must_use]
    pub fn largest_queue(&self, free: u64) -> Option<u64> {
        let without = self.limits.max_bytes.saturating_mul(2);
        let others = reserved_bytes(self).saturating_sub(without);
        let queue = (free / 4 * 3).saturating_sub(others) / 2;
        (queue >= LEAST_QUEUE_BYTES).then_some(queue)
    }
}

/// The settings that all streams share. -1 is "no limit", as in the server's API.
fn stored(name: String, subjects: Vec<String>, config: &MessagingConfig) -> Config {
    Config {
        name,
        subjects,
        storage: StorageType::File,
        num_replicas: config.replicas,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        duplicate_window: SHORT_DUPLICATE_WINDOW,
        ..Config::default()
    }
}

fn jobs(config: &MessagingConfig) -> Config {
    // No other subjects: no consumer of a lane would ever deliver a message of another one.
    let subjects = Priority::ALL.map(lanes::subjects).to_vec();
    Config {
        description: Some("Jobs that no worker has finished yet".to_owned()),
        retention: RetentionPolicy::WorkQueue,
        // No max_age: a job must not disappear.
        discard: DiscardPolicy::New,
        max_bytes: server_limit(config.limits.max_bytes),
        max_messages: server_limit(config.limits.max_messages),
        duplicate_window: config.duplicate_window,
        ..stored(JOBS_STREAM.to_owned(), subjects, config)
    }
}

fn dead_letters(config: &MessagingConfig) -> Config {
    Config {
        description: Some("Messages that no worker could deal with".to_owned()),
        discard: DiscardPolicy::Old,
        max_age: DEAD_LETTER_AGE,
        max_bytes: MAX_DEAD_LETTER_BYTES,
        ..stored(DEAD_LETTER_STREAM.to_owned(), vec![format!("{DEAD_LETTER_SUBJECT}.>")], config)
    }
}

/// A plain stream and not an object store: the oldest pictures are deleted when it is full, and a deletion
/// leaves nothing behind.
fn dead_pictures(config: &MessagingConfig) -> Config {
    let subjects = vec![format!("{DEAD_PICTURE_SUBJECT}.>")];
    Config {
        description: Some("Pictures of dead letters, in pieces".to_owned()),
        discard: DiscardPolicy::Old,
        max_age: DEAD_PICTURE_AGE,
        max_bytes: MAX_DEAD_LETTER_BYTES,
        ..stored(DEAD_PICTURE_STREAM.to_owned(), subjects, config)
    }
}

fn tasks(config: &MessagingConfig) -> Config {
    Config {
        republish: Some(Republish {
            source: format!("$KV.{TASK_BUCKET}.>"),
            destination: format!("{RECORDS_SUBJECT}.>"),
            headers_only: false,
        }),
        ..bucket(TASK_BUCKET, "The newest record of each task", config)
    }
}

fn idempotency(config: &MessagingConfig) -> Config {
    Config {
        // A claim is read right after another API has stored it, and a lagging replica would miss it.
        allow_direct: false,
        ..bucket(IDEMPOTENCY_BUCKET, "The task that each idempotency key stands for", config)
    }
}

fn batches(config: &MessagingConfig) -> Config {
    Config {
        republish: Some(Republish {
            source: format!("$KV.{BATCH_BUCKET}.>"),
            destination: format!("{BATCH_RECORDS_SUBJECT}.>"),
            headers_only: false,
        }),
        // The outcome of the first picture must not expire before the batch ends. Its last picture ends within the
        // retention of records, as every task does.
        max_age: config.result_ttl.saturating_mul(2),
        // Each process must see what another has just stored.
        allow_direct: false,
        ..bucket(BATCH_BUCKET, "Batches, and what became of their pictures", config)
    }
}

fn leases(config: &MessagingConfig) -> Config {
    Config {
        // A lease that is not renewed expires.
        max_age: LEASE_TTL,
        duplicate_window: LEASE_TTL,
        // Only the leader has the current holder.
        allow_direct: false,
        ..bucket(LEASE_BUCKET, "Work that one process does for all", config)
    }
}

fn heartbeats(config: &MessagingConfig) -> Config {
    Config {
        max_age: HEARTBEAT_TTL,
        duplicate_window: HEARTBEAT_TTL,
        ..bucket(HEARTBEAT_BUCKET, "Which models each worker serves", config)
    }
}

fn model_descriptions(config: &MessagingConfig) -> Config {
    Config {
        max_age: DESCRIPTION_TTL,
        duplicate_window: SHORT_DUPLICATE_WINDOW,
        ..bucket(DESCRIPTION_BUCKET, "What each model is", config)
    }
}

fn api_keys(config: &MessagingConfig) -> Config {
    Config {
        // A key is there until it is revoked.
        max_age: Duration::ZERO,
        duplicate_window: SHORT_DUPLICATE_WINDOW,
        // A key that was just created must be found, and one that was revoked not be.
        allow_direct: false,
        ..bucket(KEY_BUCKET, "API keys, without their secrets", config)
    }
}

/// A key-value bucket that keeps the newest value of each key for as long as results are kept.
fn bucket(name: &str, description: &str, config: &MessagingConfig) -> Config {
    Config {
        description: Some(description.to_owned()),
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        max_age: config.result_ttl,
        // The server refuses a window longer than the age.
        duplicate_window: SHORT_DUPLICATE_WINDOW.min(config.result_ttl),
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..stored(format!("KV_{name}"), vec![format!("$KV.{name}.>")], config)
    }
}

fn pictures(config: &MessagingConfig) -> Config {
    let subjects = vec![format!("$O.{PICTURE_STORE}.C.>"), format!("$O.{PICTURE_STORE}.M.>")];
    Config {
        description: Some("Pictures too large to travel inside their job".to_owned()),
        discard: DiscardPolicy::New,
        // Not before the record of the job with this picture.
        max_age: DAY.max(config.result_ttl),
        max_bytes: server_limit(config.limits.max_bytes),
        allow_rollup: true,
        // Reads go to the leader: a lagging replica would report a new picture as gone, and its job would
        // fail.
        allow_direct: false,
        ..stored(PICTURE_STREAM.to_owned(), subjects, config)
    }
}

/// Reads go to the leader: a lagging replica would report a new drawing as gone.
fn drawings(config: &MessagingConfig) -> Config {
    Config {
        description: Some("Pictures with detected objects drawn in, in pieces".to_owned()),
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        // A drawing is stored before the record that names it, and must not expire before it.
        max_age: config.result_ttl.saturating_add(DRAWING_LEAD),
        duplicate_window: SHORT_DUPLICATE_WINDOW.min(config.result_ttl),
        max_bytes: server_limit(config.drawing_bytes),
        ..stored(DRAWING_STREAM.to_owned(), vec![format!("{DRAWING_SUBJECT}.>")], config)
    }
}

/// Limited in number and not in bytes, which a server would set aside: a message has one record in it.
fn webhooks(config: &MessagingConfig) -> Config {
    Config {
        description: Some("Webhooks that are not delivered yet".to_owned()),
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: MAX_WEBHOOKS,
        duplicate_window: config.duplicate_window,
        ..stored(WEBHOOK_STREAM.to_owned(), vec![format!("{WEBHOOK_SUBJECT}.*")], config)
    }
}

fn dead_webhooks(config: &MessagingConfig) -> Config {
    Config {
        description: Some("Webhooks that were given up".to_owned()),
        discard: DiscardPolicy::Old,
        max_age: DEAD_LETTER_AGE,
        max_messages: MAX_DEAD_WEBHOOKS,
        ..stored(DEAD_WEBHOOK_STREAM.to_owned(), vec![format!("{DEAD_WEBHOOK_SUBJECT}.*")], config)
    }
}

fn cloud_events(config: &MessagingConfig) -> Config {
    Config {
        description: Some("The end of each task, as CloudEvents".to_owned()),
        discard: DiscardPolicy::Old,
        max_age: CLOUD_EVENT_AGE,
        max_bytes: server_limit(config.cloud_event_bytes),
        duplicate_window: config.duplicate_window,
        ..stored(CLOUD_EVENT_STREAM.to_owned(), vec![format!("{CLOUD_EVENT_SUBJECT}.>")], config)
    }
}

/// The streams of shadow runs, which exist only where `SHADOW_MODEL` is set.
pub(super) fn shadow_streams(config: &MessagingConfig) -> [Config; 2] {
    [shadow_jobs(config), comparisons(config)]
}

/// The oldest is deleted when it is full: publishing never waits for workers to catch up.
fn shadow_jobs(config: &MessagingConfig) -> Config {
    Config {
        description: Some("Jobs that the shadow model runs as well".to_owned()),
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::Old,
        max_age: SHADOW_JOB_AGE,
        max_messages: MAX_SHADOW_JOBS,
        max_bytes: MAX_SHADOW_JOB_BYTES,
        ..stored(SHADOW_JOBS_STREAM.to_owned(), vec![format!("{SHADOW_JOBS_SUBJECT}.*.*")], config)
    }
}

/// Limited in number and not in bytes, which a server would set aside: a message has counts in it.
fn comparisons(config: &MessagingConfig) -> Config {
    Config {
        description: Some("What each job's model and the shadow model have found".to_owned()),
        discard: DiscardPolicy::Old,
        max_age: COMPARISON_AGE,
        max_messages: MAX_COMPARISONS,
        ..stored(COMPARISON_STREAM.to_owned(), vec![format!("{COMPARISON_SUBJECT}.*.*.*")], config)
    }
}

/// The consumer of the shadow jobs for a model, which all workers share that serve it. None is delivered twice: one that
/// kills its worker must not kill the next one.
pub(super) fn shadow_consumer(config: &MessagingConfig, model: &ModelName) -> pull::Config {
    pull::Config {
        durable_name: Some(names::shadow_consumer(model)),
        description: Some(format!("Shadow jobs for {model}; each goes to one of the workers")),
        filter_subject: format!("{SHADOW_JOBS_SUBJECT}.{model}.*"),
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait,
        max_deliver: 1,
        max_ack_pending: MAX_ACK_PENDING,
        max_waiting: MAX_WAITING,
        ..pull::Config::default()
    }
}

/// The one consumer that all notifiers share.
pub(super) fn webhook_consumer(config: &MessagingConfig) -> pull::Config {
    pull::Config {
        durable_name: Some(WEBHOOK_CONSUMER.to_owned()),
        description: Some("All notifiers share it".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait,
        // The number of a try is in the message.
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        max_waiting: MAX_WAITING,
        ..pull::Config::default()
    }
}

/// The consumer of a lane, which all workers share that serve its model.
pub(super) fn worker_consumer(config: &MessagingConfig, lane: &Lane) -> pull::Config {
    let Lane { model, priority } = lane;
    pull::Config {
        durable_name: Some(lane.consumer()),
        description: Some(format!(
            "Jobs of {priority} priority for {model}; each goes to one of the workers"
        )),
        filter_subject: lane.subjects(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait,
        // Attempts are counted in the task's record: a message the server gives up on stays in the
        // stream, invisible to everyone.
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        max_waiting: MAX_WAITING,
        ..pull::Config::default()
    }
}

/// A limit in the server's type; a limit that is too large for it is no limit.
fn server_limit(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(-1)
}
