//! Errors as the Open Inference Protocol has them.

use poem::http::StatusCode;
use poem_openapi::{Object, types::Example};

use super::tensor_error::TensorError;
use crate::{
    routes::{
        held::NoResult,
        held_error::{ErrorBody, HeldError},
    },
    upload::multipart::printable,
};

/// Why there is no answer.
pub(super) type InferenceError = HeldError<Message>;

/// An error.
#[derive(Object)]
#[oai(rename = "InferenceError", example)]
pub(super) struct Message {
    /// What was found, and what would be right.
    error: String,
}

impl ErrorBody for Message {
    const STATUSES: &'static [(u16, &'static str)] = &[
        (
            400,
            "A request that cannot be read, tensors that are no whole pictures, or what is not ready.",
        ),
        (404, "There is no such model or version, or these routes are turned off."),
        (408, "The request took too long to arrive."),
        (413, "The pictures or the request have too many bytes, or there are too many pictures."),
        (415, "The body is compressed (`Content-Encoding`)."),
        (429, "The API key has sent too many requests, or too many of its jobs are in the queue."),
        (500, "The run of a picture has failed."),
        (
            503,
            "The queue is full or does not answer, or there are too many uploads. Try again later.",
        ),
        (504, "A picture was not run in time."),
    ];

    fn with(error: String) -> Self {
        Self { error }
    }
}

impl Example for Message {
    fn example() -> Self {
        Self::with("there is no model 'yolov9', there are: yolov8n".to_owned())
    }
}

/// There is no model of this name.
pub(super) fn no_model(name: &str) -> InferenceError {
    let error = format!("there is no model '{}'", printable(name));
    InferenceError::new(StatusCode::NOT_FOUND, error)
}

/// There is no such version of a model.
pub(super) fn no_version(version: &str) -> InferenceError {
    let shown = printable(version);
    let error = format!("there is no version '{shown}', each model has version 1");
    InferenceError::new(StatusCode::NOT_FOUND, error)
}

/// This server, or a model, is not ready.
pub(super) fn not_ready(error: String) -> InferenceError {
    InferenceError::new(StatusCode::BAD_REQUEST, error)
}

/// There is no result of a picture. A request has several, counted from 0.
pub(super) fn no_result(picture: usize, why: NoResult) -> InferenceError {
    match why {
        NoResult::Late => InferenceError::new(StatusCode::GATEWAY_TIMEOUT, NoResult::LATE),
        NoResult::Failed { reason, message } => {
            NoResult::Failed { reason, message: format!("picture {picture}: {message}") }.into()
        }
    }
}

impl From<TensorError> for InferenceError {
    fn from(error: TensorError) -> Self {
        Self::of_kind(error.kind(), error.to_string())
    }
}
