//! Pictures of a batch of which it is not known whether they were accepted: their API has stopped, or the queue has not
//! confirmed their jobs.

use domain::{BatchId, BatchItem, BatchRecord, ItemRefusal, Reception};
use messaging::{MessagingError, Outcomes};

use super::Batches;
use crate::http::problem::ProblemKind;

impl Batches {
    /// Whether a picture was accepted or refused: by its outcome, its record, or its job in the queue.
    pub(super) async fn is_placed(
        &self,
        item: BatchItem,
        outcomes: &Outcomes,
    ) -> Result<bool, MessagingError> {
        Ok(outcomes.get(item.index).is_some()
            || self.tasks.store.find(item.task_id()).await?.is_some())
    }

    /// Stores of pictures between others that they are not in the batch.
    pub(super) async fn note_missing(
        &self,
        batch_id: BatchId,
        missing: &[u16],
        detail: &str,
    ) -> Result<(), MessagingError> {
        for index in missing {
            let refusal = ItemRefusal {
                name: String::new(),
                kind: ProblemKind::Unavailable.uri().to_owned(),
                detail: detail.to_owned(),
            };
            self.store.note_refused(BatchItem { batch_id, index: *index }, &refusal).await?;
        }
        Ok(())
    }

    /// Forgets the refusals of pictures that have a task after all; returns whether there were any. An API that was taken
    /// for dead may have stored a job later, or a client may have continued the batch while pictures were noted as missing.
    pub(super) async fn has_forgotten_refusals(
        &self,
        record: &BatchRecord,
        outcomes: &Outcomes,
    ) -> Result<bool, MessagingError> {
        if record.reception == Reception::Complete && record.attempt == 1 {
            return Ok(false);
        }
        let mut found = false;
        for index in outcomes.refused(record.received) {
            let item = BatchItem { batch_id: record.batch_id, index };
            if self.tasks.store.find(item.task_id()).await?.is_some() {
                self.store.forget_refusal(item).await?;
                found = true;
            }
        }
        Ok(found)
    }
}
