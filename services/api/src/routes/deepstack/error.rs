//! Errors in the words of DeepStack.

use domain::FailureReason;
use poem::{IntoResponse, Response, http::StatusCode, web::Json};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{Example, ToJSON, Type},
};

use super::mode::DeepStackMode;
use crate::{
    auth::refusal::Refusal,
    routes::{
        body_error::BodyError,
        error_headers::ErrorHeaders,
        held::NoResult,
        rejection::{Rejection, RejectionKind},
    },
    upload::multipart::without_controls,
};

/// The statuses of errors, for the document.
const STATUSES: [(u16, &str); 10] = [
    (
        400,
        "No picture in field `image`, bytes that are no whole picture, or an invalid `min_confidence`.",
    ),
    (401, "No API key, or one that is unknown, revoked, expired or malformed."),
    (403, "The API key may not be used for this."),
    (404, "There is no such model, or these routes are turned off."),
    (408, "The picture took too long to arrive."),
    (413, "The picture or its form has too many bytes."),
    (415, "The body is compressed (`Content-Encoding`)."),
    (429, "The API key has sent too many requests, or too many of its jobs are in the queue."),
    (500, "The picture was not run in time, or its run has failed."),
    (503, "The queue is full or does not answer. Try again later."),
];

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct VisionError {
    status: StatusCode,
    /// What clients compare.
    error: String,
    /// What a person reads.
    message: String,
    headers: ErrorHeaders,
    mode: DeepStackMode,
}

/// An error.
#[derive(Object)]
#[oai(rename = "VisionError", example)]
struct ErrorBody {
    /// Always false.
    success: bool,
    /// What is wrong, in DeepStack's words.
    error: String,
    /// What was found, and what would be right.
    message: String,
    /// Always 0.
    duration: u8,
    /// 500, as CodeProject.AI has it for every error.
    code: u16,
}

impl Example for ErrorBody {
    fn example() -> Self {
        Self {
            success: false,
            error: "No valid image file found".to_owned(),
            message: "the form has no file in field 'image'".to_owned(),
            duration: 0,
            code: 500,
        }
    }
}

impl VisionError {
    fn new(status: StatusCode, error: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            message: message.into(),
            headers: ErrorHeaders::default(),
            mode: DeepStackMode::default(),
        }
    }

    /// The form has no picture.
    pub(super) fn no_image() -> Self {
        let message = "send the picture as a file in field 'image' of a multipart/form-data form, as `curl -F \
            image=@picture.jpg` does";
        Self::new(StatusCode::BAD_REQUEST, "No valid image file found", message)
    }

    /// The text is no confidence.
    pub(super) fn min_confidence(text: &str) -> Self {
        let error = match text.parse::<f32>() {
            Ok(number) if number > 1.0 => "min_confidence cannot be greater than 1",
            _ => "Invalid value for min_confidence",
        };
        let message = format!("min_confidence must be a number from 0 to 1, got '{text}'");
        Self::new(StatusCode::BAD_REQUEST, error, message)
    }

    /// No model can have this name.
    pub(super) fn no_model(name: &str) -> Self {
        let message = format!("there is no model '{}'", without_controls(name));
        Self::new(StatusCode::NOT_FOUND, message.clone(), message)
    }

    /// The records or the models cannot be read at the moment.
    pub(super) fn unavailable(retry_after: u64) -> Self {
        let message = "the queue does not answer, try again later";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message, message);
        Self { headers: ErrorHeaders { retry_after: Some(retry_after), refusal: None }, ..error }
    }

    /// The same error, reported as `mode` says.
    pub(super) fn reported(self, mode: DeepStackMode) -> Self {
        Self { mode, ..self }
    }
}

impl From<NoResult> for VisionError {
    fn from(no_result: NoResult) -> Self {
        let (status, error, message) = match no_result {
            NoResult::Failed { reason: FailureReason::UndecodablePicture, message } => {
                (StatusCode::BAD_REQUEST, "invalid image file".to_owned(), message)
            }
            NoResult::Failed { message, .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, message.clone(), message)
            }
            NoResult::Late => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "failed to process request before timeout".to_owned(),
                NoResult::LATE.to_owned(),
            ),
        };
        Self::new(status, error, message)
    }
}

impl From<Refusal> for VisionError {
    fn from(refusal: Refusal) -> Self {
        let message = match refusal {
            Refusal::NoKey => {
                "this API needs a key: send it in the field 'api_key' before the picture, or as \
                `Authorization: Bearer spotter_…`"
                    .to_owned()
            }
            refusal => refusal.to_string(),
        };
        let (status, error) = match refusal.status() {
            StatusCode::UNAUTHORIZED => (StatusCode::UNAUTHORIZED, "Incorrect api key".to_owned()),
            status => (status, message.clone()),
        };
        Self { headers: refusal.into(), ..Self::new(status, error, message) }
    }
}

impl From<VisionError> for BodyError<VisionError> {
    fn from(error: VisionError) -> Self {
        Self::Refused(error)
    }
}

impl From<Rejection> for VisionError {
    fn from(rejection: Rejection) -> Self {
        let (message, kind) = (rejection.to_string(), rejection.kind());
        let (status, error) = match kind {
            RejectionKind::NotAForm | RejectionKind::NoBoundary | RejectionKind::NoPicture => {
                (StatusCode::BAD_REQUEST, "No valid image file found".to_owned())
            }
            RejectionKind::InvalidParameter
            | RejectionKind::InvalidBody
            | RejectionKind::InvalidPicture
            // The form has no URLs and no idempotency key.
            | RejectionKind::KeyReused
            | RejectionKind::UrlRefused
            | RejectionKind::UrlStatus
            | RejectionKind::UrlTimedOut
            | RejectionKind::UrlNotFetched => {
                (StatusCode::BAD_REQUEST, "invalid image file".to_owned())
            }
            RejectionKind::UnknownModel => (StatusCode::NOT_FOUND, message.clone()),
            RejectionKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, message.clone()),
            RejectionKind::Encoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, message.clone()),
            RejectionKind::TooSlow => (StatusCode::REQUEST_TIMEOUT, message.clone()),
            RejectionKind::QuotaExceeded { .. } | RejectionKind::RateLimited { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, message.clone())
            }
            RejectionKind::QueueFull { .. }
            | RejectionKind::TooManyUploads
            | RejectionKind::TooManyFetches
            | RejectionKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, message.clone()),
        };
        let headers = ErrorHeaders { retry_after: kind.retry_after(), refusal: None };
        Self { headers, ..Self::new(status, error, message) }
    }
}

impl ApiResponse for VisionError {
    fn meta() -> MetaResponses {
        let responses = STATUSES.map(|(status, description)| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: "application/json; charset=utf-8",
                schema: ErrorBody::schema_ref(),
            }],
            headers: ErrorHeaders::meta(status),
        });
        MetaResponses { responses: responses.into() }
    }

    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

impl From<VisionError> for poem::Error {
    fn from(error: VisionError) -> Self {
        Self::from_response(error.into_response())
    }
}

impl IntoResponse for VisionError {
    fn into_response(self) -> Response {
        let status = match self.mode {
            DeepStackMode::CodeProject => StatusCode::OK,
            DeepStackMode::DeepStack | DeepStackMode::Off => self.status,
        };
        let Self { error, message, headers, .. } = self;
        let body = ErrorBody { success: false, error, message, duration: 0, code: 500 };
        let mut response = Json(body.to_json()).with_status(status).into_response();
        headers.write(response.headers_mut());
        response
    }
}
