//! The problems of the routes of dead letters.

use messaging::{MessagingError, SubmitError};
use poem_openapi::{ApiResponse, payload::Json};

use crate::{
    http::problem::{Problem, ProblemKind},
    tasks::submit::RETRY_AFTER_SECONDS,
};

/// Why a dead letter was not requeued.
#[derive(ApiResponse)]
pub(super) enum RequeueError {
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
    /// There is no such dead letter.
    #[oai(status = 404, content_type = "application/problem+json")]
    Unknown(Json<Problem>),
    /// It is no job, or its picture is gone.
    #[oai(status = 409, content_type = "application/problem+json")]
    Unusable(Json<Problem>),
    /// The queue is full or does not answer. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

/// The problem of an id that stands for no dead letter.
pub(super) fn unknown(id: &str) -> Json<Problem> {
    let id: String = id.chars().take(64).collect();
    let detail =
        format!("there is no dead letter {id}; `GET /v1/dead-letters` lists those that there are");
    Json(Problem::new(ProblemKind::DeadLetterUnknown, detail))
}

/// The problem of dead letters that cannot be read or changed at the moment.
pub(super) fn unavailable(error: &MessagingError) -> Json<Problem> {
    tracing::warn!(%error, "cannot read or change dead letters");
    let detail = "the dead letters cannot be read or changed at the moment, try again";
    Json(Problem::new(ProblemKind::Unavailable, detail))
}

/// The problem of a dead letter without a picture.
pub(super) fn without_picture() -> Json<Problem> {
    let detail = "the picture of this dead letter was deleted, or it never had one";
    Json(Problem::new(ProblemKind::DeadLetterWithoutPicture, detail))
}

impl From<messaging::RequeueError> for RequeueError {
    fn from(error: messaging::RequeueError) -> Self {
        use messaging::RequeueError::{PictureGone, Read, Submit, Unfinished, Unreadable};
        let problem = |kind| Json(Problem::new(kind, error.to_string()));
        match &error {
            Unreadable | PictureGone => Self::Unusable(problem(ProblemKind::DeadLetterUnusable)),
            Submit(SubmitError::QueueFull { .. }) => {
                Self::Unavailable(problem(ProblemKind::QueueFull), RETRY_AFTER_SECONDS)
            }
            Read(error) => Self::Unavailable(unavailable(error), RETRY_AFTER_SECONDS),
            Submit(_) | Unfinished { .. } => {
                tracing::warn!(%error, "a dead letter was not requeued in order");
                Self::Unavailable(problem(ProblemKind::Unavailable), RETRY_AFTER_SECONDS)
            }
        }
    }
}
