//! Subscriptions to what happens to one task.

use async_nats::{Message, Subscriber, header::NATS_SEQUENCE};
use domain::{TaskId, TaskRecord};
use futures_util::StreamExt;

use super::lookup::NOT_STORED;
use crate::{Messaging, MessagingError, provision::names};

/// The records of one task that are published from now on.
pub(super) struct RecordSubscription(Subscriber);

impl RecordSubscription {
    /// To the records that the server has stored, each of which it publishes once.
    pub(super) async fn to_stored(
        messaging: &Messaging,
        id: TaskId,
    ) -> Result<Self, MessagingError> {
        Self::to(messaging, names::RECORDS_SUBJECT, id).await
    }

    /// To the record of the task's first run, when that begins.
    pub(super) async fn to_starts(
        messaging: &Messaging,
        id: TaskId,
    ) -> Result<Self, MessagingError> {
        Self::to(messaging, names::STARTS_SUBJECT, id).await
    }

    async fn to(messaging: &Messaging, subject: &str, id: TaskId) -> Result<Self, MessagingError> {
        let subscribed = messaging.client().subscribe(format!("{subject}.{id}")).await;
        let what = "subscribe to a task's records";
        subscribed.map(Self).map_err(|error| MessagingError::failed(what, error))
    }

    /// The next record and its revision.
    pub(super) async fn next(&mut self) -> (TaskRecord, u64) {
        while let Some(message) = self.0.next().await {
            // A deletion has no payload. A record that another program has written is an error of the next read.
            if let Ok(record) = serde_json::from_slice(&message.payload) {
                return (record, revision(&message));
            }
        }
        // The connection is closed for good, which the next read reports.
        std::future::pending().await
    }
}

/// The server adds it to what it publishes.
fn revision(message: &Message) -> u64 {
    let sequence = message.headers.as_ref().and_then(|headers| headers.get(NATS_SEQUENCE));
    sequence.and_then(|sequence| sequence.as_str().parse().ok()).unwrap_or(NOT_STORED)
}
