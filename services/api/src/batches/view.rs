//! What is known of a batch.

use domain::{BatchCounts, BatchId, BatchItem, BatchRecord, ItemRefusal};
use futures_util::{StreamExt, TryStreamExt, stream};
use messaging::{BatchRevision, Batches as BatchStore, MessagingError};

use super::{AT_A_TIME, Batches};
use crate::tasks::viewer::Viewer;

/// How many refused pictures an answer names.
const NAMED_REFUSALS: usize = 100;

/// A batch.
#[derive(Debug, Clone)]
pub(crate) struct BatchView {
    pub(crate) record: BatchRecord,
    pub(crate) counts: BatchCounts,
    /// The first refused pictures, by their indices.
    pub(crate) refusals: Vec<(u16, ItemRefusal)>,
}

/// The result of looking a batch up.
pub(crate) enum Found<T> {
    Batch(T),
    /// The batch is older than batches are kept.
    Expired,
    /// There is no such batch.
    Unknown,
}

impl Batches {
    /// The batch of this id.
    pub(crate) async fn find(
        &self,
        id: BatchId,
        viewer: Viewer,
    ) -> Result<Found<BatchView>, MessagingError> {
        Ok(match self.record(id, viewer).await? {
            Found::Batch((record, _)) => Found::Batch(self.view(record).await?),
            Found::Expired => Found::Expired,
            Found::Unknown => Found::Unknown,
        })
    }

    /// Its record, and the version of that. A batch that the viewer may not see is unknown, or has expired.
    pub(super) async fn record(
        &self,
        id: BatchId,
        viewer: Viewer,
    ) -> Result<Found<(BatchRecord, BatchRevision)>, MessagingError> {
        let found = self.store.get(id).await?;
        let seen = found.filter(|(record, _)| viewer.sees_those_of(record.owner));
        Ok(match seen {
            Some(found) => Found::Batch(found),
            None if self.has_expired(id) => Found::Expired,
            None => Found::Unknown,
        })
    }

    /// The batch of this record.
    pub(super) async fn view(&self, record: BatchRecord) -> Result<BatchView, MessagingError> {
        let outcomes = match record.end {
            // Nothing more happens to it.
            Some(end) if end.counts.refused == 0 => {
                return Ok(BatchView { counts: end.counts, record, refusals: Vec::new() });
            }
            _ => self.store.outcomes(record.batch_id).await?,
        };
        let counts = record.end.map_or_else(|| outcomes.counts(record.received), |end| end.counts);
        let refused = outcomes.refused(record.received).take(NAMED_REFUSALS).collect();
        let refusals = refusals(self.store.clone(), record.batch_id, refused).await?;
        Ok(BatchView { record, counts, refusals })
    }

    /// The batch of this record, without its refused pictures.
    pub(super) async fn summary(&self, record: BatchRecord) -> Result<BatchView, MessagingError> {
        let counts = match record.end {
            // Nothing more happens to it.
            Some(end) => end.counts,
            None => self.store.outcomes(record.batch_id).await?.counts(record.received),
        };
        Ok(BatchView { counts, record, refusals: Vec::new() })
    }
}

/// Why these pictures were refused. Not a method: the stream is not to borrow anything.
async fn refusals(
    store: BatchStore,
    batch_id: BatchId,
    refused: Vec<u16>,
) -> Result<Vec<(u16, ItemRefusal)>, MessagingError> {
    let read = stream::iter(refused).map(move |index| {
        let store = store.clone();
        async move {
            let refusal = store.refusal(BatchItem { batch_id, index }).await?;
            Ok::<_, MessagingError>(refusal.map(|refusal| (index, refusal)))
        }
    });
    let read: Vec<_> = read.buffered(AT_A_TIME).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}
