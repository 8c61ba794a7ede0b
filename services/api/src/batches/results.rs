//! The pictures of a batch, in order, with what became of each. They are read as they are asked for, a few ahead.

use domain::{BatchItem, BatchRecord, ItemRefusal, TaskRecord};
use futures_util::{Stream, StreamExt, stream};
use messaging::MessagingError;

use super::{AT_A_TIME, Batches};
use crate::tasks::{lookup::Lookup, viewer::Viewer};

/// One picture of a batch.
pub(crate) struct ItemResult {
    pub(crate) item: BatchItem,
    pub(crate) what: ItemState,
}

/// What is known of it.
pub(crate) enum ItemState {
    /// It has a task.
    Task(Box<TaskRecord>),
    /// It was refused.
    Refused(ItemRefusal),
    /// Its task is not known any more.
    Absent,
}

impl Batches {
    /// The pictures of the batch with this record.
    pub(crate) fn results(
        &self,
        record: &BatchRecord,
    ) -> impl Stream<Item = Result<ItemResult, MessagingError>> + Send + use<> {
        let (batches, batch_id) = (self.clone(), record.batch_id);
        let last = u16::try_from(record.received.saturating_sub(1)).unwrap_or(u16::MAX);
        let indices = (0..=last).take(if record.received == 0 { 0 } else { usize::MAX });
        let results = stream::iter(indices).map(move |index| {
            let (batches, item) = (batches.clone(), BatchItem { batch_id, index });
            async move { batches.result(item).await.map(|what| ItemResult { item, what }) }
        });
        results.buffered(AT_A_TIME)
    }

    async fn result(&self, item: BatchItem) -> Result<ItemState, MessagingError> {
        if let Lookup::Found(record) = self.tasks.find(item.task_id(), Viewer::All).await? {
            return Ok(ItemState::Task(record));
        }
        let refusal = self.store.refusal(item).await?;
        Ok(refusal.map_or(ItemState::Absent, ItemState::Refused))
    }
}
