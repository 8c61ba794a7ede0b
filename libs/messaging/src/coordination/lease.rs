//! Leases on work that one process does for all.
//!
//! A lease saves work and guarantees nothing: two processes may hold it for a moment, so the work must be
//! idempotent.

use async_nats::jetstream::kv::{self, CreateErrorKind};
use rand::{RngExt, distr::Alphanumeric};
use tokio::sync::OnceCell;

use crate::{
    Messaging, MessagingError, connection::refusal::is_overtaken, provision::names::LEASE_BUCKET,
};

/// A lease that this process may hold.
pub struct Lease {
    messaging: Messaging,
    bucket: OnceCell<kv::Store>,
    name: &'static str,
    /// The value in the bucket while this process holds the lease.
    holder: String,
    /// The revision of the newest renewal; `None` while the lease is not held.
    revision: Option<u64>,
}

impl Lease {
    pub(crate) fn new(messaging: Messaging, name: &'static str) -> Self {
        let holder = rand::rng().sample_iter(Alphanumeric).take(22).map(char::from).collect();
        Self { messaging, bucket: OnceCell::new(), name, holder, revision: None }
    }

    /// Acquires the lease if it is free, or renews it; returns whether this process holds it now, for
    /// [`LEASE_TTL`](crate::LEASE_TTL).
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then it is unknown, and a
    /// retry shows it.
    pub async fn try_hold(&mut self) -> Result<bool, MessagingError> {
        let renewed = match self.revision.take() {
            Some(revision) => self.renew(revision).await?,
            None => None,
        };
        self.revision = match renewed {
            Some(revision) => Some(revision),
            None => self.acquire().await?,
        };
        Ok(self.revision.is_some())
    }

    /// Releases the lease, so that another process can acquire it before it expires.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then it expires.
    pub async fn release(mut self) -> Result<(), MessagingError> {
        let what = "release a lease";
        let Some(revision) = self.revision.take() else { return Ok(()) };
        // Only this revision: the lease may have expired and be held by another process.
        let delete = self.bucket().await?.delete_expect_revision(self.name, Some(revision));
        match self.messaging.within_timeout(what, delete).await? {
            Err(error) if !is_overtaken(&error) => Err(MessagingError::failed(what, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The new revision, or `None` if this process does not hold the lease any more.
    async fn renew(&self, revision: u64) -> Result<Option<u64>, MessagingError> {
        let what = "renew a lease";
        let update = self.bucket().await?.update(self.name, self.holder.clone().into(), revision);
        match self.messaging.within_timeout(what, update).await? {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if is_overtaken(&error) => Ok(None),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }

    async fn acquire(&self) -> Result<Option<u64>, MessagingError> {
        let what = "acquire a lease";
        let bucket = self.bucket().await?;
        let create = bucket.create(self.name, self.holder.clone().into());
        match self.messaging.within_timeout(what, create).await? {
            Ok(revision) => return Ok(Some(revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) if is_overtaken(&error) => {}
            Err(error) => return Err(MessagingError::failed(what, error)),
        }
        match self.messaging.within(what, bucket.entry(self.name)).await? {
            // An earlier attempt was stored, and its answer was lost.
            Some(entry) if entry.value == self.holder => self.renew(entry.revision).await,
            Some(_) | None => Ok(None),
        }
    }

    async fn bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.messaging.jetstream().get_key_value(LEASE_BUCKET);
        self.messaging.within("open the bucket of leases", self.bucket.get_or_try_init(open)).await
    }
}
