//! Requests to the server with a timeout, and what ends them before it.

use std::{error::Error, pin::pin, time::Duration};

use async_nats::jetstream::{kv, object_store::ObjectStore};

use super::{Messaging, write_faults::SUSPICIOUS_AFTER};
use crate::{
    MessagingError,
    provision::names::{PICTURE_STORE, TASK_BUCKET},
};

impl Messaging {
    /// Runs one call of the client library under the configured timeout: without a connection, the
    /// library queues commands silently and waits for ever.
    pub(crate) async fn within<T, E>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, MessagingError>
    where
        E: Error + Send + Sync + 'static,
    {
        let result = self.within_timeout(what, call).await?;
        result.map_err(|cause| MessagingError::failed(what, cause))
    }

    /// As [`Messaging::within`], for callers that inspect the library's own error.
    pub(crate) async fn within_timeout<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = T>,
    ) -> Result<T, MessagingError> {
        self.within_time(what, self.config().request_timeout, call).await
    }

    /// As [`Messaging::within_timeout`], with the timeout `after`. A request that is slow to be answered
    /// requests a probe of the streams ([`Messaging::watch_writes`]) before that.
    pub(crate) async fn within_time<T>(
        &self,
        what: &'static str,
        after: Duration,
        call: impl Future<Output = T>,
    ) -> Result<T, MessagingError> {
        let soon = SUSPICIOUS_AFTER.min(after);
        let mut call = pin!(call);
        if let Ok(answer) = tokio::time::timeout(soon, &mut call).await {
            return Ok(answer);
        }
        self.writes().suspect();
        let late = tokio::time::timeout(after.saturating_sub(soon), call).await;
        late.map_err(|_| MessagingError::Timeout { what, after })
    }

    /// Waits until the connection is up; returns whether it is within `limit`.
    pub(crate) async fn wait_until_connected(&self, limit: Duration) -> bool {
        let mut link = self.link();
        let connected = link.wait_for(|link| link.connected);
        matches!(tokio::time::timeout(limit, connected).await, Ok(Ok(_)))
    }

    // Each timeout includes the wait for other callers that are opening the same store. With the timeout
    // inside, those callers would time out one after another.

    pub(crate) async fn task_bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.jetstream().get_key_value(TASK_BUCKET);
        self.within("open the bucket of records", self.inner.tasks.get_or_try_init(open)).await
    }

    pub(crate) async fn picture_store(&self) -> Result<&ObjectStore, MessagingError> {
        let open = || self.jetstream().get_object_store(PICTURE_STORE);
        self.within("open the store of pictures", self.inner.pictures.get_or_try_init(open)).await
    }

    /// As [`Messaging::within_timeout`], for a request that the role's credentials may not permit: a
    /// denial of `subject` ends it at once.
    ///
    /// # Errors
    /// [`MessagingError::NotPermitted`] besides [`MessagingError::Timeout`].
    pub(crate) async fn if_permitted<T>(
        &self,
        what: &'static str,
        subject: String,
        call: impl Future<Output = T>,
    ) -> Result<T, MessagingError> {
        let denied = self.denials().of(subject.clone());
        tokio::select! {
            answer = self.within_timeout(what, call) => answer,
            () = denied => Err(MessagingError::NotPermitted { what, subject }),
        }
    }

    /// Runs a write to `stream` under the configured timeout. The write fails at once when the stream is known
    /// to fail: the server would not answer.
    ///
    /// # Errors
    /// [`MessagingError::CannotStore`] besides [`MessagingError::Timeout`].
    pub(crate) async fn within_write<T>(
        &self,
        what: &'static str,
        stream: &'static str,
        write: impl Future<Output = T>,
    ) -> Result<T, MessagingError> {
        tokio::select! {
            biased;
            why = self.writes().failed(stream) => Err(MessagingError::CannotStore { what, stream, why }),
            answer = self.within_timeout(what, write) => answer,
        }
    }
}
