//! Webhooks: the end of a task is reported to the URL that its client has named, and as an event if `CLOUD_EVENTS` is
//! on.
//!
//! Whoever stores a terminal record publishes it to the stream of webhooks before the job is deleted. So a process
//! that ends between the two leaves a job, and the worker that gets it finds the terminal record and publishes it. The
//! stream stores one of several messages of the same task within its duplicate window; beyond it, a webhook is
//! delivered again, with the same id. The message has the whole record in it, which is kept for as long as the webhook
//! is retried, however long records are kept.
//!
//! A task without a job is failed by the reconciler alone. It publishes the webhook first, as provisional: the notifier
//! delivers a provisional webhook once the record is terminal.

pub(crate) mod dead;
pub(crate) mod delivery;
pub(crate) mod ended;
mod wire;

use domain::{BatchRecord, TaskRecord};

use self::{ended::Ended, wire::Envelope};
use crate::{Messaging, MessagingError};

/// The webhooks that are to be delivered.
#[derive(Debug, Clone)]
pub struct Webhooks {
    messaging: Messaging,
}

impl Webhooks {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    /// Stores that the end of this task is to be reported, if its client wants that.
    pub(crate) async fn announce(&self, record: &TaskRecord) -> Result<(), MessagingError> {
        debug_assert!(record.state.is_terminal(), "the state is not terminal");
        self.publish(record, Envelope::first).await
    }

    /// The same before the record is stored.
    pub(crate) async fn announce_provisionally(
        &self,
        record: &TaskRecord,
    ) -> Result<(), MessagingError> {
        self.publish(record, Envelope::provisional).await
    }

    async fn publish(
        &self,
        record: &TaskRecord,
        envelope: fn(&Ended) -> Envelope,
    ) -> Result<(), MessagingError> {
        // The notifier stores the event of a task without a callback, too.
        if record.job.callback_url.is_none() && !self.messaging.config().cloud_events {
            return Ok(());
        }
        self.store(&record.clone().into(), envelope).await
    }

    /// Stores that the end of this batch is to be reported, if its client wants that.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn announce_batch(&self, record: &BatchRecord) -> Result<(), MessagingError> {
        debug_assert!(record.end.is_some(), "the batch has not ended");
        if record.callback_url.is_none() && !self.messaging.config().cloud_events {
            return Ok(());
        }
        self.store(&record.clone().into(), Envelope::first).await
    }

    async fn store(
        &self,
        ended: &Ended,
        envelope: fn(&Ended) -> Envelope,
    ) -> Result<(), MessagingError> {
        wire::publish(&self.messaging, ended, &envelope(ended)).await
    }
}
