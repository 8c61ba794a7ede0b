//! Answering those who ask for the status of all processes.

use async_nats::Subscriber;
use futures_util::StreamExt;

use super::process::{PartStatus, ProcessIdentity, ProcessStatus};
use crate::{
    Messaging, MessagingError,
    provision::names::{STATUS_ANSWERS_SUBJECT, STATUS_REQUESTS_SUBJECT},
};

/// Requests for the status of this process.
pub struct StatusRequests {
    messaging: Messaging,
    process: ProcessIdentity,
    requests: Subscriber,
}

impl Messaging {
    /// Subscribes to the requests for the status of this process.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] if the connection is closed.
    pub async fn status_requests(
        &self,
        process: ProcessIdentity,
    ) -> Result<StatusRequests, MessagingError> {
        let subscribed = self.client().subscribe(STATUS_REQUESTS_SUBJECT).await;
        let what = "subscribe to requests for the status";
        let requests = subscribed.map_err(|error| MessagingError::failed(what, error))?;
        Ok(StatusRequests { messaging: self.clone(), process, requests })
    }
}

impl StatusRequests {
    /// Answers each of them with what `status` returns then, until the connection is closed for good.
    pub async fn answer(mut self, status: impl Fn() -> PartStatus) {
        while let Some(request) = self.requests.next().await {
            let subject = request.reply.filter(|subject| {
                let asker = subject.strip_prefix(STATUS_ANSWERS_SUBJECT);
                asker.is_some_and(|asker| asker.starts_with('.'))
            });
            let Some(subject) = subject else { continue };
            let answer = ProcessStatus {
                process: self.process.clone(),
                ended: self.messaging.ended().totals(),
                part: status(),
            };
            let json = match serde_json::to_vec(&answer) {
                Ok(json) => json,
                Err(error) => {
                    tracing::error!(%error, "the status cannot be written as JSON");
                    continue;
                }
            };
            if let Err(error) = self.messaging.client().publish(subject, json.into()).await {
                tracing::debug!(%error, "a request for the status was not answered");
            }
        }
    }
}
