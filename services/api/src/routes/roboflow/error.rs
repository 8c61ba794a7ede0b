//! Errors as the client reads them.

use poem_openapi::{Object, types::Example};

use crate::routes::held_error::{ErrorBody, HeldError};

/// Why there is no answer.
pub(super) type RoboflowError = HeldError<ErrorMessage>;

/// An error.
#[derive(Object)]
#[oai(rename = "RoboflowError", example)]
pub(super) struct ErrorMessage {
    /// What was found, and what would be right.
    message: String,
}

impl ErrorBody for ErrorMessage {
    fn with(message: String) -> Self {
        Self { message }
    }
}

impl Example for ErrorMessage {
    fn example() -> Self {
        Self::with(
            "there is no model 'helmets/3'; GET /model/registry lists those that there are"
                .to_owned(),
        )
    }
}
