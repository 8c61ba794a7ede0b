//! Following a batch: what the server publishes of it once it is stored.

use async_nats::Subscriber;
use domain::{BatchId, BatchRecord, ItemOutcome};
use futures_util::StreamExt;

use super::{keys::HEAD, outcomes};
use crate::{Messaging, MessagingError, provision::names::BATCH_RECORDS_SUBJECT};

/// What has happened to a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchChange {
    /// Its record.
    Record(Box<BatchRecord>),
    /// The outcome of a picture.
    Outcome(u16, ItemOutcome),
}

/// What happens to a batch. A message can be missed while the connection is broken: whoever must know reads the bucket
/// now and then.
pub struct BatchChanges(Subscriber);

impl BatchChanges {
    pub(super) async fn of(messaging: &Messaging, id: BatchId) -> Result<Self, MessagingError> {
        let subject = format!("{BATCH_RECORDS_SUBJECT}.{id}.>");
        let subscribed = messaging.client().subscribe(subject).await;
        let what = "subscribe to a batch";
        subscribed.map(Self).map_err(|error| MessagingError::failed(what, error))
    }

    /// The next change. May be dropped at any time and called again.
    pub async fn next(&mut self) -> BatchChange {
        while let Some(message) = self.0.next().await {
            let subject = message.subject.as_str();
            if let Some((index, outcome)) = outcomes::parse(subject) {
                return BatchChange::Outcome(index, outcome);
            }
            if subject.rsplit('.').next() == Some(HEAD)
                && let Ok(record) = serde_json::from_slice(&message.payload)
            {
                return BatchChange::Record(record);
            }
        }
        // The connection is closed for good, which the next read reports.
        std::future::pending().await
    }
}
