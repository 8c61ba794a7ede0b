//! The headers of errors in the manner of other servers.

use poem::http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use poem_openapi::registry::MetaHeader;

use super::keyed::header;
use crate::auth::refusal::Refusal;

/// What an error says in its headers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrorHeaders {
    /// Seconds to wait before trying again.
    pub(super) retry_after: Option<u64>,
    /// Why the request is refused, if it is because of its API key.
    pub(super) refusal: Option<Refusal>,
}

impl ErrorHeaders {
    /// Those of errors with this status, for the document.
    pub(super) fn meta(status: u16) -> Vec<MetaHeader> {
        match status {
            401 | 403 => vec![header("WWW-Authenticate", "How to authenticate.", "string")],
            429 | 503 => {
                vec![header("Retry-After", "Seconds to wait before trying again.", "integer")]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn write(self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(refusal) = self.refusal {
            refusal.write(headers);
        }
    }
}

impl From<Refusal> for ErrorHeaders {
    fn from(refusal: Refusal) -> Self {
        Self { retry_after: None, refusal: Some(refusal) }
    }
}
