//! The responses of batches.

use poem_openapi::{ApiResponse, payload::Json};

use super::{error::SubmitBatchError, results::Lines, schema::Batch};
use crate::{
    batches::interruption::{Interruption, NotReceived},
    http::{
        event_stream::EventStream,
        problem::{Problem, ProblemKind},
    },
    routes::{
        rejection::Rejection,
        v1::error::{problem_kind, rejection_problem},
    },
    upload::UploadError,
};

#[derive(ApiResponse)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum SubmitBatchAnswer {
    /// Each task has ended within the time of `Prefer: wait`.
    #[oai(status = 200)]
    Finished(
        Json<Batch>,
        /// Where the batch is.
        #[oai(header = "Location")]
        String,
        /// The preference that was followed.
        #[oai(header = "Preference-Applied")]
        String,
    ),
    /// All pictures have been received.
    #[oai(status = 202)]
    Accepted(
        Json<Batch>,
        /// Where the batch is.
        #[oai(header = "Location")]
        String,
        /// The preference that was followed, if there was one.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
pub(super) enum BatchAnswer {
    /// The batch.
    #[oai(status = 200)]
    Known(Json<Batch>),
}

#[derive(ApiResponse)]
pub(super) enum ResultsAnswer {
    /// A line of JSON for each picture.
    #[oai(status = 200)]
    Lines(Lines),
}

#[derive(ApiResponse)]
pub(super) enum BatchEventsAnswer {
    /// The events.
    #[oai(status = 200)]
    Events(EventStream),
    /// `Last-Event-ID` is the last event: nothing follows it.
    #[oai(status = 204)]
    Over,
}

/// The type of a problem, and its text.
pub(super) fn problem_of(error: UploadError) -> (&'static str, String) {
    let rejection = Rejection::from(error);
    (problem_kind(rejection.kind()).uri(), rejection.to_string())
}

/// The response to a batch of which not all was received.
pub(super) fn not_received(error: NotReceived) -> SubmitBatchError {
    let batch = error.batch.map(|view| Batch::from(*view));
    let detail = error.why.to_string();
    let kind = match error.why {
        Interruption::Upload(error) => return SubmitBatchError::of(&error.into(), batch),
        Interruption::NotAccepted(error) => return SubmitBatchError::of(&error.into(), batch),
        Interruption::Parameter { name, detail } => {
            return SubmitBatchError::new(Problem::parameter(&name, detail), batch, None);
        }
        Interruption::RateLimited { retry_after } => {
            let problem = Problem::new(ProblemKind::RateLimited, detail);
            return SubmitBatchError::new(problem, batch, Some(retry_after));
        }
        Interruption::Withdrawn(_) => ProblemKind::ApiKeyInvalid,
        Interruption::Cancelled => ProblemKind::BatchCancelled,
        Interruption::InProgress => ProblemKind::BatchInProgress,
        Interruption::TooMany => ProblemKind::TooManyUploads,
        Interruption::Shutdown | Interruption::Unavailable => ProblemKind::Unavailable,
    };
    SubmitBatchError::new(Problem::new(kind, detail), batch, None)
}

impl From<Rejection> for SubmitBatchError {
    fn from(rejection: Rejection) -> Self {
        Self::of(&rejection, None)
    }
}

impl SubmitBatchError {
    fn of(rejection: &Rejection, batch: Option<Batch>) -> Self {
        Self::new(rejection_problem(rejection), batch, rejection.kind().retry_after())
    }
}
