//! The errors of `/v1`: problem details (RFC 9457).

use poem::{
    IntoResponse, Response,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    web::Json,
};
use poem_openapi::{
    Object,
    types::{Example, ToJSON},
};

/// The media type of every error of `/v1`.
const MEDIA_TYPE: &str = "application/problem+json";

/// The kinds of problems, each of which has a `type` of its own. `docs/errors.md` describes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    InvalidParameter,
    InvalidBody,
    NoPicture,
    InvalidPicture,
    UnsupportedMediaType,
    TooLarge,
    TooSlow,
    ModelNotInstalled,
    IdempotencyKeyReused,
    UrlRefused,
    UrlStatus,
    UrlTimedOut,
    UrlNotFetched,
    TooManyFetches,
    ApiKeyMissing,
    ApiKeyInvalid,
    ScopeMissing,
    ForeignPage,
    RateLimited,
    QuotaExceeded,
    QueueFull,
    TooManyUploads,
    TooManyStreams,
    Unavailable,
    ListsOff,
    ListNotReady,
    ModelUnknown,
    TaskUnknown,
    NoImage,
    TaskExpired,
    TaskEnded,
    TaskUnfinished,
    TaskWithoutResult,
    BatchUnknown,
    BatchExpired,
    BatchEnded,
    BatchCancelled,
    BatchInProgress,
    DeadLetterUnknown,
    DeadLetterWithoutPicture,
    DeadLetterUnusable,
    DeadWebhookUnknown,
    NotAcceptable,
    NoRoute,
    MethodNotAllowed,
    Internal,
}

impl ProblemKind {
    /// All kinds, for the documentation's test.
    #[cfg(test)]
    const ALL: [Self; 46] = [
        Self::InvalidParameter,
        Self::InvalidBody,
        Self::NoPicture,
        Self::InvalidPicture,
        Self::UnsupportedMediaType,
        Self::TooLarge,
        Self::TooSlow,
        Self::ModelNotInstalled,
        Self::IdempotencyKeyReused,
        Self::UrlRefused,
        Self::UrlStatus,
        Self::UrlTimedOut,
        Self::UrlNotFetched,
        Self::TooManyFetches,
        Self::ApiKeyMissing,
        Self::ApiKeyInvalid,
        Self::ScopeMissing,
        Self::ForeignPage,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::QueueFull,
        Self::TooManyUploads,
        Self::TooManyStreams,
        Self::Unavailable,
        Self::ListsOff,
        Self::ListNotReady,
        Self::ModelUnknown,
        Self::TaskUnknown,
        Self::NoImage,
        Self::TaskExpired,
        Self::TaskEnded,
        Self::TaskUnfinished,
        Self::TaskWithoutResult,
        Self::BatchUnknown,
        Self::BatchExpired,
        Self::BatchEnded,
        Self::BatchCancelled,
        Self::BatchInProgress,
        Self::DeadLetterUnknown,
        Self::DeadLetterWithoutPicture,
        Self::DeadLetterUnusable,
        Self::DeadWebhookUnknown,
        Self::NotAcceptable,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::Internal,
    ];

    /// The kind of an error that the framework answers with `status`.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NoRoute,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            status if status.is_client_error() => Self::InvalidParameter,
            _ => Self::Internal,
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameter | Self::InvalidBody | Self::NoPicture | Self::InvalidPicture => {
                StatusCode::BAD_REQUEST
            }
            Self::ModelUnknown
            | Self::TaskUnknown
            | Self::BatchUnknown
            | Self::DeadLetterUnknown
            | Self::DeadLetterWithoutPicture
            | Self::DeadWebhookUnknown
            | Self::NoImage
            | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TaskExpired | Self::BatchExpired => StatusCode::GONE,
            Self::TaskEnded
            | Self::TaskUnfinished
            | Self::TaskWithoutResult
            | Self::BatchEnded
            | Self::BatchCancelled
            | Self::BatchInProgress
            | Self::DeadLetterUnusable => StatusCode::CONFLICT,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ApiKeyMissing | Self::ApiKeyInvalid => StatusCode::UNAUTHORIZED,
            Self::UrlRefused | Self::ListsOff | Self::ScopeMissing | Self::ForeignPage => {
                StatusCode::FORBIDDEN
            }
            Self::RateLimited | Self::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::ModelNotInstalled
            | Self::IdempotencyKeyReused
            | Self::UrlStatus
            | Self::UrlTimedOut
            | Self::UrlNotFetched => StatusCode::UNPROCESSABLE_ENTITY,
            Self::QueueFull
            | Self::ListNotReady
            | Self::TooManyUploads
            | Self::TooManyFetches
            | Self::TooManyStreams
            | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The `type`. A URN, so that it does not depend on where the API is reached.
    pub(crate) fn uri(self) -> &'static str {
        match self {
            Self::InvalidParameter => "urn:problem-type:spotter:invalid-parameter",
            Self::InvalidBody => "urn:problem-type:spotter:invalid-body",
            Self::NoPicture => "urn:problem-type:spotter:no-picture",
            Self::InvalidPicture => "urn:problem-type:spotter:invalid-picture",
            Self::UnsupportedMediaType => "urn:problem-type:spotter:unsupported-media-type",
            Self::TooLarge => "urn:problem-type:spotter:too-large",
            Self::TooSlow => "urn:problem-type:spotter:too-slow",
            Self::ModelNotInstalled => "urn:problem-type:spotter:model-not-installed",
            Self::IdempotencyKeyReused => "urn:problem-type:spotter:idempotency-key-reused",
            Self::UrlRefused => "urn:problem-type:spotter:url-refused",
            Self::UrlStatus => "urn:problem-type:spotter:url-status",
            Self::UrlTimedOut => "urn:problem-type:spotter:url-timed-out",
            Self::UrlNotFetched => "urn:problem-type:spotter:url-not-fetched",
            Self::TooManyFetches => "urn:problem-type:spotter:too-many-fetches",
            Self::ApiKeyMissing => "urn:problem-type:spotter:api-key-missing",
            Self::ApiKeyInvalid => "urn:problem-type:spotter:api-key-invalid",
            Self::ScopeMissing => "urn:problem-type:spotter:scope-missing",
            Self::ForeignPage => "urn:problem-type:spotter:foreign-page",
            Self::RateLimited => "urn:problem-type:spotter:rate-limited",
            Self::QuotaExceeded => "urn:problem-type:spotter:quota-exceeded",
            Self::QueueFull => "urn:problem-type:spotter:queue-full",
            Self::TooManyUploads => "urn:problem-type:spotter:too-many-uploads",
            Self::TooManyStreams => "urn:problem-type:spotter:too-many-streams",
            Self::Unavailable => "urn:problem-type:spotter:unavailable",
            Self::ListsOff => "urn:problem-type:spotter:lists-off",
            Self::ListNotReady => "urn:problem-type:spotter:list-not-ready",
            Self::ModelUnknown => "urn:problem-type:spotter:model-unknown",
            Self::TaskUnknown => "urn:problem-type:spotter:task-unknown",
            Self::NoImage => "urn:problem-type:spotter:no-image",
            Self::TaskExpired => "urn:problem-type:spotter:task-expired",
            Self::TaskEnded => "urn:problem-type:spotter:task-ended",
            Self::TaskUnfinished => "urn:problem-type:spotter:task-unfinished",
            Self::TaskWithoutResult => "urn:problem-type:spotter:task-without-result",
            Self::BatchUnknown => "urn:problem-type:spotter:batch-unknown",
            Self::BatchExpired => "urn:problem-type:spotter:batch-expired",
            Self::BatchEnded => "urn:problem-type:spotter:batch-ended",
            Self::BatchCancelled => "urn:problem-type:spotter:batch-cancelled",
            Self::BatchInProgress => "urn:problem-type:spotter:batch-in-progress",
            Self::DeadLetterUnknown => "urn:problem-type:spotter:dead-letter-unknown",
            Self::DeadLetterWithoutPicture => {
                "urn:problem-type:spotter:dead-letter-without-picture"
            }
            Self::DeadLetterUnusable => "urn:problem-type:spotter:dead-letter-unusable",
            Self::DeadWebhookUnknown => "urn:problem-type:spotter:dead-webhook-unknown",
            Self::NotAcceptable => "urn:problem-type:spotter:not-acceptable",
            Self::NoRoute => "urn:problem-type:spotter:no-route",
            Self::MethodNotAllowed => "urn:problem-type:spotter:method-not-allowed",
            Self::Internal => "urn:problem-type:spotter:internal",
        }
    }

    /// The `title`, the same for all problems of this kind.
    fn title(self) -> &'static str {
        match self {
            Self::InvalidParameter => "A parameter is unknown or has an invalid value",
            Self::InvalidBody => "The body cannot be read",
            Self::NoPicture => "The request has no picture",
            Self::InvalidPicture => "The bytes are not a complete picture",
            Self::UnsupportedMediaType => "The media type or encoding of the body is not supported",
            Self::TooLarge => "The request has too many bytes or parts",
            Self::TooSlow => "The request took too long to arrive",
            Self::ModelNotInstalled => "No worker has the model",
            Self::IdempotencyKeyReused => "The Idempotency-Key was used for another submission",
            Self::UrlRefused => "The URL leads to an address that is not fetched from",
            Self::UrlStatus => "The picture's server answered with an error",
            Self::UrlTimedOut => "The picture's server was too slow",
            Self::UrlNotFetched => {
                "The picture's server cannot be reached or gave no usable answer"
            }
            Self::TooManyFetches => "There are too many fetches at once",
            Self::ApiKeyMissing => "The request has no API key",
            Self::ApiKeyInvalid => "The API key is unknown, revoked, expired or malformed",
            Self::ScopeMissing => "The API key may not be used for this",
            Self::ForeignPage => "A page of another origin sends the request",
            Self::RateLimited => "The API key has sent too many requests",
            Self::QuotaExceeded => "Too many jobs of the API key are in the queue",
            Self::QueueFull => "The queue is full",
            Self::TooManyUploads => "There are too many uploads at once",
            Self::TooManyStreams => "There are too many event streams at once",
            Self::Unavailable => "The queue cannot be reached or cannot store",
            Self::ListsOff => "Lists of tasks are turned off",
            Self::ListNotReady => "The list of tasks is being built",
            Self::ModelUnknown => "There is no such model",
            Self::TaskUnknown => "There is no such task",
            Self::NoImage => "The task has no image",
            Self::TaskExpired => "The result of the task has expired",
            Self::TaskEnded => "The task has ended",
            Self::TaskUnfinished => "The task has not ended yet",
            Self::TaskWithoutResult => "The task has ended without a result",
            Self::BatchUnknown => "There is no such batch",
            Self::BatchExpired => "The batch has expired",
            Self::BatchEnded => "The batch has ended",
            Self::BatchCancelled => "The batch was cancelled while it arrived",
            Self::BatchInProgress => "Another request sends the batch",
            Self::DeadLetterUnknown => "There is no such dead letter",
            Self::DeadLetterWithoutPicture => "The picture of the dead letter is gone",
            Self::DeadLetterUnusable => "The dead letter cannot be requeued",
            Self::DeadWebhookUnknown => "No such webhook was given up",
            Self::NotAcceptable => "There is no representation that the client accepts",
            Self::NoRoute => "There is no such route",
            Self::MethodNotAllowed => "The route has another method",
            Self::Internal => "The API failed",
        }
    }
}

/// An error of `/v1`, as problem details (RFC 9457).
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(crate) struct Problem {
    /// The kind of problem, as a URI. docs/errors.md lists all kinds.
    r#type: String,
    /// The kind in words: the same for all problems of this type.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What was found, what was expected, and what to do.
    detail: String,
    /// What is wrong with each parameter, where parameters are wrong.
    errors: Option<Vec<ParameterError>>,
}

/// What is wrong with one parameter.
#[derive(Debug, Object)]
pub(crate) struct ParameterError {
    /// The parameter's name.
    parameter: String,
    /// What was found and what was expected.
    detail: String,
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            r#type: kind.uri().to_owned(),
            title: kind.title().to_owned(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            errors: None,
        }
    }

    /// An invalid or unknown parameter.
    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let error = ParameterError { parameter: name.to_owned(), detail: detail.clone() };
        Self { errors: Some(vec![error]), ..Self::new(ProblemKind::InvalidParameter, detail) }
    }
}

impl Problem {
    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// What is wrong.
    #[cfg(test)]
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Json(self.to_json()).with_status(status).into_response();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        answer
    }
}

impl Example for Problem {
    fn example() -> Self {
        Self::parameter("confidence", "confidence must be a number from 0 to 1, got '7'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_kind() {
        let documentation = include_str!("../../../../docs/errors.md");
        for kind in ProblemKind::ALL {
            let name = kind.uri().rsplit(':').next().unwrap();
            let row = format!("| `{name}` | {} |", kind.status().as_u16());
            assert!(
                documentation.contains(&row),
                "docs/errors.md has no row that starts with {row}"
            );
        }
        let rows = documentation.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, ProblemKind::ALL.len());
    }
}
