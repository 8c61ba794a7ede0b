//! Stuck jobs: messages in the stream that the consumer of their lane does not deliver.
//!
//! The consumer has given them up, as it does after `max_deliver` deliveries: they are neither pending nor
//! waiting for an acknowledgement, and raising the limit does not bring them back. Counting does not detect
//! them, since the numbers of stream and consumer are never of the same moment. But the consumer is done
//! with all messages up to its ack floor, and an acknowledged message is deleted from the stream a moment
//! later. So a message at or below the floor that stays is stuck; and as the floor rises and others are
//! deleted, a stuck message becomes the oldest of its lane.

use std::{collections::HashSet, time::Duration};

use async_nats::jetstream::{
    consumer,
    stream::{LastRawMessageErrorKind, Stream},
};

use crate::{
    Messaging, MessagingError,
    jobs::stored,
    provision::{consumers, lanes::Lane, names::JOBS_STREAM},
};

/// How often the oldest message is checked, and the delay between two checks: longer than deleting an
/// acknowledged message takes.
const CHECKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// What the requests of a check are for.
const WHAT: &str = "check for stuck jobs";

/// Why jobs are not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stuck {
    /// These lanes have no consumer.
    NoConsumers { lanes: Vec<Lane>, jobs: u64 },
    /// The lane's consumer is done with the lane's oldest message.
    Jobs { lane: Lane, oldest: u64, jobs: u64 },
}

impl Stuck {
    /// How many jobs are not delivered.
    pub(super) fn jobs(&self) -> u64 {
        match self {
            Self::NoConsumers { jobs, .. } | Self::Jobs { jobs, .. } => *jobs,
        }
    }

    /// Whether a second check must find it, too, before it is repaired.
    pub(super) fn may_be_momentary(&self) -> bool {
        matches!(self, Self::Jobs { .. })
    }

    /// Whether both are the same message that is not delivered.
    pub(super) fn is_same_message(&self, other: &Self) -> bool {
        let oldest = |stuck: &Self| match stuck {
            Self::Jobs { oldest, .. } => Some(*oldest),
            Self::NoConsumers { .. } => None,
        };
        oldest(self).is_some() && oldest(self) == oldest(other)
    }
}

/// `None` if no job is stuck.
pub(super) async fn check(messaging: &Messaging) -> Result<Option<Stuck>, MessagingError> {
    let mut found = check_once(messaging).await?;
    for _ in 1..CHECKS {
        let Some(before) = found.clone().filter(Stuck::may_be_momentary) else { break };
        tokio::time::sleep(PAUSE).await;
        found = check_once(messaging).await?;
        let is_other = |found: &Stuck| found.may_be_momentary() && !found.is_same_message(&before);
        if found.as_ref().is_some_and(is_other) {
            return Ok(None);
        }
    }
    Ok(found)
}

async fn check_once(messaging: &Messaging) -> Result<Option<Stuck>, MessagingError> {
    let stream = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
    let stream = messaging.within(WHAT, stream).await?;
    // Consumers first: the messages that they are done with must be gone when the stream is read.
    let consumers = consumers::list(messaging, WHAT).await?;
    let state = messaging.within(WHAT, stream.get_info()).await?.state;
    let deliverable = |(_, consumer): &(Lane, consumer::Info)| {
        consumer.num_pending + consumer.num_ack_pending as u64
    };
    let jobs = state.messages.saturating_sub(consumers.iter().map(deliverable).sum());
    let lanes = without_consumer(messaging, &consumers, jobs).await?;
    if !lanes.is_empty() {
        return Ok(Some(Stuck::NoConsumers { lanes, jobs }));
    }
    for (lane, consumer) in consumers {
        let floor = floor(&consumer);
        if state.messages == 0 || state.first_sequence > floor {
            continue;
        }
        if let Some(oldest) = oldest(messaging, &stream, &lane).await?
            && oldest <= floor
        {
            return Ok(Some(Stuck::Jobs { lane, oldest, jobs: jobs.max(1) }));
        }
    }
    Ok(None)
}

/// The lanes without a consumer of the models that have jobs or another consumer. The jobs are listed only if there
/// are more in the stream than the consumers have.
async fn without_consumer(
    messaging: &Messaging,
    consumers: &[(Lane, consumer::Info)],
    jobs: u64,
) -> Result<Vec<Lane>, MessagingError> {
    let present: HashSet<&Lane> = consumers.iter().map(|(lane, _)| lane).collect();
    let mut models: HashSet<_> = present.iter().map(|lane| lane.model.clone()).collect();
    if jobs > 0 {
        let subjects = stored::list(messaging).await?.into_values();
        models.extend(subjects.filter_map(|subject| Some(Lane::of_subject(&subject)?.model)));
    }
    let lanes = models.iter().flat_map(Lane::of_model);
    let mut missing = Vec::new();
    for lane in lanes.filter(|lane| !present.contains(lane)) {
        // It may have been created since.
        if consumers::find(messaging, WHAT, &lane).await?.is_none() {
            missing.push(lane);
        }
    }
    Ok(missing)
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
    lane: &Lane,
) -> Result<Option<u64>, MessagingError> {
    let look = stream.get_first_raw_message_by_subject(lane.subjects(), 1);
    match messaging.within_timeout(WHAT, look).await? {
        Ok(message) => Ok(Some(message.sequence)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(MessagingError::failed(WHAT, error)),
    }
}

/// Creates the consumers that are missing, or recreates the one that does not deliver. It delivers every message of its
/// lane; jobs that workers hold are delivered a second time, which changes nothing.
pub(super) async fn repair(messaging: &Messaging, found: &Stuck) -> Result<(), MessagingError> {
    let lanes = match found {
        Stuck::NoConsumers { lanes, .. } => lanes.as_slice(),
        Stuck::Jobs { lane, .. } => {
            consumers::delete(messaging, &lane.consumer()).await?;
            std::slice::from_ref(lane)
        }
    };
    for lane in lanes {
        consumers::ensure_lane(messaging, lane).await?;
    }
    Ok(())
}
