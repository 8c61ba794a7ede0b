//! Reads a bounded range of a stream, oldest message first, without removing anything.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
    stream::{ConsumerError, ConsumerErrorKind, Stream},
};
use futures_util::StreamExt;
use time::OffsetDateTime;

use crate::{Messaging, MessagingError, connection::refusal::Refusal};

/// How long the server keeps the temporary consumer of a reader that does not delete it.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);

/// Which messages to read.
pub(crate) struct StreamRange {
    pub(crate) stream: &'static str,
    /// May have wildcards.
    pub(crate) subject: String,
    /// The first sequence.
    pub(crate) from: u64,
    /// The most messages.
    pub(crate) most: usize,
    pub(crate) payloads: Payloads,
}

/// Whether payloads are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payloads {
    Read,
    /// The header `Nats-Msg-Size` holds their lengths.
    LeftOut,
}

/// One message of a stream.
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) stored_at: OffsetDateTime,
    pub(crate) message: async_nats::Message,
}

/// Reads the messages that are stored now. Fewer than `most` means that there are no more.
pub(crate) async fn read(
    messaging: &Messaging,
    range: &StreamRange,
) -> Result<Vec<Stored>, MessagingError> {
    let what = "read a stream";
    let jetstream = messaging.jetstream();
    let stream = messaging.within(what, jetstream.get_stream_no_info(range.stream)).await?;
    let config = reader(range);
    let consumer = messaging.within_timeout(what, stream.create_consumer(config)).await?;
    let consumer = consumer.map_err(|error| refusal(messaging, what, error))?;
    let messages = collect(messaging, &consumer, range.most).await;
    delete_consumer(messaging, &stream, &consumer).await;
    messages
}

fn reader(range: &StreamRange) -> pull::Config {
    pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: range.from.max(1) },
        ack_policy: AckPolicy::None,
        filter_subject: range.subject.clone(),
        headers_only: range.payloads == Payloads::LeftOut,
        inactive_threshold: INACTIVE_THRESHOLD,
        num_replicas: 1,
        memory_storage: true,
        ..pull::Config::default()
    }
}

async fn collect(
    messaging: &Messaging,
    consumer: &PullConsumer,
    most: usize,
) -> Result<Vec<Stored>, MessagingError> {
    let what = "read a stream";
    let batch = messaging.within(what, consumer.fetch().max_messages(most).messages()).await?;
    let mut batch = std::pin::pin!(batch);
    let mut messages = Vec::new();
    while let Some(message) = messaging.within_timeout(what, batch.next()).await? {
        let message = message.map_err(|error| MessagingError::failed(what, error))?;
        let info = message.info().map_err(|error| MessagingError::failed(what, error))?;
        let (sequence, stored_at) = (info.stream_sequence, info.published);
        messages.push(Stored { sequence, stored_at, message: message.split().0 });
    }
    Ok(messages)
}

/// Deletes the temporary consumer. The server would delete it anyway, later.
async fn delete_consumer(messaging: &Messaging, stream: &Stream<()>, consumer: &PullConsumer) {
    let delete = stream.delete_consumer(&consumer.cached_info().name);
    if let Err(error) = messaging.within("delete a temporary consumer", delete).await {
        tracing::debug!(%error, "a temporary consumer is left to expire");
    }
}

fn refusal(messaging: &Messaging, what: &'static str, error: ConsumerError) -> MessagingError {
    match error.kind() {
        ConsumerErrorKind::JetStream(api) if Refusal::of(&api) == Refusal::NoStream => {
            MessagingError::NotProvisioned { address: messaging.address().to_owned() }
        }
        _ => MessagingError::failed(what, error),
    }
}
