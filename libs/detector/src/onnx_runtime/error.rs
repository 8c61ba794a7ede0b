//! What can go wrong when ONNX Runtime or a model is loaded.

use std::{error::Error, io, path::PathBuf};

use super::provider::ExecutionProvider;
use crate::onnx::OnnxError;

/// ONNX Runtime cannot be loaded, or rejects a model.
#[derive(Debug, thiserror::Error)]
pub enum OnnxRuntimeError {
    /// The file does not exist.
    #[error(
        "ONNX Runtime's library{} is not at {path}",
        with_provider(.provider)
    )]
    Missing {
        /// The path that was tried.
        path: PathBuf,
        /// The provider that models were to run on.
        provider: ExecutionProvider,
    },
    /// The library was built without the execution provider.
    #[error(
        "ONNX Runtime at {path} has no {} provider",
        .provider.title()
    )]
    NoProvider {
        /// The library without the provider.
        path: PathBuf,
        /// The provider that it lacks.
        provider: ExecutionProvider,
    },
    /// The library has the execution provider, but it does not work on this machine.
    #[error(
        "the {} provider of ONNX Runtime at {path} does not work on this machine{}; it needs {}. ONNX Runtime \
         reports: {source}",
        .provider.title(),
        in_words(.source),
        .provider.needs()
    )]
    ProviderFailed {
        /// The library that was loaded.
        path: PathBuf,
        /// The provider that was registered.
        provider: ExecutionProvider,
        /// What ONNX Runtime reports.
        source: OrtError,
    },
    /// The file cannot be opened.
    #[error("ONNX Runtime's library {path} cannot be read: {source}")]
    Unreadable {
        /// The path that was to be loaded.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The file is no ONNX Runtime, or one that is too old.
    #[error(
        "{path} cannot be used as ONNX Runtime (version 1.{} or later is needed): {source}",
        ort::MINOR_VERSION
    )]
    Unusable {
        /// The path that was to be loaded.
        path: PathBuf,
        /// What the loader reports.
        source: OrtError,
    },
    /// This process has loaded another library before.
    #[error("{path} cannot be loaded: this process already runs {loaded}")]
    AnotherLoaded {
        /// The file that was asked for.
        path: PathBuf,
        /// The file that is in use.
        loaded: PathBuf,
    },
    /// ONNX Runtime itself reports an error.
    #[error("ONNX Runtime: {0}")]
    Failed(#[from] OrtError),
    /// Sessions share weights through temporary files, which cannot be written.
    #[error("a temporary file cannot be written: {0}")]
    TemporaryFile(#[source] io::Error),
    /// The optimised graph that ONNX Runtime has written cannot be parsed.
    #[error("the optimised graph cannot be used: {0}")]
    OptimisedGraph(#[from] OnnxError),
}

impl From<ort::Error> for OnnxRuntimeError {
    fn from(error: ort::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// An error of ONNX Runtime.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct OrtError(Box<dyn Error + Send + Sync>);

impl From<ort::Error> for OrtError {
    fn from(error: ort::Error) -> Self {
        Self(error.into())
    }
}

impl From<ort::LoadDynamicError> for OrtError {
    fn from(error: ort::LoadDynamicError) -> Self {
        Self(error.into())
    }
}

/// What the messages of CUDA and of the loader mean: a part of the message, and the meaning.
const MEANINGS: [(&str, &str); 8] = [
    ("no CUDA-capable device", "no GPU is visible to this process"),
    ("CUDA driver version is insufficient", "the GPU's driver is missing or too old for this CUDA"),
    ("cuDNN is unavailable", "cuDNN cannot be loaded"),
    ("libcudnn", "cuDNN cannot be loaded"),
    ("libnvinfer", "TensorRT cannot be loaded"),
    ("error: libcu", "a library of CUDA cannot be loaded"),
    ("error: libnv", "a library of CUDA cannot be loaded"),
    ("out of memory", "the GPU's memory is full"),
];

/// The meaning of a message, as a continuation of a sentence; nothing for an unknown one.
fn in_words(source: &OrtError) -> String {
    let message = source.to_string();
    let known = MEANINGS.iter().find(|(part, _)| message.contains(part));
    known.map_or_else(String::new, |(_, meaning)| format!(": {meaning}"))
}

/// The provider in the message, where it is not the default.
fn with_provider(provider: &ExecutionProvider) -> String {
    match provider {
        ExecutionProvider::Cpu => String::new(),
        other => format!(" with the {} provider", other.title()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of ONNX Runtime 1.31 with CUDA 13.
    #[test]
    fn a_provider_that_fails_is_reported_in_words_with_what_it_needs() {
        let cases = [
            (
                ExecutionProvider::Cuda,
                "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; expr=cudaSetDevice(info_.device_id);",
                "does not work on this machine: no GPU is visible to this process; it needs an NVIDIA GPU",
            ),
            (
                ExecutionProvider::Cuda,
                "cuDNN is unavailable or disabled for CUDA Execution Provider: dlopen failed for libcudnn.so",
                ": cuDNN cannot be loaded; it needs an NVIDIA GPU with its driver, and CUDA 13 and cuDNN 9",
            ),
            (
                ExecutionProvider::Cuda,
                "Failed to load library libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open \
                 shared object file: No such file or directory",
                ": a library of CUDA cannot be loaded; it needs",
            ),
            (
                ExecutionProvider::TensorRt,
                "Failed to load library libonnxruntime_providers_tensorrt.so with error: libnvinfer.so.10: cannot open",
                ": TensorRT cannot be loaded; it needs",
            ),
            (
                ExecutionProvider::OpenVino,
                "something else",
                "on this machine; it needs OpenVINO's own",
            ),
        ];
        for (provider, message, expected) in cases {
            let source = OrtError(message.into());
            let path = "/lib/libonnxruntime.so".into();
            let error = OnnxRuntimeError::ProviderFailed { path, provider, source }.to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
            assert!(error.ends_with(message), "{error}");
        }
    }
}
