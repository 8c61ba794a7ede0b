//! Errors and warnings of decoding.

use domain::picture::{PictureError, PictureFormat, PictureHeader};

/// Damage to the pixels of a picture that decodes nevertheless, as texts for people. Empty for an intact picture.
pub type Warnings = Vec<String>;

/// Why bytes did not become a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file was rejected before any pixel was decoded.
    #[error(transparent)]
    Refused(#[from] PictureError),
    /// The header is valid, but the pixels do not decode.
    #[error("the pixels of this {format} picture do not decode: {detail}")]
    Pixels {
        /// The format of the file.
        format: PictureFormat,
        /// What the decoder reports.
        detail: String,
    },
}

pub(super) fn pixels_error(header: &PictureHeader, detail: impl ToString) -> DecodeError {
    DecodeError::Pixels { format: header.format, detail: detail.to_string() }
}
