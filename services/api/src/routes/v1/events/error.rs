//! The errors of the route of events.

use domain::TaskId;
use poem_openapi::{ApiResponse, payload::Json};

use crate::{
    http::problem::Problem,
    routes::v1::error::{records_unreadable, task_expired, task_unknown, too_many_streams},
    tasks::submit::RETRY_AFTER_SECONDS,
};

/// Why a task cannot be followed.
#[derive(ApiResponse)]
pub(super) enum FollowError {
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
    /// There was such a task, longer ago than results are kept.
    #[oai(status = 410, content_type = "application/problem+json")]
    Expired(Json<Problem>),
    /// Too many clients follow tasks, or the records cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl FollowError {
    pub(super) fn unknown(detail: String) -> Self {
        Self::Unknown(task_unknown(detail))
    }

    pub(super) fn expired(id: TaskId) -> Self {
        Self::Expired(task_expired(id))
    }

    pub(super) fn too_many() -> Self {
        Self::Unavailable(too_many_streams(), RETRY_AFTER_SECONDS)
    }

    pub(super) fn unavailable() -> Self {
        Self::Unavailable(records_unreadable(), RETRY_AFTER_SECONDS)
    }
}
