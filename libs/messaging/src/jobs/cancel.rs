//! Cancelling jobs: those that wait are deleted, and workers are told to stop those that run.
//!
//! The terminal record is what counts. A worker that misses the message finishes its run, finds the record and
//! discards its result.

use async_nats::Subscriber;
use bytes::Bytes;
use domain::{Job, TaskId};
use futures_util::StreamExt;

use super::{picture_store, publish::JobQueue, stored, wire};
use crate::{MessagingError, provision::names::CANCELS_SUBJECT};

impl JobQueue {
    /// Tells the workers that a task was revoked, and deletes its job and its picture. Its terminal record is stored
    /// before.
    ///
    /// # Errors
    /// [`MessagingError`]. Whatever is left is harmless: a worker finds the terminal record.
    pub async fn cancel(&self, job: &Job) -> Result<(), MessagingError> {
        let messaging = self.messaging();
        let subject = format!("{CANCELS_SUBJECT}.{}", job.task_id);
        let told = messaging.client().publish(subject, Bytes::new()).await;
        told.map_err(|error| {
            MessagingError::failed("tell the workers that a task is revoked", error)
        })?;
        stored::remove(messaging, &wire::job_subject(job)).await?;
        picture_store::delete(messaging, &wire::object_name(job.task_id)).await;
        Ok(())
    }

    /// Subscribes to the tasks that are revoked.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] if the connection is closed.
    pub async fn cancellations(&self) -> Result<Cancellations, MessagingError> {
        let subscribed = self.messaging().client().subscribe(format!("{CANCELS_SUBJECT}.*")).await;
        let what = "subscribe to revoked tasks";
        subscribed.map(Cancellations).map_err(|error| MessagingError::failed(what, error))
    }
}

/// The tasks that are revoked, as long as there is a connection.
pub struct Cancellations(Subscriber);

impl Cancellations {
    /// The next one; `None` once the connection is closed for good.
    pub async fn next(&mut self) -> Option<TaskId> {
        loop {
            let message = self.0.next().await?;
            // Anything else is no message of an API.
            if let Some(Ok(id)) = message.subject.rsplit('.').next().map(str::parse) {
                return Some(id);
            }
        }
    }
}
