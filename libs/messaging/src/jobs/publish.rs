//! Putting jobs into the queue.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use bytes::Bytes;
use domain::{Job, ModelName, TaskRecord};
use opentelemetry::trace::SpanBuilder;
use service::{
    lifecycle::failpoints,
    telemetry::traces::{self, TraceContext},
};
use time::OffsetDateTime;

use super::{
    picture_store::{self, Upload},
    pull::Deliveries,
    trace,
    wire::{self, PictureSource},
};
use crate::{
    Messaging, MessagingError, SubmitError, connection::refusal::NotPublished,
    provision::names::JOBS_STREAM,
};

/// Bytes of a message besides picture and job: subject, header names, and the reason of a dead letter.
const HEADROOM: usize = 8 * 1024;

/// How long a submission waits for a reconnection before it is refused.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A job that may wait for less than this gets a record at once. The reconciler, which gives one to all that wait
/// longer than `record_delay`, expires tasks by their records.
const SHORT_WAIT: Duration = Duration::from_secs(3600);

/// The queue of jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobQueue {
    messaging: Messaging,
}

/// The result of one attempt to publish.
enum Published {
    /// With this sequence in the stream.
    Stored(u64),
    /// No answer: the message may be stored, now or when the connection is up again.
    Unknown,
}

impl JobQueue {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    pub(super) fn messaging(&self) -> &Messaging {
        &self.messaging
    }

    /// Stores the job and its picture (encoded, as the client sent it) in the queue. `Ok` means that both
    /// are stored, and has the job's sequence in the stream ([`TaskStore::note_queued`](crate::TaskStore::note_queued)).
    /// Submitting the same id again within the duplicate window changes nothing.
    ///
    /// The job in the queue is the proof that its task is QUEUED ([`TaskStore::find`](crate::TaskStore::find)).
    /// A record is stored besides where something relies on it: the expiry of a deadline that is near, the recovery of
    /// a lost job, which needs a picture in the object store, and lists of the tasks with certain metadata.
    ///
    /// # Errors
    /// [`SubmitError::QueueFull`], [`SubmitError::Unavailable`] and [`SubmitError::TooLarge`] mean
    /// that nothing was stored; after [`SubmitError::Unconfirmed`] the job may be stored.
    pub async fn submit(&self, job: &Job, picture: Bytes) -> Result<u64, SubmitError> {
        let span = traces::span(|| trace::sending(job, picture.len()));
        let outcome = span.around(self.store(job, picture)).await;
        if let Err(error) = &outcome {
            span.fail("not_stored", || error.to_string());
        }
        outcome
    }

    async fn store(&self, job: &Job, picture: Bytes) -> Result<u64, SubmitError> {
        if let Some(detail) = self.messaging.writes().fault() {
            return Err(SubmitError::Unavailable { detail });
        }
        self.wait_for_connection().await?;
        let is_inline = picture.len() <= self.largest_inline(job);
        let sequence = if is_inline {
            self.send(job, PictureSource::Inline(picture)).await?
        } else {
            self.send_large(job, picture).await?
        };
        failpoints::reach("api-before-record");
        // After the job, so that there is no record of a job that was never stored.
        if !is_inline || self.needs_record_at_once(job) {
            self.store_record(job).await?;
        }
        Ok(sequence)
    }

    async fn send_large(&self, job: &Job, picture: Bytes) -> Result<u64, SubmitError> {
        let upload = picture_store::upload(&self.messaging, job.task_id, &picture).await?;
        let (queue, job) = (self.clone(), job.clone());
        let task_id = job.task_id;
        // In a task of its own, which a cancelled caller does not stop: no picture may stay without its
        // job, and no job without its picture.
        let span = TraceContext::current();
        let rest = async move { span.around(queue.send_uploaded(&job, upload)).await };
        let outcome = tokio::spawn(rest).await;
        outcome.unwrap_or(Err(SubmitError::Unconfirmed { task_id }))
    }

    fn needs_record_at_once(&self, job: &Job) -> bool {
        let is_short = |deadline| deadline - OffsetDateTime::now_utc() < SHORT_WAIT;
        self.messaging.config().record_delay.is_zero()
            || job.deadline.is_some_and(is_short)
            // Lists find metadata by records.
            || job.metadata.is_some()
    }

    /// Stores the record QUEUED, unless a faster worker has written one.
    async fn store_record(&self, job: &Job) -> Result<(), SubmitError> {
        let span = traces::span(|| SpanBuilder::from_name("store record"));
        let record = TaskRecord::queued(job.clone());
        let created = span.around(self.messaging.tasks().create_queued(&record)).await;
        created.map_err(|error| {
            span.fail("not_stored", || error.to_string());
            tracing::warn!(task_id = %job.task_id, %error, "cannot write the record of a published job");
            SubmitError::Unconfirmed { task_id: job.task_id }
        })
    }

    /// Starts to pull the jobs of `models`.
    #[must_use]
    pub fn deliveries(&self, models: impl IntoIterator<Item = ModelName>) -> Deliveries {
        Deliveries::new(self.messaging.clone(), models)
    }

    /// Fails early without a connection: the client library would queue the message and publish it after
    /// the caller has got an error.
    async fn wait_for_connection(&self) -> Result<(), SubmitError> {
        let limit = RECONNECT_TIMEOUT.min(self.messaging.config().request_timeout);
        if self.messaging.wait_until_connected(limit).await {
            return Ok(());
        }
        let detail = format!("no connection to NATS at {}", self.messaging.address());
        Err(SubmitError::Unavailable { detail })
    }

    /// The largest picture, in bytes, that can travel inside this job's message.
    fn largest_inline(&self, job: &Job) -> usize {
        let max_payload = self.messaging.client().max_payload();
        // Escaped to ASCII, a name can grow to three times its bytes (猫: 3 bytes, 6 characters).
        let job_bytes = 3 * job.picture_name.len();
        let room = max_payload.saturating_sub(HEADROOM + job_bytes);
        room.min(self.messaging.config().inline_limit)
    }

    async fn send_uploaded(&self, job: &Job, upload: Upload) -> Result<u64, SubmitError> {
        let picture = upload.complete().await?;
        let outcome = self.send(job, PictureSource::Object(picture.name.clone())).await;
        let is_refused = !matches!(outcome, Ok(_) | Err(SubmitError::Unconfirmed { .. }));
        if is_refused && !picture.has_replaced {
            picture_store::delete_stored(&self.messaging, &picture).await;
        }
        outcome
    }

    async fn send(&self, job: &Job, source: PictureSource) -> Result<u64, SubmitError> {
        let (mut headers, payload) = wire::encode(job, source)
            .map_err(|error| SubmitError::Unavailable { detail: error.to_string() })?;
        trace::carry(&mut headers);
        self.publish_twice(job, headers, payload).await
    }

    /// Publishes, and retries once under the same id without an answer: the server drops a duplicate.
    async fn publish_twice(
        &self,
        job: &Job,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, SubmitError> {
        for _ in 0..2 {
            match self.publish(job, headers.clone(), payload.clone()).await? {
                Published::Stored(sequence) => return Ok(sequence),
                Published::Unknown => {
                    tracing::warn!(task_id = %job.task_id, "a published job was not confirmed");
                }
            }
        }
        Err(SubmitError::Unconfirmed { task_id: job.task_id })
    }

    async fn publish(
        &self,
        job: &Job,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Published, SubmitError> {
        let message = PublishMessage::build().headers(headers).payload(payload);
        let publish = async {
            let sent =
                self.messaging.jetstream().send_publish(wire::job_subject(job), message).await?;
            failpoints::reach("api-before-puback");
            sent.await
        };
        let written = self.messaging.within_write("publish a job", JOBS_STREAM, publish).await;
        match written {
            Ok(Ok(stored)) => Ok(Published::Stored(stored.sequence)),
            Ok(Err(error)) => match self.messaging.not_published(&error) {
                NotPublished::Unknown => Ok(Published::Unknown),
                NotPublished::Refused(refused) => Err(refused),
            },
            // It was on its way when the fault became known: a second attempt gets no answer either.
            Err(MessagingError::CannotStore { .. }) => {
                Err(SubmitError::Unconfirmed { task_id: job.task_id })
            }
            // `within_write` has no other error than a timeout besides.
            Err(_) => Ok(Published::Unknown),
        }
    }
}
