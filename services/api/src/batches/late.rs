//! Jobs that the queue stores after their batch was closed without them.
//!
//! An API that is cut off from NATS while it receives a batch may have jobs on their way that arrive once the connection is
//! back. By then another API may have found that the batch broke off, and even its end may have been reported. The jobs
//! are run as any others. This API, which alone knows of them, looks them up and has the batch end again, with them.

use std::time::Duration;

use domain::{BatchId, BatchItem, BatchRecord, ItemOutcome, Reception};
use messaging::MessagingError;
use tokio::time::{sleep, timeout};

use super::{Batches, beginning::NOT_STORED};

/// The pause before each look.
const PAUSE: Duration = Duration::from_secs(5);
/// How often nothing is found. What was sent over an old connection may come after what is sent over a new one.
const LOOKS: u32 = 6;
/// When it is given up, where NATS does not answer.
const LONGEST: Duration = Duration::from_secs(3600);

/// What a look has found.
enum Found {
    /// The batch is right, or not this API's any more.
    Settled,
    /// No job that the batch lacks.
    Nothing,
    /// The batch is not closed yet, or has just changed.
    Open,
}

impl Batches {
    /// Has the batch count those of the pictures `under_way` that turn out to be stored.
    pub(super) async fn count_late(self, id: BatchId, attempt: u32, under_way: Vec<u16>) {
        let looking = async {
            let mut looks = 0;
            while looks < LOOKS {
                sleep(PAUSE).await;
                match self.look_for_late(id, attempt, &under_way).await {
                    Ok(Found::Settled) => return,
                    Ok(Found::Nothing) => looks += 1,
                    Ok(Found::Open) => {}
                    Err(error) => {
                        tracing::debug!(batch_id = %id, %error, "looking for late jobs again")
                    }
                }
            }
        };
        self.shutdown.run_until_cancelled(timeout(LONGEST, looking)).await;
    }

    async fn look_for_late(
        &self,
        id: BatchId,
        attempt: u32,
        under_way: &[u16],
    ) -> Result<Found, MessagingError> {
        let Some((record, revision)) = self.store.get(id).await? else { return Ok(Found::Settled) };
        // Another request continues the batch, and sends these pictures again.
        if record.attempt != attempt {
            return Ok(Found::Settled);
        }
        match record.reception {
            Reception::Receiving { .. } => return Ok(Found::Open),
            Reception::Complete => return Ok(Found::Settled),
            Reception::Interrupted { .. } => {}
        }
        let outcomes = self.store.outcomes(id).await?;
        let mut late = Vec::new();
        for index in under_way.iter().copied() {
            let is_counted = u32::from(index) < record.received
                && outcomes.get(index) != Some(ItemOutcome::Refused);
            if !is_counted && self.tasks.store.find(id.item(index)).await?.is_some() {
                late.push(index);
            }
        }
        let Some(last) = late.iter().max() else { return Ok(Found::Nothing) };
        let received = record.received.max(u32::from(*last) + 1);
        let between = (0..=*last).filter(|index| u32::from(*index) >= record.received);
        let is_missing = |index: &u16| !late.contains(index) && outcomes.get(*index).is_none();
        let missing: Vec<_> = between.filter(is_missing).collect();
        for index in late.iter().copied() {
            self.store.forget_refusal(BatchItem { batch_id: id, index }).await?;
        }
        let attempt = attempt.saturating_add(1);
        let counted = BatchRecord { received, attempt, end: None, ..record };
        if self.reopen(&counted, revision).await?.is_none() {
            return Ok(Found::Open);
        }
        self.note_missing(id, &missing, NOT_STORED).await?;
        tracing::warn!(batch_id = %id, late = late.len(), "a closed batch has more pictures");
        Ok(Found::Settled)
    }
}
