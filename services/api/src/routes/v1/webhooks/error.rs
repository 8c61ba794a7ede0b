//! The problems of the routes of webhooks.

use messaging::MessagingError;
use poem_openapi::payload::Json;

use crate::http::problem::{Problem, ProblemKind};

/// The problem of webhooks that cannot be read or replayed at the moment.
pub(super) fn unavailable(error: &MessagingError) -> Json<Problem> {
    tracing::warn!(%error, "cannot read or replay webhooks that were given up");
    let detail = "webhooks that were given up cannot be read or replayed at the moment, try again";
    Json(Problem::new(ProblemKind::Unavailable, detail))
}

/// The problem of an id that stands for no webhook that was given up.
pub(super) fn unknown(id: &str) -> Json<Problem> {
    let id: String = id.chars().take(64).collect();
    let detail = format!(
        "no webhook of {id} was given up; `GET /v1/webhooks/dead-letters` lists those that were"
    );
    Json(Problem::new(ProblemKind::DeadWebhookUnknown, detail))
}
