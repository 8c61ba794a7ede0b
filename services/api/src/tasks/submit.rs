//! Submits pictures as tasks.

use std::{
    num::NonZero,
    str::FromStr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    CallbackUrl, DetectionSettings, DrawingFormat, Job, KeyId, Metadata, ModelName, Priority,
    Sha256Digest, TaskId, TaskRecord, TaskState,
    picture::{PictureLimits, inspect},
};
use messaging::{Claimed, MessagingError, Submission, SubmitError};
use service::lifecycle::failpoints;

use super::{Tasks, waiting::Reservation};
use crate::{auth::Overrun, models::UnknownModel, upload::UploadedPicture};

/// `Retry-After` in seconds while NATS is not available.
pub(crate) const RETRY_AFTER_SECONDS: u64 = 5;

/// The options of a submission.
#[derive(Debug, Default)]
pub(crate) struct SubmitOptions {
    pub(crate) settings: DetectionSettings,
    /// How long the job may wait for a worker.
    pub(crate) deadline: Option<Duration>,
    /// The model to run; `None`: the API's.
    pub(crate) model: Option<ModelName>,
    /// How soon to run the job.
    pub(crate) priority: Priority,
    /// What the client attaches to the task.
    pub(crate) metadata: Option<Metadata>,
    /// The format of the drawing that the client asks for.
    pub(crate) annotated: Option<DrawingFormat>,
    /// Where the end of the task is reported.
    pub(crate) callback_url: Option<CallbackUrl>,
    /// Identifies retries of the same submission.
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    /// Whether to run the model even if the result is cached.
    pub(crate) no_cache: bool,
    /// The API key of the request. `None`: it has none.
    pub(crate) submitter: Option<Submitter>,
}

/// How a job is put into the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    no_cache: bool,
    submitter: Option<Submitter>,
}

impl SubmitOptions {
    /// How their job is put into the queue.
    pub(crate) fn terms(&self) -> Terms {
        Terms { no_cache: self.no_cache, submitter: self.submitter }
    }
}

/// The API key that a task is submitted with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submitter {
    pub(crate) key: KeyId,
    /// How many jobs of it may be in the queue at a time. `None`: as many as fit.
    pub(crate) quota: Option<u32>,
}

/// A key that the client chooses, from header `Idempotency-Key`: 1 to 255 visible ASCII characters.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(String);

impl IdempotencyKey {
    /// What the key is stored as. Two API keys may use the same idempotency key for different tasks.
    fn digest(&self, owner: Option<KeyId>) -> Sha256Digest {
        match owner {
            // No idempotency key has a line break.
            Some(owner) => Sha256Digest::of(format!("{owner}\n{}", self.0)),
            None => Sha256Digest::of(&self.0),
        }
    }

    /// The same for a batch: another one than that of a task with the same key.
    pub(crate) fn digest_of_batch(&self, owner: Option<KeyId>) -> Sha256Digest {
        Sha256Digest::of(format!("batch\n{}", self.digest(owner)))
    }
}

impl FromStr for IdempotencyKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The IETF's draft writes the key as a quoted string; most clients do not.
        let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let text = quoted.unwrap_or(text);
        let fits =
            (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err("Idempotency-Key must have 1 to 255 visible ASCII characters".to_owned())
        }
    }
}

/// Why a valid picture was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAccepted {
    #[error("the queue is full, try again later")]
    QueueFull {
        /// Seconds to wait.
        retry_after: u64,
    },
    #[error(
        "{quota} jobs of the API key are in the queue, which is its quota; submit more once some have ended"
    )]
    QuotaExceeded {
        quota: u32,
        /// Seconds to wait.
        retry_after: u64,
    },
    #[error(
        "the picture is run {runs} times for its tiles, which is more than the rate of the API key permits now"
    )]
    RateExceeded {
        runs: u32,
        /// Seconds to wait.
        retry_after: u64,
    },
    #[error(
        "the picture is run {runs} times for its tiles, and the API key may send {burst} requests at once: ask for fewer tiles"
    )]
    TooManyRuns { runs: u32, burst: u32 },
    #[error(
        "the queue does not answer, try again later; task {task_id} may still be run if it was stored"
    )]
    Unavailable { task_id: TaskId },
    #[error(transparent)]
    UnknownModel(#[from] UnknownModel),
    #[error(
        "this Idempotency-Key was used for another picture or other settings: use a new key for a \
         new submission"
    )]
    KeyReused,
}

fn unavailable(task_id: TaskId, what: &str, error: &MessagingError) -> NotAccepted {
    tracing::warn!(%task_id, what, %error, "cannot complete a submission");
    NotAccepted::Unavailable { task_id }
}

impl Tasks {
    /// Puts the picture into the queue, or finishes its task immediately if the result is cached. A returned
    /// record in state QUEUED means that the job is stored: it will be run, unless no worker takes it before
    /// its deadline.
    pub(crate) async fn submit(
        &self,
        picture: UploadedPicture,
        options: SubmitOptions,
    ) -> Result<TaskRecord, NotAccepted> {
        let accepted = self.accept(picture, options).await;
        self.count(&accepted);
        accepted
    }

    /// Submits a picture of a batch, as [`Self::submit`] does. To do it twice stores one job, within the queue's duplicate
    /// window.
    pub(crate) async fn submit_item(
        &self,
        job: &Job,
        picture: Bytes,
        terms: Terms,
    ) -> Result<TaskRecord, NotAccepted> {
        let accepted = self.place_known(job, picture, terms).await;
        self.count(&accepted);
        accepted
    }

    async fn place_known(
        &self,
        job: &Job,
        picture: Bytes,
        terms: Terms,
    ) -> Result<TaskRecord, NotAccepted> {
        self.models.check(&job.model).await?;
        self.place(job.clone(), picture, terms).await
    }

    fn count(&self, accepted: &Result<TaskRecord, NotAccepted>) {
        self.metrics.count_submission(match accepted {
            Ok(TaskRecord { state: TaskState::Success { cached: true, .. }, .. }) => "cached",
            Ok(_) => "accepted",
            Err(NotAccepted::QueueFull { .. }) => "queue_full",
            Err(NotAccepted::QuotaExceeded { .. }) => "quota_exceeded",
            Err(NotAccepted::RateExceeded { .. }) => "rate_limited",
            Err(NotAccepted::Unavailable { .. }) => "unavailable",
            Err(
                NotAccepted::KeyReused
                | NotAccepted::TooManyRuns { .. }
                | NotAccepted::UnknownModel(_),
            ) => "refused",
        });
    }

    /// The job of a picture of this name and digest.
    pub(crate) fn job(
        &self,
        name: String,
        sha256: Option<Sha256Digest>,
        options: SubmitOptions,
    ) -> Job {
        let model = options.model.unwrap_or_else(|| self.models.default.clone());
        let owner = options.submitter.map(|submitter| submitter.key);
        let mut job = Job::new(name, model, options.settings).owned_by(owner);
        job.priority = options.priority;
        job.metadata = options.metadata;
        job.annotated = options.annotated;
        job.callback_url = options.callback_url;
        // No longer than records are kept: after that there would be no record of the outcome.
        let longest_wait = options.deadline.unwrap_or(self.deadline).min(self.result_ttl);
        job.deadline = Some(job.submitted_at + longest_wait);
        job.picture_sha256 = sha256;
        job
    }

    async fn accept(
        &self,
        picture: UploadedPicture,
        options: SubmitOptions,
    ) -> Result<TaskRecord, NotAccepted> {
        let UploadedPicture { name, bytes, sha256, slot: _slot } = picture;
        let mut options = options;
        let (deadline, terms) = (options.deadline, options.terms());
        let idempotency_key = options.idempotency_key.take();
        let mut job = self.job(name, sha256, options);
        // Before the key is claimed, so that it is free for a request that can be accepted.
        self.models.check(&job.model).await?;
        if let Some(key) = idempotency_key {
            let task_id = self.claim(&key, &job, &bytes, deadline).await?;
            if task_id != job.task_id {
                let record = self.store.find(task_id).await;
                let record = record.map_err(|error| unavailable(task_id, "read", &error))?;
                if let Some(record) = record {
                    // The API that stored a cached result may have ended before it was announced.
                    let announced = self.store.announce(&record).await;
                    announced.map_err(|error| unavailable(task_id, "announce", &error))?;
                    return Ok(record);
                }
                // The first submission is still in progress, or was aborted before the job was stored. The
                // queue stores one of several jobs with the same id.
                job.task_id = task_id;
            }
        }
        self.place(job, bytes, terms).await
    }

    async fn place(&self, job: Job, bytes: Bytes, terms: Terms) -> Result<TaskRecord, NotAccepted> {
        let Terms { no_cache, submitter } = terms;
        if !no_cache && let Some(ended) = self.finish_from_cache(&job).await? {
            return Ok(ended);
        }
        self.charge_runs(submitter, &job.settings, &bytes)?;
        let _reservation = self.reserve(submitter).await?;
        let sequence = self.store_job(&job, bytes).await?;
        self.store.note_queued(job.clone(), sequence);
        if let Some(index) = &self.index {
            index.note_queued(&job);
        }
        Ok(TaskRecord::queued(job))
    }

    /// Counts the runs of a picture's tiles toward the rate of its key, which has counted the request as the first run.
    fn charge_runs(
        &self,
        submitter: Option<Submitter>,
        settings: &DetectionSettings,
        picture: &[u8],
    ) -> Result<(), NotAccepted> {
        let (Some(tiling), Some(submitter), Some(keys)) =
            (&settings.tiling, submitter, &self.rates)
        else {
            return Ok(());
        };
        // The upload has checked its limits.
        let limits = PictureLimits { max_bytes: u64::MAX, max_pixels: u64::MAX };
        let Ok(header) = inspect(picture, &limits) else { return Ok(()) };
        let runs = tiling.runs(header.width, header.height);
        let Some(more) = NonZero::new(runs - 1) else { return Ok(()) };
        keys.charge(submitter.key, more).map_err(|overrun| match overrun {
            Overrun::For(wait) => {
                NotAccepted::RateExceeded { runs, retry_after: wait.as_secs() + 1 }
            }
            Overrun::Always { burst } => NotAccepted::TooManyRuns { runs, burst },
        })
    }

    /// A place for one more job of the submitter, if that has a quota.
    async fn reserve(
        &self,
        submitter: Option<Submitter>,
    ) -> Result<Option<Reservation>, NotAccepted> {
        let Some(Submitter { key, quota: Some(quota) }) = submitter else { return Ok(None) };
        match self.waiting.reserve(key, quota).await {
            Some(reservation) => Ok(Some(reservation)),
            None => {
                let retry_after = self.backpressure.retry_after();
                Err(NotAccepted::QuotaExceeded { quota, retry_after })
            }
        }
    }

    /// Finishes the task with the cached result of the same picture, and returns its record. `None` if
    /// nothing is cached, or if a record of this task exists already.
    async fn finish_from_cache(&self, job: &Job) -> Result<Option<TaskRecord>, NotAccepted> {
        let Some(responses) = &self.responses else { return Ok(None) };
        let Some(end) = responses.lookup(job).await else { return Ok(None) };
        let record = TaskRecord::queued(job.clone()).with_state(end);
        let created = self.store.create_terminal(&record).await;
        if !created.map_err(|error| unavailable(job.task_id, "end", &error))? {
            return Ok(None);
        }
        if let Some(cache) = &self.cache {
            cache.put_in_background(&record);
        }
        Ok(Some(record))
    }

    /// The id of the task that `key` identifies: `job`'s own if the key is new.
    async fn claim(
        &self,
        key: &IdempotencyKey,
        job: &Job,
        picture: &Bytes,
        deadline: Option<Duration>,
    ) -> Result<TaskId, NotAccepted> {
        let task_id = job.task_id;
        let metadata = job.metadata.as_ref().map(Metadata::to_json);
        let submission = Submission {
            picture_name: &job.picture_name,
            picture_sha256: job.picture_sha256.unwrap_or_else(|| Sha256Digest::of(picture)),
            settings: &job.settings,
            model: Some(&job.model).filter(|model| **model != self.models.default),
            priority: job.priority,
            metadata: metadata.as_deref(),
            annotated: job.annotated,
            callback_url: job.callback_url.as_ref().map(CallbackUrl::as_str),
            deadline,
        };
        let claimed = self.keys.claim(key.digest(job.owner), task_id, &submission).await;
        match claimed.map_err(|error| unavailable(task_id, "claim", &error))? {
            Claimed::Task(task_id) => Ok(task_id),
            Claimed::ByAnotherSubmission => Err(NotAccepted::KeyReused),
        }
    }

    /// Puts the job into the queue; returns its sequence there.
    async fn store_job(&self, job: &Job, picture: Bytes) -> Result<u64, NotAccepted> {
        let task_id = job.task_id;
        failpoints::reach("api-before-publish");
        let published = self.queue.submit(job, picture).await;
        let sequence = published.map_err(|error| match error {
            SubmitError::QueueFull { .. } => {
                self.backpressure.note_full(Instant::now());
                NotAccepted::QueueFull { retry_after: self.backpressure.retry_after() }
            }
            SubmitError::Unavailable { .. }
            | SubmitError::Unconfirmed { .. }
            | SubmitError::TooLarge { .. } => {
                tracing::warn!(%task_id, %error, "cannot publish a job");
                NotAccepted::Unavailable { task_id }
            }
        })?;
        failpoints::reach("api-before-answer");
        Ok(sequence)
    }
}
