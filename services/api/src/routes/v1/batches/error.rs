//! The errors of batches: problem details, with the batch where there is one.

use domain::BatchId;
use poem_openapi::{ApiResponse, Object, payload::Json};

use super::schema::Batch;
use crate::{
    auth::refusal::INVALID_TOKEN,
    http::problem::{Problem, ProblemKind},
    routes::v1::error::{records_unreadable, too_many_streams},
    tasks::submit::RETRY_AFTER_SECONDS,
};

/// An error, with the batch as far as it was received or known.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct BatchProblem {
    #[oai(flatten)]
    problem: Problem,
    /// The batch; absent where nothing of it was accepted.
    batch: Option<Batch>,
}

/// Why a batch was not received, or not all of it.
#[derive(ApiResponse)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum SubmitBatchError {
    /// No picture, a form, archive or list that cannot be read, or an unknown or invalid parameter.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<BatchProblem>),
    /// The request has no API key, or one that is unknown, revoked, expired or malformed, or the key was revoked or has
    /// expired while the batch arrived.
    #[oai(status = 401, content_type = "application/problem+json")]
    Unauthorized(
        Json<BatchProblem>,
        /// How to authenticate.
        #[oai(header = "WWW-Authenticate")]
        String,
    ),
    /// A URL leads to an address that is not fetched from, or the API key may not be used for this.
    #[oai(status = 403, content_type = "application/problem+json")]
    Refused(Json<BatchProblem>),
    /// The batch arrived too slowly.
    #[oai(status = 408, content_type = "application/problem+json")]
    Timeout(Json<BatchProblem>),
    /// The batch was cancelled while it arrived, or another request sends it at the moment.
    #[oai(status = 409, content_type = "application/problem+json")]
    Conflict(Json<BatchProblem>),
    /// The batch has too many pictures or bytes.
    #[oai(status = 413, content_type = "application/problem+json")]
    TooLarge(Json<BatchProblem>),
    /// The body is no form, zip archive or JSON, or compressed (`Content-Encoding`).
    #[oai(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(Json<BatchProblem>),
    /// There is no such model, or the `Idempotency-Key` was used for another batch.
    #[oai(status = 422, content_type = "application/problem+json")]
    Unprocessable(Json<BatchProblem>),
    /// The API key has sent too many requests, or too many of its jobs are in the queue. Try again after the given time.
    #[oai(status = 429, content_type = "application/problem+json")]
    TooMany(
        Json<BatchProblem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
    /// The queue is full or does not answer, or too many batches are being received. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<BatchProblem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl SubmitBatchError {
    pub(super) fn new(problem: Problem, batch: Option<Batch>, retry_after: Option<u64>) -> Self {
        let status = problem.status();
        let problem = Json(BatchProblem { problem, batch });
        match status {
            400 => Self::BadRequest(problem),
            401 => Self::Unauthorized(problem, INVALID_TOKEN.to_owned()),
            403 => Self::Refused(problem),
            408 => Self::Timeout(problem),
            409 => Self::Conflict(problem),
            413 => Self::TooLarge(problem),
            415 => Self::UnsupportedMediaType(problem),
            422 => Self::Unprocessable(problem),
            429 => Self::TooMany(problem, retry_after.unwrap_or(RETRY_AFTER_SECONDS)),
            _ => Self::Unavailable(problem, retry_after.unwrap_or(RETRY_AFTER_SECONDS)),
        }
    }
}

fn unknown(detail: String) -> Json<Problem> {
    Json(Problem::new(ProblemKind::BatchUnknown, detail))
}

fn expired(id: BatchId) -> Json<Problem> {
    let detail = format!("batch {id} has expired; submit the pictures again");
    Json(Problem::new(ProblemKind::BatchExpired, detail))
}

/// Why there is no answer about a batch.
#[derive(ApiResponse)]
pub(super) enum BatchError {
    /// A parameter is unknown.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to unknown parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// There never was such a batch.
    #[oai(status = 404, content_type = "application/problem+json")]
    Unknown(Json<Problem>),
    /// There was such a batch, longer ago than batches are kept.
    #[oai(status = 410, content_type = "application/problem+json")]
    Expired(Json<Problem>),
    /// The records cannot be read at the moment, or too many clients follow batches. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl BatchError {
    pub(super) fn unknown(detail: String) -> Self {
        Self::Unknown(unknown(detail))
    }

    pub(super) fn expired(id: BatchId) -> Self {
        Self::Expired(expired(id))
    }

    pub(super) fn too_many() -> Self {
        Self::Unavailable(too_many_streams(), RETRY_AFTER_SECONDS)
    }

    pub(super) fn unavailable() -> Self {
        Self::Unavailable(records_unreadable(), RETRY_AFTER_SECONDS)
    }
}

/// Why a batch was not cancelled.
#[derive(ApiResponse)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum BatchCancelError {
    /// A parameter is unknown.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to unknown parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// There never was such a batch.
    #[oai(status = 404, content_type = "application/problem+json")]
    Unknown(Json<Problem>),
    /// The batch has ended before; it is in the answer.
    #[oai(status = 409, content_type = "application/problem+json")]
    Ended(Json<BatchProblem>),
    /// There was such a batch, longer ago than batches are kept.
    #[oai(status = 410, content_type = "application/problem+json")]
    Expired(Json<Problem>),
    /// The records cannot be written at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl BatchCancelError {
    pub(super) fn unknown(detail: String) -> Self {
        Self::Unknown(unknown(detail))
    }

    pub(super) fn expired(id: BatchId) -> Self {
        Self::Expired(expired(id))
    }

    pub(super) fn ended(batch: Batch) -> Self {
        let detail = "the batch has ended and cannot be cancelled any more";
        let problem = Problem::new(ProblemKind::BatchEnded, detail);
        Self::Ended(Json(BatchProblem { problem, batch: Some(batch) }))
    }

    pub(super) fn unavailable() -> Self {
        let detail = "the records cannot be written at the moment, try again";
        let problem = Problem::new(ProblemKind::Unavailable, detail);
        Self::Unavailable(Json(problem), RETRY_AFTER_SECONDS)
    }
}
