//! Why bytes do not decode, and what is wrong with those that do.

use domain::picture::{PictureError, PictureFormat, PictureHeader};

/// What is wrong with the pixels of a picture that decodes all the same, for people. Empty where all of them are as they
/// were coded.
pub type Warnings = Vec<String>;

/// Why bytes did not become a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file was refused before any pixel was decoded.
    #[error(transparent)]
    Refused(#[from] PictureError),
    /// The header is good, and the pixels are not.
    #[error("the pixels of this {format} picture do not decode: {detail}")]
    Pixels {
        /// The format of the file.
        format: PictureFormat,
        /// What the decoder said.
        detail: String,
    },
}

pub(super) fn pixels_error(header: &PictureHeader, detail: impl ToString) -> DecodeError {
    DecodeError::Pixels { format: header.format, detail: detail.to_string() }
}
