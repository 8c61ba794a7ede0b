//! The queue of jobs, the records of tasks, and the wire format of both, on NATS JetStream.
//!
//! Owns streams, the consumer, the key-value bucket and the object store. The only crate that knows
//! `async-nats`; it knows no model and no HTTP.
//!
//! A picture's way: [`JobQueue::submit`] publishes it and waits until it is stored. A worker takes
//! it from [`Deliveries::next`], reads [`Delivery::picture`], stores the end with
//! [`TaskStore::finish`], and only then calls [`Delivery::settle`]. Everything is at least once: a
//! job may be handed out again after any of these steps, and running it twice changes nothing,
//! because the first end stored wins.

mod address;
mod announcements;
mod config;
mod connection;
mod dead_letters;
mod dead_pictures;
mod deliveries;
mod delivery;
mod error;
mod idempotency;
mod layout;
mod leases;
mod permissions;
mod pictures;
mod queue;
mod reconciler;
mod refusal;
mod stretch;
mod tasks;
mod tls;
mod trace;
mod wire;
mod writes;

pub use address::{InvalidNatsServers, NatsServers};
pub use announcements::{Announcement, Announcements, Heard};
pub use config::{MessagingConfig, QueueLimits, Role};
pub use connection::Messaging;
pub use dead_letters::{
    DeadLetter, DeadLetterId, DeadLetters, DeadPicture, InvalidDeadLetterId, StoredPieces,
};
pub use deliveries::Deliveries;
pub use delivery::{Delivery, KeepAlive, Settlement};
pub use error::{ErrorKind, MessagingError, PictureFetchError, RequeueError, SubmitError};
pub use idempotency::{Claimed, IdempotencyKeys, Submission};
pub use layout::{ANNOUNCEMENT_LIFE, Arranged, Arrangement};
pub use leases::{LEASE_LIFE, Lease};
pub use queue::{JobQueue, QueueDepth, QueueReport};
pub use reconciler::{Discrepancy, Findings, Reconciler};
pub use tasks::{BeginOutcome, FinishOutcome, Return, Snapshot, TaskStore};
pub use tls::{ClientCertificate, TlsFiles};
pub use writes::Writes;
