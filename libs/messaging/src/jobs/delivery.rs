//! One delivery of a job, from its arrival to its settlement.

use std::time::Duration;

use async_nats::{
    Subject,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use domain::Job;
use service::telemetry::traces::{self, Span};

use super::{picture_store, trace, wire::PictureSource};
use crate::{
    Messaging, MessagingError, PictureFetchError,
    dead_letters::{
        copy::copy_to_dead_letters,
        pictures as dead_pictures,
        wire::{DeadLetterInfo, PicturePieces},
    },
    keep_alive::KeepAlive,
};

pub(crate) const NAK: Bytes = Bytes::from_static(b"-NAK");
const ACK: Bytes = Bytes::from_static(b"+ACK");

/// How often a settlement is sent before the job is left to redelivery.
const SETTLE_ATTEMPTS: u32 = 3;

/// The delay before a settlement is sent again; grows with each attempt.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// How long a release may take. Its worker is about to stop.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The delay before another attempt at a message that is not a job, when the dead letters cannot be reached.
const DEAD_LETTER_RETRY_DELAY: Duration = Duration::from_secs(30);

/// A job that has been delivered to this worker. The server redelivers it to another worker if it is
/// neither settled nor kept alive for `ack_wait`.
pub struct Delivery {
    /// The job.
    pub job: Job,
    /// The number of this delivery of the job, from 1. Includes deliveries without a run; a server that is
    /// killed may forget those of its last third of a second.
    pub attempt: u32,
    /// The number of jobs of the same priority that waited behind this one when it was delivered.
    pub waiting: u64,
    message: async_nats::Message,
    reply: Subject,
    source: PictureSource,
    messaging: Messaging,
}

/// How a delivery is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The task's terminal record is stored: delete the job, and its picture from the object store. Sent without
    /// confirmation: if the server does not receive it, it redelivers the job, whose record is found terminal.
    Ack,
    /// A temporary failure: redeliver the job after this time.
    RetryAfter(Duration),
    /// This worker does not run the job: redeliver it at once, and do not count this delivery as a run. Sent without
    /// confirmation: a worker that stops cannot wait for a server that does not answer. If the server does not
    /// receive it, it redelivers the job after `ack_wait`.
    Release,
    /// The job must not be run again: copy it with its picture to the dead letters, then delete it.
    Reject {
        /// Why, for operators.
        reason: String,
    },
}

impl Delivery {
    /// `None` for a message that no consumer delivered: it cannot be settled.
    pub(crate) fn new(
        messaging: Messaging,
        message: async_nats::Message,
        job: Job,
        source: PictureSource,
    ) -> Option<Self> {
        let reply = message.reply.clone()?;
        let Some(info) = DeliveryInfo::read(&messaging, &message) else {
            tracing::error!(task_id = %job.task_id, "a message that no consumer delivered");
            return None;
        };
        let DeliveryInfo { attempt, waiting } = info;
        Some(Self { job, attempt, waiting, message, reply, source, messaging })
    }

    /// Starts the span of the work on this delivery, in the trace of the job's sender.
    #[must_use = "the span ends when this is dropped"]
    pub fn span(&self) -> Span {
        trace::sender(&self.message).span(|| trace::processing(&self.job, self.attempt))
    }

    /// The picture's bytes as the client sent them.
    ///
    /// # Errors
    /// [`PictureFetchError::Gone`] if it is lost, [`PictureFetchError::Transient`] if a retry may succeed.
    pub async fn picture(&self) -> Result<Bytes, PictureFetchError> {
        self.picture_up_to(u64::MAX).await
    }

    /// The picture, if it travels inside the job's message and not through the object store.
    #[must_use]
    pub fn inline_picture(&self) -> Option<&Bytes> {
        match &self.source {
            PictureSource::Inline(picture) => Some(picture),
            PictureSource::Object(_) => None,
        }
    }

    /// The picture's bytes as the client sent them, if there are no more than `most`: a writer of the object
    /// store must not decide how much memory this process allocates.
    ///
    /// # Errors
    /// Those of [`Delivery::picture`], and [`PictureFetchError::TooLarge`].
    pub async fn picture_up_to(&self, most: u64) -> Result<Bytes, PictureFetchError> {
        match &self.source {
            // In memory already, and limited by the server's max_payload.
            PictureSource::Inline(picture) => Ok(picture.clone()),
            PictureSource::Object(name) => {
                picture_store::get(&self.messaging, self.job.task_id, name, most).await
            }
        }
    }

    /// Reports the job as in progress every third of `ack_wait`, from a task of its own, until the returned
    /// value is dropped.
    #[must_use = "the server redelivers the job after this is dropped"]
    pub fn keep_alive(&self) -> KeepAlive {
        KeepAlive::start(&self.messaging, self.reply.clone())
    }

    /// Settles the delivery. Waits until the server has confirmed it, except for [`Settlement::Ack`] and
    /// [`Settlement::Release`].
    ///
    /// # Errors
    /// [`MessagingError`] after several attempts, where a confirmation is awaited. The job is then redelivered, which
    /// is harmless: a terminal record stays as it is. A server that was killed may have forgotten the delivery and
    /// never confirms its settlement.
    pub async fn settle(self, settlement: Settlement) -> Result<(), MessagingError> {
        let span = traces::span(|| trace::settling(&self.job));
        let outcome = span.around(self.send_settlement(settlement)).await;
        if let Err(error) = &outcome {
            span.fail("not_confirmed", || error.to_string());
        }
        outcome
    }

    async fn send_settlement(self, settlement: Settlement) -> Result<(), MessagingError> {
        match settlement {
            Settlement::Ack => {
                let ack = self.messaging.client().publish(self.reply.clone(), ACK);
                self.messaging.within("settle a job", ack).await?;
                if let PictureSource::Object(name) = &self.source {
                    picture_store::delete(&self.messaging, name).await;
                }
                Ok(())
            }
            Settlement::RetryAfter(delay) => {
                confirm(&self.messaging, &self.reply, AckKind::Nak(Some(delay)).into()).await
            }
            Settlement::Release => self.release().await,
            Settlement::Reject { reason } => self.reject(&reason).await,
        }
    }

    async fn release(self) -> Result<(), MessagingError> {
        let what = "release a job";
        let client = self.messaging.client();
        self.note_release().await;
        let release = async {
            let sent = client.publish(self.reply.clone(), NAK).await;
            sent.map_err(|error| MessagingError::failed(what, error))?;
            client.flush().await.map_err(|error| MessagingError::failed(what, error))
        };
        self.messaging.within_time(what, RELEASE_TIMEOUT, release).await?
    }

    /// Stores that this delivery was no run. Of later deliveries than the first, that is known: their runs are
    /// stored when they begin.
    async fn note_release(&self) {
        if self.attempt > 1 {
            return;
        }
        let tasks = self.messaging.tasks();
        let note = tasks.note_released(&self.job);
        let noted = self.messaging.within_time("note a release", RELEASE_TIMEOUT / 2, note).await;
        if let Err(error) | Ok(Err(error)) = noted {
            tracing::debug!(task_id = %self.job.task_id, %error, "the release counts as a run");
        }
    }

    async fn reject(self, reason: &str) -> Result<(), MessagingError> {
        let pieces = self.copy_large_picture().await?;
        let letter = DeadLetterInfo {
            task_id: Some(self.job.task_id),
            reason,
            deliveries: self.attempt,
            pieces: pieces.as_ref(),
        };
        copy_to_dead_letters(&self.messaging, &self.message, &letter).await?;
        confirm(&self.messaging, &self.reply, ACK).await?;
        if let PictureSource::Object(name) = &self.source {
            picture_store::delete(&self.messaging, name).await;
        }
        Ok(())
    }

    /// Copies a picture from the object store, where it expires long before the dead letter. `None` if it is
    /// in the message, or gone.
    async fn copy_large_picture(&self) -> Result<Option<PicturePieces>, MessagingError> {
        if let PictureSource::Inline(_) = self.source {
            return Ok(None);
        }
        match self.picture().await {
            Ok(picture) => {
                dead_pictures::put(&self.messaging, self.job.task_id, &picture).await.map(Some)
            }
            Err(PictureFetchError::Gone { .. } | PictureFetchError::TooLarge { .. }) => Ok(None),
            Err(PictureFetchError::Transient(error)) => Err(error),
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("job", &self.job)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// The server's data about one delivery of a message.
struct DeliveryInfo {
    /// How often the message was delivered, this time included.
    attempt: u32,
    /// The number of messages that waited behind it, in the same lane.
    waiting: u64,
}

impl DeliveryInfo {
    /// `None` if no consumer delivered the message.
    fn read(messaging: &Messaging, message: &async_nats::Message) -> Option<Self> {
        // All of it is in the subject to reply to.
        let message = async_nats::Message {
            subject: message.subject.clone(),
            reply: message.reply.clone(),
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        let message = jetstream::Message { message, context: messaging.jetstream().clone() };
        let info = message.info().ok()?;
        let attempt = u32::try_from(info.delivered).unwrap_or(u32::MAX);
        Some(Self { attempt, waiting: info.pending })
    }
}

/// Sends `acknowledgement` of a delivery until the server confirms it.
///
/// As a request and not by the library's `double_ack`, which takes "no responders" for a confirmation.
async fn confirm(
    messaging: &Messaging,
    reply: &Subject,
    acknowledgement: Bytes,
) -> Result<(), MessagingError> {
    let mut attempt = 1;
    loop {
        // Attempts count for a server that does not answer, not for a lost connection. After `ack_wait` the
        // delivery is over.
        messaging.wait_until_connected(messaging.config().ack_wait).await;
        let request = messaging.client().request(reply.clone(), acknowledgement.clone());
        match messaging.within("settle a job", request).await {
            Ok(_) => return Ok(()),
            Err(error) if attempt >= SETTLE_ATTEMPTS => return Err(error),
            Err(error) => tracing::debug!(%error, attempt, "a settlement was not confirmed"),
        }
        tokio::time::sleep(SETTLE_PAUSE * attempt).await;
        attempt += 1;
    }
}

/// Moves a message that is not a job to the dead letters.
pub(crate) async fn dead_letter_unreadable(
    messaging: Messaging,
    message: async_nats::Message,
    reason: String,
) {
    let Some(reply) = &message.reply else { return };
    let deliveries = DeliveryInfo::read(&messaging, &message).map_or(0, |found| found.attempt);
    let letter = DeadLetterInfo { task_id: None, reason: &reason, deliveries, pieces: None };
    let outcome = match copy_to_dead_letters(&messaging, &message, &letter).await {
        Ok(()) => confirm(&messaging, reply, ACK).await,
        Err(error) => {
            tracing::warn!(%error, "the dead letters cannot be reached; retrying later");
            confirm(&messaging, reply, AckKind::Nak(Some(DEAD_LETTER_RETRY_DELAY)).into()).await
        }
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, "a message that is not a job will be redelivered");
    }
}
