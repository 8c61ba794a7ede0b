//! Receives a batch: its pictures are accepted or refused one by one, while the rest of it arrives.
//!
//! The ids of the tasks follow from that of the batch, and its record says up to where pictures have been received. So
//! wherever the reception ends, what was accepted is known: from the record, and for the last few pictures from the queue
//! (`closing.rs`). A client that sends the batch again with the same key continues it.

use std::{cmp::min, pin::pin, time::Duration};

use domain::{BatchCounts, BatchItem, BatchRecord, Reception};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use messaging::MessagingError;
use time::OffsetDateTime;
use tokio::time::{Instant, interval, sleep};

use super::{
    Batches,
    admission::Admission,
    beginning::{BatchOptions, Begun, NOT_STORED, Receiving},
    head::Lost,
    interruption::{Interruption, NotReceived},
    item::{Fatal, Item, Placed},
    late,
    view::BatchView,
};
use crate::{
    auth::allowance::Permit,
    upload::{Arrived, BatchUpload, Given, Pictures, UploadError},
};

/// How often the record is looked at while nothing arrives.
const TICK: Duration = Duration::from_secs(1);

type Placing = BoxFuture<'static, (u32, Result<Placed, Fatal>)>;

impl Batches {
    /// Receives a batch, to its end or to where it breaks off. It goes on without the request that sends it: a client that
    /// disconnects only ends the body.
    pub(crate) async fn receive(
        &self,
        upload: BatchUpload,
        options: BatchOptions,
    ) -> Result<BatchView, NotReceived> {
        let batches = self.clone();
        let reception = tokio::spawn(async move { batches.receive_all(upload, options).await });
        reception.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the reception of a batch has panicked");
            Err(Interruption::Unavailable.into())
        })
    }

    async fn receive_all(
        &self,
        mut upload: BatchUpload,
        options: BatchOptions,
    ) -> Result<BatchView, NotReceived> {
        let _permit = self.receptions.try_acquire().map_err(|_| Interruption::TooMany)?;
        let mut pictures = upload.pictures().await.map_err(Interruption::from)?;
        let mut begun = None;
        let received = self.receive_pictures(&mut pictures, &options, &mut begun).await;
        match (begun, received) {
            (Some(Begun::Before(record)), _) => Ok(self.view_or_less(record).await),
            (None, Ok(())) => Err(Interruption::from(UploadError::NoPictures).into()),
            (None, Err(why)) => {
                self.tasks.metrics.count_batch("refused");
                Err(why.into())
            }
            (Some(Begun::Now(reception)), received) => self.end(*reception, received).await,
        }
    }

    /// Receives the pictures, and `begun` has what was received.
    async fn receive_pictures(
        &self,
        pictures: &mut Pictures<'_>,
        options: &BatchOptions,
        begun: &mut Option<Begun>,
    ) -> Result<(), Interruption> {
        let mut placing: FuturesUnordered<Placing> = FuturesUnordered::new();
        let mut admission = Admission::new(
            self.tasks.rates.as_ref(),
            options.submitter,
            self.tasks.waiting.clone(),
        );
        let mut interruption = None;
        loop {
            let one = self.receive_one(pictures, options, begun, &mut placing, &mut admission);
            match one.await {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => {
                    interruption = Some(why);
                    break;
                }
            }
        }
        // Those under way are accepted all the same, unless another API may continue the batch.
        while interruption.as_ref().is_none_or(Interruption::leaves_the_batch_to_this_api)
            && !placing.is_empty()
        {
            if let Err(why) = self.one_placed(begun, &mut placing).await {
                // The first one counts, except for the loss of the lease.
                match why.leaves_the_batch_to_this_api() {
                    true => drop(interruption.get_or_insert(why)),
                    false => interruption = Some(why),
                }
            }
        }
        interruption.map_or(Ok(()), Err)
    }

    /// Receives the next picture, and begins to accept or refuse it. Returns whether there may be another.
    async fn receive_one(
        &self,
        pictures: &mut Pictures<'_>,
        options: &BatchOptions,
        begun: &mut Option<Begun>,
        placing: &mut FuturesUnordered<Placing>,
        admission: &mut Admission,
    ) -> Result<bool, Interruption> {
        let Some(arrived) = self.next(pictures, begun, placing, admission).await? else {
            return Ok(false);
        };
        let common: Given = options.given.iter().chain(pictures.parameters()).cloned().collect();
        if begun.is_none() {
            *begun = Some(self.begin(&common, pictures, options).await?);
        }
        match begun {
            Some(Begun::Now(reception)) if reception.is_known() => {}
            Some(Begun::Now(_)) => self.admit(begun, placing, admission).await?,
            _ => return Ok(false),
        }
        self.start(arrived, &common, options, begun, placing)?;
        Ok(true)
    }

    /// Waits until the key of the batch permits another picture, while those under way go on.
    async fn admit(
        &self,
        begun: &mut Option<Begun>,
        placing: &mut FuturesUnordered<Placing>,
        admission: &mut Admission,
    ) -> Result<(), Interruption> {
        let latest = Instant::now() + self.limits.wait;
        let mut ticks = interval(TICK);
        loop {
            let wait = match admission.take() {
                Permit::Granted => return Ok(()),
                Permit::After(wait) => wait,
                Permit::Withdrawn(why) => return Err(why.into()),
            };
            if Instant::now() + wait > latest {
                let retry_after = wait.as_secs() + 1;
                return Err(Interruption::RateLimited { retry_after });
            }
            tokio::select! {
                Some(placed) = placing.next(), if !placing.is_empty() => note(begun, placed)?,
                _ = ticks.tick() => keep(begun).await?,
                () = self.shutdown.cancelled() => return Err(Interruption::Shutdown),
                () = sleep(wait) => {}
            }
        }
    }

    /// Waits until one of those under way is accepted or refused.
    async fn one_placed(
        &self,
        begun: &mut Option<Begun>,
        placing: &mut FuturesUnordered<Placing>,
    ) -> Result<(), Interruption> {
        let mut ticks = interval(TICK);
        loop {
            tokio::select! {
                Some(placed) = placing.next() => return note(begun, placed),
                _ = ticks.tick() => keep(begun).await?,
            }
        }
    }

    /// The next picture, while those under way go on.
    async fn next(
        &self,
        pictures: &mut Pictures<'_>,
        begun: &mut Option<Begun>,
        placing: &mut FuturesUnordered<Placing>,
        admission: &Admission,
    ) -> Result<Option<Arrived>, Interruption> {
        let mut next = pin!(pictures.next());
        let mut ticks = interval(TICK);
        loop {
            let mut places = admission.places(placing.len());
            if let Some(Begun::Now(reception)) = begun
                && reception.is_comparing()
            {
                places = min(places, 1);
            }
            tokio::select! {
                biased;
                Some(placed) = placing.next(), if !placing.is_empty() => note(begun, placed)?,
                _ = ticks.tick() => {
                    keep(begun).await?;
                    admission.check()?;
                }
                () = self.shutdown.cancelled() => return Err(Interruption::Shutdown),
                arrived = &mut next, if placing.len() < places => return Ok(arrived?),
            }
        }
    }

    /// Begins to accept or refuse a picture.
    fn start(
        &self,
        arrived: Arrived,
        common: &Given,
        options: &BatchOptions,
        begun: &mut Option<Begun>,
        placing: &mut FuturesUnordered<Placing>,
    ) -> Result<(), Interruption> {
        let Some(Begun::Now(reception)) = begun else { return Ok(()) };
        let max_items = self.limits.max_items;
        if reception.next >= max_items {
            return Err(UploadError::TooManyItems { max_items }.into());
        }
        let index =
            u16::try_from(reception.next).map_err(|_| UploadError::TooManyItems { max_items })?;
        let item = BatchItem { batch_id: reception.head.record.batch_id, index };
        let Arrived { name, picture, parameters } = arrived;
        let settings = self.item_options(common, parameters, options)?;
        let item =
            Item { item, name, picture, options: settings, is_repeated: reception.is_repeated };
        let number = reception.next;
        reception.under_way.insert(number);
        reception.next += 1;
        let (batches, hooks) = (self.clone(), options.hooks);
        placing.push(Box::pin(async move { (number, batches.place(item, hooks).await) }));
        Ok(())
    }

    /// Stores how the reception has ended.
    async fn end(
        &self,
        mut reception: Receiving,
        received: Result<(), Interruption>,
    ) -> Result<BatchView, NotReceived> {
        let outcome = match &received {
            Ok(()) => Reception::Complete,
            Err(why) => Reception::Interrupted { reason: why.to_string() },
        };
        self.tasks.metrics.count_batch(if received.is_ok() { "complete" } else { "interrupted" });
        let (batch_id, attempt) = (reception.head.record.batch_id, reception.head.record.attempt);
        let is_ours =
            received.as_ref().err().is_none_or(Interruption::leaves_the_batch_to_this_api);
        let lost = self.store_end(&mut reception, outcome, is_ours).await.err();
        let uncertain = reception.uncertain();
        if !uncertain.is_empty() && (lost.is_some() || !is_ours) {
            tokio::spawn(self.clone().count_late(batch_id, attempt, uncertain));
        }
        let count = reception.head.record.received;
        tracing::info!(%batch_id, received = count, complete = received.is_ok(), "a batch was received");
        let view = self.view_or_less(reception.head.record).await;
        let why = match (received, lost) {
            (Ok(()), None) => return Ok(view),
            (Ok(()), Some(lost)) => lost.into(),
            (Err(why), _) => why,
        };
        Err(NotReceived { why, batch: Some(Box::new(view)) })
    }

    /// Stores how many pictures have been received, and that no more will be.
    async fn store_end(
        &self,
        reception: &mut Receiving,
        outcome: Reception,
        is_ours: bool,
    ) -> Result<(), Lost> {
        if reception.under_way.is_empty() {
            return reception.head.end(reception.next, outcome, None).await;
        }
        // The API that closes the batch finds out what became of these.
        if !is_ours {
            return Err(Lost::Lapsed);
        }
        let (received, missing) = self.find_last(reception).await?;
        // What was not confirmed may be stored later than it was looked for.
        let late_until = Some(OffsetDateTime::now_utc() + late::AFTER);
        reception.head.end(received, outcome, late_until).await?;
        self.note_missing(reception.head.record.batch_id, &missing, NOT_STORED).await?;
        Ok(())
    }

    /// How many pictures have been received, and which of those were not stored. Pictures that are under way were not
    /// confirmed: some may be stored, and others behind them are.
    async fn find_last(&self, reception: &Receiving) -> Result<(u32, Vec<u16>), MessagingError> {
        let batch_id = reception.head.record.batch_id;
        let outcomes = self.store.outcomes(batch_id).await?;
        let mut missing = Vec::new();
        for index in reception.uncertain() {
            if !self.is_placed(BatchItem { batch_id, index }, &outcomes).await? {
                missing.push(index);
            }
        }
        // What earlier requests have sent stays as it is.
        let known = reception.head.record.received;
        let is_missing = |number: &u32| missing.iter().any(|index| u32::from(*index) == *number);
        let last = (known..reception.next).rev().find(|number| !is_missing(number));
        let received = last.map_or(known, |last| last + 1);
        missing.retain(|index| (known..received).contains(&u32::from(*index)));
        Ok((received, missing))
    }

    /// The batch, or only its record if what became of its pictures cannot be read.
    async fn view_or_less(&self, record: BatchRecord) -> BatchView {
        match self.view(record.clone()).await {
            Ok(view) => view,
            Err(error) => {
                let batch_id = record.batch_id;
                tracing::warn!(%batch_id, %error, "the outcomes of a batch cannot be read");
                let counts = BatchCounts { pending: record.received, ..BatchCounts::default() };
                BatchView { record, counts, refusals: Vec::new() }
            }
        }
    }
}

/// Extends the lease on the batch.
async fn keep(begun: &mut Option<Begun>) -> Result<(), Interruption> {
    if let Some(Begun::Now(reception)) = begun {
        let received = reception.received();
        reception.head.keep(received).await?;
    }
    Ok(())
}

fn note(
    begun: &mut Option<Begun>,
    (number, placed): (u32, Result<Placed, Fatal>),
) -> Result<(), Interruption> {
    // One that was not placed stays under way: it was not received.
    placed?;
    if let Some(Begun::Now(reception)) = begun {
        reception.under_way.remove(&number);
    }
    Ok(())
}
