//! Errors as the clients read them.

use poem_openapi::{Object, types::Example};

use crate::routes::held_error::{ErrorBody, HeldError};

/// Why there is no answer.
pub(super) type DetectError = HeldError<Message>;

/// An error.
#[derive(Object)]
#[oai(rename = "HuggingFaceError", example)]
pub(super) struct Message {
    /// What was found, and what would be right.
    error: String,
}

impl ErrorBody for Message {
    fn with(error: String) -> Self {
        Self { error }
    }
}

impl Example for Message {
    fn example() -> Self {
        Self::with("there is no model 'yolov9', there are: yolov8n".to_owned())
    }
}
