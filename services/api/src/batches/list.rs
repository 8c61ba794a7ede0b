//! Lists of batches.

use domain::{BatchId, BatchRecord};
use futures_util::{StreamExt, TryStreamExt, stream};
use messaging::MessagingError;

use super::{AT_A_TIME, Batches, view::BatchView};
use crate::tasks::viewer::Viewer;

/// A page of a list of batches.
pub(crate) struct BatchViews {
    /// Newest first, without their refused pictures.
    pub(crate) batches: Vec<BatchView>,
    /// After which batch the next page begins; `None`: this is the last one.
    pub(crate) next: Option<BatchId>,
}

impl Batches {
    /// The newest batches that the viewer may see, of those that began before the batch `after`.
    pub(crate) async fn list(
        &self,
        after: Option<BatchId>,
        limit: usize,
        viewer: Viewer,
    ) -> Result<BatchViews, MessagingError> {
        let is_seen = |record: &BatchRecord| viewer.sees_those_of(record.owner);
        let page = self.store.list(after, limit, is_seen).await?;
        let views = stream::iter(page.records).map(|record| {
            let batches = self.clone();
            async move { batches.summary(record).await }
        });
        let batches = views.buffered(AT_A_TIME).try_collect().await?;
        Ok(BatchViews { batches, next: page.next })
    }
}
