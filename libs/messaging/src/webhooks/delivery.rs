//! Taking webhooks from the stream, and settling them.

use std::time::Duration;

use async_nats::jetstream::{AckKind, consumer::PullConsumer};
use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::sleep};

use super::{Webhooks, dead, ended::Ended, wire, wire::Envelope};
use crate::{
    Messaging, MessagingError,
    keep_alive::KeepAlive,
    provision::names::{WEBHOOK_CONSUMER, WEBHOOK_STREAM},
};

/// How long one request for webhooks is open.
const EXPIRES: Duration = Duration::from_secs(5);
/// The delay after a failed request.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a provisional webhook is looked at again.
const PROVISIONAL_WAIT: Duration = Duration::from_secs(5);
/// How long a provisional webhook waits for its record. If that is not stored by then, the process that was about to
/// store it has ended, and another one finds the lost job again.
const PROVISIONAL_AGE: time::Duration = time::Duration::minutes(15);

/// A webhook to deliver. Another notifier gets it if this process ends before it is settled.
pub struct WebhookDelivery {
    /// What has ended.
    pub ended: Ended,
    /// The number of this try, from 1.
    pub attempt: u32,
    /// How often the server has delivered the message: more than once if its host was busy, or after a crash.
    pub deliveries: u32,
    message: async_nats::jetstream::Message,
    messaging: Messaging,
    _keep_alive: Option<KeepAlive>,
}

impl WebhookDelivery {
    /// It is delivered.
    ///
    /// # Errors
    /// [`MessagingError`]; then it is delivered again.
    pub async fn delivered(self) -> Result<(), MessagingError> {
        self.settle(AckKind::Ack).await
    }

    /// It was not tried, and is delivered again after `delay`.
    ///
    /// # Errors
    /// [`MessagingError`]; then it is delivered again after the consumer's `ack_wait`.
    pub async fn postpone(self, delay: Duration) -> Result<(), MessagingError> {
        self.settle(AckKind::Nak(Some(delay))).await
    }

    /// It is tried again after `delay`.
    ///
    /// # Errors
    /// [`MessagingError`]; then it is tried again sooner.
    pub async fn retry(self, delay: Duration) -> Result<(), MessagingError> {
        let envelope = Envelope::retry(&self.ended, self.attempt, delay);
        wire::publish(&self.messaging, &self.ended, &envelope).await?;
        self.settle(AckKind::Ack).await
    }

    /// It is given up.
    ///
    /// # Errors
    /// [`MessagingError`]; then it is tried again.
    pub async fn give_up(self, reason: &str) -> Result<(), MessagingError> {
        dead::store(&self.messaging, &self.ended, self.attempt, reason).await?;
        self.settle(AckKind::Ack).await
    }

    async fn settle(self, kind: AckKind) -> Result<(), MessagingError> {
        settle(&self.messaging, &self.message, kind).await
    }
}

async fn settle(
    messaging: &Messaging,
    message: &async_nats::jetstream::Message,
    kind: AckKind,
) -> Result<(), MessagingError> {
    let what = "settle a webhook";
    let acked = messaging.within_timeout(what, message.ack_with(kind)).await?;
    acked.map_err(|error| MessagingError::Failed { what, cause: error })
}

/// Webhooks as they are due.
pub struct WebhookDeliveries {
    messaging: Messaging,
}

impl Webhooks {
    /// The webhooks that are due, in the order of their arrival.
    #[must_use]
    pub fn deliveries(&self) -> WebhookDeliveries {
        WebhookDeliveries { messaging: self.messaging.clone() }
    }
}

impl WebhookDeliveries {
    /// Sends up to `most` webhooks to `due`; returns after a few seconds, or when there are that many. Errors are logged
    /// and retried.
    pub async fn take(&self, most: usize, due: &mpsc::Sender<WebhookDelivery>) {
        if let Err(error) = self.try_take(most, due).await {
            tracing::warn!(%error, "cannot take webhooks from the queue");
            sleep(PAUSE).await;
        }
    }

    async fn try_take(
        &self,
        most: usize,
        due: &mpsc::Sender<WebhookDelivery>,
    ) -> Result<(), MessagingError> {
        let what = "take webhooks";
        let stream = self.messaging.jetstream().get_stream_no_info(WEBHOOK_STREAM);
        let stream = self.messaging.within(what, stream).await?;
        let consumer = self.messaging.within_timeout(what, stream.get_consumer(WEBHOOK_CONSUMER));
        let consumer: PullConsumer =
            consumer.await?.map_err(|cause| MessagingError::Failed { what, cause })?;
        let batch = consumer.batch().max_messages(most).expires(EXPIRES).messages();
        let mut batch = self.messaging.within(what, batch).await?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|cause| MessagingError::Failed { what, cause })?;
            match self.accept(message).await {
                Ok(Some(delivery)) => {
                    // Closed while this process stops: the message is delivered again.
                    if due.send(delivery).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a webhook is delivered later"),
            }
        }
        Ok(())
    }

    /// The webhook, if it is due.
    async fn accept(
        &self,
        message: async_nats::jetstream::Message,
    ) -> Result<Option<WebhookDelivery>, MessagingError> {
        let what = "read a webhook";
        let envelope = Envelope::read(message.headers.as_ref());
        if let Some(wait) = envelope.wait() {
            settle(&self.messaging, &message, AckKind::Nak(Some(wait))).await?;
            return Ok(None);
        }
        let info = message.info().map_err(|cause| MessagingError::Failed { what, cause })?;
        let (deliveries, published) = (info.delivered, info.published);
        let ended: Ended = match serde_json::from_slice(&message.payload) {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, subject = %message.subject, "no webhook: deleted");
                settle(&self.messaging, &message, AckKind::Term).await?;
                return Ok(None);
            }
        };
        let ended = match envelope.provisional {
            false => ended,
            true => match self.stored(&ended).await? {
                Some(stored) => stored,
                None => {
                    let is_old = OffsetDateTime::now_utc() - published > PROVISIONAL_AGE;
                    let kind =
                        if is_old { AckKind::Ack } else { AckKind::Nak(Some(PROVISIONAL_WAIT)) };
                    settle(&self.messaging, &message, kind).await?;
                    return Ok(None);
                }
            },
        };
        let reply = message.reply.clone();
        Ok(Some(WebhookDelivery {
            ended,
            attempt: envelope.attempt,
            deliveries: u32::try_from(deliveries).unwrap_or(u32::MAX),
            message,
            messaging: self.messaging.clone(),
            _keep_alive: reply.map(|reply| KeepAlive::start(&self.messaging, reply)),
        }))
    }

    /// The stored record of the same task, once it is terminal.
    async fn stored(&self, ended: &Ended) -> Result<Option<Ended>, MessagingError> {
        let stored = self.messaging.tasks().get_from_leader(ended.id()).await?;
        Ok(stored.filter(|stored| stored.state.is_terminal()).map(Ended::from))
    }
}
