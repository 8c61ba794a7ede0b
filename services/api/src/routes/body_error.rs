//! Why a body in the manner of another server is not accepted.

use super::rejection::{Rejection, refused_upload};
use crate::{metrics::ApiMetrics, upload::UploadError};

/// Why a body is not accepted; `E` is the error of its route.
pub(super) enum BodyError<E> {
    /// It would be refused on every route, and is counted as there.
    Upload(UploadError),
    /// Its route refuses it, or who has sent it may not.
    Refused(E),
}

impl<E: From<Rejection>> BodyError<E> {
    /// The error of the route. Uploads that are refused are counted.
    pub(super) fn counted(self, metrics: &ApiMetrics) -> E {
        match self {
            Self::Upload(error) => refused_upload(error, metrics).into(),
            Self::Refused(error) => error,
        }
    }
}

impl<E> From<UploadError> for BodyError<E> {
    fn from(error: UploadError) -> Self {
        Self::Upload(error)
    }
}
