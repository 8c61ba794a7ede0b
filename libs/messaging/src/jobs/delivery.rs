//! One hand-over of a job, from the moment it arrives to its settlement.

use std::time::Duration;

use async_nats::{
    Subject,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use domain::Job;
use service::telemetry::traces::{self, Span};
use tokio::{task::JoinHandle, time::Instant};

use super::{picture_store, trace, wire::PictureSource};
use crate::{
    Messaging, MessagingError, PictureFetchError,
    dead_letters::{
        copy::copy_to_dead_letters,
        pictures as dead_pictures,
        wire::{DeadLetterInfo, PicturePieces},
    },
};

pub(crate) const NAK: Bytes = Bytes::from_static(b"-NAK");
const ACK: Bytes = Bytes::from_static(b"+ACK");
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// How often a settlement is told to the server before it is left to redelivery.
const SETTLE_ATTEMPTS: u32 = 3;

/// The pause before a settlement is told again.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// How long a release may take. Its worker is about to stop.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a message that is no job waits when the dead letters cannot be reached.
const BURY_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A job that has been handed to this worker. Until it is settled, the server waits; a worker that
/// is silent for longer than `ack_wait` loses it to another.
pub struct Delivery {
    /// The job.
    pub job: Job,
    /// Which hand-over of this job it is, from 1. Counts hand-overs that nobody started, too; a
    /// server that is killed may forget those of its last third of a second.
    pub attempt: u32,
    /// How many jobs waited behind this one when it was handed out.
    pub waiting: u64,
    message: async_nats::Message,
    reply: Subject,
    source: PictureSource,
    messaging: Messaging,
}

/// What is to become of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The task's end is stored: remove the job, and its picture from the object store.
    Ack,
    /// Something passing went wrong: hand the job out again after this time.
    RetryAfter(Duration),
    /// This worker does not run the job: hand it out again at once. Sent, but not confirmed: a worker
    /// that stops has no time for a server that does not answer. If the server does not receive it,
    /// it hands the job out again after `ack_wait`.
    Release,
    /// The job must not be run again: put a copy with its picture among the dead letters, then
    /// remove it.
    Reject {
        /// Why, for the person who reads the dead letters.
        reason: String,
    },
}

impl Delivery {
    /// `None` for a message that did not come from a consumer: nothing can be settled then.
    pub(crate) fn new(
        messaging: Messaging,
        message: async_nats::Message,
        job: Job,
        source: PictureSource,
    ) -> Option<Self> {
        let reply = message.reply.clone()?;
        let Some(hand_over) = HandOver::read(&messaging, &message) else {
            tracing::error!(task_id = %job.task_id, "a message from no consumer");
            return None;
        };
        let HandOver { attempt, waiting } = hand_over;
        Some(Self { job, attempt, waiting, message, reply, source, messaging })
    }

    /// Starts the span of the work on this delivery, in the trace of whoever sent the job.
    #[must_use = "the span ends when this is dropped"]
    pub fn span(&self) -> Span {
        trace::sender(&self.message).span(|| trace::processing(&self.job, self.attempt))
    }

    /// The picture's bytes as the client sent them.
    ///
    /// # Errors
    /// [`PictureFetchError::Gone`] if it will never come back, [`PictureFetchError::Transient`] if trying
    /// again makes sense.
    pub async fn picture(&self) -> Result<Bytes, PictureFetchError> {
        self.picture_up_to(u64::MAX).await
    }

    /// The picture's bytes as the client sent them, if there are no more than `most`: whoever may write
    /// to the object store is not to decide how much memory this process takes.
    ///
    /// # Errors
    /// Those of [`Delivery::picture`], and [`PictureFetchError::TooLarge`].
    pub async fn picture_up_to(&self, most: u64) -> Result<Bytes, PictureFetchError> {
        match &self.source {
            // Already here, and no larger than the server lets a message be.
            PictureSource::Inline(picture) => Ok(picture.clone()),
            PictureSource::Object(name) => {
                picture_store::get(&self.messaging, self.job.task_id, name, most).await
            }
        }
    }

    /// Tells the server every third of `ack_wait` that the job is being worked on, until the value
    /// returned is dropped. Works beside a thread that is busy with the job.
    #[must_use = "dropping it lets the job go to another worker"]
    pub fn keep_alive(&self) -> KeepAlive {
        let messaging = self.messaging.clone();
        let reply = self.reply.clone();
        let every = messaging.config().ack_wait / 3;
        let task = tokio::spawn(async move {
            // Being handed out has just given it a whole `ack_wait`.
            let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let tell = messaging.client().publish(reply.clone(), IN_PROGRESS);
                if let Err(error) = messaging.within("keep a job", tell).await {
                    tracing::warn!(%error, "the server was not told that a job is in progress");
                }
            }
        });
        KeepAlive { task }
    }

    /// Tells the server what is to become of the job, and waits until it has confirmed that, except
    /// for a [`Settlement::Release`].
    ///
    /// # Errors
    /// [`MessagingError`] after several attempts. The job is then handed out again, which is
    /// harmless: its task's end, if stored, stays as it is. A server that was killed may have
    /// forgotten the hand-over and never confirms it.
    pub async fn settle(self, settlement: Settlement) -> Result<(), MessagingError> {
        let span = traces::span(|| trace::settling(&self.job));
        let outcome = span.around(self.tell(settlement)).await;
        if let Err(error) = &outcome {
            span.fail("not_confirmed", || error.to_string());
        }
        outcome
    }

    async fn tell(self, settlement: Settlement) -> Result<(), MessagingError> {
        match settlement {
            Settlement::Ack => {
                confirm(&self.messaging, &self.reply, ACK).await?;
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
        let release = async {
            let sent = client.publish(self.reply.clone(), NAK).await;
            sent.map_err(|error| MessagingError::failed(what, error))?;
            client.flush().await.map_err(|error| MessagingError::failed(what, error))
        };
        self.messaging.within_time(what, RELEASE_TIMEOUT, release).await?
    }

    async fn reject(self, reason: &str) -> Result<(), MessagingError> {
        let pieces = self.keep_large_picture().await?;
        let burial = DeadLetterInfo {
            task_id: Some(self.job.task_id),
            reason,
            deliveries: self.attempt,
            pieces: pieces.as_ref(),
        };
        copy_to_dead_letters(&self.messaging, &self.message, &burial).await?;
        confirm(&self.messaging, &self.reply, ACK).await?;
        if let PictureSource::Object(name) = &self.source {
            picture_store::delete(&self.messaging, name).await;
        }
        Ok(())
    }

    /// Copies a picture from the object store, which would forget it long before the dead letter.
    /// `None` if it travels in the message, or is gone.
    async fn keep_large_picture(&self) -> Result<Option<PicturePieces>, MessagingError> {
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

/// What the server says of one hand-over of a message.
struct HandOver {
    /// How often the message was handed out, this time included.
    attempt: u32,
    /// How many messages waited behind it.
    waiting: u64,
}

impl HandOver {
    /// `None` if the message came from no consumer.
    fn read(messaging: &Messaging, message: &async_nats::Message) -> Option<Self> {
        let (message, context) = (message.clone(), messaging.jetstream().clone());
        let message = jetstream::Message { message, context };
        let info = message.info().ok()?;
        let attempt = u32::try_from(info.delivered).unwrap_or(u32::MAX);
        Some(Self { attempt, waiting: info.pending })
    }
}

/// Keeps a job from being handed to another worker for as long as it is held.
#[derive(Debug)]
pub struct KeepAlive {
    task: JoinHandle<()>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Says `verdict` about a delivery until the server confirms it.
///
/// By a request, not by the library's `double_ack`, which takes "nobody is listening" for a yes.
async fn confirm(
    messaging: &Messaging,
    reply: &Subject,
    verdict: Bytes,
) -> Result<(), MessagingError> {
    let mut attempt = 1;
    loop {
        // Attempts are for a server that does not answer. Without a connection there is nothing to
        // attempt; after `ack_wait` there is nothing left to settle either.
        messaging.wait_until_connected(messaging.config().ack_wait).await;
        let request = messaging.client().request(reply.clone(), verdict.clone());
        match messaging.within("settle a job", request).await {
            Ok(_) => return Ok(()),
            Err(error) if attempt >= SETTLE_ATTEMPTS => return Err(error),
            Err(error) => tracing::debug!(%error, attempt, "a settlement was not confirmed"),
        }
        tokio::time::sleep(SETTLE_PAUSE * attempt).await;
        attempt += 1;
    }
}

/// Moves a message that is no job to the dead letters.
pub(crate) async fn bury(messaging: Messaging, message: async_nats::Message, reason: String) {
    let Some(reply) = &message.reply else { return };
    let deliveries = HandOver::read(&messaging, &message).map_or(0, |found| found.attempt);
    let burial = DeadLetterInfo { task_id: None, reason: &reason, deliveries, pieces: None };
    let outcome = match copy_to_dead_letters(&messaging, &message, &burial).await {
        Ok(()) => confirm(&messaging, reply, ACK).await,
        Err(error) => {
            tracing::warn!(%error, "the dead letters cannot be reached; trying again later");
            confirm(&messaging, reply, AckKind::Nak(Some(BURY_AGAIN_AFTER)).into()).await
        }
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, "a message that is no job will be handed out again");
    }
}
