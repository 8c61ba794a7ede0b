//! The errors of the route of drawings.

use domain::{DrawingFormat, TaskId, TaskRecord};
use poem_openapi::{ApiResponse, payload::Json};

use crate::{
    http::problem::{Problem, ProblemKind},
    routes::v1::error::{TaskProblem, VARY, task_expired, task_unknown},
    tasks::submit::RETRY_AFTER_SECONDS,
};

/// Why there is no image of a task.
#[derive(ApiResponse)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum ImageError {
    /// A parameter is unknown, or `wait` is no whole number.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to invalid parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// There never was such a task, or it has no image.
    #[oai(status = 404, content_type = "application/problem+json")]
    NotFound(Json<Problem>),
    /// The image has another format than the header `Accept` allows.
    #[oai(status = 406, content_type = "application/problem+json")]
    NotAcceptable(
        Json<Problem>,
        /// The header that the answer depends on.
        #[oai(header = "Vary")]
        String,
    ),
    /// The task has not ended yet, or has ended without a result; it is in the answer.
    #[oai(status = 409, content_type = "application/problem+json")]
    NoResult(Json<TaskProblem>),
    /// There was such a task, longer ago than results are kept.
    #[oai(status = 410, content_type = "application/problem+json")]
    Expired(Json<Problem>),
    /// The record or the image cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl ImageError {
    pub(super) fn unknown(detail: String) -> Self {
        Self::NotFound(task_unknown(detail))
    }

    pub(super) fn no_image(detail: &str) -> Self {
        Self::NotFound(Json(Problem::new(ProblemKind::NoImage, detail)))
    }

    pub(super) fn not_acceptable(format: DrawingFormat) -> Self {
        let detail = format!(
            "the image of this task is {}, which the header Accept does not allow; a submission \
             chooses the format: annotated=jpeg, png or webp",
            format.media_type()
        );
        Self::NotAcceptable(Json(Problem::new(ProblemKind::NotAcceptable, detail)), VARY.to_owned())
    }

    /// The error for a task that is not in state SUCCESS.
    pub(super) fn no_result(record: TaskRecord) -> Self {
        Self::NoResult(Json(TaskProblem::without_result(record)))
    }

    pub(super) fn expired(id: TaskId) -> Self {
        Self::Expired(task_expired(id))
    }

    pub(super) fn unavailable() -> Self {
        let detail = "the task records and images cannot be read at the moment, try again";
        let problem = Problem::new(ProblemKind::Unavailable, detail);
        Self::Unavailable(Json(problem), RETRY_AFTER_SECONDS)
    }
}
