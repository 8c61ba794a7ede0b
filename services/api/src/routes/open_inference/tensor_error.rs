//! Why the tensors of an inference request cannot be used.

use std::fmt;

use domain::picture::PictureError;

use super::{request::MAX_PICTURES, schema::INPUT, tensors::Output};
use crate::{routes::rejection::RejectionKind, upload::json_error};

/// Why the tensors of a request cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TensorError {
    #[error("the JSON of the request cannot be read: {0}")]
    Json(String),
    #[error("the model has one input, '{INPUT}', and the request has {0}")]
    Inputs(Named),
    #[error(
        "input '{INPUT}' has datatype BYTES, whole JPEG, PNG, WebP, BMP or GIF files, got '{0}'"
    )]
    Datatype(String),
    #[error("input '{INPUT}' has shape [pictures] or [pictures, 1], got {0:?}")]
    Shape(Vec<i64>),
    #[error("a request may have {MAX_PICTURES} pictures, got {0}")]
    TooMany(usize),
    #[error("shared memory is not supported: send the pictures in the request")]
    SharedMemory,
    #[error("input '{INPUT}' has no content: neither data nor binary_data_size")]
    NoData,
    #[error("input '{INPUT}' has both data and binary_data_size: send one of them")]
    TwoContents,
    #[error("binary_data_size is {announced}, and {found} bytes follow the JSON")]
    BinarySize { announced: u64, found: usize },
    #[error("picture {index} of '{INPUT}' is cut off: it needs {needed} bytes, and {left} follow")]
    CutOff { index: usize, needed: usize, left: usize },
    #[error("input '{INPUT}' has shape {shape:?}, and {found} pictures")]
    Count { shape: Vec<i64>, found: usize },
    #[error("picture {index} of '{INPUT}' is not base64: {error}")]
    Base64 { index: usize, error: base64::DecodeError },
    #[error("picture {index} of '{INPUT}': {error}")]
    Picture { index: usize, error: PictureError },
    #[error("there is no output '{0}', there are: {names}", names = Output::names())]
    Output(String),
    #[error("output '{0}' is asked for twice")]
    Twice(&'static str),
    #[error(
        "classification of output '{0}' is not supported: scores, classes and labels are outputs"
    )]
    Classification(String),
}

/// The names of a request's inputs, for an error.
#[derive(Debug)]
pub(crate) struct Named(pub(super) Vec<String>);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [] => f.write_str("none"),
            names => write!(f, "'{}'", names.join("', '")),
        }
    }
}

impl From<serde_json::Error> for TensorError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(json_error(&error))
    }
}

impl TensorError {
    /// As which kind of rejection it is answered and counted.
    pub(crate) fn kind(&self) -> RejectionKind {
        match self {
            Self::Json(_)
            | Self::Datatype(_)
            | Self::Shape(_)
            | Self::TwoContents
            | Self::BinarySize { .. }
            | Self::CutOff { .. }
            | Self::Count { .. }
            | Self::Base64 { .. } => RejectionKind::InvalidBody,
            Self::Inputs(_)
            | Self::SharedMemory
            | Self::Output(_)
            | Self::Twice(_)
            | Self::Classification(_) => RejectionKind::InvalidParameter,
            Self::NoData => RejectionKind::NoPicture,
            Self::TooMany(_) | Self::Picture { error: PictureError::TooManyBytes { .. }, .. } => {
                RejectionKind::TooLarge
            }
            Self::Picture {
                error:
                    PictureError::Empty
                    | PictureError::Unrecognised
                    | PictureError::Damaged { .. }
                    | PictureError::Truncated { .. }
                    | PictureError::TooManyPixels { .. },
                ..
            } => RejectionKind::InvalidPicture,
        }
    }
}
