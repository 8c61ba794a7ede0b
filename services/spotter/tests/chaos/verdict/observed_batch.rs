//! What the clients observed of one batch.

use std::{sync::Arc, time::Instant};

use domain::BatchId;

use crate::{
    load::batch_submission::BatchSubmission,
    verdict::{
        batch_view::{BatchView, ResultLine},
        batches::BatchEvidence,
        webhook::Webhook,
    },
};

/// A batch that a client knows of.
pub(crate) struct ObservedBatch {
    pub(crate) submission: Arc<BatchSubmission>,
    /// When a client first knew of it, or held the answer that all of it was received.
    pub(super) at: Instant,
    /// Whether the API has answered that it has received all.
    pub(crate) is_whole: bool,
    /// Whether the API has answered that it is cancelled.
    pub(crate) is_cancelled: bool,
    /// How often it was sent, once its client sends it no more. Until then its end is not final.
    pub(crate) times_sent: Option<u32>,
    pub(crate) end: Option<(BatchView, Instant)>,
    pub(super) lines: Vec<ResultLine>,
    pub(super) others: Vec<String>,
    pub(super) denied: u32,
    pub(super) miscounted: Vec<BatchView>,
}

impl ObservedBatch {
    pub(super) fn new(submission: Arc<BatchSubmission>) -> Self {
        Self {
            submission,
            at: Instant::now(),
            is_whole: false,
            is_cancelled: false,
            times_sent: None,
            end: None,
            lines: Vec::new(),
            others: Vec::new(),
            denied: 0,
            miscounted: Vec::new(),
        }
    }

    /// The facts for the verdict. `webhook`: what became of the webhook of its end.
    pub(crate) fn evidence(
        &self,
        id: BatchId,
        healed: Instant,
        webhook: impl FnOnce(&BatchView) -> Webhook,
    ) -> BatchEvidence {
        let counted_from = self.at.max(healed);
        let end = self.end.as_ref();
        let webhook = match (&self.submission.callback_url, end) {
            (Some(_), Some((end, _))) => webhook(end),
            _ => Webhook::None,
        };
        BatchEvidence {
            id,
            sent: self.submission.items.len() as u32,
            no_pictures: self.submission.no_pictures(),
            is_whole: self.is_whole,
            is_cancelled: self.is_cancelled,
            end: end.map(|(end, at)| (end.clone(), at.saturating_duration_since(counted_from))),
            lines: self.lines.clone(),
            others: self.others.clone(),
            denied: self.denied,
            miscounted: self.miscounted.clone(),
            webhook,
        }
    }
}
