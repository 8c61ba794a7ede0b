//! Work that one process does for all: whoever holds the lease on it.
//!
//! A lease spares work, it does not make anything right: two processes may for a moment both take
//! themselves for the holder, so what they do must come to the same when it is done twice.

use async_nats::jetstream::kv::{self, CreateErrorKind};
use rand::{RngExt, distr::Alphanumeric};
use tokio::sync::OnceCell;

use crate::{
    Messaging, MessagingError, connection::refusal::is_overtaken, provision::names::LEASE_BUCKET,
};

/// A lease that this process may come to hold.
pub struct Lease {
    messaging: Messaging,
    bucket: OnceCell<kv::Store>,
    name: &'static str,
    /// What stands in the bucket while this process holds the lease.
    holder: String,
    /// Where the newest renewal stands in the bucket; `None` without one.
    revision: Option<u64>,
}

impl Lease {
    pub(crate) fn new(messaging: Messaging, name: &'static str) -> Self {
        let holder = rand::rng().sample_iter(Alphanumeric).take(22).map(char::from).collect();
        Self { messaging, bucket: OnceCell::new(), name, holder, revision: None }
    }

    /// Takes the lease if nobody holds it, or renews it; tells whether this process holds it now,
    /// for [`LEASE_TTL`].
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then nobody knows, and trying
    /// again tells.
    pub async fn try_hold(&mut self) -> Result<bool, MessagingError> {
        let renewed = match self.revision.take() {
            Some(revision) => self.renew(revision).await?,
            None => None,
        };
        self.revision = match renewed {
            Some(revision) => Some(revision),
            None => self.take().await?,
        };
        Ok(self.revision.is_some())
    }

    /// Gives the lease up, so that another process need not wait until it expires.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; then it expires.
    pub async fn release(mut self) -> Result<(), MessagingError> {
        let what = "give a lease up";
        let Some(revision) = self.revision.take() else { return Ok(()) };
        // Only this renewal: the lease may have expired and be somebody else's.
        let delete = self.bucket().await?.delete_expect_revision(self.name, Some(revision));
        match self.messaging.within_timeout(what, delete).await? {
            Err(error) if !is_overtaken(&error) => Err(MessagingError::failed(what, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The new revision, or `None` if the lease is not this process's any more.
    async fn renew(&self, revision: u64) -> Result<Option<u64>, MessagingError> {
        let what = "renew a lease";
        let update = self.bucket().await?.update(self.name, self.holder.clone().into(), revision);
        match self.messaging.within_timeout(what, update).await? {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if is_overtaken(&error) => Ok(None),
            Err(error) => Err(MessagingError::failed(what, error)),
        }
    }

    async fn take(&self) -> Result<Option<u64>, MessagingError> {
        let what = "take a lease";
        let bucket = self.bucket().await?;
        let create = bucket.create(self.name, self.holder.clone().into());
        match self.messaging.within_timeout(what, create).await? {
            Ok(revision) => return Ok(Some(revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) if is_overtaken(&error) => {}
            Err(error) => return Err(MessagingError::failed(what, error)),
        }
        match self.messaging.within(what, bucket.entry(self.name)).await? {
            // The answer to an earlier attempt was lost, the attempt itself was not.
            Some(entry) if entry.value == self.holder => self.renew(entry.revision).await,
            Some(_) | None => Ok(None),
        }
    }

    async fn bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.messaging.jetstream().get_key_value(LEASE_BUCKET);
        self.messaging.within("open the bucket of leases", self.bucket.get_or_try_init(open)).await
    }
}
