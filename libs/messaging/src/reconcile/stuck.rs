//! Stuck jobs: messages in the stream that the consumer of their lane does not deliver.
//!
//! The consumer has given them up, as it does after `max_deliver` deliveries: they are neither pending nor
//! waiting for an acknowledgement, and raising the limit does not bring them back. Counting does not detect
//! them, since the numbers of stream and consumer are never of the same moment. But the consumer is done
//! with all messages up to its ack floor, and an acknowledged message is deleted from the stream a moment
//! later. So a message at or below the floor that stays is stuck; and as the floor rises and others are
//! deleted, a stuck message becomes the oldest of its lane.

use std::time::Duration;

use async_nats::jetstream::{
    consumer,
    context::ConsumerInfoErrorKind,
    stream::{LastRawMessageErrorKind, Stream},
};
use domain::Priority;

use crate::{
    Messaging, MessagingError,
    provision::{self, lanes, names::JOBS_STREAM},
};

/// How often the oldest message is checked, and the delay between two checks: longer than deleting an
/// acknowledged message takes.
const CHECKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Why jobs are not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    /// A lane has no consumer.
    NoConsumer { jobs: u64 },
    /// The lane's consumer is done with the lane's oldest message.
    Jobs { lane: Priority, oldest: u64, jobs: u64 },
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
    // Consumers first: the messages that they are done with must be gone when the stream is read.
    let mut consumers = Vec::new();
    for lane in Priority::ALL {
        let look = stream.consumer_info(lanes::consumer(lane));
        match messaging.within_timeout(what, look).await? {
            Ok(consumer) => consumers.push((lane, consumer)),
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {}
            Err(error) => return Err(MessagingError::failed(what, error)),
        }
    }
    let state = messaging.within(what, stream.get_info()).await?.state;
    let deliverable = |(_, consumer): &(Priority, consumer::Info)| {
        consumer.num_pending + consumer.num_ack_pending as u64
    };
    let jobs = state.messages.saturating_sub(consumers.iter().map(deliverable).sum());
    if consumers.len() < Priority::ALL.len() {
        return Ok(Some(Stuck::NoConsumer { jobs }));
    }
    for (lane, consumer) in consumers {
        let floor = floor(&consumer);
        if state.messages == 0 || state.first_sequence > floor {
            continue;
        }
        if let Some(oldest) = oldest(messaging, &stream, lane).await?
            && oldest <= floor
        {
            return Ok(Some(Stuck::Jobs { lane, oldest, jobs: jobs.max(1) }));
        }
    }
    Ok(None)
}

/// The last message up to which the consumer is done with all. The floor rises with acknowledgements only; without
/// pending ones, the consumer is done with all that it has delivered.
fn floor(consumer: &consumer::Info) -> u64 {
    match consumer.num_ack_pending {
        0 => consumer.delivered.stream_sequence,
        _ => consumer.ack_floor.stream_sequence,
    }
}

/// The sequence of the lane's oldest message.
async fn oldest(
    messaging: &Messaging,
    stream: &Stream<()>,
    lane: Priority,
) -> Result<Option<u64>, MessagingError> {
    let what = "check for stuck jobs";
    let look = stream.get_first_raw_message_by_subject(lanes::subjects(lane), 1);
    match messaging.within_timeout(what, look).await? {
        Ok(message) => Ok(Some(message.sequence)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}

/// Recreates the consumer. It delivers every message of its lane; jobs that workers hold are delivered a
/// second time, which changes nothing.
pub(super) async fn repair(messaging: &Messaging, found: Stuck) -> Result<(), MessagingError> {
    let what = "delete the consumer";
    if let Stuck::Jobs { lane, .. } = found {
        let stream = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
        let stream = messaging.within(what, stream).await?;
        let consumer = lanes::consumer(lane);
        let subject = format!("$JS.API.CONSUMER.DELETE.{JOBS_STREAM}.{consumer}");
        let delete = stream.delete_consumer(consumer);
        let outcome = messaging.if_permitted(what, subject, delete).await?;
        outcome.map_err(|error| MessagingError::failed(what, error))?;
    }
    provision::ensure_consumers(messaging).await.map(drop)
}
