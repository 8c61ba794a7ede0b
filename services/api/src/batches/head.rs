//! The record of a batch while its pictures arrive, which this API keeps current.

use std::time::{Duration, Instant};

use domain::{BatchRecord, Reception};
use messaging::{BatchRevision, Batches as BatchStore, MessagingError};
use time::OffsetDateTime;

use super::RECEPTION_LEASE;

/// How often the record says how many pictures have been received.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often it is extended if that has not changed.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// After this, no more pictures are accepted without another extension. The rest of the lease is for what is under way.
const FRESH: Duration = Duration::from_secs(15);
const _: () = assert!(FRESH.as_secs() * 2 <= RECEPTION_LEASE.as_secs());

/// How often the last write is attempted while others change the record.
const ATTEMPTS: u32 = 5;

/// Why a batch is not received any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the batch was cancelled")]
    Cancelled,
    #[error("another request continues the batch")]
    Taken,
    #[error("another API has found that the batch broke off")]
    Lapsed,
    #[error(transparent)]
    Unavailable(#[from] MessagingError),
}

/// The record of a batch that this API receives.
pub(super) struct Head {
    store: BatchStore,
    pub(super) record: BatchRecord,
    revision: BatchRevision,
    written_at: Instant,
}

impl Head {
    /// Of a record that this API has just stored.
    pub(super) fn new(store: BatchStore, record: BatchRecord, revision: BatchRevision) -> Self {
        Self { store, record, revision, written_at: Instant::now() }
    }

    /// Notes that `received` pictures have been received, and stores that now and then.
    pub(super) async fn keep(&mut self, received: u32) -> Result<(), Lost> {
        let has_changed = received > self.record.received;
        let every = if has_changed { WRITE_EVERY } else { EXTEND_EVERY };
        if self.written_at.elapsed() < every {
            return Ok(());
        }
        let outcome = self.write(received, receiving()).await;
        match outcome {
            // Not for long: it is written again before the lease ends.
            Err(Lost::Unavailable(error)) if self.written_at.elapsed() < FRESH => {
                tracing::debug!(%error, "the record of a batch was not extended");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Stores how the reception has ended, and until when jobs may come late. Whether it was cancelled meanwhile is in the
    /// record then.
    pub(super) async fn end(
        &mut self,
        received: u32,
        reception: Reception,
        late_until: Option<OffsetDateTime>,
    ) -> Result<(), Lost> {
        let mut attempt = 1;
        loop {
            // Each time: a write that was overtaken reads the record again.
            self.record.late_until = late_until;
            match self.write(received, reception.clone()).await {
                Err(Lost::Cancelled | Lost::Unavailable(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn write(&mut self, received: u32, reception: Reception) -> Result<(), Lost> {
        let received = received.max(self.record.received);
        let record = BatchRecord { received, reception, ..self.record.clone() };
        if let Some(revision) = self.store.update(&record, self.revision).await? {
            (self.record, self.revision, self.written_at) = (record, revision, Instant::now());
            return Ok(());
        }
        let Some((found, revision)) = self.store.get(record.batch_id).await? else {
            return Err(Lost::Taken);
        };
        let is_own = found.attempt == record.attempt
            && matches!(found.reception, Reception::Receiving { .. })
            && found.end.is_none();
        if found == record {
            // The answer to this write was lost.
            (self.record, self.revision, self.written_at) = (record, revision, Instant::now());
            return Ok(());
        }
        if !is_own && found.attempt == record.attempt {
            self.record = found;
            return Err(Lost::Lapsed);
        }
        if !is_own {
            return Err(Lost::Taken);
        }
        let is_cancelled = found.cancelled;
        (self.record, self.revision) = (found, revision);
        match is_cancelled {
            true => Err(Lost::Cancelled),
            // An earlier write, whose answer was lost.
            false => {
                Err(MessagingError::Contended { task_id: record.batch_id.uuid(), attempts: 1 }
                    .into())
            }
        }
    }
}

/// For as long as the lease.
pub(super) fn receiving() -> Reception {
    Reception::Receiving { until: OffsetDateTime::now_utc() + RECEPTION_LEASE }
}
