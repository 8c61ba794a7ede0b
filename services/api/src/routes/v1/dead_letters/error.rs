//! The errors of the routes of dead letters.

use messaging::{MessagingError, SubmitError};
use poem_openapi::{ApiResponse, payload::Json};

use crate::{
    http::problem::{Problem, ProblemKind},
    tasks::submit::RETRY_AFTER_SECONDS,
};

/// Why dead letters cannot be listed.
#[derive(ApiResponse)]
pub(super) enum DeadLettersError {
    /// A parameter is unknown, given twice, or has an invalid value.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<Problem>),
    /// The dead letters cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

/// Why a dead letter's picture cannot be read.
#[derive(ApiResponse)]
pub(super) enum DeadLetterError {
    /// A parameter is unknown.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to unknown parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// There is no such dead letter, or its picture is gone.
    #[oai(status = 404, content_type = "application/problem+json")]
    Unknown(Json<Problem>),
    /// The dead letters cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

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

/// Why a dead letter was not deleted.
#[derive(ApiResponse)]
pub(super) enum DropError {
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
    /// NATS does not answer. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

fn unknown(id: &str) -> Json<Problem> {
    let id: String = id.chars().take(64).collect();
    let detail =
        format!("there is no dead letter {id}; `GET /v1/dead-letters` lists those that there are");
    Json(Problem::new(ProblemKind::DeadLetterUnknown, detail))
}

fn unavailable(error: &MessagingError) -> Json<Problem> {
    tracing::warn!(%error, "cannot read or change dead letters");
    let detail = "the dead letters cannot be read or changed at the moment, try again";
    Json(Problem::new(ProblemKind::Unavailable, detail))
}

impl DeadLettersError {
    pub(super) fn cursor(detail: &str) -> Self {
        Self::BadRequest(Json(Problem::parameter("cursor", detail)))
    }

    pub(super) fn unavailable(error: &MessagingError) -> Self {
        Self::Unavailable(unavailable(error), RETRY_AFTER_SECONDS)
    }
}

impl DeadLetterError {
    pub(super) fn unknown(id: &str) -> Self {
        Self::Unknown(unknown(id))
    }

    pub(super) fn without_picture() -> Self {
        let detail = "the picture of this dead letter was deleted, or it never had one";
        Self::Unknown(Json(Problem::new(ProblemKind::DeadLetterWithoutPicture, detail)))
    }

    pub(super) fn unavailable(error: &MessagingError) -> Self {
        Self::Unavailable(unavailable(error), RETRY_AFTER_SECONDS)
    }
}

impl RequeueError {
    pub(super) fn unknown(id: &str) -> Self {
        Self::Unknown(unknown(id))
    }
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

impl DropError {
    pub(super) fn unknown(id: &str) -> Self {
        Self::Unknown(unknown(id))
    }

    pub(super) fn unavailable(error: &MessagingError) -> Self {
        Self::Unavailable(unavailable(error), RETRY_AFTER_SECONDS)
    }
}
