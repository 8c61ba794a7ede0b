//! Receives a batch: its pictures are accepted or refused one by one, while the rest of it arrives.
//!
//! The ids of the tasks follow from that of the batch, and its record says up to where pictures have been received. So
//! wherever the reception ends, what was accepted is known: from the record, and for the last few pictures from the queue
//! (`closing.rs`). A client that sends the batch again with the same key continues it.

use std::{pin::pin, time::Duration};

use domain::{BatchCounts, BatchItem, BatchRecord, Reception};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::interval;

use super::{
    AT_A_TIME, Batches,
    beginning::{BatchOptions, Begun, Receiving},
    interruption::{Interruption, NotReceived},
    item::{Fatal, Item, Placed},
    view::BatchView,
};
use crate::upload::{Arrived, BatchUpload, Given, Pictures, UploadError};

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
        let mut interruption = None;
        loop {
            let arrived = match self.next(pictures, begun, &mut placing).await {
                Ok(Some(arrived)) => arrived,
                Ok(None) => break,
                Err(why) => {
                    interruption = Some(why);
                    break;
                }
            };
            if let Err(why) = self.start(arrived, pictures, options, begun, &mut placing).await {
                interruption = Some(why);
                break;
            }
            if matches!(begun, Some(Begun::Before(_))) {
                break;
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
    ) -> Result<Option<Arrived>, Interruption> {
        let mut next = pin!(pictures.next());
        let mut ticks = interval(TICK);
        loop {
            tokio::select! {
                biased;
                Some(placed) = placing.next(), if !placing.is_empty() => note(begun, placed)?,
                _ = ticks.tick() => keep(begun).await?,
                () = self.shutdown.cancelled() => return Err(Interruption::Shutdown),
                arrived = &mut next, if placing.len() < AT_A_TIME => return Ok(arrived?),
            }
        }
    }

    /// Begins to accept or refuse a picture.
    async fn start(
        &self,
        arrived: Arrived,
        pictures: &mut Pictures<'_>,
        options: &BatchOptions,
        begun: &mut Option<Begun>,
        placing: &mut FuturesUnordered<Placing>,
    ) -> Result<(), Interruption> {
        let common: Given = options.given.iter().chain(pictures.parameters()).cloned().collect();
        let begun = match begun {
            Some(begun) => begun,
            None => begun.insert(self.begin(&common, pictures, options).await?),
        };
        let Begun::Now(reception) = begun else { return Ok(()) };
        let max_items = self.limits.max_items;
        if reception.next >= max_items {
            return Err(UploadError::TooManyItems { max_items }.into());
        }
        let index =
            u16::try_from(reception.next).map_err(|_| UploadError::TooManyItems { max_items })?;
        let item = BatchItem { batch_id: reception.head.record.batch_id, index };
        let Arrived { name, picture, parameters } = arrived;
        let settings = self.item_options(&common, parameters, options)?;
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
        // Not those whose picture could not be stored.
        let count = reception.received();
        let outcome = match &received {
            Ok(()) => Reception::Complete,
            Err(why) => Reception::Interrupted { reason: why.to_string() },
        };
        self.tasks.metrics.count_batch(if received.is_ok() { "complete" } else { "interrupted" });
        let lost = reception.head.end(count, outcome).await.err();
        let batch_id = reception.head.record.batch_id;
        tracing::info!(%batch_id, received = count, complete = received.is_ok(), "a batch was received");
        let view = self.view_or_less(reception.head.record).await;
        let why = match (received, lost) {
            (Ok(()), None) => return Ok(view),
            (Ok(()), Some(lost)) => lost.into(),
            (Err(why), _) => why,
        };
        Err(NotReceived { why, batch: Some(Box::new(view)) })
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
