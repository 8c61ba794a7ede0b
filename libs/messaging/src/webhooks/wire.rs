//! The message of a webhook: the record as JSON, and headers about its delivery.

use std::time::Duration;

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::message::PublishMessage};
use bytes::Bytes;
use time::OffsetDateTime;

use super::ended::Ended;
use crate::{Messaging, MessagingError, provision::names::WEBHOOK_SUBJECT};

const ATTEMPT: &str = "Spotter-Attempt";
const NOT_BEFORE: &str = "Spotter-Not-Before";
const PROVISIONAL: &str = "Spotter-Provisional";

/// What the headers say about the delivery of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Distinguishes messages: the stream stores only one of each within its duplicate window.
    pub(super) message_id: String,
    /// The number of the next try, from 1.
    pub(super) attempt: u32,
    /// When it may begin, in seconds since 1970.
    pub(super) not_before: i64,
    /// Whether the record was not stored yet.
    pub(super) provisional: bool,
}

impl Envelope {
    pub(super) fn first(ended: &Ended) -> Self {
        Self { message_id: ended.message_id(), attempt: 1, not_before: 0, provisional: false }
    }

    /// The first try of a webhook whose record is not stored yet.
    pub(super) fn provisional(ended: &Ended) -> Self {
        Self { provisional: true, ..Self::first(ended) }
    }

    /// The try after `attempt`, `delay` from now.
    pub(super) fn retry(ended: &Ended, attempt: u32, delay: Duration) -> Self {
        let attempt = attempt.saturating_add(1);
        let not_before = OffsetDateTime::now_utc() + delay;
        Self {
            message_id: format!("{}.{attempt}", ended.message_id()),
            attempt,
            not_before: not_before.unix_timestamp(),
            provisional: false,
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, self.message_id.as_str());
        headers.insert(ATTEMPT, self.attempt.to_string());
        headers.insert(NOT_BEFORE, self.not_before.to_string());
        if self.provisional {
            headers.insert(PROVISIONAL, "true");
        }
        headers
    }

    /// What a message says; what it does not say is that of a first try.
    pub(super) fn read(headers: Option<&HeaderMap>) -> Self {
        let value = |name: &str| headers.and_then(|headers| headers.get(name));
        let text = |name: &str| value(name).map(|value| value.as_str()).unwrap_or_default();
        Self {
            message_id: text("Nats-Msg-Id").to_owned(),
            attempt: text(ATTEMPT).parse().unwrap_or(1),
            not_before: text(NOT_BEFORE).parse().unwrap_or(0),
            provisional: text(PROVISIONAL) == "true",
        }
    }

    /// How long it has to wait yet.
    pub(super) fn wait(&self) -> Option<Duration> {
        let left = self.not_before - OffsetDateTime::now_utc().unix_timestamp();
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
    }
}

/// Stores the webhook.
pub(super) async fn publish(
    messaging: &Messaging,
    ended: &Ended,
    envelope: &Envelope,
) -> Result<(), MessagingError> {
    let task_id = ended.id();
    let payload = serde_json::to_vec(ended)
        .map(Bytes::from)
        .map_err(|cause| MessagingError::Record { task_id, cause })?;
    let what = "store a webhook";
    let subject = format!("{WEBHOOK_SUBJECT}.{task_id}");
    let message = PublishMessage::build().headers(envelope.headers()).payload(payload);
    let publish = async { messaging.jetstream().send_publish(subject, message).await?.await };
    messaging.within(what, publish).await.map(drop)
}

#[cfg(test)]
mod tests {
    use domain::{DetectionSettings, Job, TaskRecord};

    use super::*;

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        let job = Job::new("a.jpg".to_owned(), "m".parse().unwrap(), DetectionSettings::default());
        let ended = Ended::from(TaskRecord::queued(job));
        let first = Envelope::first(&ended);
        assert_eq!(Envelope::read(Some(&first.headers())), first);
        assert_eq!(first.wait(), None);
        let retry = Envelope::retry(&ended, 1, Duration::from_secs(100));
        assert_eq!(Envelope::read(Some(&retry.headers())), retry);
        assert_eq!(retry.attempt, 2);
        assert!(retry.wait().is_some_and(|wait| wait > Duration::from_secs(90)));
        assert_ne!(retry.message_id, first.message_id);
        let provisional = Envelope::provisional(&ended);
        assert_eq!(Envelope::read(Some(&provisional.headers())), provisional);
        assert_eq!((first.provisional, provisional.provisional), (false, true));
        assert_eq!(Envelope::read(None).attempt, 1);
    }
}
