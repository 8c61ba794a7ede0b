//! The responses of batches.

use poem_openapi::{ApiResponse, payload::Json};

use super::{error::SubmitBatchError, results::Lines, schema::Batch};
use crate::{
    batches::reception::{Interruption, NotReceived},
    http::{
        event_stream::EventStream,
        problem::{Problem, ProblemKind},
    },
    routes::{
        rejection::{Rejection, RejectionKind},
        v1::error::problem_kind,
    },
    tasks::submit::RETRY_AFTER_SECONDS,
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
    let of = |kind| (Problem::new(kind, error.why.to_string()), None);
    let (problem, retry_after) = match &error.why {
        Interruption::Parameter { name, detail } => {
            (Problem::parameter(name, detail.clone()), None)
        }
        Interruption::Cancelled => of(ProblemKind::BatchCancelled),
        Interruption::InProgress => of(ProblemKind::BatchInProgress),
        Interruption::TooMany => {
            let problem = Problem::new(ProblemKind::TooManyUploads, error.why.to_string());
            (problem, Some(RETRY_AFTER_SECONDS))
        }
        Interruption::Shutdown | Interruption::Unavailable => {
            let problem = Problem::new(ProblemKind::Unavailable, error.why.to_string());
            (problem, Some(RETRY_AFTER_SECONDS))
        }
        Interruption::Upload(_) | Interruption::NotAccepted(_) => {
            return of_rejection(error.why, batch);
        }
    };
    SubmitBatchError::new(problem, batch, retry_after)
}

fn of_rejection(why: Interruption, batch: Option<Batch>) -> SubmitBatchError {
    let rejection = match why {
        Interruption::Upload(error) => Rejection::from(error),
        Interruption::NotAccepted(error) => Rejection::from(error),
        other => {
            let problem = Problem::new(ProblemKind::Unavailable, other.to_string());
            return SubmitBatchError::new(problem, batch, Some(RETRY_AFTER_SECONDS));
        }
    };
    SubmitBatchError::of(&rejection, batch)
}

impl From<Rejection> for SubmitBatchError {
    fn from(rejection: Rejection) -> Self {
        Self::of(&rejection, None)
    }
}

impl SubmitBatchError {
    fn of(rejection: &Rejection, batch: Option<Batch>) -> Self {
        let kind = rejection.kind();
        let detail = rejection.to_string();
        let problem = match (kind, rejection.parameter()) {
            (RejectionKind::InvalidParameter, Some(name)) => Problem::parameter(name, detail),
            _ => Problem::new(problem_kind(kind), detail),
        };
        Self::new(problem, batch, kind.retry_after())
    }
}
