//! Errors of the original routes, in the statuses and words of the original application.

use poem_openapi::{ApiResponse, Object, payload::Json, types::Example};

use super::{
    rejection::{Rejection, RejectionKind},
    schema::EXAMPLE_ID,
};
use crate::tasks::submit::RETRY_AFTER_SECONDS;

/// The original application's error for every request without a picture.
const NO_PICTURE: &str = "No image provided";

/// Why a picture was not taken in.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(crate) struct StartTaskErrorBody {
    /// What is wrong, and what would be right.
    error: String,
    /// The file name it is about.
    filename: Option<String>,
}

impl Example for StartTaskErrorBody {
    fn example() -> Self {
        Self { error: NO_PICTURE.to_owned(), filename: None }
    }
}

#[derive(ApiResponse)]
pub(crate) enum StartTaskError {
    /// No picture, a file name without an allowed extension, a form that cannot be read, or bytes that are
    /// no whole picture.
    #[oai(status = 400)]
    BadRequest(Json<StartTaskErrorBody>),
    /// The upload took too long to arrive.
    #[oai(status = 408)]
    Timeout(Json<StartTaskErrorBody>),
    /// The picture or its form has too many bytes.
    #[oai(status = 413)]
    TooLarge(Json<StartTaskErrorBody>),
    /// The body is compressed (`Content-Encoding`).
    #[oai(status = 415)]
    UnsupportedMediaType(Json<StartTaskErrorBody>),
    /// The `Idempotency-Key` was used for another picture.
    #[oai(status = 422)]
    KeyReused(Json<StartTaskErrorBody>),
    /// The API key has sent too many requests, or too many of its jobs are in the queue. Try again after the given time.
    #[oai(status = 429)]
    TooMany(
        Json<StartTaskErrorBody>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
    /// The queue is full or does not answer. Try again after the given time.
    #[oai(status = 503)]
    Unavailable(
        Json<StartTaskErrorBody>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl From<Rejection> for StartTaskError {
    fn from(rejection: Rejection) -> Self {
        let body = |error, filename| Json(StartTaskErrorBody { error, filename });
        let text = rejection.to_string();
        match rejection.kind() {
            RejectionKind::NotAForm | RejectionKind::NoPicture => {
                Self::BadRequest(body(NO_PICTURE.to_owned(), None))
            }
            RejectionKind::NoBoundary
            | RejectionKind::InvalidParameter
            | RejectionKind::InvalidBody
            | RejectionKind::InvalidPicture
            // Forms have no URLs and no model.
            | RejectionKind::UnknownModel
            | RejectionKind::UrlRefused
            | RejectionKind::UrlStatus
            | RejectionKind::UrlTimedOut
            | RejectionKind::UrlNotFetched => {
                Self::BadRequest(body(text, rejection.filename().map(str::to_owned)))
            }
            RejectionKind::TooLarge => Self::TooLarge(body(text, None)),
            RejectionKind::Encoded => Self::UnsupportedMediaType(body(text, None)),
            RejectionKind::TooSlow => Self::Timeout(body(text, None)),
            RejectionKind::KeyReused => Self::KeyReused(body(text, None)),
            RejectionKind::QuotaExceeded { retry_after }
            | RejectionKind::RateLimited { retry_after } => {
                Self::TooMany(body(text, None), retry_after)
            }
            kind @ (RejectionKind::QueueFull { .. }
            | RejectionKind::TooManyUploads
            | RejectionKind::TooManyFetches
            | RejectionKind::Unavailable) => {
                let retry_after = kind.retry_after().unwrap_or(RETRY_AFTER_SECONDS);
                Self::Unavailable(body(text, None), retry_after)
            }
        }
    }
}

/// There is nothing to say about this id.
#[derive(Object)]
#[oai(example)]
pub(crate) struct TaskResultErrorBody {
    /// The id as it was given.
    task_id: String,
    /// What is wrong with it.
    error: String,
}

impl Example for TaskResultErrorBody {
    fn example() -> Self {
        Self {
            task_id: EXAMPLE_ID.to_owned(),
            error: "Not Found. The task ID does not exist.".to_owned(),
        }
    }
}

#[derive(ApiResponse)]
pub(crate) enum TaskResultError {
    /// No task has this id, or its result has expired.
    #[oai(status = 400)]
    NotFound(Json<TaskResultErrorBody>),
    /// The records cannot be read at the moment. Try again after the given time.
    #[oai(status = 503)]
    Unavailable(
        Json<TaskResultErrorBody>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl TaskResultError {
    pub(crate) fn not_found(task_id: String) -> Self {
        let error = "Not Found. The task ID does not exist.".to_owned();
        Self::NotFound(Json(TaskResultErrorBody { task_id, error }))
    }

    pub(crate) fn unavailable(task_id: String) -> Self {
        let error = "the task records cannot be read at the moment, try again".to_owned();
        Self::Unavailable(Json(TaskResultErrorBody { task_id, error }), RETRY_AFTER_SECONDS)
    }
}
