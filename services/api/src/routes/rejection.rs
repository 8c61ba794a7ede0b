//! Why a submission is rejected: one classification, which each API renders in its own statuses and words.

use domain::picture::PictureError;
use outbound::{RequestError, UrlError};

use crate::{
    metrics::ApiMetrics,
    tasks::submit::{IdempotencyKey, NotAccepted, RETRY_AFTER_SECONDS},
    upload::{
        UploadError,
        multipart::{BoundaryError, FormError},
        zip::ZipError,
    },
};

/// Why a submission is rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    /// An invalid parameter or header.
    #[error("{detail}")]
    Parameter {
        name: &'static str,
        /// What was found and what was expected.
        detail: String,
    },
    /// The upload.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// A valid picture that cannot be accepted.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
}

/// The rejection of an upload, which is counted.
pub(crate) fn refused_upload(error: UploadError, metrics: &ApiMetrics) -> Rejection {
    let rejection = Rejection::from(error);
    metrics.count_refused_upload(rejection.kind().name());
    rejection
}

/// The value of the header `Idempotency-Key`.
///
/// # Errors
/// [`Rejection::Parameter`].
pub(crate) fn idempotency_key(header: Option<String>) -> Result<Option<IdempotencyKey>, Rejection> {
    let key = header.map(|key| key.parse()).transpose();
    key.map_err(|detail| Rejection::Parameter { name: "Idempotency-Key", detail })
}

/// The kinds of rejections that clients can distinguish. No error variant has a kind by default: each new one
/// needs its kind here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectionKind {
    /// The body is no multipart form.
    NotAForm,
    /// The body is a multipart form, but its `Content-Type` has no boundary.
    NoBoundary,
    /// The form has no picture.
    NoPicture,
    /// An invalid parameter or header.
    InvalidParameter,
    /// A body that cannot be read, or a file name that is not accepted.
    InvalidBody,
    /// Bytes that are no complete picture, or too large a picture.
    InvalidPicture,
    /// The picture has too many bytes, or its form too many bytes or parts.
    TooLarge,
    /// The body is compressed.
    Encoded,
    /// The body took too long to arrive.
    TooSlow,
    /// There is no such model.
    UnknownModel,
    /// The Idempotency-Key was used for another submission.
    KeyReused,
    /// The queue is full. A retry after this many seconds may help.
    QueueFull { retry_after: u64 },
    /// Too many jobs of the API key are in the queue. A retry after this many seconds may help.
    QuotaExceeded { retry_after: u64 },
    /// The rate of the API key is used up. A retry after this many seconds may help.
    RateLimited { retry_after: u64 },
    /// The URL of the picture leads to what is not fetched.
    UrlRefused,
    /// The picture's server answered with another status than 200.
    UrlStatus,
    /// The picture's server was too slow.
    UrlTimedOut,
    /// The picture's server cannot be reached, or its answer not be used.
    UrlNotFetched,
    /// Too many fetches at once.
    TooManyFetches,
    /// Too many uploads at once.
    TooManyUploads,
    /// The queue cannot be reached or cannot store.
    Unavailable,
}

impl RejectionKind {
    /// The names of all kinds of rejected uploads.
    pub(crate) const OF_UPLOADS: [&str; 17] = [
        "not_a_form",
        "no_boundary",
        "no_picture",
        "invalid_parameter",
        "invalid_body",
        "invalid_picture",
        "too_large",
        "encoded",
        "too_slow",
        "queue_full",
        "url_refused",
        "url_status",
        "url_timed_out",
        "url_not_fetched",
        "too_many_fetches",
        "too_many_uploads",
        "unavailable",
    ];

    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NotAForm => "not_a_form",
            Self::NoBoundary => "no_boundary",
            Self::NoPicture => "no_picture",
            Self::InvalidParameter => "invalid_parameter",
            Self::InvalidBody => "invalid_body",
            Self::InvalidPicture => "invalid_picture",
            Self::TooLarge => "too_large",
            Self::Encoded => "encoded",
            Self::TooSlow => "too_slow",
            Self::UnknownModel => "unknown_model",
            Self::KeyReused => "key_reused",
            Self::QueueFull { .. } => "queue_full",
            Self::QuotaExceeded { .. } => "quota_exceeded",
            Self::RateLimited { .. } => "rate_limited",
            Self::UrlRefused => "url_refused",
            Self::UrlStatus => "url_status",
            Self::UrlTimedOut => "url_timed_out",
            Self::UrlNotFetched => "url_not_fetched",
            Self::TooManyFetches => "too_many_fetches",
            Self::TooManyUploads => "too_many_uploads",
            Self::Unavailable => "unavailable",
        }
    }

    /// After how many seconds a retry may help; `None`: it would be rejected again.
    pub(crate) fn retry_after(self) -> Option<u64> {
        match self {
            Self::QueueFull { retry_after }
            | Self::QuotaExceeded { retry_after }
            | Self::RateLimited { retry_after } => Some(retry_after),
            Self::TooManyUploads | Self::TooManyFetches | Self::Unavailable => {
                Some(RETRY_AFTER_SECONDS)
            }
            _ => None,
        }
    }
}

impl Rejection {
    pub(crate) fn kind(&self) -> RejectionKind {
        match self {
            Self::Parameter { .. } => RejectionKind::InvalidParameter,
            Self::Upload(error) => of_upload(error),
            Self::NotAccepted(error) => match error {
                NotAccepted::QueueFull { retry_after } => {
                    RejectionKind::QueueFull { retry_after: *retry_after }
                }
                NotAccepted::QuotaExceeded { retry_after, .. } => {
                    RejectionKind::QuotaExceeded { retry_after: *retry_after }
                }
                NotAccepted::RateExceeded { retry_after, .. } => {
                    RejectionKind::RateLimited { retry_after: *retry_after }
                }
                NotAccepted::TooManyRuns { .. } => RejectionKind::InvalidParameter,
                NotAccepted::Unavailable { .. } => RejectionKind::Unavailable,
                NotAccepted::UnknownModel(_) => RejectionKind::UnknownModel,
                NotAccepted::KeyReused => RejectionKind::KeyReused,
            },
        }
    }

    /// The name of the wrong parameter.
    pub(crate) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Parameter { name, .. } => Some(name),
            Self::Upload(UploadError::Parameter { name, .. }) => Some(name),
            Self::Upload(UploadError::Item { pointer, .. }) => Some(pointer),
            Self::Upload(UploadError::ImageAndUrl | UploadError::NoFetching) => Some("url"),
            Self::Upload(UploadError::Url(_) | UploadError::Fetch(RequestError::Url(_))) => {
                Some("url")
            }
            Self::NotAccepted(NotAccepted::TooManyRuns { .. }) => Some("tiles"),
            Self::Upload(_) | Self::NotAccepted(_) => None,
        }
    }

    /// The file name of the rejected picture.
    pub(crate) fn filename(&self) -> Option<&str> {
        match self {
            Self::Upload(
                UploadError::Extension(filename) | UploadError::Picture { filename, .. },
            ) => Some(filename),
            Self::Upload(_) | Self::Parameter { .. } | Self::NotAccepted(_) => None,
        }
    }
}

fn of_upload(error: &UploadError) -> RejectionKind {
    match error {
        UploadError::NoPicture(_)
        | UploadError::NoImageMember
        | UploadError::NoItems
        | UploadError::NoPictures => RejectionKind::NoPicture,
        UploadError::Parameter { .. }
        | UploadError::Item { .. }
        | UploadError::ImageAndUrl
        | UploadError::NoFetching => RejectionKind::InvalidParameter,
        UploadError::Url(UrlError::Refused(_)) => RejectionKind::UrlRefused,
        UploadError::Url(_) => RejectionKind::InvalidParameter,
        UploadError::Fetch(error) => match error {
            RequestError::Url(_) => RejectionKind::InvalidParameter,
            RequestError::Refused(_) | RequestError::Redirect(_) => RejectionKind::UrlRefused,
            RequestError::Status(_) => RejectionKind::UrlStatus,
            RequestError::TimedOut => RejectionKind::UrlTimedOut,
            RequestError::Busy => RejectionKind::TooManyFetches,
            RequestError::TooManyRedirects(_)
            | RequestError::NoLocation
            | RequestError::Unreachable(_)
            | RequestError::Encoded => RejectionKind::UrlNotFetched,
        },
        UploadError::Boundary(error) => match error {
            BoundaryError::NoType | BoundaryError::OtherType(_) => RejectionKind::NotAForm,
            BoundaryError::NoBoundary => RejectionKind::NoBoundary,
            BoundaryError::TooLong(_) => RejectionKind::InvalidBody,
        },
        UploadError::ContentEncoding(_) => RejectionKind::Encoded,
        UploadError::BrokenForm(error) => match error {
            FormError::TooManyParts { .. } => RejectionKind::TooLarge,
            FormError::NoDelimiter { .. }
            | FormError::EndsInHeader { .. }
            | FormError::EndsInPart { .. }
            | FormError::HeaderTooLong { .. } => RejectionKind::InvalidBody,
        },
        UploadError::NotABatch(_) => RejectionKind::NotAForm,
        UploadError::Zip(error) => match error {
            ZipError::TooManyEntries { .. }
            | ZipError::TooManyBytes { .. }
            | ZipError::Bomb { .. } => RejectionKind::TooLarge,
            ZipError::NotAnArchive
            | ZipError::Damaged { .. }
            | ZipError::EndsEarly { .. }
            | ZipError::Encrypted
            | ZipError::NameTooLong { .. }
            | ZipError::CannotPass { .. } => RejectionKind::InvalidBody,
        },
        UploadError::Entry(_) | UploadError::NestedArchive => RejectionKind::InvalidPicture,
        UploadError::FormTooLarge { .. }
        | UploadError::BatchTooLarge { .. }
        | UploadError::TooManyItems { .. } => RejectionKind::TooLarge,
        UploadError::Picture { error, .. } => match error {
            PictureError::TooManyBytes { .. } => RejectionKind::TooLarge,
            PictureError::Empty
            | PictureError::Unrecognised
            | PictureError::Damaged { .. }
            | PictureError::Truncated { .. }
            | PictureError::TooManyPixels { .. } => RejectionKind::InvalidPicture,
        },
        UploadError::Json(_)
        | UploadError::Base64(_)
        | UploadError::TransferEncoding(_)
        | UploadError::Body(_)
        | UploadError::NameTooLong
        | UploadError::Extension(_) => RejectionKind::InvalidBody,
        UploadError::TooSlow(_) | UploadError::Trickle | UploadError::BatchTooSlow(_) => {
            RejectionKind::TooSlow
        }
        UploadError::QueueFull { retry_after } => {
            RejectionKind::QueueFull { retry_after: *retry_after }
        }
        UploadError::TooManyUploads => RejectionKind::TooManyUploads,
        UploadError::CannotStore => RejectionKind::Unavailable,
    }
}
