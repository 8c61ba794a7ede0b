//! CloudEvents: the end of each task and batch, in a stream that others subscribe to.
//!
//! Binary mode of the NATS protocol binding (CloudEvents 1.0): an attribute is the header `ce-<attribute>`, and the data
//! is the message.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::message::PublishMessage};
use bytes::Bytes;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Ended, Messaging, MessagingError, provision::names::CLOUD_EVENT_SUBJECT};

const JSON: &str = "application/json";

/// The end of a task or a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudEvent {
    id: String,
    /// Together with the id it distinguishes all events.
    source: &'static str,
    subject: String,
    kind: String,
    time: OffsetDateTime,
    data: Bytes,
}

impl CloudEvent {
    /// The end of this task or batch: its kind, such as `task.success`, its time, and the task or batch as JSON.
    #[must_use]
    pub fn of(ended: &Ended, kind: String, time: OffsetDateTime, data: Bytes) -> Self {
        let source = match ended {
            Ended::Task(_) => "/v1/tasks",
            Ended::Batch(_) => "/v1/batches",
        };
        Self { id: ended.message_id(), source, subject: ended.id().to_string(), kind, time, data }
    }
}

/// The stream of events, if `CLOUD_EVENTS` is on.
#[derive(Debug, Clone)]
pub struct CloudEvents {
    messaging: Messaging,
}

impl CloudEvents {
    pub(crate) fn of(messaging: Messaging) -> Option<Self> {
        messaging.config().cloud_events.then_some(Self { messaging })
    }

    /// Stores the event; within the stream's duplicate window, once.
    ///
    /// # Errors
    /// [`MessagingError`]; it may be stored all the same.
    pub async fn publish(&self, event: CloudEvent) -> Result<(), MessagingError> {
        let subject = format!("{CLOUD_EVENT_SUBJECT}.{}.{}", event.kind, event.id);
        let message = PublishMessage::build().headers(headers(&event)).payload(event.data);
        let publish =
            async { self.messaging.jetstream().send_publish(subject, message).await?.await };
        self.messaging.within("store an event", publish).await.map(drop)
    }
}

fn headers(event: &CloudEvent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, event.id.as_str());
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", event.id.as_str());
    headers.insert("ce-source", event.source);
    headers.insert("ce-type", format!("spotter.{}", event.kind));
    headers.insert("ce-subject", event.subject.as_str());
    // A time within the years that the format has.
    if let Ok(time) = event.time.format(&Rfc3339) {
        headers.insert("ce-time", time);
    }
    headers.insert("ce-datacontenttype", JSON);
    // Some libraries expect it here, as in HTTP.
    headers.insert("content-type", JSON);
    headers
}
