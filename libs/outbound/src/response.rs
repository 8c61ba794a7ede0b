//! An answer whose body is read piece by piece.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{HeaderMap, body::Incoming, http::response::Parts};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::{error::RequestError, hosts::Permit};

/// An answer. Dropping it closes the connection.
#[derive(Debug)]
pub struct Response {
    pub(crate) head: Parts,
    pub(crate) url: Url,
    pub(crate) body: Incoming,
    /// When the time for the whole request is over.
    pub(crate) deadline: Instant,
    pub(crate) _connection: AbortOnDropHandle<()>,
    pub(crate) _permit: Permit,
}

impl Response {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The URL that answered, after redirects.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The next bytes of the body, or `None` at its end.
    ///
    /// # Errors
    /// [`RequestError::TimedOut`], or [`RequestError::Unreachable`] if the connection ends before the body does.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        loop {
            let frame = timeout_at(self.deadline, self.body.frame()).await;
            match frame.map_err(|_| RequestError::TimedOut)? {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(_)) => {
                    return Err(RequestError::Unreachable("its server broke off the answer"));
                }
                None => return Ok(None),
            }
        }
    }
}
