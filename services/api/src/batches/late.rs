//! Jobs that the queue stores after their batch was closed without them.
//!
//! They were on their way when the batch broke off, and even its end may have been reported before they arrive. The jobs
//! are run as any others. Whoever looks for them has the batch end again, with them:
//!
//! - An API that was cut off from NATS while it received the batch may send them once the connection is back, however late
//!   that is. It alone knows of them, and looks them up itself ([`Batches::count_late`]).
//! - What an API has sent that has died is stored soon, if ever: its system sends the rest of a connection for two minutes at
//!   most. The record says until when, and the API that ends batches looks until then ([`Batches::goes_on`]). Until then the
//!   batch counts as open, so that the next API goes on looking, should that one stop.

use std::time::Duration;

use domain::{BatchId, BatchItem, BatchRecord, ItemOutcome, Reception};
use messaging::{BatchChange, BatchChanges, BatchRevision, MessagingError};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{AT_A_TIME, Batches, beginning::NOT_STORED};

/// Behind so many pictures without a task there is no other: fewer than that are submitted at a time.
pub(super) const GAP: u32 = 4 * AT_A_TIME as u32;

/// How long after its API has died the jobs of a batch are looked for. Linux gives up on a connection without a process
/// after some 100 s.
pub(super) const AFTER: Duration = Duration::from_secs(120);

/// The pause before each look.
const PAUSE: Duration = Duration::from_secs(5);
/// How often nothing is found. What was sent over an old connection may come after what is sent over a new one.
const LOOKS: u32 = 6;
/// When it is given up, where NATS does not answer.
const LONGEST: Duration = Duration::from_secs(3600);

/// What a look has found.
enum Found {
    /// Jobs that the batch lacked: it goes on with them.
    Some,
    /// No such jobs.
    Nothing,
    /// The batch has just changed.
    Changed,
}

impl Batches {
    /// Has the batch count those of the pictures `under_way` that turn out to be stored.
    pub(super) async fn count_late(self, id: BatchId, attempt: u32, under_way: Vec<u16>) {
        let looking = async {
            let mut looks = 0;
            while looks < LOOKS {
                sleep(PAUSE).await;
                match self.look_once_closed(id, attempt, &under_way).await {
                    Ok(None | Some(Found::Some)) => return,
                    Ok(Some(Found::Nothing)) => looks += 1,
                    Ok(Some(Found::Changed)) => {}
                    Err(error) => {
                        tracing::debug!(batch_id = %id, %error, "looking for late jobs again")
                    }
                }
            }
        };
        self.shutdown.run_until_cancelled(timeout(LONGEST, looking)).await;
    }

    /// `None`: there is nothing to look for any more.
    async fn look_once_closed(
        &self,
        id: BatchId,
        attempt: u32,
        under_way: &[u16],
    ) -> Result<Option<Found>, MessagingError> {
        let Some((record, revision)) = self.store.get(id).await? else { return Ok(None) };
        match record.reception {
            Reception::Interrupted { .. } => {
                self.look_for_late(record, revision, under_way).await.map(Some)
            }
            // Not closed yet.
            Reception::Receiving { .. } if record.attempt == attempt => Ok(Some(Found::Changed)),
            // Another request continues the batch, and sends these pictures again, or has done so.
            Reception::Receiving { .. } | Reception::Complete => Ok(None),
        }
    }

    /// Looks for late jobs of a batch that has ended, for as long as its record says. Returns whether it goes on: with them,
    /// or since another request continues it.
    pub(super) async fn goes_on(
        &self,
        record: &BatchRecord,
        changes: &mut BatchChanges,
    ) -> Result<bool, MessagingError> {
        let (Some(until), Reception::Interrupted { .. }) = (record.late_until, &record.reception)
        else {
            return Ok(false);
        };
        let (from, to) = (record.received.saturating_sub(GAP), record.received.saturating_add(GAP));
        let suspects: Vec<u16> = (from..to).filter_map(|number| number.try_into().ok()).collect();
        let mut pause = PAUSE;
        loop {
            let left = Duration::try_from(until - OffsetDateTime::now_utc()).unwrap_or_default();
            let (began, time) = (Instant::now(), pause.min(left));
            await_change(changes, record.attempt, &suspects, time).await;
            let Some((present, revision)) = self.store.get(record.batch_id).await? else {
                return Ok(true);
            };
            if present.attempt != record.attempt {
                return Ok(true);
            }
            match self.look_for_late(present, revision, &suspects).await? {
                Found::Some | Found::Changed => return Ok(true),
                Found::Nothing if left.is_zero() => return Ok(false),
                // A change that came earlier may just be one of those that were counted already.
                Found::Nothing if began.elapsed() < time => {}
                Found::Nothing => pause = (pause * 2).min(AFTER),
            }
        }
    }

    /// Has a batch that broke off count those of the `suspects` that are stored and not counted.
    async fn look_for_late(
        &self,
        record: BatchRecord,
        revision: BatchRevision,
        suspects: &[u16],
    ) -> Result<Found, MessagingError> {
        let id = record.batch_id;
        let outcomes = self.store.outcomes(id).await?;
        let mut late = Vec::new();
        for index in suspects.iter().copied() {
            let is_counted = u32::from(index) < record.received
                && outcomes.get(index) != Some(ItemOutcome::Refused);
            if !is_counted && self.tasks.store.find(id.item(index)).await?.is_some() {
                late.push(index);
            }
        }
        let Some(last) = late.iter().max() else { return Ok(Found::Nothing) };
        let received = record.received.max(u32::from(*last) + 1);
        let between = (0..=*last).filter(|index| u32::from(*index) >= record.received);
        let is_missing = |index: &u16| !late.contains(index) && outcomes.get(*index).is_none();
        let missing: Vec<_> = between.filter(is_missing).collect();
        for index in late.iter().copied() {
            self.store.forget_refusal(BatchItem { batch_id: id, index }).await?;
        }
        // Before they count as received, so that they are never counted as pending.
        self.note_missing(id, &missing, NOT_STORED).await?;
        let attempt = record.attempt.saturating_add(1);
        let counted = BatchRecord { received, attempt, end: None, ..record };
        if self.reopen(&counted, revision).await?.is_none() {
            return Ok(Found::Changed);
        }
        tracing::warn!(batch_id = %id, late = late.len(), "a closed batch has more pictures");
        Ok(Found::Some)
    }
}

/// Waits until one of these pictures has an outcome or another attempt to send the batch has begun, at most for a time.
async fn await_change(changes: &mut BatchChanges, attempt: u32, suspects: &[u16], time: Duration) {
    let deadline = Instant::now() + time;
    while let Ok(change) = timeout_at(deadline, changes.next()).await {
        let is_awaited = match change {
            BatchChange::Record(record) => record.attempt != attempt,
            BatchChange::Outcome(index, outcome) => {
                suspects.contains(&index) && outcome != ItemOutcome::Refused
            }
        };
        if is_awaited {
            return;
        }
    }
}
