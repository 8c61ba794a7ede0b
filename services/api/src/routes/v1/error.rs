//! The errors of the versioned API: problem details by status.

use domain::{TaskId, TaskRecord};
use poem_openapi::{ApiResponse, Object, payload::Json};

use super::task::Task;
use crate::{
    http::problem::{Problem, ProblemKind},
    routes::rejection::{Rejection, RejectionKind},
    tasks::submit::RETRY_AFTER_SECONDS,
};

/// The header by which the format of a result is negotiated.
pub(super) const VARY: &str = "Accept";

/// The problem of an id that stands for no task.
pub(super) fn task_unknown(detail: String) -> Json<Problem> {
    Json(Problem::new(ProblemKind::TaskUnknown, detail))
}

/// The problem of a task that is older than results are kept.
pub(super) fn task_expired(id: TaskId) -> Json<Problem> {
    let detail = format!("the result of task {id} has expired; submit the picture again");
    Json(Problem::new(ProblemKind::TaskExpired, detail))
}

/// The problem of records that cannot be read at the moment.
pub(super) fn records_unreadable() -> Json<Problem> {
    let detail = "the task records cannot be read at the moment, try again";
    Json(Problem::new(ProblemKind::Unavailable, detail))
}

/// The problem of too many clients that follow tasks or batches.
pub(super) fn too_many_streams() -> Json<Problem> {
    let detail =
        "too many event streams are open (MAX_EVENT_STREAMS): try again, or ask without `/events`";
    Json(Problem::new(ProblemKind::TooManyStreams, detail))
}

/// Why a submission was not accepted.
#[derive(ApiResponse)]
pub(crate) enum SubmitError {
    /// No picture, a form that cannot be read, bytes that are no complete picture, or an unknown or invalid
    /// parameter.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<Problem>),
    /// The URL of the picture leads to an address that is not fetched from, or the API key may not be used for this.
    #[oai(status = 403, content_type = "application/problem+json")]
    Refused(Json<Problem>),
    /// The upload took too long to arrive.
    #[oai(status = 408, content_type = "application/problem+json")]
    Timeout(Json<Problem>),
    /// The picture or its form has too many bytes.
    #[oai(status = 413, content_type = "application/problem+json")]
    TooLarge(Json<Problem>),
    /// The body is no multipart form, or compressed (`Content-Encoding`).
    #[oai(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(Json<Problem>),
    /// There is no such model, the `Idempotency-Key` was used for another picture or other settings, or the picture's
    /// server gave none.
    #[oai(status = 422, content_type = "application/problem+json")]
    Unprocessable(Json<Problem>),
    /// The API key has sent too many requests, or too many of its jobs are in the queue. Try again after the given time.
    #[oai(status = 429, content_type = "application/problem+json")]
    TooMany(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
    /// The queue is full or does not answer, or there are too many uploads or fetches. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl From<Rejection> for SubmitError {
    fn from(rejection: Rejection) -> Self {
        let kind = rejection.kind();
        let problem = rejection_problem(&rejection);
        let status = problem.status();
        let problem = Json(problem);
        match status {
            400 => Self::BadRequest(problem),
            403 => Self::Refused(problem),
            408 => Self::Timeout(problem),
            413 => Self::TooLarge(problem),
            415 => Self::UnsupportedMediaType(problem),
            422 => Self::Unprocessable(problem),
            429 => Self::TooMany(problem, kind.retry_after().unwrap_or(RETRY_AFTER_SECONDS)),
            _ => Self::Unavailable(problem, kind.retry_after().unwrap_or(RETRY_AFTER_SECONDS)),
        }
    }
}

/// The problem of a rejection.
pub(super) fn rejection_problem(rejection: &Rejection) -> Problem {
    let (kind, detail) = (rejection.kind(), rejection.to_string());
    match (kind, rejection.parameter()) {
        (RejectionKind::InvalidParameter, Some(name)) => Problem::parameter(name, detail),
        _ => Problem::new(problem_kind(kind), detail),
    }
}

/// Its kind.
pub(in crate::routes) fn problem_kind(kind: RejectionKind) -> ProblemKind {
    match kind {
        RejectionKind::InvalidParameter => ProblemKind::InvalidParameter,
        RejectionKind::NoPicture => ProblemKind::NoPicture,
        RejectionKind::InvalidBody => ProblemKind::InvalidBody,
        RejectionKind::InvalidPicture => ProblemKind::InvalidPicture,
        RejectionKind::NotAForm | RejectionKind::NoBoundary | RejectionKind::Encoded => {
            ProblemKind::UnsupportedMediaType
        }
        RejectionKind::TooLarge => ProblemKind::TooLarge,
        RejectionKind::TooSlow => ProblemKind::TooSlow,
        RejectionKind::UnknownModel => ProblemKind::ModelNotInstalled,
        RejectionKind::KeyReused => ProblemKind::IdempotencyKeyReused,
        RejectionKind::UrlRefused => ProblemKind::UrlRefused,
        RejectionKind::UrlStatus => ProblemKind::UrlStatus,
        RejectionKind::UrlTimedOut => ProblemKind::UrlTimedOut,
        RejectionKind::UrlNotFetched => ProblemKind::UrlNotFetched,
        RejectionKind::TooManyFetches => ProblemKind::TooManyFetches,
        RejectionKind::QueueFull { .. } => ProblemKind::QueueFull,
        RejectionKind::QuotaExceeded { .. } => ProblemKind::QuotaExceeded,
        RejectionKind::RateLimited { .. } => ProblemKind::RateLimited,
        RejectionKind::TooManyUploads => ProblemKind::TooManyUploads,
        RejectionKind::Unavailable => ProblemKind::Unavailable,
    }
}

/// Why there is no answer about a task.
#[derive(ApiResponse)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum TaskError {
    /// A parameter is unknown, `wait` is no whole number, or `format` is none of the formats.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to invalid parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// There never was such a task.
    #[oai(status = 404, content_type = "application/problem+json")]
    Unknown(Json<Problem>),
    /// The header `Accept` has none of the media types that there are.
    #[oai(status = 406, content_type = "application/problem+json")]
    NotAcceptable(
        Json<Problem>,
        /// The header that the answer depends on.
        #[oai(header = "Vary")]
        String,
    ),
    /// The task has no result, or none yet, that could be shown in the format asked for; it is in the answer.
    #[oai(status = 409, content_type = "application/problem+json")]
    NoResult(
        Json<TaskProblem>,
        /// The header that the answer depends on.
        #[oai(header = "Vary")]
        String,
    ),
    /// There was such a task, longer ago than results are kept.
    #[oai(status = 410, content_type = "application/problem+json")]
    Expired(Json<Problem>),
    /// The records cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl TaskError {
    pub(crate) fn unknown(detail: String) -> Self {
        Self::Unknown(task_unknown(detail))
    }

    /// The error for a header `Accept` that has none of `media_types`.
    pub(crate) fn not_acceptable(media_types: &str) -> Self {
        let detail = format!(
            "the header Accept has none of the media types that there are: {media_types}; `?format=` \
             takes precedence over it"
        );
        Self::NotAcceptable(Json(Problem::new(ProblemKind::NotAcceptable, detail)), VARY.to_owned())
    }

    /// The error for a task that is not in state SUCCESS.
    pub(crate) fn no_result(record: TaskRecord) -> Self {
        Self::NoResult(Json(TaskProblem::without_result(record)), VARY.to_owned())
    }

    pub(crate) fn expired(id: TaskId) -> Self {
        Self::Expired(task_expired(id))
    }

    pub(crate) fn unavailable() -> Self {
        Self::Unavailable(records_unreadable(), RETRY_AFTER_SECONDS)
    }
}

/// An error with the task that it is about.
#[derive(Object)]
pub(crate) struct TaskProblem {
    #[oai(flatten)]
    problem: Problem,
    /// The task.
    task: Task,
}

impl TaskProblem {
    /// The problem of a task that has no result, or none yet.
    pub(super) fn without_result(record: TaskRecord) -> Self {
        let state = record.state.name();
        let problem = if record.state.is_terminal() {
            let detail = format!("the task is {state} and has no result");
            Problem::new(ProblemKind::TaskWithoutResult, detail)
        } else {
            let detail =
                format!("the task is {state}; ask again, or wait for its end with `?wait=30`");
            Problem::new(ProblemKind::TaskUnfinished, detail)
        };
        Self { problem, task: record.into() }
    }
}

/// Why a task was not cancelled.
#[derive(ApiResponse)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum CancelError {
    /// A parameter is unknown.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to unknown parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// There never was such a task.
    #[oai(status = 404, content_type = "application/problem+json")]
    Unknown(Json<Problem>),
    /// The task has ended before; it is in the answer.
    #[oai(status = 409, content_type = "application/problem+json")]
    Ended(Json<TaskProblem>),
    /// There was such a task, longer ago than results are kept.
    #[oai(status = 410, content_type = "application/problem+json")]
    Expired(Json<Problem>),
    /// The record cannot be written at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl CancelError {
    pub(crate) fn unknown(detail: String) -> Self {
        Self::Unknown(task_unknown(detail))
    }

    pub(crate) fn ended(task: Task) -> Self {
        let detail = "the task has ended and cannot be cancelled any more";
        Self::Ended(Json(TaskProblem {
            problem: Problem::new(ProblemKind::TaskEnded, detail),
            task,
        }))
    }

    pub(crate) fn expired(id: TaskId) -> Self {
        let detail = format!("the result of task {id} has expired");
        Self::Expired(Json(Problem::new(ProblemKind::TaskExpired, detail)))
    }

    pub(crate) fn unavailable() -> Self {
        let detail = "the task records cannot be written at the moment, try again";
        let problem = Problem::new(ProblemKind::Unavailable, detail);
        Self::Unavailable(Json(problem), RETRY_AFTER_SECONDS)
    }
}
