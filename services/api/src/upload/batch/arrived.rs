//! What arrives with a batch.

use serde_json::Value;

use crate::upload::{error::UploadError, fetch::PictureUrl, uploaded::UploadedPicture};

/// Parameters as they are given.
pub(crate) type Given = Vec<(&'static str, Value)>;

/// One picture of a batch.
pub(crate) struct Arrived {
    /// Its name, as far as it is known.
    pub(crate) name: String,
    pub(crate) picture: ArrivedPicture,
    /// The parameters for this picture alone.
    pub(crate) parameters: Given,
}

/// The bytes of a picture, or why there are none.
pub(crate) enum ArrivedPicture {
    Sent(UploadedPicture),
    At(Box<PictureUrl>),
    Refused(UploadError),
}
