//! What the clients observed of batches, as a part of their history.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use domain::BatchId;

use crate::{
    load::batch_submission::BatchSubmission,
    verdict::{
        batch_view::{BatchView, ResultLine},
        history::{Accepted, History, Observed},
        observed_batch::ObservedBatch,
    },
};

impl Observed {
    /// Notes what an answer tells of a batch. Those of its pictures that were accepted are tasks from now on.
    fn view_batch(
        &mut self,
        id: BatchId,
        submission: &Arc<BatchSubmission>,
        fault: &'static str,
        view: &BatchView,
    ) -> &mut ObservedBatch {
        self.keys.entry(submission.name.clone()).or_default().insert(id.uuid());
        let batch =
            self.batches.entry(id).or_insert_with(|| ObservedBatch::new(Arc::clone(submission)));
        if !view.adds_up() {
            batch.miscounted.push(view.clone());
        }
        let no_pictures = submission.no_pictures();
        let indices = 0..u16::try_from(view.received).unwrap_or(u16::MAX);
        let is_refused = |index: &u16| view.refused.iter().any(|item| item.index == *index);
        for index in indices.filter(|index| !no_pictures.contains(index) && !is_refused(index)) {
            let task = || Accepted::new(fault, submission.expected);
            self.accepted.entry(id.item(index)).or_insert_with(task);
        }
        batch
    }
}

impl History {
    /// An answer has this batch. It may break off, or has done so.
    pub(crate) fn batch_seen(
        &self,
        id: BatchId,
        submission: &Arc<BatchSubmission>,
        fault: &'static str,
        view: &BatchView,
    ) {
        self.observed.lock().view_batch(id, submission, fault, view);
    }

    /// The API has answered that it has received all of this batch, or that it was cancelled meanwhile.
    pub(crate) fn batch_received(
        &self,
        id: BatchId,
        submission: &Arc<BatchSubmission>,
        fault: &'static str,
        view: &BatchView,
    ) {
        let mut observed = self.observed.lock();
        let batch = observed.view_batch(id, submission, fault, view);
        batch.is_whole |= !view.cancelled;
        batch.at = Instant::now();
    }

    /// The API has answered that it has cancelled this batch.
    pub(crate) fn batch_cancelled(
        &self,
        id: BatchId,
        submission: &Arc<BatchSubmission>,
        fault: &'static str,
        view: &BatchView,
    ) {
        let mut observed = self.observed.lock();
        observed.view_batch(id, submission, fault, view).is_cancelled = true;
    }

    /// Its client sends it no more, after so many requests.
    pub(crate) fn settle_batch(&self, id: BatchId, times_sent: u32) {
        if let Some(batch) = self.observed.lock().batches.get_mut(&id) {
            batch.times_sent = Some(times_sent);
        }
    }

    /// Whether its client sends it no more.
    pub(crate) fn is_settled(&self, id: BatchId) -> bool {
        let observed = self.observed.lock();
        observed.batches.get(&id).is_some_and(|batch| batch.times_sent.is_some())
    }

    /// The final end of this batch was observed, with its results.
    pub(crate) fn batch_ended(&self, id: BatchId, view: BatchView, lines: Vec<ResultLine>) {
        let mut observed = self.observed.lock();
        let Some(batch) = observed.batches.get_mut(&id) else { return };
        match &batch.end {
            None if !view.is_finished() => {}
            None => (batch.end, batch.lines) = (Some((view, Instant::now())), lines),
            Some((end, _)) if *end != view => batch.others.push(format!("{view:?}")),
            Some(_) if batch.lines != lines => batch.others.push(format!("{lines:?}")),
            Some(_) => {}
        }
    }

    /// The API has answered that there is no such batch.
    pub(crate) fn batch_denied(&self, id: BatchId) {
        if let Some(batch) = self.observed.lock().batches.get_mut(&id) {
            batch.denied += 1;
        }
    }

    /// The batch of this submission, if a client knows it.
    pub(crate) fn batch_of(&self, name: &str) -> Option<BatchId> {
        let observed = self.observed.lock();
        observed.keys.get(name)?.first().map(|id| BatchId::from_uuid(*id))
    }

    /// What each batch that a client knows was submitted as.
    pub(crate) fn batches(&self) -> BTreeMap<BatchId, Arc<BatchSubmission>> {
        let observed = self.observed.lock();
        let batches = observed.batches.iter();
        batches.map(|(id, batch)| (*id, Arc::clone(&batch.submission))).collect()
    }
}
