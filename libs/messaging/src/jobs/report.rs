//! The state of the queue: how many jobs it has, and how fast it drains.

use std::time::Duration;

use async_nats::jetstream::stream;
use domain::{Priority, TaskId};
use time::OffsetDateTime;

use super::{publish::JobQueue, stored};
use crate::{
    MessagingError,
    provision::{
        lanes,
        names::{DEAD_LETTER_STREAM, DEAD_WEBHOOK_STREAM, JOBS_STREAM, WEBHOOK_STREAM},
    },
};

/// The number of jobs in the queue, or in one of its lanes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Not delivered to a worker yet.
    pub waiting: u64,
    /// Delivered and not settled, or waiting for the delay before their retry.
    pub in_progress: u64,
}

/// The state of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueReport {
    /// How many jobs are in it.
    pub depth: QueueDepth,
    /// How many of them wait, by priority, in the order of [`Priority::ALL`].
    pub waiting_by_priority: [u64; Priority::ALL.len()],
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
    /// The number of jobs of all priorities, waiting and in progress.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn depth(&self) -> Result<QueueDepth, MessagingError> {
        self.depths().await.map(total)
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
        let depths = self.depths().await?;
        let jobs = self.state(JOBS_STREAM).await?;
        let age = OffsetDateTime::now_utc() - jobs.first_timestamp;
        Ok(QueueReport {
            depth: total(depths),
            waiting_by_priority: depths.map(|depth| depth.waiting),
            // A settled job is deleted.
            settled: jobs.last_sequence.saturating_sub(jobs.messages),
            // Negative where the server's clock is ahead of ours.
            oldest: age.try_into().ok().filter(|_| jobs.messages > 0).unwrap_or_default(),
            dead_letters: self.state(DEAD_LETTER_STREAM).await?.messages,
            webhooks: self.state(WEBHOOK_STREAM).await?.messages,
            dead_webhooks: self.state(DEAD_WEBHOOK_STREAM).await?.messages,
        })
    }

    /// In the order of [`Priority::ALL`].
    async fn depths(&self) -> Result<[QueueDepth; Priority::ALL.len()], MessagingError> {
        let [high, normal, low] = Priority::ALL.map(|lane| self.depth_of(lane));
        let (high, normal, low) = tokio::try_join!(high, normal, low)?;
        Ok([high, normal, low])
    }

    async fn depth_of(&self, lane: Priority) -> Result<QueueDepth, MessagingError> {
        let what = "read the state of a consumer";
        let messaging = self.messaging();
        let stream = messaging.jetstream().get_stream_no_info(JOBS_STREAM);
        let stream = messaging.within(what, stream).await?;
        let info = messaging.within(what, stream.consumer_info(lanes::consumer(lane))).await?;
        Ok(QueueDepth {
            waiting: info.num_pending,
            in_progress: u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX),
        })
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

fn total(depths: [QueueDepth; Priority::ALL.len()]) -> QueueDepth {
    depths.into_iter().fold(QueueDepth::default(), |sum, lane| QueueDepth {
        waiting: sum.waiting + lane.waiting,
        in_progress: sum.in_progress + lane.in_progress,
    })
}
