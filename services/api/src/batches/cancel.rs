//! Cancels batches: first that is stored, then each task that has not ended is revoked. The API that ends batches revokes
//! what is left, should this one stop in between.

use domain::{BatchId, BatchRecord};
use futures_util::{StreamExt, stream};
use messaging::{MessagingError, Outcomes};

use super::{
    AT_A_TIME, Batches,
    view::{BatchView, Found},
};
use crate::tasks::{Tasks, viewer::Viewer};

/// How often the record is written while others change it.
const ATTEMPTS: u32 = 10;

/// The result of cancelling a batch.
pub(crate) enum Cancelled {
    /// Its tasks are revoked, but for those that had ended.
    Now(Box<BatchView>),
    /// All had ended before.
    AlreadyEnded(Box<BatchView>),
}

impl Batches {
    /// Cancels a batch.
    pub(crate) async fn cancel(
        &self,
        id: BatchId,
        viewer: Viewer,
    ) -> Result<Found<Cancelled>, MessagingError> {
        for _ in 0..ATTEMPTS {
            let (record, revision) = match self.record(id, viewer).await? {
                Found::Batch(found) => found,
                Found::Expired => return Ok(Found::Expired),
                Found::Unknown => return Ok(Found::Unknown),
            };
            if record.end.is_some() {
                let view = self.view(record).await?;
                return Ok(Found::Batch(Cancelled::AlreadyEnded(Box::new(view))));
            }
            let cancelled = BatchRecord { cancelled: true, ..record };
            if self.store.update(&cancelled, revision).await?.is_none() {
                continue;
            }
            tracing::info!(batch_id = %id, "a client has cancelled the batch");
            let outcomes = self.store.outcomes(id).await?;
            self.revoke_pending(&cancelled, &outcomes).await;
            let view = self.view(cancelled).await?;
            return Ok(Found::Batch(Cancelled::Now(Box::new(view))));
        }
        Err(MessagingError::Contended { task_id: id.uuid(), attempts: ATTEMPTS })
    }

    /// Revokes the tasks that have not ended.
    pub(super) async fn revoke_pending(&self, record: &BatchRecord, outcomes: &Outcomes) {
        let pending = outcomes.pending(record.received).collect();
        revoke(self.tasks.clone(), record.batch_id, pending).await;
    }
}

async fn revoke(tasks: Tasks, batch_id: BatchId, pending: Vec<u16>) {
    let revoking = stream::iter(pending).map(move |index| {
        let (tasks, task_id) = (tasks.clone(), batch_id.item(index));
        async move {
            if let Err(error) = tasks.cancel(task_id, Viewer::All).await {
                // The API that ends batches does it again.
                tracing::warn!(%task_id, %error, "a task of a cancelled batch was not revoked");
            }
        }
    });
    revoking.buffer_unordered(AT_A_TIME).collect::<()>().await;
}
