//! The events of a batch.

use std::time::Duration;

use domain::{BatchCounts, BatchId, BatchRecord};
use messaging::{BatchChange, BatchChanges, MessagingError, Outcomes};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Batches, view::Found};
use crate::tasks::viewer::Viewer;

/// The least time between two events: what happens in between is one event.
const EVERY: Duration = Duration::from_millis(500);
/// How often the batch is read all the same: a message can be missed.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// An event: the batch as it is then.
pub(crate) struct BatchEvent {
    pub(crate) record: BatchRecord,
    pub(crate) counts: BatchCounts,
}

impl BatchEvent {
    /// Its type.
    pub(crate) fn name(&self) -> &'static str {
        if self.record.end.is_some() { "finished" } else { "progress" }
    }

    /// Its id: the later one of two events has the higher numbers.
    pub(crate) fn id(&self) -> String {
        let ended = self.record.received - self.counts.pending.min(self.record.received);
        let BatchRecord { attempt, received, .. } = self.record;
        format!("{attempt}-{received}-{ended}-{}", self.name())
    }
}

/// The events of one batch.
pub(crate) struct BatchEvents {
    batches: Batches,
    changes: BatchChanges,
    record: BatchRecord,
    outcomes: Outcomes,
    /// The id of the last event.
    seen: Option<String>,
    /// When the next event may be, and when the batch is read again.
    next_at: Instant,
    read_at: Instant,
    is_over: bool,
}

impl Batches {
    /// The events of a batch, from the present state on unless the client has `seen` that.
    pub(crate) async fn follow(
        &self,
        id: BatchId,
        viewer: Viewer,
        seen: Option<String>,
    ) -> Result<Found<BatchEvents>, MessagingError> {
        // First: what happens after the reads is in it.
        let changes = self.store.follow(id).await?;
        let record = match self.record(id, viewer).await? {
            Found::Batch((record, _)) => record,
            Found::Expired => return Ok(Found::Expired),
            Found::Unknown => return Ok(Found::Unknown),
        };
        let outcomes = self.store.outcomes(id).await?;
        let now = Instant::now();
        Ok(Found::Batch(BatchEvents {
            batches: self.clone(),
            changes,
            record,
            outcomes,
            seen,
            next_at: now,
            read_at: now + READ_AGAIN,
            is_over: false,
        }))
    }

    /// The batch once it has ended, or as it is after `limit` or when the API stops.
    pub(crate) async fn wait(
        &self,
        id: BatchId,
        limit: Duration,
    ) -> Result<Option<BatchRecord>, MessagingError> {
        let Found::Batch(mut events) = self.follow(id, Viewer::All, None).await? else {
            return Ok(None);
        };
        let until_the_end = async { while events.next().await.is_some() {} };
        let waiting = tokio::time::timeout(limit, until_the_end);
        self.shutdown.run_until_cancelled(waiting).await;
        Ok(Some(events.record))
    }
}

impl BatchEvents {
    /// Whether the client has seen the last event.
    pub(crate) fn is_seen(&self) -> bool {
        let present = self.present();
        present.record.end.is_some() && self.seen.as_deref() == Some(present.id().as_str())
    }

    /// The next event; `None` after the last one. May be dropped at any time and called again.
    pub(crate) async fn next(&mut self) -> Option<BatchEvent> {
        loop {
            if self.is_over {
                return None;
            }
            sleep_until(self.next_at).await;
            let present = self.present();
            let is_last = present.record.end.is_some();
            let id = present.id();
            if self.seen.as_deref() != Some(id.as_str()) {
                (self.seen, self.is_over) = (Some(id), is_last);
                self.next_at = Instant::now() + EVERY;
                return Some(present);
            }
            self.change().await;
        }
    }

    fn present(&self) -> BatchEvent {
        let counts = match self.record.end {
            Some(end) => end.counts,
            None => self.outcomes.counts(self.record.received),
        };
        BatchEvent { record: self.record.clone(), counts }
    }

    /// Waits for a change, and takes all that come until the next event may be.
    async fn change(&mut self) {
        match timeout_at(self.read_at, self.changes.next()).await {
            Ok(change) => self.note(change),
            Err(_) => self.read().await,
        }
        while let Ok(change) = timeout_at(self.next_at, self.changes.next()).await {
            self.note(change);
        }
    }

    fn note(&mut self, change: BatchChange) {
        match change {
            BatchChange::Record(record) => self.record = *record,
            BatchChange::Outcome(index, outcome) => self.outcomes.note(index, outcome),
        }
    }

    async fn read(&mut self) {
        let id = self.record.batch_id;
        self.read_at = Instant::now() + READ_AGAIN;
        let read = async {
            let record = self.batches.store.get(id).await?;
            Ok::<_, MessagingError>((record, self.batches.store.outcomes(id).await?))
        };
        match read.await {
            Ok((Some((record, _)), outcomes)) => {
                (self.record, self.outcomes) = (record, outcomes);
            }
            // It has expired.
            Ok((None, _)) => self.is_over = true,
            Err(error) => tracing::debug!(batch_id = %id, %error, "reading a batch again"),
        }
    }
}
