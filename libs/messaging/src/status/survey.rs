//! Asking all processes for their status.

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;

use super::process::{ProcessIdentity, ProcessStatus};
use crate::{
    Messaging, MessagingError,
    provision::names::{STATUS_ANSWERS_SUBJECT, STATUS_REQUESTS_SUBJECT},
};

/// Asks all processes for their status. The answers come one by one, also those that come late.
pub struct StatusSurvey {
    messaging: Messaging,
    /// Where the answers come.
    subject: String,
    answers: Subscriber,
}

impl Messaging {
    /// Subscribes to the answers to this process. Nothing is asked yet.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] if the connection is closed.
    pub async fn status_survey(
        &self,
        asker: &ProcessIdentity,
    ) -> Result<StatusSurvey, MessagingError> {
        let subject = format!("{STATUS_ANSWERS_SUBJECT}.{}", asker.instance);
        let subscribed = self.client().subscribe(subject.clone()).await;
        let what = "subscribe to the status of other processes";
        let answers = subscribed.map_err(|error| MessagingError::failed(what, error))?;
        Ok(StatusSurvey { messaging: self.clone(), subject, answers })
    }
}

impl StatusSurvey {
    /// Asks all processes, this one among them.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] if the connection is closed.
    pub async fn ask(&self) -> Result<(), MessagingError> {
        let (client, reply) = (self.messaging.client(), self.subject.clone());
        let asked = client.publish_with_reply(STATUS_REQUESTS_SUBJECT, reply, Bytes::new()).await;
        asked.map_err(|error| MessagingError::failed("ask for the status of all processes", error))
    }

    /// The next answer. Of what is no answer, nothing. `None` once the connection is closed for good. Cancel-safe.
    pub async fn next(&mut self) -> Option<ProcessStatus> {
        loop {
            let message = self.answers.next().await?;
            match serde_json::from_slice(&message.payload) {
                Ok(status) => return Some(status),
                Err(error) => tracing::debug!(%error, "the status of a process cannot be read"),
            }
        }
    }
}
