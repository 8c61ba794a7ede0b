//! The errors of the routes of webhooks.

use messaging::MessagingError;
use poem_openapi::{ApiResponse, payload::Json};

use crate::{
    http::problem::{Problem, ProblemKind},
    tasks::submit::RETRY_AFTER_SECONDS,
};

/// Why webhooks that were given up cannot be listed.
#[derive(ApiResponse)]
pub(super) enum WebhooksError {
    /// A parameter is unknown, given twice, or has an invalid value.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<Problem>),
    /// The webhooks cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

/// Why a webhook was not replayed.
#[derive(ApiResponse)]
pub(super) enum ReplayError {
    /// A parameter is unknown.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to unknown parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// The API key may not be used for this, or there is none and a page of another origin sends the request.
    #[oai(status = 403, content_type = "application/problem+json")]
    #[allow(dead_code, reason = "documents a response to requests that do not reach the route")]
    Forbidden(Json<Problem>),
    /// No webhook of this task or batch was given up.
    #[oai(status = 404, content_type = "application/problem+json")]
    Unknown(Json<Problem>),
    /// NATS does not answer. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

fn unavailable(error: &MessagingError) -> Json<Problem> {
    tracing::warn!(%error, "cannot read or replay webhooks that were given up");
    let detail = "webhooks that were given up cannot be read or replayed at the moment, try again";
    Json(Problem::new(ProblemKind::Unavailable, detail))
}

impl WebhooksError {
    pub(super) fn cursor(detail: &str) -> Self {
        Self::BadRequest(Json(Problem::parameter("cursor", detail)))
    }

    pub(super) fn unavailable(error: &MessagingError) -> Self {
        Self::Unavailable(unavailable(error), RETRY_AFTER_SECONDS)
    }
}

impl ReplayError {
    pub(super) fn unknown(id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        let detail = format!(
            "no webhook of {id} was given up; `GET /v1/webhooks/dead-letters` lists those that were"
        );
        Self::Unknown(Json(Problem::new(ProblemKind::DeadWebhookUnknown, detail)))
    }

    pub(super) fn unavailable(error: &MessagingError) -> Self {
        Self::Unavailable(unavailable(error), RETRY_AFTER_SECONDS)
    }
}
