//! The errors of lists.

use poem_openapi::{ApiResponse, payload::Json};

use crate::{
    http::problem::{Problem, ProblemKind},
    routes::v1::error::records_unreadable,
    tasks::{list::NoList, submit::RETRY_AFTER_SECONDS},
};

/// Why there is no list of tasks.
#[derive(ApiResponse)]
pub(crate) enum ListError {
    /// A parameter is unknown, given twice, or has an invalid value.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<Problem>),
    /// Lists are turned off.
    #[oai(status = 403, content_type = "application/problem+json")]
    Off(Json<Problem>),
    /// The list is being built, or the records cannot be read at the moment. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl ListError {
    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::BadRequest(Json(Problem::parameter(name, detail)))
    }
}

impl From<NoList> for ListError {
    fn from(error: NoList) -> Self {
        match error {
            NoList::Off => Self::Off(Json(Problem::new(ProblemKind::ListsOff, error.to_string()))),
            NoList::Unavailable(messaging::ListError::Building) => {
                let detail = "the records of all tasks are being read, try again";
                let problem = Problem::new(ProblemKind::ListNotReady, detail);
                Self::Unavailable(Json(problem), RETRY_AFTER_SECONDS)
            }
            NoList::Unavailable(messaging::ListError::Messaging(error)) => {
                tracing::warn!(%error, "cannot list tasks");
                Self::Unavailable(records_unreadable(), RETRY_AFTER_SECONDS)
            }
        }
    }
}
