//! Lists of batches.

use domain::{BatchId, BatchRecord};
use futures_util::{StreamExt, stream};

use super::{
    Batches, keys,
    keys::{HEAD, id_of},
};
use crate::MessagingError;

/// How many records are read at a time.
const AT_A_TIME: usize = 8;

/// The most records that are read for one page: an API key may own few of many batches.
const MOST_READ: usize = 1000;

/// A page of a list of batches.
#[derive(Debug, Default)]
pub struct BatchPage {
    /// Newest first.
    pub records: Vec<BatchRecord>,
    /// After which batch the next page begins; `None`: this is the last one.
    pub next: Option<BatchId>,
}

impl Batches {
    /// The newest batches that are `wanted`, up to `limit` of those that began before the batch `after`. A page may have
    /// fewer, or none, although it is not the last one: so much is read for one.
    ///
    /// # Errors
    /// As [`Batches::get`], but a record that cannot be parsed is left out.
    pub async fn list(
        &self,
        after: Option<BatchId>,
        limit: usize,
        wanted: impl Fn(&BatchRecord) -> bool,
    ) -> Result<BatchPage, MessagingError> {
        let heads = keys(&self.messaging, "list the batches", &format!("*.{HEAD}")).await?;
        let ids = heads.iter().filter_map(|key| id_of(key));
        let mut ids: Vec<_> = ids.filter(|id| after.is_none_or(|after| *id < after)).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let last_read = ids.get(MOST_READ).and_then(|_| ids.get(MOST_READ - 1).copied());
        let reads = stream::iter(ids.into_iter().take(MOST_READ)).map(|id| {
            let batches = self.clone();
            async move { batches.get(id).await }
        });
        let mut reads = std::pin::pin!(reads.buffered(AT_A_TIME));
        let mut records: Vec<BatchRecord> = Vec::new();
        while let Some(read) = reads.next().await {
            let record = match read {
                Ok(Some((record, _))) if wanted(&record) => record,
                // It has expired since, belongs to another, or was written by another program.
                Ok(_) | Err(MessagingError::Record { .. }) => continue,
                Err(error) => return Err(error),
            };
            if records.len() == limit {
                let next = records.last().map(|last| last.batch_id);
                return Ok(BatchPage { records, next });
            }
            records.push(record);
        }
        Ok(BatchPage { records, next: last_read })
    }
}
