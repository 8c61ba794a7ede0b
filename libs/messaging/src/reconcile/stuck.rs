//! Jobs that lie in the stream and are handed to nobody.
//!
//! The consumer has given them up, as it does when somebody limits its deliveries: they are neither
//! pending nor waiting for an acknowledgement, and taking the limit back does not bring them back.
//! Counting does not show it: the numbers of stream and consumer are never of one moment. But the
//! consumer is done with all messages up to a floor, and what is acknowledged is removed from the
//! stream in the next moment. So a message up to the floor that stays is stuck; and as the floor
//! rises and others leave, the oldest message of all becomes a stuck one if there is any.

use std::time::Duration;

use async_nats::jetstream::context::ConsumerInfoErrorKind;

use crate::{
    Messaging, MessagingError,
    provision::{
        self,
        names::{JOBS_STREAM, WORKER_CONSUMER},
    },
};

/// How often, and how far apart, the oldest message is looked at: longer than removing what is
/// acknowledged takes.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// What is wrong with the way from the stream to the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    /// There is no consumer, so that nobody gets any of these jobs.
    NoConsumer { jobs: u64 },
    /// The oldest message is one that the consumer is done with.
    Jobs { oldest: u64, jobs: u64 },
}

/// `None` if all is well.
pub(super) async fn look(messaging: &Messaging) -> Result<Option<Stuck>, MessagingError> {
    let mut found = look_once(messaging).await?;
    for _ in 1..LOOKS {
        let Some(Stuck::Jobs { oldest: before, .. }) = found else { break };
        tokio::time::sleep(PAUSE).await;
        found = look_once(messaging).await?;
        if matches!(found, Some(Stuck::Jobs { oldest, .. }) if oldest != before) {
            return Ok(None);
        }
    }
    Ok(found)
}

async fn look_once(messaging: &Messaging) -> Result<Option<Stuck>, MessagingError> {
    let what = "look for stuck jobs";
    let stream = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
    let stream = messaging.within(what, stream).await?;
    // In this order: what the consumer is done with is to be gone by the time the stream is asked.
    let consumer = messaging.within_timeout(what, stream.consumer_info(WORKER_CONSUMER)).await?;
    let state = messaging.within(what, stream.get_info()).await?.state;
    let consumer = match consumer {
        Ok(consumer) => consumer,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            return Ok(Some(Stuck::NoConsumer { jobs: state.messages }));
        }
        Err(error) => return Err(MessagingError::failed(what, error)),
    };
    // The floor rises with acknowledgements only. Where none is waited for, there is nothing that was
    // delivered and is not done with.
    let floor = match consumer.num_ack_pending {
        0 => consumer.delivered.stream_sequence,
        _ => consumer.ack_floor.stream_sequence,
    };
    let oldest = state.first_sequence;
    if state.messages == 0 || oldest > floor {
        return Ok(None);
    }
    let in_sight = consumer.num_pending + consumer.num_ack_pending as u64;
    Ok(Some(Stuck::Jobs { oldest, jobs: state.messages.saturating_sub(in_sight).max(1) }))
}

/// Makes the consumer anew. It hands out everything that is in the stream; what a worker has at the
/// moment is handed out a second time, which changes nothing.
pub(super) async fn repair(messaging: &Messaging, found: Stuck) -> Result<(), MessagingError> {
    let what = "remove the consumer";
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
