//! What exists on the server: streams and one consumer, and how they come to be.
//!
//! The bucket and the object store are streams with agreed names and settings (NATS ADR-8 and
//! ADR-20), so one function makes all of them and brings them up to date.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{AckPolicy, FromConsumer, pull},
    context::{ConsumerInfoErrorKind, CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, ConsumerError, DiscardPolicy, Republish, RetentionPolicy, StorageType},
};

use service::files::human_size;

use crate::{
    Messaging, MessagingConfig, MessagingError, error::Cause, leases::LEASE_LIFE, refusal::Refusal,
};

pub(crate) const JOBS_STREAM: &str = "JOBS";
pub(crate) const JOBS_SUBJECT: &str = "jobs";
pub(crate) const WORKER_CONSUMER: &str = "worker";
pub(crate) const DEAD_LETTER_STREAM: &str = "DLQ";
pub(crate) const DEAD_LETTER_SUBJECT: &str = "dlq";
pub(crate) const DEAD_PICTURE_STREAM: &str = "DLQ_PICTURES";
pub(crate) const DEAD_PICTURE_SUBJECT: &str = "dlq_pictures";
pub(crate) const TASK_BUCKET: &str = "tasks";
/// Where the server tells of each record that it has stored.
pub(crate) const RECORDS_SUBJECT: &str = "records";
pub(crate) const IDEMPOTENCY_BUCKET: &str = "idempotency";
pub(crate) const TASK_STREAM: &str = "KV_tasks";
pub(crate) const IDEMPOTENCY_STREAM: &str = "KV_idempotency";
pub(crate) const LEASE_BUCKET: &str = "leases";
pub(crate) const LEASE_STREAM: &str = "KV_leases";
pub(crate) const ANNOUNCEMENT_BUCKET: &str = "models";
pub(crate) const ANNOUNCEMENT_STREAM: &str = "KV_models";
pub(crate) const PICTURE_STORE: &str = "pictures";
pub(crate) const PICTURE_STREAM: &str = "OBJ_pictures";

/// How long a worker's word on its model holds. It gives it several times in this time.
pub const ANNOUNCEMENT_LIFE: Duration = Duration::from_secs(30);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The server's default, for streams that are not the queue.
const SHORT_DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Dead letters are for people to look at; the oldest make room.
const MAX_DEAD_LETTER_BYTES: i64 = 256 << 20;

const DEAD_LETTER_AGE: Duration = DAY.saturating_mul(7);

/// A dead letter's picture is stored a moment before the letter and must not go before it.
const DEAD_PICTURE_AGE: Duration = DEAD_LETTER_AGE.saturating_add(Duration::from_secs(3600));

/// More jobs at work than all workers together will ever hold: this must never throttle them.
const MAX_ACK_PENDING: i64 = 100_000;

/// How many pull requests may wait at once. A worker has up to one per free slot. The server's
/// default is 512, and it cannot be changed once the consumer exists.
const MAX_WAITING: i64 = 8192;

/// What came of setting one thing up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arranged {
    /// It was not there.
    Made,
    /// It was there with other settings.
    Changed,
    /// It was there as it should be.
    Unchanged,
    /// It is there with other settings, which these credentials may not change.
    LeftAlone,
}

/// One thing that is there now, and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrangement {
    /// `stream JOBS`, `consumer worker`.
    pub what: String,
    /// How it came to be.
    pub arranged: Arranged,
}

pub(crate) async fn ensure(messaging: &Messaging) -> Result<Vec<Arrangement>, MessagingError> {
    let config = messaging.config();
    let mut arrangements = Vec::new();
    for stream in streams(config) {
        let what = format!("stream {}", stream.name);
        let arranged = ensure_stream(messaging, &what, stream).await?;
        arrangements.push(Arrangement { what, arranged });
    }
    arrangements.push(ensure_consumer(messaging).await?);
    Ok(arrangements)
}

fn streams(config: &MessagingConfig) -> [Config; 8] {
    [
        jobs(config),
        dead_letters(config),
        dead_pictures(config),
        tasks(config),
        idempotency(config),
        leases(config),
        announcements(config),
        pictures(config),
    ]
}

/// What the limits of all streams come to, in bytes: so much each server sets aside for them when they are
/// made.
pub(crate) fn reserved_bytes(config: &MessagingConfig) -> u64 {
    let limits = streams(config).map(|stream| u64::try_from(stream.max_bytes).unwrap_or(0));
    limits.into_iter().fold(0, u64::saturating_add)
}

pub(crate) async fn ensure_consumer(messaging: &Messaging) -> Result<Arrangement, MessagingError> {
    let what = format!("consumer {WORKER_CONSUMER}");
    let arranged = arrange_consumer(messaging, &what).await?;
    Ok(Arrangement { what, arranged })
}

/// Of a denied creation: what is missing must be provisioned with other credentials.
fn missing(what: &str, denied: MessagingError) -> MessagingError {
    match denied {
        MessagingError::NotPermitted { .. } => MessagingError::SetUpFirst { what: what.to_owned() },
        other => other,
    }
}

/// Of a denied change: looking is enough where there is something to see. `None` if it was denied.
fn if_changeable<T>(
    what: &str,
    outcome: Result<T, MessagingError>,
) -> Result<Option<T>, MessagingError> {
    match outcome {
        Ok(changed) => Ok(Some(changed)),
        Err(MessagingError::NotPermitted { .. }) => {
            tracing::warn!(
                "{what} has other settings than this process was given, whose credentials may not \
                 change it: run the set-up, or give every process the same settings"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What all streams have in common. -1 is "no limit", as the server itself writes it.
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
    Config {
        description: Some("Jobs that no worker has finished yet".to_owned()),
        retention: RetentionPolicy::WorkQueue,
        // No max_age: a job that silently disappears is a loss.
        discard: DiscardPolicy::New,
        max_bytes: server_limit(config.limits.max_bytes),
        max_messages: server_limit(config.limits.max_messages),
        duplicate_window: config.duplicate_window,
        ..stored(JOBS_STREAM.to_owned(), vec![format!("{JOBS_SUBJECT}.>")], config)
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

/// A plain stream and no object store: here too the oldest make room, and nothing stays of what is
/// removed.
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
        // A claim is read right after somebody else made it, and a lagging replica would deny it.
        allow_direct: false,
        ..bucket(IDEMPOTENCY_BUCKET, "The task that each idempotency key stands for", config)
    }
}

fn leases(config: &MessagingConfig) -> Config {
    Config {
        // A lease that nobody renews expires.
        max_age: LEASE_LIFE,
        duplicate_window: LEASE_LIFE,
        // Only the leader knows who holds it.
        allow_direct: false,
        ..bucket(LEASE_BUCKET, "Work that one process does for all", config)
    }
}

fn announcements(config: &MessagingConfig) -> Config {
    Config {
        max_age: ANNOUNCEMENT_LIFE,
        duplicate_window: ANNOUNCEMENT_LIFE,
        ..bucket(ANNOUNCEMENT_BUCKET, "Which model file each worker runs", config)
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
        // Not before the record that the job with this picture may have.
        max_age: DAY.max(config.result_ttl),
        max_bytes: server_limit(config.limits.max_bytes),
        allow_rollup: true,
        // Only the leader says where a picture's pieces are: a replica that has not heard of it yet
        // would say that it is gone, and its job would fail.
        allow_direct: false,
        ..stored(PICTURE_STREAM.to_owned(), subjects, config)
    }
}

/// Makes the stream, or changes those of its settings that are ours. What an operator has set
/// besides (placement, compression, republishing where we have none) stays as it is.
async fn ensure_stream(
    messaging: &Messaging,
    what: &str,
    wanted: Config,
) -> Result<Arranged, MessagingError> {
    let jetstream = messaging.jetstream();
    let name = wanted.name.clone();
    let api = |verb: &str| format!("$JS.API.STREAM.{verb}.{name}");
    let look = jetstream.get_stream(&name);
    let found = messaging.if_permitted("look a stream up", api("INFO"), look).await?;
    let (outcome, arranged) = match found {
        Ok(stream) => {
            let present = &stream.cached_info().config;
            let updated = with_ours(present.clone(), &wanted);
            if updated == *present {
                return Ok(Arranged::Unchanged);
            }
            let update = jetstream.update_stream(&updated);
            let change = messaging.if_permitted("change a stream", api("UPDATE"), update).await;
            let Some(outcome) = if_changeable(what, change)? else {
                return Ok(Arranged::LeftAlone);
            };
            (outcome.map(drop), Arranged::Changed)
        }
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(found) if found.code() == 404 => {
                let create = jetstream.create_stream(&wanted);
                let create = messaging.if_permitted("create a stream", api("CREATE"), create);
                let outcome = create.await.map_err(|denied| missing(what, denied))?;
                (outcome.map(drop), Arranged::Made)
            }
            _ => {
                return Err(refused(messaging.config(), what.to_owned(), error.into()));
            }
        },
    };
    match outcome {
        Ok(()) => Ok(arranged),
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

/// The one consumer that all workers share.
fn worker_consumer(config: &MessagingConfig) -> pull::Config {
    pull::Config {
        durable_name: Some(WORKER_CONSUMER.to_owned()),
        description: Some("All workers share it; each message goes to one of them".to_owned()),
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

/// Makes the consumer, or changes those of its settings that are ours.
async fn arrange_consumer(messaging: &Messaging, what: &str) -> Result<Arranged, MessagingError> {
    let refused = |cause: Cause| {
        let what = format!("consumer {WORKER_CONSUMER} of {JOBS_STREAM}");
        refused(messaging.config(), what, cause)
    };
    let jetstream = messaging.jetstream();
    let api = |verb: &str| format!("$JS.API.CONSUMER.{verb}.{JOBS_STREAM}.{WORKER_CONSUMER}");
    let wanted = worker_consumer(messaging.config());
    let stream = jetstream.get_stream_no_info(JOBS_STREAM);
    let stream = messaging.within("look the consumer up", stream).await?;
    let look = stream.consumer_info(WORKER_CONSUMER);
    let found = messaging.if_permitted("look the consumer up", api("INFO"), look).await?;
    let config = match found {
        Ok(info) => match pull::Config::try_from_consumer_config(info.config) {
            Ok(present) if with_our_settings(present.clone(), &wanted) == present => {
                return Ok(Arranged::Unchanged);
            }
            Ok(present) => Some(with_our_settings(present, &wanted)),
            // One that pushes cannot be changed into ours; the server will say so.
            Err(_) => Some(wanted.clone()),
        },
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => None,
        Err(error) => return Err(refused(error.into())),
    };
    let is_there = config.is_some();
    let create = jetstream.create_consumer_on_stream(config.unwrap_or(wanted), JOBS_STREAM);
    let written = messaging.if_permitted("provision the consumer", api("CREATE"), create).await;
    let (outcome, arranged): (Result<_, ConsumerError>, _) = if is_there {
        let Some(outcome) = if_changeable(what, written)? else { return Ok(Arranged::LeftAlone) };
        (outcome, Arranged::Changed)
    } else {
        (written.map_err(|denied| missing(what, denied))?, Arranged::Made)
    };
    outcome.map(|_| arranged).map_err(|error| refused(error.into()))
}

fn with_our_settings(present: pull::Config, wanted: &pull::Config) -> pull::Config {
    pull::Config {
        description: wanted.description.clone(),
        ack_policy: wanted.ack_policy,
        ack_wait: wanted.ack_wait,
        max_deliver: wanted.max_deliver,
        max_ack_pending: wanted.max_ack_pending,
        max_waiting: wanted.max_waiting,
        ..present
    }
}

fn refused(config: &MessagingConfig, what: String, cause: Cause) -> MessagingError {
    let advice = match Refusal::in_chain(cause.as_ref()) {
        Some(Refusal::ServerFull) => {
            return MessagingError::Setup { what, cause, advice: storage_advice(config) };
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
            | Refusal::Other,
        ) => "change the setting back, or remove it on the server so that it is made anew",
    };
    MessagingError::Setup { what, cause, advice: advice.to_owned() }
}

fn storage_advice(config: &MessagingConfig) -> String {
    format!(
        "the streams set aside {reserved} on each server: 2 × QUEUE_MAX_BYTES ({each} each, for jobs and \
         for large pictures) and {dead} for dead letters. The server's limit, max_file_store, is less, or \
         others have taken it. Where none is set, it is three quarters of the disk's free space at the \
         server's start, so {disk} must be free then. Lower QUEUE_MAX_BYTES, raise max_file_store, or make \
         room and restart the server",
        reserved = human_size(reserved_bytes(config)),
        each = human_size(config.limits.max_bytes),
        dead = human_size(2 * MAX_DEAD_LETTER_BYTES.unsigned_abs()),
        disk = human_size(config.disk_bytes()),
    )
}

/// A limit as the server counts; what is too large for it is no limit.
fn server_limit(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(-1)
}
