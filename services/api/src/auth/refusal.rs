//! Why a request is refused, and its response.

use std::fmt;

use domain::Scope;
use poem::{
    Response,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};

use super::limiter::LimitState;
use crate::http::{fallback, problem::ProblemKind};

/// The challenge where a key was sent that cannot be used (RFC 6750).
pub(crate) const INVALID_TOKEN: &str = "Bearer error=\"invalid_token\"";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has no key.
    NoKey,
    /// It has no text that could be a key, or more than one.
    MalformedKey,
    /// There is no such key (any more).
    UnknownKey,
    /// The key has expired.
    ExpiredKey,
    /// The key may not be used for this.
    Scope { missing: Scope, limit: Option<LimitState> },
    /// The key has sent too many requests.
    Rate(LimitState),
    /// There is no key, and a page of another origin asks for what only operators may do.
    ForeignPage,
    /// Too many of the key's jobs are in the queue.
    Quota { quota: u32, retry_after: u64, limit: Option<LimitState> },
}

impl Refusal {
    /// All reasons why a key is refused, as metrics name them.
    pub(crate) const REASONS: [&str; 7] =
        ["no_key", "malformed_key", "unknown_key", "expired_key", "scope", "rate", "quota"];

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::MalformedKey => "malformed_key",
            Self::UnknownKey => "unknown_key",
            Self::ExpiredKey => "expired_key",
            Self::Scope { .. } => "scope",
            Self::ForeignPage => "foreign_page",
            Self::Rate(_) => "rate",
            Self::Quota { .. } => "quota",
        }
    }

    fn kind(self) -> ProblemKind {
        match self {
            Self::NoKey => ProblemKind::ApiKeyMissing,
            Self::MalformedKey | Self::UnknownKey | Self::ExpiredKey => ProblemKind::ApiKeyInvalid,
            Self::Scope { .. } => ProblemKind::ScopeMissing,
            Self::ForeignPage => ProblemKind::ForeignPage,
            Self::Rate(_) => ProblemKind::RateLimited,
            Self::Quota { .. } => ProblemKind::QuotaExceeded,
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        self.kind().status()
    }

    /// How a client may authenticate (RFC 6750).
    fn challenge(self) -> Option<HeaderValue> {
        Some(match self {
            Self::NoKey => HeaderValue::from_static("Bearer"),
            Self::MalformedKey | Self::UnknownKey | Self::ExpiredKey => {
                HeaderValue::from_static(INVALID_TOKEN)
            }
            Self::Scope { missing, .. } => {
                let text = format!("Bearer error=\"insufficient_scope\", scope=\"{missing}\"");
                HeaderValue::from_str(&text).ok()?
            }
            Self::ForeignPage | Self::Rate(_) | Self::Quota { .. } => return None,
        })
    }

    /// The response on `path`.
    pub(crate) fn answer(self, path: &str) -> Response {
        let mut answer = fallback::error(path, self.kind(), self.to_string());
        self.write(answer.headers_mut());
        answer
    }

    /// Writes how to authenticate, when to try again, and what the key may still send.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        let (retry_after, limit) = match self {
            Self::Rate(limit) => (Some(limit.retry_after()), Some(limit)),
            Self::Quota { retry_after, limit, .. } => (Some(retry_after), limit),
            Self::Scope { limit, .. } => (None, limit),
            Self::NoKey
            | Self::MalformedKey
            | Self::UnknownKey
            | Self::ExpiredKey
            | Self::ForeignPage => (None, None),
        };
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(limit) = limit {
            limit.write(headers);
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str(
                "this API needs a key: send it as `Authorization: Bearer spotter_…` or `X-API-Key: spotter_…`",
            ),
            Self::MalformedKey => f.write_str(
                "the request must have one API key, in Authorization or X-API-Key, which is spotter_ with the key's \
                 id and secret",
            ),
            Self::UnknownKey => f.write_str("there is no such API key, or it was revoked"),
            Self::ExpiredKey => f.write_str("the API key has expired"),
            Self::Scope { missing, .. } => {
                write!(f, "the API key lacks the scope {missing}, which this request needs")
            }
            Self::ForeignPage => f.write_str(
                "without API keys, only a page of this API's own origin, or of CORS_ORIGINS, may ask for this",
            ),
            Self::Rate(limit) => write!(
                f,
                "the API key has sent too many requests, try again in {} s",
                limit.retry_after()
            ),
            Self::Quota { quota, .. } => write!(
                f,
                "{quota} jobs of the API key are in the queue, which is its quota; submit more once some have ended"
            ),
        }
    }
}
