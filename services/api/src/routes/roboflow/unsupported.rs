//! What is not done here.

use poem_openapi::{ApiResponse, payload::Json};

use super::error::ErrorMessage;
use crate::{routes::held_error::ErrorBody, upload::multipart::without_controls};

/// The response to a request for something that is not done here.
#[derive(ApiResponse)]
pub(super) enum Unsupported {
    /// This is not done here.
    #[oai(status = 404)]
    Unsupported(Json<ErrorMessage>),
}

impl Unsupported {
    /// A task other than object detection.
    pub(super) fn task(name: &str) -> Self {
        let name: String = without_controls(name).chars().take(64).collect();
        Self::with(format!(
            "'{name}' is not supported: this server detects objects only, at /infer/object_detection"
        ))
    }

    /// A workflow.
    pub(super) fn workflow() -> Self {
        Self::with(
            "workflows are not supported: this server detects objects only, at /infer/object_detection"
                .to_owned(),
        )
    }

    fn with(message: String) -> Self {
        Self::Unsupported(Json(ErrorMessage::with(message)))
    }
}
