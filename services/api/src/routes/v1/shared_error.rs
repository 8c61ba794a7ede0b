//! Errors that several routes have in common.

use poem_openapi::{ApiResponse, payload::Json};

use crate::{http::problem::Problem, tasks::submit::RETRY_AFTER_SECONDS};

/// Why a list cannot be read.
#[derive(ApiResponse)]
pub(super) enum ReadError {
    /// A parameter is unknown, given twice, or has an invalid value.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<Problem>),
    /// The list cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

/// Why a member of a list cannot be read.
#[derive(ApiResponse)]
pub(super) enum FindError {
    /// A parameter is unknown.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to unknown parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// There is none, or not any more.
    #[oai(status = 404, content_type = "application/problem+json")]
    Unknown(Json<Problem>),
    /// It cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

/// Why an operator's change was not made.
#[derive(ApiResponse)]
pub(super) enum ChangeError {
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
    /// There is none, or not any more.
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

impl ReadError {
    pub(super) fn cursor(detail: &str) -> Self {
        Self::BadRequest(Json(Problem::parameter("cursor", detail)))
    }

    pub(super) fn unavailable(problem: Json<Problem>) -> Self {
        Self::Unavailable(problem, RETRY_AFTER_SECONDS)
    }
}

impl FindError {
    pub(super) fn unavailable(problem: Json<Problem>) -> Self {
        Self::Unavailable(problem, RETRY_AFTER_SECONDS)
    }
}

impl ChangeError {
    pub(super) fn unavailable(problem: Json<Problem>) -> Self {
        Self::Unavailable(problem, RETRY_AFTER_SECONDS)
    }
}
