//! Errors in ONNX files.

use std::path::PathBuf;

/// Why a file is not a usable ONNX model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The bytes are not an ONNX message.
    #[error("it is not an ONNX file: {0}")]
    NotOnnx(String),
    /// Weights are in other files, and the folder of the model is unknown.
    #[error("the values of tensor '{tensor}' are in another file")]
    ExternalData {
        /// The first tensor in another file.
        tensor: String,
    },
    /// The location of a tensor in another file is invalid or not allowed.
    #[error("the values of tensor '{tensor}' are in another file, and {problem}")]
    BadExternalData {
        /// The name of the tensor in the graph.
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
        /// The name of the tensor in the graph.
        tensor: String,
        /// The file that holds its values.
        path: PathBuf,
        /// Why it cannot be read.
        detail: String,
    },
    /// The model and its weights are larger than one ONNX file can be.
    #[error(
        "with its weights the model has {bytes} bytes; an installed model is one file, and an ONNX file has \
         less than 2 GiB"
    )]
    TooLarge {
        /// The size of the model and its weights.
        bytes: u64,
    },
}
