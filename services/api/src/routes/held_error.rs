//! Errors of requests whose answer is held back: statuses as everywhere, in the body that a server's clients read.

use std::marker::PhantomData;

use domain::FailureReason;
use poem::{IntoResponse, Response, http::StatusCode, web::Json};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ToJSON, Type},
};

use super::{
    body_error::BodyError,
    error_headers::ErrorHeaders,
    held::NoResult,
    rejection::{Rejection, RejectionKind},
    v1::error::problem_kind,
};
use crate::{
    auth::{Overrun, refusal::Refusal},
    tasks::submit::RETRY_AFTER_SECONDS,
};

/// The statuses of errors, for the document.
const STATUSES: [(u16, &str); 11] = [
    (
        400,
        "No picture, bytes that are no whole picture, a body that cannot be read, or an invalid parameter.",
    ),
    (401, "No API key, or one that is unknown, revoked, expired or malformed."),
    (
        403,
        "The API key may not be used for this, or the URL leads to an address that is not fetched from.",
    ),
    (404, "There is no such model, or these routes are turned off."),
    (408, "The body took too long to arrive."),
    (413, "The body has too many bytes."),
    (415, "The body is compressed (`Content-Encoding`)."),
    (422, "The picture's server gave none."),
    (429, "The API key has sent too many requests, or too many of its jobs are in the queue."),
    (500, "The picture was not run in time, or its run has failed."),
    (
        503,
        "The queue is full or does not answer, or there are too many uploads or fetches. Try again later.",
    ),
];

/// The status of a rejection of this kind.
pub(crate) fn status_of(kind: RejectionKind) -> StatusCode {
    match kind {
        RejectionKind::UnknownModel => StatusCode::NOT_FOUND,
        kind => problem_kind(kind).status(),
    }
}

/// The body of an error, as one server has it.
pub(super) trait ErrorBody: Type + ToJSON + 'static {
    /// The statuses of its errors, for the document.
    const STATUSES: &'static [(u16, &'static str)] = &STATUSES;

    /// With what a person reads.
    fn with(message: String) -> Self;
}

/// Why there is no answer, in the body `B`.
#[derive(Debug)]
pub(super) struct HeldError<B> {
    status: StatusCode,
    message: String,
    headers: ErrorHeaders,
    body: PhantomData<fn() -> B>,
}

impl<B> HeldError<B> {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let headers = ErrorHeaders::default();
        Self { status, message: message.into(), headers, body: PhantomData }
    }

    /// The same, which may be tried again after so many seconds.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        let headers = ErrorHeaders { retry_after: Some(seconds), ..self.headers };
        Self { headers, ..self }
    }

    /// The records or the models cannot be read at the moment.
    pub(super) fn unavailable() -> Self {
        let message = "the queue does not answer, try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(RETRY_AFTER_SECONDS)
    }

    /// A rejection of this kind.
    pub(super) fn of_kind(kind: RejectionKind, message: String) -> Self {
        let headers = ErrorHeaders { retry_after: kind.retry_after(), refusal: None };
        Self { headers, ..Self::new(status_of(kind), message) }
    }

    /// The rate of the API key does not permit so many pictures at once.
    pub(super) fn overrun(pictures: usize, overrun: Overrun) -> Self {
        match overrun {
            Overrun::For(wait) => {
                let message = format!("the API key's rate permits no {pictures} pictures now");
                Self::new(StatusCode::TOO_MANY_REQUESTS, message).retry_after(wait.as_secs() + 1)
            }
            Overrun::Always { burst } => {
                let message = format!(
                    "the request has {pictures} pictures, and the API key may send {burst} at once: send fewer"
                );
                Self::new(StatusCode::BAD_REQUEST, message)
            }
        }
    }
}

impl<B> From<Refusal> for HeldError<B> {
    fn from(refusal: Refusal) -> Self {
        let error = Self::new(refusal.status(), refusal.to_string());
        Self { headers: refusal.into(), ..error }
    }
}

impl<B> From<HeldError<B>> for BodyError<HeldError<B>> {
    fn from(error: HeldError<B>) -> Self {
        Self::Refused(error)
    }
}

impl<B> From<Rejection> for HeldError<B> {
    fn from(rejection: Rejection) -> Self {
        Self::of_kind(rejection.kind(), rejection.to_string())
    }
}

impl<B> From<NoResult> for HeldError<B> {
    fn from(no_result: NoResult) -> Self {
        match no_result {
            NoResult::Late => Self::new(StatusCode::INTERNAL_SERVER_ERROR, NoResult::LATE),
            NoResult::Failed { reason, message } => {
                let status = match reason {
                    FailureReason::UndecodablePicture | FailureReason::UnknownClass => {
                        StatusCode::BAD_REQUEST
                    }
                    FailureReason::UnknownModel
                    | FailureReason::ModelNotLoadable
                    | FailureReason::PictureGone
                    | FailureReason::Poison
                    | FailureReason::Lost
                    | FailureReason::TooManyTiles => StatusCode::INTERNAL_SERVER_ERROR,
                };
                Self::new(status, message)
            }
        }
    }
}

impl<B: ErrorBody> ApiResponse for HeldError<B> {
    fn meta() -> MetaResponses {
        let response = |(status, description): &(u16, &'static str)| MetaResponse {
            description,
            status: Some(*status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: "application/json; charset=utf-8",
                schema: B::schema_ref(),
            }],
            headers: ErrorHeaders::meta(*status),
        };
        MetaResponses { responses: B::STATUSES.iter().map(response).collect() }
    }

    fn register(registry: &mut Registry) {
        B::register(registry);
    }
}

impl<B: ErrorBody> From<HeldError<B>> for poem::Error {
    fn from(error: HeldError<B>) -> Self {
        Self::from_response(error.into_response())
    }
}

impl<B: ErrorBody> IntoResponse for HeldError<B> {
    fn into_response(self) -> Response {
        let body = Json(B::with(self.message).to_json());
        let mut response = body.with_status(self.status).into_response();
        self.headers.write(response.headers_mut());
        response
    }
}
