//! Shadow jobs: pictures of jobs that have succeeded, which another model, the shadow model, runs as well.
//!
//! They have a stream of their own, so they neither fill nor delay the queue of jobs. It holds few of them, for a short
//! time, and the oldest is deleted when it is full. Each is delivered at most once. What is not run in time is lost, and
//! nobody waits for it. The message has the picture only: the rest is in the task's record.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{consumer::PullConsumer, message::PublishMessage},
};
use bytes::Bytes;
use domain::{ModelName, TaskId};
use futures_util::StreamExt;
use tokio::time::sleep;

use crate::{
    Messaging, MessagingError,
    provision::names::{SHADOW_JOBS_STREAM, SHADOW_JOBS_SUBJECT, shadow_consumer},
};

/// How long one request for a shadow job is open.
const EXPIRES: Duration = Duration::from_secs(5);
/// The delay after a failed request.
const PAUSE: Duration = Duration::from_secs(10);

/// The shadow jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ShadowJobs {
    messaging: Messaging,
}

/// A shadow job that was delivered. No other worker gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowJob {
    /// The task whose job it is a copy of.
    pub task_id: TaskId,
    /// The picture as the client sent it.
    pub picture: Bytes,
}

impl ShadowJobs {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    /// Publishes the picture of a task for the shadow model. Publishing it again at once changes nothing.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn publish(
        &self,
        shadow_model: &ModelName,
        task_id: TaskId,
        picture: Bytes,
    ) -> Result<(), MessagingError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{task_id}.{shadow_model}"));
        let message = PublishMessage::build().headers(headers).payload(picture);
        let subject = format!("{SHADOW_JOBS_SUBJECT}.{shadow_model}.{task_id}");
        let publish =
            async { self.messaging.jetstream().send_publish(subject, message).await?.await };
        self.messaging.within("publish a shadow job", publish).await.map(drop)
    }

    /// The shadow jobs for this model.
    #[must_use]
    pub fn deliveries(&self, shadow_model: ModelName) -> ShadowDeliveries {
        ShadowDeliveries { messaging: self.messaging.clone(), shadow_model, consumer: None }
    }
}

/// The deliveries of shadow jobs to this worker.
pub struct ShadowDeliveries {
    messaging: Messaging,
    shadow_model: ModelName,
    /// `None` until it was looked up, and after an error.
    consumer: Option<PullConsumer>,
}

impl ShadowDeliveries {
    /// The next shadow job; `None` after a few seconds without one. Errors are logged and retried.
    pub async fn next(&mut self) -> Option<ShadowJob> {
        match self.try_next().await {
            Ok(job) => job,
            Err(error) => {
                tracing::warn!(model = %self.shadow_model, %error, "no shadow job is taken; retrying");
                sleep(PAUSE).await;
                None
            }
        }
    }

    async fn try_next(&mut self) -> Result<Option<ShadowJob>, MessagingError> {
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.open().await?,
        };
        let job = take(&self.messaging, &consumer).await?;
        self.consumer = Some(consumer);
        Ok(job)
    }

    /// Also provisions the streams and the consumer: the server may have lost its store.
    async fn open(&self) -> Result<PullConsumer, MessagingError> {
        let what = "look up the consumer of shadow jobs";
        self.messaging.provision_shadow(&self.shadow_model).await?;
        let stream = self.messaging.jetstream().get_stream_no_info(SHADOW_JOBS_STREAM);
        let stream = self.messaging.within(what, stream).await?;
        let name = shadow_consumer(&self.shadow_model);
        let consumer = self.messaging.within_timeout(what, stream.get_consumer(&name)).await?;
        consumer.map_err(|cause| MessagingError::Failed { what, cause })
    }
}

/// The next message, or `None` if none comes for a while or it is no shadow job.
async fn take(
    messaging: &Messaging,
    consumer: &PullConsumer,
) -> Result<Option<ShadowJob>, MessagingError> {
    let what = "take a shadow job";
    let batch = consumer.batch().max_messages(1).expires(EXPIRES).messages();
    let mut batch = messaging.within(what, batch).await?;
    let Some(message) = batch.next().await else { return Ok(None) };
    let message = message.map_err(|cause| MessagingError::Failed { what, cause })?;
    // Before it is run: it is not delivered again anyway, and would only stay until it expires.
    let acked = messaging.within_timeout(what, message.ack()).await?;
    acked.map_err(|cause| MessagingError::Failed { what, cause })?;
    let Some(task_id) = task_of(&message.subject) else {
        tracing::warn!(subject = %message.subject, "a message is no shadow job: deleted");
        return Ok(None);
    };
    Ok(Some(ShadowJob { task_id, picture: message.payload.clone() }))
}

/// The task in the subject of a shadow job.
fn task_of(subject: &str) -> Option<TaskId> {
    let rest = subject.strip_prefix(SHADOW_JOBS_SUBJECT)?.strip_prefix('.')?;
    rest.split_once('.')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_tells_the_task() {
        let id = TaskId::generate();
        assert_eq!(task_of(&format!("shadow_jobs.yolo11n.{id}")), Some(id));
        for other in ["shadow_jobs.yolo11n.x", "shadow_jobs.yolo11n", "jobs.yolo11n.x"] {
            assert_eq!(task_of(other), None, "{other}");
        }
    }
}
