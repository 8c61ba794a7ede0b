//! Why a file is no usable ONNX model.

use std::path::PathBuf;

/// A file that is no usable ONNX model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The bytes are no ONNX message.
    #[error("it is no ONNX file: {0}")]
    NotOnnx(String),
    /// Weights lie in other files beside this one, and nothing says where they are to be looked for.
    #[error("the values of tensor '{tensor}' are in another file")]
    ExternalData {
        /// The first tensor found to be elsewhere.
        tensor: String,
    },
    /// What the file says about a tensor in another file cannot be right, or must not be followed.
    #[error("the values of tensor '{tensor}' are in another file, and {problem}")]
    BadExternalData {
        /// The tensor.
        tensor: String,
        /// What is wrong, and what to do about it.
        problem: String,
    },
    /// A file of weights is missing or cannot be read.
    #[error(
        "the values of tensor '{tensor}' are in the file {path}, which cannot be read ({detail}); put it \
         beside the model, or export the model with its weights in one file"
    )]
    UnreadableExternalData {
        /// The tensor.
        tensor: String,
        /// The file that holds its values.
        path: PathBuf,
        /// Why it cannot be read.
        detail: String,
    },
    /// Weights in other files are more than one ONNX file can hold.
    #[error(
        "with its weights the model has {bytes} bytes; an installed model is one file, and an ONNX file has \
         less than 2 GiB"
    )]
    TooLarge {
        /// The size of the model and its weights.
        bytes: u64,
    },
}
