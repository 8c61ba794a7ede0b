//! Why a request came to nothing.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use reqwest::StatusCode;

/// Why a request came to nothing. No text shows the API's address, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API cannot do it now: the queue is full, a server behind the API does not answer (503), or the API key has
    /// used up its rate or quota (429).
    #[error("{message}")]
    Busy {
        /// The API's own words.
        message: String,
        /// How long the API asks its clients to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The API refuses the request, and would refuse it again.
    #[error("{message}")]
    Refused {
        /// The HTTP status, such as 400.
        status: u16,
        /// The API's own words; without any, the status.
        message: String,
    },
    /// There was no answer, or only a part of one. The request may have been carried out.
    #[error("{0}")]
    NoAnswer(String),
    /// The request could not be sent, because the address is none or leads in a circle.
    #[error("{0}")]
    NotSent(String),
    /// A file on this machine could not be read to the end that it had, so that only the pictures before it may have been
    /// accepted.
    #[error("{0}")]
    File(String),
    /// The answer is not one of `/v1`: no JSON of the documented form, or too long.
    #[error("unexpected answer: {0}; check that this is the address of a spotter API")]
    Unexpected(String),
}

impl ClientError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::NoAnswer(_))
    }

    /// How long the API asks its clients to wait before they try again, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What an answer other than success means. `body` is all of its body.
    pub(crate) fn of_answer(
        status: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Self {
        let message = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => body.detail,
            Err(_) => format!("the API answered {status}"),
        };
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            return Self::Busy { message, retry_after };
        }
        // Of a proxy in front, while the API restarts: the request may have been carried out.
        if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) {
            return Self::NoAnswer(message);
        }
        Self::Refused { status: status.as_u16(), message }
    }
}

/// Why a request came to nothing, and the body of the answer; empty without one.
pub(crate) struct Refusal {
    pub(crate) error: ClientError,
    pub(crate) body: Bytes,
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        Self { error, body: Bytes::new() }
    }
}

impl From<serde_json::Error> for ClientError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unexpected(error.to_string())
    }
}

impl From<reqwest::Error> for ClientError {
    fn from(error: reqwest::Error) -> Self {
        let not_sent = error.is_builder() || error.is_redirect();
        let message = innermost_cause(&error.without_url());
        if not_sent { Self::NotSent(message) } else { Self::NoAnswer(message) }
    }
}

/// The body of every error of `/v1`: problem details (RFC 9457), of which only the text is used.
#[derive(serde::Deserialize)]
struct ErrorBody {
    /// Older APIs, and an API with too many connections, call it `error`.
    #[serde(alias = "error")]
    detail: String,
}

/// `reqwest` says "error sending request" and keeps the reason in its innermost cause.
pub(crate) fn innermost_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
