//! The webhooks that were given up: listing, reading and replaying them.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::message::PublishMessage};
use bytes::Bytes;
use domain::TaskId;
use time::OffsetDateTime;

use super::{
    ended::Ended,
    wire::{self, Envelope},
};
use crate::{
    Messaging, MessagingError,
    provision::names::{DEAD_WEBHOOK_STREAM, DEAD_WEBHOOK_SUBJECT},
    stream_range::{self, Payloads, Stored, StreamRange},
};

const ATTEMPTS: &str = "Spotter-Attempts";
const REASON: &str = "Spotter-Reason";
/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1024;
/// How many are read at a time.
const PAGE: usize = 200;

/// A webhook that was given up.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadWebhook {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When it was given up.
    pub given_up_at: OffsetDateTime,
    /// How often it was tried.
    pub attempts: u32,
    /// Why, as a text for operators.
    pub reason: String,
    /// What was to be reported.
    pub ended: Ended,
}

/// The webhooks that were given up. Each is kept for seven days.
#[derive(Debug, Clone)]
pub struct DeadWebhooks {
    messaging: Messaging,
}

/// Stores a webhook among them.
pub(super) async fn store(
    messaging: &Messaging,
    ended: &Ended,
    attempts: u32,
    reason: &str,
) -> Result<(), MessagingError> {
    let task_id = ended.id();
    let payload = serde_json::to_vec(ended)
        .map(Bytes::from)
        .map_err(|cause| MessagingError::Record { task_id, cause })?;
    let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
    let end = reason.floor_char_boundary(LONGEST_REASON);
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, format!("{}.{attempts}", ended.message_id()));
    headers.insert(ATTEMPTS, attempts.to_string());
    headers.insert(REASON, &reason[..end]);
    let message = PublishMessage::build().headers(headers).payload(payload);
    let subject = format!("{DEAD_WEBHOOK_SUBJECT}.{task_id}");
    let publish = async { messaging.jetstream().send_publish(subject, message).await?.await };
    messaging.within("store a webhook among the dead letters", publish).await.map(drop)
}

impl DeadWebhooks {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    /// The oldest after this sequence, at most 200; 0 begins with the first, and an empty list means that there are no
    /// more.
    ///
    /// # Errors
    /// [`MessagingError`].
    pub async fn list_after(&self, sequence: u64) -> Result<Vec<DeadWebhook>, MessagingError> {
        self.page_after(sequence, PAGE).await
    }

    /// As [`DeadWebhooks::list_after`], at most `most`.
    ///
    /// # Errors
    /// [`MessagingError`].
    pub async fn page_after(
        &self,
        sequence: u64,
        most: usize,
    ) -> Result<Vec<DeadWebhook>, MessagingError> {
        self.read(format!("{DEAD_WEBHOOK_SUBJECT}.*"), sequence.saturating_add(1), most).await
    }

    /// The newest of this task or batch.
    ///
    /// # Errors
    /// [`MessagingError`].
    pub async fn get(&self, task_id: TaskId) -> Result<Option<DeadWebhook>, MessagingError> {
        Ok(self.read(format!("{DEAD_WEBHOOK_SUBJECT}.{task_id}"), 1, PAGE).await?.pop())
    }

    /// Has it delivered again, with all its tries, and deletes it here.
    ///
    /// # Errors
    /// [`MessagingError`]; after an error it may be delivered, and still be here.
    pub async fn replay(&self, webhook: &DeadWebhook) -> Result<(), MessagingError> {
        // Another message than the one that was given up.
        let message_id = format!("{}.replay.{}", webhook.ended.message_id(), webhook.sequence);
        let envelope = Envelope { message_id, ..Envelope::first(&webhook.ended) };
        wire::publish(&self.messaging, &webhook.ended, &envelope).await?;
        let what = "delete a webhook among the dead letters";
        let stream = self.messaging.jetstream().get_stream_no_info(DEAD_WEBHOOK_STREAM);
        let stream = self.messaging.within(what, stream).await?;
        self.messaging.within(what, stream.delete_message(webhook.sequence)).await.map(drop)
    }

    async fn read(
        &self,
        subject: String,
        from: u64,
        most: usize,
    ) -> Result<Vec<DeadWebhook>, MessagingError> {
        let payloads = Payloads::Read;
        let range = StreamRange { stream: DEAD_WEBHOOK_STREAM, subject, from, most, payloads };
        let found = stream_range::read(&self.messaging, &range).await?;
        Ok(found.into_iter().filter_map(parse).collect())
    }
}

/// `None` for a message of anybody else.
fn parse(found: Stored) -> Option<DeadWebhook> {
    let Stored { sequence, stored_at, message } = found;
    let headers = message.headers.unwrap_or_default();
    let text = |name: &str| headers.get(name).map(|value| value.as_str()).unwrap_or_default();
    Some(DeadWebhook {
        sequence,
        given_up_at: stored_at,
        attempts: text(ATTEMPTS).parse().unwrap_or(0),
        reason: text(REASON).to_owned(),
        ended: serde_json::from_slice(&message.payload).ok()?,
    })
}
