//! What can go wrong in a run of a model.

use domain::UnknownClass;

use crate::onnx_runtime::error::OrtError;

/// A run of the model gave no detections. Another attempt may succeed, except where an error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The run was stopped by its [`Canceller`](crate::Canceller).
    #[error("the run was cancelled")]
    Cancelled,
    /// ONNX Runtime reports an error.
    #[error("ONNX Runtime failed: {0}")]
    Inference(#[from] OrtError),
    /// The model's outputs do not have the shapes that its head needs.
    #[error("the model gave outputs of shape {found}, expected {expected}")]
    UnexpectedOutput {
        /// The shapes of the outputs.
        found: String,
        /// The shapes that the head needs.
        expected: String,
    },
    /// The settings name a class that the model does not have. Another attempt fails as well.
    #[error(transparent)]
    UnknownClass(#[from] UnknownClass),
    /// The tensors of a batch differ in size.
    #[error("the pictures of a batch must have one size, found {found} beside {expected} pixels")]
    MixedSizes {
        /// Width × height of the tensor that differs.
        found: String,
        /// Width × height of the first one.
        expected: String,
    },
    /// The picture was preprocessed for another model.
    #[error("the picture was preprocessed to {found}, but the model takes {expected} pixels")]
    WrongInputSize {
        /// Width × height of the tensor.
        found: String,
        /// Width × height of the model's input.
        expected: String,
    },
}
