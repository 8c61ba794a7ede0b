//! The keys of what is stored of batches.

use domain::{BatchId, BatchItem, ItemOutcome};

use crate::provision::names::BATCH_BUCKET;

pub(super) const HEAD: &str = "head";
pub(super) const OPEN: &str = "open";

pub(super) fn head(id: BatchId) -> String {
    format!("{id}.{HEAD}")
}

pub(super) fn outcome_key(item: BatchItem, outcome: ItemOutcome) -> String {
    format!("{}.{}.{}", item.batch_id, item.index, outcome.name())
}

pub(super) fn subject(key: &str) -> String {
    format!("$KV.{BATCH_BUCKET}.{key}")
}

/// The batch that a key is of.
pub(super) fn id_of(key: &str) -> Option<BatchId> {
    key.split('.').next()?.parse().ok()
}
