//! Receives a batch: its pictures are accepted or refused one by one, while the rest of it arrives.
//!
//! The ids of the tasks follow from that of the batch, and its record says up to where pictures have been received. So
//! wherever the reception ends, what was accepted is known: from the record, and for the last few pictures from the queue
//! (`closing.rs`). A client that sends the batch again with the same key continues it.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use domain::{
    BatchId, BatchItem, BatchRecord, CallbackUrl, ItemRefusal, Metadata, Reception, Sha256Digest,
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use messaging::{Claimed, MessagingError, Submission};
use time::OffsetDateTime;
use tokio::time::interval;

use super::{
    AT_A_TIME, Batches,
    head::{Head, Lost, receiving},
    item::{Fatal, Item, Placed},
    manners::Manners,
    view::BatchView,
};
use crate::{
    tasks::submit::{IdempotencyKey, NotAccepted, SubmitOptions, Submitter},
    upload::{Arrived, BatchUpload, Given, Pictures, UploadError},
};

/// How often the record is looked at while nothing arrives.
const TICK: Duration = Duration::from_secs(1);

/// What a client asks for besides the pictures.
pub(crate) struct BatchOptions {
    /// Parameters for all pictures, from the query.
    pub(crate) given: Given,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    pub(crate) no_cache: bool,
    pub(crate) submitter: Option<Submitter>,
    pub(crate) manners: Manners,
}

/// Why not all of a batch was received. What was accepted of it is run.
#[derive(Debug)]
pub(crate) struct NotReceived {
    pub(crate) why: Interruption,
    /// The batch as far as it was received; `None` if nothing was.
    pub(crate) batch: Option<Box<BatchView>>,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interruption {
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    #[error("{detail}")]
    Parameter { name: String, detail: String },
    #[error("the batch was cancelled")]
    Cancelled,
    #[error("another request sends this batch at the moment")]
    InProgress,
    #[error("too many batches are being received, try again shortly")]
    TooMany,
    #[error("the API stops; send the batch again with the same Idempotency-Key to continue it")]
    Shutdown,
    #[error("the records cannot be written at the moment, try again")]
    Unavailable,
}

impl Interruption {
    /// Whether no other API continues or ends the batch meanwhile.
    fn leaves_the_batch_to_this_api(&self) -> bool {
        !matches!(self, Self::InProgress | Self::Unavailable)
    }
}

impl From<Fatal> for Interruption {
    fn from(error: Fatal) -> Self {
        match error {
            Fatal::NotAccepted(error) => Self::NotAccepted(error),
            Fatal::Messaging(error) => error.into(),
        }
    }
}

impl From<MessagingError> for Interruption {
    fn from(error: MessagingError) -> Self {
        tracing::warn!(%error, "a batch cannot be received");
        Self::Unavailable
    }
}

impl From<Lost> for Interruption {
    fn from(error: Lost) -> Self {
        match error {
            Lost::Cancelled => Self::Cancelled,
            Lost::Taken => Self::InProgress,
            Lost::Unavailable(error) => error.into(),
        }
    }
}

impl From<Interruption> for NotReceived {
    fn from(why: Interruption) -> Self {
        Self { why, batch: None }
    }
}

/// The beginning of a reception.
enum Begun {
    Now(Box<Receiving>),
    /// An earlier request has sent all of it.
    Before(BatchRecord),
}

/// A batch that is being received.
struct Receiving {
    head: Head,
    /// The index of the next picture.
    next: u32,
    /// The indices of the pictures that are neither accepted nor refused yet.
    under_way: BTreeSet<u32>,
    /// Whether an earlier request has sent some of it.
    is_repeated: bool,
}

impl Receiving {
    /// All pictures before this one have been accepted or refused.
    fn received(&self) -> u32 {
        self.under_way.first().copied().unwrap_or(self.next)
    }
}

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
        let (batches, manners) = (self.clone(), options.manners);
        placing.push(Box::pin(async move { (number, batches.place(item, manners).await) }));
        Ok(())
    }

    /// The options of a picture: its own parameters stand in for those of the batch, whose URL is called at its end only.
    fn item_options(
        &self,
        common: &Given,
        own: Given,
        options: &BatchOptions,
    ) -> Result<SubmitOptions, Interruption> {
        let is_inherited = |(name, _): &&(&'static str, _)| {
            *name != CALLBACK && own.iter().all(|(other, _)| other != name)
        };
        let mut given: Given = common.iter().filter(is_inherited).cloned().collect();
        given.extend(own);
        let settings = (options.manners.options)(self, given);
        let settings =
            settings.map_err(|(name, detail)| Interruption::Parameter { name, detail })?;
        Ok(SubmitOptions { no_cache: options.no_cache, submitter: options.submitter, ..settings })
    }

    /// Checks all parameters, and stores the record of the batch, or continues an earlier one.
    async fn begin(
        &self,
        common: &Given,
        pictures: &mut Pictures<'_>,
        options: &BatchOptions,
    ) -> Result<Begun, Interruption> {
        let settings = (options.manners.options)(self, common.clone());
        let settings =
            settings.map_err(|(name, detail)| Interruption::Parameter { name, detail })?;
        for (pointer, given) in pictures.item_parameters() {
            if let Err(Interruption::Parameter { name, detail }) =
                self.item_options(common, given.clone(), options)
            {
                let pointer = format!("{pointer}/{name}");
                return Err(UploadError::Item { pointer, detail }.into());
            }
        }
        let owner = options.submitter.map(|submitter| submitter.key);
        let mut batch_id = BatchId::generate_for(owner);
        if let Some(key) = &options.idempotency_key {
            let key = key.digest_of_batch(owner);
            batch_id = self.claim(key, batch_id, &settings).await?;
        }
        let SubmitOptions { metadata, callback_url, .. } = settings;
        let record = BatchRecord {
            batch_id,
            created_at: batch_id.created_at().unwrap_or_else(OffsetDateTime::now_utc),
            received: 0,
            reception: receiving(),
            attempt: 1,
            cancelled: false,
            owner,
            metadata,
            callback_url,
            end: None,
        };
        if let Some(revision) = self.store.create(&record).await? {
            let head = Head::new(self.store.clone(), record, revision);
            return Ok(Begun::Now(Box::new(Receiving::new(head, false))));
        }
        self.resume(batch_id).await
    }

    /// Continues a batch that broke off.
    async fn resume(&self, id: BatchId) -> Result<Begun, Interruption> {
        let Some((present, revision)) = self.store.get(id).await? else {
            return Err(Interruption::InProgress);
        };
        match &present.reception {
            Reception::Complete => return Ok(Begun::Before(present)),
            _ if present.cancelled => return Ok(Begun::Before(present)),
            Reception::Receiving { until } if *until > OffsetDateTime::now_utc() => {
                return Err(Interruption::InProgress);
            }
            Reception::Receiving { .. } | Reception::Interrupted { .. } => {}
        }
        // Its end may have been reported.
        self.store.mark_open(id).await?;
        let attempt = present.attempt.saturating_add(1);
        let record = BatchRecord { reception: receiving(), attempt, end: None, ..present };
        match self.store.update(&record, revision).await? {
            Some(revision) => {
                let head = Head::new(self.store.clone(), record, revision);
                Ok(Begun::Now(Box::new(Receiving::new(head, true))))
            }
            None => Err(Interruption::InProgress),
        }
    }

    /// The batch that the key of this digest stands for: the new one, if the key is new.
    async fn claim(
        &self,
        key: Sha256Digest,
        new: BatchId,
        settings: &SubmitOptions,
    ) -> Result<BatchId, Interruption> {
        let metadata = settings.metadata.as_ref().map(Metadata::to_json);
        let submission = Submission {
            picture_name: "",
            // The pictures have not arrived: each is compared with its task.
            picture_sha256: Sha256Digest::of("batch"),
            settings: &settings.settings,
            model: settings.model.as_ref(),
            priority: settings.priority,
            metadata: metadata.as_deref(),
            annotated: settings.annotated,
            callback_url: settings.callback_url.as_ref().map(CallbackUrl::as_str),
            deadline: settings.deadline,
        };
        match self.tasks.keys.claim(key, new.uuid(), &submission).await? {
            Claimed::Task(id) => Ok(BatchId::from_uuid(id)),
            Claimed::ByAnotherSubmission => Err(NotAccepted::KeyReused.into()),
        }
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
                let counts = domain::BatchCounts { pending: record.received, ..Default::default() };
                BatchView { record, counts, refusals: Vec::<(u16, ItemRefusal)>::new() }
            }
        }
    }
}

const CALLBACK: &str = "callback_url";

impl Receiving {
    fn new(head: Head, is_repeated: bool) -> Self {
        Self { head, next: 0, under_way: BTreeSet::new(), is_repeated }
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
