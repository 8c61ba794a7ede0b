//! What can go wrong in a run of a model.

use crate::onnx_runtime::error::OrtError;

/// A run of the model gave no detections. Another attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The run was stopped by its [`Canceller`](crate::onnx_runtime::session::Canceller).
    #[error("the run was cancelled")]
    Cancelled,
    /// ONNX Runtime reports an error.
    #[error("ONNX Runtime failed: {0}")]
    Inference(#[from] OrtError),
    /// The model's outputs have not the shapes that its head needs.
    #[error("the model gave outputs of shape {found}, expected {expected}")]
    UnexpectedOutput {
        /// The shapes that came out.
        found: String,
        /// The shapes that should have.
        expected: String,
    },
    /// The pictures of a batch are not of one size as the model takes them.
    #[error("a batch is of pictures of one size, found {found} beside {expected} pixels")]
    MixedSizes {
        /// Width × height of the tensor that differs.
        found: String,
        /// Width × height of the first one.
        expected: String,
    },
    /// The tensor was prepared for another model.
    #[error("the picture was prepared as {found}, but the model takes {expected} pixels")]
    WrongInputSize {
        /// Width × height of the tensor.
        found: String,
        /// Width × height of the model's input.
        expected: String,
    },
}
