//! The queue of jobs, the records of tasks, and the wire format of both, on NATS JetStream.
//!
//! Owns streams, consumers, the key-value bucket and the object store. The only crate that knows
//! `async-nats`; it knows no model and no HTTP.
//!
//! The path of a picture: [`JobQueue::submit`] publishes it and waits until it is stored. A worker pulls
//! it by [`Deliveries::next`], reads [`Delivery::picture`], stores the terminal record by
//! [`TaskStore::finish`], and only then calls [`Delivery::settle`]. Delivery is at least once: the server
//! may redeliver a job after any of these steps, and running it twice changes nothing, because the first
//! terminal record wins.

mod batches;
mod cloud_events;
mod comparisons;
mod config;
mod connection;
mod coordination;
mod dead_letters;
mod drawings;
mod error;
mod jobs;
mod keep_alive;
mod listing;
mod messaging;
mod provision;
mod reconcile;
mod record_log;
mod records;
mod shadow_jobs;
mod status;
mod stream_range;
mod stream_subjects;
mod webhooks;

pub use batches::{BatchChange, BatchChanges, BatchPage, BatchRevision, Batches, Outcomes};
pub use cloud_events::{CloudEvent, CloudEvents};
pub use comparisons::Comparisons;
pub use config::{MessagingConfig, QueueLimits, Role};
pub use connection::Messaging;
pub use connection::address::{InvalidNatsServers, NatsServers};
pub use connection::tls::{ClientCertificate, TlsFiles};
pub use connection::write_faults::Writes;
pub use coordination::heartbeat::{HeartbeatEvent, Heartbeats, ModelReport, WorkerHeartbeats};
pub use coordination::lease::Lease;
pub use coordination::{
    api_keys::{ApiKeyChange, ApiKeys, CreateKeyError, MAX_API_KEYS},
    fingerprint::Submission,
    idempotency::{Claimed, IdempotencyKeys},
    model_descriptions::{DescribedInput, ModelDescription, ModelDescriptions},
};
pub use dead_letters::{
    DeadLetter, DeadLetterId, DeadLetterPicture, DeadLetters, InvalidDeadLetterId, StoredPieces,
};
pub use drawings::{DrawingError, Drawings, StoredDrawing};
pub use error::{ErrorKind, MessagingError, PictureFetchError, RequeueError, SubmitError};
pub use jobs::cancel::Cancellations;
pub use jobs::delivery::{Delivery, Settlement};
pub use jobs::publish::JobQueue;
pub use jobs::pull::Deliveries;
pub use jobs::report::{LaneDepth, QueueDepth, QueueReport};
pub use keep_alive::KeepAlive;
pub use listing::{ListError, ListQuery, TaskIndex, TaskPage};
pub use provision::{
    names::{DESCRIPTION_TTL, HEARTBEAT_TTL, LEASE_TTL, SHADOW_JOB_AGE},
    outcome::{ProvisionOutcome, Provisioned},
};
pub use reconcile::{Discrepancy, Findings, Reconciler};
pub use records::ended::EndedTotals;
pub use records::follow::{RecordChanges, RecordVersion};
pub use records::run::{BeginOutcome, FinishOutcome, RequeueReason, RunStart};
pub use records::store::{Snapshot, TaskStore};
pub use shadow_jobs::{ShadowDeliveries, ShadowJob, ShadowJobs};
pub use status::{
    histogram::{LATENCY_BUCKETS, LatencyHistogram, QUANTILE_ERROR, latency_bucket},
    process::{
        ApiStatus, CONFIDENCE_BINS, CacheTotals, ModelStatus, PartStatus, ProcessIdentity,
        ProcessStatus, RunningTaskStatus, WorkerStatus,
    },
    requests::StatusRequests,
    survey::StatusSurvey,
};
pub use webhooks::{
    Webhooks,
    dead::{DeadWebhook, DeadWebhooks},
    delivery::{WebhookDeliveries, WebhookDelivery},
    ended::Ended,
};
