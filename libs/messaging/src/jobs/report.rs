//! The state of the queue: how many jobs it has, and how fast it drains.

use std::{collections::BTreeMap, iter::Sum, ops::AddAssign, time::Duration};

use async_nats::jetstream::{consumer, stream};
use domain::{ModelName, Priority, TaskId};
use time::OffsetDateTime;

use super::{publish::JobQueue, stored};
use crate::{
    MessagingError,
    provision::{
        consumers,
        lanes::Lane,
        names::{DEAD_LETTER_STREAM, DEAD_WEBHOOK_STREAM, JOBS_STREAM, WEBHOOK_STREAM},
    },
};

/// The number of jobs in the queue, or of a part of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Not delivered to a worker yet.
    pub waiting: u64,
    /// Delivered and not settled, or waiting for the delay before their retry.
    pub in_progress: u64,
}

/// The number of jobs of one model and priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneDepth {
    /// The model.
    pub model: ModelName,
    /// The priority.
    pub priority: Priority,
    /// How many jobs there are.
    pub depth: QueueDepth,
}

/// The state of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueReport {
    /// How many jobs are in it, without those of models that have no consumers.
    pub depth: QueueDepth,
    /// How many of them wait, by priority, in the order of [`Priority::ALL`].
    pub waiting_by_priority: [u64; Priority::ALL.len()],
    /// How many of them each model has. A model that has consumers is there also without jobs.
    pub by_model: BTreeMap<ModelName, QueueDepth>,
    /// How many of them each model has of each priority, by name and from the highest priority to the lowest.
    pub lanes: Vec<LaneDepth>,
    /// Jobs settled since the queue was created. Its growth is the rate at which the queue drains.
    pub settled: u64,
    /// The age of the oldest job that is not settled; zero without one.
    pub oldest: Duration,
    /// The number of dead letters.
    pub dead_letters: u64,
    /// Webhooks that wait for a notifier, or for their next try.
    pub webhooks: u64,
    /// Webhooks that were given up.
    pub dead_webhooks: u64,
}

impl JobQueue {
    /// The number of jobs of all models and priorities, waiting and in progress, without those of models that have
    /// no consumers.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn depth(&self) -> Result<QueueDepth, MessagingError> {
        let lanes = self.lanes().await?;
        Ok(lanes.into_iter().map(|(_, depth)| depth).sum())
    }

    /// The tasks of all jobs in the queue, from the leader's index.
    ///
    /// # Errors
    /// As [`JobQueue::depth`].
    pub async fn task_ids(&self) -> Result<Vec<TaskId>, MessagingError> {
        Ok(stored::list(self.messaging()).await?.into_keys().collect())
    }

    /// The state of the queue.
    ///
    /// # Errors
    /// As [`JobQueue::depth`].
    pub async fn report(&self) -> Result<QueueReport, MessagingError> {
        let lanes = self.lanes().await?;
        let jobs = self.state(JOBS_STREAM).await?;
        let age = OffsetDateTime::now_utc() - jobs.first_timestamp;
        let waiting_of = |priority| {
            let of_priority = lanes.iter().filter(|(lane, _)| lane.priority == priority);
            of_priority.map(|(_, depth)| depth.waiting).sum()
        };
        let mut lanes_in_order: Vec<_> = lanes.iter().map(LaneDepth::from).collect();
        lanes_in_order
            .sort_by(|one, other| (&one.model, one.priority).cmp(&(&other.model, other.priority)));
        let mut by_model = BTreeMap::<_, QueueDepth>::new();
        for (lane, depth) in &lanes {
            *by_model.entry(lane.model.clone()).or_default() += *depth;
        }
        Ok(QueueReport {
            depth: by_model.values().copied().sum(),
            waiting_by_priority: Priority::ALL.map(waiting_of),
            by_model,
            lanes: lanes_in_order,
            // A settled job is deleted.
            settled: jobs.last_sequence.saturating_sub(jobs.messages),
            // Negative where the server's clock is ahead of ours.
            oldest: age.try_into().ok().filter(|_| jobs.messages > 0).unwrap_or_default(),
            dead_letters: self.state(DEAD_LETTER_STREAM).await?.messages,
            webhooks: self.state(WEBHOOK_STREAM).await?.messages,
            dead_webhooks: self.state(DEAD_WEBHOOK_STREAM).await?.messages,
        })
    }

    /// The lanes that have a consumer.
    async fn lanes(&self) -> Result<Vec<(Lane, QueueDepth)>, MessagingError> {
        let found = consumers::list(self.messaging(), "read the state of the consumers").await?;
        Ok(found.into_iter().map(|(lane, info)| (lane, QueueDepth::of(&info))).collect())
    }

    async fn state(&self, stream: &str) -> Result<stream::State, MessagingError> {
        let what = "read the state of a stream";
        let messaging = self.messaging();
        let stream =
            messaging.within(what, messaging.jetstream().get_stream_no_info(stream)).await?;
        let info = messaging.within(what, stream.get_info()).await?;
        Ok(info.state)
    }
}

impl QueueDepth {
    fn of(info: &consumer::Info) -> Self {
        Self {
            waiting: info.num_pending,
            in_progress: u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX),
        }
    }
}

impl From<&(Lane, QueueDepth)> for LaneDepth {
    fn from((lane, depth): &(Lane, QueueDepth)) -> Self {
        Self { model: lane.model.clone(), priority: lane.priority, depth: *depth }
    }
}

impl AddAssign for QueueDepth {
    fn add_assign(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.in_progress += other.in_progress;
    }
}

impl Sum for QueueDepth {
    fn sum<I: Iterator<Item = Self>>(depths: I) -> Self {
        let mut total = Self::default();
        depths.for_each(|depth| total += depth);
        total
    }
}
