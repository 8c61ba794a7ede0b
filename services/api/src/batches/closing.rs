//! Ends batches. The API that holds the lease follows each batch that has not ended: it finds where one broke off whose
//! API has died, revokes what is left of a cancelled one, and reports the end, once each task has ended.
//!
//! All of that follows from what is stored, and to do it twice changes nothing. So no restart loses the end of a batch, and
//! two APIs that believe to hold the lease do no harm.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use domain::{BatchEnd, BatchId, BatchItem, BatchRecord, ItemOutcome, Reception, TaskRecord};
use futures_util::{StreamExt, TryStreamExt, stream};
use messaging::{
    BatchChange, BatchChanges, BatchRevision, LEASE_TTL, Lease, MessagingError, Outcomes, TaskStore,
};
use service::lifecycle::failpoints;
use time::OffsetDateTime;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{AT_A_TIME, Batches, late};

/// The name of the lease.
pub(crate) const LEASE: &str = "batches";

/// How often the lease is renewed or requested, and new batches are looked for.
const TURN: Duration = Duration::from_secs(2);
const _: () = assert!(TURN.as_secs() * 3 <= LEASE_TTL.as_secs());

/// How long a batch whose outcomes do not come is left alone before the records of its tasks are read, at first and at
/// the longest.
const QUIET: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));

/// After a failed read or write.
const PAUSE: Duration = Duration::from_secs(5);

/// A batch without a record that is older than this never gets one: its API has died in between.
const UNRECORDED: time::Duration = time::Duration::minutes(5);

/// A batch of this age has records of all its tasks, unless the queue has lost their jobs.
const RECORDED: time::Duration = time::Duration::minutes(15);

/// Follows all batches that have not ended until the API stops, while it holds the lease.
pub(crate) async fn watch(batches: Batches, mut lease: Lease) {
    let shutdown = batches.shutdown.clone();
    let mut followed = Followed::default();
    loop {
        let turn = async {
            match lease.try_hold().await {
                Ok(true) => followed.update(&batches).await,
                Ok(false) => followed.clear(),
                // Nothing is done twice that must not be.
                Err(error) => tracing::debug!(%error, "the lease of batches is unknown"),
            }
            sleep(TURN).await;
        };
        tokio::select! {
            () = turn => {}
            () = shutdown.cancelled() => break,
        }
    }
    followed.clear();
    if let Err(error) = lease.release().await {
        tracing::debug!(%error, "the lease of batches expires");
    }
}

/// The batches that are followed.
#[derive(Default)]
struct Followed {
    tasks: JoinSet<BatchId>,
    handles: HashMap<BatchId, AbortHandle>,
}

impl Followed {
    async fn update(&mut self, batches: &Batches) {
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Ok(id) => drop(self.handles.remove(&id)),
                // It is followed again.
                Err(_) => self.handles.retain(|_, handle| !handle.is_finished()),
            }
        }
        let open = match batches.store.open().await {
            Ok(open) => open,
            Err(error) => return tracing::debug!(%error, "the open batches cannot be listed"),
        };
        for id in open {
            let batches = batches.clone();
            self.handles.entry(id).or_insert_with(|| {
                self.tasks.spawn(async move {
                    while let Err(error) = batches.close(id).await {
                        tracing::warn!(batch_id = %id, %error, "a batch cannot be followed");
                        sleep(PAUSE).await;
                    }
                    id
                })
            });
        }
    }

    fn clear(&mut self) {
        self.tasks.abort_all();
        self.handles.clear();
    }
}

impl Batches {
    /// Follows a batch to its end, and reports that.
    async fn close(&self, id: BatchId) -> Result<(), MessagingError> {
        let mut changes = self.store.follow(id).await?;
        let (mut quiet, longest) = QUIET;
        let mut absent = HashSet::new();
        loop {
            let Some((record, revision)) = self.store.get(id).await? else {
                return self.forget(id).await;
            };
            if record.end.is_some() {
                self.report(&record).await?;
                if self.goes_on(&record, &mut changes).await? {
                    continue;
                }
                return self.stop_following(id).await;
            }
            let mut outcomes = self.store.outcomes(id).await?;
            if let Reception::Receiving { until } = record.reception {
                match until > OffsetDateTime::now_utc() {
                    true => await_the_reception(&mut changes, until).await,
                    false => self.interrupt(record, revision, &outcomes).await?,
                }
                continue;
            }
            if outcomes.is_complete(record.received) {
                if !self.has_forgotten_refusals(&record, &outcomes).await? {
                    self.finish(record, revision, &outcomes).await?;
                }
                continue;
            }
            if record.cancelled {
                self.revoke_pending(&record, &outcomes).await;
            }
            match note_changes(&mut changes, &mut outcomes, record.received, quiet).await {
                Noted::Changes => quiet = QUIET.0,
                Noted::Nothing => {
                    self.heal(&record, &mut absent).await?;
                    quiet = (quiet * 2).min(longest);
                }
            }
        }
    }

    /// A batch without a record: it is about to be stored, or its API has died.
    async fn forget(&self, id: BatchId) -> Result<(), MessagingError> {
        let is_old = |born| OffsetDateTime::now_utc() - born > UNRECORDED;
        if id.created_at().is_none_or(is_old) {
            return self.store.close(id).await;
        }
        sleep(PAUSE).await;
        Ok(())
    }

    /// Reports the end of a batch. If this is done again, as after a crash, the same webhook is published.
    async fn report(&self, record: &BatchRecord) -> Result<(), MessagingError> {
        failpoints::reach("api-before-report");
        self.webhooks.announce_batch(record).await
    }

    /// Notes that a batch whose end has been reported need not be followed any more.
    async fn stop_following(&self, id: BatchId) -> Result<(), MessagingError> {
        self.store.close(id).await?;
        // It may have gone on meanwhile.
        match self.store.get(id).await? {
            Some((present, _)) if present.end.is_none() => self.store.mark_open(id).await,
            _ => Ok(()),
        }
    }

    async fn finish(
        &self,
        record: BatchRecord,
        revision: BatchRevision,
        outcomes: &Outcomes,
    ) -> Result<(), MessagingError> {
        let counts = outcomes.counts(record.received);
        let end = BatchEnd { finished_at: OffsetDateTime::now_utc(), counts };
        let batch_id = record.batch_id;
        let finished = BatchRecord { end: Some(end), ..record };
        if self.store.update(&finished, revision).await?.is_some() {
            self.tasks.metrics.count_batch("finished");
            tracing::info!(%batch_id, ?counts, "a batch has ended");
        }
        Ok(())
    }

    /// Stores where a batch broke off whose API has died. Its last pictures are not in its record: those that have a task
    /// were accepted, and those before them that have none were not stored.
    async fn interrupt(
        &self,
        record: BatchRecord,
        revision: BatchRevision,
        outcomes: &Outcomes,
    ) -> Result<(), MessagingError> {
        let batch_id = record.batch_id;
        let mut received = record.received;
        let mut missing = Vec::new();
        let mut index = record.received;
        while index < received + late::GAP
            && let Ok(number) = u16::try_from(index)
        {
            if self.is_placed(BatchItem { batch_id, index: number }, outcomes).await? {
                received = index + 1;
            } else {
                missing.push(number);
            }
            index += 1;
        }
        missing.retain(|index| u32::from(*index) < received);
        let detail = "the API stopped before this picture was stored: send it again";
        self.note_missing(batch_id, &missing, detail).await?;
        let reason = "the API stopped while the batch arrived".to_owned();
        let reception = Reception::Interrupted { reason };
        let late_until = Some(OffsetDateTime::now_utc() + late::AFTER);
        let interrupted = BatchRecord { received, reception, late_until, ..record };
        if self.store.update(&interrupted, revision).await?.is_some() {
            self.tasks.metrics.count_batch("interrupted");
            tracing::warn!(%batch_id, received, "the API that received a batch has stopped");
        }
        Ok(())
    }

    /// Stores the outcomes of tasks that have ended, where that is missing: a worker of an older version has run them, or
    /// the queue has lost their jobs. By now, the reconciler has stored a record for each job that waits. A task that is
    /// twice neither in the queue nor has a record was lost with its job.
    async fn heal(
        &self,
        record: &BatchRecord,
        absent: &mut HashSet<u16>,
    ) -> Result<(), MessagingError> {
        let outcomes = self.store.outcomes(record.batch_id).await?;
        let pending = outcomes.pending(record.received).collect();
        let is_old = OffsetDateTime::now_utc() - record.created_at > RECORDED;
        let store = self.tasks.store.clone();
        let found = find_all(store, record.batch_id, pending, is_old).await?;
        let mut absent_now = HashSet::new();
        for (index, found) in found {
            let outcome = match found {
                Some(found) => ItemOutcome::of(&found.state),
                None if !is_old => None,
                None if absent.contains(&index) => Some(ItemOutcome::Failed),
                None => {
                    absent_now.insert(index);
                    None
                }
            };
            if let Some(outcome) = outcome {
                let item = BatchItem { batch_id: record.batch_id, index };
                self.store.note_outcome(item, outcome).await?;
            }
        }
        *absent = absent_now;
        Ok(())
    }
}

/// Waits until the API that receives the batch says that it does not any more, at most until its lease has ended.
async fn await_the_reception(changes: &mut BatchChanges, mut until: OffsetDateTime) {
    loop {
        let left = (until - OffsetDateTime::now_utc()).max(time::Duration::ZERO).unsigned_abs();
        match timeout(left + Duration::from_secs(1), changes.next()).await {
            Ok(BatchChange::Record(record)) => match record.reception {
                Reception::Receiving { until: extended } => until = extended,
                Reception::Complete | Reception::Interrupted { .. } => return,
            },
            Ok(BatchChange::Outcome(..)) => {}
            Err(_) => return,
        }
    }
}

/// Whether anything has happened to a batch.
enum Noted {
    Changes,
    Nothing,
}

/// Adds outcomes as they come, for a time, or until the record changes or each picture has one.
async fn note_changes(
    changes: &mut BatchChanges,
    outcomes: &mut Outcomes,
    received: u32,
    time: Duration,
) -> Noted {
    let deadline = Instant::now() + time;
    let mut noted = Noted::Nothing;
    while let Ok(change) = timeout_at(deadline, changes.next()).await {
        noted = Noted::Changes;
        match change {
            BatchChange::Outcome(index, outcome) => outcomes.note(index, outcome),
            BatchChange::Record(_) => break,
        }
        if outcomes.is_complete(received) {
            break;
        }
    }
    noted
}

/// The records of these pictures. Their jobs are looked for only if they should have one: a job is read with its picture.
async fn find_all(
    store: TaskStore,
    batch_id: BatchId,
    indices: Vec<u16>,
    with_jobs: bool,
) -> Result<Vec<(u16, Option<TaskRecord>)>, MessagingError> {
    let found = stream::iter(indices).map(move |index| {
        let store = store.clone();
        async move {
            let id = batch_id.item(index);
            let found = match store.get(id).await? {
                None if with_jobs => store.find(id).await?,
                found => found,
            };
            Ok::<_, MessagingError>((index, found))
        }
    });
    found.buffer_unordered(AT_A_TIME).try_collect().await
}
