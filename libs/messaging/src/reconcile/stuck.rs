//! Stuck jobs: messages in the stream that the consumer does not deliver.
//!
//! The consumer has given them up, as it does after `max_deliver` deliveries: they are neither pending nor
//! waiting for an acknowledgement, and raising the limit does not bring them back. Counting does not detect
//! them, since the numbers of stream and consumer are never of the same moment. But the consumer is done
//! with all messages up to its ack floor, and an acknowledged message is deleted from the stream a moment
//! later. So a message at or below the floor that stays is stuck; and as the floor rises and others are
//! deleted, a stuck message becomes the oldest of the stream.

use std::time::Duration;

use async_nats::jetstream::context::ConsumerInfoErrorKind;

use crate::{
    Messaging, MessagingError,
    provision::{
        self,
        names::{JOBS_STREAM, WORKER_CONSUMER},
    },
};

/// How often the oldest message is checked, and the delay between two checks: longer than deleting an
/// acknowledged message takes.
const CHECKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Why jobs are not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    /// The consumer is missing.
    NoConsumer { jobs: u64 },
    /// The consumer is done with the oldest message.
    Jobs { oldest: u64, jobs: u64 },
}

/// `None` if no job is stuck.
pub(super) async fn check(messaging: &Messaging) -> Result<Option<Stuck>, MessagingError> {
    let mut found = check_once(messaging).await?;
    for _ in 1..CHECKS {
        let Some(Stuck::Jobs { oldest: before, .. }) = found else { break };
        tokio::time::sleep(PAUSE).await;
        found = check_once(messaging).await?;
        if matches!(found, Some(Stuck::Jobs { oldest, .. }) if oldest != before) {
            return Ok(None);
        }
    }
    Ok(found)
}

async fn check_once(messaging: &Messaging) -> Result<Option<Stuck>, MessagingError> {
    let what = "check for stuck jobs";
    let stream = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
    let stream = messaging.within(what, stream).await?;
    // Consumer first: the messages that it is done with must be gone when the stream is read.
    let consumer = messaging.within_timeout(what, stream.consumer_info(WORKER_CONSUMER)).await?;
    let state = messaging.within(what, stream.get_info()).await?.state;
    let consumer = match consumer {
        Ok(consumer) => consumer,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            return Ok(Some(Stuck::NoConsumer { jobs: state.messages }));
        }
        Err(error) => return Err(MessagingError::failed(what, error)),
    };
    // The floor rises with acknowledgements only. Without pending ones, the consumer is done with all that it
    // has delivered.
    let floor = match consumer.num_ack_pending {
        0 => consumer.delivered.stream_sequence,
        _ => consumer.ack_floor.stream_sequence,
    };
    let oldest = state.first_sequence;
    if state.messages == 0 || oldest > floor {
        return Ok(None);
    }
    let deliverable = consumer.num_pending + consumer.num_ack_pending as u64;
    Ok(Some(Stuck::Jobs { oldest, jobs: state.messages.saturating_sub(deliverable).max(1) }))
}

/// Recreates the consumer. It delivers every message of the stream; jobs that workers hold are delivered a
/// second time, which changes nothing.
pub(super) async fn repair(messaging: &Messaging, found: Stuck) -> Result<(), MessagingError> {
    let what = "delete the consumer";
    if matches!(found, Stuck::Jobs { .. }) {
        let stream = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
        let stream = messaging.within(what, stream).await?;
        let subject = format!("$JS.API.CONSUMER.DELETE.{JOBS_STREAM}.{WORKER_CONSUMER}");
        let delete = stream.delete_consumer(WORKER_CONSUMER);
        let outcome = messaging.if_permitted(what, subject, delete).await?;
        outcome.map_err(|error| MessagingError::failed(what, error))?;
    }
    provision::ensure_consumer(messaging).await.map(drop)
}
