//! Begins the reception of a batch, or continues that of an earlier request with the same key.

use std::collections::BTreeSet;

use domain::{BatchId, BatchRecord, CallbackUrl, Metadata, ModelName, Reception, Sha256Digest};
use messaging::{BatchRevision, Claimed, MessagingError, Submission};
use service::lifecycle::failpoints;
use time::OffsetDateTime;

use super::{
    Batches,
    head::{Head, receiving},
    interruption::Interruption,
    route_hooks::RouteHooks,
};
use crate::{
    tasks::submit::{IdempotencyKey, NotAccepted, SubmitOptions, Submitter},
    upload::{Given, Pictures, UploadError},
};

/// The parameter that is not each picture's own.
const CALLBACK: &str = "callback_url";

/// Why a picture between others is not in the batch.
pub(super) const NOT_STORED: &str = "this picture could not be stored: send it again";

/// How often a batch is read again whose record changes before it is continued.
const MOST_CONFLICTS: usize = 5;

/// What a client asks for besides the pictures.
pub(crate) struct BatchOptions {
    /// Parameters for all pictures, from the query.
    pub(crate) given: Given,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    pub(crate) no_cache: bool,
    pub(crate) submitter: Option<Submitter>,
    pub(crate) hooks: RouteHooks,
}

/// The beginning of a reception.
pub(super) enum Begun {
    Now(Box<Receiving>),
    /// An earlier request has sent all of it.
    Before(BatchRecord),
}

/// A batch that is being received.
pub(super) struct Receiving {
    pub(super) head: Head,
    /// The index of the next picture.
    pub(super) next: u32,
    /// The indices of the pictures that are neither accepted nor refused yet.
    pub(super) under_way: BTreeSet<u32>,
    /// Whether an earlier request has sent some of it.
    pub(super) is_repeated: bool,
    /// How many pictures earlier requests have sent.
    known: u32,
}

impl Receiving {
    /// A batch of which nothing was sent before.
    fn first(head: Head) -> Self {
        let known = head.record.received;
        Self { head, next: 0, under_way: BTreeSet::new(), is_repeated: false, known }
    }

    /// A batch of which an earlier request has sent some.
    fn repeated(head: Head) -> Self {
        Self { is_repeated: true, ..Self::first(head) }
    }

    /// All pictures before this one have been accepted or refused.
    pub(super) fn received(&self) -> u32 {
        self.under_way.first().copied().unwrap_or(self.next)
    }

    /// The indices of the pictures of which it is not known whether they were accepted, once none is under way any more.
    pub(super) fn uncertain(&self) -> Vec<u16> {
        self.under_way.iter().filter_map(|number| u16::try_from(*number).ok()).collect()
    }

    /// Whether an earlier request has sent the next picture.
    pub(super) fn is_known(&self) -> bool {
        self.next < self.known
    }

    /// Whether the pictures so far are those of an earlier request, in part not compared yet. No other is accepted
    /// before that.
    pub(super) fn is_comparing(&self) -> bool {
        self.is_repeated && self.next <= self.known
    }
}

impl Batches {
    /// The options of a picture: its own parameters stand in for those of the batch, whose URL is called at its end only.
    pub(super) fn item_options(
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
        let settings = (options.hooks.options)(self, given);
        let settings =
            settings.map_err(|(name, detail)| Interruption::Parameter { name, detail })?;
        Ok(SubmitOptions { no_cache: options.no_cache, submitter: options.submitter, ..settings })
    }

    /// Checks all parameters, and stores the record of the batch, or continues an earlier one.
    pub(super) async fn begin(
        &self,
        common: &Given,
        pictures: &mut Pictures<'_>,
        options: &BatchOptions,
    ) -> Result<Begun, Interruption> {
        let settings = (options.hooks.options)(self, common.clone());
        let settings =
            settings.map_err(|(name, detail)| Interruption::Parameter { name, detail })?;
        let mut models: BTreeSet<ModelName> = settings.model.iter().cloned().collect();
        for (pointer, given) in pictures.item_parameters() {
            match self.item_options(common, given.clone(), options) {
                Ok(SubmitOptions { model, .. }) => models.extend(model),
                Err(Interruption::Parameter { name, detail }) => {
                    let pointer = format!("{pointer}/{name}");
                    return Err(UploadError::Item { pointer, detail }.into());
                }
                Err(why) => return Err(why),
            }
        }
        for model in &models {
            self.tasks.models.check(model).await.map_err(NotAccepted::from)?;
        }
        let owner = options.submitter.map(|submitter| submitter.key);
        let mut batch_id = BatchId::generate_for(owner);
        if let Some(key) = &options.idempotency_key {
            let key = key.digest_of_batch(owner);
            batch_id = self.claim(key, batch_id, &settings).await?;
        }
        let SubmitOptions { metadata, callback_url, .. } = settings;
        let begun = BatchRecord::new(batch_id, receiving());
        let record = BatchRecord { owner, metadata, callback_url, ..begun };
        if let Some(revision) = self.store.create(&record).await? {
            let head = Head::new(self.store.clone(), record, revision);
            return Ok(Begun::Now(Box::new(Receiving::first(head))));
        }
        self.resume(batch_id).await
    }

    /// Continues a batch that broke off.
    async fn resume(&self, id: BatchId) -> Result<Begun, Interruption> {
        for _ in 0..MOST_CONFLICTS {
            let Some((present, revision)) = self.store.get(id).await? else { break };
            match &present.reception {
                Reception::Complete => return Ok(Begun::Before(present)),
                _ if present.cancelled => return Ok(Begun::Before(present)),
                Reception::Receiving { until } if *until > OffsetDateTime::now_utc() => break,
                Reception::Receiving { .. } | Reception::Interrupted { .. } => {}
            }
            let attempt = present.attempt.saturating_add(1);
            let (reception, late_until) = (receiving(), None);
            let record = BatchRecord { reception, late_until, attempt, end: None, ..present };
            failpoints::reach("api-before-reopen");
            if let Some(revision) = self.reopen(&record, revision).await? {
                let head = Head::new(self.store.clone(), record, revision);
                return Ok(Begun::Now(Box::new(Receiving::repeated(head))));
            }
            // Another request continues it, or its end was stored.
        }
        Err(Interruption::InProgress)
    }

    /// Stores the record of a batch that goes on, whose end may have been reported.
    pub(super) async fn reopen(
        &self,
        record: &BatchRecord,
        revision: BatchRevision,
    ) -> Result<Option<BatchRevision>, MessagingError> {
        // Before: if this API stops in between, the batch still ends.
        self.store.mark_open(record.batch_id).await?;
        let stored = self.store.update(record, revision).await?;
        if stored.is_some() {
            // After: the API that reports the earlier end may have removed the first mark.
            self.store.mark_open(record.batch_id).await?;
        }
        Ok(stored)
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
}
